//! Judging events by rules: those that can match the event's type, and no others.

use super::{
    FieldValue, Origin, RuleMatch, RuleSet,
    load::{Compiled, Work},
    node::Scratch,
    repeats::{Repeats, is_repeatable},
    sequence::SequenceMemory,
    subject::{self, Subject},
    types::{CONTAINER, FINDING, TYPES, Type},
    window::WindowMemory,
};
use crate::{
    findings::Finding,
    order::EventRef,
    resolve::{News, State},
    syscalls::Arch,
};
use std::sync::Arc;
use trace_format::{Event, EventData};

/// Judges events by a rule set.
pub struct Engine {
    rules: RuleSet,
    /// For each event type, the enabled rules that can match it, in their order.
    by_type: Vec<Box<[u32]>>,
    /// Of them, those to ask about an open even when it is a repetition …
    not_repeatable: Vec<Box<[u32]>>,
    /// … and the sequences among the others, which have to know how late it is.
    passed: Vec<Box<[u32]>>,
    repeats: Repeats,
    first_match: bool,
    /// For each rule, what it remembers.
    memories: Vec<Memory>,
    /// Rules that may fire when time passes.
    waiting: Box<[u32]>,
    scratch: Scratch,
}

enum Memory {
    None,
    Window(WindowMemory, Forgotten),
    Sequence(Box<SequenceMemory<RuleMatch>>, Forgotten),
}

/// How often a key that still mattered made room for another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    pub keys: u64,
    /// When it happened first.
    pub first_ns: u64,
}

impl Forgotten {
    fn note(&mut self, lost: bool, now_ns: u64) {
        if lost && self.keys == 0 {
            self.first_ns = now_ns;
        }
        self.keys += u64::from(lost);
    }
}

impl Engine {
    pub fn new(rules: RuleSet) -> Self {
        let of_type = |kind: Type| {
            let enabled = rules
                .rules
                .iter()
                .enumerate()
                .filter(|rule| rule.1.rule.enabled);
            enabled
                .filter(|rule| rule.1.types.contains(kind))
                .map(|rule| rule.0 as u32)
                .collect()
        };
        let by_type: Vec<Box<[u32]>> = (0..TYPES as u16)
            .map(|number| of_type(Type(number)))
            .collect();
        let of_types = |wanted: &dyn Fn(&Compiled, Type) -> bool| -> Vec<Box<[u32]>> {
            let of_type = |(number, indices): (usize, &[u32])| {
                let kind = Type(number as u16);
                let wanted = |index: &u32| wanted(&rules.rules[*index as usize], kind);
                indices.iter().copied().filter(wanted).collect()
            };
            by_type
                .iter()
                .map(|it| &**it)
                .enumerate()
                .map(of_type)
                .collect()
        };
        let not_repeatable = of_types(&|rule, kind| !is_repeatable(rule, kind));
        let passed = of_types(&|rule, kind| {
            matches!(rule.work, Work::Sequence(_)) && is_repeatable(rule, kind)
        });
        let memories: Vec<Memory> = rules.rules.iter().map(Memory::of).collect();
        let waiting = memories.iter().enumerate();
        let waiting = waiting.filter(|memory| matches!(memory.1, Memory::Sequence(..)));
        Engine {
            waiting: waiting.map(|memory| memory.0 as u32).collect(),
            first_match: rules.first_match,
            not_repeatable,
            passed,
            repeats: Repeats::default(),
            rules,
            by_type,
            memories,
            scratch: Scratch::default(),
        }
    }

    /// Falco's default: the first rule that matches an event is its only one. Windows and sequences
    /// are no rules of Falco's: they see every event all the same.
    pub fn first_match(mut self, first_match: bool) -> Self {
        self.first_match = first_match;
        self
    }

    pub fn rules(&self) -> &RuleSet {
        &self.rules
    }

    /// Appends a match for every rule that the event fulfils, in the order of the rules.
    #[inline]
    pub fn evaluate(&mut self, event: &Event, state: &State, matches: &mut Vec<RuleMatch>) {
        self.evaluate_at(event, None, state, matches);
    }

