//! A trace is a zstd file to everyone else: the zstd tool tests and unpacks it, a third-party
//! reader of the seekable format seeks in it. Both skip by name where the tool is not installed.

mod support;

use std::process::Command;

use support::{forge::Forge, *};

/// Says so; a failure where nothing may be skipped.
fn skipped(why: &str) {
    assert!(
        std::env::var_os("TRAILCAM_NO_SKIP").is_none(),
        "{why}, and nothing may be skipped"
    );
    println!("skipped: {why}");
}

/// The `zstd` tool, or why the test is skipped.
fn run(program: &str, args: &[&str]) -> Option<std::process::Output> {
    match Command::new(program).args(args).output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            skipped(&format!("no {program} here"));
            None
        }
        Err(error) => panic!("{program}: {error}"),
    }
}

#[test]
fn the_zstd_tool_accepts_a_trace_and_unpacks_its_bodies() {
    let chunks = small_chunks(4, 50);
    let directory = tempfile::tempdir().unwrap();
    for (name, bytes) in [
        ("whole.zst", trace_of(&chunks)),
        (
            "unfinished.zst",
            chunks
                .iter()
                .flat_map(|chunk| chunk.bytes.to_vec())
                .collect(),
        ),
    ] {
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let path = path.to_str().unwrap();
        let Some(test) = run("zstd", &["-t", "-q", path]) else {
            return;
        };
        assert!(
            test.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&test.stderr)
        );
        let unpacked = run("zstd", &["-dc", "-q", path]).unwrap();
        let bodies: Vec<u8> = chunks
            .iter()
            .flat_map(|chunk| Forge::open(&chunk.bytes).body())
            .collect();
        assert!(
            unpacked.stdout == bodies,
            "{name}: {} bytes, expected {}",
            unpacked.stdout.len(),
            bodies.len()
        );
    }
}

#[test]
fn pyzstd_seeks_in_a_trace() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("trace.zst");
    std::fs::write(&path, trace_of(&small_chunks(20, 300))).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/seek.py");
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let Some(output) = run(&python, &[script, path.to_str().unwrap()]) else {
        return;
    };
    match output.status.code() {
        Some(77) => skipped(&format!(
            "no pyzstd for {python} (set PYTHON to one that has it)"
        )),
        _ => assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        ),
    }
}
