//! Importing scap captures: what comes out of the trace is what was in the capture, byte by byte, and
//! all of it takes less room than gzip.

#![cfg(feature = "import")]

#[path = "captures/blocks.rs"]
mod blocks;
mod captures;

use blocks::{blocks_of_capture, blocks_of_trace, open};
use captures::{captures, read_content};
use replay::import::scap::{
    Imported, import,
    lists::{Records, Value as ListValue},
    stored::StoredRecord,
};
use std::io::Cursor;
use trace_format::{ChunkSource, EventData, Provenance, TraceReader, Value};

fn imported(bytes: &[u8], level: i32) -> (Imported, Vec<u8>) {
    import(&mut open(bytes), Provenance::default(), level, Vec::new()).unwrap()
}

#[test]
fn every_block_comes_back_as_it_was() {
    for capture in captures() {
        let bytes = std::fs::read(&capture.path).unwrap();
        let (imported, trace) = imported(&bytes, 3);
        assert_eq!(imported.events, capture.events, "{}", capture.name);
        assert_eq!(imported.trace_bytes, trace.len() as u64, "{}", capture.name);
        let (blocks, records) = blocks_of_trace(&trace);
        let expected = blocks_of_capture(&bytes);
        assert_eq!(blocks.len(), expected.len(), "{}", capture.name);
        for (found, expected) in blocks.iter().zip(&expected) {
            assert_eq!(found, expected, "{}", capture.name);
        }
        assert_eq!(records, imported.state_records, "{}", capture.name);
        assert_eq!(imported.issues, [], "{}", capture.name);
    }
}

/// `--nocapture` prints the figures.
#[test]
fn all_captures_together_take_less_than_two_thirds_of_gzip() {
    use std::io::Write;
    let (mut packed, mut traces) = (0, 0);
    for capture in captures() {
        let content = read_content(&capture.path);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
        gzip.write_all(&content).unwrap();
        let gzip = gzip.finish().unwrap().len();
        let trace = imported(&content, 19).1.len();
        eprintln!(
            "{:50} {gzip:8} {trace:8} {:.3}",
            capture.name,
            trace as f64 / gzip as f64
        );
        packed += gzip;
        traces += trace;
    }
    if packed > 0 {
        let share = traces as f64 / packed as f64;
        eprintln!("{packed} {traces} {share:.3}");
        assert!(share < 2.0 / 3.0, "{share}");
    }
}

/// A capture made by hand, for what no real one has.
struct Made(Vec<u8>);

impl Made {
    fn new() -> Made {
        let mut made = Made(Vec::new());
        made.section();
        made
    }

    fn section(&mut self) {
        let head = [
            0x1a2b_3c4d_u32.to_le_bytes().as_slice(),
            &[1, 0, 2, 0],
            &[0xff; 8],
        ]
        .concat();
        self.block(0x0a0d_0d0a, &head);
    }

    fn block(&mut self, kind: u32, body: &[u8]) {
        let total = 12 + body.len().next_multiple_of(4) as u32;
        self.0.extend(kind.to_le_bytes());
        self.0.extend(total.to_le_bytes());
        self.0.extend(body);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self.0.extend(total.to_le_bytes());
    }

    fn event(
        &mut self,
        kind: u32,
        flags: Option<u32>,
        wall_ns: u64,
        tid: u64,
        number: u16,
        parameters: &[&[u8]],
    ) {
        let width = if matches!(number, 322 | 324 | 402) {
            4
        } else {
            2
        };
        let lengths: Vec<u8> = parameters
            .iter()
            .flat_map(|bytes| (bytes.len() as u32).to_le_bytes()[..width].to_vec())
            .collect();
        let values = parameters.concat();
        let mut body = 2u16.to_le_bytes().to_vec();
        body.extend(flags.into_iter().flat_map(u32::to_le_bytes));
        body.extend(wall_ns.to_le_bytes());
        body.extend(tid.to_le_bytes());
        body.extend((26 + lengths.len() as u32 + values.len() as u32).to_le_bytes());
        body.extend(number.to_le_bytes());
        body.extend((parameters.len() as u32).to_le_bytes());
        body.extend(lengths);
        body.extend(values);
        self.block(kind, &body);
    }
}

