//! What a descriptor is that processes passed to each other, as far as the event says it: for rules, exports
//! and the descriptor table of who received it.

use trace_format::event::{PassedFd, PassedMarks};

use crate::resolve::{Descriptor, DescriptorKind};

/// `st_mode`: the type's bits and their values (include/uapi/linux/stat.h).
const S_IFMT: u32 = 0o170_000;
const S_IFIFO: u32 = 0o010_000;
const S_IFCHR: u32 = 0o020_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFBLK: u32 = 0o060_000;
const S_IFREG: u32 = 0o100_000;
const S_IFSOCK: u32 = 0o140_000;

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const AF_NETLINK: u16 = 16;
const SOCK_STREAM: u16 = 1;
const SOCK_DGRAM: u16 = 2;

/// Names that the kernel has for files without a place, and the letters that rules know them by.
const NAMED: [(&[u8], u8); 11] = [
    (b"[eventfd]", b'e'),
    (b"[eventpoll]", b'l'),
    (b"[io_uring]", b'r'),
    (b"[pidfd]", b'P'),
    (b"[signalfd]", b's'),
    (b"[timerfd]", b't'),
    (b"[userfaultfd]", b'U'),
    (b"bpf-map", b'b'),
    (b"bpf-prog", b'b'),
    (b"bpf_link", b'b'),
    (b"inotify", b'i'),
];

/// Names of protocols, which sockets have for one: address family and type.
const PROTOCOLS: [(&[u8], u16, u16); 10] = [
    (b"NETLINK", AF_NETLINK, 0),
    (b"RAW", AF_INET, 3),
    (b"RAWv6", AF_INET6, 3),
    (b"TCP", AF_INET, SOCK_STREAM),
    (b"TCPv6", AF_INET6, SOCK_STREAM),
    (b"UDP", AF_INET, SOCK_DGRAM),
    (b"UDPv6", AF_INET6, SOCK_DGRAM),
    (b"UNIX", AF_UNIX, 0),
    (b"UNIX-DGRAM", AF_UNIX, SOCK_DGRAM),
    (b"UNIX-STREAM", AF_UNIX, SOCK_STREAM),
];

fn is_nowhere(passed: &PassedFd) -> bool {
    passed.marks.has(PassedMarks::NOWHERE)
}

/// A file of memory that was in no directory ever.
pub(crate) fn is_memfd(passed: &PassedFd) -> bool {
    is_nowhere(passed) && passed.path.starts_with(b"memfd:")
}

/// Its type in a word.
pub fn kind(passed: &PassedFd) -> &'static str {
    match passed.mode & S_IFMT {
        _ if is_memfd(passed) => "memfd",
        S_IFIFO => "pipe",
        S_IFSOCK => "socket",
        S_IFCHR | S_IFBLK => "device",
        S_IFDIR => "directory",
        S_IFREG if !is_nowhere(passed) => "file",
        _ => "other",
    }
}

/// As the descriptor table of who received it has it.
pub(crate) fn descriptor(passed: &PassedFd) -> Descriptor {
    let kind = match kind(passed) {
        "memfd" => DescriptorKind::Other(b'm'),
        "pipe" => DescriptorKind::Other(b'p'),
        "socket" => DescriptorKind::Socket,
        "directory" => DescriptorKind::Directory,
        "other" => {
            let named = NAMED.iter().find(|(name, _)| *name == &passed.path[..]);
            DescriptorKind::Other(named.map_or(b'X', |(_, letter)| *letter))
        }
        _ => DescriptorKind::File,
    };
    let mut descriptor = Descriptor::bare(kind);
    if kind == DescriptorKind::Socket {
        let protocol = PROTOCOLS
            .iter()
            .find(|(name, ..)| *name == &passed.path[..]);
        if let Some((_, family, sock_type)) = protocol {
            (descriptor.family, descriptor.sock_type) = (*family, *sock_type);
        }
    } else {
        descriptor.path = passed.path.clone();
    }
    descriptor
}

/// Names of its marks, and how it is open.
pub(crate) fn marks(passed: &PassedFd) -> String {
    const NAMES: [(u32, &str); 6] = [
        (PassedMarks::SENDER_SEEN, "sender_seen"),
        (PassedMarks::CUT, "cut"),
        (PassedMarks::PATH_CUT, "path_cut"),
        (PassedMarks::NOWHERE, "nowhere"),
        (PassedMarks::READABLE, "readable"),
        (PassedMarks::WRITABLE, "writable"),
    ];
    let set: Vec<&str> = NAMES
        .iter()
        .filter(|(bit, _)| passed.marks.has(*bit))
        .map(|(_, name)| *name)
        .collect();
    set.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(mode: u32, path: &str, nowhere: bool) -> PassedFd {
        let marks = if nowhere { PassedMarks::NOWHERE } else { 0 };
        PassedFd {
            mode,
            path: path.into(),
            marks: PassedMarks(marks),
            ..PassedFd::default()
        }
    }

    #[test]
    fn a_file_that_is_named_like_a_memfd_is_none() {
        assert_eq!(kind(&passed(0o100_777, "memfd:x", true)), "memfd");
        assert_eq!(kind(&passed(0o100_644, "/memfd:x", false)), "file");
        assert_eq!(kind(&passed(0o100_600, "[eventfd]", true)), "other");
        assert_eq!(kind(&passed(0o600, "[eventfd]", true)), "other");
        assert_eq!(kind(&passed(0o010_600, "", true)), "pipe");
        assert_eq!(kind(&passed(0o020_666, "/dev/null", false)), "device");
    }

    #[test]
    fn what_is_received_is_known_by_its_type_and_name() {
        let memfd = descriptor(&passed(0o100_777, "memfd:x", true));
        assert_eq!(memfd.kind, DescriptorKind::Other(b'm'));
        assert_eq!(&memfd.path[..], b"memfd:x");
        let socket = descriptor(&passed(0o140_777, "TCPv6", true));
        assert_eq!((socket.family, socket.sock_type), (AF_INET6, SOCK_STREAM));
        assert!(socket.path.is_empty());
        let event = descriptor(&passed(0o600, "[eventfd]", true));
        assert_eq!(event.kind, DescriptorKind::Other(b'e'));
    }
}
