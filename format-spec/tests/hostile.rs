//! Chunks whose hash is right and whose content is a lie: refused with a reason, bounded in memory,
//! never a panic. Each case is the smallest change to a good chunk.

mod support;

use std::sync::Arc;

use proptest::{collection::vec, prelude::*};
use support::{
    forge::{Forge, Section},
    *,
};
use trace_format::{
    columns::{Encoding, Type},
    limits::*,
    *,
};

fn refused(forge: &Forge, because: &str) {
    let error = SealedChunk::from_bytes(forge.close())
        .and_then(|chunk| chunk.decode())
        .expect_err("a lie must be refused")
        .to_string();
    assert!(error.contains(because), "{error:?} should name {because:?}");
    assert_eq!(refused_as_asked(forge).as_ref(), Some(&error));
}

/// What reading the fields of events one by one comes upon.
fn refused_as_asked(forge: &Forge) -> Option<String> {
    let events = SealedChunk::from_bytes(forge.close()).and_then(|chunk| chunk.events_as_asked());
    match events {
        Ok(events) => {
            (0..events.len()).find_map(|index| Some(events.event(index).err()?.to_string()))
        }
        Err(error) => Some(error.to_string()),
    }
}

fn a_chunk() -> Forge {
    let mut builder = ChunkBuilder::new(UUID, Limits::default());
    builder.context(tick(1)).unwrap();
    builder.push(read_call(10, 1, 0));
    builder.push(Event {
        data: EventData::Open(Open {
            nr: 257,
            ret: -2,
            flags: 0,
            mode: 0,
            path: "/etc/shadow".into(),
            dev: 1,
            ino: 2,
            marks: PathMarks(1),
            duration_ns: 0,
        }),
        ..read_call(11, 1, 1)
    });
    Forge::open(&builder.seal(20).bytes)
}

fn column(forge: &mut Forge, family: u16, column: u16) -> &mut Section {
    forge.column(family, column)
}

#[test]
fn a_lie_in_the_directory_is_refused() {
    let lie = |because: &str, change: &dyn Fn(&mut Forge)| {
        let mut forge = a_chunk();
        change(&mut forge);
        refused(&forge, because);
    };
    lie("time column", &|forge| {
        forge
            .sections
            .retain(|section| (section.family, section.column) != (0, 1))
    });
    lie("kinds of a chunk", &|forge| {
        forge
            .sections
            .retain(|section| (section.family, section.column) != (0, 8))
    });
    // A family that the header does not count, one that it counts wrongly, and family 0.
    lie("kinds of a chunk", &|forge| {
        column(forge, 0, 8).payload[1] = 2
    });
    lie("kinds of a chunk", &|forge| {
        column(forge, 0, 8).payload[1] = 6
    });
    lie("kinds of a chunk", &|forge| {
        column(forge, 0, 8).payload[1] = 0;
        forge.parts[0].1[8] = 0;
    });
    lie("kinds of a chunk", &|forge| {
        // Families in descending order.
        forge.parts[0].1[8] = 6;
        forge.parts[0].1[14] = 1;
    });
    lie("0 rows of family 3", &|forge| {
        let section = Section {
            family: 3,
            ..column(forge, 6, 16).clone()
        };
        forge.sections.push(section);
    });
    lie("rows", &|forge| column(forge, 0, 2).rows = 1);
    lie("rows", &|forge| column(forge, 6, 16).rows = 2);
    lie("planes", &|forge| column(forge, 6, 16).payload.push(0));
    lie("0 to 8 planes", &|forge| {
        column(forge, 6, 16).payload[0] = 9
    });
    lie("encoding", &|forge| column(forge, 6, 16).encoding = 3);
    lie("encoding", &|forge| forge.section(4).encoding = 67);
    lie("several", &|forge| {
        let again = column(forge, 6, 16).clone();
        forge.sections.push(again);
    });
    lie("one section of kind 2", &|forge| {
        let again = forge.section(2).clone();
        forge.sections.push(again);
    });
    lie("kinds of a chunk", &|forge| forge.parts[0].1[10] += 1);
    lie("time range", &|forge| column(forge, 0, 1).payload[0] = 99);
    lie("time range", &|forge| forge.section(3).payload[6] = 99);
    lie("rows of a chunk", &|forge| forge.set_rows(3));
    lie("for every CPU and probe", &|forge| {
        forge.section(4).payload[6] = 9
    });
}

