//! The forest as a detector: windows that a trained model finds unlike anything normal.
//!
//! [`FeatureDetector`] turns records into rows for whoever wants them; [`detector`] judges the rows
//! with a model. Training uses the same `FeatureDetector`, so that a model is applied to exactly
//! what it was trained on.

use std::sync::Arc;
use trace_format::{ContextRecord, Event};

use crate::{
    artifact::Model,
    features::{
        Features, Row, Settings,
        schema::{COUNT, FEATURES},
    },
    findings::{EngineKind, Finding, Severity, Value},
    order::EventRef,
    pipeline::Detector,
    resolve::{News, State},
};

/// Contributing features that a finding names.
const NAMED_MAX: usize = 5;

/// The name of the forest's findings.
pub const RULE: &str = "unlike_itself";

/// Computes features and hands each row to `take`.
pub struct FeatureDetector<T> {
    features: Features,
    take: T,
}

impl<T> FeatureDetector<T>
where
    T: FnMut(Row, &mut dyn FnMut(Finding)) + Send,
{
    pub fn new(settings: Settings, take: T) -> Self {
        FeatureDetector {
            features: Features::new(settings),
            take,
        }
    }
}

impl<T> Detector for FeatureDetector<T>
where
    T: FnMut(Row, &mut dyn FnMut(Finding)) + Send,
{
    fn event(
        &mut self,
        event: &Event,
        at: &EventRef,
        state: &State,
        found: &mut dyn FnMut(Finding),
    ) {
        self.features
            .event(event, *at, state, &mut |row| (self.take)(row, found));
    }

    fn context(
        &mut self,
        record: &ContextRecord,
        _: Option<&News>,
        state: &State,
        _: &mut dyn FnMut(Finding),
    ) {
        self.features.context(record, state);
    }

    fn advance(&mut self, boot_ns: u64, state: &State, found: &mut dyn FnMut(Finding)) {
        self.features
            .advance(boot_ns, state, &mut |row| (self.take)(row, found));
    }

    fn finish(&mut self, state: &State, found: &mut dyn FnMut(Finding)) {
        self.features
            .finish(state, &mut |row| (self.take)(row, found));
    }
}

/// Judges every window with a model.
pub fn detector(model: Arc<Model>) -> Box<dyn Detector> {
    let settings = model.settings();
    Box::new(FeatureDetector::new(
        settings,
        move |row: Row, found: &mut dyn FnMut(Finding)| {
            if !row.warm_up
                && let Some(finding) = judge(&model, &row)
            {
                found(finding);
            }
        },
    ))
}

/// A finding when the row's score is at or above the model's threshold.
pub fn judge(model: &Model, row: &Row) -> Option<Finding> {
    let score = model.judge().score(&row.values);
    if score < model.threshold() {
        return None;
    }
    let explained = model.judge().explain(&row.values);
    let mut order: Vec<usize> = (0..COUNT)
        .filter(|feature| explained[*feature] > 0.0)
        .collect();
    order.sort_by(|a, b| explained[*b].total_cmp(&explained[*a]).then(a.cmp(b)));
    order.truncate(NAMED_MAX);
    let seconds = (row.end_ns.saturating_sub(row.start_ns)) as f64 / 1e9;
    let named: Vec<String> = order
        .iter()
        .take(3)
        .map(|feature| FEATURES[*feature].describe(row.values[*feature]))
        .collect();
    let mut finding = Finding::new(
        EngineKind::Forest,
        RULE.into(),
        Severity::Warning,
        row.end_ns,
    );
    finding.message = format!(
        "{seconds:.0} s unlike this container's own past (score {score:.3}, from {:.3} on): {}",
        model.threshold(),
        named.join("; ")
    );
    finding.cgroup_id = row.cgroup_id;
    finding.window_ns = row.end_ns.saturating_sub(row.start_ns);
    finding.fields = vec![
        ("score".to_owned(), Value::Number(score)),
        ("threshold".to_owned(), Value::Number(model.threshold())),
        ("window_start_ns".to_owned(), Value::Unsigned(row.start_ns)),
        ("window_end_ns".to_owned(), Value::Unsigned(row.end_ns)),
    ];
    for feature in &order {
        let name = FEATURES[*feature].name;
        finding.fields.push((
            format!("feature.{name}"),
            Value::Number(row.values[*feature]),
        ));
        finding.fields.push((
            format!("contribution.{name}"),
            Value::Number(explained[*feature]),
        ));
    }
    // The first event behind the most telling feature: of a process if there is one, because that has a lineage.
    let witnesses = || order.iter().filter_map(|feature| row.witnesses[*feature]);
    if let Some(witness) = witnesses()
        .find(|witness| witness.pid != 0)
        .or_else(|| witnesses().next())
    {
        finding.pid = witness.pid;
        finding.evidence = Some(witness.at);
    }
    Some(finding)
}
