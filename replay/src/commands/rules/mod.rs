//! `replay rules`: check rule files, list and explain rules, run test cases.

mod check;
mod explain;
mod list;
mod test;

use std::path::PathBuf;

use super::rule_files::{RuleFiles, Selection};
use crate::{Global, Outcome};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Load rule files one after the other and print all errors and warnings; exit code 1 on errors
    Check {
        /// Rule files, in the order in which they are loaded
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Put the shipped rules before them
        #[arg(long)]
        with_default_rules: bool,
    },
    /// Name, priority, tags and techniques of rules
    List {
        #[command(flatten)]
        files: RuleFiles,
        #[command(flatten)]
        selection: Selection,
    },
    /// What a rule comes to: its whole condition, event types, fields, and what records them
    Explain {
        /// Name of the rule
        rule: String,
        #[command(flatten)]
        files: RuleFiles,
    },
    /// Run test cases; exit code 1 when a finding is missing or too much
    Test {
        /// Files of cases
        #[arg(required = true, value_name = "CASES")]
        cases: Vec<PathBuf>,
        #[command(flatten)]
        files: RuleFiles,
        #[command(flatten)]
        selection: Selection,
    },
}

pub fn run(arguments: &Arguments, global: Global) -> anyhow::Result<Outcome> {
    match &arguments.command {
        Command::Check {
            files,
            with_default_rules,
        } => check::run(files, *with_default_rules, global),
        Command::List { files, selection } => list::run(files, selection, global),
        Command::Explain { rule, files } => explain::run(rule, files, global),
        Command::Test {
            cases,
            files,
            selection,
        } => test::run(cases, files, selection, global),
    }
}
