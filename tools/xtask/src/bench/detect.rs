//! How fast does detection re-read recordings: on one core, on two, beside sysdig; how much memory it takes;
//! and how fast and how large a table of the events is.
//!
//! Everything that is read is recorded first, so that the command works by itself.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::load::Nginx;
use super::observers::Recorder;
use super::report;
use super::statistics::Median;
use super::trace::codec::path;
use super::trace::peer::{NOBODY, Repeated, rate, repeated_capture};
use super::trace::table::{Row, answered, millions, print};
use super::trace::timing::{
    in_turns, peak_memory, pinned, pinned_beside, pinned_to_two, seconds, seconds_of_all,
};
use crate::repo;

#[derive(clap::Args)]
pub struct Args {
    /// Times that each program is run
    #[arg(long, default_value_t = 5)]
    runs: u32,
    /// Seconds of load in each recording
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// Measure the recordings that an earlier run left, instead of recording anew
    #[arg(long)]
    keep: bool,
}

/// Traces that are read beside each other.
const TRACES: usize = 4;

/// Falco's stable rules, where they are.
const FALCO: &str = "../shared/data/falco-rules/falco_rules.yaml";

struct Recording {
    path: PathBuf,
    events: f64,
    bytes: f64,
}

pub fn run(args: &Args, rec: &Path, replay: &Path, work: &Path) -> Result<String> {
    let recordings = record(args, rec, work)?;
    let falco = repo::root()?.join(FALCO);
    let falco = falco.is_file().then_some(falco);
    let mut rules = Vec::new();
    if let Some(falco) = &falco {
        rules = vec!["--rules", path(falco)?];
    }
    let mut rows = Vec::new();
    rows.extend(speed(args, replay, &recordings, &rules)?);
    rows.extend(answered(
        "rules alone, beside sysdig",
        beside_sysdig(args, replay, work, &rules),
    ));
    rows.extend(export(args, replay, &recordings[0], work)?);
    let events: f64 = recordings.iter().map(|one| one.events).sum();
    let bytes: f64 = recordings.iter().map(|one| one.bytes).sum();
    Ok(format!(
        "{}\n\nMedians of {} runs, the compared ones in turns, 95 % interval in parentheses, starting the program \
         and opening the files included. {TRACES} recordings of nginx (1 worker, CPU 0) and wrk (1 thread, 32 \
         connections, CPU 1) with `rec capture --profile full`, {} s each, {:.1} M events and {:.1} MiB in all. \
         Rules: the shipped ones{}, with statistics unless said.\n\n{}",
        report::machine()?,
        args.runs,
        args.seconds,
        events / 1e6,
        bytes / MIB,
        match falco {
            Some(_) => " and Falco's 25 stable ones",
            None => " (Falco's stable ones are not here)",
        },
        print(&rows),
    ))
}

const MIB: f64 = 1024.0 * 1024.0;

fn record(args: &Args, rec: &Path, work: &Path) -> Result<Vec<Recording>> {
    let paths: Vec<PathBuf> = (0..TRACES)
        .map(|number| work.join(format!("detect-{number}.zst")))
        .collect();
    if !args.keep || !paths.iter().all(|path| path.is_file()) {
        let nginx = Nginx::start(&work.join("nginx"))?;
        nginx.requests_per_second(1)?;
        for path in &paths {
            eprintln!("recording {} …", path.display());
            let log = work.join("observer.log");
            let recorder = Recorder::rec(rec, &["--profile", "full"], path, &log)?;
            nginx.requests_per_second(args.seconds)?;
            recorder.stop()?;
        }
    }
    let measured = |path: PathBuf| {
        let info = trace_format::read_info(&path).with_context(|| format!("{}", path.display()))?;
        Ok(Recording {
            events: info.summary.rows as f64,
            bytes: info.file_bytes as f64,
            path,
        })
    };
    paths.into_iter().map(measured).collect()
}

