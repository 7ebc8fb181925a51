//! How fast does detection re-read a recording, on one core? Shipped rules and statistics over the trace
//! that `bench capture` left.

use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::statistics::median;
use super::{capture, report};
use crate::repo;

#[derive(clap::Args)]
pub struct Args {
    /// Times to read the trace
    #[arg(long, default_value_t = 5)]
    runs: u32,
}

/// What `replay detect` may end with when it read everything: 3 says the trace has gaps, 4 cannot come
/// without `--fail-on`.
const READ_EVERYTHING: [i32; 2] = [0, 3];

pub fn run(args: &Args, replay: &Path, work: &Path) -> Result<String> {
    let trace = capture::trace(work);
    if !trace.exists() {
        bail!("no recording to read: run `cargo xtask bench capture` first");
    }
    let info = trace_format::read_info(&trace).with_context(|| format!("{}", trace.display()))?;
    let events = info.summary.rows as f64;
    let mut rates = Vec::new();
    for _ in 0..args.runs {
        let begun = Instant::now();
        let status = repo::command("taskset")
            .args(["-c", "1"])
            .arg(replay)
            .args(["detect", "--json"])
            .arg(&trace)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .context("cannot start replay")?;
        if !status
            .code()
            .is_some_and(|code| READ_EVERYTHING.contains(&code))
        {
            bail!("`replay detect {}` ended with {status}", trace.display());
        }
        rates.push(events / begun.elapsed().as_secs_f64());
    }
    let rate = median(&rates).context("at least one run")?;
    Ok(format!(
        "{}\n\n`replay detect` with the shipped rules and statistics over {:.1} M events of the recording above \
         ({:.1} MiB), pinned to one core, {} runs: **{:.2} M events/s** ({:.2} to {:.2}), starting the program \
         and opening the file included.\n",
        report::machine()?,
        events / 1e6,
        info.file_bytes as f64 / (1024.0 * 1024.0),
        args.runs,
        rate.value / 1e6,
        rate.low / 1e6,
        rate.high / 1e6,
    ))
}
