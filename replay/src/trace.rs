//! Reads what a command was given, chunk by chunk, and says afterwards what was missing.

use anyhow::Context;
use replay::{
    parts::{Follower, Step},
    seek::Seek,
    source::{Glance, Input, Recorded},
    walk::Unreadable,
};
use std::path::PathBuf;
use trace_format::{ChunkEvents, ChunkSource, LossTotal, SealedChunk};

use crate::{Global, Outcome, Usage, progress::Progress};

/// The arguments that name traces.
#[derive(clap::Args, Clone, Debug)]
pub struct TraceArguments {
    /// Trace: a file, a directory of .zst files, - for standard input, or a live address
    #[arg(value_name = "TRACE", required = true)]
    pub traces: Vec<String>,
    #[command(flatten)]
    pub connection: Connection,
}

/// How to reach a live address.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Connection {
    /// Accept http://: neither end is authenticated, and everything recorded crosses the network readable
    #[arg(long)]
    pub insecure: bool,
    /// Certificate (PEM) of the authority that signed the recorder's certificate
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Own certificate (PEM), shown to the recorder
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// Key (PEM) of the own certificate
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
}

/// Everything that the arguments name, in order.
pub fn inputs(arguments: &[String]) -> anyhow::Result<Vec<Input>> {
    let mut inputs = Vec::new();
    for argument in arguments {
        inputs.extend(Input::parse(argument).map_err(|error| match error {
            replay::source::Error::Address { .. } => anyhow::Error::new(Usage(error.to_string())),
            error => error.into(),
        })?);
    }
    if inputs
        .iter()
        .filter(|input| **input == Input::Stdin)
        .count()
        > 1
    {
        return Err(Usage("standard input can be read once: - is given twice".into()).into());
    }
    Ok(inputs)
}

/// Inputs in groups that have nothing to do with each other, in their order: a trace of its own begins each,
/// no part of the capture before it. Where that cannot be told, there is one group.
pub fn independent(inputs: Vec<Input>) -> Vec<Vec<Input>> {
    let files = inputs.iter().all(|input| match input {
        // What can be read once is not looked into before.
        Input::File(path) => path.is_file(),
        _ => false,
    });
    if !files || inputs.len() < 2 {
        return vec![inputs];
    }
    let mut groups: Vec<Vec<Input>> = Vec::new();
    let mut before: Option<Glance> = None;
    for input in inputs {
        let glance = match &input {
            Input::File(path) => Recorded::file(path).ok().and_then(|file| file.glance()),
            _ => None,
        };
        let alone = match (&before, &glance) {
            (Some(before), Some(glance)) => glance.is_apart_from(before),
            _ => false,
        };
        match groups.last_mut() {
            Some(group) if !alone => group.push(input),
            _ => groups.push(vec![input]),
        }
        before = glance;
    }
    groups
}

/// What was found about the inputs while they were read.
#[derive(Default)]
pub struct Condition {
    /// What is missing or damaged, one line each.
    pub issues: Vec<String>,
    pub issues_not_kept: u64,
    /// Some input was cut short, damaged or not finished.
    pub incomplete: bool,
    pub chunks: u64,
    /// Of them, those whose body was looked at.
    pub decoded: u64,
    pub bytes: u64,
    /// The recorder's own account, summed over traces.
    pub loss: LossTotal,
    /// The chunk at hand belongs to the same fold as the one before it: the same trace, or the next
    /// part of its capture.
    pub goes_on: bool,
    /// The fold so far is void: a new one begins with the chunk at hand and needs nothing before it.
    pub begins_anew: bool,
    /// When the trace or capture at hand began, where reading may have begun later.
    pub start_ns: Option<u64>,
    follower: Follower,
}

/// Lines that are printed about what is wrong with the inputs; `info` and `verify` print all.
const ISSUES_SHOWN_MAX: usize = 5;

