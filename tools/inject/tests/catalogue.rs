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

/// How long the acts last, try by try. What moved is told from what was before by counting, and on a
/// host that others keep busy a container can get too little CPU to be told within a few seconds: what did
/// not show is then tried again, alone and for longer. A program that does not do what it says never shows.
const TRIES_S: [u32; 3] = [4, 8, 16];

fn half_shows(runtime: &str, rest: usize) {
    let classes: Vec<&str> = act::all()
        .enumerate()
        .filter(|(place, _)| place % 2 == rest)
        .map(|(_, info)| info.name)
        .collect();
    let mut batches: Vec<Vec<&str>> = classes.chunks(BATCH).map(<[_]>::to_vec).collect();
    let mut said = Vec::new();
    for seconds in TRIES_S {
        let mut missed = Vec::new();
        for batch in &batches {
            missed.extend(does_not_show(runtime, batch, seconds));
        }
        batches = missed.iter().map(|(class, _)| vec![*class]).collect();
        said.extend(
            missed
                .into_iter()
                .map(|(class, why)| format!("{class}, {seconds} s: {why}")),
        );
    }
    assert!(batches.is_empty(), "{batches:?}\n{}", said.join("\n"));
}

/// Those of the classes that the trace does not show, with the reason.
fn does_not_show<'a>(runtime: &str, batch: &[&'a str], seconds: u32) -> Vec<(&'a str, String)> {
    let workloads: Vec<&str> = Workload::ALL.iter().map(|known| known.name()).collect();
    let directory = tempfile::tempdir().unwrap();
    let to = directory.path().join("labelled");
    let to = to.to_string_lossy();
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
        &format!("{seconds}s"),
        "--duration",
        &format!("{seconds}s"),
        "--cooldown",
        "2s",
        "--record",
        &to,
        "--rec",
        &recorder().to_string_lossy(),
    ]);
    // 1: an act was not done, 3: with loss; the check then says which.
    assert!(matches!(ran.code, Some(0 | 1 | 3)), "{}", both(&ran));
    let verified = finish(&["verify", &to, "--json"]);
    assert!(
        matches!(verified.code, Some(0 | 1 | 3)),
        "{}\n{}",
        both(&ran),
        both(&verified)
    );
    if batch.contains(&"noop") {
        what_did_not_happen_is_named(&to);
    }
    let json = verified.json();
    let acts = json["acts"].as_array().unwrap();
    batch
        .iter()
        .filter_map(|class| {
            let shown = acts.iter().find(|act| act["class"] == *class);
            let reason = match shown {
                Some(act) => why_not(act)?,
                None => format!("no label\n{}", both(&ran)),
            };
            Some((*class, reason))
        })
        .collect()
}

/// `None`: it was done, and all that it promises moved.
fn why_not(act: &serde_json::Value) -> Option<String> {
    if act["outcome"] != "done" {
        return Some(act["outcome"].to_string());
    }
    if act["marked"] != true {
        return Some("its start and stop are no marks of the trace".into());
    }
    let still: Vec<String> = act["signals"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|moved| moved["promised"] == true && moved["moved"] != true)
        .map(ToString::to_string)
        .collect();
    (!still.is_empty()).then(|| still.join(" "))
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
    let named = verified
        .stderr
        .lines()
        .filter(|line| line.contains(": noop in "))
        .count();
    assert_eq!(named, 2, "{}", both(&verified));
}

fn both(ended: &Ended) -> String {
    format!("{}{}", ended.stdout, ended.stderr)
}
