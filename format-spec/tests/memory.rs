//! A reader's memory is bounded whatever a trace claims: an allocator that counts stands under the largest
//! traces that the limits allow and the worst lies that a right hash can cover.
//!
//! Counted is what reading a file chunk by chunk, decoding each, takes at its peak; a decoded chunk is
//! dropped before the next is read. zstd's own working memory, a few hundred KiB, is not Rust's and not
//! counted.

mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    fs,
    sync::Arc,
};

use support::{
    forge::{Forge, Section},
    *,
};
use trace_format::{
    columns::{Encoding, Type},
    limits::*,
    *,
};

/// The promise. It holds the compressed and the plain body or what that decodes to, and a window of input.
const READER_BYTES_MAX: usize = 64 << 20;

struct Counting;

// Each test counts its own thread: what another builds meanwhile is not the reader's.
thread_local! {
    static NOW: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn taken(bytes: usize) {
    let now = NOW.get() + bytes as isize;
    NOW.set(now);
    PEAK.set(PEAK.get().max(now));
}

fn given_back(bytes: usize) {
    NOW.set(NOW.get() - bytes as isize);
}

// SAFETY: every call goes to the system's allocator as it came; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
        // SAFETY: the caller keeps `alloc`'s contract, which is the system's too.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        given_back(layout.size());
        // SAFETY: as above; the pointer came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // While it moves, both are there.
        taken(size);
        // SAFETY: as above.
        let moved = unsafe { System.realloc(pointer, layout, size) };
        given_back(layout.size());
        moved
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The peak of reading `bytes` from a file, and how many chunks decoded.
fn peak_of_reading(bytes: Vec<u8>) -> (usize, usize) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("trace.zst");
    fs::write(&path, bytes).unwrap();
    let before = NOW.get();
    PEAK.set(before);
    let mut decoded = 0;
    let mut reader = TraceReader::open(&path).unwrap();
    while let Ok(Some(chunk)) = reader.next_chunk() {
        decoded += usize::from(chunk.decode().is_ok());
    }
    let _ = reader.summary();
    drop(reader);
    let _ = read_info(&path);
    ((PEAK.get() - before) as usize, decoded)
}

fn within(what: &str, bytes: Vec<u8>, decodes: bool) {
    let (peak, decoded) = peak_of_reading(bytes);
    println!("{what}: {:.1} MiB", peak as f64 / f64::from(1 << 20));
    assert_eq!(decoded > 0, decodes, "{what}: decodes");
    assert!(
        peak <= READER_BYTES_MAX,
        "{what}: {peak} bytes, the promise is {READER_BYTES_MAX}"
    );
}

/// A chunk of `rows` rows whose times are all of time, to be lied with.
fn a_chunk(rows: u64, data: impl Fn(u64) -> EventData) -> SealedChunk {
    let limits = Limits {
        rows_max: u32::MAX,
        bytes_max: u32::MAX,
        level: 1,
    };
    let mut builder = ChunkBuilder::new(UUID, limits);
    for row in 0..rows {
        if builder.is_full() {
            break;
        }
        let event = Event {
            data: data(row),
            ..read_call(row, row as u32 % 5, row)
        };
        if let EventData::Declared(declared) = &event.data {
            builder.declare(declared.ty()).unwrap();
        }
        builder.push(event);
    }
    builder.seal(1 << 40)
}

fn wide() -> [u64; 6] {
    [u64::MAX, 1 << 63, u64::MAX / 3, 7, 1 << 40, 1 << 56]
}

/// A declared family with as many fields as it may have.
fn wide_type(ty: Type) -> Arc<EventType> {
    let field = |at| Field {
        name: format!("f{at}"),
        ty,
        encoding: Encoding::Plain,
    };
    let fields = (0..FIELDS_MAX).map(field).collect();
    Arc::new(EventType::new(1024, "wide", fields).unwrap())
}

