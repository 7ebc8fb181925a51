//! Promises of the filter, on a real kernel: what it records is exactly what it should, what it rejects
//! is counted as filtered to the last event, and what replay needs is there all the same.
//!
//! The method: a recorder without a filter runs beside those with one, and sees the same things happen.

mod support;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{IoSliceMut, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use support::{Recording, Trace, read, rec};
use trace_format::{Context, Event, EventData};

const ROUNDS: usize = 5;
/// Of the thread that acts; nothing else has it.
const ACTOR: &str = "tc-filter-actor";
const ENOENT: i64 = -2;

fn filtered(trace: &Trace) -> BTreeMap<u8, u64> {
    let loss = trace
        .context
        .iter()
        .rev()
        .find_map(|record| match &record.body {
            Context::Loss(loss) => Some(loss),
            _ => None,
        });
    let mut filtered = BTreeMap::new();
    for count in loss.into_iter().flat_map(|loss| &loss.counts) {
        if count.filtered > 0 {
            *filtered.entry(count.probe).or_default() += count.filtered;
        }
    }
    filtered
}

/// Kernel counters = events + drops, and nothing was dropped.
fn exact(trace: &Trace, name: &str) {
    assert!(trace.complete && trace.issues.is_empty(), "{name}");
    let counted = trace.counted();
    for (pair, (seen, dropped)) in trace.counters() {
        let events = counted.get(&pair).copied().unwrap_or(0);
        assert_eq!(
            (events, 0),
            (seen, dropped),
            "{name}: (cpu, probe) {pair:?}"
        );
    }
}

fn by_probe<'a>(events: impl Iterator<Item = &'a Event>) -> BTreeMap<u8, u64> {
    let mut counted = BTreeMap::new();
    for event in events {
        *counted.entry(event.probe).or_default() += 1;
    }
    counted
}

fn start(dir: &Path, name: &str, args: &[&str]) -> Recording {
    let args = [&["--profile", "full"], args].concat();
    Recording::start(&dir.join(format!("{name}.zst")), &args)
}

fn ended(recording: Recording) -> Trace {
    let path = recording.trace.clone();
    let (status, _) = recording.stop();
    assert!(status.success(), "{}: {status}", path.display());
    read(&path)
}

/// What an option of a part does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Given {
    Not,
    Match,
    NoMatch,
}
const GIVEN: [Given; 3] = [Given::Not, Given::Match, Given::NoMatch];

/// Held by each test: what another one does meanwhile is filtered, and counted, too.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Promise: who, what and where hold together, in each of the combinations of not given, given and
/// matching, given and not matching; and processes are known in all of them. Not vacuous: each of the
/// parts that match lets only some of the opens through.
#[test]
fn every_combination_of_who_what_and_where() {
    needs_kernel!();
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let (wanted, other) = (dir.path().join("wanted"), dir.path().join("wanted-not"));
    fs::create_dir(&wanted).unwrap();
    fs::create_dir(&other).unwrap();
    let wanted_text = wanted.to_str().unwrap();
    for who in GIVEN {
        let mut recordings = Vec::new();
        for what in GIVEN {
            for place in GIVEN {
                let mut args: Vec<&str> = Vec::new();
                args.extend::<&[&str]>(match who {
                    Given::Not => &[],
                    Given::Match => &["--comm", ACTOR],
                    Given::NoMatch => &["--comm", "tc-nobody"],
                });
                args.extend::<&[&str]>(match what {
                    Given::Not => &[],
                    Given::Match => &["--syscall", "openat", "--result", "success"],
                    Given::NoMatch => &["--kind", "oom_kill"],
                });
                match place {
                    Given::Not => {}
                    Given::Match => args.extend(["--path", wanted_text]),
                    Given::NoMatch => args.extend(["--path", "/no/such/place"]),
                }
                let name = format!("{who:?}-{what:?}-{place:?}");
                recordings.push((
                    start(dir.path(), &name, &args),
                    name,
                    what,
                    place,
                    args.len(),
                ));
            }
        }
        let places = [wanted.clone(), other.clone()];
        let child = thread::Builder::new()
            .name(ACTOR.to_owned())
            .spawn(move || act(&places))
            .unwrap()
            .join()
            .unwrap();
        for (recording, name, what, place, args) in recordings {
            let trace = ended(recording);
            exact(&trace, &name);
            let nobody = who == Given::NoMatch;
            let all = [
                (wanted.join("made"), true),
                (wanted.join("missing"), false),
                (other.join("made"), true),
                (other.join("missing"), false),
            ];
            let mut expected: Vec<(PathBuf, bool)> = all
                .into_iter()
                .filter(|(_, success)| match what {
                    Given::Not => true,
                    Given::Match => *success,
                    Given::NoMatch => false,
                })
                .filter(|(path, _)| match place {
                    Given::Not => true,
                    Given::Match => path.starts_with(&wanted),
                    Given::NoMatch => false,
                })
                .filter(|_| !nobody)
                .flat_map(|open| vec![open; ROUNDS])
                .collect();
            expected.sort();
            let mut found: Vec<(PathBuf, bool)> = trace
                .events
                .iter()
                .filter_map(|event| match &event.data {
                    EventData::Open(open)
                        if open
                            .path
                            .starts_with(dir.path().as_os_str().as_encoded_bytes())
                            && !open.path.ends_with(b".zst") =>
                    {
                        Some((PathBuf::from(open.path.to_string()), open.ret != ENOENT))
                    }
                    _ => None,
                })
                .collect();
            found.sort();
            assert_eq!(found, expected, "{name}");
            let calls = trace.events.iter().filter(|event| {
                matches!(&event.data, EventData::Syscall(call) if call.nr == libc::SYS_sched_rr_get_interval as u32)
            });
            let plain = !nobody && what == Given::Not && place == Given::Not;
            assert_eq!(calls.count(), if plain { ROUNDS } else { 0 }, "{name}");
            // Where processes come from is in every trace.
            let lineage: Vec<&str> = trace
                .events
                .iter()
                .filter_map(|event| match &event.data {
                    EventData::Fork(fork) if fork.child_pid == child => Some("fork"),
                    EventData::Exec(_) if event.pid == child => Some("exec"),
                    EventData::Exit(_) if event.pid == child => Some("exit"),
                    _ => None,
                })
                .collect();
            assert_eq!(lineage, ["fork", "exec", "exit"], "{name}");
            assert_eq!(filtered(&trace).is_empty(), args == 0, "{name}");
            let marks = trace.context.iter().filter(
                |record| matches!(&record.body, Context::Mark(mark) if mark.label == "filter"),
            );
            assert_eq!(
                marks.count() > 0,
                args > 0,
                "{name}: the trace says what the filter was"
            );
        }
    }
}

