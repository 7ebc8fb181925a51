//! The tree of a condition, as written; [`super::condition`] makes it, [`super::compile`] types it.
//!
//! Positions (`at`) are bytes of the condition's text. A tree prints as a condition again.

use std::fmt;

/// A condition, as written.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expression {
    And(Vec<Expression>),
    Or(Vec<Expression>),
    Not(Box<Expression>),
    Macro { name: String, at: usize },
    Check(Check),
}

/// One comparison.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Check {
    pub left: Term,
    pub operator: Operator,
    pub operator_at: usize,
    pub modifier: Option<Modifier>,
    pub right: Right,
}

/// What has a value when an event comes: a field, or a transformer of fields.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Term {
    Field(FieldName),
    Call(Call),
}

/// A transformer: `tolower(proc.name)`, `getopt(proc.args, "f:")[f]`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Call {
    pub name: String,
    pub at: usize,
    pub arguments: Vec<Argument>,
    pub index: Option<String>,
}

/// What stands in a transformer's parentheses.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Argument {
    Term(Term),
    Value(Value),
    List(Vec<Argument>),
}

/// A field as written: `proc.aname[2]`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FieldName {
    pub name: String,
    pub argument: Option<String>,
    pub at: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Right {
    /// `exists` has none.
    None,
    One(Value),
    List(Vec<Value>),
    /// `val(field)`, or a transformer.
    Term(Term),
}

impl Term {
    /// Where it stands, and how a message names it.
    pub fn shown(&self) -> (usize, &str) {
        match self {
            Term::Field(field) => (field.at, &field.name),
            Term::Call(call) => (call.at, &call.name),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Value {
    pub text: Vec<u8>,
    pub at: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
    Intersects,
    Contains,
    IgnoreCaseContains,
    BytesContain,
    StartsWith,
    BytesStartWith,
    EndsWith,
    Glob,
    IgnoreCaseGlob,
    Regex,
    PrefixMatch,
    Exists,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Modifier {
    One,
    Any,
    All,
}

/// Names that are transformers also where a value could stand.
pub(super) const TRANSFORMERS: [&str; 8] = [
    "tolower", "toupper", "b64", "basename", "len", "join", "concat", "getopt",
];

/// Longest first, so that `<=` is not read as `<`.
pub(super) const OPERATORS: [(&str, Operator); 20] = [
    ("==", Operator::Equal),
    ("!=", Operator::NotEqual),
    ("<=", Operator::LessEqual),
    (">=", Operator::GreaterEqual),
    ("=", Operator::Equal),
    ("<", Operator::Less),
    (">", Operator::Greater),
    ("intersects", Operator::Intersects),
    ("in", Operator::In),
    ("contains", Operator::Contains),
    ("icontains", Operator::IgnoreCaseContains),
    ("bcontains", Operator::BytesContain),
    ("startswith", Operator::StartsWith),
    ("bstartswith", Operator::BytesStartWith),
    ("endswith", Operator::EndsWith),
    ("glob", Operator::Glob),
    ("iglob", Operator::IgnoreCaseGlob),
    ("regex", Operator::Regex),
    ("pmatch", Operator::PrefixMatch),
    ("exists", Operator::Exists),
];

pub(super) const OPERATOR_NAMES: &str = "an operator (= == != < <= > >= in intersects contains icontains bcontains \
     startswith bstartswith endswith pmatch glob iglob regex exists)";

impl Operator {
    pub fn name(self) -> &'static str {
        OPERATORS
            .iter()
            .find(|row| row.1 == self && row.0 != "==")
            .map_or("=", |row| row.0)
    }

    pub fn named(name: &str) -> Option<Operator> {
        OPERATORS.iter().find(|row| row.0 == name).map(|row| row.1)
    }

    pub fn takes_list(self) -> bool {
        matches!(
            self,
            Operator::In | Operator::Intersects | Operator::PrefixMatch
        )
    }
}

/// The text of a tree, with every parenthesis that it implies: parsing it gives the same tree.
impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expression::And(parts) => separated(f, parts, " and "),
            Expression::Or(parts) => separated(f, parts, " or "),
            Expression::Not(inner) => write!(f, "not {inner}"),
            Expression::Macro { name, .. } => f.write_str(name),
            Expression::Check(check) => check.fmt(f),
        }
    }
}

fn separated<T: fmt::Display>(f: &mut fmt::Formatter<'_>, parts: &[T], word: &str) -> fmt::Result {
    f.write_str("(")?;
    for (at, part) in parts.iter().enumerate() {
        write!(f, "{}{part}", if at > 0 { word } else { "" })?;
    }
    f.write_str(")")
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.left, self.operator.name())?;
        match self.modifier {
            None => {}
            Some(Modifier::One) => f.write_str(" oneof")?,
            Some(Modifier::Any) => f.write_str(" anyof")?,
            Some(Modifier::All) => f.write_str(" allof")?,
        }
        match &self.right {
            Right::None => Ok(()),
            Right::One(value) => write!(f, " {value}"),
            Right::List(values) => {
                f.write_str(" ")?;
                separated(f, values, ", ")
            }
            Right::Term(Term::Field(field)) => write!(f, " val({field})"),
            Right::Term(call) => write!(f, " {call}"),
        }
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Term::Field(field) => field.fmt(f),
            Term::Call(call) => {
                f.write_str(&call.name)?;
                separated(f, &call.arguments, ", ")?;
                bracketed(f, call.index.as_deref())
            }
        }
    }
}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Argument::Term(term) => term.fmt(f),
            Argument::Value(value) => value.fmt(f),
            Argument::List(list) => separated(f, list, ", "),
        }
    }
}

impl fmt::Display for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        bracketed(f, self.argument.as_deref())
    }
}

fn bracketed(f: &mut fmt::Formatter<'_>, index: Option<&str>) -> fmt::Result {
    match index {
        Some(index) => {
            f.write_str("[")?;
            quoted(f, index.as_bytes())?;
            f.write_str("]")
        }
        None => Ok(()),
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        quoted(f, &self.text)
    }
}

/// In single quotes; what is not printable ASCII as `\xHH`.
fn quoted(f: &mut fmt::Formatter<'_>, text: &[u8]) -> fmt::Result {
    f.write_str("'")?;
    for &byte in text {
        match byte {
            b'\'' | b'\\' => write!(f, "\\{}", byte as char)?,
            b' '..=b'~' => write!(f, "{}", byte as char)?,
            _ => write!(f, "\\x{byte:02x}")?,
        }
    }
    f.write_str("'")
}
