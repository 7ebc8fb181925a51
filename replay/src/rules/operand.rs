//! Values that are worked out when an event comes: transformers of fields (`tolower(proc.name)`), and
//! what stands on the right side of a comparison with another field.
//!
//! Plain fields against plain values have paths of their own in [`super::node`] that allocate nothing;
//! this is the general and slower way.

use super::{
    compile,
    condition::SyntaxError,
    fields::{Field, Kind},
    node::Scratch,
    subject::Subject,
    syntax::{Argument, Call, Term},
    yaml::quoted,
};

/// A side of a comparison.
#[derive(Clone, Debug)]
pub(super) enum Operand {
    Field(Field),
    Text(Vec<u8>),
    List(Box<[Operand]>),
    Call(Function, Box<[Operand]>),
}

#[derive(Clone, Debug)]
pub(super) enum Function {
    Lower,
    Upper,
    Basename,
    Base64,
    Length,
    Concat,
    /// With the separator.
    Join(Vec<u8>),
    /// With the options that take a value, and the one that is asked for.
    Option(Box<[u8]>, u8),
}

/// What an operand is worth.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Computed {
    Text(Vec<u8>),
    Number(i64),
    Flag(bool),
    List(Vec<Vec<u8>>),
}

/// What kind of value to expect, for the choice of comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Text,
    Number,
    Flag,
    List,
}

fn problem(at: usize, token: &str, expected: impl Into<String>) -> SyntaxError {
    SyntaxError {
        at,
        token: quoted(token),
        expected: expected.into(),
        unknown: false,
    }
}

impl Operand {
    pub fn compile(term: &Term) -> Result<Operand, SyntaxError> {
        match term {
            Term::Field(name) => Ok(Operand::Field(compile::field(name)?)),
            Term::Call(call) => Operand::call(call),
        }
    }

    fn call(call: &Call) -> Result<Operand, SyntaxError> {
        let wrong = |expected: &str| problem(call.at, &call.name, expected);
        if call.index.is_some() && call.name != "getopt" {
            return Err(wrong("no [ ] behind a transformer but getopt"));
        }
        let one = || match call.arguments.as_slice() {
            [Argument::Term(term)] => Operand::compile(term),
            _ => Err(wrong(&format!("{}(field) with one field", call.name))),
        };
        // Transformers of texts take each element of a list.
        let texts = |function: Function| {
            let inner = one()?;
            match inner.shape() {
                Shape::Text | Shape::List => Ok(Operand::Call(function, [inner].into())),
                _ => Err(wrong("a text field in a transformer")),
            }
        };
        match call.name.as_str() {
            "tolower" => texts(Function::Lower),
            "toupper" => texts(Function::Upper),
            "basename" => texts(Function::Basename),
            "b64" => texts(Function::Base64),
            "len" => texts(Function::Length),
            "concat" => {
                let parts = parts(&call.arguments)?;
                if parts.len() < 2 {
                    return Err(wrong("concat(a, b, …) with two values or more"));
                }
                Ok(Operand::Call(Function::Concat, parts.into()))
            }
            "join" => {
                let [Argument::Value(separator), list] = call.arguments.as_slice() else {
                    return Err(wrong("join(\"separator\", (a, b, …))"));
                };
                let list = match list {
                    Argument::List(items) => Operand::List(parts(items)?.into()),
                    Argument::Term(term) => Operand::compile(term)?,
                    Argument::Value(_) => return Err(wrong("join(\"separator\", (a, b, …))")),
                };
                let function = Function::Join(separator.text.clone());
                Ok(Operand::Call(function, [list].into()))
            }
            "getopt" => {
                let usage = "getopt(field, \"ab:\")[a]: options, those with a value before a colon, and one of them";
                let [Argument::Term(arguments), Argument::Value(options)] =
                    call.arguments.as_slice()
                else {
                    return Err(wrong(usage));
                };
                let wanted = match call.index.as_deref().map(str::as_bytes) {
                    Some(&[wanted]) if wanted != b':' && options.text.contains(&wanted) => wanted,
                    _ => return Err(wrong(usage)),
                };
                let valued = options
                    .text
                    .windows(2)
                    .filter(|pair| pair[1] == b':')
                    .map(|pair| pair[0]);
                let function = Function::Option(valued.collect(), wanted);
                Ok(Operand::Call(
                    function,
                    [Operand::compile(arguments)?].into(),
                ))
            }
            _ => Err(wrong(
                "a transformer: tolower toupper b64 basename len join concat getopt",
            )),
        }
    }

