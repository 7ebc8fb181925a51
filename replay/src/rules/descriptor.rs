//! What `fd.*` sees: the descriptor, socket or connection that an event is about.

use super::types::Type;
use crate::{
    passed,
    resolve::{Descriptor, DescriptorKind, Process, Role, State},
    syscalls::{errno, o_directory},
};
use std::{
    io::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};
use trace_format::{Event, EventData, Payload, event::Endpoint};

/// Calls that work on the descriptor in their first argument.
#[rustfmt::skip]
const FIRST_ARGUMENT: &[&str] = &[
    "close", "dup", "dup2", "dup3", "epoll_ctl", "epoll_pwait", "epoll_wait", "fadvise64", "fallocate", "fchdir",
    "fchmod", "fchown", "fcntl", "fdatasync", "fgetxattr", "finit_module", "flock", "fremovexattr", "fsetxattr",
    "fstat", "fstatfs", "fsync", "ftruncate", "getdents", "getdents64", "getpeername", "getsockname", "getsockopt",
    "ioctl", "lseek", "pread64", "preadv", "preadv2", "pwrite64", "pwritev", "pwritev2", "read", "readv", "recvfrom",
    "recvmmsg", "recvmsg", "sendfile", "sendmmsg", "sendmsg", "sendto", "setns", "setsockopt", "shutdown", "splice",
    "tee", "vmsplice", "write", "writev",
];
/// Calls that return a new descriptor.
#[rustfmt::skip]
const MAKERS: &[&str] = &[
    "bpf", "epoll_create", "epoll_create1", "eventfd", "eventfd2", "inotify_init", "inotify_init1", "io_uring_setup",
    "memfd_create", "perf_event_open", "pidfd_open", "signalfd", "signalfd4", "timerfd_create", "userfaultfd",
];

/// `AF_*` that have letters and names of their own.
const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const AF_NETLINK: u16 = 16;
const SOCK_STREAM: u16 = 1;
const SOCK_DGRAM: u16 = 2;
const SOCK_RAW: u16 = 3;

/// Whether plain calls of this name have a descriptor.
pub(super) fn has_descriptor(name: &str) -> bool {
    FIRST_ARGUMENT.binary_search(&name).is_ok() || MAKERS.binary_search(&name).is_ok()
}

/// The descriptor an event is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    /// -1: none, such as after a failed open.
    pub number: i64,
    /// Falco's letter for the type; 0: unknown.
    pub letter: u8,
    /// Of a file or a unix socket.
    pub path: &'a [u8],
    /// The path is as the caller wrote it.
    pub raw: bool,
    pub sock_type: u16,
    pub local: Option<(IpAddr, u16)>,
    pub remote: Option<(IpAddr, u16)>,
    pub role: Option<Role>,
    /// Something was connected to, or is being.
    pub connected: bool,
}

const NOTHING: View<'static> = View {
    number: -1,
    letter: 0,
    path: &[],
    raw: false,
    sock_type: 0,
    local: None,
    remote: None,
    role: None,
    connected: false,
};

/// Who asks is the client.
fn asker(asks: bool) -> Role {
    if asks { Role::Client } else { Role::Server }
}

