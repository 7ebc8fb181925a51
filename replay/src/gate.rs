//! Between the detectors and the sinks: a finding waits until its container's metadata is known, and
//! identical ones in a short time are reported once.
//!
//! The wait is in trace time, so that live and offline agree: the recorder writes *pending* and then
//! *resolved* or *gave up*, and a finding of a pending container waits for that at most
//! [`WAIT_NS_MAX`]. Findings leave in the order they came: those behind wait too.

use hashbrown::HashMap;
use std::{collections::VecDeque, sync::Arc};
use trace_format::context::Resolution;

use crate::{
    findings::{EngineKind, Finding, FoundContainer},
    resolve::State,
};

/// Half a second of trace time is what the design grants; asking a container engine takes milliseconds.
pub const WAIT_NS_MAX: u64 = 500_000_000;

/// Findings that may wait; past it, the first goes as it is. Half a second of one finding per 100 µs.
pub const WAITING_MAX: usize = 5_000;

/// Identical findings in this time are one.
pub const REPEAT_NS: u64 = 10_000_000_000;

/// Kinds of finding remembered for that; past it, the oldest is forgotten and may be reported again.
pub const REPEATS_MAX: usize = 16_384;

/// Rules counted by name in the summary of what was left out; the others share one entry.
const RULES_COUNTED_MAX: usize = 1_000;

/// What was left out: rule and count, most first.
pub type Suppressed = Vec<(Arc<str>, u64)>;

/// What makes two findings identical.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Kind {
    engine: EngineKind,
    rule: Arc<str>,
    cgroup_id: u64,
    pid: u32,
    /// With the pid: the process.
    start_ns: u64,
}

struct Repeat {
    first_ns: u64,
    left_out: u64,
}

/// The queue and the memory.
#[derive(Default)]
pub struct Gate {
    waiting: VecDeque<Waiting>,
    repeats: HashMap<Kind, Repeat>,
    /// Oldest first.
    order: VecDeque<(u64, Kind)>,
    left_out: HashMap<Arc<str>, u64>,
    passed: u64,
}

struct Waiting {
    finding: Finding,
    until_ns: u64,
}

impl Gate {
    /// Takes a finding in, unless it repeats one of the last [`REPEAT_NS`].
    pub fn take(&mut self, mut finding: Finding, now_ns: u64) {
        self.expire(now_ns);
        let kind = Kind {
            engine: finding.engine,
            rule: finding.rule.clone(),
            cgroup_id: finding.cgroup_id,
            pid: finding.pid,
            start_ns: finding
                .lineage
                .first()
                .map_or(0, |process| process.start_ns),
        };
        let mut left_out = 0;
        if let Some(repeat) = self.repeats.get_mut(&kind) {
            if now_ns < repeat.first_ns.saturating_add(REPEAT_NS) {
                repeat.left_out += 1;
                self.count_left_out(&kind.rule);
                return;
            }
            left_out = repeat.left_out;
        }
        finding.suppressed = left_out;
        self.order.push_back((now_ns, kind.clone()));
        self.repeats.insert(
            kind,
            Repeat {
                first_ns: now_ns,
                left_out: 0,
            },
        );
        self.passed += 1;
        self.waiting.push_back(Waiting {
            finding,
            until_ns: now_ns.saturating_add(WAIT_NS_MAX),
        });
    }

    /// True when [`Gate::advance`] may have something to do.
    pub fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Lets out what need not wait any longer.
    pub fn advance(&mut self, now_ns: u64, state: &State, out: &mut Vec<Finding>) {
        while let Some(first) = self.waiting.front() {
            let ready = now_ns >= first.until_ns
                || self.waiting.len() > WAITING_MAX
                || !state
                    .container(first.finding.cgroup_id)
                    .is_some_and(|container| container.resolution == Resolution::Pending);
            if !ready {
                return;
            }
            self.let_out(state, out);
        }
    }

    /// Lets out everything: nothing more will be known.
    pub fn finish(&mut self, state: &State, out: &mut Vec<Finding>) {
        while !self.waiting.is_empty() {
            self.let_out(state, out);
        }
    }

    /// How many findings were taken in and not left out.
    pub fn passed(&self) -> u64 {
        self.passed
    }

    pub fn suppressed(&self) -> Suppressed {
        let mut list: Suppressed = self
            .left_out
            .iter()
            .map(|(rule, count)| (rule.clone(), *count))
            .collect();
        list.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        list
    }

    fn let_out(&mut self, state: &State, out: &mut Vec<Finding>) {
        let Some(Waiting { mut finding, .. }) = self.waiting.pop_front() else {
            return;
        };
        finding.wall_ns = state.wall_ns(finding.boot_ns);
        if let Some(container) = state.container(finding.cgroup_id) {
            finding.container = FoundContainer {
                id: container.id.clone(),
                name: container.name.clone(),
                image: container.image.clone(),
                runtime: container.runtime.clone(),
                cgroup_id: finding.cgroup_id,
            };
        }
        out.push(finding);
    }

    /// Forgets kinds that can no longer make a repeat. One that left something out stays for a second
    /// period, so that the next finding of its kind can say so.
    fn expire(&mut self, now_ns: u64) {
        while let Some((since_ns, kind)) = self.order.front() {
            let over = since_ns.saturating_add(2 * REPEAT_NS) <= now_ns;
            if !over && self.order.len() < REPEATS_MAX {
                return;
            }
            // The entry may belong to a later finding of the same kind.
            if self
                .repeats
                .get(kind)
                .is_some_and(|repeat| repeat.first_ns == *since_ns)
            {
                self.repeats.remove(kind);
            }
            self.order.pop_front();
        }
    }

    fn count_left_out(&mut self, rule: &Arc<str>) {
        if let Some(count) = self.left_out.get_mut(rule) {
            *count += 1;
        } else {
            let room = self.left_out.len() < RULES_COUNTED_MAX;
            let name = if room {
                rule.clone()
            } else {
                Arc::from("other rules")
            };
            *self.left_out.entry(name).or_default() += 1;
        }
    }
}
