//! The live half of the demo: a recorder that serves and a watcher that detects, on a real socket.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::Demo;

const START_TIMEOUT: Duration = Duration::from_secs(30);
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);

/// `rec live` and the `replay live` that watches it, both ended when this is dropped.
pub struct Watch {
    recorder: Running,
    watcher: Running,
    findings: PathBuf,
}

impl Watch {
    pub fn start(demo: &Demo) -> Result<Self> {
        let socket = demo.work.join("live.sock");
        let url = format!("unix://{}", socket.display());
        let log = |name: &str| File::create(demo.work.join(name)).context("cannot make a log file");
        let mut rec = demo.program("rec");
        rec.args(["live", "--no-detect", "--listen", &url])
            .stdout(Stdio::null())
            .stderr(log("live-rec.log")?);
        let mut recorder = Running::start(rec)?;
        let begun = Instant::now();
        while !socket.exists() {
            if let Some(status) = recorder.0.try_wait()? {
                let said = fs::read_to_string(demo.work.join("live-rec.log")).unwrap_or_default();
                bail!("rec live ended with {status}: {said}");
            }
            if begun.elapsed() > START_TIMEOUT {
                bail!("rec live does not serve {}", socket.display());
            }
            std::thread::sleep(POLL);
        }
        let findings = demo.work.join("live-findings.jsonl");
        let mut replay = demo.program("replay");
        replay
            .args(["live", "--json", &url])
            .stdout(File::create(&findings)?)
            .stderr(log("live-replay.log")?);
        let watcher = Running::start(replay)?;
        println!("watching {url}");
        Ok(Self {
            recorder,
            watcher,
            findings,
        })
    }

    /// The recorder first: its clean end is the watcher's.
    pub fn stop(mut self) -> Result<String> {
        self.recorder.interrupt()?;
        self.watcher.wait_or_interrupt()?;
        fs::read_to_string(&self.findings).context("reading the live findings")
    }
}

struct Running(Child);

impl Running {
    fn start(mut command: Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        Ok(Self(
            command
                .spawn()
                .with_context(|| format!("cannot start {name}"))?,
        ))
    }

    fn interrupt(&mut self) -> Result<()> {
        // SAFETY: kill takes plain numbers; the child has not been waited for, so its pid is still its own.
        unsafe { libc::kill(self.0.id() as i32, libc::SIGINT) };
        self.wait(STOP_TIMEOUT)
    }

    fn wait_or_interrupt(&mut self) -> Result<()> {
        match self.wait(STOP_TIMEOUT) {
            Ok(()) => Ok(()),
            Err(_) => self.interrupt(),
        }
    }

    fn wait(&mut self, limit: Duration) -> Result<()> {
        let begun = Instant::now();
        while self.0.try_wait()?.is_none() {
            if begun.elapsed() > limit {
                bail!("process {} does not end", self.0.id());
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}