#[test]
fn what_no_shared_capture_has_is_kept_too() {
    const T: u64 = 1_700_000_000_000_000_000;
    let mut made = Made::new();
    let long = vec![b'x'; 200_000];
    made.event(0x216, None, 0, u64::MAX, 324, &[&long]); // a value longer than a row may hold
    made.event(0x216, None, T, 5, 3, &[&[3; 8], b"/tmp\0"]); // an older writer
    made.event(0x216, None, T + 5, 5, 5, &[b"", &[1; 8], b"new", b""]); // a newer one; no value
    made.event(0x216, None, T + 3, 5, 5, &[&[1; 4], &[1; 8]]); // another width; back in time
    made.event(
        0x216,
        None,
        T + 4,
        5,
        3,
        &[&[3; 8], b"no nul", b"", b"", b"", b""],
    );
    made.event(0x217, Some(1), T + 9, 1 << 40, 999, &[]); // of no known type
    made.section();
    made.event(0x216, None, T - 1_000, 5, 4, &[&[1; 8]]); // another section, earlier
    made.event(0x222, Some(0x8000_0001), u64::MAX, 5, 4, &[&[1; 8]]);
    made.event(0x216, None, T, 5, 4, &[&[1; 8]]);
    let (imported, trace) = imported(&made.0, 3);
    assert_eq!(
        (
            imported.issues.as_slice(),
            imported.events,
            imported.sections
        ),
        (&[][..], 9, 2)
    );
    let expected = blocks_of_capture(&made.0);
    assert_eq!(expected[0].5[0].len(), 200_000);
    let found = blocks_of_trace(&trace).0;
    for (found, expected) in found.iter().zip(&expected) {
        assert!(found == expected, "block {}", expected.0);
    }
    assert_eq!(found.len(), expected.len());
}

#[test]
fn a_block_that_contradicts_itself_leaves_a_hole() {
    let mut made = Made::new();
    made.event(0x216, None, 1, 5, 4, &[&[1; 8]]);
    made.block(0x216, &[0; 10]);
    made.block(0x999, &[0; 10]);
    made.event(0x216, None, 3, 5, 4, &[&[1; 8]]);
    let (imported, trace) = imported(&made.0, 3);
    assert_eq!(
        (imported.events, imported.damaged, imported.unknown_blocks),
        (2, 1, 1)
    );
    assert_eq!(imported.issues.len(), 1);
    let numbers: Vec<u64> = blocks_of_trace(&trace)
        .0
        .iter()
        .map(|block| block.0)
        .collect();
    assert_eq!(numbers, [0, 2]);
}

#[test]
fn whatever_the_bytes_say_an_import_ends_with_a_readable_trace() {
    let all = captures();
    let Some(small) = all.iter().find(|one| one.name.ends_with("cat_write.scap")) else {
        return;
    };
    let whole = read_content(&small.path);
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..60 {
        let mut bytes = whole.clone();
        bytes.truncate(whole.len() - (next() % 4_000) as usize);
        // The section header decides whether it is scap at all; behind it anything may happen.
        for _ in 0..round {
            let place = 28 + (next() % (bytes.len() as u64 - 28)) as usize;
            bytes[place] ^= 1 << (next() % 8);
        }
        let (imported, trace) = imported(&bytes, 1);
        let blocks = blocks_of_trace(&trace).0;
        assert_eq!(blocks.len() as u64, imported.events);
        assert!(blocks == blocks_of_capture(&bytes), "round {round}");
    }
}

#[test]
fn every_type_of_the_table_can_be_imported() {
    let mut made = Made::new();
    let types = replay::import::scap::schema::types();
    for ty in types {
        made.event(0x216, None, 1_700_000_000_000_000_000, 5, ty.number, &[]);
    }
    let (imported, trace) = imported(&made.0, 1);
    assert_eq!(imported.events, types.len() as u64);
    assert_eq!(blocks_of_trace(&trace).0, blocks_of_capture(&made.0));
}

#[test]
fn lists_keep_what_is_absent_apart_from_zero() {
    for capture in captures().iter().take(6) {
        let bytes = std::fs::read(&capture.path).unwrap();
        let mut expected = Vec::new();
        let mut reader = open(&bytes);
        while let Some(block) = reader.next_block().unwrap() {
            for record in Records::new(block.kind, block.body) {
                let record = record.unwrap();
                let fields = record.list.fields().iter().zip(&record.values);
                let texts = fields.map(|((name, _), value)| match value {
                    ListValue::Absent => format!("{name}: absent"),
                    ListValue::Number(number) => format!("{name}: {number}"),
                    ListValue::Bytes(bytes) => format!("{name}: {bytes:?}"),
                });
                expected.push((record.list, texts.collect::<Vec<_>>()));
            }
        }
        let trace = imported(&bytes, 1).1;
        let mut found = Vec::new();
        let mut reader = TraceReader::from_read(Cursor::new(trace));
        while let Some(chunk) = reader.next_chunk().unwrap() {
            for event in chunk.decode().unwrap().events {
                let EventData::Declared(data) = &event.data else {
                    continue;
                };
                let Some(record) = StoredRecord::of(data) else {
                    continue;
                };
                let texts = record
                    .list
                    .fields()
                    .iter()
                    .map(|(name, _)| match record.get(name) {
                        None => format!("{name}: absent"),
                        Some(Value::Text(text)) => format!("{name}: {:?}", &text[..]),
                        Some(_) => format!("{name}: {}", record.number(name).unwrap()),
                    });
                found.push((record.list, texts.collect::<Vec<_>>()));
            }
        }
        // A thread's rows stand together in a trace.
        found.sort();
        expected.sort();
        assert!(found == expected, "{}", capture.name);
    }
}
