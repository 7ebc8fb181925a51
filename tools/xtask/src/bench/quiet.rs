//! How many findings does an hour of normal work cost? A campaign without anomalies (every normal workload,
//! hard negatives in half of the containers, `noop`) is recorded, and what is found in its containers counted:
//! by the shipped rules and the statistics together, and by Falco's stock rules, whose alerts have to be
//! explained one by one in [`EXPLAINED`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{campaign, report};
use crate::repo;

#[derive(clap::Args)]
pub struct Args {
    /// Length of the work, in minutes of trace time
    #[arg(long, default_value_t = 60)]
    minutes: u32,
    #[arg(long, default_value_t = 40)]
    containers: u32,
    /// The plan's seed: another one is another campaign
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// docker or sandbox, instead of the first that works
    #[arg(long, value_parser = ["docker", "sandbox"])]
    runtime: Option<String>,
    /// Falco's stock rules, judged apart
    #[arg(long, value_name = "FILE")]
    stock: Option<PathBuf>,
    /// Judge what an earlier run has recorded there, instead of recording
    #[arg(long, value_name = "DIR", conflicts_with_all = ["runtime", "seed", "minutes", "containers"])]
    recorded: Option<PathBuf>,
}

/// Findings at warning or above that a container-hour may cost.
const PER_HOUR_MAX: f64 = 1.0;
const LOUD: [&str; 5] = ["warning", "error", "critical", "alert", "emergency"];

/// Alerts of stock rules that normal work raises, and what of it does.
const EXPLAINED: &[(&str, &str)] = &[(
    "Clear Log Activities",
    "the hard negative `log_rotation` copies logs to new files below /var/log, which it opens with O_TRUNC: the \
     rule takes every such open there",
)];

/// Half of the containers do something out of the ordinary for one to five minutes.
fn config(args: &Args) -> String {
    format!(
        "[general]\ncontainers = {}\nanomaly_ratio = 0\nnoop_ratio = 0.05\nhard_negative_ratio = 0.5\n\
         duration = {}m\nwarmup = 30s\ncooldown = 5s\n\n[hard_negatives]\nduration = 60s..300s\n",
        args.containers, args.minutes
    )
}

pub fn run(args: &Args, inject: &Path, replay: &Path, work: &Path) -> Result<String> {
    let directory = match &args.recorded {
        Some(directory) => directory.clone(),
        None => record(args, inject, &work.join("quiet"))?,
    };
    let run = Run::read(&directory)?;
    let trace = directory.join("trace.zst");
    let info = trace_format::read_info(&trace).with_context(|| format!("{}", trace.display()))?;
    let own = detect(replay, &trace, &[])?;
    let own = run.judge(&own);
    let mut text = report::machine()? + "\n\n";
    text += &format!(
        "{} containers with every normal workload, {} hard negatives and {} noops among them, for {:.0} s of trace \
         time: **{:.1} container-hours**. {} events, {} of {} dropped.\n\n",
        run.containers.len(),
        run.acts("hard_negative"),
        run.acts("noop"),
        run.seconds,
        run.container_hours(),
        info.summary.rows,
        info.summary.loss.dropped,
        info.summary.loss.seen,
    );
    let loud = own.values().map(|count| count.loud).sum::<usize>();
    let per_hour = loud as f64 / run.container_hours();
    text += &format!(
        "Shipped rules and statistics: **{per_hour:.2} findings at warning or above per container-hour** ({loud} in all; \
         promised is at most {PER_HOUR_MAX}: {}).\n\n{}",
        if per_hour <= PER_HOUR_MAX {
            "held"
        } else {
            "not held"
        },
        table(&own, &run)
    );
    let mut unexplained = Vec::new();
    if let Some(stock) = &args.stock {
        let stock = stock.display().to_string();
        let options = ["--no-default-rules", "--no-statistics", "--rules", &stock];
        let found = run.judge(&detect(replay, &trace, &options)?);
        text += "\nFalco's stable stock rules, unmodified:\n\n";
        if found.is_empty() {
            text += "No alert.\n";
        }
        for (rule, count) in &found {
            let why = EXPLAINED.iter().find(|known| known.0 == rule);
            let why = why.map_or("**not explained**", |known| known.1);
            text += &format!("* {rule}: {} alerts; {why}.\n", count.all);
            if why.starts_with("**") {
                unexplained.push(rule.clone());
            }
        }
    }
    if !unexplained.is_empty() || per_hour > PER_HOUR_MAX {
        println!("{text}");
    }
    if !unexplained.is_empty() {
        bail!("alerts of stock rules that nobody has explained: {unexplained:?}");
    }
    if per_hour > PER_HOUR_MAX {
        bail!("{per_hour:.2} findings at warning or above per container-hour");
    }
    Ok(text)
}

/// Records the campaign; where.
fn record(args: &Args, inject: &Path, directory: &Path) -> Result<PathBuf> {
    if directory.exists() {
        fs::remove_dir_all(directory)
            .with_context(|| format!("cannot clear {}", directory.display()))?;
    }
    let config_path = directory.with_extension("ini");
    fs::write(&config_path, config(args))
        .with_context(|| format!("cannot write {}", config_path.display()))?;
    campaign::listen();
    let mut command = repo::command(inject);
    command
        .args(["campaign", "--json", "--seed", &args.seed.to_string()])
        .arg("--config")
        .arg(&config_path)
        .arg("--record")
        .arg(directory)
        .args(args.runtime.as_ref().map(|runtime| format!("--{runtime}")));
    let (outcome, _) = campaign::watch(&mut command)?;
    if campaign::interrupted() {
        bail!(
            "interrupted: what was recorded is in {}",
            directory.display()
        );
    }
    let path = directory.join("outcome.json");
    fs::write(&path, outcome.to_string())
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(directory.to_owned())
}

