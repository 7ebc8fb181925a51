//! `replay rules test`: cases of what happens and what has to be found.

use anyhow::Context;
use replay::{
    findings::Finding,
    pipeline::{Pipeline, Settings},
    rules::{Case, Evidence, RuleSet},
};
use serde_json::json;
use std::path::{Path, PathBuf};
use trace_format::{ChunkSource, TraceReader};

use crate::{
    Global, Outcome, Usage,
    commands::rule_files::{self, RuleFiles, Selection},
    output::Output,
};

pub fn run(
    cases: &[PathBuf],
    files: &RuleFiles,
    selection: &Selection,
    global: Global,
) -> anyhow::Result<Outcome> {
    let rules = rule_files::load(files, selection, global)?;
    let mut out = Output::new();
    let (mut passed, mut failed) = (0, 0);
    for path in cases {
        let (name, text) = rule_files::read(path)?;
        let cases = Case::read(&name, &text).map_err(|error| Usage(error.to_string()))?;
        for case in &cases {
            let found = findings(case, path, &rules)?;
            let differences = case.differences(&found);
            match differences.is_empty() {
                true => passed += 1,
                false => failed += 1,
            }
            if global.json {
                out.line(
                    &json!({
                        "file": name, "line": case.line, "case": case.name,
                        "passed": differences.is_empty(), "differences": differences,
                    })
                    .to_string(),
                )?;
                continue;
            }
            let word = if differences.is_empty() {
                "ok    "
            } else {
                "FAILED"
            };
            out.line(&format!("{word}  {name}:{}  {}", case.line, case.name))?;
            for difference in differences {
                out.line(&format!("    {difference}"))?;
            }
        }
    }
    if !global.json {
        out.line(&format!("{passed} passed, {failed} failed"))?;
    }
    out.flush()?;
    Ok(Outcome {
        refused: failed > 0,
        ..Outcome::default()
    })
}

fn findings(case: &Case, file: &Path, rules: &RuleSet) -> anyhow::Result<Vec<Finding>> {
    let mut pipeline = Pipeline::new(Settings {
        rules: Some(rules.clone()),
        ..Settings::default()
    });
    match &case.evidence {
        Evidence::Chunks(chunks) => {
            for chunk in chunks {
                pipeline
                    .push(chunk)
                    .context("a chunk made of a case's events")?;
            }
        }
        Evidence::Trace(path) => {
            let path = file.parent().unwrap_or(Path::new("")).join(path);
            let shown = path.display();
            let mut reader = TraceReader::open(&path)
                .with_context(|| format!("case {:?}: cannot open the trace {shown}", case.name))?;
            while let Some(chunk) = reader
                .next_chunk()
                .with_context(|| format!("case {:?}: cannot read the trace {shown}", case.name))?
            {
                pipeline
                    .push(&chunk)
                    .with_context(|| format!("case {:?}: a chunk of {shown}", case.name))?;
            }
        }
    }
    pipeline.finish();
    Ok(pipeline.findings().collect())
}
