//! `cargo demo`: the whole system on real parts. Containers do normal work, four anomalies act in them,
//! the recorder records, a live watcher sees them happen; then detection re-reads the trace, a model is
//! trained on it and judges it. Where probes cannot be loaded, the same detection runs on a golden trace.

mod findings;
mod watch;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::repo;
use findings::Findings;
use watch::Watch;

#[derive(clap::Args)]
pub struct Args {
    /// Use the golden trace even where recording would work
    #[arg(long)]
    golden: bool,
}

/// With `noop`, which takes the same path and does nothing: the model must not learn the injector.
const CLASSES: &str = "cpu_hog,port_scan,cred_read,drop_exec,noop";
/// Together about 20 s of recording.
const TIMES: [&str; 6] = ["--warmup", "8s", "--duration", "10s", "--cooldown", "2s"];
/// Short windows, because 20 s hold too few of the usual 10 s to train on.
const WINDOW: &str = "2s";
const BTF: &str = "/sys/kernel/btf/vmlinux";

/// Exit codes that mean "done": 3 says with loss, 4 says with findings.
const DONE: [i32; 3] = [0, 3, 4];

pub fn main(args: &Args) -> Result<()> {
    let work = repo::target_dir()?.join("demo");
    if work.exists() {
        fs::remove_dir_all(&work).with_context(|| format!("cannot clear {}", work.display()))?;
    }
    fs::create_dir_all(&work)?;
    let programs = build()?;
    let demo = Demo { programs, work };
    match unable() {
        None if !args.golden => demo.live(),
        reason => demo.golden(reason.as_deref().unwrap_or("As asked")),
    }
}

/// The first build takes minutes and shows cargo's own progress; later ones a second.
fn build() -> Result<PathBuf> {
    step("Building rec, replay, inject and model");
    let mut cargo = repo::command(repo::cargo());
    cargo
        .args(["build", "--workspace", "--bins"])
        .current_dir(repo::root()?);
    repo::run(&mut cargo)?;
    Ok(repo::target_dir()?.join("debug"))
}

/// Why this machine cannot record, if so.
fn unable() -> Option<String> {
    if !repo::is_root() {
        return Some("Recording needs root: try `sudo -E cargo demo`".into());
    }
    if !Path::new(BTF).exists() {
        return Some(format!(
            "This kernel has no type information ({BTF} is missing)"
        ));
    }
    None
}

struct Demo {
    programs: PathBuf,
    work: PathBuf,
}

impl Demo {
    fn live(&self) -> Result<()> {
        step("What this kernel offers: rec check");
        self.done(self.program("rec").arg("check"))?;

        step("A recorder that serves live, and a watcher: rec live, replay live");
        let watch = Watch::start(self)?;

        step("Containers at normal work, four anomalies in them, recorded: inject run");
        let labeled = self.work.join("labeled/demo");
        fs::create_dir_all(&labeled)?;
        let mut inject = self.program("inject");
        inject
            .args(["run", CLASSES, "--together", "--record"])
            .arg(&labeled)
            .args(TIMES);
        self.done(&mut inject)?;
        let live_findings = watch.stop()?;
        let trace = labeled.join("trace.zst");

        step("What the live watcher found meanwhile");
        print!("{}", Findings::parse(&live_findings)?.by_rule());

        step("What is in the trace: replay info");
        self.done(self.program("replay").arg("info").arg(&trace))?;

        step("Detection on the trace, as often as you like: replay detect");
        let found = self.found(&[], &trace)?;
        print!("{}", found.by_rule());

        step("What was injected, and what was found there meanwhile");
        let labels =
            fs::read_to_string(labeled.join("labels.csv")).context("reading the labels")?;
        print!("{}", found.by_label(&labels)?);

        step("A model from the labelled run: model train, model eval");
        let model = self.work.join("demo.model");
        let mut train = self.program("model");
        train
            .arg("train")
            .arg(self.work.join("labeled"))
            .args(["--window", WINDOW, "--output"])
            .arg(&model);
        self.done(&mut train)?;
        let mut eval = self.program("model");
        eval.arg("eval")
            .arg("--model")
            .arg(&model)
            .arg(self.work.join("labeled"));
        self.done(&mut eval)?;

        step("The model as a detector: replay detect --model");
        let only_model = [
            "--no-default-rules",
            "--no-statistics",
            "--model",
            &model.to_string_lossy(),
        ];
        print!("{}", self.found(&only_model, &trace)?.by_label(&labels)?);
        println!(
            "\n(It judged the run it was trained on, so this shows the way, not its worth: docs/labeled-data.md says how to judge one.)"
        );
        self.next(&trace);
        Ok(())
    }

    fn golden(&self, reason: &str) -> Result<()> {
        step("A golden trace instead of a recording");
        println!("{reason}.\nDetection works the same on a trace that is made, not recorded:");
        let trace = self.work.join("golden.zst");
        fixtures::write_golden(&trace)
            .with_context(|| format!("cannot write {}", trace.display()))?;
        step("What is in the trace: replay info");
        self.done(self.program("replay").arg("info").arg(&trace))?;
        step("Detection: replay detect");
        print!("{}", self.found(&[], &trace)?.by_rule());
        self.next(&trace);
        Ok(())
    }

    fn program(&self, name: &str) -> Command {
        let mut command = repo::command(self.programs.join(name));
        // Not a group of its own: Ctrl-C ends everything, and everything cleans up after itself.
        command.stderr(Stdio::inherit());
        command
    }

    /// Runs one program of ours to its end, its output being ours.
    fn done(&self, command: &mut Command) -> Result<()> {
        let name = command.get_program().to_string_lossy().into_owned();
        let status = command
            .status()
            .with_context(|| format!("cannot start {name}"))?;
        if !status.code().is_some_and(|code| DONE.contains(&code)) {
            bail!("{name} ended with {status}");
        }
        Ok(())
    }

    fn found(&self, switches: &[&str], trace: &Path) -> Result<Findings> {
        let mut detect = self.program("replay");
        detect.args(["detect", "--json"]).args(switches).arg(trace);
        // Its summary, too, is JSON: for the eye there is the table.
        let out = detect
            .stderr(Stdio::piped())
            .output()
            .context("cannot start replay")?;
        if !out.status.code().is_some_and(|code| DONE.contains(&code)) {
            let said = String::from_utf8_lossy(&out.stderr);
            bail!("replay detect ended with {}: {said}", out.status);
        }
        Findings::parse(&String::from_utf8_lossy(&out.stdout))
    }

    fn next(&self, trace: &Path) {
        let trace = trace.display();
        let at = self.programs.display();
        step("What to try next");
        println!(
            "  export PATH={at}:$PATH\n  \
             replay cat {trace} | head                      # the events themselves\n  \
             replay cat --filter 'proc.name = sh' {trace}   # with a condition of the rule language\n  \
             replay detect --json {trace}                   # findings for a program\n  \
             replay export --format parquet -o events.parquet {trace}\n  \
             sudo rec capture --duration 10s                # your own containers\n  \
             inject list                                    # what can be injected"
        );
    }
}

fn step(title: &str) {
    println!("\n── {title}");
    let _ = std::io::stdout().flush();
}
