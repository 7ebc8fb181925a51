//! The payload of a chunk's (and the summary's) skippable frame; SPEC.md §Frame header.
//!
//! Fixed fields at fixed offsets, so that an index scan needs no bincode; then parts
//! `{u16 tag, u32 len, payload}` that may be added to; last the BLAKE3 of everything before it and
//! of the body frame.

use bincode::{Decode, Encode};

use crate::{
    Error, Signature, Signed,
    error::hex,
    limits::*,
    wire::{self, Cursor},
};

/// zstd skippable frame that carries our headers. The low nibble is free to choose: T for Trailcam.
pub const FRAME_MAGIC: u32 = 0x184D_2A54;
/// Where a header starts, also after damage. Random, then bytes that no text encoding produces, so
/// that neither a path nor a document contains it by accident.
pub const SYNC_MARKER: [u8; 16] = [
    b'T', b'r', b'l', b'c', b'a', b'm', 0x8f, 0x1d, 0xc2, 0x07, 0xe9, 0xb4, 0xff, 0xfe, 0xc0, 0xf5,
];
pub const MAJOR: u16 = 1;
pub const MINOR: u16 = 0;
/// Frame kinds.
pub const KIND_CHUNK: u8 = 1;
pub const KIND_SUMMARY: u8 = 2;

/// Magic and size of a skippable frame.
pub const SKIPPABLE_LEN: usize = 8;
/// Bytes of the fixed fields.
pub const FIXED_LEN: usize = 120;
pub const HASH_LEN: usize = 32;

/// Bits of the `flags` part.
const FLAG_CHECKPOINT: u32 = 1;
const FLAG_CGROUPS_OMITTED: u32 = 2;
const FLAG_SEQUENCES_OMITTED: u32 = 4;
const FLAG_PROCESSES_OMITTED: u32 = 8;

const PART_KINDS: u16 = 1;
const PART_CGROUPS: u16 = 2;
const PART_SEQUENCES: u16 = 3;
const PART_COUNTS: u16 = 4;
/// The same in chunks and summary.
pub(crate) const PART_SIGNATURE: u16 = 5;
const PART_PROCESSES: u16 = 6;

/// Rows of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct KindCount {
    /// Family id.
    pub kind: u16,
    pub rows: u32,
}

/// Sequence numbers of one (CPU, probe) in one chunk. `last - first + 1 > rows`: some are missing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SequenceRange {
    pub cpu: u16,
    pub probe: u8,
    /// Smallest.
    pub first: u64,
    /// Largest.
    pub last: u64,
    pub rows: u64,
}

/// Sums over all CPUs and probes, cumulative since the start of the capture, from the last loss record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct LossTotal {
    pub seen: u64,
    pub dropped: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Counts {
    pub loss: LossTotal,
    pub late_rows: u32,
    pub records: u32,
    pub texts_cut: u32,
    pub flags: u32,
}

/// What a chunk says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChunkHeader {
    pub trace_uuid: [u8; 16],
    /// From 0, one more each chunk.
    pub number: u64,
    /// Oldest and newest time of an event or context record in it.
    pub first_ns: u64,
    pub last_ns: u64,
    /// No later chunk holds an event older than this.
    pub watermark_ns: u64,
    /// `hash` of the chunk before; zero in the first.
    pub prev_hash: [u8; 32],
    /// BLAKE3 of the header without this field and of the body frame.
    pub hash: [u8; 32],
    /// Events in all families.
    pub rows: u32,
    pub body_len: u32,
    pub body_compressed_len: u32,
    /// Per family present, ascending.
    pub kinds: Vec<KindCount>,
    /// False: more than [`CGROUPS_MAX`] cgroups, and the list below is empty.
    pub cgroups_listed: bool,
    /// Cgroups with events here, ascending.
    pub cgroups: Vec<u64>,
    /// False: more than [`SEQUENCES_MAX`] pairs, and the list below is empty.
    pub sequences_listed: bool,
    /// Ascending by (cpu, probe).
    pub sequences: Vec<SequenceRange>,
    /// False: more than [`PROCESSES_MAX`] processes, and the list below is empty.
    pub processes_listed: bool,
    /// Processes (`pid`) with events here, ascending.
    pub processes: Vec<u32>,
    pub loss: LossTotal,
    /// Events older than the watermark of the chunk before.
    pub late_rows: u32,
    /// Context records.
    pub records: u32,
    /// Strings that were longer than [`TEXT_BYTES_MAX`] and lost their end.
    pub texts_cut: u32,
    /// A whole checkpoint is in it: a reader can start here.
    pub has_checkpoint: bool,
    /// Vouches for the chunks before this one.
    pub signature: Option<Signature>,
}

/// The fixed fields, common to all frame kinds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fixed {
    pub major: u16,
    pub minor: u16,
    pub kind: u8,
    pub body_compressed_len: u32,
    pub body_len: u32,
    pub meta_len: u32,
    pub rows: u32,
    pub trace_uuid: [u8; 16],
    pub number: u64,
    pub first_ns: u64,
    pub last_ns: u64,
    pub watermark_ns: u64,
    pub prev_hash: [u8; 32],
}

