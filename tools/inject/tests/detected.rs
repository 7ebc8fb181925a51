//! Promise: what a rule can see of an anomaly it finds while it goes on, in the default profile, and hard
//! negatives, `noop` and normal work raise nothing above notice.
//!
//! Records real acts in the sandbox with the recorder of this build and runs the shipped rules over the
//! trace. The table names every class, so that a new one has to be thought about. How many seconds of
//! trace time a rule took is printed and not asserted: a busy machine starves the acts themselves. For the
//! same reason only a few act at a time.

mod support;

use std::{collections::BTreeMap, fs, path::PathBuf, process::Command};

use serde_json::Value;
use support::{finish, no_sandbox, skip};

/// Who finds a class.
enum By {
    /// One of these rules.
    Rules(&'static [&'static str]),
    /// No rule: what it does is a level or a rate of resources. The statistics' tests have it.
    Statistics,
    /// Nothing yet, and why.
    Nobody(&'static str),
}
use By::*;

const TABLE: &[(&str, By)] = &[
    ("cpu_hog", Statistics),
    ("mem_leak", Statistics),
    (
        "oom_kill",
        Rules(&["Process killed in a container that goes on"]),
    ),
    ("fork_storm", Rules(&["Many tasks started in a container"])),
    (
        "thread_storm",
        Rules(&["Many tasks started in a container"]),
    ),
    ("fd_leak", Rules(&["Many descriptors open in a process"])),
    (
        "disk_fill",
        Nobody(
            "standard does not record writes one by one, and a tmpfs is no disk to the statistics",
        ),
    ),
    (
        "io_storm",
        Nobody(
            "standard counts fsync and does not record it, and a tmpfs is no disk to the statistics",
        ),
    ),
    ("inode_storm", Rules(&["Many files removed in a container"])),
    ("crash_loop", Rules(&["Programs crash in a container"])),
    (
        "mass_encrypt",
        Rules(&["Many files renamed by a suffix in a container"]),
    ),
    ("mass_delete", Rules(&["Many files removed in a container"])),
    (
        "log_wipe",
        Rules(&[
            "Log file cleared",
            "Log file cut off by its path",
            "Log file removed",
        ]),
    ),
    (
        "cred_read",
        Rules(&[
            "Password or privilege file read",
            "Private key read",
            "Cloud credentials read",
            "Service account token read",
        ]),
    ),
    (
        "drop_exec",
        Rules(&["Program written and run in a container"]),
    ),
    ("fileless_exec", Rules(&["Program run from memory"])),
    (
        "shell_from_service",
        Rules(&[
            "Shell with an unusual parent in a container",
            "Shell started by a server",
        ]),
    ),
    (
        "reverse_shell",
        Rules(&["Standard stream moved to a network connection in a container"]),
    ),
    ("port_scan", Rules(&["Many ports tried by a container"])),
    (
        "host_sweep",
        Rules(&["Many addresses tried by a container"]),
    ),
    ("conn_flood", Rules(&["Connection flood from a container"])),
    ("dns_tunnel", Rules(&["Many names asked by a container"])),
    (
        "exfil",
        Nobody("standard does not record what is sent, one connection of many megabytes"),
    ),
    (
        "beacon",
        Nobody(
            "one connection every few seconds; only its regularity tells, which no rule measures",
        ),
    ),
    (
        "miner_like",
        Rules(&["Connection to a mining pool's port from a container"]),
    ),
    (
        "priv_esc",
        Rules(&[
            "Program written and run in a container",
            "Process became root in a container",
        ]),
    ),
    (
        "ns_escape",
        Rules(&[
            "Namespace entered from a container",
            "New namespaces in a container",
        ]),
    ),
    (
        "ptrace_inject",
        Rules(&["Process memory or registers taken over in a container"]),
    ),
    (
        "kernel_tamper",
        Rules(&["Kernel module loaded from a container"]),
    ),
    (
        "persistence",
        Rules(&["Persistence file written in a container"]),
    ),
    ("sniff", Rules(&["Packet socket opened in a container"])),
    ("ipc_abuse", Rules(&["Signal flood in a container"])),
];

/// What has to stay quiet, beside `noop` and the containers in which nothing is ordered.
const HARD_NEGATIVES: [&str; 10] = [
    "package_install",
    "tar_backup",
    "log_rotation",
    "image_build",
    "jvm_start",
    "load_test",
    "cron_job",
    "db_checkpoint",
    "container_restart",
    "image_deploy",
];

const WORKLOADS: &str = "web,key_value,database,batch,messages,idle";
/// Acts at the same time: two cores do this many at their own pace.
const TOGETHER: usize = 6;
const SECOND_NS: f64 = 1e9;
/// Notice is the third of the eight severities.
const QUIET: [&str; 3] = ["debug", "informational", "notice"];

struct Act {
    container: String,
    start_ns: u64,
    outcome: String,
}

#[derive(Default)]
struct Run {
    acts: BTreeMap<String, Act>,
    findings: Vec<Value>,
}

fn beside(program: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_BIN_EXE_inject"));
    path.with_file_name(program)
}

