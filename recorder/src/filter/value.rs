//! One value of an option of the filter: read, checked, and written back the same way.

use std::{fmt, net::IpAddr, path::Path};

use recorder_ebpf::{
    ANY_ERRNO, Comm, FILTER_PATH_BYTES_MAX, FilterAddress, filter as option, kind,
};
use trace_format::{context::Context, syscalls::row_named};

use crate::observe::host;

/// All options that have values, in the order of who, what and where.
pub const OPTIONS: &[&str] = &[
    "container",
    "tree",
    "uid",
    "comm",
    "kind",
    "syscall",
    "result",
    "path",
    "address",
];
/// A thread's name without its NUL (`TASK_COMM_LEN`, include/linux/sched.h).
const COMM_BYTES_MAX: usize = 15;

/// A kind of event, by its name in the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    pub name: &'static str,
    /// As the probes number it.
    pub id: u8,
}

/// Made by the recorder once a second, not by a probe.
pub const SAMPLE: u8 = 63;

/// Every kind that a recording can hold.
pub const KINDS: &[Kind] = &[
    Kind {
        name: "syscall",
        id: kind::SYSCALL,
    },
    Kind {
        name: "syscall_count",
        id: kind::COUNT,
    },
    Kind {
        name: "fork",
        id: kind::FORK,
    },
    Kind {
        name: "exec",
        id: kind::EXEC,
    },
    Kind {
        name: "exit",
        id: kind::EXIT,
    },
    Kind {
        name: "open",
        id: kind::OPEN,
    },
    Kind {
        name: "path_call",
        id: kind::PATH_CALL,
    },
    Kind {
        name: "sock_call",
        id: kind::SOCK_CALL,
    },
    Kind {
        name: "tcp_state",
        id: kind::TCP_STATE,
    },
    Kind {
        name: "cgroup",
        id: kind::CGROUP,
    },
    Kind {
        name: "ipc",
        id: kind::IPC,
    },
    Kind {
        name: "process_access",
        id: kind::PROCESS_ACCESS,
    },
    Kind {
        name: "credentials",
        id: kind::CREDENTIALS,
    },
    Kind {
        name: "sample",
        id: SAMPLE,
    },
    Kind {
        name: "io",
        id: kind::IO,
    },
    Kind {
        name: "signal",
        id: kind::SIGNAL,
    },
    Kind {
        name: "oom_kill",
        id: kind::OOM_KILL,
    },
    Kind {
        name: "tcp_event",
        id: kind::TCP_EVENT,
    },
    Kind {
        name: "dns",
        id: kind::DNS,
    },
    Kind {
        name: "http",
        id: kind::HTTP,
    },
    Kind {
        name: "peer",
        id: kind::PEER,
    },
    Kind {
        name: "payload",
        id: kind::PAYLOAD,
    },
    Kind {
        name: "passed_fd",
        id: kind::PASSED_FD,
    },
];

/// Names of errnos that are asked for; others go by their number (errno(3), include/uapi/asm-generic/errno*.h).
const ERRNOS: &[(&str, u32)] = &[
    ("EPERM", 1),
    ("ENOENT", 2),
    ("ESRCH", 3),
    ("EINTR", 4),
    ("EIO", 5),
    ("ENXIO", 6),
    ("E2BIG", 7),
    ("ENOEXEC", 8),
    ("EBADF", 9),
    ("ECHILD", 10),
    ("EAGAIN", 11),
    ("ENOMEM", 12),
    ("EACCES", 13),
    ("EFAULT", 14),
    ("EBUSY", 16),
    ("EEXIST", 17),
    ("EXDEV", 18),
    ("ENODEV", 19),
    ("ENOTDIR", 20),
    ("EISDIR", 21),
    ("EINVAL", 22),
    ("ENFILE", 23),
    ("EMFILE", 24),
    ("ENOTTY", 25),
    ("ETXTBSY", 26),
    ("EFBIG", 27),
    ("ENOSPC", 28),
    ("ESPIPE", 29),
    ("EROFS", 30),
    ("EMLINK", 31),
    ("EPIPE", 32),
    ("ENAMETOOLONG", 36),
    ("ENOSYS", 38),
    ("ENOTEMPTY", 39),
    ("ELOOP", 40),
    ("ENOTSOCK", 88),
    ("EOPNOTSUPP", 95),
    ("EADDRINUSE", 98),
    ("EADDRNOTAVAIL", 99),
    ("ENETUNREACH", 101),
    ("ECONNABORTED", 103),
    ("ECONNRESET", 104),
    ("ENOTCONN", 107),
    ("ETIMEDOUT", 110),
    ("ECONNREFUSED", 111),
    ("EHOSTUNREACH", 113),
    ("EALREADY", 114),
    ("EINPROGRESS", 115),
];
const ERRNO_MAX: u32 = 4095;

