//! `replay`: inspect traces and run detection over them, again and again.
//!
//! Parses the command line, runs one command from [`commands`] and turns its outcome into the exit
//! code: 0 ok, 1 failed, 2 usage, 3 finished with loss or damage, 4 findings at or above `--fail-on`
//! (4 wins over 3).

mod commands;
mod output;
mod progress;
mod trace;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Inspect traces and run detection over them, again and again.
#[derive(Parser)]
#[command(name = "replay", version, about, after_help = EXIT_CODES)]
struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 ok, 1 failed, 2 usage, 3 finished with loss or damage, 4 findings at or above --fail-on.\n\
    TRACE is a file, several files, a directory of .zst files, - for standard input, or a live address.";

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
    /// What a trace holds: time range, hosts, totals, loss; without reading the chunks' bodies
    Info(commands::info::Arguments),
    /// Print the events of a trace in order
    Cat(commands::cat::Arguments),
    /// Check hashes, chain and completeness of a trace
    Verify(commands::verify::Arguments),
    /// Check everything a trace says about itself against everything else it says
    Doctor(commands::doctor::Arguments),
    /// Make a sound trace from a broken one, with a report of what is lost in it
    Recover(commands::recover::Arguments),
    /// Cut a time range, containers or kinds of events out of a trace, as a trace
    Slice(commands::slice::Arguments),
    /// Make one trace of several hosts, captures or parts
    Merge(commands::merge::Arguments),
    /// Run rules and statistics over a trace and print the findings
    Detect(commands::detect::Arguments),
    /// Check, list, explain and test rules
    Rules(commands::rules::Arguments),
    /// Show what two sets of rules find differently in the same traces
    Diff(commands::diff::Arguments),
    /// Draw who talks to whom: programs, containers, addresses
    #[cfg(feature = "export")]
    Graph(commands::graph::Arguments),
    /// What containers and processes did and used: system calls, I/O, connects, CPU, memory
    Stats(commands::stats::Arguments),
    /// Show the processes of a trace, each under the one that started it
    Tree(commands::tree::Arguments),
    /// Write the events of a trace, or what they tell of processes and connections, as a table
    #[cfg(feature = "export")]
    Export(commands::export::Arguments),
    /// Turn a capture of sysdig or Falco (.scap) into a trace
    #[cfg(feature = "import")]
    Import(commands::import::Arguments),
    /// Run detection on a recorder's live stream
    #[cfg(feature = "live")]
    Live(commands::live::Arguments),
}

/// How a command that did not fail ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Outcome {
    /// The trace is incomplete or damaged, or the recorder dropped events.
    loss: bool,
    /// A finding was at or above `--fail-on`.
    found: bool,
    /// What was checked is not as it must be (a trace by its key, rule files, test cases): exit code 1.
    refused: bool,
}

/// A mistake in the arguments that shows only when they are used: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let global = arguments.global;
    let outcome = match arguments.command {
        Command::Info(arguments) => commands::info::run(&arguments, global),
        Command::Cat(arguments) => commands::cat::run(&arguments, global),
        Command::Verify(arguments) => commands::verify::run(&arguments, global),
        Command::Doctor(arguments) => commands::doctor::run(&arguments, global),
        Command::Recover(arguments) => commands::recover::run(&arguments, global),
        Command::Slice(arguments) => commands::slice::run(&arguments, global),
        Command::Merge(arguments) => commands::merge::run(&arguments, global),
        Command::Detect(arguments) => commands::detect::run(&arguments, global),
        Command::Rules(arguments) => commands::rules::run(&arguments, global),
        Command::Diff(arguments) => commands::diff::run(&arguments, global),
        #[cfg(feature = "export")]
        Command::Graph(arguments) => commands::graph::run(&arguments, global),
        Command::Stats(arguments) => commands::stats::run(&arguments, global),
        Command::Tree(arguments) => commands::tree::run(&arguments, global),
        #[cfg(feature = "export")]
        Command::Export(arguments) => commands::export::run(&arguments, global),
        #[cfg(feature = "import")]
        Command::Import(arguments) => commands::import::run(&arguments, global),
        #[cfg(feature = "live")]
        Command::Live(arguments) => commands::live::run(&arguments, global),
    };
    match outcome {
        Ok(Outcome { refused: true, .. }) => ExitCode::from(1),
        Ok(Outcome { found: true, .. }) => ExitCode::from(4),
        Ok(Outcome { loss: true, .. }) => ExitCode::from(3),
        Ok(_) => ExitCode::SUCCESS,
        // Whoever reads our output has seen enough.
        Err(error) if error.downcast_ref::<output::Closed>().is_some() => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("replay: {error:#}");
            ExitCode::from(if error.downcast_ref::<Usage>().is_some() {
                2
            } else {
                1
            })
        }
    }
}
