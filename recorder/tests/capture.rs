//! Promises of `rec capture` on a real kernel. Each starts the real program, does something known
//! to the kernel, and reads the trace back.

mod support;

use std::{
    fs::{self, File},
    io::Read,
    net::{TcpListener, TcpStream},
    os::fd::AsRawFd,
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use support::{Recording, Trace, read, rec};
use trace_format::{Context, Event, EventData, syscalls};

const ROUNDS: usize = 10;

/// It ends within two seconds where it has a core; others may keep all of them busy. One that waits for
/// something else does not end at all.
const END_MAX: Duration = Duration::from_secs(20);
const X86_64_GETPGID: u32 = 121;

/// What this process did, as the trace tells it, in order.
fn own(trace: &Trace, pid: u32) -> impl Iterator<Item = &Event> {
    trace.events.iter().filter(move |event| event.pid == pid)
}

/// Promise: known sequence in, exactly that sequence out: counts, order per thread, arguments,
/// paths, exit codes. Not vacuous: every step is looked for by a name that nothing else uses.
#[test]
fn known_sequence_in_exactly_that_sequence_out() {
    needs_kernel!();
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let refused_port = {
        let probe = TcpListener::bind("127.0.0.1:0").unwrap();
        probe.local_addr().unwrap().port()
    };
    let recording = Recording::start(&dir.path().join("trace.zst"), &["--profile", "full"]);
    let trace_path = recording.trace.clone();

    let mut children = Vec::new();
    for round in 0..ROUNDS {
        let path = dir.path().join(format!("file-{round}"));
        drop(File::create(&path).unwrap());
        assert!(File::open(dir.path().join(format!("missing-{round}"))).is_err());
        fs::rename(&path, dir.path().join(format!("moved-{round}"))).unwrap();
        fs::remove_file(dir.path().join(format!("moved-{round}"))).unwrap();
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        drop(listener.accept().unwrap());
        drop(stream);
        assert!(TcpStream::connect(("127.0.0.1", refused_port)).is_err());
        // SAFETY: getpgid takes a number and changes nothing.
        unsafe { libc::syscall(libc::SYS_getpgid, 0, 11, 22, 33) };
        let mut child = Command::new("/bin/sh")
            .args(["-c", &format!("exit {round}")])
            .spawn()
            .unwrap();
        children.push(child.id());
        child.wait().unwrap();
    }
    let (status, took) = recording.stop();
    assert!(status.success(), "{status}");
    assert!(took < END_MAX, "ended after {took:?}");

    let trace = read(&trace_path);
    assert!(
        trace.complete && trace.issues.is_empty(),
        "{:?}",
        trace.issues
    );
    let pid = std::process::id();
    let at = |name: &str, round: usize| {
        dir.path()
            .join(format!("{name}-{round}"))
            .into_os_string()
            .into_string()
            .unwrap()
    };
    let inside = dir.path().to_str().unwrap().to_owned();

    let opens: Vec<_> = own(&trace, pid)
        .filter_map(|event| match &event.data {
            EventData::Open(open) if open.path.to_string_lossy().starts_with(&inside) => Some((
                open.path.to_string(),
                open.ret >= 0,
                open.marks.has(trace_format::PathMarks::CREATED),
            )),
            _ => None,
        })
        .collect();
    let expected: Vec<_> = (0..ROUNDS)
        .flat_map(|round| {
            [
                (at("file", round), true, true),
                (at("missing", round), false, false),
            ]
        })
        .collect();
    assert_eq!(opens, expected);

    let path_calls: Vec<_> = own(&trace, pid)
        .filter_map(|event| match &event.data {
            EventData::PathCall(call) if call.path.to_string_lossy().starts_with(&inside) => {
                Some((call.path.to_string(), call.path2.to_string(), call.ret))
            }
            _ => None,
        })
        .collect();
    let expected: Vec<_> = (0..ROUNDS)
        .flat_map(|round| {
            [
                (at("file", round), at("moved", round), 0),
                (at("moved", round), String::new(), 0),
            ]
        })
        .collect();
    assert_eq!(
        path_calls, expected,
        "rename, then unlink, each with its paths"
    );

    let connects: Vec<_> = own(&trace, pid)
        .filter_map(|event| match &event.data {
            EventData::SockCall(call) if call.nr == libc::SYS_connect as u32 => {
                Some((call.remote.addr.to_vec(), call.remote.port, call.ret))
            }
            _ => None,
        })
        .collect();
    let loopback = vec![127, 0, 0, 1];
    let expected: Vec<_> = (0..ROUNDS)
        .flat_map(|_| {
            [
                (loopback.clone(), port, 0),
                (
                    loopback.clone(),
                    refused_port,
                    -i64::from(libc::ECONNREFUSED),
                ),
            ]
        })
        .collect();
    assert_eq!(connects, expected);

    let ended: Vec<_> = own(&trace, pid)
        .filter_map(|event| match &event.data {
            EventData::TcpState(state) if state.old == 2 => {
                Some((state.new, state.remote.port, state.latency_ns > 0))
            }
            _ => None,
        })
        .collect();
    let expected: Vec<_> = (0..ROUNDS)
        .flat_map(|_| [(1, port, true), (7, refused_port, true)])
        .collect();
    assert_eq!(
        ended, expected,
        "established and refused, with the latency and the owner"
    );

    let calls: Vec<_> = own(&trace, pid)
        .filter_map(|event| match event.data {
            EventData::Syscall(call) if call.nr == X86_64_GETPGID => Some(call.args),
            _ => None,
        })
        .collect();
    assert_eq!(
        calls,
        vec![[0; 6]; ROUNDS],
        "arguments beyond the arity are not recorded"
    );

    for (round, child) in children.into_iter().enumerate() {
        let forks = own(&trace, pid)
            .filter(|event| matches!(event.data, EventData::Fork(fork) if fork.child_pid == child));
        assert_eq!(forks.count(), 1);
        let execs: Vec<_> = own(&trace, child)
            .filter_map(|event| match &event.data {
                EventData::Exec(exec) => {
                    Some((exec.args.to_vec(), exec.ppid, exec.filename.to_string()))
                }
                _ => None,
            })
            .collect();
        let args = format!("/bin/sh\0-c\0exit {round}").into_bytes();
        assert_eq!(execs, vec![(args, pid, "/bin/sh".to_owned())]);
        let exits: Vec<_> = own(&trace, child)
            .filter_map(|event| match event.data {
                EventData::Exit(exit) => Some((exit.code as usize, exit.signal, exit.last_thread)),
                _ => None,
            })
            .collect();
        assert_eq!(exits, vec![(round, 0, true)]);
    }
}

/// Promise: kernel counters = events in the trace + drops in the trace, exactly, per CPU and probe,
/// also when the ring is far too small. The method: the probes count in the kernel, the trace is
/// counted here; a lost or doubled record anywhere between makes them differ.
fn counters_equal_events_plus_drops(ring: &str, may_drop: bool) {
    let dir = tempfile::tempdir().unwrap();
    let recording = Recording::start(
        &dir.path().join("trace.zst"),
        &["--profile", "full", "--ring", ring],
    );
    let trace_path = recording.trace.clone();
    let mut zero = File::open("/dev/zero").unwrap();
    let mut byte = [0];
    for _ in 0..400_000 {
        zero.read_exact(&mut byte).unwrap();
    }
    let (status, took) = recording.stop();
    assert!(took < END_MAX, "ended after {took:?}");
    let trace = read(&trace_path);
    let (counters, counted) = (trace.counters(), trace.counted());
    assert!(!counters.is_empty());
    let mut dropped_in_all = 0;
    for (pair, (seen, dropped)) in &counters {
        let counted = counted.get(pair).copied().unwrap_or(0);
        assert_eq!(
            counted + dropped,
            *seen,
            "(cpu, probe) {pair:?}: {counted} in the trace, {dropped} dropped"
        );
        dropped_in_all += dropped;
    }
    assert!(counted.keys().all(|pair| counters.contains_key(pair)));
    if may_drop {
        assert!(
            dropped_in_all > 0,
            "a ring of {ring} bytes did not overflow: the test shows nothing"
        );
        assert_eq!(status.code(), Some(3), "a capture with drops ends with 3");
    } else {
        assert_eq!((dropped_in_all, status.code()), (0, Some(0)));
        let reads = trace.events.iter().filter(|event| {
            event.pid == std::process::id() && matches!(event.data, EventData::Syscall(call) if call.nr == 0 && call.args[0] == zero.as_raw_fd() as u64)
        });
        assert_eq!(reads.count(), 400_000);
    }
}

#[test]
fn drops_are_exactly_accounted() {
    needs_kernel!();
    counters_equal_events_plus_drops("4096", true);
}

#[test]
fn nothing_is_dropped_with_the_default_ring() {
    needs_kernel!();
    counters_equal_events_plus_drops("16777216", false);
}

#[test]
fn the_recorder_does_not_record_itself() {
    needs_kernel!();
    let dir = tempfile::tempdir().unwrap();
    let recording = Recording::start(&dir.path().join("trace.zst"), &["--profile", "full"]);
    let (pid, trace_path) = (recording.pid(), recording.trace.clone());
    thread::sleep(Duration::from_millis(1_500));
    recording.stop();
    let trace = read(&trace_path);
    assert!(trace.events.len() > 10, "nothing was recorded at all");
    let own: Vec<_> = trace
        .events
        .iter()
        .filter(|event| event.pid == pid)
        .collect();
    assert!(
        own.is_empty(),
        "{} events of rec itself, first: {:?}",
        own.len(),
        own.first()
    );
}

/// Promise: SIGKILL loses at most the open chunk. Marks in time are made by opening files; after
/// the kill every mark older than two seconds must be there.
#[test]
fn kill_loses_at_most_the_open_chunk() {
    needs_kernel!();
    let dir = tempfile::tempdir().unwrap();
    let recording = Recording::start(&dir.path().join("trace.zst"), &[]);
    let trace_path = recording.trace.clone();
    for mark in 0..30 {
        drop(File::create(dir.path().join(format!("mark-{mark}"))).unwrap());
        thread::sleep(Duration::from_millis(100));
    }
    recording.kill();
    let trace = read(&trace_path);
    assert!(
        !trace.complete,
        "a killed trace does not call itself complete"
    );
    let marks = trace.events.iter().filter(|event| {
        matches!(&event.data, EventData::Open(open) if open.path.to_string_lossy().contains("/mark-"))
    });
    let marks = marks.count();
    assert!(
        marks >= 15,
        "{marks} of 30 marks: more than the open chunk is gone"
    );
}

#[test]
fn events_are_never_late_and_samples_come_each_second() {
    needs_kernel!();
    let dir = tempfile::tempdir().unwrap();
    let recording = Recording::start(&dir.path().join("trace.zst"), &["--profile", "full"]);
    let trace_path = recording.trace.clone();
    thread::sleep(Duration::from_millis(3_300));
    recording.stop();
    let trace = read(&trace_path);
    assert_eq!(trace.late_rows, 0);
    let samples = trace
        .events
        .iter()
        .filter(|event| event.cgroup_id == 0 && matches!(event.data, EventData::Sample(_)))
        .count();
    assert!(
        (3..=6).contains(&samples),
        "{samples} samples of the host in 3.3 s"
    );
    let ticks = trace
        .context
        .iter()
        .filter(|record| record.body == Context::Tick)
        .count();
    assert!((3..=6).contains(&ticks), "{ticks} ticks in 3.3 s");
    let own = trace.context.iter().find_map(|record| match &record.body {
        Context::Process(process) if process.pid == std::process::id() => Some(process),
        _ => None,
    });
    let own = own.expect("this process is in the snapshot");
    assert_eq!(
        own.exe,
        std::env::current_exe()
            .unwrap()
            .into_os_string()
            .into_encoded_bytes()
    );
    assert!(trace.context.iter().any(
        |record| matches!(&record.body, Context::Host(host) if !host.kernel_release.is_empty())
    ));
}

/// getpid through the 32-bit entry (number 20 there, writev in the native table), with an argument of no meaning.
#[cfg(target_arch = "x86_64")]
fn getpid_i386(argument: u32) -> i64 {
    let result: i64;
    // SAFETY: the call changes nothing but its result; rbx is the compiler's and is put back.
    unsafe {
        std::arch::asm!(
            "push rbx", "mov ebx, {argument:e}", "int 0x80", "pop rbx",
            argument = in(reg) argument, inlateout("rax") 20_i64 => result,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    result
}

/// Promise: a call through the 32-bit entry is never taken for the native call of the same number, and an
/// x32 number, which this kernel may refuse, is seen as what it is. The numbers were read in the native
/// table once: a 32-bit exit was a write.
#[cfg(target_arch = "x86_64")]
#[test]
fn calls_of_other_tables_are_told_apart() {
    needs_kernel!();
    const X32_GETPPID: i64 = (1 << 30) + libc::SYS_getppid;
    let dir = tempfile::tempdir().unwrap();
    let record = |profile: &str| {
        let path = dir.path().join(format!("{profile}.zst"));
        let recording = Recording::start(&path, &["--profile", profile]);
        let result = getpid_i386(4711);
        // SAFETY: no arguments; at worst the number is refused.
        unsafe { libc::syscall(X32_GETPPID) };
        recording.stop();
        (read(&path), result)
    };
    let (trace, result) = record("standard");
    let calls: Vec<_> = own(&trace, std::process::id())
        .filter_map(|event| match event.data {
            EventData::Syscall(call) if call.nr >= 1 << 30 => {
                Some((call.nr, call.ret, call.args[0]))
            }
            _ => None,
        })
        .collect();
    if result == -i64::from(libc::ENOSYS) {
        support::skip("this kernel has no 32-bit entry");
        return;
    }
    assert_eq!(calls.len(), 2, "{calls:?}");
    assert_eq!(
        calls[0],
        (syscalls::I386 | 20, i64::from(std::process::id()), 4711)
    );
    assert_eq!(calls[1].0, syscalls::X32 | libc::SYS_getppid as u32);
    let (trace, _) = record("light");
    assert!(
        trace.events.iter().any(|event| matches!(
            event.data,
            EventData::SyscallCount(count) if count.nr == syscalls::I386 | 20 && count.calls >= 1
        )),
        "counted where not recorded"
    );
}

/// Promise: a path that is deeper than the probes walk says so; one within their reach does not.
#[test]
fn a_path_that_lost_its_beginning_is_marked_cut() {
    needs_kernel!();
    let dir = tempfile::tempdir().unwrap();
    let shallow = dir.path().join("shallow-file");
    let deep = (0..40).fold(dir.path().to_owned(), |path, depth| {
        path.join(format!("d{depth}"))
    });
    fs::create_dir_all(&deep).unwrap();
    let deep = deep.join("deep-file");
    let recording = Recording::start(&dir.path().join("trace.zst"), &[]);
    let path = recording.trace.clone();
    drop(File::create(&shallow).unwrap());
    drop(File::create(&deep).unwrap());
    recording.stop();
    let trace = read(&path);
    let cut = |end: &str| -> Vec<bool> {
        let opens = trace.events.iter().filter_map(|event| match &event.data {
            EventData::Open(open) if open.path.ends_with(end.as_bytes()) => Some(open),
            _ => None,
        });
        opens
            .map(|open| open.marks.has(trace_format::PathMarks::CUT))
            .collect()
    };
    assert_eq!(cut("/shallow-file"), [false]);
    assert_eq!(cut("/d38/d39/deep-file"), [true]);
}

/// Promise: a terminal that went away does not end a recording. It did once: the first line on the
/// broken stderr was a panic.
#[test]
fn a_closed_stderr_changes_nothing() {
    needs_kernel!();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trace.zst");
    let mut child = rec()
        .args(["capture", "--duration", "1s", "-o"])
        .arg(&path)
        .spawn()
        .unwrap();
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(read(&path).complete);
}

#[test]
fn quiet_says_nothing() {
    needs_kernel!();
    let dir = tempfile::tempdir().unwrap();
    let output = rec()
        .args(["-q", "capture", "--duration", "300ms", "-o"])
        .arg(dir.path().join("trace.zst"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*said), (Some(0), ""));
}

fn fails_with(args: &[&str], words: &[&str]) {
    let output = rec().args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
    for word in words {
        assert!(
            said.contains(word),
            "{args:?} does not say {word:?}: {said}"
        );
    }
    assert_eq!(said.trim_end().lines().count(), 1, "one line: {said}");
}

#[test]
fn an_unusable_output_is_refused_before_anything_is_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let dir_name = dir.path().to_str().unwrap();
    fails_with(&["capture", "-o", dir_name], &[dir_name, "is a directory"]);
    let missing = dir.path().join("no/such/dir/trace.zst");
    fails_with(
        &["capture", "-o", missing.to_str().unwrap()],
        &["cannot create the trace", "No such file"],
    );
    let existing = dir.path().join("existing.zst");
    fs::write(&existing, b"precious").unwrap();
    fails_with(
        &["capture", "-o", existing.to_str().unwrap()],
        &["exists", "--force"],
    );
    assert_eq!(fs::read(&existing).unwrap(), b"precious");
}

/// Promise: --force replaces a trace only when there is a new one. It failed once: the old trace was
/// emptied before the probes were loaded, and then removed as empty.
#[test]
fn force_keeps_the_old_trace_when_recording_cannot_start() {
    let dir = tempfile::tempdir().unwrap();
    let old = dir.path().join("old.zst");
    fs::write(&old, b"precious").unwrap();
    let path = old.to_str().unwrap();
    fails_with(
        &["capture", "--force", "--btf", "/no/such/btf", "-o", path],
        &["/no/such/btf"],
    );
    assert_eq!(fs::read(&old).unwrap(), b"precious");
    fails_with(
        &["capture", "--force", "-o", "/dev/null"],
        &["/dev/null", "no regular file"],
    );
    assert!(Path::new("/dev/null").exists());
}

#[test]
fn a_kernel_without_type_information_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace.zst");
    let args = [
        "capture",
        "--btf",
        "/no/such/btf",
        "-o",
        trace.to_str().unwrap(),
    ];
    fails_with(&args, &["/no/such/btf", "type information"]);
    assert!(!trace.exists(), "no empty trace is left behind");
}

#[test]
fn an_unknown_container_is_named_with_those_that_run() {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace.zst");
    let args = [
        "capture",
        "--container",
        "no-such-container",
        "-o",
        trace.to_str().unwrap(),
    ];
    fails_with(&args, &["no such container: no-such-container"]);
    assert!(!trace.exists());
}

/// Promise: a full disk ends in a clear line and a trace that is complete up to there.
#[test]
fn a_full_disk_keeps_what_was_recorded() {
    needs_kernel!();
    let dir = tempfile::tempdir().unwrap();
    let mount = dir.path().join("small");
    fs::create_dir(&mount).unwrap();
    let size = "size=1m";
    nix::mount::mount(
        Some("none"),
        &mount,
        Some("tmpfs"),
        nix::mount::MsFlags::empty(),
        Some(size),
    )
    .unwrap();
    let result = std::panic::catch_unwind(|| {
        let recording = Recording::start(
            &mount.join("trace.zst"),
            &["--profile", "full", "--duration", "20s"],
        );
        let trace_path = recording.trace.clone();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let load = thread::spawn(move || {
            // Random numbers in the arguments: columns that do not compress fill the disk soon.
            let mut seed = 1_u64;
            while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                // SAFETY: descriptor -1 is refused before the address is looked at.
                unsafe { libc::syscall(libc::SYS_read, -1, seed, seed >> 7) };
            }
        });
        let (status, said) = recording.wait();
        drop(stop);
        load.join().unwrap();
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(
            said.contains("cannot write to") && said.contains("kept"),
            "{said}"
        );
        let trace = read(&trace_path);
        assert!(trace.complete, "the summary had its reserved room");
        assert!(
            trace.issues.is_empty() && trace.events.len() > 1_000,
            "{:?}",
            trace.issues
        );
    });
    nix::mount::umount2(&mount, nix::mount::MntFlags::MNT_DETACH).unwrap();
    result.unwrap();
}

