//! The end of a complete trace: a summary frame, then the seek table of the zstd seekable format.
//!
//! Both are optional for reading. The summary uses the same frame header as a chunk, with kind 2,
//! no body, the number of chunks in `number` and the chain head in `prev_hash`. SPEC.md §Summary.

use bincode::{Decode, Encode};

use crate::{
    Error, Signature, Signed,
    error::hex,
    header::{
        self, ChunkHeader, Fixed, HASH_LEN, KIND_SUMMARY, LossTotal, MAJOR, MINOR, PART_SIGNATURE,
    },
    limits::*,
    wire::{self, Cursor},
};

/// zstd seekable format: the seek table's skippable frame, and the last four bytes of the file.
pub const SEEK_TABLE_MAGIC: u32 = 0x184D_2A5E;
pub const SEEKABLE_MAGIC: u32 = 0x8F92_EAB1;
/// Number of frames, descriptor, magic.
pub const SEEK_FOOTER_LEN: usize = 9;
/// Compressed and decompressed size.
const SEEK_ENTRY_LEN: usize = 8;
/// Two frames a chunk, and the summary.
const SEEK_ENTRIES_MAX: usize = 2 * INDEX_CHUNKS_MAX + 1;
/// Payload of the seek table's frame.
pub(crate) const SEEK_TABLE_BYTES_MAX: usize = SEEK_ENTRIES_MAX * SEEK_ENTRY_LEN + SEEK_FOOTER_LEN;

const PART_KINDS: u16 = 1;
const PART_CGROUPS: u16 = 2;
const PART_TOTALS: u16 = 3;
const PART_INDEX: u16 = 4;

/// Rows of one family in the whole trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct KindTotal {
    pub kind: u16,
    pub rows: u64,
}

/// Where a chunk is and what a reader needs to decide whether it wants it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct IndexEntry {
    /// Of the chunk's skippable frame in the file.
    pub offset: u64,
    pub number: u64,
    pub first_ns: u64,
    pub last_ns: u64,
    pub watermark_ns: u64,
    /// Whole skippable frame.
    pub header_len: u32,
    pub body_compressed_len: u32,
    pub body_len: u32,
    pub rows: u32,
    /// Bit (family id − 1) for each family present; ids above 64 set bit 63.
    pub kinds: u64,
    /// A reader can start here.
    pub has_checkpoint: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
struct Totals {
    rows: u64,
    records: u64,
    late_rows: u64,
    texts_cut: u64,
    body_bytes: u64,
    loss: LossTotal,
    index_complete: bool,
    cgroups_complete: bool,
}

/// What a complete trace says about itself, without looking into its chunks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub trace_uuid: [u8; 16],
    pub chunks: u64,
    pub first_ns: u64,
    pub last_ns: u64,
    pub watermark_ns: u64,
    /// Hash of the last chunk: with the chain it stands for all of them.
    pub head_hash: [u8; 32],
    pub rows: u64,
    pub records: u64,
    pub late_rows: u64,
    pub texts_cut: u64,
    /// Uncompressed.
    pub body_bytes: u64,
    pub loss: LossTotal,
    /// Ascending by family.
    pub kinds: Vec<KindTotal>,
    /// Ascending; false in `cgroups_complete`: a chunk or the trace had more than could be listed.
    pub cgroups: Vec<u64>,
    pub cgroups_complete: bool,
    /// In file order; false in `index_complete`: only the first [`INDEX_CHUNKS_MAX`] chunks.
    pub index: Vec<IndexEntry>,
    pub index_complete: bool,
    /// Vouches for all chunks, and for their being all.
    pub signature: Option<Signature>,
}

impl Summary {
    pub fn new(trace_uuid: [u8; 16]) -> Self {
        Summary {
            trace_uuid,
            first_ns: u64::MAX,
            index_complete: true,
            cgroups_complete: true,
            ..Default::default()
        }
    }

