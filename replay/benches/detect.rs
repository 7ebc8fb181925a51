//! How many events a second does detection take on one core? All shipped rules and the statistics
//! over a trace that is mostly plain system calls, as a busy web server's is.
//!
//! `cargo bench -p replay --bench detect [-- SECONDS]`. Prints medians of several passes; the parts
//! (decode alone, then each engine added) say where time goes. Result and machine: docs/benchmarks.md.

use replay::{
    order::{EventRef, Fold, Order},
    pipeline::{Pipeline, Settings},
    rules::RuleSet,
};
use std::{hint::black_box, time::Instant};
use trace_format::{
    ChunkBuilder, Clock, Container, Context, ContextRecord, Event, EventData, Exec, ExecFlags,
    Exit, Fork, Host, Limits, Open, PathMarks, Process, Resolution, SealedChunk, Syscall, Text,
};

const EVENTS: u64 = 2_000_000;
const PASSES: usize = 7;
const CONTAINERS: u64 = 8;
const CPUS: u64 = 4;

fn main() {
    let chunks = trace();
    let bytes: usize = chunks.iter().map(|chunk| chunk.bytes.len()).sum();
    println!(
        "{EVENTS} events, {} chunks, {:.2} bytes an event",
        chunks.len(),
        bytes as f64 / EVENTS as f64
    );
    measure("decode", || {
        chunks.iter().for_each(|chunk| {
            black_box(chunk.decode().unwrap());
        });
    });
    measure("decode + order", || {
        let mut order = Order::default();
        let mut nothing = Nothing(0);
        chunks
            .iter()
            .for_each(|chunk| order.push(chunk.events().unwrap(), &mut nothing));
        order.finish(&mut nothing);
        assert_eq!(nothing.0, EVENTS);
    });
    measure("… + state", || detect(&chunks, Settings::default()));
    measure("… + statistics", || {
        detect(
            &chunks,
            Settings {
                statistics: true,
                ..Default::default()
            },
        )
    });
    let rules = RuleSet::shipped();
    measure("… + rules", || {
        detect(
            &chunks,
            Settings {
                rules: Some(rules.clone()),
                ..Default::default()
            },
        )
    });
    measure("all: replay detect", || {
        detect(
            &chunks,
            Settings {
                rules: Some(rules.clone()),
                statistics: true,
                ..Default::default()
            },
        );
    });
}

