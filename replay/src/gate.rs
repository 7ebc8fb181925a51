//! Between the detectors and the sinks: a finding waits until its container's metadata is known,
//! identical ones in a short time are reported once, and a container gets at most [`RATE_MAX`] findings of
//! a severity in [`RATE_NS`], so that noise of one kind hides nothing worse.
//!
//! The wait is in trace time, so that live and offline agree: the recorder writes *pending* and then
//! *resolved* or *gave up*, and a finding of a pending container waits for that at most
//! [`WAIT_NS_MAX`]. Findings leave in the order they came: those behind wait too.

use hashbrown::HashMap;
use std::{collections::VecDeque, sync::Arc};
use trace_format::context::Resolution;

use crate::{
    findings::{EngineKind, Finding, FoundContainer, Severity},
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

/// The time in which findings of a container are counted for the limit.
pub const RATE_NS: u64 = 60_000_000_000;

/// Findings of one container and severity in that time: more than anybody reads, less than floods a sink.
pub const RATE_MAX: u32 = 200;

/// Containers and severities counted at a time; past it, the oldest begins anew.
pub const RATES_MAX: usize = 8_192;

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
    /// By container and severity.
    rates: HashMap<(u64, Severity), Rate>,
    /// Oldest first.
    rate_order: VecDeque<(u64, (u64, Severity))>,
    rate_limited: u64,
    passed: u64,
}

/// What a container had of a severity since `since_ns`.
struct Rate {
    since_ns: u64,
    passed: u32,
    left_out: u64,
}

struct Waiting {
    finding: Finding,
    until_ns: u64,
}

