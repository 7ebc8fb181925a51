//! Reads a trace from a file or stream, chunk by chunk, and says what is missing.
//!
//! Nothing is handed out whose hash does not hold. After damage the reader goes on at the next sync
//! marker whose frame checks out, so a damaged chunk costs only itself. What it found wrong is in
//! [`TraceReader::issues`]; errors are left for what ends reading: no input, not a trace, a future
//! version. SPEC.md §Recovery.

use std::{io::Read, path::Path};

use crate::{
    ChunkHeader, ChunkSource, Error, Issue, IssueKind, SealedChunk, Summary,
    frames::{Candidate, Found, Frames},
    header::SKIPPABLE_LEN,
    input::Input,
    limits::*,
    summary::{self, IndexEntry},
};

pub struct TraceReader {
    frames: Frames,
    issues: Vec<Issue>,
    issues_not_kept: u64,
    /// Damage whose extent is not known yet: the next good frame tells.
    pending: Option<Issue>,
    last: Option<Last>,
    trace_uuid: Option<[u8; 16]>,
    next_number: u64,
    /// The summary that was reached, and the length of its frame.
    end_of_trace: Option<(Summary, u32)>,
    /// The summary as read from the end of a file.
    tail: Option<Summary>,
    seen_seek_table: bool,
    ended: bool,
}

/// The chunk that was handed out last.
struct Last {
    hash: [u8; 32],
    last_ns: u64,
}

/// A chunk's header and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderAt {
    /// Of the skippable frame.
    pub offset: u64,
    /// Of the whole skippable frame, after which the body frame starts.
    pub header_len: u32,
    pub header: ChunkHeader,
}

/// What [`read_info`] found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceInfo {
    pub file_bytes: u64,
    /// The trace ends with a summary; otherwise `summary` was put together from the chunk headers,
    /// whose hashes were not checked, and `issues` says what was wrong.
    pub complete: bool,
    pub summary: Summary,
    pub issues: Vec<Issue>,
}

