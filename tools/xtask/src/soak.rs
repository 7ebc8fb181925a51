//! What takes too long for a test. `cargo xtask soak recorder`: a million short processes and 10,000
//! cgroups before a recorder, whose memory must not grow. `cargo xtask soak inject`: every class, errand and workload runs
//! in Docker and in the sandbox, recorded, and must show in the trace; then a fixed task on the host
//! is timed with and without the hardest campaign.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{bench::responsive, repo};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Every injected program in both runtimes, verified; the host's responsiveness meanwhile
    Inject(InjectArgs),
    /// Short processes and cgroups that come and go while the recorder runs: its memory stays flat
    Recorder(RecorderArgs),
}

#[derive(clap::Args)]
struct RecorderArgs {
    #[arg(long, default_value_t = 1_000_000)]
    processes: u64,
    #[arg(long, default_value_t = 10_000)]
    cgroups: u64,
}

#[derive(clap::Args)]
struct InjectArgs {
    /// Only in these runtimes
    #[arg(long, value_delimiter = ',', default_value = "docker,sandbox")]
    runtimes: Vec<String>,
    /// Only these classes
    #[arg(long, value_delimiter = ',')]
    classes: Vec<String>,
    /// Leave out the timing of the host
    #[arg(long)]
    no_timing: bool,
}

/// Containers at a time: two CPUs must carry them all.
const BATCH: usize = 6;

/// How long acts last, and the normal work before them; what did not show gets a second, longer chance.
const SECONDS: u32 = 5;
const SECONDS_ALONE: u32 = 16;

/// Pairs of measurements without and with the campaign.
const ROUNDS: u32 = 4;

pub fn main(args: &Args) -> Result<()> {
    let args = match &args.what {
        What::Inject(args) => args,
        What::Recorder(args) => return recorder(args),
    };
    let mut cargo = repo::command(repo::cargo());
    cargo
        // All of it: with the same features as every other build, nothing is built twice.
        .args(["build", "--workspace", "--bins"])
        .current_dir(repo::root()?);
    repo::run(&mut cargo)?;
    let soak = Soak {
        programs: repo::target_dir()?.join("debug"),
        work: repo::target_dir()?.join("soak"),
    };
    let mut failed = soak.every_program(args)?;
    if !args.no_timing {
        failed += soak.host_stays_responsive(&args.runtimes)?;
    }
    match failed {
        0 => Ok(()),
        _ => bail!("{failed} promises did not hold"),
    }
}

/// The test of the same promise, with other numbers.
fn recorder(args: &RecorderArgs) -> Result<()> {
    let mut cargo = repo::command(repo::cargo());
    cargo
        .args(["test", "--workspace", "--test", "many"])
        .args(["--", "--nocapture"])
        .env("TRAILCAM_NO_SKIP", "1")
        .env("TRAILCAM_PROCESSES", args.processes.to_string())
        .env("TRAILCAM_CGROUPS", args.cgroups.to_string())
        .current_dir(repo::root()?);
    repo::run(&mut cargo)
}

struct Soak {
    programs: PathBuf,
    work: PathBuf,
}

impl Soak {
    fn inject(&self, args: &[&str]) -> Command {
        let mut command = repo::command(self.programs.join("inject"));
        command.args(args);
        command
    }

    fn json(&self, args: &[&str]) -> Result<Value> {
        let output = self
            .inject(args)
            .arg("--json")
            .stderr(Stdio::inherit())
            .output()
            .context("cannot start inject")?;
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("inject {args:?} ended with {} and no JSON", output.status))
    }

    /// The number of programs that did not show.
    fn every_program(&self, args: &InjectArgs) -> Result<usize> {
        let list = self.json(&["list"])?;
        let names = |key: &str| -> Vec<String> {
            let all = list[key].as_array().cloned().unwrap_or_default();
            all.iter()
                .filter_map(|one| one["name"].as_str().map(str::to_owned))
                .collect()
        };
        let workloads = names("workloads").join(",");
        let mut classes = names("classes");
        classes.retain(|class| args.classes.is_empty() || args.classes.contains(class));
        let mut failed = 0;
        for runtime in &args.runtimes {
            let mut results = BTreeMap::new();
            for batch in classes.chunks(BATCH) {
                self.batch(runtime, batch, &workloads, SECONDS, &mut results)?;
            }
            // What moved is told by counting, and others may have kept the host busy just then.
            let again: Vec<String> = results
                .iter()
                .filter(|(_, why)| !why.is_empty())
                .map(|(class, _)| class.clone())
                .collect();
            for class in again {
                println!("{class}: {}; again, alone", results[&class].join("; "));
                self.batch(runtime, &[class], &workloads, SECONDS_ALONE, &mut results)?;
            }
            let bad: Vec<_> = results.iter().filter(|(_, why)| !why.is_empty()).collect();
            println!(
                "{runtime}: {} of {} programs show in the trace",
                results.len() - bad.len(),
                results.len()
            );
            for (class, why) in &bad {
                println!("  {class}: {}", why.join("; "));
            }
            failed += bad.len();
        }
        Ok(failed)
    }

    fn batch(
        &self,
        runtime: &str,
        batch: &[String],
        workloads: &str,
        seconds: u32,
        results: &mut BTreeMap<String, Vec<String>>,
    ) -> Result<()> {
        let directory = self.work.join(runtime);
        if directory.exists() {
            fs::remove_dir_all(&directory)
                .with_context(|| format!("cannot clear {}", directory.display()))?;
        }
        let to = directory.to_string_lossy();
        let classes = batch.join(",");
        let mut run = self.inject(&["run", &classes, &format!("--{runtime}"), "--record", &to]);
        let long = format!("{seconds}s");
        run.args(["--together", "--background", "0", "--workload", workloads])
            .args(["--intensity", "0.8", "--warmup", &long])
            .args(["--duration", &long, "--cooldown", "2s"])
            .stdout(Stdio::null());
        let status = run.status().context("cannot start inject")?;
        if !directory.join("labels.jsonl").exists() {
            bail!("inject run {classes} in {runtime} ended with {status} and no labels");
        }
        for class in batch {
            results.insert(class.clone(), vec!["has no label".to_owned()]);
        }
        let verified = self.json(&["verify", &to])?;
        for act in verified["acts"].as_array().into_iter().flatten() {
            let text = |key: &str| act[key].as_str().unwrap_or_default().to_owned();
            let mut why = Vec::new();
            if text("outcome") != "done" {
                why.push(text("outcome"));
            }
            for moved in act["signals"].as_array().into_iter().flatten() {
                if moved["moved"] != true && moved["promised"] == true {
                    why.push(format!(
                        "{} did not move ({} before, {} within)",
                        moved["signal"], moved["before"], moved["within"]
                    ));
                }
            }
            results.insert(text("class"), why);
        }
        Ok(())
    }

    /// The fixed task alone and beside the hardest campaign.
    fn host_stays_responsive(&self, runtimes: &[String]) -> Result<usize> {
        let Some(runtime) = runtimes.first() else {
            return Ok(0);
        };
        let inject = self.programs.join("inject");
        let found = responsive::measure(&inject, Some(runtime), ROUNDS)?;
        println!("{}", found.table());
        Ok(usize::from(!found.holds()))
    }
}
