//! `replay stats`: what containers and processes did and used.

use replay::{
    findings::{Finding, one_line},
    order::EventRef,
    performance::{ContainerUse, Histogram, Performance, ProcessUse},
    pipeline::{Detector, Settings},
    resolve::State,
    syscalls,
};
use serde_json::{Value, json};
use std::{
    cmp::Reverse,
    sync::{Arc, Mutex},
};

use super::fold::fold;
use crate::{Global, Outcome, output::Output, trace::TraceArguments};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pub traces: TraceArguments,
    /// Only this container: its name, its id or the first 12 characters of it, or host. May be given several
    /// times
    #[arg(long, value_name = "CONTAINER")]
    pub container: Vec<String>,
    /// How many system calls and processes of each container, the most first
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub top: usize,
}

/// The counts, which the pipeline owns, where the command can read them.
struct Shared(Arc<Mutex<Performance>>);

impl Detector for Shared {
    fn event(
        &mut self,
        event: &trace_format::Event,
        at: &EventRef,
        state: &State,
        found: &mut dyn FnMut(Finding),
    ) {
        let mut counts = self.0.lock().unwrap_or_else(|error| error.into_inner());
        counts.event(event, at, state, found);
    }
}

pub fn run(arguments: &Arguments, global: Global) -> anyhow::Result<Outcome> {
    let mut out = Output::new();
    let counts: Arc<Mutex<Performance>> = Arc::default();
    let for_detector = Arc::clone(&counts);
    let settings = move || Settings {
        detectors: vec![Box::new(Shared(Arc::clone(&for_detector)))],
        ..Settings::default()
    };
    let mut not_counted = 0;
    let (condition, _) = fold(&arguments.traces, true, global, settings, |_, last| {
        if last {
            let mut counts = counts.lock().unwrap_or_else(|error| error.into_inner());
            let counts = std::mem::take(&mut *counts);
            not_counted += counts.not_counted;
            print(&counts, arguments, &mut out, global.json)?;
        }
        Ok(())
    })?;
    out.flush()?;
    condition.report(global);
    if not_counted > 0 && !global.quiet {
        eprintln!(
            "replay: {not_counted} events of containers and processes over the limit are not counted by them"
        );
    }
    Ok(condition.outcome())
}

fn wanted(used: &ContainerUse, names: &[String]) -> bool {
    let place = &used.place;
    names.is_empty()
        || names.iter().any(|name| {
            *name == place.label()
                || *name == place.container_id
                || (name.len() >= 12 && place.container_id.starts_with(name.as_str()))
        })
}

/// The busiest containers first.
fn print(
    counts: &Performance,
    arguments: &Arguments,
    out: &mut Output,
    as_json: bool,
) -> anyhow::Result<()> {
    let mut containers: Vec<(&u64, &ContainerUse)> = counts
        .containers
        .iter()
        .filter(|(_, used)| wanted(used, &arguments.container))
        .collect();
    containers.sort_by_key(|(key, used)| (Reverse(used.events), **key));
    let arch = counts.arch();
    for (key, used) in containers {
        let mut calls: Vec<(String, u64, u64)> = used
            .calls
            .iter()
            .map(|(nr, calls)| {
                let name = syscalls::name(arch, *nr).map_or_else(|| nr.to_string(), str::to_owned);
                (name, calls.calls, calls.errors)
            })
            .collect();
        calls.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let (all_calls, all_errors) = calls.iter().fold((0u64, 0u64), |sum, call| {
            (sum.0.saturating_add(call.1), sum.1 + call.2)
        });
        calls.truncate(arguments.top);
        let mut processes: Vec<&ProcessUse> = counts
            .processes
            .values()
            .filter(|process| process.container == *key)
            .collect();
        processes.sort_by_key(|process| (Reverse(process.calls), process.start_ns, process.pid));
        processes.truncate(arguments.top);
        let of = Of {
            used,
            calls,
            all_calls,
            all_errors,
            processes,
        };
        match as_json {
            true => out.line(&of.to_json().to_string())?,
            false => out.bytes(of.to_text().as_bytes())?,
        }
    }
    Ok(())
}

/// What is shown of a container.
struct Of<'a> {
    used: &'a ContainerUse,
    /// Name, calls, errors; the most first.
    calls: Vec<(String, u64, u64)>,
    all_calls: u64,
    all_errors: u64,
    processes: Vec<&'a ProcessUse>,
}

