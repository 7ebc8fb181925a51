//! What goes through internet sockets, looked at: DNS messages, HTTP/1, the addresses of UDP; and who is at
//! the other end of a unix socket.
//!
//! The data are read from the caller's memory after the call: the caller could have changed what it
//! sent. User space reads them as DNS or HTTP; here only as much is looked at as tells what is worth it.

use aya_ebpf::{
    bindings::BPF_ANY,
    helpers::generated::{bpf_ktime_get_boot_ns, bpf_probe_read_kernel, bpf_probe_read_user},
};
pub use recorder_ebpf::sniff::*;
use recorder_ebpf::{
    DNS_BYTES_MAX, HTTP_BYTES_MAX, IoCount, IoShape, MISSES_MAX, NetRecord, Offsets, PEER_PAUSE_NS,
    PeerKey, SNIFFED_MAX, SUN_PATH_MAX, kind, probe,
};

use crate::{
    Current, PEERS, Ring, counters, header, io,
    kernel::{bounded, cgroup_of, read},
    offset, scratch_of, send,
    sockets::{AF_INET, AF_INET6, AF_UNIX, S_IFMT, S_IFSOCK, sock_of},
};

/// Beside the bits of the descriptor: how the call passes its data.
pub const PAYLOAD: u32 = 8;
pub const MANY: u64 = 1 << 10;
pub const SENT: u64 = 1 << 11;
pub const ODD: u64 = 1 << 12;

pub const MSG_PEEK: u64 = 2;
/// `sizeof(struct mmsghdr)`: a `struct msghdr`, then the length.
pub const MMSGHDR: u64 = 64;
const MMSGHDR_LEN: u64 = 56;
/// The port of DNS.
const DOMAIN: u16 = 53;
const SOCK_STREAM: u16 = 1;
const SOCK_DGRAM: u16 = 2;
/// `enum pid_type`: the thread group; a `struct hlist_node` is two pointers.
const PIDTYPE_TGID: usize = 1;
const HLIST_NODE: usize = 16;

/// What a descriptor is worth, at its first call of a second.
#[inline(always)]
pub fn worth(file: u64, mode: u16) -> u8 {
    if mode & S_IFMT != S_IFSOCK {
        return 0;
    }
    let socket: u64 = read(file, offset!(file_private));
    let sk: u64 = read(socket, offset!(socket_sk));
    let family: u16 = read(sk, offset!(skc_family));
    if family == AF_UNIX {
        return UNIX as u8;
    }
    if family != AF_INET && family != AF_INET6 {
        return 0;
    }
    let sock_type: u16 = read(sk, offset!(sock_type));
    if sock_type == SOCK_STREAM {
        return TCP as u8;
    }
    if sock_type != SOCK_DGRAM {
        return 0;
    }
    let mut worth = UDP;
    let remote = u16::from_be(read(sk, offset!(skc_dport)));
    if remote == DOMAIN {
        worth = DNS;
    } else if remote != 0 {
        worth = PEER;
    }
    if read::<u16>(sk, offset!(skc_num)) == DOMAIN {
        worth |= SERVER;
    }
    worth as u8
}

/// Reads `N` words of user memory to the beginning of the scratch's data, where the stack of 5.10 (512 bytes
/// for all functions of a call chain) is spared; zeros where they cannot be read.
#[inline(always)]
pub fn user<const N: usize>(place: *mut u64, address: u64) {
    // SAFETY: the data are longer than that.
    unsafe { bpf_probe_read_user(place.cast(), (N * 8) as u32, address as *const _) };
}

/// A word of what was read there.
#[inline(always)]
pub fn word(place: *const u64, at: usize) -> u64 {
    // SAFETY: inside the data; volatile, because a helper wrote it.
    unsafe { place.add(at).read_volatile() }
}

