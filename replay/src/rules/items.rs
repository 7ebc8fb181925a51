//! Rule files as YAML items: lists, macros, rules, with their redefinitions and overrides applied.
//!
//! Files accumulate in order. The same name again replaces the content and keeps the place; `append`
//! and `override` change parts. What is kept is text with its places; [`super::load`] compiles it.

use super::{
    Item as Named, ItemKind, LoadCode, LoadError, Priority, Warning, WarningCode,
    behaviour::{Behaviour, SEQUENCE_KEYS, SEVERITY_KEYS, SeverityItem, WINDOW_KEYS},
    exceptions::{self, Exception},
    item::{Change, Item, change, get, texts},
    requirements,
    source::Source,
    yaml::{File, Node, Place, Value},
};
use hashbrown::HashMap;

#[derive(Default)]
pub(super) struct Items {
    pub lists: Vec<List>,
    pub macros: Vec<Macro>,
    pub rules: Vec<RuleItem>,
    pub severities: Vec<SeverityItem>,
    pub warnings: Vec<Warning>,
    /// Rules of sources that no trace has, which are skipped: name and source.
    foreign: HashMap<String, String>,
    /// Definitions of macros so far, to tell which came before which.
    macros_defined: usize,
}

pub(super) struct List {
    pub name: String,
    pub items: Vec<String>,
    pub file: usize,
    pub at: Place,
}

pub(super) struct Macro {
    pub name: String,
    pub condition: Source,
    pub file: usize,
    pub at: Place,
    /// When it was first defined …
    pub first: usize,
    /// … and last: it may use macros that were there by then.
    pub last: usize,
}

pub(super) struct RuleItem {
    pub name: String,
    pub file: usize,
    pub at: Place,
    pub behaviour: Behaviour,
    /// Of a sequence: empty, its steps have their own.
    pub condition: Source,
    pub output: Source,
    pub description: String,
    pub priority: Priority,
    pub tags: Vec<String>,
    pub enabled: bool,
    pub exceptions: Vec<Exception>,
    pub skip_if_unknown: bool,
    pub warn_event_types: bool,
}

/// Keys of a rule that `append` adds to.
const APPENDABLE: [&str; 5] = ["condition", "output", "desc", "tags", "exceptions"];
/// Further keys that `override` can replace.
const REPLACEABLE: [&str; 6] = [
    "priority",
    "enabled",
    "warn_evttypes",
    "skip-if-unknown-filter",
    "capture",
    "capture_duration",
];

/// Keys of windows and sequences that `override` can replace. Steps have conditions and keys that depend
/// on each other: another order of steps is another sequence.
fn replaceable_of(kind: ItemKind) -> &'static [&'static str] {
    match kind {
        ItemKind::Window => &WINDOW_KEYS,
        ItemKind::Sequence => &["within"],
        _ => &[],
    }
}

const RULE_KEYS: [&str; 16] = [
    "rule",
    "condition",
    "output",
    "desc",
    "priority",
    "source",
    "enabled",
    "tags",
    "exceptions",
    "append",
    "override",
    "warn_evttypes",
    "skip-if-unknown-filter",
    "capture",
    "capture_duration",
    "examples",
];

impl Items {
    /// Adds a file's items; those that are wrong are left out and told.
    pub fn read(&mut self, index: usize, file: &File<'_>) -> Vec<LoadError> {
        let documents = match file.parse() {
            Ok(documents) => documents,
            Err(error) => return vec![error.about(ItemKind::RulesContent, None)],
        };
        let mut errors = Vec::new();
        for document in documents.iter().filter(|document| !document.is_null()) {
            let Value::Sequence(items) = &document.value else {
                let expected = "a list of rules, macros and lists";
                let error = file.error(document.at, document.what(), expected);
                errors.push(error.about(ItemKind::RulesContent, None));
                continue;
            };
            for item in items.iter().filter(|item| !item.is_null()) {
                errors.extend(self.item(index, file, item).err());
            }
        }
        errors
    }

