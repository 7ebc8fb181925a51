//! Promise: however many processes and cgroups come and go, the recorder's memory stays where it is and no
//! table grows past its bound; what is lost is counted.
//!
//! `cargo xtask soak recorder` runs this with a million processes and 10,000 cgroups.

#[path = "support/actor.rs"]
mod actor;
mod support;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::process::CommandExt,
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use actor::{Actor, Place};
use recorder::{
    control::{Reply, Request, Status, ask},
    own::TableUse,
};
use support::Recording;
use trace_format::{ChunkSource, Context, EventData, TraceReader};

/// How many short processes and cgroups; read from the environment.
const PROCESSES: (&str, u64) = ("TRAILCAM_PROCESSES", 20_000);
const CGROUPS: (&str, u64) = ("TRAILCAM_CGROUPS", 1_000);
/// Processes between two looks.
const BURST: u64 = 1_000;
/// What the second half may take more than the first: chunks of different sizes wait for the disk.
const MORE_BYTES_MAX: u64 = 16 << 20;

fn wanted((name, usual): (&str, u64)) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text}")),
        Err(_) => usual,
    }
}

fn live_and_die() {
    // SAFETY: the child ends at once.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::_exit(0);
        }
        libc::waitpid(child, std::ptr::null_mut(), 0);
    }
}

/// A cgroup with a name that a container has, a process in it, and both gone.
fn come_and_go(root: &Path, number: u64) {
    let dir = root.join(format!("{number:064x}"));
    fs::create_dir(&dir).unwrap();
    let procs = dir.join("cgroup.procs");
    let mut command = Command::new("/bin/true");
    // SAFETY: the child writes to a file and allocates nothing before that.
    unsafe { command.pre_exec(move || fs::write(&procs, "0")) };
    assert!(command.status().unwrap().success());
    while fs::remove_dir(&dir).is_err() {
        thread::sleep(Duration::from_millis(1));
    }
}

fn status(socket: &Path) -> Status {
    match ask(socket, &Request::Status).unwrap() {
        Reply::Status(status) => *status,
        other => panic!("{other:?}"),
    }
}

/// Memory of a process now, in bytes.
fn memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib: u64 = line
        .and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .unwrap();
    kib * 1024
}

#[test]
fn many_short_processes_and_cgroups_leave_memory_flat() {
    needs_kernel!();
    let Some(place) = Place::make(7) else {
        support::skip("no cgroup v2 hierarchy is mounted");
        return;
    };
    let (processes, cgroups) = (wanted(PROCESSES), wanted(CGROUPS));
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("control.sock");
    let control = format!("--control={}", socket.display());
    let mut actor = Actor::start(&place, 0, live_and_die);
    let recording = Recording::start(&dir.path().join("trace.zst"), &[&control]);
    let (pid, path) = (recording.pid(), recording.trace.clone());
    let root = place.dir.parent().unwrap().to_owned();
    let forks_end = AtomicBool::new(false);
    let begun = Instant::now();
    let mut memories = Vec::new();
    let mut tables: BTreeMap<String, TableUse> = BTreeMap::new();
    thread::scope(|scope| {
        scope.spawn(|| (0..cgroups).for_each(|number| come_and_go(&root, number)));
        scope.spawn(|| {
            for _ in 0..processes / BURST {
                actor.act(BURST);
            }
            forks_end.store(true, Ordering::Release);
        });
        while !forks_end.load(Ordering::Acquire) {
            memories.push(memory(pid));
            for table in status(&socket).own.tables {
                assert!(table.entries <= table.entries_max, "{table:?}");
                let most = tables.entry(table.name.clone()).or_default();
                if table.entries >= most.entries {
                    *most = table;
                }
            }
            thread::sleep(Duration::from_millis(100));
        }
    });
    let took = begun.elapsed();
    // Figures come once a second.
    thread::sleep(Duration::from_millis(1_200));
    let own = status(&socket).own;
    let (ended, _) = recording.stop();
    assert!(matches!(ended.code(), Some(0 | 3)), "{ended}");

    let found = count(
        &path,
        actor.pid,
        &format!("/{}/0000", root.file_name().unwrap().display()),
    );
    let most = |part: &[u64]| part.iter().copied().max().unwrap_or(0);
    let (first, second) = memories.split_at(memories.len() / 2);
    println!(
        "{processes} processes and {cgroups} cgroups in {:.1} s: memory at most {:.1} MiB in the first half, \
         {:.1} MiB in the second; recorder {:.1} s of CPU; {} of {} events dropped; trace {:.1} MiB",
        took.as_secs_f64(),
        mib(most(first)),
        mib(most(second)),
        own.cpu_ns as f64 / 1e9,
        found.dropped,
        found.seen,
        mib(fs::metadata(&path).unwrap().len())
    );
    for table in tables.values().chain(&own.tables) {
        println!("{}: {} of {}", table.name, table.entries, table.entries_max);
    }
    assert!(most(second) <= most(first) + MORE_BYTES_MAX, "{memories:?}");
    assert_eq!(found.seen, found.events + found.dropped);
    if found.dropped == 0 {
        assert_eq!(found.forks, processes / BURST * BURST);
        assert_eq!((found.made, found.removed), (cgroups, cgroups));
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[derive(Default)]
struct Found {
    seen: u64,
    dropped: u64,
    events: u64,
    /// Of the actor.
    forks: u64,
    /// Cgroups of this test.
    made: u64,
    removed: u64,
}

/// The trace, chunk by chunk: there may be more of it than memory.
fn count(path: &Path, actor: u32, cgroups: &str) -> Found {
    let mut found = Found::default();
    let mut reader = TraceReader::open(path).unwrap();
    while let Some(chunk) = reader.next_chunk().unwrap() {
        let chunk = chunk.decode().unwrap();
        for event in chunk.events.iter().filter(|event| event.probe != 0) {
            found.events += 1;
            match &event.data {
                EventData::Fork(_) if event.pid == actor => found.forks += 1,
                EventData::Cgroup(change) if change.path.to_string_lossy().contains(cgroups) => {
                    *if change.removed {
                        &mut found.removed
                    } else {
                        &mut found.made
                    } += 1;
                }
                _ => {}
            }
        }
        for record in chunk.context {
            if let Context::Loss(loss) = record.body {
                found.seen = loss.counts.iter().map(|count| count.seen).sum();
                found.dropped = loss.counts.iter().map(|count| count.dropped).sum();
            }
        }
    }
    assert_eq!(reader.issues(), []);
    assert!(reader.summary().is_some());
    found
}
