//! `replay merge`: one trace of several hosts, captures or parts.

use replay::{findings::uuid_text, source::Input};
use serde::Serialize;
use trace_format::{MergeInput, TraceReader, merge};

use super::derive::{Lost, NewTrace, OutputArguments, Reopen, TOOL, headline};
use crate::{Global, Outcome, Usage, output::Output, trace};

#[derive(clap::Args)]
pub struct Arguments {
    /// Traces: files, directories of .zst files, or - for standard input
    #[arg(value_name = "TRACE", required = true)]
    pub traces: Vec<String>,
    #[command(flatten)]
    pub output: OutputArguments,
}

#[derive(Serialize)]
struct Report {
    output: String,
    uuid: String,
    sources: Vec<Source>,
    /// Different boots of hosts: with more than one, ids and times are shifted.
    boots: usize,
    captures: usize,
    chunks: u64,
    events: u64,
    bytes: u64,
    forgotten: u64,
    lost: Vec<Lost>,
}

#[derive(Serialize)]
struct Source {
    name: String,
    uuid: String,
    chunks: u64,
    complete: bool,
}

pub fn run(arguments: &Arguments, global: Global) -> anyhow::Result<Outcome> {
    let output = &arguments.output.output;
    let named: Vec<Input> = trace::inputs(&arguments.traces)?;
    if named.len() < 2 {
        return Err(Usage("one trace alone is merged already: name two or more".into()).into());
    }
    let mut inputs = Vec::with_capacity(named.len());
    for input in &named {
        inputs.push(Reopen::new(input, output)?);
    }
    let new = NewTrace::new(&arguments.output, &inputs.iter().collect::<Vec<_>>())?;
    let openers: Vec<Box<dyn Fn() -> Result<TraceReader, trace_format::Error> + '_>> = inputs
        .iter()
        .map(|input| Box::new(|| input.open()) as _)
        .collect();
    let sources: Vec<MergeInput<'_>> = inputs
        .iter()
        .zip(&openers)
        .map(|(input, open)| MergeInput {
            name: input.name(),
            open,
        })
        .collect();
    let merged = new.write(|out| Ok(merge(&sources, TOOL, out)?.0))?;

    let names: Vec<String> = inputs.iter().map(Reopen::name).collect();
    let report = Report {
        output: output.display().to_string(),
        uuid: uuid_text(merged.trace_uuid),
        sources: merged
            .provenance
            .sources
            .iter()
            .map(|source| Source {
                name: source.name.clone(),
                uuid: uuid_text(source.trace_uuid),
                chunks: source.chunks,
                complete: source.complete,
            })
            .collect(),
        boots: merged.boots,
        captures: merged.captures,
        chunks: merged.chunks,
        events: merged.events,
        bytes: merged.bytes,
        forgotten: merged.forgotten,
        lost: merged
            .discards
            .iter()
            .map(|discard| Lost::new(discard, &names))
            .collect(),
    };
    let outcome = Outcome {
        loss: !report.lost.is_empty()
            || merged.forgotten > 0
            || report.sources.iter().any(|source| !source.complete),
        ..Outcome::default()
    };
    let mut out = Output::new();
    if global.json {
        out.line(&serde_json::to_string(&report)?)?;
    } else {
        out.line(&headline(
            output,
            merged.trace_uuid,
            report.chunks,
            report.events,
            report.bytes,
        ))?;
        for source in &report.sources {
            let state = if source.complete { "" } else { ", INCOMPLETE" };
            out.line(&format!(
                "  from     {}: trace {}, {} chunks{state}",
                source.name, source.uuid, source.chunks
            ))?;
        }
        if report.boots > 1 {
            out.line(&format!(
                "  hosts    {} boots: times are wall times, pids and cgroups are shifted",
                report.boots
            ))?;
        }
        for lost in &report.lost {
            out.line(&lost.line())?;
        }
    }
    out.flush()?;
    Ok(outcome)
}