    fn warn(
        &mut self,
        code: WarningCode,
        item: Option<Named>,
        file: &File<'_>,
        at: Place,
        message: impl Into<String>,
    ) {
        self.warnings.push(Warning {
            file: file.name.to_owned(),
            line: at.line,
            column: at.column,
            message: message.into(),
            code,
            item,
        });
    }

    fn item(&mut self, index: usize, file: &File<'_>, node: &Node) -> Result<(), LoadError> {
        let Value::Mapping(pairs) = &node.value else {
            let expected = "a mapping with rule, macro or list";
            let error = file.error(node.at, node.what(), expected);
            return Err(error.about(ItemKind::RulesContentItem, None));
        };
        let kinds = [
            ("required_engine_version", ItemKind::EngineVersion),
            ("required_plugin_versions", ItemKind::PluginVersions),
            ("list", ItemKind::List),
            ("macro", ItemKind::Macro),
            ("rule", ItemKind::Rule),
            ("window", ItemKind::Window),
            ("sequence", ItemKind::Sequence),
            ("severity", ItemKind::Severity),
        ];
        let found = kinds
            .iter()
            .find_map(|&(key, kind)| Some((kind, get(pairs, key)?)));
        let Some((kind, value)) = found else {
            let key = pairs
                .first()
                .map_or_else(|| "an empty mapping".to_owned(), |pair| pair.0.what());
            let message = format!("{key}: not a rule, macro or list, ignored");
            self.warn(WarningCode::UnknownItem, None, file, node.at, message);
            return Ok(());
        };
        let name = match kind {
            ItemKind::EngineVersion | ItemKind::PluginVersions => None,
            _ => value.scalar().filter(|name| !name.is_empty()),
        };
        let mut read = || -> Result<(), LoadError> {
            match kind {
                ItemKind::EngineVersion => return requirements::engine_version(file, value),
                ItemKind::PluginVersions => return requirements::plugin_versions(file, value),
                _ => {}
            }
            let Some(name) = name else {
                let expected = format!("the name of the {}", kind.name());
                return Err(file.error(value.at, value.what(), expected));
            };
            let item = Item {
                file,
                index,
                kind,
                node,
                at: node.at,
                name: name.to_owned(),
                pairs,
                change: change(file, pairs)?,
            };
            if let Some(append) = get(pairs, "append") {
                let message = "`append` is deprecated: say `override: {…: append}`";
                let named = item.named(kind);
                self.warn(WarningCode::DeprecatedItem, named, file, append.at, message);
            }
            match kind {
                ItemKind::List => self.list(&item),
                ItemKind::Macro => self.macro_item(&item),
                ItemKind::Severity => self.severity(&item),
                _ => self.rule(&item),
            }
        };
        read().map_err(|error| error.about(kind, name))
    }

    fn unknown_keys(&mut self, kind: ItemKind, item: &Item<'_>, known: &[&str]) {
        for (key, _) in item.pairs {
            let name = key.scalar().unwrap_or_default();
            if !known.contains(&name) {
                let message = format!("unknown key {} in {}", key.what(), item.name);
                let named = item.named(kind);
                self.warn(WarningCode::UnknownKey, named, item.file, key.at, message);
            }
        }
    }

    fn list(&mut self, item: &Item<'_>) -> Result<(), LoadError> {
        self.unknown_keys(
            ItemKind::List,
            item,
            &["list", "items", "append", "override"],
        );
        let node = item.required("items")?;
        let items = texts(item.file, node)?;
        let known = self.lists.iter_mut().find(|list| list.name == item.name);
        match (known, item.appends("items", &["items"])?) {
            (Some(list), true) => list.items.extend(items),
            (None, true) => return Err(item.undefined("list")),
            (Some(list), false) => list.items = items,
            (None, false) => {
                let list = List {
                    name: item.name.clone(),
                    items,
                    file: item.index,
                    at: item.at,
                };
                self.lists.push(list);
            }
        }
        Ok(())
    }

