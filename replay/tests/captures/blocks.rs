//! Event blocks of a capture, and of the trace that it was imported to: for comparing the two.

use std::{io::Cursor, path::Path};

use replay::import::scap::{
    Capture,
    block::Kind,
    event,
    stored::{Parts, StoredBlock, StoredRecord},
};
use trace_format::{ChunkSource, Context, EventData, TraceReader};

/// An event block: number, time, thread, CPU, type, parameters.
pub type Block = (u64, u64, u64, u16, u16, Vec<Vec<u8>>);

pub fn open(bytes: &[u8]) -> Capture {
    Capture::read(Path::new("test"), Cursor::new(bytes.to_vec())).unwrap()
}

pub fn blocks_of_capture(bytes: &[u8]) -> Vec<Block> {
    let mut capture = open(bytes);
    let mut blocks = Vec::new();
    let mut number = 0;
    while let Some(block) = capture.next_block().unwrap() {
        if let Kind::Event(form) = block.kind {
            if let Ok(event) = event::parse(form, block.body) {
                let parameters = event.parameters.iter().map(<[u8]>::to_vec).collect();
                blocks.push((
                    number,
                    event.wall_ns,
                    event.tid,
                    event.cpu,
                    event.number,
                    parameters,
                ));
            }
            number += 1;
        }
    }
    blocks
}

/// Blocks and state records of a trace, in order.
pub fn blocks_of_trace(trace: &[u8]) -> (Vec<Block>, u64) {
    let mut reader = TraceReader::from_read(Cursor::new(trace.to_vec()));
    let (mut blocks, mut records, mut offset_ns) = (Vec::new(), 0, 0u64);
    let mut parts = Parts::default();
    while let Some(chunk) = reader.next_chunk().unwrap() {
        let chunk = chunk.decode().unwrap();
        let mut context = chunk.context.iter().peekable();
        for event in &chunk.events {
            while let Some(record) = context.next_if(|record| record.boot_ns <= event.boot_ns) {
                if let Context::Clock(clock) = &record.body {
                    offset_ns = clock.wall_ns.wrapping_sub(clock.boot_ns);
                }
            }
            let EventData::Declared(data) = &event.data else {
                panic!("{event:?}");
            };
            if parts.take(data) {
                continue;
            }
            if StoredRecord::of(data).is_some() {
                records += 1;
                continue;
            }
            let block = StoredBlock::of(data).unwrap();
            let parameters = (0..block.len()).filter_map(|at| block.bytes(at, &parts));
            let wall_ns = event.boot_ns.wrapping_add(offset_ns);
            blocks.push((
                event.seq,
                wall_ns.wrapping_add_signed(block.ahead_ns),
                u64::from(block.high) << 32 | u64::from(event.tid),
                block.cpu,
                block.number,
                parameters.collect(),
            ));
            parts.clear();
        }
    }
    assert_eq!(reader.issues(), []);
    // Rows of equal time stand by thread.
    blocks.sort_by_key(|block| block.0);
    (blocks, records)
}