    /// The same for an event whose place in the trace is known: what fires later points at it.
    #[inline]
    pub fn evaluate_at(
        &mut self,
        event: &Event,
        at: Option<EventRef>,
        state: &State,
        matches: &mut Vec<RuleMatch>,
    ) {
        let kind = Type::of(event, state.arch());
        if self.by_type[kind.0 as usize].is_empty() {
            return;
        }
        let subject = Subject::new(event, state, kind);
        let EventData::Open(open) = &event.data else {
            self.judge(&subject, at, false, matches);
            return;
        };
        let version = state.version();
        let again = self.repeats.has(event, open, version);
        if again {
            for index in &self.passed[kind.0 as usize] {
                self.memories[*index as usize].pass(event.boot_ns);
            }
        }
        if !self.judge(&subject, at, again, matches) && !again {
            self.repeats.note(event, open, version);
        }
    }

    /// The same for what a context record made known: a `container` event.
    pub fn observe(&mut self, news: News, state: &State, matches: &mut Vec<RuleMatch>) {
        let News::Container { boot_ns, cgroup_id } = news;
        if !self.by_type[CONTAINER.0 as usize].is_empty() {
            let event = subject::place(boot_ns, cgroup_id, 0);
            self.judge(
                &Subject::new(&event, state, CONTAINER),
                None,
                false,
                matches,
            );
        }
    }

    /// The same for a finding of any engine, for the rules over findings.
    pub fn found(&mut self, finding: &Finding, state: &State, matches: &mut Vec<RuleMatch>) {
        if !self.by_type[FINDING.0 as usize].is_empty() {
            let event = subject::event_of(finding);
            let subject = Subject::of_finding(&event, state, finding);
            self.judge(&subject, finding.evidence, false, matches);
        }
    }

    /// Whether a rule is about findings.
    pub fn is_over_findings(&self, rule: usize) -> bool {
        let rule = self.rules.rules.get(rule);
        rule.is_some_and(|rule| rule.types.contains(FINDING))
    }

    /// Trace time has come to `boot_ns`: what had to stay absent until then did.
    #[inline]
    pub fn advance(&mut self, boot_ns: u64, matches: &mut Vec<RuleMatch>) {
        for &rule in &self.waiting {
            if let Memory::Sequence(memory, _) = &mut self.memories[rule as usize] {
                while let Some((at_ns, mut matched)) = memory.over(boot_ns) {
                    if let Some(origin) = &mut matched.origin {
                        origin.boot_ns = at_ns;
                    }
                    matches.push(matched);
                }
            }
        }
    }

    /// When [`Engine::advance`] has something to say next, unless something happens before.
    pub fn due_ns(&self) -> u64 {
        let waiting = self
            .waiting
            .iter()
            .map(|rule| &self.memories[*rule as usize]);
        let due = waiting.filter_map(|memory| match memory {
            Memory::Sequence(memory, _) => memory.due_ns(),
            _ => None,
        });
        due.min().unwrap_or(u64::MAX)
    }

    /// Whether a rule is about system calls with this number.
    pub fn wants_call(&self, nr: u32, arch: Arch) -> bool {
        !self.by_type[Type::of_call(nr, arch).0 as usize].is_empty()
    }

    /// Whether a rule is about events of a family.
    pub fn wants_family(&self, family: u16) -> bool {
        let wanted = |kind: &Type| !self.by_type[kind.0 as usize].is_empty();
        Type::of_family(family).is_none_or(|types| types.iter().any(wanted))
    }

    /// Rules that had to forget keys that still mattered.
    pub fn forgotten(&self) -> impl Iterator<Item = (&Arc<str>, Forgotten)> {
        let memories = self.rules.rules.iter().zip(&self.memories);
        memories.filter_map(|(compiled, memory)| match memory {
            Memory::Window(_, forgotten) | Memory::Sequence(_, forgotten) if forgotten.keys > 0 => {
                Some((&compiled.rule.name, *forgotten))
            }
            _ => None,
        })
    }

