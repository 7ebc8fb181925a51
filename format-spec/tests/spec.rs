//! SPEC.md and the code describe one format: its tables are compared with the constants.

use trace_format::{columns::*, limits, *};

const SPEC: &str = include_str!("../SPEC.md");

/// Rows of the first table behind a line, header and ruler left out, cells trimmed.
fn table(after: &str) -> Vec<Vec<&'static str>> {
    let rest = SPEC
        .split_once(after)
        .unwrap_or_else(|| panic!("SPEC.md has {after:?}"))
        .1;
    rest.lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

fn described(columns: &[Column], all: &[Column]) -> Vec<[String; 4]> {
    columns
        .iter()
        .map(|column| {
            let encoding = match column.encoding {
                Encoding::DeltaBy(key) => {
                    format!(
                        "delta by {}",
                        all.iter().find(|column| column.id == key).unwrap().name
                    )
                }
                other => format!("{other:?}").to_lowercase(),
            };
            [
                column.id.to_string(),
                column.name.to_owned(),
                format!("{:?}", column.ty).to_lowercase(),
                encoding,
            ]
        })
        .collect()
}

fn first_four(rows: Vec<Vec<&str>>) -> Vec<[String; 4]> {
    rows.iter()
        .map(|row| [0, 1, 2, 3].map(|cell| row[cell].to_owned()))
        .collect()
}

#[test]
fn every_column_is_in_the_spec_as_it_is_in_the_code() {
    assert_eq!(
        first_four(table("<!-- columns: common -->")),
        described(&COMMON, &COMMON)
    );
    for family in &FAMILIES {
        let heading = format!("<!-- columns: {} {} -->", family.id, family.name);
        let all = [&COMMON, family.fields].concat();
        assert_eq!(
            first_four(table(&heading)),
            described(family.fields, &all),
            "{heading}"
        );
    }
    assert_eq!(SPEC.matches("<!-- columns: ").count(), FAMILIES.len() + 1);
}

#[test]
fn every_limit_is_in_the_spec_as_it_is_in_the_code() {
    let code = [
        ("ROWS_MAX", limits::ROWS_MAX as usize),
        ("BODY_BYTES_MAX", limits::BODY_BYTES_MAX as usize),
        (
            "BODY_COMPRESSED_BYTES_MAX",
            limits::BODY_COMPRESSED_BYTES_MAX as usize,
        ),
        ("HEADER_BYTES_MAX", limits::HEADER_BYTES_MAX as usize),
        ("SUMMARY_BYTES_MAX", limits::SUMMARY_BYTES_MAX as usize),
        ("INDEX_CHUNKS_MAX", limits::INDEX_CHUNKS_MAX),
        ("SECTIONS_MAX", limits::SECTIONS_MAX.into()),
        (
            "DICTIONARY_ENTRIES_MAX",
            limits::DICTIONARY_ENTRIES_MAX as usize,
        ),
        ("TEXT_BYTES_MAX", limits::TEXT_BYTES_MAX),
        ("RECORD_BYTES_MAX", limits::RECORD_BYTES_MAX),
        ("RECORDS_MAX", limits::RECORDS_MAX as usize),
        ("CGROUPS_MAX", limits::CGROUPS_MAX),
        ("SEQUENCES_MAX", limits::SEQUENCES_MAX),
        ("SUMMARY_CGROUPS_MAX", limits::SUMMARY_CGROUPS_MAX),
        ("PROCESSES_MAX", limits::PROCESSES_MAX),
        ("KINDS_MAX", limits::KINDS_MAX),
        ("FIELDS_MAX", limits::FIELDS_MAX),
        ("NAME_BYTES_MAX", limits::NAME_BYTES_MAX),
        ("VALUES_MAX", limits::VALUES_MAX as usize),
    ];
    let spec: Vec<(String, usize)> = table("<!-- limits -->")
        .iter()
        .map(|row| (row[0].to_owned(), row[1].parse().unwrap()))
        .collect();
    assert_eq!(spec, code.map(|(name, value)| (name.to_owned(), value)));
    let worst = zstd::zstd_safe::compress_bound(limits::BODY_BYTES_MAX as usize);
    assert!(
        worst <= limits::BODY_COMPRESSED_BYTES_MAX as usize,
        "{worst}"
    );
}

