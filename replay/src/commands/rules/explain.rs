//! `replay rules explain`: what a rule comes to.

use replay::rules::{Explanation, RuleSet};
use serde_json::json;

use crate::{
    Global, Outcome, Usage,
    commands::rule_files::{RuleFiles, Texts},
    output::Output,
};

/// Event types shown by name in text; a rule without `evt.type` has hundreds.
const TYPES_SHOWN: usize = 24;

pub fn run(name: &str, files: &RuleFiles, global: Global) -> anyhow::Result<Outcome> {
    let texts = Texts::read(files)?;
    let named = texts.named();
    let explained = RuleSet::explain(&named, name).map_err(|error| Usage(error.to_string()))?;
    let Some(explained) = explained else {
        return Err(Usage(format!(
            "no rule is named {name:?}: see `replay rules list`"
        ))
        .into());
    };
    let mut out = Output::new();
    match global.json {
        true => out.line(&to_json(&explained))?,
        false => to_text(&explained, &mut out)?,
    }
    out.flush()?;
    Ok(Outcome::default())
}

fn to_json(explained: &Explanation) -> String {
    let conditions = explained.conditions.iter();
    let profiles = explained.profiles.iter();
    json!({
        "name": *explained.rule.name,
        "kind": explained.rule.kind.name(),
        "priority": explained.rule.priority.name(),
        "enabled": explained.rule.enabled,
        "attack": explained.rule.techniques().collect::<Vec<_>>(),
        "description": explained.rule.description,
        "over": explained.over,
        "conditions": conditions.map(|(label, text)| json!({"label": label, "text": text})).collect::<Vec<_>>(),
        "any_type": explained.any_type,
        "types": explained.types,
        "profiles": profiles.map(|(profile, types)| json!({"profile": profile.name(), "types": types}))
            .collect::<Vec<_>>(),
        "fields": explained.fields.iter().map(|field| json!({
            "name": field.name, "supplied": field.supplied, "output_only": field.output_only,
        })).collect::<Vec<_>>(),
    })
    .to_string()
}

fn to_text(explained: &Explanation, out: &mut Output) -> anyhow::Result<()> {
    let rule = &explained.rule;
    out.line(&format!(
        "{}  ({}, {})",
        rule.name,
        rule.kind.name(),
        rule.priority.name()
    ))?;
    out.line(&format!("  {}", rule.description.trim()))?;
    out.line(&format!("defined    {}:{}", rule.file, rule.line))?;
    if !rule.enabled {
        out.line("enabled    no")?;
    }
    let techniques: Vec<&str> = rule.techniques().collect();
    if !techniques.is_empty() {
        out.line(&format!("ATT&CK     {}", techniques.join(" ")))?;
    }
    if let Some(over) = &explained.over {
        out.line(&format!("fires on   {over}"))?;
    }
    for (label, text) in &explained.conditions {
        out.line(&format!("{label}\n  {text}"))?;
    }
    match (explained.any_type, explained.types.is_empty()) {
        (true, _) => out.line("events     all types")?,
        (_, true) => out.line("events     none: no trace has an event that can match")?,
        _ => {
            for (profile, types) in &explained.profiles {
                let more = types.len().saturating_sub(TYPES_SHOWN);
                let mut shown = types[..types.len() - more].join(" ");
                if more > 0 {
                    shown.push_str(&format!(" and {more} more"));
                }
                out.line(&format!(
                    "events     {shown}  (recorded from profile {} on)",
                    profile.name()
                ))?;
            }
            if explained.types.contains(&"finding") {
                out.line("events     finding  (of any engine)")?;
            }
        }
    }
    for field in &explained.fields {
        let output = if field.output_only {
            " (output only)"
        } else {
            ""
        };
        let supplied = if field.supplied {
            ""
        } else {
            "  never in a trace"
        };
        out.line(&format!("field      {}{output}{supplied}", field.name))?;
    }
    Ok(())
}
