//! The event in question and what the state knows about it: where fields get their values.
//!
//! Values are borrowed. What has to be put together (an address pair, a command line) goes into a
//! scratch buffer that the caller keeps, so that judging an event allocates nothing.

use super::{
    arguments,
    descriptor::{self, View},
    fields::{Field, Id, Kind, ONE_PATH, OPENS, TWO_PATHS},
    types::{FINDING, Type},
};
use crate::{
    findings::{Finding, Severity, Value},
    resolve::{Container, Process, State},
    syscalls::{O_ACCMODE, O_RDONLY, errno, flags},
    time,
};
use std::{cell::OnceCell, io::Write, net::IpAddr};
use trace_format::{
    Event, EventData,
    event::{CgroupChange, PathMarks, Payload},
};

/// What stands for a name that nobody knows.
pub(super) const UNKNOWN: &[u8] = b"<NA>";
const HOST: &[u8] = b"host";

pub(super) struct Subject<'a> {
    pub event: &'a Event,
    pub state: &'a State,
    pub kind: Type,
    /// What is judged is a finding; the event stands for where and when.
    finding: Option<&'a Finding>,
    process: OnceCell<Option<&'a Process>>,
    view: OnceCell<Option<View<'a>>>,
}

impl<'a> Subject<'a> {
    pub fn new(event: &'a Event, state: &'a State, kind: Type) -> Self {
        Subject {
            event,
            state,
            kind,
            finding: None,
            process: OnceCell::new(),
            view: OnceCell::new(),
        }
    }

    /// Of a finding and the event that stands for it ([`event_of`]).
    pub fn of_finding(event: &'a Event, state: &'a State, finding: &'a Finding) -> Self {
        Subject {
            finding: Some(finding),
            ..Subject::new(event, state, FINDING)
        }
    }