/// One trace and several, on one core and on two; and the memory that each takes.
fn speed(args: &Args, replay: &Path, recordings: &[Recording], rules: &[&str]) -> Result<Vec<Row>> {
    let names = recordings
        .iter()
        .map(|one| path(&one.path))
        .collect::<Result<Vec<&str>>>()?;
    let switches = [&["detect", "--json"][..], rules].concat();
    let one = [&switches[..], &names[..1]].concat();
    let several = [&switches[..], &names].concat();
    eprintln!("detecting in one trace, on one core and on two …");
    let one_trace = in_turns(
        args.runs,
        [&|| seconds(&mut pinned(replay, &one)), &|| {
            seconds(&mut pinned_to_two(replay, &one))
        }],
    )?;
    eprintln!("detecting in {TRACES} traces …");
    let (first, second) = names.split_at(names.len() / 2);
    let [first, second] = [first, second].map(|half| [&switches[..], half].concat());
    let [one_core, two_cores, two_programs] = in_turns(
        args.runs,
        [
            &|| seconds(&mut pinned(replay, &several)),
            &|| seconds(&mut pinned_to_two(replay, &several)),
            &|| seconds_of_all(&mut pinned_beside(replay, [&first, &second])),
        ],
    )?;
    let memory = [
        peak_memory(&mut pinned(replay, &one))?,
        peak_memory(&mut pinned_to_two(replay, &one))?,
        peak_memory(&mut pinned_to_two(replay, &several))?,
    ];
    let events: f64 = recordings.iter().map(|one| one.events).sum();
    let times = |[on_one, on_two]: [Median; 2], events: f64| {
        format!(
            "{:.2} × ({}; one core: {})",
            on_one.value / on_two.value,
            millions(rate(on_two, events)),
            millions(rate(on_one, events)),
        )
    };
    Ok(vec![
        Row::new(
            "`replay detect` of one trace, one core, events/s",
            "≥ 3 M",
            millions(rate(one_trace[0], recordings[0].events)),
        ),
        Row::new(
            "the same on two cores, events/s",
            "≥ 1.4 × one core",
            times(one_trace, recordings[0].events),
        ),
        Row::new(
            format!("`replay detect` of {TRACES} traces, two cores, events/s"),
            "≥ 1.8 × one core",
            times([one_core, two_cores], events),
        ),
        Row::new(
            "the same traces by two programs beside each other, one on each core: what this machine gives",
            "",
            format!("{:.2} ×", one_core.value / two_programs.value),
        ),
        Row::new(
            format!("memory, peak: one trace on one core, on two, {TRACES} traces on two"),
            "≤ 200 MiB",
            memory
                .map(|bytes| format!("{:.0} MiB", bytes as f64 / MIB))
                .join(", "),
        ),
    ])
}

/// All rules against one filter of sysdig's, over the same events.
fn beside_sysdig(args: &Args, replay: &Path, work: &Path, rules: &[&str]) -> Result<Vec<Row>> {
    let sysdig = repo::need_program("sysdig", "sysdig")?;
    let Repeated {
        capture,
        trace,
        events,
    } = repeated_capture(replay, work)?;
    let (capture, trace) = (path(&capture)?, path(&trace)?);
    let detect = [
        &["detect", "--json", "--no-statistics"][..],
        rules,
        &[trace],
    ]
    .concat();
    eprintln!("judging {events} imported events …");
    let [ours, peer] = in_turns(
        args.runs,
        [&|| seconds(&mut pinned(replay, &detect)), &|| {
            seconds(&mut pinned(&sysdig, &["-r", capture, NOBODY]))
        }],
    )?;
    Ok(vec![Row::new(
        format!(
            "rules alone over {events} imported events, one core, beside `sysdig -r` with one filter ({NOBODY}), events/s"
        ),
        "> sysdig",
        format!(
            "{:.2} × ({}; sysdig: {})",
            peer.value / ours.value,
            millions(rate(ours, events as f64)),
            millions(rate(peer, events as f64)),
        ),
    )])
}

fn export(args: &Args, replay: &Path, recording: &Recording, work: &Path) -> Result<Vec<Row>> {
    let out = work.join("detect.parquet");
    let arguments = [
        "export",
        "--format",
        "parquet",
        "--force",
        "-o",
        path(&out)?,
        path(&recording.path)?,
    ];
    eprintln!("exporting …");
    let [on_one, on_two] = in_turns(
        args.runs,
        [&|| seconds(&mut pinned(replay, &arguments)), &|| {
            seconds(&mut pinned_to_two(replay, &arguments))
        }],
    )?;
    let memory = peak_memory(&mut pinned_to_two(replay, &arguments))?;
    let bytes = fs::metadata(&out)
        .with_context(|| format!("{}", out.display()))?
        .len() as f64;
    fs::remove_file(&out)?;
    Ok(vec![
        Row::new(
            "Parquet of all events, two cores, events/s",
            "≥ 2 M",
            format!(
                "{}; one core: {}; {:.0} MiB of memory",
                millions(rate(on_two, recording.events)),
                millions(rate(on_one, recording.events)),
                memory as f64 / MIB,
            ),
        ),
        Row::new(
            "its size",
            "≤ 3 × the trace",
            format!("{:.2} × ({:.1} MiB)", bytes / recording.bytes, bytes / MIB),
        ),
    ])
}
