//! One item of a rule file, key by key: what it says, and how it changes an earlier one of its name.

use super::{
    Item as Named, ItemKind, LoadCode, LoadError, Priority,
    behaviour::{Behaviour, SequenceItem, WindowItem},
    exceptions,
    items::RuleItem,
    source::{Origin, Source},
    yaml::{File, Node, Place, Value},
};
use std::rc::Rc;

/// One item of a file.
pub(super) struct Item<'f> {
    pub file: &'f File<'f>,
    pub index: usize,
    pub kind: ItemKind,
    pub node: &'f Node,
    pub at: Place,
    pub name: String,
    pub pairs: &'f [(Node, Node)],
    /// `append: true`, or the keys of `override`.
    pub change: Change,
}

pub(super) enum Change {
    Define,
    Append,
    Override(Vec<(String, bool)>),
}

impl Item<'_> {
    pub fn get(&self, key: &str) -> Option<&Node> {
        get(self.pairs, key)
    }

    pub fn required(&self, key: &str) -> Result<&Node, LoadError> {
        self.get(key).ok_or_else(|| {
            self.file.error(
                self.at,
                format!("`{}` without `{key}`", self.name),
                format!("`{key}`"),
            )
        })
    }

    pub fn undefined(&self, kind: &str) -> LoadError {
        let token = format!("a change of {kind} `{}`", self.name);
        let expected = format!("an earlier definition of that {kind}");
        self.file
            .error(self.at, token, expected)
            .with(LoadCode::Validate)
    }

    pub fn named(&self, kind: ItemKind) -> Option<Named> {
        Some(Named {
            kind,
            name: Some(self.name.clone()),
        })
    }

    pub fn text(&self, key: &str) -> Result<Source, LoadError> {
        let node = self.required(key)?;
        match node.scalar() {
            Some(text) if !text.trim().is_empty() => Ok(Source::scalar(&Origin {
                file: self.index,
                node: Rc::new(node.clone()),
            })),
            _ => Err(self
                .file
                .error(node.at, node.what(), format!("text for `{key}`"))),
        }
    }

    pub fn boolean(&self, key: &str, default: bool) -> Result<bool, LoadError> {
        match self.get(key) {
            None => Ok(default),
            Some(node) => boolean(self.file, node),
        }
    }

    pub fn priority(&self) -> Result<Priority, LoadError> {
        let node = self.required("priority")?;
        node.scalar()
            .and_then(|name| name.parse().ok())
            .ok_or_else(|| {
                self.file.error(
                    node.at,
                    node.what(),
                    format!("a priority: {}", Priority::NAMES.join(", ")),
                )
            })
    }

    /// Whether this list or macro item adds to the earlier one.
    pub fn appends(&self, key: &str, changeable: &[&str]) -> Result<bool, LoadError> {
        match &self.change {
            Change::Define => Ok(false),
            Change::Append => Ok(true),
            Change::Override(keys) => {
                self.overridden_are_given(keys)?;
                if let Some((other, _)) = keys
                    .iter()
                    .find(|known| !changeable.contains(&known.0.as_str()))
                {
                    return Err(self.file.error(
                        self.at,
                        format!("override of `{other}`"),
                        format!("`{key}`"),
                    ));
                }
                Ok(keys.iter().any(|known| known.1))
            }
        }
    }

    pub fn overridden_are_given(&self, keys: &[(String, bool)]) -> Result<(), LoadError> {
        for (key, append) in keys {
            let node = self.required(key)?;
            let appendable = ["condition", "output", "desc", "tags", "exceptions", "items"]
                .contains(&key.as_str());
            if *append && !appendable {
                return Err(self
                    .file
                    .error(node.at, format!("append to `{key}`"), "replace"));
            }
        }
        let named = |key: &str| keys.iter().any(|known| known.0 == key);
        let kept = ["rule", "window", "sequence", "macro", "list", "override"];
        for (key, _) in self.pairs {
            let name = key.scalar().unwrap_or_default();
            if !kept.contains(&name) && !named(name) {
                return Err(self
                    .file
                    .error(key.at, key.what(), "only keys that `override` names"));
            }
        }
        Ok(())
    }

    /// An item with nothing but `enabled` switches an earlier rule.
    pub fn only_switches(&self) -> bool {
        self.get("enabled").is_some()
            && self.pairs.iter().all(|pair| {
                matches!(
                    pair.0.scalar(),
                    Some("rule" | "window" | "sequence" | "enabled")
                )
            })
    }

    pub fn whole_rule(&self) -> Result<RuleItem, LoadError> {
        let mut exceptions = Vec::new();
        if let Some(node) = self.get("exceptions") {
            exceptions::read(self.file, self.index, node, &mut exceptions)?;
        }
        let (file, index, node, pairs) = (self.file, self.index, self.node, self.pairs);
        let behaviour = match self.kind {
            ItemKind::Window => Behaviour::Window(WindowItem::read(file, index, node, pairs)?),
            ItemKind::Sequence => {
                Behaviour::Sequence(SequenceItem::read(file, index, node, pairs)?)
            }
            _ => Behaviour::Plain,
        };
        if let (ItemKind::Sequence, Some(condition)) = (self.kind, self.get("condition")) {
            let expected = "conditions in `steps` only";
            return Err(self.file.error(condition.at, "`condition`", expected));
        }
        Ok(RuleItem {
            name: self.name.clone(),
            file: self.index,
            at: self.at,
            condition: match self.kind {
                ItemKind::Sequence => Source::default(),
                _ => self.text("condition")?,
            },
            behaviour,
            output: self.text("output")?,
            description: self.text("desc")?.text.trim().to_owned(),
            priority: self.priority()?,
            tags: match self.get("tags") {
                Some(node) => texts(self.file, node)?,
                None => Vec::new(),
            },
            enabled: self.boolean("enabled", true)?,
            exceptions,
            skip_if_unknown: self.boolean("skip-if-unknown-filter", false)?,
            warn_event_types: self.boolean("warn_evttypes", true)?,
        })
    }
}

