//! What a reader gets out of bytes, as SPEC.md §JSON prints it.
#![allow(dead_code, reason = "each test program uses its own part of this")]

use trace_format::*;

/// The lines of a trace: what `replay cat --raw` and `reader.py` print.
pub fn stored_lines(bytes: &[u8]) -> String {
    let mut reader = TraceReader::from_read(std::io::Cursor::new(bytes.to_vec()));
    let mut lines = String::new();
    let mut put = |line: Stored| {
        lines += &serde_json::to_string(&line).expect("lines have text for keys");
        lines.push('\n');
    };
    loop {
        match reader.next_chunk() {
            Ok(Some(chunk)) => match chunk.decode() {
                Ok(decoded) => decoded.stored().for_each(&mut put),
                Err(_) => put(Stored::Malformed {
                    number: chunk.header.number,
                }),
            },
            Ok(None) => break,
            Err(Error::Empty { .. }) => return "{\"error\":\"empty\"}\n".to_owned(),
            Err(Error::NotATrace { .. }) => return "{\"error\":\"not_a_trace\"}\n".to_owned(),
            Err(Error::FutureVersion { found_major, .. }) => {
                return lines
                    + &format!("{{\"error\":\"future_version\",\"major\":{found_major}}}\n");
            }
            Err(error) => panic!("{error}"),
        }
    }
    let issues = reader.issues().to_vec();
    reader
        .reached_summary()
        .map(Stored::Summary)
        .into_iter()
        .for_each(&mut put);
    issues.iter().map(Stored::Issue).for_each(&mut put);
    lines
}
