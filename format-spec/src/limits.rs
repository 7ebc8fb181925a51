//! Bounds of the format. A reader refuses what exceeds them before it allocates; SPEC.md §Limits.

/// Rows of all families in one chunk: keeps a row number in 16 bits and bounds the decoder's memory
/// (about 160 bytes a decoded event, so 10 MiB).
pub const ROWS_MAX: u32 = 65_536;
/// Uncompressed body: bounds what a hostile frame can expand to.
pub const BODY_BYTES_MAX: u32 = 16 << 20;
/// Compressed body: zstd's own worst case for `BODY_BYTES_MAX` (`ZSTD_compressBound`).
pub const BODY_COMPRESSED_BYTES_MAX: u32 = BODY_BYTES_MAX + (BODY_BYTES_MAX >> 8) + 64;
/// Payload of a chunk's skippable frame.
pub const HEADER_BYTES_MAX: u32 = 1 << 20;
/// Payload of the summary's skippable frame: `INDEX_CHUNKS_MAX` index entries and their company.
pub const SUMMARY_BYTES_MAX: u32 = 22 << 20;
const _: () =
    assert!(INDEX_CHUNKS_MAX * 73 + SUMMARY_CGROUPS_MAX * 8 + 65_536 < SUMMARY_BYTES_MAX as usize);
/// Chunks that the summary's index lists: three days of one chunk a second.
pub const INDEX_CHUNKS_MAX: usize = 262_144;
/// Sections of a body: every column of every family ten times over.
pub const SECTIONS_MAX: u16 = 4_096;
/// Distinct strings in one chunk: four a row. In memory each costs 32 bytes beside its own.
pub const DICTIONARY_ENTRIES_MAX: u32 = 262_144;
/// One string. Longer than PATH_MAX (4,096) and than the recorder's capture limits.
pub const TEXT_BYTES_MAX: usize = 64 << 10;
/// Payload of one context record; also bincode's limit for anything it decodes there.
pub const RECORD_BYTES_MAX: usize = 1 << 20;
/// The context section: a decoded record can take three times its bytes.
pub const CONTEXT_BYTES_MAX: u32 = 8 << 20;
/// Context records in one chunk: a checkpoint of a host with tens of thousands of processes.
pub const RECORDS_MAX: u32 = 131_072;
/// Cgroups that a chunk's header lists; with more, the list is left out and a flag says so.
pub const CGROUPS_MAX: usize = 16_384;
/// (CPU, probe) pairs that a chunk's header lists; with more, the list is left out and a flag says so.
pub const SEQUENCES_MAX: usize = 16_384;
/// Cgroups that the summary lists.
pub const SUMMARY_CGROUPS_MAX: usize = 262_144;
/// Processes that a chunk's header lists; with more, the list is left out and a flag says so.
pub const PROCESSES_MAX: usize = 4_096;
/// Families that one chunk or summary counts.
pub const KINDS_MAX: usize = 1_024;
/// Fields of a declared family: twice what the widest known event has.
pub const FIELDS_MAX: usize = 64;
/// Name of a declared family or of a field of one.
pub const NAME_BYTES_MAX: usize = 255;
/// Values of all columns of a chunk together, absent ones included: bounds what a short body can
/// decode to, 8 bytes a value as a column and 24 as a declared event's. Room for the largest chunk of
/// system calls, with 16 columns, and a wide row more.
pub const VALUES_MAX: u64 = 17 * ROWS_MAX as u64;
/// What a chunk may weigh, see [`weight`]: what a reader takes for it at most, but for a few MiB.
pub const WEIGHT_MAX: u64 = 56 << 20;
/// The limits of the format, as SPEC.md §Limits lists them.
pub const NAMED: [(&str, u64); 21] = [
    ("ROWS_MAX", ROWS_MAX as u64),
    ("BODY_BYTES_MAX", BODY_BYTES_MAX as u64),
    (
        "BODY_COMPRESSED_BYTES_MAX",
        BODY_COMPRESSED_BYTES_MAX as u64,
    ),
    ("HEADER_BYTES_MAX", HEADER_BYTES_MAX as u64),
    ("SUMMARY_BYTES_MAX", SUMMARY_BYTES_MAX as u64),
    ("INDEX_CHUNKS_MAX", INDEX_CHUNKS_MAX as u64),
    ("SECTIONS_MAX", SECTIONS_MAX as u64),
    ("DICTIONARY_ENTRIES_MAX", DICTIONARY_ENTRIES_MAX as u64),
    ("TEXT_BYTES_MAX", TEXT_BYTES_MAX as u64),
    ("RECORD_BYTES_MAX", RECORD_BYTES_MAX as u64),
    ("CONTEXT_BYTES_MAX", CONTEXT_BYTES_MAX as u64),
    ("RECORDS_MAX", RECORDS_MAX as u64),
    ("CGROUPS_MAX", CGROUPS_MAX as u64),
    ("SEQUENCES_MAX", SEQUENCES_MAX as u64),
    ("SUMMARY_CGROUPS_MAX", SUMMARY_CGROUPS_MAX as u64),
    ("PROCESSES_MAX", PROCESSES_MAX as u64),
    ("KINDS_MAX", KINDS_MAX as u64),
    ("FIELDS_MAX", FIELDS_MAX as u64),
    ("NAME_BYTES_MAX", NAME_BYTES_MAX as u64),
    ("VALUES_MAX", VALUES_MAX),
    ("WEIGHT_MAX", WEIGHT_MAX),
];

/// All that a chunk brings into memory, so that what takes one limit whole leaves less of the others:
/// the compressed and the plain body, the strings made of it, records of up to three times their bytes, and
/// values as an event holds them. In bytes, but for `records`, `strings` and `values`.
pub const fn weight(
    compressed: u64,
    body: u64,
    context: u64,
    records: u64,
    strings: u64,
    values: u64,
) -> u64 {
    compressed + 2 * body + 2 * context + 192 * records + 32 * strings + 24 * values
}

/// New strings of one row, together: a writer cuts what is beyond. Four whole ones, as many as a row
/// of the column table can have.
pub const ROW_TEXT_BYTES_MAX: usize = 4 * TEXT_BYTES_MAX;

/// Issues that a reader keeps; further ones are only counted.
pub const ISSUES_MAX: usize = 10_000;
/// A reader gives up looking for the first sync marker after this many bytes, so that an endless
/// stream of something else ends with an answer.
pub const FIRST_MARKER_BYTES_MAX: u64 = 1 << 30;

/// When a [`crate::ChunkBuilder`] calls itself full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Rows bound what one damaged chunk costs, and the reader's memory.
    pub rows_max: u32,
    /// Estimated uncompressed bytes.
    pub bytes_max: u32,
    /// zstd level.
    pub level: i32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            rows_max: 65_536,
            // 65,536 system calls with their columns, and 1 MiB of strings and records.
            bytes_max: 9 << 20,
            level: 3,
        }
    }
}
