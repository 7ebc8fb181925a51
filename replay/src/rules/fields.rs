//! Every field that rules can name: its type, its argument, and the events that can have it.

use super::{
    arguments::{self, Parameter},
    syntax::FieldName,
    types::{Type, TypeSet},
};
use crate::resolve::Depth;
use std::sync::Arc;

/// A field in a compiled rule.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub id: Id,
    pub kind: Kind,
    /// Which ancestor, or how the argument reads as a number.
    pub index: u32,
    /// The argument as text: a label's name.
    pub key: Arc<str>,
    /// Of `evt.arg`: the parameter, per event type that has one of that name.
    pub parameters: Arc<[(Type, Parameter)]>,
    /// The types whose events can have a value.
    pub types: TypeSet,
    /// A list of values, of which one has to fit: ancestors without an index.
    pub many: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    Boolean,
    Address,
    Network,
}

/// What a field wants in brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wants {
    Nothing,
    MaybeGeneration,
    Key,
}

/// Which events can have a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    Any,
    /// System calls.
    Calls,
    /// Those whose first bytes can be recorded.
    Data,
    Descriptors,
    Sockets,
    Paths,
    TwoPaths,
    /// DNS messages, HTTP messages, UDP and unix peers, all of these.
    Dns,
    Http,
    Peers,
    Messages,
    Findings,
    /// Rules may name it, but no trace holds it.
    Nothing,
}

/// Fields by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[rustfmt::skip]
pub(super) enum Id {
    Num, Time, TimeIso, RawTime, Type, CallType, Dir, Arg, RawArg, Args, Buffer, Res, RawRes, Failed, Cpu, Hostname,
    OpenRead, OpenWrite, OpenCreate, OpenExec,
    FdNum, FdType, FdLetter, FdName, FdNameRaw, FdDirectory, FdFilename, FdIp, FdClientIp, FdServerIp, FdLocalIp,
    FdRemoteIp, FdPort, FdClientPort, FdServerPort, FdLocalPort, FdRemotePort, FdProtocol, FdFamily, FdConnected,
    PathName, PathSource, PathTarget,
    Name, Exe, ExePath, CommandLine, ExeLine, Arguments, Pid, ParentPid, AncestorPid, ParentUid,
    ParentName, ParentExe, ParentExePath, ParentCommandLine,
    AncestorName, AncestorExe, AncestorExePath, AncestorCommandLine, AncestorNameInside,
    Cwd, NamespacePid, Duration, FromMemfd, UpperLayer, Deleted, BornInContainer, StartedOutside, EntersContainer, ExeInode, Tid,
    ContainerStart, ExeChanged, ExeChangedBeforeStart, ExeModified, LeadsNamespaceGroup, Session, SessionName, Tty,
    CallLatency, TargetPid, TargetName, TargetContainer, TargetContainerName, TargetForeign,
    NamespaceGroup, GroupName, CapEffective, CapInheritable, CapPermitted, LoginName, LoginUid,
    Uid, UserName, Gid,
    ContainerShort, ContainerFull, ContainerName, Image, Repository, Tag, Privileged, Runtime, Label, Info,
    Pod, Namespace,
    DnsName, DnsDomain, DnsType, DnsCode, DnsAnswers, DnsNameLength, DnsLatency, DnsMalformed,
    HttpMethod, HttpUri, HttpPath, HttpHost, HttpStatus, HttpLatency, PeerPid, PeerContainer, NetSent,
    FindingRule, FindingEngine, FindingSeverity, FindingLevel, FindingMessage, FindingTags, FindingField, FindingDegraded,
    Missing,
}

