//! The numbers of docs/benchmarks.md, measured again by one command each.

pub mod campaign;
mod capture;
mod detect;
mod events;
mod load;
mod nab;
mod nab_score;
mod observers;
mod overhead;
mod quiet;
mod report;
pub mod responsive;
mod run_time;
mod statistics;
mod trace;

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::repo;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    question: Question,
    /// Print the section, leave docs/benchmarks.md as it is
    #[arg(long, global = true)]
    dry_run: bool,
    /// Measure the programs of this cargo profile
    #[arg(long, global = true, default_value = "release")]
    profile: String,
}

#[derive(clap::Subcommand)]
enum Question {
    /// What being observed costs a busy nginx and a busy redis
    Overhead(overhead::Args),
    /// What a recorded event costs in the kernel
    Events(events::Args),
    /// Whether the recorder keeps up with it, and what the recorder takes
    Capture(capture::Args),
    /// How fast detection reads recordings, on one core and on two, and beside sysdig; and exports
    Detect(detect::Args),
    /// A whole recorded campaign: acts, events, memory, leftovers; and the host beside the hardest one
    Campaign(campaign::Args),
    /// What an hour of normal work costs in findings, recorded from the injector
    Quiet(quiet::Args),
    /// How good the statistics' sense of what is new is: the score of the Numenta Anomaly Benchmark
    Nab(nab::Args),
    /// What the trace weighs, how fast it is sealed and read, and how that compares
    Trace(trace::Args),
}

pub fn main(args: &Args) -> Result<()> {
    // Scoring takes no probes, all else does.
    if !repo::is_root() && !matches!(args.question, Question::Nab(_)) {
        bail!("measuring needs root: it attaches probes");
    }
    let work = repo::target_dir()?.join("bench");
    std::fs::create_dir_all(&work)?;
    let rec = || program(args, "rec");
    let (name, section) = match &args.question {
        Question::Overhead(question) => ("overhead", overhead::run(question, &rec()?, &work)?),
        Question::Events(question) => ("events", events::run(question, &rec()?, &work)?),
        Question::Capture(question) => ("capture", capture::run(question, &rec()?, &work)?),
        Question::Detect(question) => (
            "detect",
            detect::run(question, &rec()?, &program(args, "replay")?, &work)?,
        ),
        Question::Campaign(question) => (
            "campaign",
            campaign::run(question, &program(args, "inject")?, &work)?,
        ),
        Question::Quiet(question) => {
            let (inject, replay) = (program(args, "inject")?, program(args, "replay")?);
            ("quiet", quiet::run(question, &inject, &replay, &work)?)
        }
        Question::Nab(question) => {
            let found = nab::run(question, &example(args, "novelty")?)?;
            ("nab", nab::section(&found)?)
        }
        Question::Trace(question) => {
            let programs = trace::Programs {
                rec: rec()?,
                replay: program(args, "replay")?,
                measure: program(args, "measure-trace")?,
            };
            ("trace", trace::run(question, &programs, &work)?)
        }
    };
    println!("{section}");
    if !args.dry_run {
        report::write_section(&repo::root()?.join("docs/benchmarks.md"), name, &section)?;
    }
    Ok(())
}

/// An example of the workspace, built as asked.
fn example(args: &Args, name: &str) -> Result<PathBuf> {
    build(args, &["--example", name])?;
    Ok(built(args)?.join("examples").join(name))
}

/// A program of the workspace, built as asked.
fn program(args: &Args, bin: &str) -> Result<PathBuf> {
    build(args, &["--bins"])?;
    Ok(built(args)?.join(bin))
}

fn build(args: &Args, what: &[&str]) -> Result<()> {
    repo::run(
        repo::command(repo::cargo())
            .args([
                "build",
                "--quiet",
                "--profile",
                &args.profile,
                // All of it: with the same features as every other build, nothing is built twice.
                "--workspace",
            ])
            .args(what)
            .current_dir(repo::root()?),
    )
}

/// Where cargo puts what it builds.
fn built(args: &Args) -> Result<PathBuf> {
    let dir = if args.profile == "dev" {
        "debug"
    } else {
        &args.profile
    };
    Ok(repo::target_dir()?.join(dir))
}
