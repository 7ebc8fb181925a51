//! A small world for rules: a host with a container `web` and processes in both.

use replay::{
    resolve::{News, State},
    rules::{Engine, Filter, RuleMatch, RuleSet},
    syscalls::{Arch, number},
};
use trace_format::{
    Clock, Container, Context, ContextRecord, Endpoint, Event, EventData, Exec, ExecFlags, Exit,
    Fork, Host, Open, PathCall, PathMarks, Process, Resolution, SockCall, Syscall, Text, User,
};

pub const WEB: u64 = 100;
pub const HOST: u64 = 1;
pub const WEB_ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Wall clock minus boot clock.
pub const WALL_OFFSET_NS: u64 = 1_700_000_000_000_000_000;

pub struct World {
    pub state: State,
    pub boot_ns: u64,
    seq: u64,
}

pub fn nr(name: &str) -> u32 {
    number(Arch::X86_64, name).unwrap_or_else(|| panic!("no call {name}"))
}

pub fn end(address: [u8; 4], port: u16) -> Endpoint {
    Endpoint {
        addr: Text::new(&address),
        port,
    }
}

impl World {
    /// `systemd`(1) → `containerd-shim`(50) → `nginx`(60, in the container, user 33), `bash`(70, host, root).
    pub fn new() -> World {
        let mut world = World {
            state: State::new(),
            boot_ns: 1_000_000_000,
            seq: 0,
        };
        world.context(Context::Host(Host {
            arch: "x86_64".into(),
            hostname: "box".into(),
            ..Host::default()
        }));
        world.context(Context::Clock(Clock {
            boot_ns: 0,
            wall_ns: WALL_OFFSET_NS,
        }));
        world.context(Context::User(User {
            uid: 33,
            name: "www-data".into(),
        }));
        world.context(Context::Container(Container {
            cgroup_id: HOST,
            cgroup_path: "/user.slice".into(),
            resolution: Resolution::Resolved,
            ..Container::default()
        }));
        world.container(false);
        world.process(
            1,
            0,
            "systemd",
            "/usr/lib/systemd/systemd",
            &["/sbin/init"],
            HOST,
            0,
        );
        world.process(
            50,
            1,
            "containerd-shim",
            "/usr/bin/containerd-shim-runc-v2",
            &["containerd-shim"],
            HOST,
            0,
        );
        world.process(
            60,
            50,
            "nginx",
            "/usr/sbin/nginx",
            &["nginx", "-g", "daemon off;"],
            WEB,
            33,
        );
        world.process(70, 1, "bash", "/usr/bin/bash", &["-bash"], HOST, 0);
        world
    }

    pub fn context(&mut self, body: Context) -> Option<News> {
        self.state.context(&ContextRecord {
            boot_ns: self.boot_ns,
            body,
        })
    }

    pub fn container(&mut self, privileged: bool) -> Option<News> {
        self.context(Context::Container(Container {
            cgroup_id: WEB,
            cgroup_path: format!("/system.slice/docker-{WEB_ID}.scope"),
            id: WEB_ID.into(),
            runtime: "docker".into(),
            name: "web".into(),
            image: "registry.example/team/web:1.2".into(),
            privileged,
            pod: "web-7".into(),
            namespace: "shop".into(),
            labels: vec![("app".into(), "shop".into())],
            resolution: Resolution::Resolved,
        }))
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "one argument a field of the record it makes"
    )]
    pub fn process(
        &mut self,
        pid: u32,
        ppid: u32,
        comm: &str,
        exe: &str,
        args: &[&str],
        cgroup_id: u64,
        uid: u32,
    ) {
        self.context(Context::Process(Process {
            pid,
            ppid,
            start_ns: u64::from(pid) * 1_000_000,
            uid,
            gid: uid,
            cgroup_id,
            comm: comm.into(),
            exe: exe.into(),
            args: args.join("\0").into(),
            cwd: b"/srv".to_vec(),
            ns_pid: 0,
            details: None,
        }));
    }

    pub fn event(&mut self, pid: u32, data: EventData) -> Event {
        self.boot_ns += 1_000_000;
        self.seq += 1;
        let cgroup_id = self
            .state
            .process(pid)
            .map_or(0, |process| process.cgroup_id);
        Event {
            boot_ns: self.boot_ns,
            cpu: 0,
            probe: 1,
            seq: self.seq,
            tid: pid,
            pid,
            cgroup_id,
            data,
        }
    }

    /// Judges an event of a process that has come into another cgroup.
    pub fn judge_in(
        &mut self,
        cgroup_id: u64,
        engine: &mut Engine,
        pid: u32,
        data: EventData,
    ) -> Vec<RuleMatch> {
        let event = Event {
            cgroup_id,
            ..self.event(pid, data)
        };
        let mut matches = Vec::new();
        self.state.before(&event);
        engine.evaluate(&event, &self.state, &mut matches);
        self.state.after(&event);
        matches
    }

    /// Applies an event without judging it.
    pub fn happens(&mut self, pid: u32, data: EventData) {
        let event = self.event(pid, data);
        self.state.before(&event);
        self.state.after(&event);
    }

    /// Judges an event by an engine.
    pub fn judge(&mut self, engine: &mut Engine, pid: u32, data: EventData) -> Vec<RuleMatch> {
        let event = self.event(pid, data);
        let mut matches = Vec::new();
        self.state.before(&event);
        engine.evaluate(&event, &self.state, &mut matches);
        self.state.after(&event);
        matches
    }

    /// Whether a condition holds for an event.
    pub fn holds(&mut self, condition: &str, pid: u32, data: EventData) -> bool {
        let mut filter =
            Filter::compile(condition).unwrap_or_else(|error| panic!("{condition}: {error}"));
        let event = self.event(pid, data);
        self.state.before(&event);
        let holds = filter.matches(&event, &self.state);
        self.state.after(&event);
        holds
    }

    /// Names of the shipped rules that an event fulfils.
    pub fn shipped(&mut self, engine: &mut Engine, pid: u32, data: EventData) -> Vec<String> {
        self.judge(engine, pid, data)
            .iter()
            .map(|matched| matched.name.to_string())
            .collect()
    }

    /// Forks a child and lets it run a program; returns the exec event's data for judging.
    pub fn child(&mut self, parent: u32, pid: u32) {
        let start_ns = self.boot_ns + 1;
        self.happens(parent, fork(pid, start_ns));
    }
}

