//! Makes a sound trace from a broken one: what holds is written again by the normal writer, what does
//! not is left out, and the output itself says what is missing and where.
//!
//! Two passes over the input, which is only read. The first finds out what there is (whose trace it
//! is, chunks out of their place, the last hash), because the output begins with it. The second
//! writes. Nothing of a chunk whose hash fails, or that does not decode, reaches the output.
//! SPEC.md §Recovery and §Derived traces.

use std::{
    collections::{BTreeMap, HashMap},
    io::Write,
};

use crate::{
    Context, DecodedChunk, Discard, Error, IssueKind, Provenance, ProvenanceSource, SealedChunk,
    Summary, TraceReader,
    frames::Frames,
    header::MINOR,
    hex,
    limits::*,
    pieces::{self, Piece},
    rewrite::Rewriter,
};

/// Chunks out of their place that are put back: more than this is no accident, and each costs memory.
pub const DISPLACED_MAX: usize = 65_536;
/// Holes in the numbers that are remembered, to know a displaced chunk from a repeated one.
const HOLES_MAX: usize = 65_536;
/// Traces whose chunks are counted to find out which one the input is.
const TRACES_MAX: usize = 64;

/// Who recovers what.
#[derive(Clone, Debug, Default)]
pub struct RecoverOptions {
    /// Of the input, for the provenance.
    pub name: String,
    /// Program and version.
    pub tool_version: String,
}

/// What was done.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    pub trace_uuid: [u8; 16],
    pub provenance: Provenance,
    /// In the output.
    pub chunks: u64,
    pub events: u64,
    pub bytes: u64,
    /// Chunks that were put back in their place.
    pub displaced: u64,
    /// What is lost, as the output says it too; empty: nothing.
    pub discards: Vec<Discard>,
    /// What was wrong without costing anything.
    pub remarks: Vec<String>,
    /// What of the input is in no chunk of the output and no frame of its end: (offset, bytes).
    pub left_out: Vec<(u64, u64)>,
    /// Beyond the first [`ISSUES_MAX`] of either list.
    pub not_listed: u64,
}

/// Recovers the input that `open` opens from its start, each time it is called. A stream cannot be
/// recovered: it must be a file.
pub fn recover<W: Write>(
    open: &dyn Fn() -> Result<TraceReader, Error>,
    options: &RecoverOptions,
    out: W,
) -> Result<(Recovered, W), Error> {
    let mut survey = survey(&mut open()?.into_frames(), None)?;
    if survey.most_chunks != survey.trace_uuid {
        let uuid = survey.most_chunks;
        survey = self::survey(&mut open()?.into_frames(), Some(uuid))?;
    }
    let provenance = Provenance {
        action: "recover".to_owned(),
        tool_version: options.tool_version.clone(),
        arguments: String::new(),
        selected: false,
        sources: vec![ProvenanceSource {
            trace_uuid: survey.trace_uuid,
            chain_head: survey.head,
            chunks: survey.chunks,
            name: options.name.clone(),
            complete: survey.complete,
        }],
    };
    let recovered = Recovered {
        trace_uuid: provenance.trace_uuid(),
        provenance,
        ..Recovered::default()
    };
    let rewriter = Rewriter::new(recovered.trace_uuid, out);
    Recovery {
        rewriter,
        recovered,
        survey,
        next: 0,
        last: None,
        pending: Vec::new(),
        told_minor: false,
        written: 0,
    }
    .run(&mut open()?.into_frames())
}

/// What the first pass found.
#[derive(Default)]
struct Survey {
    trace_uuid: [u8; 16],
    /// The trace that most chunks belong to.
    most_chunks: [u8; 16],
    chunks: u64,
    head: [u8; 32],
    complete: bool,
    /// Number → offset and length, of chunks that come after a later one.
    displaced: BTreeMap<u64, (u64, usize)>,
}

