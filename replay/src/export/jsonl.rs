//! JSON lines: one object per event ([`crate::event_json`]).

use std::io::Write;

use super::{Error, RowWriter};
use crate::{event_json::write_json, event_view::EventView};

/// One object per line.
pub struct JsonLinesWriter<W> {
    out: W,
    /// Reused: the current line.
    line: Vec<u8>,
}

impl<W: Write> JsonLinesWriter<W> {
    pub fn new(out: W) -> Self {
        JsonLinesWriter {
            out,
            line: Vec::new(),
        }
    }
}

impl<W: Write> RowWriter for JsonLinesWriter<W> {
    fn row(&mut self, view: &EventView<'_>) -> Result<(), Error> {
        self.line.clear();
        write_json(view, &mut self.line)?;
        self.line.push(b'\n');
        self.out.write_all(&self.line)?;
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Error> {
        Ok(self.out.flush()?)
    }
}
