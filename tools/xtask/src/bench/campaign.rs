//! A whole campaign, recorded: do all acts end as planned, does the trace show them, what does it take,
//! is everything gone afterwards? And does the host stay responsive beside the hardest one?
//!
//! Ctrl-C ends the injector in good order first: it removes its containers, the recorder finishes the
//! trace, and nothing is written to the documentation.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{report, responsive};
use crate::repo;

#[derive(clap::Args)]
pub struct Args {
    /// Containers; as shipped: 40
    #[arg(long)]
    containers: Option<u32>,
    /// Length of the campaign, such as 1m; as shipped: 10m
    #[arg(long)]
    duration: Option<String>,
    /// Normal work before it; as shipped: 60s
    #[arg(long)]
    warmup: Option<String>,
    /// The plan's seed: another one is another campaign
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// docker or sandbox, instead of the first that works
    #[arg(long, value_parser = ["docker", "sandbox"])]
    runtime: Option<String>,
    /// Pairs of measurements of the host's task, without and with the hardest campaign; 0: leave it out
    #[arg(long, default_value_t = 4)]
    rounds: u32,
}

/// How often the campaign is looked at.
const LOOK: Duration = Duration::from_millis(500);

static ASKED: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_: libc::c_int) {
    ASKED.store(true, Ordering::SeqCst);
}

/// From here on Ctrl-C and SIGTERM are noted instead of ending this process.
pub(super) fn listen() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler only stores to an atomic.
        unsafe { libc::signal(signal, note as *const () as libc::sighandler_t) };
    }
}

pub fn interrupted() -> bool {
    ASKED.load(Ordering::SeqCst)
}

/// Starts an injector apart from the terminal's Ctrl-C, which is passed on once: a second one would end it
/// without order. It is told to end, too, should this process be gone.
pub fn spawn(command: &mut Command) -> Result<Child> {
    command.process_group(0);
    repo::ends_with_us(command, libc::SIGINT)
        .spawn()
        .context("cannot start inject")
}

pub fn ask_to_end(child: &Child) {
    // SAFETY: plain numbers; the child has not been waited for, so its pid is still its own.
    unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
}

pub fn run(args: &Args, inject: &Path, work: &Path) -> Result<String> {
    listen();
    let mut text = report::machine()? + "\n\n";
    if args.rounds > 0 {
        let found = responsive::measure(inject, args.runtime.as_deref(), args.rounds)?;
        text += &format!(
            "A task of some milliseconds on the host (it computes and lists a directory), alone and beside six \
             containers at full intensity, {} times in turn. Median and its 95 % interval.\n\n{}\n",
            args.rounds,
            found.table()
        );
    }
    text += &recorded(args, inject, &work.join("campaign"))?;
    Ok(text)
}

/// The campaign with a recorder around it, as a table.
fn recorded(args: &Args, inject: &Path, directory: &Path) -> Result<String> {
    if directory.exists() {
        fs::remove_dir_all(directory)
            .with_context(|| format!("cannot clear {}", directory.display()))?;
    }
    let mut command = repo::command(inject);
    command
        .args(["campaign", "--json", "--seed", &args.seed.to_string()])
        .arg("--record")
        .arg(directory)
        .args(args.runtime.as_ref().map(|runtime| format!("--{runtime}")));
    for (option, value) in [
        (
            "--containers",
            &args.containers.map(|count| count.to_string()),
        ),
        ("--duration", &args.duration),
        ("--warmup", &args.warmup),
    ] {
        if let Some(value) = value {
            command.args([option, value]);
        }
    }
    let begun = Instant::now();
    let (outcome, peaks) = watch(&mut command)?;
    let seconds = begun.elapsed().as_secs_f64();
    if interrupted() {
        bail!(
            "interrupted: the containers are gone, what was recorded is in {}",
            directory.display()
        );
    }

    let trace = directory.join("trace.zst");
    let info = trace_format::read_info(&trace).with_context(|| format!("{}", trace.display()))?;
    let left = leftovers(&outcome);
    let mut text = format!(
        "`inject campaign --record` of {} containers in the {} runtime, {} s from the first container to the last \
         ({seconds:.0} s with building and removing them), seed {}. The trace is {}.\n\n| | measured |\n|---|---|\n",
        list(&outcome, "containers").len(),
        outcome["runtime"].as_str().unwrap_or("?"),
        planned_seconds(directory)?,
        args.seed,
        if info.complete {
            "complete"
        } else {
            "incomplete"
        },
    );
    let mut row = |name: &str, value: String| text += &format!("| {name} | {value} |\n");
    row("acts", by_outcome(&outcome));
    row("`inject verify`", verified(inject, directory)?);
    row(
        "marks in the trace",
        format!(
            "{} of {}",
            outcome["recorded"]["marks"],
            2 * list(&outcome, "acts").len()
        ),
    );
    row("events", info.summary.rows.to_string());
    row(
        "dropped",
        format!(
            "{} of {}",
            info.summary.loss.dropped, info.summary.loss.seen
        ),
    );
    row("trace", format!("{:.1} MiB", mib(info.file_bytes)));
    row(
        "memory, peak",
        format!(
            "injector {:.0} MiB, recorder {:.0} MiB, the whole machine {:.0} MiB more than before",
            mib(peaks.injector),
            mib(peaks.recorder),
            mib(peaks.machine)
        ),
    );
    row("left behind", left);
    Ok(text)
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}