impl Fixed {
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&SYNC_MARKER);
        out.extend_from_slice(&self.major.to_le_bytes());
        out.extend_from_slice(&self.minor.to_le_bytes());
        out.extend_from_slice(&[self.kind, 0, 0, 0]);
        for number in [
            self.body_compressed_len,
            self.body_len,
            self.meta_len,
            self.rows,
        ] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.trace_uuid);
        for number in [self.number, self.first_ns, self.last_ns, self.watermark_ns] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.prev_hash);
    }

    /// Reads the fields; the caller judges version and kind.
    pub fn read(payload: &[u8]) -> Result<Self, Error> {
        const WHAT: &str = "frame header";
        let mut cursor = Cursor::new(WHAT, payload);
        let marker: [u8; 16] = cursor.array()?;
        if marker != SYNC_MARKER {
            return Err(Error::malformed(WHAT, 0, hex(&SYNC_MARKER), hex(&marker)));
        }
        let (major, minor, kind) = (cursor.u16()?, cursor.u16()?, cursor.u8()?);
        cursor.take(3)?;
        Ok(Fixed {
            major,
            minor,
            kind,
            body_compressed_len: cursor.u32()?,
            body_len: cursor.u32()?,
            meta_len: cursor.u32()?,
            rows: cursor.u32()?,
            trace_uuid: cursor.array()?,
            number: cursor.u64()?,
            first_ns: cursor.u64()?,
            last_ns: cursor.u64()?,
            watermark_ns: cursor.u64()?,
            prev_hash: cursor.array()?,
        })
    }
}

/// Writes a whole skippable frame: fixed fields, parts and hash. Returns the hash.
/// `fixed.meta_len` is set here.
pub(crate) fn write_frame(
    mut fixed: Fixed,
    meta: &[u8],
    body_frame: &[u8],
    out: &mut Vec<u8>,
) -> [u8; 32] {
    fixed.meta_len = u32::try_from(meta.len()).expect("parts are bounded far below 4 GiB");
    let payload_len = FIXED_LEN + meta.len() + HASH_LEN;
    out.extend_from_slice(&FRAME_MAGIC.to_le_bytes());
    out.extend_from_slice(&(payload_len as u32).to_le_bytes());
    let start = out.len();
    fixed.write(out);
    debug_assert_eq!(out.len() - start, FIXED_LEN);
    out.extend_from_slice(meta);
    let hash = hash_of(&out[start..], body_frame);
    out.extend_from_slice(&hash);
    hash
}

/// BLAKE3 over the header payload without its hash, then the body frame.
pub(crate) fn hash_of(payload_without_hash: &[u8], body_frame: &[u8]) -> [u8; 32] {
    blake3::Hasher::new()
        .update(payload_without_hash)
        .update(body_frame)
        .finalize()
        .into()
}

/// Splits a frame's payload into fixed fields, parts and stored hash, and checks their lengths.
pub(crate) fn split_payload(payload: &[u8]) -> Result<(Fixed, &[u8], [u8; 32]), Error> {
    let fixed = Fixed::read(payload)?;
    let wanted = FIXED_LEN + fixed.meta_len as usize + HASH_LEN;
    if payload.len() != wanted {
        return Err(Error::malformed(
            "frame header",
            32,
            format_args!("{wanted} bytes in all"),
            payload.len(),
        ));
    }
    let meta = &payload[FIXED_LEN..payload.len() - HASH_LEN];
    let hash = payload[payload.len() - HASH_LEN..]
        .try_into()
        .expect("32 bytes");
    Ok((fixed, meta, hash))
}

/// Calls `part` for every part of `meta`, in order. A tag below 64 stands at most once: what two readers
/// could read differently is refused.
pub(crate) fn read_parts<'a>(
    what: &'static str,
    meta: &'a [u8],
    mut part: impl FnMut(u16, &'a [u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut cursor = Cursor::new(what, meta);
    let mut seen = 0u64;
    while cursor.left() > 0 {
        let at = cursor.at();
        let tag = cursor.u16()?;
        let bit = 1u64.checked_shl(tag.into()).unwrap_or(0);
        if seen & bit != 0 {
            return Err(Error::malformed(
                what,
                at,
                format_args!("one part {tag}"),
                "several",
            ));
        }
        seen |= bit;
        let len = cursor.u32()? as usize;
        part(tag, cursor.take(len)?)?;
    }
    Ok(())
}

