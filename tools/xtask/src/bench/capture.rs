//! Does the recorder keep up, and what does it take? Every system call of a saturated nginx and its load
//! generator, for a minute: events a second, drops, CPU, memory, bytes per event.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};

use super::load::Nginx;
use super::observers::Recorder;
use super::report;

#[derive(clap::Args)]
pub struct Args {
    /// Seconds of load
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

/// Where the recording is left.
fn trace(work: &Path) -> PathBuf {
    work.join("capture.zst")
}

pub fn run(args: &Args, rec: &Path, work: &Path) -> Result<String> {
    let nginx = Nginx::start(&work.join("nginx"))?;
    nginx.requests_per_second(1)?;
    let trace = trace(work);
    let recorder = Recorder::rec(
        rec,
        &["--profile", "full"],
        &trace,
        &work.join("observer.log"),
    )?;
    let (begun, before) = (Instant::now(), recorder.usage());
    let rate = nginx.requests_per_second(args.seconds)?;
    let (seconds, after) = (begun.elapsed().as_secs_f64(), recorder.usage());
    recorder.stop()?;

    let info = trace_format::read_info(&trace).with_context(|| format!("{}", trace.display()))?;
    let events = info.summary.rows as f64;
    let loss = info.summary.loss;
    let state = if info.complete {
        "complete"
    } else {
        "incomplete"
    };
    Ok(format!(
        "{}\n\n`rec capture --profile full` of everything on the machine while nginx (1 worker, CPU 0) and wrk \
         (1 thread, 32 connections, CPU 1) ran for {} s at {rate:.0} requests/s. The trace is {state}.\n\n\
         | | measured |\n|---|---|\n\
         | events | {events:.0} ({:.0}/s) |\n\
         | dropped | {} of {} |\n\
         | recorder CPU | {:.1} % of one core |\n\
         | recorder memory, peak, with its BPF maps | {:.1} MiB |\n\
         | bytes per event in the file | {:.2} |\n",
        report::machine()?,
        args.seconds,
        events / seconds,
        loss.dropped,
        loss.seen,
        (after.cpu_seconds - before.cpu_seconds) / seconds * 100.0,
        after.memory_bytes as f64 / (1024.0 * 1024.0),
        info.file_bytes as f64 / events,
    ))
}
