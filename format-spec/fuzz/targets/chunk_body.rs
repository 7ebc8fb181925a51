//! Any body under a right hash: it decodes to events that can be sealed again and come out the same,
//! or it is refused.
//!
//! Input: number of families, {u16 family, u32 rows} for each, the body as it is before zstd.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trace_format::{ChunkBuilder, DecodedChunk, Limits, SealedChunk};

const COUNT_BYTES: usize = 6;

fuzz_target!(|bytes: &[u8]| {
    let Some((families, rest)) = bytes.split_first() else {
        return;
    };
    let counts_len = usize::from(*families) * COUNT_BYTES;
    if rest.len() < counts_len {
        return;
    }
    let (counts, body) = rest.split_at(counts_len);
    let rows = counts.chunks(COUNT_BYTES).fold(0u32, |rows, count| {
        rows.wrapping_add(u32::from_le_bytes([count[2], count[3], count[4], count[5]]))
    });
    let mut forge = trace_format_fuzz::template();
    forge.set_rows(rows);
    let kinds = [&u64::from(*families).to_le_bytes()[..], counts].concat();
    forge.parts.retain(|(tag, _)| *tag != 1);
    forge.parts.push((1, kinds));
    let Ok(chunk) = SealedChunk::from_bytes(forge.close_with(body, body.len() as u32)) else {
        return;
    };
    let Ok(decoded) = chunk.decode() else { return };
    again(&decoded);
});

/// What was decoded is what a writer would write: it survives another round.
fn again(decoded: &DecodedChunk) {
    let mut builder = ChunkBuilder::new(trace_format_fuzz::UUID, Limits::default());
    for record in &decoded.context {
        if builder.is_full() {
            // A reader takes more than one chunk of ours holds.
            return;
        }
        if builder.context(record.clone()).is_err() {
            return;
        }
    }
    for event in &decoded.events {
        if builder.is_full() {
            return;
        }
        builder.push(event.clone());
    }
    let second = builder
        .seal(u64::MAX)
        .decode()
        .expect("what the builder seals decodes");
    let records = trace_format_fuzz::without_types;
    assert_eq!(records(&second.context), records(&decoded.context));
    // Rows of one time may change places between threads.
    let lines = |decoded: &DecodedChunk| {
        let mut lines: Vec<String> = decoded
            .events
            .iter()
            .map(|event| format!("{event:?}"))
            .collect();
        lines.sort_unstable();
        lines
    };
    assert_eq!(lines(&second), lines(decoded));
}
