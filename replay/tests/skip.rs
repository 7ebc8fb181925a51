//! Selections pass over chunks by their headers: what is printed is what reading everything prints, and
//! the bodies of the others are not looked at.

mod captures;
mod program;

use program::replay;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

/// What a command prints, and how many chunks it read and decoded.
#[track_caller]
fn printed(arguments: &[&str], input: &[u8]) -> (String, [u64; 2]) {
    let output = replay(&[arguments, &["--verbose"]].concat(), input);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
    let counts = said
        .lines()
        .find_map(|line| line.strip_prefix("replay: ")?.split_once(" chunks read, "))
        .map(|(read, decoded)| {
            let decoded = decoded.split_once(' ').unwrap().0;
            [read, decoded].map(|count| count.parse().unwrap())
        });
    let counts = counts.unwrap_or_else(|| panic!("no count: {said}"));
    (String::from_utf8(output.stdout).unwrap(), counts)
}

/// Selections of everything that a trace has: each container, kind and some processes, alone and with
/// each other and a range.
fn selections(lines: &str) -> Vec<Vec<String>> {
    let mut values: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let objects: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for object in &objects {
        for (option, column) in [
            ("--container", "container_name"),
            ("--kind", "event"),
            ("--pid", "pid"),
        ] {
            let value = match &object[column] {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                _ => continue,
            };
            values.entry(option).or_default().insert(value);
        }
    }
    values
        .entry("--container")
        .or_default()
        .insert("host".into());
    let mut selections = Vec::new();
    let pids = values.get("--pid").map_or(0, BTreeSet::len);
    for (option, values) in &values {
        // Every pid would take long: some from each end and between.
        let step = if *option == "--pid" {
            (pids / 12).max(1)
        } else {
            1
        };
        for value in values.iter().step_by(step) {
            selections.push(vec![option.to_string(), value.clone()]);
        }
    }
    let with = |more: &[&str], option: &str| -> Vec<String> {
        let last = values[option].iter().next_back().unwrap();
        let all = [&[option, last.as_str()], more].concat();
        all.iter().map(|word| word.to_string()).collect()
    };
    selections.push(with(&["--from", "40s"], "--container"));
    selections.push(with(&["--from", "40s", "--to", "70s"], "--kind"));
    selections.push(with(&["--to", "50s"], "--pid"));
    selections.push(with(&["--container", "host", "--kind", "exec"], "--pid"));
    selections.push(vec!["--pid".into(), "4000000000".into()]);
    selections
}

/// Compares for every selection; returns how many lines, and chunks that were not decoded.
fn compare(path: &str, bytes: &[u8]) -> (usize, u64) {
    let (all, _) = printed(&["cat", "--json", path], &[]);
    let (mut lines, mut spared) = (0, 0);
    for selection in selections(&all) {
        let selection: Vec<&str> = selection.iter().map(String::as_str).collect();
        let run = |input: &str, more: &[&str], bytes: &[u8]| {
            let words = [&["cat", "--json", input], &selection[..], more].concat();
            printed(&words, bytes)
        };
        let (expected, [_, decoded]) = run(path, &["--history", "all"], &[]);
        let (found, [_, skipping]) = run(path, &[], &[]);
        assert!(found == expected, "{path} {selection:?}");
        assert!(skipping <= decoded);
        spared += decoded - skipping;
        let (streamed, _) = run("-", &[], bytes);
        assert!(streamed == expected, "{path} as a stream, {selection:?}");
        lines += expected.lines().count();
    }
    (lines, spared)
}

#[test]
fn selections_of_our_own_trace_are_the_same_with_and_without_skipping() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("golden.zst");
    let bytes = fixtures::golden().bytes();
    fs::write(&path, &bytes).unwrap();
    let (lines, spared) = compare(path.to_str().unwrap(), &bytes);
    assert!(lines > 10_000, "{lines} lines compared");
    assert!(spared > 500, "{spared} chunks were not decoded");
}

#[test]
fn nothing_but_the_first_chunk_is_decoded_for_a_process_that_is_not_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("golden.zst");
    let bytes = fixtures::golden().bytes();
    fs::write(&path, &bytes).unwrap();
    let path = path.to_str().unwrap();
    for (input, bytes) in [(path, &[][..]), ("-", &bytes[..])] {
        let (lines, [read, decoded]) = printed(&["cat", input, "--pid", "4000000000"], bytes);
        assert_eq!((lines.as_str(), decoded), ("", 0), "of {read} chunks");
        assert!(read > 100);
    }
}

#[cfg(feature = "import")]
#[test]
fn selections_of_an_imported_capture_are_those_of_all_its_events() {
    let Some(capture) = captures::captures()
        .into_iter()
        .find(|capture| capture.name.ends_with("cat_write.scap"))
    else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("imported.zst");
    let path = path.to_str().unwrap();
    let imported = replay(&["import", capture.path.to_str().unwrap(), "-o", path], &[]);
    assert_eq!(imported.status.code(), Some(0));
    let bytes = fs::read(path).unwrap();
    let (lines, _) = compare(path, &bytes);
    assert!(lines > 500, "{lines} lines compared");
    // By the name that the trace declares, and by the kind of the event that a block completes.
    let count = |kind: &str| {
        printed(&["cat", path, "--kind", kind], &[])
            .0
            .lines()
            .count()
    };
    assert!(count("exec") > 0);
}

#[test]
fn a_kind_that_does_not_exist_is_a_usage_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("golden.zst");
    fixtures::golden().write_file(&path).unwrap();
    let path = path.to_str().unwrap();
    let output = replay(&["cat", path, "--kind", "exce"], &[]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("exce is no kind of event"), "{said}");
}
