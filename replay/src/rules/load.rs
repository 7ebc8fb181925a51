//! From rule files to compiled rules, in order: what is wrong, what is odd, and what one rule comes to.
//! [`super::definitions`] compiles.

use super::{
    Checked, FileReport, Item, ItemKind, LoadError, Rule, RuleSet, Warning, WarningCode,
    behaviour::{Behaviour, MeasureItem},
    definitions::{Definitions, Problem, with_exceptions},
    explain::{self, Explanation},
    items::Items,
    node::Node,
    output::Template,
    sequence::Sequence,
    severity::Override,
    source::Source,
    types::{TYPES, TypeSet},
    window::Window,
    yaml::{File, Place},
};
use hashbrown::HashSet;

/// Falco's threshold for a rule that looks at too many kinds of events (`warn_evttypes`).
const TYPES_MANY: usize = 100;

/// All types of events, but findings.
const EVENTS: usize = TYPES - 1;

/// A rule, ready to judge.
#[derive(Clone, Debug)]
pub(super) struct Compiled {
    pub rule: Rule,
    pub work: Work,
    /// Of a sequence: any of its steps.
    pub condition: Node,
    pub output: Template,
    /// The event types that can match.
    pub types: TypeSet,
}

/// What a rule does with an event that fulfils its condition.
#[derive(Clone, Debug)]
pub(super) enum Work {
    Tell,
    Window(Window),
    Sequence(Sequence),
}

/// Loads files in order. After each, everything so far has to make sense.
pub(super) fn check(files: &[(&str, &str)]) -> Checked {
    let files: Vec<File<'_>> = files
        .iter()
        .map(|&(name, text)| File { name, text })
        .collect();
    let mut items = Items::default();
    let mut checked = Checked::default();
    for (index, file) in files.iter().enumerate() {
        let mut errors = items.read(index, file);
        // What refers to an item that could not be read would be wrong for that alone.
        if errors.is_empty() {
            let compiled = compile_all(&items, &files);
            errors = compiled.errors;
            checked.rules = RuleSet::of(compiled.rules, compiled.overrides);
            checked.warnings = compiled.warnings;
        }
        let earlier = checked.files.iter().flat_map(|report| &report.errors);
        let earlier: Vec<LoadError> = earlier.cloned().collect();
        errors.retain(|error| !earlier.contains(error));
        checked.files.push(FileReport {
            file: file.name.to_owned(),
            errors,
        });
    }
    checked.warnings.splice(0..0, items.warnings);
    checked
}

#[derive(Default)]
struct All {
    rules: Vec<Compiled>,
    overrides: Vec<Override>,
    errors: Vec<LoadError>,
    warnings: Vec<Warning>,
}

