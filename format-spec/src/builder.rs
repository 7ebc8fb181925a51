//! Collects events and context as columns and seals them into chunks: the writing end of the format.
//!
//! A builder belongs to one trace: it numbers its chunks and chains their hashes. It keeps its
//! buffers from chunk to chunk.

use std::sync::Arc;

use crate::{
    Context, ContextRecord, Error, Event,
    body::{self, Section},
    chunk::SealedChunk,
    columns::{self, COMMON, FAMILIES},
    encoding::{self, Encoding},
    header::{ChunkHeader, KindCount, LossTotal},
    limits::*,
    order, record,
    rows::{self, Dictionary},
    sequence,
};

/// Columns of one family in order of arrival: the common ones, then its fields.
struct Table {
    columns: Vec<Vec<u64>>,
}

impl Table {
    fn rows(&self) -> usize {
        self.columns[0].len()
    }
    fn common(&self, id: u16) -> &[u64] {
        &self.columns[usize::from(id) - 1]
    }
}

/// Rows that a family's buffers always keep room for, so that a quiet second frees nothing.
const KEPT_ROWS: usize = 1_024;

/// Reused from seal to seal.
#[derive(Default)]
struct Scratch {
    values: Vec<u64>,
    keys: Vec<u64>,
    times: Vec<u64>,
    pairs: Vec<u32>,
    seqs: Vec<u64>,
    payloads: Vec<u8>,
    body: Vec<u8>,
    frame: Vec<u8>,
}

pub struct ChunkBuilder {
    trace_uuid: [u8; 16],
    limits: Limits,
    tables: [Table; FAMILIES.len()],
    dictionary: Dictionary,
    context: Vec<u8>,
    records: u32,
    rows: u32,
    column_bytes: usize,
    first_ns: u64,
    last_ns: u64,
    late_rows: u32,
    checkpoint_open: bool,
    has_checkpoint: bool,
    // State that outlives a chunk.
    number: u64,
    watermark_ns: u64,
    prev_hash: [u8; 32],
    loss: LossTotal,
    scratch: Scratch,
    zstd: zstd::bulk::Compressor<'static>,
}

impl ChunkBuilder {
    /// # Panics
    /// When zstd cannot allocate its context.
    pub fn new(trace_uuid: [u8; 16], limits: Limits) -> Self {
        let mut zstd = zstd::bulk::Compressor::new(limits.level).expect("zstd context");
        zstd.set_parameter(zstd::zstd_safe::CParameter::ChecksumFlag(true))
            .expect("zstd knows the checksum flag");
        ChunkBuilder {
            trace_uuid,
            limits,
            tables: std::array::from_fn(|family| Table {
                columns: vec![Vec::new(); COMMON.len() + FAMILIES[family].fields.len()],
            }),
            dictionary: Dictionary::default(),
            context: Vec::new(),
            records: 0,
            rows: 0,
            column_bytes: 0,
            first_ns: u64::MAX,
            last_ns: 0,
            late_rows: 0,
            checkpoint_open: false,
            has_checkpoint: false,
            number: 0,
            watermark_ns: 0,
            prev_hash: [0; 32],
            loss: LossTotal::default(),
            scratch: Scratch::default(),
            zstd,
        }
    }

    /// Adds an event.
    ///
    /// # Panics
    /// When the open chunk already holds [`ROWS_MAX`] rows or [`BODY_BYTES_MAX`] bytes: the caller
    /// seals when [`ChunkBuilder::is_full`] says so, long before.
    pub fn push(&mut self, event: Event) {
        assert!(
            self.rows < ROWS_MAX && self.bytes() < BODY_BYTES_MAX as usize - 8 * TEXT_BYTES_MAX,
            "seal a full chunk before pushing: {} rows, {} bytes",
            self.rows,
            self.bytes()
        );
        let family = rows::family_of(&event.data);
        let columns = &mut self.tables[usize::from(family) - 1].columns;
        let common = [
            event.boot_ns,
            event.tid.into(),
            event.pid.into(),
            event.cgroup_id,
            event.cpu.into(),
            event.probe.into(),
            event.seq,
        ];
        for (column, value) in columns.iter_mut().zip(common) {
            column.push(value);
        }
        let mut field = COMMON.len();
        rows::put_fields(event.data, &mut self.dictionary, |value| {
            columns[field].push(value);
            field += 1;
        });
        self.column_bytes += 8 * columns.len();
        self.rows += 1;
        self.first_ns = self.first_ns.min(event.boot_ns);
        self.last_ns = self.last_ns.max(event.boot_ns);
        if event.boot_ns < self.watermark_ns {
            self.late_rows += 1;
        }
    }

