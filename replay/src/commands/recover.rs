//! `replay recover`: a sound trace from a broken one, with its own report in it.

use anyhow::{Context, bail};
use replay::findings::uuid_text;
use serde::Serialize;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};
use trace_format::{RecoverOptions, Recovered, recover};

use super::derive::{Lost, NewTrace, OutputArguments, Reopen, TOOL, headline, one_input};
use crate::{Global, Outcome, output::Output};

#[derive(clap::Args)]
pub struct Arguments {
    /// The broken trace: a file, or - for standard input. It is only read
    #[arg(value_name = "BROKEN")]
    pub trace: String,
    #[command(flatten)]
    pub output: OutputArguments,
    /// Keep what was left out in files of this directory, one for each stretch
    #[arg(long, value_name = "DIR")]
    pub quarantine: Option<PathBuf>,
}

#[derive(Serialize)]
struct Report {
    output: String,
    uuid: String,
    source_uuid: String,
    source_chunks: u64,
    /// Nothing is lost.
    lossless: bool,
    chunks: u64,
    events: u64,
    bytes: u64,
    /// Chunks that were put back in their place.
    displaced: u64,
    lost: Vec<Lost>,
    remarks: Vec<String>,
    /// Stretches of the input that are in no chunk of the output.
    left_out: Vec<Stretch>,
    not_listed: u64,
}

#[derive(Serialize)]
struct Stretch {
    offset: u64,
    bytes: u64,
    /// Where it is kept, with `--quarantine`.
    file: Option<String>,
}

pub fn run(arguments: &Arguments, global: Global) -> anyhow::Result<Outcome> {
    let output = &arguments.output.output;
    let input = one_input(&arguments.trace, output)?;
    let new = NewTrace::new(&arguments.output, &[&input])?;
    if let Some(directory) = &arguments.quarantine {
        prepare(directory)?;
    }
    let options = RecoverOptions {
        name: input.name(),
        tool_version: TOOL.to_owned(),
    };
    let recovered = new.write(|out| {
        let (recovered, _) = recover(&|| input.open(), &options, out)?;
        Ok(recovered)
    })?;
    let mut left_out = Vec::new();
    for (offset, bytes) in &recovered.left_out {
        let file = match &arguments.quarantine {
            Some(directory) => Some(keep(&input, *offset, *bytes, directory)?),
            None => None,
        };
        left_out.push(Stretch {
            offset: *offset,
            bytes: *bytes,
            file,
        });
    }
    report(&recovered, &options, left_out, output, global)?;
    Ok(Outcome {
        loss: !recovered.discards.is_empty() || recovered.not_listed > 0,
        ..Outcome::default()
    })
}

fn prepare(directory: &Path) -> anyhow::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new()
        .mode(0o700)
        .create(directory)
        .with_context(|| format!("cannot make the quarantine {}", directory.display()))
}

/// Copies a stretch of the input as it is.
fn keep(input: &Reopen, offset: u64, bytes: u64, directory: &Path) -> anyhow::Result<String> {
    let path = directory.join(format!("byte-{offset:012}-{bytes}.damaged"));
    let action = || {
        format!(
            "cannot keep {bytes} bytes at {offset} in {}",
            path.display()
        )
    };
    let mut from = File::open(input.path()).with_context(action)?;
    from.seek(SeekFrom::Start(offset)).with_context(action)?;
    let mut to = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .with_context(action)?;
    let copied = io::copy(&mut from.take(bytes), &mut to).with_context(action)?;
    if copied != bytes {
        bail!("{}: the input changed while it was read", action());
    }
    Ok(path.display().to_string())
}

fn report(
    recovered: &Recovered,
    options: &RecoverOptions,
    left_out: Vec<Stretch>,
    output: &Path,
    global: Global,
) -> anyhow::Result<()> {
    let source = &recovered.provenance.sources[0];
    let names = [options.name.clone()];
    let report = Report {
        output: output.display().to_string(),
        uuid: uuid_text(recovered.trace_uuid),
        source_uuid: uuid_text(source.trace_uuid),
        source_chunks: source.chunks,
        lossless: recovered.discards.is_empty(),
        chunks: recovered.chunks,
        events: recovered.events,
        bytes: recovered.bytes,
        displaced: recovered.displaced,
        lost: recovered
            .discards
            .iter()
            .map(|discard| Lost::new(discard, &names))
            .collect(),
        remarks: recovered.remarks.clone(),
        left_out,
        not_listed: recovered.not_listed,
    };
    let mut out = Output::new();
    if global.json {
        out.line(&serde_json::to_string(&report)?)?;
        return out.flush();
    }
    out.line(&headline(
        output,
        recovered.trace_uuid,
        report.chunks,
        report.events,
        report.bytes,
    ))?;
    out.line(&format!(
        "  from     trace {}, {} good chunks",
        report.source_uuid, report.source_chunks
    ))?;
    out.line(match report.lossless {
        true => "  nothing is lost",
        false => "  something is lost; the new trace says so itself",
    })?;
    for lost in &report.lost {
        out.line(&lost.line())?;
    }
    for remark in &report.remarks {
        out.line(&format!("  note     {remark}"))?;
    }
    for stretch in &report.left_out {
        if let Some(file) = &stretch.file {
            out.line(&format!("  kept     {} bytes in {file}", stretch.bytes))?;
        }
    }
    if report.not_listed > 0 {
        out.line(&format!(
            "  and {} more that are not listed",
            report.not_listed
        ))?;
    }
    out.flush()
}
