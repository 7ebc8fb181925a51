//! Detection in the recorder's own process, as a command wants it: shipped rules, further ones, a model.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use recorder::{notice::say, sinks::detect::DetectSink};
use replay::{
    artifact::Model,
    model_detector,
    pipeline::{Detector, Settings},
    rules::{RuleSet, SHIPPED},
};

use crate::cli::Cli;

pub fn sink(cli: &Cli, rules: &[PathBuf], model: Option<&Path>) -> anyhow::Result<DetectSink> {
    let mut files = vec![(SHIPPED.0.to_owned(), SHIPPED.1.to_owned())];
    for path in rules {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the rules {}", path.display()))?;
        files.push((path.display().to_string(), text));
    }
    let named: Vec<(&str, &str)> = files
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    let (rules, warnings) = RuleSet::load(&named)?;
    for warning in warnings.iter().filter(|_| !cli.quiet) {
        say(format_args!("rec: {warning}"));
    }
    let mut detectors: Vec<Box<dyn Detector>> = Vec::new();
    if let Some(path) = model {
        let model = Model::load(path)?;
        detectors.push(model_detector::detector(Arc::new(model)));
    }
    let settings = Settings {
        rules: Some(rules),
        statistics: true,
        detectors,
    };
    Ok(DetectSink::new(settings, cli.json))
}