fn survey(frames: &mut Frames, wanted: Option<[u8; 16]>) -> Result<Survey, Error> {
    let mut survey = Survey::default();
    let mut uuid = wanted;
    let mut votes: HashMap<[u8; 16], u64> = HashMap::new();
    // First → last number of each hole.
    let mut holes: BTreeMap<u64, u64> = BTreeMap::new();
    let mut next = 0;
    let mut sound = true;
    let mut last = None;
    let mut summary: Option<Box<Summary>> = None;
    while let Some(placed) = pieces::next(frames)? {
        let chunk = match placed.piece {
            Piece::Chunk(chunk) => chunk,
            Piece::Summary(found) => {
                summary = Some(found);
                continue;
            }
            Piece::SeekTable => continue,
            Piece::Unknown | Piece::Damage(_) => {
                sound &= summary.is_some();
                continue;
            }
        };
        let header = &chunk.header;
        if decode(&chunk).is_err() {
            sound = false;
            continue;
        }
        let count = votes.len();
        match votes.get_mut(&header.trace_uuid) {
            Some(votes) => *votes += 1,
            None if count < TRACES_MAX => {
                votes.insert(header.trace_uuid, 1);
            }
            None => {}
        }
        if header.trace_uuid != *uuid.get_or_insert(header.trace_uuid) {
            sound = false;
            continue;
        }
        let number = header.number;
        if number >= next {
            sound &= number == next && last.unwrap_or([0; 32]) == header.prev_hash;
            if number > next && holes.len() < HOLES_MAX {
                holes.insert(next, number - 1);
            }
            next = number.saturating_add(1);
            last = Some(header.hash);
            survey.chunks += 1;
            survey.head = header.hash;
            continue;
        }
        sound = false;
        let hole = holes
            .range(..=number)
            .next_back()
            .map(|(first, last)| (*first, *last))
            .filter(|(_, last)| number <= *last);
        if let Some((first, last)) = hole
            && survey.displaced.len() < DISPLACED_MAX
        {
            holes.remove(&first);
            if first < number {
                holes.insert(first, number - 1);
            }
            if number < last {
                holes.insert(number + 1, last);
            }
            survey.chunks += 1;
            survey
                .displaced
                .insert(number, (placed.offset, chunk.bytes.len()));
        }
    }
    survey.trace_uuid = match uuid {
        Some(uuid) if survey.chunks > 0 => uuid,
        _ if !frames.is_trace => return Err(frames.not_a_trace()),
        _ => {
            return Err(Error::NothingLeft {
                path: frames.input.path.clone(),
            });
        }
    };
    survey.most_chunks = votes
        .iter()
        // The UUID decides between equals: the order of a map must not.
        .max_by_key(|(uuid, votes)| (**votes, **uuid == survey.trace_uuid, **uuid))
        .map_or(survey.trace_uuid, |(uuid, _)| *uuid);
    survey.complete = sound
        && summary.is_some_and(|summary| {
            summary.trace_uuid == survey.trace_uuid
                && summary.chunks == next
                && summary.head_hash == survey.head
        });
    Ok(survey)
}

/// A chunk whose hash holds can still be nonsense.
fn decode(chunk: &SealedChunk) -> Result<DecodedChunk, String> {
    chunk
        .decode()
        .map_err(|error| format!("chunk {} does not decode: {error}", chunk.header.number))
}

/// The second pass.
struct Recovery<W> {
    rewriter: Rewriter<W>,
    recovered: Recovered,
    survey: Survey,
    /// Number in the input of the chunk that comes next.
    next: u64,
    last: Option<Last>,
    /// Losses whose end is not known yet.
    pending: Vec<Pending>,
    told_minor: bool,
    /// Discards that are in the output.
    written: usize,
}

/// The chunk that was written last.
struct Last {
    hash: [u8; 32],
    last_ns: u64,
}

struct Pending {
    discard: Discard,
    /// It need not have cost anything: when the chain goes on behind it, it did not.
    harmless: bool,
}

impl<W: Write> Recovery<W> {
    fn run(mut self, frames: &mut Frames) -> Result<(Recovered, W), Error> {
        let mut summary: Option<Box<Summary>> = None;
        let mut seek_table = false;
        while let Some(placed) = pieces::next(frames)? {
            let (offset, bytes) = (placed.offset, placed.bytes);
            match placed.piece {
                Piece::Chunk(chunk) => self.chunk(frames, offset, *chunk)?,
                Piece::Summary(found) => summary = Some(found),
                Piece::SeekTable => seek_table = true,
                Piece::Unknown => {
                    let reason = "a frame of a kind that this version does not know".to_owned();
                    self.leave_out(offset, bytes, reason, false);
                }
                Piece::Damage(what) => {
                    // Behind the last chunk only the overview is left to be damaged.
                    let end = matches!(what, IssueKind::NoSummary | IssueKind::NoSeekTable);
                    let reason = match what {
                        IssueKind::Truncated { reason } => format!("cut short: {reason}"),
                        IssueKind::Damaged { reason } => reason,
                        _ => "the end of the trace is cut short".to_owned(),
                    };
                    if end || summary.is_some() {
                        self.remark(format!("at byte {offset}: {reason}; {bytes} bytes"));
                        self.leave_out_region(offset, bytes);
                    } else {
                        self.leave_out(offset, bytes, reason, true);
                    }
                }
            }
        }
        self.put_back(frames, u64::MAX)?;
        if summary.as_ref().is_some_and(|it| it.index_complete) && !seek_table {
            self.remark("no seek table behind the summary".to_owned());
        }
        self.end(summary.as_deref(), frames.input.offset())?;
        let Recovery {
            rewriter,
            mut recovered,
            ..
        } = self;
        recovered.events = rewriter.events;
        let (out, chunks, bytes) = rewriter.finish()?;
        (recovered.chunks, recovered.bytes) = (chunks, bytes);
        Ok((recovered, out))
    }