/// Four opens and a plain call in each round, and a child, whose pid is returned.
fn act(places: &[PathBuf]) -> u32 {
    for place in places {
        for _ in 0..ROUNDS {
            drop(File::create(place.join("made")).unwrap());
            assert!(File::open(place.join("missing")).is_err());
        }
    }
    for _ in 0..ROUNDS {
        // SAFETY: the process is this one, the place is one to write to.
        unsafe {
            let mut interval: libc::timespec = std::mem::zeroed();
            libc::syscall(libc::SYS_sched_rr_get_interval, 0, &raw mut interval);
        }
    }
    let mut child = Command::new("/bin/true").spawn().unwrap();
    child.wait().unwrap();
    child.id()
}

/// Promise: what is left out is counted as filtered, by probe, to the last event: as many as the recorder
/// beside it has of them. Not vacuous: nothing but this test does what is left out, and it is found there.
#[test]
fn what_is_left_out_is_counted_to_the_last_event() {
    needs_kernel!();
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("left-out");
    fs::create_dir(&place).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // Its own children too: what they do is what it does.
    let mut shell = Command::new("/bin/sh")
        .args([
            "-c",
            "read word; /bin/true; (exit 3); kill -0 $$; : > /dev/null",
        ])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let tree = format!("tree={}", shell.id());
    let path = format!("path={}", place.display());
    let address = format!("address=127.0.0.0/8:{port}");
    let rows: [(&str, &str); 5] = [
        ("path", &path),
        ("address", &address),
        ("tree", &tree),
        ("syscall", "syscall=sched_rr_get_interval"),
        ("payload", "kind=payload"),
    ];
    // Few programs make this call, and this one on a descriptor that it closes.
    let payload = ["--payload", "readv"];
    let all = start(dir.path(), "all", &payload);
    let without: Vec<_> = rows
        .iter()
        .map(|(name, value)| {
            let args = [&["--exclude", value], &payload[..]].concat();
            (*name, start(dir.path(), name, &args))
        })
        .collect();

    act(&[place.clone(), dir.path().to_owned()]);
    for _ in 0..ROUNDS {
        let mut buffer = [0; 4];
        let mut zeros = File::open("/dev/zero").unwrap();
        let read = zeros.read_vectored(&mut [IoSliceMut::new(&mut buffer)]);
        assert_eq!(read.unwrap(), buffer.len());
    }
    for _ in 0..ROUNDS {
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (server, _) = listener.accept().unwrap();
        drop(client);
        drop(server);
    }
    fs::rename(place.join("made"), place.join("moved")).unwrap();
    shell.stdin.take().unwrap().write_all(b"go\n").unwrap();
    shell.wait().unwrap();
    thread::sleep(Duration::from_millis(500));

    let without: Vec<_> = without
        .into_iter()
        .map(|(name, recording)| (name, ended(recording)))
        .collect();
    let all = ended(all);
    let mut family = vec![shell.id()];
    for event in &all.events {
        if let EventData::Fork(fork) = &event.data
            && family.contains(&event.pid)
        {
            family.push(fork.child_pid);
        }
    }
    let text = place.to_str().unwrap();
    let is_left_out = |name: &str, event: &Event| match (name, &event.data) {
        ("tree", _) => event.probe != 0 && family.contains(&event.pid),
        ("path", EventData::Open(open)) => open.path.starts_with(text.as_bytes()),
        ("path", EventData::PathCall(call)) => call.path.starts_with(text.as_bytes()),
        ("address", EventData::SockCall(call)) => {
            call.local.port == port || call.remote.port == port
        }
        ("address", EventData::TcpState(state)) => {
            state.local.port == port || state.remote.port == port
        }
        ("syscall", EventData::Syscall(call)) => call.nr == libc::SYS_sched_rr_get_interval as u32,
        ("payload", EventData::Payload(_)) => true,
        _ => false,
    };
    for (name, trace) in &without {
        exact(trace, name);
        let theirs = by_probe(all.events.iter().filter(|event| is_left_out(name, event)));
        assert!(!theirs.is_empty(), "{name}: nothing was left out");
        assert_eq!(filtered(trace), theirs, "{name}: filtered, by probe");
        let kept = trace.events.iter().filter(|event| is_left_out(name, event));
        assert_eq!(by_probe(kept), BTreeMap::new(), "{name}: is in the trace");
    }
    exact(&all, "all");
    assert_eq!(filtered(&all), BTreeMap::new(), "no filter");
}

