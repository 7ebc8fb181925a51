//! From a condition's tree to one that is ready to judge: fields looked up, values parsed, macros
//! put in, what is always or never true folded away.

use super::{
    condition::SyntaxError,
    fields::{Field, Id, Kind},
    node::{Comparison, Node, Transformer},
    pattern::PathPrefix,
    services,
    syntax::*,
    test::{AddressTest, Network, NumberTest, Order, TextTest},
    types::{TypeSet, canonical},
    yaml::quoted,
};
use std::sync::Arc;

/// Finds a macro's compiled condition. The error is already complete.
pub(super) trait Macros<E> {
    fn find(&mut self, name: &str, at: usize) -> Result<Node, E>;
}

/// Checks in one rule after its macros are put in. Falco's largest has some 150.
pub(super) const NODES_MAX: usize = 20_000;

pub(super) fn compile<E: From<SyntaxError>>(
    expression: &Expression,
    macros: &mut impl Macros<E>,
) -> Result<Node, E> {
    Ok(match expression {
        Expression::And(parts) => Node::all(list(parts, macros)?),
        Expression::Or(parts) => Node::any(list(parts, macros)?),
        Expression::Not(inner) => Node::not(compile(inner, macros)?),
        Expression::Macro { name, at } => macros.find(name, *at)?,
        Expression::Check(check) => self::check(check)?,
    })
}

fn list<E: From<SyntaxError>>(
    parts: &[Expression],
    macros: &mut impl Macros<E>,
) -> Result<Vec<Node>, E> {
    parts.iter().map(|part| compile(part, macros)).collect()
}

fn problem(at: usize, token: impl Into<String>, expected: impl Into<String>) -> SyntaxError {
    SyntaxError {
        at,
        token: token.into(),
        expected: expected.into(),
        unknown: false,
    }
}

pub(super) fn field(written: &FieldName) -> Result<Field, SyntaxError> {
    let shown = match &written.argument {
        Some(argument) => format!("{}[{argument}]", written.name),
        None => written.name.clone(),
    };
    Field::resolve(written).map_err(|expected| SyntaxError {
        unknown: true,
        ..problem(written.at, quoted(&shown), expected)
    })
}

fn check(check: &Check) -> Result<Node, SyntaxError> {
    let field = field(&check.left.field)?;
    let never = field.types.is_empty();
    let node = typed(check, field)?;
    // No event has the field: no comparison of it ever holds.
    Ok(if never { Node::Never } else { node })
}

fn typed(check: &Check, field: Field) -> Result<Node, SyntaxError> {
    if !check.left.transformers.is_empty() {
        return transformed(check, field);
    }
    if check.operator == Operator::Exists {
        return Ok(Node::Exists(field));
    }
    let values = match &check.right {
        Right::None => &[][..],
        Right::One(value) => std::slice::from_ref(value),
        Right::List(values) => values,
        Right::Field(other) => return compared(check, field, other),
    };
    match (field.id, field.kind) {
        (Id::Type | Id::CallType, _) => event_types(check, &field, values),
        (_, Kind::Text) => Ok(Node::text(field, text_test(check, values)?)),
        (_, Kind::Number) => {
            let test = number_test(check, &field, values)?;
            Ok(Node::number(field, test))
        }
        (_, Kind::Boolean) => boolean(check, field, values),
        (_, Kind::Address | Kind::Network) => address(check, field, values),
    }
}

fn unfit(check: &Check, field: &str, kind: &str, expected: &str) -> SyntaxError {
    let name = check.operator.name();
    problem(
        check.operator_at,
        quoted(name),
        format!("{expected}: {field} is {kind}"),
    )
}

/// Splits a check with a modifier (`contains anyof (a, b)`) into one test per value.
fn per_value<T>(
    check: &Check,
    values: &[Value],
    one: impl Fn(&Check, &Value) -> Result<T, SyntaxError>,
) -> Result<Box<[T]>, SyntaxError> {
    let plain = Check {
        modifier: None,
        ..check.clone()
    };
    values.iter().map(|value| one(&plain, value)).collect()
}

