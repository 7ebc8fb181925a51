//! YAML with the place of every value, so that an error in a condition points into the file.
//!
//! Scalars stay as they are written: rule files mean `0.57.0` and `yes` as texts. Nesting, size and
//! aliases are bounded, because rule files are input.

use super::{LoadCode, LoadError};
use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

/// Falco's own file is 64 KiB; a thousand times that is a mistake.
const FILE_BYTES_MAX: usize = 64 << 20;
/// Rule files nest four deep (rule, exceptions, values, tuple).
const DEPTH_MAX: usize = 32;
/// Values that aliases may add.
const ALIASED_MAX: usize = 100_000;

/// A file being loaded: what positions refer to.
pub(super) struct File<'a> {
    pub name: &'a str,
    pub text: &'a str,
}

/// A value and where it begins.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub at: Place,
    pub value: Value,
}

/// A place in a file: line and column from 1, and the index of the character.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub line: usize,
    pub column: usize,
    index: usize,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Scalar { text: String, style: ScalarStyle },
    Sequence(Vec<Node>),
    Mapping(Vec<(Node, Node)>),
}

impl From<Marker> for Place {
    fn from(marker: Marker) -> Self {
        Place {
            line: marker.line(),
            column: marker.col() + 1,
            index: marker.index(),
        }
    }
}

impl Node {
    /// A text that is in no file.
    pub fn of_text(text: &str) -> Node {
        let value = Value::Scalar {
            text: text.to_owned(),
            style: ScalarStyle::Literal,
        };
        Node {
            at: Place::default(),
            value,
        }
    }

    pub fn scalar(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Empty: nothing after the colon, `~` or `null`.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, style: ScalarStyle::Plain }
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    pub fn what(&self) -> String {
        match &self.value {
            Value::Scalar { .. } if self.is_null() => "nothing".to_owned(),
            Value::Scalar { text, .. } => quoted(text),
            Value::Sequence(_) => "a list".to_owned(),
            Value::Mapping(_) => "a mapping".to_owned(),
        }
    }
}

/// A piece of input in a message, short enough to read.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN: usize = 40;
    let mut shown = String::from("`");
    for character in text.chars().take(SHOWN) {
        match character.is_control() {
            true => shown.extend(character.escape_debug()),
            false => shown.push(character),
        }
    }
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown.push('`');
    shown
}

