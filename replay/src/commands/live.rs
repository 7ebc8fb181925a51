//! `replay live`: detection on a recorder's stream, the same as on its file.

use anyhow::Context;
use replay::live::{End, LiveSource, Options};
use std::{
    fs,
    io::BufWriter,
    path::{Path, PathBuf},
};
use trace_format::{ChunkSource, LossTotal, TraceWriter};

use super::{
    detect::{Detection, Findings},
    export::create,
};
use crate::{
    Global, Outcome, Usage,
    trace::{Condition, Connection},
};

#[derive(clap::Args)]
pub struct Arguments {
    /// Where the recorder serves: unix:///path, https://host:port, or http://host:port with --insecure
    #[arg(value_name = "URL")]
    pub url: String,
    #[command(flatten)]
    pub connection: Connection,
    #[command(flatten)]
    pub detection: Detection,
    /// Write what is received as a trace
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
    /// Replace that file if it exists
    #[arg(long, requires = "save")]
    pub force: bool,
    /// Begin with this chunk instead of the newest checkpoint; 0: all that the recorder still holds
    #[arg(long, value_name = "CHUNK")]
    pub from_chunk: Option<u64>,
}

pub fn run(arguments: &Arguments, global: Global) -> anyhow::Result<Outcome> {
    let mut findings = Findings::new(&arguments.detection, global)?;
    let mut options = options(&arguments.connection)?;
    options.from_chunk = arguments.from_chunk;
    options.until_signal = true;
    let mut source = open(&arguments.url, &options)?;
    // Only now: an address that does not answer leaves no empty file behind.
    let mut saved = arguments
        .save
        .as_deref()
        .map(|path| Saved::create(path, arguments.force))
        .transpose()?;
    if !global.quiet {
        eprintln!("replay: watching {}; Ctrl-C ends it", arguments.url);
    }
    let mut condition = Condition::default();
    let mut loss = LossTotal::default();
    while let Some(chunk) = source.next_chunk()? {
        say(&mut source, global);
        condition.chunks += 1;
        condition.bytes += chunk.bytes.len() as u64;
        loss = chunk.header.loss;
        // A live connection carries one trace.
        condition.goes_on = true;
        if let Some(saved) = &mut saved {
            saved.write(&chunk)?;
        }
        findings.push(&chunk, &mut condition)?;
    }
    say(&mut source, global);
    if let Some(saved) = saved {
        saved.finish(source.end(), global)?;
    }
    condition.loss = loss;
    condition.incomplete |= !source.issues().is_empty();
    condition.issues.extend(
        source
            .issues()
            .iter()
            .map(|issue| format!("{}: {issue}", arguments.url)),
    );
    condition.issues_not_kept = source.issues_not_kept();
    findings.finish(&mut condition, global)
}

/// Connects for a command that reads a live address like a file.
pub fn connect(url: &str, connection: &Connection) -> anyhow::Result<LiveSource> {
    let mut options = options(connection)?;
    options.until_signal = true;
    open(url, &options)
}

fn open(url: &str, options: &Options) -> anyhow::Result<LiveSource> {
    use replay::live::Error;
    LiveSource::connect(url, options).map_err(|error| match error {
        Error::Address { .. } | Error::Insecure { .. } | Error::Certificates { .. } => {
            Usage(error.to_string()).into()
        }
        error => error.into(),
    })
}

fn options(connection: &Connection) -> anyhow::Result<Options> {
    let read =
        |path: &PathBuf| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let identity = match (&connection.cert, &connection.key) {
        (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?)),
        _ => None,
    };
    Ok(Options {
        insecure: connection.insecure,
        ca: connection.ca.as_ref().map(read).transpose()?,
        identity,
        from_chunk: None,
        until_signal: false,
    })
}

fn say(source: &mut LiveSource, global: Global) {
    for notice in source.notices() {
        if !global.quiet {
            eprintln!("replay: {notice}");
        }
    }
}

/// The trace that `--save` writes.
struct Saved {
    path: PathBuf,
    writer: TraceWriter<BufWriter<fs::File>>,
}

impl Saved {
    fn create(path: &Path, force: bool) -> anyhow::Result<Saved> {
        Ok(Saved {
            path: path.to_owned(),
            writer: TraceWriter::new(BufWriter::new(create(path, force)?)),
        })
    }

    fn write(&mut self, chunk: &trace_format::SealedChunk) -> anyhow::Result<()> {
        use std::io::Write;
        let written = self.writer.write(chunk).map_err(anyhow::Error::new);
        // What was shown is also on disk, should this program be killed.
        let flushed = written.and_then(|()| Ok(self.writer.get_mut().flush()?));
        flushed.with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// Closes the trace. After a broken stream it stays without its end, so that a reader says it is incomplete.
    fn finish(self, end: End, global: Global) -> anyhow::Result<()> {
        let bytes = self.writer.bytes();
        match end {
            End::Clean | End::Stopped => {
                self.writer
                    .finish()
                    .with_context(|| format!("cannot finish {}", self.path.display()))?;
            }
            End::Open | End::Broken => {}
        }
        if !global.quiet {
            eprintln!(
                "replay: {bytes} bytes of chunks saved to {}",
                self.path.display()
            );
        }
        Ok(())
    }
}
