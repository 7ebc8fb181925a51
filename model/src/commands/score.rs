//! `model score` and `model explain`: a model's view of every window of a trace.

use std::{
    io::{self, BufWriter, Write},
    path::PathBuf,
};

use model::dataset;
use replay::{
    artifact::Model,
    features::{
        Row,
        schema::{COUNT, FEATURES},
    },
    source::Input,
};
use serde_json::{Map, json};

use super::report_issues;
use crate::{Global, Outcome, Usage, progress::Progress};

#[derive(clap::Args)]
pub struct Arguments {
    /// Trace file, or a directory of .zst files
    #[arg(value_name = "TRACE", required = true)]
    traces: Vec<String>,
    /// Model file
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
}

#[derive(clap::Args)]
pub struct ExplainArguments {
    #[command(flatten)]
    of: Arguments,
    /// Only this container: id, beginning of its id, or name
    #[arg(long, value_name = "CONTAINER")]
    container: Option<String>,
    /// Windows to explain, highest scores first
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    top: usize,
}

struct Scored {
    row: Row,
    score: f64,
}

fn scored(
    arguments: &Arguments,
    model: &Model,
    global: Global,
) -> anyhow::Result<(Vec<Scored>, Outcome)> {
    let mut traces = Vec::new();
    for argument in &arguments.traces {
        for input in Input::parse(argument)? {
            match input {
                Input::File(path) => traces.push(path),
                other => return Err(Usage(format!("{other}: name a trace file")).into()),
            }
        }
    }
    let mut progress = Progress::new(traces.iter(), 1, global);
    let (rows, condition) = dataset::rows(&traces, &model.settings(), &mut |file, at| {
        progress.at(file, at)
    })?;
    drop(progress);
    report_issues(&condition.issues, global);
    let scored = rows
        .into_iter()
        .filter(|row| !row.warm_up)
        .map(|row| Scored {
            score: model.judge().score(&row.values),
            row,
        })
        .collect();
    Ok((
        scored,
        Outcome {
            loss: condition.loss,
        },
    ))
}

pub fn run(arguments: &Arguments, global: Global) -> anyhow::Result<Outcome> {
    let model = Model::load(&arguments.model)?;
    let (scored, outcome) = scored(arguments, &model, global)?;
    let mut out = BufWriter::new(io::stdout().lock());
    for Scored { row, score } in &scored {
        let alarm = *score >= model.threshold();
        if global.json {
            writeln!(
                out,
                "{}",
                json!({
                    "start_boot_ns": row.start_ns, "end_boot_ns": row.end_ns, "container_id": row.container_id,
                    "container_name": row.container_name, "cgroup_id": row.cgroup_id, "score": score, "alarm": alarm,
                })
            )?;
        } else {
            writeln!(
                out,
                "{:>12.3}  {score:.4} {}  {}",
                row.end_ns as f64 / 1e9,
                if alarm { "!" } else { " " },
                name(row)
            )?;
        }
    }
    out.flush()?;
    Ok(outcome)
}

pub fn explain(arguments: &ExplainArguments, global: Global) -> anyhow::Result<Outcome> {
    let model = Model::load(&arguments.of.model)?;
    let (mut scored, outcome) = scored(&arguments.of, &model, global)?;
    if let Some(wanted) = &arguments.container {
        scored.retain(|of| {
            of.row.container_id.starts_with(wanted.as_str()) || of.row.container_name == *wanted
        });
    }
    scored.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut out = BufWriter::new(io::stdout().lock());
    for Scored { row, score } in scored.iter().take(arguments.top) {
        let parts = model.judge().explain(&row.values);
        let mut order: Vec<usize> = (0..COUNT).collect();
        order.sort_by(|a, b| parts[*b].abs().total_cmp(&parts[*a].abs()).then(a.cmp(b)));
        if global.json {
            let features: Map<_, _> = order
                .iter()
                .map(|feature| {
                    let value = Some(row.values[*feature]).filter(|value| !value.is_nan());
                    (
                        FEATURES[*feature].name.to_owned(),
                        json!({ "value": value, "contribution": parts[*feature] }),
                    )
                })
                .collect();
            writeln!(
                out,
                "{}",
                json!({
                    "start_boot_ns": row.start_ns, "end_boot_ns": row.end_ns, "container_id": row.container_id,
                    "container_name": row.container_name, "score": score, "alarm": *score >= model.threshold(), "features": features,
                })
            )?;
            continue;
        }
        let side = if *score >= model.threshold() {
            "alarm"
        } else {
            "quiet"
        };
        writeln!(
            out,
            "{}  {:.1} s to {:.1} s  score {score:.4} ({side})",
            name(row),
            row.start_ns as f64 / 1e9,
            row.end_ns as f64 / 1e9
        )?;
        for feature in order.iter().take(8) {
            writeln!(
                out,
                "  {:+.3}  {}",
                parts[*feature],
                FEATURES[*feature].describe(row.values[*feature])
            )?;
        }
    }
    out.flush()?;
    Ok(outcome)
}

fn name(row: &Row) -> &str {
    if row.container_name.is_empty() {
        replay::findings::short_id(&row.container_id)
    } else {
        &row.container_name
    }
}
