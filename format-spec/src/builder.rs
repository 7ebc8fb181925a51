//! Collects events and context as columns and seals them into chunks: the writing end of the format.
//!
//! A builder belongs to one trace: it numbers its chunks and chains their hashes. It keeps its
//! buffers from chunk to chunk.

use std::sync::Arc;

use crate::{
    Context, ContextRecord, Continues, Error, Event, EventType, SIGN_INTERVAL_NS, Signature,
    SigningKey,
    body::{self, Writer},
    chunk::SealedChunk,
    columns,
    compress::{Compressor, PIECE_BYTES_MIN},
    header::{ChunkHeader, LossTotal},
    limits::*,
    record,
    rows::Dictionary,
    table::{Stored, Table},
};

/// A row's values at most: a wide declared family.
const ROW_VALUES_MAX: usize = columns::COMMON.len() + FIELDS_MAX;
/// What a row adds to the body at most: its values, and a string for each field.
const ROW_BYTES_MAX: usize = ROW_VALUES_MAX * 8 + FIELDS_MAX * 4 + ROW_TEXT_BYTES_MAX;
/// Of the 64 bytes that a row's common values count with, those they cannot take: by their types 39,
/// and 11 for the start of a pair of the sequences.
const ROW_BYTES_UNUSED: usize = 14;
/// What stands in a body beside columns, strings and records: the directory, the heads of the columns
/// and the first sequence number of each pair.
const OVERHEAD_BYTES_MAX: usize =
    SECTIONS_MAX as usize * (body::ENTRY_LEN + 9) + ROWS_MAX as usize * 11 + 64;

/// From here on a chunk is full: one more row or record keeps the format's limits.
const BODY_BYTES_FULL: usize = 10 << 20;
const VALUES_FULL: usize = 16 * ROWS_MAX as usize;
const DICTIONARY_ENTRIES_FULL: usize = DICTIONARY_ENTRIES_MAX as usize - 1_024;
const CONTEXT_BYTES_FULL: usize = 6 << 20;
/// Room for 65,536 system calls, and 1 MiB of strings or a checkpoint of thousands of processes.
const WEIGHT_FULL: u64 = 49 << 20;
/// What a row and a record weigh at most, with the directory and the heads of the columns.
const STEP_WEIGHT_MAX: u64 = weight_below(
    ROW_BYTES_MAX
        + RECORD_BYTES_MAX
        + record::HEAD_LEN
        + SECTIONS_MAX as usize * (body::ENTRY_LEN + 9)
        + 64,
    RECORD_BYTES_MAX + record::HEAD_LEN,
    1,
    FIELDS_MAX,
    ROW_VALUES_MAX,
);
const _: () = assert!(
    BODY_BYTES_FULL + ROW_BYTES_MAX + RECORD_BYTES_MAX + OVERHEAD_BYTES_MAX
        <= BODY_BYTES_MAX as usize
        && VALUES_FULL + ROW_VALUES_MAX <= VALUES_MAX as usize
        && DICTIONARY_ENTRIES_FULL + FIELDS_MAX <= DICTIONARY_ENTRIES_MAX as usize
        && CONTEXT_BYTES_FULL + RECORD_BYTES_MAX + record::HEAD_LEN <= CONTEXT_BYTES_MAX as usize
        && WEIGHT_FULL + STEP_WEIGHT_MAX <= WEIGHT_MAX
);

/// The weight of a chunk with a body of at most so many bytes. zstd adds a part in 256 in its worst
/// case, and 8 bytes for the end of a block, of which there is one in [`PIECE_BYTES_MIN`] bytes.
const fn weight_below(
    body: usize,
    context: usize,
    records: u32,
    strings: usize,
    values: usize,
) -> u64 {
    let compressed = body + body / 256 + body / (PIECE_BYTES_MIN / 8) + 1024;
    weight(
        compressed as u64,
        body as u64,
        context as u64,
        records as u64,
        strings as u64,
        values as u64,
    )
}