pub(super) fn get<'n>(pairs: &'n [(Node, Node)], key: &str) -> Option<&'n Node> {
    pairs
        .iter()
        .find(|pair| pair.0.scalar() == Some(key))
        .map(|pair| &pair.1)
}

fn boolean(file: &File<'_>, node: &Node) -> Result<bool, LoadError> {
    match node.scalar() {
        Some("true" | "True" | "TRUE" | "yes" | "on") => Ok(true),
        Some("false" | "False" | "FALSE" | "no" | "off") => Ok(false),
        _ => Err(file.error(node.at, node.what(), "true or false")),
    }
}

/// A list of scalars; nothing is an empty list.
pub(super) fn texts(file: &File<'_>, node: &Node) -> Result<Vec<String>, LoadError> {
    match &node.value {
        Value::Sequence(items) => items
            .iter()
            .map(|item| match item.scalar() {
                Some(text) => Ok(text.to_owned()),
                None => Err(file.error(item.at, item.what(), "a text")),
            })
            .collect(),
        _ if node.is_null() => Ok(Vec::new()),
        _ => Err(file.error(node.at, node.what(), "a list")),
    }
}

pub(super) fn change(file: &File<'_>, pairs: &[(Node, Node)]) -> Result<Change, LoadError> {
    let append = get(pairs, "append")
        .map(|node| boolean(file, node))
        .transpose()?
        .unwrap_or(false);
    let Some(node) = get(pairs, "override") else {
        return Ok(if append {
            Change::Append
        } else {
            Change::Define
        });
    };
    if append {
        return Err(file.error(node.at, "`override` and `append`", "one of them"));
    }
    let Value::Mapping(keys) = &node.value else {
        return Err(file.error(
            node.at,
            node.what(),
            "a mapping of keys to append or replace",
        ));
    };
    let mut changes = Vec::new();
    for (key, how) in keys {
        let append = match how.scalar() {
            Some("append") => true,
            Some("replace") => false,
            _ => return Err(file.error(how.at, how.what(), "append or replace")),
        };
        changes.push((key.scalar().unwrap_or_default().to_owned(), append));
    }
    Ok(Change::Override(changes))
}
