//! `replay cat`: the events of a trace in order, one line each; `--raw` is [`super::cat_raw`].

use anyhow::Context;
use replay::{
    event_text::LineWriter,
    event_view::EventView,
    rules::Filter,
    seek::Seek,
    time::Point,
    walk::{TimeRange, Walk},
};

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
    #[arg(long, conflicts_with_all = ["filter", "from", "to"])]
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
    #[command(flatten)]
    pub history: History,
}

/// How much is read before `--from`.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct History {
    /// What to read before --from: all, or only from the last checkpoint on. A checkpoint knows processes
    /// and containers, but not what was opened or started before it. Default: checkpoint; with --filter, all
    #[arg(long, value_enum, requires = "from", value_name = "HOW")]
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
    pub fn seek(&self) -> Option<Seek> {
        let unless_told = match self.filter {
            Some(_) => HowMuch::All,
            None => HowMuch::Checkpoint,
        };
        self.history.seek(self.from, unless_told)
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
    let mut filter = arguments.select.compile()?;
    let mut out = Output::new();
    let mut lines = LineWriter::default();
    let mut line = String::new();
    let mut json = Vec::new();
    let mut print = |view: &EventView<'_>| -> anyhow::Result<()> {
        if filter
            .as_mut()
            .is_some_and(|filter| !filter.matches(view.judged, view.state))
        {
            return Ok(());
        }
        if global.json {
            json.clear();
            replay::event_json::write_json(view, &mut json).context("cannot write JSON")?;
            json.push(b'\n');
            out.bytes(&json)
        } else {
            line.clear();
            lines.write(view, &mut line);
            line.push('\n');
            out.bytes(line.as_bytes())
        }
    };
    let condition = walk(
        &arguments.traces,
        &arguments.select,
        Shown::Rows,
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

/// Visits the events of every trace that the arguments name, each trace with a state of its own, the
/// parts of a capture with one.
pub fn walk(
    traces: &TraceArguments,
    select: &Select,
    shown: Shown,
    results_too: bool,
    global: Global,
    visit: &mut dyn FnMut(&EventView<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<trace::Condition> {
    // The visitor serves one walk after the other, and each walk is dropped before the next begins.
    let visit = std::cell::RefCell::new(visit);
    let range = select.range();
    let new_walk = |start_ns| {
        let walk = Walk::new(range, |view: &EventView<'_>| (visit.borrow_mut())(view))
            .started_at(start_ns);
        match shown {
            Shown::Rows => walk.showing_rows(),
            Shown::Events => walk,
        }
    };
    let mut current = None;
    let condition = trace::read_all(
        traces,
        select.seek(),
        results_too,
        global,
        |input, chunk, condition| {
            if !condition.goes_on
                && let Some(mut ended) = current.replace(new_walk(condition.start_ns))
            {
                ended.finish()?;
            }
            let walk = current.get_or_insert_with(|| new_walk(condition.start_ns));
            match trace::decode(input, chunk, condition) {
                Some(decoded) => walk.push(decoded),
                None => Ok(true),
            }
        },
    )?;
    if let Some(mut last) = current {
        last.finish()?;
    }
    Ok(condition)
}