impl Of<'_> {
    /// Cores, on average between the first and the last sample.
    fn cores(&self) -> Option<f64> {
        let used = &self.used.resources;
        let ns = used.last_ns.saturating_sub(used.first_ns);
        (ns > 0).then(|| (used.cpu_ns as f64 / ns as f64 * 10_000.0).round() / 10_000.0)
    }

    fn to_json(&self) -> Value {
        let used = self.used;
        let resources = &used.resources;
        let calls: Vec<Value> = self
            .calls
            .iter()
            .map(|(name, calls, errors)| json!({"name": name, "calls": calls, "errors": errors}))
            .collect();
        let processes: Vec<Value> = self
            .processes
            .iter()
            .map(|process| {
                json!({
                    "pid": process.pid,
                    "start_ns": process.start_ns,
                    "comm": process.comm,
                    "calls": process.calls,
                    "errors": process.errors,
                    "read_bytes": process.read_bytes,
                    "written_bytes": process.written_bytes,
                })
            })
            .collect();
        json!({
            "container": used.place.label(),
            "container_id": used.place.container_id,
            "image": used.place.image,
            "events": used.events,
            "execs": used.execs,
            "forks": used.forks,
            "exits": used.exits,
            "calls": self.all_calls,
            "errors": self.all_errors,
            "read_bytes": used.read_bytes,
            "written_bytes": used.written_bytes,
            "connects": used.connects,
            "connects_failed": used.connects_failed,
            "connect_latency": latency(&used.connect_latency),
            "resources": match resources.samples {
                0 => Value::Null,
                _ => json!({
                    "samples": resources.samples,
                    "cpu_ns": resources.cpu_ns,
                    "cpu_cores": self.cores(),
                    "throttled_ns": resources.throttled_ns,
                    "memory_max_bytes": resources.memory_max_bytes,
                    "memory_last_bytes": resources.memory_last_bytes,
                    "memory_limit_bytes": (resources.memory_limit_bytes > 0).then_some(resources.memory_limit_bytes),
                    "pids_max": resources.pids_max,
                    "io_read_bytes": resources.io_read_bytes,
                    "io_write_bytes": resources.io_write_bytes,
                }),
            },
            "syscalls": calls,
            "processes": processes,
        })
    }

    fn to_text(&self) -> String {
        use std::fmt::Write;
        let used = self.used;
        let resources = &used.resources;
        let mut text = one_line(used.place.label()).to_string();
        if !used.place.image.is_empty() {
            let _ = write!(text, "  {}", one_line(&used.place.image));
        }
        let _ = writeln!(
            text,
            "\n  events     {} ({} execs, {} forks, {} exits)",
            used.events, used.execs, used.forks, used.exits
        );
        if resources.samples > 0 {
            let _ = writeln!(
                text,
                "  cpu        {} cores on average, {:.1} s in all, throttled for {:.1} s",
                self.cores().unwrap_or_default(),
                resources.cpu_ns as f64 / 1e9,
                resources.throttled_ns as f64 / 1e9
            );
            let _ = writeln!(
                text,
                "  memory     {} at most, {} at the end; {} tasks at most",
                bytes(resources.memory_max_bytes),
                bytes(resources.memory_last_bytes),
                resources.pids_max
            );
            let _ = writeln!(
                text,
                "  block I/O  {} read, {} written",
                bytes(resources.io_read_bytes),
                bytes(resources.io_write_bytes)
            );
        }
        if used.read_bytes > 0 || used.written_bytes > 0 {
            let _ = writeln!(
                text,
                "  calls I/O  {} read, {} written",
                bytes(used.read_bytes),
                bytes(used.written_bytes)
            );
        }
        if used.connects > 0 {
            let told = &used.connect_latency;
            let _ = writeln!(
                text,
                "  connects   {}, {} failed; latency p50 {} p90 {} p99 {} max {}",
                used.connects,
                used.connects_failed,
                time(told.percentile_ns(50)),
                time(told.percentile_ns(90)),
                time(told.percentile_ns(99)),
                time(told.max_ns)
            );
        }
        if self.all_calls > 0 {
            let _ = writeln!(
                text,
                "  syscalls   {}, {} failed",
                self.all_calls, self.all_errors
            );
            for (name, calls, errors) in &self.calls {
                let _ = write!(text, "    {calls:>12}  {name}");
                if *errors > 0 {
                    let _ = write!(text, " ({errors} failed)");
                }
                text.push('\n');
            }
            for process in &self.processes {
                let _ = writeln!(
                    text,
                    "    {:>12}  by {}({}), {} failed, {} read, {} written",
                    process.calls,
                    one_line(&process.comm),
                    process.pid,
                    process.errors,
                    bytes(process.read_bytes),
                    bytes(process.written_bytes)
                );
            }
        }
        text.push('\n');
        text
    }
}

fn latency(told: &Histogram) -> Value {
    if told.count == 0 {
        return Value::Null;
    }
    let buckets: Vec<Value> = told
        .buckets()
        .map(|(from_ns, count)| json!({"from_ns": from_ns, "count": count}))
        .collect();
    json!({
        "count": told.count,
        "mean_ns": told.sum_ns / told.count,
        "p50_ns": told.percentile_ns(50),
        "p90_ns": told.percentile_ns(90),
        "p99_ns": told.percentile_ns(99),
        "max_ns": told.max_ns,
        "buckets": buckets,
    })
}

fn bytes(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}

fn time(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.1} µs", ns as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        _ => format!("{:.2} s", ns as f64 / 1e9),
    }
}