impl File<'_> {
    pub fn error(
        &self,
        at: Place,
        token: impl Into<String>,
        expected: impl Into<String>,
    ) -> LoadError {
        LoadError {
            file: self.name.to_owned(),
            line: at.line,
            column: at.column,
            token: token.into(),
            expected: expected.into(),
            code: LoadCode::YamlValidate,
            item: None,
        }
    }

    /// The documents of the file.
    pub fn parse(&self) -> Result<Vec<Node>, LoadError> {
        if self.text.len() > FILE_BYTES_MAX {
            let start = Place {
                line: 1,
                column: 1,
                index: 0,
            };
            let found = format!("a file of {} bytes", self.text.len());
            return Err(self.error(start, found, format!("at most {FILE_BYTES_MAX}")));
        }
        let mut builder = Builder {
            file: self,
            open: Vec::new(),
            documents: Vec::new(),
            anchors: Vec::new(),
            aliased: 0,
        };
        for event in Parser::new_from_str(self.text) {
            match event {
                Ok((event, span)) => builder.event(event, span.start.into())?,
                Err(error) => {
                    let at = Place::from(*error.marker());
                    let info = error.info();
                    let found = info.strip_prefix("found ").unwrap_or(info);
                    return Err(self.error(at, found, "YAML").with(LoadCode::YamlParse));
                }
            }
        }
        Ok(builder.documents)
    }

    /// The place of a byte of a scalar's text. Folding and quoting change blanks and escapes only, so
    /// the count of other characters finds it again.
    pub fn place_in(&self, scalar: &Node, offset: usize) -> Place {
        let Value::Scalar { text, style } = &scalar.value else {
            return scalar.at;
        };
        let mut skip = text
            .char_indices()
            .take_while(|&(at, _)| at < offset)
            .filter(|(_, character)| !character.is_whitespace())
            .count();
        // Behind the last word there is nothing to point at but its end.
        let behind = text.as_bytes().get(offset..).unwrap_or_default();
        let at_end = behind.trim_ascii().is_empty();
        let mut place = scalar.at;
        let mut rest = self.text.chars().skip(scalar.at.index).peekable();
        let step = |place: &mut Place, rest: &mut std::iter::Peekable<_>| {
            let next: Option<char> = rest.next();
            match next {
                Some('\n') => {
                    place.line += 1;
                    place.column = 1;
                }
                Some(_) => place.column += 1,
                None => {}
            }
            next
        };
        match style {
            // The header line, such as `>-`; the content starts below it.
            ScalarStyle::Literal | ScalarStyle::Folded => {
                if matches!(rest.peek(), Some('|' | '>')) {
                    while !matches!(step(&mut place, &mut rest), Some('\n') | None) {}
                }
            }
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => {
                step(&mut place, &mut rest);
            }
            ScalarStyle::Plain => {}
        }
        loop {
            match rest.peek() {
                None => return scalar.at,
                Some(character) if character.is_whitespace() => {
                    step(&mut place, &mut rest);
                }
                Some(_) if skip == 0 => return place,
                Some(&character) => {
                    step(&mut place, &mut rest);
                    let blank = match (character, style) {
                        ('\\', ScalarStyle::DoubleQuoted) => {
                            let escape = step(&mut place, &mut rest);
                            let digits = match escape {
                                Some('x') => 2,
                                Some('u') => 4,
                                Some('U') => 8,
                                _ => 0,
                            };
                            (0..digits).for_each(|_| {
                                step(&mut place, &mut rest);
                            });
                            matches!(
                                escape,
                                Some('t' | 'n' | 'r' | 'v' | 'f' | ' ' | '\t' | '\n')
                            )
                        }
                        // Doubled.
                        ('\'', ScalarStyle::SingleQuoted) => {
                            step(&mut place, &mut rest);
                            false
                        }
                        _ => false,
                    };
                    if !blank {
                        skip -= 1;
                        if skip == 0 && at_end {
                            return place;
                        }
                    }
                }
            }
        }
    }
}

struct Builder<'f> {
    file: &'f File<'f>,
    open: Vec<Open>,
    documents: Vec<Node>,
    /// Finished values with an anchor.
    anchors: Vec<(usize, Node)>,
    aliased: usize,
}

struct Open {
    node: Node,
    anchor: usize,
    /// A mapping's key that waits for its value.
    key: Option<Node>,
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, at: Place) -> Result<(), LoadError> {
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let value = Value::Scalar {
                    text: text.into_owned(),
                    style,
                };
                self.done(Node { at, value }, anchor)
            }
            Event::SequenceStart(anchor, _) => self.start(Value::Sequence(Vec::new()), anchor, at),
            Event::MappingStart(anchor, _) => self.start(Value::Mapping(Vec::new()), anchor, at),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(open) => self.done(open.node, open.anchor),
                None => Ok(()),
            },
            Event::Alias(anchor) => {
                let found = self.anchors.iter().rev().find(|known| known.0 == anchor);
                let Some((_, node)) = found else {
                    return Err(self.file.error(at, "an alias", "an anchor before it"));
                };
                let node = node.clone();
                self.aliased += size(&node);
                if self.aliased > ALIASED_MAX {
                    return Err(self.file.error(
                        at,
                        "too many aliased values",
                        format!("at most {ALIASED_MAX}"),
                    ));
                }
                self.done(node, 0)
            }
            Event::DocumentEnd => {
                self.anchors.clear();
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => {
                Ok(())
            }
        }
    }

    fn start(&mut self, value: Value, anchor: usize, at: Place) -> Result<(), LoadError> {
        if self.open.len() >= DEPTH_MAX {
            return Err(self.file.error(
                at,
                "deeper nesting",
                format!("at most {DEPTH_MAX} levels"),
            ));
        }
        self.open.push(Open {
            node: Node { at, value },
            anchor,
            key: None,
        });
        Ok(())
    }

    fn done(&mut self, node: Node, anchor: usize) -> Result<(), LoadError> {
        if anchor != 0 {
            self.anchors.push((anchor, node.clone()));
        }
        let Some(open) = self.open.last_mut() else {
            self.documents.push(node);
            return Ok(());
        };
        match &mut open.node.value {
            Value::Sequence(items) => items.push(node),
            Value::Mapping(pairs) => match open.key.take() {
                None => {
                    if node
                        .scalar()
                        .is_some_and(|key| pairs.iter().any(|pair| pair.0.scalar() == Some(key)))
                    {
                        return Err(self.file.error(node.at, node.what(), "each key once"));
                    }
                    open.key = Some(node);
                }
                Some(key) => pairs.push((key, node)),
            },
            Value::Scalar { .. } => {}
        }
        Ok(())
    }
}

