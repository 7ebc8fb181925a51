//! Events as a test case writes them down, made into sealed chunks.
//!
//! The world is small: one host, its containers and processes, a millisecond from event to event. What a
//! recorder would have to say about it (host, clock, snapshot, a tick each second) is said.

use super::{
    LoadError,
    case_network::DNS_KEYS,
    item::{get, texts},
    yaml::{File, Node, Value},
};
use crate::syscalls::{Arch, errno, flags, number};
use hashbrown::HashMap;
use trace_format::{
    ChunkBuilder, Clock, Container, Context, ContextRecord, CredentialMarks, Credentials, Event,
    EventData, Exec, ExecFlags, Exit, Fork, Host, Open, PassedFd, PassedMarks, PathCall, PathMarks,
    Payload, Process, ProcessAccess, Resolution, Rights, SealedChunk, Syscall, Text,
    event::OomKill,
};

const START_NS: u64 = 1_000_000_000;
const STEP_NS: u64 = 1_000_000;
const SECOND_NS: u64 = 1_000_000_000;
const WALL_OFFSET_NS: u64 = 1_700_000_000 * SECOND_NS;
const HOST_CGROUP: u64 = 1;
/// A chunk of the trace format holds more; a case that needs them is a trace.
const EVENTS_MAX: usize = 10_000;
/// Waiting longer makes a tick a second: an hour is what windows are tested with.
const WAIT_NS_MAX: u64 = 3_600 * SECOND_NS;

pub(super) struct World<'f> {
    pub(super) file: &'f File<'f>,
    builder: ChunkBuilder,
    chunks: Vec<SealedChunk>,
    now_ns: u64,
    next_tick_ns: u64,
    seq: u64,
    containers: HashMap<String, u64>,
    /// Processes with the cgroup that they are in.
    processes: HashMap<u32, u64>,
}

/// The chunks that a list of events makes.
pub(super) fn chunks(file: &File<'_>, node: &Node) -> Result<Vec<SealedChunk>, LoadError> {
    let Value::Sequence(items) = &node.value else {
        return Err(file.error(node.at, node.what(), "a list of events"));
    };
    if items.len() > EVENTS_MAX {
        let found = format!("{} events", items.len());
        return Err(file.error(node.at, found, format!("at most {EVENTS_MAX}")));
    }
    let mut world = World {
        file,
        builder: ChunkBuilder::new([7; 16], Default::default()),
        chunks: Vec::new(),
        now_ns: START_NS,
        next_tick_ns: START_NS + SECOND_NS,
        seq: 0,
        containers: HashMap::new(),
        processes: HashMap::new(),
    };
    world.context(
        node,
        Context::Host(Host {
            arch: "x86_64".into(),
            hostname: "case".into(),
            ..Host::default()
        }),
    )?;
    world.context(
        node,
        Context::Clock(Clock {
            boot_ns: 0,
            wall_ns: WALL_OFFSET_NS,
        }),
    )?;
    world.container(node, "host", HOST_CGROUP, Container::default())?;
    for item in items {
        world.item(item)?;
    }
    world.pass(node, SECOND_NS)?;
    world.seal();
    Ok(world.chunks)
}

pub(super) type Pairs = [(Node, Node)];

