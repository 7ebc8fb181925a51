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
/// Calls that take many messages: their results are messages, not bytes, so they are counted per cgroup.
const MANY: [(&str, bool); 2] = [("recvmmsg", false), ("sendmmsg", true)];
/// Calls whose data can be those of a socket, and where they are.
const PAYLOADS: [(&str, u32); 10] = [
    ("read", IoShape::BUFFER),
    ("readv", IoShape::VECTOR),
    ("recvfrom", IoShape::BUFFER),
    ("recvmsg", IoShape::MESSAGE),
    ("recvmmsg", IoShape::MESSAGE),
    ("write", IoShape::BUFFER),
    ("writev", IoShape::VECTOR),
    ("sendto", IoShape::BUFFER),
    ("sendmsg", IoShape::MESSAGE),
    ("sendmmsg", IoShape::MESSAGE),
];

/// Calls that can pass descriptors.
const PASSING: [&str; 4] = ["recvmsg", "recvmmsg", "sendmsg", "sendmmsg"];

/// Calls whose first bytes can be recorded.
pub const PAYLOAD_CALLS: [&str; 10] = [
    "read", "pread64", "readv", "recvfrom", "recvmsg", "write", "pwrite64", "writev", "sendto",
    "sendmsg",
];

/// What is done with these calls.
#[derive(Clone, Copy, Debug)]
pub struct How<'a> {
    /// Each is an event.
    pub record: bool,
    /// HTTP is looked for in what they carry.
    pub http: bool,
    /// DNS and addresses of UDP are.
    pub udp: bool,
    /// Descriptors that they pass are.
    pub passing: bool,
    /// Of [`PAYLOAD_CALLS`] those that are events with their first bytes.
    pub payload: &'a [&'static str],
}

/// Policy values by name; where each call is an event, only of those that can be a socket's.
pub fn policies(arch: Arch, how: How<'_>) -> impl Iterator<Item = (&'static str, u32)> {
    const { assert!(CALLS.len() <= SECOND && SECOND + CALLS.len() - BOTH <= IoShape::MANY as usize) };
    const { assert!((IoShape::MANY as usize) < URING_READ && URING_READ < URING_WRITE) };
    const { assert!(URING_WRITE < IoShape::NONE as usize && IO_SLOTS > IoShape::NONE as usize) };
    let counted = CALLS
        .iter()
        .enumerate()
        .map(|(slot, &(name, read, write))| {
            let both = read.is_some() && write.is_some();
            let place = |fd: Option<u32>, slot: usize| fd.map_or(IoShape::NONE, |_| slot as u32);
            let second = if both { SECOND + slot - BOTH } else { slot };
            (name, place(read, slot), place(write, second), read, write)
        });
    let many = MANY.iter().map(|&(name, writes)| match writes {
        true => (name, IoShape::NONE, IoShape::MANY, None, Some(0)),
        false => (name, IoShape::MANY, IoShape::NONE, Some(0), None),
    });
    counted
        .chain(many)
        .map(move |(name, read, write, read_fd, write_fd)| {
            let payload = PAYLOADS.iter().find(|(payload, _)| *payload == name);
            let asked = how.payload.contains(&name);
            // Of those that are no socket's.
            let place = if asked { IoShape::BUFFER } else { 0 };
            let shape = IoShape {
                read,
                write,
                read_fd: read_fd.unwrap_or(0),
                write_fd: write_fd.unwrap_or(0),
                arity: number(arch, name)
                    .and_then(|nr| arity(arch, nr))
                    .unwrap_or(6)
                    .into(),
                record: how.record || asked,
                payload: payload.map_or(place, |(_, payload)| *payload),
                http: how.http && payload.is_some(),
                udp: how.udp && payload.is_some(),
                passing: how.passing && PASSING.contains(&name),
            };
            let action = if asked { action::PAYLOAD } else { action::IO };
            (name, action, shape)
        })
        .filter(move |(_, _, shape)| !how.record || shape.payload != 0)
        .map(|(name, action, shape)| (name, action | shape.pack()))
}

/// Slots of calls that read, as bits; the others write.
const READING: u32 = {
    let (mut bits, mut slot) = (1 << URING_READ, 0);
    while slot < CALLS.len() {
        if CALLS[slot].1.is_some() {
            bits |= 1 << slot;
        }
        slot += 1;
    }
    bits
};