pub(super) fn list<'a>(outcome: &'a Value, key: &str) -> &'a [Value] {
    outcome[key].as_array().map_or(&[], Vec::as_slice)
}

fn planned_seconds(directory: &Path) -> Result<u64> {
    let path = directory.join("plan.json");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let plan: Value = serde_json::from_str(&text)?;
    Ok(plan["total_ms"].as_u64().unwrap_or(0) / 1000)
}

/// `9 anomaly done, 2 noop done`: kinds and how they ended.
fn by_outcome(outcome: &Value) -> String {
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    for act in list(outcome, "acts") {
        let text = |key: &str| act[key].as_str().unwrap_or("?").replace('_', " ");
        let how = text("outcome");
        let how = how.split(':').next().unwrap_or_default().to_owned();
        *counts.entry((text("kind"), how)).or_default() += 1;
    }
    let parts: Vec<String> = counts
        .iter()
        .map(|((kind, how), count)| format!("{count} {kind} {how}"))
        .collect();
    parts.join(", ")
}

fn verified(inject: &Path, directory: &Path) -> Result<String> {
    let output = repo::command(inject)
        .args(["verify", "--json"])
        .arg(directory)
        .stderr(Stdio::piped())
        .output()
        .context("cannot start inject verify")?;
    let verified: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("inject verify ended with {} and no JSON", output.status))?;
    let acts = list(&verified, "acts").len();
    let said = String::from_utf8_lossy(&output.stderr);
    let failures: Vec<&str> = said
        .lines()
        .filter_map(|line| line.strip_prefix("not verified: "))
        .collect();
    Ok(match failures.len() {
        0 => format!("all {acts} acts show"),
        count => format!("{count} failures in {acts} acts: {}", failures.join("; ")),
    })
}

/// Bytes at most.
#[derive(Default)]
pub(super) struct Peaks {
    injector: u64,
    recorder: u64,
    machine: u64,
}

/// Runs it to its end, or to Ctrl-C; what it came to, and the memory meanwhile.
pub(super) fn watch(command: &mut Command) -> Result<(Value, Peaks)> {
    let available_before = available();
    let mut child = spawn(command.stdout(Stdio::piped()))?;
    let mut stdout = child.stdout.take().context("inject has no stdout")?;
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        stdout.read_to_end(&mut bytes).map(|_| bytes)
    });
    let mut peaks = Peaks::default();
    let mut told = false;
    let status = loop {
        if let Some(status) = child.try_wait().context("cannot wait for inject")? {
            break status;
        }
        if interrupted() && !told {
            ask_to_end(&child);
            told = true;
        }
        peaks.injector = peaks.injector.max(peak(child.id()));
        for pid in children(child.id()) {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            if name.trim() == "rec" {
                peaks.recorder = peaks.recorder.max(peak(pid));
            }
        }
        peaks.machine = peaks
            .machine
            .max(available_before.saturating_sub(available()));
        thread::sleep(LOOK);
    };
    let Ok(read) = reader.join() else {
        bail!("the reader of inject's output panicked");
    };
    let outcome = serde_json::from_slice(&read.context("cannot read inject's output")?)
        .with_context(|| format!("inject campaign ended with {status} and no JSON"))?;
    Ok((outcome, peaks))
}