    pub fn shape(&self) -> Shape {
        match self {
            Operand::Field(field) if field.many => Shape::List,
            Operand::Field(field) => match field.kind {
                Kind::Number => Shape::Number,
                Kind::Boolean => Shape::Flag,
                Kind::Text | Kind::Address | Kind::Network => Shape::Text,
            },
            Operand::Text(_) => Shape::Text,
            Operand::List(_) => Shape::List,
            Operand::Call(Function::Length, _) => Shape::Number,
            Operand::Call(Function::Concat | Function::Join(_) | Function::Option(..), _) => {
                Shape::Text
            }
            Operand::Call(_, inner) => inner.first().map_or(Shape::Text, Operand::shape),
        }
    }

    /// The fields it is made of.
    pub fn fields(&self, each: &mut impl FnMut(&Field)) {
        match self {
            Operand::Field(field) => each(field),
            Operand::Text(_) => {}
            Operand::List(parts) | Operand::Call(_, parts) => {
                parts.iter().for_each(|part| part.fields(each));
            }
        }
    }

    /// Its value for an event; `None` when a part is missing.
    pub fn value(&self, subject: &Subject<'_>, scratch: &mut Scratch) -> Option<Computed> {
        match self {
            Operand::Field(field) => of_field(field, subject, scratch),
            Operand::Text(text) => Some(Computed::Text(text.clone())),
            Operand::List(parts) => {
                let texts = parts.iter().map(|part| part.text(subject, scratch));
                Some(Computed::List(texts.collect::<Option<_>>()?))
            }
            Operand::Call(Function::Concat, parts) => {
                let texts = parts.iter().map(|part| part.text(subject, scratch));
                Some(Computed::Text(texts.collect::<Option<Vec<_>>>()?.concat()))
            }
            Operand::Call(function, inner) => {
                function.apply(inner.first()?.value(subject, scratch)?)
            }
        }
    }

    /// The same as text.
    fn text(&self, subject: &Subject<'_>, scratch: &mut Scratch) -> Option<Vec<u8>> {
        Some(match self.value(subject, scratch)? {
            Computed::Text(text) => text,
            Computed::Number(number) => number.to_string().into_bytes(),
            Computed::Flag(flag) => flag.to_string().into_bytes(),
            Computed::List(texts) => texts.join(&b' '),
        })
    }
}

fn parts(arguments: &[Argument]) -> Result<Vec<Operand>, SyntaxError> {
    arguments
        .iter()
        .map(|argument| match argument {
            Argument::Term(term) => Operand::compile(term),
            Argument::Value(value) => Ok(Operand::Text(value.text.clone())),
            Argument::List(inner) => Ok(Operand::List(parts(inner)?.into())),
        })
        .collect()
}

fn of_field(field: &Field, subject: &Subject<'_>, scratch: &mut Scratch) -> Option<Computed> {
    Some(match field.kind {
        Kind::Text if field.many => {
            let mut texts = Vec::new();
            subject.any_text(field, |text| {
                texts.push(text.to_vec());
                false
            })?;
            Computed::List(texts)
        }
        Kind::Text => Computed::Text(subject.text(field, scratch.text())?.to_vec()),
        Kind::Number if field.many => {
            let mut texts = Vec::new();
            subject.any_number(field, |number| {
                texts.push(number.to_string().into_bytes());
                false
            })?;
            Computed::List(texts)
        }
        Kind::Number => Computed::Number(subject.number(field)?),
        Kind::Boolean => Computed::Flag(subject.boolean(field)?),
        Kind::Address | Kind::Network => {
            let end = subject.ends(field.id).into_iter().flatten().next()?;
            Computed::Text(end.0.to_string().into_bytes())
        }
    })
}

