//! A recorded run leaves a directory that can be trained on, and says how it ended.

mod support;

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use support::{end, finish, inject, no_sandbox, skip};

/// A recorder that keeps to the contract and writes when it started and ended.
fn recorder(directory: &Path, end: &str) -> String {
    let path = directory.join("rec");
    let script = format!(
        "#!/bin/sh\necho trace >\"$3\"\ntrap '{end}' TERM\necho recording >&2\nwhile :; do sleep 0.05; done\n"
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_string_lossy().into_owned()
}

const QUICK: [&str; 9] = [
    "--sandbox",
    "--warmup",
    "100ms",
    "--gap",
    "50ms",
    "--cooldown",
    "50ms",
    "--background",
    "1",
];

#[test]
fn a_recorded_run_has_trace_labels_and_plan() {
    if let Some(reason) = no_sandbox() {
        return skip(&reason);
    }
    let directory = tempfile::tempdir().unwrap();
    let rec = recorder(directory.path(), "exit 0");
    let labelled = directory.path().join("labelled");
    let to = labelled.to_string_lossy().into_owned();
    let args = [
        &[
            "run",
            "noop,cred_read",
            "--duration",
            "200ms",
            "--record",
            &to,
            "--rec",
            &rec,
            "--seed",
            "5",
            "--json",
        ][..],
        &QUICK,
    ]
    .concat();
    let ended = finish(&args);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let json = ended.json();
    assert_eq!(json["recorded"]["exit_code"], 0);
    assert_eq!(
        fs::read_to_string(labelled.join("trace.zst")).unwrap(),
        "trace\n"
    );
    let csv = fs::read_to_string(labelled.join("labels.csv")).unwrap();
    let mut lines = csv.lines();
    assert_eq!(lines.next().unwrap(), inject::label::COLUMNS.join(","));
    // In the order in which they acted; the container in which nothing was ordered has no row.
    let classes: Vec<&str> = lines.map(|line| line.split(',').nth(5).unwrap()).collect();
    assert_eq!(classes, ["noop", "cred_read"]);
    let jsonl = fs::read_to_string(labelled.join("labels.jsonl")).unwrap();
    for (line, act) in jsonl.lines().zip(json["acts"].as_array().unwrap()) {
        let label: serde_json::Value = serde_json::from_str(line).unwrap();
        for column in inject::label::COLUMNS {
            assert_eq!(label[column], act[column], "{column}");
        }
    }
    let plan: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(labelled.join("plan.json")).unwrap()).unwrap();
    assert_eq!(
        plan,
        finish(&[&args[..], &["--dry-run"]].concat()).json(),
        "the plan is what --dry-run shows"
    );

    let again = finish(&args);
    assert_eq!(again.code, Some(1));
    assert!(
        again.stderr.contains("choose a new directory"),
        "{}",
        again.stderr
    );
    assert_eq!(
        fs::read_to_string(labelled.join("labels.csv")).unwrap(),
        csv,
        "labels of another run are kept"
    );
}

#[test]
fn loss_and_failure_of_the_recorder_are_passed_on() {
    if let Some(reason) = no_sandbox() {
        return skip(&reason);
    }
    for (end, code, says) in [
        ("exit 3", 3, "(with loss)"),
        ("echo disk full >&2; exit 1", 1, "disk full"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let rec = recorder(directory.path(), end);
        let to = directory
            .path()
            .join("labelled")
            .to_string_lossy()
            .into_owned();
        let ended = finish(
            &[
                &[
                    "run",
                    "noop",
                    "--duration",
                    "50ms",
                    "--record",
                    &to,
                    "--rec",
                    &rec,
                ][..],
                &QUICK,
            ]
            .concat(),
        );
        assert_eq!(ended.code, Some(code), "{}", ended.stderr);
        assert!(
            format!("{}{}", ended.stdout, ended.stderr).contains(says),
            "{}{}",
            ended.stdout,
            ended.stderr
        );
        // What was done stays labelled.
        let csv = fs::read_to_string(Path::new(&to).join("labels.csv")).unwrap();
        assert_eq!(csv.lines().count(), 2);
    }
}

#[test]
fn an_interrupted_run_labels_what_was_begun_and_ends_the_recorder() {
    if let Some(reason) = no_sandbox() {
        return skip(&reason);
    }
    let directory = tempfile::tempdir().unwrap();
    let stopped = directory.path().join("stopped");
    let rec = recorder(
        directory.path(),
        &format!("touch \"{}\"; exit 0", stopped.display()),
    );
    let to = directory
        .path()
        .join("labelled")
        .to_string_lossy()
        .into_owned();
    let args = [
        &[
            "run",
            "noop,noop",
            "--duration",
            "1h",
            "--record",
            &to,
            "--rec",
            &rec,
            "-v",
        ][..],
        &QUICK,
    ]
    .concat();
    let mut child = inject(&args).spawn().unwrap();
    let mut notes = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map_while(Result::ok);
    assert!(notes.any(|note| note.ends_with(": noop has begun")));
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let ended = end(child);
    assert_eq!(
        ended.code,
        Some(1),
        "{}",
        notes.collect::<Vec<_>>().join("\n")
    );
    assert!(stopped.exists(), "the recorder was told to stop");
    let csv = fs::read_to_string(Path::new(&to).join("labels.csv")).unwrap();
    let rows: Vec<&str> = csv.lines().skip(1).collect();
    assert_eq!(rows.len(), 1, "the second act had not begun: {csv}");
    assert!(rows[0].ends_with(",interrupted,noop"), "{csv}");
}

#[test]
fn a_recorder_that_cannot_start_leaves_the_directory_free() {
    if let Some(reason) = no_sandbox() {
        return skip(&reason);
    }
    let directory = tempfile::tempdir().unwrap();
    let rec = recorder(directory.path(), "exit 0");
    let working = fs::read_to_string(&rec).unwrap();
    let to = directory
        .path()
        .join("labelled")
        .to_string_lossy()
        .into_owned();
    let args = [
        &[
            "run",
            "noop",
            "--duration",
            "50ms",
            "--record",
            &to,
            "--rec",
            &rec,
        ][..],
        &QUICK,
    ]
    .concat();
    fs::write(&rec, "#!/bin/sh\necho 'error: no BTF' >&2\nexit 1\n").unwrap();
    let failed = finish(&args);
    assert_eq!(failed.code, Some(1));
    assert!(failed.stderr.contains("no BTF"), "{}", failed.stderr);
    fs::write(&rec, working).unwrap();
    let ended = finish(&args);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}
