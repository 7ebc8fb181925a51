//! `replay info`: what a trace holds, from its summary; of an unfinished one, from the chunk headers.
//!
//! Of the bodies only the first chunk's is read: it holds the host and the first pair of clocks. With
//! `--columns` and `--marks` all are.

use replay::{
    event_view::family_name,
    findings::{short_id, uuid_text},
    import::scap::{
        families::PREFIX,
        stored::{Counted, Kind},
    },
    parts,
    resolve::State,
    source::Input,
    time,
};
use serde::Serialize;
use trace_format::{ChunkSource, Context, LossTotal, SealedChunk, Summary, TraceReader, read_info};

use super::{
    info_columns::{self, Columns, Weighing},
    info_marks::{self, Listing, Marks},
};
use crate::{Global, Outcome, output::Output, trace};

#[derive(clap::Args)]
pub struct Arguments {
    /// Trace: a file, a directory of .zst files, or - for standard input
    #[arg(value_name = "TRACE", required = true)]
    pub traces: Vec<String>,
    /// Say what each family and column weighs in the file; reads all of it
    #[arg(long)]
    pub columns: bool,
    /// List the marks, such as the acts of an injector; reads all of it
    #[arg(long)]
    pub marks: bool,
}

/// What is said about one trace.
#[derive(Serialize)]
struct Info {
    trace: String,
    uuid: String,
    /// It ends with a summary, so nothing after its last chunk is missing.
    complete: bool,
    hostname: String,
    kernel: String,
    arch: String,
    cpus: u32,
    recorder: String,
    first_boot_ns: u64,
    last_boot_ns: u64,
    /// `null` when the first chunk names no clock pair.
    first_time: Option<String>,
    last_time: Option<String>,
    duration_ns: u64,
    chunks: u64,
    file_bytes: u64,
    body_bytes: u64,
    events: u64,
    bytes_per_event: f64,
    records: u64,
    late_events: u64,
    cgroups: usize,
    families: Vec<Family>,
    /// Of an imported capture: its blocks, and the events they make together. `null` for other traces.
    capture: Option<Counted>,
    /// Those that the first chunk describes; later ones show in the events.
    containers_at_start: Vec<ContainerInfo>,
    seen: u64,
    dropped: u64,
    /// Of a later part of a rotated capture: which capture, and the number of the part.
    part_of: Option<String>,
    part: Option<u32>,
    issues: Vec<String>,
    /// With `--columns`; else `null`.
    columns: Option<Columns>,
    /// With `--marks`; else `null`.
    marks: Option<Marks>,
}

#[derive(Serialize)]
struct Family {
    family: String,
    id: u16,
    events: u64,
}

#[derive(Serialize)]
struct ContainerInfo {
    id: String,
    name: String,
    image: String,
    runtime: String,
    cgroup_id: u64,
}

pub fn run(arguments: &Arguments, global: Global) -> anyhow::Result<Outcome> {
    let mut out = Output::new();
    let mut outcome = Outcome::default();
    for (index, input) in trace::inputs(&arguments.traces)?.iter().enumerate() {
        let mut whole = Whole {
            weighing: arguments.columns.then(Weighing::default),
            listing: arguments.marks.then(Listing::default),
        };
        let mut info = match input {
            Input::File(path) => {
                let info = read_info(path)?;
                let mut reader = TraceReader::open(path)?;
                let first = reader.next_chunk().ok().flatten();
                if whole.is_wanted() {
                    first.iter().for_each(|chunk| whole.add(chunk));
                    while let Some(chunk) = reader.next_chunk()? {
                        whole.add(&chunk);
                    }
                }
                describe(
                    input,
                    &info.summary,
                    info.complete,
                    info.file_bytes,
                    first,
                    info.issues.iter(),
                )
            }
            Input::Stdin => from_stream(input, &mut whole)?,
            Input::Live(url) => {
                anyhow::bail!("{url}: replay info reads files; replay live shows a stream")
            }
        };
        info.marks = whole.listing.map(Listing::finish);
        if let Some(weighing) = whole.weighing {
            if weighing.failed > 0 {
                let failed = weighing.failed;
                info.issues
                    .push(format!("{failed} chunks do not decode and are not weighed"));
            }
            info.columns = Some(weighing.finish());
        }
        outcome.loss |= !info.complete || !info.issues.is_empty() || info.dropped > 0;
        if global.json {
            out.line(&serde_json::to_string(&info)?)?;
        } else {
            if index > 0 {
                out.line("")?;
            }
            print(&info, &mut out)?;
        }
    }
    out.flush()?;
    Ok(outcome)
}

