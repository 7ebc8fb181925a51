//! A rotated capture is one capture: its parts in order give what one file would have given, and a
//! part that is missing, cut or exchanged is reported.

mod rotated;
mod support;

use rotated::{ROWS, capture};
use serde_json::Value;
use std::{
    fs,
    path::PathBuf,
    process::{Command, Output, Stdio},
};
use support::{Scenario, items};
use tempfile::TempDir;

struct Parts(TempDir);

impl Parts {
    fn new(files: &[Vec<u8>]) -> Parts {
        let parts = Parts(tempfile::tempdir().unwrap());
        for (part, bytes) in files.iter().enumerate() {
            fs::write(parts.part(part), bytes).unwrap();
        }
        parts
    }
    fn part(&self, part: usize) -> PathBuf {
        self.0.path().join(format!("trace.{part:04}.zst"))
    }
    fn name(&self, part: usize) -> String {
        self.part(part).to_str().unwrap().to_owned()
    }
    fn directory(&self) -> String {
        self.0.path().to_str().unwrap().to_owned()
    }
}

fn replay(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_replay"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Lines of JSON without where an event is stored: that depends on files and chunks.
fn lines(output: &Output) -> Vec<String> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines()
        .map(|line| {
            let mut value: Value = serde_json::from_str(line).unwrap();
            let object = value.as_object_mut().unwrap();
            for place in ["evidence", "chunk", "row"] {
                object.remove(place);
            }
            value.to_string()
        })
        .collect()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// Where parts end changes nothing: in the middle of an attack, at a chunk's end, twice in a chunk.
#[test]
fn parts_in_order_give_what_one_file_gives() {
    let items = items(Scenario::ATTACKED);
    let one = Parts::new(&capture(&items, &[], None));
    let expected = ["detect", "cat"].map(|command| {
        let output = replay(&[command, "--json", &one.directory()]);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        lines(&output)
    });
    assert!(expected[0].len() > 2, "{:?}", expected[0]);
    let quarter = items.len() / 4;
    for ends in [
        vec![items.len() / 2],
        vec![quarter, quarter + 1, 2 * quarter, 3 * quarter],
        vec![ROWS, 2 * ROWS],
        (1..9).map(|nth| nth * items.len() / 9).collect(),
    ] {
        let parts = Parts::new(&capture(&items, &ends, None));
        for (command, expected) in ["detect", "cat"].iter().zip(&expected) {
            let output = replay(&[command, "--json", &parts.directory()]);
            assert_eq!(code(&output), 0, "{ends:?}: {}", stderr(&output));
            let found = lines(&output);
            let differs = found.iter().zip(expected).find(|(one, other)| one != other);
            assert_eq!(differs, None, "{command}, parts end at {ends:?}");
            assert_eq!(found.len(), expected.len());
        }
    }
}

#[test]
fn a_part_that_is_missing_cut_or_exchanged_is_reported() {
    let items = items(Scenario::ATTACKED);
    let ends: Vec<usize> = (1..4).map(|nth| nth * items.len() / 4).collect();
    let files = capture(&items, &ends, None);
    let verify = |parts: &Parts| {
        let output = replay(&["verify", "--json", &parts.directory()]);
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        let issues: Vec<String> = text
            .lines()
            .flat_map(|line| {
                let value: Value = serde_json::from_str(line).unwrap();
                value["part_issues"].as_array().unwrap().clone()
            })
            .map(|issue| issue.as_str().unwrap().to_owned())
            .collect();
        (code(&output), issues)
    };
    let parts = Parts::new(&files);
    assert_eq!(verify(&parts), (0, Vec::new()));
    // Each alone is whole.
    for part in 0..4 {
        let output = replay(&["verify", &parts.name(part)]);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            text.contains(&format!("part     {part} of capture")),
            "{text}"
        );
        assert!(text.contains("were not looked at"), "{text}");
    }
    // Each missing: the first, one in the middle, the last.
    for part in 0..4 {
        let parts = Parts::new(&files);
        fs::remove_file(parts.part(part)).unwrap();
        let (exit, issues) = verify(&parts);
        assert_eq!(exit, 3, "part {part}");
        let neighbours = if part == 0 || part == 3 { 1 } else { 2 };
        assert_eq!(issues.len(), neighbours, "part {part}: {issues:?}");
        assert!(issues.iter().all(|issue| issue.contains("missing")));
        if part == 1 || part == 2 {
            let output = replay(&["detect", &parts.directory()]);
            assert_eq!(code(&output), 3, "{}", stderr(&output));
            assert!(
                stderr(&output).contains("does not follow"),
                "{}",
                stderr(&output)
            );
        }
    }
    // Another one in its place: the same UUID and times, one event less.
    let parts = Parts::new(&files);
    fs::write(parts.part(1), &capture(&items, &ends, Some(1))[1]).unwrap();
    let (exit, issues) = verify(&parts);
    assert_eq!(exit, 3);
    assert!(
        issues.iter().any(|issue| issue.contains("exchanged")),
        "{issues:?}"
    );
    let output = replay(&["cat", &parts.directory()]);
    assert_eq!(code(&output), 3);
    assert!(stderr(&output).contains("exchanged"), "{}", stderr(&output));
    // The same file under two names.
    let parts = Parts::new(&files);
    fs::write(parts.part(4), &files[1]).unwrap();
    let (exit, issues) = verify(&parts);
    assert_eq!(exit, 3);
    assert!(
        issues.iter().any(|issue| issue.contains("twice")),
        "{issues:?}"
    );
}

