//! A trace made by hand for tests: two containers at work, a port scan, a read of /etc/shadow, a busy
//! CPU; recorded as a recorder would, CPU by CPU, so that records come out of order.

// Each test binary uses a part of it.
#![allow(dead_code, reason = "each test program uses its own part of this")]

use trace_format::{
    ChunkBuilder, Clock, Container, Context, ContextRecord, Endpoint, Event, EventData, Exec,
    ExecFlags, Fork, Host, Limits, Open, PathMarks, Process, Resolution, Sample, SampleKnown,
    SealedChunk, SockCall, Syscall, Text, TraceWriter,
};

pub const SECOND_NS: u64 = 1_000_000_000;
pub const START_NS: u64 = 100 * SECOND_NS;
pub const WALL_OFFSET_NS: u64 = 1_700_000_000 * SECOND_NS;
pub const WEB: u64 = 1_001;
pub const DB: u64 = 1_002;
pub const WEB_ID: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
pub const DB_ID: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
const CPUS: u16 = 4;

// x86-64.
const READ: u32 = 0;
const CONNECT: u32 = 42;
const OPENAT: u32 = 257;

#[derive(Clone, Debug)]
pub enum Item {
    Event(Event),
    Context(ContextRecord),
}

impl Item {
    pub fn boot_ns(&self) -> u64 {
        match self {
            Item::Event(event) => event.boot_ns,
            Item::Context(record) => record.boot_ns,
        }
    }
}

/// What happens in the trace, beside normal work.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    pub seconds: u64,
    pub port_scan_at: Option<u64>,
    pub shadow_at: Option<u64>,
    pub cpu_hog_at: Option<u64>,
}

impl Scenario {
    pub const QUIET: Scenario = Scenario {
        seconds: 60,
        port_scan_at: None,
        shadow_at: None,
        cpu_hog_at: None,
    };
    pub const ATTACKED: Scenario = Scenario {
        seconds: 30,
        port_scan_at: Some(12),
        shadow_at: Some(15),
        cpu_hog_at: Some(20),
    };
}

/// Records in the order in which a recorder drains them: 100 ms of one CPU, then of the next.
pub fn items(scenario: Scenario) -> Vec<Item> {
    let mut made = Made::default();
    made.opening();
    for second in 0..scenario.seconds {
        made.normal_work(second);
        if scenario
            .port_scan_at
            .is_some_and(|at| (at..at + 4).contains(&second))
        {
            made.port_scan(second, scenario.port_scan_at == Some(second));
        }
        if scenario.shadow_at == Some(second) {
            made.read_shadow(second);
        }
        made.sample(second, scenario.cpu_hog_at.is_some_and(|at| second >= at));
        made.context(at(second + 1, 0), Context::Tick);
    }
    made.drained()
}

fn at(second: u64, ns: u64) -> u64 {
    START_NS + second * SECOND_NS + ns
}

#[derive(Default)]
struct Made {
    items: Vec<Item>,
    random: u64,
    web_cpu_ns: u64,
    db_cpu_ns: u64,
}

