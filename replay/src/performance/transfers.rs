//! Bytes that calls moved, by what they were moved from and to: single calls where the profile records
//! them, else the sums of each descriptor.

use std::cmp::Reverse;

use hashbrown::HashMap;
use trace_format::{
    Event, EventData, Text,
    event::{IoKind, Payload, Syscall},
};

use crate::{
    resolve::{Descriptor, State},
    syscalls::Transfers,
};

/// Files of all containers that are counted by themselves; more than a busy host has open in an hour.
pub const FILES_MAX: usize = 65_536;

/// What was moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    pub reads: u64,
    pub read_bytes: u64,
    pub writes: u64,
    pub written_bytes: u64,
}

impl Moved {
    pub fn add(&mut self, more: Moved) {
        self.reads = self.reads.saturating_add(more.reads);
        self.read_bytes = self.read_bytes.saturating_add(more.read_bytes);
        self.writes = self.writes.saturating_add(more.writes);
        self.written_bytes = self.written_bytes.saturating_add(more.written_bytes);
    }

    pub fn is_nothing(&self) -> bool {
        *self == Moved::default()
    }
}

/// Kinds of descriptors, in the order in which they are shown.
pub const KINDS: [u8; 6] = [
    IoKind::FILE,
    IoKind::SOCKET,
    IoKind::PIPE,
    IoKind::DEVICE,
    IoKind::OTHER,
    IoKind::UNKNOWN,
];

/// What was moved through one kind of descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByKind([Moved; KINDS.len()]);

impl ByKind {
    pub fn add(&mut self, kind: IoKind, more: Moved) {
        let last = KINDS.len() - 1;
        let at = KINDS.iter().position(|known| *known == kind.0);
        self.0[at.unwrap_or(last)].add(more);
    }

    pub fn each(&self) -> impl Iterator<Item = (IoKind, &Moved)> {
        KINDS.iter().map(|kind| IoKind(*kind)).zip(&self.0)
    }
}

/// One side of what an event tells was moved.
pub struct Side<'a> {
    pub moved: Moved,
    pub fd: i32,
    pub kind: IoKind,
    /// What the trace tells of the descriptor beyond that.
    pub descriptor: Option<&'a Descriptor>,
}

impl<'a> Side<'a> {
    /// Of a file or device whose name is known.
    pub fn path(&self) -> Option<&'a Text> {
        let found = self.descriptor?;
        (found.io_kind().0 == IoKind::FILE && !found.path.is_empty()).then_some(&found.path)
    }
}

/// Whether the descriptor can be the one that the recorder says is of that kind. A device is opened like a
/// file.
fn fits(found: &Descriptor, kind: IoKind) -> bool {
    let known = found.io_kind();
    known == kind || known.0 == IoKind::FILE && kind.0 == IoKind::DEVICE
}

/// Calls `each` with what the event tells was moved: nothing, from or to one descriptor, or between two.
pub fn sides<'a>(
    event: &Event,
    state: &'a State,
    transfers: &Transfers,
    mut each: impl FnMut(Side<'a>),
) {
    let descriptor = |fd: i32| {
        let process = state.process_of(event)?;
        state.descriptor(process, fd)
    };
    match &event.data {
        EventData::Io(io) => {
            let kind = io.kind;
            // The number may have meant something else in the meantime.
            let found = descriptor(io.fd).filter(|found| fits(found, kind));
            each(Side {
                moved: Moved {
                    reads: io.reads,
                    read_bytes: io.read_bytes,
                    writes: io.writes,
                    written_bytes: io.written_bytes,
                },
                fd: io.fd,
                kind,
                descriptor: found,
            });
        }
        EventData::Syscall(call) | EventData::Payload(Payload { call, .. }) => {
            let Some(transfer) = transfers.of(call.nr) else {
                return;
            };
            let Ok(bytes) = u64::try_from(call.ret) else {
                return;
            };
            let mut one = |argument: Option<u8>, moved: Moved| {
                let Some(argument) = argument else { return };
                let fd = fd(call, argument);
                let found = descriptor(fd);
                each(Side {
                    moved,
                    fd,
                    kind: transfer.kind(found),
                    descriptor: found,
                });
            };
            let (read, written) = (
                Moved {
                    reads: 1,
                    read_bytes: bytes,
                    ..Moved::default()
                },
                Moved {
                    writes: 1,
                    written_bytes: bytes,
                    ..Moved::default()
                },
            );
            one(transfer.from, read);
            one(transfer.to, written);
        }
        _ => {}
    }
}

fn fd(call: &Syscall, argument: u8) -> i32 {
    // The kernel looks at the lower half.
    call.args[usize::from(argument)] as i32
}

/// Files by container, bounded by [`FILES_MAX`].
#[derive(Default)]
pub struct Files {
    moved: HashMap<(u64, Text), Moved>,
    /// What had no room.
    pub left_out: u64,
}

impl Files {
    pub fn add(&mut self, container: u64, path: &Text, more: Moved) {
        let key = (container, path.clone());
        if self.moved.len() >= FILES_MAX && !self.moved.contains_key(&key) {
            self.left_out += 1;
            return;
        }
        self.moved.entry(key).or_default().add(more);
    }

    /// A container's files, those with the most bytes first.
    pub fn top(&self, container: u64, most: usize) -> Vec<(&Text, &Moved)> {
        let of = self.moved.iter().filter(|(key, _)| key.0 == container);
        let mut files: Vec<(&Text, &Moved)> = of.map(|(key, moved)| (&key.1, moved)).collect();
        files.sort_by_key(|(path, moved)| {
            (
                Reverse(moved.read_bytes.saturating_add(moved.written_bytes)),
                *path,
            )
        });
        files.truncate(most);
        files
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_bounded_and_the_largest_come_first() {
        let mut files = Files::default();
        for number in 0..FILES_MAX as u64 + 3 {
            let path = Text::from(format!("/f{number}").into_bytes());
            let moved = Moved {
                reads: 1,
                read_bytes: number,
                ..Moved::default()
            };
            files.add(7, &path, moved);
        }
        assert_eq!(files.left_out, 3);
        let top = files.top(7, 2);
        assert_eq!(top[0].1.read_bytes, FILES_MAX as u64 - 1);
        assert_eq!(top[1].1.read_bytes, FILES_MAX as u64 - 2);
        assert!(files.top(8, 2).is_empty());
    }

    #[test]
    fn unknown_kinds_are_counted_as_such() {
        let mut kinds = ByKind::default();
        let one = Moved {
            writes: 1,
            written_bytes: 5,
            ..Moved::default()
        };
        kinds.add(IoKind(200), one);
        kinds.add(IoKind(IoKind::SOCKET), one);
        let told: Vec<u8> = kinds
            .each()
            .filter(|(_, moved)| !moved.is_nothing())
            .map(|(kind, _)| kind.0)
            .collect();
        assert_eq!(told, [IoKind::SOCKET, IoKind::UNKNOWN]);
    }
}
