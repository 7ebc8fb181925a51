//! Event types: one small number per name that `evt.type` can have.
//!
//! A system call has the same type on every architecture. Because the names are few and known, every
//! comparison of `evt.type` becomes a set of types when the rule is compiled, and the index of rules
//! by event type is a table.

use crate::{
    import::{
        native::kernel_name,
        scap::{schema, stored as capture},
    },
    resolve::tcp,
    syscalls::{Arch, ROWS, Row, row, row_named},
};
use std::sync::LazyLock;
use trace_format::{Event, EventData, Payload, columns, event::TcpWhat};

/// The place of a name in the list of system calls, then [`OWN`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Type(pub u16);

/// Names that are no system calls. docs/rules.md says which event has which.
const OWN: [&str; 30] = [
    "procexit",
    "tcp_connecting",
    "tcp_connect_done",
    "tcp_connect_failed",
    "tcp_accepted",
    "tcp_listening",
    "tcp_closed",
    "tcp_state",
    "sample",
    "syscall_count",
    "cgroup_made",
    "cgroup_removed",
    "container",
    "finding",
    "unknown",
    "io",
    "signal_sent",
    "oom_kill",
    "tcp_retransmit",
    "tcp_reset_sent",
    "tcp_reset_received",
    "dns_question",
    "dns_answer",
    "http_request",
    "http_response",
    "udp_peer",
    "unix_peer",
    "credentials_changed",
    "fd_sent",
    "fd_received",
];

/// Names that Falco has for the same calls.
const ALIASES: [(&str, &str); 4] = [
    ("pread", "pread64"),
    ("pwrite", "pwrite64"),
    ("prlimit", "prlimit64"),
    ("umount", "umount2"),
];

/// Names that rules may use although no trace has such events: Falco's own and those of other
/// architectures.
#[rustfmt::skip]
const NEVER: &[&str] = &[
    "_llseek", "_newselect", "asyncevent", "cpu_hotplug", "drop", "fcntl64", "fstat64", "fstatat64", "fstatfs64",
    "getegid32", "geteuid32", "getgid32", "getuid32", "groupadded", "groupdeleted", "infra", "ipc", "k8s", "llseek",
    "lstat64", "mesos", "mmap2", "nice", "notification", "page_fault", "pluginevent", "procinfo", "readdir", "recv",
    "scapevent", "send", "sendfile64", "setgid32", "setresgid32", "setresuid32", "setuid32", "sigaction", "signal",
    "signaldeliver", "sigreturn", "socketcall", "stat64", "statfs64", "stime", "switch", "sync_file_range2", "syscall",
    "task", "timerfd", "tracer", "ugetrlimit", "useradded", "userdeleted", "waitpid",
];

pub(super) const TYPES: usize = ROWS + OWN.len();

