//! A host with two containers, recorded for as long as wanted: one chunk a second, a checkpoint every
//! ten, exact accounts. What the tools that rewrite traces are tried on.
#![allow(dead_code, reason = "each test program uses its own part of this")]

use trace_format::*;

pub const SECOND: u64 = 1_000_000_000;
/// The first record.
pub const START: u64 = 50 * SECOND;
pub const WALL: u64 = 1_795_000_000 * SECOND;
pub const WEB: u64 = 7;
pub const DB: u64 = 8;
/// A daemon of the host that starts the containers' processes.
pub const SHIM: u32 = 50;
pub const WEB_PID: u32 = 100;
pub const DB_PID: u32 = 200;
/// Born in the web container in second 23, in second 24 a shell, gone in second 40.
pub const CHILD: u32 = 300;
pub const SECRET: &str = "--password=hunter2";

#[derive(Clone, Debug)]
pub struct Town {
    pub uuid: [u8; 16],
    pub host: [u8; 16],
    pub boot: [u8; 16],
    pub name: &'static str,
    pub arch: &'static str,
    pub start_ns: u64,
    pub wall_ns: u64,
    pub seconds: u64,
}

impl Default for Town {
    fn default() -> Town {
        Town {
            uuid: super::UUID,
            host: [1; 16],
            boot: [2; 16],
            name: "alpha",
            arch: "x86_64",
            start_ns: START,
            wall_ns: WALL,
            seconds: 60,
        }
    }
}

impl Town {
    pub fn at(&self, second: u64, ns: u64) -> u64 {
        self.start_ns + second * SECOND + ns
    }

    pub fn chunks(&self) -> Vec<SealedChunk> {
        let mut builder = ChunkBuilder::new(self.uuid, Limits::default());
        let mut seq = 0;
        (0..self.seconds)
            .map(|second| {
                self.second(second, &mut builder, &mut seq);
                builder.seal(self.at(second + 1, 0))
            })
            .collect()
    }

    pub fn trace(&self) -> Vec<u8> {
        super::trace_of(&self.chunks())
    }

    pub fn second(&self, second: u64, builder: &mut ChunkBuilder, seq: &mut u64) {
        let at = self.at(second, 0);
        if second.is_multiple_of(10) {
            for body in self.checkpoint(second) {
                put(builder, at, body);
            }
        } else {
            put(builder, at, Context::Clock(self.clock(second)));
        }
        for call in 0..5 {
            push(
                builder,
                seq,
                self.at(second, 1_000 * (call + 1)),
                WEB_PID,
                WEB,
                read(),
            );
        }
        push(
            builder,
            seq,
            self.at(second, 10_000),
            DB_PID,
            DB,
            open("/var/lib/db/data"),
        );
        match second {
            23 => {
                let fork = EventData::Fork(Fork {
                    child_tid: CHILD,
                    child_pid: CHILD,
                    child_start_ns: self.at(23, 20_000),
                    child_ns_tid: 0,
                });
                push(builder, seq, self.at(23, 20_000), WEB_PID, WEB, fork);
            }
            24 => {
                let exec = EventData::Exec(Exec {
                    path: "/bin/sh".into(),
                    filename: "sh".into(),
                    args: "sh\0-c\0id".into(),
                    comm: "sh".into(),
                    ppid: WEB_PID,
                    uid: 33,
                    gid: 33,
                    start_ns: self.at(23, 20_000),
                    dev: 1,
                    ino: 2,
                    flags: ExecFlags(0),
                    details: None,
                });
                push(builder, seq, self.at(24, 20_000), CHILD, WEB, exec);
            }
            25..40 => push(
                builder,
                seq,
                self.at(second, 30_000),
                CHILD,
                WEB,
                open("/etc/passwd"),
            ),
            40 => {
                let exit = EventData::Exit(Exit {
                    code: 0,
                    signal: 0,
                    start_ns: self.at(23, 20_000),
                    last_thread: true,
                    usage: None,
                });
                push(builder, seq, self.at(40, 30_000), CHILD, WEB, exit);
            }
            _ => {}
        }
        for cgroup_id in [0, WEB] {
            let sample = EventData::Sample(Box::new(Sample {
                cpu_ns: second,
                ..Sample::default()
            }));
            builder.push(Event {
                probe: 0,
                seq: 0,
                ..event_at(self.at(second, 900_000_000), 0, cgroup_id, sample)
            });
        }
        // One event was dropped in the first second: its number is a hole.
        if second == 0 {
            *seq += 1;
        }
        let loss = Loss {
            counts: vec![LossCount {
                cpu: 1,
                probe: 2,
                seen: *seq,
                dropped: 1,
                filtered: 0,
            }],
        };
        put(builder, self.at(second, 990_000_000), Context::Loss(loss));
        put(builder, self.at(second, 990_000_000), Context::Tick);
    }

