//! Where sealed chunks come from: a file, a stream, memory, a live connection. Downstream cannot tell.

use std::ops::RangeInclusive;

use crate::{Error, SealedChunk, error::hex};

/// One `next` for every kind of input. After `None` or an error there is nothing more.
pub trait ChunkSource {
    fn next_chunk(&mut self) -> Result<Option<SealedChunk>, Error>;

    /// What was missing, damaged or out of place so far, in the order it was found.
    fn issues(&self) -> &[Issue] {
        &[]
    }
}

impl<S: ChunkSource + ?Sized> ChunkSource for Box<S> {
    fn next_chunk(&mut self) -> Result<Option<SealedChunk>, Error> {
        (**self).next_chunk()
    }
    fn issues(&self) -> &[Issue] {
        (**self).issues()
    }
}

/// Chunks that are already in memory.
pub struct MemorySource(std::vec::IntoIter<SealedChunk>);

impl MemorySource {
    pub fn new(chunks: Vec<SealedChunk>) -> Self {
        MemorySource(chunks.into_iter())
    }
}

impl ChunkSource for MemorySource {
    fn next_chunk(&mut self) -> Result<Option<SealedChunk>, Error> {
        Ok(self.0.next())
    }
}

/// Something that a complete, undamaged trace does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// Where in the file or stream.
    pub offset: u64,
    /// Bytes that were skipped.
    pub bytes: u64,
    pub what: IssueKind,
    /// Numbers of the chunks that are missing because of it, as far as the neighbours tell.
    pub missing: Option<RangeInclusive<u64>>,
    /// What is missing happened after this (the newest event before the hole) …
    pub after_ns: Option<u64>,
    /// … and before this (the oldest event after the hole).
    pub before_ns: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IssueKind {
    /// Bytes that are no frame of a trace, or a frame that fails its checks.
    Damaged { reason: String },
    /// The input ends inside a frame.
    Truncated { reason: String },
    /// Every frame is whole, but chunk numbers are missing.
    ChunksMissing,
    /// A chunk whose number was already passed: skipped.
    Repeated { number: u64 },
    /// A chunk of another trace: skipped.
    OtherTrace { uuid: [u8; 16] },
    /// A chunk that follows by number but not by hash: one of the two is not the original. Handed out.
    ChainBroken { number: u64 },
    /// The capture was not finished: there is no summary.
    NoSummary,
    /// The summary counts other chunks than there are.
    SummaryDisagrees { reason: String },
    /// The seek table is missing or damaged.
    NoSeekTable,
    /// The sender left chunks out (live streams).
    NotSent { reason: String },
}

impl Issue {
    pub fn new(offset: u64, what: IssueKind) -> Self {
        Issue {
            offset,
            bytes: 0,
            what,
            missing: None,
            after_ns: None,
            before_ns: None,
        }
    }

    /// True when content was lost or cannot be trusted; false for a missing summary or seek table only.
    pub fn is_loss(&self) -> bool {
        self.missing.is_some()
            || !matches!(self.what, IssueKind::NoSummary | IssueKind::NoSeekTable)
    }
}

impl IssueKind {
    /// Its name in SPEC.md.
    pub fn name(&self) -> &'static str {
        match self {
            IssueKind::Damaged { .. } => "damaged",
            IssueKind::Truncated { .. } => "truncated",
            IssueKind::ChunksMissing => "chunks_missing",
            IssueKind::Repeated { .. } => "repeated",
            IssueKind::OtherTrace { .. } => "other_trace",
            IssueKind::ChainBroken { .. } => "chain_broken",
            IssueKind::NoSummary => "no_summary",
            IssueKind::SummaryDisagrees { .. } => "summary_disagrees",
            IssueKind::NoSeekTable => "no_seek_table",
            IssueKind::NotSent { .. } => "not_sent",
        }
    }
}

impl Issue {
    /// What is wrong, without where and how much.
    pub fn reason(&self) -> String {
        match &self.what {
            IssueKind::Damaged { reason } => format!("damaged: {reason}"),
            IssueKind::Truncated { reason } => format!("cut short: {reason}"),
            IssueKind::ChunksMissing => "chunks are missing".to_owned(),
            IssueKind::Repeated { number } => {
                format!("chunk {number} comes again or too late, skipped")
            }
            IssueKind::OtherTrace { uuid } => {
                format!("a chunk of another trace ({}), skipped", hex(uuid))
            }
            IssueKind::ChainBroken { number } => {
                format!("chunk {number} does not continue the hash chain")
            }
            IssueKind::NoSummary => "no summary: the capture was not finished".to_owned(),
            IssueKind::SummaryDisagrees { reason } => format!("the summary disagrees: {reason}"),
            IssueKind::NoSeekTable => "no seek table that fits the summary".to_owned(),
            IssueKind::NotSent { reason } => format!("not sent: {reason}"),
        }
    }
}

impl std::fmt::Display for Issue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "at byte {}: {}", self.offset, self.reason())?;
        if self.bytes > 0 {
            write!(f, "; {} bytes skipped", self.bytes)?;
        }
        if let Some(missing) = &self.missing {
            write!(
                f,
                "; missing chunks {}..={}",
                missing.start(),
                missing.end()
            )?;
        }
        match (self.after_ns, self.before_ns) {
            (Some(after), Some(before)) => write!(f, "; between {after} and {before} ns"),
            (Some(after), None) => write!(f, "; after {after} ns"),
            (None, Some(before)) => write!(f, "; before {before} ns"),
            (None, None) => Ok(()),
        }
    }
}
