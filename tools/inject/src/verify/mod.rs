//! `inject verify`: did what the labels promise show in the trace?
//!
//! For every label, each of its expected signals is measured within the act and in the same container
//! before it (without other acts). It has moved when there is enough of it and at least twice as much
//! as before. Only the trace and the labels are read, no event is taken for a mark, and no mark for a signal:
//! whether an act's start and stop stand in the trace is said beside them.

mod measure;

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use serde::Serialize;
use trace_format::{ChunkSource, Context, TraceReader};

use crate::{
    label::{JSONL, Label},
    mark::{self, Edge},
    record::TRACE,
    signal::{Measure, Signal},
};
use measure::{Stretch, Tally, Tracker};

/// A labels file is read whole: a label is about 600 bytes.
const LABELS_BYTES_MAX: u64 = 64 << 20;

/// Marks remembered: two for each of as many labels as the file can hold.
const MARKS_MAX: usize = 1 << 18;

/// How much more than before there must be.
const TIMES: f64 = 2.0;

/// Counts and samples of an act come up to a second after it: they are taken once a second.
const LATE_NS: u64 = 1_200_000_000;

#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("cannot read {path:?}: {source}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path:?} has {bytes} bytes, more than {LABELS_BYTES_MAX}")]
    TooLong { path: PathBuf, bytes: u64 },
    #[error("{path:?} line {line} is no label: {reason}")]
    Label {
        path: PathBuf,
        line: usize,
        reason: String,
    },
    #[error("cannot read the trace {path:?}: {source}")]
    Trace {
        path: PathBuf,
        source: trace_format::Error,
    },
}

/// The fixed shape of `--json`.
#[derive(Debug, Serialize)]
pub struct Verified {
    pub acts: Vec<Act>,
    /// Events that the recorder lost: a signal that did not move may have been among them.
    pub dropped: u64,
}

#[derive(Debug, Serialize)]
pub struct Act {
    pub class: String,
    pub container_name: String,
    pub start_boot_ns: u64,
    pub end_boot_ns: u64,
    pub outcome: String,
    /// Start and stop stand in the trace as marks.
    pub marked: bool,
    pub signals: Vec<Moved>,
}

#[derive(Debug, PartialEq, Serialize)]
pub struct Moved {
    pub signal: String,
    pub before: f64,
    pub within: f64,
    pub moved: bool,
    /// False: it depends on how busy the host is.
    pub promised: bool,
}

impl Verified {
    /// What did not hold, one line each: a signal that did not move, an act that was not done.
    pub fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for act in &self.acts {
            let word = act.outcome.split(':').next().unwrap_or_default();
            if word != "done" {
                failures.push(format!(
                    "{} in {}: {}",
                    act.class, act.container_name, act.outcome
                ));
                continue;
            }
            for moved in act.signals.iter().filter(|one| one.promised && !one.moved) {
                failures.push(format!(
                    "{} in {}: {} did not move ({:.2} before, {:.2} within)",
                    act.class, act.container_name, moved.signal, moved.before, moved.within
                ));
            }
        }
        failures
    }
}

pub fn verify(directory: &Path) -> Result<Verified, VerifyError> {
    let labels = read_labels(&directory.join(JSONL))?;
    let path = directory.join(TRACE);
    let trace = |source| VerifyError::Trace {
        path: path.clone(),
        source,
    };
    let mut reader = TraceReader::open(&path).map_err(trace)?;
    let mut tracker = Tracker::new(labels.iter().map(stretch).collect());
    let mut dropped = 0;
    let mut marks = HashSet::new();
    while let Some(chunk) = reader.next_chunk().map_err(trace)? {
        let chunk = chunk.decode().map_err(trace)?;
        dropped = chunk.header.loss.dropped;
        for record in &chunk.context {
            tracker.context(record);
            if let Context::Mark(found) = &record.body
                && found.label == mark::LABEL
                && marks.len() < MARKS_MAX
            {
                marks.insert(found.text.clone());
            }
        }
        for event in &chunk.events {
            tracker.event(event);
        }
    }
    let acts = labels
        .iter()
        .zip(tracker.tallies())
        .map(|(label, tally)| judge(label, &tally, &marks))
        .collect();
    Ok(Verified { acts, dropped })
}