#[test]
fn a_value_outside_its_type_is_refused() {
    let mut forge = a_chunk();
    column(&mut forge, 6, 20).payload = vec![1, 2];
    refused(&forge, "path"); // Dictionary id 2 of 1.
    let mut forge = a_chunk();
    column(&mut forge, 6, 23).payload = vec![5, 0, 0, 0, 0, 1];
    refused(&forge, "marks"); // 2^32
    let mut forge = a_chunk();
    column(&mut forge, 0, 6).payload = vec![2, 0, 0, 1, 0];
    refused(&forge, "probe"); // 256
    let mut forge = a_chunk();
    column(&mut forge, 0, 8).payload = vec![3, 1, 6, 0, 0, 0, 1];
    refused(&forge, "family"); // 65542
}

#[test]
fn claims_beyond_the_limits_are_refused_before_memory_is_taken() {
    let mut forge = a_chunk();
    forge.set_rows(ROWS_MAX + 1);
    refused(&forge, "rows of a chunk");
    let forge = a_chunk();
    let claim = |frame: Vec<u8>, len: u32| {
        SealedChunk::from_bytes(forge.close_frame(&frame, len)).and_then(|chunk| chunk.decode())
    };
    let body = forge.body();
    let frame = zstd::bulk::compress(&body, 3).unwrap();
    assert!(matches!(
        claim(frame.clone(), BODY_BYTES_MAX + 1),
        Err(Error::Limit {
            what: "body of a chunk",
            ..
        })
    ));
    assert!(matches!(
        claim(frame.clone(), body.len() as u32 - 1),
        Err(Error::Malformed { what: "body", .. })
    ));
    assert!(matches!(
        claim(frame, body.len() as u32 + 1),
        Err(Error::Malformed { what: "body", .. })
    ));
    // Bombs: one expands to far more than the header claims, the other than it says itself.
    let mut bomb = zstd::bulk::compress(&vec![0; 200 << 20], 3).unwrap();
    assert!(matches!(
        claim(bomb.clone(), 1000),
        Err(Error::Malformed { what: "body", .. })
    ));
    // Its header: magic, a descriptor that says the content's size takes 4 bytes, then these.
    assert_eq!(bomb[4] >> 6, 2);
    let size = if bomb[4] & 0x20 == 0 { 6 } else { 5 };
    bomb[size..size + 4].copy_from_slice(&1000u32.to_le_bytes());
    assert!(matches!(claim(bomb, 1000), Err(Error::Zstd { .. })));
    refused(
        &{
            let mut forge = a_chunk();
            forge.parts.push(forge.parts[0].clone());
            forge
        },
        "one part 1",
    );

    let mut forge = a_chunk();
    forge
        .section(3)
        .payload
        .resize(CONTEXT_BYTES_MAX as usize + 1, 0);
    refused(&forge, "context of a chunk");
    let mut forge = a_chunk();
    forge.section(2).rows = DICTIONARY_ENTRIES_MAX + 1;
    refused(&forge, "dictionary entries");
    let mut forge = a_chunk();
    forge.section(2).payload[0..4].copy_from_slice(&(TEXT_BYTES_MAX as u32 + 1).to_le_bytes());
    refused(&forge, "length of a string");
    let mut forge = a_chunk();
    forge.section(3).rows = RECORDS_MAX + 1;
    refused(&forge, "context records");
    let mut forge = a_chunk();
    forge.section(3).payload[2..6].copy_from_slice(&(RECORD_BYTES_MAX as u32 + 1).to_le_bytes());
    refused(&forge, "context record");
    let mut forge = a_chunk();
    column(&mut forge, 0, 1).rows = ROWS_MAX;
    refused(&forge, "rows of a chunk");
    // A list in a header that claims more than its bytes.
    let mut forge = a_chunk();
    forge.parts[1].1[0..8].copy_from_slice(&(u64::MAX / 16).to_le_bytes());
    refused(&forge, "cgroups of a chunk");
}

