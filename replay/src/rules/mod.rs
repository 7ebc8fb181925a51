//! Falco's rule language over recorded events.
//!
//! Files become a [`RuleSet`] once: macros and lists expanded, fields typed, values parsed. An
//! [`Engine`] indexes the rules by the event types they can match, so that most events meet no rule
//! at all. A [`Filter`] is one condition without a rule around it. docs/rules.md describes the
//! language, its fields and what differs from Falco.

use crate::resolve::{News, State};
use serde::Serialize;
use std::sync::Arc;
use trace_format::Event;

/// How bad a match is, from Falco's priorities. Greater is more severe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    Debug,
    Informational,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
}

/// One rule that one event fulfilled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleMatch {
    /// Its place in [`RuleSet::rules`].
    pub rule: usize,
    pub name: Arc<str>,
    pub priority: Priority,
    /// The rule's output text with its fields filled in; a missing value is `<NA>`.
    pub output: String,
    /// The output's fields with their native types, in order of appearance.
    pub fields: Vec<(Arc<str>, FieldValue)>,
    pub tags: Arc<[String]>,
}

/// A field's value for machines. Missing: null.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum FieldValue {
    Missing,
    Text(String),
    Number(i64),
    Boolean(bool),
}

/// Where and why a rule file cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: found {token}, expected {expected}")]
pub struct LoadError {
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    pub token: String,
    pub expected: String,
}

/// Something in a rule file that does not stop it from loading.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct Warning {
    pub file: String,
    pub line: usize,
    pub column: usize,
    pub message: String,
}

/// A loaded rule, for listings.
#[derive(Clone, Debug)]
pub struct Rule {
    pub name: Arc<str>,
    pub description: String,
    pub priority: Priority,
    pub tags: Arc<[String]>,
    pub enabled: bool,
}

/// Rules, compiled.
#[derive(Clone, Debug, Default)]
pub struct RuleSet {
    rules: Vec<Rule>,
}

impl RuleSet {
    /// Loads files in order: (name for messages, text).
    pub fn load(files: &[(&str, &str)]) -> Result<(RuleSet, Vec<Warning>), LoadError> {
        let _ = files;
        Ok((RuleSet::default(), Vec::new()))
    }

    /// The rules that come with Trailcam.
    pub fn shipped() -> RuleSet {
        RuleSet::default()
    }

    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }
}

/// Judges events by a rule set.
pub struct Engine {
    rules: RuleSet,
}

impl Engine {
    pub fn new(rules: RuleSet) -> Self {
        Engine { rules }
    }

    pub fn rules(&self) -> &RuleSet {
        &self.rules
    }

    /// Appends a match for every rule that the event fulfils, in the order of the rules.
    pub fn evaluate(&mut self, event: &Event, state: &State, matches: &mut Vec<RuleMatch>) {
        let _ = (event, state, matches);
    }

    /// The same for what a context record made known (`evt.type=container`).
    pub fn observe(&mut self, news: News, state: &State, matches: &mut Vec<RuleMatch>) {
        let _ = (news, state, matches);
    }
}

/// One condition.
pub struct Filter {}

impl Filter {
    /// The file in errors is `filter`.
    pub fn compile(condition: &str) -> Result<Filter, LoadError> {
        let _ = condition;
        Ok(Filter {})
    }

    pub fn matches(&self, event: &Event, state: &State) -> bool {
        let _ = (event, state);
        true
    }
}
