//! A block of an imported capture as text: `>` or `<`, its name and its parameters, as captured.

use std::io::Write;

use trace_format::{Declared, Value};

use super::{
    native::values::tuple_text,
    scap::families::{Kind, Parameter, StoredBlock, StoredRecord},
};
use crate::append;

/// Bytes of one value that are shown.
const SHOWN_BYTES_MAX: usize = 256;

/// Writes the block or state record; false where the event is neither. `kind` is its family's.
pub(crate) fn write(data: &Declared, kind: Kind, out: &mut Vec<u8>) -> bool {
    match kind {
        Kind::Event(schema) => {
            let Some(block) = StoredBlock::of_kind(data, kind) else {
                return false;
            };
            out.extend_from_slice(if schema.enter { b"> " } else { b"< " });
            out.extend_from_slice(schema.name.as_bytes());
            for (at, parameter) in schema.parameters.iter().enumerate() {
                let value = block.parameter(at);
                if value == Parameter::Absent {
                    continue;
                }
                name(parameter.name, out);
                match value {
                    Parameter::Value(Value::Text(text)) if parameter.ty == "socktuple" => {
                        match tuple_text(text) {
                            Some(tuple) => escape(tuple.as_bytes(), out),
                            None => escape(text, out),
                        }
                    }
                    Parameter::Value(value) => value_text(value, out),
                    Parameter::Raw(bytes) => escape(bytes, out),
                    Parameter::Parts => out.extend_from_slice("…".as_bytes()),
                    Parameter::Absent | Parameter::Empty => {}
                }
            }
            true
        }
        Kind::List(list) => {
            let Some(record) = StoredRecord::of(data) else {
                return false;
            };
            out.extend_from_slice(b"state ");
            out.extend_from_slice(list.name().as_bytes());
            for (field, _) in list.fields() {
                if let Some(value) = record.get(field) {
                    name(field, out);
                    value_text(value, out);
                }
            }
            true
        }
        Kind::Part | Kind::Opaque => false,
    }
}

fn name(name: &str, out: &mut Vec<u8>) {
    out.push(b' ');
    out.extend_from_slice(name.as_bytes());
    out.push(b'=');
}

fn value_text(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Unsigned(number) => append::decimal(*number, out),
        Value::Signed(number) => append::signed(*number, out),
        Value::Bool(flag) => append::flag(*flag, out),
        Value::Text(text) => escape(text, out),
    }
}

/// On one line: NUL between arguments becomes a blank, other control characters an escape.
fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    let shown = &bytes[..bytes.len().min(SHOWN_BYTES_MAX)];
    let shown = shown.strip_suffix(&[0]).unwrap_or(shown);
    if shown.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        out.extend_from_slice(shown);
    } else {
        for character in String::from_utf8_lossy(shown).chars() {
            match character {
                '\0' => out.push(b' '),
                // Writing into memory cannot fail.
                control if control.is_control() => {
                    let _ = write!(out, "\\x{:02x}", control as u32);
                }
                other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }
    if bytes.len() > SHOWN_BYTES_MAX {
        out.extend_from_slice("…".as_bytes());
    }
}
