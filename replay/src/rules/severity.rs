//! Severity overrides: findings of some containers or rules count for more, or for less.
//!
//! They apply when a finding leaves the gate, because only then its container is known for sure; to
//! findings of every engine. The last override that fits wins.

use super::{
    Priority,
    behaviour::SeverityItem,
    node::{Node, Scratch},
    pattern,
    subject::Subject,
};
use crate::{findings::Finding, resolve::State};

#[derive(Clone, Debug)]
pub(super) struct Override {
    /// Names of rules, metrics or models with `*`; empty: all.
    rules: Box<[String]>,
    /// Empty: all.
    engines: Box<[String]>,
    condition: Node,
    pub priority: Priority,
}

impl Override {
    pub fn new(item: &SeverityItem, condition: Node) -> Override {
        Override {
            rules: item.rules.clone().into(),
            engines: item.engines.clone().into(),
            condition,
            priority: item.priority,
        }
    }

    pub fn fits(&self, finding: &Finding, state: &State, scratch: &mut Scratch) -> bool {
        let named = |rule: &String| pattern::glob_star(rule.as_bytes(), finding.rule.as_bytes());
        let engine = finding.engine.name();
        (self.rules.is_empty() || self.rules.iter().any(named))
            && (self.engines.is_empty() || self.engines.iter().any(|known| known == engine))
            && {
                let event = super::subject::event_of(finding);
                let subject = Subject::of_finding(&event, state, finding);
                self.condition.holds(&subject, scratch)
            }
    }
}
