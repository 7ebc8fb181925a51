//! `replay cat --raw` prints what a trace stores, byte for byte as the twins of the vectors have it and as
//! the independent `format-spec/reader.py` prints it.
//!
//! The second needs python3 (or `PYTHON`) with the package zstandard; it skips by name without, unless
//! `TRAILCAM_NO_SKIP` is set.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

const READER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../format-spec/reader.py");
const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../format-spec/vectors");

fn replay(arguments: &[&str], path: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_replay"))
        .args(["cat", "--raw"])
        .args(arguments)
        .arg(path)
        .output()
        .unwrap()
}

/// Lines that differ are easier to read than two long texts.
fn same(name: &str, ours: &[u8], theirs: &[u8]) {
    let (ours, theirs) = (
        String::from_utf8_lossy(ours),
        String::from_utf8_lossy(theirs),
    );
    for (number, (ours, theirs)) in ours.lines().zip(theirs.lines()).enumerate() {
        assert_eq!(ours, theirs, "{name}, line {}", number + 1);
    }
    assert_eq!(ours.len(), theirs.len(), "{name}: one ends early");
}

#[test]
fn every_vector_is_printed_as_its_twin() {
    let mut read = 0;
    for (group, status) in [("valid", [0, 3]), ("damaged", [3, 3]), ("invalid", [1, 1])] {
        for entry in fs::read_dir(Path::new(VECTORS).join(group)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "zst") {
                let output = replay(&["--quiet"], &path);
                let name = path.display().to_string();
                assert!(
                    output
                        .status
                        .code()
                        .is_some_and(|code| status.contains(&code)),
                    "{name}: {output:?}"
                );
                if group == "invalid" {
                    assert!(!output.stderr.is_empty(), "{name}: an error is said");
                } else {
                    let twin = fs::read(path.with_extension("jsonl")).unwrap();
                    same(&name, &output.stdout, &twin);
                }
                read += 1;
            }
        }
    }
    assert!(read > 20, "{read} vectors");
}

#[test]
fn raw_takes_no_filter_and_no_range() {
    let path = Path::new(VECTORS).join("valid/no-events_no-context.zst");
    for arguments in [
        ["--filter", "evt.type=open"],
        ["--from", "1s"],
        ["--to", "1s"],
    ] {
        assert_eq!(replay(&arguments, &path).status.code(), Some(2));
    }
}

#[test]
fn the_golden_trace_is_printed_as_an_independent_reader_does() {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let found = Command::new(&python)
        .args(["-c", "import zstandard"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !found {
        assert!(
            std::env::var_os("TRAILCAM_NO_SKIP").is_none(),
            "{python} has no zstandard, and nothing may be skipped"
        );
        println!("skipped: no zstandard for {python} (set PYTHON to one that has it)");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let situation = fixtures::situation("port_scan").unwrap();
    for (name, built) in [
        ("golden", fixtures::golden()),
        ("port_scan", (situation.build)().build()),
    ] {
        let path = directory.path().join(name);
        fs::write(&path, built.bytes()).unwrap();
        let theirs = Command::new(&python)
            .arg(READER)
            .arg(&path)
            .output()
            .unwrap();
        let ours = replay(&[], &path);
        same(name, &ours.stdout, &theirs.stdout);
        assert!(
            ours.stdout.len() > 100_000,
            "{name}: {} bytes",
            ours.stdout.len()
        );
        assert_eq!(ours.status.code(), theirs.status.code(), "{name}");
    }
}