fn stretch(label: &Label) -> Stretch {
    Stretch {
        cgroup_id: label.cgroup_id,
        start_ns: label.start_boot_ns,
        end_ns: label.end_boot_ns,
        late_ns: LATE_NS,
    }
}

fn read_labels(path: &Path) -> Result<Vec<Label>, VerifyError> {
    let read = |source| VerifyError::Read {
        path: path.to_owned(),
        source,
    };
    let bytes = fs::metadata(path).map_err(read)?.len();
    if bytes > LABELS_BYTES_MAX {
        return Err(VerifyError::TooLong {
            path: path.to_owned(),
            bytes,
        });
    }
    let text = fs::read_to_string(path).map_err(read)?;
    text.lines()
        .enumerate()
        .map(|(place, line)| {
            serde_json::from_str(line).map_err(|error| VerifyError::Label {
                path: path.to_owned(),
                line: place + 1,
                reason: error.to_string(),
            })
        })
        .collect()
}

fn is_marked(label: &Label, marks: &HashSet<String>) -> bool {
    let ends = [
        (Edge::Start, label.start_boot_ns),
        (Edge::Stop, label.end_boot_ns),
    ];
    ends.iter().all(|(edge, boot_ns)| {
        let (run, class, id) = (&label.run, &label.class, &label.container_id);
        marks.contains(&mark::text(*edge, run, class, id, *boot_ns))
    })
}

fn judge(label: &Label, tally: &Tally, marks: &HashSet<String>) -> Act {
    let signals = label
        .expected_signals
        .split_whitespace()
        .map(|name| match Signal::by_name(name) {
            Some(signal) => moved(signal, tally),
            // Of a newer injector: it cannot be checked, and that is not to pass unseen.
            None => Moved {
                signal: format!("{name} (unknown)"),
                before: 0.0,
                within: 0.0,
                moved: false,
                promised: true,
            },
        })
        .collect();
    Act {
        class: label.class.clone(),
        container_name: label.container_name.clone(),
        start_boot_ns: label.start_boot_ns,
        end_boot_ns: label.end_boot_ns,
        outcome: label.outcome.clone(),
        marked: is_marked(label, marks),
        signals,
    }
}

fn moved(signal: Signal, tally: &Tally) -> Moved {
    let (before, within, enough) = match signal.measure() {
        Measure::Rate { at_least } => {
            let (count_before, count) = tally.counts(signal);
            (
                per_second(count_before as f64, tally.before_ns()),
                per_second(count as f64, tally.within_ns()),
                count >= at_least,
            )
        }
        Measure::New { at_least } => {
            let (_, count) = tally.counts(signal);
            (
                0.0,
                per_second(count as f64, tally.within_ns()),
                count >= at_least,
            )
        }
        Measure::Distinct { at_least } => {
            let (before, count) = tally.distinct(signal);
            (before as f64, count as f64, count >= at_least)
        }
        Measure::Counter { at_least } => {
            let (before, within) = tally.counter(signal);
            (before, within, within >= at_least as f64)
        }
        Measure::Rise { at_least } => {
            let (before, within) = tally.rise(signal);
            (before, within, within >= at_least as f64)
        }
        Measure::Regular { at_least } => {
            let (before, count) = tally.regular();
            (before as f64, count as f64, count >= at_least)
        }
    };
    Moved {
        signal: signal.name().to_owned(),
        before,
        within,
        moved: enough && within >= TIMES * before,
        promised: !signal.depends_on_host(),
    }
}

fn per_second(count: f64, ns: u64) -> f64 {
    match ns {
        0 => 0.0,
        ns => count * 1e9 / ns as f64,
    }
}