impl World<'_> {
    fn seal(&mut self) {
        let chunk = self.builder.seal(self.now_ns);
        self.chunks.push(chunk);
    }

    fn context(&mut self, node: &Node, body: Context) -> Result<(), LoadError> {
        let boot_ns = self.now_ns;
        let pushed = self.builder.context(ContextRecord { boot_ns, body });
        pushed.map_err(|error| {
            self.file
                .error(node.at, error.to_string(), "a record that fits a trace")
        })
    }

    fn container(
        &mut self,
        node: &Node,
        name: &str,
        cgroup_id: u64,
        container: Container,
    ) -> Result<(), LoadError> {
        self.containers.insert(name.to_owned(), cgroup_id);
        self.context(
            node,
            Context::Container(Container {
                cgroup_id,
                cgroup_path: format!("/{name}"),
                resolution: Resolution::Resolved,
                ..container
            }),
        )
    }

    /// Lets time pass, with a tick each second.
    fn pass(&mut self, node: &Node, ns: u64) -> Result<(), LoadError> {
        let until_ns = self.now_ns + ns;
        while self.next_tick_ns <= until_ns {
            self.now_ns = self.next_tick_ns;
            self.next_tick_ns += SECOND_NS;
            self.context(node, Context::Tick)?;
            self.seal();
        }
        self.now_ns = until_ns;
        Ok(())
    }

    pub(super) fn event(
        &mut self,
        node: &Node,
        pid: u32,
        data: EventData,
    ) -> Result<(), LoadError> {
        let Some(&cgroup_id) = self.processes.get(&pid) else {
            let expected = "a process that `process` or `exec` brought in before";
            return Err(self.file.error(node.at, format!("pid {pid}"), expected));
        };
        self.pass(node, STEP_NS)?;
        self.seq += 1;
        self.builder.push(Event {
            boot_ns: self.now_ns,
            cpu: 0,
            probe: 1,
            seq: self.seq,
            tid: pid,
            pid,
            cgroup_id,
            data,
        });
        Ok(())
    }

    fn item(&mut self, item: &Node) -> Result<(), LoadError> {
        let Value::Mapping(pairs) = &item.value else {
            return Err(self.file.error(item.at, item.what(), KINDS));
        };
        let [(kind, body)] = &pairs[..] else {
            return Err(self
                .file
                .error(item.at, format!("{} keys", pairs.len()), KINDS));
        };
        if kind.scalar() == Some("repeat") {
            return self.repeat(item, body);
        }
        if kind.scalar() == Some("wait") {
            let text = body.scalar().unwrap_or_default();
            let ms = match text.strip_suffix("ms") {
                Some(ms) => ms.parse::<u64>().ok(),
                None => {
                    let seconds = text
                        .strip_suffix('s')
                        .and_then(|text| text.parse::<u64>().ok());
                    seconds.and_then(|seconds| seconds.checked_mul(1_000))
                }
            };
            let ns = ms.and_then(|ms| ms.checked_mul(1_000_000));
            let Some(ns) = ns.filter(|ns| *ns <= WAIT_NS_MAX) else {
                let expected = "a time such as 500ms or 3s, at most an hour";
                return Err(self.file.error(body.at, body.what(), expected));
            };
            return self.pass(item, ns);
        }
        let Value::Mapping(of) = &body.value else {
            return Err(self.file.error(body.at, body.what(), "a mapping"));
        };
        let keys: &[&str] = match kind.scalar().unwrap_or_default() {
            "container" => &["name", "image", "privileged", "labels"],
            "process" => &[
                "pid",
                "ppid",
                "name",
                "exe",
                "args",
                "uid",
                "cwd",
                "container",
            ],
            "exec" => &[
                "pid",
                "ppid",
                "path",
                "args",
                "uid",
                "ino",
                "memfd",
                "upper_layer",
            ],
            "exit" => &["pid", "code", "signal"],
            "open" => &["pid", "path", "flags", "result", "ino", "created"],
            "connect" => &["pid", "to", "from", "unix", "type", "fd", "result"],
            "call" => &["pid", "name", "path", "path2", "args", "result", "data"],
            "access" => &["pid", "name", "target", "arg", "result"],
            "fork" => &["pid", "child", "thread"],
            "closed" => &["pid", "to", "from", "sent", "received"],
            "dns" => DNS_KEYS,
            "oom_kill" => &["pid"],
            "passed" => &["pid", "from", "fd", "path", "memfd"],
            "credentials" => &["pid", "name", "before", "uid", "capabilities", "file"],
            _ => return Err(self.file.error(kind.at, kind.what(), KINDS)),
        };
        if let Some((key, _)) = of
            .iter()
            .find(|pair| !keys.contains(&pair.0.scalar().unwrap_or_default()))
        {
            return Err(self.file.error(key.at, key.what(), keys.join(", ")));
        }
        match kind.scalar().unwrap_or_default() {
            "container" => self.made_container(item, of),
            "process" => self.process(item, of),
            "exec" => self.exec(item, of),
            "exit" => self.exit(item, of),
            "open" => self.open(item, of),
            "connect" => self.connect(item, of),
            "fork" => self.fork(item, of),
            "closed" => self.closed(item, of),
            "dns" => self.dns(item, of),
            "oom_kill" => self.oom_kill(item, of),
            "access" => self.access(item, of),
            "passed" => self.passed(item, of),
            "credentials" => self.credentials(item, of),
            _ => self.call(item, of),
        }
    }

    /// The same events several times, with `{n}` for the number of the time, from 1.
    fn repeat(&mut self, item: &Node, body: &Node) -> Result<(), LoadError> {
        let expected = "a mapping with `times` and `events`";
        let Value::Mapping(of) = &body.value else {
            return Err(self.file.error(body.at, body.what(), expected));
        };
        let (Some(_), Some(Value::Sequence(events))) =
            (get(of, "times"), get(of, "events").map(|node| &node.value))
        else {
            return Err(self.file.error(body.at, "a `repeat`", expected));
        };
        let times: u32 = self.small(of, "times", 1)?;
        let within = events.iter().any(|event| {
            matches!(&event.value, Value::Mapping(pairs)
                if pairs.iter().any(|pair| pair.0.scalar() == Some("repeat")))
        });
        if within {
            return Err(self.file.error(
                item.at,
                "`repeat` in `repeat`",
                "events that are no `repeat`",
            ));
        }
        if times as usize * events.len() > EVENTS_MAX {
            let found = format!("{times} times {} events", events.len());
            return Err(self
                .file
                .error(item.at, found, format!("at most {EVENTS_MAX} events")));
        }
        for time in 1..=times {
            for event in events {
                self.item(&numbered(event, time))?;
            }
        }
        Ok(())
    }

    pub(super) fn text(&self, of: &Pairs, key: &str) -> String {
        let node = get(of, key).and_then(Node::scalar);
        node.unwrap_or_default().to_owned()
    }

    fn number(&self, of: &Pairs, key: &str, default: i64) -> Result<i64, LoadError> {
        let Some(node) = get(of, key) else {
            return Ok(default);
        };
        let text = node.scalar().unwrap_or_default();
        let number = match text.strip_prefix("0x") {
            Some(digits) => i64::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        };
        number.ok_or_else(|| self.file.error(node.at, node.what(), "a number"))
    }

    /// A number that fits its place in a record.
    pub(super) fn small<T: TryFrom<i64>>(
        &self,
        of: &Pairs,
        key: &str,
        default: i64,
    ) -> Result<T, LoadError> {
        let number = self.number(of, key, default)?;
        T::try_from(number).map_err(|_| {
            let at = get(of, key).map(|node| node.at).unwrap_or_default();
            self.file.error(
                at,
                format!("`{key}` of {number}"),
                "a smaller number, not below zero",
            )
        })
    }

    pub(super) fn flag(&self, of: &Pairs, key: &str) -> Result<bool, LoadError> {
        match get(of, key).map(|node| (node.scalar(), node)) {
            None | Some((Some("false"), _)) => Ok(false),
            Some((Some("true"), _)) => Ok(true),
            Some((_, node)) => Err(self.file.error(node.at, node.what(), "true or false")),
        }
    }

    fn args(&self, of: &Pairs) -> Result<Vec<String>, LoadError> {
        get(of, "args").map_or(Ok(Vec::new()), |node| texts(self.file, node))
    }

    /// `0`, a descriptor, or the name of an error.
    pub(super) fn result(&self, of: &Pairs, default: i64) -> Result<i64, LoadError> {
        match get(of, "result")
            .and_then(Node::scalar)
            .and_then(errno::number)
        {
            Some(number) => Ok(-i64::from(number)),
            None => self.number(of, "result", default),
        }
    }

    fn made_container(&mut self, item: &Node, of: &Pairs) -> Result<(), LoadError> {
        let name = self.text(of, "name");
        if name.is_empty() || self.containers.contains_key(&name) {
            return Err(self.file.error(
                item.at,
                format!("container `{name}`"),
                "a name of its own",
            ));
        }
        let cgroup_id = 100 + self.containers.len() as u64;
        let labels = match get(of, "labels").map(|node| &node.value) {
            Some(Value::Mapping(pairs)) => pairs
                .iter()
                .filter_map(|(key, value)| {
                    Some((key.scalar()?.to_owned(), value.scalar()?.to_owned()))
                })
                .collect(),
            _ => Vec::new(),
        };
        let container = Container {
            // The first twelve digits are what tools show.
            id: format!("{cgroup_id:012x}{:052x}", 0),
            runtime: "docker".into(),
            name: name.clone(),
            image: self.text(of, "image"),
            privileged: self.flag(of, "privileged")?,
            labels,
            ..Container::default()
        };
        self.container(item, &name, cgroup_id, container)
    }

    fn process(&mut self, item: &Node, of: &Pairs) -> Result<(), LoadError> {
        let pid = self.small(of, "pid", -1)?;
        let container = get(of, "container")
            .and_then(Node::scalar)
            .unwrap_or("host");
        let Some(&cgroup_id) = self.containers.get(container) else {
            let found = format!("container `{container}`");
            return Err(self
                .file
                .error(item.at, found, "one that was brought in before"));
        };
        let uid = self.small(of, "uid", 0)?;
        self.processes.insert(pid, cgroup_id);
        let process = Process {
            pid,
            ppid: self.small(of, "ppid", 1)?,
            start_ns: u64::from(pid),
            uid,
            gid: uid,
            cgroup_id,
            comm: self.text(of, "name").into_bytes(),
            exe: self.text(of, "exe").into_bytes(),
            args: self.args(of)?.join("\0").into_bytes(),
            cwd: self.text(of, "cwd").into_bytes(),
            ns_pid: 0,
            details: None,
        };
        self.context(item, Context::Process(process))
    }

    /// A program starts, in a new process if the pid is new.
    fn exec(&mut self, item: &Node, of: &Pairs) -> Result<(), LoadError> {
        let pid: u32 = self.small(of, "pid", -1)?;
        let ppid: u32 = self.small(of, "ppid", 1)?;
        if !self.processes.contains_key(&pid) {
            let fork = Fork {
                child_tid: pid,
                child_pid: pid,
                child_start_ns: self.now_ns + 1,
                child_ns_tid: 0,
            };
            self.event(item, ppid, EventData::Fork(fork))?;
            let cgroup_id = self.processes.get(&ppid).copied().unwrap_or(HOST_CGROUP);
            self.processes.insert(pid, cgroup_id);
        }
        let path = self.text(of, "path");
        let name: String = path
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .chars()
            .take(15)
            .collect();
        let bits = [
            ("memfd", ExecFlags::MEMFD),
            ("upper_layer", ExecFlags::UPPER_LAYER),
        ];
        let mut exec_flags = 0;
        for (key, bit) in bits {
            if self.flag(of, key)? {
                exec_flags |= bit;
            }
        }
        let args = self.args(of)?;
        let uid = self.small(of, "uid", 0)?;
        let exec = Exec {
            path: Text::new(path.as_bytes()),
            filename: Text::new(path.as_bytes()),
            args: Text::new(args.join("\0").as_bytes()),
            comm: Text::new(name.as_bytes()),
            ppid,
            uid,
            gid: uid,
            start_ns: 0,
            dev: 1,
            ino: self.small(of, "ino", i64::from(pid) + 1_000_000)?,
            flags: ExecFlags(exec_flags),
            details: None,
        };
        self.event(item, pid, EventData::Exec(exec))
    }

    fn exit(&mut self, item: &Node, of: &Pairs) -> Result<(), LoadError> {
        let pid = self.small(of, "pid", -1)?;
        let exit = Exit {
            code: self.small(of, "code", 0)?,
            signal: self.small(of, "signal", 0)?,
            start_ns: 0,
            last_thread: true,
            usage: None,
        };
        self.event(item, pid, EventData::Exit(exit))
    }

    /// A new process, or a new thread.
    fn fork(&mut self, item: &Node, of: &Pairs) -> Result<(), LoadError> {
        let pid: u32 = self.small(of, "pid", -1)?;
        let child: u32 = self.small(of, "child", -1)?;
        let thread = self.flag(of, "thread")?;
        let fork = Fork {
            child_tid: child,
            child_pid: if thread { pid } else { child },
            child_start_ns: self.now_ns + 1,
            child_ns_tid: 0,
        };
        self.event(item, pid, EventData::Fork(fork))?;
        if !thread {
            let cgroup_id = self.processes.get(&pid).copied().unwrap_or(HOST_CGROUP);
            self.processes.insert(child, cgroup_id);
        }
        Ok(())
    }

    fn oom_kill(&mut self, item: &Node, of: &Pairs) -> Result<(), LoadError> {
        let pid = self.small(of, "pid", -1)?;
        self.event(item, pid, EventData::OomKill(OomKill::default()))
    }

    fn open(&mut self, item: &Node, of: &Pairs) -> Result<(), LoadError> {
        let pid = self.small(of, "pid", -1)?;
        let mut bits = 0;
        for name in self
            .text(of, "flags")
            .split('|')
            .filter(|name| !name.is_empty())
        {
            bits |= match name {
                "O_RDONLY" => 0,
                "O_WRONLY" => flags::O_WRONLY,
                "O_RDWR" => flags::O_RDWR,
                "O_CREAT" => flags::O_CREAT,
                "O_TRUNC" => flags::O_TRUNC,
                _ => {
                    let at = get(of, "flags").map(|node| node.at).unwrap_or_default();
                    let expected = "O_RDONLY, O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, joined with |";
                    return Err(self.file.error(at, format!("`{name}`"), expected));
                }
            };
        }
        let created = if self.flag(of, "created")? {
            PathMarks::CREATED
        } else {
            0
        };
        let open = Open {
            nr: nr("openat"),
            ret: self.result(of, 3)?,
            flags: bits,
            mode: 0o644,
            path: Text::new(self.text(of, "path").as_bytes()),
            dev: 1,
            ino: self.small(of, "ino", 500)?,
            marks: PathMarks(created),
            duration_ns: 0,
        };
        self.event(item, pid, EventData::Open(open))
    }

    fn call_number(&self, item: &Node, of: &Pairs) -> Result<u32, LoadError> {
        let name = self.text(of, "name");
        number(Arch::X86_64, &name).ok_or_else(|| {
            let found = format!("call `{name}`");
            self.file.error(item.at, found, "the name of a system call")
        })
    }

    /// A call into another process; one that was not brought in before is unknown to the recorder too.
    fn access(&mut self, item: &Node, of: &Pairs) -> Result<(), LoadError> {
        let pid = self.small(of, "pid", -1)?;
        let target: u32 = self.small(of, "target", -1)?;
        let (target_pid, target_cgroup) = match self.processes.get(&target) {
            Some(&cgroup_id) => (target, cgroup_id),
            None => (0, 0),
        };
        let access = ProcessAccess {
            nr: self.call_number(item, of)?,
            ret: self.result(of, 0)?,
            target_pid,
            target_tid: target_pid,
            target_cgroup,
            arg: self.small(of, "arg", 0)?,
            calls: 1,
        };
        self.event(item, pid, EventData::ProcessAccess(access))
    }

    /// A descriptor that a process received from another one; `memfd` is the name of what it is of.
    fn passed(&mut self, item: &Node, of: &Pairs) -> Result<(), LoadError> {
        let pid = self.small(of, "pid", -1)?;
        let from: u32 = self.small(of, "from", -1)?;
        let mut marks = PassedMarks::READABLE;
        let path = match get(of, "memfd") {
            Some(_) => {
                marks |= PassedMarks::NOWHERE | PassedMarks::WRITABLE;
                format!("memfd:{}", self.text(of, "memfd"))
            }
            None => self.text(of, "path"),
        };
        let (peer_pid, peer_cgroup_id) = match self.processes.get(&from) {
            Some(&cgroup_id) => (from, cgroup_id),
            None => (0, 0),
        };
        if peer_pid != 0 {
            marks |= PassedMarks::SENDER_SEEN;
        }
        let passed = PassedFd {
            fd: self.small(of, "fd", 3)?,
            socket: 4,
            count: 1,
            mode: 0o100_644,
            path: Text::new(path.as_bytes()),
            dev: 1,
            ino: 1,
            peer_pid,
            peer_cgroup_id,
            marks: PassedMarks(marks),
            ..PassedFd::default()
        };
        self.event(item, pid, EventData::PassedFd(passed))
    }

    /// A change of rights: from one user (nobody knows which, where `before` is not there) with these
    /// capabilities to another, by a call or an exec.
    fn credentials(&mut self, item: &Node, of: &Pairs) -> Result<(), LoadError> {
        let pid = self.small(of, "pid", -1)?;
        let rights = |uid, capabilities| Rights {
            uid,
            euid: uid,
            suid: uid,
            gid: uid,
            egid: uid,
            sgid: uid,
            cap_effective: capabilities,
            cap_permitted: capabilities,
            user_ns: 0,
        };
        let mut marks = 0;
        let mut before = Rights::default();
        if get(of, "before").is_some() {
            marks |= CredentialMarks::BEFORE_KNOWN;
            before = rights(
                self.small(of, "before", 0)?,
                self.small(of, "capabilities", 0)?,
            );
        }
        match self.text(of, "file").as_str() {
            "" => {}
            "setuid" => marks |= CredentialMarks::SET_USER_ID,
            "setgid" => marks |= CredentialMarks::SET_GROUP_ID,
            other => {
                let found = format!("`file` of `{other}`");
                return Err(self.file.error(item.at, found, "setuid or setgid"));
            }
        }
        let change = Credentials {
            nr: self.call_number(item, of)?,
            marks: CredentialMarks(marks),
            after: rights(self.small(of, "uid", 0)?, 0),
            before,
        };
        self.event(item, pid, EventData::Credentials(change))
    }

    /// Any other call: with paths one that names files, else one with numbers, and with what it read or wrote.
    fn call(&mut self, item: &Node, of: &Pairs) -> Result<(), LoadError> {
        let pid = self.small(of, "pid", -1)?;
        let nr = self.call_number(item, of)?;
        let mut args = [0u64; 6];
        for (slot, text) in args.iter_mut().zip(self.args(of)?) {
            let parsed = match text.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16).ok(),
                None => text.parse::<i64>().ok().map(|number| number as u64),
            };
            *slot = parsed.ok_or_else(|| {
                self.file
                    .error(item.at, format!("argument `{text}`"), "a number")
            })?;
        }
        let ret = self.result(of, 0)?;
        let data = match get(of, "path") {
            Some(_) => EventData::PathCall(PathCall {
                nr,
                ret,
                arg: args[0],
                path: Text::new(self.text(of, "path").as_bytes()),
                path2: Text::new(self.text(of, "path2").as_bytes()),
                marks: PathMarks::default(),
                duration_ns: 0,
            }),
            None => {
                let call = Syscall {
                    nr,
                    ret,
                    args,
                    duration_ns: 0,
                };
                match get(of, "data") {
                    Some(_) => EventData::Payload(Payload {
                        call,
                        data: Text::new(self.text(of, "data").as_bytes()),
                    }),
                    None => EventData::Syscall(call),
                }
            }
        };
        self.event(item, pid, data)
    }
}

const KINDS: &str = "one of container, process, fork, exec, exit, open, connect, closed, dns, call, access, oom_kill, \
                     credentials, wait or repeat";

/// An event with a number in place of `{n}`.
fn numbered(node: &Node, number: u32) -> Node {
    let value = match &node.value {
        Value::Scalar { text, style } => Value::Scalar {
            text: text.replace("{n}", &number.to_string()),
            style: *style,
        },
        Value::Sequence(items) => {
            Value::Sequence(items.iter().map(|item| numbered(item, number)).collect())
        }
        Value::Mapping(pairs) => Value::Mapping(
            pairs
                .iter()
                .map(|(key, value)| (key.clone(), numbered(value, number)))
                .collect(),
        ),
    };
    Node { at: node.at, value }
}

pub(super) fn nr(name: &str) -> u32 {
    number(Arch::X86_64, name).unwrap_or_default()
}
