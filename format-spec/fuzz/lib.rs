//! What the targets share: chunks with a right hash around any content, and reading to the end.

#[path = "../tests/support/forge.rs"]
pub mod forge;

use std::io::Cursor;

use trace_format::{
    ChunkBuilder, ChunkSource, Context, ContextRecord, Error, Limits, SealedChunk, Stored,
    TraceReader,
};

pub const UUID: [u8; 16] = *b"trailcam-fuzzing";

/// A sealed chunk without anything in it, whose time range is all of time: a frame for any body.
pub fn template() -> forge::Forge {
    let empty = ChunkBuilder::new(UUID, Limits::default()).seal(0);
    let mut forge = forge::Forge::open(&empty.bytes);
    // first_ns, last_ns: SPEC.md §Frame header, less the 8 bytes before the payload.
    forge.fixed[64..72].fill(0);
    forge.fixed[72..80].fill(0xff);
    forge
}

/// Everything that a reader gives out of `bytes`, printed into nothing. Only what is no trace at all,
/// or a newer one, may end it with an error.
pub fn read_all(bytes: &[u8]) -> Vec<SealedChunk> {
    let mut reader = TraceReader::from_read(Cursor::new(bytes.to_vec()));
    let mut chunks = Vec::new();
    loop {
        match reader.next_chunk() {
            Ok(Some(chunk)) => {
                if let Ok(decoded) = chunk.decode() {
                    decoded.stored().for_each(|line| print(&line));
                }
                chunks.push(chunk);
            }
            Ok(None) => break,
            Err(Error::Empty { .. } | Error::NotATrace { .. } | Error::FutureVersion { .. }) => {
                break;
            }
            Err(error) => {
                panic!("reading ends with an error only where there is no trace: {error}")
            }
        }
    }
    reader
        .issues()
        .iter()
        .for_each(|issue| print(&Stored::Issue(issue)));
    reader
        .reached_summary()
        .into_iter()
        .for_each(|summary| print(&Stored::Summary(summary)));
    chunks
}

fn print(line: &Stored<'_>) {
    serde_json::to_writer(std::io::sink(), line).expect("any line can be printed");
}

/// The records that a builder writes as it is given them. It writes EventType records by itself, for the
/// families that have rows.
pub fn without_types(context: &[ContextRecord]) -> Vec<ContextRecord> {
    context
        .iter()
        .filter(|record| !matches!(record.body, Context::EventType(_)))
        .cloned()
        .collect()
}
