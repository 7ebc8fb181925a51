//! `replay cat`: the events of a trace in order, one line each, with its marks between them; `--raw` is [`super::cat_raw`].

use anyhow::Context;
use replay::{
    event_json,
    event_text::LineWriter,
    event_view::EventView,
    resolve::Depth,
    rules::Filter,
    seek::Seek,
    select::Selection,
    skip::{Skip, Step},
    time::Point,
    walk::{Noted, TimeRange, Walk},
};

use trace_format::columns::FAMILIES;

use crate::{
    Global, Outcome, Usage,
    output::Output,
    trace::{self, TraceArguments},
};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pub traces: TraceArguments,
    #[command(flatten)]
    pub select: Select,
    /// Print what the trace stores, as JSON lines: every chunk's header, records and events, the summary,
    /// and what is wrong, without anything derived
    #[arg(long, conflicts_with_all = ["filter", "from", "to", "container", "kind", "pid"])]
    pub raw: bool,
}

/// Which events.
#[derive(clap::Args, Clone, Debug)]
pub struct Select {
    /// Only events that fulfil this condition of the rule language, such as
    /// 'evt.type=openat and fd.name startswith /etc'
    #[arg(long, value_name = "EXPR")]
    pub filter: Option<String>,
    /// Only events from this time on: 2026-11-22T17:08:34Z, boot+1234.5, or 10s after the trace's start
    #[arg(long, value_name = "TIME")]
    pub from: Option<Point>,
    /// Only events before this time
    #[arg(long, value_name = "TIME")]
    pub to: Option<Point>,
    /// Only events of this container: its name, its id or the first 12 characters of it, or host.
    /// May be given several times
    #[arg(long, value_name = "CONTAINER")]
    pub container: Vec<String>,
    /// Only events of this kind, such as exec, open or a kind that the trace declares. May be given
    /// several times
    #[arg(long, value_name = "KIND")]
    pub kind: Vec<String>,
    /// Only events of the process with this pid on the host. May be given several times
    #[arg(long, value_name = "PID")]
    pub pid: Vec<u32>,
    #[command(flatten)]
    pub history: History,
}

/// How much is read besides what is wanted.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct History {
    /// What to read besides the events that are wanted: all, or only from the last checkpoint before them
    /// on. A checkpoint knows processes and containers, but not what was opened or started before it.
    /// Default: checkpoint; with --filter, and for findings, all
    #[arg(long, value_enum, value_name = "HOW")]
    pub history: Option<HowMuch>,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum HowMuch {
    All,
    Checkpoint,
}

impl History {
    /// Whether chunks may be left out, by what a command does unless told.
    pub fn seek(self, from: Option<Point>, unless_told: HowMuch) -> Option<Seek> {
        match self.history.unwrap_or(unless_told) {
            HowMuch::All => None,
            HowMuch::Checkpoint => from.map(Seek::new),
        }
    }
}

impl Select {
    pub fn range(&self) -> TimeRange {
        TimeRange {
            from: self.from,
            to: self.to,
        }
    }

    /// Events look the same whether their state goes back to a checkpoint or to the start; a condition
    /// can ask for more.
    fn unless_told(&self) -> HowMuch {
        match self.filter {
            Some(_) => HowMuch::All,
            None => HowMuch::Checkpoint,
        }
    }

    pub fn seek(&self) -> Option<Seek> {
        self.history.seek(self.from, self.unless_told())
    }

    fn selection(&self) -> Selection {
        Selection::new(self.container.clone(), self.kind.clone(), self.pid.clone())
    }

    /// What passes over chunks that have nothing of the selection, where that is allowed.
    fn skip(&self) -> Option<Skip> {
        let allowed = self.history.history.unwrap_or(self.unless_told()) == HowMuch::Checkpoint;
        let selection = self.selection();
        (allowed && !selection.is_all()).then(|| Skip::new(selection, self.range()))
    }

    /// The compiled filter. A mistake in it names its position.
    pub fn compile(&self) -> anyhow::Result<Option<Filter>> {
        self.filter
            .as_deref()
            .map(|condition| {
                Filter::compile(condition).map_err(|error| Usage(error.to_string()).into())
            })
            .transpose()
    }
}

pub fn run(arguments: &Arguments, global: Global) -> anyhow::Result<Outcome> {
    if arguments.raw {
        return super::cat_raw::run(&arguments.traces, global);
    }
    let mut out = Output::new();
    let mut lines = LineWriter::default();
    let mut line = Vec::new();
    let mut print = |seen: Seen<'_, '_>| -> anyhow::Result<()> {
        line.clear();
        match (seen, global.json) {
            (Seen::Event(view), true) => {
                event_json::write_json(view, &mut line).context("cannot write JSON")?;
            }
            (Seen::Event(view), false) => lines.write(view, &mut line),
            (Seen::Mark(noted), true) => {
                event_json::write_mark(noted, &mut line).context("cannot write JSON")?;
            }
            (Seen::Mark(noted), false) => lines.write_mark(noted, &mut line),
        }
        line.push(b'\n');
        out.bytes(&line)
    };
    let condition = walk_all(
        &arguments.traces,
        &arguments.select,
        Shown::Rows,
        // A line names its process and its container; an object has columns of everything.
        match global.json {
            true => Depth::All,
            false => Depth::Who,
        },
        true,
        global,
        &mut print,
    )?;
    out.flush()?;
    condition.report(global);
    Ok(condition.outcome())
}