impl TraceReader {
    /// Opens a file. A directory, an empty file or no permission fail here; whether the file is a
    /// trace shows at the first chunk.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Input::open(path.as_ref()).map(TraceReader::new)
    }

    /// Reads from anything, for example stdin.
    pub fn from_read(read: impl Read + Send + 'static) -> Self {
        TraceReader::new(Input::stream(Box::new(read)))
    }

    fn new(input: Input) -> Self {
        TraceReader {
            frames: Frames::new(input),
            issues: Vec::new(),
            issues_not_kept: 0,
            pending: None,
            last: None,
            trace_uuid: None,
            next_number: 0,
            end_of_trace: None,
            tail: None,
            seen_seek_table: false,
            ended: false,
        }
    }

    /// The frames, for whoever wants to see the damage too. From the start only.
    pub(crate) fn into_frames(self) -> Frames {
        self.frames
    }

    /// Everything found wrong so far; complete once `next_chunk` has returned `None`.
    pub fn issues(&self) -> &[Issue] {
        &self.issues
    }

    /// Issues beyond the first [`ISSUES_MAX`].
    pub fn issues_not_kept(&self) -> u64 {
        self.issues_not_kept
    }

    /// Of the input; `<stream>` for a stream.
    pub fn path(&self) -> &Path {
        &self.frames.input.path
    }

    /// Bytes read or skipped so far.
    pub fn offset(&self) -> u64 {
        self.frames.input.offset()
    }

    /// Size of the input, if it is a regular file.
    pub fn size(&self) -> Option<u64> {
        self.frames.input.size()
    }

    /// The summary: of a file from its end, at any time; of a stream once it was reached. `None` for
    /// an unfinished or damaged end.
    pub fn summary(&mut self) -> Option<&Summary> {
        if let Some((summary, _)) = &self.end_of_trace {
            return Some(summary);
        }
        if self.tail.is_none() {
            self.tail = self.frames.read_tail();
        }
        self.tail.as_ref()
    }

    /// The summary that reading came to, if it did so far.
    pub fn reached_summary(&self) -> Option<&Summary> {
        self.end_of_trace.as_ref().map(|(summary, _)| summary)
    }

    /// Goes on with the chunk of this index entry, before anything else was read, without reading what
    /// stands before it. That chunk's link to the one before cannot be checked; everything after it is.
    /// An input that cannot seek is read up to there.
    pub fn begin_at(&mut self, entry: &IndexEntry) -> Result<(), Error> {
        self.frames.input.skip(entry.offset)?;
        self.next_number = entry.number;
        Ok(())
    }

    /// Reads one chunk of a regular file by its index entry, without moving.
    pub fn read_chunk(&self, entry: &IndexEntry) -> Result<SealedChunk, Error> {
        Error::limit(
            "chunk header",
            entry.header_len.into(),
            u64::from(HEADER_BYTES_MAX) + SKIPPABLE_LEN as u64,
        )?;
        Error::limit(
            "compressed body of a chunk",
            entry.body_compressed_len.into(),
            BODY_COMPRESSED_BYTES_MAX.into(),
        )?;
        let len = entry.header_len as usize + entry.body_compressed_len as usize;
        SealedChunk::from_bytes(self.frames.input.read_at(entry.offset, len)?)
    }

    /// The next chunk's header, its body skipped unread where the input can seek. The hash covers
    /// the body too, so it is not checked: good for overviews, not for evidence.
    pub fn next_header(&mut self) -> Result<Option<HeaderAt>, Error> {
        Ok(self.advance(false)?.map(|(offset, candidate)| HeaderAt {
            offset,
            header_len: candidate.header_len as u32,
            header: candidate.header,
        }))
    }

    /// [`TraceReader::next`]; an error is the end.
    fn advance(&mut self, whole: bool) -> Result<Option<(u64, Candidate)>, Error> {
        let next = self.next(whole);
        self.ended |= next.is_err();
        next
    }

    /// The next chunk that belongs to this trace.
    fn next(&mut self, whole: bool) -> Result<Option<(u64, Candidate)>, Error> {
        while !self.ended {
            let offset = self.frames.input.offset();
            match self.frames.examine(whole)? {
                Found::End => self.end()?,
                Found::Chunk(candidate) => {
                    let body_len = u64::from(candidate.header.body_compressed_len);
                    let len = candidate.header_len as u64 + body_len;
                    let there = self.frames.input.skip(len)?;
                    if there < len {
                        // Only in a scan of headers: `examine` has not seen the body.
                        let reason = format!("the last chunk has {there} of {len} bytes");
                        self.pending = Some(Issue::new(offset, IssueKind::Truncated { reason }));
                    } else if self.accept(offset, &candidate.header) {
                        return Ok(Some((offset, *candidate)));
                    }
                }
                Found::Summary(summary, len) => {
                    self.check_summary(offset, &summary);
                    self.end_of_trace = Some((*summary, len as u32));
                    self.frames.input.consume(len);
                }
                Found::SeekTable(len) if self.fits(&self.frames.input.window()[..len]) => {
                    self.settle(None, offset, None);
                    self.seen_seek_table = true;
                    self.frames.input.consume(len);
                }
                Found::SeekTable(_) => self.skip_damage(offset, IssueKind::NoSeekTable)?,
                Found::Unknown(len) => {
                    self.settle(None, offset, None);
                    self.frames.input.consume(len);
                }
                Found::Bad(what) => self.skip_damage(offset, what)?,
            }
        }
        Ok(None)
    }

    /// Remembers what is wrong at `offset`, unless something before it still is, and looks further on.
    fn skip_damage(&mut self, offset: u64, what: IssueKind) -> Result<(), Error> {
        self.pending.get_or_insert_with(|| Issue::new(offset, what));
        self.frames.resynchronise()
    }

    /// A seek table follows from the summary's index: it must be exactly that.
    fn fits(&self, seek_table: &[u8]) -> bool {
        self.end_of_trace
            .as_ref()
            .is_some_and(|(summary, summary_len)| {
                let mut expected = Vec::with_capacity(seek_table.len());
                summary::write_seek_table(summary, *summary_len, &mut expected);
                expected == seek_table
            })
    }

    /// Checks number, trace and chain; false: not part of this trace's sequence, to be skipped.
    fn accept(&mut self, offset: u64, header: &ChunkHeader) -> bool {
        let uuid = *self.trace_uuid.get_or_insert(header.trace_uuid);
        if header.trace_uuid != uuid {
            self.settle(None, offset, None);
            self.report(Issue::new(
                offset,
                IssueKind::OtherTrace {
                    uuid: header.trace_uuid,
                },
            ));
            return false;
        }
        if header.number < self.next_number {
            self.settle(None, offset, None);
            self.report(Issue::new(
                offset,
                IssueKind::Repeated {
                    number: header.number,
                },
            ));
            return false;
        }
        let missing =
            (header.number > self.next_number).then(|| self.next_number..=header.number - 1);
        let in_sequence = missing.is_none();
        if self.pending.is_none() && !in_sequence {
            self.pending = Some(Issue::new(offset, IssueKind::ChunksMissing));
        }
        self.settle(missing, offset, Some(header.first_ns));
        // Where reading began behind the first chunk, the one before was not seen.
        let before = match &self.last {
            Some(last) => Some(last.hash),
            None => (header.number == 0).then_some([0; 32]),
        };
        if in_sequence && before.is_some_and(|before| header.prev_hash != before) {
            self.report(Issue::new(
                offset,
                IssueKind::ChainBroken {
                    number: header.number,
                },
            ));
        }
        self.last = Some(Last {
            hash: header.hash,
            last_ns: header.last_ns,
        });
        self.next_number = header.number.saturating_add(1);
        true
    }

    /// Completes the pending issue now that a good frame at `offset` tells how far it reached.
    fn settle(
        &mut self,
        missing: Option<std::ops::RangeInclusive<u64>>,
        offset: u64,
        before_ns: Option<u64>,
    ) {
        if let Some(mut issue) = self.pending.take() {
            // Something good follows: the input was not cut, a length or a kind was damaged.
            issue.what = match issue.what {
                IssueKind::Truncated { reason } => IssueKind::Damaged { reason },
                IssueKind::NoSummary | IssueKind::NoSeekTable => IssueKind::Damaged {
                    reason: "a frame claims to be the end of the trace".to_owned(),
                },
                what => what,
            };
            issue.bytes = offset - issue.offset;
            issue.missing = missing;
            issue.after_ns = self.last.as_ref().map(|last| last.last_ns);
            issue.before_ns = before_ns;
            self.report(issue);
        }
    }

    fn check_summary(&mut self, offset: u64, summary: &Summary) {
        let other = self
            .trace_uuid
            .is_some_and(|uuid| uuid != summary.trace_uuid);
        let missing = (!other && summary.chunks > self.next_number)
            .then(|| self.next_number..=summary.chunks - 1);
        let explained = self.pending.is_some() && missing.is_some();
        self.settle(missing.clone(), offset, None);
        let reason = if other {
            format!(
                "it belongs to trace {}",
                crate::error::hex(&summary.trace_uuid)
            )
        } else if summary.chunks != self.next_number {
            format!(
                "it counts {} chunks, {} are there",
                summary.chunks, self.next_number
            )
        } else if self
            .last
            .as_ref()
            .is_some_and(|last| last.hash != summary.head_hash)
        {
            "its chain head is not the last chunk's hash".to_owned()
        } else {
            return;
        };
        if !explained {
            let mut issue = Issue::new(offset, IssueKind::SummaryDisagrees { reason });
            issue.missing = missing;
            issue.after_ns = self.last.as_ref().map(|last| last.last_ns);
            self.report(issue);
        }
    }

    fn end(&mut self) -> Result<(), Error> {
        self.ended = true;
        let offset = self.frames.input.offset();
        if offset == 0 {
            return Err(Error::Empty {
                path: self.frames.input.path.clone(),
            });
        }
        if !self.frames.is_trace {
            return Err(self.frames.not_a_trace());
        }
        let mut told = false;
        if let Some(mut issue) = self.pending.take() {
            issue.bytes = offset - issue.offset;
            if self.end_of_trace.is_some() && matches!(issue.what, IssueKind::Truncated { .. }) {
                // Behind a summary only the seek table is left to be cut.
                issue.what = IssueKind::NoSeekTable;
            }
            told = !issue.is_loss();
            if !told {
                issue.after_ns = self.last.as_ref().map(|last| last.last_ns);
            }
            self.report(issue);
        }
        match &self.end_of_trace {
            _ if told => {}
            None => self.report(Issue::new(offset, IssueKind::NoSummary)),
            Some((summary, _)) if summary.index_complete && !self.seen_seek_table => {
                self.report(Issue::new(offset, IssueKind::NoSeekTable));
            }
            Some(_) => {}
        }
        Ok(())
    }

    fn report(&mut self, issue: Issue) {
        if self.issues.len() < ISSUES_MAX {
            self.issues.push(issue);
        } else {
            self.issues_not_kept += 1;
        }
    }
}