    /// Adds a context record; refused, and nothing added, when its payload exceeds [`RECORD_BYTES_MAX`].
    ///
    /// # Panics
    /// As [`ChunkBuilder::push`], and when the chunk already holds [`RECORDS_MAX`] records.
    pub fn context(&mut self, record: ContextRecord) -> Result<(), Error> {
        assert!(
            self.records < RECORDS_MAX
                && self.bytes() < BODY_BYTES_MAX as usize - 2 * RECORD_BYTES_MAX,
            "seal a full chunk before adding context: {} records, {} bytes",
            self.records,
            self.bytes()
        );
        record::put(&record, &mut self.context)?;
        self.records += 1;
        self.first_ns = self.first_ns.min(record.boot_ns);
        self.last_ns = self.last_ns.max(record.boot_ns);
        match record.body {
            Context::Loss(loss) => {
                self.loss = loss
                    .counts
                    .iter()
                    .fold(LossTotal::default(), |sum, count| LossTotal {
                        seen: sum.seen.saturating_add(count.seen),
                        dropped: sum.dropped.saturating_add(count.dropped),
                    });
            }
            Context::CheckpointBegin => self.checkpoint_open = true,
            Context::CheckpointEnd => {
                self.has_checkpoint |= std::mem::take(&mut self.checkpoint_open)
            }
            _ => {}
        }
        Ok(())
    }

    /// Events in the open chunk.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// Upper bound of the open chunk's uncompressed body.
    pub fn bytes(&self) -> usize {
        self.column_bytes + self.dictionary.bytes() + self.context.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows == 0 && self.records == 0
    }

    /// The limits given to [`ChunkBuilder::new`] are reached: seal before adding more.
    pub fn is_full(&self) -> bool {
        self.rows >= self.limits.rows_max.min(ROWS_MAX)
            || self.records >= RECORDS_MAX / 2
            || self.bytes() >= (self.limits.bytes_max as usize).min(BODY_BYTES_MAX as usize / 2)
    }

    /// Number of the chunk that the next seal makes.
    pub fn next_number(&self) -> u64 {
        self.number
    }

    /// Seals what was collected, promising that no later event is older than `watermark_ns`, and
    /// starts the next chunk. Watermarks never go back: an older one than the last is taken as the last.
    pub fn seal(&mut self, watermark_ns: u64) -> SealedChunk {
        let watermark_ns = watermark_ns.max(self.watermark_ns);
        let mut header = ChunkHeader {
            trace_uuid: self.trace_uuid,
            number: self.number,
            first_ns: if self.is_empty() {
                watermark_ns
            } else {
                self.first_ns
            },
            last_ns: if self.is_empty() {
                watermark_ns
            } else {
                self.last_ns
            },
            watermark_ns,
            prev_hash: self.prev_hash,
            rows: self.rows,
            loss: self.loss,
            late_rows: self.late_rows,
            records: self.records,
            texts_cut: self.dictionary.cut,
            has_checkpoint: self.has_checkpoint,
            ..Default::default()
        };
        self.encode_body(&mut header);
        let bytes = self.compress(&mut header);
        self.clear();
        self.number += 1;
        self.watermark_ns = watermark_ns;
        self.prev_hash = header.hash;
        SealedChunk { header, bytes }
    }