/// Addresses and ports: `10.0.0.0/8`, `::1`, `10.1.2.3:443`, `[fd00::]/8:53`, `:443`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// With the number of its bits that count; `None`: any.
    pub net: Option<(IpAddr, u8)>,
    /// 0: any.
    pub port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Container(String),
    Tree(u32),
    Uid(u32),
    Comm(String),
    Kind(Kind),
    Syscall(&'static str),
    /// 0: success; [`ANY_ERRNO`]: any failure.
    Result(u32),
    Path(String),
    Address(Address),
}

impl Value {
    /// A value of the option `--name`; the error says what would be right.
    pub fn parse(name: &str, text: &str) -> Result<Value, String> {
        match name {
            "container" if text.is_empty() => {
                Err("an empty name is no container; give its name or id".to_owned())
            }
            "container" => Ok(Value::Container(text.to_owned())),
            "tree" => match text.parse() {
                Ok(pid) if pid > 0 => Ok(Value::Tree(pid)),
                _ => Err(format!(
                    "{text:?} is no process id; write a number such as 4711"
                )),
            },
            "uid" => uid(text).map(Value::Uid),
            "comm" => comm(text),
            "kind" => KINDS
                .iter()
                .find(|kind| kind.name == text)
                .map(|kind| Value::Kind(*kind))
                .ok_or_else(|| {
                    let known: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
                    format!("there is no kind {text:?}; there are {}", known.join(", "))
                }),
            "syscall" => row_named(text)
                .map(|row| Value::Syscall(row.name()))
                .ok_or_else(|| {
                    format!("there is no system call {text:?}; write a name such as openat")
                }),
            "result" => result(text).map(Value::Result),
            "path" => path(text).map(Value::Path),
            "address" => address(text).map(Value::Address),
            _ => Err(format!(
                "{name:?} is nothing that can be left out; there are {}",
                OPTIONS.join(", ")
            )),
        }
    }

    /// A value of `--exclude`: a container, or `option=value`.
    pub fn excluded(text: &str) -> Result<Value, String> {
        match text.split_once('=') {
            Some((name, value)) => Value::parse(name, value),
            None => Value::parse("container", text),
        }
    }

    pub fn option(&self) -> &'static str {
        match self {
            Value::Container(_) => "container",
            Value::Tree(_) => "tree",
            Value::Uid(_) => "uid",
            Value::Comm(_) => "comm",
            Value::Kind(_) => "kind",
            Value::Syscall(_) => "syscall",
            Value::Result(_) => "result",
            Value::Path(_) => "path",
            Value::Address(_) => "address",
        }
    }

    /// Of [`recorder_ebpf::filter`].
    pub fn bit(&self) -> u32 {
        match self {
            Value::Container(_) => option::CONTAINER,
            Value::Tree(_) => option::TREE,
            Value::Uid(_) => option::UID,
            Value::Comm(_) => option::COMM,
            Value::Kind(_) => option::KIND,
            Value::Syscall(_) => option::CALL,
            Value::Result(_) => option::RESULT,
            Value::Path(_) => option::PATH,
            Value::Address(_) => option::ADDRESS,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Container(text) | Value::Comm(text) | Value::Path(text) => f.write_str(text),
            Value::Tree(number) | Value::Uid(number) => number.fmt(f),
            Value::Kind(kind) => f.write_str(kind.name),
            Value::Syscall(name) => f.write_str(name),
            Value::Result(0) => f.write_str("success"),
            Value::Result(ANY_ERRNO) => f.write_str("failed"),
            Value::Result(errno) => match ERRNOS.iter().find(|(_, number)| number == errno) {
                Some((name, _)) => f.write_str(name),
                None => errno.fmt(f),
            },
            Value::Address(Address { net, port }) => {
                if let Some((ip, bits)) = net {
                    match ip {
                        IpAddr::V4(ip) => write!(f, "{ip}/{bits}")?,
                        IpAddr::V6(ip) => write!(f, "[{ip}]/{bits}")?,
                    }
                }
                match port {
                    0 => Ok(()),
                    port => write!(f, ":{port}"),
                }
            }
        }
    }
}

fn uid(text: &str) -> Result<u32, String> {
    if let Ok(uid) = text.parse() {
        return Ok(uid);
    }
    host::users()
        .into_iter()
        .find_map(|user| match user {
            Context::User(user) if user.name == text => Some(user.uid),
            _ => None,
        })
        .ok_or_else(|| format!("there is no user {text:?} in /etc/passwd; write its number"))
}

fn comm(text: &str) -> Result<Value, String> {
    if text.is_empty() {
        return Err("an empty name is no program; write one such as nginx".to_owned());
    }
    if text.len() > COMM_BYTES_MAX {
        return Err(format!(
            "{text:?} is longer than the {COMM_BYTES_MAX} bytes that the kernel keeps of a program's name; write its first {COMM_BYTES_MAX}"
        ));
    }
    Ok(Value::Comm(text.to_owned()))
}

