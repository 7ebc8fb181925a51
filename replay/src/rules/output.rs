//! Output texts of rules: `Shell in %container.name (%proc.cmdline)`.

use super::{
    FieldValue, compile,
    condition::{self, SyntaxError},
    fields::{Field, Id, Kind},
    node::Scratch,
    operand::{Computed, Operand},
    subject::Subject,
    syntax::{FieldName, TRANSFORMERS},
};
use std::sync::Arc;

/// The fields that an output text names, as far as it can be read.
pub(super) fn fields(text: &str) -> Vec<FieldName> {
    let mut found = Vec::new();
    for part in text.split('%').skip(1) {
        let part = part.trim_start_matches(|character: char| character.is_ascii_digit());
        let part = match part.split_once('(') {
            Some((name, inside)) if TRANSFORMERS.contains(&name) => inside,
            _ => part,
        };
        let end = part.find(|character: char| {
            !character.is_ascii_alphanumeric() && !"._".contains(character)
        });
        let name = part[..end.unwrap_or(part.len())].trim_end_matches('.');
        let argument = part[name.len()..].strip_prefix('[');
        let argument = argument.and_then(|rest| Some(rest.split_once(']')?.0.to_owned()));
        if name.contains('.') {
            found.push(FieldName {
                name: name.to_owned(),
                argument,
                at: 0,
            });
        }
    }
    found
}

/// A compiled output text.
#[derive(Clone, Debug)]
pub(super) struct Template(Arc<[Part]>);

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Field {
        field: Field,
        name: Arc<str>,
        width: Option<usize>,
    },
    Transformed {
        operand: Operand,
        name: Arc<str>,
        width: Option<usize>,
    },
}

/// A field's minimum width: a line of output is not wider.
const WIDTH_MAX: usize = 1000;

impl Template {
    pub fn compile(text: &str) -> Result<Template, SyntaxError> {
        // A leading star asked older versions to print even with missing values; now that is always so.
        let mut at = if text.starts_with('*') { 1 } else { 0 };
        let mut parts = Vec::new();
        while at < text.len() {
            let rest = &text[at..];
            match rest.find('%') {
                Some(0) => at = Template::field(text, at, &mut parts)?,
                found => {
                    let end = found.unwrap_or(rest.len());
                    parts.push(Part::Text(rest[..end].to_owned()));
                    at += end;
                }
            }
        }
        Ok(Template(parts.into()))
    }

    /// One `%field`; returns where it ends.
    fn field(text: &str, start: usize, parts: &mut Vec<Part>) -> Result<usize, SyntaxError> {
        let mut at = start + 1;
        let take = |at: usize, allowed: fn(char) -> bool| {
            let rest = &text[at..];
            rest.find(|character| !allowed(character))
                .unwrap_or(rest.len())
        };
        let problem = |at: usize, token: &str, expected: &str| SyntaxError {
            at,
            token: super::yaml::quoted(token),
            expected: expected.to_owned(),
            unknown: false,
        };
        let digits = take(at, |character| character.is_ascii_digit());
        let width = match &text[at..at + digits] {
            "" => None,
            number => match number.parse() {
                Ok(width) if width <= WIDTH_MAX => Some(width),
                _ => return Err(problem(at, number, "a width of at most 1000")),
            },
        };
        at += digits;
        let word = take(at, |character| character.is_ascii_alphanumeric());
        if TRANSFORMERS.contains(&&text[at..at + word]) && text[at + word..].starts_with('(') {
            let moved = |error: SyntaxError| SyntaxError {
                at: error.at + at,
                ..error
            };
            let (term, length) = condition::term(&text[at..]).map_err(moved)?;
            parts.push(Part::Transformed {
                operand: Operand::compile(&term).map_err(moved)?,
                name: text[at..at + length].into(),
                width,
            });
            return Ok(at + length);
        }
        let mut length = take(at, |character| {
            character.is_ascii_alphanumeric() || "._".contains(character)
        });
        // A full stop behind a field ends the sentence.
        while text[at..at + length].ends_with('.') {
            length -= 1;
        }
        if length == 0 {
            return Err(problem(
                start,
                &text[start..(start + 1 + digits).min(text.len())],
                "a field after %",
            ));
        }
        let name = text[at..at + length].to_owned();
        let field_at = at;
        at += length;
        let mut argument = None;
        if text[at..].starts_with('[') {
            let Some(end) = text[at..].find(']') else {
                return Err(problem(at, "[", "a closing ]"));
            };
            argument = Some(text[at + 1..at + end].to_owned());
            at += end + 1;
        }
        let shown = match &argument {
            Some(argument) => format!("{name}[{argument}]"),
            None => name.clone(),
        };
        let field = compile::field(&FieldName {
            name,
            argument,
            at: field_at,
        })?;
        parts.push(Part::Field {
            field,
            name: shown.into(),
            width,
        });
        Ok(at)
    }

