//! Calls that move bytes: which of their arguments is the descriptor that they read from, and which the one
//! that they write to. The result of each is how many bytes it moved.

use trace_format::event::IoKind;

use super::{Arch, I386, NUMBERS, X32, name};
use crate::resolve::Descriptor;

/// Descriptor arguments of one call; of a call between two descriptors both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    pub from: Option<u8>,
    pub to: Option<u8>,
    /// The kernel takes sockets only.
    pub socket: bool,
}

impl Transfer {
    /// What is behind its descriptor, of which the trace may tell nothing.
    pub fn kind(self, descriptor: Option<&Descriptor>) -> IoKind {
        match descriptor {
            Some(descriptor) => descriptor.io_kind(),
            None if self.socket => IoKind(IoKind::SOCKET),
            None => IoKind(IoKind::UNKNOWN),
        }
    }
}

/// What the recorder sums per descriptor in the profiles that do not record such calls one by one. Calls
/// that take many messages have numbers of messages as results.
#[rustfmt::skip]
const CALLS: &[(&str, Option<u8>, Option<u8>)] = &[
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

/// [`Transfer`] by the number of a call: asked about every call that is recorded.
pub struct Transfers {
    arch: Arch,
    by_number: Box<[Option<Transfer>; NUMBERS]>,
}

impl Transfers {
    pub fn new(arch: Arch) -> Transfers {
        let mut by_number = Box::new([None; NUMBERS]);
        for (number, transfer) in (0..).zip(by_number.iter_mut()) {
            let call = name(arch, number);
            let call = call.and_then(|name| CALLS.iter().find(|call| call.0 == name));
            *transfer = call.map(|&(name, from, to)| Transfer {
                from,
                to,
                socket: matches!(name, "recvfrom" | "recvmsg" | "sendto" | "sendmsg"),
            });
        }
        Transfers { arch, by_number }
    }

    pub fn arch(&self) -> Arch {
        self.arch
    }

    /// `None`: the call moves no bytes, or is of a foreign table.
    #[inline]
    pub fn of(&self, nr: u32) -> Option<Transfer> {
        match nr & (I386 | X32) {
            0 => *self.by_number.get(nr as usize)?,
            _ => None,
        }
    }
}

impl Default for Transfers {
    fn default() -> Self {
        Transfers::new(Arch::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syscalls::number;

    #[test]
    fn every_call_exists_and_is_found_by_its_number() {
        let transfers = Transfers::default();
        for (name, from, to) in CALLS {
            let nr = number(Arch::X86_64, name).unwrap();
            let (from, to) = (*from, *to);
            let told = transfers.of(nr).map(|it| (it.from, it.to));
            assert_eq!(told, Some((from, to)), "{name}");
            assert_eq!(transfers.of(nr | I386), None, "{name}");
        }
        let close = number(Arch::X86_64, "close").unwrap();
        assert_eq!(transfers.of(close), None);
    }
}