/// Reused from seal to seal.
#[derive(Default)]
struct Scratch {
    sections: Writer,
    stored: Stored,
    directory: Vec<u8>,
    frame: Vec<u8>,
}

/// With which key, and when the next signature is due.
struct Signing {
    key: Arc<SigningKey>,
    next_ns: u64,
}

pub struct ChunkBuilder {
    trace_uuid: [u8; 16],
    limits: Limits,
    table: Table,
    dictionary: Dictionary,
    context: Vec<u8>,
    records: u32,
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
    signing: Option<Signing>,
    scratch: Scratch,
    zstd: Compressor,
}

impl ChunkBuilder {
    /// # Panics
    /// When zstd cannot allocate its context.
    pub fn new(trace_uuid: [u8; 16], limits: Limits) -> Self {
        ChunkBuilder {
            trace_uuid,
            limits,
            table: Table::new(),
            dictionary: Dictionary::default(),
            context: Vec::new(),
            records: 0,
            first_ns: u64::MAX,
            last_ns: 0,
            late_rows: 0,
            checkpoint_open: false,
            has_checkpoint: false,
            number: 0,
            watermark_ns: 0,
            prev_hash: [0; 32],
            loss: LossTotal::default(),
            signing: None,
            scratch: Scratch::default(),
            zstd: Compressor::new(limits.level),
        }
    }

    /// Adds an event.
    ///
    /// # Panics
    /// When the open chunk has reached a limit of the format: the caller seals when
    /// [`ChunkBuilder::is_full`] says so, before that. When the event is of a declared
    /// family and its type was not given to [`ChunkBuilder::declare`].
    pub fn push(&mut self, event: Event) {
        assert!(
            self.rows() < ROWS_MAX && self.has_room(),
            "seal a full chunk before pushing: {} rows, {} bytes",
            self.rows(),
            self.bytes()
        );
        self.first_ns = self.first_ns.min(event.boot_ns);
        self.last_ns = self.last_ns.max(event.boot_ns);
        if event.boot_ns < self.watermark_ns {
            self.late_rows += 1;
        }
        if let Some(ty) = self.table.push(&event, &mut self.dictionary) {
            let boot_ns = event.boot_ns;
            let body = Context::EventType(ty);
            record::put(&ContextRecord { boot_ns, body }, &mut self.context)
                .expect("the limits of a type keep it below that of a record");
            self.records += 1;
        }
    }

    /// Makes a family known whose events will come. The chunks that hold some will hold its type.
    /// Refused when the id stands for another type already.
    pub fn declare(&mut self, ty: &Arc<EventType>) -> Result<(), Error> {
        self.table.declare(ty)
    }

