//! The rule engine as a detector: every rule that an event fulfils is a finding.

use std::sync::Arc;
use trace_format::{ContextRecord, Event};

use crate::{
    findings::{EngineKind, Finding, Severity, Value},
    order::EventRef,
    pipeline::Detector,
    resolve::{News, State},
    rules::{Engine, FieldValue, Origin, Priority, RuleMatch, RuleSet},
    syscalls::Arch,
};

/// The detector.
pub struct RulesDetector {
    engine: Engine,
    /// Reused: the matches of the current event.
    matches: Vec<RuleMatch>,
}

/// What a finding says about a rule that had to forget keys.
const FORGOT: &str = "Rule forgot keys";

impl RulesDetector {
    pub fn new(rules: RuleSet) -> RulesDetector {
        RulesDetector {
            engine: Engine::new(rules),
            matches: Vec::new(),
        }
    }

    /// Turns the matches into findings, of the event at `here` unless they say otherwise.
    fn report(&mut self, here: Origin, found: &mut dyn FnMut(Finding)) {
        for matched in self.matches.drain(..) {
            let origin = matched.origin.unwrap_or(here);
            let mut finding = Finding::new(
                EngineKind::Rules,
                matched.name,
                matched.priority.into(),
                origin.boot_ns,
            );
            finding.over_findings = self.engine.is_over_findings(matched.rule);
            finding.message = matched.output;
            finding.cgroup_id = origin.cgroup_id;
            finding.fields = matched.fields.into_iter().map(field).collect();
            finding.tags = matched.tags.to_vec();
            finding.pid = origin.pid;
            finding.evidence = origin.evidence;
            finding.window_ns = matched.window_ns;
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
        self.engine
            .evaluate_at(event, Some(*at), state, &mut self.matches);
        if !self.matches.is_empty() {
            let here = Origin {
                boot_ns: event.boot_ns,
                pid: event.pid,
                cgroup_id: event.cgroup_id,
                evidence: Some(*at),
            };
            self.report(here, found);
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
        self.report(nobody(boot_ns, cgroup_id), found);
    }

    #[inline]
    fn advance(&mut self, boot_ns: u64, _: &State, found: &mut dyn FnMut(Finding)) {
        self.engine.advance(boot_ns, &mut self.matches);
        if !self.matches.is_empty() {
            self.report(nobody(boot_ns, 0), found);
        }
    }

    fn due_ns(&self) -> u64 {
        self.engine.due_ns()
    }

    fn wants_call(&self, nr: u32, arch: Arch) -> bool {
        self.engine.wants_call(nr, arch)
    }

    fn wants_family(&self, family: u16) -> bool {
        self.engine.wants_family(family)
    }

    fn finding(&mut self, finding: &Finding, state: &State, found: &mut dyn FnMut(Finding)) {
        self.engine.found(finding, state, &mut self.matches);
        if !self.matches.is_empty() {
            let here = Origin {
                boot_ns: finding.boot_ns,
                pid: finding.pid,
                cgroup_id: finding.cgroup_id,
                evidence: finding.evidence,
            };
            self.report(here, found);
        }
    }

    fn finish(&mut self, _: &State, found: &mut dyn FnMut(Finding)) {
        for (rule, forgotten) in self.engine.forgotten() {
            let mut finding = Finding::new(
                EngineKind::Rules,
                FORGOT.into(),
                Severity::Notice,
                forgotten.first_ns,
            );
            finding.message = format!(
                "{rule} forgot {} keys that still mattered, the first at this time: it may have missed something",
                forgotten.keys
            );
            finding.fields = vec![
                ("rule".to_owned(), Value::Text(rule.to_string())),
                ("keys".to_owned(), Value::Unsigned(forgotten.keys)),
            ];
            found(finding);
        }
    }
}

fn nobody(boot_ns: u64, cgroup_id: u64) -> Origin {
    Origin {
        boot_ns,
        pid: 0,
        cgroup_id,
        evidence: None,
    }
}

impl From<Priority> for Severity {
    fn from(priority: Priority) -> Severity {
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
