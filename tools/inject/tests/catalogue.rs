//! Every class, errand and workload does in a container what the catalogue says, as the recorder sees
//! it: half of them in Docker, half in the sandbox, in turn by their place in the list. (All of them
//! in both: `cargo xtask soak inject`.)

mod support;

use std::path::{Path, PathBuf};

use inject::{act, inside::workload::Workload};
use support::{Ended, INJECT, finish, no_docker, no_sandbox, skip};

/// Containers at a time: two CPUs must carry them all.
const BATCH: usize = 6;

#[test]
fn every_other_program_shows_in_the_trace_in_the_sandbox() {
    match no_sandbox().or_else(no_recorder) {
        Some(reason) => skip(&reason),
        None => half_shows("--sandbox", 0),
    }
}

#[test]
fn every_other_program_shows_in_the_trace_in_docker() {
    match no_docker().or_else(no_recorder) {
        Some(reason) => skip(&reason),
        None => half_shows("--docker", 1),
    }
}

fn recorder() -> PathBuf {
    Path::new(INJECT).with_file_name("rec")
}

fn no_recorder() -> Option<String> {
    if !recorder().is_file() {
        return Some(format!("no recorder at {:?}", recorder()));
    }
    (!Path::new("/sys/kernel/btf/vmlinux").exists()).then(|| "this kernel has no BTF".into())
}

fn half_shows(runtime: &str, rest: usize) {
    let classes: Vec<&str> = act::all()
        .enumerate()
        .filter(|(place, _)| place % 2 == rest)
        .map(|(_, info)| info.name)
        .collect();
    let workloads: Vec<&str> = Workload::ALL.iter().map(|known| known.name()).collect();
    for batch in classes.chunks(BATCH) {
        let directory = tempfile::tempdir().unwrap();
        let to = directory.path().join("labelled");
        let to = to.to_string_lossy();
        let rec = recorder();
        let ran = finish(&[
            "run",
            &batch.join(","),
            runtime,
            "--together",
            "--background",
            "0",
            "--workload",
            &workloads.join(","),
            "--intensity",
            "0.8",
            "--warmup",
            "4s",
            "--duration",
            "4s",
            "--cooldown",
            "2s",
            "--record",
            &to,
            "--rec",
            &rec.to_string_lossy(),
        ]);
        // 3: with loss, which the check then says.
        assert!(matches!(ran.code, Some(0 | 3)), "{}", both(&ran));
        let verified = finish(&["verify", &to]);
        assert!(
            matches!(verified.code, Some(0 | 3)),
            "{}\n{}",
            both(&ran),
            both(&verified)
        );
        if batch.contains(&"noop") {
            what_did_not_happen_is_named(&to);
        }
    }
}

/// The check has teeth: a label that promises what nobody did fails, by name.
fn what_did_not_happen_is_named(directory: &str) {
    let path = Path::new(directory).join("labels.jsonl");
    let labels = std::fs::read_to_string(&path).unwrap();
    let lies: String = labels
        .lines()
        .map(|line| {
            let mut label: serde_json::Value = serde_json::from_str(line).unwrap();
            if label["class"] == "noop" {
                label["expected_signals"] = "mining_port fork_rate".into();
            }
            format!("{label}\n")
        })
        .collect();
    std::fs::write(&path, lies).unwrap();
    let verified = finish(&["verify", directory]);
    assert_eq!(verified.code, Some(1), "{}", both(&verified));
    for signal in ["mining_port", "fork_rate"] {
        let named = format!("{signal} did not move");
        assert!(verified.stderr.contains(&named), "{}", both(&verified));
    }
    assert_eq!(verified.stderr.lines().count(), 2, "{}", both(&verified));
}

fn both(ended: &Ended) -> String {
    format!("{}{}", ended.stdout, ended.stderr)
}