/// Records these classes at the same time, each in a container, and detects in the trace.
fn record(classes: &[&str]) -> Run {
    let directory = tempfile::tempdir().unwrap();
    let labelled = directory.path().join("labelled").display().to_string();
    let rec = beside("rec").display().to_string();
    let ended = finish(&[
        "run",
        &classes.join(","),
        "--together",
        "--sandbox",
        "--duration",
        "6s",
        "--warmup",
        "2s",
        "--background",
        "1",
        "--workload",
        WORKLOADS,
        "--seed",
        "7",
        "--record",
        &labelled,
        "--rec",
        &rec,
    ]);
    assert!(
        matches!(ended.code, Some(0 | 3)),
        "{:?} {}",
        ended.code,
        ended.stderr
    );
    let labels = fs::read_to_string(format!("{labelled}/labels.jsonl")).unwrap();
    let acts = labels.lines().map(|line| {
        let label: Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| label[key].as_str().unwrap_or_default().to_owned();
        let start_ns = label["start_boot_ns"].as_u64();
        let start_ns = start_ns
            .or_else(|| text("start_boot_ns").parse().ok())
            .unwrap();
        let act = Act {
            container: text("container_id"),
            start_ns,
            outcome: text("outcome"),
        };
        (text("class"), act)
    });
    let acts = acts.collect();
    // `cargo test` is an ancestor of everything here, and what build tools start is left alone.
    let tools = directory.path().join("tools.yaml");
    fs::write(&tools, "- list: build_tools\n  items: [make, gcc, npm]\n").unwrap();
    let output = Command::new(beside("replay"))
        .args(["detect", "--json", "--no-statistics", "--rules"])
        .arg(&tools)
        .arg(format!("{labelled}/trace.zst"))
        .output()
        .unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    Run {
        acts,
        findings: lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect(),
    }
}

#[test]
fn every_class_is_found_by_whom_the_table_says_and_the_rest_is_quiet() {
    let reason = no_sandbox().or_else(|| {
        let missing = ["rec", "replay"]
            .into_iter()
            .find(|program| !beside(program).exists());
        missing.map(|program| format!("no {program} beside inject: build the workspace"))
    });
    if let Some(reason) = reason {
        return skip(&reason);
    }
    let check = Command::new(beside("rec")).arg("check").output().unwrap();
    if !check.status.success() {
        return skip("rec check says that this kernel cannot be recorded");
    }
    let listed = finish(&["list", "--json"]).json();
    let named = TABLE.iter().map(|row| row.0);
    let named: Vec<&str> = named.chain(HARD_NEGATIVES).chain(["noop"]).collect();
    let listed = listed["classes"].as_array().unwrap();
    for class in listed {
        let name = class["name"].as_str().unwrap();
        assert!(named.contains(&name), "{name} is not in the table");
    }
    assert_eq!(
        listed.len(),
        named.len(),
        "the table names what is no class"
    );

    let classes: Vec<&str> = TABLE.iter().map(|row| row.0).collect();
    let mut wrong = Vec::new();
    let quiet = [&HARD_NEGATIVES[..], &["noop"]].concat();
    let parts = classes.chunks(TOGETHER).chain(quiet.chunks(TOGETHER));
    for part in parts {
        let run = record(part);
        for class in part {
            let act = run
                .acts
                .get(*class)
                .unwrap_or_else(|| panic!("no label of {class}"));
            if act.outcome != "done" {
                wrong.push(format!("{class}: {}", act.outcome));
                continue;
            }
            let of = run
                .findings
                .iter()
                .filter(|finding| finding["container"]["id"] == act.container.as_str());
            let at = |finding: &&Value| {
                (finding["boot_ns"].as_u64().unwrap() as f64 - act.start_ns as f64) / SECOND_NS
            };
            match TABLE.iter().find(|row| row.0 == *class) {
                Some((_, Rules(rules))) => {
                    let hits = of
                        .clone()
                        .filter(|finding| rules.iter().any(|rule| finding["rule"] == *rule));
                    let first = hits.map(|finding| at(&finding)).find(|at| *at >= 0.0);
                    eprintln!("{class:20} rules, {first:?} s");
                    if first.is_none() {
                        wrong.push(format!("{class}: none of {rules:?}"));
                    }
                }
                Some((_, Statistics)) => eprintln!("{class:20} statistics"),
                Some((_, Nobody(why))) => eprintln!("{class:20} nobody: {why}"),
                None => {
                    let loud = of
                        .clone()
                        .filter(|finding| !QUIET.contains(&finding["severity"].as_str().unwrap()));
                    for finding in loud {
                        wrong.push(format!("{class}: {finding}"));
                    }
                    eprintln!("{class:20} quiet");
                }
            }
        }
        let ordered: Vec<&str> = run
            .acts
            .values()
            .map(|act| act.container.as_str())
            .collect();
        for finding in &run.findings {
            let id = finding["container"]["id"].as_str().unwrap_or_default();
            let loud = !QUIET.contains(&finding["severity"].as_str().unwrap());
            if loud && !id.is_empty() && !ordered.contains(&id) {
                wrong.push(format!("a container at normal work: {finding}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