fn text_test(check: &Check, values: &[Value]) -> Result<TextTest, SyntaxError> {
    if let Some(modifier) = check.modifier {
        let tests = per_value(check, values, |check, value| {
            text_test(check, std::slice::from_ref(value))
        })?;
        return Ok(TextTest::Many(modifier, tests));
    }
    let first = || match values.first() {
        Some(value) => Ok(value.text.clone()),
        None => Err(problem(check.operator_at, "()", "a value")),
    };
    Ok(match check.operator {
        Operator::Equal => TextTest::Equal(first()?),
        Operator::NotEqual => TextTest::NotEqual(first()?),
        Operator::Less => TextTest::Order(Order::Less, first()?),
        Operator::LessEqual => TextTest::Order(Order::LessEqual, first()?),
        Operator::Greater => TextTest::Order(Order::Greater, first()?),
        Operator::GreaterEqual => TextTest::Order(Order::GreaterEqual, first()?),
        Operator::In | Operator::Intersects => TextTest::In(Arc::new(
            values.iter().map(|value| value.text.clone()).collect(),
        )),
        Operator::Contains => TextTest::Contains(first()?),
        Operator::IgnoreCaseContains => {
            TextTest::ContainsIgnoringCase(first()?.to_ascii_lowercase())
        }
        Operator::StartsWith => TextTest::StartsWith(first()?),
        Operator::EndsWith => TextTest::EndsWith(first()?),
        Operator::Glob => TextTest::Glob(first()?, false),
        Operator::IgnoreCaseGlob => TextTest::Glob(first()?, true),
        Operator::PrefixMatch => TextTest::Below(
            values
                .iter()
                .map(|value| PathPrefix::new(&value.text))
                .collect(),
        ),
        Operator::BytesContain | Operator::BytesStartWith | Operator::Regex | Operator::Exists => {
            return Err(problem(
                check.operator_at,
                quoted(check.operator.name()),
                "another operator: this one is not supported yet",
            ));
        }
    })
}

fn number_test(check: &Check, field: &Field, values: &[Value]) -> Result<NumberTest, SyntaxError> {
    if let Some(modifier) = check.modifier {
        let tests = per_value(check, values, |check, value| {
            number_test(check, field, std::slice::from_ref(value))
        })?;
        return Ok(NumberTest::Many(modifier, tests));
    }
    let port = matches!(
        field.id,
        Id::FdPort | Id::FdClientPort | Id::FdServerPort | Id::FdLocalPort | Id::FdRemotePort
    );
    let first = || match values.first() {
        Some(value) => number(value, port),
        None => Err(problem(check.operator_at, "()", "a number")),
    };
    Ok(match check.operator {
        Operator::Equal => NumberTest::Equal(first()?),
        Operator::NotEqual => NumberTest::NotEqual(first()?),
        Operator::Less => NumberTest::Order(Order::Less, first()?),
        Operator::LessEqual => NumberTest::Order(Order::LessEqual, first()?),
        Operator::Greater => NumberTest::Order(Order::Greater, first()?),
        Operator::GreaterEqual => NumberTest::Order(Order::GreaterEqual, first()?),
        Operator::In | Operator::Intersects => {
            let set = values
                .iter()
                .map(|value| number(value, port))
                .collect::<Result<_, _>>()?;
            NumberTest::In(Arc::new(set))
        }
        _ => {
            return Err(unfit(
                check,
                &check.left.field.name,
                "a number",
                "= != < <= > >= or in",
            ));
        }
    })
}

/// A decimal or `0x` number; for ports, a service's name too.
fn number(value: &Value, port: bool) -> Result<i64, SyntaxError> {
    let text = String::from_utf8_lossy(&value.text);
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    match parsed {
        Some(number) => Ok(number),
        None if port => match services::port(&text) {
            Some(port) => Ok(i64::from(port)),
            None => Err(problem(value.at, quoted(&text), "a port number or service")),
        },
        None => Err(problem(value.at, quoted(&text), "a number")),
    }
}

fn boolean(check: &Check, field: Field, values: &[Value]) -> Result<Node, SyntaxError> {
    let name = &check.left.field.name;
    let fits =
        matches!(check.operator, Operator::Equal | Operator::NotEqual) && check.modifier.is_none();
    let (true, [value]) = (fits, values) else {
        return Err(unfit(check, name, "true or false", "= or !="));
    };
    let wanted = match value.text.as_slice() {
        b"true" => true,
        b"false" => false,
        other => {
            return Err(problem(
                value.at,
                quoted(&String::from_utf8_lossy(other)),
                "true or false",
            ));
        }
    };
    Ok(Node::Boolean(
        field,
        wanted == (check.operator == Operator::Equal),
    ))
}

