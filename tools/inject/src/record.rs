//! The recorder around a run: `rec capture` as a child, from "it records" to its exit code.

use std::{
    env,
    ffi::OsString,
    fs,
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::{
        prctl,
        signal::{Signal, kill},
    },
    unistd::Pid,
};
use serde::Serialize;

use crate::{entropy, mark::Marker};

pub const TRACE: &str = "trace.zst";

/// What the recorder says on stderr when the first probe is attached.
const RECORDING: &str = "recording";

/// Loading and attaching all probes takes a second or two; a slow emulated machine needs more.
const START_MAX: Duration = Duration::from_secs(60);

/// It promises to end within 2 s of SIGTERM; a full disk or a busy host may take longer.
const STOP_MAX: Duration = Duration::from_secs(20);

/// What it said is there to be read when it has ended, unless a child of its own holds its stderr open.
const LAST_WORDS_MAX: Duration = Duration::from_secs(2);

/// Last lines of its stderr, for the message when it fails.
const LINES_KEPT: usize = 20;

/// Exit code for "finished, with loss".
const LOSS: i32 = 3;

pub struct Recorder {
    child: Child,
    trace: PathBuf,
    lines: Arc<Mutex<Vec<String>>>,
    /// Says when it records; closed when its stderr has been read to the end.
    recording: Receiver<()>,
    control: PathBuf,
    pub marks: Marker,
}

/// How the capture ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recorded {
    pub trace: PathBuf,
    pub exit_code: i32,
    /// Complete, but events were dropped.
    pub loss: bool,
    /// Starts and stops of acts that stand in the trace.
    pub marks: u64,
}

/// `rec`: as told, or beside `inject`, or in PATH.
pub fn find(told: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = told {
        return path
            .canonicalize()
            .with_context(|| format!("no recorder at {path:?}"));
    }
    let beside = env::current_exe()
        .ok()
        .and_then(|own| Some(own.parent()?.join("rec")));
    let path = env::var_os("PATH").unwrap_or_default();
    let in_path = env::split_paths(&path).map(|directory| directory.join("rec"));
    beside
        .into_iter()
        .chain(in_path)
        .find(|candidate| candidate.is_file())
        .context("no `rec` beside inject or in PATH: build it (cargo build -p recorder) or name it with --rec")
}

