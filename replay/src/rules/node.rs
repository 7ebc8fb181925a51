//! Compiled conditions: judging an event, and knowing beforehand which event types can pass.

use super::{
    fields::Field,
    operand::{Computed, Operand},
    pattern::{self, PathPrefix},
    subject::Subject,
    test::{AddressTest, NumberTest, Order, TextTest},
    types::TypeSet,
};
use crate::resolve::Depth;
use std::cmp::Ordering;

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
    /// Whether it may be [false, true].
    Boolean(Field, [bool; 2]),
    Address(Field, AddressTest),
    Exists(Field),
    /// A transformer against values.
    Computed(Box<Operand>, Test),
    /// Two values of the event.
    Compared(Box<Operand>, Comparison, Box<Operand>),
}

/// Of what a transformer makes.
#[derive(Clone, Debug)]
pub(super) enum Test {
    Exists,
    Text(TextTest),
    Number(NumberTest),
    Flag([bool; 2]),
}

/// Of two values.
#[derive(Clone, Copy, Debug)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Order(Order),
    Contains,
    ContainsIgnoringCase,
    StartsWith,
    EndsWith,
    /// Whether case is ignored.
    Glob(bool),
    Below,
}

/// Space for values that have to be put together. Kept between events.
#[derive(Clone, Default)]
pub(super) struct Scratch {
    left: Vec<u8>,
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
            Node::Number(field, test) if field.many => subject
                .any_number(field, |number| test.holds(number))
                .unwrap_or(false),
            Node::Number(field, test) => subject
                .number(field)
                .is_some_and(|number| test.holds(number)),
            Node::Boolean(field, allowed) => subject
                .boolean(field)
                .is_some_and(|flag| allowed[usize::from(flag)]),
            Node::Address(field, test) => {
                let ends = subject
                    .ends(field.id)
                    .into_iter()
                    .flatten()
                    .map(|end| end.0);
                test.holds(ends).unwrap_or(false)
            }
            Node::Exists(field) => subject.has(field, &mut scratch.left),
            Node::Computed(operand, test) => operand
                .value(subject, scratch)
                .is_some_and(|value| test.holds(&value)),
            Node::Compared(left, comparison, right) => left
                .value(subject, scratch)
                .zip(right.value(subject, scratch))
                .is_some_and(|(left, right)| comparison.holds(&left, &right)),
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
            Node::Text(it, _)
            | Node::Number(it, _)
            | Node::Boolean(it, _)
            | Node::Address(it, _)
            | Node::Exists(it) => field(it),
            Node::Computed(..) | Node::Compared(..) => {
                let mut holds = TypeSet::all();
                self.fields(&mut |field| holds = holds.intersection(&field.types));
                Reach {
                    holds,
                    fails: TypeSet::all(),
                }
            }
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
            _ => {
                let mut of_actor = true;
                self.fields(&mut |field| of_actor &= field.id.is_of_actor());
                of_actor
            }
        }
    }

    /// The fields that the condition looks at.
    pub fn fields(&self, each: &mut impl FnMut(&Field)) {
        match self {
            Node::Never | Node::Always | Node::Types(_) => {}
            Node::All(parts) | Node::Any(parts) => {
                parts.iter().for_each(|part| part.fields(each));
            }
            Node::Not(inner) => inner.fields(each),
            Node::Text(field, _)
            | Node::Number(field, _)
            | Node::Boolean(field, _)
            | Node::Address(field, _)
            | Node::Exists(field) => each(field),
            Node::Computed(operand, _) => operand.fields(each),
            Node::Compared(left, _, right) => {
                left.fields(each);
                right.fields(each);
            }
        }
    }

    /// How much of the state the answer depends on.
    pub fn looks_at(&self) -> Depth {
        let mut depth = Depth::Nothing;
        self.fields(&mut |field| depth = depth.max(field.id.looks_at()));
        depth
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
            Node::Computed(..) => 12,
            Node::Compared(..) => 16,
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

impl Test {
    fn holds(&self, value: &Computed) -> bool {
        match (self, value) {
            (Test::Exists, _) => true,
            (Test::Text(test), Computed::Text(text)) => test.holds(text),
            (Test::Text(test), Computed::List(texts)) => texts.iter().any(|text| test.holds(text)),
            (Test::Number(test), Computed::Number(number)) => test.holds(*number),
            (Test::Flag(allowed), Computed::Flag(flag)) => allowed[usize::from(*flag)],
            _ => false,
        }
    }
}

impl Comparison {
    fn holds(self, left: &Computed, right: &Computed) -> bool {
        match (left, right) {
            (Computed::Text(left), Computed::Text(right)) => self.of_texts(left, right),
            (Computed::List(lefts), Computed::Text(right)) => {
                lefts.iter().any(|left| self.of_texts(left, right))
            }
            (Computed::Text(left), Computed::List(rights)) => {
                rights.iter().any(|right| self.of_texts(left, right))
            }
            (Computed::Number(left), Computed::Number(right)) => self.of_order(left.cmp(right)),
            (Computed::Flag(left), Computed::Flag(right)) => self.of_order(left.cmp(right)),
            _ => false,
        }
    }

    fn of_order(self, ordering: Ordering) -> bool {
        match self {
            Comparison::Equal => ordering.is_eq(),
            Comparison::NotEqual => ordering.is_ne(),
            Comparison::Order(order) => order.holds(ordering),
            _ => false,
        }
    }

    fn of_texts(self, left: &[u8], right: &[u8]) -> bool {
        match self {
            Comparison::Contains => pattern::contains(left, right),
            Comparison::ContainsIgnoringCase => {
                pattern::contains_ignoring_case(left, &right.to_ascii_lowercase())
            }
            Comparison::StartsWith => left.starts_with(right),
            Comparison::EndsWith => left.ends_with(right),
            Comparison::Glob(ignore_case) => pattern::glob(right, left, ignore_case),
            Comparison::Below => PathPrefix::new(right).covers(left),
            _ => self.of_order(left.cmp(right)),
        }
    }
}
