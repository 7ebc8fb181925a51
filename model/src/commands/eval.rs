//! `model eval`: how well a model agrees with labels.

use std::path::PathBuf;

use model::{
    dataset::{self, LabeledRow},
    evaluate,
};
use replay::artifact::Model;

use super::{LabeledArguments, print, report, report_issues};
use crate::{Global, Outcome, progress::Progress};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    labeled: LabeledArguments,
    /// Model file
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
}

pub fn run(arguments: &Arguments, global: Global) -> anyhow::Result<Outcome> {
    let model = Model::load(&arguments.model)?;
    let runs = arguments.labeled.runs()?;
    let mut progress = Progress::new(runs.iter().flat_map(|run| &run.traces), 1, global);
    let (mut rows, mut issues, mut outcome) = (Vec::new(), Vec::new(), Outcome::default());
    for (number, run) in runs.iter().enumerate() {
        let (of_run, condition) =
            dataset::labeled_rows(number, run, &model.settings(), &mut |file, at| {
                progress.at(file, at)
            })?;
        rows.extend(of_run.into_iter().filter(LabeledRow::is_clear));
        outcome.loss |= condition.loss;
        issues.extend(condition.issues);
    }
    drop(progress);
    if rows.is_empty() {
        return Err(model::Error::NoWindows.into());
    }
    let scores: Vec<f64> = rows
        .iter()
        .map(|row| model.judge().score(&row.row.values))
        .collect();
    let report = evaluate::report(
        &runs,
        &rows.iter().collect::<Vec<_>>(),
        &scores,
        model.threshold(),
    );
    report_issues(&issues, global);
    if global.json {
        print(format_args!("{}", serde_json::to_string(&report)?))?;
    } else {
        print(format_args!("{}", report::text(&report)))?;
        let known: Vec<&str> = model
            .provenance()
            .runs
            .iter()
            .map(|run| run.name.as_str())
            .collect();
        if !global.quiet && runs.iter().any(|run| known.contains(&run.name.as_str())) {
            eprintln!("model: some of these runs were trained on: the figures flatter the model");
        }
    }
    Ok(outcome)
}
