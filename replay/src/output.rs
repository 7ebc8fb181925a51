//! Standard output: buffered, and a reader that went away is not an error.

use std::io::{self, BufWriter, ErrorKind, Write};

/// The reader of our output closed it: the command ends, successfully.
#[derive(Debug, thiserror::Error)]
#[error("the output was closed")]
pub struct Closed;

/// A failure to write results, told apart from a closed output.
pub fn failed(error: io::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::BrokenPipe => Closed.into(),
        _ => anyhow::Error::new(error).context("cannot write the output"),
    }
}

/// Lines to standard output.
pub struct Output(BufWriter<io::StdoutLock<'static>>);

impl Output {
    pub fn new() -> Output {
        Output(BufWriter::with_capacity(1 << 16, io::stdout().lock()))
    }

    pub fn line(&mut self, line: &str) -> anyhow::Result<()> {
        self.bytes(line.as_bytes())?;
        self.bytes(b"\n")
    }

    pub fn bytes(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.0.write_all(bytes).map_err(failed)
    }

    /// What was written is with the reader now.
    pub fn flush(&mut self) -> anyhow::Result<()> {
        self.0.flush().map_err(failed)
    }
}
