//! Any messages of a live stream: chunks come out in order and of one trace, every number between them
//! came or is reported, and what is kept of the sender's words is bounded.
//!
//! Input: first chunk asked for (255: none), then messages as {what u8, length u16, payload}: 0 a
//! message as it comes over the network; else a whole chunk, made from {number, choices}.
#![no_main]

use std::ops::RangeInclusive;

use libfuzzer_sys::fuzz_target;
use prost::Message;
use replay::live::{End, stream::Stream};
use trace_format::{
    ChunkBuilder, Limits,
    limits::ISSUES_MAX,
    live::{Update, update},
};

#[path = "../../../format-spec/tests/support/forge.rs"]
mod forge;

/// An issue or a notice is a line, not a page.
const TEXT_BYTES_MAX: usize = 4_096;

fuzz_target!(|bytes: &[u8]| {
    let Some((from, mut left)) = bytes.split_first() else {
        return;
    };
    let from = (*from != 255).then_some(u64::from(*from));
    let mut stream = Stream::new(from);
    let mut came: Vec<RangeInclusive<u64>> = Vec::new();
    let mut last = None;
    let mut uuid = None;
    let mut hash = [0; 32];
    while let [what, low, high, rest @ ..] = left {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (payload, rest) = rest.split_at(length);
        left = rest;
        let update = match what {
            // A message that protobuf refuses ends the connection, an unknown one is passed over.
            0 => match Update::decode(payload) {
                Ok(Update {
                    update: Some(update),
                }) => update,
                Ok(Update { update: None }) => continue,
                Err(_) => break,
            },
            _ => update::Update::Chunk(chunk(payload, hash)),
        };
        let was_open = stream.end() == End::Open;
        let Some(chunk) = stream.take(update) else {
            continue;
        };
        assert!(was_open, "a chunk after the end");
        let header = &chunk.header;
        assert!(last < Some(header.number), "chunks out of order");
        assert_eq!(*uuid.get_or_insert(header.trace_uuid), header.trace_uuid);
        last = Some(header.number);
        hash = header.hash;
        came.push(header.number..=header.number);
        let _ = chunk.decode();
    }
    assert!(stream.issues().len() <= ISSUES_MAX);
    for issue in stream.issues() {
        assert!(issue.to_string().len() <= TEXT_BYTES_MAX);
    }
    if stream.issues_not_kept() == 0
        && let (Some(first), Some(last)) = (from.or(came.first().map(|one| *one.start())), last)
    {
        came.extend(
            stream
                .issues()
                .iter()
                .filter_map(|issue| issue.missing.clone()),
        );
        came.sort_unstable_by_key(|range| *range.start());
        let mut next = first;
        for range in came.iter().take_while(|range| *range.start() <= last) {
            assert!(
                *range.start() <= next,
                "chunk {next} is neither there nor missed"
            );
            next = next.max(range.end().saturating_add(1));
        }
    }
    for notice in stream.notices() {
        assert!(notice.len() <= TEXT_BYTES_MAX && !notice.contains('\x1b'));
    }
});

/// A whole chunk without events: its number, and whether it is of another trace or breaks the chain.
fn chunk(payload: &[u8], prev_hash: [u8; 32]) -> Vec<u8> {
    let (number, choices) = match payload {
        [number, choices, ..] => (*number, *choices),
        _ => (0, 0),
    };
    let empty = ChunkBuilder::new(*b"trailcam-fuzzing", Limits::default()).seal(0);
    let mut forge = forge::Forge::open(&empty.bytes);
    // trace_uuid, number, prev_hash: SPEC.md §Frame header, less the 8 bytes before the payload.
    forge.fixed[40] ^= choices & 1;
    forge.fixed[56] = number;
    if choices & 2 == 0 {
        forge.fixed[88..120].copy_from_slice(&prev_hash);
    }
    forge.close()
}