impl Gate {
    /// Takes a finding in, unless it repeats one of the last [`REPEAT_NS`] or its container has had too many.
    /// `container_key` is one number for all cgroups of a container, 0 for the host.
    pub fn take(&mut self, mut finding: Finding, container_key: u64, now_ns: u64) {
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
        // Of a finding that the limit leaves out, the next identical one is no repeat.
        if !finding.told_once
            && let Some(repeat) = self.repeats.get_mut(&kind)
        {
            if now_ns < repeat.first_ns.saturating_add(REPEAT_NS) {
                repeat.left_out += 1;
                self.count_left_out(&kind.rule);
                return;
            }
            left_out = repeat.left_out;
        }
        match self.within_rate((container_key, finding.severity), now_ns) {
            Some(rate_limited) => finding.rate_limited = rate_limited,
            None => return,
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

    /// Findings left out by the limit.
    pub fn rate_limited(&self) -> u64 {
        self.rate_limited
    }

    /// `None`: one too many. Else how many were, since the last one that was not.
    fn within_rate(&mut self, key: (u64, Severity), now_ns: u64) -> Option<u64> {
        self.expire_rates(now_ns);
        if let Some(rate) = self.rates.get_mut(&key)
            && now_ns < rate.since_ns.saturating_add(RATE_NS)
        {
            if rate.passed == RATE_MAX {
                rate.left_out += 1;
                self.rate_limited += 1;
                return None;
            }
            rate.passed += 1;
            return Some(0);
        }
        let rate = Rate {
            since_ns: now_ns,
            passed: 1,
            left_out: 0,
        };
        self.rate_order.push_back((now_ns, key));
        let before = self.rates.insert(key, rate);
        Some(before.map_or(0, |before| before.left_out))
    }

    /// Forgets what counts for nothing any more; what left something out stays for a second period, so
    /// that the next finding can say so.
    fn expire_rates(&mut self, now_ns: u64) {
        while let Some((since_ns, key)) = self.rate_order.front() {
            let over = since_ns.saturating_add(2 * RATE_NS) <= now_ns;
            if !over && self.rate_order.len() < RATES_MAX {
                return;
            }
            let ended = |rate: &Rate| rate.since_ns == *since_ns;
            if self.rates.get(key).is_some_and(ended) {
                self.rates.remove(key);
            }
            self.rate_order.pop_front();
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use trace_format::{Container, Context, ContextRecord};

    fn finding(rule: &str, pid: u32) -> Finding {
        let mut finding = Finding::new(EngineKind::Rules, rule.into(), Severity::Notice, 0);
        finding.cgroup_id = 1;
        finding.pid = pid;
        finding
    }

    fn pending() -> State {
        let mut state = State::new();
        let container = Container {
            cgroup_id: 1,
            id: "c".repeat(64),
            ..Default::default()
        };
        state.context(&ContextRecord {
            boot_ns: 0,
            body: Context::Container(container),
        });
        state
    }

    #[test]
    fn what_waits_is_bounded_and_the_oldest_goes_first() {
        let state = pending();
        let mut gate = Gate::default();
        let mut out = Vec::new();
        for pid in 1..=WAITING_MAX as u32 + 3 {
            gate.take(finding("r", pid), pid.into(), 0);
        }
        gate.advance(0, &state, &mut out);
        let pids: Vec<u32> = out.iter().map(|finding| finding.pid).collect();
        assert_eq!(pids, [1, 2, 3]);
        gate.advance(WAIT_NS_MAX - 1, &state, &mut out);
        assert_eq!(out.len(), 3);
        gate.advance(WAIT_NS_MAX, &state, &mut out);
        assert_eq!(out.len(), WAITING_MAX + 3);
        assert!(!gate.waits());
    }

    #[test]
    fn kinds_remembered_are_bounded() {
        let mut gate = Gate::default();
        gate.take(finding("r", 1), 0, 0);
        gate.take(finding("r", 1), 0, 1);
        assert_eq!(gate.passed(), 1);
        for pid in 2..=REPEATS_MAX as u32 + 1 {
            gate.take(finding("r", pid), pid.into(), 2);
        }
        assert_eq!(
            (gate.repeats.len(), gate.order.len()),
            (REPEATS_MAX, REPEATS_MAX)
        );
        // The first kind made room: it is reported again rather than lost.
        gate.take(finding("r", 1), 0, 3);
        assert_eq!(gate.passed(), REPEATS_MAX as u64 + 2);
        assert_eq!(gate.suppressed(), [(Arc::from("r"), 1)]);
    }

    #[test]
    fn a_repeat_is_left_out_until_just_before_ten_seconds() {
        let mut gate = Gate::default();
        gate.take(finding("r", 1), 0, 0);
        gate.take(finding("r", 1), 0, REPEAT_NS - 1);
        assert_eq!(gate.passed(), 1);
        gate.take(finding("r", 1), 0, REPEAT_NS);
        assert_eq!(gate.passed(), 2);
        let mut out = Vec::new();
        gate.finish(&State::new(), &mut out);
        let suppressed: Vec<u64> = out.iter().map(|finding| finding.suppressed).collect();
        assert_eq!(suppressed, [0, 1]);
    }

    #[test]
    fn a_container_gets_so_many_of_a_severity_and_is_told_of_the_rest() {
        let mut gate = Gate::default();
        for pid in 1..=RATE_MAX + 3 {
            gate.take(finding("r", pid), 7, u64::from(pid));
        }
        assert_eq!((gate.passed(), gate.rate_limited()), (RATE_MAX.into(), 3));
        // Neither what is worse nor another container is hidden by that.
        let mut worse = finding("worse", 1);
        worse.severity = Severity::Critical;
        gate.take(worse, 7, 1_000);
        gate.take(finding("r", 1_000_000), 8, 1_000);
        assert_eq!(gate.passed(), u64::from(RATE_MAX) + 2);
        gate.take(finding("later", 1), 7, RATE_NS);
        assert_eq!(gate.rate_limited(), 4, "the minute began with the first");
        gate.take(finding("later", 1), 7, RATE_NS + 1);
        let mut out = Vec::new();
        gate.finish(&State::new(), &mut out);
        assert_eq!(out.last().unwrap().rate_limited, 4);
        assert!(out[..out.len() - 1].iter().all(|it| it.rate_limited == 0));
    }

    #[test]
    fn rates_counted_are_bounded() {
        let mut gate = Gate::default();
        for pid in 0..RATES_MAX as u32 + 5 {
            gate.take(finding("r", pid), pid.into(), 0);
        }
        assert_eq!(
            (gate.rates.len(), gate.rate_order.len()),
            (RATES_MAX, RATES_MAX)
        );
    }
}
