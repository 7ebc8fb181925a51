//! The flight recorder: a dump is a whole trace, from before its trigger to after it, and says of that
//! time what a recording of everything says.

mod support;

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, bounded};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use recorder::{
    flight::{FlightSink, Place, Settings, Triggers, dump::Written},
    sinks::{Ending, Sink},
};
use replay::{
    pipeline::{Pipeline, Settings as Detection},
    rules::{RuleSet, SHIPPED},
};
use support::{read, rec};
use trace_format::{ChunkSource, Context, SealedChunk, SigningKey, TraceReader, Verifier};

const SECOND: u64 = 1_000_000_000;
/// As OpenSSL wrote it, for these tests alone.
const PEM: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEIFirFzlBlk8frY2fQXHWVRkUbTJB+CKX4DBAVpTRv4xW\n\
    -----END PRIVATE KEY-----\n";

fn settings(directory: &Path, place: Place, keep_s: u64, post_s: u64) -> Settings {
    let pattern = directory.join("dump-{n}.zst");
    Settings {
        keep: Duration::from_secs(keep_s),
        bytes_max: 64 << 20,
        place,
        post: Duration::from_secs(post_s),
        pattern: pattern.to_str().unwrap().parse().unwrap(),
        key: Some(Arc::new(SigningKey::from_pem(PEM).unwrap())),
    }
}

fn flight(settings: Settings) -> (Box<FlightSink>, Triggers, Receiver<Written>) {
    let (triggers, pulled) = Triggers::channel();
    let (written, dumps) = bounded(8);
    let uuid = fixtures::golden().chunks[0].header.trace_uuid;
    let sink = FlightSink::new(settings, uuid, pulled, written).unwrap();
    (Box::new(sink), triggers, dumps)
}

/// Whole, signed to its end by the test's key, nothing wrong: what `replay verify` calls so.
fn verified(path: &Path) {
    let key = SigningKey::from_pem(PEM).unwrap().public_key();
    let mut reader = TraceReader::open(path).unwrap();
    let mut verifier = Verifier::new(Some(key));
    while let Some(chunk) = reader.next_chunk().unwrap() {
        let len = chunk.bytes.len() as u64;
        verifier.chunk(&chunk.header, reader.offset() - len, len);
    }
    assert_eq!(reader.issues(), []);
    let result = verifier.finish(reader.summary(), true);
    assert!(result.signed_to_end && !result.forged(), "{result:?}");
}

/// (time, rule, container, message) of what the shipped rules find.
fn findings(chunks: impl IntoIterator<Item = SealedChunk>) -> Vec<(u64, String, String, String)> {
    let (rules, _) = RuleSet::load(&[SHIPPED]).unwrap();
    let mut pipeline = Pipeline::new(Detection {
        rules: Some(rules),
        ..Detection::default()
    });
    for chunk in chunks {
        pipeline.push(&chunk).unwrap();
    }
    pipeline.finish();
    let found = pipeline.findings();
    found
        .map(|one| {
            (
                one.boot_ns,
                one.rule.to_string(),
                one.container.name,
                one.message,
            )
        })
        .collect()
}

fn chunks_of(path: &Path) -> Vec<SealedChunk> {
    let mut reader = TraceReader::open(path).unwrap();
    std::iter::from_fn(|| reader.next_chunk().unwrap()).collect()
}

/// The promise of the whole thing, on a made incident, in memory and on disk: whatever moment the
/// trigger comes at, the dump verifies and finds what the whole recording finds in its time.
#[test]
fn a_dump_is_whole_and_finds_what_the_recording_finds() {
    let golden = fixtures::golden();
    let all = findings(golden.chunks.clone());
    let mut compared = 0;
    for (count, in_memory) in [(0.3, true), (0.6, false), (0.9, true)] {
        let directory = tempfile::tempdir().unwrap();
        let place = match in_memory {
            true => Place::Memory,
            false => Place::Directory(directory.path().join("ring")),
        };
        let (mut sink, triggers, dumps) = flight(settings(directory.path(), place, 45, 10));
        let trigger = (golden.chunks.len() as f64 * count) as usize;
        let mut answer = None;
        for (at, chunk) in golden.chunks.iter().enumerate() {
            if at == trigger {
                answer = triggers.pull("a test");
            }
            sink.chunk(chunk).unwrap();
        }
        let begun = answer.unwrap().recv().unwrap().unwrap();
        assert!(!begun.joined);
        sink.finish(&Ending::Clean).unwrap();
        let dump = dumps.recv().unwrap();
        assert_eq!((dump.failed, dump.missing_chunks), (None, 0));
        assert_eq!((&dump.path, dump.reason.as_str()), (&begun.path, "a test"));
        verified(&dump.path);
        let newest = golden.chunks[trigger].header.last_ns;
        let first = golden.chunks[0].header.first_ns;
        assert!(dump.from_boot_ns <= first.max(newest.saturating_sub(45 * SECOND)));
        let last = golden.chunks.last().unwrap().header.last_ns;
        assert!(dump.to_boot_ns >= (newest + 10 * SECOND).min(last));
        // The bodies are the recording's own.
        let carried = chunks_of(&dump.path);
        let from = trigger + 1
            - (1..=trigger + 1)
                .find(|back| golden.chunks[trigger + 1 - back].header.first_ns <= dump.from_boot_ns)
                .unwrap();
        for (carried, source) in carried[1..].iter().zip(&golden.chunks[from..]) {
            assert_eq!(carried.body_frame().unwrap(), source.body_frame().unwrap());
        }
        // A rule that looks back sees no further than the dump does.
        let settled = dump.from_boot_ns + 5 * SECOND;
        let range = settled..=dump.to_boot_ns;
        let wanted: Vec<_> = all.iter().filter(|one| range.contains(&one.0)).collect();
        let found = findings(carried);
        let found: Vec<_> = found.iter().filter(|one| range.contains(&one.0)).collect();
        assert_eq!(found, wanted);
        compared += wanted.len();
    }
    assert!(compared >= 5, "{compared} findings compared");
}

