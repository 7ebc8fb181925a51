//! Exceptions of rules: values that turn into `and not (…)` behind the condition.

use super::{
    ItemKind, LoadCode, LoadError,
    source::{Origin, Source},
    syntax::Operator,
    yaml::{File, Node, Value},
};
use std::rc::Rc;

pub(super) struct Exception {
    name: String,
    /// One field with a set of values, or several with tuples.
    fields: Fields,
    values: Vec<(Node, Origin)>,
}

enum Fields {
    One {
        field: String,
        comparison: String,
    },
    Many {
        fields: Vec<String>,
        comparisons: Vec<String>,
    },
}

/// Reads a rule's `exceptions`; a name that is there already gets more values.
pub(super) fn read(
    file: &File<'_>,
    index: usize,
    node: &Node,
    known: &mut Vec<Exception>,
) -> Result<(), LoadError> {
    let Value::Sequence(items) = &node.value else {
        return Err(file.error(node.at, node.what(), "a list of exceptions"));
    };
    for item in items {
        let name = match &item.value {
            Value::Mapping(pairs) => super::item::get(pairs, "name").and_then(Node::scalar),
            _ => None,
        };
        read_one(file, index, item, known)
            .map_err(|error| error.about(ItemKind::Exception, name))?;
    }
    Ok(())
}

fn read_one(
    file: &File<'_>,
    index: usize,
    item: &Node,
    known: &mut Vec<Exception>,
) -> Result<(), LoadError> {
    let Value::Mapping(pairs) = &item.value else {
        return Err(file.error(
            item.at,
            item.what(),
            "an exception with name, fields and values",
        ));
    };
    let get = |key: &str| {
        pairs
            .iter()
            .find(|pair| pair.0.scalar() == Some(key))
            .map(|pair| &pair.1)
    };
    let Some(name) = get("name").and_then(Node::scalar) else {
        return Err(file.error(item.at, "an exception without name", "`name`"));
    };
    let origin = Origin {
        file: index,
        node: Rc::new(item.clone()),
    };
    let mut values = Vec::new();
    match get("values").map(|node| (&node.value, node)) {
        Some((Value::Sequence(given), _)) => {
            values.extend(given.iter().map(|value| {
                (
                    value.clone(),
                    Origin {
                        node: Rc::new(value.clone()),
                        ..origin.clone()
                    },
                )
            }));
        }
        Some((_, node)) if !node.is_null() => {
            return Err(file.error(node.at, node.what(), "a list of values"));
        }
        _ => {}
    }
    let exception = match (
        known.iter_mut().find(|exception| exception.name == name),
        get("fields"),
    ) {
        (Some(exception), None) => {
            if let Some(comps) = get("comps") {
                return Err(file
                    .error(
                        comps.at,
                        comps.what(),
                        "comps only where the exception is defined",
                    )
                    .with(LoadCode::Validate));
            }
            exception.values.extend(values);
            exception
        }
        (Some(_), Some(fields)) => {
            return Err(file
                .error(
                    fields.at,
                    fields.what(),
                    "values only: the exception is defined already",
                )
                .with(LoadCode::Validate));
        }
        (None, None) => {
            return Err(file.error(
                item.at,
                format!("exception `{name}` without fields"),
                "`fields`",
            ));
        }
        (None, Some(fields)) => {
            let fields = fields_of(file, fields, get("comps"))?;
            known.push(Exception {
                name: name.to_owned(),
                fields,
                values,
            });
            let last = known.len() - 1;
            &mut known[last]
        }
    };
    exception.check(file)
}

