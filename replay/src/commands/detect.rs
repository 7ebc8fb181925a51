//! `replay detect`: rules, statistics and a trained model over traces; findings on standard output.
//!
//! Traces that have nothing to do with each other are folded beside each other, each by one thread; what they
//! say comes out in the order of the arguments.

use anyhow::{Context, bail};
use replay::{
    decode_ahead::THREADS_MAX, findings::Severity, source::Input, time::Point, walk::TimeRange,
};
use std::{
    num::NonZeroUsize,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        mpsc::{self, Receiver, Sender},
    },
    thread,
};
use trace_format::SealedChunk;

use super::{
    cat::{History, HowMuch},
    detect_fold::{Engines, Folding, Said, Say, Wanted},
    detect_report::Report,
    rule_files::{RuleFiles, Selection},
};
use crate::{
    Global, Outcome,
    trace::{self, Condition, TraceArguments},
};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pub traces: TraceArguments,
    #[command(flatten)]
    pub detection: Detection,
    /// Only findings from this time on: 2026-11-22T17:08:34Z, boot+1234.5, or 10s after the trace's start
    #[arg(long, value_name = "TIME")]
    pub from: Option<Point>,
    /// Only findings before this time
    #[arg(long, value_name = "TIME")]
    pub to: Option<Point>,
    /// Only findings of this container: its name, its id or the first 12 characters of it, or host. May be
    /// given several times
    #[arg(long, value_name = "CONTAINER")]
    pub container: Vec<String>,
    /// Threads that work together: one for each trace that looks for anomalies in it, others that decode files
    /// for them; what is found is the same for any number. Unless given: as many as there are CPUs, at most 16
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    #[command(flatten)]
    pub history: History,
}

/// What looks for anomalies, and what to do about them.
#[derive(clap::Args, Clone, Debug)]
pub struct Detection {
    #[command(flatten)]
    pub files: RuleFiles,
    #[command(flatten)]
    pub selection: Selection,
    /// Leave the statistics out
    #[arg(long)]
    pub no_statistics: bool,
    /// Also judge every container's windows with a model that `model train` wrote
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// Also tell of connections and listening ports of containers that this trace does not have: a file or a
    /// directory of containers at their usual work; may be repeated, what any of them has is usual. Same is
    /// the image (without tag), protocol, port and peer: a container's image, an address, or the /24 (/64) of a
    /// public one
    #[arg(long, value_name = "TRACE")]
    pub baseline: Vec<String>,
    /// Exit with 4 when a finding is at least this severe (debug … emergency)
    #[arg(long, value_name = "SEVERITY")]
    pub fail_on: Option<Severity>,
    /// Print incidents instead of single findings: what belongs to one process tree or container and one
    /// time, as one story
    #[arg(long)]
    pub incidents: bool,
    /// Also send findings to KIND=TARGET[,OPTION=VALUE…]; may be repeated. KIND: text, jsonl, csv, parquet or
    /// sqlite (TARGET: a file), webhook or alertmanager (an http address), syslog (unix://, udp:// or tcp://)
    #[cfg(feature = "sinks")]
    #[arg(long, value_name = "SINK")]
    pub sink: Vec<replay::sinks::Spec>,
}

/// What a trace may have said that is not told yet, because traces before it are not done: some 16 MB of
/// findings.
const SAID_MAX: usize = 8_192;

/// Who waits for another thread and hears nothing any more.
const ENDED: &str = "a thread has ended that others work with";

pub fn run(arguments: &Arguments, global: Global) -> anyhow::Result<Outcome> {
    let groups = trace::independent(trace::inputs(&arguments.traces.traces)?);
    let several = Several {
        arguments,
        engines: Engines::load(&arguments.detection, global)?,
        wanted: Wanted {
            range: TimeRange {
                from: arguments.from,
                to: arguments.to,
            },
            containers: arguments.container.clone(),
        },
        groups,
        global,
    };
    let mut report = Report::new(&arguments.detection, global)?;
    let cpus = || thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let threads = arguments.threads.map_or_else(cpus, NonZeroUsize::get);
    let threads = threads.min(THREADS_MAX);
    let workers = threads.min(several.groups.len());
    let mut condition = match workers {
        0 | 1 => several.one_by_one(threads, &mut report)?,
        _ => several.together(workers, threads, &mut report)?,
    };
    condition.incomplete |= several.engines.baseline_loss();
    report.finish(&condition, global)
}

/// The traces of a command, in groups that have nothing to do with each other.
struct Several<'a> {
    arguments: &'a Arguments,
    engines: Engines,
    wanted: Wanted,
    groups: Vec<Vec<Input>>,
    global: Global,
}

/// Of one group, what a thread that folds it sends.
enum Sent {
    Said(Said),
    Done(anyhow::Result<Box<Condition>>),
}