fn measure(name: &str, mut pass: impl FnMut()) {
    pass();
    let mut seconds: Vec<f64> = (0..PASSES)
        .map(|_| {
            let start = Instant::now();
            pass();
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    let median = seconds[PASSES / 2];
    println!(
        "{name:<20} {:>6.2} M events/s  {:>6.1} ns an event",
        EVENTS as f64 / median / 1e6,
        median * 1e9 / EVENTS as f64
    );
}

struct Nothing(u64);
impl Fold for Nothing {
    fn context(&mut self, _: &ContextRecord) {}
    fn event(&mut self, event: &Event, _: EventRef) {
        self.0 += 1;
        black_box(event);
    }
}

fn detect(chunks: &[SealedChunk], settings: Settings) {
    let mut pipeline = Pipeline::new(settings);
    for chunk in chunks {
        pipeline.push(chunk).unwrap();
        pipeline.findings().for_each(|finding| {
            black_box(finding);
        });
    }
    pipeline.finish();
    assert_eq!(pipeline.totals().events, EVENTS);
}

/// A second of every container's work after the other's, at 200,000 events a second.
fn trace() -> Vec<SealedChunk> {
    const START_NS: u64 = 1_000_000_000_000;
    const STEP_NS: u64 = 5_000;
    // read, write, epoll_wait, recvfrom, sendto, writev, close, futex, fcntl: a web server's calls (x86-64).
    const CALLS: [u32; 9] = [0, 1, 232, 45, 44, 20, 3, 202, 72];
    let mut builder = ChunkBuilder::new([1; 16], Limits::default());
    let mut chunks = Vec::new();
    for record in opening(START_NS) {
        builder.context(record).unwrap();
    }
    let mut random = 1u64;
    let mut seq = [0u64; CPUS as usize];
    let mut tick_ns = START_NS;
    for number in 0..EVENTS {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let roll = random >> 33;
        let boot_ns = START_NS + number * STEP_NS;
        let cpu = roll % CPUS;
        let worker = 1_000 + (number / 16 % 32) as u32;
        let data = match roll % 1000 {
            0..900 => {
                let nr = CALLS[(roll / 1000 % 9) as usize];
                EventData::Syscall(Syscall {
                    nr,
                    ret: 512,
                    args: [roll % 64, 0x7f00_0000_0000 + roll % 4096, 4096, 0, 0, 0],
                    duration_ns: 0,
                })
            }
            900..990 => EventData::Open(Open {
                nr: 257,
                ret: 9,
                flags: 0o2000000,
                mode: 0,
                path: format!("/var/www/html/page{}.html", roll / 1000 % 200).into(),
                dev: 1,
                ino: roll / 1000 % 200,
                marks: PathMarks::default(),
                duration_ns: 0,
            }),
            990..994 => EventData::Fork(Fork {
                child_tid: 50_000 + worker,
                child_pid: 50_000 + worker,
                child_start_ns: boot_ns,
                child_ns_tid: 0,
            }),
            994..997 => EventData::Exec(exec(boot_ns)),
            _ => EventData::Exit(Exit {
                code: 0,
                signal: 0,
                start_ns: boot_ns,
                last_thread: true,
                usage: None,
            }),
        };
        let pid = match &data {
            EventData::Exec(_) | EventData::Exit(_) => 50_000 + worker,
            _ => worker,
        };
        let cgroup_id = 100 + u64::from(worker) % CONTAINERS;
        let event = Event {
            boot_ns,
            cpu: cpu as u16,
            probe: 1,
            seq: seq[cpu as usize],
            tid: pid,
            pid,
            cgroup_id,
            data,
        };
        seq[cpu as usize] += 1;
        builder.push(event);
        if boot_ns - tick_ns >= 1_000_000_000 {
            tick_ns = boot_ns;
            builder
                .context(ContextRecord {
                    boot_ns,
                    body: Context::Tick,
                })
                .unwrap();
        }
        if builder.is_full() {
            chunks.push(builder.seal(boot_ns));
        }
    }
    chunks.push(builder.seal(u64::MAX));
    chunks
}

fn exec(start_ns: u64) -> Exec {
    Exec {
        path: "/usr/bin/convert".into(),
        filename: "/usr/bin/convert".into(),
        args: Text::new(b"convert\0in.png\0out.jpg\0"),
        comm: "convert".into(),
        ppid: 1_000,
        uid: 33,
        gid: 33,
        start_ns,
        dev: 1,
        ino: 77,
        flags: ExecFlags::default(),
        details: None,
    }
}

fn opening(boot_ns: u64) -> Vec<ContextRecord> {
    let mut bodies = vec![
        Context::Host(Host {
            arch: "x86_64".into(),
            cpus: CPUS as u32,
            ..Default::default()
        }),
        Context::Clock(Clock {
            boot_ns,
            wall_ns: 1_700_000_000_000_000_000,
        }),
    ];
    for container in 0..CONTAINERS {
        bodies.push(Context::Container(Container {
            cgroup_id: 100 + container,
            id: format!("{container:064x}"),
            name: format!("web{container}"),
            image: "nginx:1.27".into(),
            runtime: "docker".into(),
            resolution: Resolution::Resolved,
            ..Default::default()
        }));
    }
    for worker in 0..32 {
        bodies.push(Context::Process(Process {
            pid: 1_000 + worker,
            ppid: 1,
            start_ns: 1,
            cgroup_id: 100 + u64::from(worker + 1_000) % CONTAINERS,
            comm: b"nginx".to_vec(),
            exe: b"/usr/sbin/nginx".to_vec(),
            args: b"nginx: worker process\0".to_vec(),
            ..Default::default()
        }));
    }
    bodies
        .into_iter()
        .map(|body| ContextRecord { boot_ns, body })
        .collect()
}
