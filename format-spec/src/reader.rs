//! Reads a trace from a file or stream, chunk by chunk, and says what is missing.
//!
//! Nothing is handed out whose hash does not hold. After damage the reader goes on at the next sync
//! marker whose frame checks out, so a damaged chunk costs only itself. What it found wrong is in
//! [`TraceReader::issues`]; errors are left for what ends reading: no input, not a trace, a future
//! version. SPEC.md §Recovery.

use std::{io::Read, path::Path};

use crate::{
    ChunkHeader, ChunkSource, Error, Issue, IssueKind, SealedChunk, Summary,
    header::{
        self, FIXED_LEN, FRAME_MAGIC, Fixed, HASH_LEN, KIND_CHUNK, KIND_SUMMARY, MAJOR,
        SKIPPABLE_LEN, SYNC_MARKER,
    },
    input::Input,
    limits::*,
    summary::{self, IndexEntry, SEEK_FOOTER_LEN, SEEK_TABLE_BYTES_MAX, SEEK_TABLE_MAGIC},
};

/// Bytes hashed for frames that then failed. A hostile file can hold many markers that each claim
/// a large body; this ends the search instead of the user's patience.
const VAIN_BYTES_MAX: u64 = 8 << 30;

pub struct TraceReader {
    input: Input,
    issues: Vec<Issue>,
    issues_not_kept: u64,
    /// Damage whose extent is not known yet: the next good frame tells.
    pending: Option<Issue>,
    last: Option<Last>,
    trace_uuid: Option<[u8; 16]>,
    next_number: u64,
    seen_frame: bool,
    /// The summary that was reached, and the length of its frame.
    end_of_trace: Option<(Summary, u32)>,
    /// The summary as read from the end of a file.
    tail: Option<Summary>,
    seen_seek_table: bool,
    ended: bool,
    vain_bytes: u64,
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

/// What is at the current position.
enum Found {
    End,
    Chunk(Box<Candidate>),
    Summary(Box<Summary>, usize),
    SeekTable(usize),
    /// A good frame of a kind this version does not know.
    Unknown(usize),
    Bad(IssueKind),
}

struct Candidate {
    header: ChunkHeader,
    header_len: usize,
    /// Absent in a scan of headers.
    chunk: Option<SealedChunk>,
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
            input,
            issues: Vec::new(),
            issues_not_kept: 0,
            pending: None,
            last: None,
            trace_uuid: None,
            next_number: 0,
            seen_frame: false,
            end_of_trace: None,
            tail: None,
            seen_seek_table: false,
            ended: false,
            vain_bytes: 0,
        }
    }

    /// Everything found wrong so far; complete once `next_chunk` has returned `None`.
    pub fn issues(&self) -> &[Issue] {
        &self.issues
    }

    /// Issues beyond the first [`ISSUES_MAX`].
    pub fn issues_not_kept(&self) -> u64 {
        self.issues_not_kept
    }

    /// Bytes read or skipped so far.
    pub fn offset(&self) -> u64 {
        self.input.offset()
    }

    /// Size of the input, if it is a regular file.
    pub fn size(&self) -> Option<u64> {
        self.input.size()
    }

    /// The summary: of a file from its end, at any time; of a stream once it was reached. `None` for
    /// an unfinished or damaged end.
    pub fn summary(&mut self) -> Option<&Summary> {
        if let Some((summary, _)) = &self.end_of_trace {
            return Some(summary);
        }
        if self.tail.is_none() {
            self.tail = self.read_tail();
        }
        self.tail.as_ref()
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
        SealedChunk::from_bytes(self.input.read_at(entry.offset, len)?)
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
            let offset = self.input.offset();
            match self.examine(whole)? {
                Found::End => self.end()?,
                Found::Chunk(candidate) => {
                    let body_len = u64::from(candidate.header.body_compressed_len);
                    let len = candidate.header_len as u64 + body_len;
                    let there = self.input.skip(len)?;
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
                    self.input.consume(len);
                }
                Found::SeekTable(len) => {
                    self.settle(None, offset, None);
                    self.seen_seek_table = true;
                    self.input.consume(len);
                }
                Found::Unknown(len) => {
                    self.settle(None, offset, None);
                    self.input.consume(len);
                }
                Found::Bad(what) => {
                    if self.pending.is_none() {
                        self.pending = Some(Issue::new(offset, what));
                    }
                    self.resynchronise()?;
                }
            }
        }
        Ok(None)
    }

    /// Looks at the frame at the current position, consuming nothing.
    fn examine(&mut self, whole: bool) -> Result<Found, Error> {
        let available = self.input.fill(SKIPPABLE_LEN + FIXED_LEN)?;
        if available == 0 {
            return Ok(Found::End);
        }
        if available < SKIPPABLE_LEN {
            return Ok(truncated("a frame", SKIPPABLE_LEN, available));
        }
        let word = |at: usize| {
            u32::from_le_bytes(self.input.window()[at..at + 4].try_into().expect("4 bytes"))
        };
        let (magic, size) = (word(0), word(4));
        if magic == SEEK_TABLE_MAGIC {
            return self.examine_seek_table(size);
        }
        if magic != FRAME_MAGIC {
            return Ok(damaged(format!(
                "a frame starts with {magic:#010x} instead of {FRAME_MAGIC:#010x}"
            )));
        }
        if size > SUMMARY_BYTES_MAX || (size as usize) < FIXED_LEN + HASH_LEN {
            return Ok(damaged(format!("a frame header claims {size} bytes")));
        }
        let marker = &self.input.window()[SKIPPABLE_LEN..];
        self.seen_frame |= marker.starts_with(&SYNC_MARKER);
        if available < SKIPPABLE_LEN + FIXED_LEN {
            return Ok(truncated(
                "a frame header",
                SKIPPABLE_LEN + FIXED_LEN,
                available,
            ));
        }
        let fixed = match Fixed::read(&self.input.window()[SKIPPABLE_LEN..]) {
            Ok(fixed) => fixed,
            Err(error) => return Ok(damaged(error.to_string())),
        };
        let header_len = SKIPPABLE_LEN + size as usize;
        let body_len = fixed.body_compressed_len;
        if fixed.major == MAJOR && fixed.kind == KIND_CHUNK && size > HEADER_BYTES_MAX {
            return Ok(damaged(format!(
                "a chunk header claims {size} bytes, the limit is {HEADER_BYTES_MAX}"
            )));
        }
        if body_len > BODY_COMPRESSED_BYTES_MAX {
            return Ok(damaged(format!(
                "a body claims {body_len} bytes, the limit is {BODY_COMPRESSED_BYTES_MAX}"
            )));
        }
        let scan = !whole && fixed.major == MAJOR && fixed.kind == KIND_CHUNK;
        let wanted = if scan {
            header_len
        } else {
            header_len + body_len as usize
        };
        let available = self.input.fill(wanted)?;
        if available < wanted {
            return Ok(match fixed.kind {
                // Nothing but the overview is lost.
                KIND_SUMMARY => Found::Bad(IssueKind::NoSummary),
                _ => truncated("a frame", wanted, available),
            });
        }
        let frame = &self.input.window()[..wanted];
        let found = self.judge(&fixed, frame, header_len, scan)?;
        if let Found::Bad(_) = found {
            self.vain_bytes += wanted as u64;
            Error::limit(
                "bytes of frames that failed their checks",
                self.vain_bytes,
                VAIN_BYTES_MAX,
            )?;
        }
        Ok(found)
    }

    /// Decides what a whole frame is.
    fn judge(
        &self,
        fixed: &Fixed,
        frame: &[u8],
        header_len: usize,
        scan: bool,
    ) -> Result<Found, Error> {
        // Marker, version, kind, body length and the hash at the end stay where they are in every
        // version, so that a frame of a future version can be told from a damaged one.
        let holds = || {
            let (payload, hash) =
                frame[SKIPPABLE_LEN..header_len].split_at(header_len - SKIPPABLE_LEN - HASH_LEN);
            header::hash_of(payload, &frame[header_len..]) == *hash
        };
        if fixed.major != MAJOR {
            if fixed.major > MAJOR && holds() {
                return Err(Error::FutureVersion {
                    path: self.input.path.clone(),
                    offset: self.input.offset(),
                    found_major: fixed.major,
                    found_minor: fixed.minor,
                    supported_major: MAJOR,
                });
            }
            return Ok(damaged(format!(
                "a frame header of version {} fails its hash",
                fixed.major
            )));
        }
        Ok(match fixed.kind {
            KIND_CHUNK if scan => match ChunkHeader::read(&frame[SKIPPABLE_LEN..]) {
                Ok(header) => Found::Chunk(Box::new(Candidate {
                    header,
                    header_len,
                    chunk: None,
                })),
                Err(error) => damaged(error.to_string()),
            },
            KIND_CHUNK => match SealedChunk::from_bytes(frame) {
                Ok(chunk) => Found::Chunk(Box::new(Candidate {
                    header: chunk.header.clone(),
                    header_len,
                    chunk: Some(chunk),
                })),
                Err(error) => damaged(error.to_string()),
            },
            KIND_SUMMARY => match Summary::read(&frame[SKIPPABLE_LEN..]) {
                Ok(summary) => Found::Summary(Box::new(summary), frame.len()),
                Err(error) => damaged(error.to_string()),
            },
            _ if holds() => Found::Unknown(frame.len()),
            kind => damaged(format!("a frame of kind {kind} fails its hash")),
        })
    }

    /// The seek table follows from the summary's index: it must be exactly that.
    fn examine_seek_table(&mut self, size: u32) -> Result<Found, Error> {
        let wanted = SKIPPABLE_LEN + size as usize;
        if (SEEK_FOOTER_LEN..=SEEK_TABLE_BYTES_MAX).contains(&(size as usize))
            && self.input.fill(wanted)? >= wanted
            && let Some((summary, summary_len)) = &self.end_of_trace
        {
            let mut expected = Vec::with_capacity(wanted);
            summary::write_seek_table(summary, *summary_len, &mut expected);
            if self.input.window()[..wanted] == expected {
                return Ok(Found::SeekTable(wanted));
            }
        }
        Ok(Found::Bad(IssueKind::NoSeekTable))
    }

    /// Moves to the next sync marker after the current frame's own, or to the end.
    fn resynchronise(&mut self) -> Result<(), Error> {
        // A frame starts SKIPPABLE_LEN bytes before its marker; it must start after this one.
        let mut from = SKIPPABLE_LEN + 1;
        loop {
            let window = self.input.window();
            if let Some(place) = window.get(from..).and_then(find_marker) {
                let start = from + place - SKIPPABLE_LEN;
                self.input.consume(start);
                return Ok(());
            }
            // Keep what may be the beginning of a frame whose marker is not whole yet.
            let keep = SKIPPABLE_LEN + SYNC_MARKER.len();
            let done = window.len().saturating_sub(keep);
            self.input.consume(done);
            from = (from.saturating_sub(done)).max(SKIPPABLE_LEN);
            if !self.seen_frame && self.input.offset() > FIRST_MARKER_BYTES_MAX {
                return Err(self.not_a_trace());
            }
            let before = self.input.window().len();
            if self.input.fill(before + 1)? == before {
                self.input.consume(before);
                return Ok(());
            }
        }
    }

    fn not_a_trace(&mut self) -> Error {
        self.ended = true;
        let path = self.input.path.clone();
        let found = self
            .input
            .read_at(0, self.input.size().unwrap_or(0).min(8) as usize)
            .unwrap_or_default();
        Error::NotATrace { path, found }
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
        let before = self.last.as_ref().map_or([0; 32], |last| last.hash);
        if in_sequence && header.prev_hash != before {
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
        let offset = self.input.offset();
        if offset == 0 {
            return Err(Error::Empty {
                path: self.input.path.clone(),
            });
        }
        if !self.seen_frame {
            return Err(self.not_a_trace());
        }
        let mut told = false;
        if let Some(mut issue) = self.pending.take() {
            issue.bytes = offset - issue.offset;
            issue.after_ns = self.last.as_ref().map(|last| last.last_ns);
            if self.end_of_trace.is_some() && matches!(issue.what, IssueKind::Truncated { .. }) {
                // Behind a summary only the seek table is left to be cut.
                issue.what = IssueKind::NoSeekTable;
            }
            told = !issue.is_loss();
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

    /// Footer → seek table → its last entry is the summary frame.
    fn read_tail(&self) -> Option<Summary> {
        let size = self.input.size()?;
        let footer = self
            .input
            .read_at(size.checked_sub(SEEK_FOOTER_LEN as u64)?, SEEK_FOOTER_LEN)
            .ok()?;
        let table =
            size.checked_sub(summary::seek_table_len(footer.as_slice().try_into().ok()?)?)?;
        let last_entry = size.checked_sub(SEEK_FOOTER_LEN as u64 + 8)?;
        let len = u32::from_le_bytes(self.input.read_at(last_entry, 4).ok()?.try_into().ok()?);
        if len > SUMMARY_BYTES_MAX + SKIPPABLE_LEN as u32 {
            return None;
        }
        let frame = self
            .input
            .read_at(table.checked_sub(len.into())?, len as usize)
            .ok()?;
        (frame.get(..4)? == FRAME_MAGIC.to_le_bytes()).then_some(())?;
        Summary::read(frame.get(SKIPPABLE_LEN..)?).ok()
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
        && let Some(summary) = reader.read_tail()
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

fn damaged(reason: String) -> Found {
    Found::Bad(IssueKind::Damaged { reason })
}

fn truncated(what: &str, wanted: usize, available: usize) -> Found {
    Found::Bad(IssueKind::Truncated {
        reason: format!("{what} of {wanted} bytes has {available}"),
    })
}

fn find_marker(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(SYNC_MARKER.len())
        .position(|window| window == SYNC_MARKER)
}