    /// Counts a chunk whose skippable frame starts at `offset` and takes `header_len` bytes.
    pub fn add(&mut self, header: &ChunkHeader, offset: u64, header_len: u32) {
        self.chunks += 1;
        self.first_ns = self.first_ns.min(header.first_ns);
        self.last_ns = self.last_ns.max(header.last_ns);
        self.watermark_ns = self.watermark_ns.max(header.watermark_ns);
        self.head_hash = header.hash;
        self.rows += u64::from(header.rows);
        self.records += u64::from(header.records);
        self.late_rows += u64::from(header.late_rows);
        self.texts_cut += u64::from(header.texts_cut);
        self.body_bytes += u64::from(header.body_len);
        self.loss = header.loss;
        let mut kinds = 0;
        for count in &header.kinds {
            kinds |= 1 << (count.kind.saturating_sub(1)).min(63);
            match self
                .kinds
                .binary_search_by_key(&count.kind, |total| total.kind)
            {
                Ok(place) => self.kinds[place].rows += u64::from(count.rows),
                Err(place) => self.kinds.insert(
                    place,
                    KindTotal {
                        kind: count.kind,
                        rows: count.rows.into(),
                    },
                ),
            }
        }
        self.cgroups_complete &= header.cgroups_listed;
        for cgroup in &header.cgroups {
            if let Err(place) = self.cgroups.binary_search(cgroup) {
                if self.cgroups.len() < SUMMARY_CGROUPS_MAX {
                    self.cgroups.insert(place, *cgroup);
                } else {
                    self.cgroups_complete = false;
                }
            }
        }
        if self.index.len() < INDEX_CHUNKS_MAX {
            self.index.push(IndexEntry {
                offset,
                number: header.number,
                first_ns: header.first_ns,
                last_ns: header.last_ns,
                watermark_ns: header.watermark_ns,
                header_len,
                body_compressed_len: header.body_compressed_len,
                body_len: header.body_len,
                rows: header.rows,
                kinds,
                has_checkpoint: header.has_checkpoint,
            });
        } else {
            self.index_complete = false;
        }
    }

    /// What a signature in this summary is about.
    pub fn signed(&self) -> Signed {
        Signed {
            frame_kind: KIND_SUMMARY,
            trace_uuid: self.trace_uuid,
            chunks: self.chunks,
            head: self.head_hash,
        }
    }