    fn chunk(&mut self, frames: &mut Frames, offset: u64, chunk: SealedChunk) -> Result<(), Error> {
        let bytes = chunk.bytes.len() as u64;
        let number = chunk.header.number;
        if chunk.header.trace_uuid != self.survey.trace_uuid {
            let reason = format!("a chunk of trace {}", hex(&chunk.header.trace_uuid));
            self.leave_out(offset, bytes, reason, true);
            return Ok(());
        }
        if self
            .survey
            .displaced
            .get(&number)
            .is_some_and(|(at, _)| *at == offset)
        {
            return Ok(());
        }
        if number < self.next {
            let reason = format!("chunk {number} is there again");
            self.leave_out(offset, bytes, reason, false);
            return Ok(());
        }
        match decode(&chunk) {
            Ok(decoded) => {
                self.put_back(frames, number)?;
                if let Err(error) = self.rewriter.declare(&decoded.context) {
                    self.leave_out(offset, bytes, error.to_string(), false);
                    return Ok(());
                }
                self.write(offset, &chunk, decoded)
            }
            Err(reason) => {
                self.leave_out(offset, bytes, reason, false);
                Ok(())
            }
        }
    }

    /// Writes the displaced chunks whose place is before chunk `number`.
    fn put_back(&mut self, frames: &mut Frames, number: u64) -> Result<(), Error> {
        let places: Vec<(u64, (u64, usize))> = self
            .survey
            .displaced
            .range(self.next..number.max(self.next))
            .map(|(number, place)| (*number, *place))
            .collect();
        for (displaced, (offset, len)) in places {
            let chunk = SealedChunk::from_bytes(frames.input.read_at(offset, len)?)?;
            let Ok(decoded) = decode(&chunk) else {
                continue;
            };
            if let Err(error) = self.rewriter.declare(&decoded.context) {
                self.leave_out(offset, len as u64, error.to_string(), false);
                continue;
            }
            self.recovered.displaced += 1;
            self.remark(format!(
                "at byte {offset}: chunk {displaced} was out of its place and is put back"
            ));
            self.write(offset, &chunk, decoded)?;
        }
        Ok(())
    }

    /// Writes a chunk, and first what is missing before it.
    fn write(
        &mut self,
        offset: u64,
        chunk: &SealedChunk,
        decoded: DecodedChunk,
    ) -> Result<(), Error> {
        let header = &chunk.header;
        let in_sequence = header.number == self.next;
        let before = self.last.as_ref().map_or([0; 32], |last| last.hash);
        let chained = in_sequence && header.prev_hash == before;
        self.settle(offset, header.number, header.first_ns, chained);
        if in_sequence && !chained {
            let reason = format!(
                "chunk {} does not continue the hash chain: it or the one before is not the original",
                header.number
            );
            self.lose(offset, reason, header.first_ns);
        }
        let unknown = u64::from(header.rows).saturating_sub(decoded.events.len() as u64);
        if unknown > 0 {
            let reason = format!("{unknown} events of families that this version does not know");
            self.lose(offset, reason, header.first_ns);
        }
        let minor = u16::from_le_bytes([chunk.bytes[26], chunk.bytes[27]]);
        if minor > MINOR && !self.told_minor {
            self.told_minor = true;
            let reason = format!(
                "written in minor version {minor}: what version {MINOR} does not know is left out"
            );
            self.lose(offset, reason, header.first_ns);
        }
        if self.last.is_none() {
            let provenance = Context::Provenance(self.recovered.provenance.clone());
            self.rewriter.context(header.first_ns, provenance)?;
        }
        self.write_losses(header.first_ns)?;
        for record in decoded.context {
            self.rewriter.context(record.boot_ns, record.body)?;
        }
        self.rewriter.texts_cut(header.texts_cut);
        for event in decoded.events {
            self.rewriter.event(event)?;
        }
        self.rewriter.seal(header.watermark_ns)?;
        self.last = Some(Last {
            hash: header.hash,
            last_ns: header.last_ns,
        });
        self.next = header.number.saturating_add(1);
        Ok(())
    }

