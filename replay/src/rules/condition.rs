//! The grammar of conditions: text to tree.
//!
//! ```text
//! or    := and ("or" and)*            and := not ("and" not)*          not := "not"* term
//! term  := "(" or ")" | left operator right | left "exists" | macro
//! left  := field | call               call := name "(" argument ("," argument)* ")" ["[" … "]"]
//! right := value | "(" [value ("," value)*] ")" | "val" "(" left ")" | call
//! argument := left | value | "(" argument ("," argument)* ")"
//! ```

use super::syntax::*;

/// Parentheses in parentheses: Falco's own rules nest five deep.
const DEPTH_MAX: usize = 100;

/// Where a condition stops making sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SyntaxError {
    /// Byte of the text.
    pub at: usize,
    pub token: String,
    pub expected: String,
    /// The field or event type may exist in another version: a rule can ask to be skipped then.
    pub unknown: bool,
}

pub(super) fn parse(text: &str) -> Result<Expression, SyntaxError> {
    let mut parser = Parser {
        text,
        at: 0,
        depth: 0,
    };
    let expression = parser.or()?;
    parser.blanks();
    if parser.at < text.len() {
        return Err(parser.error("`and`, `or` or the end"));
    }
    Ok(expression)
}

/// A field or transformer at the start of a text, and where it ends.
pub(super) fn term(text: &str) -> Result<(Term, usize), SyntaxError> {
    let mut parser = Parser {
        text,
        at: 0,
        depth: 0,
    };
    let term = parser.left()?;
    Ok((term, parser.at))
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(
            self.peek(),
            Some(b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
        ) {
            self.at += 1;
        }
    }

    fn error(&self, expected: &str) -> SyntaxError {
        let rest = self.rest();
        let end = match rest.find(|character: char| " \t\r\n()=,".contains(character)) {
            Some(0) => rest.chars().next().map_or(0, char::len_utf8),
            Some(end) => end,
            None => rest.len(),
        };
        let token = if rest.is_empty() {
            "the end".to_owned()
        } else {
            super::yaml::quoted(&rest[..end])
        };
        SyntaxError {
            at: self.at,
            token,
            expected: expected.to_owned(),
            unknown: false,
        }
    }

    /// Takes a character if it comes next, after blanks.
    fn takes(&mut self, character: u8) -> bool {
        self.blanks();
        let found = self.peek() == Some(character);
        if found {
            self.at += 1;
        }
        found
    }

    /// Takes a word that is followed by a blank, a parenthesis or the end.
    fn takes_word(&mut self, word: &str) -> bool {
        self.blanks();
        let found = self.rest().strip_prefix(word).is_some_and(|rest| {
            rest.bytes()
                .next()
                .is_none_or(|next| next.is_ascii_whitespace() || next == b'(' || next == b')')
        });
        if found {
            self.at += word.len();
        }
        found
    }

    fn or(&mut self) -> Result<Expression, SyntaxError> {
        let mut parts = vec![self.and()?];
        while self.takes_word("or") {
            parts.push(self.and()?);
        }
        Ok(joined(parts, Expression::Or))
    }

    fn and(&mut self) -> Result<Expression, SyntaxError> {
        let mut parts = vec![self.not()?];
        while self.takes_word("and") {
            parts.push(self.not()?);
        }
        Ok(joined(parts, Expression::And))
    }

    fn not(&mut self) -> Result<Expression, SyntaxError> {
        let mut negated = false;
        while self.takes_word("not") {
            negated = !negated;
        }
        let term = self.term()?;
        Ok(if negated {
            Expression::Not(Box::new(term))
        } else {
            term
        })
    }

    fn term(&mut self) -> Result<Expression, SyntaxError> {
        if self.takes(b'(') {
            if self.depth >= DEPTH_MAX {
                return Err(self.error(&format!("at most {DEPTH_MAX} nested parentheses")));
            }
            self.depth += 1;
            let inner = self.or()?;
            self.depth -= 1;
            if !self.takes(b')') {
                return Err(self.error("`)`, `and` or `or`"));
            }
            return Ok(inner);
        }
        let start = self.at;
        let Some(name) = self.identifier() else {
            return Err(self.error("a field, a macro, `not` or `(`"));
        };
        let dotted = name.contains('.');
        if !dotted && self.peek() != Some(b'(') {
            if matches!(name, "and" | "or" | "exists") {
                self.at = start;
                return Err(self.error("a field, a macro, `not` or `(`"));
            }
            let name = name.to_owned();
            return match self.operator() {
                // `evtype = open`: a field without dot does not exist.
                Some(_) => {
                    self.at = start;
                    Err(self.error("a field (such as evt.type) before an operator"))
                }
                None => Ok(Expression::Macro { name, at: start }),
            };
        }
        self.at = start;
        let left = self.left()?;
        self.check(left)
    }

    /// A name of letters, digits, `_`, `-` and dots. Position is left behind it.
    fn identifier(&mut self) -> Option<&'a str> {
        self.blanks();
        let rest = self.rest();
        let length = rest
            .bytes()
            .position(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')))
            .unwrap_or(rest.len());
        let name = &rest[..length];
        if !name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
            return None;
        }
        self.at += length;
        Some(name)
    }

    /// A field or a transformer. Fields have a dot, transformers a parenthesis.
    fn left(&mut self) -> Result<Term, SyntaxError> {
        self.blanks();
        let at = self.at;
        let Some(name) = self.identifier() else {
            return Err(self.error("a field"));
        };
        if name.contains('.') {
            self.at = at;
            return Ok(Term::Field(self.field()?));
        }
        if !self.takes(b'(') {
            self.at = at;
            return Err(self.error("a field or a transformer with `(`"));
        }
        Ok(Term::Call(self.call(name.to_owned(), at)?))
    }

    /// What follows a transformer's opening parenthesis.
    fn call(&mut self, name: String, at: usize) -> Result<Call, SyntaxError> {
        let arguments = self.arguments()?;
        let index = match self.peek() {
            Some(b'[') => Some(self.argument()?),
            _ => None,
        };
        Ok(Call {
            name,
            at,
            arguments,
            index,
        })
    }

    /// Up to the closing parenthesis.
    fn arguments(&mut self) -> Result<Vec<Argument>, SyntaxError> {
        if self.depth >= DEPTH_MAX {
            return Err(self.error(&format!("at most {DEPTH_MAX} nested parentheses")));
        }
        self.depth += 1;
        let mut arguments = Vec::new();
        loop {
            self.blanks();
            let start = self.at;
            let argument = if self.takes(b'(') {
                Argument::List(self.arguments()?)
            } else {
                let called = self.identifier().map(|name| name.contains('.'));
                let is_term = match called {
                    Some(true) => true,
                    Some(false) => self.takes(b'('),
                    None => false,
                };
                self.at = start;
                match is_term {
                    true => Argument::Term(self.left()?),
                    false => Argument::Value(self.value()?),
                }
            };
            arguments.push(argument);
            if self.takes(b')') {
                self.depth -= 1;
                return Ok(arguments);
            }
            if !self.takes(b',') {
                return Err(self.error("`,` or `)`"));
            }
        }
    }

    fn field(&mut self) -> Result<FieldName, SyntaxError> {
        self.blanks();
        let at = self.at;
        let Some(name) = self.identifier() else {
            return Err(self.error("a field"));
        };
        let name = name.to_owned();
        let argument = if self.peek() == Some(b'[') {
            Some(self.argument()?)
        } else {
            None
        };
        Ok(FieldName { name, argument, at })
    }

    /// `[bare]` or `["quoted"]`.
    fn argument(&mut self) -> Result<String, SyntaxError> {
        self.at += 1;
        let argument = match self.peek() {
            Some(b'"' | b'\'') => {
                let value = self.quoted()?;
                String::from_utf8_lossy(&value).into_owned()
            }
            _ => {
                let rest = self.rest();
                let end = rest.find(']').unwrap_or(rest.len());
                self.at += end;
                rest[..end].to_owned()
            }
        };
        if self.peek() != Some(b']') {
            return Err(self.error("`]`"));
        }
        self.at += 1;
        Ok(argument)
    }

    /// Takes an operator; word operators need something behind them that ends the word.
    fn operator(&mut self) -> Option<(Operator, usize)> {
        self.blanks();
        let at = self.at;
        for (name, operator) in OPERATORS {
            let word = name.as_bytes()[0].is_ascii_alphabetic();
            if word && self.takes_word(name) {
                return Some((operator, at));
            }
            if !word && self.rest().starts_with(name) {
                self.at += name.len();
                return Some((operator, at));
            }
        }
        None
    }

    fn check(&mut self, left: Term) -> Result<Expression, SyntaxError> {
        let Some((operator, operator_at)) = self.operator() else {
            return Err(self.error(OPERATOR_NAMES));
        };
        let modifier = if self.takes_word("oneof") {
            Some(Modifier::One)
        } else if self.takes_word("anyof") {
            Some(Modifier::Any)
        } else if self.takes_word("allof") {
            Some(Modifier::All)
        } else {
            None
        };
        let right = if operator == Operator::Exists {
            Right::None
        } else if operator.takes_list() || modifier.is_some() {
            self.list()?
        } else {
            self.right()?
        };
        Ok(Expression::Check(Check {
            left,
            operator,
            operator_at,
            modifier,
            right,
        }))
    }

    fn right(&mut self) -> Result<Right, SyntaxError> {
        let before = self.at;
        if self.takes_word("val") && self.takes(b'(') {
            let term = self.left()?;
            if !self.takes(b')') {
                return Err(self.error("`)`"));
            }
            return Ok(Right::Term(term));
        }
        self.at = before;
        self.blanks();
        let at = self.at;
        if let Some(name) = self.identifier()
            && TRANSFORMERS.contains(&name)
            && self.takes(b'(')
        {
            return Ok(Right::Term(Term::Call(self.call(name.to_owned(), at)?)));
        }
        self.at = before;
        Ok(Right::One(self.value()?))
    }

    /// `(a, b)`, `()`, or one value without parentheses.
    fn list(&mut self) -> Result<Right, SyntaxError> {
        if !self.takes(b'(') {
            return match self.right()? {
                Right::One(value) => Ok(Right::List(vec![value])),
                other => Ok(other),
            };
        }
        let mut values = Vec::new();
        if self.takes(b')') {
            return Ok(Right::List(values));
        }
        loop {
            values.push(self.value()?);
            if self.takes(b')') {
                return Ok(Right::List(values));
            }
            if !self.takes(b',') {
                return Err(self.error("`,` or `)`"));
            }
        }
    }

    fn value(&mut self) -> Result<Value, SyntaxError> {
        self.blanks();
        let at = self.at;
        let text = match self.peek() {
            Some(b'"' | b'\'') => self.quoted()?,
            _ => {
                let rest = self.rest();
                let end = rest
                    .bytes()
                    .position(|byte| byte.is_ascii_whitespace() || b"()\"',=".contains(&byte))
                    .unwrap_or(rest.len());
                if end == 0 {
                    return Err(self.error("a value"));
                }
                self.at += end;
                rest.as_bytes()[..end].to_vec()
            }
        };
        if text.contains(&0) {
            self.at = at;
            return Err(self.error("a value without NUL"));
        }
        Ok(Value { text, at })
    }

    fn quoted(&mut self) -> Result<Vec<u8>, SyntaxError> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let quote = bytes[start];
        let mut text = Vec::new();
        self.at += 1;
        loop {
            match self.peek() {
                None => {
                    self.at = start;
                    return Err(self.error("a closing quote"));
                }
                Some(byte) if byte == quote => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => {
                    let escape = bytes.get(self.at + 1).copied();
                    let plain = match escape {
                        Some(b'b') => Some(0x08),
                        Some(b'f') => Some(0x0c),
                        Some(b'n') => Some(b'\n'),
                        Some(b'r') => Some(b'\r'),
                        Some(b't') => Some(b'\t'),
                        Some(b'\\') => Some(b'\\'),
                        Some(b'/') => Some(b'/'),
                        Some(byte) if byte == quote => Some(quote),
                        _ => None,
                    };
                    let hex = || {
                        let digits = self.text.get(self.at + 2..self.at + 4)?;
                        u8::from_str_radix(digits, 16).ok()
                    };
                    match (plain, escape) {
                        (Some(byte), _) => {
                            text.push(byte);
                            self.at += 2;
                        }
                        (None, Some(b'x')) if hex().is_some() => {
                            text.extend(hex());
                            self.at += 4;
                        }
                        // Old rules write a lone backslash before a blank.
                        (None, Some(b' ')) => {
                            text.push(b'\\');
                            self.at += 1;
                        }
                        _ => {
                            return Err(self.error(
                                "an escape (\\b \\f \\n \\r \\t \\\\ \\/ \\xHH or the quote)",
                            ));
                        }
                    }
                }
                Some(byte) => {
                    text.push(byte);
                    self.at += 1;
                }
            }
        }
    }
}

