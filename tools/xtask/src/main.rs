//! `cargo xtask`: what builds, tests, measures and shows the project, beyond plain cargo.

mod bench;
mod demo;
mod ebpf;
mod engine;
mod fuzz;
mod matrix;
mod repo;
mod soak;
mod spec_check;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Build, test, bench and demo commands of the project"
)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// See the whole system work, in about a minute: record, inject, watch, detect, train
    Demo(demo::Args),
    /// Build the probes and put the object into recorder-ebpf/prebuilt
    Ebpf(ebpf::Args),
    /// Measure, and put the numbers into docs/benchmarks.md
    Bench(bench::Args),
    /// Run the fuzz targets, seeded from the vectors
    Fuzz(fuzz::Args),
    /// Compare SPEC.md's tables with the code
    SpecCheck,
    /// Start or stop a private Docker engine for tests and the demo
    Engine(engine::Args),
    /// Boot other kernels and record a known sequence on each
    Matrix(matrix::Args),
    /// What takes too long for a test: `soak inject`, `soak recorder`
    Soak(soak::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Ebpf(args) => ebpf::main(&args),
        Task::Demo(args) => demo::main(&args),
        Task::Bench(args) => bench::main(&args),
        Task::Fuzz(args) => fuzz::main(&args),
        Task::SpecCheck => spec_check::main(),
        Task::Engine(args) => engine::main(&args),
        Task::Matrix(args) => matrix::main(&args),
        Task::Soak(args) => soak::main(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