impl Function {
    fn apply(&self, value: Computed) -> Option<Computed> {
        match (self, value) {
            (Function::Length, Computed::Text(text)) => {
                Some(Computed::Number(i64::try_from(text.len()).ok()?))
            }
            (Function::Length, Computed::List(texts)) => {
                Some(Computed::Number(i64::try_from(texts.len()).ok()?))
            }
            (Function::Join(separator), Computed::List(texts)) => {
                Some(Computed::Text(texts.join(&separator[..])))
            }
            (Function::Join(_), Computed::Text(text)) => Some(Computed::Text(text)),
            (Function::Option(valued, wanted), Computed::Text(text)) => {
                option(&text, valued, *wanted).map(Computed::Text)
            }
            (_, Computed::Text(text)) => Some(Computed::Text(self.text(text)?)),
            (_, Computed::List(texts)) => {
                let texts = texts.into_iter().map(|text| self.text(text));
                Some(Computed::List(texts.collect::<Option<_>>()?))
            }
            _ => None,
        }
    }

    fn text(&self, mut text: Vec<u8>) -> Option<Vec<u8>> {
        match self {
            Function::Lower => text.make_ascii_lowercase(),
            Function::Upper => text.make_ascii_uppercase(),
            Function::Basename => {
                let start = text.iter().rposition(|&byte| byte == b'/');
                text.drain(..start.map_or(0, |at| at + 1));
            }
            Function::Base64 => return base64(&text),
            _ => return None,
        }
        Some(text)
    }
}

/// The value of an option in a command line, as getopt finds it: `-f x`, `-fx` or among others in one
/// word; empty for an option that takes none. The last one counts; `--` ends the options.
fn option(arguments: &[u8], valued: &[u8], wanted: u8) -> Option<Vec<u8>> {
    let mut words = arguments
        .split(|&byte| byte == b' ')
        .filter(|word| !word.is_empty());
    let mut found = None;
    while let Some(word) = words.next() {
        let Some(letters) = word.strip_prefix(b"-") else {
            continue;
        };
        if letters == b"-" {
            break;
        }
        if letters.starts_with(b"-") {
            continue;
        }
        for (at, &letter) in letters.iter().enumerate() {
            if !valued.contains(&letter) {
                if letter == wanted {
                    found = Some(Vec::new());
                }
                continue;
            }
            let value = match &letters[at + 1..] {
                [] => words.next().unwrap_or_default(),
                rest => rest,
            };
            if letter == wanted {
                found = Some(value.to_vec());
            }
            break;
        }
    }
    found
}

/// Decodes base64 of either alphabet, with or without padding; `None` when it is none.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii();
    let body = text
        .strip_suffix(b"==")
        .or(text.strip_suffix(b"="))
        .unwrap_or(text);
    let mut out = Vec::with_capacity(body.len() * 3 / 4);
    let (mut bits, mut held) = (0u32, 0u32);
    for &byte in body {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    // One letter alone is no byte.
    (body.len() % 4 != 1).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_decoded_or_missing() {
        for (text, expected) in [
            ("aGVsbG8=", Some("hello")),
            ("aGVsbG8", Some("hello")),
            ("aGk/aGk+", Some("hi?hi>")),
            ("aGk_aGk-", Some("hi?hi>")),
            ("", Some("")),
            ("a", None),
            ("a b", None),
            ("====", None),
        ] {
            let decoded = base64(text.as_bytes());
            assert_eq!(decoded.as_deref(), expected.map(str::as_bytes), "{text}");
        }
    }

    #[test]
    fn options_are_found_as_getopt_finds_them() {
        for (line, wanted, expected) in [
            ("-v -f x y", b'f', Some("x")),
            ("-fx", b'f', Some("x")),
            ("-vfx", b'f', Some("x")),
            ("-vfx", b'v', Some("")),
            ("-f x -f z", b'f', Some("z")),
            ("-f", b'f', Some("")),
            ("-f -v", b'v', None),
            ("--force x", b'f', None),
            ("-- -f x", b'f', None),
            ("f x", b'f', None),
        ] {
            let found = option(line.as_bytes(), b"f", wanted);
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{line}");
        }
    }
}