fn joined(mut parts: Vec<Expression>, join: fn(Vec<Expression>) -> Expression) -> Expression {
    match parts.len() {
        1 => parts.remove(0),
        _ => join(parts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_condition_printed_from_its_tree_means_the_same_tree() {
        for (text, printed) in [
            ("a.b=c", "a.b = 'c'"),
            ("a.b == \"c d\"", "a.b = 'c d'"),
            (
                "a.b=c or d.e>=3 and not macro",
                "(a.b = 'c' or (d.e >= '3' and not macro))",
            ),
            ("(a.b exists)and(not(m))", "(a.b exists and not m)"),
            ("not not not m", "not m"),
            ("a.b in(x,'y z' , \"(\")", "a.b in ('x', 'y z', '(')"),
            ("a.b in ()", "a.b in ()"),
            ("a.b in x", "a.b in ('x')"),
            ("a.b[2] contains anyof (x)", "a.b['2'] contains anyof ('x')"),
            (
                "a.b[\"k.x/y\"] startswith /etc",
                "a.b['k.x/y'] startswith '/etc'",
            ),
            (
                "toupper( basename(a.b) ) = X",
                "toupper(basename(a.b)) = 'X'",
            ),
            (
                "join( \"-\" , (a.b,c.d)) = concat(a.b , 'x y',z)",
                "join('-', (a.b, c.d)) = concat(a.b, 'x y', 'z')",
            ),
            (
                "getopt(a.b,'f:')[f] in (1) or a.b = val( len(c.d))",
                "(getopt(a.b, 'f:')['f'] in ('1') or a.b = len(c.d))",
            ),
            ("a.b = val( c.d )", "a.b = val(c.d)"),
            ("a.b='it\\'s \\x41\\\\'", "a.b = 'it\\'s A\\\\'"),
            ("a.b = runc:[0:PARENT]", "a.b = 'runc:[0:PARENT]'"),
            (
                "order.by = 1 and notable and orange",
                "(order.by = '1' and notable and orange)",
            ),
        ] {
            let tree = parse(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
            assert_eq!(tree.to_string(), printed, "{text}");
            let again = parse(printed).unwrap_or_else(|error| panic!("{printed}: {error:?}"));
            assert_eq!(again.to_string(), printed, "{text}");
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        prop::collection::vec(1u8.., 0..6).prop_map(|text| Value { text, at: 0 })
    }

    fn field() -> impl Strategy<Value = FieldName> {
        let name = "[a-z]{1,4}\\.[a-z_]{1,4}";
        (name, prop::option::of("[ -~]{0,4}")).prop_map(|(name, argument)| FieldName {
            name,
            argument,
            at: 0,
        })
    }

    fn term() -> impl Strategy<Value = Term> {
        field()
            .prop_map(Term::Field)
            .prop_recursive(3, 8, 3, |inner| {
                let leaf = prop_oneof![
                    inner.prop_map(Argument::Term),
                    value().prop_map(Argument::Value)
                ];
                let argument = prop_oneof![
                    leaf.clone(),
                    prop::collection::vec(leaf, 1..3).prop_map(Argument::List)
                ];
                let name = prop::sample::select(&TRANSFORMERS[..]);
                let arguments = prop::collection::vec(argument, 1..4);
                let index = prop::option::of("[a-z]");
                (name, arguments, index).prop_map(|(name, arguments, index)| {
                    Term::Call(Call {
                        name: name.to_owned(),
                        at: 0,
                        arguments,
                        index,
                    })
                })
            })
    }

    fn check() -> impl Strategy<Value = Expression> {
        let operators: Vec<Operator> = OPERATORS.iter().map(|row| row.1).collect();
        let modifiers = vec![Modifier::One, Modifier::Any, Modifier::All];
        let list = prop::collection::vec(value(), 0..4).prop_map(Right::List);
        let single = prop_oneof![value().prop_map(Right::One), term().prop_map(Right::Term)];
        (
            term(),
            prop::sample::select(operators),
            prop::option::of(prop::sample::select(modifiers)),
            list,
            single,
        )
            .prop_map(|(left, operator, modifier, list, single)| {
                let modifier = modifier.filter(|_| operator != Operator::Exists);
                let right = match operator {
                    Operator::Exists => Right::None,
                    _ if modifier.is_some() || operator.takes_list() => list,
                    _ => single,
                };
                Expression::Check(Check {
                    left,
                    operator,
                    operator_at: 0,
                    modifier,
                    right,
                })
            })
    }

    fn expression() -> impl Strategy<Value = Expression> {
        let name = "[a-z_]{1,8}".prop_filter("no word of the language", |name| {
            !["and", "or", "not", "exists"].contains(&name.as_str())
                && Operator::named(name).is_none()
        });
        let leaf = prop_oneof![
            3 => check(),
            1 => name.prop_map(|name| Expression::Macro { name, at: 0 })
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 2..4).prop_map(Expression::And),
                prop::collection::vec(inner.clone(), 2..4).prop_map(Expression::Or),
                // Repeated `not` toggles: it never stands twice.
                inner
                    .prop_filter("not of not", |inner| !matches!(inner, Expression::Not(_)))
                    .prop_map(|inner| Expression::Not(Box::new(inner))),
            ]
        })
    }

    /// The tree without its places, as text.
    fn bare(expression: &Expression) -> String {
        let text = format!("{expression:?}");
        ::regex::Regex::new("at: [0-9]+")
            .unwrap()
            .replace_all(&text, "at: _")
            .into_owned()
    }

    proptest! {
        #[test]
        fn any_tree_is_parsed_from_its_own_text(tree in expression()) {
            let text = tree.to_string();
            let again = parse(&text);
            prop_assert!(again.is_ok(), "{text}: {again:?}");
            prop_assert_eq!(bare(&again.unwrap()), bare(&tree), "{}", text);
        }

        #[test]
        fn any_text_is_a_condition_or_an_error(text in "\\PC{0,60}") {
            if let Err(error) = parse(&text) {
                prop_assert!(error.at <= text.len() && !error.expected.is_empty());
            }
        }
    }
}
