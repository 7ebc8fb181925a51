//! `replay tree`: the processes of a trace, each under the one that started it.

use replay::{
    findings::one_line,
    lives::{Life, Lives, ProcessLife},
    pipeline::Settings,
    time,
};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex},
};

use super::fold::fold;
use crate::{Global, Outcome, output::Output, trace::TraceArguments};

/// Processes shown of a trace: a day of a busy host. The others are counted.
const PROCESSES_MAX: usize = 1_000_000;
/// Levels that are indented; deeper ones stand under each other.
const INDENT_MAX: usize = 64;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pub traces: TraceArguments,
    /// Only this process, what started it, and what it started. May be given several times
    #[arg(long, value_name = "PID")]
    pub pid: Vec<u32>,
    /// Only processes of this container (name, id or its first 12 characters, or host), and what started
    /// them. May be given several times
    #[arg(long, value_name = "CONTAINER")]
    pub container: Vec<String>,
}

pub fn run(arguments: &Arguments, global: Global) -> anyhow::Result<Outcome> {
    let mut out = Output::new();
    let ended: Arc<Mutex<Vec<ProcessLife>>> = Arc::default();
    let for_detector = Arc::clone(&ended);
    let mut left_out = 0u64;
    let settings = move || {
        let ended = Arc::clone(&for_detector);
        Settings {
            detectors: vec![Box::new(Lives::new(true, false, move |life| {
                if let Life::Process(process) = life {
                    let mut ended = ended.lock().unwrap_or_else(|error| error.into_inner());
                    ended.push(*process);
                }
            }))],
            ..Settings::default()
        }
    };
    let mut processes: Vec<ProcessLife> = Vec::new();
    let (condition, _) = fold(&arguments.traces, true, global, settings, |_, last| {
        let mut ended = ended.lock().unwrap_or_else(|error| error.into_inner());
        let room = PROCESSES_MAX.saturating_sub(processes.len());
        left_out += ended.len().saturating_sub(room) as u64;
        processes.extend(ended.drain(..).take(room));
        if last {
            Tree::new(std::mem::take(&mut processes), arguments).print(&mut out, global.json)?;
        }
        Ok(())
    })?;
    out.flush()?;
    condition.report(global);
    if left_out > 0 && !global.quiet {
        eprintln!("replay: {left_out} processes over {PROCESSES_MAX} of a trace are left out");
    }
    Ok(condition.outcome())
}

/// The processes of one trace.
struct Tree {
    processes: Vec<ProcessLife>,
    /// By place in the list, in order of start.
    children: HashMap<usize, Vec<usize>>,
    roots: Vec<usize>,
    shown: BTreeSet<usize>,
}

impl Tree {
    fn new(mut processes: Vec<ProcessLife>, arguments: &Arguments) -> Tree {
        processes.sort_by_key(|process| (process.start_ns, process.pid));
        let mut by_identity: BTreeMap<(u32, u64), usize> = BTreeMap::new();
        for (at, process) in processes.iter().enumerate() {
            by_identity.insert((process.pid, process.start_ns), at);
        }
        let mut parents: Vec<Option<usize>> = Vec::new();
        for (at, process) in processes.iter().enumerate() {
            let exact = by_identity.get(&(process.ppid, process.parent_start_ns));
            // Where the parent's start is unknown: the last with that pid that began before.
            let before = || {
                by_identity
                    .range((process.ppid, 0)..=(process.ppid, process.start_ns))
                    .next_back()
                    .map(|(_, at)| at)
            };
            let parent = exact.or_else(before).copied();
            // Damage could make a process its own ancestor: parents come first in the list.
            parents.push(parent.filter(|parent| *parent < at));
        }
        let mut children: HashMap<usize, Vec<usize>> = HashMap::new();
        let mut roots = Vec::new();
        for (at, parent) in parents.iter().enumerate() {
            match parent {
                Some(parent) => children.entry(*parent).or_default().push(at),
                None => roots.push(at),
            }
        }
        let mut tree = Tree {
            processes,
            children,
            roots,
            shown: BTreeSet::new(),
        };
        tree.select(arguments, &parents);
        tree
    }

