//! A good trace cut, filled, moved about and added to as the input says: every chunk that a reader
//! hands out is one that was written, in order, once.
//!
//! Input: operations of {u8 what, u16 from, u16 bytes, u16 to}.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use trace_format::{
    ChunkBuilder, Context, ContextRecord, Event, EventData, Limits, SealedChunk, Syscall,
    TraceWriter,
};

const OPERATIONS_MAX: usize = 16;
const BYTES_MAX: usize = 1 << 16;

static TRACE: LazyLock<(Vec<SealedChunk>, Vec<u8>)> = LazyLock::new(|| {
    let mut builder = ChunkBuilder::new(trace_format_fuzz::UUID, Limits::default());
    let chunks: Vec<SealedChunk> = (0..5u64)
        .map(|chunk| {
            let tick = ContextRecord {
                boot_ns: chunk * 10,
                body: Context::Tick,
            };
            builder.context(tick).expect("a tick fits");
            for seq in chunk * 4..chunk * 4 + 4 {
                builder.push(Event {
                    boot_ns: seq * 3,
                    cpu: 0,
                    probe: 1,
                    seq,
                    tid: 7 + (seq % 2) as u32,
                    pid: 7,
                    cgroup_id: 1,
                    data: EventData::Syscall(Syscall {
                        nr: 1,
                        ret: 2,
                        args: [seq; 6], duration_ns: 0, }),
                });
            }
            builder.seal((chunk + 1) * 12)
        })
        .collect();
    let mut writer = TraceWriter::new(Vec::new());
    for chunk in &chunks {
        writer.write(chunk).expect("memory takes it");
    }
    let bytes = writer.finish().expect("memory takes it");
    (chunks, bytes)
});

fuzz_target!(|operations: &[u8]| {
    let (chunks, whole) = &*TRACE;
    let mut bytes = whole.clone();
    for operation in operations.chunks_exact(7).take(OPERATIONS_MAX) {
        let number =
            |at: usize| usize::from(u16::from_le_bytes([operation[at], operation[at + 1]]));
        let from = number(1).min(bytes.len());
        let end = (from + number(3)).min(bytes.len());
        let to = number(5).min(bytes.len());
        match operation[0] % 6 {
            0 => bytes[from..end].fill(operation[5]),
            1 => bytes.truncate(end),
            2 => drop(bytes.drain(from..end)),
            3 if bytes.len() + end - from < BYTES_MAX => {
                let piece = bytes[from..end].to_vec();
                bytes.splice(to..to, piece);
            }
            4 => {
                let piece: Vec<u8> = bytes.drain(from..end).collect();
                let to = to.min(bytes.len());
                bytes.splice(to..to, piece);
            }
            _ => {
                if let Some(byte) = bytes.get_mut(from) {
                    *byte ^= 1 << (operation[5] % 8);
                }
            }
        }
    }
    let read = trace_format_fuzz::read_all(&bytes);
    assert!(read.is_sorted_by(|a, b| a.header.number < b.header.number));
    for chunk in read {
        assert!(chunks.contains(&chunk), "a chunk that was never written");
    }
});
