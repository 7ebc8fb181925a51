//! A sealed chunk and what is in it: the reading end of the format.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    ContextRecord, Error, Event, Text,
    body::{self, Section},
    builder::column_index,
    columns::{self, COMMON, Column, Encoding, FAMILIES, Family},
    encoding,
    error::hex,
    header::{self, ChunkHeader, FRAME_MAGIC, HASH_LEN, KindCount, SKIPPABLE_LEN},
    limits::*,
    order, record,
    rows::{self, check_values, take_fields},
    sequence,
};

/// A chunk as it is in the file, in the stream and in memory: the same bytes everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedChunk {
    pub header: ChunkHeader,
    /// The skippable frame with the header, then the zstd frame with the body.
    pub bytes: Arc<[u8]>,
}

/// Where an event is stored, for evidence: family id and row in that family's columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowRef {
    pub family: u16,
    pub row: u32,
}

/// A chunk's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedChunk {
    pub header: ChunkHeader,
    /// In the order they were written.
    pub context: Vec<ContextRecord>,
    /// In (time, family, row) order.
    pub events: Vec<Event>,
    /// Of the event at the same index.
    pub rows: Vec<RowRef>,
}

impl SealedChunk {
    /// A chunk that fills `bytes`, its hash checked.
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>) -> Result<Self, Error> {
        let bytes = bytes.into();
        let (header, body_at) = split(&bytes)?;
        check_hash(&header, &bytes, body_at)?;
        Ok(SealedChunk { header, bytes })
    }

    /// The zstd frame.
    pub fn body_frame(&self) -> Result<&[u8], Error> {
        let (_, body_at) = split(&self.bytes)?;
        Ok(&self.bytes[body_at..])
    }

    /// Checks the hash, decompresses, and hands out events and context. `bytes` alone counts: the
    /// header is read from there.
    pub fn decode(&self) -> Result<DecodedChunk, Error> {
        let (header, body_at) = split(&self.bytes)?;
        check_hash(&header, &self.bytes, body_at)?;
        let body = decompress(&header, &self.bytes[body_at..])?;
        decode_body(header, &body)
    }
}

/// Reads the header and says where the body frame starts; checks every length, not the hash.
fn split(bytes: &[u8]) -> Result<(ChunkHeader, usize), Error> {
    const WHAT: &str = "chunk";
    let mut cursor = crate::wire::Cursor::new(WHAT, bytes);
    let magic = cursor.u32()?;
    if magic != FRAME_MAGIC {
        return Err(Error::malformed(
            WHAT,
            0,
            format_args!("{FRAME_MAGIC:#x}"),
            format_args!("{magic:#x}"),
        ));
    }
    let payload_len = cursor.u32()?;
    Error::limit("chunk header", payload_len.into(), HEADER_BYTES_MAX.into())?;
    let header = ChunkHeader::read(cursor.take(payload_len as usize)?)?;
    if cursor.left() != header.body_compressed_len as usize {
        return Err(Error::malformed(
            WHAT,
            cursor.at(),
            format_args!("a body frame of {} bytes", header.body_compressed_len),
            format_args!("{} bytes", cursor.left()),
        ));
    }
    Ok((header, cursor.at()))
}

fn check_hash(header: &ChunkHeader, bytes: &[u8], body_at: usize) -> Result<(), Error> {
    let expected = header::hash_of(&bytes[SKIPPABLE_LEN..body_at - HASH_LEN], &bytes[body_at..]);
    if expected != header.hash {
        return Err(Error::Hash {
            what: "chunk",
            expected: hex(&expected),
            found: hex(&header.hash),
        });
    }
    Ok(())
}

/// The body, never larger than the header says, which [`ChunkHeader::read`] has bounded.
fn decompress(header: &ChunkHeader, frame: &[u8]) -> Result<Vec<u8>, Error> {
    let mut body = Vec::with_capacity(header.body_len as usize);
    zstd::bulk::Decompressor::new()
        .and_then(|mut zstd| zstd.decompress_to_buffer(frame, &mut body))
        .map_err(|source| Error::Zstd {
            action: "decompress the body",
            source,
        })?;
    if body.len() != header.body_len as usize {
        return Err(Error::malformed(
            "body",
            0,
            format_args!("{} bytes", header.body_len),
            body.len(),
        ));
    }
    Ok(body)
}

