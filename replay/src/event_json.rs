//! An event as one JSON object; a column without a value is left out. `replay cat --json` and
//! `replay export --format jsonl` print it.

use std::io::{self, Write};

use crate::{
    event_view::{COLUMNS, Cell, EventView},
    time,
};

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
