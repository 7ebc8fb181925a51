//! What sections weigh adds up to what is in the file, and goes to the section that it belongs to.

use std::{fs, io::Cursor, path::Path};

use trace_format::{
    ChunkBuilder, ChunkSource, Event, EventData, Limits, SealedChunk, Syscall, TraceReader,
    Weighed,
    columns::{self, COMMON_FAMILY, SYSCALL, TIME},
};

/// Both sums are exact.
fn check(chunk: &SealedChunk) {
    let weights = chunk.weights().unwrap();
    let stored: u64 = weights.iter().map(|weight| weight.stored_bytes).sum();
    let raw: u64 = weights.iter().map(|weight| weight.raw_bytes).sum();
    assert_eq!(stored, u64::from(chunk.header.body_compressed_len));
    assert_eq!(raw, u64::from(chunk.header.body_len));
}

#[test]
fn weights_of_every_vector_add_up() {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/valid");
    let mut chunks = 0;
    for entry in fs::read_dir(vectors).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "zst") {
            continue;
        }
        let mut reader = TraceReader::from_read(Cursor::new(fs::read(path).unwrap()));
        while let Some(chunk) = reader.next_chunk().unwrap() {
            check(&chunk);
            chunks += 1;
        }
    }
    assert!(chunks > 20, "{chunks} chunks");
}

#[test]
fn bytes_belong_to_the_column_that_needs_them() {
    const ROWS: u64 = 50_000;
    let mut builder = ChunkBuilder::new([5; 16], Limits::default());
    let mut noise = 7u64;
    for row in 0..ROWS {
        noise = noise
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        builder.push(Event {
            boot_ns: 1_000 * row,
            cpu: 0,
            probe: 1,
            seq: row,
            tid: 7,
            pid: 7,
            cgroup_id: 1,
            data: EventData::Syscall(Syscall {
                nr: 1,
                // Seven bytes of noise, everything else follows from the row.
                ret: (noise >> 8) as i64,
                args: [3, 0, 0, 0, 0, 0],
                duration_ns: 0,
            }),
        });
    }
    let chunk = builder.seal(0);
    check(&chunk);
    let weights = chunk.weights().unwrap();
    let ret = columns::family(SYSCALL)
        .unwrap()
        .fields
        .iter()
        .find(|field| field.name == "ret");
    let weight = |family, column| {
        let of = Weighed::Column { family, column };
        let found = weights.iter().find(|weight| weight.of == of);
        found.map_or(0, |weight| weight.stored_bytes)
    };
    let noisy = weight(SYSCALL, ret.unwrap().id);
    assert!((7 * ROWS..=8 * ROWS).contains(&noisy), "{noisy}");
    let time = weight(COMMON_FAMILY, TIME);
    assert!(time < ROWS / 10, "a row of equal steps: {time}");
}
