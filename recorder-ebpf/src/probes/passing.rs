//! Descriptors that processes hand to each other in messages of unix sockets (`SCM_RIGHTS`).
//!
//! Where they are stands in the message's control data, which is in user memory: read after the call, so that
//! a sender could have changed it, or have hidden some behind others. What a receiver has there, the kernel
//! wrote. What the descriptors are is read from the process's own table, which has them on both sides.
//!
//! Both sides have the same `struct file`. So who sent it is remembered by that and by the socket it goes to,
//! and is known when it arrives, be the socket inherited or not connected at all. Where the receiver was done
//! before the sender, there is what the socket itself says of its other end.

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use recorder_ebpf::{
    Offsets, PASSED_FDS_MAX, PASSING_STEPS_MAX, PassedRecord, Passer, kind, passed, probe,
};

use crate::{
    PASSERS, Ring, Scratch, header, io,
    kernel::{climb, file_of, read},
    offset, scratch, scratch_of, send,
    sniff::{MMSGHDR, ODD, SENT, knows_peers, peer_of, user, within, word},
    sockets::sock_of,
    whoever,
};

/// `sizeof(struct cmsghdr)`: length, level, type.
const CMSGHDR: u64 = 16;
const SOL_SOCKET: u64 = 1;
const SCM_RIGHTS: u64 = 1;
const MSG_CTRUNC: u64 = 8;
/// include/linux/fs.h.
const FMODE_READ: u32 = 1;
const FMODE_WRITE: u32 = 2;

/// Where a walk over the messages of a call has come to. It lies at the beginning of the scratch's fixed part,
/// which a [`PassedRecord`] does not reach: 5.10 has no stack left for it, because the walk along a path needs
/// what `sys_exit` leaves, and so may have nothing in between.
#[repr(C)]
struct Walk {
    /// As in `sniff`.
    how: u64,
    /// The socket, as for `io`.
    key: u64,
    /// The next `struct msghdr`, and how many are left.
    message: u64,
    messages: u64,
    /// The next control message, and how many bytes are left with it.
    control: u64,
    control_bytes: u64,
    /// Of the message at hand.
    cut: u64,
    /// The next descriptor of the control message at hand, and how many are left.
    place: u64,
    left: u64,
    /// How many these are in all.
    count: u64,
    /// What was found: the descriptor and its file.
    fd: u64,
    file: u64,
}

const _: () = assert!(
    size_of::<Walk>() + size_of::<PassedRecord>() <= crate::FIXED_WORDS * 8,
    "they lie in one array"
);

impl Scratch {
    #[inline(always)]
    fn walk(&mut self) -> *mut Walk {
        self.fixed.as_mut_ptr().cast()
    }
}

/// Reads and writes a word of a [`Walk`], so that the compiler keeps none on the stack.
macro_rules! at {
    ($walk:ident.$field:ident) => {
        // SAFETY: inside the scratch, which is this CPU's and this program's.
        unsafe { (&raw const (*$walk).$field).read_volatile() }
    };
    ($walk:ident.$field:ident = $value:expr) => {{
        let value = $value;
        // SAFETY: as above.
        unsafe { (&raw mut (*$walk).$field).write_volatile(value) }
    }};
}

/// A call that passed `messages` messages through a unix socket; `first`: where the first `struct msghdr` is.
/// `how` as in `sniff`, `key`: the socket, as for `io`.
#[inline(always)]
pub fn look(how: u64, key: u64, first: u64, messages: u64) -> Option<()> {
    begin(how, key, first, messages);
    let mut found = 0;
    while found < PASSED_FDS_MAX && next() != 0 {
        let file = found_file()?;
        let came_to_end = climb(probe::SYS_EXIT.into(), file.0, file.1);
        tell(came_to_end);
        found += 1;
    }
    Some(())
}

/// Each function here is seen from outside, so that the verifier looks at it on its own and it costs its
/// caller no stack.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn begin(how: u64, key: u64, first: u64, messages: u64) -> u64 {
    let Some(scratch) = scratch_of(u32::from(probe::SYS_EXIT)) else {
        return 0;
    };
    let walk = scratch.walk();
    at!(walk.how = how);
    at!(walk.key = key);
    at!(walk.message = first);
    at!(walk.messages = messages);
    at!(walk.control_bytes = 0);
    at!(walk.left = 0);
    messages
}

