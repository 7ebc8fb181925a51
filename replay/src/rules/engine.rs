//! Judging events by rules: those that can match the event's type, and no others.

use super::{
    RuleMatch, RuleSet,
    node::Scratch,
    subject::Subject,
    types::{CONTAINER, TYPES, Type},
};
use crate::resolve::{News, State};
use trace_format::{Event, EventData, event::CgroupChange};

/// Judges events by a rule set.
pub struct Engine {
    rules: RuleSet,
    /// For each event type, the enabled rules that can match it, in their order.
    by_type: Vec<Box<[u32]>>,
    first_match: bool,
    scratch: Scratch,
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
        let by_type = (0..TYPES as u16)
            .map(|number| of_type(Type(number)))
            .collect();
        Engine {
            rules,
            by_type,
            first_match: false,
            scratch: Scratch::default(),
        }
    }

    /// Falco's default: the first rule that matches an event is its only one.
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
        let kind = Type::of(event, state.arch());
        if !self.by_type[kind.0 as usize].is_empty() {
            self.judge(event, state, kind, matches);
        }
    }

    /// The same for what a context record made known: a `container` event.
    pub fn observe(&mut self, news: News, state: &State, matches: &mut Vec<RuleMatch>) {
        let News::Container { boot_ns, cgroup_id } = news;
        if !self.by_type[CONTAINER.0 as usize].is_empty() {
            self.judge(
                &container_event(boot_ns, cgroup_id),
                state,
                CONTAINER,
                matches,
            );
        }
    }

    fn judge(&mut self, event: &Event, state: &State, kind: Type, matches: &mut Vec<RuleMatch>) {
        let subject = Subject::new(event, state, kind);
        for &index in &self.by_type[kind.0 as usize] {
            let compiled = &self.rules.rules[index as usize];
            if !compiled.condition.holds(&subject, &mut self.scratch) {
                continue;
            }
            let (output, fields) = compiled.output.render(&subject, &mut self.scratch);
            matches.push(RuleMatch {
                rule: index as usize,
                name: compiled.rule.name.clone(),
                priority: compiled.rule.priority,
                output,
                fields,
                tags: compiled.rule.tags.clone(),
            });
            if self.first_match {
                return;
            }
        }
    }
}

/// The event that stands for a container becoming known.
fn container_event(boot_ns: u64, cgroup_id: u64) -> Event {
    let change = CgroupChange {
        id: cgroup_id,
        path: Default::default(),
        removed: false,
    };
    Event {
        boot_ns,
        cpu: 0,
        probe: 0,
        seq: 0,
        tid: 0,
        pid: 0,
        cgroup_id,
        data: EventData::Cgroup(change),
    }
}