/// Hands out the groups in order, and with each the place where what it says will come.
struct Tickets {
    next: usize,
    places: Sender<Receiver<Sent>>,
}

impl Several<'_> {
    fn one_by_one(&self, threads: usize, report: &mut Report) -> anyhow::Result<Condition> {
        let mut all = Condition::default();
        for group in &self.groups {
            all.add(self.fold(group, threads, self.global, &mut |said| report.say(said))?);
        }
        Ok(all)
    }

    fn together(
        &self,
        workers: usize,
        threads: usize,
        report: &mut Report,
    ) -> anyhow::Result<Condition> {
        // Whoever is done early leaves its core to those who decode for others.
        let each = (threads / workers).max(2);
        let (places, receivers) = mpsc::channel();
        let tickets = Arc::new(Mutex::new(Tickets { next: 0, places }));
        thread::scope(|scope| {
            for number in 0..workers {
                let tickets = Arc::clone(&tickets);
                let named = thread::Builder::new().name(format!("detect-{number}"));
                let started = named.spawn_scoped(scope, move || self.work(&tickets, each));
                if let Err(error) = started
                    && number == 0
                {
                    bail!("cannot start a thread: {error}");
                }
            }
            drop(tickets);
            let mut all = Condition::default();
            // In order: the first group that is not done is always in somebody's hands.
            for _ in &self.groups {
                let receiver = receivers.recv().context(ENDED)?;
                loop {
                    match receiver.recv().context(ENDED)? {
                        Sent::Said(said) => report.say(said)?,
                        Sent::Done(done) => break all.add(*done?),
                    }
                }
            }
            Ok(all)
        })
    }

    /// Folds one group after the other, until there is none or nobody wants to know.
    fn work(&self, tickets: &Mutex<Tickets>, threads: usize) {
        // Several bars would stand in each other's place.
        let global = Global {
            quiet: true,
            ..self.global
        };
        loop {
            let (sender, receiver) = mpsc::sync_channel(SAID_MAX);
            let group = {
                let mut tickets = tickets.lock().unwrap_or_else(|error| error.into_inner());
                let Some(group) = self.groups.get(tickets.next) else {
                    return;
                };
                tickets.next += 1;
                if tickets.places.send(receiver).is_err() {
                    return;
                }
                group
            };
            let done = self.fold(group, threads, global, &mut |said| {
                sender.send(Sent::Said(said)).context(ENDED)
            });
            if sender.send(Sent::Done(done.map(Box::new))).is_err() {
                return;
            }
        }
    }

    /// One group from its first chunk to its last.
    fn fold(
        &self,
        group: &[Input],
        threads: usize,
        global: Global,
        say: &mut Say<'_>,
    ) -> anyhow::Result<Condition> {
        let Arguments {
            traces,
            from,
            to,
            history,
            ..
        } = self.arguments;
        // What is found rests on all that came before, unless somebody says that a checkpoint will do.
        let seek = history.seek(*from, HowMuch::All);
        // An end ends the reading: what is ahead of it would be read for nothing. And a finding of a stream is
        // wanted now, not when the next chunks have come.
        let files = group.iter().all(|input| matches!(input, Input::File(_)));
        let threads = match to.is_none() && files {
            true => threads,
            false => 1,
        };
        let mut folding = Folding::new(self.engines.clone(), self.wanted.clone(), threads);
        let mut condition = trace::read_inputs(
            group,
            &traces.connection,
            seek,
            true,
            global,
            |_, chunk, condition| {
                folding.push(chunk, condition, say)?;
                Ok(!folding.past_end())
            },
        )?;
        folding.finish(&mut condition, say)?;
        Ok(condition)
    }
}

/// Detection over the chunks of one source that others read.
pub struct Findings {
    folding: Folding,
    report: Report,
}

impl Findings {
    pub fn new(detection: &Detection, global: Global) -> anyhow::Result<Findings> {
        let engines = Engines::load(detection, global)?;
        Ok(Findings {
            folding: Folding::new(engines, Wanted::default(), 1),
            report: Report::new(detection, global)?,
        })
    }

    pub fn push(&mut self, chunk: &SealedChunk, condition: &mut Condition) -> anyhow::Result<()> {
        let Findings { folding, report } = self;
        folding.push(chunk, condition, &mut |said| report.say(said))
    }

    /// Ends the trace and says how it went.
    pub fn finish(mut self, condition: &mut Condition, global: Global) -> anyhow::Result<Outcome> {
        let Findings { folding, report } = &mut self;
        folding.finish(condition, &mut |said| report.say(said))?;
        condition.incomplete |= folding.engines().baseline_loss();
        self.report.finish(condition, global)
    }
}