fn result(text: &str) -> Result<u32, String> {
    let known = || ERRNOS.iter().find(|(name, _)| *name == text);
    match text {
        "success" => Ok(0),
        "failed" => Ok(ANY_ERRNO),
        _ => match (known(), text.parse()) {
            (Some((_, errno)), _) => Ok(*errno),
            (None, Ok(errno)) if (1..=ERRNO_MAX).contains(&errno) => Ok(errno),
            _ => Err(format!(
                "{text:?} is no result; write success, failed, or an errno such as EACCES or 13"
            )),
        },
    }
}

fn path(text: &str) -> Result<String, String> {
    let bare = text.trim_end_matches('/');
    if !text.starts_with('/') {
        return Err(format!(
            "{text:?} does not begin at the root; write it from / on, as the process sees it"
        ));
    }
    let parts = || Path::new(text).components();
    if parts().any(|part| matches!(part, std::path::Component::ParentDir)) || bare.contains("//") {
        return Err(format!(
            "{text:?} is no plain path; write it without .. and //"
        ));
    }
    if bare.len() >= FILTER_PATH_BYTES_MAX {
        return Err(format!(
            "a path of {} bytes is too long; at most {} are compared",
            bare.len(),
            FILTER_PATH_BYTES_MAX - 1
        ));
    }
    Ok(match bare {
        "" => "/".to_owned(),
        bare => bare.to_owned(),
    })
}

fn address(text: &str) -> Result<Address, String> {
    let wrong = || {
        format!(
            "{text:?} is no address; write 10.0.0.0/8, 10.1.2.3:443, [fd00::]/8, [::1]:53 or :443"
        )
    };
    // Without brackets, an address of IPv6 has no port.
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(Address {
            net: Some((ip, bits_of(ip))),
            port: 0,
        });
    }
    let (ip, rest) = match text.strip_prefix('[') {
        Some(inside) => inside.split_once(']').ok_or_else(wrong)?,
        None => {
            let colons = text.matches(':').count();
            let end = match colons {
                0 | 1 => text.find([':', '/']),
                _ => text.find('/'),
            };
            text.split_at(end.unwrap_or(text.len()))
        }
    };
    let (bits, port) = match rest.split_once(':') {
        Some((bits, port)) => (bits, Some(port)),
        None => (rest, None),
    };
    let port = match port {
        None => 0,
        Some(port) => match port.parse() {
            Ok(port) if port > 0 => port,
            _ => return Err(wrong()),
        },
    };
    if ip.is_empty() {
        return match (bits.is_empty(), port) {
            (true, 1..) => Ok(Address { net: None, port }),
            _ => Err(wrong()),
        };
    }
    let ip: IpAddr = ip.parse().map_err(|_| wrong())?;
    let bits = match bits.strip_prefix('/') {
        None if bits.is_empty() => bits_of(ip),
        Some(bits) => match bits.parse() {
            Ok(bits) if bits <= bits_of(ip) => bits,
            _ => return Err(wrong()),
        },
        None => return Err(wrong()),
    };
    Ok(Address {
        net: Some((ip, bits)),
        port,
    })
}

fn bits_of(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

impl Address {
    /// As the probes look it up: how many bits count, and the bytes.
    pub fn key(&self) -> (u32, [u8; size_of::<FilterAddress>()]) {
        let mut bytes = [0; size_of::<FilterAddress>()];
        bytes[..2].copy_from_slice(&self.port.to_be_bytes());
        let mut len = FilterAddress::PORT_BITS;
        if let Some((ip, bits)) = self.net {
            let (octets, before) = match ip {
                IpAddr::V4(ip) => (ip.to_ipv6_mapped().octets(), 96),
                IpAddr::V6(ip) => (ip.octets(), 0),
            };
            bytes[2..].copy_from_slice(&octets);
            len += before + u32::from(bits);
        }
        (len, bytes)
    }
}

/// A program's name as the probes look it up.
pub fn comm_key(text: &str) -> Comm {
    let mut bytes = [0; 16];
    let len = text.len().min(COMM_BYTES_MAX);
    bytes[..len].copy_from_slice(&text.as_bytes()[..len]);
    [0, 8].map(|at| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[at..at + 8]);
        u64::from_le_bytes(word)
    })
}