impl Id {
    /// Taken from who acted and where alone: process, ancestors, user and container, not from what
    /// happened or when.
    #[rustfmt::skip]
    pub fn is_of_actor(self) -> bool {
        use Id::*;
        matches!(
            self,
            Name | Exe | ExePath | CommandLine | ExeLine | Arguments | Pid | ParentPid | AncestorPid | ParentUid
                | ParentName | ParentExe | ParentExePath | ParentCommandLine
                | AncestorName | AncestorExe | AncestorExePath | AncestorCommandLine | AncestorNameInside
                | Cwd | NamespacePid | FromMemfd | UpperLayer | Deleted | BornInContainer | StartedOutside
                | ContainerStart | ExeChanged | ExeChangedBeforeStart | ExeModified | LeadsNamespaceGroup | Session
                | SessionName | Tty | NamespaceGroup | GroupName | CapEffective | CapInheritable | CapPermitted | LoginName
                | LoginUid | EntersContainer | ExeInode | Uid | UserName | Gid
                | ContainerShort | ContainerFull | ContainerName | Image | Repository | Tag | Privileged | Runtime
                | Label | Info | Pod | Namespace
        )
    }
}

impl Id {
    /// Of an open, taken from itself and from who acted and where, not from when.
    #[rustfmt::skip]
    pub fn is_of_open(self) -> bool {
        use Id::*;
        self.is_of_actor()
            || matches!(
                self,
                Type | CallType | Dir | Arg | RawArg | Args | Res | RawRes | Failed | Tid
                    | OpenRead | OpenWrite | OpenCreate | OpenExec
                    | FdNum | FdType | FdLetter | FdName | FdNameRaw | FdDirectory | FdFilename | PathName
                    | Missing
            )
    }

    /// How much of the state an event's value of it depends on.
    #[rustfmt::skip]
    pub fn looks_at(self) -> Depth {
        use Id::*;
        match self {
            Num => Depth::Count,
            Buffer | Time | TimeIso | RawTime | Type | CallType | Dir | Res | RawRes | Failed | Cpu | Hostname | Tid | Info
                | DnsName | DnsDomain | DnsType | DnsCode | DnsAnswers | DnsNameLength | DnsLatency | DnsMalformed
                | HttpMethod | HttpUri | HttpPath | HttpHost | HttpStatus | HttpLatency | PeerPid | NetSent
                => Depth::Nothing,
            Name | Exe | CommandLine | ExeLine | Arguments | Pid | ParentPid | AncestorPid | ParentUid | ParentName
                | ParentExe | ParentCommandLine | AncestorName | AncestorExe | AncestorCommandLine
                | AncestorNameInside | NamespacePid
                | Uid | UserName | Gid | ContainerShort | ContainerFull | ContainerName | Image | Repository | Tag
                | Privileged | Runtime | Label | Pod | Namespace => Depth::Who,
            _ => Depth::All,
        }
    }
}

