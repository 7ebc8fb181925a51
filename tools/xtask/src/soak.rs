//! `cargo xtask soak inject`: what takes too long for a test. Every class, errand and workload runs
//! in Docker and in the sandbox, recorded, and must show in the trace; then a fixed task on the host
//! is timed with and without the hardest campaign.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::repo;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Every injected program in both runtimes, verified; the host's responsiveness meanwhile
    Inject(InjectArgs),
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

/// What carries the host's load to the limit of all containers together.
const HARDEST: &str = "cpu_hog,fork_storm,thread_storm,io_storm,conn_flood,miner_like";

/// How much longer the fixed task may take in the median.
const SLOWER_MAX: f64 = 1.25;

/// Pairs of measurements without and with the campaign.
const ROUNDS: usize = 4;

/// Exit codes that mean "done": 3 says with loss.
const DONE: [i32; 2] = [0, 3];

pub fn main(args: &Args) -> Result<()> {
    let What::Inject(args) = &args.what;
    let mut cargo = repo::command(repo::cargo());
    cargo
        .args([
            "build",
            "--package",
            "inject",
            "--package",
            "recorder",
            "--bins",
        ])
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
                self.batch(runtime, batch, &workloads, &mut results)?;
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
        run.args(["--together", "--background", "0", "--workload", workloads])
            .args(["--intensity", "0.8", "--warmup", "5s"])
            .args(["--duration", "5s", "--cooldown", "2s"])
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

    /// A B A B: the fixed task alone and beside the hardest campaign.
    fn host_stays_responsive(&self, runtimes: &[String]) -> Result<usize> {
        let Some(runtime) = runtimes.first() else {
            return Ok(0);
        };
        let (mut alone, mut beside) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            alone.extend(times());
            let campaign = Campaign::start(self, runtime)?;
            beside.extend(times());
            campaign.stop()?;
        }
        let (alone, beside) = (median(&mut alone), median(&mut beside));
        let ratio = beside.as_secs_f64() / alone.as_secs_f64();
        println!(
            "host: a fixed task takes {:.1} ms alone, {:.1} ms beside the hardest campaign: {ratio:.2} times",
            alone.as_secs_f64() * 1e3,
            beside.as_secs_f64() * 1e3,
        );
        Ok(usize::from(ratio > SLOWER_MAX))
    }
}

/// Six containers that do their worst.
struct Campaign(Child);

impl Campaign {
    fn start(soak: &Soak, runtime: &str) -> Result<Campaign> {
        let child = soak
            .inject(&["run", HARDEST, &format!("--{runtime}"), "--together"])
            .args(["--background", "0", "--intensity", "1", "--warmup", "0s"])
            .args(["--duration", "10m", "--cpus", "1"])
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start inject")?;
        // Until all containers are up and act.
        std::thread::sleep(Duration::from_secs(10));
        Ok(Campaign(child))
    }

    fn stop(mut self) -> Result<()> {
        // SAFETY: signals the child that was started here and not yet waited for.
        unsafe { libc::kill(self.0.id() as i32, libc::SIGINT) };
        let status = self.0.wait().context("cannot wait for inject")?;
        // Interrupted acts are not done ones.
        match status.code() {
            Some(1) => Ok(()),
            code if code.is_some_and(|code| DONE.contains(&code)) => {
                bail!("the campaign ended before it was told to")
            }
            _ => bail!("the campaign ended with {status}"),
        }
    }
}

/// Some runs of a task that computes and touches the file system, a few milliseconds each.
fn times() -> Vec<Duration> {
    (0..100)
        .map(|_| {
            let start = Instant::now();
            let mut state = 1u64;
            for _ in 0..4_000_000 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
            }
            std::hint::black_box(state);
            let _ =
                std::hint::black_box(fs::read_dir(Path::new("/proc/self/fd")).map(Iterator::count));
            let took = start.elapsed();
            std::thread::sleep(Duration::from_millis(20));
            took
        })
        .collect()
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
