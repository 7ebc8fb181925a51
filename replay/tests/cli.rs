//! What a user meets: outputs, one clear line for each mistake, and the exit codes.

mod program;
mod support;

use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};
use support::{SECOND_NS, START_NS, Scenario, items, seal};
use tempfile::TempDir;
use trace_format::{Context, ContextRecord, Mark};

/// A directory with a whole trace in it.
struct Traces {
    directory: TempDir,
    bytes: Vec<u8>,
}

impl Traces {
    fn new() -> Traces {
        let bytes = support::file(&seal(&items(Scenario::ATTACKED), |_| 2000));
        let traces = Traces {
            directory: tempfile::tempdir().unwrap(),
            bytes,
        };
        traces.write("whole.zst", &traces.bytes);
        traces
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> String {
        fs::write(self.path(name), bytes).unwrap();
        self.text(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn whole(&self) -> String {
        self.text("whole.zst")
    }
}

fn replay(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_replay"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("not killed by a signal")
}

fn objects(output: &Output) -> Vec<Value> {
    stdout(output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Exit code and a single line on standard error that holds every one of `words`.
#[track_caller]
fn fails(output: &Output, expected: i32, words: &[&str]) {
    let said = stderr(output);
    assert_eq!(code(output), expected, "{said}");
    assert_eq!(said.lines().count(), 1, "one line: {said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in {said:?}");
    }
    assert_eq!(stdout(output), "");
}

#[test]
fn info_says_what_is_in_a_trace() {
    let traces = Traces::new();
    let output = replay(&["info", &traces.whole()]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    for word in [
        "complete",
        "07070707-0707-0707-0707-070707070707",
        "(30.0s)",
        "sock_call",
        "1000",
        "0 of 0 events dropped",
    ] {
        assert!(
            stdout(&output).contains(word),
            "{word}: {}",
            stdout(&output)
        );
    }
    let json = &objects(&replay(&["info", "--json", &traces.whole()]))[0];
    assert_eq!(json["complete"], true);
    assert_eq!(json["first_boot_ns"], START_NS);
    assert_eq!(json["first_time"], "2023-11-14T22:15:00.000000000Z");
    let families: u64 = json["families"]
        .as_array()
        .unwrap()
        .iter()
        .map(|family| family["events"].as_u64().unwrap())
        .sum();
    assert_eq!(json["events"], families);
    // Standard input and a directory say the same.
    let stdin = &objects(&program::replay(&["info", "--json", "-"], &traces.bytes))[0];
    let directory = &objects(&replay(&[
        "info",
        "--json",
        traces.directory.path().to_str().unwrap(),
    ]))[0];
    for key in [
        "uuid",
        "events",
        "chunks",
        "families",
        "file_bytes",
        "duration_ns",
        "hostname",
    ] {
        assert_eq!(stdin[key], json[key], "{key}");
        assert_eq!(directory[key], json[key], "{key}");
    }
}

#[test]
fn cat_prints_every_event_in_order() {
    let traces = Traces::new();
    let output = replay(&["cat", &traces.whole()]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let events = &objects(&replay(&["info", "--json", &traces.whole()]))[0]["events"];
    assert_eq!(
        stdout(&output).lines().count() as u64,
        events.as_u64().unwrap()
    );
    assert!(stdout(&output).lines().map(|line| &line[..30]).is_sorted());
    let shadow: Vec<&str> = stdout(&output)
        .lines()
        .filter(|line| line.contains("/etc/shadow"))
        .collect();
    assert_eq!(
        shadow,
        [
            "2023-11-14T22:15:15.500000000Z  web           worker(1500)  openat(/etc/shadow, O_RDONLY) = 7"
        ]
    );
    let json = objects(&replay(&["cat", "--json", &traces.whole()]));
    assert_eq!(json.len() as u64, events.as_u64().unwrap());
    let shadow = json
        .iter()
        .find(|event| event["path"] == "/etc/shadow")
        .unwrap();
    assert_eq!(shadow["event"], "open");
    assert_eq!(shadow["syscall"], "openat");
    assert_eq!(shadow["container_name"], "web");
    assert_eq!(shadow["exe"], "/usr/bin/worker");
    assert_eq!(shadow["boot_ns"], START_NS + 15 * SECOND_NS + SECOND_NS / 2);
    assert!(
        shadow.get("remote_addr").is_none(),
        "what an event has nothing for is left out"
    );
}

/// A family that only the trace knows: its name and its fields come from there.
#[test]
fn cat_prints_events_of_declared_families_by_their_names() {
    use trace_format::{
        ChunkBuilder, Declared, Event, EventData, EventType, Field, Limits, Value,
        columns::{Encoding, Type},
    };
    let field = |name: &str, ty| Field {
        name: name.into(),
        ty,
        encoding: Encoding::Plain,
    };
    let fields = vec![field("res", Type::I64), field("name", Type::Text)];
    let ty = std::sync::Arc::new(EventType::new(1024, "source.open_x", fields).unwrap());
    let mut builder = ChunkBuilder::new([3; 16], Limits::default());
    builder.declare(&ty).unwrap();
    let values = vec![Value::Signed(-2), Value::Text("a \"b\"\n".into())];
    builder.push(Event {
        boot_ns: 5,
        cpu: 0,
        probe: 1,
        seq: 0,
        tid: 7,
        pid: 7,
        cgroup_id: 0,
        data: EventData::Declared(Declared::new(ty, values).unwrap()),
    });
    let traces = Traces::new();
    let path = traces.write("declared.zst", &support::file(&[builder.seal(6)]));
    let text = replay(&["cat", &path]);
    assert!(
        stdout(&text).ends_with("  source.open_x res=-2 name=a \"b\"\\n\n"),
        "{}",
        stdout(&text)
    );
    let json = objects(&replay(&["cat", "--json", &path]));
    assert_eq!(json[0]["event"], "source.open_x");
    assert_eq!(
        json[0]["fields"],
        serde_json::json!({"res": -2, "name": "a \"b\"\n"})
    );
}

#[test]
fn cat_selects_by_time() {
    let traces = Traces::new();
    let count = |from: &str, to: &str| {
        let output = replay(&["cat", "--from", from, "--to", to, &traces.whole()]);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        stdout(&output).lines().count()
    };
    let scan = count("12s", "13s");
    assert!(scan > 750, "{scan}");
    assert_eq!(count("boot+112", "boot+113s"), scan);
    assert_eq!(count("2023-11-14T22:15:12Z", "2023-11-14T22:15:13Z"), scan);
    assert_eq!(count("31s", "40s"), 0);
    let output = replay(&["cat", "--from", "noon", &traces.whole()]);
    assert_eq!(code(&output), 2);
    assert!(
        stderr(&output).contains("\"noon\" is not a time"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn detect_finds_the_scan_and_the_busy_cpu() {
    let traces = Traces::new();
    let output = replay(&["detect", &traces.whole()]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    for word in [
        "connect_targets",
        "cpu_share",
        "[web]",
        "[db]",
        "worker(1500) ← nginx(1000)",
        "T1046",
    ] {
        assert!(
            stdout(&output).contains(word),
            "{word}: {}",
            stdout(&output)
        );
    }
    assert!(
        stderr(&output).contains(" findings ("),
        "{}",
        stderr(&output)
    );
    let output = replay(&["detect", "--json", "--no-default-rules", &traces.whole()]);
    let found = objects(&output);
    let rules: Vec<&str> = found
        .iter()
        .map(|finding| finding["rule"].as_str().unwrap())
        .collect();
    assert_eq!(
        rules,
        [
            "connect_targets",
            "connect_refused",
            "connect_rate",
            "cpu_share"
        ]
    );
    let summary: Value = serde_json::from_str(stderr(&output)).unwrap();
    assert_eq!(summary["by_severity"]["warning"], 2);
    assert_eq!(
        (&summary["findings"], &summary["loss"], &summary["fail_on"]),
        (&4.into(), &false.into(), &false.into())
    );
    let output = replay(&[
        "detect",
        "--no-statistics",
        "--no-default-rules",
        &traces.whole(),
    ]);
    assert_eq!((code(&output), stdout(&output)), (0, ""));
}

#[test]
fn fail_on_sets_the_exit_code_and_wins_over_loss() {
    let traces = Traces::new();
    let detect = |path: &str, severity: &str| {
        code(&replay(&[
            "detect",
            "--no-default-rules",
            "--fail-on",
            severity,
            path,
        ]))
    };
    assert_eq!(detect(&traces.whole(), "warning"), 4);
    assert_eq!(detect(&traces.whole(), "critical"), 0);
    let cut = traces.write("cut.zst", &traces.bytes[..traces.bytes.len() - 20]);
    assert_eq!(detect(&cut, "warning"), 4);
    assert_eq!(detect(&cut, "critical"), 3);
    let output = replay(&["detect", "--fail-on", "loud", &traces.whole()]);
    assert_eq!(code(&output), 2);
    assert!(
        stderr(&output).contains("\"loud\" is not a severity"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_cut_trace_gives_what_is_there_and_exit_code_3() {
    let traces = Traces::new();
    let cut = traces.write("cut.zst", &traces.bytes[..traces.bytes.len() / 2]);
    for arguments in [
        &["info", &cut][..],
        &["cat", &cut],
        &["detect", &cut],
        &["verify", &cut],
    ] {
        let output = replay(arguments);
        assert_eq!(code(&output), 3, "{arguments:?}: {}", stderr(&output));
        assert!(
            !stdout(&output).is_empty() || arguments[0] == "detect",
            "{arguments:?}"
        );
    }
    assert!(stdout(&replay(&["info", &cut])).contains("INCOMPLETE"));
    let output = replay(&["cat", &cut]);
    assert!(stderr(&output).contains("cut short"), "{}", stderr(&output));
}

#[test]
fn a_damaged_chunk_costs_only_itself() {
    let traces = Traces::new();
    let whole = stdout(&replay(&["cat", &traces.whole()])).lines().count();
    let mut bytes = traces.bytes.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    let damaged = traces.write("damaged.zst", &bytes);
    let output = replay(&["cat", &damaged]);
    let left = stdout(&output).lines().count();
    assert_eq!(code(&output), 3);
    assert!(left < whole && left >= whole - 2000, "{left} of {whole}");
    assert!(
        stderr(&output).contains("missing chunks"),
        "{}",
        stderr(&output)
    );
    let output = replay(&["detect", &damaged]);
    assert_eq!(code(&output), 3);
    assert!(
        stderr(&output).contains("1 chunks are missing"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn verify_never_calls_an_unsigned_trace_more_than_whole() {
    let traces = Traces::new();
    let output = replay(&["verify", &traces.whole()]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(
        stdout(&output).contains("whole, unsigned"),
        "{}",
        stdout(&output)
    );
    let json = &objects(&replay(&["verify", "--json", &traces.whole()]))[0];
    assert_eq!(
        (&json["whole"], &json["signed"]),
        (&true.into(), &false.into())
    );
    assert_eq!(json["head"].as_str().unwrap().len(), 64);
    // One changed byte, wherever it is, is seen.
    for at in [
        40,
        traces.bytes.len() / 3,
        traces.bytes.len() / 2,
        traces.bytes.len() - 60,
    ] {
        let mut bytes = traces.bytes.clone();
        bytes[at] ^= 1;
        let output = replay(&["verify", &traces.write("changed.zst", &bytes)]);
        assert_eq!(code(&output), 3, "byte {at}: {}", stdout(&output));
        assert!(stdout(&output).contains("NOT whole"), "{}", stdout(&output));
    }
}

#[test]
fn what_is_no_trace_is_refused_with_one_line() {
    let traces = Traces::new();
    let empty = traces.write("empty.zst", b"");
    let text = traces.write(
        "text.zst",
        b"this is not a trace, but it is long enough to be looked at by a reader\n",
    );
    let directory = traces.path("nothing");
    fs::create_dir(&directory).unwrap();
    let directory = directory.to_str().unwrap();
    let missing = traces.text("missing.zst");
    let future = traces.write("future.zst", &future_version(&traces.bytes));
    for command in ["info", "cat", "verify", "detect"] {
        fails(&replay(&[command, &empty]), 1, &["empty.zst", "is empty"]);
        fails(
            &replay(&[command, &text]),
            1,
            &["text.zst", "is not a Trailcam trace"],
        );
        fails(
            &replay(&[command, directory]),
            1,
            &["nothing", "directory without traces"],
        );
        fails(
            &replay(&[command, &missing]),
            1,
            &["missing.zst", "does not exist"],
        );
        fails(
            &replay(&[command, &future]),
            1,
            &["future.zst", "format 99.0", "newer replay"],
        );
        let output = replay(&[command]);
        assert_eq!(code(&output), 2, "{command} without a trace");
    }
    fails(
        &replay(&["cat", "ftp://host"]),
        2,
        &["ftp://host", "not a live address"],
    );
    fails(&replay(&["cat", "-", "-"]), 2, &["given twice"]);
}

/// The first chunk alone, rewritten as one of major version 99, hash and all.
fn future_version(bytes: &[u8]) -> Vec<u8> {
    const HEADER_AT: usize = 8;
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let hash_at = HEADER_AT + word(4) - 32;
    let end = hash_at + 32 + word(HEADER_AT + 24);
    let mut bytes = bytes[..end].to_vec();
    bytes[HEADER_AT + 16..HEADER_AT + 18].copy_from_slice(&99u16.to_le_bytes());
    let hash = blake3::Hasher::new()
        .update(&bytes[HEADER_AT..hash_at])
        .update(&bytes[hash_at + 32..])
        .finalize();
    bytes[hash_at..hash_at + 32].copy_from_slice(hash.as_bytes());
    bytes
}

#[test]
fn a_mistake_in_a_filter_is_shown_with_its_position() {
    let traces = Traces::new();
    let output = replay(&["cat", "--filter", "evt.type = = openat", &traces.whole()]);
    fails(&output, 2, &["filter:1:12"]);
    let output = replay(&[
        "cat",
        "--filter",
        "evt.type=openat and fd.name=/etc/shadow",
        &traces.whole(),
    ]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(stdout(&output).lines().count(), 1, "{}", stdout(&output));
}

#[test]
fn a_mistake_in_a_rule_file_is_a_usage_error() {
    let traces = Traces::new();
    let bad = traces.write(
        "bad.yaml",
        b"- rule: broken\n  desc: x\n  condition: evt.type = =\n  output: x\n  priority: NOTICE\n",
    );
    fails(
        &replay(&["detect", "--rules", &bad, &traces.whole()]),
        2,
        &["bad.yaml:3"],
    );
    fails(
        &replay(&["detect", "--rules", "no-such.yaml", &traces.whole()]),
        1,
        &["no-such.yaml", "cannot read"],
    );
}

#[test]
fn own_rules_are_used_beside_the_shipped_ones() {
    let traces = Traces::new();
    let own = traces.write(
        "own.yaml",
        b"- rule: Reads the page\n  desc: x\n  condition: evt.type=openat and fd.name=/var/www/index.html\n  output: page read by %proc.name\n  priority: NOTICE\n",
    );
    let rules = |arguments: &[&str]| -> Vec<String> {
        let output = replay(
            &[
                &["detect", "--json", "--no-statistics"],
                arguments,
                &[&traces.whole()],
            ]
            .concat(),
        );
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        objects(&output)
            .iter()
            .map(|finding| finding["rule"].as_str().unwrap().to_owned())
            .collect()
    };
    let shipped = rules(&[]);
    assert!(
        !shipped.is_empty() && !shipped.contains(&"Reads the page".to_owned()),
        "{shipped:?}"
    );
    let only_own = rules(&["--rules", &own, "--no-default-rules"]);
    assert!(
        !only_own.is_empty() && only_own.iter().all(|rule| rule == "Reads the page"),
        "{only_own:?}"
    );
    let both = rules(&["--rules", &own]);
    assert_eq!(both.len(), shipped.len() + only_own.len());
}

#[test]
fn a_reader_that_goes_away_is_success() {
    let traces = Traces::new();
    let mut child = Command::new(env!("CARGO_BIN_EXE_replay"))
        .args(["cat", &traces.whole()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((code(&output), stderr(&output)), (0, ""));
}

#[test]
fn stdin_gives_the_same_findings_as_the_file() {
    let traces = Traces::new();
    let file = replay(&["detect", "--json", &traces.whole()]);
    let stdin = program::replay(&["detect", "--json", "-"], &traces.bytes);
    assert_eq!(code(&stdin), 0, "{}", stderr(&stdin));
    assert!(!file.stdout.is_empty());
    assert_eq!(stdin.stdout, file.stdout);
}

#[cfg(feature = "export")]
mod export {
    use super::*;

    fn rows(path: &Path) -> usize {
        use parquet::file::reader::{FileReader, SerializedFileReader};
        SerializedFileReader::new(fs::File::open(path).unwrap())
            .unwrap()
            .metadata()
            .file_metadata()
            .num_rows() as usize
    }

    #[test]
    fn every_format_has_every_event() {
        let traces = Traces::new();
        let events = stdout(&replay(&["cat", &traces.whole()])).lines().count();
        for (format, name) in [
            ("parquet", "t.parquet"),
            ("csv", "t.csv"),
            ("jsonl", "t.jsonl"),
        ] {
            let out = traces.text(name);
            let output = replay(&["export", "--format", format, "-o", &out, &traces.whole()]);
            assert_eq!(code(&output), 0, "{}", stderr(&output));
            assert_eq!(stdout(&output), "");
            let count = match format {
                "parquet" => rows(&traces.path(name)),
                "csv" => fs::read_to_string(&out).unwrap().lines().count() - 1,
                _ => fs::read_to_string(&out).unwrap().lines().count(),
            };
            assert_eq!(count, events, "{format}");
            fails(
                &replay(&["export", "--format", format, "-o", &out, &traces.whole()]),
                1,
                &[name, "exists", "--force"],
            );
            assert_eq!(
                code(&replay(&[
                    "export",
                    "--force",
                    "--format",
                    format,
                    "-o",
                    &out,
                    &traces.whole()
                ])),
                0
            );
        }
        let jsonl = fs::read(traces.path("t.jsonl")).unwrap();
        assert_eq!(
            jsonl,
            replay(&["cat", "--json", &traces.whole()]).stdout,
            "one schema for both"
        );
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(
            fs::metadata(traces.path("t.csv"))
                .unwrap()
                .permissions()
                .mode()
                & 0o777,
            0o600
        );
    }

    #[test]
    fn parquet_has_nanosecond_utc_times_and_dictionaries() {
        use arrow::datatypes::{DataType, TimeUnit};
        use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
        let traces = Traces::new();
        let out = traces.text("t.parquet");
        let arguments = [
            "export",
            "--format",
            "parquet",
            "-o",
            &out,
            "--from",
            "15s",
            "--to",
            "16s",
            &traces.whole(),
        ];
        assert_eq!(code(&replay(&arguments)), 0);
        let builder =
            ParquetRecordBatchReaderBuilder::try_new(fs::File::open(&out).unwrap()).unwrap();
        let schema = builder.schema().clone();
        assert_eq!(
            schema.field_with_name("time").unwrap().data_type(),
            &DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
        );
        assert!(matches!(
            schema.field_with_name("path").unwrap().data_type(),
            DataType::Dictionary(_, _)
        ));
        let batch = builder.build().unwrap().next().unwrap().unwrap();
        assert!(batch.num_rows() > 500);
        let boot = batch.column_by_name("boot_ns").unwrap();
        let boot: &arrow::array::UInt64Array = boot.as_any().downcast_ref().unwrap();
        assert!(
            boot.values()
                .iter()
                .all(|ns| (START_NS + 15 * SECOND_NS..START_NS + 16 * SECOND_NS).contains(ns))
        );
    }

    #[test]
    fn a_failed_export_leaves_no_file() {
        let traces = Traces::new();
        let out = traces.text("t.parquet");
        let text = traces.write(
            "text.zst",
            b"this is not a trace, but it is long enough to be looked at by a reader\n",
        );
        fails(
            &replay(&["export", "--format", "parquet", "-o", &out, &text]),
            1,
            &["t.parquet", "not a Trailcam trace"],
        );
        assert!(!traces.path("t.parquet").exists());
        if Path::new("/dev/full").exists() {
            let full = replay(&["export", "--format", "csv", "-o", "-", &traces.whole()]);
            assert_eq!(code(&full), 0);
            let output = Command::new(env!("CARGO_BIN_EXE_replay"))
                .args(["export", "--format", "csv", "-o", "-", &traces.whole()])
                .stdout(fs::File::options().write(true).open("/dev/full").unwrap())
                .output()
                .unwrap();
            assert_eq!(code(&output), 1);
            assert!(
                stderr(&output).contains("No space left"),
                "{}",
                stderr(&output)
            );
        }
    }
}

/// Marks stand where they were made, in every form; they are no events and nobody's.
#[test]
fn marks_are_listed_and_stand_between_the_events() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("marked.zst");
    let mut items = items(Scenario::QUIET);
    for second in 1..=25 {
        let boot_ns = START_NS + second * SECOND_NS;
        let mark = support::Item::Context(ContextRecord {
            boot_ns,
            body: Context::Mark(Mark {
                label: "deploy\n".into(),
                text: format!("note {second}"),
            }),
        });
        let place = items.iter().position(|item| item.boot_ns() >= boot_ns);
        items.insert(place.unwrap(), mark);
    }
    fs::write(&path, support::file(&seal(&items, |_| 500))).unwrap();
    let path = path.to_str().unwrap();

    let info = replay(&["info", "--marks", path]);
    assert_eq!(code(&info), 0, "{}", stderr(&info));
    let listed: Vec<&str> = stdout(&info)
        .lines()
        .filter(|line| line.contains("note"))
        .collect();
    assert_eq!(listed.len(), 20);
    let first = "2023-11-14T22:15:01.000000000Z  deploy\\n: note 1";
    assert!(listed[0].ends_with(first), "{}", listed[0]);
    assert!(stdout(&info).contains("25, the first 20:"));
    let json = &objects(&replay(&["info", "--marks", "--json", path]))[0]["marks"];
    assert_eq!(
        (&json["count"], &json["unread_chunks"]),
        (&25.into(), &0.into())
    );
    assert_eq!(json["listed"][19]["text"], "note 20");
    let without = &objects(&replay(&["info", "--json", path]))[0];
    assert!(without["marks"].is_null());

    let cat = replay(&["cat", path]);
    let lines = stdout(&cat);
    assert!(lines.lines().map(|line| &line[..30]).is_sorted());
    let marks = |text: &str| text.lines().filter(|line| line.contains("note ")).count();
    assert_eq!(marks(lines), 25);
    assert_eq!(
        lines.lines().count() as u64,
        25 + without["events"].as_u64().unwrap()
    );
    let line = "2023-11-14T22:15:03.000000000Z  -             -  mark deploy\\n: note 3";
    assert!(lines.lines().any(|known| known == line), "{line}");
    let json = objects(&replay(&["cat", "--json", path]));
    let mark = json.iter().find(|one| one["event"] == "mark").unwrap();
    assert_eq!(mark["label"], "deploy\n");
    assert_eq!(mark["boot_ns"], START_NS + SECOND_NS);
    assert_eq!(mark["time"], "2023-11-14T22:15:01.000000000Z");

    // A range holds for them, with or without what lies before it; any other selection leaves them out.
    for history in ["all", "checkpoint"] {
        let range = ["--from", "3s", "--to", "6s", "--history", history];
        let cut = replay(&[&["cat", path][..], &range].concat());
        assert_eq!(marks(stdout(&cut)), 3, "{history}");
    }
    for selection in [
        ["--container", "web"],
        ["--kind", "open"],
        ["--pid", "1500"],
        ["--filter", "evt.type exists"],
    ] {
        let cut = replay(&[&["cat", path][..], &selection].concat());
        assert_eq!(code(&cut), 0, "{}", stderr(&cut));
        assert_eq!(marks(stdout(&cut)), 0, "{selection:?}");
    }
}