    /// The text and the values of its fields.
    pub fn render(
        &self,
        subject: &Subject<'_>,
        scratch: &mut Scratch,
    ) -> (String, Vec<(Arc<str>, FieldValue)>) {
        let mut output = String::new();
        let mut values: Vec<(Arc<str>, FieldValue)> = Vec::new();
        for part in self.0.iter() {
            match part {
                Part::Text(text) => output.push_str(text),
                Part::Field { field, name, width } => {
                    let value = value(subject, field, scratch);
                    push(&mut output, &shown(subject, field, &value), *width);
                    keep(&mut values, name, value);
                }
                Part::Transformed {
                    operand,
                    name,
                    width,
                } => {
                    let value = computed(operand.value(subject, scratch));
                    push(&mut output, &plain(&value), *width);
                    keep(&mut values, name, value);
                }
            }
        }
        (output, values)
    }
}

fn push(output: &mut String, text: &str, width: Option<usize>) {
    match width {
        Some(width) => output.extend(text.chars().chain(std::iter::repeat(' ')).take(width)),
        None => output.push_str(text),
    }
}

/// Each field once, in order of appearance.
fn keep(values: &mut Vec<(Arc<str>, FieldValue)>, name: &Arc<str>, value: FieldValue) {
    if !values.iter().any(|known| known.0 == *name) {
        values.push((name.clone(), value));
    }
}

fn computed(value: Option<Computed>) -> FieldValue {
    let text = |text: Vec<u8>| FieldValue::Text(String::from_utf8_lossy(&text).into_owned());
    match value {
        None => FieldValue::Missing,
        Some(Computed::Text(value)) => text(value),
        Some(Computed::Number(number)) => FieldValue::Number(number),
        Some(Computed::Flag(flag)) => FieldValue::Boolean(flag),
        Some(Computed::List(texts)) => text(texts.join(&b' ')),
    }
}

/// A field's value with its native type.
fn value(subject: &Subject<'_>, field: &Field, scratch: &mut Scratch) -> FieldValue {
    let value = match field.kind {
        Kind::Text if field.id == Id::Time => subject
            .state
            .wall_ns(subject.event.boot_ns)
            .and_then(|wall_ns| i64::try_from(wall_ns).ok())
            .map(FieldValue::Number),
        Kind::Text => subject
            .text(field, scratch.text())
            .map(|text| FieldValue::Text(String::from_utf8_lossy(text).into_owned())),
        Kind::Number if field.many => {
            let mut ids = Vec::new();
            let all = subject.any_number(field, |id| {
                ids.push(id.to_string());
                false
            });
            all.map(|_| FieldValue::Text(ids.join(" ")))
        }
        Kind::Number => subject.number(field).map(FieldValue::Number),
        Kind::Boolean => subject.boolean(field).map(FieldValue::Boolean),
        Kind::Address | Kind::Network => {
            let mut ends = subject.ends(field.id).into_iter().flatten();
            ends.next().map(|end| FieldValue::Text(end.0.to_string()))
        }
    };
    value.unwrap_or(FieldValue::Missing)
}

fn shown(subject: &Subject<'_>, field: &Field, value: &FieldValue) -> String {
    match value {
        FieldValue::Number(_) if field.id == Id::Time => {
            let mut time = Vec::new();
            let text = subject
                .text(field, &mut time)
                .unwrap_or(super::subject::UNKNOWN);
            String::from_utf8_lossy(text).into_owned()
        }
        value => plain(value),
    }
}

fn plain(value: &FieldValue) -> String {
    match value {
        FieldValue::Missing => "<NA>".to_owned(),
        FieldValue::Number(number) => number.to_string(),
        FieldValue::Boolean(value) => value.to_string(),
        FieldValue::Text(text) => escaped(text),
    }
}

/// Control characters as JSON writes them: output goes to terminals and logs.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            control if control.is_control() => {
                out.push_str(&format!("\\u{:04x}", u32::from(control)))
            }
            other => out.push(other),
        }
    }
    out
}
