//! `replay rules list`: one line a rule.

use serde_json::json;

use crate::{
    Global, Outcome,
    commands::rule_files::{self, RuleFiles, Selection},
    output::Output,
};

pub fn run(files: &RuleFiles, selection: &Selection, global: Global) -> anyhow::Result<Outcome> {
    let rules = rule_files::load(files, selection, global)?;
    let mut out = Output::new();
    let width = rules.rules().map(|rule| rule.name.chars().count()).max();
    for rule in rules.rules() {
        let techniques: Vec<&str> = rule.techniques().collect();
        let line = if global.json {
            json!({
                "name": *rule.name,
                "kind": rule.kind.name(),
                "priority": rule.priority.name(),
                "enabled": rule.enabled,
                "engine": "rules",
                "attack": techniques,
                "tags": *rule.tags,
                "description": rule.description,
                "file": *rule.file,
                "line": rule.line,
            })
            .to_string()
        } else {
            let enabled = if rule.enabled { "on " } else { "off" };
            let name = &*rule.name;
            let width = width.unwrap_or_default();
            let line = format!(
                "{enabled}  {:<13}  {:<8}  {name:<width$}  {}",
                rule.priority.name(),
                rule.kind.name(),
                techniques.join(" ")
            );
            line.trim_end().to_owned()
        };
        out.line(&line)?;
    }
    out.flush()?;
    Ok(Outcome::default())
}