    /// Whether a condition of a rule held. `again`: none of the repeatable ones' does.
    fn judge(
        &mut self,
        subject: &Subject<'_>,
        at: Option<EventRef>,
        again: bool,
        matches: &mut Vec<RuleMatch>,
    ) -> bool {
        let (mut told, mut touched) = (false, false);
        let indices = match again {
            true => &self.not_repeatable,
            false => &self.by_type,
        };
        for &index in &indices[subject.kind.0 as usize] {
            let compiled = &self.rules.rules[index as usize];
            let memory = &mut self.memories[index as usize];
            let scratch = &mut self.scratch;
            let now_ns = subject.event.boot_ns;
            match (&compiled.work, memory) {
                (Work::Window(window), Memory::Window(memory, forgotten)) => {
                    if !compiled.condition.holds(subject, scratch) {
                        continue;
                    }
                    touched = true;
                    let step = memory.take(window, subject, scratch);
                    forgotten.note(step.lost, now_ns);
                    if let Some(value) = step.reached {
                        let mut matched = tell(compiled, index, subject, scratch);
                        matched.window_ns = window.within_ns;
                        add(&mut matched, "window.value", value);
                        matches.push(matched);
                    }
                }
                (Work::Sequence(sequence), Memory::Sequence(memory, forgotten)) => {
                    let outcome = memory.take(sequence, subject, scratch);
                    forgotten.note(outcome.lost, now_ns);
                    touched |= outcome.touched;
                    let took_ns = outcome.done_ns.or(outcome.waits.map(|wait| wait.took_ns));
                    let Some(took_ns) = took_ns else { continue };
                    let mut matched = tell(compiled, index, subject, scratch);
                    matched.window_ns = sequence.within_ns;
                    let took_ns = i64::try_from(took_ns).unwrap_or(i64::MAX);
                    add(&mut matched, "sequence.took_ns", took_ns);
                    let Some(wait) = outcome.waits else {
                        matches.push(matched);
                        continue;
                    };
                    matched.origin = Some(Origin {
                        boot_ns: now_ns,
                        pid: subject.event.pid,
                        cgroup_id: subject.event.cgroup_id,
                        evidence: at,
                    });
                    let lost = memory.wait(sequence, subject, scratch, wait, matched);
                    forgotten.note(lost, now_ns);
                }
                _ => {
                    if told && self.first_match || !compiled.condition.holds(subject, scratch) {
                        continue;
                    }
                    matches.push(tell(compiled, index, subject, scratch));
                    told = true;
                }
            }
        }
        told || touched
    }
}

impl Memory {
    /// An event of this time is left out.
    fn pass(&mut self, boot_ns: u64) {
        match self {
            // A window's time is that of what fulfils its condition.
            Memory::None | Memory::Window(..) => {}
            Memory::Sequence(memory, _) => memory.pass(boot_ns),
        }
    }

    fn of(compiled: &Compiled) -> Memory {
        match compiled.work {
            Work::Tell => Memory::None,
            Work::Window(_) => Memory::Window(WindowMemory::default(), Forgotten::default()),
            Work::Sequence(_) => Memory::Sequence(Box::default(), Forgotten::default()),
        }
    }
}

fn tell(
    compiled: &Compiled,
    index: u32,
    subject: &Subject<'_>,
    scratch: &mut Scratch,
) -> RuleMatch {
    let (output, fields) = compiled.output.render(subject, scratch);
    RuleMatch {
        rule: index as usize,
        name: compiled.rule.name.clone(),
        priority: compiled.rule.priority,
        output,
        fields,
        tags: compiled.rule.tags.clone(),
        window_ns: 0,
        origin: None,
    }
}

fn add(matched: &mut RuleMatch, name: &str, value: i64) {
    matched
        .fields
        .push((name.into(), FieldValue::Number(value)));
}
