//! `replay detect`: rules, statistics and a trained model over a trace; findings on standard output.

use replay::{
    artifact::Model,
    decode_ahead::DecodeAhead,
    findings::{Finding, FoundContainer, Severity, short_id},
    gate, model_detector,
    pipeline::{Pipeline, Settings, Totals},
    rules::RuleSet,
    time::Point,
    walk::TimeRange,
};
use serde::Serialize;
use std::{num::NonZeroUsize, path::PathBuf, sync::Arc, thread};
use trace_format::{ChunkEvents, SealedChunk};

use super::{
    cat::{History, HowMuch},
    rule_files::{self, RuleFiles, Selection},
    sinks::{SinkSummary, Sinks},
};
use crate::{
    Global, Outcome,
    output::Output,
    trace::{self, Condition, TraceArguments},
};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pub traces: TraceArguments,
    #[command(flatten)]
    pub detection: Detection,
    /// Only findings from this time on: 2026-11-22T17:08:34Z, boot+1234.5, or 10s after the trace's start
    #[arg(long, value_name = "TIME")]
    pub from: Option<Point>,
    /// Only findings before this time
    #[arg(long, value_name = "TIME")]
    pub to: Option<Point>,
    /// Only findings of this container: its name, its id or the first 12 characters of it, or host. May be
    /// given several times
    #[arg(long, value_name = "CONTAINER")]
    pub container: Vec<String>,
    /// Threads that work together, of which one looks for anomalies and the others decode files for it; what
    /// is found is the same for any number. Unless given: as many as there are CPUs, at most 16
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    #[command(flatten)]
    pub history: History,
}

/// What looks for anomalies, and what to do about them.
#[derive(clap::Args, Clone, Debug)]
pub struct Detection {
    #[command(flatten)]
    pub files: RuleFiles,
    #[command(flatten)]
    pub selection: Selection,
    /// Leave the statistics out
    #[arg(long)]
    pub no_statistics: bool,
    /// Also judge every container's windows with a model that `model train` wrote
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// Exit with 4 when a finding is at least this severe (debug … emergency)
    #[arg(long, value_name = "SEVERITY")]
    pub fail_on: Option<Severity>,
    /// Print incidents instead of single findings: what belongs to one process tree or container and one
    /// time, as one story
    #[arg(long)]
    pub incidents: bool,
    /// Also send findings to KIND=TARGET[,OPTION=VALUE…]; may be repeated. KIND: text, jsonl, csv, parquet or
    /// sqlite (TARGET: a file), webhook or alertmanager (an http address), syslog (unix://, udp:// or tcp://)
    #[cfg(feature = "sinks")]
    #[arg(long, value_name = "SINK")]
    pub sink: Vec<replay::sinks::Spec>,
}

/// Trace time that must pass after `--to` until every finding before it is out: what waits for a
/// container's name, and as much again for the records that let it go.
const SETTLED_NS: u64 = 2 * gate::WAIT_NS_MAX;

pub fn run(arguments: &Arguments, global: Global) -> anyhow::Result<Outcome> {
    let range = TimeRange {
        from: arguments.from,
        to: arguments.to,
    };
    // What is found rests on all that came before, unless somebody says that a checkpoint will do.
    let seek = arguments.history.seek(arguments.from, HowMuch::All);
    let mut findings = Findings::new(&arguments.detection, global)?
        .within(range)
        .of(arguments.container.clone());
    // An end ends the reading: what is ahead of it would be read for nothing. And a finding of a stream is
    // wanted now, not when the next chunks have come.
    let files = |trace: &String| trace != "-" && !trace.contains("://");
    if arguments.to.is_none() && arguments.traces.traces.iter().all(files) {
        let cpus = || thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let threads = arguments.threads.map_or_else(cpus, NonZeroUsize::get);
        findings = findings.with_threads(threads);
    }
    let mut condition = trace::read_all(
        &arguments.traces,
        seek,
        true,
        global,
        |_, chunk, condition| {
            findings.push(chunk, condition)?;
            Ok(!findings.past_end())
        },
    )?;
    findings.take_rest(&mut condition)?;
    findings.finish(&condition, global)
}