    /// The wanted ones with their ancestors; of wanted pids the descendants too.
    fn select(&mut self, arguments: &Arguments, parents: &[Option<usize>]) {
        let of_container = |process: &ProcessLife| {
            let place = &process.place;
            arguments.container.is_empty()
                || arguments.container.iter().any(|name| {
                    *name == place.container_name
                        || *name == place.container_id
                        || (name.len() >= 12 && place.container_id.starts_with(name.as_str()))
                        || (name == "host" && place.container_id.is_empty())
                })
        };
        // Parents stand before their children.
        let mut wanted = vec![false; self.processes.len()];
        for at in 0..self.processes.len() {
            let process = &self.processes[at];
            let below = parents[at].is_some_and(|parent| wanted[parent]);
            let by_pid = arguments.pid.is_empty() || arguments.pid.contains(&process.pid) || below;
            wanted[at] = by_pid && (of_container(process) || below && !arguments.pid.is_empty());
        }
        for (at, _) in wanted.iter().enumerate().filter(|(_, wanted)| **wanted) {
            let mut next = Some(at);
            while let Some(at) = next
                && self.shown.insert(at)
            {
                next = parents[at];
            }
        }
    }

    fn print(&self, out: &mut Output, as_json: bool) -> anyhow::Result<()> {
        // Depth first, without recursion: a shell bomb is thousands deep.
        let mut stack: Vec<(usize, usize)> = self.roots.iter().rev().map(|at| (*at, 0)).collect();
        while let Some((at, depth)) = stack.pop() {
            if self.shown.contains(&at) {
                let process = &self.processes[at];
                out.line(&match as_json {
                    true => to_json(process, depth),
                    false => to_text(process, depth),
                })?;
                if let Some(children) = self.children.get(&at) {
                    stack.extend(children.iter().rev().map(|child| (*child, depth + 1)));
                }
            }
        }
        Ok(())
    }
}

fn to_json(process: &ProcessLife, depth: usize) -> String {
    json!({
        "pid": process.pid,
        "start_ns": process.start_ns,
        "start": process.start_wall_ns.map(time::rfc3339),
        "ppid": process.ppid,
        "depth": depth,
        "comm": process.comm,
        "exe": process.exe,
        "command_line": process.command_line,
        "uid": process.uid,
        "container_id": process.place.container_id,
        "container_name": process.place.container_name,
        "image": process.place.image,
        "exec_ns": process.exec_ns,
        "exit_ns": process.exit_ns,
        "exit_code": process.exit_code,
        "exit_signal": process.exit_signal,
    })
    .to_string()
}

fn to_text(process: &ProcessLife, depth: usize) -> String {
    let command = match process.command_line.is_empty() {
        true => &process.comm,
        false => &process.command_line,
    };
    let mut line = format!(
        "{:indent$}{} {}",
        "",
        process.pid,
        one_line(command),
        indent = 2 * depth.min(INDENT_MAX)
    );
    if !process.place.container_id.is_empty() {
        line.push_str(&format!("  [{}]", one_line(process.place.label())));
    }
    if process.start_ns > 0 {
        let start = time::show(process.start_wall_ns, process.start_ns);
        line.push_str(&format!("  from {start}"));
    }
    if let Some(exit_ns) = process.exit_ns {
        if process.start_ns > 0 {
            let lived = exit_ns.saturating_sub(process.start_ns) as f64 / 1e9;
            line.push_str(&format!(" for {lived:.3} s"));
        }
        match (process.exit_signal, process.exit_code) {
            (Some(signal), _) => line.push_str(&format!(", killed by signal {signal}")),
            (None, Some(code)) if code != 0 => line.push_str(&format!(", exit code {code}")),
            _ => {}
        }
    }
    line
}
