//! Does the host stay responsive beside the hardest campaign? A fixed task on the host, timed alone and
//! beside six containers that do their worst, in turn (A B A B), so that drift of the machine cancels.

use std::fs;
use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::statistics::{Median, median};
use crate::repo;

/// What carries the host's load to the limit of all containers together.
const HARDEST: [&str; 6] = [
    "cpu_hog",
    "fork_storm",
    "thread_storm",
    "io_storm",
    "conn_flood",
    "miner_like",
];

/// How much longer the fixed task may take in the median.
pub const SLOWER_MAX: f64 = 1.25;

/// Runs of the task in one measurement, and the pause between two.
const RUNS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(20);

/// Starting six containers on a busy machine; after that it is no campaign.
const BEGIN_MAX: Duration = Duration::from_secs(120);

/// How often it is looked whether somebody wants this to end.
const LOOK: Duration = Duration::from_millis(200);

/// What was found, in milliseconds.
pub struct Found {
    pub alone: Median,
    pub beside: Median,
}

impl Found {
    pub fn ratio(&self) -> f64 {
        self.beside.value / self.alone.value
    }

    pub fn holds(&self) -> bool {
        self.ratio() <= SLOWER_MAX
    }

    pub fn table(&self) -> String {
        let row = |name: &str, found: &Median| {
            format!(
                "| {name} | {:.2} ms | {:.2} to {:.2} |\n",
                found.value, found.low, found.high
            )
        };
        format!(
            "| the task | median | interval |\n|---|---|---|\n{}{}\n\
             **{:.2} times** as long in the median; promised are at most {SLOWER_MAX} times: {}.\n",
            row("alone", &self.alone),
            row("beside the hardest campaign", &self.beside),
            self.ratio(),
            if self.holds() { "held" } else { "NOT HELD" }
        )
    }
}

/// `runtime`: `docker`, `sandbox`, or none for what `inject` chooses.
pub fn measure(inject: &Path, runtime: Option<&str>, rounds: u32) -> Result<Found> {
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        alone.extend(times());
        let campaign = Campaign::start(inject, runtime)?;
        beside.extend(times());
        campaign.stop()?;
        if super::campaign::interrupted() {
            bail!("interrupted: the containers are gone");
        }
        eprintln!("round {round}/{rounds} of the host's task");
    }
    let of = |times: &[f64]| median(times).context("at least one round");
    Ok(Found {
        alone: of(&alone)?,
        beside: of(&beside)?,
    })
}

/// Six containers that do their worst.
struct Campaign(Child);

impl Campaign {
    /// Returns when all act.
    fn start(inject: &Path, runtime: Option<&str>) -> Result<Campaign> {
        let mut command = repo::command(inject);
        command
            .args(["run", &HARDEST.join(","), "--together", "--verbose"])
            .args(["--background", "0", "--intensity", "1", "--warmup", "0s"])
            .args(["--duration", "10m", "--cpus", "1"])
            .args(runtime.map(|runtime| format!("--{runtime}")))
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut campaign = Campaign(super::campaign::spawn(&mut command)?);
        let stderr = campaign.0.stderr.take().context("inject has no stderr")?;
        let (sender, lines) = mpsc::channel();
        // It is read to its end: a full pipe would hold the campaign up.
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let until = Instant::now() + BEGIN_MAX;
        let (mut begun, mut said) = (0, Vec::new());
        while begun < HARDEST.len() {
            let late = Instant::now() >= until;
            if late || super::campaign::interrupted() {
                let _ = campaign.stop();
                match late {
                    true => bail!(
                        "only {begun} acts of the hardest campaign began within {BEGIN_MAX:?}"
                    ),
                    false => bail!("interrupted: the containers are gone"),
                }
            }
            match lines.recv_timeout(LOOK) {
                Ok(line) if line.ends_with(" has begun") => begun += 1,
                Ok(line) => said.push(line),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let _ = campaign.0.wait();
                    bail!(
                        "the hardest campaign ended before it began: {}",
                        said.join("\n")
                    );
                }
            }
        }
        Ok(campaign)
    }

    fn stop(mut self) -> Result<()> {
        super::campaign::ask_to_end(&self.0);
        let status = self.0.wait().context("cannot wait for inject")?;
        match status.code() {
            // Interrupted acts are not done ones.
            Some(1) => Ok(()),
            Some(0 | 3) => bail!("the hardest campaign ended before it was told to"),
            _ => bail!("the hardest campaign ended with {status}"),
        }
    }
}

/// Milliseconds of a task that computes and touches the file system, run by run.
fn times() -> Vec<f64> {
    (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            let mut state = 1u64;
            for _ in 0..4_000_000 {
                state = black_box(
                    state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1),
                );
            }
            let _ = black_box(fs::read_dir("/proc/self/fd").map(Iterator::count));
            let took = start.elapsed();
            thread::sleep(PAUSE);
            took.as_secs_f64() * 1e3
        })
        .collect()
}
