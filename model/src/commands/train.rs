//! `model train`: from labelled traces to a model file.

use std::path::PathBuf;

use anyhow::Context;
use model::train::{self, Options};
use serde_json::json;

use super::{LabeledArguments, print, report, report_issues, window};
use crate::{Global, Outcome, progress::Progress};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    labeled: LabeledArguments,
    /// Model file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Overwrite the model file
    #[arg(long)]
    force: bool,
    /// Same seed and data, same model, bit for bit
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Length of a window; the model remembers it
    #[arg(long, value_name = "TIME", default_value = "10s")]
    window: String,
    /// Trees of the forest
    #[arg(long, default_value_t = 200)]
    trees: u32,
    /// Windows each tree is grown from
    #[arg(long, default_value_t = 256)]
    samples: u32,
    /// Fit on all windows, not only on those labelled normal
    #[arg(long)]
    all_windows: bool,
}

pub fn run(arguments: &Arguments, global: Global) -> anyhow::Result<Outcome> {
    let options = Options {
        window_ns: window(&arguments.window)?,
        seed: arguments.seed,
        trees: arguments.trees,
        samples: arguments.samples,
        unlabeled: arguments.all_windows,
    };
    // Before the long part, not after it.
    if !arguments.force && arguments.output.exists() {
        return Err(model::Error::Exists {
            path: arguments.output.clone(),
        }
        .into());
    }
    let runs = arguments.labeled.runs()?;
    let passes = if runs.len() > 1 { 2 } else { 1 };
    let mut progress = Progress::new(runs.iter().flat_map(|run| &run.traces), passes, global);
    let trained = train::train(&runs, &options, &mut |file, at| progress.at(file, at))
        .context("cannot train")?;
    drop(progress);
    trained.model.save(&arguments.output, arguments.force)?;
    report_issues(&trained.issues, global);
    let provenance = trained.model.provenance();
    if global.json {
        let line = json!({
            "model": arguments.output.display().to_string(),
            "runs": provenance.runs,
            "fitted_windows": provenance.fitted_windows,
            "seed": provenance.seed,
            "held_out": trained.held_out,
            "threshold_rule": provenance.threshold_rule,
            "report": trained.report,
            "loss": trained.loss,
        });
        print(format_args!("{line}"))?;
    } else {
        print(format_args!(
            "{}\nheld out   {}\nthreshold  {}\nwritten    {}: fitted on {} normal windows of {} runs, seed {}",
            report::text(&trained.report),
            trained.held_out,
            provenance.threshold_rule,
            arguments.output.display(),
            provenance.fitted_windows,
            provenance.runs.len(),
            provenance.seed,
        ))?;
    }
    Ok(Outcome { loss: trained.loss })
}