/// What is visited of an imported capture; of our own traces it is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Every block, by its original name.
    Rows,
    /// The events that the blocks make together, as rules see them.
    #[cfg_attr(
        not(feature = "export"),
        allow(dead_code, reason = "what exports show")
    )]
    Events,
}

/// What stands in a trace's order of time.
pub enum Seen<'a, 'v> {
    Event(&'a EventView<'v>),
    Mark(&'a Noted<'v>),
}

/// [`walk_all`] for whoever looks at events only.
#[cfg_attr(not(feature = "export"), allow(dead_code, reason = "what exports use"))]
pub fn walk(
    traces: &TraceArguments,
    select: &Select,
    shown: Shown,
    looks_at: Depth,
    results_too: bool,
    global: Global,
    visit: &mut dyn FnMut(&EventView<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<trace::Condition> {
    let mut events = |seen: Seen<'_, '_>| match seen {
        Seen::Event(view) => visit(view),
        Seen::Mark(_) => Ok(()),
    };
    walk_all(
        traces,
        select,
        shown,
        looks_at,
        results_too,
        global,
        &mut events,
    )
}

/// Visits the selected events of every trace that the arguments name, each trace with a state of its
/// own, the parts of a capture with one. `looks_at` is what `visit` sees of the state. Marks are visited
/// in their place where the selection is by time alone: they are no container's, process's or kind's.
pub fn walk_all(
    traces: &TraceArguments,
    select: &Select,
    shown: Shown,
    looks_at: Depth,
    results_too: bool,
    global: Global,
    visit: &mut dyn FnMut(Seen<'_, '_>) -> anyhow::Result<()>,
) -> anyhow::Result<trace::Condition> {
    // The visitor serves one walk after the other, and each walk is dropped before the next begins.
    let visit = &std::cell::RefCell::new(visit);
    let range = select.range();
    let filter = select.compile()?;
    let selection = select.selection();
    let mut kinds = selection.clone();
    let everything = selection.is_all();
    let marks_too = everything && filter.is_none();
    let new_walk = |start_ns| {
        let walk = Walk::new(range, |view: &EventView<'_>| {
            match everything || selection.wants(view) {
                true => (visit.borrow_mut())(Seen::Event(view)),
                false => Ok(()),
            }
        })
        .noting(move |noted| match marks_too {
            true => (visit.borrow_mut())(Seen::Mark(noted)),
            false => Ok(()),
        })
        .started_at(start_ns)
        .looking_at(match select.kind.is_empty() {
            true => looks_at,
            // The kind of an event that a block completes is known from folding it.
            false => Depth::Count,
        })
        .filtered(filter.clone());
        match shown {
            Shown::Rows => walk.showing_rows(),
            Shown::Events => walk,
        }
    };
    let mut skip = select.skip();
    // What no event is put together from need not be read.
    let whole = filter.is_none();
    let mut current = None;
    let mut condition = trace::read_all(
        traces,
        select.seek(),
        results_too,
        global,
        |input, chunk, condition| {
            let (goes_on, started_ns) = (condition.goes_on, condition.start_ns);
            let (steps, start_ns) = match &mut skip {
                Some(skip) => (skip.push(chunk, goes_on, started_ns), skip.start_ns()),
                None => {
                    let anew = !goes_on;
                    let chunk = Box::new(chunk.clone());
                    (vec![Step::Fold { chunk, anew }], started_ns)
                }
            };
            let mut more = true;
            for step in steps {
                match step {
                    Step::Fold { chunk, anew } => {
                        if anew && let Some(mut ended) = current.replace(new_walk(start_ns)) {
                            ended.finish()?;
                            condition.cannot_read(ended.take_unreadable());
                        }
                        let walk = current.get_or_insert_with(|| new_walk(start_ns));
                        if let Some(decoded) = trace::decode(input, &chunk, whole, condition) {
                            kinds.learn(&decoded.context);
                            if let Some(skip) = &mut skip {
                                skip.learn(&decoded.context);
                            }
                            let goes_on = walk.push(decoded);
                            condition.cannot_read(walk.take_unreadable());
                            more &= goes_on?;
                        }
                    }
                    Step::Pass { watermark_ns } => {
                        if let Some(walk) = &mut current {
                            more &= walk.pass(watermark_ns)?;
                        }
                    }
                }
            }
            Ok(more)
        },
    )?;
    if let Some(mut last) = current {
        last.finish()?;
        condition.cannot_read(last.take_unreadable());
    }
    // With an end, the trace may declare it later.
    if select.to.is_none()
        && let Some(kind) = kinds.unknown_kind()
    {
        let names: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
        return Err(Usage(format!(
            "{kind} is no kind of event: expected one that the trace declares, or one of {}",
            names.join(", ")
        ))
        .into());
    }
    Ok(condition)
}
