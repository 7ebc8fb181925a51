//! `replay verify`: every hash, the chain, whether the trace is whole, and who vouches for it.
//!
//! Whoever can write a file can write another whole one. So a trace is called verified only when a
//! key that the caller gives has signed it to its end; without a key nothing is.
//!
//! | verdict | exit code | |
//! |---|---|---|
//! | verified | 0 | whole, and signed to the end by the given key |
//! | unverified | 0 | whole; no key was given, so this says nothing about its origin |
//! | forged | 1 | a signature that does not hold or is somebody else's, or a summary that lies |
//! | incomplete | 3 | cut short, damaged, chunks missing or exchanged, or signed only in part |
//! | unsigned | 1 | whole, a key was given, and that key signed nothing |
//!
//! A trace whose recorder dropped events exits with 3 instead of 0: it is what was recorded, and that
//! is not all that happened.

use anyhow::Context as _;
use replay::{findings::uuid_text, source::Input, time};
use serde::Serialize;
use std::{fs, io::Read, path::Path};
use trace_format::{
    Authenticity, ChunkSource, Clock, Context, PublicKey, SealedChunk, TraceReader, Verifier, hex,
};

use crate::{Global, Outcome, Usage, output::Output, trace};

#[derive(clap::Args)]
pub struct Arguments {
    /// Trace: a file, a directory of .zst files, or - for standard input
    #[arg(value_name = "TRACE", required = true)]
    pub traces: Vec<String>,
    /// The key that the trace must be signed with: a PEM file, as openssl pkey -pubout writes it, or 64
    /// hexadecimal digits
    #[arg(long, value_name = "KEY")]
    pub public_key: Option<String>,
}

/// A PEM file with an Ed25519 key has 113 bytes, with comments some more.
const KEY_BYTES_MAX: u64 = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Judgement {
    Verified,
    Unverified,
    Unsigned,
    Incomplete,
    Forged,
}

/// The verdict on one trace.
#[derive(Serialize)]
struct Verdict {
    trace: String,
    uuid: Option<String>,
    verdict: Judgement,
    /// Every chunk is there, unchanged since it was sealed, and the end was written.
    whole: bool,
    /// The end of the trace carries a signature that holds; by the given key, if one was given.
    signed: bool,
    /// Signed to the end by the key that was given.
    verified: bool,
    /// The key that the trace names. Without one from the caller it proves nothing.
    claimed_key: Option<String>,
    /// Chunks that signatures vouch for, the last of them, and the newest time in it.
    signed_chunks: u64,
    signed_through_chunk: Option<u64>,
    signed_through: Option<String>,
    chunks: u64,
    events: u64,
    /// Hash of the last chunk; with the chain it stands for all of them.
    head: Option<String>,
    seen: u64,
    dropped: u64,
    issues: Vec<String>,
    forgeries: Vec<String>,
}

pub fn run(arguments: &Arguments, global: Global) -> anyhow::Result<Outcome> {
    let key = arguments
        .public_key
        .as_deref()
        .map(public_key)
        .transpose()?;
    let mut out = Output::new();
    let mut outcome = Outcome::default();
    for input in trace::inputs(&arguments.traces)? {
        let reader = match &input {
            Input::File(path) => TraceReader::open(path)?,
            Input::Stdin => TraceReader::from_read(std::io::stdin()),
            Input::Live(url) => anyhow::bail!(
                "{url}: a live stream has no end to verify; save it with replay live --save"
            ),
        };
        let verdict = verify(reader, &input, key)?;
        outcome.loss |= verdict.verdict == Judgement::Incomplete || verdict.dropped > 0;
        outcome.refused |= matches!(verdict.verdict, Judgement::Forged | Judgement::Unsigned);
        if global.json {
            out.line(&serde_json::to_string(&verdict)?)?;
        } else {
            print(&verdict, key, &mut out)?;
        }
    }
    out.flush()?;
    Ok(outcome)
}

/// The key itself, or the file that holds it.
fn public_key(argument: &str) -> anyhow::Result<PublicKey> {
    if argument.len() == 64
        && !Path::new(argument).exists()
        && let Ok(key) = PublicKey::parse(argument)
    {
        return Ok(key);
    }
    let mut text = String::new();
    fs::File::open(argument)
        .and_then(|file| file.take(KEY_BYTES_MAX).read_to_string(&mut text))
        .with_context(|| format!("cannot read the public key {argument}"))?;
    PublicKey::parse(&text).map_err(|error| {
        let mut message = format!("{argument}: {error}");
        if text.contains("PRIVATE KEY") {
            message +=
                "; the public half is all that verifying takes: openssl pkey -in FILE -pubout";
        }
        Usage(message).into()
    })
}

