//! Calls that read or write: what the probes count of them per descriptor, and what is made of the counts.

use hashbrown::HashMap;
use recorder_ebpf::{IO_SLOTS, IoCount, IoShape, URING_READ, URING_WRITE, action};
use trace_format::{
    event::{Io, IoKind},
    syscalls::{Arch, arity, number},
};

/// Calls by (cgroup, number), as the probes count the others.
pub type Calls = HashMap<[u64; 2], u64>;

/// Descriptor arguments: read from, written to. A call's place here is its slot in [`IoCount::calls`].
/// recvmmsg and sendmmsg are not here: their results are messages, not bytes.
#[rustfmt::skip]
const CALLS: [(&str, Option<u32>, Option<u32>); 19] = [
    ("read",            Some(0), None),
    ("pread64",         Some(0), None),
    ("readv",           Some(0), None),
    ("preadv",          Some(0), None),
    ("preadv2",         Some(0), None),
    ("recvfrom",        Some(0), None),
    ("recvmsg",         Some(0), None),
    ("write",           None, Some(0)),
    ("pwrite64",        None, Some(0)),
    ("writev",          None, Some(0)),
    ("pwritev",         None, Some(0)),
    ("pwritev2",        None, Some(0)),
    ("sendto",          None, Some(0)),
    ("sendmsg",         None, Some(0)),
    ("vmsplice",        None, Some(0)),
    ("sendfile",        Some(1), Some(0)),
    ("splice",          Some(0), Some(2)),
    ("tee",             Some(0), Some(1)),
    ("copy_file_range", Some(0), Some(2)),
];
/// Slots of the writing sides of calls that have both, from here on; they count no call of their own.
const SECOND: usize = 24;
/// The first call of [`CALLS`] that has both.
const BOTH: usize = 15;

/// Policy values by name.
pub fn policies(arch: Arch) -> impl Iterator<Item = (&'static str, u32)> {
    const { assert!(CALLS.len() <= SECOND && SECOND + CALLS.len() - BOTH <= URING_READ) };
    const { assert!(URING_READ < URING_WRITE && URING_WRITE < IO_SLOTS - 1) };
    CALLS
        .iter()
        .enumerate()
        .map(move |(slot, &(name, read, write))| {
            let both = read.is_some() && write.is_some();
            let place = |fd: Option<u32>, slot: usize| fd.map_or(IoShape::NONE, |_| slot as u32);
            let shape = IoShape {
                read: place(read, slot),
                write: place(write, if both { SECOND + slot - BOTH } else { slot }),
                read_fd: read.unwrap_or(0),
                write_fd: write.unwrap_or(0),
                arity: number(arch, name)
                    .and_then(|nr| arity(arch, nr))
                    .unwrap_or(6)
                    .into(),
            };
            (name, action::IO | shape.pack())
        })
}

/// What was counted as the event's fields.
pub fn event(fd: u32, count: &IoCount, device: u64) -> Io {
    let (mut reads, mut writes) = (0, 0);
    for (slot, calls) in count.calls.iter().enumerate() {
        let read = slot == URING_READ || CALLS.get(slot).is_some_and(|call| call.1.is_some());
        *if read { &mut reads } else { &mut writes } += u64::from(*calls);
    }
    Io {
        fd: fd as i32,
        kind: kind(count),
        reads,
        read_bytes: count.bytes[0],
        writes,
        written_bytes: count.bytes[1],
        dev: device,
        ino: count.ino,
    }
}

/// Adds the calls to the counts per cgroup: a call counts once, whatever descriptors it has.
pub fn add(count: &IoCount, arch: Arch, calls: &mut Calls) {
    for (&(name, ..), &times) in CALLS.iter().zip(&count.calls) {
        if times > 0
            && let Some(nr) = number(arch, name)
        {
            *calls.entry([count.cgroup_id, nr.into()]).or_default() += u64::from(times);
        }
    }
}

fn kind(count: &IoCount) -> IoKind {
    IoKind(match u32::from(count.mode) & libc::S_IFMT {
        libc::S_IFREG | libc::S_IFDIR => IoKind::FILE,
        libc::S_IFSOCK => IoKind::SOCKET,
        libc::S_IFIFO => IoKind::PIPE,
        libc::S_IFCHR | libc::S_IFBLK => IoKind::DEVICE,
        _ if count.mode != 0 => IoKind::OTHER,
        _ => IoKind::UNKNOWN,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_exists_and_its_shape_survives_packing() {
        for (at, (name, policy)) in policies(Arch::X86_64).enumerate() {
            assert!(number(Arch::X86_64, name).is_some(), "{name}");
            let shape = IoShape::unpack(policy);
            let (_, read, write) = CALLS[at];
            assert_eq!(shape.read != IoShape::NONE, read.is_some(), "{name}");
            assert_eq!(shape.write != IoShape::NONE, write.is_some(), "{name}");
            assert_eq!(shape.pack() | action::IO, policy);
            let two = read.is_some() && write.is_some();
            assert_eq!(two, at >= BOTH, "{name}");
            assert!(!two || shape.read != shape.write);
        }
    }

    #[test]
    fn a_call_on_two_descriptors_counts_once_and_both_sides_have_it() {
        let mut from = IoCount {
            cgroup_id: 7,
            bytes: [10, 0],
            ..IoCount::default()
        };
        from.calls[BOTH] = 1;
        let mut to = IoCount {
            cgroup_id: 7,
            bytes: [0, 10],
            ..IoCount::default()
        };
        to.calls[SECOND] = 1;
        let (read, written) = (event(3, &from, 0), event(4, &to, 0));
        assert_eq!((read.reads, read.writes, read.read_bytes), (1, 0, 10));
        assert_eq!(
            (written.reads, written.writes, written.written_bytes),
            (0, 1, 10)
        );
        let mut calls = Calls::new();
        add(&from, Arch::X86_64, &mut calls);
        add(&to, Arch::X86_64, &mut calls);
        let sendfile = number(Arch::X86_64, "sendfile").unwrap().into();
        assert_eq!(calls.into_iter().collect::<Vec<_>>(), [([7, sendfile], 1)]);
    }
}
