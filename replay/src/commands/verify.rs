//! `replay verify`: every hash, the chain, and whether the trace is whole.
//!
//! "Whole" is all that can be said without a signature: whoever can write the file can write another
//! whole one. So an unsigned trace is never called genuine.

use replay::source::Input;
use serde::Serialize;
use trace_format::{ChunkSource, TraceReader, hex};

use crate::{Global, Outcome, output::Output, trace};

#[derive(clap::Args)]
pub struct Arguments {
    /// Trace: a file, a directory of .zst files, or - for standard input
    #[arg(value_name = "TRACE", required = true)]
    pub traces: Vec<String>,
}

/// The verdict on one trace.
#[derive(Serialize)]
struct Verdict {
    trace: String,
    uuid: Option<String>,
    /// Every chunk is there, unchanged since it was sealed, and the end was written.
    whole: bool,
    signed: bool,
    chunks: u64,
    events: u64,
    /// Hash of the last chunk; with the chain it stands for all of them.
    head: Option<String>,
    seen: u64,
    dropped: u64,
    issues: Vec<String>,
}

pub fn run(arguments: &Arguments, global: Global) -> anyhow::Result<Outcome> {
    let mut out = Output::new();
    let mut outcome = Outcome::default();
    for input in trace::inputs(&arguments.traces)? {
        let verdict = match &input {
            Input::File(path) => verify(TraceReader::open(path)?, &input)?,
            Input::Stdin => verify(TraceReader::from_read(std::io::stdin()), &input)?,
            Input::Live(url) => anyhow::bail!(
                "{url}: a live stream has no end to verify; save it with replay live --save"
            ),
        };
        outcome.loss |= !verdict.whole || verdict.dropped > 0;
        if global.json {
            out.line(&serde_json::to_string(&verdict)?)?;
        } else {
            print(&verdict, &mut out)?;
        }
    }
    out.flush()?;
    Ok(outcome)
}

fn verify(mut reader: TraceReader, input: &Input) -> anyhow::Result<Verdict> {
    let mut verdict = Verdict {
        trace: input.to_string(),
        uuid: None,
        whole: false,
        signed: false,
        chunks: 0,
        events: 0,
        head: None,
        seen: 0,
        dropped: 0,
        issues: Vec::new(),
    };
    // The reader checks hash, number and chain of every chunk, and the summary against them.
    while let Some(chunk) = reader.next_chunk()? {
        let header = &chunk.header;
        verdict
            .uuid
            .get_or_insert_with(|| replay::findings::uuid_text(header.trace_uuid));
        verdict.chunks += 1;
        verdict.events += u64::from(header.rows);
        verdict.head = Some(hex(&header.hash));
        verdict.seen = header.loss.seen;
        verdict.dropped = header.loss.dropped;
        if let Err(error) = chunk.decode() {
            verdict.issues.push(format!(
                "chunk {} has the right hash and does not decode: {error}",
                header.number
            ));
        }
    }
    verdict
        .issues
        .extend(reader.issues().iter().map(ToString::to_string));
    if reader.issues_not_kept() > 0 {
        verdict
            .issues
            .push(format!("{} more issues", reader.issues_not_kept()));
    }
    verdict.whole = verdict.issues.is_empty();
    Ok(verdict)
}

fn print(verdict: &Verdict, out: &mut Output) -> anyhow::Result<()> {
    let judgement = match verdict.whole {
        true => {
            "whole, unsigned: nothing is missing or changed since it was sealed, as far as hashes can tell"
        }
        false => "NOT whole",
    };
    out.line(&format!("{}: {judgement}", verdict.trace))?;
    if let Some(uuid) = &verdict.uuid {
        out.line(&format!("  trace    {uuid}"))?;
    }
    out.line(&format!(
        "  chunks   {}, {} events",
        verdict.chunks, verdict.events
    ))?;
    if let Some(head) = &verdict.head {
        out.line(&format!("  head     {head}"))?;
    }
    out.line(&format!(
        "  dropped  {} of {} events, by the recorder's own count",
        verdict.dropped, verdict.seen
    ))?;
    for issue in &verdict.issues {
        out.line(&format!("  issue    {issue}"))?;
    }
    Ok(())
}
