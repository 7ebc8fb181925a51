//! Falco's rule language over recorded events.
//!
//! Files become a [`RuleSet`] once: macros and lists expanded, fields typed, values parsed. An
//! [`Engine`] indexes the rules by the event types they can match, so that most events meet no rule
//! at all. A [`Filter`] is one condition without a rule around it. docs/rules.md describes the
//! language, its fields and what differs from Falco.

mod arguments;
mod behaviour;
mod case_events;
mod case_network;
mod cases;
mod compile;
mod condition;
mod definitions;
mod descriptor;
mod details;
mod engine;
mod exceptions;
mod explain;
mod fields;
mod filter;
mod item;
mod items;
mod keyed;
mod load;
mod network;
mod node;
mod operand;
mod output;
mod pattern;
mod problems;
mod regex;
mod repeats;
mod requirements;
mod sequence;
mod services;
mod severity;
mod source;
mod subject;
mod supply;
mod syntax;
mod target;
mod test;
mod types;
mod values;
mod window;
mod yaml;

pub use cases::{Case, Evidence, Expected};
pub(crate) use descriptor::fold as fold_path;
pub use engine::{Engine, Forgotten};
pub use explain::{Explanation, FieldUse};
pub use filter::Filter;
pub use problems::{Item, ItemKind, LoadCode, LoadError, Warning, WarningCode};
pub use supply::{Profile, recorded_from};

use crate::{findings::Finding, order::EventRef, resolve::State};
use load::Compiled;
use serde::Serialize;
use std::{str::FromStr, sync::Arc};

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
    /// How far back the rule looked.
    pub window_ns: u64,
    /// When, where and by whom; `None`: at the event at hand.
    pub origin: Option<Origin>,
}

/// The event that a match is about, where it is not the one at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    pub boot_ns: u64,
    pub pid: u32,
    pub cgroup_id: u64,
    pub evidence: Option<EventRef>,
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

/// A loaded rule, for listings.
#[derive(Clone, Debug)]
pub struct Rule {
    pub name: Arc<str>,
    /// Rule, window or sequence.
    pub kind: ItemKind,
    /// Where it was defined last.
    pub file: Arc<str>,
    pub line: usize,
    pub description: String,
    pub priority: Priority,
    pub tags: Arc<[String]>,
    pub enabled: bool,
}

impl Rule {
    /// The ATT&CK techniques among the tags (`T1059.004`).
    pub fn techniques(&self) -> impl Iterator<Item = &str> {
        techniques(&self.tags)
    }
}

impl RuleMatch {
    /// The ATT&CK techniques among the tags (`T1059.004`).
    pub fn techniques(&self) -> impl Iterator<Item = &str> {
        techniques(&self.tags)
    }
}

fn techniques(tags: &[String]) -> impl Iterator<Item = &str> {
    tags.iter().map(String::as_str).filter(|tag| {
        let digits = tag.strip_prefix('T').unwrap_or_default();
        let (technique, part) = digits.split_once('.').unwrap_or((digits, "000"));
        let number = |text: &str, length| {
            text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        number(technique, 4) && number(part, 3)
    })
}

impl Priority {
    const ALL: [Priority; 8] = [
        Priority::Emergency,
        Priority::Alert,
        Priority::Critical,
        Priority::Error,
        Priority::Warning,
        Priority::Notice,
        Priority::Informational,
        Priority::Debug,
    ];
    /// Most severe first.
    pub const NAMES: [&str; 8] = [
        "emergency",
        "alert",
        "critical",
        "error",
        "warning",
        "notice",
        "informational",
        "debug",
    ];

    pub fn name(self) -> &'static str {
        Priority::NAMES[Priority::ALL
            .iter()
            .position(|&known| known == self)
            .unwrap_or(0)]
    }
}

/// A name that is no priority.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a priority: {names}", names = Priority::NAMES.join(", "))]
pub struct UnknownPriority(String);

impl FromStr for Priority {
    type Err = UnknownPriority;

    /// In any case; `info` for short.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let wanted = name.trim().to_ascii_lowercase();
        let wanted = if wanted == "info" {
            "informational"
        } else {
            &wanted
        };
        match Priority::NAMES.iter().position(|known| *known == wanted) {
            Some(at) => Ok(Priority::ALL[at]),
            None => Err(UnknownPriority(name.to_owned())),
        }
    }
}

