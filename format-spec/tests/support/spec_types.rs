//! The types that SPEC.md writes in its tables, and values read by them: a small reader that knows the
//! page and nothing of the code, so that comparing the two means something.
//!
//! A type is `u8` … `u64`, `i64`, `bool`, `string`, `bytes`, `[u8;N]`, `list of TYPE`, `{name TYPE, …}`,
//! `(TYPE, …)` or `enum(name, …)`.
#![allow(dead_code, reason = "each test program uses its own part of this")]

use serde_json::{Map, Value as Json, json};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    Unsigned(usize),
    Signed(usize),
    Bool,
    String,
    Bytes,
    Array(usize),
    List(Box<Type>),
    Struct(Vec<(String, Type)>),
    Tuple(Vec<Type>),
    Enum(Vec<String>),
}

/// Fields as a table cell has them: `pid u32, comm bytes`.
pub fn fields(text: &str) -> Result<Type, String> {
    if text == "–" {
        return Ok(Type::Struct(Vec::new()));
    }
    split(text)?
        .into_iter()
        .map(|field| {
            let (name, ty) = field
                .split_once(' ')
                .ok_or_else(|| format!("{field:?} is not a name and a type"))?;
            // A plus says that older records end before it; those of today have it.
            Ok((name.trim_start_matches('+').to_owned(), parse(ty)?))
        })
        .collect::<Result<_, String>>()
        .map(Type::Struct)
}

pub fn parse(text: &str) -> Result<Type, String> {
    let text = text.trim().trim_matches('`');
    let inside = |open: &str, close: &str| {
        text.strip_prefix(open)
            .and_then(|text| text.strip_suffix(close))
    };
    Ok(match text {
        "bool" => Type::Bool,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "u8" | "u16" | "u32" | "u64" => Type::Unsigned(text[1..].parse::<usize>().unwrap() / 8),
        "i32" | "i64" => Type::Signed(text[1..].parse::<usize>().unwrap() / 8),
        _ => {
            if let Some(of) = text.strip_prefix("list of ") {
                Type::List(Box::new(parse(of)?))
            } else if let Some(of) = inside("{", "}") {
                fields(of)?
            } else if let Some(of) = inside("enum(", ")") {
                Type::Enum(split(of)?.into_iter().map(str::to_owned).collect())
            } else if let Some(of) = inside("(", ")") {
                Type::Tuple(
                    split(of)?
                        .into_iter()
                        .map(parse)
                        .collect::<Result<_, _>>()?,
                )
            } else if let Some(count) = inside("[u8;", "]") {
                Type::Array(
                    count
                        .trim()
                        .parse()
                        .map_err(|error| format!("{text}: {error}"))?,
                )
            } else {
                return Err(format!("{text:?} is no type"));
            }
        }
    })
}

/// Parts between commas that are in no bracket.
fn split(text: &str) -> Result<Vec<&str>, String> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0u32, 0);
    for (place, char) in text.char_indices() {
        match char {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => {
                depth = depth
                    .checked_sub(1)
                    .ok_or_else(|| format!("{text:?} closes a bracket too many"))?;
            }
            ',' if depth == 0 => {
                parts.push(text[start..place].trim());
                start = place + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    Ok(parts)
}

impl Type {
    /// Takes a value off the front of `bytes`, by SPEC.md §bincode; as §JSON prints it.
    pub fn take(&self, bytes: &mut &[u8]) -> Result<Json, String> {
        Ok(match self {
            Type::Unsigned(len) => json!(number(*len, bytes)?),
            Type::Signed(len) => {
                let shift = 64 - 8 * *len as u32;
                json!(((number(*len, bytes)? << shift) as i64) >> shift)
            }
            Type::Bool => json!(number(1, bytes)? == 1),
            Type::String => {
                let len = number(8, bytes)? as usize;
                json!(String::from_utf8(part(len, bytes)?.to_vec()).map_err(|e| e.to_string())?)
            }
            Type::Bytes => {
                let len = number(8, bytes)? as usize;
                serde_json::to_value(trace_format::Text::new(part(len, bytes)?)).unwrap()
            }
            Type::Array(len) => {
                json!(
                    part(*len, bytes)?
                        .iter()
                        .map(|byte| format!("{byte:02x}"))
                        .collect::<String>()
                )
            }
            Type::List(of) => Json::Array(
                (0..number(8, bytes)?)
                    .map(|_| of.take(bytes))
                    .collect::<Result<_, _>>()?,
            ),
            Type::Struct(fields) => Json::Object(
                fields
                    .iter()
                    .map(|(name, ty)| Ok((name.clone(), ty.take(bytes)?)))
                    .collect::<Result<Map<_, _>, String>>()?,
            ),
            Type::Tuple(types) => Json::Array(
                types
                    .iter()
                    .map(|ty| ty.take(bytes))
                    .collect::<Result<_, _>>()?,
            ),
            Type::Enum(names) => {
                let number = number(4, bytes)? as usize;
                json!(
                    names
                        .get(number)
                        .ok_or_else(|| format!("variant {number} of {names:?}"))?
                )
            }
        })
    }

    /// All of `bytes`, nothing left over.
    pub fn read(&self, mut bytes: &[u8]) -> Result<Json, String> {
        let value = self.take(&mut bytes)?;
        if bytes.is_empty() {
            Ok(value)
        } else {
            Err(format!(
                "{} bytes are left over behind {value}",
                bytes.len()
            ))
        }
    }
}

fn part<'a>(len: usize, bytes: &mut &'a [u8]) -> Result<&'a [u8], String> {
    if len > bytes.len() {
        return Err(format!("{len} bytes wanted, {} left", bytes.len()));
    }
    let (taken, rest) = bytes.split_at(len);
    *bytes = rest;
    Ok(taken)
}

pub fn number(len: usize, bytes: &mut &[u8]) -> Result<u64, String> {
    Ok(part(len, bytes)?
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u64::from(*byte)))
}
