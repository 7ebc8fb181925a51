//! Lists and macros put into conditions, and rules compiled with them.

use super::{
    ItemKind, LoadCode, LoadError, Rule,
    behaviour::{Behaviour, MeasureItem, StepItem, WindowItem},
    compile::{self, Macros, NODES_MAX},
    condition::{self, SyntaxError},
    items::{Items, Macro, RuleItem},
    load::{Compiled, Work},
    node::Node,
    operand::{Operand, Shape},
    output::Template,
    sequence::{Sequence, Step},
    source::Source,
    syntax::Expression,
    types::{FINDING, TypeSet},
    window::{Measure, Window},
    yaml::{File, quoted},
};
use hashbrown::{HashMap, HashSet};

/// Macros in macros: Falco's own nest four deep.
const MACRO_DEPTH_MAX: usize = 64;
/// Text that lists may put into one condition: Falco's largest has 3 KiB.
const CONDITION_BYTES_MAX: usize = 4 << 20;
/// What filters may use besides fields: the macros and lists of the loaded files.
pub(super) struct Definitions<'a> {
    files: &'a [File<'a>],
    lists: HashMap<String, String>,
    macros: HashMap<&'a str, &'a Macro>,
    ready: HashMap<String, Node>,
    pub open: Vec<String>,
    pub used_lists: HashSet<String>,
    /// Which macro (none: a rule) names which.
    macro_uses: HashSet<(Option<String>, String)>,
}

/// An error in the text at hand, or one that already knows its place.
pub(super) enum Problem {
    Here { error: SyntaxError, code: LoadCode },
    Elsewhere { error: LoadError, unknown: bool },
}

impl From<SyntaxError> for Problem {
    fn from(error: SyntaxError) -> Self {
        Problem::Here {
            error,
            code: LoadCode::CompileCondition,
        }
    }
}

/// A rule's condition and its exceptions, as text.
pub(super) fn with_exceptions(item: &RuleItem) -> Source {
    if item.exceptions.is_empty() {
        return item.condition.clone();
    }
    let mut source = Source::default();
    source.append(&Source::literal("("));
    source.append(&item.condition);
    source.append(&Source::literal(")"));
    item.exceptions
        .iter()
        .for_each(|exception| exception.apply(&mut source));
    source
}