/// What loading several files brings.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// The rules that could be compiled.
    pub rules: RuleSet,
    /// One for each file, in order.
    pub files: Vec<FileReport>,
    pub warnings: Vec<Warning>,
}

/// What came up when a file was added to those before it.
#[derive(Clone, Debug, Default)]
pub struct FileReport {
    pub file: String,
    pub errors: Vec<LoadError>,
}

/// The rules that come with Trailcam, as text.
pub const SHIPPED: (&str, &str) = (
    "trailcam_rules.yaml",
    include_str!("../../rules/trailcam_rules.yaml"),
);

/// Rules, compiled. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct RuleSet {
    rules: Arc<Vec<Compiled>>,
    overrides: Arc<[severity::Override]>,
    first_match: bool,
}

impl RuleSet {
    /// What a rule of these files comes to; `None` when none has the name.
    pub fn explain(files: &[(&str, &str)], name: &str) -> Result<Option<Explanation>, LoadError> {
        load::explain(files, name)
    }

    fn of(rules: Vec<Compiled>, overrides: Vec<severity::Override>) -> RuleSet {
        RuleSet {
            rules: Arc::new(rules),
            overrides: overrides.into(),
            first_match: false,
        }
    }

    /// How severe a finding of any engine is by the overrides of these files; `None`: as it says.
    pub fn severity_of(&self, finding: &Finding, state: &State) -> Option<Priority> {
        let mut scratch = node::Scratch::default();
        let mut overrides = self.overrides.iter().rev();
        let fitting = overrides.find(|one| one.fits(finding, state, &mut scratch));
        fitting.map(|one| one.priority)
    }

    /// Whether there are overrides at all.
    pub fn overrides_severities(&self) -> bool {
        !self.overrides.is_empty()
    }

    /// Loads files in order: (name for messages, text). A later file may change what earlier ones define.
    pub fn load(files: &[(&str, &str)]) -> Result<(RuleSet, Vec<Warning>), LoadError> {
        let mut checked = RuleSet::check(files);
        let errors = checked.files.iter_mut();
        match errors.flat_map(|report| report.errors.drain(..)).next() {
            Some(error) => Err(error),
            None => Ok((checked.rules, checked.warnings)),
        }
    }

    /// The same, with everything that is wrong: files accumulate as when they are loaded, and one
    /// with errors is left behind as far as it makes sense.
    pub fn check(files: &[(&str, &str)]) -> Checked {
        load::check(files)
    }

    /// The rules that come with Trailcam.
    pub fn shipped() -> RuleSet {
        match RuleSet::load(&[SHIPPED]) {
            Ok((rules, _)) => rules,
            Err(error) => panic!("the rules shipped with this program do not load: {error}"),
        }
    }

    pub fn rules(&self) -> impl ExactSizeIterator<Item = &Rule> {
        self.rules.iter().map(|compiled| &compiled.rule)
    }

    /// The rule of a match ([`RuleMatch::rule`]).
    pub fn rule(&self, index: usize) -> Option<&Rule> {
        self.rules.get(index).map(|compiled| &compiled.rule)
    }

    /// Switches rules by whole name; `*` stands for any text. Returns how many it named.
    pub fn switch_named(&mut self, pattern: &str, enabled: bool) -> usize {
        self.switch(enabled, |rule| {
            pattern::glob_star(pattern.as_bytes(), rule.name.as_bytes())
        })
    }

    /// Switches rules with a tag. Returns how many have it.
    pub fn switch_tagged(&mut self, tag: &str, enabled: bool) -> usize {
        self.switch(enabled, |rule| rule.tags.iter().any(|known| known == tag))
    }

    /// Falco's default: of an event's matching rules only the first.
    pub fn first_match(&mut self, first_match: bool) {
        self.first_match = first_match;
    }

    /// Switches off what is less severe.
    pub fn minimum(&mut self, priority: Priority) {
        self.switch(false, |rule| rule.priority < priority);
    }

    fn switch(&mut self, enabled: bool, concerned: impl Fn(&Rule) -> bool) -> usize {
        let mut count = 0;
        for compiled in Arc::make_mut(&mut self.rules) {
            if concerned(&compiled.rule) {
                compiled.rule.enabled = enabled;
                count += 1;
            }
        }
        count
    }
}