/// A path as the probes look it up: how many bits count, and the bytes. It ends with a slash, so that
/// it ends where a name does.
pub fn path_key(text: &str) -> (u32, [u8; FILTER_PATH_BYTES_MAX]) {
    let mut bytes = [0; FILTER_PATH_BYTES_MAX];
    let bare = text.trim_end_matches('/').as_bytes();
    let len = bare.len().min(FILTER_PATH_BYTES_MAX - 1);
    bytes[..len].copy_from_slice(&bare[..len]);
    bytes[len] = b'/';
    (8 * (len as u32 + 1), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: what is read is written back in a form that reads the same.
    #[test]
    fn values_are_read_and_written_back() {
        for (option, text, written) in [
            ("tree", "4711", "4711"),
            ("uid", "33", "33"),
            ("uid", "root", "0"),
            ("comm", "nginx", "nginx"),
            ("kind", "tcp_state", "tcp_state"),
            ("syscall", "openat", "openat"),
            ("result", "success", "success"),
            ("result", "failed", "failed"),
            ("result", "EACCES", "EACCES"),
            ("result", "13", "EACCES"),
            ("result", "512", "512"),
            ("path", "/etc/", "/etc"),
            ("path", "/", "/"),
            ("address", "10.0.0.0/8", "10.0.0.0/8"),
            ("address", "10.1.2.3", "10.1.2.3/32"),
            ("address", "10.1.2.3:443", "10.1.2.3/32:443"),
            ("address", "10.0.0.0/8:443", "10.0.0.0/8:443"),
            ("address", "::1", "[::1]/128"),
            ("address", "fd00::/8", "[fd00::]/8"),
            ("address", "[fd00::]/8:53", "[fd00::]/8:53"),
            ("address", "[::1]:53", "[::1]/128:53"),
            ("address", ":443", ":443"),
        ] {
            let value = Value::parse(option, text).unwrap();
            assert_eq!(
                (value.option(), value.to_string().as_str()),
                (option, written)
            );
            assert_eq!(Value::parse(option, written).unwrap(), value);
            assert_eq!(Value::excluded(&format!("{option}={text}")).unwrap(), value);
        }
        assert_eq!(
            Value::excluded("web").unwrap(),
            Value::Container("web".to_owned())
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_what_would_be_right() {
        for (option, text, word) in [
            ("container", "", "name or id"),
            ("tree", "0", "4711"),
            ("tree", "x", "4711"),
            ("uid", "no-such-user-here", "number"),
            ("uid", "-1", "number"),
            ("comm", "a-name-of-16-byte", "first 15"),
            ("comm", "", "nginx"),
            ("kind", "opens", "path_call"),
            ("syscall", "open_at", "openat"),
            ("result", "0", "EACCES"),
            ("result", "4096", "EACCES"),
            ("result", "ENOTHING", "EACCES"),
            ("path", "etc", "from / on"),
            ("path", "/etc/../root", "without .."),
            ("path", "/etc//ssl", "without .."),
            ("address", "10.0.0.0/33", "10.0.0.0/8"),
            ("address", "10.0.0.0/", ":443"),
            ("address", "10.0.0", ":443"),
            ("address", ":0", ":443"),
            ("address", ":", ":443"),
            ("address", "", ":443"),
            ("address", "1.2.3.4:99999", ":443"),
            ("address", "[::1", ":443"),
            ("address", "[::1]x:1", ":443"),
            ("colour", "red", "container, tree"),
        ] {
            let error = Value::parse(option, text).unwrap_err();
            assert!(error.contains(word), "{option} {text:?}: {error}");
        }
        let long = format!("/{}", "x".repeat(FILTER_PATH_BYTES_MAX - 1));
        assert!(
            Value::parse("path", &long)
                .unwrap_err()
                .contains("too long")
        );
        assert!(Value::parse("path", &long[..long.len() - 1]).is_ok());
    }

    #[test]
    fn keys_are_what_the_probes_make_of_an_event() {
        let (bits, bytes) = path_key("/etc");
        assert_eq!((bits, &bytes[..6]), (40, &b"/etc/\0"[..]));
        assert_eq!(path_key("/").0, 8);
        let Ok(Value::Address(address)) = Value::parse("address", "10.0.0.0/8:443") else {
            panic!("an address");
        };
        let (bits, bytes) = address.key();
        assert_eq!(bits, 16 + 96 + 8);
        assert_eq!(bytes[..2], [1, 187]);
        assert_eq!(bytes[12..16], [0xff, 0xff, 10, 0]);
        assert_eq!(comm_key("nginx")[1], 0);
        assert_eq!(comm_key("nginx")[0].to_le_bytes(), *b"nginx\0\0\0");
    }

    /// A kind that the format gains is known here too. A call is one, whether or not its duration is known.
    #[test]
    fn every_kind_of_the_format_has_a_name_here() {
        for family in &trace_format::columns::FAMILIES {
            if family.id == trace_format::columns::TIMED_SYSCALL {
                continue;
            }
            assert!(
                KINDS.iter().any(|kind| kind.name == family.name),
                "{}: not in KINDS",
                family.name
            );
        }
    }
}
