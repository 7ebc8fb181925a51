//! The tree of a condition, as written; [`super::condition`] makes it, [`super::compile`] types it.
//!
//! Positions (`at`) are bytes of the condition's text.

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
    pub left: Left,
    pub operator: Operator,
    pub operator_at: usize,
    pub modifier: Option<Modifier>,
    pub right: Right,
}

/// The left side: a field, perhaps inside transformers (innermost last).
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Left {
    pub transformers: Vec<(String, usize)>,
    pub field: FieldName,
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
    /// `val(field)`.
    Field(FieldName),
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

pub(super) const OPERATOR_NAMES: &str = "an operator (= == != < <= > >= in intersects contains icontains startswith \
     endswith pmatch glob iglob exists …)";

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
