//! The commands that make traces from traces, and the doctor: what a user meets, and that every other
//! command works on what they make.

use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};
use tempfile::TempDir;
use trace_format::{ChunkBuilder, Context, Limits, SealedChunk, TraceWriter};

struct Bench {
    directory: TempDir,
}

impl Bench {
    /// With the incident in `golden.zst`.
    fn new() -> Bench {
        let bench = Bench {
            directory: tempfile::tempdir().unwrap(),
        };
        bench.write("golden.zst", &fixtures::golden().bytes());
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// Runs replay in the directory, so that names are short.
    fn replay(&self, arguments: &[&str]) -> Output {
        self.replay_with(arguments, &[])
    }

    fn replay_with(&self, arguments: &[&str], stdin: &[u8]) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_replay"))
            .args(arguments)
            .current_dir(self.directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = child.stdin.take().unwrap();
        let input = stdin.to_vec();
        // A command that does not read it closes its end.
        let writer = std::thread::spawn(move || drop(pipe.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        output
    }

    #[track_caller]
    fn json(&self, expected: i32, arguments: &[&str]) -> Value {
        let output = self.replay(arguments);
        ends(&output, expected);
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Findings as (rule, container) → how often.
    fn findings(&self, trace: &str) -> BTreeMap<(String, String), usize> {
        let output = self.replay(&["detect", "--json", trace]);
        let mut counts = BTreeMap::new();
        for line in text(&output.stdout).lines() {
            let finding: Value = serde_json::from_str(line).unwrap();
            let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let key = (word(&finding["rule"]), word(&finding["container"]["name"]));
            *counts.entry(key).or_default() += 1;
        }
        assert!(!counts.is_empty(), "{}", text(&output.stderr));
        counts
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[track_caller]
fn ends(output: &Output, expected: i32) {
    let code = output.status.code().unwrap();
    assert_eq!(
        code,
        expected,
        "{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
}

#[track_caller]
fn fails(output: &Output, expected: i32, words: &[&str]) {
    ends(output, expected);
    let said = text(&output.stderr);
    assert_eq!(said.lines().count(), 1, "one line: {said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in {said:?}");
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// The incident on another host, whose container ids are others.
fn elsewhere() -> Vec<u8> {
    let mut builder = ChunkBuilder::new([9; 16], Limits::default());
    let mut writer = TraceWriter::new(Vec::new());
    for chunk in fixtures::golden().chunks {
        let decoded = chunk.decode().unwrap();
        for mut record in decoded.context {
            match &mut record.body {
                Context::Host(host) => {
                    host.host_uuid = [9; 16];
                    host.boot_id = [9; 16];
                    host.hostname = "elsewhere".into();
                }
                Context::Container(container) => {
                    container.id = container.id.chars().rev().collect();
                }
                _ => {}
            }
            builder.context(record).unwrap();
        }
        decoded
            .events
            .into_iter()
            .for_each(|event| builder.push(event));
        writer
            .write(&builder.seal(decoded.header.watermark_ns))
            .unwrap();
    }
    writer.finish().unwrap()
}

/// Offset and length of a chunk.
fn place(chunks: &[SealedChunk], number: usize) -> (usize, usize) {
    let start = chunks[..number].iter().map(|chunk| chunk.bytes.len()).sum();
    (start, chunks[number].bytes.len())
}

#[test]
fn recover_says_what_is_lost_in_its_output_too() {
    let bench = Bench::new();
    let chunks = fixtures::golden().chunks;
    let (start, len) = place(&chunks, 20);
    let mut broken = bench.read("golden.zst");
    broken[start + len - 10] ^= 1;
    bench.write("broken.zst", &broken);

    let report = bench.json(
        3,
        &[
            "recover",
            "--json",
            "broken.zst",
            "-o",
            "out.zst",
            "--quarantine",
            "bad",
        ],
    );
    assert_eq!(report["lossless"], false);
    assert_eq!(report["lost"][0]["offset"], start);
    assert_eq!(report["lost"][0]["bytes"], len);
    assert_eq!(report["lost"][0]["first_chunk"], 20);
    assert_eq!(report["lost"][0]["chunks"], 1);
    assert_eq!(report["chunks"], chunks.len() - 1);
    let kept = report["left_out"][0]["file"].as_str().unwrap();
    assert_eq!(bench.read(kept), &broken[start..start + len]);
    assert_eq!(
        (mode(&bench.path(kept)), mode(&bench.path("bad"))),
        (0o600, 0o700)
    );
    assert_eq!(mode(&bench.path("out.zst")), 0o600);
    assert_eq!(bench.read("broken.zst"), broken, "the input is as it was");

    // Whole, but its own report makes the doctor speak and findings near the hole degraded.
    ends(&bench.replay(&["verify", "out.zst"]), 0);
    let doctor = bench.json(3, &["doctor", "--json", "out.zst"]);
    assert_eq!(doctor["findings"][0]["check"], "discard");
    ends(&bench.replay(&["cat", "out.zst"]), 0);

    let people = bench.replay(&["recover", "broken.zst", "-o", "again.zst"]);
    ends(&people, 3);
    assert!(
        text(&people.stdout).contains("chunk 20"),
        "{}",
        text(&people.stdout)
    );
    assert_eq!(
        bench.read("again.zst"),
        bench.read("out.zst"),
        "the same input, the same output"
    );
}

#[test]
fn recover_of_a_killed_capture_loses_nothing() {
    let bench = Bench::new();
    bench.write("killed.zst", &fixtures::golden().unfinished_bytes());
    let report = bench.json(0, &["recover", "--json", "killed.zst", "-o", "out.zst"]);
    assert_eq!(report["lossless"], true);
    assert_eq!(report["remarks"].as_array().unwrap().len(), 1);
    ends(&bench.replay(&["doctor", "out.zst"]), 0);
    assert_eq!(bench.findings("out.zst"), bench.findings("golden.zst"));
    // Through a pipe the same events.
    let piped = bench.replay_with(
        &["recover", "--json", "-", "-o", "piped.zst"],
        &bench.read("killed.zst"),
    );
    ends(&piped, 0);
    let piped: Value = serde_json::from_slice(&piped.stdout).unwrap();
    assert_eq!(piped["events"], report["events"]);
    let left: Vec<_> = fs::read_dir(bench.directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with('.'))
        .collect();
    assert_eq!(left, [""; 0], "nothing is left behind");
}

#[test]
fn an_output_is_never_written_over_unasked_and_an_input_never() {
    let bench = Bench::new();
    bench.write("there.zst", b"something");
    for command in ["recover", "slice"] {
        let refused = bench.replay(&[command, "golden.zst", "-o", "there.zst"]);
        fails(&refused, 1, &["there.zst", "--force"]);
        assert_eq!(bench.read("there.zst"), b"something");
        let refused = bench.replay(&[command, "golden.zst", "-o", "golden.zst", "--force"]);
        fails(&refused, 1, &["golden.zst", "is the input"]);
        let refused = bench.replay(&[command, "golden.zst", "-o", "."]);
        fails(&refused, 1, &["directory"]);
    }
    ends(
        &bench.replay(&["recover", "golden.zst", "-o", "there.zst", "--force"]),
        0,
    );
    assert_eq!(mode(&bench.path("there.zst")), 0o600);
    // A command that fails leaves nothing: neither a new file nor a changed old one.
    bench.write("text.zst", b"This is not a trace.");
    let before = bench.read("there.zst");
    let failed = bench.replay(&["recover", "text.zst", "-o", "there.zst", "--force"]);
    fails(&failed, 1, &["not a Trailcam trace"]);
    assert_eq!(bench.read("there.zst"), before);
    fails(
        &bench.replay(&["recover", "text.zst", "-o", "new.zst"]),
        1,
        &["text.zst"],
    );
    assert!(!bench.path("new.zst").exists());
    fails(
        &bench.replay(&["recover", "gone.zst", "-o", "new.zst"]),
        1,
        &["gone.zst"],
    );
}

/// The context of a slice is what its events need: they print as they do in the whole trace.
#[test]
fn a_slice_shows_what_the_whole_trace_shows_there() {
    let bench = Bench::new();
    for (from, to) in [("61s", "66s"), ("0s", "5s"), ("63500ms", "70s")] {
        let range = ["--from", from, "--to", to];
        let whole = bench.replay(&[&["cat", "golden.zst"], &range[..]].concat());
        let report = bench.json(
            0,
            &[
                &["slice", "--json", "golden.zst", "-o", "part.zst", "--force"],
                &range[..],
            ]
            .concat(),
        );
        let part = bench.replay(&["cat", "part.zst"]);
        assert_eq!(text(&part.stdout), text(&whole.stdout), "{from} to {to}");
        assert!(report["events"].as_u64().unwrap() > 0);
        ends(&bench.replay(&["verify", "part.zst"]), 0);
        ends(&bench.replay(&["doctor", "part.zst"]), 0);
    }
}

#[test]
fn a_slice_by_container_and_kind_holds_nothing_else() {
    let bench = Bench::new();
    let report = bench.json(
        0,
        &[
            "slice",
            "--json",
            "golden.zst",
            "-o",
            "web.zst",
            "--container",
            "shop-web",
        ],
    );
    assert_eq!(report["cgroups"].as_array().unwrap().len(), 1);
    let events = bench.replay(&["cat", "web.zst"]);
    ends(&events, 0);
    assert_eq!(
        text(&events.stdout).lines().count() as u64,
        report["events"].as_u64().unwrap()
    );
    let whole = bench.replay(&["cat", "--filter", "container.name = shop-web", "golden.zst"]);
    assert_eq!(text(&events.stdout), text(&whole.stdout));
    let info = bench.json(0, &["info", "--json", "web.zst"]);
    assert_eq!(info["events"], report["events"]);

    ends(
        &bench.replay(&["slice", "golden.zst", "-o", "exec.zst", "--kind", "exec"]),
        0,
    );
    let execs = bench.json(0, &["info", "--json", "exec.zst"]);
    assert_eq!(execs["families"].as_array().unwrap().len(), 1);
    assert_eq!(execs["families"][0]["family"], "exec");

    let piped = bench.replay_with(
        &["slice", "-", "-o", "piped.zst", "--kind", "exec"],
        &bench.read("golden.zst"),
    );
    ends(&piped, 0);
    for (arguments, code, words) in [
        (&["--kind", "excec"][..], 2, &["excec", "exec, exit"][..]),
        (&["--container", "nobody"], 1, &["nobody"]),
        (&["--from", "9s", "--to", "8s"], 2, &["ends before"]),
    ] {
        let refused = bench.replay(&[&["slice", "golden.zst", "-o", "x.zst"], arguments].concat());
        fails(&refused, code, words);
        assert!(!bench.path("x.zst").exists());
    }
}

/// Two hosts in one trace: each event is found where it was found alone, once for each host.
#[test]
fn merged_hosts_are_detected_on_as_each_alone() {
    let bench = Bench::new();
    bench.write("elsewhere.zst", &elsewhere());
    let report = bench.json(
        0,
        &[
            "merge",
            "--json",
            "golden.zst",
            "elsewhere.zst",
            "-o",
            "both.zst",
        ],
    );
    assert_eq!(report["boots"], 2);
    assert_eq!(report["sources"][1]["name"], "elsewhere.zst");
    ends(&bench.replay(&["verify", "both.zst"]), 0);
    ends(&bench.replay(&["doctor", "both.zst"]), 0);
    let alone = bench.findings("golden.zst");
    let twice: BTreeMap<_, _> = alone
        .into_iter()
        .map(|(key, count)| (key, 2 * count))
        .collect();
    assert_eq!(bench.findings("both.zst"), twice);
    // Times of day are those of the source.
    let first = |trace: &str| {
        let lines = bench.replay(&["cat", trace]);
        text(&lines.stdout)
            .lines()
            .next()
            .unwrap()
            .split("  ")
            .next()
            .unwrap()
            .to_owned()
    };
    assert_eq!(first("both.zst"), first("golden.zst"));

    fails(
        &bench.replay(&["merge", "golden.zst", "golden.zst", "-o", "x.zst"]),
        1,
        &["the same trace"],
    );
    fails(
        &bench.replay(&["merge", "golden.zst", "-o", "x.zst"]),
        2,
        &["two or more"],
    );
    assert!(!bench.path("x.zst").exists());
}

#[test]
fn the_doctor_speaks_to_people_and_programs() {
    let bench = Bench::new();
    let sound = bench.replay(&["doctor", "golden.zst"]);
    ends(&sound, 0);
    assert!(
        text(&sound.stdout).starts_with("golden.zst: sound"),
        "{}",
        text(&sound.stdout)
    );
    bench.write("killed.zst", &fixtures::golden().unfinished_bytes());
    let killed = bench.replay(&["doctor", "killed.zst"]);
    ends(&killed, 3);
    assert!(
        text(&killed.stdout).contains("warning  summary"),
        "{}",
        text(&killed.stdout)
    );
    let piped = bench.replay_with(&["doctor", "--json", "-"], &bench.read("killed.zst"));
    ends(&piped, 3);
    let piped: Value = serde_json::from_slice(&piped.stdout).unwrap();
    assert_eq!(piped["worst"], "warning");
    assert_eq!(piped["findings"][0]["check"], "summary");
    bench.write("text.zst", b"This is not a trace.");
    fails(
        &bench.replay(&["doctor", "text.zst"]),
        1,
        &["not a Trailcam trace"],
    );
    let list = bench.replay(&["doctor", "--list"]);
    ends(&list, 0);
    assert!(text(&list.stdout).lines().count() > 30);
}