    /// Adds a context record; refused, and nothing added, when its payload exceeds [`RECORD_BYTES_MAX`].
    /// An event type is declared, and written where there are events of it.
    ///
    /// # Panics
    /// As [`ChunkBuilder::push`], and when the chunk already holds [`RECORDS_MAX`] records.
    pub fn context(&mut self, record: ContextRecord) -> Result<(), Error> {
        assert!(
            self.records < RECORDS_MAX && self.has_room(),
            "seal a full chunk before adding context: {} records, {} bytes",
            self.records,
            self.bytes()
        );
        if let Context::EventType(ty) = &record.body {
            return self.declare(ty);
        }
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

    /// Counts strings that had lost their end at the limit before they came here.
    pub(crate) fn texts_cut(&mut self, count: u32) {
        self.dictionary.cut = self.dictionary.cut.saturating_add(count);
    }

    /// Events in the open chunk.
    pub fn rows(&self) -> u32 {
        self.table.rows()
    }

    /// Upper bound of the open chunk's uncompressed body.
    pub fn bytes(&self) -> usize {
        self.table.bytes() + self.dictionary.bytes() + self.context.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows() == 0 && self.records == 0
    }

    /// The limits given to [`ChunkBuilder::new`] are reached, or those of the format near: seal
    /// before adding more.
    pub fn is_full(&self) -> bool {
        self.rows() >= self.limits.rows_max.min(ROWS_MAX)
            || self.records >= RECORDS_MAX / 2
            || self.bytes() >= (self.limits.bytes_max as usize).min(BODY_BYTES_FULL)
            || self.table.bytes() >= VALUES_FULL * 8
            || self.dictionary.len() >= DICTIONARY_ENTRIES_FULL
            || self.context.len() >= CONTEXT_BYTES_FULL
            || self.weight() >= WEIGHT_FULL
    }

    /// Upper bound of what the open chunk weighs.
    fn weight(&self) -> u64 {
        weight_below(
            self.bytes() - ROW_BYTES_UNUSED * self.rows() as usize,
            self.context.len(),
            self.records,
            self.dictionary.len(),
            self.table.bytes() / 8,
        )
    }

    /// Whatever the next event or record is, the chunk stays within the format's limits.
    fn has_room(&self) -> bool {
        self.bytes() + ROW_BYTES_MAX + RECORD_BYTES_MAX + OVERHEAD_BYTES_MAX
            <= BODY_BYTES_MAX as usize
            && self.table.bytes() + 8 * ROW_VALUES_MAX <= 8 * VALUES_MAX as usize
            && self.dictionary.len() + FIELDS_MAX <= DICTIONARY_ENTRIES_MAX as usize
            && self.context.len() + RECORD_BYTES_MAX + record::HEAD_LEN
                <= CONTEXT_BYTES_MAX as usize
            && self.weight() + STEP_WEIGHT_MAX <= WEIGHT_MAX
    }

    /// Number of the chunk that the next seal makes.
    pub fn next_number(&self) -> u64 {
        self.number
    }

    /// Begins the next part of the capture: another trace, whose chunks are numbered from 0. What
    /// counts over the whole capture goes on. Returns what the new part's Continues record says of
    /// the part before; its capture and number are the caller's.
    ///
    /// # Panics
    /// When the open chunk is not empty: seal it first, it belongs to the part before.
    pub fn start_part(&mut self, trace_uuid: [u8; 16]) -> Continues {
        assert!(self.is_empty(), "the open chunk belongs to the part before");
        let before = Continues {
            previous_uuid: self.trace_uuid,
            previous_head: self.prev_hash,
            previous_chunks: self.number,
            ..Continues::default()
        };
        self.trace_uuid = trace_uuid;
        self.number = 0;
        self.prev_hash = [0; 32];
        if let Some(signing) = &mut self.signing {
            signing.next_ns = 0;
        }
        before
    }

    /// Takes a sealed chunk of another trace over as this trace's next one: its body as it is, byte for
    /// byte, under this trace's UUID, number, chain and signatures.
    ///
    /// # Panics
    /// When the open chunk is not empty: it comes before this one.
    pub(crate) fn carry(&mut self, source: &SealedChunk) -> Result<SealedChunk, Error> {
        assert!(self.is_empty(), "the open chunk comes before this one");
        let body = source.body_frame()?;
        // The bytes alone count.
        let mut header = SealedChunk::from_bytes(source.bytes.clone())?.header;
        header.trace_uuid = self.trace_uuid;
        header.number = self.number;
        header.prev_hash = self.prev_hash;
        if header.late_rows > 0 {
            // Late against what this trace promised before, which may be less.
            let before = self.watermark_ns;
            let late = source
                .times()?
                .into_iter()
                .filter(|ns| *ns < before)
                .count();
            header.late_rows = late as u32;
        }
        header.watermark_ns = header.watermark_ns.max(self.watermark_ns);
        header.signature = self.sign(&header);
        let mut bytes = Vec::with_capacity(source.bytes.len() + 128);
        header.write(body, &mut bytes);
        bytes.extend_from_slice(body);
        self.number += 1;
        self.watermark_ns = header.watermark_ns;
        self.prev_hash = header.hash;
        self.loss = header.loss;
        Ok(SealedChunk {
            header,
            bytes: Arc::from(bytes),
        })
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
            rows: self.rows(),
            loss: self.loss,
            late_rows: self.late_rows,
            records: self.records,
            texts_cut: self.dictionary.cut,
            has_checkpoint: self.has_checkpoint,
            ..Default::default()
        };
        header.signature = self.sign(&header);
        self.encode_body(&mut header);
        let bytes = self.compress(&mut header);
        self.clear();
        self.number += 1;
        self.watermark_ns = watermark_ns;
        self.prev_hash = header.hash;
        SealedChunk { header, bytes }
    }