/// What `inject` says that it did.
struct Run {
    /// Name by id.
    containers: BTreeMap<String, String>,
    seconds: f64,
    outcome: Value,
    /// Class by container id.
    classes: BTreeMap<String, String>,
}

#[derive(Default)]
struct Count {
    all: usize,
    loud: usize,
    /// Classes of the containers in which it came.
    classes: BTreeSet<String>,
}

impl Run {
    fn read(directory: &Path) -> Result<Run> {
        let json = |name: &str| -> Result<Value> {
            let path = directory.join(name);
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))
        };
        let (outcome, plan) = (json("outcome.json")?, json("plan.json")?);
        let mut run = Run {
            containers: BTreeMap::new(),
            seconds: plan["total_ms"].as_f64().unwrap_or(0.0) / 1000.0,
            outcome,
            classes: BTreeMap::new(),
        };
        for container in campaign::list(&run.outcome, "containers") {
            let text = |key: &str| container[key].as_str().unwrap_or_default().to_owned();
            run.containers.insert(text("id"), text("name"));
        }
        for act in campaign::list(&run.outcome, "acts") {
            let text = |key: &str| act[key].as_str().unwrap_or_default().to_owned();
            run.classes.insert(text("container_name"), text("class"));
        }
        if run.containers.is_empty() || run.seconds == 0.0 {
            bail!("{} names no containers or no time", directory.display());
        }
        Ok(run)
    }

    fn container_hours(&self) -> f64 {
        self.containers.len() as f64 * self.seconds / 3600.0
    }

    fn acts(&self, kind: &str) -> usize {
        let acts = campaign::list(&self.outcome, "acts").iter();
        acts.filter(|act| act["kind"] == kind).count()
    }

    /// Findings in the campaign's containers, also under a name that was given anew, by rule.
    fn judge(&self, findings: &[Value]) -> BTreeMap<String, Count> {
        let names: BTreeSet<&str> = self.containers.values().map(String::as_str).collect();
        let mut counts: BTreeMap<String, Count> = BTreeMap::new();
        for finding in findings {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let container = &finding["container"];
            let (id, name) = (text(&container["id"]), text(&container["name"]));
            if !self.containers.contains_key(&id) && !names.contains(name.as_str()) {
                continue;
            }
            let count = counts.entry(text(&finding["rule"])).or_default();
            count.all += 1;
            count.loud += usize::from(LOUD.contains(&finding["severity"].as_str().unwrap_or("")));
            // A sandbox gives its containers ids only.
            let name = self.containers.get(&id).unwrap_or(&name);
            let class = self.classes.get(name).cloned();
            count
                .classes
                .insert(class.unwrap_or_else(|| "–".to_owned()));
        }
        counts
    }
}

fn table(counts: &BTreeMap<String, Count>, run: &Run) -> String {
    let mut text = "| rule or metric | findings | at warning or above | per container-hour | in containers with |\n|---|---|---|---|---|\n".to_owned();
    for (rule, count) in counts {
        let classes: Vec<&str> = count.classes.iter().map(String::as_str).collect();
        text += &format!(
            "| {rule} | {} | {} | {:.2} | {} |\n",
            count.all,
            count.loud,
            count.all as f64 / run.container_hours(),
            classes.join(", ")
        );
    }
    text
}

/// All findings, as `replay` prints them.
fn detect(replay: &Path, trace: &Path, options: &[&str]) -> Result<Vec<Value>> {
    let output = repo::command(replay)
        .args(["detect", "--json"])
        .args(options)
        .arg(trace)
        .stderr(Stdio::piped())
        .output()
        .context("cannot start replay")?;
    // 3: events were lost, which the text says.
    if !matches!(output.status.code(), Some(0 | 3)) {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("replay detect ended with {}: {said}", output.status);
    }
    let lines = String::from_utf8(output.stdout).context("replay's output is no text")?;
    let findings = lines.lines().map(serde_json::from_str);
    findings
        .collect::<Result<_, _>>()
        .context("a line of replay detect is no JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_counted_where_the_campaign_worked_and_nowhere_else() {
        let run = Run {
            containers: [("id1".to_owned(), "app-1".to_owned())].into(),
            seconds: 1800.0,
            outcome: serde_json::json!({ "acts": [{ "kind": "noop" }] }),
            classes: [("app-1".to_owned(), "noop".to_owned())].into(),
        };
        let finding = |id: &str, name: &str, severity: &str| {
            serde_json::json!({
                "rule": "r", "severity": severity, "container": { "id": id, "name": name }
            })
        };
        let counts = run.judge(&[
            finding("id1", "app-1", "notice"),
            finding("id1", "app-1", "critical"),
            // Started again under its name.
            finding("id2", "app-1", "warning"),
            finding("id3", "else", "critical"),
        ]);
        let count = &counts["r"];
        assert_eq!((count.all, count.loud), (3, 2));
        assert_eq!(count.classes.iter().collect::<Vec<_>>(), ["noop"]);
        assert_eq!(run.container_hours(), 0.5);
        assert_eq!((run.acts("noop"), run.acts("hard_negative")), (1, 0));
    }
}