const fn own(name: &str) -> Type {
    let mut at = 0;
    while at < OWN.len() {
        if same(OWN[at].as_bytes(), name.as_bytes()) {
            return Type((ROWS + at) as u16);
        }
        at += 1;
    }
    panic!("OWN has no such name")
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

pub(super) const CONTAINER: Type = own("container");
pub(super) const FINDING: Type = own("finding");
const UNKNOWN: Type = own("unknown");
const CONNECTING: Type = own("tcp_connecting");
const CONNECT_DONE: Type = own("tcp_connect_done");
const CONNECT_FAILED: Type = own("tcp_connect_failed");
const ACCEPTED: Type = own("tcp_accepted");
const LISTENING: Type = own("tcp_listening");
const CLOSED: Type = own("tcp_closed");
const TCP_STATE: Type = own("tcp_state");
const PROCEXIT: Type = own("procexit");
const SAMPLE: Type = own("sample");
const SYSCALL_COUNT: Type = own("syscall_count");
const CGROUP_MADE: Type = own("cgroup_made");
const CGROUP_REMOVED: Type = own("cgroup_removed");
const IO: Type = own("io");
const SIGNAL_SENT: Type = own("signal_sent");
const OOM_KILL: Type = own("oom_kill");
const RETRANSMIT: Type = own("tcp_retransmit");
const RESET_SENT: Type = own("tcp_reset_sent");
const RESET_RECEIVED: Type = own("tcp_reset_received");
const DNS_QUESTION: Type = own("dns_question");
const DNS_ANSWER: Type = own("dns_answer");
const HTTP_REQUEST: Type = own("http_request");
const HTTP_RESPONSE: Type = own("http_response");
const UDP_PEER: Type = own("udp_peer");
const UNIX_PEER: Type = own("unix_peer");
const CREDENTIALS: Type = own("credentials_changed");
const FD_SENT: Type = own("fd_sent");
const FD_RECEIVED: Type = own("fd_received");
const AF_UNIX: u16 = 1;

impl Type {
    /// The event's type, by the table of the host that recorded it.
    #[inline]
    pub fn of(event: &Event, arch: Arch) -> Type {
        let call = |number| Type::of_call(number, arch);
        match &event.data {
            EventData::Syscall(it) | EventData::Payload(Payload { call: it, .. }) => call(it.nr),
            EventData::Open(it) => call(it.nr),
            EventData::PathCall(it) => call(it.nr),
            EventData::SockCall(it) => call(it.nr),
            EventData::Ipc(it) => call(it.nr),
            EventData::ProcessAccess(it) => call(it.nr),
            EventData::Exec(_) => Type::call("execve"),
            EventData::Fork(_) => Type::call("clone"),
            EventData::Exit(_) => PROCEXIT,
            EventData::TcpState(it) => match (it.old, it.new) {
                (_, tcp::SYN_SENT) => CONNECTING,
                (tcp::SYN_SENT, tcp::ESTABLISHED) => CONNECT_DONE,
                (tcp::SYN_SENT, tcp::CLOSE) => CONNECT_FAILED,
                (tcp::SYN_RECV | tcp::NEW_SYN_RECV, tcp::ESTABLISHED) => ACCEPTED,
                (_, tcp::LISTEN) => LISTENING,
                (_, tcp::CLOSE) => CLOSED,
                _ => TCP_STATE,
            },
            EventData::Sample(_) => SAMPLE,
            EventData::SyscallCount(_) => SYSCALL_COUNT,
            EventData::Cgroup(it) if it.removed => CGROUP_REMOVED,
            EventData::Cgroup(_) => CGROUP_MADE,
            EventData::Io(_) => IO,
            EventData::Signal(_) => SIGNAL_SENT,
            EventData::OomKill(_) => OOM_KILL,
            EventData::TcpEvent(it) => match it.what.0 {
                TcpWhat::RETRANSMIT => RETRANSMIT,
                TcpWhat::RESET_SENT => RESET_SENT,
                TcpWhat::RESET_RECEIVED => RESET_RECEIVED,
                _ => UNKNOWN,
            },
            EventData::Dns(it) if it.is_answer() => DNS_ANSWER,
            EventData::Dns(_) => DNS_QUESTION,
            EventData::Http(it) if it.status != 0 => HTTP_RESPONSE,
            EventData::Http(_) => HTTP_REQUEST,
            EventData::Peer(it) if it.family == AF_UNIX => UNIX_PEER,
            EventData::Peer(_) => UDP_PEER,
            EventData::Credentials(_) => CREDENTIALS,
            EventData::PassedFd(it) if it.sent => FD_SENT,
            EventData::PassedFd(_) => FD_RECEIVED,
            EventData::Declared(it) => match capture::Kind::of(it.ty()) {
                Some(capture::Kind::Event(schema)) => Type::of_schema(schema.number),
                _ => UNKNOWN,
            },
        }
    }

    /// Of a system call.
    #[inline]
    pub fn of_call(number: u32, arch: Arch) -> Type {
        row(arch, number).map_or(UNKNOWN, |row| Type(row.0))
    }

    /// All that the events of a family may be; `None`: depends on the call.
    pub fn of_family(family: u16) -> Option<&'static [Type]> {
        Some(match family {
            columns::DNS => &[DNS_QUESTION, DNS_ANSWER],
            columns::HTTP => &[HTTP_REQUEST, HTTP_RESPONSE],
            columns::IO => &[IO],
            columns::OOM_KILL => &[OOM_KILL],
            columns::PASSED_FD => &[FD_SENT, FD_RECEIVED],
            columns::PEER => &[UNIX_PEER, UDP_PEER],
            columns::SAMPLE => &[SAMPLE],
            columns::SIGNAL => &[SIGNAL_SENT],
            columns::SYSCALL_COUNT => &[SYSCALL_COUNT],
            columns::TCP_EVENT => &[RETRANSMIT, RESET_SENT, RESET_RECEIVED, UNKNOWN],
            _ => return None,
        })
    }

    /// Of a capture's block, by its type's number in the table.
    fn of_schema(number: u16) -> Type {
        // Every open and connect that is judged before it is done asks.
        static OF_TYPES: LazyLock<Vec<Type>> = LazyLock::new(|| {
            let rows = schema::types().iter().map(|ty| row_named(ty.name));
            rows.map(|row| row.map_or(UNKNOWN, |row| Type(row.0)))
                .collect()
        });
        let known = OF_TYPES.get(usize::from(number));
        known.copied().unwrap_or(UNKNOWN)
    }

    /// A capture's block of this name has one of these, and so has the event it completes.
    pub fn of_block(name: &str) -> [Type; 3] {
        let of = |name| row_named(name).map_or(UNKNOWN, |row| Type(row.0));
        [of(name), of(kernel_name(name)), UNKNOWN]
    }

    /// The type of a system call that the table is known to have.
    fn call(name: &'static str) -> Type {
        Type(row_named(name).map_or(UNKNOWN.0, |row| row.0))
    }

    pub fn name(self) -> &'static str {
        match OWN.get((self.0 as usize).wrapping_sub(ROWS)) {
            Some(name) => name,
            None => Row(self.0).name(),
        }
    }

    pub fn is_syscall(self) -> bool {
        (self.0 as usize) < ROWS || self == UNKNOWN
    }
}

