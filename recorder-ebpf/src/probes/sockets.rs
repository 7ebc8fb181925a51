//! Socket calls in the caller's context, and TCP state changes wherever they happen.
//!
//! A state change often runs in softirq, with a stranger as current thread: the owner of a socket
//! is stored at connect and listen (process context) and at accept, and looked up afterwards.

use aya_ebpf::{
    bindings::BPF_ANY,
    helpers::{
        bpf_get_smp_processor_id,
        generated::{bpf_ktime_get_boot_ns, bpf_probe_read_user},
    },
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use recorder_ebpf::{
    Offsets, SUN_PATH_MAX, SockCallRecord, SocketOwner, TcpEventRecord, TcpStateRecord,
    filter as option, kind, marks, probe,
};

use crate::{
    Current, Ring, SOCKETS, Scratch, durations, filter, header_of_wanted, is_recorder,
    kernel::{bounded, file_of, read},
    offset, scratch, send, setting,
    sniff::unix_peer,
    submit,
    syscalls::Call,
    whoever,
};

pub const AF_UNIX: u16 = 1;
pub const AF_INET: u16 = 2;
pub const AF_INET6: u16 = 10;
const AF_PACKET: u16 = 17;
pub const S_IFMT: u16 = 0o170_000;
pub const S_IFSOCK: u16 = 0o140_000;
const TCP_ESTABLISHED: u8 = 1;
const TCP_SYN_SENT: u8 = 2;
const TCP_CLOSE: u8 = 7;
const TCP_LISTEN: u8 = 10;

/// x86-64 numbers.
mod nr {
    pub const SOCKET: u32 = 41;
    pub const CONNECT: u32 = 42;
    pub const ACCEPT: u32 = 43;
    pub const BIND: u32 = 49;
    pub const ACCEPT4: u32 = 288;
}

/// Both ends of a socket.
struct Ends {
    family: u16,
    local_port: u16,
    remote_port: u16,
    local: [u8; 16],
    remote: [u8; 16],
}

#[inline(always)]
fn ends(sk: u64) -> Ends {
    let family: u16 = read(sk, offset!(skc_family));
    let (mut local, mut remote) = ([0u8; 16], [0u8; 16]);
    if family == AF_INET {
        let (from, to): ([u8; 4], [u8; 4]) = (
            read(sk, offset!(skc_rcv_saddr)),
            read(sk, offset!(skc_daddr)),
        );
        local[..4].copy_from_slice(&from);
        remote[..4].copy_from_slice(&to);
    } else if family == AF_INET6 {
        local = read(sk, offset!(skc_v6_rcv_saddr));
        remote = read(sk, offset!(skc_v6_daddr));
    }
    let mut local_port: u16 = read(sk, offset!(skc_num));
    let sport = offset!(inet_sport);
    if local_port == 0
        && (family == AF_INET || family == AF_INET6)
        && sport != Offsets::MISSING as usize
    {
        // A closed socket has given its port back; here it still stands.
        local_port = u16::from_be(read(sk, sport));
    }
    Ends {
        family,
        local_port,
        remote_port: u16::from_be(read(sk, offset!(skc_dport))),
        local,
        remote,
    }
}

/// The `struct sock` behind a descriptor; 0 if it is no socket.
#[inline(always)]
pub fn sock_of(fd: u32) -> u64 {
    let file = file_of(fd);
    let inode: u64 = read(file, offset!(file_inode));
    if file == 0 || read::<u16>(inode, offset!(inode_mode)) & S_IFMT != S_IFSOCK {
        return 0;
    }
    let socket: u64 = read(file, offset!(file_private));
    read(socket, offset!(socket_sk))
}

#[inline(always)]
pub fn sock_call(call: Call, current: Current) -> Option<()> {
    let scratch = scratch(probe::SYS_EXIT)?;
    let accepted = is_accept(&call);
    let fd = if accepted || call.nr == nr::SOCKET {
        if call.ret < 0 { -1 } else { call.ret as i32 }
    } else {
        call.arg::<0>() as i32
    };
    let sk = if fd >= 0 { sock_of(fd as u32) } else { 0 };
    let socket = ends(sk);
    let sock_type: u16 = read(sk, offset!(sock_type));

    let record = scratch.fixed::<SockCallRecord>();
    record.ret = call.ret;
    record.nr = call.nr;
    record.fd = fd;
    record.family = socket.family;
    record.sock_type = sock_type & 0xf;
    record.local_port = socket.local_port;
    record.remote_port = socket.remote_port;
    record.local = socket.local;
    record.remote = socket.remote;
    record.marks = 0;
    record.interface = 0;
    record.duration_ns = durations::of_call();
    if call.nr == nr::SOCKET {
        // A refused socket call has no socket to look at: what was asked for is what counts.
        record.family = call.arg::<0>() as u16;
        record.sock_type = (call.arg::<1>() & 0xf) as u16;
    }
    if call.nr == nr::CONNECT || call.nr == nr::BIND {
        caller_address(scratch, call);
    }
    if accepted && (socket.family == AF_INET || socket.family == AF_INET6) {
        accepted_by(sk, current, 1);
    }
    if !call_wanted(scratch) {
        return None;
    }
    let end = scratch.at();
    let record = scratch.fixed::<SockCallRecord>();
    record.header = header_of_wanted(probe::SYS_EXIT, kind::SOCK_CALL, current)?;
    record.header.data_len = end as u32;
    send::<SockCallRecord>(Ring::Urgent, probe::SYS_EXIT, scratch);
    let connected = call.nr == nr::CONNECT && call.ret == 0;
    if socket.family == AF_UNIX && fd >= 0 && (accepted || connected) {
        unix_peer(
            fd as u64,
            u64::from(connected),
            current.pid_tgid,
            current.cgroup_id,
        );
    }
    Some(())
}

#[inline(always)]
fn is_accept(call: &Call) -> bool {
    call.nr == nr::ACCEPT || call.nr == nr::ACCEPT4
}

/// Does the filter want what the record in the scratch says of a socket?
#[inline(always)]
fn call_wanted(scratch: &mut Scratch) -> bool {
    if setting!(filter) & option::WHERE == 0 {
        return true;
    }
    let at = scratch.at();
    let found = if at > 0 {
        // The path of a unix socket need not end with a NUL.
        // SAFETY: there is room behind any place that `end` gives.
        unsafe { scratch.end().write_volatile(0) };
        filter::of_path(0, 0, 0)
    } else {
        let record = scratch.fixed::<SockCallRecord>();
        of_ends(&Ends {
            family: record.family,
            local_port: record.local_port,
            remote_port: record.remote_port,
            local: record.local,
            remote: record.remote,
        })
    };
    filter::place_wanted(probe::SYS_EXIT, found, durations::of_call())
}

/// What the filter's list of addresses says of both ends.
#[inline(always)]
fn of_ends(ends: &Ends) -> u64 {
    if setting!(filter) & option::ADDRESS == 0
        || (ends.family != AF_INET && ends.family != AF_INET6)
    {
        return 0;
    }
    let is_v4 = ends.family == AF_INET;
    filter::joined(
        filter::of_address(is_v4, &ends.local, ends.local_port)
            | filter::of_address(is_v4, &ends.remote, ends.remote_port),
    )
}

/// An accept that is not recorded: the connection has an owner all the same.
#[inline(always)]
pub fn accepted(call: &Call, current: Current) {
    note_accept(call, current, 1);
}

/// The same of one whose caller the filter does not want. The recorder's own are its own.
#[inline(always)]
pub fn accepted_by_unwanted(call: &Call) {
    if let Some(current) = whoever() {
        note_accept(call, current, 0);
    }
}

#[inline(always)]
fn note_accept(call: &Call, current: Current, wanted: u64) {
    if !is_accept(call) || call.ret < 0 {
        return;
    }
    let sk = sock_of(call.ret as u32);
    let family: u16 = read(sk, offset!(skc_family));
    if family == AF_INET || family == AF_INET6 {
        accepted_by(sk, current, wanted);
    }
}

/// The address that the caller passed: all there is for unix sockets, and for a connect or bind
/// that failed, where the socket does not hold it.
#[inline(always)]
fn caller_address(scratch: &mut Scratch, call: Call) {
    let address = call.arg::<1>();
    let len = call.arg::<2>() as usize;
    // The largest address read here is sockaddr_in6: 28 bytes.
    let mut head = [0u8; 32];
    let head_len = if len > 28 { 28 } else { len };
    // SAFETY: at most 31 bytes into a buffer of 32.
    unsafe {
        bpf_probe_read_user(
            head.as_mut_ptr().cast(),
            bounded(head_len, 31) as u32,
            address as *const _,
        )
    };
    let family = u16::from_ne_bytes([head[0], head[1]]);
    if family == AF_UNIX {
        let wanted = len.saturating_sub(2);
        let path_len = bounded(
            if wanted > SUN_PATH_MAX {
                SUN_PATH_MAX
            } else {
                wanted
            },
            127,
        );
        // SAFETY: at most 127 bytes into a longer array.
        let failed = unsafe {
            bpf_probe_read_user(
                scratch.data.as_mut_ptr().cast(),
                path_len as u32,
                (address + 2) as *const _,
            )
        };
        let record = scratch.fixed::<SockCallRecord>();
        record.family = family;
        record.marks = marks::UNTRUSTED;
        if failed == 0 {
            scratch.grow(path_len);
        }
        return;
    }
    let record = scratch.fixed::<SockCallRecord>();
    if family == AF_PACKET && call.nr == nr::BIND {
        // struct sockaddr_ll: family, protocol, interface.
        record.interface = u32::from_ne_bytes([head[4], head[5], head[6], head[7]]);
        return;
    }
    let is_inet = family == AF_INET || family == AF_INET6;
    if !is_inet || (record.remote_port != 0 && call.ret >= 0) {
        return;
    }
    let port = u16::from_be_bytes([head[2], head[3]]);
    let mut ip = [0u8; 16];
    if family == AF_INET {
        ip[..4].copy_from_slice(&head[4..8]);
    } else {
        ip.copy_from_slice(&head[8..24]);
    }
    record.family = family;
    record.marks = marks::UNTRUSTED;
    if call.nr == nr::CONNECT {
        record.remote = ip;
        record.remote_port = port;
    } else if call.ret < 0 {
        record.local = ip;
        record.local_port = port;
    }
}

/// Remembers who owns a socket. Returns the entry.
#[inline(always)]
fn own(sk: u64, current: Current, connect_ns: u64, wanted: bool) -> SocketOwner {
    let id = match unsafe_get(sk) {
        Some(owner) => owner.id,
        None => new_id(),
    };
    let owner = SocketOwner {
        id,
        pid_tgid: current.pid_tgid,
        cgroup_id: current.cgroup_id,
        connect_ns,
        established_ns: 0,
        wanted: u64::from(wanted),
    };
    // A full LRU map makes room; any other failure only costs this socket its owner.
    let _ = SOCKETS.insert(sk, owner, u64::from(BPF_ANY));
    owner
}

/// An accepted connection has been established before: what is known of it stays.
#[inline(always)]
fn accepted_by(sk: u64, current: Current, wanted: u64) {
    let known = unsafe_get(sk);
    let owner = SocketOwner {
        id: known.map_or_else(new_id, |owner| owner.id),
        pid_tgid: current.pid_tgid,
        cgroup_id: current.cgroup_id,
        connect_ns: 0,
        established_ns: known.map_or(0, |owner| owner.established_ns),
        wanted,
    };
    let _ = SOCKETS.insert(sk, owner, u64::from(BPF_ANY));
}

#[inline(always)]
fn unsafe_get(sk: u64) -> Option<SocketOwner> {
    // SAFETY: copied at once; a torn value could only name a wrong owner for one event.
    unsafe { SOCKETS.get(sk) }.copied()
}

/// Unique in a capture: two sockets cannot be first seen on one CPU in the same nanosecond.
#[inline(always)]
fn new_id() -> u64 {
    // SAFETY: helpers without preconditions.
    unsafe { (bpf_ktime_get_boot_ns() << 10) | u64::from(bpf_get_smp_processor_id() & 1023) }
}

#[btf_tracepoint(function = "inet_sock_set_state")]
fn inet_sock_set_state(ctx: BtfTracePointContext) -> i32 {
    tcp_state(&ctx);
    0
}

#[inline(always)]
fn tcp_state(ctx: &BtfTracePointContext) -> Option<()> {
    let sk: u64 = ctx.arg(0);
    let old = ctx.arg::<i32>(1) as u8;
    let new = ctx.arg::<i32>(2) as u8;
    if setting!(empty) != 0 {
        return None;
    }
    // connect and listen run in the caller's context; every other change may be a stranger's.
    let known = unsafe_get(sk);
    let owner = if new == TCP_SYN_SENT || new == TCP_LISTEN {
        let current = current_or_recorder();
        let wanted = filter::wants(current, u64::from(option::WHO));
        // SAFETY: a helper without preconditions.
        own(sk, current, unsafe { bpf_ktime_get_boot_ns() }, wanted)
    } else {
        match known {
            Some(owner) => owner,
            None => own(sk, NOBODY, 0, wants_nobody()),
        }
    };
    let ended = old == TCP_SYN_SENT && (new == TCP_ESTABLISHED || new == TCP_CLOSE);
    let closed = new == TCP_CLOSE;
    if new == TCP_ESTABLISHED {
        let owner = SocketOwner {
            // SAFETY: a helper without preconditions.
            established_ns: unsafe { bpf_ktime_get_boot_ns() },
            ..owner
        };
        let _ = SOCKETS.insert(sk, owner, u64::from(BPF_ANY));
    }
    if closed {
        let _ = SOCKETS.remove(sk);
    }
    let current = wanted_owner(probe::TCP_STATE, &owner)?;
    let socket = ends(sk);
    if setting!(filter) & (option::WHAT | option::WHERE) != 0 {
        // SAFETY: a helper without preconditions.
        let now_ns = unsafe { bpf_ktime_get_boot_ns() };
        let since = if ended && owner.connect_ns != 0 {
            owner.connect_ns
        } else if closed && owner.established_ns != 0 {
            owner.established_ns
        } else {
            now_ns
        };
        let lasted_ns = now_ns.saturating_sub(since);
        connection_wanted(probe::TCP_STATE, kind::TCP_STATE, &socket, lasted_ns)?;
    }
    let header = header_of_wanted(probe::TCP_STATE, kind::TCP_STATE, current)?;
    submit(
        Ring::Urgent,
        probe::TCP_STATE,
        TcpStateRecord {
            header,
            sock_id: owner.id,
            sent_bytes: at_close(closed, sk, offset!(tcp_sent)).wrapping_sub(at_close(
                closed,
                sk,
                offset!(tcp_retrans),
            )),
            received_bytes: at_close(closed, sk, offset!(tcp_received)),
            duration_ns: if closed && owner.established_ns != 0 {
                header.boot_ns.saturating_sub(owner.established_ns)
            } else {
                0
            },
            error: if closed && offset!(sock_err) != Offsets::MISSING as usize {
                read(sk, offset!(sock_err))
            } else {
                0
            },
            reserved: 0,
            latency_ns: if ended && owner.connect_ns != 0 {
                header.boot_ns.saturating_sub(owner.connect_ns)
            } else {
                0
            },
            old,
            new,
            family: socket.family,
            local_port: socket.local_port,
            remote_port: socket.remote_port,
            local: socket.local,
            remote: socket.remote,
        },
    );
    Some(())
}

/// The current thread, be it the recorder's.
#[inline(always)]
fn current_or_recorder() -> Current {
    whoever().unwrap_or(Current {
        pid_tgid: u64::from(setting!(self_tgid)) << 32,
        cgroup_id: 0,
    })
}

/// Does the filter want what nobody is known to own?
#[inline(always)]
fn wants_nobody() -> bool {
    filter::wants(NOBODY, u64::from(option::WHO) | filter::NOBODY)
}

/// The owner, or None when the filter rejects it (then it has been counted) or it is the recorder.
#[inline(always)]
fn wanted_owner(probe: u8, owner: &SocketOwner) -> Option<Current> {
    let current = Current {
        pid_tgid: owner.pid_tgid,
        cgroup_id: owner.cgroup_id,
    };
    if is_recorder(current) {
        return None;
    }
    if setting!(filter) & option::WHO != 0 && owner.wanted == 0 {
        filter::reject(probe);
        return None;
    }
    Some(current)
}

/// Does the filter want this event of a connection? None: it does not, which has been counted.
#[inline(always)]
fn connection_wanted(probe: u8, kind: u8, ends: &Ends, lasted_ns: u64) -> Option<()> {
    if !filter::connection_kind_wanted(kind) {
        filter::reject(probe);
        return None;
    }
    filter::place_wanted(probe, of_ends(ends), lasted_ns).then_some(())
}

/// A count of the `tcp_sock`, which a kernel may not have.
#[inline(always)]
fn at_close(closed: bool, sk: u64, offset: usize) -> u64 {
    if closed && offset != Offsets::MISSING as usize {
        read(sk, offset)
    } else {
        0
    }
}

/// [`TcpEventRecord::what`].
mod what {
    pub const RETRANSMIT: u8 = 1;
    pub const RESET_SENT: u8 = 2;
    pub const RESET_RECEIVED: u8 = 3;
}

#[btf_tracepoint(function = "tcp_retransmit_skb")]
fn tcp_retransmit_skb(ctx: BtfTracePointContext) -> i32 {
    tcp_event(probe::TCP_RETRANSMIT, what::RETRANSMIT, ctx.arg(0));
    0
}

#[btf_tracepoint(function = "tcp_receive_reset")]
fn tcp_receive_reset(ctx: BtfTracePointContext) -> i32 {
    tcp_event(probe::TCP_RESET_RECEIVED, what::RESET_RECEIVED, ctx.arg(0));
    0
}

#[btf_tracepoint(function = "tcp_send_reset")]
fn tcp_send_reset(ctx: BtfTracePointContext) -> i32 {
    let sk: u64 = ctx.arg(0);
    if sk != 0 {
        tcp_event(probe::TCP_RESET_SENT, what::RESET_SENT, sk);
    } else {
        reset_of_none(ctx.arg(1));
    }
    0
}

const NOBODY: Current = Current {
    pid_tgid: 0,
    cgroup_id: 0,
};

/// [`NOBODY`], or None when the filter asks for somebody.
#[inline(always)]
fn wanted_nobody(probe: u8) -> Option<Current> {
    if !wants_nobody() {
        filter::reject(probe);
        return None;
    }
    Some(NOBODY)
}

#[inline(always)]
fn tcp_event(probe: u8, what: u8, sk: u64) -> Option<()> {
    if setting!(empty) != 0 {
        return None;
    }
    let owner = unsafe_get(sk);
    let current = match &owner {
        Some(owner) => wanted_owner(probe, owner)?,
        None => wanted_nobody(probe)?,
    };
    let socket = ends(sk);
    connection_wanted(probe, kind::TCP_EVENT, &socket, 0)?;
    let header = header_of_wanted(probe, kind::TCP_EVENT, current)?;
    submit(
        Ring::Urgent,
        probe,
        TcpEventRecord {
            header,
            sock_id: owner.map_or(0, |owner| owner.id),
            what,
            state: read(sk, offset!(skc_state)),
            family: socket.family,
            local_port: socket.local_port,
            remote_port: socket.remote_port,
            local: socket.local,
            remote: socket.remote,
        },
    );
    Some(())
}

/// A reset that answers a segment for which there is no socket: what a scan of ports gets. The ends
/// are in the segment, turned around.
#[inline(always)]
fn reset_of_none(skb: u64) -> Option<()> {
    // Newer kernels want to see that it was looked at.
    if setting!(empty) != 0 || skb == 0 {
        return None;
    }
    let current = wanted_nobody(probe::TCP_RESET_SENT)?;
    let head: u64 = read(skb, offset!(skb_head));
    let network = head + u64::from(read::<u16>(skb, offset!(skb_network)));
    let transport = head + u64::from(read::<u16>(skb, offset!(skb_transport)));
    let (mut local, mut remote) = ([0u8; 16], [0u8; 16]);
    // struct iphdr: version in the upper half of byte 0, source at 12, destination at 16; struct
    // ipv6hdr: at 8 and 24; struct tcphdr: source port, destination port.
    let family = if read::<u8>(network, 0) >> 4 == 4 {
        let (source, destination): ([u8; 4], [u8; 4]) = (read(network, 12), read(network, 16));
        local[..4].copy_from_slice(&destination);
        remote[..4].copy_from_slice(&source);
        AF_INET
    } else {
        local = read(network, 24);
        remote = read(network, 8);
        AF_INET6
    };
    let ends = Ends {
        family,
        local_port: u16::from_be(read(transport, 2)),
        remote_port: u16::from_be(read(transport, 0)),
        local,
        remote,
    };
    connection_wanted(probe::TCP_RESET_SENT, kind::TCP_EVENT, &ends, 0)?;
    let header = header_of_wanted(probe::TCP_RESET_SENT, kind::TCP_EVENT, current)?;
    submit(
        Ring::Urgent,
        probe::TCP_RESET_SENT,
        TcpEventRecord {
            header,
            sock_id: 0,
            what: what::RESET_SENT,
            state: 0,
            family: ends.family,
            local_port: ends.local_port,
            remote_port: ends.remote_port,
            local: ends.local,
            remote: ends.remote,
        },
    );
    Some(())
}