/// A body of a few bytes must not decode to more values than the format allows: absent columns count.
#[test]
fn wide_families_count_against_the_values_of_a_chunk() {
    let rows = |rows: u32| {
        let field = |at| Field {
            name: format!("f{at}"),
            ty: Type::U64,
            encoding: Encoding::Plain,
        };
        let wide = EventType::new(1024, "wide", (0..FIELDS_MAX).map(field).collect()).unwrap();
        let mut builder = ChunkBuilder::new(UUID, Limits::default());
        builder.declare(&Arc::new(wide.clone())).unwrap();
        let values = vec![Value::Unsigned(0); FIELDS_MAX];
        let event = Event {
            data: EventData::Declared(Declared::new(Arc::new(wide), values).unwrap()),
            ..read_call(0, 1, 0)
        };
        builder.push(event);
        let mut forge = Forge::open(&builder.seal(1).bytes);
        forge.set_rows(rows);
        forge.parts[0].1[10..14].copy_from_slice(&rows.to_le_bytes());
        forge
            .sections
            .retain(|section| matches!((section.kind, section.column), (3, _) | (1, 1 | 8)));
        for section in forge
            .sections
            .iter_mut()
            .filter(|section| section.kind == 1)
        {
            section.rows = rows;
        }
        forge.column(0, 1).payload = vec![0; 9];
        let of = |byte| vec![byte; rows as usize];
        forge.column(0, 8).payload = [vec![2], of(0), of(4)].concat();
        forge
    };
    let most = (VALUES_MAX / (8 + FIELDS_MAX as u64)) as u32;
    refused(&rows(most + 1), "values of a chunk");
    let chunk = SealedChunk::from_bytes(rows(most).close()).unwrap();
    assert_eq!(chunk.decode().unwrap().events.len(), most as usize);
}

#[test]
fn a_family_is_declared_once_and_within_limits() {
    let field = |name: String| Field {
        name,
        ty: Type::Text,
        encoding: Encoding::Plain,
    };
    let fields = |count| {
        (0..count)
            .map(|at| field(format!("f{at}")))
            .collect::<Vec<_>>()
    };
    let name = |len| "n".repeat(len);
    assert!(EventType::new(1023, "low", fields(1)).is_err());
    assert!(EventType::new(1024, "most", fields(FIELDS_MAX)).is_ok());
    assert!(EventType::new(1024, "wide", fields(FIELDS_MAX + 1)).is_err());
    assert!(
        EventType::new(
            1024,
            name(NAME_BYTES_MAX),
            vec![field(name(NAME_BYTES_MAX))]
        )
        .is_ok()
    );
    assert!(EventType::new(1024, name(NAME_BYTES_MAX + 1), fields(1)).is_err());
    assert!(EventType::new(1024, "long", vec![field(name(NAME_BYTES_MAX + 1))]).is_err());
    let by = Encoding::DeltaBy(16);
    let keyed = Field {
        encoding: by,
        ..field("keyed".into())
    };
    assert!(EventType::new(1024, "keyed", vec![keyed]).is_err());

    // Values must be as many as the fields, and in their types.
    let ty = sample::event_types()[0].clone();
    let EventData::Declared(good) = &sample::first_declared() else {
        panic!("the first declared family")
    };
    assert!(Declared::new(ty.clone(), &good.values()[1..]).is_err());
    for (at, value) in [
        (0, Value::Unsigned(256)),
        (2, Value::Unsigned(1)),
        (4, Value::Bool(true)),
    ] {
        let mut values = good.values().to_vec();
        values[at] = value;
        assert!(Declared::new(ty.clone(), values).is_err(), "{at}");
    }

    // The builder: the same type again is fine, another of that number is not.
    let mut builder = builder();
    builder.declare(&ty).unwrap();
    let other = Arc::new(EventType::new(1024, "other", fields(1)).unwrap());
    assert!(builder.declare(&other).is_err());
    // All families together stay below the limits of sections and kinds.
    let mut refused = (2000..).map(|id| {
        let wide = EventType::new(id, "wide", fields(FIELDS_MAX)).unwrap();
        builder.declare(&Arc::new(wide)).is_err()
    });
    assert!(refused.position(|refused| refused).unwrap() < usize::from(SECTIONS_MAX) / FIELDS_MAX);
    let mut builder = support::builder();
    let mut refused = (2000..).map(|id| {
        let narrow = EventType::new(id, "narrow", Vec::new()).unwrap();
        builder.declare(&Arc::new(narrow)).is_err()
    });
    assert_eq!(
        refused.position(|refused| refused),
        Some(KINDS_MAX - trace_format::columns::FAMILIES.len() - 2)
    );
}

