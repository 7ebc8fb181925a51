//! `model`: train and judge anomaly models on labelled traces.
//!
//! Parses the command line, runs one command from [`commands`] and turns its outcome into the exit
//! code: 0 ok, 1 failed, 2 usage, 3 finished, but a trace was incomplete or damaged.

mod commands;
mod progress;

use std::{io, process::ExitCode};

use clap::{Parser, Subcommand};

/// Train and judge anomaly models on labelled traces.
#[derive(Parser)]
#[command(name = "model", version, about, after_help = EXIT_CODES)]
struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 ok, 1 failed, 2 usage, 3 finished, but a trace was incomplete or damaged.\n\
    LABELED is a directory with trace.zst and labels.csv, or one with several of these.";

/// Switches that every command has.
#[derive(clap::Args, Clone, Copy, Debug)]
struct Global {
    /// Machine-readable output, one fixed shape
    #[arg(long, global = true)]
    json: bool,
    /// Say more on standard error
    #[arg(short, long, global = true)]
    verbose: bool,
    /// Say only errors on standard error
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Write the windows of labelled traces as a table
    Features(commands::features::Arguments),
    /// Fit a forest on normal windows and choose its threshold from the labels
    Train(commands::train::Arguments),
    /// Judge a model on labelled traces
    Eval(commands::eval::Arguments),
    /// Say what a model is and where it comes from
    Info(commands::info::Arguments),
    /// Score every window of a trace
    Score(commands::score::Arguments),
    /// Say which features make windows stand out
    Explain(commands::score::ExplainArguments),
}

/// How a command that did not fail ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Outcome {
    /// A trace is incomplete or damaged, or its recorder dropped events.
    loss: bool,
}

/// A mistake in the arguments that shows only when they are used: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let global = arguments.global;
    let outcome = match arguments.command {
        Command::Features(arguments) => commands::features::run(&arguments, global),
        Command::Train(arguments) => commands::train::run(&arguments, global),
        Command::Eval(arguments) => commands::eval::run(&arguments, global),
        Command::Info(arguments) => commands::info::run(&arguments, global),
        Command::Score(arguments) => commands::score::run(&arguments, global),
        Command::Explain(arguments) => commands::score::explain(&arguments, global),
    };
    match outcome {
        Ok(Outcome { loss: true }) => ExitCode::from(3),
        Ok(_) => ExitCode::SUCCESS,
        // Whoever reads our output has seen enough.
        Err(error) if closed(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("model: {error:#}");
            ExitCode::from(if error.downcast_ref::<Usage>().is_some() {
                2
            } else {
                1
            })
        }
    }
}

fn closed(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}
