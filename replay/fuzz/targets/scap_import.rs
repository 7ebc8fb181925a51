//! Any bytes as a capture, gzip or raw: imported, the trace is sound and gives every event block back,
//! and reading it as `replay cat` and the rules do ends.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use replay::{
    event_json::write_json,
    event_text::LineWriter,
    event_view::EventView,
    import::scap,
    walk::{TimeRange, Walk},
};
use trace_format::{ChunkSource, Provenance, TraceReader};

#[path = "../../tests/captures/blocks.rs"]
mod blocks;

/// As fast as it gets: what zstd makes of the bytes is not asked here.
const LEVEL: i32 = 1;

fuzz_target!(|bytes: &[u8]| {
    let mut capture = blocks::open(bytes);
    let Ok((imported, trace)) =
        scap::import(&mut capture, Provenance::default(), LEVEL, Vec::new())
    else {
        // No capture, or one of another byte order or version.
        return;
    };
    assert_eq!(imported.trace_bytes, trace.len() as u64);
    let (found, records) = blocks::blocks_of_trace(&trace);
    assert_eq!(found.len() as u64, imported.events);
    assert_eq!(records, imported.state_records);
    assert!(found == blocks::blocks_of_capture(bytes), "a block changed");
    for rows in [true, false] {
        walk(&trace, rows);
    }
});

/// Prints every block, or every event that they make, into nothing.
fn walk(trace: &[u8], rows: bool) {
    let (mut lines, mut text, mut json) = (LineWriter::default(), Vec::new(), Vec::new());
    let mut walk = Walk::new(TimeRange::default(), |view: &EventView<'_>| {
        text.clear();
        lines.write(view, &mut text);
        assert!(
            !text.iter().any(|byte| matches!(byte, b'\n' | b'\x1b')),
            "{:?}",
            String::from_utf8_lossy(&text)
        );
        json.clear();
        write_json(view, &mut json)
    });
    if rows {
        walk = walk.showing_rows();
    }
    let mut reader = TraceReader::from_read(Cursor::new(trace.to_vec()));
    while let Some(chunk) = reader.next_chunk().expect("an import is a trace") {
        let events = chunk.events().expect("an import decodes");
        walk.push(events).expect("memory takes it");
    }
    walk.finish().expect("memory takes it");
}