    /// The skippable frame.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let mut meta = Vec::new();
        wire::put_part(PART_KINDS, &mut meta, |out| wire::put(&self.kinds, out));
        wire::put_part(PART_CGROUPS, &mut meta, |out| wire::put(&self.cgroups, out));
        let totals = Totals {
            rows: self.rows,
            records: self.records,
            late_rows: self.late_rows,
            texts_cut: self.texts_cut,
            body_bytes: self.body_bytes,
            loss: self.loss,
            index_complete: self.index_complete,
            cgroups_complete: self.cgroups_complete,
        };
        wire::put_part(PART_TOTALS, &mut meta, |out| wire::put(&totals, out));
        wire::put_part(PART_INDEX, &mut meta, |out| wire::put(&self.index, out));
        if let Some(signature) = &self.signature {
            wire::put_part(PART_SIGNATURE, &mut meta, |out| wire::put(signature, out));
        }
        let fixed = Fixed {
            major: MAJOR,
            minor: MINOR,
            kind: KIND_SUMMARY,
            body_compressed_len: 0,
            body_len: 0,
            meta_len: 0,
            rows: 0,
            trace_uuid: self.trace_uuid,
            number: self.chunks,
            first_ns: if self.chunks == 0 { 0 } else { self.first_ns },
            last_ns: self.last_ns,
            watermark_ns: self.watermark_ns,
            prev_hash: self.head_hash,
        };
        header::write_frame(fixed, &meta, &[], out);
    }

    /// Reads a summary frame's payload (without magic and size) and checks its hash.
    pub fn read(payload: &[u8]) -> Result<Self, Error> {
        const WHAT: &str = "summary";
        Error::limit(WHAT, payload.len() as u64, SUMMARY_BYTES_MAX.into())?;
        let (fixed, meta, hash) = header::split_payload(payload)?;
        if fixed.major != MAJOR || fixed.kind != KIND_SUMMARY || fixed.body_compressed_len != 0 {
            return Err(Error::malformed(
                WHAT,
                16,
                format_args!("major version {MAJOR}, kind {KIND_SUMMARY}, no body"),
                format_args!(
                    "{}, {}, {} bytes",
                    fixed.major, fixed.kind, fixed.body_compressed_len
                ),
            ));
        }
        let expected = header::hash_of(&payload[..payload.len() - HASH_LEN], &[]);
        if expected != hash {
            return Err(Error::Hash {
                what: WHAT,
                expected: hex(&expected),
                found: hex(&hash),
            });
        }
        let mut summary = Summary {
            trace_uuid: fixed.trace_uuid,
            chunks: fixed.number,
            first_ns: fixed.first_ns,
            last_ns: fixed.last_ns,
            watermark_ns: fixed.watermark_ns,
            head_hash: fixed.prev_hash,
            ..Default::default()
        };
        let mut totals = Totals::default();
        header::read_parts(WHAT, meta, |tag, bytes| {
            match tag {
                PART_KINDS => summary.kinds = wire::get_large("kinds of a summary", bytes)?,
                PART_CGROUPS => summary.cgroups = wire::get_large("cgroups of a summary", bytes)?,
                PART_TOTALS => totals = wire::get_large("totals of a summary", bytes)?,
                PART_INDEX => summary.index = wire::get_large("index of a summary", bytes)?,
                PART_SIGNATURE => {
                    summary.signature = Some(wire::get("signature of a summary", bytes)?);
                }
                _ => {}
            }
            Ok(())
        })?;
        Error::limit(
            "kinds of a summary",
            summary.kinds.len() as u64,
            KINDS_MAX as u64,
        )?;
        Error::limit(
            "index of a summary",
            summary.index.len() as u64,
            INDEX_CHUNKS_MAX as u64,
        )?;
        summary.rows = totals.rows;
        summary.records = totals.records;
        summary.late_rows = totals.late_rows;
        summary.texts_cut = totals.texts_cut;
        summary.body_bytes = totals.body_bytes;
        summary.loss = totals.loss;
        summary.index_complete = totals.index_complete;
        summary.cgroups_complete = totals.cgroups_complete;
        Ok(summary)
    }
}

/// Writes the seek table: every frame of the file so far, skippable ones with decompressed size 0.
pub(crate) fn write_seek_table(summary: &Summary, summary_len: u32, out: &mut Vec<u8>) {
    let frames = summary.index.len() * 2 + 1;
    let len = frames * SEEK_ENTRY_LEN + SEEK_FOOTER_LEN;
    out.extend_from_slice(&SEEK_TABLE_MAGIC.to_le_bytes());
    out.extend_from_slice(&(len as u32).to_le_bytes());
    let mut entry = |compressed: u32, decompressed: u32| {
        out.extend_from_slice(&compressed.to_le_bytes());
        out.extend_from_slice(&decompressed.to_le_bytes());
    };
    for chunk in &summary.index {
        entry(chunk.header_len, 0);
        entry(chunk.body_compressed_len, chunk.body_len);
    }
    entry(summary_len, 0);
    out.extend_from_slice(&(frames as u32).to_le_bytes());
    // Descriptor: no checksums in the table, every frame has its own.
    out.push(0);
    out.extend_from_slice(&SEEKABLE_MAGIC.to_le_bytes());
}

/// The last [`SEEK_FOOTER_LEN`] bytes of a file: length of the whole seek table frame, if they are ours.
pub(crate) fn seek_table_len(footer: &[u8; SEEK_FOOTER_LEN]) -> Option<u64> {
    let mut cursor = Cursor::new("seek table footer", footer);
    let (frames, descriptor, magic) = (cursor.u32().ok()?, cursor.u8().ok()?, cursor.u32().ok()?);
    let ours = magic == SEEKABLE_MAGIC
        && descriptor == 0
        && frames > 0
        && frames as usize <= SEEK_ENTRIES_MAX;
    ours.then(|| (8 + frames as usize * SEEK_ENTRY_LEN + SEEK_FOOTER_LEN) as u64)
}
