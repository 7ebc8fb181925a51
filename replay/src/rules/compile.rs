//! From a condition's tree to one that is ready to judge: fields looked up, values parsed, macros
//! put in, what is always or never true folded away.

use super::{
    condition::SyntaxError,
    fields::{Field, Id, Kind},
    node::{Comparison, Node, Test},
    operand::{Operand, Shape},
    pattern::{PathPrefix, hex},
    regex, services,
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
    let field = match (&check.left, &check.right) {
        (Term::Field(name), Right::None | Right::One(_) | Right::List(_)) => field(name)?,
        _ => return computed(check),
    };
    let never = field.types.is_empty();
    let node = typed(check, field)?;
    // No event has the field: no comparison of it ever holds.
    Ok(if never { Node::Never } else { node })
}

fn values(check: &Check) -> &[Value] {
    match &check.right {
        Right::One(value) => std::slice::from_ref(value),
        Right::List(values) => values,
        Right::None | Right::Term(_) => &[],
    }
}

fn typed(check: &Check, field: Field) -> Result<Node, SyntaxError> {
    if check.operator == Operator::Exists {
        return Ok(Node::Exists(field));
    }
    let values = values(check);
    match (field.id, field.kind) {
        (Id::Type | Id::CallType, _) => event_types(check, &field, values),
        (_, Kind::Text) => Ok(Node::text(field, text_test(check, values)?)),
        (_, Kind::Number) => {
            let test = number_test(check, Some(&field), values)?;
            Ok(Node::number(field, test))
        }
        (_, Kind::Boolean) => Ok(Node::Boolean(field, boolean(check, values)?)),
        (_, Kind::Address | Kind::Network) => address(check, field, values),
    }
}

fn unfit(check: &Check, kind: &str, expected: &str) -> SyntaxError {
    let name = check.operator.name();
    let field = check.left.shown().1;
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
        Operator::BytesContain => TextTest::Contains(bytes(values, check)?),
        Operator::BytesStartWith => TextTest::StartsWith(bytes(values, check)?),
        Operator::Regex => {
            let pattern = first()?;
            let pattern = String::from_utf8_lossy(&pattern);
            let at = values.first().map_or(check.operator_at, |value| value.at);
            let compiled =
                regex::compile(&pattern).map_err(|error| problem(at, quoted(&pattern), error))?;
            TextTest::Regex(compiled)
        }
        Operator::Exists => {
            return Err(problem(
                check.operator_at,
                quoted(check.operator.name()),
                "`exists` without a modifier",
            ));
        }
    })
}

/// The hex digits of `bcontains` and `bstartswith` as bytes.
fn bytes(values: &[Value], check: &Check) -> Result<Vec<u8>, SyntaxError> {
    let Some(value) = values.first() else {
        return Err(problem(check.operator_at, "()", "a value"));
    };
    hex(&value.text).ok_or_else(|| {
        let shown = String::from_utf8_lossy(&value.text);
        problem(value.at, quoted(&shown), "pairs of hex digits")
    })
}