impl Recorder {
    /// Returns when it records. `bound` ends the capture should nobody be left to stop it.
    pub fn start(
        program: &Path,
        directory: &Path,
        profile: Option<&str>,
        bound: Duration,
    ) -> Result<Recorder> {
        let trace = directory.join(TRACE);
        // Of a name that nobody can take before: the path of a socket is too short for any directory.
        let control = env::temp_dir().join(format!("trailcam-{}.sock", entropy::hex::<8>()?));
        let mut control_option = OsString::from("--control=");
        control_option.push(&control);
        let mut command = Command::new(program);
        command
            .arg("capture")
            .arg("-o")
            .arg(&trace)
            .arg("--duration")
            .arg(format!("{}s", bound.as_secs().max(1)));
        if let Some(profile) = profile {
            command.args(["--profile", profile]);
        }
        command.arg(control_option);
        // Ctrl-C at the terminal is for the injector, which stops the recorder after the containers.
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0);
        // SAFETY: prctl is async-signal-safe; nothing else happens between fork and exec.
        unsafe {
            command.pre_exec(|| Ok(prctl::set_pdeathsig(Signal::SIGTERM)?));
        }
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {program:?}"))?;
        let stderr = child.stderr.take().context("the recorder has no stderr")?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (sender, recording) = mpsc::channel();
        let keep = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if line.trim_start().starts_with(RECORDING) {
                    let _ = sender.send(());
                }
                if let Ok(mut kept) = keep.lock() {
                    if kept.len() == LINES_KEPT {
                        kept.remove(0);
                    }
                    kept.push(line);
                }
            }
        });
        let mut recorder = Recorder {
            child,
            trace,
            lines,
            recording,
            marks: Marker::new(&control),
            control,
        };
        recorder.await_recording()?;
        Ok(recorder)
    }

    fn await_recording(&mut self) -> Result<()> {
        let until = Instant::now() + START_MAX;
        loop {
            match self.recording.recv_timeout(Duration::from_millis(50)) {
                Ok(()) => return Ok(()),
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.child.wait().context("cannot wait for the recorder")?;
                    bail!(
                        "the recorder ended before it recorded ({status}); it said:\n{}",
                        self.said()
                    );
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if crate::interrupt::asked() {
                bail!("interrupted before the recorder recorded");
            }
            if Instant::now() >= until {
                bail!(
                    "the recorder did not say {RECORDING:?} within {START_MAX:?}; it said:\n{}",
                    self.said()
                );
            }
        }
    }

    /// Its last words. After its end the thread that reads them may still be at it.
    fn said_at_the_end(&self) -> String {
        let until = Instant::now() + LAST_WORDS_MAX;
        while Instant::now() < until
            && self.recording.recv_timeout(LAST_WORDS_MAX / 10)
                != Err(RecvTimeoutError::Disconnected)
        {}
        self.said()
    }

    fn said(&self) -> String {
        self.lines
            .lock()
            .map(|lines| lines.join("\n"))
            .unwrap_or_default()
    }

    /// Ends the capture and checks how it went; `Err` when there is no complete trace.
    pub fn stop(mut self) -> Result<Recorded> {
        // It may have ended by itself, which its exit code then says.
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let Some(status) = wait_until(&mut self.child, Instant::now() + STOP_MAX)? else {
            let _ = self.child.kill();
            let _ = self.child.wait();
            bail!(
                "the recorder did not end within {STOP_MAX:?} of SIGTERM and was killed: {:?} is incomplete",
                self.trace
            );
        };
        let exit_code = status.code().unwrap_or(-1);
        if exit_code != 0 && exit_code != LOSS {
            bail!(
                "the recorder failed ({status}); it said:\n{}",
                self.said_at_the_end()
            );
        }
        Ok(Recorded {
            trace: self.trace.clone(),
            exit_code,
            loss: exit_code == LOSS,
            marks: self.marks.written,
        })
    }
}

fn wait_until(child: &mut Child, until: Instant) -> Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for the recorder")? {
            return Ok(Some(status));
        }
        if Instant::now() >= until {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Drop for Recorder {
    /// After an error elsewhere: what was recorded so far is kept.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
            let ended = wait_until(&mut self.child, Instant::now() + STOP_MAX);
            if !matches!(ended, Ok(Some(_))) {
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
        }
        // It removes its socket itself, unless it was killed.
        let _ = fs::remove_file(&self.control);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A recorder that keeps to the contract, with its end as given.
    fn recorder(directory: &Path, end: &str) -> PathBuf {
        let path = directory.join("rec");
        let script = format!(
            "#!/bin/sh\necho \"$@\" >\"{}/args\"\ntrap '{end}' TERM\necho recording >&2\nwhile :; do sleep 0.05; done\n",
            directory.display()
        );
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn the_recorders_end_is_passed_on() {
        for (end, expected) in [
            ("exit 0", Some(false)),
            ("exit 3", Some(true)),
            ("echo full >&2; exit 1", None),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let program = recorder(directory.path(), end);
            let running = Recorder::start(
                &program,
                directory.path(),
                Some("full"),
                Duration::from_secs(90),
            )
            .unwrap();
            match (running.stop(), expected) {
                (Ok(recorded), Some(loss)) => assert_eq!(recorded.loss, loss),
                (Err(error), None) => assert!(error.to_string().contains("full"), "{error}"),
                (result, _) => panic!("{end}: {result:?}"),
            }
            let args = std::fs::read_to_string(directory.path().join("args")).unwrap();
            assert!(
                args.contains("capture -o")
                    && args.contains("--duration 90s --profile full --control="),
                "{args}"
            );
        }
    }

    #[test]
    fn a_recorder_that_cannot_start_says_why() {
        let directory = tempfile::tempdir().unwrap();
        let program = recorder(directory.path(), "exit 0");
        std::fs::write(&program, "#!/bin/sh\necho 'no BTF' >&2\nexit 1\n").unwrap();
        let error = Recorder::start(&program, directory.path(), None, Duration::from_secs(9))
            .err()
            .unwrap();
        assert!(error.to_string().contains("no BTF"), "{error}");
    }
}
