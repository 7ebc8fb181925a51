//! Findings for the eye: how often each rule fired, and what was found where something was injected.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use anyhow::{Context, Result};
use serde_json::Value;

/// An act's effects are still found this long after its end: windows have to close.
const AFTERMATH_NS: u64 = 5_000_000_000;
/// A container's id as it is usually shown.
const SHORT_ID: usize = 12;

pub struct Findings(Vec<Finding>);

struct Finding {
    boot_ns: u64,
    severity: String,
    rule: String,
    container_id: String,
}

impl Findings {
    /// JSON lines of `replay detect --json` or `replay live --json`.
    pub fn parse(lines: &str) -> Result<Self> {
        let findings = lines.lines().map(|line| {
            let json: Value =
                serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))?;
            let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
            Ok(Finding {
                boot_ns: json["boot_ns"]
                    .as_u64()
                    .with_context(|| format!("no time: {line}"))?,
                severity: text(&json["severity"]),
                rule: text(&json["rule"]),
                container_id: json["container"]["id"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
            })
        });
        Ok(Self(findings.collect::<Result<_>>()?))
    }

    pub fn by_rule(&self) -> String {
        let mut rules: BTreeMap<(&str, &str), (u32, BTreeSet<&str>)> = BTreeMap::new();
        for finding in &self.0 {
            let (count, containers) = rules.entry((&finding.severity, &finding.rule)).or_default();
            *count += 1;
            containers.insert(&finding.container_id);
        }
        let mut text = String::new();
        for ((severity, rule), (count, containers)) in rules {
            let _ = writeln!(
                text,
                "{count:>5} × {severity:<9} {rule}  (containers: {})",
                containers.len()
            );
        }
        if text.is_empty() {
            text.push_str("nothing\n");
        }
        text
    }

    /// `labels`: the CSV that `inject run` wrote. Columns are found by name.
    pub fn by_label(&self, labels: &str) -> Result<String> {
        let mut lines = labels.lines();
        let columns: Vec<&str> = lines
            .next()
            .context("the labels are empty")?
            .split(',')
            .collect();
        let column = |name: &str| {
            columns
                .iter()
                .position(|c| *c == name)
                .with_context(|| format!("labels without {name}"))
        };
        let (class, id) = (column("class")?, column("container_id")?);
        let (start, end) = (column("start_boot_ns")?, column("end_boot_ns")?);
        let mut text = String::new();
        for line in lines {
            let fields: Vec<&str> = line.split(',').collect();
            let field = |index: usize| fields.get(index).copied().unwrap_or_default();
            let time = |index: usize| {
                field(index)
                    .parse::<u64>()
                    .with_context(|| format!("no time in label {line:?}"))
            };
            let (from, to) = (time(start)?, time(end)? + AFTERMATH_NS);
            let here = self.0.iter().filter(|f| f.container_id == field(id));
            let rules: BTreeSet<&str> = here
                .filter(|f| (from..=to).contains(&f.boot_ns))
                .map(|f| f.rule.as_str())
                .collect();
            let rules: Vec<&str> = rules.into_iter().collect();
            let found = if rules.is_empty() {
                "nothing".into()
            } else {
                rules.join("; ")
            };
            let short: String = field(id).chars().take(SHORT_ID).collect();
            let _ = writeln!(text, "  {:<10} in {short}: {found}", field(class));
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUND: &str = r#"{"boot_ns":5,"severity":"error","rule":"A","container":{"id":"c1"}}
{"boot_ns":15,"severity":"error","rule":"B","container":{"id":"c1"}}
{"boot_ns":15,"severity":"error","rule":"B","container":{"id":"c2"}}"#;

    #[test]
    fn a_label_gets_what_was_found_in_its_container_and_time() {
        let labels =
            "class,container_id,start_boot_ns,end_boot_ns\ncpu_hog,c1,10,20\nnoop,c3,10,20\n";
        let text = Findings::parse(FOUND).unwrap().by_label(labels).unwrap();
        assert_eq!(text, "  cpu_hog    in c1: B\n  noop       in c3: nothing\n");
    }

    #[test]
    fn rules_are_counted_with_their_containers() {
        let text = Findings::parse(FOUND).unwrap().by_rule();
        assert!(
            text.contains("    2 × error     B  (containers: 2)"),
            "{text}"
        );
        assert_eq!(Findings::parse("").unwrap().by_rule(), "nothing\n");
    }
}
