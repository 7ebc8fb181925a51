//! `replay slice`: a part of a trace, as a trace.

use replay::{
    findings::uuid_text,
    import::scap::{families::PREFIX, lists::List},
    time::Point,
};
use serde::Serialize;
use std::path::Path;
use trace_format::{SliceOptions, SlicePoint, Sliced, columns::FAMILIES, slice};

use super::derive::{Lost, NewTrace, OutputArguments, TOOL, headline, one_input};
use crate::{Global, Outcome, Usage, output::Output};

#[derive(clap::Args)]
pub struct Arguments {
    /// Trace: a file, or - for standard input
    #[arg(value_name = "TRACE")]
    pub trace: String,
    #[command(flatten)]
    pub output: OutputArguments,
    /// Only from this time on: 2026-11-22T17:08:34Z, boot+1234.5, or 10s after the trace's start
    #[arg(long, value_name = "TIME")]
    pub from: Option<Point>,
    /// Only before this time
    #[arg(long, value_name = "TIME")]
    pub to: Option<Point>,
    /// Only events of this container: its name, its id or the first 12 characters of it, or host.
    /// May be given several times
    #[arg(long, value_name = "CONTAINER")]
    pub container: Vec<String>,
    /// Only events of this kind, such as exec, open or one that the trace declares. May be given several
    /// times
    #[arg(long, value_name = "KIND")]
    pub kind: Vec<String>,
}

#[derive(Serialize)]
struct Report {
    output: String,
    uuid: String,
    source_uuid: String,
    source_chunks: u64,
    /// Of the source, decoded; the others were passed over by their headers.
    chunks_read: u64,
    from_boot_ns: Option<u64>,
    to_boot_ns: Option<u64>,
    /// Of the containers that were named.
    cgroups: Vec<u64>,
    chunks: u64,
    events: u64,
    bytes: u64,
    /// Context for which there was no room.
    forgotten: u64,
    lost: Vec<Lost>,
}

pub fn run(arguments: &Arguments, global: Global) -> anyhow::Result<Outcome> {
    let (families, declared) = kinds(&arguments.kind);
    let output = &arguments.output.output;
    let input = one_input(&arguments.trace, output)?;
    let new = NewTrace::new(&arguments.output, &[&input])?;
    let options = SliceOptions {
        name: input.name(),
        tool_version: TOOL.to_owned(),
        from: arguments.from.map(point),
        to: arguments.to.map(point),
        containers: arguments.container.clone(),
        families,
        declared,
        arguments: said(arguments),
    };
    let sliced = new
        .write(|out| {
            let (sliced, _) = slice(&|| input.open(), &options, out)?;
            if !arguments.container.is_empty() && sliced.cgroups.is_empty() {
                anyhow::bail!(
                    "no container of {} is called {}; replay info names some",
                    arguments.trace,
                    arguments.container.join(" or ")
                );
            }
            let missing = arguments.kind.iter().find(|kind| {
                family(kind).is_none() && !sliced.declared.contains(kind.as_str())
            });
            if let Some(kind) = missing {
                let names: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
                let names = names.join(", ");
                return Err(Usage(format!(
                    "{kind} is no kind of event: the trace declares none of that name, and its own are {names}"
                ))
                .into());
            }
            Ok(sliced)
        })
        .map_err(|error| match error.downcast_ref() {
            Some(trace_format::Error::EmptyRange { .. } | trace_format::Error::NoClock) => {
                Usage(format!("{error:#}")).into()
            }
            _ => error,
        })?;
    report(&sliced, &options, output, global)?;
    Ok(Outcome {
        loss: !sliced.discards.is_empty() || sliced.forgotten > 0,
        ..Outcome::default()
    })
}

fn family(name: &str) -> Option<u16> {
    let family = FAMILIES.iter().find(|family| family.name == name);
    family.map(|family| family.id)
}

/// Ids of our own families, and names of those that the trace declares. A block of an imported capture
/// means little without the capture's lists of processes and descriptors, and rows of parts belong to
/// those that follow them: they stay, too.
fn kinds(wanted: &[String]) -> (Vec<u16>, Vec<String>) {
    let families = wanted.iter().filter_map(|name| family(name)).collect();
    let declared = wanted.iter().filter(|name| family(name).is_none());
    let mut declared: Vec<String> = declared.cloned().collect();
    if declared.iter().any(|name| name.starts_with(PREFIX)) {
        let lists = List::ALL.iter().map(|list| list.name()).chain(["part"]);
        declared.extend(lists.map(|name| format!("{PREFIX}{name}")));
    }
    (families, declared)
}

fn point(point: Point) -> SlicePoint {
    match point {
        Point::Boot(ns) => SlicePoint::Boot(ns),
        Point::Wall(ns) => SlicePoint::Wall(ns),
        Point::Offset(ns) => SlicePoint::Offset(ns),
    }
}

/// The selection as the provenance keeps it.
fn said(arguments: &Arguments) -> String {
    let mut said = Vec::new();
    for (name, point) in [("from", arguments.from), ("to", arguments.to)] {
        said.extend(point.map(|point| match point {
            Point::Wall(_) | Point::Boot(_) => format!("--{name} {point}"),
            Point::Offset(ns) => format!("--{name} {ns}ns"),
        }));
    }
    for container in &arguments.container {
        said.push(format!("--container {container}"));
    }
    for kind in &arguments.kind {
        said.push(format!("--kind {kind}"));
    }
    said.join(" ")
}

fn report(
    sliced: &Sliced,
    options: &SliceOptions,
    output: &Path,
    global: Global,
) -> anyhow::Result<()> {
    let names = [options.name.clone()];
    let source = &sliced.provenance.sources[0];
    let report = Report {
        output: output.display().to_string(),
        uuid: uuid_text(sliced.trace_uuid),
        source_uuid: uuid_text(source.trace_uuid),
        source_chunks: sliced.source_chunks,
        chunks_read: sliced.chunks_read,
        from_boot_ns: (sliced.from_ns != 0).then_some(sliced.from_ns),
        to_boot_ns: (sliced.to_ns != u64::MAX).then_some(sliced.to_ns),
        cgroups: sliced.cgroups.clone(),
        chunks: sliced.chunks,
        events: sliced.events,
        bytes: sliced.bytes,
        forgotten: sliced.forgotten,
        lost: sliced
            .discards
            .iter()
            .map(|discard| Lost::new(discard, &names))
            .collect(),
    };
    let mut out = Output::new();
    if global.json {
        out.line(&serde_json::to_string(&report)?)?;
        return out.flush();
    }
    out.line(&headline(
        output,
        sliced.trace_uuid,
        report.chunks,
        report.events,
        report.bytes,
    ))?;
    out.line(&format!(
        "  from     trace {}, {} of {} chunks read",
        report.source_uuid, report.chunks_read, report.source_chunks
    ))?;
    for lost in &report.lost {
        out.line(&lost.line())?;
    }
    if report.forgotten > 0 {
        out.line(&format!(
            "  context  {} processes, users or cgroups did not fit into the checkpoint",
            report.forgotten
        ))?;
    }
    out.flush()
}
