//! `report.md`: what a run came to, for people.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use anyhow::{Context, Result};

use crate::{plan::Plan, run::Outcome};

pub const NAME: &str = "report.md";

pub fn write(directory: &Path, plan: &Plan, outcome: &Outcome) -> Result<()> {
    let path = directory.join(NAME);
    fs::write(&path, text(plan, outcome)).with_context(|| format!("cannot write {path:?}"))
}

fn text(plan: &Plan, outcome: &Outcome) -> String {
    let mut text = format!("# Run {}\n\n", outcome.run);
    let mut line = |what: &str, value: String| {
        let _ = writeln!(text, "* {what}: {value}");
    };
    line("runtime", outcome.runtime.to_owned());
    line("seed", outcome.seed.to_string());
    line("containers", outcome.containers.len().to_string());
    line("acts", outcome.acts.len().to_string());
    line("planned length", format!("{} s", plan.total_ms / 1000));
    if let Some(recorded) = &outcome.recorded {
        let loss = if recorded.loss {
            ", with loss"
        } else {
            ", without loss"
        };
        line("trace", format!("{}{loss}", crate::record::TRACE));
    }
    if outcome.interrupted {
        line(
            "interrupted",
            "acts that had not begun were left out".into(),
        );
    }
    let mut workloads: BTreeMap<&str, usize> = BTreeMap::new();
    for container in &plan.containers {
        *workloads.entry(container.workload.name()).or_default() += 1;
    }
    text.push_str("\n## Normal work\n\n| workload | containers |\n|---|---|\n");
    for (name, count) in workloads {
        let _ = writeln!(text, "| {name} | {count} |");
    }
    text.push_str("\n## Acts\n\n| class | kind | container | intensity | seconds | outcome | detail |\n|---|---|---|---|---|---|---|\n");
    for acted in &outcome.acts {
        let label = &acted.label;
        let seconds = label.end_boot_ns.saturating_sub(label.start_boot_ns) as f64 / 1e9;
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {seconds:.1} | {} | {} |",
            label.class,
            label.kind,
            label.container_name,
            label.intensity,
            cell(&label.outcome),
            cell(&acted.detail),
        );
    }
    let mut ends: BTreeMap<&str, usize> = BTreeMap::new();
    for acted in &outcome.acts {
        let word = acted.label.outcome.split(':').next().unwrap_or_default();
        *ends.entry(word).or_default() += 1;
    }
    let ends: Vec<String> = ends
        .iter()
        .map(|(word, count)| format!("{count} {word}"))
        .collect();
    let _ = writeln!(text, "\nIn all: {}.", ends.join(", "));
    text
}

/// What would end a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