fn number_test(
    check: &Check,
    field: Option<&Field>,
    values: &[Value],
) -> Result<NumberTest, SyntaxError> {
    if let Some(modifier) = check.modifier {
        let tests = per_value(check, values, |check, value| {
            number_test(check, field, std::slice::from_ref(value))
        })?;
        return Ok(NumberTest::Many(modifier, tests));
    }
    let port = field.is_some_and(|field| {
        matches!(
            field.id,
            Id::FdPort | Id::FdClientPort | Id::FdServerPort | Id::FdLocalPort | Id::FdRemotePort
        )
    });
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
            return Err(unfit(check, "a number", "= != < <= > >= or in"));
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

/// The values that a boolean may have: [false, true].
fn boolean(check: &Check, values: &[Value]) -> Result<[bool; 2], SyntaxError> {
    let listed = matches!(check.operator, Operator::In | Operator::Intersects);
    let negated = check.operator == Operator::NotEqual;
    let single = matches!(check.operator, Operator::Equal | Operator::NotEqual);
    if check.modifier.is_some() || !(listed || single && values.len() == 1) {
        return Err(unfit(check, "true or false", "= or !="));
    }
    let mut allowed = [negated; 2];
    for value in values {
        let flag = match value.text.as_slice() {
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
        allowed[usize::from(flag)] = !negated;
    }
    Ok(allowed)
}

fn address(check: &Check, field: Field, values: &[Value]) -> Result<Node, SyntaxError> {
    let name = check.left.shown().1;
    let negated = match (check.operator, check.modifier) {
        (Operator::Equal | Operator::In | Operator::Intersects, None) => false,
        (Operator::NotEqual, None) => true,
        _ => return Err(unfit(check, "an address", "=, != or in")),
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

/// A check with a transformer, or with another field on the right side.
fn computed(check: &Check) -> Result<Node, SyntaxError> {
    let left = Operand::compile(&check.left)?;
    let mut possible = TypeSet::all();
    let Right::Term(right) = &check.right else {
        left.fields(&mut |field| possible = possible.intersection(&field.types));
        let values = values(check);
        let test = match (check.operator, left.shape()) {
            (Operator::Exists, _) => Test::Exists,
            (_, Shape::Number) => Test::Number(number_test(check, None, values)?),
            (_, Shape::Text | Shape::List) => Test::Text(text_test(check, values)?),
            (_, Shape::Flag) => Test::Flag(boolean(check, values)?),
        };
        return Ok(match possible.is_empty() {
            true => Node::Never,
            false => Node::Computed(left.into(), test),
        });
    };
    let (at, name) = right.shown();
    let right = Operand::compile(right)?;
    if check.modifier.is_some() {
        return Err(problem(at, quoted(name), "values in parentheses"));
    }
    let fits = match (left.shape(), right.shape()) {
        (Shape::List, Shape::List) => false,
        (left, Shape::List) => left == Shape::Text,
        (Shape::List, right) => right == Shape::Text,
        (left, right) => left == right,
    };
    if !fits {
        let expected = format!("a field of the same type as {}", check.left.shown().1);
        return Err(problem(at, quoted(name), expected));
    }
    let text = matches!(left.shape(), Shape::Text | Shape::List);
    let ordered = left.shape() != Shape::Flag;
    let comparison = match check.operator {
        Operator::Equal => Comparison::Equal,
        Operator::NotEqual => Comparison::NotEqual,
        Operator::Less if ordered => Comparison::Order(Order::Less),
        Operator::LessEqual if ordered => Comparison::Order(Order::LessEqual),
        Operator::Greater if ordered => Comparison::Order(Order::Greater),
        Operator::GreaterEqual if ordered => Comparison::Order(Order::GreaterEqual),
        Operator::In | Operator::Intersects => Comparison::Equal,
        Operator::Contains if text => Comparison::Contains,
        Operator::IgnoreCaseContains if text => Comparison::ContainsIgnoringCase,
        Operator::StartsWith if text => Comparison::StartsWith,
        Operator::EndsWith if text => Comparison::EndsWith,
        Operator::Glob if text => Comparison::Glob(false),
        Operator::IgnoreCaseGlob if text => Comparison::Glob(true),
        Operator::PrefixMatch if text => Comparison::Below,
        _ => {
            let expected = "= != < <= > >= in contains icontains startswith endswith glob iglob or pmatch \
                            before another field";
            return Err(problem(
                check.operator_at,
                quoted(check.operator.name()),
                expected,
            ));
        }
    };
    let mut both = |field: &Field| possible = possible.intersection(&field.types);
    left.fields(&mut both);
    right.fields(&mut both);
    Ok(match possible.is_empty() {
        true => Node::Never,
        false => Node::Compared(left.into(), comparison, right.into()),
    })
}