    /// Fills `scratch.body`, and the header's lists.
    fn encode_body(&mut self, header: &mut ChunkHeader) {
        let scratch = &mut self.scratch;
        let mut directory: Vec<Section> = Vec::new();
        scratch.payloads.clear();
        scratch.times.clear();
        scratch.pairs.clear();
        scratch.seqs.clear();
        let mut cgroups: Vec<u64> = Vec::new();

        let mut stored_orders: Vec<(u16, Vec<u32>)> = Vec::new();
        for family in &FAMILIES {
            let table = &self.tables[usize::from(family.id) - 1];
            if table.rows() == 0 {
                continue;
            }
            header.kinds.push(KindCount {
                kind: family.id,
                rows: table.rows() as u32,
            });
            let stored = order::by_thread(table.common(columns::TIME), table.common(columns::TID));
            gather(table.common(columns::TIME), &stored, &mut scratch.values);
            scratch.times.extend_from_slice(&scratch.values);
            let start = scratch.payloads.len();
            if !encoding::encode(
                COMMON[0].encoding,
                &mut scratch.values,
                &[],
                &mut scratch.payloads,
            ) {
                // The time column is what says that a family is there: never absent.
                scratch.payloads.extend_from_slice(&[0; 9]);
            }
            directory.push(column_section(
                family.id,
                &COMMON[0],
                table.rows(),
                scratch.payloads.len() - start,
            ));
            stored_orders.push((family.id, stored));
        }

        if self.dictionary.len() > 0 {
            let start = scratch.payloads.len();
            self.dictionary.write(&mut scratch.payloads);
            directory.push(Section {
                kind: body::DICTIONARY,
                encoding: 0,
                family: 0,
                column: 0,
                rows: self.dictionary.len() as u32,
                len: (scratch.payloads.len() - start) as u32,
            });
        }
        if self.records > 0 {
            scratch.payloads.extend_from_slice(&self.context);
            directory.push(Section {
                kind: body::CONTEXT,
                encoding: 0,
                family: 0,
                column: 0,
                rows: self.records,
                len: self.context.len() as u32,
            });
        }

        for (id, stored) in &stored_orders {
            let table = &self.tables[usize::from(*id) - 1];
            let fields = FAMILIES[usize::from(*id) - 1].fields;
            for (column, values) in COMMON.iter().chain(fields).zip(&table.columns).skip(1) {
                if column.encoding == Encoding::Sequence {
                    continue;
                }
                if let Encoding::DeltaBy(key) = column.encoding {
                    gather(&table.columns[column_index(key)], stored, &mut scratch.keys);
                }
                gather(values, stored, &mut scratch.values);
                if column.id == columns::CGROUP_ID {
                    distinct(&scratch.values, &mut cgroups);
                }
                let start = scratch.payloads.len();
                if encoding::encode(
                    column.encoding,
                    &mut scratch.values,
                    &scratch.keys,
                    &mut scratch.payloads,
                ) {
                    directory.push(column_section(
                        *id,
                        column,
                        table.rows(),
                        scratch.payloads.len() - start,
                    ));
                }
            }
            let (cpus, probes) = (table.common(columns::CPU), table.common(columns::PROBE));
            scratch.pairs.extend(
                stored
                    .iter()
                    .map(|row| sequence::pair(cpus[*row as usize], probes[*row as usize])),
            );
            gather(table.common(columns::SEQ), stored, &mut scratch.values);
            scratch.seqs.extend_from_slice(&scratch.values);
        }

        let in_time = order::by_time(&scratch.times);
        let start = scratch.payloads.len();
        let (sequences, written) = sequence::write(
            &scratch.pairs,
            &scratch.seqs,
            &in_time,
            &mut scratch.payloads,
        );
        if written {
            directory.push(Section {
                kind: body::SEQUENCES,
                encoding: Encoding::Sequence.number(),
                family: 0,
                column: columns::SEQ,
                rows: self.rows,
                len: (scratch.payloads.len() - start) as u32,
            });
        }

        header.cgroups_listed = cgroups.len() <= CGROUPS_MAX;
        header.cgroups = if header.cgroups_listed {
            cgroups
        } else {
            Vec::new()
        };
        header.sequences_listed = sequences.len() <= SEQUENCES_MAX;
        header.sequences = if header.sequences_listed {
            sequences
        } else {
            Vec::new()
        };

        scratch.body.clear();
        scratch
            .body
            .extend_from_slice(&(directory.len() as u16).to_le_bytes());
        for section in &directory {
            section.write(&mut scratch.body);
        }
        scratch.body.extend_from_slice(&scratch.payloads);
        assert!(
            scratch.body.len() <= BODY_BYTES_MAX as usize,
            "push keeps the body below its limit"
        );
        header.body_len = scratch.body.len() as u32;
    }

    /// The chunk's bytes; fills the header's lengths and hash.
    fn compress(&mut self, header: &mut ChunkHeader) -> Arc<[u8]> {
        let Scratch { body, frame, .. } = &mut self.scratch;
        frame.clear();
        frame.reserve(zstd::zstd_safe::compress_bound(body.len()));
        self.zstd
            .compress_to_buffer(body.as_slice(), frame)
            .expect("the buffer has the size zstd asks for in the worst case");
        header.body_compressed_len = frame.len() as u32;
        let mut bytes = Vec::with_capacity(frame.len() + 4096);
        header.write(frame, &mut bytes);
        bytes.extend_from_slice(frame);
        Arc::from(bytes)
    }

    fn clear(&mut self) {
        for table in &mut self.tables {
            // Buffers follow the load down as well: a burst of one family after that of another
            // must not leave both at their largest.
            let keep = 2 * table.rows().max(KEPT_ROWS);
            for column in &mut table.columns {
                column.clear();
                if column.capacity() > 2 * keep {
                    column.shrink_to(keep);
                }
            }
        }
        self.dictionary.clear();
        self.context.clear();
        self.records = 0;
        self.rows = 0;
        self.column_bytes = 0;
        self.first_ns = u64::MAX;
        self.last_ns = 0;
        self.late_rows = 0;
        // A checkpoint that spans a seal is whole in no chunk.
        self.checkpoint_open = false;
        self.has_checkpoint = false;
    }
}

/// Where a column id is in [`Table::columns`].
pub(crate) fn column_index(id: u16) -> usize {
    if id < columns::FIELDS {
        usize::from(id) - 1
    } else {
        COMMON.len() + usize::from(id - columns::FIELDS)
    }
}

fn column_section(family: u16, column: &columns::Column, rows: usize, len: usize) -> Section {
    Section {
        kind: body::COLUMN,
        encoding: column.encoding.number(),
        family,
        column: column.id,
        rows: rows as u32,
        len: len as u32,
    }
}

fn gather(values: &[u64], order: &[u32], out: &mut Vec<u64>) {
    out.clear();
    out.extend(order.iter().map(|row| values[*row as usize]));
}

/// Adds the values to an ascending list without duplicates; rows come in long runs of one value.
fn distinct(values: &[u64], list: &mut Vec<u64>) {
    let mut last = None;
    for value in values {
        if last == Some(value) {
            continue;
        }
        last = Some(value);
        if let Err(place) = list.binary_search(value) {
            list.insert(place, *value);
        }
    }
}