#[test]
fn the_constants_of_the_frames_are_the_specs() {
    let marker = SYNC_MARKER.map(|byte| format!("{byte:02x}")).join(" ");
    assert!(SPEC.contains(&format!("| 8 | 16 | marker | `{marker}`")));
    for magic in [FRAME_MAGIC, SEEK_TABLE_MAGIC, SEEKABLE_MAGIC] {
        assert!(SPEC.contains(&format!("`0x{magic:08X}`")), "{magic:#x}");
    }
    assert!(SPEC.contains(&format!("| 24 | 2 | major | {MAJOR}.")));
    assert!(SPEC.contains(&format!("| 26 | 2 | minor | {MINOR}.")));
    assert!(SPEC.contains(&format!(
        "kind | {KIND_CHUNK} chunk, {KIND_SUMMARY} summary"
    )));
}

#[test]
fn every_context_kind_has_its_number_in_the_spec() {
    let bodies = [
        Context::Host(Host::default()),
        Context::Clock(Clock::default()),
        Context::Process(Process::default()),
        Context::Container(Container::default()),
        Context::Probes(Probes::default()),
        Context::Loss(Loss::default()),
        Context::Mark(Mark::default()),
        Context::Tick,
        Context::CheckpointBegin,
        Context::CheckpointEnd,
        Context::User(User::default()),
        Context::Provenance(Provenance::default()),
        Context::Discard(Discard::default()),
        Context::EventType(EventType::new(DECLARED, "any", Vec::new()).unwrap().into()),
        Context::Origin(Origin::default()),
    ];
    let rows = table("A record applies forward");
    assert_eq!(rows.len(), bodies.len());
    for (row, body) in rows.iter().zip(bodies) {
        assert_eq!(row[0], body.kind().to_string());
        assert_eq!(row[1].to_lowercase(), body.name().replace('_', ""));
    }
}

/// The worked examples, through the codec: what SPEC.md prints is what a body holds.
#[test]
fn the_worked_examples_are_what_the_codec_writes() {
    let call = |boot_ns, seq, nr, ret| Event {
        boot_ns,
        cpu: 0,
        probe: 0,
        seq,
        tid: 1,
        pid: 1,
        cgroup_id: 1,
        data: EventData::Syscall(Syscall {
            nr,
            ret,
            args: [0; 6],
        }),
    };
    let body = |events: &[Event]| {
        let mut builder = ChunkBuilder::new([0; 16], Limits::default());
        events.iter().for_each(|event| builder.push(event.clone()));
        zstd::decode_all(&builder.seal(u64::MAX).bytes[..]).unwrap()
    };
    let holds = |body: &[u8], bytes: &[u8]| body.windows(bytes.len()).any(|window| window == bytes);
    // Rows are sorted by time; pid is a delta column whose values may go down, as the example's do.
    let pids: Vec<Event> = (0..)
        .zip([1000, 1003, 1001, 1300])
        .map(|(boot_ns, pid)| Event {
            pid,
            ..call(boot_ns, 0, 0, 0)
        })
        .collect();
    assert!(SPEC.contains(
        "`e8 03 00 00 00 00 00 00`, n = `02`, plane 0 `00 06 03 56`, plane 1 `00 00 00 02`"
    ));
    assert!(holds(
        &body(&pids),
        &[0xe8, 3, 0, 0, 0, 0, 0, 0, 2, 0, 6, 3, 0x56, 0, 0, 0, 2]
    ));

    let calls = [
        call(1, 0, 257, 5),
        call(2, 0, 0, 100),
        call(3, 0, 257, 5),
        call(4, 0, 0, 96),
    ];
    assert!(SPEC.contains("`01`, `0a c8 00 07`"));
    assert!(holds(&body(&calls), &[1, 0x0a, 0xc8, 0, 7]));
}
