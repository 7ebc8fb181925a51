//! Any bytes as a file and as a stream: read, scanned by headers, asked for their summary.
#![no_main]

use std::{io::Cursor, io::Write};

use libfuzzer_sys::fuzz_target;
use trace_format::{TraceReader, read_info};

fuzz_target!(|bytes: &[u8]| {
    let streamed = trace_format_fuzz::read_all(bytes);
    let mut headers = TraceReader::from_read(Cursor::new(bytes.to_vec()));
    while let Ok(Some(_)) = headers.next_header() {}

    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(bytes).expect("a temporary file holds this");
    if let Ok(info) = read_info(file.path()) {
        let reader = TraceReader::open(file.path()).expect("it was just read");
        for entry in &info.summary.index {
            // An index may lie; a chunk that is handed out by it must still be whole.
            if let Ok(chunk) = reader.read_chunk(entry) {
                let _ = chunk.decode();
            }
        }
    }
    drop(streamed);
});