/// Compiles everything that was read.
fn compile_all(items: &Items, files: &[File<'_>]) -> All {
    let mut all = All::default();
    let mut definitions = match Definitions::new(files, items) {
        Ok(definitions) => definitions,
        Err(error) => {
            all.errors.push(error);
            return all;
        }
    };
    // Macros that no rule uses have to make sense too.
    for item in &items.macros {
        definitions.open.push(item.name.clone());
        let found = definitions.compile_source(&item.condition);
        definitions.open.clear();
        // An unknown field is only the fault of the rules that use it.
        if let Err((error, false)) = found {
            let error = error.about(ItemKind::Macro, Some(&item.name));
            if !all.errors.contains(&error) {
                all.errors.push(error);
            }
        }
    }
    for item in &items.rules {
        let warn = |code, message| {
            let named = named(item.kind(), &item.name);
            warning(files, item.file, item.at, code, named, message)
        };
        match definitions.rule(item) {
            Ok(rule) => {
                let types = rule.types.len();
                if rule.rule.enabled && item.warn_event_types && (types == 0 || types > TYPES_MANY)
                {
                    let name = &item.name;
                    let (code, message) = match types {
                        0 => (
                            WarningCode::NeverMatches,
                            format!("rule {name}: no trace has an event that can match"),
                        ),
                        EVENTS => (
                            WarningCode::NoEventType,
                            format!("rule {name}: no evt.type, looks at every event"),
                        ),
                        _ => (
                            WarningCode::NoEventType,
                            format!("rule {name}: looks at {types} event types"),
                        ),
                    };
                    all.warnings.push(warn(code, message));
                }
                all.rules.push(rule);
            }
            Err((error, true)) if item.skip_if_unknown => {
                let message = format!("rule {} skipped: {error}", item.name);
                all.warnings.push(warn(WarningCode::UnknownFilter, message));
            }
            Err((error, _)) => {
                let error = error.about(item.kind(), Some(&item.name));
                // A macro's own error has been told with the macro.
                if !all.errors.contains(&error) {
                    all.errors.push(error);
                }
            }
        }
    }
    for item in &items.severities {
        let condition = match &item.condition {
            None => Ok(Node::Always),
            Some(condition) => definitions.compile_source(condition),
        };
        match condition {
            Ok(condition) => all.overrides.push(Override::new(item, condition)),
            Err((error, _)) => {
                let error = error.about(ItemKind::Severity, Some(&item.name));
                all.errors.push(error);
            }
        }
    }
    let used = definitions.used_macros();
    for item in items.macros.iter() {
        if !used.contains(&item.name) {
            let message = format!("macro {} is not used", item.name);
            let named = named(ItemKind::Macro, &item.name);
            let code = WarningCode::UnusedMacro;
            all.warnings
                .push(warning(files, item.file, item.at, code, named, message));
        }
    }
    let lists_in_lists: HashSet<&String> =
        items.lists.iter().flat_map(|list| &list.items).collect();
    for item in &items.lists {
        if !definitions.used_lists.contains(&item.name) && !lists_in_lists.contains(&item.name) {
            let message = format!("list {} is not used", item.name);
            let named = named(ItemKind::List, &item.name);
            let code = WarningCode::UnusedList;
            all.warnings
                .push(warning(files, item.file, item.at, code, named, message));
        }
    }
    all
}

fn named(kind: ItemKind, name: &str) -> Item {
    Item {
        kind,
        name: Some(name.to_owned()),
    }
}

fn warning(
    files: &[File<'_>],
    file: usize,
    at: Place,
    code: WarningCode,
    item: Item,
    message: String,
) -> Warning {
    Warning {
        file: files.get(file).map_or("", |file| file.name).to_owned(),
        line: at.line,
        column: at.column,
        message,
        code,
        item: Some(item),
    }
}

/// Explains one rule of these files; `None` when there is none of that name.
pub(super) fn explain(
    files: &[(&str, &str)],
    name: &str,
) -> Result<Option<Explanation>, LoadError> {
    let files: Vec<File<'_>> = files
        .iter()
        .map(|&(name, text)| File { name, text })
        .collect();
    let mut items = Items::default();
    for (index, file) in files.iter().enumerate() {
        if let Some(error) = items.read(index, file).into_iter().next() {
            return Err(error);
        }
    }
    let Some(item) = items.rules.iter().find(|rule| rule.name == name) else {
        return Ok(None);
    };
    let mut definitions = Definitions::new(&files, &items)?;
    let compiled = definitions.rule(item).map_err(|(error, _)| error)?;
    let mut conditions = Vec::new();
    let mut over = None;
    let seconds = |ns: u64| ns as f64 / 1e9;
    let by = |by: &[Source]| {
        let names: Vec<&str> = by.iter().map(|field| field.text.as_str()).collect();
        names.join(", ")
    };
    match &item.behaviour {
        Behaviour::Sequence(sequence) => {
            let within = seconds(sequence.within_ns);
            over = Some(format!("steps in this order within {within} s"));
            for (at, step) in sequence.steps.iter().enumerate() {
                let kind = if step.absent { "absent" } else { "condition" };
                let label = format!("step {} ({kind}, by {})", at + 1, by(&step.by));
                conditions.push((label, definitions.expanded(&step.condition)?));
            }
        }
        behaviour => {
            let condition = definitions.expanded(&with_exceptions(item))?;
            conditions.push(("condition".to_owned(), condition));
            if let Behaviour::Window(window) = behaviour {
                let measure = match &window.measure {
                    MeasureItem::Count(threshold) => format!("{threshold} events"),
                    MeasureItem::Distinct(of, threshold) => {
                        format!("{threshold} distinct values of {}", of.text)
                    }
                    MeasureItem::Sum(of, threshold) => {
                        format!("a sum of {threshold} of {}", of.text)
                    }
                    MeasureItem::Rate(of, threshold) => {
                        let of = of.as_ref().map_or("events", |of| &of.text);
                        format!("{threshold} of {of} a second")
                    }
                };
                let (within, by) = (seconds(window.within_ns), by(&window.by));
                over = Some(format!("{measure} within {within} s, by {by}"));
            }
        }
    }
    explain::of(&compiled, &conditions, over, &item.output.text).map(Some)
}

/// Compiles a condition that stands alone, with the macros and lists of the files at hand.
pub(super) fn filter(text: &str, library: (&str, &str)) -> Result<Node, LoadError> {
    let files = vec![File {
        name: library.0,
        text: library.1,
    }];
    let mut items = Items::default();
    if let Some(error) = items.read(0, &files[0]).into_iter().next() {
        return Err(error);
    }
    let mut definitions = Definitions::new(&files, &items)?;
    let place = |at: usize| {
        let before = &text[..at.min(text.len())];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (
            before.matches('\n').count() + 1,
            before[line_start..].chars().count() + 1,
        )
    };
    definitions
        .compile_text(text)
        .map_err(|problem| match problem {
            Problem::Elsewhere { error, .. } => error,
            Problem::Here { error, code } => {
                let (line, column) = place(error.at);
                let (token, expected) = (error.token, error.expected);
                LoadError {
                    file: "filter".to_owned(),
                    line,
                    column,
                    token,
                    expected,
                    code,
                    item: None,
                }
            }
        })
}