#[test]
fn overlapping_triggers_share_a_dump_up_to_its_bound() {
    let golden = fixtures::golden();
    let directory = tempfile::tempdir().unwrap();
    let (mut sink, triggers, dumps) = flight(settings(directory.path(), Place::Memory, 3600, 2));
    let mut answers = Vec::new();
    for chunk in &golden.chunks {
        // One in every chunk: the first dump ends at its bound all the same.
        answers.extend(triggers.pull("again"));
        sink.chunk(chunk).unwrap();
    }
    sink.finish(&Ending::Clean).unwrap();
    // Later ones may be refused: chunks come faster here than dumps are written.
    let begun: Vec<_> = answers
        .iter()
        .map_while(|answer| answer.recv().unwrap().ok())
        .collect();
    assert!(!begun[0].joined && begun[1].joined && begun[2].joined);
    assert_eq!(begun[1].path, begun[0].path);
    assert!(begun[2].until_ns > begun[1].until_ns);
    let dumps: Vec<Written> = dumps.try_iter().collect();
    assert!(dumps.len() > 1, "the bound of one dump begins the next");
    // post is 2 s: the bound is 20 s after the first trigger, then the chunk that passes it.
    let first = dumps
        .iter()
        .find(|dump| dump.path == begun[0].path)
        .unwrap();
    let trigger = golden.chunks[0].header.last_ns;
    assert!(first.to_boot_ns >= trigger + 20 * SECOND);
    assert!(first.to_boot_ns <= trigger + 23 * SECOND);
    for dump in &dumps {
        verified(&dump.path);
    }
}

#[test]
fn a_dump_with_nothing_recorded_is_refused_and_one_at_the_end_is_written() {
    let golden = fixtures::golden();
    let directory = tempfile::tempdir().unwrap();
    let (sink, triggers, dumps) = flight(settings(directory.path(), Place::Memory, 60, 60));
    let answer = triggers.pull("too early").unwrap();
    sink.finish(&Ending::Clean).unwrap();
    assert!(
        answer
            .recv()
            .unwrap()
            .unwrap_err()
            .contains("nothing has been recorded")
    );
    assert!(dumps.try_recv().is_err());
    let (mut sink, triggers, dumps) = flight(settings(directory.path(), Place::Memory, 60, 60));
    sink.chunk(&golden.chunks[0]).unwrap();
    triggers.pull("the last moment").unwrap();
    sink.finish(&Ending::Clean).unwrap();
    verified(&dumps.recv().unwrap().path);
}

/// A small file system of its own; gone when it is dropped.
struct Small(PathBuf);

impl Small {
    fn new(path: PathBuf, size: &str) -> Small {
        fs::create_dir(&path).unwrap();
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("none"), &path, Some("tmpfs"), flags, Some(size)).unwrap();
        Small(path)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH);
    }
}