impl Condition {
    /// Adds what was found about further inputs, which have nothing to do with these.
    pub fn add(&mut self, more: Condition) {
        self.issues.extend(more.issues);
        self.issues_not_kept += more.issues_not_kept;
        self.incomplete |= more.incomplete;
        self.chunks += more.chunks;
        self.decoded += more.decoded;
        self.bytes += more.bytes;
        self.loss.seen += more.loss.seen;
        self.loss.dropped += more.loss.dropped;
    }

    pub fn outcome(&self) -> Outcome {
        Outcome {
            loss: self.incomplete || self.loss.dropped > 0,
            ..Outcome::default()
        }
    }

    /// Says how the next chunk stands to the one before it.
    fn follow(&mut self, input: &Input, chunk: &SealedChunk) {
        let step = self.follower.step(chunk);
        self.goes_on = matches!(step, Step::Same | Step::Continues);
        if let Step::Other {
            missed: Some(missed),
        } = step
        {
            self.incomplete = true;
            self.issues.push(format!("{input}: {missed}"));
        }
    }

    /// Takes note of what a walk could not read.
    pub fn cannot_read(&mut self, found: Vec<Unreadable>) {
        self.incomplete |= !found.is_empty();
        self.issues.extend(found.iter().map(Unreadable::to_string));
    }

    /// Says on standard error what was wrong.
    pub fn report(&self, global: Global) {
        let shown = if global.verbose {
            self.issues.len()
        } else {
            ISSUES_SHOWN_MAX
        };
        for issue in self.issues.iter().take(shown) {
            eprintln!("replay: {issue}");
        }
        let more = self.issues.len().saturating_sub(shown) as u64 + self.issues_not_kept;
        if more > 0 {
            eprintln!("replay: … and {more} more; replay verify lists them");
        }
        if global.verbose {
            eprintln!(
                "replay: {} chunks read, {} of them decoded",
                self.chunks, self.decoded
            );
        }
        if self.loss.dropped > 0 && !global.quiet {
            eprintln!(
                "replay: the recorder dropped {} of {} events: findings near a gap say degraded",
                self.loss.dropped, self.loss.seen
            );
        }
    }
}

/// Reads every chunk of every input. `take` returns false when it needs no more of this input.
/// With `seek`, chunks that it allows to leave out are not read, or end the fold they began: the next
/// chunk's `goes_on` says so.
/// An input that cannot be read at all fails the command; damage inside is reported in the condition.
pub fn read_all(
    arguments: &TraceArguments,
    seek: Option<Seek>,
    results_too: bool,
    global: Global,
    take: impl FnMut(&Input, &SealedChunk, &mut Condition) -> anyhow::Result<bool>,
) -> anyhow::Result<Condition> {
    let inputs = inputs(&arguments.traces)?;
    let connection = &arguments.connection;
    read_inputs(&inputs, connection, seek, results_too, global, take)
}

/// The same of inputs at hand.
pub fn read_inputs(
    inputs: &[Input],
    connection: &Connection,
    mut seek: Option<Seek>,
    results_too: bool,
    global: Global,
    mut take: impl FnMut(&Input, &SealedChunk, &mut Condition) -> anyhow::Result<bool>,
) -> anyhow::Result<Condition> {
    let mut condition = Condition::default();
    for input in inputs {
        match input {
            Input::File(path) => read(
                Recorded::file(path)?,
                seek.as_mut(),
                input,
                results_too,
                global,
                &mut condition,
                &mut take,
            )?,
            Input::Stdin => read(
                Recorded::stdin(),
                seek.as_mut(),
                input,
                results_too,
                global,
                &mut condition,
                &mut take,
            )?,
            Input::Live(url) => read_live(url, connection, input, &mut condition, &mut take)?,
        }
    }
    Ok(condition)
}

type Take<'a> = dyn FnMut(&Input, &SealedChunk, &mut Condition) -> anyhow::Result<bool> + 'a;

