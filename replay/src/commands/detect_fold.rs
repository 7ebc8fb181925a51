//! Detection over the chunks of traces: one pipeline for each trace or rotated capture, and of what it finds
//! that which was asked for.
//!
//! Where it runs and beside what changes nothing of what it says, nor the order.

use replay::{
    artifact::Model,
    decode_ahead::{Decode, DecodeAhead},
    edges::Judge,
    findings::{Finding, FoundContainer, short_id},
    gate,
    incidents::Incident,
    model_detector,
    pipeline::{Detector, Pipeline, Settings, Totals},
    rules::RuleSet,
    time::Point,
    walk::TimeRange,
};
use std::sync::Arc;
use trace_format::{ChunkEvents, SealedChunk};

use super::{
    baseline::{self, Learned},
    detect::Detection,
    rule_files,
};
use crate::{Global, trace::Condition};

/// Trace time that must pass after `--to` until every finding before it is out: what waits for a
/// container's name, and as much again for the records that let it go.
const SETTLED_NS: u64 = 2 * gate::WAIT_NS_MAX;

/// What looks for anomalies, ready to be started for each trace.
#[derive(Clone)]
pub struct Engines {
    rules: RuleSet,
    statistics: bool,
    model: Option<Arc<Model>>,
    baseline: Option<Learned>,
}

impl Engines {
    pub fn load(detection: &Detection, global: Global) -> anyhow::Result<Engines> {
        Ok(Engines {
            rules: rule_files::load(&detection.files, &detection.selection, global)?,
            statistics: !detection.no_statistics,
            model: detection
                .model
                .as_deref()
                .map(Model::load)
                .transpose()?
                .map(Arc::new),
            baseline: baseline::learn(&detection.baseline, global)?,
        })
    }

    /// The baseline was learned from traces that are not whole: it may have too little.
    pub fn baseline_loss(&self) -> bool {
        self.baseline.as_ref().is_some_and(|learned| learned.loss)
    }

    fn start(&self) -> Pipeline {
        let judge = self.baseline.as_ref().map(|learned| {
            Box::new(Judge::new(Arc::clone(&learned.baseline), &self.rules)) as Box<dyn Detector>
        });
        Pipeline::new(Settings {
            rules: Some(self.rules.clone()),
            statistics: self.statistics,
            detectors: self
                .model
                .iter()
                .cloned()
                .map(model_detector::detector)
                .chain(judge)
                .collect(),
        })
    }
}

/// Which of the findings are wanted.
#[derive(Clone, Default)]
pub struct Wanted {
    pub range: TimeRange,
    /// Empty: of all.
    pub containers: Vec<String>,
}

/// What a fold says, in order.
pub enum Said {
    Finding(Box<Finding>),
    Incident(Box<Incident>),
    /// A chunk is done: whoever watches a stream wants to see now what came so far.
    Pause,
    /// Of a trace or capture.
    End(Totals),
}

/// Takes what is said; an error ends the fold.
pub type Say<'a> = dyn FnMut(Said) -> anyhow::Result<()> + 'a;

/// Folds chunks.
pub struct Folding {
    engines: Engines,
    wanted: Wanted,
    pipeline: Option<Pipeline>,
    /// Chunks that are being decoded, with how each stands to the one before it.
    ahead: DecodeAhead<Place>,
    /// Of the trace or capture at hand.
    start_ns: u64,
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

impl Folding {
    /// Decodes chunks on so many threads, this one among them.
    pub fn new(engines: Engines, wanted: Wanted, threads: usize) -> Folding {
        Folding {
            engines,
            wanted,
            pipeline: None,
            ahead: DecodeAhead::new(threads, Decode::Whole),
            start_ns: 0,
        }
    }

    pub fn engines(&self) -> &Engines {
        &self.engines
    }

    /// Everything before the range's end has been reported: more chunks of this trace change nothing.
    pub fn past_end(&self) -> bool {
        let (Some(to), Some(pipeline)) = (self.wanted.range.to, &self.pipeline) else {
            return false;
        };
        let settled_ns = pipeline.now_ns().saturating_sub(SETTLED_NS);
        to.is_reached(
            settled_ns,
            || pipeline.state().wall_ns(settled_ns),
            self.start_ns,
        )
    }

    pub fn push(
        &mut self,
        chunk: &SealedChunk,
        condition: &mut Condition,
        say: &mut Say<'_>,
    ) -> anyhow::Result<()> {
        let place = Place {
            number: chunk.header.number,
            begins: !condition.goes_on,
            anew: condition.begins_anew,
            start_ns: condition.start_ns.unwrap_or(chunk.header.first_ns),
        };
        condition.decoded += 1;
        self.ahead.push(place, chunk);
        while let Some((place, decoded)) = self.ahead.next(false) {
            self.fold(place, decoded, condition, say)?;
        }
        Ok(())
    }

    /// No chunk follows: folds what is still ahead, and ends the last trace.
    pub fn finish(&mut self, condition: &mut Condition, say: &mut Say<'_>) -> anyhow::Result<()> {
        while let Some((place, decoded)) = self.ahead.next(true) {
            self.fold(place, decoded, condition, say)?;
        }
        self.end_trace(say)
    }

    fn fold(
        &mut self,
        place: Place,
        decoded: Result<ChunkEvents, trace_format::Error>,
        condition: &mut Condition,
        say: &mut Say<'_>,
    ) -> anyhow::Result<()> {
        if place.anew {
            self.pipeline = None;
        }
        if self.pipeline.is_none() || place.begins {
            self.end_trace(say)?;
            self.start_ns = place.start_ns;
            self.pipeline = Some(self.engines.start());
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
        self.tell(say)
    }

    fn end_trace(&mut self, say: &mut Say<'_>) -> anyhow::Result<()> {
        if let Some(pipeline) = &mut self.pipeline {
            pipeline.finish();
        }
        self.tell(say)?;
        match self.pipeline.take() {
            Some(pipeline) => say(Said::End(pipeline.totals())),
            None => Ok(()),
        }
    }

    /// Says what came since the last time.
    fn tell(&mut self, say: &mut Say<'_>) -> anyhow::Result<()> {
        let (Some(pipeline), Wanted { range, containers }) = (&mut self.pipeline, &self.wanted)
        else {
            return Ok(());
        };
        let reached = |point: Point, boot_ns: u64, wall_ns: Option<u64>| {
            point.is_reached(boot_ns, || wall_ns, self.start_ns)
        };
        for finding in pipeline.findings() {
            let at = |point| reached(point, finding.boot_ns, finding.wall_ns);
            let in_range = range.from.is_none_or(at) && !range.to.is_some_and(at);
            let host = finding.cgroup_id == 0;
            if in_range && is_of(containers, std::iter::once(&finding.container), host) {
                say(Said::Finding(Box::new(finding)))?;
            }
        }
        for incident in pipeline.incidents() {
            // One that reaches into the range is of it.
            let before = |from| !reached(from, incident.end_ns, incident.end_wall_ns);
            let after = |to| reached(to, incident.start_ns, incident.start_wall_ns);
            let host = incident.steps.iter().any(|step| step.container.is_empty());
            if !range.from.is_some_and(before)
                && !range.to.is_some_and(after)
                && is_of(containers, incident.containers.iter(), host)
            {
                say(Said::Incident(Box::new(incident)))?;
            }
        }
        say(Said::Pause)
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