#[test]
fn a_lie_about_a_declared_family_is_refused() {
    let chunk = || {
        let mut builder = builder();
        builder.push(Event {
            data: sample::first_declared(),
            ..read_call(10, 1, 0)
        });
        Forge::open(&builder.seal(20).bytes)
    };
    let lie = |because: &str, change: &dyn Fn(&mut Forge)| {
        let mut forge = chunk();
        change(&mut forge);
        refused(&forge, because);
    };
    lie("one type for family 1024", &|forge| {
        let context = forge.section(3);
        context.rows = 2;
        context.payload.extend_from_within(..);
    });
    // The record's first field is the family.
    lie("a family from 1024 on", &|forge| {
        forge.section(3).payload[14..16].fill(1)
    });
    lie("event type record", &|forge| {
        forge.section(3).payload[16..24].fill(0xff)
    });
    lie("declared family", &|forge| {
        forge.column(1024, 16).payload = vec![2, 0, 1]
    });
    lie("declared family", &|forge| {
        forge.column(1024, 20).payload = vec![1, 2]
    });
    lie("encoding", &|forge| forge.column(1024, 17).encoding = 0);
    lie("rows of family 1024", &|forge| {
        forge.column(1024, 17).rows = 2
    });
}

/// A body in two zstd frames decompresses to the same bytes and is not what SPEC.md describes: another
/// reader would see only half of it.
#[test]
fn a_body_is_one_zstd_frame() {
    let forge = a_chunk();
    let body = forge.body();
    let halves = body.split_at(body.len() / 2);
    let [one, two] = [halves.0, halves.1].map(|half| zstd::bulk::compress(half, 3).unwrap());
    for frame in [
        [&one[..], &two].concat(),
        [&zstd::bulk::compress(&body, 3).unwrap()[..], &[0]].concat(),
        Vec::new(),
    ] {
        let chunk = SealedChunk::from_bytes(forge.close_frame(&frame, body.len() as u32)).unwrap();
        assert!(matches!(
            chunk.decode(),
            Err(Error::Malformed { what: "body", .. })
        ));
    }
}

#[test]
fn the_builder_keeps_the_limits_it_writes_under() {
    // A string at the limit stays whole, one byte more is cut and counted.
    let long = |len: usize| Event {
        data: EventData::Cgroup(CgroupChange {
            id: 1,
            path: Text::from(vec![b'x'; len]),
            removed: false,
        }),
        ..read_call(1, 1, 1)
    };
    for (len, cut) in [(TEXT_BYTES_MAX, 0), (TEXT_BYTES_MAX + 1, 1)] {
        let mut builder = ChunkBuilder::new(UUID, Limits::default());
        builder.push(long(len));
        let decoded = builder.seal(2).decode().unwrap();
        let EventData::Cgroup(change) = &decoded.events[0].data else {
            panic!("one cgroup event")
        };
        assert_eq!(
            (change.path.len(), decoded.header.texts_cut),
            (TEXT_BYTES_MAX, cut)
        );
    }
    // A record over the limit is refused, and leaves nothing behind.
    let mut builder = ChunkBuilder::new(UUID, Limits::default());
    let mark = |len| ContextRecord {
        boot_ns: 1,
        body: Context::Unknown {
            kind: 500,
            payload: vec![0; len],
        },
    };
    assert!(matches!(
        builder.context(mark(RECORD_BYTES_MAX + 1)),
        Err(Error::Limit { .. })
    ));
    assert!(builder.is_empty());
    builder.context(mark(RECORD_BYTES_MAX)).unwrap();
    assert_eq!(
        builder.seal(2).decode().unwrap().context,
        [mark(RECORD_BYTES_MAX)]
    );
    // Labels are many and short: what the writer accepts, the reader must.
    let labels = vec![(String::new(), String::new()); RECORD_BYTES_MAX / 16 - 50];
    let container = ContextRecord {
        boot_ns: 1,
        body: Context::Container(Container {
            labels,
            ..Default::default()
        }),
    };
    builder.context(container.clone()).unwrap();
    assert_eq!(builder.seal(3).decode().unwrap().context, [container]);
}

