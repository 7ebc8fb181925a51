//! Runs the real `rec` and reads back what it wrote.
#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use trace_format::{ChunkSource, Context, ContextRecord, Event, Issue, TraceReader};

/// Set where every test must run: a skip is then a failure.
pub const NO_SKIP: &str = "TRAILCAM_NO_SKIP";

/// Says by name why a test does not run.
pub fn skip(reason: &str) {
    assert!(
        std::env::var_os(NO_SKIP).is_none(),
        "{NO_SKIP} is set, but: {reason}"
    );
    eprintln!("skipped: {reason}");
}

/// Why kernel tests cannot run here; None: they can.
pub fn cannot_record() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("not root".to_owned());
    }
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Some("this kernel has no BTF".to_owned());
    }
    None
}

/// Ends the test early, by name, where the kernel cannot be recorded.
#[macro_export]
macro_rules! needs_kernel {
    () => {
        if let Some(reason) = support::cannot_record() {
            support::skip(&reason);
            return;
        }
    };
}

pub fn rec() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rec"));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A `rec capture` that records.
pub struct Recording {
    pub child: Child,
    pub trace: PathBuf,
    stderr: Option<BufReader<std::process::ChildStderr>>,
}

impl Recording {
    /// Starts `rec capture` with further arguments and waits until the probes are attached.
    pub fn start(trace: &Path, args: &[&str]) -> Self {
        let child = rec()
            .arg("capture")
            .arg("-o")
            .arg(trace)
            .args(args)
            .spawn()
            .expect("rec starts");
        let mut recording = Recording {
            child,
            trace: trace.into(),
            stderr: None,
        };
        let mut stderr = BufReader::new(recording.child.stderr.take().expect("stderr is piped"));
        let mut said = String::new();
        while !said.lines().any(|line| line == "recording") {
            if stderr.read_line(&mut said).expect("stderr is text") == 0 {
                let status = recording.child.wait();
                panic!("rec ended before it recorded: {said}{status:?}");
            }
        }
        recording.stderr = Some(stderr);
        recording
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGTERM, then the exit status and how long it took.
    pub fn stop(mut self) -> (ExitStatus, Duration) {
        // Why a probe could not be loaded is more than a pipe holds: somebody has to read it.
        if let Some(mut stderr) = self.stderr.take() {
            thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::stderr()));
        }
        let asked = Instant::now();
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).expect("rec runs");
        let status = self.child.wait().expect("rec ends");
        (status, asked.elapsed())
    }

    /// Waits until it has said a line with these words.
    pub fn hear(&mut self, words: &str) {
        let stderr = self.stderr.as_mut().expect("not taken yet");
        let mut line = String::new();
        while !line.contains(words) {
            line.clear();
            let read = stderr.read_line(&mut line).expect("stderr is text");
            assert!(read > 0, "rec ended before it said {words:?}");
        }
    }

    pub fn kill(mut self) {
        self.child.kill().expect("rec runs");
        self.child.wait().expect("rec ends");
    }

    /// Waits for an end of its own accord; its status and what it said.
    pub fn wait(mut self) -> (ExitStatus, String) {
        let mut said = String::new();
        let mut stderr = self.stderr.take().expect("not taken yet");
        let reader = thread::spawn(move || {
            std::io::Read::read_to_string(&mut stderr, &mut said).expect("stderr is text");
            said
        });
        let status = self.child.wait().expect("rec ends");
        (status, reader.join().expect("the reader ends"))
    }
}

/// A whole trace in memory.
pub struct Trace {
    pub events: Vec<Event>,
    pub context: Vec<ContextRecord>,
    pub issues: Vec<Issue>,
    pub complete: bool,
    pub chunks: u64,
    pub late_rows: u64,
}

pub fn read(path: &Path) -> Trace {
    let mut reader = TraceReader::open(path).expect("the trace opens");
    let mut trace = Trace {
        events: Vec::new(),
        context: Vec::new(),
        issues: Vec::new(),
        complete: false,
        chunks: 0,
        late_rows: 0,
    };
    while let Some(chunk) = reader.next_chunk().expect("the trace reads") {
        trace.chunks += 1;
        trace.late_rows += u64::from(chunk.header.late_rows);
        let decoded = chunk.decode().expect("the chunk decodes");
        trace.events.extend(decoded.events);
        trace.context.extend(decoded.context);
    }
    trace.issues = reader.issues().to_vec();
    trace.complete = reader.summary().is_some();
    trace
        .events
        .sort_by_key(|event| (event.boot_ns, event.cpu, event.seq));
    trace
}

impl Trace {
    /// The probes' final counters: (cpu, probe) → (seen, dropped).
    pub fn counters(&self) -> std::collections::BTreeMap<(u16, u8), (u64, u64)> {
        let last = self
            .context
            .iter()
            .rev()
            .find_map(|record| match &record.body {
                Context::Loss(loss) => Some(loss),
                _ => None,
            });
        last.into_iter()
            .flat_map(|loss| &loss.counts)
            .map(|count| ((count.cpu, count.probe), (count.seen, count.dropped)))
            .collect()
    }

    /// Events per (cpu, probe), of those that a probe wrote.
    pub fn counted(&self) -> std::collections::BTreeMap<(u16, u8), u64> {
        let mut counted = std::collections::BTreeMap::new();
        for event in self.events.iter().filter(|event| event.probe != 0) {
            *counted.entry((event.cpu, event.probe)).or_default() += 1;
        }
        counted
    }
}
