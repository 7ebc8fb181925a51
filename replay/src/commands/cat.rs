//! `replay cat`: the events of a trace in order, one line each, with its marks between them; `--raw` is [`super::cat_raw`].

use anyhow::Context;
use replay::{
    event_json, event_text::LineWriter, resolve::Depth, rules::Filter, seek::Seek,
    select::Selection, skip::Skip, time::Point, walk::TimeRange,
};

use super::visit::{Look, Seen, Shown, visit};
use crate::{Global, Outcome, Usage, output::Output, trace::TraceArguments};

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

    pub fn selection(&self) -> Selection {
        Selection::new(self.container.clone(), self.kind.clone(), self.pid.clone())
    }

    /// What passes over chunks that have nothing of the selection, where that is allowed.
    pub fn skip(&self) -> Option<Skip> {
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
    let look = Look {
        shown: Shown::Rows,
        // A line names its process and its container; an object has columns of everything.
        looks_at: match global.json {
            true => Depth::All,
            false => Depth::Who,
        },
        results_too: true,
        threads: 1,
    };
    let condition = visit(
        &arguments.traces,
        &arguments.select,
        look,
        global,
        &mut print,
    )?;
    out.flush()?;
    condition.report(global);
    Ok(condition.outcome())
}
