//! Compiled conditions: judging an event, and knowing beforehand which event types can pass.

use super::{
    fields::{Field, Kind},
    pattern,
    subject::Subject,
    test::{AddressTest, NumberTest, Order, TextTest},
    types::TypeSet,
};
use crate::resolve::Depth;

/// A condition, ready to judge.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Never,
    Always,
    All(Box<[Node]>),
    Any(Box<[Node]>),
    Not(Box<Node>),
    Types(TypeSet),
    Text(Field, TextTest),
    Number(Field, NumberTest),
    Boolean(Field, bool),
    Address(Field, AddressTest),
    Exists(Field),
    Fields(Field, Comparison, Field),
    Transformed(Field, Box<[Transformer]>, TextTest),
}

/// Of two fields.
#[derive(Clone, Copy, Debug)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Order(Order),
    Contains,
    StartsWith,
    EndsWith,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Transformer {
    Lower,
    Upper,
    Basename,
}

/// Space for values that have to be put together. Kept between events.
#[derive(Clone, Default)]
pub(super) struct Scratch {
    left: Vec<u8>,
    right: Vec<u8>,
}

impl Scratch {
    pub fn text(&mut self) -> &mut Vec<u8> {
        &mut self.left
    }
}

/// The event types for which a condition can hold, and those for which it can fail.
#[derive(Clone, Copy, Debug)]
struct Reach {
    holds: TypeSet,
    fails: TypeSet,
}

impl Node {
    /// `and`. Cheap checks go first; the order of the rest stays.
    pub fn all(parts: Vec<Node>) -> Node {
        let mut parts = flat(parts, |part| match part {
            Node::All(inner) => inner.into_vec(),
            other => vec![other],
        });
        if parts.iter().any(|part| matches!(part, Node::Never)) {
            return Node::Never;
        }
        parts.retain(|part| !matches!(part, Node::Always));
        parts.sort_by_key(Node::cost);
        match parts.len() {
            0 => Node::Always,
            1 => parts.remove(0),
            _ => Node::All(parts.into()),
        }
    }

    pub fn any(parts: Vec<Node>) -> Node {
        let mut parts = flat(parts, |part| match part {
            Node::Any(inner) => inner.into_vec(),
            other => vec![other],
        });
        if parts.iter().any(|part| matches!(part, Node::Always)) {
            return Node::Always;
        }
        parts.retain(|part| !matches!(part, Node::Never));
        parts.sort_by_key(Node::cost);
        match parts.len() {
            0 => Node::Never,
            1 => parts.remove(0),
            _ => Node::Any(parts.into()),
        }
    }

