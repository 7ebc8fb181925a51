//! Any context section under a right hash: the records decode and encode again to the same, or the
//! chunk is refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trace_format::{ChunkBuilder, Limits, SealedChunk};
use trace_format_fuzz::forge::Section;

fuzz_target!(|payload: &[u8]| {
    let mut records = 0;
    let mut at = 0;
    while let Some(header) = payload.get(at..at + 14) {
        let len = u32::from_le_bytes([header[2], header[3], header[4], header[5]]) as usize;
        records += 1;
        at = at.saturating_add(14).saturating_add(len);
    }
    let mut forge = trace_format_fuzz::template();
    forge.sections = vec![Section {
        kind: 3,
        encoding: 0,
        family: 0,
        column: 0,
        rows: records,
        payload: payload.to_vec(),
    }];
    let chunk = SealedChunk::from_bytes(forge.close()).expect("the header is a good one");
    let Ok(decoded) = chunk.decode() else { return };
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
    let second = builder
        .seal(u64::MAX)
        .decode()
        .expect("what the builder seals decodes");
    let records = trace_format_fuzz::without_types;
    assert_eq!(records(&second.context), records(&decoded.context));
});
