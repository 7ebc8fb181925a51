//! Items of ours beside Falco's rules: `window`, `sequence` and `severity`, as written.
//!
//! They are items of their own, not keys of `rule`: stock Falco ignores an item that it does not know
//! with a warning, where it would run a rule whose further keys it does not know on every event.

use super::{
    LoadCode, LoadError, Priority,
    item::{get, texts},
    source::{Origin, Source},
    yaml::{File, Node, Value},
};
use std::rc::Rc;

/// A day: a trace is rarely longer, and a second is the shortest that ticks keep.
const WITHIN_NS_MAX: u64 = 86_400_000_000_000;

/// What makes a rule more than a condition on one event.
#[derive(Clone)]
pub(super) enum Behaviour {
    Plain,
    Window(WindowItem),
    Sequence(SequenceItem),
}

#[derive(Clone)]
pub(super) struct WindowItem {
    pub by: Vec<Source>,
    pub within_ns: u64,
    pub measure: MeasureItem,
}

#[derive(Clone)]
pub(super) enum MeasureItem {
    Count(u64),
    Distinct(Source, u64),
    Sum(Source, u64),
    /// A second, over the whole window; `None`: of events.
    Rate(Option<Source>, u64),
}

#[derive(Clone)]
pub(super) struct SequenceItem {
    pub within_ns: u64,
    pub steps: Vec<StepItem>,
}

#[derive(Clone)]
pub(super) struct StepItem {
    pub condition: Source,
    pub by: Vec<Source>,
    pub absent: bool,
}

/// Changes how severe findings are.
pub(super) struct SeverityItem {
    pub name: String,
    pub rules: Vec<String>,
    pub engines: Vec<String>,
    pub condition: Option<Source>,
    pub priority: Priority,
}

pub(super) const WINDOW_KEYS: [&str; 6] = ["by", "within", "count", "distinct", "sum", "rate"];
/// Keys that say what a window measures, of which it has one.
const MEASURES: [&str; 4] = ["count", "distinct", "sum", "rate"];
pub(super) const SEQUENCE_KEYS: [&str; 3] = ["by", "within", "steps"];
pub(super) const SEVERITY_KEYS: [&str; 5] =
    ["severity", "rules", "engines", "condition", "priority"];

type Pairs = [(Node, Node)];

fn required<'n>(
    file: &File<'_>,
    at: &Node,
    pairs: &'n Pairs,
    key: &str,
) -> Result<&'n Node, LoadError> {
    let token = format!("an item without `{key}`");
    get(pairs, key).ok_or_else(|| file.error(at.at, token, format!("`{key}`")))
}

fn source(index: usize, node: &Node) -> Source {
    Source::scalar(&Origin {
        file: index,
        node: Rc::new(node.clone()),
    })
}

fn text(file: &File<'_>, index: usize, node: &Node) -> Result<Source, LoadError> {
    match node.scalar() {
        Some(text) if !text.trim().is_empty() => Ok(source(index, node)),
        _ => Err(file.error(node.at, node.what(), "a text")),
    }
}

/// `by`: one field or several; the container where it says nothing.
fn keys(
    file: &File<'_>,
    index: usize,
    node: Option<&Node>,
) -> Result<Option<Vec<Source>>, LoadError> {
    match node.map(|node| (&node.value, node)) {
        None => Ok(None),
        Some((Value::Sequence(fields), _)) => {
            let fields = fields.iter().map(|field| text(file, index, field));
            fields.collect::<Result<_, _>>().map(Some)
        }
        Some((_, node)) => Ok(Some(vec![text(file, index, node)?])),
    }
}

fn container() -> Vec<Source> {
    vec![Source::literal("container.id")]
}

/// `500ms`, `10s`, `5m`, `1h`.
fn within(file: &File<'_>, node: &Node) -> Result<u64, LoadError> {
    let text = node.scalar().unwrap_or_default();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let unit_ns = match &text[digits..] {
        "ms" => Some(1_000_000),
        "s" => Some(1_000_000_000),
        "m" => Some(60_000_000_000),
        "h" => Some(3_600_000_000_000),
        _ => None,
    };
    let number: Option<u64> = text[..digits].parse().ok();
    number
        .zip(unit_ns)
        .and_then(|(number, unit_ns)| number.checked_mul(unit_ns))
        .filter(|within_ns| (1..=WITHIN_NS_MAX).contains(within_ns))
        .ok_or_else(|| {
            file.error(
                node.at,
                node.what(),
                "a time such as 500ms, 10s, 5m or 1h, at most 24h",
            )
        })
}

fn number(file: &File<'_>, node: &Node, least: u64, most: u64) -> Result<u64, LoadError> {
    let number: Option<u64> = node.scalar().and_then(|text| text.parse().ok());
    number
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| {
            file.error(
                node.at,
                node.what(),
                format!("a number from {least} to {most}"),
            )
        })
}

impl WindowItem {
    pub fn read(
        file: &File<'_>,
        index: usize,
        item: &Node,
        pairs: &Pairs,
    ) -> Result<WindowItem, LoadError> {
        let within_ns = within(file, required(file, item, pairs, "within")?)?;
        Ok(WindowItem {
            by: keys(file, index, get(pairs, "by"))?.unwrap_or_else(container),
            within_ns,
            measure: measure(file, index, item, pairs)?,
        })
    }

    /// Takes over the keys of an `override`; another measure replaces the one that was there.
    pub fn replace(
        &mut self,
        file: &File<'_>,
        index: usize,
        item: &Node,
        pairs: &Pairs,
    ) -> Result<(), LoadError> {
        if let Some(node) = get(pairs, "within") {
            self.within_ns = within(file, node)?;
        }
        if let Some(by) = keys(file, index, get(pairs, "by"))? {
            self.by = by;
        }
        if MEASURES.iter().any(|key| get(pairs, key).is_some()) {
            self.measure = measure(file, index, item, pairs)?;
        }
        Ok(())
    }
}

