//! A block of an imported capture as text: `>` or `<`, its name and its parameters, as captured.

use std::fmt::Write;

use trace_format::{Declared, Value};

use super::{
    native::values::tuple_text,
    scap::families::{Kind, Parameter, StoredBlock, StoredRecord},
};

/// Bytes of one value that are shown.
const SHOWN_BYTES_MAX: usize = 256;

/// Writes the block or state record; false where the event is neither.
pub(crate) fn write(data: &Declared, out: &mut String) -> bool {
    match Kind::of(data.ty()) {
        Some(Kind::Event(schema)) => {
            let Some(block) = StoredBlock::of(data) else {
                return false;
            };
            out.push_str(if schema.enter { "> " } else { "< " });
            out.push_str(schema.name);
            for (at, parameter) in schema.parameters.iter().enumerate() {
                let value = block.parameter(at);
                if value == Parameter::Absent {
                    continue;
                }
                let _ = write!(out, " {}=", parameter.name);
                match value {
                    Parameter::Value(Value::Text(text)) if parameter.ty == "socktuple" => {
                        match tuple_text(text) {
                            Some(tuple) => escape(tuple.as_bytes(), out),
                            None => escape(text, out),
                        }
                    }
                    Parameter::Value(value) => value_text(value, out),
                    Parameter::Raw(bytes) => escape(bytes, out),
                    Parameter::Parts => out.push('…'),
                    Parameter::Absent | Parameter::Empty => {}
                }
            }
            true
        }
        Some(Kind::List(list)) => {
            let Some(record) = StoredRecord::of(data) else {
                return false;
            };
            out.push_str("state ");
            out.push_str(list.name());
            for (name, _) in list.fields() {
                if let Some(value) = record.get(name) {
                    let _ = write!(out, " {name}=");
                    value_text(value, out);
                }
            }
            true
        }
        Some(Kind::Part | Kind::Opaque) | None => false,
    }
}

fn value_text(value: &Value, out: &mut String) {
    // Writing into a String cannot fail.
    let _ = match value {
        Value::Unsigned(number) => write!(out, "{number}"),
        Value::Signed(number) => write!(out, "{number}"),
        Value::Bool(flag) => write!(out, "{flag}"),
        Value::Text(text) => {
            escape(text, out);
            Ok(())
        }
    };
}

/// On one line: NUL between arguments becomes a blank, other control characters an escape.
fn escape(bytes: &[u8], out: &mut String) {
    let shown = &bytes[..bytes.len().min(SHOWN_BYTES_MAX)];
    let shown = shown.strip_suffix(&[0]).unwrap_or(shown);
    for character in String::from_utf8_lossy(shown).chars() {
        match character {
            '\0' => out.push(' '),
            control if control.is_control() => {
                let _ = write!(out, "\\x{:02x}", control as u32);
            }
            other => out.push(other),
        }
    }
    if bytes.len() > SHOWN_BYTES_MAX {
        out.push('…');
    }
}