fn fields_of(file: &File<'_>, fields: &Node, comps: Option<&Node>) -> Result<Fields, LoadError> {
    let comparison = |node: &Node| match node.scalar() {
        Some(name)
            if Operator::named(name.split_whitespace().next().unwrap_or_default()).is_some() =>
        {
            Ok(name.to_owned())
        }
        _ => Err(file
            .error(node.at, node.what(), "an operator")
            .with(LoadCode::Validate)),
    };
    if let Some(field) = fields.scalar() {
        let comparison = match comps {
            Some(node) => comparison(node)?,
            None => "in".to_owned(),
        };
        let first = comparison.split_whitespace().collect::<Vec<_>>();
        if !matches!(
            first[..],
            ["in" | "pmatch" | "intersects"] | [_, "oneof" | "anyof" | "allof"]
        ) {
            let at = comps.map_or(fields.at, |node| node.at);
            return Err(file
                .error(
                    at,
                    format!("`{comparison}`"),
                    "in, pmatch, intersects or an operator with anyof",
                )
                .with(LoadCode::Validate));
        }
        return Ok(Fields::One {
            field: field.to_owned(),
            comparison,
        });
    }
    let names = super::item::texts(file, fields)?;
    let comparisons = match comps.map(|node| (&node.value, node)) {
        None => vec!["=".to_owned(); names.len()],
        Some((Value::Sequence(nodes), _)) if nodes.len() == names.len() => {
            nodes.iter().map(comparison).collect::<Result<_, _>>()?
        }
        Some((_, node)) => {
            return Err(file
                .error(
                    node.at,
                    node.what(),
                    format!("a list of {} operators", names.len()),
                )
                .with(LoadCode::Validate));
        }
    };
    Ok(Fields::Many {
        fields: names,
        comparisons,
    })
}

impl Exception {
    fn check(&self, file: &File<'_>) -> Result<(), LoadError> {
        for (value, _) in &self.values {
            match (&self.fields, &value.value) {
                (Fields::One { .. }, Value::Scalar { .. }) => {}
                (Fields::Many { fields, .. }, Value::Sequence(parts))
                    if parts.len() == fields.len() => {}
                (Fields::One { .. }, _) => {
                    return Err(file.error(value.at, value.what(), "a value"));
                }
                (Fields::Many { fields, .. }, _) => {
                    let expected = format!(
                        "a tuple of {} values for exception `{}`",
                        fields.len(),
                        self.name
                    );
                    return Err(file
                        .error(value.at, value.what(), expected)
                        .with(LoadCode::Validate));
                }
            }
        }
        Ok(())
    }

    /// Adds ` and not (…)` for the values there are.
    pub fn apply(&self, condition: &mut Source) {
        let Some((_, first)) = self.values.first() else {
            return;
        };
        condition.push(" and not (", first);
        match &self.fields {
            Fields::One { field, comparison } => {
                condition.push(&format!("{field} {comparison} ("), first);
                for (at, (value, origin)) in self.values.iter().enumerate() {
                    condition.push(if at > 0 { ", " } else { "" }, origin);
                    condition.push(&quoted(value.scalar().unwrap_or_default()), origin);
                }
                condition.push(")", first);
            }
            Fields::Many {
                fields,
                comparisons,
            } => {
                for (at, (value, origin)) in self.values.iter().enumerate() {
                    let Value::Sequence(parts) = &value.value else {
                        continue;
                    };
                    condition.push(if at > 0 { " or (" } else { "(" }, origin);
                    for (place, part) in parts.iter().enumerate() {
                        let and = if place > 0 { " and " } else { "" };
                        let (field, comparison) = (&fields[place], &comparisons[place]);
                        let right = right_side(part, comparison);
                        condition.push(&format!("{and}{field} {comparison} {right}"), origin);
                    }
                    condition.push(")", origin);
                }
            }
        }
        condition.push(")", first);
    }
}

/// A value of a tuple: lists, and scalars under list operators, get parentheses.
fn right_side(part: &Node, comparison: &str) -> String {
    let operator = Operator::named(comparison.split_whitespace().next().unwrap_or_default());
    let listed = operator.is_some_and(Operator::takes_list) || comparison.contains(' ');
    match &part.value {
        Value::Sequence(items) => {
            let items: Vec<_> = items
                .iter()
                .map(|item| quoted(item.scalar().unwrap_or_default()))
                .collect();
            format!("({})", items.join(", "))
        }
        _ => {
            let value = part.scalar().unwrap_or_default();
            if listed && !value.starts_with('(') {
                format!("({})", quoted(value))
            } else {
                quoted(value)
            }
        }
    }
}

/// A value as a condition takes it: in quotes where it would not be one word.
pub(super) fn quoted(value: &str) -> String {
    let plain = !value.is_empty()
        && !value
            .contains(|character: char| character.is_whitespace() || "()\"',=".contains(character));
    if plain || value.starts_with(['"', '\'', '(']) {
        return value.to_owned();
    }
    let mut text = String::from("\"");
    for character in value.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            '\r' => text.push_str("\\r"),
            other => text.push(other),
        }
    }
    text.push('"');
    text
}
