//! An event as one JSON object; a column without a value is left out. `replay cat --json` and
//! `replay export --format jsonl` print it.

use std::io::{self, Write};

use trace_format::{Declared, Value};

use crate::{
    event_view::{COLUMNS, Cell, EventView},
    import::scap::stored::{Fields, Stored},
    time,
    walk::Noted,
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
        write_cell(cell, line)?;
    }
    line.push(b'}');
    Ok(())
}

/// A mark as an object, under the names that events have for the same.
pub fn write_mark(noted: &Noted<'_>, line: &mut Vec<u8>) -> io::Result<()> {
    line.push(b'{');
    if let Some(wall_ns) = noted.wall_ns {
        write!(line, "\"time\":\"{}\",", time::rfc3339(wall_ns))?;
    }
    write!(
        line,
        "\"boot_ns\":{},\"event\":\"mark\",\"label\":",
        noted.boot_ns
    )?;
    serde_json::to_writer(&mut *line, &noted.mark.label)?;
    line.extend_from_slice(b",\"text\":");
    serde_json::to_writer(&mut *line, &noted.mark.text)?;
    line.push(b'}');
    Ok(())
}

/// Appends one value.
pub fn write_cell(cell: Cell<'_>, line: &mut Vec<u8>) -> io::Result<()> {
    match cell {
        Cell::Null => line.extend_from_slice(b"null"),
        Cell::Time(wall_ns) => write!(line, "\"{}\"", time::rfc3339(wall_ns))?,
        Cell::Unsigned(value) => write!(line, "{value}")?,
        Cell::Signed(value) => write!(line, "{value}")?,
        Cell::Flag(value) => write!(line, "{value}")?,
        Cell::Text(text) => serde_json::to_writer(&mut *line, &String::from_utf8_lossy(text))?,
        Cell::Made(text) => serde_json::to_writer(&mut *line, &text)?,
        Cell::Fields(declared) => write_fields(declared, line)?,
    }
    Ok(())
}

/// The fields of a declared event as one object, by their names. Of an imported capture: what a block or
/// record did not have is left out, and what has no value is `null`.
fn write_fields(declared: &Declared, line: &mut Vec<u8>) -> io::Result<()> {
    line.push(b'{');
    let fields = Fields::of(declared);
    let mut separator = "";
    for (at, (name, value)) in declared.iter().enumerate() {
        let field = fields.at(at);
        if matches!(field, Stored::Absent) {
            continue;
        }
        line.extend_from_slice(separator.as_bytes());
        separator = ",";
        serde_json::to_writer(&mut *line, name)?;
        line.push(b':');
        match (field, value) {
            (Stored::Absent, _) => {}
            (Stored::Empty, _) => line.extend_from_slice(b"null"),
            (Stored::Bytes(bytes), _) => {
                serde_json::to_writer(&mut *line, &String::from_utf8_lossy(bytes))?;
            }
            (Stored::Value, Value::Unsigned(value)) => write!(line, "{value}")?,
            (Stored::Value, Value::Signed(value)) => write!(line, "{value}")?,
            (Stored::Value, Value::Bool(value)) => write!(line, "{value}")?,
            (Stored::Value, Value::Text(text)) => {
                serde_json::to_writer(&mut *line, &text.to_string_lossy())?;
            }
        }
    }
    line.push(b'}');
    Ok(())
}

/// [`write_fields`] as text, for tables without nested values.
pub fn fields_text(declared: &Declared) -> String {
    let mut text = Vec::new();
    write_fields(declared, &mut text).expect("writing into memory cannot fail");
    String::from_utf8(text).expect("JSON is UTF-8")
}
