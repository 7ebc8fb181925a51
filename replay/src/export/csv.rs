//! CSV after RFC 4180: a header line, `\n` ends a line, null is an empty field.

use std::io::Write;

use super::{Error, Row, RowWriter, Table};
use crate::{event_json::fields_text, event_view::Cell, time};

/// One line per row.
pub struct CsvWriter<W> {
    out: W,
    columns: usize,
    /// Reused: the current line.
    line: Vec<u8>,
}

impl<W: Write> CsvWriter<W> {
    pub fn new(mut out: W, table: &Table) -> Result<Self, Error> {
        let names: Vec<&str> = table.heads.iter().map(|head| head.name).collect();
        writeln!(out, "{}", names.join(","))?;
        Ok(CsvWriter {
            out,
            columns: names.len(),
            line: Vec::new(),
        })
    }
}

impl<W: Write> RowWriter for CsvWriter<W> {
    fn row(&mut self, row: &dyn Row) -> Result<(), Error> {
        let line = &mut self.line;
        line.clear();
        let mut commas = 0;
        row.cells(&mut |at, cell| {
            line.extend(std::iter::repeat_n(b',', at - commas));
            commas = at;
            match cell {
                Cell::Null => {}
                Cell::Time(wall_ns) => line.extend_from_slice(time::rfc3339(wall_ns).as_bytes()),
                Cell::Unsigned(value) => write!(line, "{value}")?,
                Cell::Signed(value) => write!(line, "{value}")?,
                Cell::Flag(value) => write!(line, "{value}")?,
                Cell::Text(text) => quoted(&String::from_utf8_lossy(text), line),
                Cell::Made(text) => quoted(&text, line),
                Cell::Fields(declared) => quoted(&fields_text(declared), line),
            }
            Ok(())
        })?;
        line.extend(std::iter::repeat_n(b',', self.columns - 1 - commas));
        line.push(b'\n');
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