    fn macro_item(&mut self, item: &Item<'_>) -> Result<(), LoadError> {
        self.unknown_keys(
            ItemKind::Macro,
            item,
            &["macro", "condition", "append", "override"],
        );
        let condition = item.text("condition")?;
        self.macros_defined += 1;
        let now = self.macros_defined;
        let mut known = self.macros.iter_mut().find(|known| known.name == item.name);
        if let Some(known) = &mut known {
            known.last = now;
        }
        match (known, item.appends("condition", &["condition"])?) {
            (Some(known), true) => join(&mut known.condition, &condition),
            (None, true) => return Err(item.undefined("macro")),
            (Some(known), false) => known.condition = condition,
            (None, false) => {
                let (name, file, at) = (item.name.clone(), item.index, item.at);
                self.macros.push(Macro {
                    name,
                    condition,
                    file,
                    at,
                    first: now,
                    last: now,
                });
            }
        }
        Ok(())
    }

    fn rule(&mut self, item: &Item<'_>) -> Result<(), LoadError> {
        let own: &[&str] = match item.kind {
            ItemKind::Window => &WINDOW_KEYS,
            ItemKind::Sequence => &SEQUENCE_KEYS,
            _ => &[],
        };
        let keys = [&RULE_KEYS, own, &[item.kind.name()]].concat();
        self.unknown_keys(item.kind, item, &keys);
        let known = self.rules.iter().position(|rule| rule.name == item.name);
        if let Some(at) = known
            && self.rules[at].kind() != item.kind
        {
            let other = self.rules[at].kind().name();
            let token = format!("{} `{}`", item.kind.name(), item.name);
            let error = item.file.error(
                item.at,
                token,
                format!("another name: there is a {other} of that name"),
            );
            return Err(error.with(LoadCode::Validate));
        }
        let source = item.get("source").map(|node| (node, node.what()));
        let earlier = match known {
            Some(_) => Some("`syscall`"),
            None => self.foreign.get(&item.name).map(String::as_str),
        };
        if let (Some((node, source)), Some(earlier)) = (&source, earlier)
            && source != earlier
        {
            let token = format!("source {source}");
            let expected = format!("source {earlier}, as in the earlier definition");
            let error = item.file.error(node.at, token, expected);
            return Err(error.with(LoadCode::Validate));
        }
        // What changes a skipped rule is skipped with it.
        if earlier.is_some() && known.is_none() {
            return Ok(());
        }
        match (&item.change, known) {
            (Change::Append | Change::Override(_), None) => Err(item.undefined("rule")),
            (Change::Append, Some(at)) => {
                if item.get("condition").is_none() && item.get("exceptions").is_none() {
                    let expected = "condition or exceptions";
                    let error = item.file.error(item.at, "nothing to append", expected);
                    return Err(error.with(LoadCode::Validate));
                }
                self.change_rule(item, at, &|key| {
                    let appended = APPENDABLE.contains(&key) && item.get(key).is_some();
                    appended.then_some(true)
                })
            }
            (Change::Override(keys), Some(at)) => {
                item.overridden_are_given(keys)?;
                let replaceable = [&REPLACEABLE, replaceable_of(item.kind)].concat();
                if let Some((other, _)) = keys.iter().find(|key| {
                    let key = key.0.as_str();
                    !APPENDABLE.contains(&key) && !replaceable.contains(&key)
                }) {
                    let token = format!("override of `{other}`");
                    let expected =
                        format!("{} or {}", APPENDABLE.join(", "), replaceable.join(", "));
                    return Err(item.file.error(item.at, token, expected));
                }
                self.change_rule(item, at, &|key| {
                    keys.iter()
                        .find(|known| known.0 == key)
                        .map(|known| known.1)
                })
            }
            (Change::Define, Some(at)) if item.only_switches() => {
                self.rules[at].enabled = item.boolean("enabled", true)?;
                let message =
                    "a rule with `enabled` alone is deprecated: say `override: {enabled: replace}`";
                let named = item.named(ItemKind::Rule);
                self.warn(
                    WarningCode::DeprecatedItem,
                    named,
                    item.file,
                    item.at,
                    message,
                );
                Ok(())
            }
            (Change::Define, known) => {
                if let Some((node, source)) = source
                    && node.scalar() != Some("syscall")
                {
                    let message =
                        format!("rule {}: source {source} is unknown, skipped", item.name);
                    let named = item.named(ItemKind::Rule);
                    self.warn(
                        WarningCode::UnknownSource,
                        named,
                        item.file,
                        node.at,
                        message,
                    );
                    self.foreign.insert(item.name.clone(), source);
                    return Ok(());
                }
                let rule = item.whole_rule()?;
                match known {
                    Some(at) => self.rules[at] = rule,
                    None => self.rules.push(rule),
                }
                Ok(())
            }
        }
    }