/// Decoded columns of one family, indexed like [`column_index`]; an empty one is all 0.
struct Columns {
    family: u16,
    rows: usize,
    values: Vec<Vec<u64>>,
}

fn decode_body(header: ChunkHeader, body: &[u8]) -> Result<DecodedChunk, Error> {
    let sections = body::sections(body)?;
    let texts = match only(&sections, body::DICTIONARY, "dictionary")? {
        Some((section, bytes)) => rows::read_dictionary(bytes, section.rows)?,
        None => vec![Text::default()],
    };
    let context = match only(&sections, body::CONTEXT, "context")? {
        Some((section, bytes)) => record::read_all(bytes, section.rows)?,
        None => Vec::new(),
    };
    let families = decode_columns(&sections, texts.len())?;
    let counted = families.iter().map(|columns| KindCount {
        kind: columns.family,
        rows: columns.rows as u32,
    });
    if !counted.eq(header.kinds.iter().copied()) {
        return Err(Error::malformed(
            "kinds of a chunk",
            0,
            "the counts of the body",
            format_args!("{:?}", header.kinds),
        ));
    }
    let total: usize = families.iter().map(|columns| columns.rows).sum();
    if total != header.rows as usize {
        return Err(Error::malformed("rows of a chunk", 36, total, header.rows));
    }

    let mut times = Vec::with_capacity(total);
    let mut pairs = Vec::with_capacity(total);
    let mut refs = Vec::with_capacity(total);
    for columns in &families {
        let at = |id: u16, row: usize| {
            columns.values[column_index(id)]
                .get(row)
                .copied()
                .unwrap_or(0)
        };
        times.extend_from_slice(&columns.values[column_index(columns::TIME)]);
        for row in 0..columns.rows {
            pairs.push(sequence::pair(
                at(columns::CPU, row),
                at(columns::PROBE, row),
            ));
            refs.push(RowRef {
                family: columns.family,
                row: row as u32,
            });
        }
    }
    // Readers skip chunks by this range: it must hold.
    let range = header.first_ns..=header.last_ns;
    let outside = |time: &&u64| !range.contains(time);
    let written = context.iter().map(|record| &record.boot_ns);
    if let Some(time) = times.iter().chain(written).find(outside) {
        return Err(Error::malformed(
            "time range of a chunk",
            64,
            format_args!("{range:?}"),
            time,
        ));
    }
    let in_time = order::by_time(&times);
    let seqs = match only(&sections, body::SEQUENCES, "sequences")? {
        Some((section, bytes)) if section.rows as usize == total => {
            sequence::read(bytes, &pairs, &in_time)?
        }
        Some((section, _)) => {
            return Err(Error::malformed(
                "sequence section",
                0,
                format_args!("{total} rows"),
                section.rows,
            ));
        }
        None => vec![0; total],
    };

    let by_family = |family: &Family| {
        families
            .iter()
            .position(|columns| columns.family == family.id)
    };
    let places: Vec<Option<usize>> = FAMILIES.iter().map(by_family).collect();
    let mut events = Vec::with_capacity(total);
    let mut rows = Vec::with_capacity(total);
    for (index, seq) in in_time.iter().zip(seqs) {
        let place = refs[*index as usize];
        let row = place.row as usize;
        let Some(Some(family)) = places.get(usize::from(place.family).wrapping_sub(1)) else {
            continue; // Of a family that a newer writer knows.
        };
        let columns = &families[*family];
        let at = |id: u16| {
            columns.values[column_index(id)]
                .get(row)
                .copied()
                .unwrap_or(0)
        };
        events.push(Event {
            boot_ns: times[*index as usize],
            cpu: at(columns::CPU) as u16,
            probe: at(columns::PROBE) as u8,
            seq,
            tid: at(columns::TID) as u32,
            pid: at(columns::PID) as u32,
            cgroup_id: at(columns::CGROUP_ID),
            data: take_fields(place.family, &columns.values[COMMON.len()..], &texts, row),
        });
        rows.push(place);
    }
    Ok(DecodedChunk {
        header,
        context,
        events,
        rows,
    })
}