pub fn shipped_engine() -> Engine {
    Engine::new(RuleSet::shipped())
}

pub fn fork(child_pid: u32, child_start_ns: u64) -> EventData {
    EventData::Fork(Fork {
        child_tid: child_pid,
        child_pid,
        child_start_ns,
        child_ns_tid: 0,
    })
}

pub fn exit(start_ns: u64) -> EventData {
    EventData::Exit(Exit {
        code: 0,
        signal: 0,
        start_ns,
        last_thread: true,
        usage: None,
    })
}

pub fn exec_data(path: &str, args: &[&str], ppid: u32, uid: u32) -> Exec {
    let comm: String = path
        .rsplit('/')
        .next()
        .unwrap_or(path)
        .chars()
        .take(15)
        .collect();
    Exec {
        path: path.into(),
        filename: path.into(),
        args: args.join("\0").into(),
        comm: comm.as_str().into(),
        ppid,
        uid,
        gid: uid,
        start_ns: 0,
        dev: 1,
        ino: 77,
        flags: ExecFlags::default(),
        details: None,
    }
}

pub fn exec(path: &str, args: &[&str], ppid: u32, uid: u32) -> EventData {
    EventData::Exec(exec_data(path, args, ppid, uid))
}

pub fn open_data(path: &str, ret: i64, flags: u32) -> Open {
    Open {
        nr: nr("openat"),
        ret,
        flags,
        mode: 0o644,
        path: path.into(),
        dev: 1,
        ino: 500,
        marks: PathMarks::default(),
        duration_ns: 0,
    }
}

pub fn open(path: &str, ret: i64, flags: u32) -> EventData {
    EventData::Open(open_data(path, ret, flags))
}

pub fn call(name: &str, ret: i64, args: [u64; 6]) -> EventData {
    EventData::Syscall(Syscall {
        nr: nr(name),
        ret,
        args,
        duration_ns: 0,
    })
}

pub fn path_call(name: &str, ret: i64, path: &str, path2: &str, arg: u64) -> EventData {
    EventData::PathCall(PathCall {
        nr: nr(name),
        ret,
        arg,
        path: path.into(),
        path2: path2.into(),
        marks: PathMarks::default(),
        duration_ns: 0,
    })
}

pub fn sock_data(name: &str, ret: i64, fd: i32, local: Endpoint, remote: Endpoint) -> SockCall {
    SockCall {
        nr: nr(name),
        ret,
        fd,
        family: 2,
        sock_type: 1,
        local,
        remote,
        unix_path: Text::default(),
        marks: PathMarks::default(),
        interface: 0,
        duration_ns: 0,
    }
}

pub fn connect(ret: i64, address: [u8; 4], port: u16) -> EventData {
    EventData::SockCall(sock_data(
        "connect",
        ret,
        9,
        end([172, 17, 0, 2], 40000),
        end(address, port),
    ))
}

pub const O_WRONLY: u32 = 1;
pub const O_CREAT: u32 = 0o100;
pub const O_TRUNC: u32 = 0o1000;