impl<'a> View<'a> {
    /// Both ends of what a message went over.
    fn between(family: u16, local: &Endpoint, remote: &Endpoint) -> View<'static> {
        let (local, remote) = (address(local), address(remote));
        View {
            letter: letter(family, remote.or(local)),
            local,
            remote,
            connected: true,
            ..NOTHING
        }
    }

    pub fn of(
        event: &'a Event,
        kind: Type,
        process: Option<&'a Process>,
        state: &'a State,
    ) -> Option<View<'a>> {
        match &event.data {
            EventData::Open(open) => Some(View {
                number: open.ret.max(-1),
                letter: if open.flags & o_directory(state.arch()) != 0 {
                    b'd'
                } else {
                    b'f'
                },
                path: &open.path,
                raw: open.ret < 0,
                ..NOTHING
            }),
            EventData::SockCall(call) => {
                let known = process.and_then(|process| state.descriptor(process, call.fd));
                let known = known.map_or(NOTHING, View::known);
                let sock_type = if call.sock_type == 0 {
                    known.sock_type
                } else {
                    call.sock_type
                };
                let name = kind.name();
                let role = match name {
                    "connect" => Some(Role::Client),
                    "accept" | "accept4" | "listen" => Some(Role::Server),
                    _ => known.role,
                };
                let pending = call.ret == -i64::from(errno::EINPROGRESS);
                let connects = matches!(name, "connect" | "accept" | "accept4");
                let local = address(&call.local).or(known.local);
                let remote = address(&call.remote).or(known.remote);
                Some(View {
                    number: i64::from(call.fd),
                    letter: letter(call.family, remote.or(local)),
                    path: &call.unix_path,
                    raw: false,
                    sock_type,
                    local,
                    remote,
                    role,
                    connected: connects && (call.ret >= 0 || pending),
                })
            }
            EventData::TcpState(change) => {
                let (local, remote) = (address(&change.local), address(&change.remote));
                Some(View {
                    letter: letter(change.family, remote.or(local)),
                    sock_type: SOCK_STREAM,
                    local,
                    remote,
                    role: state.socket_role(change.sock),
                    connected: kind.name() != "tcp_connect_failed"
                        && kind.name() != "tcp_listening",
                    ..NOTHING
                })
            }
            EventData::TcpEvent(event) => {
                let (local, remote) = (address(&event.local), address(&event.remote));
                Some(View {
                    letter: letter(event.family, remote.or(local)),
                    sock_type: SOCK_STREAM,
                    local,
                    remote,
                    role: state.socket_role(event.sock),
                    connected: event.sock != 0,
                    ..NOTHING
                })
            }
            EventData::Dns(dns) => Some(View {
                number: i64::from(dns.fd),
                sock_type: SOCK_DGRAM,
                role: Some(asker(dns.sent != dns.is_answer())),
                ..View::between(dns.family, &dns.local, &dns.remote)
            }),
            EventData::Http(http) => Some(View {
                number: i64::from(http.fd),
                sock_type: SOCK_STREAM,
                role: Some(asker(http.sent != (http.status != 0))),
                ..View::between(http.family, &http.local, &http.remote)
            }),
            EventData::Peer(peer) => Some(View {
                number: i64::from(peer.fd),
                sock_type: peer.sock_type,
                path: &peer.unix_path,
                role: (peer.family == AF_UNIX).then(|| asker(peer.sent)),
                ..View::between(peer.family, &peer.local, &peer.remote)
            }),
            EventData::PassedFd(passed) => {
                let descriptor = passed::descriptor(passed);
                let known = View::known(&descriptor);
                Some(View {
                    number: i64::from(passed.fd),
                    letter: known.letter,
                    path: match descriptor.kind {
                        DescriptorKind::Socket => &[],
                        _ => &passed.path,
                    },
                    sock_type: known.sock_type,
                    ..NOTHING
                })
            }
            EventData::Io(io) => {
                let known = process.and_then(|process| state.descriptor(process, io.fd));
                Some(View {
                    number: i64::from(io.fd),
                    ..known.map_or(NOTHING, View::known)
                })
            }
            EventData::ProcessAccess(call) if MAKERS.binary_search(&kind.name()).is_ok() => {
                let number = call.ret.max(-1);
                let known = i32::try_from(number).ok().zip(process);
                let known = known.and_then(|(fd, process)| state.descriptor(process, fd));
                Some(View {
                    number,
                    ..known.map_or(NOTHING, View::known)
                })
            }
            EventData::Syscall(call) | EventData::Payload(Payload { call, .. }) => {
                let name = kind.name();
                let fd = match FIRST_ARGUMENT.binary_search(&name) {
                    Ok(_) if name.starts_with("dup") && call.ret >= 0 => call.ret,
                    Ok(_) => i64::from(call.args[0] as i32),
                    Err(_) if MAKERS.binary_search(&name).is_ok() => call.ret.max(-1),
                    Err(_) => return None,
                };
                let known = i32::try_from(fd).ok().zip(process);
                let known = known.and_then(|(fd, process)| state.descriptor(process, fd));
                Some(View {
                    number: fd,
                    ..known.map_or(NOTHING, View::known)
                })
            }
            _ => None,
        }
    }

    fn known(descriptor: &'a Descriptor) -> View<'a> {
        let (local, remote) = (address(&descriptor.local), address(&descriptor.remote));
        let letter = match descriptor.kind {
            DescriptorKind::File => b'f',
            DescriptorKind::Directory => b'd',
            DescriptorKind::Other(letter) => letter,
            DescriptorKind::Socket => letter(descriptor.family, remote.or(local)),
        };
        View {
            number: -1,
            letter,
            path: &descriptor.path,
            raw: false,
            sock_type: descriptor.sock_type,
            local,
            remote,
            role: descriptor.role,
            connected: remote.is_some(),
        }
    }

    pub fn type_name(&self) -> Option<&'static str> {
        Some(match self.letter {
            b'f' => "file",
            b'd' => "directory",
            b'4' => "ipv4",
            b'6' => "ipv6",
            b'u' => "unix",
            b'p' => "pipe",
            b'e' => "event",
            b's' => "signalfd",
            b'l' => "eventpoll",
            b'i' => "inotify",
            b't' => "timerfd",
            b'n' => "netlink",
            b'b' => "bpf",
            b'U' => "userfaultfd",
            b'r' => "io_uring",
            b'm' => "memfd",
            b'P' => "pidfd",
            b'X' => "unsupported",
            _ => return None,
        })
    }

    /// The letter as rules know it: unix sockets and userfaultfd share one.
    pub fn shown_letter(&self) -> u8 {
        if self.letter == b'U' {
            b'u'
        } else {
            self.letter
        }
    }

    /// What stands behind the letter in a descriptor parameter, as in `<4t>`.
    pub fn protocol_mark(&self) -> &'static str {
        match self.protocol() {
            Some("tcp") => "t",
            Some("udp") => "u",
            Some("raw") => "r",
            _ => "",
        }
    }

    pub fn is_inet(&self) -> bool {
        matches!(self.letter, b'4' | b'6')
    }

    pub fn is_file(&self) -> bool {
        matches!(self.letter, b'f' | b'd')
    }

    pub fn protocol(&self) -> Option<&'static str> {
        match self.sock_type {
            _ if !self.is_inet() => None,
            SOCK_STREAM => Some("tcp"),
            SOCK_DGRAM => Some("udp"),
            SOCK_RAW => Some("raw"),
            _ => None,
        }
    }

    pub fn family(&self) -> Option<&'static str> {
        match self.letter {
            b'4' | b'6' => Some("ip"),
            b'u' => Some("unix"),
            _ => None,
        }
    }

    /// The connecting end. Without a known role the traced process is taken for it.
    pub fn client(&self) -> Option<(IpAddr, u16)> {
        match self.role {
            Some(Role::Server) => self.remote,
            _ if self.remote.is_none() => None,
            _ => self.local,
        }
    }

    /// The accepting end, or the listener.
    pub fn server(&self) -> Option<(IpAddr, u16)> {
        match self.role {
            Some(Role::Server) => self.local,
            _ => self.remote.or(self.local),
        }
    }

    /// The name of a socket: `client:port->server:port`, a listener's address, or a unix path.
    pub fn write_socket_name(&self, out: &mut Vec<u8>) {
        if !self.is_inet() {
            out.extend_from_slice(self.path);
            return;
        }
        if self.remote.is_none() {
            write_end(self.local, out);
            return;
        }
        write_end(self.client(), out);
        out.extend_from_slice(b"->");
        write_end(self.server(), out);
    }
}