/// What was counted as the event's fields.
pub fn event(fd: u32, count: &IoCount, device: u64) -> Io {
    const { assert!(IO_SLOTS as u32 <= u32::BITS) };
    let (mut reads, mut writes) = (0, 0);
    for (slot, &calls) in count.calls.iter().enumerate() {
        let read = u64::from(READING >> slot & 1);
        reads += u64::from(calls) * read;
        writes += u64::from(calls) * (1 - read);
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

/// The numbers of [`CALLS`], looked up once.
#[derive(Clone, Copy)]
pub struct Numbers([Option<u32>; CALLS.len()]);

impl Numbers {
    pub fn of(arch: Arch) -> Self {
        Numbers(CALLS.map(|(name, ..)| number(arch, name)))
    }

    /// Adds the calls to the counts per cgroup: a call counts once, whatever descriptors it has.
    pub fn add(&self, count: &IoCount, calls: &mut Calls) {
        for (&nr, &times) in self.0.iter().zip(&count.calls) {
            if times > 0
                && let Some(nr) = nr
            {
                *calls.entry([count.cgroup_id, nr.into()]).or_default() += u64::from(times);
            }
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

    const COUNTED: How = How {
        record: false,
        http: true,
        udp: true,
        passing: true,
        payload: &[],
    };

    #[test]
    fn every_call_exists_and_its_shape_survives_packing() {
        for (at, (name, policy)) in policies(Arch::X86_64, COUNTED).enumerate() {
            assert!(number(Arch::X86_64, name).is_some(), "{name}");
            let shape = IoShape::unpack(policy);
            let (_, read, write) = CALLS.get(at).copied().unwrap_or_else(|| {
                let (name, writes) = MANY[at - CALLS.len()];
                (name, (!writes).then_some(0), writes.then_some(0))
            });
            assert_eq!(shape.read != IoShape::NONE, read.is_some(), "{name}");
            assert_eq!(shape.write != IoShape::NONE, write.is_some(), "{name}");
            assert_eq!(shape.pack() | action::IO, policy);
            let two = read.is_some() && write.is_some();
            assert_eq!(two, (BOTH..CALLS.len()).contains(&at), "{name}");
            assert!(!two || shape.read != shape.write);
            // The data of a call with two descriptors are in no memory of the caller.
            assert!(!two || shape.payload == 0, "{name}");
        }
    }

    #[test]
    fn what_is_looked_at_is_what_was_asked_for() {
        use recorder_ebpf::sniff;
        let wants = |how| -> Vec<u64> {
            let all = policies(Arch::X86_64, how).map(|(_, policy)| IoShape::wants(policy));
            all.filter(|wants| *wants != 0).collect()
        };
        let network = |bits| move |wants: &u64| wants & !sniff::UNIX == bits;
        let unix = |wants: &u64| wants & sniff::UNIX != 0;
        let with = wants(COUNTED);
        assert_eq!(with.len(), PAYLOADS.len());
        assert!(with.iter().all(network(sniff::ALL_UDP | sniff::TCP)));
        assert_eq!(with.iter().filter(|bits| unix(bits)).count(), PASSING.len());
        let without = How {
            record: true,
            http: false,
            passing: false,
            ..COUNTED
        };
        assert_eq!(wants(without), vec![sniff::ALL_UDP; PAYLOADS.len()]);
    }

    #[test]
    fn calls_with_payloads_are_recorded_and_say_where_their_bytes_are() {
        for record in [false, true] {
            let how = How {
                record,
                payload: &PAYLOAD_CALLS,
                ..COUNTED
            };
            let all: HashMap<&str, u32> = policies(Arch::X86_64, how).collect();
            for name in PAYLOAD_CALLS {
                let shape = IoShape::unpack(all[name]);
                assert_eq!(all[name] & action::MASK, action::PAYLOAD, "{name}");
                assert!(shape.record && shape.payload != 0, "{name}");
            }
            let others = all.iter().filter(|(name, _)| !PAYLOAD_CALLS.contains(name));
            assert!(others.clone().count() > 0);
            assert!(
                others
                    .map(|(_, policy)| policy & action::MASK)
                    .all(|what| what == action::IO)
            );
        }
        assert!(
            policies(Arch::X86_64, COUNTED).all(|(_, policy)| policy & action::MASK == action::IO)
        );
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
        let numbers = Numbers::of(Arch::X86_64);
        numbers.add(&from, &mut calls);
        numbers.add(&to, &mut calls);
        let sendfile = number(Arch::X86_64, "sendfile").unwrap().into();
        assert_eq!(calls.into_iter().collect::<Vec<_>>(), [([7, sendfile], 1)]);
    }
}
