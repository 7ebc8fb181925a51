//! `replay import`: turns a capture of sysdig or Falco into a trace.
//!
//! The trace begins with its provenance, which names the capture by its hash: importing a file again
//! gives the same trace.

use anyhow::Context;
use indicatif::HumanBytes;
use replay::import::scap::{Capture, Imported, import};
use serde::Serialize;
use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, IsTerminal, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};
use trace_format::{Provenance, ProvenanceSource};

use crate::{Global, Outcome, Usage, output::Output};

#[derive(clap::Args)]
pub struct Arguments {
    /// Capture in the scap format, gzip or raw; - for standard input
    #[arg(value_name = "CAPTURE")]
    capture: PathBuf,
    /// Trace to write; - for standard output. Default: the capture's name with .zst instead of .scap, here
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Overwrite the trace if it exists
    #[arg(long)]
    force: bool,
    /// zstd level: nothing waits for an import, so the default is a high one
    #[arg(long, default_value_t = 19, value_parser = clap::value_parser!(i32).range(1..=22))]
    level: i32,
}

/// What is said about an import.
#[derive(Serialize)]
struct Report {
    capture: String,
    trace: String,
    sections: u64,
    /// Event blocks, all of them in the trace.
    events: u64,
    damaged: u64,
    unknown_blocks: u64,
    state_records: u64,
    chunks: u64,
    trace_bytes: u64,
    issues: Vec<String>,
    issues_not_kept: u64,
}

/// Issues that are printed; `--json` has all.
const ISSUES_SHOWN_MAX: usize = 5;

pub fn run(arguments: &Arguments, global: Global) -> anyhow::Result<Outcome> {
    let output = match &arguments.output {
        Some(output) => output.clone(),
        None if arguments.capture == Path::new("-") => {
            return Err(Usage("a capture from standard input needs -o FILE".into()).into());
        }
        None => Path::new(arguments.capture.file_name().unwrap_or_default()).with_extension("zst"),
    };
    let mut capture = Capture::open(&arguments.capture)?;
    let provenance = provenance(&arguments.capture, arguments.level)?;
    let imported = if output == Path::new("-") {
        if io::stdout().is_terminal() {
            return Err(Usage("a trace is binary: name a file with -o, or pipe it".into()).into());
        }
        let (imported, mut out) = import(
            &mut capture,
            provenance,
            arguments.level,
            io::stdout().lock(),
        )?;
        out.flush().map_err(crate::output::failed)?;
        imported
    } else {
        to_file(&mut capture, provenance, arguments, &output)
            .with_context(|| format!("cannot import into {}", output.display()))?
    };
    let report = report(&arguments.capture, &output, &imported);
    if output != Path::new("-") {
        let mut out = Output::new();
        if global.json {
            out.line(&serde_json::to_string(&report)?)?;
        } else {
            out.line(&format!(
                "{}: {} event blocks and {} records of state in {} chunks, {}",
                report.trace,
                report.events,
                report.state_records,
                report.chunks,
                HumanBytes(report.trace_bytes)
            ))?;
        }
        out.flush()?;
    }
    for issue in report.issues.iter().take(ISSUES_SHOWN_MAX) {
        eprintln!("replay: {}: {issue}", report.capture);
    }
    let more = report.issues.len().saturating_sub(ISSUES_SHOWN_MAX) as u64 + report.issues_not_kept;
    if more > 0 {
        eprintln!("replay: {}: … and {more} more", report.capture);
    }
    Ok(Outcome {
        loss: !report.issues.is_empty(),
        ..Outcome::default()
    })
}

/// Writes beside the file and gives it its name when it is whole.
fn to_file(
    capture: &mut Capture,
    provenance: Provenance,
    arguments: &Arguments,
    output: &Path,
) -> anyhow::Result<Imported> {
    if output.exists() && !arguments.force {
        return Err(Usage(format!(
            "{} exists: --force overwrites it",
            output.display()
        ))
        .into());
    }
    let mut name = output.as_os_str().to_owned();
    name.push(".part");
    let part = PathBuf::from(name);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&part)
        .with_context(|| format!("cannot create {}", part.display()))?;
    let written = write(capture, provenance, arguments.level, file);
    let done = written.and_then(|imported| {
        std::fs::rename(&part, output)?;
        Ok(imported)
    });
    if done.is_err() {
        // What is left of a failed import is no use; the failure itself is what gets reported.
        let _ = std::fs::remove_file(&part);
    }
    done
}

fn write(
    capture: &mut Capture,
    provenance: Provenance,
    level: i32,
    file: File,
) -> anyhow::Result<Imported> {
    let (imported, out) = import(capture, provenance, level, BufWriter::new(file))?;
    out.into_inner()?.sync_all()?;
    Ok(imported)
}

/// What the trace is made of. Standard input cannot be read twice: the time stands for its hash.
fn provenance(path: &Path, level: i32) -> anyhow::Result<Provenance> {
    let (name, identity) = if path == Path::new("-") {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        let now = replay::time::rfc3339(now.as_nanos() as u64);
        (
            "standard input".to_owned(),
            format!("read at {now} by process {}", std::process::id()),
        )
    } else {
        let mut hasher = blake3::Hasher::new();
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        hasher
            .update_reader(file)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.file_name().unwrap_or_default();
        (
            name.to_string_lossy().into_owned(),
            format!("blake3 {}", hasher.finalize().to_hex()),
        )
    };
    Ok(Provenance {
        action: "import".to_owned(),
        tool_version: concat!("replay ", env!("CARGO_PKG_VERSION")).to_owned(),
        arguments: format!("scap, {identity}, level {level}"),
        selected: false,
        // A capture has no end mark: nothing says that it is complete.
        sources: vec![ProvenanceSource {
            name,
            ..ProvenanceSource::default()
        }],
    })
}

fn report(capture: &Path, output: &Path, imported: &Imported) -> Report {
    Report {
        capture: capture.display().to_string(),
        trace: output.display().to_string(),
        sections: imported.sections,
        events: imported.events,
        damaged: imported.damaged,
        unknown_blocks: imported.unknown_blocks,
        state_records: imported.state_records,
        chunks: imported.chunks,
        trace_bytes: imported.trace_bytes,
        issues: imported.issues.iter().map(ToString::to_string).collect(),
        issues_not_kept: imported.issues_not_kept,
    }
}