#[test]
fn more_processes_than_a_header_lists_are_left_out_and_said_to_be() {
    for (count, listed) in [(PROCESSES_MAX, true), (PROCESSES_MAX + 1, false)] {
        let mut builder = ChunkBuilder::new(UUID, Limits::default());
        for n in 0..count as u64 {
            builder.push(read_call(n, n as u32, n));
        }
        let header = builder.seal(1 << 30).decode().unwrap().header;
        assert_eq!(header.processes_listed, listed);
        assert_eq!(header.processes.len(), if listed { count } else { 0 });
    }
}

#[test]
fn more_cgroups_and_pairs_than_a_header_lists_are_left_out_and_said_to_be() {
    for (count, listed) in [(CGROUPS_MAX as u64, true), (CGROUPS_MAX as u64 + 1, false)] {
        let mut builder = ChunkBuilder::new(UUID, Limits::default());
        for n in 0..count {
            builder.push(Event {
                cgroup_id: n,
                cpu: n as u16,
                ..read_call(n, 1, 0)
            });
        }
        let decoded = builder.seal(1 << 30).decode().unwrap();
        let lens = if listed {
            (count as usize, count as usize)
        } else {
            (0, 0)
        };
        assert_eq!(
            (decoded.header.cgroups.len(), decoded.header.sequences.len()),
            lens
        );
        assert_eq!(
            (
                decoded.header.cgroups_listed,
                decoded.header.sequences_listed
            ),
            (listed, listed)
        );
        assert_eq!(decoded.events.len(), count as usize);
    }
}

#[test]
fn a_full_builder_says_so_and_holds_no_more_than_the_format_allows() {
    let mut builder = ChunkBuilder::new(
        UUID,
        Limits {
            rows_max: 3,
            ..Limits::default()
        },
    );
    for (row, full) in [(0, false), (1, false), (2, true)] {
        builder.push(read_call(row, 1, row));
        assert_eq!(builder.is_full(), full);
    }
    let mut builder = ChunkBuilder::new(
        UUID,
        Limits {
            rows_max: u32::MAX,
            ..Limits::default()
        },
    );
    for row in 0..u64::from(ROWS_MAX) {
        builder.push(read_call(row, 1, row));
    }
    assert!(builder.is_full());
    let overflow = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        builder.push(read_call(0, 1, 0))
    }));
    assert!(
        overflow.is_err(),
        "one row beyond the limit is the caller's mistake"
    );
    assert_eq!(
        builder.seal(1 << 40).decode().unwrap().events.len(),
        ROWS_MAX as usize
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// A good hash around a damaged body: the decoder itself, without the hash to protect it.
    #[test]
    fn any_body_decodes_or_is_refused(changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8), cut in any::<prop::sample::Index>(), keep in any::<bool>()) {
        let forge = a_chunk();
        let mut body = forge.body();
        for (place, byte) in changes {
            let place = place.index(body.len());
            body[place] = byte;
        }
        if !keep {
            body.truncate(cut.index(body.len()));
        }
        let chunk = SealedChunk::from_bytes(forge.close_with(&body, body.len() as u32)).unwrap();
        let times = chunk.times();
        if let Ok(decoded) = chunk.decode() {
            // The short way refuses no more, and says the same.
            let mut times = times.unwrap();
            times.sort();
            prop_assert!(decoded.events.iter().all(|event| times.binary_search(&event.boot_ns).is_ok()));
            prop_assert_eq!(times.len(), decoded.header.rows as usize);
        }
    }

    #[test]
    fn any_bytes_read_as_a_trace_or_are_refused(bytes in vec(any::<u8>(), 1..300), cut in 0..300usize) {
        let chunks = small_chunks(2, 3);
        let mut all = chunks[0].bytes[..cut.min(chunks[0].bytes.len())].to_vec();
        all.extend(&bytes);
        all.extend(&chunks[1].bytes[..]);
        let (read, _) = read_all(&all).unwrap();
        prop_assert_eq!(read.last(), Some(&chunks[1]));
    }
}