#[test]
fn the_largest_chunks_that_a_writer_makes() {
    let rows = u64::from(ROWS_MAX);
    let mut values = 1u64;
    let mut random = move || {
        values = values
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        values
    };
    let numbers: Vec<u64> = (0..rows).map(|_| random()).collect();
    let calls = a_chunk(rows, |row| {
        let number = numbers[row as usize];
        EventData::Syscall(Syscall {
            nr: number as u32 % 400,
            ret: number as i64,
            args: wide().map(|arg| arg ^ number),
            duration_ns: 0,
        })
    });
    within(
        "random system calls",
        trace_of(&[calls.clone(), calls]),
        true,
    );

    let execs = a_chunk(rows, |row| {
        let text = |kind: &str| Text::from(format!("/{kind}/{row:08}"));
        EventData::Exec(Exec {
            path: text("a"),
            filename: text("b"),
            args: text("c"),
            comm: text("d"),
            ppid: row as u32,
            uid: row as u32,
            gid: row as u32,
            start_ns: numbers[row as usize],
            dev: numbers[row as usize],
            ino: numbers[row as usize],
            flags: ExecFlags(0),
            details: Some(Box::new(ExecDetails {
                cwd: text("e"),
                ..ExecDetails::default()
            })),
        })
    });
    within("programs with names of their own", trace_of(&[execs]), true);

    let long = a_chunk(rows, |row| {
        EventData::Cgroup(CgroupChange {
            id: row,
            path: Text::from(format!("{row:0>65000}")),
            removed: false,
        })
    });
    within("long strings", trace_of(&[long]), true);

    // As many strings as a row can have, all of their own: the dictionary is full first.
    let wide = wide_type(Type::Text);
    let strings = a_chunk(rows, |row| {
        let text = |at| Value::Text(Text::from(format!("{row:x}.{at}")));
        let values: Vec<Value> = (0..FIELDS_MAX).map(text).collect();
        EventData::Declared(Declared::new(wide.clone(), values).unwrap())
    });
    assert!(strings.header.rows as usize * FIELDS_MAX > DICTIONARY_ENTRIES_MAX as usize - 2_000);
    within("wide rows of strings", trace_of(&[strings]), true);

    // Rows as wide as they come: the values are at their limit first.
    let wide = wide_type(Type::U64);
    let numbers = a_chunk(rows, |row| {
        let values = vec![Value::Unsigned(numbers[row as usize] >> 32); FIELDS_MAX];
        EventData::Declared(Declared::new(wide.clone(), values).unwrap())
    });
    let values = u64::from(numbers.header.rows) * (8 + FIELDS_MAX as u64);
    assert!(values > VALUES_MAX * 9 / 10);
    within("wide rows of numbers", trace_of(&[numbers]), true);

    let mut builder = ChunkBuilder::new(UUID, Limits::default());
    let large = ContextRecord {
        boot_ns: 1,
        body: Context::Mark(Mark {
            label: String::new(),
            text: "x".repeat(RECORD_BYTES_MAX - 16),
        }),
    };
    while !builder.is_full() {
        builder.context(large.clone()).unwrap();
    }
    within(
        "records as large as they come",
        trace_of(&[builder.seal(1)]),
        true,
    );
}

/// A body that fills the limit with one section kind, under a right hash.
fn body_of(sections: Vec<Section>, decodes: bool, what: &str) {
    let mut forge = Forge::open(&ChunkBuilder::new(UUID, Limits::default()).seal(0).bytes);
    forge.fixed[64..72].fill(0);
    forge.fixed[72..80].fill(0xff);
    forge.sections = sections;
    within(what, forge.close(), decodes);
}

fn section(kind: u8, rows: u32, payload: Vec<u8>) -> Section {
    Section {
        kind,
        encoding: 0,
        family: 0,
        column: 0,
        rows,
        payload,
    }
}

fn a_tick() -> Vec<u8> {
    [&8u16.to_le_bytes()[..], &[0; 12]].concat()
}

/// A container record with as many empty labels as fit: 16 bytes each, and a pair of strings in memory.
fn nothing_but_labels() -> Vec<u8> {
    let labels = (RECORD_BYTES_MAX - 200) / 16;
    let container = ContextRecord {
        boot_ns: 1,
        body: Context::Container(Container {
            labels: vec![(String::new(), String::new()); labels],
            ..Default::default()
        }),
    };
    let mut builder = ChunkBuilder::new(UUID, Limits::default());
    builder.context(container).unwrap();
    let mut forge = Forge::open(&builder.seal(2).bytes);
    std::mem::take(&mut forge.section(3).payload)
}