/// Goes on to the next descriptor. 0: there is none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn next() -> u64 {
    let Some(scratch) = scratch_of(u32::from(probe::SYS_EXIT)) else {
        return 0;
    };
    let walk = scratch.walk();
    let place = scratch.data.as_mut_ptr().cast::<u64>();
    let mut step = 0;
    while step < PASSING_STEPS_MAX {
        step += 1;
        let left = at!(walk.left);
        if left != 0 {
            let at = at!(walk.place);
            at!(walk.place = at + 4);
            at!(walk.left = left - 1);
            // SAFETY: into the data; the helper checks the source.
            let failed = unsafe { bpf_probe_read_user(place.cast(), 4, at as *const _) };
            let fd = word(place, 0) & 0xffff_ffff;
            let file = if failed < 0 { 0 } else { file_of(fd as u32) };
            if file != 0 {
                at!(walk.fd = fd);
                at!(walk.file = file);
                return 1;
            }
            continue;
        }
        let bytes = at!(walk.control_bytes);
        if bytes >= CMSGHDR {
            // As `for_each_cmsghdr` (include/linux/socket.h) does.
            let control = at!(walk.control);
            user::<2>(place, control);
            let (len, what) = (word(place, 0), word(place, 1));
            let to_next = (len + 7) & !7;
            if len < CMSGHDR || len > bytes || to_next >= bytes {
                at!(walk.control_bytes = 0);
            } else {
                at!(walk.control = control + to_next);
                at!(walk.control_bytes = bytes - to_next);
            }
            if len >= CMSGHDR && len <= bytes && what == SOL_SOCKET | SCM_RIGHTS << 32 {
                let count = (len - CMSGHDR) / 4;
                at!(walk.place = control + CMSGHDR);
                at!(walk.left = count);
                at!(walk.count = count);
            }
            continue;
        }
        let messages = at!(walk.messages);
        if messages == 0 {
            return 0;
        }
        let message = at!(walk.message);
        at!(walk.messages = messages - 1);
        at!(walk.message = message + MMSGHDR);
        // struct user_msghdr: name, its length, vector, its length, control, its length, flags.
        user::<7>(place, message);
        at!(walk.control = word(place, 4));
        at!(walk.control_bytes = word(place, 5));
        at!(walk.cut = word(place, 6) & MSG_CTRUNC);
    }
    0
}

/// Dentry and mount of the file that was found. The scratch is ready for its path.
#[inline(always)]
fn found_file() -> Option<(u64, u64)> {
    let scratch = scratch(probe::SYS_EXIT)?;
    let walk = scratch.walk();
    let address = at!(walk.file);
    let path = offset!(file_path);
    Some((
        read(address, path + offset!(path_dentry)),
        read(address, path + offset!(path_mnt)),
    ))
}

/// Sends what was found, with its path from the scratch.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tell(came_to_end: u64) -> u64 {
    let _ = told(came_to_end != 0);
    0
}

#[inline(always)]
fn told(came_to_end: bool) -> Option<()> {
    let scratch = scratch_of(u32::from(probe::SYS_EXIT))?;
    let walk = scratch.walk();
    let (how, key) = (at!(walk.how), at!(walk.key));
    if let Some(entry) = io::get(how & ODD != 0, key)
        && !within(entry)
    {
        return None;
    }
    let current = whoever()?;
    let sent = how & SENT != 0;
    let address = at!(walk.file);
    let mode: u32 = read(address, offset!(file_mode));
    let mut marks = 0;
    if !came_to_end {
        marks |= passed::PATH_CUT;
    }
    let dentry: u64 = read(address, offset!(file_path) + offset!(path_dentry));
    if scratch.components() == 1 && read::<u64>(dentry, offset!(dentry_parent)) == dentry {
        marks |= passed::NOWHERE;
    }
    if mode & FMODE_READ != 0 {
        marks |= passed::READABLE;
    }
    if mode & FMODE_WRITE != 0 {
        marks |= passed::WRITABLE;
    }
    if !sent && at!(walk.cut) != 0 {
        marks |= passed::CUT;
    }
    let end = scratch.at();
    let record = scratch.fixed::<PassedRecord>();
    record.header = header(probe::SYS_EXIT, kind::PASSED_FD, current)?;
    record.header.data_len = end as u32;
    let inode: u64 = read(address, offset!(file_inode));
    let superblock: u64 = read(inode, offset!(inode_sb));
    record.ino = read(inode, offset!(inode_ino));
    record.dev = read(superblock, offset!(sb_dev));
    record.mode = u32::from(read::<u16>(inode, offset!(inode_mode)));
    record.socket = key as i32;
    record.fd = at!(walk.fd) as i32;
    record.sent = u32::from(sent);
    let count = at!(walk.count);
    record.count = count as u32;
    record.place = (count - at!(walk.left) - 1) as u32;
    record.reserved = 0;
    record.peer_pid = 0;
    record.peer_cgroup_id = 0;
    let sk = sock_of(key as u32);
    let seen = if sent {
        let peer = offset!(unix_peer);
        let to = if peer == Offsets::MISSING as usize {
            0
        } else {
            read(sk, peer)
        };
        let by = Passer {
            pid_tgid: current.pid_tgid,
            cgroup_id: current.cgroup_id,
        };
        // The table makes room for it.
        let _ = PASSERS.insert([address, to], by, 0);
        None
    } else {
        passer(address, sk).or_else(|| passer(address, 0))
    };
    if let Some(by) = seen {
        marks |= passed::SENDER_SEEN;
        record.peer_pid = (by.pid_tgid >> 32) as u32;
        record.peer_cgroup_id = by.cgroup_id;
    } else if knows_peers() {
        (record.peer_pid, record.peer_cgroup_id) = peer_of(sk);
    }
    record.marks = marks;
    send::<PassedRecord>(Ring::Urgent, probe::SYS_EXIT, scratch);
    Some(())
}

/// Who sent this file to this socket last.
#[inline(always)]
fn passer(file: u64, sk: u64) -> Option<Passer> {
    // SAFETY: copied at once; a torn value could only name a wrong sender for one event.
    unsafe { PASSERS.get([file, sk]) }.copied()
}