#[test]
fn check_names_every_probe() {
    needs_kernel!();
    let output = rec().args(["check", "--json"]).output().unwrap();
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let probes = value["probes"].as_array().unwrap();
    assert_eq!(probes.len(), recorder::probes::PROBES.len());
    for probe in probes {
        assert_eq!(probe["reason"], serde_json::Value::Null, "{probe}");
    }
    assert_eq!(output.status.code(), Some(0));
    assert!(Path::new("/sys/kernel/btf/vmlinux").exists());
}

/// A recorder that somebody takes over can do no more than record.
#[test]
fn every_thread_gives_up_what_it_does_not_need() {
    needs_kernel!();
    let dir = tempfile::tempdir().unwrap();
    let control = format!("--control={}", dir.path().join("c.sock").display());
    let recording = Recording::start(&dir.path().join("trace.zst"), &[&control]);
    // Threads that begin now drop theirs first thing.
    thread::sleep(Duration::from_millis(500));
    let allowed = recorder::privileges::KEPT
        .iter()
        .fold(0u64, |bits, (number, _)| bits | 1 << number);
    let mut threads = 0;
    for task in fs::read_dir(format!("/proc/{}/task", recording.pid())).unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().to_owned()
        };
        for set in ["CapEff:", "CapPrm:"] {
            let held = u64::from_str_radix(&field(set), 16).unwrap();
            assert_eq!(held & !allowed, 0, "{} {set} {held:#x}", field("Name:"));
        }
        threads += 1;
    }
    assert!(threads >= 5, "{threads}");
    let (status, _) = recording.stop();
    assert!(matches!(status.code(), Some(0 | 3)), "{status}");
}
