//! How long calls take, for the table of kinds: known where that was asked for, and nowhere else.

use std::{
    fs::File,
    net::{TcpListener, TcpStream},
    time::Instant,
};

use trace_format::{Event, EventData};

use super::{
    MACHINE, TIMES, of,
    support::{self, Recording, Trace, read},
};

const SLEEP_NS: u64 = 20_000_000;

fn duration_ns(event: &Event) -> Option<u64> {
    match &event.data {
        EventData::Syscall(call) => Some(call.duration_ns),
        EventData::Open(call) => Some(call.duration_ns),
        EventData::PathCall(call) => Some(call.duration_ns),
        EventData::SockCall(call) => Some(call.duration_ns),
        _ => None,
    }
}

pub fn unasked(trace: &Trace, _: &super::Done) {
    assert!(
        trace
            .events
            .iter()
            .filter_map(duration_ns)
            .all(|ns| ns == 0)
    );
}

#[test]
fn calls_last_as_long_as_they_do() {
    crate::needs_kernel!();
    let _machine = MACHINE.lock();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trace.zst");
    let recording = Recording::start(&path, &["--durations", "--profile", "full"]);
    let begun = Instant::now();
    let sleep = libc::timespec {
        tv_sec: 0,
        tv_nsec: SLEEP_NS as i64,
    };
    for _ in 0..TIMES {
        // SAFETY: reads the structure.
        unsafe { libc::syscall(libc::SYS_nanosleep, &raw const sleep, 0) };
    }
    let file = dir.path().join("timed");
    drop(File::create(&file).unwrap());
    std::fs::remove_file(&file).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    drop(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
    // A child's side of the fork began in its parent.
    // SAFETY: the child ends at once.
    let child = unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::syscall(libc::SYS_getpgid, 0);
            libc::_exit(0);
        }
        assert_eq!(libc::waitpid(child, std::ptr::null_mut(), 0), child);
        child as u32
    };
    let all_ns = begun.elapsed().as_nanos() as u64;
    recording.stop();
    let trace = read(&path);
    assert!(trace.complete && trace.issues.is_empty());
    let pid = std::process::id();
    let slept: Vec<u64> = of(&trace, pid)
        .filter_map(|event| match event.data {
            EventData::Syscall(call) if call.nr == libc::SYS_nanosleep as u32 => {
                Some(call.duration_ns)
            }
            _ => None,
        })
        .collect();
    assert_eq!(slept.len(), TIMES);
    for ns in slept {
        assert!((SLEEP_NS..=all_ns).contains(&ns), "{ns} of {all_ns}");
    }
    let known = |is: &dyn Fn(&EventData) -> bool| {
        let found: Vec<u64> = of(&trace, pid)
            .filter(|event| is(&event.data))
            .filter_map(duration_ns)
            .collect();
        assert!(!found.is_empty());
        assert!(
            found.iter().all(|ns| (1..=all_ns).contains(ns)),
            "{found:?}"
        );
    };
    known(&|data| matches!(data, EventData::Open(open) if open.path.ends_with(b"/timed")));
    known(&|data| matches!(data, EventData::PathCall(call) if call.path.ends_with(b"/timed")));
    known(&|data| matches!(data, EventData::SockCall(call) if call.nr == libc::SYS_connect as u32));
    let of_child: Vec<(u32, u64)> = of(&trace, child)
        .filter_map(|event| match event.data {
            EventData::Syscall(call) => Some((call.nr, call.duration_ns)),
            _ => None,
        })
        .collect();
    let is_fork =
        |nr: u32| [libc::SYS_clone, libc::SYS_clone3, libc::SYS_fork].contains(&i64::from(nr));
    assert!(
        of_child.iter().all(|(nr, ns)| !is_fork(*nr) || *ns == 0),
        "{of_child:?}"
    );
    assert!(
        of_child
            .iter()
            .any(|(nr, ns)| i64::from(*nr) == libc::SYS_getpgid && *ns > 0),
        "{of_child:?}"
    );
    // Nothing lasts longer than the machine runs.
    let now_ns = trace
        .events
        .iter()
        .map(|event| event.boot_ns)
        .max()
        .unwrap();
    assert!(
        trace
            .events
            .iter()
            .filter_map(duration_ns)
            .all(|ns| ns < now_ns)
    );
}

/// As text of the configuration, to see that it has the option too.
#[test]
fn a_least_duration_keeps_the_slow_calls() {
    crate::needs_kernel!();
    let _machine = MACHINE.lock();
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("rec.toml");
    std::fs::write(&config, "durations = true\nprofile = \"full\"\n").unwrap();
    let path = dir.path().join("trace.zst");
    let tree = std::process::id().to_string();
    let recording = Recording::start(
        &path,
        &[
            "--config",
            config.to_str().unwrap(),
            "--min-duration",
            "10ms",
            "--tree",
            &tree,
        ],
    );
    let sleep = libc::timespec {
        tv_sec: 0,
        tv_nsec: SLEEP_NS as i64,
    };
    for _ in 0..TIMES {
        // SAFETY: reads the structure; a call without arguments.
        unsafe {
            libc::syscall(libc::SYS_nanosleep, &raw const sleep, 0);
            libc::syscall(libc::SYS_getpgid, 0);
        }
    }
    recording.stop();
    let trace = read(&path);
    let calls: Vec<(u32, u64)> = of(&trace, std::process::id())
        .filter_map(|event| match event.data {
            EventData::Syscall(call) => Some((call.nr, call.duration_ns)),
            _ => None,
        })
        .collect();
    let slept = |(nr, _): &&(u32, u64)| i64::from(*nr) == libc::SYS_nanosleep;
    assert_eq!(calls.iter().filter(slept).count(), TIMES, "{calls:?}");
    assert!(calls.iter().all(|(_, ns)| *ns >= SLEEP_NS / 2), "{calls:?}");
}