type Row = (&'static str, Id, Kind, Wants, On);

#[rustfmt::skip]
const FIELDS: &[Row] = {
    use Kind::*;
    use Wants::*;
    use On::{Any, Calls, Data, Descriptors, Dns, Findings, Http, Messages, Paths, Peers, Sockets, TwoPaths};
    &[
        ("evt.num", Id::Num, Number, Nothing, Any),
        ("evt.time", Id::Time, Text, Nothing, Any),
        ("evt.time.iso8601", Id::TimeIso, Text, Nothing, Any),
        ("evt.rawtime", Id::RawTime, Number, Nothing, Any),
        ("evt.type", Id::Type, Text, Nothing, Any),
        ("syscall.type", Id::CallType, Text, Nothing, Calls),
        ("evt.dir", Id::Dir, Text, Nothing, Any),
        ("evt.cpu", Id::Cpu, Number, Nothing, Any),
        ("evt.hostname", Id::Hostname, Text, Nothing, Any),
        ("evt.args", Id::Args, Text, Nothing, Any),
        ("evt.buffer", Id::Buffer, Text, Nothing, Data),
        ("evt.res", Id::Res, Text, Nothing, Calls),
        ("evt.rawres", Id::RawRes, Number, Nothing, Calls),
        ("evt.failed", Id::Failed, Boolean, Nothing, Calls),
        ("evt.is_open_read", Id::OpenRead, Boolean, Nothing, Any),
        ("evt.is_open_write", Id::OpenWrite, Boolean, Nothing, Any),
        ("evt.is_open_create", Id::OpenCreate, Boolean, Nothing, Any),
        ("evt.is_open_exec", Id::OpenExec, Boolean, Nothing, Any),
        ("fd.num", Id::FdNum, Number, Nothing, Descriptors),
        ("fd.type", Id::FdType, Text, Nothing, Descriptors),
        ("fd.typechar", Id::FdLetter, Text, Nothing, Descriptors),
        ("fd.name", Id::FdName, Text, Nothing, Descriptors),
        ("fd.nameraw", Id::FdNameRaw, Text, Nothing, Descriptors),
        ("fd.directory", Id::FdDirectory, Text, Nothing, Descriptors),
        ("fd.filename", Id::FdFilename, Text, Nothing, Descriptors),
        ("fd.ip", Id::FdIp, Address, Nothing, Descriptors),
        ("fd.cip", Id::FdClientIp, Address, Nothing, Descriptors),
        ("fd.sip", Id::FdServerIp, Address, Nothing, Descriptors),
        ("fd.lip", Id::FdLocalIp, Address, Nothing, Descriptors),
        ("fd.rip", Id::FdRemoteIp, Address, Nothing, Descriptors),
        ("fd.net", Id::FdIp, Network, Nothing, Descriptors),
        ("fd.cnet", Id::FdClientIp, Network, Nothing, Descriptors),
        ("fd.snet", Id::FdServerIp, Network, Nothing, Descriptors),
        ("fd.lnet", Id::FdLocalIp, Network, Nothing, Descriptors),
        ("fd.rnet", Id::FdRemoteIp, Network, Nothing, Descriptors),
        ("fd.port", Id::FdPort, Number, Nothing, Descriptors),
        ("fd.cport", Id::FdClientPort, Number, Nothing, Descriptors),
        ("fd.sport", Id::FdServerPort, Number, Nothing, Descriptors),
        ("fd.lport", Id::FdLocalPort, Number, Nothing, Descriptors),
        ("fd.rport", Id::FdRemotePort, Number, Nothing, Descriptors),
        ("fd.l4proto", Id::FdProtocol, Text, Nothing, Descriptors),
        ("fd.sockfamily", Id::FdFamily, Text, Nothing, Descriptors),
        ("fd.connected", Id::FdConnected, Boolean, Nothing, Sockets),
        ("fs.path.name", Id::PathName, Text, Nothing, Paths),
        ("fs.path.nameraw", Id::PathName, Text, Nothing, Paths),
        ("fs.path.source", Id::PathSource, Text, Nothing, TwoPaths),
        ("fs.path.sourceraw", Id::PathSource, Text, Nothing, TwoPaths),
        ("fs.path.target", Id::PathTarget, Text, Nothing, TwoPaths),
        ("fs.path.targetraw", Id::PathTarget, Text, Nothing, TwoPaths),
        ("proc.name", Id::Name, Text, Nothing, Any),
        ("proc.exe", Id::Exe, Text, Nothing, Any),
        ("proc.exepath", Id::ExePath, Text, Nothing, Any),
        ("proc.cmdline", Id::CommandLine, Text, Nothing, Any),
        ("proc.exeline", Id::ExeLine, Text, Nothing, Any),
        ("proc.args", Id::Arguments, Text, Nothing, Any),
        ("proc.pid", Id::Pid, Number, Nothing, Any),
        ("proc.ppid", Id::ParentPid, Number, Nothing, Any),
        ("proc.apid", Id::AncestorPid, Number, MaybeGeneration, Any),
        ("proc.puid", Id::ParentUid, Number, Nothing, Any),
        ("proc.pname", Id::ParentName, Text, Nothing, Any),
        ("proc.pexe", Id::ParentExe, Text, Nothing, Any),
        ("proc.pexepath", Id::ParentExePath, Text, Nothing, Any),
        ("proc.pcmdline", Id::ParentCommandLine, Text, Nothing, Any),
        ("proc.aname", Id::AncestorName, Text, MaybeGeneration, Any),
        ("proc.aname_inside", Id::AncestorNameInside, Text, Nothing, Any),
        ("proc.aexe", Id::AncestorExe, Text, MaybeGeneration, Any),
        ("proc.aexepath", Id::AncestorExePath, Text, MaybeGeneration, Any),
        ("proc.acmdline", Id::AncestorCommandLine, Text, MaybeGeneration, Any),
        ("proc.cwd", Id::Cwd, Text, Nothing, Any),
        ("proc.vpid", Id::NamespacePid, Number, Nothing, Any),
        ("proc.duration", Id::Duration, Number, Nothing, Any),
        ("proc.is_exe_from_memfd", Id::FromMemfd, Boolean, Nothing, Any),
        ("proc.is_exe_upper_layer", Id::UpperLayer, Boolean, Nothing, Any),
        ("proc.is_exe_deleted", Id::Deleted, Boolean, Nothing, Any),
        ("proc.exe_born_in_container", Id::BornInContainer, Boolean, Nothing, Any),
        ("proc.started_outside", Id::StartedOutside, Boolean, Nothing, Any),
        ("proc.enters_container", Id::EntersContainer, Boolean, Nothing, Any),
        ("proc.exe_ino", Id::ExeInode, Number, Nothing, Any),
        ("container.start_ts", Id::ContainerStart, Number, Nothing, Any),
        ("proc.exe_ino.ctime", Id::ExeChanged, Number, Nothing, Any),
        ("proc.exe_ino.ctime_duration_proc_start", Id::ExeChangedBeforeStart, Number, Nothing, Any),
        ("proc.exe_ino.mtime", Id::ExeModified, Number, Nothing, Any),
        ("proc.is_vpgid_leader", Id::LeadsNamespaceGroup, Boolean, Nothing, Any),
        ("proc.sid", Id::Session, Number, Nothing, Any),
        ("proc.sname", Id::SessionName, Text, Nothing, Any),
        ("proc.tty", Id::Tty, Number, Nothing, Any),
        ("proc.vpgid", Id::NamespaceGroup, Number, Nothing, Any),
        ("proc.vpgid.name", Id::GroupName, Text, Nothing, Any),
        ("thread.cap_effective", Id::CapEffective, Text, Nothing, Any),
        ("thread.cap_inheritable", Id::CapInheritable, Text, Nothing, Any),
        ("thread.cap_permitted", Id::CapPermitted, Text, Nothing, Any),
        ("user.loginname", Id::LoginName, Text, Nothing, Any),
        ("user.loginuid", Id::LoginUid, Number, Nothing, Any),
        ("evt.latency", Id::CallLatency, Number, Nothing, Any),
        ("target.pid", Id::TargetPid, Number, Nothing, Any),
        ("target.name", Id::TargetName, Text, Nothing, Any),
        ("target.container.id", Id::TargetContainer, Text, Nothing, Any),
        ("target.container.name", Id::TargetContainerName, Text, Nothing, Any),
        ("target.is_foreign", Id::TargetForeign, Boolean, Nothing, Any),
        ("thread.tid", Id::Tid, Number, Nothing, Any),
        ("user.uid", Id::Uid, Number, Nothing, Any),
        ("user.name", Id::UserName, Text, Nothing, Any),
        ("group.gid", Id::Gid, Number, Nothing, Any),
        ("container.id", Id::ContainerShort, Text, Nothing, Any),
        ("container.full_id", Id::ContainerFull, Text, Nothing, Any),
        ("container.name", Id::ContainerName, Text, Nothing, Any),
        ("container.image", Id::Image, Text, Nothing, Any),
        ("container.image.repository", Id::Repository, Text, Nothing, Any),
        ("container.image.tag", Id::Tag, Text, Nothing, Any),
        ("container.privileged", Id::Privileged, Boolean, Nothing, Any),
        ("container.runtime", Id::Runtime, Text, Nothing, Any),
        ("container.type", Id::Runtime, Text, Nothing, Any),
        ("container.label", Id::Label, Text, Key, Any),
        ("container.info", Id::Info, Text, Nothing, Any),
        ("k8s.pod.name", Id::Pod, Text, Nothing, Any),
        ("k8s.pod.label", Id::Label, Text, Key, Any),
        ("k8s.ns.name", Id::Namespace, Text, Nothing, Any),
        ("dns.name", Id::DnsName, Text, Nothing, Dns),
        ("dns.name.length", Id::DnsNameLength, Number, Nothing, Dns),
        ("dns.domain", Id::DnsDomain, Text, Nothing, Dns),
        ("dns.type", Id::DnsType, Text, Nothing, Dns),
        ("dns.rcode", Id::DnsCode, Text, Nothing, Dns),
        ("dns.answers", Id::DnsAnswers, Number, Nothing, Dns),
        ("dns.latency", Id::DnsLatency, Number, Nothing, Dns),
        ("dns.malformed", Id::DnsMalformed, Boolean, Nothing, Dns),
        ("http.method", Id::HttpMethod, Text, Nothing, Http),
        ("http.uri", Id::HttpUri, Text, Nothing, Http),
        ("http.path", Id::HttpPath, Text, Nothing, Http),
        ("http.host", Id::HttpHost, Text, Nothing, Http),
        ("http.status", Id::HttpStatus, Number, Nothing, Http),
        ("http.latency", Id::HttpLatency, Number, Nothing, Http),
        ("peer.pid", Id::PeerPid, Number, Nothing, Peers),
        ("peer.container.name", Id::PeerContainer, Text, Nothing, Peers),
        ("net.sent", Id::NetSent, Boolean, Nothing, Messages),
        ("finding.rule", Id::FindingRule, Text, Nothing, Findings),
        ("finding.engine", Id::FindingEngine, Text, Nothing, Findings),
        ("finding.severity", Id::FindingSeverity, Text, Nothing, Findings),
        ("finding.level", Id::FindingLevel, Number, Nothing, Findings),
        ("finding.message", Id::FindingMessage, Text, Nothing, Findings),
        ("finding.tags", Id::FindingTags, Text, Nothing, Findings),
        ("finding.field", Id::FindingField, Text, Key, Findings),
        ("finding.degraded", Id::FindingDegraded, Boolean, Nothing, Findings),
        // In the language, but not in traces: always missing.
        ("container.image.digest", Id::Missing, Text, Nothing, On::Nothing),
        ("container.image.id", Id::Missing, Text, Nothing, On::Nothing),
        ("container.mount.dest", Id::Missing, Text, Key, On::Nothing),
        ("container.mounts", Id::Missing, Text, Nothing, On::Nothing),
        ("fd.cip.name", Id::Missing, Text, Nothing, On::Nothing),
        ("fd.lip.name", Id::Missing, Text, Nothing, On::Nothing),
        ("fd.name_changed", Id::Missing, Boolean, Nothing, On::Nothing),
        ("fd.rip.name", Id::Missing, Text, Nothing, On::Nothing),
        ("fd.sip.name", Id::Missing, Text, Nothing, On::Nothing),
        ("group.name", Id::Missing, Text, Nothing, On::Nothing),
        ("proc.env", Id::Missing, Text, Nothing, On::Nothing),
        ("proc.is_exe_writable", Id::Missing, Boolean, Nothing, On::Nothing),
        ("proc.stderr.name", Id::Missing, Text, Nothing, On::Nothing),
        ("proc.stderr.type", Id::Missing, Text, Nothing, On::Nothing),
        ("proc.stdin.name", Id::Missing, Text, Nothing, On::Nothing),
        ("proc.stdin.type", Id::Missing, Text, Nothing, On::Nothing),
        ("proc.stdout.name", Id::Missing, Text, Nothing, On::Nothing),
        ("proc.stdout.type", Id::Missing, Text, Nothing, On::Nothing),
        ("thread.vtid", Id::Missing, Number, Nothing, On::Nothing),
        ("user.homedir", Id::Missing, Text, Nothing, On::Nothing),
    ]
};

impl Field {
    /// Looks a field up; the error says what would have been right.
    pub fn resolve(written: &FieldName) -> Result<Field, String> {
        let name = written.name.as_str();
        let argument = written.argument.as_deref();
        if let Some(found) = event_argument(name, argument) {
            return found;
        }
        let Some(&(_, id, kind, wants, on)) = FIELDS.iter().find(|row| row.0 == name) else {
            return Err(match nearest(name) {
                Some(near) => format!("a known field, such as {near} (docs/rules.md lists them)"),
                None => "a known field (docs/rules.md lists them)".to_owned(),
            });
        };
        let index = match (wants, argument) {
            (Wants::Nothing, None) | (Wants::MaybeGeneration, None) => 0,
            (Wants::Nothing, Some(_)) => return Err(format!("{name} without an argument")),
            (Wants::MaybeGeneration, Some(text)) => match text.parse() {
                Ok(index) => index,
                Err(_) => return Err(format!("{name}[n] with a number of generations")),
            },
            (Wants::Key, Some(_)) => 0,
            (Wants::Key, None) => return Err(format!("{name}[key]")),
        };
        Ok(Field {
            id,
            kind,
            index,
            key: argument.unwrap_or_default().into(),
            parameters: Arc::new([]),
            types: on.types(),
            many: wants == Wants::MaybeGeneration && argument.is_none()
                || matches!(id, Id::FindingTags | Id::AncestorNameInside),
        })
    }
}

/// `evt.arg.flags`, `evt.arg[1]`, `evt.rawarg.res`.
fn event_argument(name: &str, argument: Option<&str>) -> Option<Result<Field, String>> {
    let (id, rest) = match (
        name.strip_prefix("evt.arg"),
        name.strip_prefix("evt.rawarg"),
    ) {
        (Some(rest), _) => (Id::Arg, rest),
        (_, Some(rest)) => (Id::RawArg, rest),
        _ => return None,
    };
    let wanted = match (rest.strip_prefix('.'), argument) {
        (Some(wanted), None) => wanted,
        (None, Some(wanted)) if rest.is_empty() => wanted,
        (None, None) if rest.is_empty() => return Some(Err(format!("{name}.NAME or {name}[n]"))),
        _ => return None,
    };
    let found: Vec<(Type, Parameter)> = match wanted.parse::<usize>() {
        Ok(place) => arguments::all()
            .filter_map(|(kind, parameters)| Some((kind, *parameters.get(place)?)))
            .collect(),
        Err(_) => arguments::all()
            .flat_map(|(kind, parameters)| {
                parameters.iter().map(move |parameter| (kind, *parameter))
            })
            .filter(|(_, parameter)| parameter.name == wanted)
            .collect(),
    };
    if found.is_empty() {
        return Some(Err(
            "the name of an event's parameter (docs/rules.md lists them)".to_owned(),
        ));
    }
    let numeric = found.iter().all(|(_, parameter)| parameter.is_number());
    let kind = if id == Id::RawArg && numeric {
        Kind::Number
    } else {
        Kind::Text
    };
    let mut types = TypeSet::NONE;
    found.iter().for_each(|(kind, _)| types.insert(*kind));
    let field = Field {
        id,
        kind,
        index: 0,
        key: wanted.into(),
        parameters: found.into(),
        types,
        many: false,
    };
    Some(Ok(field))
}

impl On {
    fn types(self) -> TypeSet {
        match self {
            On::Any => TypeSet::all(),
            On::Calls => TypeSet::of(Type::is_syscall),
            On::Data => TypeSet::of(arguments::has_data),
            On::Descriptors => TypeSet::of(|kind| {
                let name = kind.name();
                name.starts_with("tcp_")
                    || MESSAGES.contains(&name)
                    || PASSED.contains(&name)
                    || OPENS.contains(&name)
                    || SOCKETS.contains(&name)
                    || super::descriptor::has_descriptor(name)
            }),
            On::Sockets => TypeSet::of(|kind| {
                kind.name().starts_with("tcp_") || On::Descriptors.types().contains(kind)
            }),
            On::Paths => TypeSet::of(|kind| {
                let name = kind.name();
                OPENS.contains(&name) || ONE_PATH.contains(&name) || TWO_PATHS.contains(&name)
            }),
            On::TwoPaths => TypeSet::named(&TWO_PATHS),
            On::Dns => TypeSet::named(&MESSAGES[..2]),
            On::Http => TypeSet::named(&MESSAGES[2..4]),
            On::Peers => TypeSet::named(&MESSAGES[4..]),
            On::Messages => TypeSet::named(&MESSAGES),
            On::Findings => TypeSet::named(&["finding"]),
            On::Nothing => TypeSet::NONE,
        }
    }
}

/// What goes over sockets: DNS, HTTP, who is at the other end.
const MESSAGES: [&str; 6] = [
    "dns_question",
    "dns_answer",
    "http_request",
    "http_response",
    "udp_peer",
    "unix_peer",
];
/// Descriptors that processes pass to each other.
const PASSED: [&str; 2] = ["fd_sent", "fd_received"];
pub(super) const OPENS: [&str; 4] = ["open", "openat", "openat2", "creat"];
pub(super) const SOCKETS: [&str; 6] = ["socket", "bind", "listen", "connect", "accept", "accept4"];
/// Calls with one path, where `fs.path.name` is that path.
#[rustfmt::skip]
pub(super) const ONE_PATH: [&str; 21] = [
    "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir", "chmod", "fchmodat", "fchmodat2", "chown", "lchown",
    "fchownat", "truncate", "mknod", "mknodat", "chdir", "chroot", "umount2", "setxattr", "removexattr",
    "utimensat", "quotactl",
];
#[rustfmt::skip]
pub(super) const TWO_PATHS: [&str; 8] =
    ["rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "mount"];

/// The known field whose name differs least, if it is close.
fn nearest(name: &str) -> Option<&'static str> {
    let close = name.len() / 4 + 1;
    let distances = FIELDS.iter().map(|row| (distance(name, row.0), row.0));
    distances
        .min()
        .filter(|best| best.0 <= close)
        .map(|best| best.1)
}

/// Letters to change, add or remove (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (at_a, byte_a) in a.bytes().enumerate() {
        let mut before = row[0];
        row[0] = at_a + 1;
        for (at_b, byte_b) in b.bytes().enumerate() {
            let change = before + usize::from(byte_a != byte_b);
            before = row[at_b + 1];
            row[at_b + 1] = change.min(row[at_b] + 1).min(before + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, argument: Option<&str>) -> Result<Field, String> {
        Field::resolve(&FieldName {
            name: name.into(),
            argument: argument.map(str::to_owned),
            at: 0,
        })
    }

    #[test]
    fn arguments_are_wanted_where_they_belong() {
        assert!(named("proc.aname", None).unwrap().many);
        assert_eq!(named("proc.aname", Some("3")).unwrap().index, 3);
        assert!(!named("proc.aname", Some("3")).unwrap().many);
        assert!(
            named("proc.aname", Some("x"))
                .unwrap_err()
                .contains("number")
        );
        assert!(named("proc.apid", None).unwrap().many);
        assert!(named("proc.name", Some("1")).is_err());
        assert!(named("container.label", None).is_err());
        assert_eq!(
            &*named("container.label", Some("a.b/c")).unwrap().key,
            "a.b/c"
        );
    }

    #[test]
    fn event_parameters_know_their_events() {
        let flags = named("evt.arg.flags", None).unwrap();
        assert!(
            flags
                .types
                .intersection(&TypeSet::named(&["openat", "unshare", "mount"]))
                .len()
                == 3
        );
        assert!(
            flags
                .types
                .intersection(&TypeSet::named(&["read"]))
                .is_empty()
        );
        assert_eq!(named("evt.rawarg.pid", None).unwrap().kind, Kind::Number);
        assert!(
            named("evt.arg[0]", None).is_err(),
            "the parser splits the argument off"
        );
        assert!(named("evt.arg", Some("0")).is_ok());
        assert!(named("evt.arg.nonsense", None).is_err());
        assert!(named("evt.arg", None).is_err());
    }

    #[test]
    fn a_misspelt_field_gets_a_suggestion() {
        assert!(named("proc.nmae", None).unwrap_err().contains("proc.name"));
        assert!(
            named("container.image.repositry", None)
                .unwrap_err()
                .contains("container.image.repository")
        );
        assert!(
            !named("completely.different.thing", None)
                .unwrap_err()
                .contains("such as")
        );
    }

    #[test]
    fn the_documentation_lists_every_field() {
        let documentation = include_str!("../../../docs/rules.md");
        for row in FIELDS {
            assert!(
                documentation.contains(&format!("`{}", row.0)),
                "docs/rules.md does not mention {}",
                row.0
            );
        }
    }
}