/// A line of a file of /proc that gives kilobytes, in bytes.
fn kilobytes(path: &str, name: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| {
        rest.trim()
            .trim_end_matches(" kB")
            .trim()
            .parse::<u64>()
            .ok()
    })
    .unwrap_or(0)
        * 1024
}

fn peak(pid: u32) -> u64 {
    kilobytes(&format!("/proc/{pid}/status"), "VmHWM:")
}

fn available() -> u64 {
    kilobytes("/proc/meminfo", "MemAvailable:")
}

fn children(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    // Started by a thread, a child is listed with that thread.
    for task in fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let list = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        found.extend(
            list.split_whitespace()
                .filter_map(|pid| pid.parse::<u32>().ok()),
        );
    }
    found
}

/// What is still there of the campaign's containers, by their ids: other people's are not counted.
fn leftovers(outcome: &Value) -> String {
    let ids: Vec<&str> = list(outcome, "containers")
        .iter()
        .filter_map(|container| container["id"].as_str())
        .collect();
    let is_ours = |text: &str| ids.iter().any(|id| text.contains(id));
    let processes = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path().join("cgroup")).ok())
        .filter(|cgroups| is_ours(cgroups))
        .count();
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let cgroups: usize = mounts
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            (fields.get(2)?.starts_with("cgroup")).then(|| PathBuf::from(fields[1]))
        })
        .flat_map(|mount| {
            ["trailcam", "trailcam/docker", "docker", "system.slice"].map(|below| mount.join(below))
        })
        .filter_map(|directory| fs::read_dir(directory).ok())
        .flat_map(Iterator::flatten)
        .filter(|entry| is_ours(&entry.file_name().to_string_lossy()))
        .count();
    let containers = match outcome["runtime"] == "docker" {
        true => ids.iter().filter(|id| engine_knows(id)).count(),
        false => 0,
    };
    let mounted = mounts.lines().filter(|line| is_ours(line)).count();
    match processes + cgroups + containers + mounted {
        0 => "nothing: no process, cgroup, container or mount".to_owned(),
        _ => format!(
            "{processes} processes, {cgroups} cgroups, {containers} containers, {mounted} mounts"
        ),
    }
}

/// Asked at the engine's socket; an engine that does not answer knows nothing.
fn engine_knows(id: &str) -> bool {
    let host = std::env::var("DOCKER_HOST").unwrap_or_default();
    let socket = match host.strip_prefix("unix://") {
        Some(path) => path.to_owned(),
        None => "/var/run/docker.sock".to_owned(),
    };
    let ask = || -> std::io::Result<String> {
        let mut stream = UnixStream::connect(socket)?;
        // HTTP/1.0: the answer ends with the connection.
        write!(
            stream,
            "GET /containers/{id}/json HTTP/1.0\r\nHost: engine\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| {
        answer
            .lines()
            .next()
            .is_some_and(|line| line.contains(" 200 "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acts_are_counted_by_kind_and_ending() {
        let outcome = serde_json::json!({ "acts": [
            { "kind": "anomaly", "outcome": "done" },
            { "kind": "anomaly", "outcome": "killed: signal 9" },
            { "kind": "hard_negative", "outcome": "done" },
            { "kind": "anomaly", "outcome": "done" },
        ]});
        assert_eq!(
            by_outcome(&outcome),
            "2 anomaly done, 1 anomaly killed, 1 hard negative done"
        );
    }

    #[test]
    fn what_is_there_of_a_container_is_found() {
        // Every process is in some cgroup, and that of this one names no container of 64 zeros.
        let id = "0".repeat(64);
        let outcome = serde_json::json!({ "runtime": "sandbox", "containers": [{ "id": id }] });
        assert!(leftovers(&outcome).starts_with("nothing"));
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let part = own.lines().next().unwrap();
        let outcome = serde_json::json!({ "runtime": "sandbox", "containers": [{ "id": part }] });
        assert!(!leftovers(&outcome).starts_with("nothing"));
    }
}