    /// Has chunks vouch for those before them: the second one, and then one every [`SIGN_INTERVAL_NS`]
    /// of trace time. A trace that ends without its summary is signed up to there.
    pub fn sign_with(&mut self, key: Arc<SigningKey>) {
        self.signing = Some(Signing { key, next_ns: 0 });
    }

    fn sign(&mut self, header: &ChunkHeader) -> Option<Signature> {
        let signing = self.signing.as_mut()?;
        // The first chunk has nothing before it to vouch for.
        if header.number == 0 || header.last_ns < signing.next_ns {
            return None;
        }
        signing.next_ns = header.last_ns.saturating_add(SIGN_INTERVAL_NS);
        Some(signing.key.sign(&header.signed()))
    }

    /// Fills `scratch.sections`, and the header's lists.
    fn encode_body(&mut self, header: &mut ChunkHeader) {
        let Scratch {
            sections, stored, ..
        } = &mut self.scratch;
        let table = &self.table;
        sections.clear();
        table.store(stored);
        table.write_common(columns::TIME, stored, sections);
        table.write_common(columns::FAMILY, stored, sections);
        if self.dictionary.len() > 0 {
            sections.plain(body::DICTIONARY, self.dictionary.len() as u32, |out| {
                self.dictionary.write(out)
            });
        }
        sections.plain(body::CONTEXT, self.records, |out| {
            out.extend_from_slice(&self.context)
        });
        for id in [
            columns::TID,
            columns::PID,
            columns::CGROUP_ID,
            columns::CPU,
            columns::PROBE,
        ] {
            table.write_common(id, stored, sections);
        }
        table.write_fields(stored, sections);
        let ranges = table.write_sequences(stored, sections);

        header.kinds = table.kinds();
        let listed = |len: usize, max: usize| len <= max;
        header.cgroups_listed = listed(stored.cgroup_ids.len(), CGROUPS_MAX);
        if header.cgroups_listed {
            header.cgroups = stored.cgroup_ids.clone();
        }
        header.processes_listed = listed(stored.pids.len(), PROCESSES_MAX);
        if header.processes_listed {
            header.processes = stored.pids.iter().map(|pid| *pid as u32).collect();
        }
        header.sequences_listed = listed(ranges.len(), SEQUENCES_MAX);
        if header.sequences_listed {
            header.sequences = ranges;
        }
    }

    /// The chunk's bytes; fills the header's lengths and hash.
    fn compress(&mut self, header: &mut ChunkHeader) -> Arc<[u8]> {
        let Scratch {
            sections,
            directory,
            frame,
            ..
        } = &mut self.scratch;
        sections.directory(directory);
        let payloads = sections.payloads();
        let len = directory.len() + payloads.len();
        assert!(
            len <= BODY_BYTES_MAX as usize,
            "push keeps the body below its limit"
        );
        header.body_len = len as u32;
        self.zstd
            .compress(directory, payloads, sections.cuts(), frame);
        header.body_compressed_len = frame.len() as u32;
        let mut bytes = Vec::with_capacity(frame.len() + 4096);
        header.write(frame, &mut bytes);
        bytes.extend_from_slice(frame);
        Arc::from(bytes)
    }

    fn clear(&mut self) {
        self.table.clear();
        self.dictionary.clear();
        self.context.clear();
        self.records = 0;
        self.first_ns = u64::MAX;
        self.last_ns = 0;
        self.late_rows = 0;
        // A checkpoint that spans a seal is whole in no chunk.
        self.checkpoint_open = false;
        self.has_checkpoint = false;
    }
}