/// The recorder's counts go on over the parts; a part's own are what it adds.
#[test]
fn a_part_counts_what_it_lost_itself() {
    let items = items(Scenario::ATTACKED);
    let files = capture(&items, &[items.len() / 2], None);
    let parts = Parts::new(&files);
    let info = |part: usize| -> Value {
        let output = replay(&["info", "--json", &parts.name(part)]);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let (first, second) = (info(0), info(1));
    assert_eq!(second["part"], 1);
    assert_eq!(second["part_of"], first["uuid"]);
    assert_eq!(first["part"], Value::Null);
}

/// Parts are one capture to `merge`: nothing is shifted or counted twice, in whatever order they come.
#[test]
fn merged_parts_are_what_one_file_would_have_been() {
    let items = items(Scenario::ATTACKED);
    let one = Parts::new(&capture(&items, &[], None));
    let ends: Vec<usize> = (1..4).map(|nth| nth * items.len() / 4).collect();
    let parts = Parts::new(&capture(&items, &ends, None));
    let elsewhere = tempfile::tempdir().unwrap();
    let merged = elsewhere.path().join("merged.zst");
    let merged = merged.to_str().unwrap();
    let merge = |order: &[usize]| {
        let names: Vec<String> = order.iter().map(|&part| parts.name(part)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let flags = ["merge", "--json", "--force", "-o", merged];
        let output = replay(&[&flags, &names[..]].concat());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (code(&output), text + stderr(&output))
    };
    for order in [[0, 1, 2, 3], [2, 0, 3, 1]] {
        let (exit, text) = merge(&order);
        assert_eq!(exit, 0, "{text}");
        for command in ["detect", "cat"] {
            let expected = lines(&replay(&[command, "--json", &one.directory()]));
            let found = lines(&replay(&[command, "--json", merged]));
            let differs = found
                .iter()
                .zip(&expected)
                .find(|(one, other)| one != other);
            assert_eq!(differs, None, "{command} of {order:?}");
            assert_eq!(found.len(), expected.len(), "{command} of {order:?}");
        }
        let output = replay(&["verify", merged]);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        // The scenario names no probes, which is a warning.
        let output = replay(&["doctor", merged]);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(!said.contains("  error "), "{said}");
    }
    // What is not there is lost, and the new trace says so.
    let (exit, text) = merge(&[0, 1, 3]);
    assert_eq!(exit, 3, "{text}");
    let said = "parts 2 to 2 of the capture are not here";
    assert!(text.contains(said), "{text}");
    // Whoever wants only some neighbours loses nothing between them.
    let (exit, text) = merge(&[1, 2]);
    assert_eq!(exit, 0, "{text}");
}

/// Selections over parts are the same with chunks passed over and without.
#[test]
fn selections_go_over_the_ends_of_parts() {
    let items = items(Scenario::ATTACKED);
    let ends: Vec<usize> = (1..6).map(|nth| nth * items.len() / 6).collect();
    let parts = Parts::new(&capture(&items, &ends, None));
    let cat = |more: &[&str]| {
        let output = replay(&[&["cat", "--json", &parts.directory()], more].concat());
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        lines(&output)
    };
    let mut pids: Vec<String> = Vec::new();
    for line in cat(&[]) {
        let value: Value = serde_json::from_str(&line).unwrap();
        let pid = value["pid"].to_string();
        if value["pid"].is_u64() && !pids.contains(&pid) {
            pids.push(pid);
        }
    }
    let mut compared = 0;
    let pids: Vec<_> = pids.iter().map(|pid| ["--pid", pid.as_str()]).collect();
    let others = [["--kind", "exec"], ["--container", "host"]];
    for selection in pids.iter().chain(&others) {
        let expected = cat(&[&selection[..], &["--history", "all"]].concat());
        assert_eq!(cat(selection), expected, "{selection:?}");
        compared += expected.len();
    }
    assert!(compared > 500, "{compared} lines compared");
}