fn verify(
    mut reader: TraceReader,
    input: &Input,
    key: Option<PublicKey>,
) -> anyhow::Result<Verdict> {
    let mut facts = Facts::default();
    let mut verifier = Verifier::new(key);
    // The reader checks hash, number and chain of every chunk, and the summary against them.
    while let Some(chunk) = reader.next_chunk()? {
        let len = chunk.bytes.len() as u64;
        verifier.chunk(&chunk.header, reader.offset().saturating_sub(len), len);
        facts.add(&chunk);
    }
    let mut issues = facts.issues;
    issues.extend(reader.issues().iter().map(ToString::to_string));
    if reader.issues_not_kept() > 0 {
        issues.push(format!("{} more issues", reader.issues_not_kept()));
    }
    let whole = issues.is_empty();
    let summary = reader.summary().cloned();
    let authenticity = verifier.finish(summary.as_ref(), whole);
    let verdict = judge(&authenticity, key, whole, facts.chunks);
    let mut forgeries = authenticity.forgeries;
    if authenticity.forgeries_not_kept > 0 {
        forgeries.push(format!("{} more", authenticity.forgeries_not_kept));
    }
    let through = authenticity.vouched_through;
    Ok(Verdict {
        trace: input.to_string(),
        uuid: facts.uuid.map(uuid_text),
        verdict,
        whole,
        signed: authenticity.signed_to_end,
        verified: verdict == Judgement::Verified,
        claimed_key: authenticity.claimed_key.map(|key| key.to_string()),
        signed_chunks: authenticity.vouched_chunks,
        signed_through_chunk: through.map(|(number, _)| number),
        signed_through: through.map(|(_, boot_ns)| time::show(facts.wall_ns(boot_ns), boot_ns)),
        chunks: facts.chunks,
        events: facts.events,
        head: facts.head.map(|head| hex(&head)),
        seen: facts.seen,
        dropped: facts.dropped,
        issues,
        forgeries,
    })
}

fn judge(
    authenticity: &Authenticity,
    key: Option<PublicKey>,
    whole: bool,
    chunks: u64,
) -> Judgement {
    let signed_whole = authenticity.signed_to_end && authenticity.vouched_chunks == chunks;
    match key {
        _ if authenticity.forged() => Judgement::Forged,
        _ if !whole => Judgement::Incomplete,
        None => Judgement::Unverified,
        Some(_) if signed_whole => Judgement::Verified,
        Some(_) if authenticity.claimed_key.is_none() => Judgement::Unsigned,
        // Signed up to somewhere: what follows could be anybody's.
        Some(_) => Judgement::Incomplete,
    }
}

/// What the chunks themselves say.
#[derive(Default)]
struct Facts {
    uuid: Option<[u8; 16]>,
    chunks: u64,
    events: u64,
    head: Option<[u8; 32]>,
    seen: u64,
    dropped: u64,
    clock: Option<Clock>,
    issues: Vec<String>,
}

impl Facts {
    fn add(&mut self, chunk: &SealedChunk) {
        let header = &chunk.header;
        self.uuid.get_or_insert(header.trace_uuid);
        self.chunks += 1;
        self.events += u64::from(header.rows);
        self.head = Some(header.hash);
        self.seen = header.loss.seen;
        self.dropped = header.loss.dropped;
        match chunk.decode() {
            Ok(decoded) => {
                for record in &decoded.context {
                    if let Context::Clock(clock) = &record.body {
                        self.clock = Some(*clock);
                    }
                }
            }
            Err(error) => self.issues.push(format!(
                "chunk {} has the right hash and does not decode: {error}",
                header.number
            )),
        }
    }

    fn wall_ns(&self, boot_ns: u64) -> Option<u64> {
        let clock = self.clock?;
        let wall_ns = i128::from(boot_ns) + i128::from(clock.wall_ns) - i128::from(clock.boot_ns);
        u64::try_from(wall_ns).ok()
    }
}

fn print(verdict: &Verdict, key: Option<PublicKey>, out: &mut Output) -> anyhow::Result<()> {
    let judgement = match (verdict.verdict, &verdict.claimed_key) {
        (Judgement::Verified, _) => {
            "verified: whole, and signed to its end by the given key".to_owned()
        }
        (Judgement::Unverified, None) => {
            "whole, unsigned: nothing is missing or changed since it was sealed, as far as hashes can tell"
                .to_owned()
        }
        (Judgement::Unverified, Some(_)) => {
            "whole, not verified: it is signed, but no --public-key was given to check by whom"
                .to_owned()
        }
        (Judgement::Unsigned, _) => {
            "NOT signed: whole, as far as hashes can tell, but the given key did not sign it".to_owned()
        }
        (Judgement::Incomplete, _) if verdict.whole => {
            "NOT signed to its end: anybody can have written what follows the last signature".to_owned()
        }
        (Judgement::Incomplete, _) => "NOT whole".to_owned(),
        (Judgement::Forged, _) => "FORGED".to_owned(),
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
    if let Some(claimed) = &verdict.claimed_key {
        let by = match key {
            Some(key) if key.to_string() == *claimed => "the given key".to_owned(),
            _ => format!("{claimed}, says the trace"),
        };
        out.line(&format!("  key      {by}"))?;
    }
    if let (Some(number), Some(time)) = (verdict.signed_through_chunk, &verdict.signed_through) {
        out.line(&format!(
            "  signed   {} of {} chunks, through chunk {number} ({time})",
            verdict.signed_chunks, verdict.chunks
        ))?;
    }
    out.line(&format!(
        "  dropped  {} of {} events, by the recorder's own count",
        verdict.dropped, verdict.seen
    ))?;
    for forgery in &verdict.forgeries {
        out.line(&format!("  forged   {forgery}"))?;
    }
    for issue in &verdict.issues {
        out.line(&format!("  issue    {issue}"))?;
    }
    Ok(())
}