impl ChunkSource for TraceReader {
    fn next_chunk(&mut self) -> Result<Option<SealedChunk>, Error> {
        let next = self.advance(true)?;
        Ok(next.map(|(_, candidate)| candidate.chunk.expect("whole chunks were asked for")))
    }
    fn issues(&self) -> &[Issue] {
        &self.issues
    }
}

/// What a trace file says about itself: from its summary, or else from its chunk headers.
pub fn read_info(path: impl AsRef<Path>) -> Result<TraceInfo, Error> {
    let mut reader = TraceReader::open(path)?;
    if let Some(file_bytes) = reader.size()
        && let Some(summary) = reader.frames.read_tail()
    {
        return Ok(TraceInfo {
            file_bytes,
            complete: true,
            summary,
            issues: Vec::new(),
        });
    }
    let mut gathered: Option<Summary> = None;
    while let Some(at) = reader.next_header()? {
        gathered
            .get_or_insert_with(|| Summary::new(at.header.trace_uuid))
            .add(&at.header, at.offset, at.header_len);
    }
    let (summary, complete) = match reader.end_of_trace.take() {
        Some((summary, _)) => (summary, true),
        None => (gathered.unwrap_or_default(), false),
    };
    Ok(TraceInfo {
        file_bytes: reader.offset(),
        complete,
        summary,
        issues: reader.issues,
    })
}