    fn severity(&mut self, item: &Item<'_>) -> Result<(), LoadError> {
        self.unknown_keys(ItemKind::Severity, item, &SEVERITY_KEYS);
        let read = SeverityItem::read(item.file, item.index, item.node, &item.name, item.pairs)?;
        match self
            .severities
            .iter_mut()
            .find(|known| known.name == read.name)
        {
            Some(known) => *known = read,
            None => self.severities.push(read),
        }
        Ok(())
    }

    /// Applies the keys of an append (`Some(true)`) or replacement (`Some(false)`).
    fn change_rule(
        &mut self,
        item: &Item<'_>,
        at: usize,
        change: &dyn Fn(&str) -> Option<bool>,
    ) -> Result<(), LoadError> {
        let rule = &mut self.rules[at];
        if let (ItemKind::Sequence, Some(condition)) = (item.kind, item.get("condition")) {
            let expected = "conditions in `steps` only";
            return Err(item.file.error(condition.at, "`condition`", expected));
        }
        if let Some(append) = change("condition") {
            let condition = item.text("condition").or_else(|error| match item.change {
                Change::Append => Ok(Source::default()),
                _ => Err(error),
            })?;
            match append {
                true if condition.text.is_empty() => {}
                true => join(&mut rule.condition, &condition),
                false => rule.condition = condition,
            }
        }
        if let Some(append) = change("output") {
            let output = item.text("output")?;
            if append {
                join(&mut rule.output, &output)
            } else {
                rule.output = output
            }
        }
        if let Some(append) = change("desc") {
            let description = item.text("desc")?.text;
            rule.description = if append {
                format!("{} {description}", rule.description)
            } else {
                description
            };
        }
        if let Some(append) = change("tags") {
            let tags = texts(item.file, item.required("tags")?)?;
            if !append {
                rule.tags.clear();
            }
            for tag in tags {
                if !rule.tags.contains(&tag) {
                    rule.tags.push(tag);
                }
            }
        }
        if let Some(append) = change("exceptions")
            && let Some(node) = item.get("exceptions")
        {
            if !append {
                rule.exceptions.clear();
            }
            exceptions::read(item.file, item.index, node, &mut rule.exceptions)?;
        }
        if change("priority").is_some() {
            rule.priority = item.priority()?;
        }
        if change("enabled").is_some() {
            rule.enabled = item.boolean("enabled", true)?;
        }
        if change("warn_evttypes").is_some() {
            rule.warn_event_types = item.boolean("warn_evttypes", true)?;
        }
        if change("skip-if-unknown-filter").is_some() {
            rule.skip_if_unknown = item.boolean("skip-if-unknown-filter", false)?;
        }
        // `append` has none of their keys, and what `override` does not name is not there.
        if let Change::Override(_) = item.change {
            let (file, index, node) = (item.file, item.index, item.node);
            match &mut rule.behaviour {
                Behaviour::Plain => {}
                Behaviour::Window(window) => window.replace(file, index, node, item.pairs)?,
                Behaviour::Sequence(sequence) => sequence.replace(file, item.pairs)?,
            }
        }
        Ok(())
    }
}

impl RuleItem {
    pub fn kind(&self) -> ItemKind {
        match self.behaviour {
            Behaviour::Plain => ItemKind::Rule,
            Behaviour::Window(_) => ItemKind::Window,
            Behaviour::Sequence(_) => ItemKind::Sequence,
        }
    }
}

fn join(source: &mut Source, more: &Source) {
    source.append(&Source::literal(" "));
    source.append(more);
}