fn read(
    mut source: Recorded,
    mut seek: Option<&mut Seek>,
    input: &Input,
    results_too: bool,
    global: Global,
    condition: &mut Condition,
    take: &mut Take<'_>,
) -> anyhow::Result<()> {
    let progress = Progress::new(source.progress().1, results_too, global);
    let mut loss = LossTotal::default();
    let mut enough = false;
    let mut first_known = false;
    if let Some(seek) = seek.as_deref_mut()
        && let Some((first, index)) = source.index()
    {
        condition.follow(input, &first);
        first_known = true;
        seek.next_trace(&first, condition.goes_on);
        if let Some(entry) = seek.place(&index, |entry| source.read_chunk(entry)) {
            source.begin_at(entry)?;
        }
    }
    while !enough {
        let Some(chunk) = source.next_chunk()? else {
            break;
        };
        condition.chunks += 1;
        condition.bytes += chunk.bytes.len() as u64;
        let again = std::mem::take(&mut first_known) && chunk.header.number == 0;
        if !again {
            condition.follow(input, &chunk);
        }
        if let Some(seek) = seek.as_deref_mut() {
            if !again && (chunk.header.number == 0 || !condition.goes_on) {
                seek.next_trace(&chunk, condition.goes_on);
            }
            condition.start_ns = seek.start_ns();
            condition.begins_anew = seek.begins_at(&chunk);
            condition.goes_on &= !condition.begins_anew;
        }
        loss = condition.follower.own_loss(&chunk.header);
        enough = !take(input, &chunk, condition)?;
        progress.at(source.progress().0);
    }
    if enough {
        condition.follower.leave();
    }
    condition.loss.seen += loss.seen;
    condition.loss.dropped += loss.dropped;
    condition.issues_not_kept += source.issues_not_kept();
    // Without a summary the end may be missing; that is loss as much as a damaged chunk.
    condition.incomplete |= !source.issues().is_empty();
    condition.issues.extend(
        source
            .issues()
            .iter()
            .map(|issue| format!("{input}: {issue}")),
    );
    Ok(())
}

/// Connects to a recorder that serves live.
#[cfg(feature = "live")]
pub fn connect(url: &str, connection: &Connection) -> anyhow::Result<Box<dyn ChunkSource>> {
    Ok(Box::new(crate::commands::live::connect(url, connection)?))
}

#[cfg(not(feature = "live"))]
pub fn connect(url: &str, _: &Connection) -> anyhow::Result<Box<dyn ChunkSource>> {
    anyhow::bail!("{url}: this replay was built without live streams (feature `live`)")
}

fn read_live(
    url: &str,
    connection: &Connection,
    input: &Input,
    condition: &mut Condition,
    take: &mut Take<'_>,
) -> anyhow::Result<()> {
    let mut source = connect(url, connection)?;
    let mut loss = LossTotal::default();
    while let Some(chunk) = source.next_chunk()? {
        condition.chunks += 1;
        condition.bytes += chunk.bytes.len() as u64;
        condition.follow(input, &chunk);
        loss = condition.follower.own_loss(&chunk.header);
        if !take(input, &chunk, condition)? {
            break;
        }
    }
    condition.loss.seen += loss.seen;
    condition.loss.dropped += loss.dropped;
    condition.incomplete |= !source.issues().is_empty();
    condition.issues.extend(
        source
            .issues()
            .iter()
            .map(|issue| format!("{input}: {issue}")),
    );
    Ok(())
}

/// A chunk that was decoded. One that fails its checks costs only itself.
pub fn decoded(
    input: &Input,
    number: u64,
    decoded: Result<ChunkEvents, trace_format::Error>,
    condition: &mut Condition,
) -> Option<ChunkEvents> {
    condition.decoded += 1;
    match decoded.with_context(|| format!("{input}: chunk {number} is left out")) {
        Ok(decoded) => Some(decoded),
        Err(error) => {
            condition.incomplete = true;
            condition.issues.push(format!("{error:#}"));
            None
        }
    }
}