#[test]
fn a_full_disk_shortens_the_ring_and_a_dump_and_ends_nothing() {
    if !nix::unistd::geteuid().is_root() {
        return support::skip("needs root, to mount a small file system");
    }
    let golden = fixtures::golden();
    let bytes: usize = golden.chunks.iter().map(|chunk| chunk.bytes.len()).sum();
    let directory = tempfile::tempdir().unwrap();
    // Room for some of it; tmpfs counts pages.
    let ring = Small::new(
        directory.path().join("ring"),
        &format!("size={}k", bytes / 2048),
    );
    let place = Place::Directory(ring.0.clone());
    let (mut sink, triggers, dumps) = flight(settings(directory.path(), place, 3600, 0));
    for chunk in &golden.chunks {
        sink.chunk(chunk).unwrap();
    }
    triggers.pull("after the squeeze").unwrap();
    sink.finish(&Ending::Clean).unwrap();
    if let Ok(dump) = dumps.try_recv() {
        verified(&dump.path);
        assert!(dump.from_boot_ns > golden.chunks[0].header.first_ns);
    }
    // And a dump where there is no room for it.
    let small = Small::new(directory.path().join("out"), "size=300k");
    let mut wanted = settings(directory.path(), Place::Memory, 3600, 0);
    let pattern = small.0.join("dump.zst");
    wanted.pattern = pattern.to_str().unwrap().parse().unwrap();
    fs::write(small.0.join("full"), vec![1; 290 << 10]).unwrap();
    let (mut sink, triggers, dumps) = flight(wanted);
    for chunk in &golden.chunks {
        sink.chunk(chunk).unwrap();
    }
    triggers.pull("no room").unwrap();
    sink.finish(&Ending::Clean).unwrap();
    let dump = dumps.recv().unwrap();
    assert!(dump.failed.unwrap().contains("cannot write"));
    // Of the end, no more than a part had room; what stands there reads all the same.
    let trace = read(&dump.path);
    let mut issues = trace.issues.iter();
    let is_end = |issue: &trace_format::Issue| {
        use trace_format::IssueKind::{NoSeekTable, NoSummary};
        matches!(issue.what, NoSeekTable | NoSummary)
    };
    assert!(issues.all(is_end), "{:?}", trace.issues);
    assert!(trace.chunks > 1 && !trace.events.is_empty());
}

/// The real `rec flight`: asked through the socket and by a signal, which joins.
#[test]
fn rec_flight_dumps_what_came_before_it_was_asked() {
    needs_kernel!();
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("control.sock");
    let key = directory.path().join("key.pem");
    fs::write(&key, PEM).unwrap();
    let mode = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o600);
    fs::set_permissions(&key, mode).unwrap();
    // What a finding is here: a program of this name.
    let rules = directory.path().join("rules.yaml");
    let program = directory.path().join("flightprobe");
    fs::copy("/bin/true", &program).unwrap();
    fs::write(
        &rules,
        "- rule: The probe of the flight recorder ran\n  desc: x\n  condition: evt.type = execve and proc.name = flightprobe\n  output: ran\n  priority: CRITICAL\n",
    )
    .unwrap();
    let mut child = rec()
        .current_dir(directory.path())
        .args([
            "flight",
            "--keep",
            "20s",
            "--max-bytes",
            "64MiB",
            "--post",
            "2s",
        ])
        .args(["--on-finding", "critical", "--rules"])
        .arg(&rules)
        .arg("--dir")
        .arg(directory.path().join("ring"))
        .arg("--sign")
        .arg(&key)
        .arg(format!("--control={}", socket.display()))
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.lines().any(|line| line == "recording") {
        assert!(stderr.read_line(&mut said).unwrap() > 0, "{said}");
    }
    thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
    let dump = || {
        let output = rec()
            .args(["dump", "--reason", "the test"])
            .arg("--control")
            .arg(&socket)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end())
    };
    let ran = |arg: &str| {
        let status = std::process::Command::new("/bin/true").arg(arg).status();
        assert!(status.unwrap().success());
    };
    ran("before-the-trigger");
    thread::sleep(Duration::from_millis(1_500));
    let path = dump();
    ran("after-the-trigger");
    kill(Pid::from_raw(child.id() as i32), Signal::SIGUSR1).unwrap();
    assert_eq!(dump(), path, "one dump for triggers that overlap");
    let mut printed = BufReader::new(child.stdout.take().unwrap()).lines();
    let named = |line: &str| line.ends_with(path.file_name().unwrap().to_str().unwrap());
    assert!(
        printed.any(|line| named(&line.unwrap())),
        "printed when complete"
    );
    verified(&path);
    let trace = read(&path);
    let ran_with: Vec<String> = trace
        .events
        .iter()
        .filter_map(|event| match &event.data {
            trace_format::EventData::Exec(exec) => Some(exec.args.to_string_lossy().into_owned()),
            _ => None,
        })
        .collect();
    for arg in ["before-the-trigger", "after-the-trigger"] {
        assert!(
            ran_with.iter().any(|args| args.contains(arg)),
            "{ran_with:?}"
        );
    }
    let marks: Vec<&str> = trace
        .context
        .iter()
        .filter_map(|record| match &record.body {
            Context::Mark(mark) => Some(mark.text.as_str()),
            _ => None,
        })
        .collect();
    assert!(
        marks.contains(&"the test") && marks.contains(&"SIGUSR1"),
        "{marks:?}"
    );
    // A finding is a trigger, too.
    let status = std::process::Command::new(&program).status().unwrap();
    assert!(status.success());
    let second = directory.path().join("flight-0001.zst");
    let started = Instant::now();
    while !second.exists() {
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "no dump for a finding"
        );
        thread::sleep(Duration::from_millis(50));
    }
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    let status = child.wait().unwrap();
    assert!(matches!(status.code(), Some(0 | 3)), "{status}");
    verified(&second);
    let left: Vec<_> = fs::read_dir(directory.path().join("ring"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["lock"], "a clean end leaves no ring");
}
