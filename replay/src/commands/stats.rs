//! `replay stats`: what containers and processes did and used.

use replay::{
    findings::Finding,
    order::EventRef,
    performance::{Calls, ContainerUse, Performance, ProcessUse, transfers::Moved},
    pipeline::{Detector, Settings},
    resolve::{News, State},
    syscalls,
};
use std::{
    cmp::Reverse,
    sync::{Arc, Mutex},
};
use trace_format::Text;

use super::{fold::fold, stats_json, stats_text};
use crate::{Global, Outcome, output::Output, trace::TraceArguments};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pub traces: TraceArguments,
    /// Only this container: its name, its id or the first 12 characters of it, or host. May be given several
    /// times
    #[arg(long, value_name = "CONTAINER")]
    pub container: Vec<String>,
    /// How many system calls, files and processes of each container, the most first
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub top: usize,
}

/// The counts, which the pipeline owns, where the command can read them.
struct Shared(Arc<Mutex<Performance>>);

impl Detector for Shared {
    fn context(
        &mut self,
        record: &trace_format::ContextRecord,
        news: Option<&News>,
        state: &State,
        found: &mut dyn FnMut(Finding),
    ) {
        let mut counts = self.0.lock().unwrap_or_else(|error| error.into_inner());
        counts.context(record, news, state, found);
    }

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
    let (mut not_counted, mut no_latency, mut no_file) = (0, 0, 0);
    let (condition, _) = fold(&arguments.traces, true, global, settings, |_, last| {
        if last {
            let mut counts = counts.lock().unwrap_or_else(|error| error.into_inner());
            let counts = std::mem::take(&mut *counts);
            not_counted += counts.not_counted;
            no_latency += counts.latencies_left_out;
            no_file += counts.files.left_out;
            print(&counts, arguments, &mut out, global.json)?;
        }
        Ok(())
    })?;
    out.flush()?;
    condition.report(global);
    for (left_out, what) in [
        (
            not_counted,
            "events of containers and processes over the limit are not counted by them",
        ),
        (
            no_latency,
            "calls over the limit are counted without how long they took",
        ),
        (
            no_file,
            "transfers are not counted by file: there were too many files",
        ),
    ] {
        if left_out > 0 && !global.quiet {
            eprintln!("replay: {left_out} {what}");
        }
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
        let mut calls: Vec<(String, &Calls)> = used
            .calls
            .iter()
            .map(|(nr, calls)| {
                let name = syscalls::name(arch, *nr).map_or_else(|| nr.to_string(), str::to_owned);
                (name, calls)
            })
            .collect();
        calls.sort_by(|a, b| b.1.calls.cmp(&a.1.calls).then_with(|| a.0.cmp(&b.0)));
        let (all_calls, all_errors) = calls.iter().fold((0u64, 0), |sum, (_, of)| {
            (sum.0.saturating_add(of.calls), sum.1 + of.errors)
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
            files: counts.files.top(*key, arguments.top),
            processes,
        };
        match as_json {
            true => out.line(&stats_json::of(&of).to_string())?,
            false => out.bytes(stats_text::of(&of).as_bytes())?,
        }
    }
    Ok(())
}

/// What is shown of a container.
pub struct Of<'a> {
    pub used: &'a ContainerUse,
    /// By name, the most first.
    pub calls: Vec<(String, &'a Calls)>,
    pub all_calls: u64,
    pub all_errors: u64,
    pub files: Vec<(&'a Text, &'a Moved)>,
    pub processes: Vec<&'a ProcessUse>,
}

impl Of<'_> {
    /// Cores, on average between the first and the last sample.
    pub fn cores(&self) -> Option<f64> {
        let used = &self.used.resources;
        let ns = used.last_ns.saturating_sub(used.first_ns);
        (ns > 0).then(|| (used.cpu_ns as f64 / ns as f64 * 10_000.0).round() / 10_000.0)
    }
}
