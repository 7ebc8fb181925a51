//! `replay rules check`: all errors and warnings of rule files.

use replay::rules::{Item, RuleSet};
use serde_json::json;
use std::path::PathBuf;

use crate::{
    Global, Outcome,
    commands::rule_files::{RuleFiles, Texts},
    output::Output,
};

pub fn run(files: &[PathBuf], with_default_rules: bool, global: Global) -> anyhow::Result<Outcome> {
    let texts = match with_default_rules {
        true => Texts::read(&RuleFiles {
            rules: files.to_vec(),
            no_default_rules: false,
        })?,
        false => Texts::of(files)?,
    };
    let checked = RuleSet::check(&texts.named());
    let errors: Vec<_> = checked.files.iter().flat_map(|file| &file.errors).collect();
    let mut out = Output::new();
    if global.json {
        let item = |item: Option<&Item>| {
            json!({
                "type": item.map(|item| item.kind.name()),
                "name": item.and_then(|item| item.name.as_deref()),
            })
        };
        let errors = errors.iter().map(|one| {
            json!({
                "code": one.code.name(), "item": item(one.item.as_deref()), "file": one.file, "line": one.line,
                "column": one.column, "found": one.token, "expected": one.expected,
            })
        });
        let warnings = checked.warnings.iter().map(|one| {
            json!({
                "code": one.code.name(), "item": item(one.item.as_ref()), "file": one.file, "line": one.line,
                "column": one.column, "message": one.message,
            })
        });
        let errors: Vec<_> = errors.collect();
        out.line(
            &json!({
                "ok": errors.is_empty(),
                "rules": checked.rules.rules().len(),
                "errors": errors,
                "warnings": warnings.collect::<Vec<_>>(),
            })
            .to_string(),
        )?;
    } else {
        for error in &errors {
            out.line(&format!("error    {error}  [{}]", error.code))?;
        }
        for warning in &checked.warnings {
            out.line(&format!("warning  {warning}  [{}]", warning.code))?;
        }
        out.line(&format!(
            "{} rules, {} errors, {} warnings",
            checked.rules.rules().len(),
            errors.len(),
            checked.warnings.len()
        ))?;
    }
    out.flush()?;
    Ok(Outcome {
        refused: !errors.is_empty(),
        ..Outcome::default()
    })
}
