//! Imported captures under the commands for traces: verified, cross-checked, cut and joined like our own.

#![cfg(feature = "import")]

mod captures;

use captures::captures;
use serde_json::Value;
use std::{collections::BTreeMap, path::Path, process::Command};

/// Exit code, standard output, standard error.
fn replay(directory: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_replay"))
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    (code, text(output.stdout), text(output.stderr))
}

/// The first two captures as `a.zst` and `b.zst`.
fn imported() -> Option<tempfile::TempDir> {
    let directory = tempfile::tempdir().unwrap();
    let captures = captures();
    if captures.is_empty() {
        return None;
    }
    let named = |end: &str| captures.iter().find(|one| one.name.ends_with(end));
    let first = named("cat_write.scap").unwrap();
    let second = captures.iter().find(|one| one.name != first.name).unwrap();
    for (capture, name) in [(first, "a.zst"), (second, "b.zst")] {
        let path = capture.path.to_str().unwrap();
        let (code, _, said) = replay(directory.path(), &["import", path, "-o", name]);
        assert_eq!(code, 0, "{said}");
    }
    Some(directory)
}

#[track_caller]
fn lines(directory: &Path, arguments: &[&str]) -> Vec<Value> {
    let (code, out, said) = replay(directory, arguments);
    assert_eq!(code, 0, "{arguments:?}: {said}");
    let lines = out.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn an_import_is_unchanged_and_does_not_contradict_itself() {
    let Some(directory) = imported() else { return };
    let directory = directory.path();
    for name in ["a.zst", "b.zst"] {
        for command in ["verify", "doctor"] {
            let (code, out, said) = replay(directory, &[command, name]);
            assert_eq!(code, 0, "{command} {name}: {out}{said}");
        }
    }
}

#[test]
fn a_slice_by_a_declared_kind_has_its_rows_and_the_lists() {
    let Some(directory) = imported() else { return };
    let directory = directory.path();
    let all = lines(directory, &["cat", "--json", "a.zst"]);
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for object in &all {
        *kinds
            .entry(object["event"].as_str().unwrap().to_owned())
            .or_default() += 1;
    }
    let kind = kinds
        .keys()
        .find(|kind| kind.starts_with("scap.syscall_read"))
        .unwrap();
    let (code, _, said) = replay(
        directory,
        &["slice", "a.zst", "-o", "read.zst", "--kind", kind],
    );
    assert_eq!(code, 0, "{said}");
    let found = lines(directory, &["cat", "--json", "read.zst"]);
    let (reads, lists): (Vec<_>, Vec<_>) = found.iter().partition(|row| row["event"] == **kind);
    assert_eq!(reads.len(), kinds[kind]);
    assert_eq!(
        lists
            .iter()
            .filter(|row| row["event"] == "scap.process")
            .count(),
        kinds["scap.process"],
        "processes have their names"
    );
    for command in ["verify", "doctor"] {
        let (code, out, said) = replay(directory, &[command, "read.zst"]);
        assert_eq!(code, 0, "{command}: {out}{said}");
    }
    let (code, _, said) = replay(
        directory,
        &["slice", "a.zst", "-o", "no.zst", "--kind", "scap.nothing"],
    );
    assert_eq!(code, 2, "{said}");
    assert!(!directory.join("no.zst").exists());
}

#[test]
fn what_a_block_did_not_have_is_not_printed_as_zero() {
    let Some(directory) = imported() else { return };
    let rows = lines(directory.path(), &["cat", "--json", "b.zst"]);
    let text = replay(directory.path(), &["cat", "b.zst"]).1;
    let mut left_out = 0;
    for (row, line) in rows.iter().zip(text.lines()) {
        let Some(fields) = row["fields"].as_object() else {
            continue;
        };
        let schema = replay::import::scap::schema::types();
        let name = row["event"].as_str().unwrap();
        let Some(ty) = schema
            .iter()
            .find(|ty| format!("scap.{}", ty.symbol) == name)
        else {
            continue;
        };
        for parameter in &ty.parameters {
            // The text says ` name=value` of every parameter that the block has.
            let said = line.contains(&format!(" {}=", parameter.name));
            let has = fields.contains_key(parameter.name);
            assert!(said || !has, "{} of {line}", parameter.name);
            left_out += usize::from(!has);
        }
    }
    assert!(left_out > 0, "nothing is absent in this capture");
}

#[test]
fn captures_of_several_hosts_are_not_mixed_up_in_a_merge() {
    let Some(directory) = imported() else { return };
    let directory = directory.path();
    let (code, _, said) = replay(directory, &["merge", "a.zst", "b.zst", "-o", "both.zst"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("cannot be merged"), "{said}");
    assert!(!directory.join("both.zst").exists());
    // A slice of all of it is all of it.
    let all = lines(directory, &["cat", "--json", "a.zst"]);
    let (code, _, said) = replay(
        directory,
        &["slice", "a.zst", "-o", "half.zst", "--from", "0s"],
    );
    assert_eq!(code, 0, "{said}");
    let half = lines(directory, &["cat", "--json", "half.zst"]);
    assert_eq!(half.len(), all.len());
}