/// The one section of a kind, if there is one.
fn only<'a>(
    sections: &[(Section, &'a [u8])],
    kind: u8,
    name: &'static str,
) -> Result<Option<(Section, &'a [u8])>, Error> {
    let mut found = sections.iter().filter(|(section, _)| section.kind == kind);
    let first = found.next().copied();
    if found.next().is_some() {
        return Err(Error::malformed(
            "body directory",
            0,
            format_args!("one {name} section"),
            "several",
        ));
    }
    Ok(first)
}

/// Every known column of every family, ascending by family. Of a family this version does not know
/// the common columns are decoded: its rows take part in the order and in the sequence numbers.
fn decode_columns(sections: &[(Section, &[u8])], texts: usize) -> Result<Vec<Columns>, Error> {
    let mut by_family: BTreeMap<u16, Vec<&(Section, &[u8])>> = BTreeMap::new();
    for entry in sections
        .iter()
        .filter(|(section, _)| section.kind == body::COLUMN)
    {
        by_family.entry(entry.0.family).or_default().push(entry);
    }
    let mut total = 0;
    let mut families = Vec::with_capacity(by_family.len());
    for (id, sections) in by_family {
        let fields = columns::family(id).map_or(&[][..], |family| family.fields);
        let Some((time, _)) = sections
            .iter()
            .find(|(section, _)| section.column == columns::TIME)
        else {
            return Err(Error::malformed(
                "body directory",
                id.into(),
                "a time column in every family",
                "none",
            ));
        };
        total += u64::from(time.rows);
        Error::limit("rows of a chunk", total, ROWS_MAX.into())?;
        let rows = time.rows as usize;
        let mut values = vec![Vec::new(); COMMON.len() + fields.len()];
        // Key columns first: columns that are keyed need them.
        for keyed in [false, true] {
            for column in COMMON.iter().chain(fields) {
                if matches!(column.encoding, Encoding::DeltaBy(_)) == keyed
                    && let Some(decoded) = decode_column(column, &sections, rows, &values, texts)?
                {
                    values[column_index(column.id)] = decoded;
                }
            }
        }
        families.push(Columns {
            family: id,
            rows,
            values,
        });
    }
    Ok(families)
}

/// One column's values; `None` when the writer left it out, because all were 0 or it did not know it.
fn decode_column(
    column: &Column,
    sections: &[&(Section, &[u8])],
    rows: usize,
    decoded: &[Vec<u64>],
    texts: usize,
) -> Result<Option<Vec<u64>>, Error> {
    const WHAT: &str = "column";
    let mut found = sections
        .iter()
        .filter(|(section, _)| section.column == column.id);
    let Some((section, bytes)) = found.next() else {
        return Ok(None);
    };
    if found.next().is_some() {
        return Err(Error::malformed(
            WHAT,
            column.id.into(),
            "one section",
            "several",
        ));
    }
    if section.rows as usize != rows {
        return Err(Error::malformed(
            WHAT,
            column.id.into(),
            format_args!("{rows} rows"),
            section.rows,
        ));
    }
    if section.encoding != column.encoding.number() {
        return Err(Error::malformed(
            WHAT,
            column.id.into(),
            format_args!("encoding {}", column.encoding.number()),
            section.encoding,
        ));
    }
    let zeros;
    let keys: &[u64] = match column.encoding {
        Encoding::DeltaBy(key) if decoded[column_index(key)].is_empty() => {
            zeros = vec![0; rows];
            &zeros
        }
        Encoding::DeltaBy(key) => &decoded[column_index(key)],
        _ => &[],
    };
    let values = encoding::decode(column.encoding, bytes, rows, keys)?;
    check_values(column, &values, texts)?;
    Ok(Some(values))
}