    pub fn process(&self) -> Option<&'a Process> {
        *self
            .process
            .get_or_init(|| self.state.process_of(self.event))
    }

    pub fn view(&self) -> Option<View<'a>> {
        *self
            .view
            .get_or_init(|| View::of(self.event, self.kind, self.process(), self.state))
    }

    pub fn container(&self) -> Option<&'a Container> {
        self.state.container(self.event.cgroup_id)
    }

    /// Not in a container, for sure.
    fn on_host(&self) -> bool {
        self.event.cgroup_id == 0 || self.state.is_host_cgroup(self.event.cgroup_id)
    }

    fn parent(&self) -> Option<&'a Process> {
        self.ancestor(1)
    }

    /// 0: the process itself.
    fn ancestor(&self, generations: u32) -> Option<&'a Process> {
        self.state
            .lineage_of(self.process()?)
            .nth(generations as usize)
    }

    /// Who acted: the process as known, else the event's word for it.
    fn uid(&self) -> Option<u32> {
        self.process().and_then(|process| process.uid)
    }

    pub fn result(&self) -> Option<i64> {
        match &self.event.data {
            EventData::Syscall(call) | EventData::Payload(Payload { call, .. }) => Some(call.ret),
            EventData::Open(open) => Some(open.ret),
            EventData::PathCall(call) => Some(call.ret),
            EventData::SockCall(call) => Some(call.ret),
            EventData::Ipc(call) => Some(call.ret),
            EventData::ProcessAccess(call) => Some(call.ret),
            EventData::Exec(_) => Some(0),
            EventData::Fork(fork) => Some(i64::from(fork.child_tid)),
            _ => None,
        }
    }

    /// A text value, borrowed from the event, the state or the scratch buffer.
    pub fn text<'s>(&'s self, field: &'s Field, scratch: &'s mut Vec<u8>) -> Option<&'s [u8]> {
        scratch.clear();
        let process_text = |process: Option<&'a Process>, id: Id| -> Option<&'a [u8]> {
            let process = process?;
            match id {
                Id::Name => Some(if process.comm.is_empty() {
                    UNKNOWN
                } else {
                    &process.comm
                }),
                Id::Exe => process.exe(),
                Id::ExePath => known(&process.exe_path),
                Id::CommandLine => known(&process.command_line),
                _ => None,
            }
        };
        match field.id {
            Id::Name => match self.process() {
                None if self.event.pid != 0 => Some(UNKNOWN),
                process => process_text(process, Id::Name),
            },
            Id::Exe | Id::ExePath | Id::CommandLine => process_text(self.process(), field.id),
            Id::ParentName => process_text(self.parent(), Id::Name),
            Id::ParentExe => process_text(self.parent(), Id::Exe),
            Id::ParentExePath => process_text(self.parent(), Id::ExePath),
            Id::ParentCommandLine => process_text(self.parent(), Id::CommandLine),
            Id::AncestorName
            | Id::AncestorExe
            | Id::AncestorExePath
            | Id::AncestorCommandLine
            | Id::AncestorNameInside => {
                if field.many {
                    for ancestor in self.ancestors_in(field.id) {
                        if !scratch.is_empty() {
                            scratch.push(b' ');
                        }
                        scratch.extend_from_slice(
                            ancestor_text(ancestor, field.id).unwrap_or(UNKNOWN),
                        );
                    }
                    return (!scratch.is_empty()).then_some(scratch);
                }
                ancestor_text(self.ancestor(field.index)?, field.id)
            }
            Id::Arguments => self
                .process()
                .filter(|process| !process.args.is_empty())
                .map(Process::arguments),
            Id::ExeLine => {
                let process = self.process()?;
                scratch.extend_from_slice(process.exe()?);
                let arguments = process.arguments();
                if !arguments.is_empty() {
                    scratch.push(b' ');
                    scratch.extend_from_slice(arguments);
                }
                Some(scratch)
            }
            Id::Cwd => {
                let cwd = known(&self.process()?.cwd)?;
                if cwd.ends_with(b"/") {
                    return Some(cwd);
                }
                scratch.extend_from_slice(cwd);
                scratch.push(b'/');
                Some(scratch)
            }
            Id::UserName => match self.state.user_name(self.uid()?) {
                Some(name) => Some(name.as_bytes()),
                None => Some(UNKNOWN),
            },
            Id::Type => Some(self.kind.name().as_bytes()),
            Id::CallType => self.kind.is_syscall().then(|| self.kind.name().as_bytes()),
            Id::Dir => Some(match &self.event.data {
                // What a capture says before the call is done.
                EventData::Declared(_) => b">",
                _ => b"<",
            }),
            Id::Hostname => self.state.host().map(|host| host.hostname.as_bytes()),
            Id::Time | Id::TimeIso => {
                let time = time::rfc3339(self.state.wall_ns(self.event.boot_ns)?);
                let (date, clock) = time.trim_end_matches('Z').split_once('T')?;
                let _ = match field.id {
                    Id::Time => write!(scratch, "{clock}"),
                    _ => write!(scratch, "{date}T{clock}+0000"),
                };
                Some(scratch)
            }
            Id::Res => match errno::of_result(self.result()?) {
                Some(name) => Some(name.as_bytes()),
                None if self.result()? >= 0 => Some(b"SUCCESS"),
                None => {
                    let _ = write!(scratch, "{}", self.result()?);
                    Some(scratch)
                }
            },
            Id::Arg | Id::RawArg => {
                let (_, parameter) = field.parameters.iter().find(|row| row.0 == self.kind)?;
                self.parameter(parameter, field.id == Id::RawArg, scratch)
                    .then_some(&scratch[..])
            }
            Id::Buffer => match &self.event.data {
                EventData::Payload(payload) => {
                    (!payload.data.is_empty()).then_some(payload.data.as_bytes())
                }
                _ => None,
            },
            Id::Args => {
                for parameter in arguments::of(self.kind) {
                    let start = scratch.len();
                    if start > 0 {
                        scratch.push(b' ');
                    }
                    scratch.extend_from_slice(parameter.name.as_bytes());
                    scratch.push(b'=');
                    if !self.parameter(parameter, false, scratch) {
                        scratch.truncate(start);
                    }
                }
                Some(scratch)
            }
            Id::FdType
            | Id::FdLetter
            | Id::FdName
            | Id::FdNameRaw
            | Id::FdDirectory
            | Id::FdFilename
            | Id::FdProtocol
            | Id::FdFamily => self.descriptor_text(field.id, scratch),
            Id::PathName | Id::PathSource | Id::PathTarget => self.path_text(field.id, scratch),
            Id::ContainerShort | Id::ContainerFull | Id::ContainerName => match self.container() {
                Some(container) => match field.id {
                    Id::ContainerShort => Some(container.short_id.as_bytes()),
                    Id::ContainerFull => Some(container.id.as_bytes()),
                    _ => known(container.name.as_bytes()),
                },
                None => self.on_host().then_some(HOST),
            },
            Id::Image | Id::Repository | Id::Tag | Id::Runtime | Id::Pod | Id::Namespace => {
                let Some(container) = self.container() else {
                    return self.on_host().then_some(&[][..]);
                };
                let text = match field.id {
                    Id::Image => &container.image,
                    Id::Repository => &container.image_repository,
                    Id::Tag => {
                        container.image[container.image_repository.len()..].trim_start_matches(':')
                    }
                    Id::Runtime => &container.runtime,
                    Id::Pod => &container.pod,
                    _ => &container.namespace,
                };
                known(text.as_bytes())
            }
            Id::Label => {
                let labels = &self.container()?.labels;
                labels
                    .iter()
                    .find(|label| *label.0 == *field.key)
                    .map(|label| label.1.as_bytes())
            }
            Id::Info => Some(b""),
            Id::FindingRule => self.finding.map(|finding| finding.rule.as_bytes()),
            Id::FindingEngine => self.finding.map(|finding| finding.engine.name().as_bytes()),
            Id::FindingSeverity => self
                .finding
                .map(|finding| finding.severity.name().as_bytes()),
            Id::FindingMessage => self.finding.map(|finding| finding.message.as_bytes()),
            Id::FindingTags => {
                scratch.extend_from_slice(self.finding?.tags.join(" ").as_bytes());
                Some(scratch)
            }
            Id::FindingField => {
                let (_, value) = self
                    .finding?
                    .fields
                    .iter()
                    .find(|known| known.0 == *field.key && known.1 != Value::Missing)?;
                let _ = write!(scratch, "{value}");
                Some(scratch)
            }
            Id::DnsName
            | Id::DnsDomain
            | Id::DnsType
            | Id::DnsCode
            | Id::HttpMethod
            | Id::HttpUri
            | Id::HttpPath
            | Id::HttpHost
            | Id::PeerContainer => self.network_text(field.id, scratch),
            id => self.detail_text(id, scratch),
        }
    }

    fn descriptor_text<'s>(&'s self, id: Id, scratch: &'s mut Vec<u8>) -> Option<&'s [u8]> {
        let view = self.view()?;
        match id {
            Id::FdType => view.type_name().map(str::as_bytes),
            Id::FdLetter => match view.shown_letter() {
                0 => None,
                letter => {
                    scratch.push(letter);
                    Some(scratch)
                }
            },
            Id::FdProtocol => Some(view.protocol().map_or(UNKNOWN, str::as_bytes)),
            Id::FdFamily => view.family().map(str::as_bytes),
            Id::FdNameRaw => view.is_file().then_some(view.path),
            Id::FdName => {
                if view.letter == 0 {
                    return Some(b"");
                }
                if !view.is_file() {
                    view.write_socket_name(scratch);
                    return Some(scratch);
                }
                self.file_path(&view, scratch)
            }
            Id::FdDirectory => {
                let directory = view.letter == b'd';
                let path = if view.is_file() {
                    self.file_path(&view, scratch)?
                } else {
                    return None;
                };
                match path.iter().rposition(|&byte| byte == b'/') {
                    _ if directory => Some(path),
                    Some(0) | None => Some(b"/"),
                    Some(end) => Some(&path[..end]),
                }
            }
            Id::FdFilename => {
                if view.letter != b'f' {
                    return None;
                }
                let path = self.file_path(&view, scratch)?;
                let start = path
                    .iter()
                    .rposition(|&byte| byte == b'/')
                    .map_or(0, |at| at + 1);
                Some(&path[start..])
            }
            _ => None,
        }
    }

    /// The path of a file as the kernel would name it; what a failed call got is folded.
    fn file_path<'s>(&'s self, view: &View<'a>, scratch: &'s mut Vec<u8>) -> Option<&'s [u8]> {
        if !view.raw {
            return Some(view.path);
        }
        let directory = self.process().map_or(&[][..], |process| &process.cwd);
        descriptor::fold(directory, view.path, scratch);
        Some(scratch)
    }

    /// Paths of calls that succeeded. Of a link, the source is the new name.
    fn path_text<'s>(&'s self, id: Id, scratch: &'s mut Vec<u8>) -> Option<&'s [u8]> {
        let name = self.kind.name();
        let path: &[u8] = match &self.event.data {
            EventData::Open(open)
                if open.ret >= 0 && id == Id::PathName && OPENS.contains(&name) =>
            {
                &open.path
            }
            EventData::PathCall(call) if call.ret >= 0 => {
                let link = matches!(name, "link" | "linkat" | "symlink" | "symlinkat");
                match id {
                    Id::PathName if ONE_PATH.contains(&name) => &call.path,
                    Id::PathName => return None,
                    _ if !TWO_PATHS.contains(&name) => return None,
                    Id::PathSource if link => &call.path2,
                    Id::PathTarget if link => &call.path,
                    Id::PathSource => &call.path,
                    _ => &call.path2,
                }
            }
            _ => return None,
        };
        if path.starts_with(b"/") {
            return Some(path);
        }
        let directory = self.process().map_or(&[][..], |process| &process.cwd);
        descriptor::fold(directory, path, scratch);
        Some(scratch)
    }

    fn ancestors(&self) -> impl Iterator<Item = &'a Process> {
        let process = self.process();
        process
            .into_iter()
            .flat_map(|process| self.state.lineage_of(process).skip(1))
    }

    /// Those that a list-typed field looks at: all, or those before the edge of the event's container. A
    /// container's first process has its parent outside; on the host all are inside.
    fn ancestors_in(&self, id: Id) -> impl Iterator<Item = &'a Process> {
        let state = self.state;
        let within = match id {
            Id::AncestorNameInside => state.container_key(self.event.cgroup_id),
            _ => None,
        };
        self.ancestors().take_while(move |ancestor| {
            within.is_none() || state.container_key(ancestor.cgroup_id) == within
        })
    }

    /// Whether a value of a list-typed field passes; `None` when the list is empty.
    pub fn any_text(&self, field: &Field, mut passes: impl FnMut(&[u8]) -> bool) -> Option<bool> {
        if field.id == Id::FindingTags {
            let tags = &self.finding?.tags;
            return (!tags.is_empty()).then(|| tags.iter().any(|tag| passes(tag.as_bytes())));
        }
        let mut ancestors = self
            .ancestors_in(field.id)
            .filter_map(|process| ancestor_text(process, field.id))
            .peekable();
        ancestors.peek()?;
        Some(ancestors.any(&mut passes))
    }

    /// The same for numbers: ids of ancestors.
    pub fn any_number(&self, field: &Field, passes: impl FnMut(i64) -> bool) -> Option<bool> {
        let id = |process: &Process| match field.id {
            Id::AncestorPid => Some(i64::from(process.pid)),
            _ => None,
        };
        let mut ancestors = self.ancestors().filter_map(id).peekable();
        ancestors.peek()?;
        Some(ancestors.any(passes))
    }

    /// One number; a field that looks at both ends of a connection gives the first.
    pub fn number(&self, field: &Field) -> Option<i64> {
        match field.id {
            Id::RawArg => {
                let (_, parameter) = field.parameters.iter().find(|row| row.0 == self.kind)?;
                self.raw(parameter)
            }
            Id::Num => i64::try_from(self.state.events_seen()).ok(),
            Id::RawTime => i64::try_from(self.state.wall_ns(self.event.boot_ns)?).ok(),
            Id::RawRes => self.result(),
            Id::FindingLevel => {
                let severity = self.finding?.severity;
                let level = Severity::ALL.iter().position(|known| *known == severity)?;
                i64::try_from(level).ok()
            }
            Id::Cpu => Some(i64::from(self.event.cpu)),
            Id::FdNum => self.view().map(|view| view.number),
            Id::FdPort
            | Id::FdClientPort
            | Id::FdServerPort
            | Id::FdLocalPort
            | Id::FdRemotePort => self
                .ends(field.id)
                .into_iter()
                .flatten()
                .next()
                .map(|end| i64::from(end.1)),
            Id::Pid => (self.event.pid != 0).then_some(i64::from(self.event.pid)),
            Id::Tid => (self.event.tid != 0).then_some(i64::from(self.event.tid)),
            Id::ParentPid => match self.parent() {
                Some(parent) => Some(i64::from(parent.pid)),
                None => self
                    .process()
                    .filter(|process| process.ppid != 0)
                    .map(|process| i64::from(process.ppid)),
            },
            Id::AncestorPid => self
                .ancestor(field.index)
                .map(|process| i64::from(process.pid)),
            Id::ParentUid => self.parent().and_then(|parent| parent.uid).map(i64::from),
            Id::NamespacePid => self
                .process()
                .filter(|process| process.ns_pid != 0)
                .map(|process| i64::from(process.ns_pid)),
            Id::Duration => {
                let start_ns = self
                    .process()
                    .map(|process| process.start_ns)
                    .filter(|&start_ns| start_ns != 0)?;
                i64::try_from(self.event.boot_ns.saturating_sub(start_ns)).ok()
            }
            Id::ExeInode => i64::try_from(self.process()?.file?.ino).ok(),
            Id::Uid => self.uid().map(i64::from),
            Id::Gid => self
                .process()
                .and_then(|process| process.gid)
                .map(i64::from),
            _ => self
                .network_number(field.id)
                .or_else(|| self.detail_number(field.id)),
        }
    }

    /// The ends of the connection that a field looks at.
    pub fn ends(&self, id: Id) -> [Option<(IpAddr, u16)>; 2] {
        let Some(view) = self.view().filter(View::is_inet) else {
            return [None; 2];
        };
        match id {
            Id::FdIp | Id::FdPort => [view.client(), view.server()],
            Id::FdClientIp | Id::FdClientPort => [view.client(), None],
            Id::FdServerIp | Id::FdServerPort => [view.server(), None],
            Id::FdLocalIp | Id::FdLocalPort => [view.local, None],
            Id::FdRemoteIp | Id::FdRemotePort => [view.remote, None],
            _ => [None; 2],
        }
    }

    pub fn boolean(&self, field: &Field) -> Option<bool> {
        let image = || self.process()?.image;
        match field.id {
            Id::FindingDegraded => self.finding.map(|finding| finding.degraded.is_some()),
            Id::Failed => self.result().map(|result| result < 0),
            Id::OpenRead | Id::OpenWrite | Id::OpenCreate | Id::OpenExec => {
                Some(self.opens(field.id))
            }
            Id::FdConnected => self.view().filter(View::is_inet).map(|view| view.connected),
            Id::BornInContainer => image().map(|image| image.born_in_container),
            Id::EntersContainer => image().map(|image| image.enters_container),
            Id::StartedOutside => self
                .state
                .started_outside(self.process()?, self.event.cgroup_id),
            Id::Privileged => match self.container() {
                Some(container) => container.privileged,
                None => self.on_host().then_some(false),
            },
            _ => self
                .network_flag(field.id)
                .or_else(|| self.detail_boolean(field.id)),
        }
    }

    fn opens(&self, id: Id) -> bool {
        let EventData::Open(open) = &self.event.data else {
            return false;
        };
        let access = open.flags & O_ACCMODE;
        // Falco leaves creat out of reading and writing; rules name it where they mean it.
        let creat = self.kind.name() == "creat";
        let creates = open.flags & (flags::O_CREAT | flags::O_TMPFILE_BIT) != 0 || creat;
        match id {
            Id::OpenRead => !creat && (access == O_RDONLY || access == flags::O_RDWR),
            Id::OpenWrite => !creat && (access == flags::O_WRONLY || access == flags::O_RDWR),
            Id::OpenExec => creates && open.mode & 0o111 != 0,
            _ => {
                open.marks.has(PathMarks::CREATED)
                    || (open.flags & flags::O_TMPFILE_BIT != 0 && open.ret >= 0)
            }
        }
    }

    /// Whether the field has a value, even an empty one.
    pub fn has(&self, field: &Field, scratch: &mut Vec<u8>) -> bool {
        match field.kind {
            Kind::Text if field.many => self.any_text(field, |_| true).is_some(),
            Kind::Text => self.text(field, scratch).is_some(),
            Kind::Number if field.many => self.any_number(field, |_| true).is_some(),
            Kind::Number => self.number(field).is_some(),
            Kind::Boolean => self.boolean(field).is_some(),
            Kind::Address | Kind::Network => {
                self.ends(field.id).into_iter().flatten().next().is_some()
            }
        }
    }
}

/// The event that stands for a finding: when, where and by whom.
pub(super) fn event_of(finding: &Finding) -> Event {
    place(finding.boot_ns, finding.cgroup_id, finding.pid)
}

/// An event that says nothing but when, where and by whom.
pub(super) fn place(boot_ns: u64, cgroup_id: u64, pid: u32) -> Event {
    let change = CgroupChange {
        id: cgroup_id,
        path: Default::default(),
        removed: false,
    };
    Event {
        boot_ns,
        cpu: 0,
        probe: 0,
        seq: 0,
        tid: pid,
        pid,
        cgroup_id,
        data: EventData::Cgroup(change),
    }
}

fn ancestor_text(process: &Process, id: Id) -> Option<&[u8]> {
    match id {
        Id::AncestorName | Id::AncestorNameInside => Some(if process.comm.is_empty() {
            UNKNOWN
        } else {
            &process.comm
        }),
        Id::AncestorExe => process.exe(),
        Id::AncestorExePath => known(&process.exe_path),
        Id::AncestorCommandLine => known(&process.command_line),
        _ => None,
    }
}

fn known(text: &[u8]) -> Option<&[u8]> {
    (!text.is_empty()).then_some(text)
}
