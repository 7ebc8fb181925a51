//! What a newer writer may add must not disturb today's reader, and what an older writer left out
//! must not either. The chunks are forged by SPEC.md, not by the codec.

mod support;

use support::{
    forge::{Forge, Section},
    *,
};
use trace_format::*;

fn decode(forge: &Forge) -> DecodedChunk {
    SealedChunk::from_bytes(forge.close())
        .unwrap()
        .decode()
        .unwrap()
}

fn a_chunk() -> (Forge, DecodedChunk) {
    let chunk = small_chunks(1, 8).remove(0);
    (Forge::open(&chunk.bytes), chunk.decode().unwrap())
}

/// Guards the forge: without changes it must make the very same bytes, or the tests below test nothing.
#[test]
fn the_forge_repeats_a_chunk_byte_for_byte() {
    let chunk = small_chunks(1, 8).remove(0);
    assert_eq!(Forge::open(&chunk.bytes).close(), &chunk.bytes[..]);
}

#[test]
fn an_unknown_column_is_skipped() {
    let (mut forge, original) = a_chunk();
    forge.sections.push(Section {
        kind: 1,
        encoding: 77,
        family: 1,
        column: 99,
        rows: 8,
        payload: vec![1, 2, 3],
    });
    assert_eq!(decode(&forge).events, original.events);
}

#[test]
fn an_unknown_section_kind_is_skipped() {
    let (mut forge, original) = a_chunk();
    forge.sections.insert(
        0,
        Section {
            kind: 200,
            encoding: 9,
            family: 9,
            column: 9,
            rows: 1,
            payload: vec![7; 50],
        },
    );
    let decoded = decode(&forge);
    assert_eq!(
        (decoded.events, decoded.context),
        (original.events, original.context)
    );
}

/// Its rows are not handed out, but they take part in the order and in the sequence numbers.
#[test]
fn an_unknown_family_is_skipped_and_the_others_keep_their_sequence_numbers() {
    // Two families, one probe, alternating; then one of them gets a number nobody knows.
    let mut builder = ChunkBuilder::new(UUID, Limits::default());
    for seq in 0..10 {
        let mut event = read_call(1000 + seq, 1, seq);
        if seq % 2 == 1 {
            event.data = EventData::Cgroup(CgroupChange {
                id: 5,
                path: "/x".into(),
                removed: false,
            });
        }
        builder.push(event);
    }
    let chunk = builder.seal(2000);
    let mut forge = Forge::open(&chunk.bytes);
    for section in &mut forge.sections {
        if section.family == 10 {
            section.family = 900;
        }
    }
    // One thread: rows stand by time, and every other one is of the family 900 now.
    let families = forge.column(0, 8);
    assert_eq!(families.payload, [1, 1, 10, 1, 10, 1, 10, 1, 10, 1, 10]);
    families.payload = [&[2], [1, 132].repeat(5).as_slice(), &[0, 3].repeat(5)].concat();
    // kinds: u64 count, then {u16, u32} each; the second is family 10.
    let kinds = &mut forge.parts.iter_mut().find(|part| part.0 == 1).unwrap().1;
    kinds[14..16].copy_from_slice(&900u16.to_le_bytes());
    let decoded = decode(&forge);
    let seqs: Vec<u64> = decoded.events.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, [0, 2, 4, 6, 8]);
    assert_eq!(decoded.header.rows, 10);
    assert_eq!(decoded.header.rows_of(900), 5);
}

/// A type or an encoding that only a newer version has: the record is kept, the rows count.
#[test]
fn a_declared_family_in_words_of_a_newer_version_is_skipped() {
    let event = |seq, data| Event {
        data,
        ..read_call(seq, 1, seq)
    };
    let mut builder = builder();
    builder.push(read_call(0, 1, 0));
    builder.push(event(1, sample::first_declared()));
    builder.push(read_call(2, 1, 2));
    let original = builder.seal(4);
    assert_eq!(original.decode().unwrap().events.len(), 3);
    for (behind_name, number) in [(4, 99), (5, 77)] {
        let mut forge = Forge::open(&original.bytes);
        let record = &mut forge.section(3).payload;
        let name = record
            .windows(4)
            .position(|bytes| bytes == b"size")
            .unwrap();
        record[name + behind_name] = number;
        let decoded = decode(&forge);
        let seqs: Vec<u64> = decoded.events.iter().map(|event| event.seq).collect();
        assert_eq!(seqs, [0, 2]);
        assert!(matches!(
            decoded.context[0].body,
            Context::Unknown { kind: 15, .. }
        ));
        assert_eq!(decoded.header.rows_of(1024), 1);
    }
}

/// Rows of a declared family whose record is missing: an unknown family like any other.
#[test]
fn a_declared_family_without_its_record_is_skipped() {
    let mut builder = builder();
    builder.push(read_call(0, 1, 0));
    builder.push(Event {
        data: sample::first_declared(),
        ..read_call(1, 1, 1)
    });
    let mut forge = Forge::open(&builder.seal(4).bytes);
    forge.sections.retain(|section| section.kind != 3);
    assert_eq!(decode(&forge).events, [read_call(0, 1, 0)]);
}