    pub fn clock(&self, second: u64) -> Clock {
        Clock {
            boot_ns: self.at(second, 0),
            wall_ns: self.wall_ns + second * SECOND,
        }
    }

    fn checkpoint(&self, second: u64) -> Vec<Context> {
        let host = Host {
            host_uuid: self.host,
            hostname: self.name.into(),
            arch: self.arch.into(),
            cpus: 4,
            boot_id: self.boot,
            ..Host::default()
        };
        let probes = Probes {
            profile: "full".into(),
            probes: vec![Probe {
                id: 2,
                name: "sys_exit".into(),
                attached: "tp_btf/sys_exit".into(),
                reason: String::new(),
            }],
        };
        let mut bodies = vec![
            Context::CheckpointBegin,
            Context::Host(host),
            Context::Clock(self.clock(second)),
            Context::Probes(probes),
            Context::User(User {
                uid: 33,
                name: "www-data".into(),
            }),
        ];
        for (cgroup_id, id, name) in [
            (WEB, "aaaaaaaaaaaaaaaa", "web"),
            (DB, "bbbbbbbbbbbbbbbb", "db"),
            (1, "", ""),
        ] {
            bodies.push(Context::Container(Container {
                cgroup_id,
                cgroup_path: format!("/{name}"),
                id: id.into(),
                name: name.into(),
                resolution: Resolution::Resolved,
                ..Container::default()
            }));
        }
        for (pid, ppid, cgroup_id, comm, args) in [
            (SHIM, 1, 1, "shim", "shim"),
            (WEB_PID, SHIM, WEB, "nginx", "nginx"),
            (DB_PID, SHIM, DB, "postgres", SECRET),
        ] {
            bodies.push(Context::Process(Process {
                pid,
                ppid,
                start_ns: self.start_ns - SECOND,
                uid: 33,
                gid: 33,
                cgroup_id,
                comm: comm.into(),
                exe: format!("/usr/bin/{comm}").into_bytes(),
                args: args.into(),
                ..Process::default()
            }));
        }
        if (24..40).contains(&second) {
            bodies.push(Context::Process(Process {
                pid: CHILD,
                ppid: WEB_PID,
                start_ns: self.at(23, 20_000),
                uid: 33,
                gid: 33,
                cgroup_id: WEB,
                comm: b"sh".to_vec(),
                exe: b"/bin/sh".to_vec(),
                args: b"sh\0-c\0id".to_vec(),
                ..Process::default()
            }));
        }
        bodies.push(Context::CheckpointEnd);
        bodies
    }
}

pub fn put(builder: &mut ChunkBuilder, boot_ns: u64, body: Context) {
    builder.context(ContextRecord { boot_ns, body }).unwrap();
}

pub fn push(
    builder: &mut ChunkBuilder,
    seq: &mut u64,
    boot_ns: u64,
    pid: u32,
    cgroup_id: u64,
    data: EventData,
) {
    builder.push(Event {
        seq: *seq,
        ..event_at(boot_ns, pid, cgroup_id, data)
    });
    *seq += 1;
}

pub fn event_at(boot_ns: u64, pid: u32, cgroup_id: u64, data: EventData) -> Event {
    Event {
        boot_ns,
        cpu: 1,
        probe: 2,
        seq: 0,
        tid: pid,
        pid,
        cgroup_id,
        data,
    }
}

pub fn read() -> EventData {
    EventData::Syscall(Syscall {
        nr: 0,
        ret: 10,
        args: [3, 0, 10, 0, 0, 0],
        duration_ns: 0,
    })
}

pub fn open(path: &str) -> EventData {
    EventData::Open(Open {
        nr: 257,
        ret: 4,
        flags: 0,
        mode: 0,
        path: path.into(),
        dev: 1,
        ino: 3,
        marks: PathMarks(0),
        duration_ns: 0,
    })
}
