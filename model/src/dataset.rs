//! Labelled data: which runs there are, and their windows with what the labels say.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::mpsc,
};

use replay::{
    features::{Row, Settings},
    model_detector::FeatureDetector,
    pipeline::{self, Pipeline},
    source::Recorded,
};
use trace_format::ChunkSource;

use crate::{
    Error,
    labels::{self, Judged, Label, Truth},
};

/// Runs taken from one parent directory.
pub const RUNS_MAX: usize = 10_000;
/// Traces of one run: bounds what a mistaken directory costs.
const TRACES_MAX: usize = 1_440;

/// A directory with labels.csv and the trace that the labels are about.
#[derive(Clone, Debug)]
pub struct LabeledRun {
    pub name: String,
    /// In the order of their names.
    pub traces: Vec<PathBuf>,
    pub labels: Vec<Label>,
}

/// A window and its truth.
#[derive(Clone, Debug)]
pub struct LabeledRow {
    /// Position of the run.
    pub run: usize,
    pub row: Row,
    pub judged: Judged,
}

impl LabeledRow {
    /// For fitting and judging: past the warm-up, and with a clear truth.
    pub fn is_clear(&self) -> bool {
        !self.row.warm_up && self.judged.truth != Truth::Unclear
    }
    pub fn is_anomalous(&self) -> bool {
        self.judged.truth == Truth::Anomalous
    }
    pub fn is_normal(&self) -> bool {
        self.judged.truth == Truth::Normal
    }
}

/// What one trace said about itself while it was read.
#[derive(Clone, Debug, Default)]
pub struct Condition {
    pub trace_uuids: Vec<[u8; 16]>,
    pub events: u64,
    /// Damage and missing parts, one line each.
    pub issues: Vec<String>,
    /// Something is missing from the trace or was dropped by the recorder.
    pub loss: bool,
}

/// The runs that the arguments name, sorted by path: a run's own directory, or a parent of several.
pub fn find_runs(paths: &[PathBuf]) -> Result<Vec<LabeledRun>, Error> {
    let mut runs = Vec::new();
    for path in paths {
        let found = if path.join("labels.csv").is_file() {
            vec![path.clone()]
        } else {
            runs_in(path)?
        };
        if found.is_empty() {
            return Err(Error::NoLabels { path: path.clone() });
        }
        for directory in found {
            runs.push(load(&directory)?);
        }
    }
    Ok(runs)
}

fn runs_in(parent: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found: Vec<PathBuf> = entries(parent)?
        .into_iter()
        .filter(|path| path.join("labels.csv").is_file())
        .collect();
    if found.len() > RUNS_MAX {
        return Err(Error::TooMany {
            path: parent.to_owned(),
            max: RUNS_MAX,
            what: "runs",
        });
    }
    found.sort();
    Ok(found)
}

fn load(directory: &Path) -> Result<LabeledRun, Error> {
    let mut traces: Vec<PathBuf> = entries(directory)?
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "zst"))
        .collect();
    traces.sort();
    if traces.is_empty() {
        return Err(Error::NoTrace {
            path: directory.to_owned(),
        });
    }
    if traces.len() > TRACES_MAX {
        return Err(Error::TooMany {
            path: directory.to_owned(),
            max: TRACES_MAX,
            what: "traces",
        });
    }
    let absolute = directory
        .canonicalize()
        .unwrap_or_else(|_| directory.to_owned());
    let name = absolute.file_name().map_or_else(
        || directory.display().to_string(),
        |name| name.to_string_lossy().into_owned(),
    );
    Ok(LabeledRun {
        name,
        traces,
        labels: labels::read(&directory.join("labels.csv"))?,
    })
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |source| Error::Read {
        path: directory.to_owned(),
        source,
    };
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        paths.push(entry.map_err(failed)?.path());
    }
    Ok(paths)
}

/// Computes the windows of traces. Parts of one trace (same UUID) are one; what follows with another UUID
/// begins anew. `at` is told how many bytes of a file have been read.
pub fn rows(
    traces: &[PathBuf],
    settings: &Settings,
    at: &mut dyn FnMut(&Path, u64),
) -> Result<(Vec<Row>, Condition), Error> {
    let mut condition = Condition::default();
    let mut rows = Vec::new();
    let mut open: Option<([u8; 16], Pipeline, mpsc::Receiver<Row>)> = None;
    for path in traces {
        let failed = |source: replay::source::Error| Error::Trace {
            path: path.clone(),
            source,
        };
        let mut source = Recorded::file(path).map_err(failed)?;
        while let Some(chunk) = source.next_chunk().map_err(|error| failed(error.into()))? {
            at(path, source.progress().0);
            let uuid = chunk.header.trace_uuid;
            if open.as_ref().is_none_or(|(of, ..)| *of != uuid) {
                end(open.take(), &mut rows, &mut condition);
                let (pipeline, receiver) = start(settings);
                open = Some((uuid, pipeline, receiver));
            }
            if let Some((_, pipeline, receiver)) = &mut open {
                if let Err(error) = pipeline.push(&chunk) {
                    condition.issues.push(format!(
                        "{}: chunk {} is left out: {error}",
                        path.display(),
                        chunk.header.number
                    ));
                }
                rows.extend(receiver.try_iter());
                condition.loss |= chunk.header.loss.dropped > 0;
            }
        }
        condition.issues.extend(
            source
                .issues()
                .iter()
                .map(|issue| format!("{}: {issue}", path.display())),
        );
    }
    end(open, &mut rows, &mut condition);
    condition.loss |= !condition.issues.is_empty();
    Ok((rows, condition))
}

fn start(settings: &Settings) -> (Pipeline, mpsc::Receiver<Row>) {
    let (sender, receiver) = mpsc::channel();
    let detector = FeatureDetector::new(settings.clone(), move |row, _| {
        // The receiver lives as long as the pipeline; nobody is left to tell if it does not.
        let _ = sender.send(row);
    });
    let settings = pipeline::Settings {
        rules: None,
        statistics: false,
        detectors: vec![Box::new(detector)],
    };
    (Pipeline::new(settings), receiver)
}

fn end(
    open: Option<([u8; 16], Pipeline, mpsc::Receiver<Row>)>,
    rows: &mut Vec<Row>,
    condition: &mut Condition,
) {
    let Some((uuid, mut pipeline, receiver)) = open else {
        return;
    };
    pipeline.finish();
    rows.extend(receiver.try_iter());
    let totals = pipeline.totals();
    condition.events += totals.events;
    condition.loss |= totals.lost > 0 || totals.chunks_missing > 0;
    condition.trace_uuids.push(uuid);
}

/// A run's windows with their truth.
pub fn labeled_rows(
    run: usize,
    of: &LabeledRun,
    settings: &Settings,
    at: &mut dyn FnMut(&Path, u64),
) -> Result<(Vec<LabeledRow>, Condition), Error> {
    let (rows, condition) = rows(&of.traces, settings, at)?;
    let rows = rows
        .into_iter()
        .map(|row| LabeledRow {
            run,
            judged: labels::judge(&row, &of.labels),
            row,
        })
        .collect();
    Ok((rows, condition))
}
