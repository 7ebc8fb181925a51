//! CSV after RFC 4180: a header line, `\n` ends a line, null is an empty field.

use std::io::Write;

use super::{Error, RowWriter};
use crate::{
    event_json::fields_text,
    event_view::{COLUMNS, Cell, EventView},
    time,
};

/// One line per event.
pub struct CsvWriter<W> {
    out: W,
    /// Reused: the current line.
    line: Vec<u8>,
}

impl<W: Write> CsvWriter<W> {
    pub fn new(mut out: W) -> Result<Self, Error> {
        let names: Vec<&str> = COLUMNS.iter().map(|column| column.name).collect();
        writeln!(out, "{}", names.join(","))?;
        Ok(CsvWriter {
            out,
            line: Vec::new(),
        })
    }
}

impl<W: Write> RowWriter for CsvWriter<W> {
    fn row(&mut self, view: &EventView<'_>) -> Result<(), Error> {
        self.line.clear();
        for (index, column) in COLUMNS.iter().enumerate() {
            if index > 0 {
                self.line.push(b',');
            }
            match (column.get)(view) {
                Cell::Null => {}
                Cell::Time(wall_ns) => self
                    .line
                    .extend_from_slice(time::rfc3339(wall_ns).as_bytes()),
                Cell::Unsigned(value) => write!(self.line, "{value}")?,
                Cell::Signed(value) => write!(self.line, "{value}")?,
                Cell::Flag(value) => write!(self.line, "{value}")?,
                Cell::Text(text) => quoted(&String::from_utf8_lossy(text), &mut self.line),
                Cell::Made(text) => quoted(&text, &mut self.line),
                Cell::Fields(declared) => quoted(&fields_text(declared), &mut self.line),
            }
        }
        self.line.push(b'\n');
        self.out.write_all(&self.line)?;
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Error> {
        Ok(self.out.flush()?)
    }
}

/// In quotes where the text has a separator, a quote or a line end.
fn quoted(text: &str, line: &mut Vec<u8>) {
    if !text.contains([',', '"', '\n', '\r']) {
        line.extend_from_slice(text.as_bytes());
        return;
    }
    line.push(b'"');
    line.extend_from_slice(text.replace('"', "\"\"").as_bytes());
    line.push(b'"');
}

#[cfg(test)]
mod tests {
    #[test]
    fn separators_quotes_and_line_ends_are_quoted() {
        let line = |text: &str| {
            let mut line = Vec::new();
            super::quoted(text, &mut line);
            String::from_utf8(line).unwrap()
        };
        assert_eq!(line("plain text"), "plain text");
        assert_eq!(line("a,b"), "\"a,b\"");
        assert_eq!(line("say \"hi\"\n"), "\"say \"\"hi\"\"\n\"");
    }
}
