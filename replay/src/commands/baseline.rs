//! `--baseline`: learns from traces what is usual, before others are judged by it.

use anyhow::{Context, bail};
use replay::{
    edges::{Baseline, IMAGES_MAX, Learner},
    pipeline::Settings,
    source::Input,
};
use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use super::fold::fold;
use crate::{
    Global, Usage,
    trace::{self, Connection, TraceArguments},
};

/// A baseline, and whether the traces it was learned from are whole.
#[derive(Clone)]
pub struct Learned {
    pub baseline: Arc<Baseline>,
    pub loss: bool,
}

/// Learns from all these traces; `None` without any.
pub fn learn(traces: &[String], global: Global) -> anyhow::Result<Option<Learned>> {
    if traces.is_empty() {
        return Ok(None);
    }
    for input in trace::inputs(traces)? {
        if !matches!(input, Input::File(_)) {
            let what =
                format!("--baseline {input}: a baseline is learned from a file or directory");
            return Err(Usage(what).into());
        }
    }
    let shared: Arc<Mutex<Baseline>> = Arc::default();
    let settings = || Settings {
        detectors: vec![Box::new(Learner::new(Arc::clone(&shared)))],
        ..Settings::default()
    };
    let arguments = TraceArguments {
        traces: traces.to_vec(),
        connection: Connection::default(),
    };
    let (condition, _) = fold(&arguments, false, global, settings, |_, _| Ok(()))
        .context("cannot learn the baseline")?;
    condition.report(global);
    let baseline = mem::take(&mut *shared.lock().unwrap_or_else(PoisonError::into_inner));
    if baseline.edges() == 0 {
        bail!(
            "cannot learn the baseline from {}: no container in it connects or listens; give a trace of containers at their usual work",
            traces.join(", ")
        );
    }
    if baseline.left_out() && !global.quiet {
        eprintln!(
            "replay: the baseline has more than {IMAGES_MAX} images: those after them count as never seen"
        );
    }
    Ok(Some(Learned {
        baseline: Arc::new(baseline),
        loss: condition.outcome().loss,
    }))
}