/// Does a payload that begins so look like HTTP/1? The words are what a request or a response begins with,
/// as far as that tells it from other protocols.
#[inline(always)]
fn is_http(first: u64) -> bool {
    const fn begins(text: &[u8]) -> (u64, u64) {
        let (mut word, mut mask, mut at) = (0, 0, 0);
        while at < text.len() {
            word |= (text[at] as u64) << (8 * at);
            mask |= 0xff << (8 * at);
            at += 1;
        }
        (word, mask)
    }
    const WORDS: [(u64, u64); 10] = [
        begins(b"HTTP/1."),
        begins(b"GET /"),
        begins(b"GET http"),
        begins(b"POST /"),
        begins(b"HEAD /"),
        begins(b"PUT /"),
        begins(b"DELETE /"),
        begins(b"PATCH /"),
        begins(b"OPTIONS "),
        begins(b"CONNECT "),
    ];
    let mut at = 0;
    while at < WORDS.len() {
        if first & WORDS[at].1 == WORDS[at].0 {
            return true;
        }
        at += 1;
    }
    false
}

/// One message that a call passed. `how`: what the descriptor is worth, and the bits above. `at`: what the
/// call points to; `address`: where its address lies, for the calls that pass it apart.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn message(how: u64, key: u64, at: u64, address: u64, len: u64) -> u64 {
    let _ = looked_at(how, key, at, address, len);
    0
}

#[inline(always)]
fn looked_at(how: u64, key: u64, at: u64, address: u64, len: u64) -> Option<()> {
    let entry = io::get(how & ODD != 0, key)?;
    let place = scratch_of(u32::from(probe::SYS_EXIT))?
        .data
        .as_mut_ptr()
        .cast::<u64>();
    let (mut base, mut len, mut address) = (at, len, address);
    let payload = (how >> PAYLOAD) as u32 & 3;
    if payload != IoShape::BUFFER {
        let mut vector = at;
        if payload == IoShape::MESSAGE {
            // struct user_msghdr: name, length of the name, vector.
            user::<3>(place, at);
            (address, vector) = (word(place, 0), word(place, 2));
            if how & MANY != 0 {
                user::<1>(place, at + MMSGHDR_LEN);
                len = word(place, 0) & 0xffff_ffff;
            }
        }
        user::<2>(place, vector);
        base = word(place, 0);
        if word(place, 1) < len {
            len = word(place, 1);
        }
    }
    if how & TCP != 0 {
        user::<1>(place, base);
        if len < 8 || !is_http(word(place, 0)) {
            missed(entry);
            return None;
        }
        if !within(entry) {
            return None;
        }
        let len = len.min(HTTP_BYTES_MAX as u64 - 1);
        return tell(kind::HTTP, how, key, base, len, 0);
    }
    // struct sockaddr_in or sockaddr_in6.
    let first = if address != 0 {
        user::<4>(place, address);
        word(place, 0)
    } else {
        0
    };
    let family = first as u16;
    let port = u16::from_be((first >> 16) as u16);
    let is_named = family == AF_INET || family == AF_INET6;
    let dns = how & SERVER != 0 || (is_named && port == DOMAIN) || (how & DNS != 0 && !is_named);
    if dns {
        if how & SERVER == 0 {
            // What it receives without asking from whom is an answer.
            mark(entry, DNS as u8);
        }
        if !within(entry) {
            return None;
        }
        let len = len.min(DNS_BYTES_MAX as u64);
        return tell(kind::DNS, how, key, base, len, first);
    }
    if how & PEER != 0 {
        // SAFETY: an element of the table; whoever else clears the bit at this moment wants the same.
        unsafe {
            let worth = &raw mut (*entry).sniff;
            worth.write_volatile(worth.read_volatile() & !(PEER as u8));
        }
    } else if !is_named || known(key, place) {
        return None;
    }
    tell(kind::PEER, how, key, 0, 0, first)
}

#[inline(always)]
fn mark(entry: *mut IoCount, bits: u8) {
    // SAFETY: an element of the table; two that set the same at once do no harm.
    unsafe {
        let worth = &raw mut (*entry).sniff;
        worth.write_volatile(worth.read_volatile() | bits);
    }
}

/// No HTTP: after a few such, the rest of the second goes by unseen.
#[inline(always)]
fn missed(entry: *mut IoCount) {
    // SAFETY: an element of the table; a count that is lost between two CPUs costs one more look.
    unsafe {
        let misses = (&raw const (*entry).misses).read_volatile() + 1;
        (&raw mut (*entry).misses).write_volatile(misses);
        if misses >= MISSES_MAX {
            let worth = &raw mut (*entry).sniff;
            worth.write_volatile(worth.read_volatile() & !(TCP as u8));
        }
    }
}