impl ChunkHeader {
    /// The whole skippable frame; sets `hash`.
    pub(crate) fn write(&mut self, body_frame: &[u8], out: &mut Vec<u8>) {
        let mut meta = Vec::with_capacity(
            256 + 8 * self.cgroups.len() + 27 * self.sequences.len() + 4 * self.processes.len(),
        );
        wire::put_part(PART_KINDS, &mut meta, |out| wire::put(&self.kinds, out));
        wire::put_part(PART_CGROUPS, &mut meta, |out| wire::put(&self.cgroups, out));
        wire::put_part(PART_SEQUENCES, &mut meta, |out| {
            wire::put(&self.sequences, out)
        });
        let mut flags = 0;
        for (set, bit) in [
            (self.has_checkpoint, FLAG_CHECKPOINT),
            (!self.cgroups_listed, FLAG_CGROUPS_OMITTED),
            (!self.sequences_listed, FLAG_SEQUENCES_OMITTED),
            (!self.processes_listed, FLAG_PROCESSES_OMITTED),
        ] {
            flags |= if set { bit } else { 0 };
        }
        let counts = Counts {
            loss: self.loss,
            late_rows: self.late_rows,
            records: self.records,
            texts_cut: self.texts_cut,
            flags,
        };
        wire::put_part(PART_COUNTS, &mut meta, |out| wire::put(&counts, out));
        if let Some(signature) = &self.signature {
            wire::put_part(PART_SIGNATURE, &mut meta, |out| wire::put(signature, out));
        }
        wire::put_part(PART_PROCESSES, &mut meta, |out| {
            wire::put(&self.processes, out)
        });
        let fixed = Fixed {
            major: MAJOR,
            minor: MINOR,
            kind: KIND_CHUNK,
            body_compressed_len: self.body_compressed_len,
            body_len: self.body_len,
            meta_len: 0,
            rows: self.rows,
            trace_uuid: self.trace_uuid,
            number: self.number,
            first_ns: self.first_ns,
            last_ns: self.last_ns,
            watermark_ns: self.watermark_ns,
            prev_hash: self.prev_hash,
        };
        self.hash = write_frame(fixed, &meta, body_frame, out);
    }

    /// Reads a chunk's frame payload (without magic and size). The hash is read, not checked.
    pub fn read(payload: &[u8]) -> Result<Self, Error> {
        Error::limit(
            "chunk header",
            payload.len() as u64,
            HEADER_BYTES_MAX.into(),
        )?;
        let (fixed, meta, hash) = split_payload(payload)?;
        if fixed.major != MAJOR {
            return Err(Error::malformed(
                "frame header",
                16,
                format_args!("major version {MAJOR}"),
                fixed.major,
            ));
        }
        if fixed.kind != KIND_CHUNK {
            return Err(Error::malformed(
                "frame header",
                20,
                format_args!("kind {KIND_CHUNK}"),
                fixed.kind,
            ));
        }
        Error::limit("rows of a chunk", fixed.rows.into(), ROWS_MAX.into())?;
        Error::limit(
            "body of a chunk",
            fixed.body_len.into(),
            BODY_BYTES_MAX.into(),
        )?;
        Error::limit(
            "compressed body of a chunk",
            fixed.body_compressed_len.into(),
            BODY_COMPRESSED_BYTES_MAX.into(),
        )?;
        let mut header = ChunkHeader {
            trace_uuid: fixed.trace_uuid,
            number: fixed.number,
            first_ns: fixed.first_ns,
            last_ns: fixed.last_ns,
            watermark_ns: fixed.watermark_ns,
            prev_hash: fixed.prev_hash,
            hash,
            rows: fixed.rows,
            body_len: fixed.body_len,
            body_compressed_len: fixed.body_compressed_len,
            ..Default::default()
        };
        let mut counts = Counts::default();
        let mut processes: Option<Vec<u32>> = None;
        read_parts("chunk header", meta, |tag, bytes| {
            match tag {
                PART_KINDS => header.kinds = wire::get("kinds of a chunk", bytes)?,
                PART_CGROUPS => header.cgroups = wire::get("cgroups of a chunk", bytes)?,
                PART_SEQUENCES => header.sequences = wire::get("sequences of a chunk", bytes)?,
                PART_COUNTS => counts = wire::get("counts of a chunk", bytes)?,
                PART_SIGNATURE => {
                    header.signature = Some(wire::get("signature of a chunk", bytes)?);
                }
                PART_PROCESSES => processes = Some(wire::get("processes of a chunk", bytes)?),
                _ => {}
            }
            Ok(())
        })?;
        Error::limit(
            "kinds of a chunk",
            header.kinds.len() as u64,
            KINDS_MAX as u64,
        )?;
        header.loss = counts.loss;
        header.late_rows = counts.late_rows;
        header.records = counts.records;
        header.texts_cut = counts.texts_cut;
        header.has_checkpoint = counts.flags & FLAG_CHECKPOINT != 0;
        header.cgroups_listed = counts.flags & FLAG_CGROUPS_OMITTED == 0;
        header.sequences_listed = counts.flags & FLAG_SEQUENCES_OMITTED == 0;
        header.processes_listed = processes.is_some() && counts.flags & FLAG_PROCESSES_OMITTED == 0;
        header.processes = processes.unwrap_or_default();
        Ok(header)
    }

    /// What a signature in this header is about.
    pub fn signed(&self) -> Signed {
        Signed {
            frame_kind: KIND_CHUNK,
            trace_uuid: self.trace_uuid,
            chunks: self.number,
            head: self.prev_hash,
        }
    }

    /// Rows of one family.
    pub fn rows_of(&self, family: u16) -> u32 {
        self.kinds
            .iter()
            .filter(|count| count.kind == family)
            .map(|count| count.rows)
            .sum()
    }
}