    /// Something of the input that is not carried over; what it cost shows at the next chunk.
    fn leave_out(&mut self, offset: u64, bytes: u64, reason: String, harmless: bool) {
        self.leave_out_region(offset, bytes);
        if self.pending.len() >= ISSUES_MAX {
            self.recovered.not_listed += 1;
            return;
        }
        let discard = Discard {
            offset,
            bytes,
            reason,
            ..Discard::default()
        };
        self.pending.push(Pending { discard, harmless });
    }

    fn leave_out_region(&mut self, offset: u64, bytes: u64) {
        if self.recovered.left_out.len() < ISSUES_MAX {
            self.recovered.left_out.push((offset, bytes));
        } else {
            self.recovered.not_listed += 1;
        }
    }

    /// A loss without bytes and numbers of its own.
    fn lose(&mut self, offset: u64, reason: String, before_ns: u64) {
        let discard = Discard {
            offset,
            after_ns: self.last.as_ref().map_or(0, |last| last.last_ns),
            before_ns,
            reason,
            ..Discard::default()
        };
        self.discard(discard);
    }

    fn discard(&mut self, discard: Discard) {
        if self.recovered.discards.len() < ISSUES_MAX {
            self.recovered.discards.push(discard);
        } else {
            self.recovered.not_listed += 1;
        }
    }

    fn remark(&mut self, remark: String) {
        if self.recovered.remarks.len() < ISSUES_MAX {
            self.recovered.remarks.push(remark);
        } else {
            self.recovered.not_listed += 1;
        }
    }

    /// Completes what is pending now that chunk `number` (or the end, as `u64::MAX`) is there. The
    /// first loss takes the missing numbers: nobody can tell which belongs to which.
    fn settle(&mut self, offset: u64, number: u64, before_ns: u64, chained: bool) {
        let mut missing = (number != u64::MAX)
            .then(|| (self.next, number - self.next))
            .filter(|(_, chunks)| *chunks > 0);
        let after_ns = self.last.as_ref().map_or(0, |last| last.last_ns);
        for mut pending in std::mem::take(&mut self.pending) {
            if pending.harmless && chained {
                let Discard {
                    offset,
                    bytes,
                    reason,
                    ..
                } = pending.discard;
                self.remark(format!(
                    "at byte {offset}: {reason}; {bytes} bytes, no chunk"
                ));
                continue;
            }
            (pending.discard.first_number, pending.discard.chunks) =
                missing.take().unwrap_or_default();
            (pending.discard.after_ns, pending.discard.before_ns) = (after_ns, before_ns);
            self.discard(pending.discard);
        }
        if let Some((first_number, chunks)) = missing {
            self.discard(Discard {
                offset,
                first_number,
                chunks,
                after_ns,
                before_ns,
                reason: "chunks are missing".to_owned(),
                ..Discard::default()
            });
        }
    }

    /// Writes the losses that are not in the output yet.
    fn write_losses(&mut self, boot_ns: u64) -> Result<(), Error> {
        while let Some(discard) = self.recovered.discards.get(self.written) {
            self.rewriter
                .context(boot_ns, Context::Discard(discard.clone()))?;
            self.written += 1;
        }
        Ok(())
    }

    /// What the end of the input says is missing.
    fn end(&mut self, summary: Option<&Summary>, offset: u64) -> Result<(), Error> {
        let fits = summary.filter(|summary| summary.trace_uuid == self.survey.trace_uuid);
        let head = self.last.as_ref().map_or([0; 32], |last| last.hash);
        let number = match fits {
            Some(summary) if summary.chunks >= self.next => summary.chunks,
            _ => u64::MAX,
        };
        let all_there =
            fits.is_some_and(|summary| summary.chunks == self.next && summary.head_hash == head);
        self.settle(offset, number, u64::MAX, all_there);
        match fits {
            Some(summary) if summary.chunks < self.next => {
                let reason = format!(
                    "the summary counts {} chunks, {} are there",
                    summary.chunks, self.next
                );
                self.lose(offset, reason, u64::MAX);
            }
            Some(summary) if summary.chunks == self.next && summary.head_hash != head => {
                let reason = "the summary names another last chunk".to_owned();
                self.lose(offset, reason, u64::MAX);
            }
            Some(_) => {}
            None => self.remark("no summary: the capture was not finished".to_owned()),
        }
        let boot_ns = self.last.as_ref().map_or(0, |last| last.last_ns);
        self.write_losses(boot_ns)?;
        if !self.rewriter.is_empty() {
            self.rewriter.seal(0)?;
        }
        Ok(())
    }
}