/// Is there room for one more event of this descriptor? What is beyond counts as filtered.
#[inline(always)]
pub fn within(entry: *mut IoCount) -> bool {
    // SAFETY: as above.
    let sniffed = unsafe {
        let sniffed = (&raw const (*entry).sniffed).read_volatile() + 1;
        (&raw mut (*entry).sniffed).write_volatile(sniffed);
        (&raw mut (*entry).misses).write_volatile(0);
        sniffed
    };
    if sniffed <= SNIFFED_MAX {
        return true;
    }
    if let Some(counters) = counters(probe::SYS_EXIT) {
        counters.filtered += 1;
    }
    false
}

/// Was this address told of less than a second ago?
#[inline(always)]
fn known(key: u64, place: *mut u64) -> bool {
    /// Words behind the beginning of the data.
    const KEY_AT: usize = 8;
    let first = word(place, 0);
    let is_v4 = first as u16 == AF_INET;
    let addr = if is_v4 {
        [first >> 32, 0]
    } else {
        [word(place, 1), word(place, 2)]
    };
    // SAFETY: behind the address that was read, far before the end of the data; plain words. On the stack there
    // is no room for it.
    let peer = unsafe {
        let peer = place.add(KEY_AT).cast::<PeerKey>();
        peer.write_volatile(PeerKey {
            descriptor: key,
            addr,
            port: first & 0xffff_ffff,
        });
        &*peer
    };
    // SAFETY: a helper without preconditions; the time is copied at once.
    let (now, last) = unsafe { (bpf_ktime_get_boot_ns(), PEERS.get(peer).copied()) };
    if last.is_some_and(|last| now.wrapping_sub(last) < PEER_PAUSE_NS) {
        return true;
    }
    let _ = PEERS.insert(peer, now, u64::from(BPF_ANY));
    false
}

/// Sends the record, with `len` bytes from `base` behind it. `first`: the first word of the address that lies
/// at the beginning of the scratch's data; 0: none does.
#[inline(always)]
fn tell(kind: u8, how: u64, key: u64, base: u64, len: u64, first: u64) -> Option<()> {
    let scratch = scratch_of(u32::from(probe::SYS_EXIT))?;
    scratch.clear();
    let record = scratch.fixed::<NetRecord>();
    let current = Current {
        pid_tgid: record.header.pid_tgid,
        cgroup_id: record.header.cgroup_id,
    };
    record.header = header(probe::SYS_EXIT, kind, current)?;
    record.fd = key as i32;
    record.sent = u32::from(how & SENT != 0);
    record.peer_pid = 0;
    record.peer_cgroup_id = 0;
    record.reserved = 0;
    let sk = sock_of(key as u32);
    record.sock_type = read(sk, offset!(sock_type));
    both_ends(record, sk);
    let family = first as u16;
    if family == AF_INET || family == AF_INET6 {
        record.remote_port = u16::from_be((first >> 16) as u16);
        let place = scratch.data.as_ptr().cast::<u64>();
        let record = scratch.fixed::<NetRecord>();
        let words = record.remote.as_mut_ptr().cast::<u64>();
        // SAFETY: 16 bytes, aligned to 8 as the record is; a socket of IPv6 can be given an address of IPv4.
        unsafe {
            if family == AF_INET {
                record.family = AF_INET;
                words.write_volatile(first >> 32);
                words.add(1).write_volatile(0);
            } else {
                words.write_volatile(word(place, 1));
                words.add(1).write_volatile(word(place, 2));
            }
        }
    }
    if len != 0 {
        // SAFETY: at most 511 bytes into a longer array.
        unsafe {
            bpf_probe_read_user(
                scratch.data.as_mut_ptr().cast(),
                bounded(len as usize, HTTP_BYTES_MAX - 1) as u32,
                base as *const _,
            )
        };
        scratch.set_at(len as usize);
    }
    scratch.fixed::<NetRecord>().header.data_len = len as u32;
    send::<NetRecord>(Ring::Bulk, probe::SYS_EXIT, scratch);
    Some(())
}

