//! `model info`: what a model is and where it comes from.

use std::path::PathBuf;

use replay::{artifact::Model, features::schema};
use serde_json::json;

use super::print;
use crate::{Global, Outcome};

#[derive(clap::Args)]
pub struct Arguments {
    /// Model file
    model: PathBuf,
}

pub fn run(arguments: &Arguments, global: Global) -> anyhow::Result<Outcome> {
    let model = Model::load(&arguments.model)?;
    let (forest, provenance) = (model.judge().forest(), model.provenance());
    let items: usize = model.images().iter().map(|image| image.items.len()).sum();
    let schema_hash = format!("{:016x}", schema::hash());
    if global.json {
        let images: Vec<_> = model
            .images()
            .iter()
            .map(|image| json!({ "repository": image.repository, "items": image.items.len() }))
            .collect();
        let line = json!({
            "schema_version": schema::VERSION,
            "schema_hash": schema_hash,
            "features": schema::names().collect::<Vec<_>>(),
            "window_ns": model.window_ns(),
            "threshold": model.threshold(),
            "trees": forest.tree_count(),
            "samples": forest.samples(),
            "images": images,
            "provenance": provenance,
        });
        print(format_args!("{line}"))?;
        return Ok(Outcome::default());
    }
    print(format_args!(
        "features   {} of schema version {} ({schema_hash})",
        schema::COUNT,
        schema::VERSION
    ))?;
    print(format_args!(
        "window     {} s",
        model.window_ns() as f64 / 1e9
    ))?;
    print(format_args!(
        "forest     {} trees of {} windows",
        forest.tree_count(),
        forest.samples()
    ))?;
    print(format_args!(
        "threshold  {:.4}: {}",
        model.threshold(),
        provenance.threshold_rule
    ))?;
    print(format_args!(
        "knows      {items} habits of {} images",
        model.images().len()
    ))?;
    print(format_args!(
        "trained    by {}, seed {}, on {} normal windows",
        provenance.program, provenance.seed, provenance.fitted_windows
    ))?;
    let number =
        |value: Option<f64>| value.map_or("unknown".to_owned(), |value| format!("{value:.3}"));
    print(format_args!(
        "held out   AUROC {}, precision {}, recall {} ({} normal, {} anomalous windows)",
        number(provenance.auroc),
        number(provenance.precision),
        number(provenance.recall),
        provenance.normal_windows,
        provenance.anomalous_windows
    ))?;
    for run in &provenance.runs {
        print(format_args!(
            "run        {}: trace {}, {} windows",
            run.name, run.trace_uuid, run.windows
        ))?;
    }
    Ok(Outcome::default())
}