/// Promise: a tree is a process, its children that were there and those that come; connections are wanted
/// by address and by how long they lasted; a running recorder says what its filter is, and keeps what that
/// needs.
#[test]
fn a_tree_grows_and_connections_are_known_by_place_and_time() {
    needs_kernel!();
    let _alone = alone();
    const HELD: Duration = Duration::from_millis(600);
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = "sh -c 'read word; : > \"$0/grandchild\"; /bin/sh -c \": > $0/later\"' \"$0\"; : > \"$0/child\"";
    let mut shell = Command::new("/bin/sh")
        .args(["-c", script])
        .arg(dir.path())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    // The inner shell is there when it waits for its word.
    thread::sleep(Duration::from_millis(500));
    let socket = dir.path().join("control.sock");
    let control = format!("--control={}", socket.display());
    let tree = shell.id().to_string();
    let address = format!("127.0.0.1:{port}");
    let of_tree = start(dir.path(), "tree", &["--tree", &tree, &control]);
    let of_address = start(dir.path(), "address", &["--address", &address]);
    let long = start(
        dir.path(),
        "long",
        &["--address", &address, "--min-duration", "300ms"],
    );

    let ask = |args: &[&str]| {
        let output = rec()
            .args(["ctl", "--control"])
            .arg(&socket)
            .args(args)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    let (_, said) = ask(&["status"]);
    assert!(said.contains(&format!("filter --tree {tree}")), "{said}");
    let (done, said) = ask(&["probes", "--off", "process"]);
    assert!(
        !done && said.contains("the filter of this recording needs it"),
        "{said}"
    );

    drop(File::create(dir.path().join("stranger")).unwrap());
    shell.stdin.take().unwrap().write_all(b"go\n").unwrap();
    shell.wait().unwrap();
    for held in [Duration::ZERO, HELD] {
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (server, _) = listener.accept().unwrap();
        thread::sleep(held);
        drop(client);
        drop(server);
    }
    thread::sleep(Duration::from_millis(300));

    let trace = ended(of_tree);
    exact(&trace, "tree");
    let made: Vec<_> = trace
        .events
        .iter()
        .filter_map(|event| match &event.data {
            EventData::Open(open) => {
                let path = PathBuf::from(open.path.to_string());
                let name = path.strip_prefix(dir.path()).ok()?;
                Some(name.to_str().unwrap().to_owned())
            }
            _ => None,
        })
        .collect();
    assert_eq!(made, ["grandchild", "later", "child"]);

    let of_port = |trace: &Trace| -> (usize, usize, usize) {
        let mut counts = (0, 0, 0);
        for event in &trace.events {
            match &event.data {
                EventData::SockCall(_) => counts.0 += 1,
                EventData::TcpState(state) => {
                    assert!(state.local.port == port || state.remote.port == port);
                    counts.1 += 1;
                    counts.2 += usize::from(state.duration_ns > 0);
                }
                EventData::Open(_) | EventData::Syscall(_) | EventData::PathCall(_) => {
                    panic!("it has no address: {event:?}")
                }
                _ => {}
            }
        }
        counts
    };
    let trace = ended(of_address);
    exact(&trace, "address");
    let (calls, changes, closed) = of_port(&trace);
    assert_eq!(
        (calls, closed),
        (4, 4),
        "two connects, two accepts, both ends closed twice"
    );
    assert!(changes >= 12, "{changes} changes of state");
    let trace = ended(long);
    exact(&trace, "long");
    let (calls, changes, closed) = of_port(&trace);
    assert_eq!(
        (calls, changes, closed),
        (0, 2, 2),
        "both ends of the one that lasted"
    );
}