fn size(node: &Node) -> usize {
    1 + match &node.value {
        Value::Scalar { .. } => 0,
        Value::Sequence(items) => items.iter().map(size).sum(),
        Value::Mapping(pairs) => pairs
            .iter()
            .map(|(key, value)| size(key) + size(value))
            .sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition_place(yaml: &str, word: &str) -> (usize, usize) {
        let file = File {
            name: "t",
            text: yaml,
        };
        let documents = file.parse().unwrap();
        let Value::Mapping(pairs) = &documents[0].value else {
            panic!("a mapping")
        };
        let (_, value) = pairs
            .iter()
            .find(|pair| pair.0.scalar() == Some("condition"))
            .unwrap();
        let place = file.place_in(value, value.scalar().unwrap().find(word).unwrap());
        (place.line, place.column)
    }

    #[test]
    fn a_word_is_found_in_every_scalar_style() {
        for yaml in [
            "a: 1\ncondition: evt.type = open and BAD\n",
            "condition: evt.type = open\n  and BAD\n",
            "condition: >\n  evt.type = open\n\n  and   BAD or\n  x\n",
            "condition: >-\n  # not a comment\n  BAD\n",
            "condition: |\n    one\n    two BAD\n",
            "condition: 'it''s one and BAD'\n",
            "condition: \"a\\tb \\\"c\\\" BAD\"\n",
        ] {
            let line = yaml.lines().position(|line| line.contains("BAD")).unwrap();
            let column = yaml.lines().nth(line).unwrap().find("BAD").unwrap();
            assert_eq!(
                condition_place(yaml, "BAD"),
                (line + 1, column + 1),
                "{yaml}"
            );
        }
    }

    #[test]
    fn scalars_stay_as_written() {
        let file = File {
            name: "t",
            text: "[0x10, yes, 0.57.0, 010, ~]",
        };
        let documents = file.parse().unwrap();
        let Value::Sequence(items) = &documents[0].value else {
            panic!("a list")
        };
        let texts: Vec<_> = items.iter().map(|item| item.scalar().unwrap()).collect();
        assert_eq!(texts, ["0x10", "yes", "0.57.0", "010", "~"]);
        assert!(items[4].is_null());
    }

    #[test]
    fn hostile_yaml_is_refused_at_its_bounds() {
        let deep = "[".repeat(100_000);
        assert!(
            File {
                name: "t",
                text: &deep
            }
            .parse()
            .is_err()
        );
        let deep = "- ".repeat(DEPTH_MAX + 1);
        let error = File {
            name: "t",
            text: &deep,
        }
        .parse()
        .unwrap_err();
        assert!(error.to_string().contains("nesting"), "{error}");

        let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..10 {
            laughs += &format!(
                "a{level}: &a{level} [{}]\n",
                vec![format!("*a{}", level - 1); 10].join(", ")
            );
        }
        let error = File {
            name: "t",
            text: &laughs,
        }
        .parse()
        .unwrap_err();
        assert!(error.to_string().contains("aliased"), "{error}");

        let error = File {
            name: "t",
            text: "a: 1\na: 2\n",
        }
        .parse()
        .unwrap_err();
        assert_eq!((error.line, error.column), (2, 1), "{error}");
        let error = File {
            name: "t",
            text: "a: [1\nb: }",
        }
        .parse()
        .unwrap_err();
        assert_eq!(error.file, "t");
    }
}