fn write_end(end: Option<(IpAddr, u16)>, out: &mut Vec<u8>) {
    if let Some((address, port)) = end {
        // Writing into a Vec cannot fail.
        let _ = write!(out, "{address}:{port}");
    }
}

/// An endpoint's address and port. IPv4 in IPv6 counts as IPv4.
fn address(endpoint: &Endpoint) -> Option<(IpAddr, u16)> {
    let bytes: &[u8] = &endpoint.addr;
    let address = match (<[u8; 4]>::try_from(bytes), <[u8; 16]>::try_from(bytes)) {
        (Ok(four), _) => IpAddr::V4(Ipv4Addr::from(four)),
        (_, Ok(sixteen)) => IpAddr::V6(Ipv6Addr::from(sixteen)).to_canonical(),
        _ => return None,
    };
    Some((address, endpoint.port))
}

fn letter(family: u16, end: Option<(IpAddr, u16)>) -> u8 {
    match (family, end) {
        (AF_INET | AF_INET6, Some((IpAddr::V4(_), _))) => b'4',
        (AF_INET, None) => b'4',
        (AF_INET | AF_INET6, _) => b'6',
        (AF_UNIX, _) => b'u',
        (AF_NETLINK, _) => b'n',
        _ => b'X',
    }
}

/// Folds `.`, `..` and doubled slashes; a relative path starts at the directory, if that is known.
pub(crate) fn fold(directory: &[u8], path: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let start = if path.starts_with(b"/") {
        &[][..]
    } else {
        directory
    };
    let absolute = path.starts_with(b"/") || directory.starts_with(b"/");
    for part in start
        .split(|&byte| byte == b'/')
        .chain(path.split(|&byte| byte == b'/'))
    {
        match part {
            b"" | b"." => {}
            b".." if absolute || !out.is_empty() => {
                let end = out.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
                out.truncate(end);
            }
            part => {
                if absolute || !out.is_empty() {
                    out.push(b'/');
                }
                out.extend_from_slice(part);
            }
        }
    }
    if absolute && out.is_empty() {
        out.push(b'/');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syscalls;

    #[test]
    fn the_tables_are_sorted_calls() {
        for table in [FIRST_ARGUMENT, MAKERS] {
            assert!(
                table.windows(2).all(|pair| pair[0] < pair[1]),
                "searched by halves"
            );
            assert!(table.iter().all(|name| syscalls::row_named(name).is_some()));
        }
    }

    #[test]
    fn paths_fold_as_the_kernel_would_without_links() {
        let folded = |directory: &str, path: &str| {
            let mut out = Vec::new();
            fold(directory.as_bytes(), path.as_bytes(), &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(folded("/", "/a/./b//c/../d"), "/a/b/d");
        assert_eq!(folded("/srv/www", "../../etc/passwd"), "/etc/passwd");
        assert_eq!(folded("/", "/../.."), "/");
        assert_eq!(folded("", "a/../../b"), "../b");
        assert_eq!(folded("", "x/y"), "x/y");
    }
}
