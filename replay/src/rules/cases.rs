//! Test cases for rules: what happens, and which findings have to come of it.
//!
//! A file of cases is a YAML list. The events are those of a recorded trace, or are written down in the
//! case ([`super::case_events`]); they go through the whole pipeline either way. docs/rules.md has the keys.

use super::{
    LoadError, case_events,
    item::{get, texts},
    yaml::{File, Node, Value},
};
use crate::findings::{EngineKind, Finding, Severity};
use trace_format::SealedChunk;

/// One case.
#[derive(Debug)]
pub struct Case {
    pub name: String,
    /// Where it stands in its file.
    pub line: usize,
    pub evidence: Evidence,
    pub expected: Vec<Expected>,
    /// Other findings of rules are a failure too.
    pub exactly: bool,
}

#[derive(Debug)]
pub enum Evidence {
    /// Path of a trace, relative to the file of cases.
    Trace(String),
    /// Events of the case itself.
    Chunks(Vec<SealedChunk>),
}

/// A finding that has to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    pub rule: String,
    /// `None`: at least one.
    pub count: Option<u64>,
    pub severity: Option<Severity>,
    /// Name or short id.
    pub container: Option<String>,
    /// In the message.
    pub contains: Vec<String>,
}

impl Case {
    /// Reads a file of cases; the name is for messages.
    pub fn read(name: &str, text: &str) -> Result<Vec<Case>, LoadError> {
        let file = File { name, text };
        let mut cases = Vec::new();
        for document in file.parse()? {
            if document.is_null() {
                continue;
            }
            let Value::Sequence(items) = &document.value else {
                return Err(file.error(document.at, document.what(), "a list of cases"));
            };
            for item in items {
                cases.push(Case::of(&file, item)?);
            }
        }
        Ok(cases)
    }

    fn of(file: &File<'_>, item: &Node) -> Result<Case, LoadError> {
        let Value::Mapping(pairs) = &item.value else {
            return Err(file.error(item.at, item.what(), "a mapping with `case`"));
        };
        let known = ["case", "trace", "events", "expect", "exactly"];
        if let Some((key, _)) = pairs
            .iter()
            .find(|pair| !known.contains(&pair.0.scalar().unwrap_or_default()))
        {
            return Err(file.error(key.at, key.what(), known.join(", ")));
        }
        let name = get(pairs, "case").and_then(Node::scalar);
        let name = name.ok_or_else(|| file.error(item.at, "a case without name", "`case`"))?;
        let evidence = match (get(pairs, "trace"), get(pairs, "events")) {
            (Some(trace), None) => match trace.scalar() {
                Some(path) if !trace.is_null() => Evidence::Trace(path.to_owned()),
                _ => return Err(file.error(trace.at, trace.what(), "the path of a trace")),
            },
            (None, Some(events)) => Evidence::Chunks(case_events::chunks(file, events)?),
            _ => {
                return Err(file.error(
                    item.at,
                    format!("case `{name}`"),
                    "either `trace` or `events`",
                ));
            }
        };
        let expected = match get(pairs, "expect").map(|node| (&node.value, node)) {
            Some((Value::Sequence(nodes), _)) => {
                let expected = nodes.iter().map(|node| Expected::of(file, node));
                expected.collect::<Result<_, _>>()?
            }
            Some((_, node)) => {
                return Err(file.error(node.at, node.what(), "a list of findings, [] for none"));
            }
            None => {
                return Err(file.error(
                    item.at,
                    format!("case `{name}` without `expect`"),
                    "`expect`",
                ));
            }
        };
        let exactly = match get(pairs, "exactly").map(|node| (node.scalar(), node)) {
            None | Some((Some("true"), _)) => true,
            Some((Some("false"), _)) => false,
            Some((_, node)) => return Err(file.error(node.at, node.what(), "true or false")),
        };
        Ok(Case {
            name: name.to_owned(),
            line: item.at.line,
            evidence,
            expected,
            exactly,
        })
    }

    /// What differs between what was found and what should have been; empty: nothing.
    pub fn differences(&self, found: &[Finding]) -> Vec<String> {
        let mut differences = Vec::new();
        for expected in &self.expected {
            let fitting = found.iter().filter(|finding| expected.fits(finding));
            let count = fitting.count() as u64;
            let fits = expected.count.map_or(count > 0, |wanted| wanted == count);
            if !fits {
                differences.push(format!("- {expected}, found {count}"));
            }
        }
        if self.exactly {
            let of_rules = found
                .iter()
                .filter(|finding| finding.engine == EngineKind::Rules);
            for finding in of_rules {
                if !self.expected.iter().any(|expected| expected.fits(finding)) {
                    differences.push(format!("+ {}", finding.to_text().replace('\n', "\n  ")));
                }
            }
        }
        differences
    }
}

impl Expected {
    fn of(file: &File<'_>, node: &Node) -> Result<Expected, LoadError> {
        let mut expected = Expected {
            rule: String::new(),
            count: None,
            severity: None,
            container: None,
            contains: Vec::new(),
        };
        let Value::Mapping(pairs) = &node.value else {
            return match node.scalar() {
                Some(rule) if !node.is_null() => Ok(Expected {
                    rule: rule.to_owned(),
                    ..expected
                }),
                _ => Err(file.error(
                    node.at,
                    node.what(),
                    "a rule's name, or a mapping with `rule`",
                )),
            };
        };
        for (key, value) in pairs {
            let text = value.scalar().unwrap_or_default();
            let wrong = |what: &str| file.error(value.at, value.what(), what.to_owned());
            match key.scalar().unwrap_or_default() {
                "rule" => expected.rule = text.to_owned(),
                "count" => expected.count = Some(text.parse().map_err(|_| wrong("a number"))?),
                "severity" => {
                    let severity = text.parse().map_err(|_| wrong("a severity"))?;
                    expected.severity = Some(severity);
                }
                "container" => expected.container = Some(text.to_owned()),
                "contains" => {
                    expected.contains = match value.scalar() {
                        Some(one) => vec![one.to_owned()],
                        None => texts(file, value)?,
                    }
                }
                _ => {
                    let known = "rule, count, severity, container or contains";
                    return Err(file.error(key.at, key.what(), known));
                }
            }
        }
        if expected.rule.is_empty() {
            return Err(file.error(node.at, "a finding without rule", "`rule`"));
        }
        Ok(expected)
    }

    fn fits(&self, finding: &Finding) -> bool {
        let container = &finding.container;
        *self.rule == *finding.rule
            && self
                .severity
                .is_none_or(|severity| severity == finding.severity)
            && self.container.as_deref().is_none_or(|wanted| {
                let id = crate::findings::short_id(&container.id);
                wanted == container.name || !id.is_empty() && wanted == id
            })
            && self
                .contains
                .iter()
                .all(|part| finding.message.contains(part.as_str()))
    }
}

impl std::fmt::Display for Expected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.count {
            Some(count) => write!(f, "{count} × {}", self.rule)?,
            None => write!(f, "{}", self.rule)?,
        }
        if let Some(severity) = self.severity {
            write!(f, " ({severity})")?;
        }
        if let Some(container) = &self.container {
            write!(f, " in {container}")?;
        }
        for part in &self.contains {
            write!(f, " with {part:?}")?;
        }
        Ok(())
    }
}