/// A set of types.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct TypeSet([u64; TypeSet::WORDS]);

impl TypeSet {
    const WORDS: usize = TYPES.div_ceil(64);
    pub const NONE: TypeSet = TypeSet([0; TypeSet::WORDS]);

    pub fn all() -> TypeSet {
        TypeSet::of(|_| true)
    }

    pub fn of(member: impl Fn(Type) -> bool) -> TypeSet {
        let mut set = TypeSet::NONE;
        for number in 0..TYPES as u16 {
            if member(Type(number)) {
                set.insert(Type(number));
            }
        }
        set
    }

    /// The types with one of these names.
    pub fn named(names: &[&str]) -> TypeSet {
        TypeSet::of(|kind| names.contains(&kind.name()))
    }

    pub fn insert(&mut self, kind: Type) {
        self.0[kind.0 as usize / 64] |= 1 << (kind.0 % 64);
    }

    #[inline]
    pub fn contains(&self, kind: Type) -> bool {
        self.0[kind.0 as usize / 64] & (1 << (kind.0 % 64)) != 0
    }

    pub fn union(&self, other: &TypeSet) -> TypeSet {
        TypeSet(std::array::from_fn(|at| self.0[at] | other.0[at]))
    }

    pub fn intersection(&self, other: &TypeSet) -> TypeSet {
        TypeSet(std::array::from_fn(|at| self.0[at] & other.0[at]))
    }

    pub fn complement(&self) -> TypeSet {
        TypeSet::of(|kind| !self.contains(kind))
    }

    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }
}

impl std::fmt::Debug for TypeSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = (0..TYPES as u16)
            .map(Type)
            .filter(|&kind| self.contains(kind));
        f.debug_set().entries(names.map(Type::name)).finish()
    }
}

/// The name an event type goes by here, `None` for a name that nobody has heard of.
pub(super) fn canonical(name: &str) -> Option<&str> {
    let alias = ALIASES.iter().find(|alias| alias.0 == name);
    let name = alias.map_or(name, |alias| alias.1);
    let known = row_named(name).is_some() || OWN.contains(&name) || NEVER.contains(&name);
    known.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_one_name_that_leads_back() {
        for number in 0..TYPES as u16 {
            let name = Type(number).name();
            assert_eq!(canonical(name), Some(name));
            assert_eq!(TypeSet::named(&[name]).len(), 1, "{name}");
        }
        assert_eq!(canonical("umount"), Some("umount2"));
        assert_eq!(canonical("signaldeliver"), Some("signaldeliver"));
        assert_eq!(canonical("no_such_type"), None);
    }

    #[test]
    fn sets_behave_as_sets() {
        let reads = TypeSet::named(&["read", "open"]);
        let opens = TypeSet::named(&["open", "procexit"]);
        assert_eq!(reads.union(&opens).len(), 3);
        assert_eq!(reads.intersection(&opens), TypeSet::named(&["open"]));
        assert_eq!(reads.complement().len(), TYPES - 2);
        assert!(reads.intersection(&reads.complement()).is_empty());
        assert_eq!(format!("{opens:?}"), r#"{"open", "procexit"}"#);
    }
}
