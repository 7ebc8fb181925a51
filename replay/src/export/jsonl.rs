//! JSON lines: one object per row; a column without a value is left out.

use std::io::Write;

use super::{Error, Row, RowWriter, Table};
use crate::event_json::write_cell;

/// One object per line.
pub struct JsonLinesWriter<W> {
    out: W,
    names: Vec<&'static str>,
    /// Reused: the current line.
    line: Vec<u8>,
}

impl<W: Write> JsonLinesWriter<W> {
    pub fn new(out: W, table: &Table) -> Self {
        JsonLinesWriter {
            out,
            names: table.heads.iter().map(|head| head.name).collect(),
            line: Vec::new(),
        }
    }
}

impl<W: Write> RowWriter for JsonLinesWriter<W> {
    fn row(&mut self, row: &dyn Row) -> Result<(), Error> {
        let (line, names) = (&mut self.line, &self.names);
        line.clear();
        line.push(b'{');
        row.cells(&mut |at, cell| {
            if line.len() > 1 {
                line.push(b',');
            }
            // Column names need no escapes.
            line.push(b'"');
            line.extend_from_slice(names[at].as_bytes());
            line.extend_from_slice(b"\":");
            Ok(write_cell(cell, line)?)
        })?;
        line.extend_from_slice(b"}\n");
        self.out.write_all(line)?;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        Ok(self.out.flush()?)
    }

    fn finish(&mut self) -> Result<(), Error> {
        Ok(self.out.flush()?)
    }
}