fn address(check: &Check, field: Field, values: &[Value]) -> Result<Node, SyntaxError> {
    let name = &check.left.field.name;
    let negated = match (check.operator, check.modifier) {
        (Operator::Equal | Operator::In | Operator::Intersects, None) => false,
        (Operator::NotEqual, None) => true,
        _ => return Err(unfit(check, name, "an address", "=, != or in")),
    };
    let parse = |value: &Value| {
        let text = String::from_utf8_lossy(&value.text);
        match Network::parse(&text) {
            Some(network) if network.is_single() || field.kind == Kind::Network => Ok(network),
            Some(_) => Err(problem(
                value.at,
                quoted(&text),
                format!("an address: {name} has no networks"),
            )),
            None => Err(problem(value.at, quoted(&text), "an IP address or network")),
        }
    };
    let networks = values
        .iter()
        .map(parse)
        .collect::<Result<Arc<[Network]>, _>>()?;
    Ok(Node::Address(field, AddressTest { networks, negated }))
}

/// Every comparison of `evt.type` is a set of types.
fn event_types(check: &Check, field: &Field, values: &[Value]) -> Result<Node, SyntaxError> {
    let exact = matches!(
        check.operator,
        Operator::Equal | Operator::NotEqual | Operator::In | Operator::Intersects
    );
    let mut values = values.to_vec();
    if exact {
        for value in &mut values {
            let text = String::from_utf8_lossy(&value.text).into_owned();
            match canonical(&text) {
                Some(name) => value.text = name.as_bytes().to_vec(),
                None => {
                    let error = problem(value.at, quoted(&text), "the name of an event type");
                    return Err(SyntaxError {
                        unknown: true,
                        ..error
                    });
                }
            }
        }
    }
    let test = text_test(check, &values)?;
    let types =
        TypeSet::of(|kind| field.types.contains(kind) && test.holds(kind.name().as_bytes()));
    Ok(Node::types(types))
}

/// `left op val(right)`.
fn compared(check: &Check, left: Field, right: &FieldName) -> Result<Node, SyntaxError> {
    let right_field = field(right)?;
    if left.kind != right_field.kind || left.many || right_field.many {
        let expected = format!("a field of the same type as {}", check.left.field.name);
        return Err(problem(right.at, quoted(&right.name), expected));
    }
    let comparison = match (check.operator, left.kind) {
        (Operator::Equal, _) => Comparison::Equal,
        (Operator::NotEqual, _) => Comparison::NotEqual,
        (Operator::Less, _) => Comparison::Order(Order::Less),
        (Operator::LessEqual, _) => Comparison::Order(Order::LessEqual),
        (Operator::Greater, _) => Comparison::Order(Order::Greater),
        (Operator::GreaterEqual, _) => Comparison::Order(Order::GreaterEqual),
        (Operator::Contains, Kind::Text) => Comparison::Contains,
        (Operator::StartsWith, Kind::Text) => Comparison::StartsWith,
        (Operator::EndsWith, Kind::Text) => Comparison::EndsWith,
        _ => {
            let expected = "= != < <= > >= contains startswith or endswith before val()";
            return Err(problem(
                check.operator_at,
                quoted(check.operator.name()),
                expected,
            ));
        }
    };
    if matches!(left.kind, Kind::Address | Kind::Network | Kind::Boolean) {
        return Err(problem(
            right.at,
            quoted(&right.name),
            "a text or number field in val()",
        ));
    }
    Ok(Node::Fields(left, comparison, right_field))
}

fn transformed(check: &Check, field: Field) -> Result<Node, SyntaxError> {
    let mut transformers = Vec::new();
    // Innermost first: that is the order in which they work.
    for (name, at) in check.left.transformers.iter().rev() {
        transformers.push(match name.as_str() {
            "tolower" => Transformer::Lower,
            "toupper" => Transformer::Upper,
            "basename" => Transformer::Basename,
            _ => return Err(problem(*at, quoted(name), "tolower, toupper or basename")),
        });
    }
    let values = match &check.right {
        Right::None => {
            return Ok(Node::Exists(field));
        }
        Right::One(value) => std::slice::from_ref(value),
        Right::List(values) => values,
        Right::Field(other) => {
            return Err(problem(
                other.at,
                quoted(&other.name),
                "a value after a transformer",
            ));
        }
    };
    if field.kind != Kind::Text || field.many {
        let left = &check.left.field;
        return Err(problem(
            left.at,
            quoted(&left.name),
            "a text field in a transformer",
        ));
    }
    Ok(Node::Transformed(
        field,
        transformers.into(),
        text_test(check, values)?,
    ))
}
