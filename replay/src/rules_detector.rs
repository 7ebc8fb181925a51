//! The rule engine as a detector: every rule that an event fulfils is a finding.

use std::sync::Arc;
use trace_format::{ContextRecord, Event};

use crate::{
    findings::{EngineKind, Finding, Severity, Value},
    order::EventRef,
    pipeline::Detector,
    resolve::{News, State},
    rules::{Engine, FieldValue, Priority, RuleMatch, RuleSet},
};

/// The detector.
pub struct RulesDetector {
    engine: Engine,
    /// Reused: the matches of the current event.
    matches: Vec<RuleMatch>,
}

impl RulesDetector {
    pub fn new(rules: RuleSet) -> RulesDetector {
        RulesDetector {
            engine: Engine::new(rules),
            matches: Vec::new(),
        }
    }

    fn report(
        &mut self,
        boot_ns: u64,
        cgroup_id: u64,
        origin: Option<(&Event, &EventRef)>,
        found: &mut dyn FnMut(Finding),
    ) {
        for matched in self.matches.drain(..) {
            let mut finding = Finding::new(
                EngineKind::Rules,
                matched.name,
                severity(matched.priority),
                boot_ns,
            );
            finding.message = matched.output;
            finding.cgroup_id = cgroup_id;
            finding.fields = matched.fields.into_iter().map(field).collect();
            finding.tags = matched.tags.to_vec();
            if let Some((event, at)) = origin {
                finding.pid = event.pid;
                finding.evidence = Some(*at);
            }
            found(finding);
        }
    }
}

impl Detector for RulesDetector {
    #[inline]
    fn event(
        &mut self,
        event: &Event,
        at: &EventRef,
        state: &State,
        found: &mut dyn FnMut(Finding),
    ) {
        self.engine.evaluate(event, state, &mut self.matches);
        if !self.matches.is_empty() {
            self.report(event.boot_ns, event.cgroup_id, Some((event, at)), found);
        }
    }

    fn context(
        &mut self,
        _: &ContextRecord,
        news: Option<&News>,
        state: &State,
        found: &mut dyn FnMut(Finding),
    ) {
        let Some(&news) = news else { return };
        self.engine.observe(news, state, &mut self.matches);
        let News::Container { boot_ns, cgroup_id } = news;
        self.report(boot_ns, cgroup_id, None, found);
    }
}

fn severity(priority: Priority) -> Severity {
    match priority {
        Priority::Debug => Severity::Debug,
        Priority::Informational => Severity::Informational,
        Priority::Notice => Severity::Notice,
        Priority::Warning => Severity::Warning,
        Priority::Error => Severity::Error,
        Priority::Critical => Severity::Critical,
        Priority::Alert => Severity::Alert,
        Priority::Emergency => Severity::Emergency,
    }
}

fn field((name, value): (Arc<str>, FieldValue)) -> (String, Value) {
    let value = match value {
        FieldValue::Missing => Value::Missing,
        FieldValue::Text(text) => Value::Text(text),
        FieldValue::Number(number) => Value::Signed(number),
        FieldValue::Boolean(flag) => Value::Flag(flag),
    };
    (name.to_string(), value)
}