#[test]
fn a_column_that_an_older_writer_lacked_reads_as_zero() {
    let (mut forge, original) = a_chunk();
    forge
        .sections
        .retain(|section| !(section.family == 1 && section.column == 17));
    let decoded = decode(&forge);
    assert_eq!(decoded.events.len(), original.events.len());
    for event in decoded.events {
        let EventData::Syscall(call) = event.data else {
            panic!("{event:?}")
        };
        assert_eq!((call.ret, call.args[0]), (0, 3));
    }
}

#[test]
fn an_unknown_record_kind_survives_as_unknown() {
    let (mut forge, original) = a_chunk();
    let context = forge.section(3);
    context.rows += 1;
    context.payload.extend([
        0x34, 0x12, 3, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, b'x', b'y', b'z',
    ]);
    let decoded = decode(&forge);
    let unknown = ContextRecord {
        boot_ns: 9,
        body: Context::Unknown {
            kind: 0x1234,
            payload: b"xyz".to_vec(),
        },
    };
    assert_eq!(decoded.context, [original.context, vec![unknown]].concat());
}

/// A newer writer appended a field to a record: the known ones read as before.
#[test]
fn bytes_appended_to_a_known_record_are_ignored() {
    let user = User {
        uid: 33,
        name: "www-data".into(),
    };
    let mut builder = ChunkBuilder::new(UUID, Limits::default());
    builder
        .context(ContextRecord {
            boot_ns: 4,
            body: Context::User(user.clone()),
        })
        .unwrap();
    let mut forge = Forge::open(&builder.seal(5).bytes);
    let context = forge.section(3);
    let len = u32::from_le_bytes(context.payload[2..6].try_into().unwrap());
    assert_eq!(len as usize, context.payload.len() - 14, "one record");
    context.payload[2..6].copy_from_slice(&(len + 5).to_le_bytes());
    context.payload.extend(b"extra");
    assert_eq!(
        decode(&forge).context,
        [ContextRecord {
            boot_ns: 4,
            body: Context::User(user)
        }]
    );
}

#[test]
fn unknown_and_longer_header_parts_are_ignored() {
    let (mut forge, original) = a_chunk();
    for part in &mut forge.parts {
        part.1.extend(b"appended");
    }
    forge.parts.insert(0, (4711, vec![1; 100]));
    forge.parts.push((4712, Vec::new()));
    let decoded = decode(&forge);
    assert_eq!(decoded.events, original.events);
    let header = ChunkHeader {
        hash: original.header.hash,
        ..decoded.header
    };
    assert_eq!(header, original.header);
}

#[test]
fn an_unknown_frame_kind_is_passed_over() {
    let chunks = small_chunks(2, 5);
    let mut unknown = Forge::open(&chunks[0].bytes);
    unknown.fixed[20] = 77;
    let bytes = [&chunks[0].bytes[..], &unknown.close(), &chunks[1].bytes].concat();
    let (read, issues) = read_all(&bytes).unwrap();
    assert_eq!(read, chunks);
    assert_eq!(
        issues.iter().map(|issue| &issue.what).collect::<Vec<_>>(),
        [&IssueKind::NoSummary]
    );
}

/// A process as the first version wrote it: what was appended is absent, and stays so when written again.
#[test]
fn a_process_of_an_older_writer_has_no_details() {
    let process = |details| {
        Context::Process(Process {
            pid: 10,
            ns_pid: 1,
            comm: b"nginx".to_vec(),
            details,
            ..Process::default()
        })
    };
    let payload = |body: Context| -> Vec<u8> {
        let mut builder = builder();
        builder.context(ContextRecord { boot_ns: 1, body }).unwrap();
        let mut forge = Forge::open(&builder.seal(4).bytes);
        forge.section(3).payload.clone()
    };
    let older = payload(process(None));
    let newer = payload(process(Some(Box::default())));
    const DETAILS: usize = 7 * 4 + 3 * 8 + 7 * 4 + 3 * 8 + 2 * 8 + 4;
    assert_eq!(newer.len() - older.len(), DETAILS);

    for (payload, details) in [(older, None), (newer.clone(), Some(Box::default()))] {
        let mut builder = builder();
        let body = process(details);
        builder
            .context(ContextRecord {
                boot_ns: 1,
                body: body.clone(),
            })
            .unwrap();
        let chunk = builder.seal(4);
        let mut forge = Forge::open(&chunk.bytes);
        assert_eq!(forge.section(3).payload, payload);
        assert_eq!(decode(&forge).context[0].body, body);
    }
    // Cut inside of it: damage, not an older record.
    let mut builder = builder();
    builder
        .context(ContextRecord {
            boot_ns: 1,
            body: process(Some(Box::default())),
        })
        .unwrap();
    let mut forge = Forge::open(&builder.seal(4).bytes);
    let record = &mut forge.section(3).payload;
    record.truncate(newer.len() - 1);
    let len = (record.len() - 14) as u32;
    record[2..6].copy_from_slice(&len.to_le_bytes());
    let chunk = SealedChunk::from_bytes(forge.close()).unwrap();
    assert!(chunk.decode().is_err());
}
