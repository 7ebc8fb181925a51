//! `rec top --self`: what recording costs here, measured while it records and throws away.

use std::{
    fmt::Write as _,
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use aya::sys::{Stats, enable_stats};
use recorder::{capture::Progress, notice::say, own::Own, policy::Profile, privileges};

use crate::{
    cli::{Cli, TopArgs},
    exit_code, options, record, stop_on_signal,
};

/// How often the end of the recording is looked for.
const PAUSE: Duration = Duration::from_millis(50);

pub fn run(cli: &Cli, args: &TopArgs) -> anyhow::Result<u8> {
    let stop = stop_on_signal()?;
    let mut options = options(&args.what)?;
    options.profile = args.what.profile.unwrap_or(Profile::Standard);
    options.own = true;
    // For as long as this is open; it makes every program of the host a little slower.
    let measured = enable_stats(Stats::RunTime);
    if let Err(error) = &measured {
        say(format_args!("rec: run times are not measured: {error}"));
    }
    let progress = Arc::new(Progress::default());
    progress.own_wanted.store(true, Ordering::Relaxed);
    let printer = {
        let (progress, stop) = (progress.clone(), stop.clone());
        let (interval, count, json) = (args.interval, args.count, cli.json);
        thread::Builder::new()
            .name("rec-self".into())
            .spawn(move || {
                privileges::none();
                show(&progress, interval, count, json, &stop);
            })
            .context("cannot start a thread for the figures")?
    };
    let uuid = *uuid::Uuid::new_v4().as_bytes();
    let result = record(cli, &options, uuid, Vec::new(), progress, &stop);
    stop.store(true, Ordering::Relaxed);
    // What it printed is printed.
    let _ = printer.join();
    let (report, failures) = result?;
    Ok(exit_code(&report, &failures))
}

/// Prints the figures every interval; ends the recording when nobody wants more.
fn show(
    progress: &Progress,
    interval: Duration,
    count: Option<u64>,
    json: bool,
    stop: &AtomicBool,
) {
    let figures = || {
        let own = progress.own.lock();
        own.map(|own| own.clone()).unwrap_or_default()
    };
    let mut left = count;
    let (mut before, mut since) = (figures(), Instant::now());
    while left != Some(0) {
        while since.elapsed() < interval {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            thread::sleep(PAUSE);
        }
        let now = figures();
        if now.probes.is_empty() {
            // The probes are not attached yet.
            since = Instant::now();
            continue;
        }
        let seconds = since.elapsed().as_secs_f64();
        since = Instant::now();
        let cpu = now.cpu_ns.saturating_sub(before.cpu_ns) as f64 / seconds / 1e7;
        let shown = match json {
            true => line(&now, cpu, seconds),
            false => text(&now, &before, cpu, seconds),
        };
        let mut out = std::io::stdout().lock();
        let written = out.write_all(shown.as_bytes()).and_then(|()| out.flush());
        if written.is_err() {
            break;
        }
        before = now;
        left = left.map(|left| left.saturating_sub(1));
    }
    stop.store(true, Ordering::Relaxed);
}

fn line(own: &Own, cpu_percent: f64, interval_s: f64) -> String {
    let mut value = serde_json::json!(own);
    value["cpu_percent"] = ((cpu_percent * 100.0).round() / 100.0).into();
    value["interval_s"] = interval_s.into();
    format!("{value}\n")
}

fn text(own: &Own, before: &Own, cpu: f64, seconds: f64) -> String {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let mut out = format!(
        "recorder  {cpu:.2} % CPU  {:.1} MiB memory, {:.1} at most\n",
        mib(own.memory_bytes),
        mib(own.memory_peak_bytes)
    );
    // Writing into a string cannot fail.
    let _ = writeln!(
        out,
        "{:<24} {:>12} {:>12} {:>8}",
        "RING", "BYTES", "FILLED_MAX", "PERCENT"
    );
    for ring in &own.rings {
        let percent = ring.filled_max_bytes as f64 * 100.0 / ring.bytes.max(1) as f64;
        let _ = writeln!(
            out,
            "{:<24} {:>12} {:>12} {percent:>8.1}",
            ring.name, ring.bytes, ring.filled_max_bytes
        );
    }
    let _ = writeln!(
        out,
        "{:<24} {:>10} {:>8} {:>8} {:>12} {:>8} {:>8}",
        "PROBE", "RUNS", "NS_A_RUN", "PERCENT", "SEEN", "DROPPED", "FILTERED"
    );
    for (at, probe) in own.probes.iter().enumerate() {
        let old = before.probes.get(at);
        let runs = probe.runs - old.map_or(0, |old| old.runs.min(probe.runs));
        let run_ns = probe.run_ns - old.map_or(0, |old| old.run_ns.min(probe.run_ns));
        let _ = writeln!(
            out,
            "{:<24} {runs:>10} {:>8} {:>8.2} {:>12} {:>8} {:>8}",
            probe.name,
            run_ns / runs.max(1),
            run_ns as f64 / seconds / 1e7,
            probe.seen,
            probe.dropped,
            probe.filtered
        );
    }
    let _ = writeln!(out, "{:<24} {:>10} {:>10}", "TABLE", "ENTRIES", "AT_MOST");
    for table in &own.tables {
        let _ = writeln!(
            out,
            "{:<24} {:>10} {:>10}",
            table.name, table.entries, table.entries_max
        );
    }
    for drops in &own.drops {
        let _ = writeln!(
            out,
            "dropped  cpu {}  {}  {}",
            drops.cpu, drops.probe, drops.dropped
        );
    }
    for drops in &own.dropped_of {
        let _ = writeln!(out, "dropped of  {}  {}", drops.container, drops.dropped);
    }
    out + "\n"
}