#[test]
fn dictionaries_and_contexts_that_fill_a_body() {
    let room = BODY_BYTES_MAX as usize - 1000;
    let strings = DICTIONARY_ENTRIES_MAX.min(room as u32 / 5);
    let mut payload = 1u32.to_le_bytes().repeat(strings as usize);
    payload.extend(vec![b'x'; strings as usize]);
    body_of(
        vec![section(2, strings, payload)],
        true,
        "as many strings as a dictionary may have",
    );

    let room = CONTEXT_BYTES_MAX as usize;
    let records = RECORDS_MAX.min(room as u32 / 14);
    let tick = a_tick();
    body_of(
        vec![section(3, records, tick.repeat(records as usize))],
        true,
        "as many records as a chunk may have",
    );

    let record = nothing_but_labels();
    let count = room / record.len();
    body_of(
        vec![section(3, count as u32, record.repeat(count))],
        true,
        "containers with nothing but labels",
    );

    let unknown = [&900u16.to_le_bytes()[..], &1u32.to_le_bytes(), &[0; 9]].concat();
    let count = RECORDS_MAX.min(room as u32 / 15);
    body_of(
        vec![section(3, count, unknown.repeat(count as usize))],
        true,
        "records of an unknown kind",
    );
}

#[test]
fn claims_without_anything_behind_them() {
    let forge = Forge::open(&ChunkBuilder::new(UUID, Limits::default()).seal(0).bytes);
    let bomb = zstd::bulk::compress(&vec![0; BODY_BYTES_MAX as usize], 3).unwrap();
    within(
        "a bomb that says how large it is",
        forge.close_frame(&bomb, BODY_BYTES_MAX),
        false,
    );
    let bomb = zstd::bulk::compress(&vec![0; 400 << 20], 3).unwrap();
    within(
        "a bomb that says it is small",
        forge.close_frame(&bomb, 1000),
        false,
    );
    let mut lie = forge.close();
    lie[4..8].copy_from_slice(&(SUMMARY_BYTES_MAX - 1).to_le_bytes());
    within("a header that is not there", lie, false);
    let mut lie = forge.close();
    lie[32..36].copy_from_slice(&BODY_COMPRESSED_BYTES_MAX.to_le_bytes());
    within("a body that is not there", lie, false);
    // Every count of a header at its most, in four bytes each.
    let meta: Vec<u8> = (1..8u16)
        .flat_map(|tag| {
            [
                &tag.to_le_bytes()[..],
                &8u32.to_le_bytes(),
                &(u64::MAX / 2).to_le_bytes(),
            ]
            .concat()
        })
        .collect();
    within(
        "counts that are absurd",
        forge.close_meta(&meta, &[], 0),
        false,
    );
}

#[test]
fn the_largest_summary() {
    let mut summary = Vec::new();
    let part = |tag: u16, payload: Vec<u8>| {
        [
            &tag.to_le_bytes()[..],
            &(payload.len() as u32).to_le_bytes(),
            &payload,
        ]
        .concat()
    };
    let list = |count: usize, element: usize| {
        [
            (count as u64).to_le_bytes().to_vec(),
            vec![0; count * element],
        ]
        .concat()
    };
    summary.extend(part(1, list(KINDS_MAX, 10)));
    summary.extend(part(2, list(SUMMARY_CGROUPS_MAX, 8)));
    summary.extend(part(3, vec![0; 58]));
    summary.extend(part(4, list(INDEX_CHUNKS_MAX, 65)));
    // What a newer version may have added.
    let room = SUMMARY_BYTES_MAX as usize - 200 - summary.len();
    summary.extend(part(900, vec![0; room]));
    let mut forge = Forge::open(&ChunkBuilder::new(UUID, Limits::default()).seal(0).bytes);
    let chunk = forge.close();
    forge.fixed[20] = KIND_SUMMARY;
    within(
        "a summary as large as they come",
        [chunk, forge.close_meta(&summary, &[], 0)].concat(),
        true,
    );
}

