//! A block of an imported capture as text: `>` or `<`, its name and its parameters, as captured.

use trace_format::{Declared, Value};

use super::{
    native::values::tuple_text,
    scap::stored::{Kind, Parameter, StoredBlock, StoredRecord},
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
        for chunk in shown.utf8_chunks() {
            escape_text(chunk.valid(), out);
            if !chunk.invalid().is_empty() {
                out.extend_from_slice("\u{fffd}".as_bytes());
            }
        }
    }
    if bytes.len() > SHOWN_BYTES_MAX {
        out.extend_from_slice("…".as_bytes());
    }
}

fn escape_text(text: &str, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut written = 0;
    for (at, character) in text.char_indices().filter(|it| it.1.is_control()) {
        out.extend_from_slice(&text.as_bytes()[written..at]);
        written = at + character.len_utf8();
        match character {
            '\0' => out.push(b' '),
            // All of them are below U+00A0.
            control => {
                let code = control as usize;
                out.extend_from_slice(b"\\x");
                out.extend([DIGITS[code >> 4 & 15], DIGITS[code & 15]]);
            }
        }
    }
    out.extend_from_slice(&text.as_bytes()[written..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        escape(bytes, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_stay_on_one_line() {
        assert_eq!(escaped(b"/usr/bin/id"), "/usr/bin/id");
        assert_eq!(escaped(b"id\0-u\0"), "id -u");
        assert_eq!(escaped(b"a\nb\x7f\0\0"), "a\\x0ab\\x7f ");
        assert_eq!(escaped("gr\u{f6}\u{85}".as_bytes()), "gr\u{f6}\\x85");
        assert_eq!(escaped(b"\xff\xfeok\xc3"), "\u{fffd}\u{fffd}ok\u{fffd}");
        let long = escaped(&[b'x'; SHOWN_BYTES_MAX + 1]);
        assert_eq!(long, "x".repeat(SHOWN_BYTES_MAX) + "\u{2026}");
    }
}