/// Runs detection over chunks, one pipeline per trace or rotated capture, and prints what is found.
pub struct Findings {
    rules: RuleSet,
    statistics: bool,
    model: Option<Arc<Model>>,
    fail_on: Option<Severity>,
    json: bool,
    incidents: bool,
    out: Output,
    sinks: Sinks,
    pipeline: Option<Pipeline>,
    /// Chunks that are being decoded, with how each stands to the one before it.
    ahead: DecodeAhead<Place>,
    range: TimeRange,
    /// Empty: all.
    containers: Vec<String>,
    /// Of the trace or capture at hand.
    start_ns: u64,
    summary: Summary,
}

/// How a chunk stands to the one before it, as it was when it was read.
struct Place {
    number: u64,
    /// It needs a pipeline of its own.
    begins: bool,
    /// What was folded before is void: nobody is told what it leaves.
    anew: bool,
    start_ns: u64,
}

/// The last line: on standard error, as text or JSON.
#[derive(Clone, Debug, Default, Serialize)]
struct Summary {
    chunks: u64,
    events: u64,
    findings: u64,
    /// Findings left out because an identical one had just been reported.
    suppressed: u64,
    /// Findings left out because their container had too many of that severity.
    rate_limited: u64,
    /// Stories that the findings make.
    incidents: u64,
    /// By severity, worst first; severities without findings are left out.
    #[serde(serialize_with = "as_object")]
    by_severity: Vec<(&'static str, u64)>,
    /// Events lost in holes that the trace shows, whatever the recorder counted.
    events_lost: u64,
    chunks_missing: u64,
    /// Chunks given twice, folded once.
    chunks_repeated: u64,
    /// What became of the findings, one for each --sink.
    sinks: Vec<SinkSummary>,
    /// Exit code 3 is due.
    loss: bool,
    /// Exit code 4 is due.
    fail_on: bool,
}

/// `{"critical": 2, "notice": 5}`, in the order of the list.
fn as_object<S: serde::Serializer>(
    counts: &[(&'static str, u64)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(counts.iter().copied())
}

impl Findings {
    pub fn new(detection: &Detection, global: Global) -> anyhow::Result<Findings> {
        Ok(Findings {
            rules: rule_files::load(&detection.files, &detection.selection, global)?,
            statistics: !detection.no_statistics,
            model: detection
                .model
                .as_deref()
                .map(Model::load)
                .transpose()?
                .map(Arc::new),
            fail_on: detection.fail_on,
            json: global.json,
            incidents: detection.incidents,
            out: Output::new(),
            sinks: Sinks::open(detection)?,
            pipeline: None,
            ahead: DecodeAhead::new(1),
            range: TimeRange::default(),
            containers: Vec::new(),
            start_ns: 0,
            summary: Summary::default(),
        })
    }

    /// Only findings of this time are reported.
    pub fn within(mut self, range: TimeRange) -> Findings {
        self.range = range;
        self
    }

    /// Only findings of these containers are reported.
    pub fn of(mut self, containers: Vec<String>) -> Findings {
        self.containers = containers;
        self
    }

    /// Everything before the range's end has been reported: more chunks of this trace change nothing.
    pub fn past_end(&self) -> bool {
        let (Some(to), Some(pipeline)) = (self.range.to, &self.pipeline) else {
            return false;
        };
        let settled_ns = pipeline.now_ns().saturating_sub(SETTLED_NS);
        to.is_reached(
            settled_ns,
            || pipeline.state().wall_ns(settled_ns),
            self.start_ns,
        )
    }

    /// Decodes chunks on so many threads, this one among them.
    pub fn with_threads(mut self, threads: usize) -> Findings {
        self.ahead = DecodeAhead::new(threads);
        self
    }

    pub fn push(&mut self, chunk: &SealedChunk, condition: &mut Condition) -> anyhow::Result<()> {
        let place = Place {
            number: chunk.header.number,
            begins: !condition.goes_on,
            anew: condition.begins_anew,
            start_ns: condition.start_ns.unwrap_or(chunk.header.first_ns),
        };
        condition.decoded += 1;
        self.ahead.push(place, chunk);
        while let Some((place, decoded)) = self.ahead.next(false) {
            self.fold(place, decoded, condition)?;
        }
        Ok(())
    }

    /// Everything was read: folds what is still ahead.
    pub fn take_rest(&mut self, condition: &mut Condition) -> anyhow::Result<()> {
        while let Some((place, decoded)) = self.ahead.next(true) {
            self.fold(place, decoded, condition)?;
        }
        Ok(())
    }

    fn fold(
        &mut self,
        place: Place,
        decoded: Result<ChunkEvents, trace_format::Error>,
        condition: &mut Condition,
    ) -> anyhow::Result<()> {
        if place.anew {
            self.pipeline = None;
        }
        if self.pipeline.is_none() || place.begins {
            self.end_trace()?;
            self.start_ns = place.start_ns;
            let settings = Settings {
                rules: Some(self.rules.clone()),
                statistics: self.statistics,
                detectors: self
                    .model
                    .iter()
                    .cloned()
                    .map(model_detector::detector)
                    .collect(),
            };
            self.pipeline = Some(Pipeline::new(settings));
        }
        let Some(pipeline) = &mut self.pipeline else {
            return Ok(());
        };
        match decoded {
            Ok(events) => pipeline.push_decoded(events),
            Err(error) => {
                condition.incomplete = true;
                condition
                    .issues
                    .push(format!("chunk {} is left out: {error}", place.number));
            }
        }
        self.print()
    }

    /// Ends the last trace and says how it went.
    pub fn finish(mut self, condition: &Condition, global: Global) -> anyhow::Result<Outcome> {
        self.end_trace()?;
        self.out.flush()?;
        condition.report(global);
        let mut outcome = condition.outcome();
        (self.summary.sinks, outcome.loss) = {
            let (sinks, lost) = self.sinks.finish(global)?;
            (sinks, outcome.loss | lost)
        };
        outcome.loss |= self.summary.chunks_missing > 0
            || self.summary.chunks_repeated > 0
            || self.summary.events_lost > 0;
        outcome.found = self.summary.fail_on;
        self.summary.loss = outcome.loss;
        if global.json {
            eprintln!("{}", serde_json::to_string(&self.summary)?);
        } else if !global.quiet {
            eprintln!("{}", self.summary.to_text());
        }
        Ok(outcome)
    }

    fn end_trace(&mut self) -> anyhow::Result<()> {
        if let Some(pipeline) = &mut self.pipeline {
            pipeline.finish();
        }
        self.print()?;
        if let Some(pipeline) = self.pipeline.take() {
            self.summary.add(&pipeline.totals());
        }
        Ok(())
    }

    fn print(&mut self) -> anyhow::Result<()> {
        let Some(pipeline) = &mut self.pipeline else {
            return Ok(());
        };
        let mut printed = false;
        let reached = |point: Point, finding: &Finding| {
            point.is_reached(finding.boot_ns, || finding.wall_ns, self.start_ns)
        };
        for finding in pipeline.findings() {
            if self.range.from.is_some_and(|from| !reached(from, &finding))
                || self.range.to.is_some_and(|to| reached(to, &finding))
            {
                continue;
            }
            if !is_of(
                &self.containers,
                std::iter::once(&finding.container),
                finding.cgroup_id == 0,
            ) {
                continue;
            }
            self.summary.count(&finding);
            self.summary.fail_on |= self.fail_on.is_some_and(|least| finding.severity >= least);
            self.sinks.finding(&finding)?;
            if self.incidents {
                continue;
            }
            let line = if self.json {
                finding.to_json()
            } else {
                finding.to_text()
            };
            self.out.line(&line)?;
            printed = true;
        }
        for incident in pipeline.incidents() {
            // One that reaches into the range is of it.
            let at = |point: Point, boot_ns: u64, wall_ns: Option<u64>| {
                point.is_reached(boot_ns, || wall_ns, self.start_ns)
            };
            let before = |from| !at(from, incident.end_ns, incident.end_wall_ns);
            let after = |to| at(to, incident.start_ns, incident.start_wall_ns);
            if self.range.from.is_some_and(before) || self.range.to.is_some_and(after) {
                continue;
            }
            let host = incident.steps.iter().any(|step| step.container.is_empty());
            if !is_of(&self.containers, incident.containers.iter(), host) {
                continue;
            }
            self.summary.incidents += 1;
            if !self.incidents {
                continue;
            }
            let line = if self.json {
                incident.to_json()
            } else {
                incident.to_text()
            };
            self.out.line(&line)?;
            printed = true;
        }
        self.sinks.flush()?;
        // Whoever watches a live stream wants to see it now.
        if printed { self.out.flush() } else { Ok(()) }
    }
}

/// Whether one of the containers, or the host, has one of these names.
fn is_of<'a>(
    names: &[String],
    mut containers: impl Iterator<Item = &'a FoundContainer>,
    host: bool,
) -> bool {
    names.is_empty()
        || (host && names.iter().any(|name| name == "host"))
        || containers.any(|container| {
            names.iter().any(|name| {
                *name == container.name
                    || (!container.id.is_empty()
                        && (*name == container.id || *name == short_id(&container.id)))
            })
        })
}

impl Summary {
    fn count(&mut self, finding: &Finding) {
        self.findings += 1;
        let name = finding.severity.name();
        match self
            .by_severity
            .iter_mut()
            .find(|(severity, _)| *severity == name)
        {
            Some((_, count)) => *count += 1,
            None => {
                self.by_severity.push((name, 1));
                let rank = |name: &str| {
                    Severity::ALL
                        .iter()
                        .rposition(|severity| severity.name() == name)
                };
                self.by_severity
                    .sort_by_key(|(name, _)| std::cmp::Reverse(rank(name)));
            }
        }
    }

    fn add(&mut self, totals: &Totals) {
        self.chunks += totals.chunks;
        self.events += totals.events;
        self.suppressed += totals.suppressed;
        self.rate_limited += totals.rate_limited;
        self.events_lost += totals.lost;
        self.chunks_missing += totals.chunks_missing;
        self.chunks_repeated += totals.chunks_repeated;
    }

    fn to_text(&self) -> String {
        let mut text = format!(
            "{} events in {} chunks: {} findings",
            self.events, self.chunks, self.findings
        );
        if !self.by_severity.is_empty() {
            let counts: Vec<String> = self
                .by_severity
                .iter()
                .map(|(name, count)| format!("{count} {name}"))
                .collect();
            text.push_str(&format!(" ({})", counts.join(", ")));
        }
        if self.incidents > 0 {
            text.push_str(&format!(" in {} incidents", self.incidents));
        }
        if self.suppressed > 0 {
            text.push_str(&format!(", {} repetitions left out", self.suppressed));
        }
        if self.rate_limited > 0 {
            text.push_str(&format!(
                ", {} over the limit of a container left out",
                self.rate_limited
            ));
        }
        if self.chunks_repeated > 0 {
            text.push_str(&format!(
                "; {} chunks were given twice and read once",
                self.chunks_repeated
            ));
        }
        if self.chunks_missing > 0 {
            text.push_str(&format!("; {} chunks are missing", self.chunks_missing));
        }
        if self.events_lost > 0 {
            text.push_str(&format!("; {} events were lost", self.events_lost));
        }
        text
    }
}