/// `body` as a zstd frame that is not compressed at all, so that a chunk is as large as its body.
fn stored_frame(body: &[u8]) -> Vec<u8> {
    const BLOCK: usize = 128 << 10;
    // One segment, four bytes of content size; then blocks of kind 0, the last one marked.
    let mut frame = [&0xFD2F_B528u32.to_le_bytes()[..], &[0xa0]].concat();
    frame.extend((body.len() as u32).to_le_bytes());
    let blocks = body.len().div_ceil(BLOCK);
    for (number, block) in body.chunks(BLOCK).enumerate() {
        let head = (block.len() as u32) << 3 | u32::from(number + 1 == blocks);
        frame.extend(&head.to_le_bytes()[..3]);
        frame.extend(block);
    }
    frame
}

/// A chunk with as many values as it may have, containers with nothing but labels, ticks, and strings
/// of `len` bytes; and what it weighs.
fn laden(containers: usize, ticks: usize, strings: u32, len: u32, stored: bool) -> (Vec<u8>, u64) {
    let rows = (VALUES_MAX / (8 + FIELDS_MAX as u64)) as u32;
    let mut builder = ChunkBuilder::new(UUID, Limits::default());
    let wide = wide_type(Type::U64);
    builder.declare(&wide).unwrap();
    let values = vec![Value::Unsigned(1); FIELDS_MAX];
    builder.push(Event {
        data: EventData::Declared(Declared::new(wide, values).unwrap()),
        ..read_call(1, 1, 1)
    });
    let mut forge = Forge::open(&builder.seal(1).bytes);
    forge.fixed[64..72].fill(0);
    forge.fixed[72..80].fill(0xff);
    forge.set_rows(rows);
    forge.parts[0].1[10..14].copy_from_slice(&rows.to_le_bytes());
    for section in &mut forge.sections {
        if section.kind == 1 {
            section.rows = rows;
            // No planes; deltas have a first value before them.
            section.payload = vec![0; if section.encoding == 2 { 9 } else { 1 }];
        }
    }
    let of = |byte| vec![byte; rows as usize];
    forge.column(0, 8).payload = [vec![2], of(0), of(4)].concat();
    forge.sections.retain(|section| section.kind != 4);

    // Behind the type.
    let context = forge.section(3);
    context
        .payload
        .extend(nothing_but_labels().repeat(containers));
    context.payload.extend(a_tick().repeat(ticks));
    context.rows += (containers + ticks) as u32;
    let (context_len, records) = (context.payload.len() as u64, context.rows.into());

    let mut payload = len.to_le_bytes().repeat(strings as usize);
    payload.resize(payload.len() + (len * strings) as usize, b'x');
    forge.sections.push(section(2, strings, payload));

    let body = forge.body();
    let frame = if stored {
        stored_frame(&body)
    } else {
        zstd::bulk::compress(&body, 3).unwrap()
    };
    let weight = weight(
        frame.len() as u64,
        body.len() as u64,
        context_len,
        records,
        strings.into(),
        u64::from(rows) * (8 + FIELDS_MAX as u64),
    );
    (forge.close_frame(&frame, body.len() as u32), weight)
}

/// Nobody writes such chunks: all the values there may be, and of the rest what the weight leaves.
#[test]
fn several_limits_at_once() {
    let most = DICTIONARY_ENTRIES_MAX;
    for (what, containers, ticks, strings, len, stored) in [
        ("values and labels", 7, 0, 0, 0, false),
        ("values and ticks", 0, 100_000, 0, 0, false),
        ("values, ticks and strings", 0, 50_000, most, 1, false),
        ("values, labels and strings", 4, 0, most, 1, false),
        ("values and strings, stored", 0, 0, most, 22, true),
        ("values and long strings, stored", 0, 0, 170, 60_000, true),
    ] {
        let (bytes, weight) = laden(containers, ticks, strings, len, stored);
        println!(
            "{what}: weighs {:.1} MiB",
            weight as f64 / f64::from(1 << 20)
        );
        assert!(weight <= WEIGHT_MAX, "{what}: {weight}");
        within(what, bytes, true);
    }
}

/// Each part of it takes the most that its own limit allows.
#[test]
fn everything_at_its_limit_at_once() {
    let (bytes, weight) = laden(7, 50_000, DICTIONARY_ENTRIES_MAX, 22, true);
    assert!(weight > WEIGHT_MAX);
    within("everything at its limit at once", bytes, false);
}
