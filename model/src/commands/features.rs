//! `model features`: the windows of labelled traces as a table.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, IsTerminal, Write},
    path::PathBuf,
};

use anyhow::Context;
use model::{
    dataset,
    table::{self, Format},
};
use replay::features::{Settings, Trained};

use super::{LabeledArguments, report_issues, window};
use crate::{Global, Outcome, Usage, progress::Progress};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    labeled: LabeledArguments,
    /// csv or parquet
    #[arg(long, value_enum, default_value = "csv")]
    format: Format,
    /// File to write; standard output without it
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Overwrite the file
    #[arg(long)]
    force: bool,
    /// Length of a window
    #[arg(long, value_name = "TIME", default_value = "10s")]
    window: String,
}

pub fn run(arguments: &Arguments, global: Global) -> anyhow::Result<Outcome> {
    let settings = Settings {
        window_ns: window(&arguments.window)?,
        trained: Trained::default(),
        items: false,
    };
    if arguments.format == Format::Parquet
        && arguments.output.is_none()
        && io::stdout().is_terminal()
    {
        return Err(Usage("Parquet does not go to a terminal: name a file with -o".into()).into());
    }
    let runs = arguments.labeled.runs()?;
    let mut progress = Progress::new(runs.iter().flat_map(|run| &run.traces), 1, global);
    let (mut rows, mut issues, mut outcome) = (Vec::new(), Vec::new(), Outcome::default());
    for (number, run) in runs.iter().enumerate() {
        let (of_run, condition) =
            dataset::labeled_rows(number, run, &settings, &mut |file, at| {
                progress.at(file, at)
            })?;
        rows.extend(of_run);
        outcome.loss |= condition.loss;
        issues.extend(condition.issues);
    }
    drop(progress);
    match &arguments.output {
        None => table::write(
            arguments.format,
            &runs,
            &rows,
            &mut BufWriter::new(io::stdout()),
        )?,
        Some(path) => {
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .create_new(!arguments.force)
                .open(path);
            let file: File = match file {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(model::Error::Exists { path: path.clone() }.into());
                }
                file => file.with_context(|| format!("cannot create {}", path.display()))?,
            };
            let mut out = BufWriter::new(file);
            table::write(arguments.format, &runs, &rows, &mut out)?;
            out.flush()
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    report_issues(&issues, global);
    if !global.quiet {
        eprintln!("{} windows of {} runs", rows.len(), runs.len());
    }
    Ok(outcome)
}
