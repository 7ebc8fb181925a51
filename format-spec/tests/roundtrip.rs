//! What goes in comes out: every family, every context record, every extreme value.

mod support;

use proptest::{collection::vec, prelude::*};
use support::{forge::Forge, sample::*, *};
use trace_format::{
    columns::{FAMILY, TID},
    *,
};

/// The promised order: by time, then row, which for equal times is the order of arrival per thread;
/// threads by first appearance. So sort what went in the same way.
fn promised_order(mut events: Vec<Event>) -> Vec<Event> {
    let mut by_time: Vec<&Event> = events.iter().collect();
    by_time.sort_by_key(|event| event.boot_ns);
    let mut ranks = std::collections::HashMap::new();
    for event in by_time {
        let next = ranks.len();
        ranks.entry(event.tid).or_insert(next);
    }
    events.sort_by_key(|event| (event.boot_ns, ranks[&event.tid]));
    events
}

fn seal(events: &[Event]) -> SealedChunk {
    let mut builder = builder();
    events.iter().for_each(|event| builder.push(event.clone()));
    builder.seal(5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_event_comes_back_in_time_order(events in vec(event(), 0..120)) {
        let chunk = seal(&events);
        let decoded = SealedChunk::from_bytes(chunk.bytes.clone()).unwrap().decode().unwrap();
        prop_assert_eq!(&decoded.header, &chunk.header);
        prop_assert_eq!(decoded.events.len(), decoded.rows.len());
        prop_assert!(decoded.rows.iter().zip(&decoded.events).all(|(row, event)| row.family == family_of(&event.data)));
        prop_assert_eq!(decoded.events, promised_order(events));
    }

    /// A scan of columns sees what the events say.
    #[test]
    fn columns_hold_what_events_hold(events in vec(event(), 0..120)) {
        let chunk = seal(&events);
        let decoded = chunk.decode().unwrap();
        let columns = chunk.columns().unwrap();
        let times = columns.times().unwrap();
        prop_assert_eq!(&chunk.times().unwrap(), &times);
        let in_time = time_order(&times);
        let rows: Vec<u32> = decoded.rows.iter().map(|at| at.row).collect();
        prop_assert_eq!(&rows, &in_time);
        let seqs: Vec<u64> = decoded.events.iter().map(|event| event.seq).collect();
        prop_assert_eq!(columns.sequences(&in_time).unwrap(), seqs);
        let context = columns.context().unwrap();
        prop_assert_eq!(&context, &decoded.context);
        let [tids, ids] = [TID, FAMILY].map(|id| columns.common(id).unwrap());
        let families = columns.families(&context).unwrap();
        for (at, event) in decoded.rows.iter().zip(&decoded.events) {
            let row = at.row as usize;
            prop_assert_eq!((times[row], tids[row]), (event.boot_ns, event.tid.into()));
            prop_assert_eq!((ids[row], at.family), (at.family.into(), family_of(&event.data)));
            let family = families.iter().find(|family| family.id == at.family).unwrap();
            let place = family.rows.binary_search(&at.row).unwrap();
            let field = |id| columns.field(family, id).unwrap().map(|values| values[place]);
            match &event.data {
                EventData::Syscall(call) => {
                    prop_assert_eq!(field(16), Some(call.nr.into()));
                    prop_assert_eq!(field(17), Some(call.ret as u64));
                    prop_assert_eq!(field(23), Some(call.args[5]));
                    prop_assert_eq!(field(24), None);
                }
                EventData::Sample(sample) => prop_assert_eq!(field(18), Some(sample.memory_bytes)),
                EventData::Cgroup(change) => {
                    let path = field(17).unwrap() as usize;
                    prop_assert_eq!(&columns.texts().unwrap()[path], &change.path);
                }
                EventData::Declared(declared) => if let Some(Value::Unsigned(offset)) = declared.get("offset") {
                    prop_assert_eq!(field(17), Some(*offset));
                },
                _ => {}
            }
        }
    }

    /// A reused builder must not remember anything of the chunk before but numbers, chain, loss and watermark.
    #[test]
    fn a_reused_builder_seals_what_a_fresh_one_would(first in vec(event(), 0..40), second in vec(event(), 0..40)) {
        let mut builder = builder();
        first.iter().for_each(|event| builder.push(event.clone()));
        builder.seal(0);
        second.iter().for_each(|event| builder.push(event.clone()));
        let reused = builder.seal(5).decode().unwrap();
        let fresh = seal(&second).decode().unwrap();
        prop_assert_eq!(reused.events, fresh.events);
        prop_assert_eq!(reused.header.cgroups, fresh.header.cgroups);
        prop_assert_eq!(reused.header.sequences, fresh.header.sequences);
        prop_assert_eq!(reused.header.processes, fresh.header.processes);
    }
}

#[test]
fn every_context_record_comes_back_in_order() {
    let records = one_of_each_context();
    let mut builder = ChunkBuilder::new(UUID, Limits::default());
    records
        .iter()
        .for_each(|record| builder.context(record.clone()).unwrap());
    let decoded = builder.seal(60).decode().unwrap();
    assert_eq!(decoded.context, records);
    let last_ns = 39 + records.len() as u64;
    assert_eq!(
        (decoded.header.first_ns, decoded.header.last_ns),
        (40, last_ns)
    );
    assert_eq!(decoded.header.records as usize, records.len());
    assert_eq!(
        decoded.header.loss,
        LossTotal {
            seen: 150,
            dropped: 7
        }
    );
    assert!(decoded.header.has_checkpoint);
}

/// A reader that starts at a chunk with the flag must find the whole checkpoint in it.
#[test]
fn a_checkpoint_across_two_chunks_is_in_neither() {
    let mut builder = ChunkBuilder::new(UUID, Limits::default());
    builder
        .context(ContextRecord {
            boot_ns: 1,
            body: Context::CheckpointBegin,
        })
        .unwrap();
    assert!(!builder.seal(1).header.has_checkpoint);
    builder
        .context(ContextRecord {
            boot_ns: 2,
            body: Context::CheckpointEnd,
        })
        .unwrap();
    assert!(!builder.seal(2).header.has_checkpoint);
}

#[test]
fn the_header_lists_what_the_body_holds() {
    let mut builder = ChunkBuilder::new(UUID, Limits::default());
    for (seq, cgroup) in [(5, 30), (6, 10), (9, 30)] {
        builder.push(Event {
            cgroup_id: cgroup,
            seq,
            pid: 200 - cgroup as u32,
            ..read_call(1000 + seq, 1, seq)
        });
    }
    // Samples are no probe's: they have no sequence.
    builder.push(Event {
        probe: 0,
        seq: 0,
        cgroup_id: 20,
        data: EventData::Sample(Box::default()),
        ..read_call(1000, 0, 0)
    });
    let header = builder.seal(2000).header;
    assert_eq!(header.rows, 4);
    assert_eq!(
        header.kinds,
        [
            KindCount { kind: 1, rows: 3 },
            KindCount { kind: 11, rows: 1 }
        ]
    );
    assert_eq!(header.cgroups, [10, 20, 30]);
    assert_eq!(header.processes, [0, 170, 190]);
    assert_eq!(
        header.sequences,
        [SequenceRange {
            cpu: 0,
            probe: 1,
            first: 5,
            last: 9,
            rows: 3
        }]
    );
    assert_eq!(
        (header.first_ns, header.last_ns, header.watermark_ns),
        (1000, 1009, 2000)
    );
}

#[test]
fn events_older_than_the_last_watermark_are_counted_as_late() {
    let mut builder = ChunkBuilder::new(UUID, Limits::default());
    builder.push(read_call(90, 1, 0));
    assert_eq!(builder.seal(100).header.late_rows, 0);
    for (seq, boot_ns) in [(1, 99), (2, 100), (3, 40)] {
        builder.push(read_call(boot_ns, 1, seq));
    }
    let second = builder.seal(50);
    assert_eq!(second.header.late_rows, 2, "99 and 40 are late, 100 is not");
    assert_eq!(
        second.header.watermark_ns, 100,
        "a watermark is never taken back"
    );
}

#[test]
fn chunks_are_numbered_and_chained() {
    let chunks = small_chunks(3, 4);
    assert_eq!(chunks[0].header.prev_hash, [0; 32]);
    for (number, pair) in chunks.windows(2).enumerate() {
        assert_eq!(pair[0].header.number, number as u64);
        assert_eq!(pair[1].header.prev_hash, pair[0].header.hash);
    }
}

/// One probe writes several families: its numbers are dense over all of them, in no one of them.
#[test]
fn a_capture_without_loss_spends_nothing_on_sequence_numbers() {
    let build = |seq_of: fn(u64) -> u64| {
        let mut builder = ChunkBuilder::new(UUID, Limits::default());
        for row in 0..20_000u64 {
            let mut event = read_call(row * 1000, 1 + (row % 5) as u32, seq_of(row));
            if row % 3 == 0 {
                event.data = EventData::PathCall(PathCall {
                    nr: 87,
                    ret: 0,
                    arg: 0,
                    path: "/tmp/x".into(),
                    path2: Text::default(),
                    marks: PathMarks(0),
                    duration_ns: 0,
                });
            }
            builder.push(event);
        }
        builder.seal(1 << 40).bytes.len()
    };
    let dense = build(|row| 1_000_000 + row);
    let none = build(|_| 0) as i64; // All equal: each is one less than predicted, one value repeated.
    assert!(
        (dense as i64) - none < 64,
        "{dense} bytes with numbers, {none} with a constant"
    );
}

/// Blocks end where planes end: times are there although what follows them cannot be read.
#[test]
fn a_scan_of_times_stops_behind_them() {
    let events: Vec<Event> = (0..20_000)
        .map(|row| read_call(row * 1_000 + row * row % 977, 1 + (row % 3) as u32, row))
        .collect();
    let chunk = seal(&events);
    let forge = Forge::open(&chunk.bytes);
    let body = forge.body();
    let mut frame = chunk.body_frame().unwrap().to_vec();
    let half = frame.len() * 9 / 10;
    frame[half..].fill(0xff);
    let broken = SealedChunk::from_bytes(forge.close_frame(&frame, body.len() as u32)).unwrap();
    assert!(broken.decode().is_err());
    assert_eq!(
        broken.times().unwrap(),
        chunk.columns().unwrap().times().unwrap()
    );
}

#[test]
fn a_finished_trace_reads_back_without_issues_and_says_what_it_holds() {
    let chunks = small_chunks(5, 20);
    let bytes = trace_of(&chunks);
    let (read, issues) = read_all(&bytes).unwrap();
    assert_eq!(read, chunks);
    assert_eq!(issues, []);

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("trace.zst");
    std::fs::write(&path, &bytes).unwrap();
    let info = read_info(&path).unwrap();
    assert!(info.complete);
    assert_eq!(info.file_bytes, bytes.len() as u64);
    assert_eq!(info.summary.rows, 100);
    assert_eq!(info.summary.records, 5);
    assert_eq!(info.summary.chunks, 5);
    assert_eq!(info.summary.kinds, [KindTotal { kind: 1, rows: 100 }]);
    assert_eq!(info.summary.cgroups, [7]);
    assert_eq!(info.summary.head_hash, chunks[4].header.hash);
    assert_eq!((info.summary.first_ns, info.summary.last_ns), (0, 99_000));

    let mut reader = TraceReader::open(&path).unwrap();
    assert_eq!(
        reader.summary(),
        Some(&info.summary),
        "from the end, before reading any chunk"
    );
    for (entry, chunk) in info.summary.index.iter().zip(&chunks) {
        assert_eq!(&reader.read_chunk(entry).unwrap(), chunk);
    }
    let mut headers = Vec::new();
    while let Some(at) = reader.next_header().unwrap() {
        headers.push((at.offset, at.header));
    }
    let expected: Vec<_> = info
        .summary
        .index
        .iter()
        .zip(&chunks)
        .map(|(entry, chunk)| (entry.offset, chunk.header.clone()))
        .collect();
    assert_eq!(headers, expected);
    assert_eq!(reader.issues(), []);
}

#[test]
fn a_trace_without_its_end_is_described_from_its_headers() {
    let chunks = small_chunks(5, 20);
    let whole = trace_of(&chunks);
    let chunk_bytes: usize = chunks.iter().map(|chunk| chunk.bytes.len()).sum();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cut.zst");
    std::fs::write(&path, &whole[..chunk_bytes - 10]).unwrap();
    let info = read_info(&path).unwrap();
    assert!(!info.complete);
    assert_eq!(
        (info.summary.chunks, info.summary.rows),
        (4, 80),
        "the cut chunk does not count"
    );
    assert!(
        matches!(info.issues[0].what, IssueKind::Truncated { .. }),
        "{:?}",
        info.issues
    );
}
