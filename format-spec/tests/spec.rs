//! SPEC.md and the code describe one format: every table of the page is compared with what the codec
//! writes, and every worked example with what it makes of those values.

mod support;

use support::{read_call, spec};
use trace_format::{limits, *};

const SPEC: &str = include_str!("../SPEC.md");

#[test]
fn every_table_of_the_spec_is_what_the_code_does() {
    let (problems, tables) = spec::compare(SPEC);
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert_eq!(
        tables,
        SPEC.matches("<!-- ").count(),
        "a marked table that nothing compares"
    );
}

/// A check that cannot fail is none: each table, changed in one cell, is noticed.
#[test]
fn a_changed_cell_is_noticed_in_every_table() {
    for mark in SPEC.match_indices("<!-- ").map(|(at, _)| at) {
        let ruler = mark + SPEC[mark..].find("|---|").expect("a table behind a mark");
        let row = ruler + SPEC[ruler..].find("\n| ").expect("a row behind the ruler") + 3;
        let changed = format!("{}x{}", &SPEC[..row], &SPEC[row..]);
        let (problems, _) = spec::compare(&changed);
        let table = SPEC[mark..].lines().next().unwrap_or_default();
        assert!(!problems.is_empty(), "a change in {table} passes unnoticed");
    }
}

#[test]
fn a_compressed_body_of_the_largest_size_is_within_its_limit() {
    let worst = zstd::zstd_safe::compress_bound(limits::BODY_BYTES_MAX as usize);
    assert!(
        worst <= limits::BODY_COMPRESSED_BYTES_MAX as usize,
        "{worst}"
    );
}

/// The worked examples, through the codec: what SPEC.md prints is what a body holds.
#[test]
fn the_worked_examples_are_what_the_codec_writes() {
    let rows = |change: &dyn Fn(usize, &mut Event)| {
        let mut builder = ChunkBuilder::new([0; 16], Limits::default());
        let user = User {
            uid: 33,
            name: "www".into(),
        };
        let record = ContextRecord {
            boot_ns: 4,
            body: Context::User(user),
        };
        builder.context(record).unwrap();
        for row in 0..5 {
            let mut event = read_call(row as u64, 1, row as u64);
            change(row, &mut event);
            builder.push(event);
        }
        zstd::decode_all(&builder.seal(u64::MAX).bytes[..]).unwrap()
    };
    let call = |nr, ret| {
        EventData::Syscall(Syscall {
            nr,
            ret,
            args: [0; 6],
            duration_ns: 0,
        })
    };
    let cgroup = |path: &str| {
        EventData::Cgroup(CgroupChange {
            id: 1,
            path: path.into(),
            removed: false,
        })
    };
    let open = |ret| {
        EventData::Open(Open {
            nr: 2,
            ret,
            flags: 0,
            mode: 0,
            path: Text::default(),
            dev: 0,
            ino: 0,
            marks: PathMarks(0),
            duration_ns: 0,
        })
    };
    // Rows that an example does not have are of another family, where its column has no value.
    let examples: [(&str, Vec<u8>); 7] = [
        (
            "n = `02`, plane 0 `07 00 2c`, plane 1 `00 00 01`",
            rows(&|row, event| {
                event.data = [7, 0, 300].get(row).map_or(cgroup(""), |nr| call(*nr, 0));
            }),
        ),
        (
            "`01`, `03 06 19`",
            rows(&|row, event| {
                event.data = [-2, 3, -13].get(row).map_or(cgroup(""), |ret| open(*ret));
            }),
        ),
        (
            "`e8 03 00 00 00 00 00 00`, n = `02`, plane 0 `00 06 03 56`, plane 1 `00 00 00 02`",
            rows(&|row, event| {
                event.data = [1000, 1003, 1001, 1300]
                    .get(row)
                    .map_or(cgroup(""), |child_tid| {
                        EventData::Fork(Fork {
                            child_tid: *child_tid,
                            child_pid: 0,
                            child_start_ns: 0,
                            child_ns_tid: 0,
                        })
                    });
            }),
        ),
        (
            "`01`, `0a c8 00 07`",
            rows(&|row, event| {
                event.data = [(257, 5), (0, 100), (257, 5), (0, 96)]
                    .get(row)
                    .map_or(cgroup(""), |(nr, ret)| call(*nr, *ret));
            }),
        ),
        (
            "`02 00 00 00 02 00 00 00`, `2f 78 73 68`",
            rows(&|row, event| event.data = cgroup(["/x", "sh"][row % 2])),
        ),
        (
            "`02 00 00 00`, `00 00 01 04 00 00 00 00 00 00 00`, `01 00 01 00 00 00 00 00 00 00 00`, then n = `01` and the plane `00 00 04 00 00`",
            rows(&|row, event| {
                (event.cpu, event.probe, event.seq) =
                    [(0, 1, 4), (1, 1, 0), (0, 1, 7), (0, 0, 0), (1, 1, 1)][row];
            }),
        ),
        (
            "`0b 00`, `0f 00 00 00`, `04 00 00 00 00 00 00 00`, then `21 00 00 00`, `03 00 00 00 00 00 00 00 77 77 77`",
            rows(&|_, _| {}),
        ),
    ];
    for (example, body) in examples {
        assert!(SPEC.contains(example), "SPEC.md has no {example}");
        // What stands between backticks is hex.
        let bytes: Vec<u8> = example
            .split('`')
            .skip(1)
            .step_by(2)
            .flat_map(str::split_whitespace)
            .map(|byte| u8::from_str_radix(byte, 16).unwrap())
            .collect();
        assert!(
            body.windows(bytes.len()).any(|window| window == bytes),
            "the codec writes no {example}"
        );
    }
}
