//! `replay diff`: what two sets of rules find differently in the same traces.

use replay::{
    findings::Finding,
    pipeline::{Pipeline, Settings},
    rules::RuleSet,
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::PathBuf};

use super::rule_files::{self, RuleFiles, Selection};
use crate::{
    Global, Outcome,
    output::Output,
    trace::{self, TraceArguments},
};

/// Differences kept until their trace ends; past it, they are only counted.
const DIFFERENCES_MAX: usize = 100_000;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pub traces: TraceArguments,
    /// Rule file of the first set; may be repeated. Without any: the shipped rules
    #[arg(long, value_name = "FILE")]
    pub old: Vec<PathBuf>,
    /// Rule file of the second set; may be repeated. Without any: the shipped rules
    #[arg(long, value_name = "FILE")]
    pub new: Vec<PathBuf>,
    /// Put the shipped rules before the files of both sets
    #[arg(long)]
    pub default_rules: bool,
}

pub fn run(arguments: &Arguments, global: Global) -> anyhow::Result<Outcome> {
    let load = |files: &[PathBuf]| {
        let files = RuleFiles {
            rules: files.to_vec(),
            no_default_rules: !arguments.default_rules && !files.is_empty(),
        };
        rule_files::load(&files, &Selection::default(), global)
    };
    let rules = [load(&arguments.old)?, load(&arguments.new)?];
    let mut out = Output::new();
    let mut current: Option<Pair> = None;
    let mut summary = Summary::default();
    let condition = trace::read_all(
        &arguments.traces,
        None,
        true,
        global,
        |input, chunk, condition| {
            if !condition.goes_on
                && let Some(ended) = current.take()
            {
                ended.finish(&mut out, &mut summary, global.json)?;
            }
            let pair = current.get_or_insert_with(|| Pair::new(&rules));
            let number = chunk.header.number;
            if let Some(events) = trace::decoded(input, number, chunk.events(), condition) {
                // Events share their columns: the second decoding is cheaper than copying them.
                pair.pipelines[0].push_decoded(events);
                pair.pipelines[1].push(chunk)?;
            }
            pair.compare();
            Ok(true)
        },
    )?;
    if let Some(last) = current {
        last.finish(&mut out, &mut summary, global.json)?;
    }
    out.flush()?;
    condition.report(global);
    if global.json {
        let line = json!({
            "same": summary.same,
            "gone": summary.gone,
            "new": summary.new,
            "not_shown": summary.not_shown,
        });
        eprintln!("{line}");
    } else if !global.quiet {
        eprintln!(
            "{} findings are the same, {} are gone, {} are new",
            summary.same, summary.gone, summary.new
        );
        if summary.not_shown > 0 {
            eprintln!(
                "replay: {} differences over a limit are not shown",
                summary.not_shown
            );
        }
    }
    Ok(condition.outcome())
}

#[derive(Default)]
struct Summary {
    same: u64,
    gone: u64,
    new: u64,
    not_shown: u64,
}

/// What makes a finding of one set that of the other: what it says about which event. What was left out
/// before it, and which story it belongs to, is not its own.
type Key = (u64, String);

/// Both sets over one trace.
struct Pair {
    pipelines: [Pipeline; 2],
    /// Findings of one set that the other has not had: how many more the second had.
    open: BTreeMap<Key, (i64, Finding)>,
    same: u64,
    not_shown: u64,
}

impl Pair {
    fn new(rules: &[RuleSet; 2]) -> Pair {
        let pipeline = |rules: &RuleSet| {
            Pipeline::new(Settings {
                rules: Some(rules.clone()),
                ..Settings::default()
            })
        };
        Pair {
            pipelines: [pipeline(&rules[0]), pipeline(&rules[1])],
            open: BTreeMap::new(),
            same: 0,
            not_shown: 0,
        }
    }

    fn compare(&mut self) {
        for (pipeline, sign) in self.pipelines.iter_mut().zip([-1, 1]) {
            for finding in pipeline.findings() {
                let mut plain = finding.clone();
                (plain.suppressed, plain.rate_limited, plain.incident) = (0, 0, 0);
                let key = (finding.boot_ns, plain.to_json());
                if let Some((count, _)) = self.open.get_mut(&key) {
                    if count.signum() == -sign {
                        self.same += 1;
                    }
                    *count += sign;
                    if *count == 0 {
                        self.open.remove(&key);
                    }
                } else if self.open.len() < DIFFERENCES_MAX {
                    self.open.insert(key, (sign, finding));
                } else {
                    self.not_shown += 1;
                }
            }
            // Stories are not compared.
            pipeline.incidents().for_each(drop);
        }
    }

    fn finish(
        mut self,
        out: &mut Output,
        summary: &mut Summary,
        as_json: bool,
    ) -> anyhow::Result<()> {
        for pipeline in &mut self.pipelines {
            pipeline.finish();
        }
        self.compare();
        summary.same += self.same;
        summary.not_shown += self.not_shown;
        for (count, finding) in self.open.values() {
            let gone = *count < 0;
            let many = count.unsigned_abs();
            match gone {
                true => summary.gone += many,
                false => summary.new += many,
            }
            let line = match as_json {
                true => {
                    let mut line = serde_json::to_value(finding)?;
                    line["change"] = Value::from(if gone { "gone" } else { "new" });
                    line.to_string()
                }
                false => {
                    let sign = if gone { "- " } else { "+ " };
                    let text = finding.to_text();
                    let lines: Vec<String> =
                        text.lines().map(|line| format!("{sign}{line}")).collect();
                    lines.join("\n")
                }
            };
            for _ in 0..many {
                out.line(&line)?;
            }
        }
        Ok(())
    }
}
