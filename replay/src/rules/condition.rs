//! The grammar of conditions: text to tree.
//!
//! ```text
//! or    := and ("or" and)*            and := not ("and" not)*          not := "not"* term
//! term  := "(" or ")" | left operator right | left "exists" | macro
//! left  := field | transformer "(" left ("," …)* ")"
//! right := value | "(" [value ("," value)*] ")" | "val" "(" field ")"
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

    fn left(&mut self) -> Result<Left, SyntaxError> {
        let mut transformers = Vec::new();
        loop {
            self.blanks();
            let at = self.at;
            let Some(name) = self.identifier() else {
                return Err(self.error("a field"));
            };
            if name.contains('.') {
                self.at = at;
                let field = self.field()?;
                for _ in &transformers {
                    if !self.takes(b')') {
                        return Err(self.error("`)`"));
                    }
                }
                return Ok(Left {
                    transformers,
                    field,
                });
            }
            let name = name.to_owned();
            if !self.takes(b'(') || transformers.len() >= DEPTH_MAX {
                self.at = at;
                return Err(self.error("a field or a transformer with `(`"));
            }
            transformers.push((name, at));
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

    fn check(&mut self, left: Left) -> Result<Expression, SyntaxError> {
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
            let field = self.field()?;
            if !self.takes(b')') {
                return Err(self.error("`)`"));
            }
            return Ok(Right::Field(field));
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

    /// A condition's text again, with every parenthesis that the tree implies.
    fn print(expression: &Expression) -> String {
        let joined = |parts: &[Expression], word: &str| {
            let parts: Vec<_> = parts.iter().map(print).collect();
            format!("({})", parts.join(word))
        };
        let value = |value: &Value| {
            let text = String::from_utf8_lossy(&value.text);
            format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
        };
        let field = |field: &FieldName| match &field.argument {
            Some(argument) => format!("{}[{argument}]", field.name),
            None => field.name.clone(),
        };
        match expression {
            Expression::And(parts) => joined(parts, " and "),
            Expression::Or(parts) => joined(parts, " or "),
            Expression::Not(inner) => format!("not {}", print(inner)),
            Expression::Macro { name, .. } => name.clone(),
            Expression::Check(check) => {
                let names = check
                    .left
                    .transformers
                    .iter()
                    .map(|it| format!("{}(", it.0));
                let open: String = names.collect();
                let close = ")".repeat(check.left.transformers.len());
                let right = match &check.right {
                    Right::None => String::new(),
                    Right::One(one) => value(one),
                    Right::List(list) => {
                        format!(
                            "({})",
                            list.iter().map(value).collect::<Vec<_>>().join(", ")
                        )
                    }
                    Right::Field(other) => format!("val({})", field(other)),
                };
                let modifier = match check.modifier {
                    None => "",
                    Some(Modifier::One) => "oneof ",
                    Some(Modifier::Any) => "anyof ",
                    Some(Modifier::All) => "allof ",
                };
                let operator = check.operator.name();
                format!(
                    "{open}{}{close} {operator} {modifier}{right}",
                    field(&check.left.field)
                )
            }
        }
    }

    #[test]
    fn a_condition_printed_from_its_tree_means_the_same_tree() {
        for (text, printed) in [
            ("a.b=c", "a.b = 'c'"),
            ("a.b == \"c d\"", "a.b = 'c d'"),
            (
                "a.b=c or d.e>=3 and not macro",
                "(a.b = 'c' or (d.e >= '3' and not macro))",
            ),
            ("(a.b exists)and(not(m))", "(a.b exists  and not m)"),
            ("not not not m", "not m"),
            ("a.b in(x,'y z' , \"(\")", "a.b in ('x', 'y z', '(')"),
            ("a.b in ()", "a.b in ()"),
            ("a.b in x", "a.b in ('x')"),
            ("a.b[2] contains anyof (x)", "a.b[2] contains anyof ('x')"),
            (
                "a.b[\"k.x/y\"] startswith /etc",
                "a.b[k.x/y] startswith '/etc'",
            ),
            (
                "toupper( basename(a.b) ) = X",
                "toupper(basename(a.b)) = 'X'",
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
            assert_eq!(print(&tree), printed, "{text}");
            let again = parse(printed).unwrap_or_else(|error| panic!("{printed}: {error:?}"));
            assert_eq!(print(&again), printed, "{text}");
        }
    }
}