impl Made {
    /// Repeatable, and far from uniform enough to hide an order.
    fn random(&mut self, below: u64) -> u64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % below
    }

    fn context(&mut self, boot_ns: u64, body: Context) {
        self.items
            .push(Item::Context(ContextRecord { boot_ns, body }));
    }

    fn event(&mut self, boot_ns: u64, pid: u32, cgroup_id: u64, probe: u8, data: EventData) {
        let cpu = if probe == 0 {
            0
        } else {
            self.random(CPUS.into()) as u16
        };
        // The sequence number is given in drained(), in order of time, as the kernel does.
        self.items.push(Item::Event(Event {
            boot_ns,
            cpu,
            probe,
            seq: 0,
            tid: pid,
            pid,
            cgroup_id,
            data,
        }));
    }

    fn opening(&mut self) {
        let host = Host {
            hostname: "test".into(),
            arch: "x86_64".into(),
            cpus: CPUS.into(),
            ..Default::default()
        };
        self.context(START_NS, Context::Host(host));
        self.context(
            START_NS,
            Context::Clock(Clock {
                boot_ns: START_NS,
                wall_ns: START_NS + WALL_OFFSET_NS,
            }),
        );
        for (cgroup_id, id, name) in [(WEB, WEB_ID, "web"), (DB, DB_ID, "db")] {
            let pending = Container {
                cgroup_id,
                cgroup_path: format!("/docker/{id}"),
                id: id.into(),
                runtime: "docker".into(),
                resolution: Resolution::Pending,
                ..Default::default()
            };
            let resolved = Container {
                name: name.into(),
                image: format!("{name}:1"),
                resolution: Resolution::Resolved,
                ..pending.clone()
            };
            self.context(START_NS, Context::Container(pending));
            self.context(at(0, 200_000_000), Context::Container(resolved));
        }
        for (pid, cgroup_id, comm) in [(1_000, WEB, "nginx"), (2_000, DB, "postgres")] {
            let process = Process {
                pid,
                ppid: 1,
                start_ns: START_NS - SECOND_NS,
                cgroup_id,
                comm: comm.into(),
                exe: format!("/usr/sbin/{comm}").into_bytes(),
                args: comm.into(),
                ..Default::default()
            };
            self.context(START_NS, Context::Process(process));
        }
    }

    fn normal_work(&mut self, second: u64) {
        for (pid, cgroup_id, calls) in [(1_000, WEB, 400), (2_000, DB, 150)] {
            let calls = calls + self.random(calls / 4);
            for _ in 0..calls {
                // Whole microseconds: several events of one nanosecond occur.
                let boot_ns = at(second, self.random(1_000_000) * 1000);
                let syscall = Syscall {
                    nr: READ,
                    ret: 64,
                    args: [self.random(20), 0x7fff_0000, 64, 0, 0, 0],
                    duration_ns: 0,
                };
                self.event(boot_ns, pid, cgroup_id, 2, EventData::Syscall(syscall));
            }
            let boot_ns = at(second, self.random(SECOND_NS));
            self.open(boot_ns, pid, cgroup_id, "/var/www/index.html");
        }
    }

    fn open(&mut self, boot_ns: u64, pid: u32, cgroup_id: u64, path: &str) {
        let open = Open {
            nr: OPENAT,
            ret: 7,
            flags: 0,
            mode: 0,
            path: path.into(),
            dev: 1,
            ino: 2,
            marks: PathMarks::default(),
            duration_ns: 0,
        };
        self.event(boot_ns, pid, cgroup_id, 3, EventData::Open(open));
    }

    fn port_scan(&mut self, second: u64, first: bool) {
        if first {
            let fork = Fork {
                child_tid: 1_500,
                child_pid: 1_500,
                child_start_ns: at(second, 1_000),
                child_ns_tid: 0,
            };
            self.event(at(second, 1_000), 1_000, WEB, 1, EventData::Fork(fork));
            let exec = Exec {
                path: "/usr/bin/worker".into(),
                filename: "/usr/bin/worker".into(),
                args: Text::new(b"worker\0--all\0"),
                comm: "worker".into(),
                ppid: 1_000,
                uid: 0,
                gid: 0,
                start_ns: at(second, 1_000),
                dev: 1,
                ino: 3,
                flags: ExecFlags::default(),
                details: None,
            };
            self.event(at(second, 2_000), 1_500, WEB, 1, EventData::Exec(exec));
        }
        for port in 0..250u64 {
            let call = SockCall {
                nr: CONNECT,
                ret: -111,
                fd: 3,
                family: 2,
                sock_type: 1,
                local: Endpoint {
                    addr: Text::new(&[10, 0, 0, 2]),
                    port: 40_000 + port as u16,
                },
                remote: Endpoint {
                    addr: Text::new(&[10, 0, 0, 3]),
                    port: (1 + second * 250 + port) as u16,
                },
                unix_path: Text::default(),
                marks: PathMarks::default(),
                interface: 0,
                duration_ns: 0,
            };
            self.event(
                at(second, 3_000 + port * 3_900_000),
                1_500,
                WEB,
                4,
                EventData::SockCall(call),
            );
        }
    }

    fn read_shadow(&mut self, second: u64) {
        self.open(at(second, 500_000_000), 1_500, WEB, "/etc/shadow");
    }

    fn sample(&mut self, second: u64, hog: bool) {
        self.web_cpu_ns += 30_000_000 + self.random(10_000_000);
        self.db_cpu_ns += if hog {
            950_000_000
        } else {
            10_000_000 + self.random(5_000_000)
        };
        for (cgroup_id, cpu_ns) in [(WEB, self.web_cpu_ns), (DB, self.db_cpu_ns)] {
            let sample = Sample {
                cpu_ns,
                memory_bytes: 50 << 20,
                pids: 3,
                known: SampleKnown(
                    SampleKnown::SINCE_EVER
                        | SampleKnown::MEMORY_PEAK
                        | SampleKnown::FAULTS
                        | SampleKnown::PRESSURE,
                ),
                memory_peak_bytes: (50 << 20) + second,
                minor_faults: cpu_ns / 100_000,
                cpu_stall_ns: cpu_ns / 3,
                io_writes: 2 * second,
                ..Default::default()
            };
            self.event(
                at(second, 900_000_000),
                0,
                cgroup_id,
                0,
                EventData::Sample(Box::new(sample)),
            );
        }
    }

    fn drained(mut self) -> Vec<Item> {
        self.items.sort_by_key(Item::boot_ns);
        let mut next = std::collections::BTreeMap::new();
        for item in &mut self.items {
            if let Item::Event(event) = item {
                let seq = next.entry((event.cpu, event.probe)).or_insert(0u64);
                event.seq = *seq;
                *seq += 1;
            }
        }
        // A stable sort: inside a slot of a CPU, the order of time stays.
        self.items.sort_by_key(|item| {
            let cpu = match item {
                Item::Event(event) => event.cpu + 1,
                Item::Context(_) => 0,
            };
            (item.boot_ns() / (SECOND_NS / 10), cpu)
        });
        self.items
    }
}