/// What the socket says of its ends, read to where it goes: on the stack there is no room for it.
#[inline(always)]
fn both_ends(record: &mut NetRecord, sk: u64) {
    let family: u16 = read(sk, offset!(skc_family));
    record.family = family;
    record.local_port = read(sk, offset!(skc_num));
    record.remote_port = u16::from_be(read(sk, offset!(skc_dport)));
    let (local, remote, len) = if family == AF_INET {
        (offset!(skc_rcv_saddr), offset!(skc_daddr), 4)
    } else {
        (offset!(skc_v6_rcv_saddr), offset!(skc_v6_daddr), 16)
    };
    let (own, other) = (record.local.as_mut_ptr(), record.remote.as_mut_ptr());
    // SAFETY: at most 16 bytes into 16 bytes.
    unsafe {
        own.cast::<u64>().write_volatile(0);
        own.add(8).cast::<u64>().write_volatile(0);
        other.cast::<u64>().write_volatile(0);
        other.add(8).cast::<u64>().write_volatile(0);
        bpf_probe_read_kernel(own.cast(), len, (sk + local as u64) as *const _);
        bpf_probe_read_kernel(other.cast(), len, (sk + remote as u64) as *const _);
    }
}

/// Who is at the other end of a unix socket that was connected (`sent`: 1) or accepted. The record of the
/// call itself was sent before: its scratch still has whose it is.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn unix_peer(fd: u64, sent: u64, pid_tgid: u64, cgroup_id: u64) -> u64 {
    let _ = other_end(
        fd as u32,
        sent,
        Current {
            pid_tgid,
            cgroup_id,
        },
    );
    0
}

#[inline(always)]
fn other_end(fd: u32, sent: u64, current: Current) -> Option<()> {
    let (peer, addr) = (offset!(unix_peer), offset!(unix_addr));
    let (name, name_len) = (offset!(unix_name), offset!(unix_len));
    if !knows_peers() || [peer, addr, name, name_len].contains(&(Offsets::MISSING as usize)) {
        return None;
    }
    let scratch = scratch_of(u32::from(probe::SYS_EXIT))?;
    scratch.clear();
    let sk = sock_of(fd);
    let (peer_pid, cgroup) = peer_of(sk);
    // The listening socket's address, which an accepted one shares.
    let listening: u64 = if sent != 0 { read(sk, peer) } else { sk };
    let address: u64 = read(listening, addr);
    let path_len = (read::<u32>(address, name_len) as usize).saturating_sub(2);
    let path_len = if address == 0 || path_len > SUN_PATH_MAX {
        0
    } else {
        path_len
    };
    // SAFETY: at most 127 bytes into a longer array.
    unsafe {
        bpf_probe_read_kernel(
            scratch.data.as_mut_ptr().cast(),
            bounded(path_len, 127) as u32,
            (address + name as u64 + 2) as *const _,
        )
    };
    scratch.set_at(path_len);
    let record = scratch.fixed::<NetRecord>();
    record.header = header(probe::SYS_EXIT, kind::PEER, current)?;
    record.header.data_len = path_len as u32;
    record.peer_cgroup_id = cgroup;
    record.peer_pid = peer_pid;
    record.fd = fd as i32;
    record.sent = sent as u32;
    record.family = AF_UNIX;
    record.sock_type = read(sk, offset!(sock_type));
    record.local_port = 0;
    record.remote_port = 0;
    record.reserved = 0;
    record.local = [0; 16];
    record.remote = [0; 16];
    send::<NetRecord>(Ring::Urgent, probe::SYS_EXIT, scratch);
    Some(())
}

/// Does BTF have what [`peer_of`] reads?
#[inline(always)]
pub fn knows_peers() -> bool {
    ![
        offset!(sock_peer_pid),
        offset!(pid_tasks),
        offset!(task_pid_links),
        offset!(pid_numbers),
    ]
    .contains(&(Offsets::MISSING as usize))
}

/// The process that a unix socket is connected to, as the socket has it: its id and where it is now; zeros where
/// it has none or that is gone.
#[inline(always)]
pub fn peer_of(sk: u64) -> (u32, u64) {
    let links = offset!(task_pid_links) + PIDTYPE_TGID * HLIST_NODE;
    let pid: u64 = read(sk, offset!(sock_peer_pid));
    let first: u64 = read(pid, offset!(pid_tasks) + PIDTYPE_TGID * 8);
    let mut cgroup = 0;
    if first != 0 {
        cgroup = cgroup_of(first.wrapping_sub(links as u64));
    }
    let number = read(pid, offset!(pid_numbers) + offset!(upid_nr));
    (number, cgroup)
}