/// What is asked of every chunk.
struct Whole {
    weighing: Option<Weighing>,
    listing: Option<Listing>,
}

impl Whole {
    fn is_wanted(&self) -> bool {
        self.weighing.is_some() || self.listing.is_some()
    }

    fn add(&mut self, chunk: &SealedChunk) {
        if let Some(weighing) = &mut self.weighing {
            weighing.add(chunk);
        }
        if let Some(listing) = &mut self.listing {
            listing.add(chunk);
        }
    }
}

/// Standard input cannot seek: every chunk passes by.
fn from_stream(input: &Input, whole: &mut Whole) -> anyhow::Result<Info> {
    let mut reader = TraceReader::from_read(std::io::stdin());
    let mut summary = None;
    let mut first = None;
    let mut offset = 0;
    while let Some(chunk) = reader.next_chunk()? {
        let header_len = chunk.bytes.len() as u64 - u64::from(chunk.header.body_compressed_len);
        summary
            .get_or_insert_with(|| Summary::new(chunk.header.trace_uuid))
            .add(&chunk.header, offset, header_len as u32);
        offset += chunk.bytes.len() as u64;
        whole.add(&chunk);
        first.get_or_insert(chunk);
    }
    let complete = reader.summary().is_some();
    let summary = summary.unwrap_or_default();
    let bytes = reader.offset();
    Ok(describe(
        input,
        &summary,
        complete,
        bytes,
        first,
        reader.issues().iter(),
    ))
}

fn describe<'a>(
    input: &Input,
    summary: &Summary,
    complete: bool,
    file_bytes: u64,
    first: Option<SealedChunk>,
    issues: impl Iterator<Item = &'a trace_format::Issue>,
) -> Info {
    let mut state = State::new();
    let decoded = first.and_then(|chunk| chunk.decode().ok());
    let continues = decoded.as_ref().and_then(parts::continues);
    let before = match (&decoded, continues) {
        (Some(decoded), Some(_)) => parts::counted_before(decoded),
        _ => LossTotal::default(),
    };
    let loss = parts::own_loss(summary.loss, before);
    let context = decoded.map(|decoded| decoded.context).unwrap_or_default();
    let mut cgroups: Vec<u64> = Vec::new();
    let mut imported = false;
    for record in &context {
        state.context(record);
        if let Context::EventType(ty) = &record.body {
            imported |= Kind::of(ty).is_some();
        }
        if let Context::Container(container) = &record.body {
            cgroups.push(container.cgroup_id);
        }
    }
    cgroups.sort_unstable();
    cgroups.dedup();
    let known = cgroups
        .into_iter()
        .filter_map(|cgroup_id| Some((cgroup_id, state.container(cgroup_id)?)));
    let containers_at_start = known
        .map(|(cgroup_id, container)| ContainerInfo {
            id: container.id.clone(),
            name: container.name.clone(),
            image: container.image.clone(),
            runtime: container.runtime.clone(),
            cgroup_id,
        })
        .collect();
    let host = state.host().cloned().unwrap_or_default();
    // Which families an import of ours has is known by their numbers.
    let kind = |family| Kind::of_number(family).filter(|_| imported);
    let mut capture = imported.then(Counted::default);
    for total in &summary.kinds {
        if let (Some(capture), Some(kind)) = (&mut capture, kind(total.kind)) {
            capture.add(kind, total.rows);
        }
    }
    let empty = summary.chunks == 0;
    let first_ns = if empty { 0 } else { summary.first_ns };
    Info {
        trace: input.to_string(),
        uuid: uuid_text(summary.trace_uuid),
        complete,
        hostname: host.hostname,
        kernel: host.kernel_release,
        arch: host.arch,
        cpus: host.cpus,
        recorder: host.recorder_version,
        first_boot_ns: first_ns,
        last_boot_ns: summary.last_ns,
        first_time: state.wall_ns(first_ns).map(time::rfc3339),
        last_time: state.wall_ns(summary.last_ns).map(time::rfc3339),
        duration_ns: summary.last_ns.saturating_sub(first_ns),
        chunks: summary.chunks,
        file_bytes,
        body_bytes: summary.body_bytes,
        events: summary.rows,
        bytes_per_event: if summary.rows == 0 {
            0.0
        } else {
            hundredths(file_bytes as f64 / summary.rows as f64)
        },
        records: summary.records,
        late_events: summary.late_rows,
        cgroups: summary.cgroups.len(),
        families: summary
            .kinds
            .iter()
            .map(|total| Family {
                family: match kind(total.kind) {
                    Some(kind) => format!("{PREFIX}{}", kind.name()),
                    None => family_name(total.kind).to_owned(),
                },
                id: total.kind,
                events: total.rows,
            })
            .collect(),
        capture,
        containers_at_start,
        seen: loss.seen,
        dropped: loss.dropped,
        part_of: continues.map(|continues| uuid_text(continues.capture_uuid)),
        part: continues.map(|continues| continues.part),
        issues: issues.map(ToString::to_string).collect(),
        columns: None,
        marks: None,
    }
}

fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn print(info: &Info, out: &mut Output) -> anyhow::Result<()> {
    let state = if info.complete {
        "complete"
    } else {
        "INCOMPLETE: the capture was not finished, or its end is missing"
    };
    let mut line = |name: &str, value: String| out.line(&format!("{name:<10} {value}"));
    line("file", info.trace.clone())?;
    line("trace", info.uuid.clone())?;
    if let (Some(capture), Some(part)) = (&info.part_of, info.part) {
        line("part", format!("{part} of capture {capture}"))?;
    }
    line("state", state.to_owned())?;
    if !info.hostname.is_empty() || !info.kernel.is_empty() {
        line(
            "host",
            format!(
                "{}, Linux {} {}, {} CPUs",
                info.hostname, info.kernel, info.arch, info.cpus
            ),
        )?;
    }
    let shown =
        |wall: &Option<String>, boot_ns| wall.clone().unwrap_or_else(|| time::show(None, boot_ns));
    line("from", shown(&info.first_time, info.first_boot_ns))?;
    line(
        "to",
        format!(
            "{}  ({})",
            shown(&info.last_time, info.last_boot_ns),
            time::duration(info.duration_ns)
        ),
    )?;
    line(
        "size",
        format!(
            "{} bytes in {} chunks, {} uncompressed, {:.2} bytes an event",
            info.file_bytes, info.chunks, info.body_bytes, info.bytes_per_event
        ),
    )?;
    line("events", info.events.to_string())?;
    if let Some(capture) = &info.capture {
        line(
            "capture",
            format!(
                "{} blocks, {} events after folding enter into exit, {} records of state",
                capture.blocks, capture.events, capture.state_records
            ),
        )?;
    }
    for family in &info.families {
        line("", format!("{:<14} {}", family.family, family.events))?;
    }
    line(
        "context",
        format!(
            "{} records, {} cgroups with events",
            info.records, info.cgroups
        ),
    )?;
    for container in &info.containers_at_start {
        let name = if container.name.is_empty() {
            "?"
        } else {
            &container.name
        };
        let image = if container.image.is_empty() {
            "image unknown"
        } else {
            &container.image
        };
        line(
            "container",
            format!("{} {name} ({image})", short_id(&container.id)),
        )?;
    }
    line(
        "loss",
        format!(
            "{} of {} events dropped by the recorder",
            info.dropped, info.seen
        ),
    )?;
    if info.late_events > 0 {
        line(
            "late",
            format!("{} events came after their watermark", info.late_events),
        )?;
    }
    for issue in &info.issues {
        line("issue", issue.clone())?;
    }
    if let Some(marks) = &info.marks {
        info_marks::print(marks, out)?;
    }
    if let Some(columns) = &info.columns {
        info_columns::print(columns, out)?;
    }
    Ok(())
}
