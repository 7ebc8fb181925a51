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
//! | incomplete | 3 | cut short, damaged, chunks or parts missing or exchanged, or signed only in part |
//! | unsigned | 1 | whole, a key was given, and that key signed nothing |
//!
//! A trace whose recorder dropped events exits with 3 instead of 0: it is what was recorded, and that
//! is not all that happened.

use anyhow::Context as _;
use replay::{
    findings::uuid_text,
    parts::{self, Part},
    source::Input,
    time,
};
use serde::Serialize;
use std::{fs, io::Read, path::Path};
use trace_format::{
    Authenticity, ChunkSource, Clock, Context, LossTotal, PublicKey, SealedChunk, TraceReader,
    Verifier, hex,
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
    /// Of a rotated capture: which, the number of this part, and what is wrong between the parts
    /// that were given.
    capture: Option<String>,
    part: Option<u32>,
    part_issues: Vec<String>,
    #[serde(skip)]
    link: Part,
}

pub fn run(arguments: &Arguments, global: Global) -> anyhow::Result<Outcome> {
    let key = arguments
        .public_key
        .as_deref()
        .map(public_key)
        .transpose()?;
    let mut out = Output::new();
    let mut outcome = Outcome::default();
    let inputs = trace::inputs(&arguments.traces)?;
    // One part that is named alone is judged alone.
    let alone = matches!(&arguments.traces[..], [name] if !Path::new(name).is_dir());
    let mut verdicts = Vec::new();
    for input in inputs {
        let reader = match &input {
            Input::File(path) => TraceReader::open(path)?,
            Input::Stdin => TraceReader::from_read(std::io::stdin()),
            Input::Live(url) => anyhow::bail!(
                "{url}: a live stream has no end to verify; save it with replay live --save"
            ),
        };
        verdicts.push(verify(reader, &input, key)?);
    }
    if !alone {
        judge_parts(&mut verdicts);
    }
    for verdict in &verdicts {
        outcome.loss |= verdict.verdict == Judgement::Incomplete || verdict.dropped > 0;
        outcome.refused |= matches!(verdict.verdict, Judgement::Forged | Judgement::Unsigned);
        if global.json {
            out.line(&serde_json::to_string(verdict)?)?;
        } else {
            print(verdict, key, alone, &mut out)?;
        }
    }
    out.flush()?;
    Ok(outcome)
}

/// What is missing or exchanged between the parts makes those beside it incomplete.
fn judge_parts(verdicts: &mut [Verdict]) {
    let links: Vec<Part> = verdicts
        .iter()
        .map(|verdict| verdict.link.clone())
        .collect();
    for (verdict, wrong) in verdicts.iter_mut().zip(parts::check(&links)) {
        if !wrong.is_empty()
            && matches!(verdict.verdict, Judgement::Verified | Judgement::Unverified)
        {
            verdict.verdict = Judgement::Incomplete;
            verdict.verified = false;
        }
        verdict.part_issues = wrong;
    }
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
    let mut issues = std::mem::take(&mut facts.issues);
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
    let place = facts.link.place();
    let own = parts::own_loss(facts.loss, facts.before);
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
        seen: own.seen,
        dropped: own.dropped,
        issues,
        forgeries,
        capture: place.map(|(capture, _)| uuid_text(capture)),
        part: place.map(|(_, part)| part),
        part_issues: Vec::new(),
        link: facts.link,
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
    /// As the last chunk counts.
    loss: LossTotal,
    /// What parts before this trace had counted.
    before: LossTotal,
    link: Part,
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
        self.loss = header.loss;
        match chunk.decode() {
            Ok(decoded) => {
                self.link.add(&decoded);
                if header.number == 0 && self.link.continues.is_some() {
                    self.before = parts::counted_before(&decoded);
                }
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

fn print(
    verdict: &Verdict,
    key: Option<PublicKey>,
    alone: bool,
    out: &mut Output,
) -> anyhow::Result<()> {
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
        (Judgement::Incomplete, _) if !verdict.part_issues.is_empty() => {
            "whole, but NOT all of its capture, or not the original parts".to_owned()
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
    if let (Some(capture), Some(part)) = (&verdict.capture, verdict.part) {
        let others = if alone {
            "; the others were not looked at"
        } else {
            ""
        };
        out.line(&format!("  part     {part} of capture {capture}{others}"))?;
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
    for issue in verdict.issues.iter().chain(&verdict.part_issues) {
        out.line(&format!("  issue    {issue}"))?;
    }
    Ok(())
}