/// Seals the items, a new chunk after every `rows(n)` items of chunk n, with exact watermarks.
pub fn seal(items: &[Item], rows: impl FnMut(u64) -> usize) -> Vec<SealedChunk> {
    seal_as([7; 16], items, rows)
}

/// The same as the trace of this UUID.
pub fn seal_as(
    uuid: [u8; 16],
    items: &[Item],
    mut rows: impl FnMut(u64) -> usize,
) -> Vec<SealedChunk> {
    // The oldest time from each place on: the watermark of a chunk that ends there.
    let mut oldest = vec![u64::MAX; items.len() + 1];
    for (index, item) in items.iter().enumerate().rev() {
        oldest[index] = oldest[index + 1].min(item.boot_ns());
    }
    let mut builder = ChunkBuilder::new(uuid, Limits::default());
    let mut chunks: Vec<SealedChunk> = Vec::new();
    let mut left = rows(0);
    for (index, item) in items.iter().enumerate() {
        match item.clone() {
            Item::Event(event) => builder.push(event),
            Item::Context(record) => builder.context(record).unwrap(),
        }
        left -= 1;
        if left == 0 || index + 1 == items.len() {
            let watermark_ns = if index + 1 == items.len() {
                items.iter().map(Item::boot_ns).max().unwrap()
            } else {
                oldest[index + 1]
            };
            chunks.push(builder.seal(watermark_ns));
            left = rows(chunks.len() as u64).max(1);
        }
    }
    chunks
}

/// The file of these chunks.
pub fn file(chunks: &[SealedChunk]) -> Vec<u8> {
    let mut writer = TraceWriter::new(Vec::new());
    for chunk in chunks {
        writer.write(chunk).unwrap();
    }
    writer.finish().unwrap()
}
