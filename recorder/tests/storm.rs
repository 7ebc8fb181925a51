//! Promise: processes that start while recording does are neither missing nor there twice.
//!
//! A child forks all the time, from before the recorder starts until it has ended, and each of its children
//! lives for a while: some end before the snapshot, some are in it, some are forked while it is made. Whoever
//! ends in the trace must have begun in it, by a fork or in the snapshot, and both must name one start.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use support::{Recording, read};
use trace_format::{Context, EventData};

/// Between two forks, and how long a child lives.
const PAUSE: Duration = Duration::from_micros(500);
const LIFE: Duration = Duration::from_millis(60);
/// /proc says when a process started in ticks of this.
const TICK_NS: u64 = 10_000_000;

/// No operation of keyctl: the call fails, and nobody else makes it.
const MARK: u64 = 0x5702;

/// Memory that the children see too.
fn shared() -> &'static AtomicU32 {
    // SAFETY: a page of our own, zeroed, never unmapped.
    unsafe {
        let page = libc::mmap(
            std::ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        assert_ne!(page, libc::MAP_FAILED);
        &*page.cast::<AtomicU32>()
    }
}

#[test]
fn processes_that_start_meanwhile_are_there_once() {
    needs_kernel!();
    let stop = shared();
    // SAFETY: the children make system calls only.
    let storm = unsafe {
        let storm = libc::fork();
        assert!(storm >= 0);
        if storm == 0 {
            // Nobody waits for them: they are gone when they end.
            libc::signal(libc::SIGCHLD, libc::SIG_IGN);
            while stop.load(Ordering::Relaxed) == 0 {
                if libc::fork() == 0 {
                    libc::usleep(LIFE.as_micros() as u32);
                    // Says in the trace whose child it is, without what is being tested.
                    libc::syscall(libc::SYS_keyctl, MARK, 0, 0, 0, 0);
                    libc::_exit(0);
                }
                libc::usleep(PAUSE.as_micros() as u32);
            }
            libc::_exit(0);
        }
        storm
    };
    thread::sleep(LIFE * 2);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trace.zst");
    let recording = Recording::start(&path, &["--profile", "light"]);
    thread::sleep(Duration::from_millis(1_200));
    recording.stop();
    stop.store(1, Ordering::Relaxed);
    // SAFETY: our own child.
    unsafe { assert_eq!(libc::waitpid(storm, std::ptr::null_mut(), 0), storm) };

    let trace = read(&path);
    assert!(trace.complete && trace.issues.is_empty());
    let storm = storm as u32;
    let mut forked: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    let mut ended: BTreeMap<u32, u64> = BTreeMap::new();
    let mut marked = BTreeSet::new();
    for event in &trace.events {
        match event.data {
            EventData::Fork(fork) if event.pid == storm => {
                forked
                    .entry(fork.child_pid)
                    .or_default()
                    .push(fork.child_start_ns);
            }
            EventData::Syscall(call)
                if i64::from(call.nr) == libc::SYS_keyctl && call.args[0] == MARK =>
            {
                marked.insert(event.pid);
            }
            EventData::Exit(exit) if exit.last_thread => {
                ended.insert(event.pid, exit.start_ns);
            }
            _ => {}
        }
    }
    let mut snapshot: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for record in &trace.context {
        if let Context::Process(process) = &record.body
            && process.ppid == storm
        {
            snapshot
                .entry(process.pid)
                .or_default()
                .push(process.start_ns);
        }
    }
    // The storm was there all the time.
    assert!(forked.len() > 100, "{} forks", forked.len());
    assert!(snapshot.len() > 5, "{} in snapshots", snapshot.len());
    let both = snapshot.keys().filter(|pid| forked.contains_key(pid));
    assert!(
        both.count() > 0,
        "none was forked while a snapshot was made"
    );

    let mut begun = 0;
    for (pid, start_ns) in &ended {
        let forks = forked.get(pid).map_or(&[][..], Vec::as_slice);
        let seen = snapshot.get(pid).map_or(&[][..], Vec::as_slice);
        if !marked.contains(pid) {
            continue; // Somebody else's child.
        }
        assert!(
            !forks.is_empty() || !seen.is_empty(),
            "{pid} ended and had not begun"
        );
        begun += 1;
        assert!(forks.len() <= 1, "{pid} was forked {} times", forks.len());
        assert!(forks.iter().all(|start| start == start_ns), "{pid}");
        for start in seen {
            assert!(
                start.abs_diff(*start_ns) <= TICK_NS,
                "{pid}: {start} and {start_ns}"
            );
        }
    }
    assert!(begun > 100, "{begun}");
    // Each child lives as long: what the storm forked before the last moments has ended.
    let last_ns = trace
        .events
        .iter()
        .map(|event| event.boot_ns)
        .max()
        .unwrap();
    for (pid, starts) in &forked {
        let long_ago = starts[0] + 10 * LIFE.as_nanos() as u64 <= last_ns;
        assert!(!long_ago || ended.contains_key(pid), "{pid} never ended");
    }
}
