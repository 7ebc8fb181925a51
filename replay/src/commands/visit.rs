//! Visits the events of the traces that a command's arguments name: what [`super::cat`] and
//! [`super::export`] are made of.
//!
//! Each trace has a state of its own, the parts of a capture have one. What is visited, and in which order, is
//! the same for any number of threads.

use replay::{
    decode_ahead::{Decode, DecodeAhead},
    event_view::EventView,
    resolve::Depth,
    skip::{Skip, Step},
    source::Input,
    walk::{Noted, Walk},
};
use trace_format::{ChunkEvents, columns::FAMILIES};

use super::cat::Select;
use crate::{
    Global, Usage,
    trace::{self, Condition, TraceArguments},
};

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

/// How a command looks at events.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub shown: Shown,
    /// What it sees of the state.
    pub looks_at: Depth,
    /// It prints to standard output.
    pub results_too: bool,
    /// Threads that decode, this one among them, where all of the traces are wanted and they are files.
    pub threads: usize,
}

/// What stands in a trace's order of time.
pub enum Seen<'a, 'v> {
    Event(&'a EventView<'v>),
    Mark(&'a Noted<'v>),
}

/// A chunk that is being decoded.
struct Place {
    input: Input,
    number: u64,
    /// The fold so far has ended, and another begins with it.
    anew: bool,
    start_ns: Option<u64>,
}

/// What a fold goes on with.
enum Next {
    Chunk(Place, Box<Result<ChunkEvents, trace_format::Error>>),
    /// A chunk was passed over: nothing older than this follows.
    Passed(u64),
}

/// Visits the selected events, and marks in their place where the selection is by time alone: they are no
/// container's, process's or kind's.
pub fn visit(
    traces: &TraceArguments,
    select: &Select,
    look: Look,
    global: Global,
    visit: &mut dyn FnMut(Seen<'_, '_>) -> anyhow::Result<()>,
) -> anyhow::Result<Condition> {
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
            true => look.looks_at,
            // The kind of an event that a block completes is known from folding it.
            false => Depth::Count,
        })
        .filtered(filter.clone());
        match look.shown {
            Shown::Rows => walk.showing_rows(),
            Shown::Events => walk,
        }
    };
    let mut skip = select.skip();
    // What is passed over and where the range ends is known chunk by chunk; a stream's events are wanted now.
    let files = trace::inputs(&traces.traces)?
        .iter()
        .all(|input| matches!(input, Input::File(_)));
    let threads = match files && skip.is_none() && select.to.is_none() {
        true => look.threads,
        false => 1,
    };
    let decode = match filter {
        None => Decode::Whole,
        // What no event is put together from need not be read.
        Some(_) => Decode::AsAsked,
    };
    let mut ahead = DecodeAhead::new(threads, decode);
    let mut current: Option<Walk<'_, _, anyhow::Error>> = None;
    let mut fold = |next: Next, skip: Option<&mut Skip>, condition: &mut Condition| {
        let (place, decoded) = match next {
            Next::Chunk(place, decoded) => (place, decoded),
            Next::Passed(watermark_ns) => {
                return match &mut current {
                    Some(walk) => walk.pass(watermark_ns),
                    None => Ok(true),
                };
            }
        };
        if place.anew
            && let Some(mut ended) = current.replace(new_walk(place.start_ns))
        {
            ended.finish()?;
            condition.cannot_read(ended.take_unreadable());
        }
        let walk = current.get_or_insert_with(|| new_walk(place.start_ns));
        let Some(decoded) = trace::decoded(&place.input, place.number, *decoded, condition) else {
            return Ok(true);
        };
        kinds.learn(&decoded.context);
        if let Some(skip) = skip {
            skip.learn(&decoded.context);
        }
        let goes_on = walk.push(decoded);
        condition.cannot_read(walk.take_unreadable());
        goes_on
    };
    let mut condition = trace::read_all(
        traces,
        select.seek(),
        look.results_too,
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
                        let place = Place {
                            input: input.clone(),
                            number: chunk.header.number,
                            anew,
                            start_ns,
                        };
                        ahead.push(place, &chunk);
                    }
                    // Nothing is ahead where chunks are passed over.
                    Step::Pass { watermark_ns } => {
                        more &= fold(Next::Passed(watermark_ns), None, condition)?;
                    }
                }
                while let Some((place, decoded)) = ahead.next(false) {
                    more &= fold(
                        Next::Chunk(place, Box::new(decoded)),
                        skip.as_mut(),
                        condition,
                    )?;
                }
            }
            Ok(more)
        },
    )?;
    while let Some((place, decoded)) = ahead.next(true) {
        fold(Next::Chunk(place, Box::new(decoded)), None, &mut condition)?;
    }
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