impl<'a> Definitions<'a> {
    pub fn new(files: &'a [File<'a>], items: &'a Items) -> Result<Self, LoadError> {
        let mut definitions = Definitions {
            files,
            lists: HashMap::new(),
            macros: HashMap::new(),
            ready: HashMap::new(),
            open: Vec::new(),
            used_lists: HashSet::new(),
            macro_uses: HashSet::new(),
        };
        for at in 0..items.lists.len() {
            definitions.list(items, at, &mut Vec::new())?;
        }
        for item in &items.macros {
            definitions.macros.insert(&item.name, item);
        }
        Ok(definitions)
    }

    /// The macros that rules use, directly or through others.
    pub fn used_macros(&self) -> HashSet<String> {
        let mut used = HashSet::new();
        let mut next: Vec<Option<String>> = vec![None];
        while let Some(user) = next.pop() {
            let named = self
                .macro_uses
                .iter()
                .filter(|it| it.0 == user)
                .map(|it| it.1.clone());
            for name in named.collect::<Vec<_>>() {
                if used.insert(name.clone()) {
                    next.push(Some(name));
                }
            }
        }
        used
    }

    /// A list as the text that stands for it; items that name lists are spliced.
    fn list(
        &mut self,
        items: &Items,
        at: usize,
        open: &mut Vec<usize>,
    ) -> Result<String, LoadError> {
        let list = &items.lists[at];
        if let Some(ready) = self.lists.get(&list.name) {
            return Ok(ready.clone());
        }
        if open.contains(&at) {
            let token = format!("list `{}` in itself", list.name);
            let error = self.files[list.file].error(list.at, token, "lists without a loop");
            let error = error.with(LoadCode::Validate);
            return Err(error.about(ItemKind::List, Some(&list.name)));
        }
        open.push(at);
        let mut parts = Vec::new();
        for item in &list.items {
            match items.lists.iter().position(|known| known.name == *item) {
                Some(inner) => {
                    let spliced = self.list(items, inner, open)?;
                    if !spliced.is_empty() {
                        parts.push(spliced);
                    }
                }
                None => parts.push(listed(item)),
            }
        }
        open.pop();
        let text = parts.join(", ");
        if text.len() > CONDITION_BYTES_MAX {
            let token = format!("list `{}` of {} bytes", list.name, text.len());
            let expected = format!("at most {CONDITION_BYTES_MAX}");
            let error = self.files[list.file].error(list.at, token, expected);
            return Err(error.about(ItemKind::List, Some(&list.name)));
        }
        self.lists.insert(list.name.clone(), text.clone());
        Ok(text)
    }

    fn locate(&self, source: &Source, problem: Problem) -> (LoadError, bool) {
        match problem {
            Problem::Elsewhere { error, unknown } => (error, unknown),
            Problem::Here { error, code } => {
                let (file, place) = source.locate(error.at, self.files).unwrap_or_default();
                let file = self.files.get(file).map_or("", |file| file.name).to_owned();
                let (line, column) = (place.line, place.column);
                let (token, expected) = (error.token, error.expected);
                (
                    LoadError {
                        file,
                        line,
                        column,
                        token,
                        expected,
                        code,
                        item: None,
                    },
                    error.unknown,
                )
            }
        }
    }

    /// Puts lists into a condition and compiles it. Positions in the error are of the text returned.
    pub fn compile_source(&mut self, source: &Source) -> Result<Node, (LoadError, bool)> {
        let used = &mut self.used_lists;
        let expanded = source.with_lists(&self.lists, &mut |name| {
            used.insert(name.to_owned());
        });
        self.compile_expanded(&expanded.text)
            .map_err(|problem| self.locate(&expanded, problem))
    }

    pub fn compile_text(&mut self, text: &str) -> Result<Node, Problem> {
        let mut words = Source::default();
        let node = super::yaml::Node::of_text(text);
        let origin = super::source::Origin {
            file: 0,
            node: std::rc::Rc::new(node),
        };
        words.append(&Source::scalar(&origin));
        let expanded = words.with_lists(&self.lists, &mut |_| ());
        self.compile_expanded(&expanded.text)
            .map_err(|problem| match problem {
                Problem::Here { error, code } => Problem::Here {
                    error: SyntaxError {
                        at: expanded.offset(error.at),
                        ..error
                    },
                    code,
                },
                elsewhere => elsewhere,
            })
    }

    fn compile_expanded(&mut self, text: &str) -> Result<Node, Problem> {
        if text.len() > CONDITION_BYTES_MAX {
            let token = format!("a condition of {} bytes", text.len());
            return Err(too_large(token, format!("at most {CONDITION_BYTES_MAX}")).into());
        }
        let expression = condition::parse(text)?;
        let node = compile::compile(&expression, self)?;
        if node.size() > NODES_MAX {
            let token = format!("a condition with {} checks", node.size());
            return Err(too_large(token, format!("at most {NODES_MAX}")).into());
        }
        Ok(node)
    }

    /// A condition's tree with lists and macros put in; it has been compiled before.
    pub fn expanded(&mut self, source: &Source) -> Result<Expression, LoadError> {
        let text = source.with_lists(&self.lists, &mut |_| ()).text;
        let parsed = condition::parse(&text);
        let parsed = parsed.map_err(|error| self.locate(source, error.into()).0)?;
        let mut left = NODES_MAX;
        Ok(self.inlined(parsed, &mut left))
    }

    /// Past [`NODES_MAX`] checks macros stay names.
    fn inlined(&self, expression: Expression, left: &mut usize) -> Expression {
        *left = left.saturating_sub(1);
        let all = |parts: Vec<Expression>, left: &mut usize| {
            let parts = parts.into_iter().map(|part| self.inlined(part, left));
            parts.collect()
        };
        match expression {
            Expression::And(parts) => Expression::And(all(parts, left)),
            Expression::Or(parts) => Expression::Or(all(parts, left)),
            Expression::Not(inner) => Expression::Not(Box::new(self.inlined(*inner, left))),
            Expression::Macro { name, at } => {
                let found = self.macros.get(name.as_str()).filter(|_| *left > 0);
                let parsed = found.map(|found| {
                    let text = found.condition.with_lists(&self.lists, &mut |_| ()).text;
                    condition::parse(&text)
                });
                match parsed {
                    Some(Ok(inner)) => self.inlined(inner, left),
                    _ => Expression::Macro { name, at },
                }
            }
            check => check,
        }
    }

    fn operands(&mut self, sources: &[Source]) -> Result<Box<[Operand]>, (LoadError, bool)> {
        sources.iter().map(|source| self.operand(source)).collect()
    }

    /// A field or transformer that stands alone.
    fn operand(&mut self, source: &Source) -> Result<Operand, (LoadError, bool)> {
        let text = &source.text;
        let compiled =
            condition::term(text).and_then(|(term, end)| match text[end..].trim().is_empty() {
                true => Operand::compile(&term),
                false => Err(SyntaxError {
                    at: end,
                    ..too_large(quoted(text[end..].trim()), "one field".to_owned())
                }),
            });
        compiled.map_err(|error| self.locate(source, error.into()))
    }

    fn measure(&mut self, window: &WindowItem) -> Result<Measure, (LoadError, bool)> {
        Ok(match &window.measure {
            MeasureItem::Count(threshold) => Measure::Count(*threshold),
            MeasureItem::Distinct(of, threshold) => {
                Measure::Distinct(self.operand(of)?, *threshold)
            }
            MeasureItem::Sum(of, threshold) => {
                Measure::Sum(Some(self.number(of)?), (*threshold).into())
            }
            MeasureItem::Rate(of, threshold) => {
                let of = of.as_ref().map(|of| self.number(of)).transpose()?;
                // A second's worth, as often as the window has seconds.
                let sum = i128::from(*threshold) * i128::from(window.within_ns) / 1_000_000_000;
                Measure::Sum(of, sum.max(1))
            }
        })
    }

    fn number(&mut self, of: &Source) -> Result<Operand, (LoadError, bool)> {
        let operand = self.operand(of)?;
        if operand.shape() == Shape::Number {
            return Ok(operand);
        }
        let error = too_large(quoted(&of.text), "a field that is a number".to_owned());
        Err(self.locate(of, error.into()))
    }

    pub fn rule(&mut self, item: &RuleItem) -> Result<Compiled, (LoadError, bool)> {
        let source = with_exceptions(item);
        let (work, condition) = match &item.behaviour {
            Behaviour::Plain => (Work::Tell, apart(self.compile_source(&source)?)),
            Behaviour::Window(window) => {
                let condition = apart(self.compile_source(&source)?);
                let window = Window {
                    by: self.operands(&window.by)?,
                    within_ns: window.within_ns,
                    measure: self.measure(window)?,
                };
                (Work::Window(window), condition)
            }
            Behaviour::Sequence(sequence) => {
                let mut any = Vec::new();
                let mut before = Vec::new();
                let mut steps: Vec<(Node, Box<[Operand]>, Vec<_>)> = Vec::new();
                for StepItem {
                    condition,
                    by,
                    absent,
                } in &sequence.steps
                {
                    let condition = apart(self.compile_source(condition)?);
                    let by = self.operands(by)?;
                    any.push(condition.clone());
                    match (absent, steps.last_mut()) {
                        (true, Some(step)) => step.2.push((condition, by)),
                        (true, None) => before.push((condition, by)),
                        (false, _) => steps.push((condition, by, Vec::new())),
                    }
                }
                let steps = steps.into_iter().map(|(condition, by, absent)| Step {
                    condition,
                    by,
                    absent: absent.into(),
                });
                let sequence = Sequence {
                    within_ns: sequence.within_ns,
                    before: before.into(),
                    steps: steps.collect(),
                };
                (Work::Sequence(sequence), Node::any(any))
            }
        };
        let text = item.output.text.trim_end();
        let output = Template::compile(text).map_err(|error| {
            let code = LoadCode::CompileOutput;
            self.locate(&item.output, Problem::Here { error, code })
        })?;
        Ok(Compiled {
            types: condition.event_types(),
            work,
            condition,
            output,
            rule: Rule {
                name: item.name.as_str().into(),
                kind: item.kind(),
                file: self
                    .files
                    .get(item.file)
                    .map_or("", |file| file.name)
                    .into(),
                line: item.at.line,
                description: item.description.clone(),
                priority: item.priority,
                tags: item.tags.clone().into(),
                enabled: item.enabled,
            },
        })
    }
}