    #[allow(
        clippy::should_implement_trait,
        reason = "the language's word; it folds constants and double negations as `Not` would not"
    )]
    pub fn not(inner: Node) -> Node {
        match inner {
            Node::Never => Node::Always,
            Node::Always => Node::Never,
            Node::Not(inner) => *inner,
            Node::Types(types) => Node::types(types.complement()),
            other => Node::Not(Box::new(other)),
        }
    }

    pub fn types(types: TypeSet) -> Node {
        match types {
            _ if types.is_empty() => Node::Never,
            _ if types.complement().is_empty() => Node::Always,
            _ => Node::Types(types),
        }
    }

    pub fn text(field: Field, test: TextTest) -> Node {
        if field.types.is_empty() {
            Node::Never
        } else {
            Node::Text(field, test)
        }
    }

    pub fn number(field: Field, test: NumberTest) -> Node {
        // Events are numbered from 1: `evt.num=0` is how rules spell "never".
        let number_of_event = field.id == super::fields::Id::Num;
        match &test {
            _ if field.types.is_empty() => Node::Never,
            NumberTest::Equal(value) if number_of_event && *value < 1 => Node::Never,
            NumberTest::Order(Order::GreaterEqual, value) if number_of_event && *value <= 1 => {
                Node::Always
            }
            NumberTest::Order(Order::Greater, value) if number_of_event && *value < 1 => {
                Node::Always
            }
            _ => Node::Number(field, test),
        }
    }

    /// Whether the event fulfils the condition. A missing value fails every comparison.
    pub fn holds(&self, subject: &Subject<'_>, scratch: &mut Scratch) -> bool {
        match self {
            Node::Never => false,
            Node::Always => true,
            Node::All(parts) => parts.iter().all(|part| part.holds(subject, scratch)),
            Node::Any(parts) => parts.iter().any(|part| part.holds(subject, scratch)),
            Node::Not(inner) => !inner.holds(subject, scratch),
            Node::Types(types) => types.contains(subject.kind),
            Node::Text(field, test) if field.many => subject
                .any_text(field, |text| test.holds(text))
                .unwrap_or(false),
            Node::Text(field, test) => subject
                .text(field, &mut scratch.left)
                .is_some_and(|text| test.holds(text)),
            Node::Number(field, NumberTest::NotEqual(value)) if is_two_ended(field) => {
                let mut ports = subject.ends(field.id).into_iter().flatten().peekable();
                ports.peek().is_some() && ports.all(|end| i64::from(end.1) != *value)
            }
            Node::Number(field, test) if is_two_ended(field) => {
                let mut ports = subject.ends(field.id).into_iter().flatten();
                ports.any(|end| test.holds(i64::from(end.1)))
            }
            Node::Number(field, test) => subject
                .number(field)
                .is_some_and(|number| test.holds(number)),
            Node::Boolean(field, wanted) => subject.boolean(field) == Some(*wanted),
            Node::Address(field, test) => {
                let ends = subject
                    .ends(field.id)
                    .into_iter()
                    .flatten()
                    .map(|end| end.0);
                test.holds(ends).unwrap_or(false)
            }
            Node::Exists(field) => subject.has(field, &mut scratch.left),
            Node::Fields(left, comparison, right) => {
                fields(subject, left, *comparison, right, scratch).unwrap_or(false)
            }
            Node::Transformed(field, transformers, test) => {
                transformed(subject, field, transformers, test, scratch).unwrap_or(false)
            }
        }
    }

    /// The event types that can fulfil the condition: a superset, for the index.
    pub fn event_types(&self) -> TypeSet {
        self.reach().holds
    }

    fn reach(&self) -> Reach {
        let field = |field: &Field| Reach {
            holds: field.types,
            fails: TypeSet::all(),
        };
        match self {
            Node::Never => Reach {
                holds: TypeSet::NONE,
                fails: TypeSet::all(),
            },
            Node::Always => Reach {
                holds: TypeSet::all(),
                fails: TypeSet::NONE,
            },
            Node::Types(types) => Reach {
                holds: *types,
                fails: types.complement(),
            },
            Node::Not(inner) => {
                let inner = inner.reach();
                Reach {
                    holds: inner.fails,
                    fails: inner.holds,
                }
            }
            Node::All(parts) => {
                let start = Reach {
                    holds: TypeSet::all(),
                    fails: TypeSet::NONE,
                };
                parts
                    .iter()
                    .map(Node::reach)
                    .fold(start, |sum, part| Reach {
                        holds: sum.holds.intersection(&part.holds),
                        fails: sum.fails.union(&part.fails),
                    })
            }
            Node::Any(parts) => {
                let start = Reach {
                    holds: TypeSet::NONE,
                    fails: TypeSet::all(),
                };
                parts
                    .iter()
                    .map(Node::reach)
                    .fold(start, |sum, part| Reach {
                        holds: sum.holds.union(&part.holds),
                        fails: sum.fails.intersection(&part.fails),
                    })
            }
            Node::Fields(left, _, right) => Reach {
                holds: left.types.intersection(&right.types),
                fails: TypeSet::all(),
            },
            Node::Text(it, _)
            | Node::Number(it, _)
            | Node::Boolean(it, _)
            | Node::Address(it, _)
            | Node::Exists(it)
            | Node::Transformed(it, ..) => field(it),
        }
    }

    /// The condition as two that both have to hold: what it says about who acted, and the rest.
    pub fn split_actor(self) -> (Node, Node) {
        match self {
            Node::All(parts) => {
                let (actor, rest) = parts.into_iter().partition(Node::is_about_actor);
                (Node::all(actor), Node::all(rest))
            }
            node if node.is_about_actor() => (node, Node::Always),
            node => (Node::Always, node),
        }
    }

    /// Whether events of one actor all get the same answer, as long as no actor changes.
    fn is_about_actor(&self) -> bool {
        match self {
            Node::Never | Node::Always => true,
            Node::All(parts) | Node::Any(parts) => parts.iter().all(Node::is_about_actor),
            Node::Not(inner) => inner.is_about_actor(),
            Node::Types(_) | Node::Address(..) => false,
            Node::Text(field, _)
            | Node::Number(field, _)
            | Node::Boolean(field, _)
            | Node::Exists(field)
            | Node::Transformed(field, ..) => field.id.is_of_actor(),
            Node::Fields(left, _, right) => left.id.is_of_actor() && right.id.is_of_actor(),
        }
    }

    /// How much of the state the answer depends on.
    pub fn looks_at(&self) -> Depth {
        match self {
            Node::Never | Node::Always | Node::Types(_) => Depth::Nothing,
            Node::All(parts) | Node::Any(parts) => {
                let parts = parts.iter().map(Node::looks_at);
                parts.max().unwrap_or(Depth::Nothing)
            }
            Node::Not(inner) => inner.looks_at(),
            Node::Text(field, _)
            | Node::Number(field, _)
            | Node::Boolean(field, _)
            | Node::Address(field, _)
            | Node::Exists(field)
            | Node::Transformed(field, ..) => field.id.looks_at(),
            Node::Fields(left, _, right) => left.id.looks_at().max(right.id.looks_at()),
        }
    }

    /// Checks in the tree.
    pub fn size(&self) -> usize {
        1 + match self {
            Node::All(parts) | Node::Any(parts) => parts.iter().map(Node::size).sum(),
            Node::Not(inner) => inner.size(),
            _ => 0,
        }
    }

    fn cost(&self) -> u32 {
        match self {
            Node::Never | Node::Always | Node::Types(_) => 0,
            Node::Boolean(..) => 2,
            Node::Number(..) => 3,
            Node::Text(field, test) => test.cost() + if field.many { 20 } else { 3 },
            Node::Address(..) => 6,
            Node::Exists(_) => 4,
            Node::Fields(..) => 10,
            Node::Transformed(_, transformers, test) => test.cost() + 8 * transformers.len() as u32,
            Node::Not(inner) => inner.cost(),
            Node::All(parts) | Node::Any(parts) => parts
                .iter()
                .fold(1, |sum, part| sum.saturating_add(part.cost())),
        }
    }
}

