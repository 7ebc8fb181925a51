//! Promise: every class of anomaly is found in the default profile, by whom the table says and in time, and
//! hard negatives, `noop` and normal work raise nothing above notice.
//!
//! Records real acts in the sandbox with the recorder of this build and runs the shipped rules and the
//! statistics over the trace. The table names every class, so that a new one has to be thought about; so do
//! the lists of hard negatives and workloads. Times are times of the trace: from the label's start, which
//! the injector takes just before the act. A busy machine starves acts, which then do less in a second
//! than their rule counts, so only a few act at a time, and a class that was missed acts once more alone.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;
use support::{finish, no_sandbox, skip};

/// Who finds a class, and how soon.
enum By {
    /// One of these rules, within a second of the first act.
    Rules(&'static [&'static str]),
    /// The same, but it takes so many seconds, for this reason.
    Slowly(&'static [&'static str], f64, &'static str),
    /// The statistics, by one of these: what it does is a level or a rate of resources.
    Statistics(&'static [&'static str]),
}
use By::*;

const TABLE: &[(&str, By)] = &[
    ("cpu_hog", Statistics(&["cpu_share"])),
    ("mem_leak", Statistics(&["memory"])),
    (
        "oom_kill",
        Slowly(
            &["Process killed for want of memory in a container"],
            5.0,
            "what is found is the kill, and the container's memory has to be filled before it",
        ),
    ),
    ("fork_storm", Rules(&["Many tasks started in a container"])),
    (
        "thread_storm",
        Rules(&["Many tasks started in a container"]),
    ),
    ("fd_leak", Rules(&["Many descriptors open in a process"])),
    ("disk_fill", Statistics(&["write_rate"])),
    ("io_storm", Statistics(&["sync_rate", "write_rate"])),
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
    // A rule knows how much was sent when the connection ends; meanwhile the rate tells.
    ("exfil", Statistics(&["send_rate"])),
    // 17 connections tell a period from chance: at full intensity they take four seconds.
    ("beacon", Statistics(&["connect_rhythm"])),
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

const WORKLOADS: [&str; 6] = ["web", "key_value", "database", "batch", "messages", "idle"];

/// Acts at the same time: two cores do this many at their own pace.
const TOGETHER: usize = 6;
const SECOND_NS: f64 = 1e9;
/// Of the processors' number: six containers with their acts are as many as two processors carry.
const BUSY_TIMES: f64 = 4.0;
/// In time, for rules and for statistics.
const RULES_S: f64 = 1.0;
const STATISTICS_S: f64 = 15.0;
/// Notice is the third of the eight severities.
const QUIET: [&str; 3] = ["debug", "informational", "notice"];

/// How acts are recorded: seconds of normal work before them, of their own, and how hard.
struct Manner {
    warmup_s: u32,
    seconds: u32,
    intensity: &'static str,
}

const FOR_RULES: Manner = Manner {
    warmup_s: 2,
    seconds: 5,
    intensity: "0.5",
};
/// Statistics know a container after some seconds.
const FOR_STATISTICS: Manner = Manner {
    warmup_s: 12,
    seconds: 16,
    intensity: "0.5",
};
/// At half intensity 17 beats take half a minute.
const FOR_RHYTHM: Manner = Manner {
    intensity: "1",
    ..FOR_STATISTICS
};
const FOR_QUIET: Manner = Manner {
    warmup_s: 10,
    seconds: 8,
    intensity: "0.5",
};

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
fn record(classes: &[&str], manner: &Manner) -> Run {
    let directory = tempfile::tempdir().unwrap();
    let labelled = directory.path().join("labelled").display().to_string();
    let ended = finish(&[
        "run",
        &classes.join(","),
        "--together",
        "--sandbox",
        "--duration",
        &format!("{}s", manner.seconds),
        "--warmup",
        &format!("{}s", manner.warmup_s),
        "--intensity",
        manner.intensity,
        "--background",
        "1",
        "--workload",
        &WORKLOADS.join(","),
        "--seed",
        "7",
        "--record",
        &labelled,
        "--rec",
        &beside("rec").display().to_string(),
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
    let output = Command::new(beside("replay"))
        .args(["detect", "--json"])
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

impl Run {
    fn of<'a>(&'a self, act: &'a Act) -> impl Iterator<Item = &'a Value> {
        let findings = self.findings.iter();
        findings.filter(|finding| finding["container"]["id"] == act.container.as_str())
    }

    /// What is wrong with how a class was found.
    fn fault(&self, class: &str, by: &By) -> Option<String> {
        let Some(act) = self.acts.get(class) else {
            return Some("no label".into());
        };
        if act.outcome != "done" {
            return Some(act.outcome.clone());
        }
        let (engine, names, limit_s) = match by {
            Rules(rules) => ("rules", rules, RULES_S),
            Slowly(rules, limit_s, _) => ("rules", rules, *limit_s),
            Statistics(metrics) => ("statistics", metrics, STATISTICS_S),
        };
        let at = |finding: &Value| {
            (finding["boot_ns"].as_u64().unwrap() as f64 - act.start_ns as f64) / SECOND_NS
        };
        let found = self.of(act).filter(|finding| {
            finding["engine"] == engine && names.iter().any(|name| finding["rule"] == *name)
        });
        let first = found.map(at).find(|at| *at >= 0.0);
        let (name, shown) = (format!("{class:20} {engine:10}"), limit_s);
        match first {
            Some(first) => eprintln!("{name} {first:6.3} s (at most {shown})"),
            None => eprintln!("{name} not found"),
        }
        match first {
            Some(first) if first <= limit_s => None,
            Some(first) => Some(format!("found after {first:.3} s, not within {limit_s}")),
            None => Some(format!("none of {names:?}")),
        }
    }

    /// Findings above notice of containers other than those that act on order.
    fn loud_beside(&self, acting: &[&str]) -> Vec<String> {
        let acting: BTreeSet<&str> = acting
            .iter()
            .filter_map(|class| Some(self.acts.get(*class)?.container.as_str()))
            .collect();
        let loud = self.findings.iter().filter(|finding| {
            let id = finding["container"]["id"].as_str().unwrap_or_default();
            let severity = finding["severity"].as_str().unwrap();
            !id.is_empty() && !acting.contains(id) && !QUIET.contains(&severity)
        });
        loud.map(Value::to_string).collect()
    }
}

/// Whether more wants to run here than the acts can share the processors with: then they do in a minute what
/// they do elsewhere in a second, and what a second shows cannot be seen.
fn busy() -> Option<String> {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: f64 = load.split(' ').next()?.parse().ok()?;
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (load > BUSY_TIMES * cpus as f64)
        .then(|| format!("{load} processes want to run on {cpus} processors"))
}

/// Why nothing can be recorded here.
fn obstacle() -> Option<String> {
    let missing = || {
        let programs = ["rec", "replay"];
        let missing = programs
            .into_iter()
            .find(|program| !beside(program).exists());
        missing.map(|program| format!("no {program} beside inject: build the workspace"))
    };
    let check = || {
        let check = Command::new(beside("rec")).arg("check").output().unwrap();
        let refused = !check.status.success();
        refused.then(|| "rec check says that this kernel cannot be recorded".to_owned())
    };
    no_sandbox().or_else(missing).or_else(check)
}

fn manner_of(by: &By) -> &'static Manner {
    match by {
        Statistics(["connect_rhythm"]) => &FOR_RHYTHM,
        Statistics(_) => &FOR_STATISTICS,
        Rules(_) | Slowly(..) => &FOR_RULES,
    }
}

/// Held by each test that records: every container of the machine is in the trace, also another test's.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn the_tables_name_every_class_and_workload() {
    let listed = finish(&["list", "--json"]).json();
    let names = |key: &str| -> BTreeSet<String> {
        let all = listed[key].as_array().unwrap().iter();
        all.map(|one| one["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let classes = TABLE.iter().map(|row| row.0);
    let named: BTreeSet<String> = classes
        .chain(HARD_NEGATIVES)
        .chain(["noop"])
        .map(str::to_owned)
        .collect();
    assert_eq!(names("classes"), named);
    assert_eq!(names("workloads"), WORKLOADS.map(str::to_owned).into());
}

#[test]
fn every_class_is_found_in_time_and_beside_it_all_is_quiet() {
    if let Some(reason) = obstacle() {
        return skip(&reason);
    }
    let _alone = alone();
    let manners = [&FOR_RULES, &FOR_STATISTICS, &FOR_RHYTHM];
    let (mut wrong, mut again) = (Vec::new(), Vec::new());
    for manner in manners {
        let rows = TABLE.iter();
        let rows: Vec<_> = rows
            .filter(|row| std::ptr::eq(manner_of(&row.1), manner))
            .collect();
        for part in rows.chunks(TOGETHER) {
            let classes: Vec<&str> = part.iter().map(|row| row.0).collect();
            let run = record(&classes, manner);
            let missed = part
                .iter()
                .copied()
                .filter(|row| run.fault(row.0, &row.1).is_some());
            again.extend(missed);
            wrong.extend(run.loud_beside(&classes));
        }
    }
    let mut missed = Vec::new();
    for (class, by) in again {
        if let Slowly(_, seconds, why) = by {
            eprintln!("{class} may take {seconds} s: {why}");
        }
        let (class, run) = (*class, record(&[class], manner_of(by)));
        if let Some(fault) = run.fault(class, by) {
            let seen: BTreeSet<String> = run.acts.get(class).map_or_else(BTreeSet::new, |act| {
                run.of(act)
                    .map(|finding| finding["rule"].to_string())
                    .collect()
            });
            missed.push(format!("{class}: {fault}; found were {seen:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    match busy() {
        Some(reason) if !missed.is_empty() => skip(&format!("{reason}: {}", missed.join("; "))),
        _ => assert!(missed.is_empty(), "{}", missed.join("\n")),
    }
}

#[test]
fn hard_negatives_and_noop_raise_nothing_above_notice() {
    if let Some(reason) = obstacle() {
        return skip(&reason);
    }
    let _alone = alone();
    let quiet = [&HARD_NEGATIVES[..], &["noop"]].concat();
    let mut wrong = Vec::new();
    for part in quiet.chunks(TOGETHER) {
        let run = record(part, &FOR_QUIET);
        for class in part {
            match run.acts.get(*class) {
                Some(act) if act.outcome == "done" => eprintln!("{class:20} done"),
                Some(act) => wrong.push(format!("{class}: {}", act.outcome)),
                None => wrong.push(format!("{class}: no label")),
            }
        }
        wrong.extend(run.loud_beside(&[]));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