impl Macros<Problem> for Definitions<'_> {
    fn find(&mut self, name: &str, at: usize) -> Result<Node, Problem> {
        self.macro_uses
            .insert((self.open.last().cloned(), name.to_owned()));
        let later = |found: &Macro| {
            let user = self.open.last();
            let user = user.and_then(|user| self.macros.get(user.as_str()));
            user.is_some_and(|user| found.first > user.last)
        };
        let is_later = self.macros.get(name).is_some_and(|found| later(found));
        if let (Some(node), false) = (self.ready.get(name), is_later) {
            return Ok(node.clone());
        }
        let problem = |token: String, expected: &str| Problem::Here {
            error: SyntaxError {
                at,
                token,
                expected: expected.to_owned(),
                unknown: false,
            },
            code: LoadCode::Validate,
        };
        let Some(&found) = self.macros.get(name) else {
            let token = format!("{}, which is no macro", quoted(name));
            return Err(problem(
                token,
                "a macro of these files, or a field (with a dot)",
            ));
        };
        if self.open.iter().any(|open| open == name) {
            return Err(problem(
                format!("macro {} inside itself", quoted(name)),
                "macros without a loop",
            ));
        }
        if self.open.len() >= MACRO_DEPTH_MAX {
            return Err(problem(quoted(name), "macros that nest at most 64 deep"));
        }
        if is_later {
            return Err(problem(
                format!("{}, which is defined later", quoted(name)),
                "a macro that is defined before this one",
            ));
        }
        self.open.push(name.to_owned());
        let compiled = self.compile_source(&found.condition);
        self.open.pop();
        let node = compiled.map_err(|(error, unknown)| Problem::Elsewhere {
            error: error.about(ItemKind::Macro, Some(name)),
            unknown,
        })?;
        self.ready.insert(name.to_owned(), node.clone());
        Ok(node)
    }
}

/// A condition is either about findings, and says so, or about events.
fn apart(condition: Node) -> Node {
    let mut findings = TypeSet::NONE;
    findings.insert(FINDING);
    let types = condition.event_types();
    if types.contains(FINDING) && types != findings {
        Node::all(vec![Node::types(findings.complement()), condition])
    } else {
        condition
    }
}

fn too_large(token: String, expected: String) -> SyntaxError {
    SyntaxError {
        at: 0,
        token,
        expected,
        unknown: false,
    }
}

/// A list's item in a condition: with blanks inside it needs quotes.
fn listed(item: &str) -> String {
    if item.contains(char::is_whitespace) && !item.starts_with(['"', '\'']) {
        format!("\"{item}\"")
    } else {
        item.to_owned()
    }
}
