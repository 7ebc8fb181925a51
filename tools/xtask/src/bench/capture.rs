//! Does the recorder keep up, and what does it take? Every system call of a saturated nginx and its load
//! generator, for five minutes: events a second, drops, CPU, memory, bytes per event. Then what it takes
//! while little happens, and how long it needs to record its first event.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use trace_format::{ChunkSource, EventData, TraceReader};

use super::load::Nginx;
use super::observers::Recorder;
use super::report;
use super::statistics::median;

#[derive(clap::Args)]
pub struct Args {
    /// Seconds of load
    #[arg(long, default_value_t = 300)]
    seconds: u32,
    /// Seconds without load
    #[arg(long, default_value_t = 60)]
    idle_seconds: u32,
}

/// Starts of the recorder that are timed.
const STARTS: usize = 9;
/// After its start, until it has come to rest.
const SETTLING: Duration = Duration::from_secs(5);
const MIB: f64 = 1024.0 * 1024.0;

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
    drop(nginx);
    let cpu = (after.cpu_seconds - before.cpu_seconds) / seconds * 100.0;
    let (idle_cpu, idle_events) = idle(args, rec, work)?;
    let first = (0..STARTS)
        .map(|_| first_event(rec, work))
        .collect::<Result<Vec<f64>>>()?;
    let first = median(&first).context("at least one start")?;
    Ok(format!(
        "{}\n\n`rec capture --profile full` of everything on the machine while nginx (1 worker, CPU 0) and wrk \
         (1 thread, 32 connections, CPU 1) ran for {} s at {rate:.0} requests/s. The trace is {state}.\n\n\
         | | measured |\n|---|---|\n\
         | events | {events:.0} ({:.0}/s) |\n\
         | dropped | {} of {} |\n\
         | recorder CPU | {cpu:.1} % of one core, {:.2} % for each 100,000 events/s |\n\
         | recorder memory, peak, with its BPF maps | {:.1} MiB |\n\
         | bytes per event in the file | {:.2} |\n\
         | `standard` without that load, {} s, {idle_events:.0} events/s: recorder CPU | {idle_cpu:.2} % of one core |\n\
         | from starting `rec` to its first event, {STARTS} starts | {:.2} s ({:.2} to {:.2}) |\n\
         | the program `rec` | {:.1} MiB |\n",
        report::machine()?,
        args.seconds,
        events / seconds,
        loss.dropped,
        loss.seen,
        cpu / (events / seconds / 100_000.0),
        after.memory_bytes as f64 / MIB,
        info.file_bytes as f64 / events,
        args.idle_seconds,
        first.value,
        first.low,
        first.high,
        std::fs::metadata(rec)?.len() as f64 / MIB,
    ))
}

/// Percent of one core, and events a second, while nothing is done on purpose.
fn idle(args: &Args, rec: &Path, work: &Path) -> Result<(f64, f64)> {
    let (trace, log) = (trace(work), work.join("observer.log"));
    let recorder = Recorder::rec(rec, &["--profile", "standard"], &trace, &log)?;
    thread::sleep(SETTLING);
    let (begun, before) = (Instant::now(), recorder.usage());
    thread::sleep(Duration::from_secs(u64::from(args.idle_seconds)));
    let (seconds, after) = (begun.elapsed().as_secs_f64(), recorder.usage());
    recorder.stop()?;
    let rows = trace_format::read_info(&trace)?.summary.rows as f64;
    let cpu = (after.cpu_seconds - before.cpu_seconds) / seconds * 100.0;
    Ok((cpu, rows / (seconds + SETTLING.as_secs_f64())))
}

/// Seconds from the start of the program until something that happens all the time is an event.
fn first_event(rec: &Path, work: &Path) -> Result<f64> {
    let (trace, log) = (trace(work), work.join("observer.log"));
    let ends = AtomicBool::new(false);
    let started_ns = boot_ns();
    thread::scope(|scope| {
        scope.spawn(|| {
            while !ends.load(Ordering::Relaxed) {
                // SAFETY: it has no arguments and cannot fail.
                unsafe { libc::getppid() };
                thread::sleep(Duration::from_millis(1));
            }
        });
        let recorder = Recorder::rec(rec, &["--profile", "full"], &trace, &log);
        thread::sleep(Duration::from_millis(100));
        ends.store(true, Ordering::Relaxed);
        recorder?.stop().map(drop)
    })?;
    let mut reader = TraceReader::open(&trace)?;
    while let Some(chunk) = reader.next_chunk()? {
        let first = chunk.decode()?.events.iter().find_map(|event| {
            let is_ours = event.pid == std::process::id();
            (is_ours && matches!(event.data, EventData::Syscall(_))).then_some(event.boot_ns)
        });
        if let Some(first_ns) = first {
            return Ok(first_ns.saturating_sub(started_ns) as f64 / 1e9);
        }
    }
    anyhow::bail!("{} holds no call of this program", trace.display())
}

/// `CLOCK_BOOTTIME`, which events are timed by.
fn boot_ns() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is valid for the call, and this clock is always there.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
