//! One JSON object per event and line; a column without a value is left out.

use std::io::{self, Write};

use super::{Error, RowWriter};
use crate::{
    event_view::{COLUMNS, Cell, EventView},
    time,
};

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

/// Appends the object, without a newline.
pub fn write_json(view: &EventView<'_>, line: &mut Vec<u8>) -> io::Result<()> {
    line.push(b'{');
    let mut separator = "";
    for column in COLUMNS {
        let cell = (column.get)(view);
        if cell == Cell::Null {
            continue;
        }
        // Column names need no escapes.
        write!(line, "{separator}\"{}\":", column.name)?;
        separator = ",";
        match cell {
            Cell::Null => {}
            Cell::Time(wall_ns) => write!(line, "\"{}\"", time::rfc3339(wall_ns))?,
            Cell::Unsigned(value) => write!(line, "{value}")?,
            Cell::Signed(value) => write!(line, "{value}")?,
            Cell::Flag(value) => write!(line, "{value}")?,
            Cell::Text(text) => serde_json::to_writer(&mut *line, &String::from_utf8_lossy(text))?,
            Cell::Made(text) => serde_json::to_writer(&mut *line, &text)?,
        }
    }
    line.push(b'}');
    Ok(())
}
