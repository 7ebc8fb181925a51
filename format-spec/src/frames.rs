//! One frame at a time: what is at the current position, and where the next one may be.
//!
//! Knows nothing of numbers and chains; that is the reader's. A frame is only ever a chunk here when
//! its hash holds (in a scan of headers: when its header is well formed).

use crate::{
    ChunkHeader, Error, IssueKind, SealedChunk, Summary,
    header::{
        self, FIXED_LEN, FRAME_MAGIC, Fixed, HASH_LEN, KIND_CHUNK, KIND_SUMMARY, MAJOR,
        SKIPPABLE_LEN, SYNC_MARKER,
    },
    input::Input,
    limits::*,
    summary::{self, SEEK_FOOTER_LEN, SEEK_TABLE_BYTES_MAX, SEEK_TABLE_MAGIC},
};

/// Bytes hashed for frames that then failed. A hostile file can hold many markers that each claim
/// a large body; this ends the search instead of the user's patience.
const VAIN_BYTES_MAX: u64 = 8 << 30;

/// A window over the input that moves from frame to frame.
pub(crate) struct Frames {
    pub input: Input,
    /// A sync marker was seen: this is a trace, however damaged.
    pub is_trace: bool,
    vain_bytes: u64,
}

/// What is at the current position.
pub(crate) enum Found {
    End,
    Chunk(Box<Candidate>),
    Summary(Box<Summary>, usize),
    SeekTable(usize),
    /// A good frame of a kind this version does not know.
    Unknown(usize),
    Bad(IssueKind),
}

pub(crate) struct Candidate {
    pub header: ChunkHeader,
    pub header_len: usize,
    /// Absent in a scan of headers.
    pub chunk: Option<SealedChunk>,
}

impl Frames {
    pub fn new(input: Input) -> Self {
        Frames {
            input,
            is_trace: false,
            vain_bytes: 0,
        }
    }

    /// Looks at the frame at the current position, consuming nothing.
    pub fn examine(&mut self, whole: bool) -> Result<Found, Error> {
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
        self.is_trace |= marker.starts_with(&SYNC_MARKER);
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

    fn examine_seek_table(&mut self, size: u32) -> Result<Found, Error> {
        let wanted = SKIPPABLE_LEN + size as usize;
        if (SEEK_FOOTER_LEN..=SEEK_TABLE_BYTES_MAX).contains(&(size as usize))
            && self.input.fill(wanted)? >= wanted
        {
            return Ok(Found::SeekTable(wanted));
        }
        Ok(Found::Bad(IssueKind::NoSeekTable))
    }

    /// Moves to the next sync marker after the current frame's own, or to the end.
    pub fn resynchronise(&mut self) -> Result<(), Error> {
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
            if !self.is_trace && self.input.offset() > FIRST_MARKER_BYTES_MAX {
                return Err(self.not_a_trace());
            }
            let before = self.input.window().len();
            if self.input.fill(before + 1)? == before {
                self.input.consume(before);
                return Ok(());
            }
        }
    }

    pub fn not_a_trace(&self) -> Error {
        let path = self.input.path.clone();
        let found = self
            .input
            .read_at(0, self.input.size().unwrap_or(0).min(8) as usize)
            .unwrap_or_default();
        Error::NotATrace { path, found }
    }

    /// Footer → seek table → its last entry is the summary frame.
    pub fn read_tail(&self) -> Option<Summary> {
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
