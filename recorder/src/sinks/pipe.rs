//! The trace on standard output, for whoever reads it there: `rec capture -o - | replay detect -`.

use std::{
    fs::File,
    io::{self, IsTerminal},
    os::fd::AsFd,
    sync::Arc,
};

use anyhow::{Context as _, bail};
use trace_format::{Error, SealedChunk, SigningKey, TraceWriter};

use super::{Ending, Sink};

/// Writes one trace to standard output.
pub struct PipeSink {
    /// Each chunk is one write; standard output's own line buffer would only cut it up.
    writer: TraceWriter<File>,
}

/// The reader has gone and wants no more: the end of the capture, and no failure.
#[derive(Debug, thiserror::Error)]
#[error("the reader of standard output has gone")]
pub struct Closed;

impl PipeSink {
    pub fn create(key: Option<Arc<SigningKey>>) -> anyhow::Result<Self> {
        let out = io::stdout();
        if out.is_terminal() {
            bail!(
                "a trace is binary and standard output is a terminal: pipe it, or name a file with -o"
            );
        }
        let file = out
            .as_fd()
            .try_clone_to_owned()
            .context("cannot write to standard output")?;
        let mut writer = TraceWriter::new(File::from(file));
        if let Some(key) = key {
            writer.sign_with(key);
        }
        Ok(PipeSink { writer })
    }
}

/// A closed pipe apart from other failures.
fn judged(error: Error) -> anyhow::Error {
    match error {
        Error::Io { source, .. } if source.kind() == io::ErrorKind::BrokenPipe => Closed.into(),
        error => anyhow::Error::new(error).context("cannot write the trace to standard output"),
    }
}

impl Sink for PipeSink {
    fn chunk(&mut self, chunk: &SealedChunk) -> anyhow::Result<()> {
        self.writer.write(chunk).map_err(judged)
    }

    fn finish(self: Box<Self>, _: &Ending) -> anyhow::Result<u64> {
        let chunks = self.writer.bytes();
        self.writer.finish().map_err(judged)?;
        Ok(chunks)
    }
}