fn measure(
    file: &File<'_>,
    index: usize,
    item: &Node,
    pairs: &Pairs,
) -> Result<MeasureItem, LoadError> {
    let measures: Vec<(&str, &Node)> = MEASURES
        .into_iter()
        .filter_map(|key| Some((key, get(pairs, key)?)))
        .collect();
    let [(name, node)] = measures[..] else {
        let token = format!("{} measures", measures.len());
        return Err(file.error(item.at, token, "one of count, distinct, sum and rate"));
    };
    let counted = super::window::THRESHOLD_MAX;
    if name == "count" {
        return Ok(MeasureItem::Count(number(file, node, 1, counted)?));
    }
    // `{of: fd.rport, at_least: 50}`
    let Value::Mapping(parts) = &node.value else {
        let expected = "a mapping with `of` and `at_least`";
        return Err(file.error(node.at, node.what(), expected));
    };
    let most = if name == "distinct" {
        counted
    } else {
        u64::MAX
    };
    let at_least = number(file, required(file, node, parts, "at_least")?, 1, most)?;
    if name == "rate" {
        let of = get(parts, "of").map(|of| text(file, index, of));
        return Ok(MeasureItem::Rate(of.transpose()?, at_least));
    }
    let of = text(file, index, required(file, node, parts, "of")?)?;
    Ok(match name {
        "distinct" => MeasureItem::Distinct(of, at_least),
        _ => MeasureItem::Sum(of, at_least),
    })
}

impl SequenceItem {
    /// Takes over the keys of an `override`: the time.
    pub fn replace(&mut self, file: &File<'_>, pairs: &Pairs) -> Result<(), LoadError> {
        if let Some(node) = get(pairs, "within") {
            self.within_ns = within(file, node)?;
        }
        Ok(())
    }

    pub fn read(
        file: &File<'_>,
        index: usize,
        item: &Node,
        pairs: &Pairs,
    ) -> Result<SequenceItem, LoadError> {
        let within_ns = within(file, required(file, item, pairs, "within")?)?;
        let by = keys(file, index, get(pairs, "by"))?.unwrap_or_else(container);
        let node = required(file, item, pairs, "steps")?;
        let Value::Sequence(nodes) = &node.value else {
            return Err(file.error(node.at, node.what(), "a list of steps"));
        };
        let mut steps = Vec::new();
        for node in nodes {
            let Value::Mapping(parts) = &node.value else {
                return Err(file.error(
                    node.at,
                    node.what(),
                    "a mapping with `condition` or `absent`",
                ));
            };
            let (condition, absent) = match (get(parts, "condition"), get(parts, "absent")) {
                (Some(condition), None) => (condition, false),
                (None, Some(absent)) => (absent, true),
                _ => {
                    return Err(file.error(node.at, "a step", "either `condition` or `absent`"));
                }
            };
            if let Some((key, _)) = parts
                .iter()
                .find(|pair| !matches!(pair.0.scalar(), Some("condition" | "absent" | "by")))
            {
                return Err(file.error(key.at, key.what(), "condition, absent or by"));
            }
            let own = keys(file, index, get(parts, "by"))?;
            if own.as_ref().is_some_and(|own| own.len() != by.len()) {
                let expected = format!("{} key fields, as the sequence has", by.len());
                return Err(file.error(node.at, "`by` of a step", expected));
            }
            steps.push(StepItem {
                condition: text(file, index, condition)?,
                by: own.unwrap_or_else(|| by.clone()),
                absent,
            });
        }
        let present = steps.iter().filter(|step| !step.absent).count();
        if present == 0 || steps.len() < 2 {
            let expected = "two steps or more, one of them a `condition`";
            return Err(file.error(node.at, format!("{} steps", steps.len()), expected));
        }
        if steps.len() > super::sequence::STEPS_MAX {
            let expected = format!("at most {}", super::sequence::STEPS_MAX);
            return Err(file.error(node.at, format!("{} steps", steps.len()), expected));
        }
        Ok(SequenceItem { within_ns, steps })
    }
}

impl SeverityItem {
    pub fn read(
        file: &File<'_>,
        index: usize,
        item: &Node,
        name: &str,
        pairs: &Pairs,
    ) -> Result<SeverityItem, LoadError> {
        let list = |key: &str| match get(pairs, key) {
            None => Ok(Vec::new()),
            Some(node) => match node.scalar() {
                Some(one) if !node.is_null() => Ok(vec![one.to_owned()]),
                _ => texts(file, node),
            },
        };
        let engines = list("engines")?;
        let known = ["rules", "statistics", "forest"];
        if let Some(other) = engines
            .iter()
            .find(|engine| !known.contains(&engine.as_str()))
        {
            let error = file.error(item.at, format!("engine `{other}`"), known.join(", "));
            return Err(error.with(LoadCode::Validate));
        }
        let priority = required(file, item, pairs, "priority")?;
        let expected = format!("a priority: {}", Priority::NAMES.join(", "));
        Ok(SeverityItem {
            name: name.to_owned(),
            rules: list("rules")?,
            engines,
            condition: get(pairs, "condition")
                .map(|node| text(file, index, node))
                .transpose()?,
            priority: priority
                .scalar()
                .and_then(|name| name.parse().ok())
                .ok_or_else(|| file.error(priority.at, priority.what(), expected))?,
        })
    }
}