fn flat(parts: Vec<Node>, open: fn(Node) -> Vec<Node>) -> Vec<Node> {
    parts.into_iter().flat_map(open).collect()
}

fn is_two_ended(field: &Field) -> bool {
    field.id == super::fields::Id::FdPort
}

fn fields(
    subject: &Subject<'_>,
    left: &Field,
    comparison: Comparison,
    right: &Field,
    scratch: &mut Scratch,
) -> Option<bool> {
    if left.kind == Kind::Number {
        let ordering = subject.number(left)?.cmp(&subject.number(right)?);
        return Some(match comparison {
            Comparison::Equal => ordering.is_eq(),
            Comparison::NotEqual => ordering.is_ne(),
            Comparison::Order(order) => order.holds(ordering),
            Comparison::Contains | Comparison::StartsWith | Comparison::EndsWith => false,
        });
    }
    let left = subject.text(left, &mut scratch.left)?;
    let right = subject.text(right, &mut scratch.right)?;
    Some(match comparison {
        Comparison::Equal => left == right,
        Comparison::NotEqual => left != right,
        Comparison::Order(order) => order.holds(left.cmp(right)),
        Comparison::Contains => pattern::contains(left, right),
        Comparison::StartsWith => left.starts_with(right),
        Comparison::EndsWith => left.ends_with(right),
    })
}

fn transformed(
    subject: &Subject<'_>,
    field: &Field,
    transformers: &[Transformer],
    test: &TextTest,
    scratch: &mut Scratch,
) -> Option<bool> {
    let text = subject.text(field, &mut scratch.left)?;
    scratch.right.clear();
    scratch.right.extend_from_slice(text);
    let value = &mut scratch.right;
    for transformer in transformers {
        match transformer {
            Transformer::Lower => value.make_ascii_lowercase(),
            Transformer::Upper => value.make_ascii_uppercase(),
            Transformer::Basename => {
                let start = value
                    .iter()
                    .rposition(|&byte| byte == b'/')
                    .map_or(0, |at| at + 1);
                value.drain(..start);
            }
        }
    }
    Some(test.holds(value))
}
