//! Rules over a time: how many events, how many distinct values, how much in sum, by key.
//!
//! A window slides: it holds what happened in the last `within` before the event at hand, by trace time.
//! When the measure reaches its threshold the rule fires and the key starts anew. What is remembered of
//! a key is bounded by the threshold, or by [`BUCKETS`] for sums.

use super::{
    keyed::{Keyed, Remembered},
    node::Scratch,
    operand::{Computed, Operand},
    subject::Subject,
};
use std::collections::{BTreeSet, HashMap, VecDeque};

/// A count or number of distinct values beyond which a threshold is a mistake; it bounds a key's memory.
pub(super) const THRESHOLD_MAX: u64 = 100_000;
/// A sum is kept in this many steps of its window: what is older than the window by less than one
/// step still counts.
const BUCKETS: u64 = 256;

/// What a rule measures, compiled.
#[derive(Clone, Debug)]
pub(super) struct Window {
    pub by: Box<[Operand]>,
    pub within_ns: u64,
    pub measure: Measure,
}

#[derive(Clone, Debug)]
pub(super) enum Measure {
    Count(u64),
    Distinct(Operand, u64),
    /// Of a number; `None`: of events.
    Sum(Option<Operand>, i128),
}

/// What one rule remembers.
#[derive(Default)]
pub(super) struct WindowMemory {
    keys: Keyed<Counted>,
    now_ns: u64,
}

#[derive(Default)]
struct Counted {
    /// Times of events.
    times: VecDeque<u64>,
    /// Distinct values, each with the number of its last occurrence …
    values: HashMap<Vec<u8>, (u64, u64)>,
    /// … and those by time.
    order: BTreeSet<((u64, u64), Vec<u8>)>,
    seen: u64,
    /// Start of the step, and its sum.
    sums: VecDeque<(u64, i128)>,
    until_ns: u64,
}

impl Remembered for Counted {
    fn is_over(&self, now_ns: u64) -> bool {
        self.until_ns <= now_ns
    }
}

/// What an event did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    /// The measure, when it reached the threshold.
    pub reached: Option<i64>,
    /// A key that still mattered was forgotten.
    pub lost: bool,
}

/// The values of key fields as one key; `None` when one of them is missing.
pub(super) fn key(by: &[Operand], subject: &Subject<'_>, scratch: &mut Scratch) -> Option<Vec<u8>> {
    let mut key = Vec::new();
    for operand in by {
        let value = bytes(operand.value(subject, scratch)?);
        key.extend_from_slice(&(value.len() as u64).to_le_bytes());
        key.extend_from_slice(&value);
    }
    Some(key)
}

fn bytes(value: Computed) -> Vec<u8> {
    match value {
        Computed::Text(text) => text,
        Computed::Number(number) => number.to_string().into_bytes(),
        Computed::Flag(flag) => flag.to_string().into_bytes(),
        Computed::List(texts) => texts.join(&0),
    }
}

impl WindowMemory {
    /// Takes an event that fulfils the rule's condition.
    pub fn take(&mut self, window: &Window, subject: &Subject<'_>, scratch: &mut Scratch) -> Step {
        // A late event does not turn time back.
        self.now_ns = self.now_ns.max(subject.event.boot_ns);
        let Some(key) = key(&window.by, subject, scratch) else {
            return Step::default();
        };
        let value = match &window.measure {
            Measure::Count(_) | Measure::Sum(None, _) => Computed::Number(1),
            Measure::Distinct(operand, _) | Measure::Sum(Some(operand), _) => {
                match operand.value(subject, scratch) {
                    Some(value) => value,
                    None => return Step::default(),
                }
            }
        };
        let (counted, lost) = self.keys.entry(&key, self.now_ns);
        let reached = counted.add(window, self.now_ns, value);
        if reached.is_some() {
            self.keys.remove(&key);
        }
        Step { reached, lost }
    }
}

impl Counted {
    fn add(&mut self, window: &Window, now_ns: u64, value: Computed) -> Option<i64> {
        // What happened at this time or before has left the window.
        let out_ns = now_ns.checked_sub(window.within_ns);
        let gone = |at_ns: u64| out_ns.is_some_and(|out_ns| at_ns <= out_ns);
        self.until_ns = now_ns.saturating_add(window.within_ns);
        match window.measure {
            Measure::Count(threshold) => {
                while self.times.front().is_some_and(|&at_ns| gone(at_ns)) {
                    self.times.pop_front();
                }
                self.times.push_back(now_ns);
                let count = self.times.len() as u64;
                (count >= threshold).then(|| i64::try_from(count).unwrap_or(i64::MAX))
            }
            Measure::Distinct(_, threshold) => {
                while self.order.first().is_some_and(|first| gone(first.0.0)) {
                    if let Some((_, value)) = self.order.pop_first() {
                        self.values.remove(&value);
                    }
                }
                self.seen += 1;
                let at = (now_ns, self.seen);
                let value = bytes(value);
                if let Some(before) = self.values.insert(value.clone(), at) {
                    self.order.remove(&(before, value.clone()));
                }
                self.order.insert((at, value));
                let count = self.values.len() as u64;
                (count >= threshold).then(|| i64::try_from(count).unwrap_or(i64::MAX))
            }
            Measure::Sum(_, threshold) => {
                let Computed::Number(number) = value else {
                    return None;
                };
                let step_ns = (window.within_ns / BUCKETS).max(1);
                while self
                    .sums
                    .front()
                    .is_some_and(|first| gone(first.0 + step_ns - 1))
                {
                    self.sums.pop_front();
                }
                let start_ns = now_ns - now_ns % step_ns;
                match self.sums.back_mut() {
                    Some((last_ns, sum)) if *last_ns == start_ns => *sum += i128::from(number),
                    _ => self.sums.push_back((start_ns, number.into())),
                }
                let sum: i128 = self.sums.iter().map(|step| step.1).sum();
                (sum >= threshold).then(|| i64::try_from(sum).unwrap_or(i64::MAX))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn window(measure: Measure) -> Window {
        Window {
            by: Box::default(),
            within_ns: 1_000,
            measure,
        }
    }

    fn distinct(threshold: u64) -> Window {
        window(Measure::Distinct(Operand::Text(Vec::new()), threshold))
    }

    #[test]
    fn a_window_ends_where_it_says() {
        let window = window(Measure::Count(2));
        let mut counted = Counted::default();
        assert_eq!(counted.add(&window, 5_000, Computed::Number(1)), None);
        assert_eq!(
            counted.add(&window, 6_000, Computed::Number(1)),
            None,
            "just out"
        );
        assert_eq!(counted.add(&window, 6_999, Computed::Number(1)), Some(2));
    }

    proptest! {
        /// Against all events of the last `within`, looked at one by one.
        #[test]
        fn windows_agree_with_looking_back(steps in prop::collection::vec((0u64..400, 0u8..6), 1..80), threshold in 2u64..6) {
            let mut now_ns = 10_000;
            let (count, different) = (window(Measure::Count(threshold)), distinct(threshold));
            let (mut counted, mut values) = (Counted::default(), Counted::default());
            let (mut all, mut all_values): (Vec<u64>, Vec<(u64, u8)>) = (Vec::new(), Vec::new());
            for (step_ns, value) in steps {
                now_ns += step_ns;
                all.push(now_ns);
                all_values.push((now_ns, value));
                let inside = all.iter().filter(|&&at| at + 1_000 > now_ns).count() as u64;
                let expected = (inside >= threshold).then_some(inside as i64);
                prop_assert_eq!(counted.add(&count, now_ns, Computed::Number(1)), expected);
                if expected.is_some() {
                    all.clear();
                    counted = Counted::default();
                }
                let inside = all_values.iter().filter(|at| at.0 + 1_000 > now_ns).map(|at| at.1);
                let inside = inside.collect::<std::collections::HashSet<_>>().len() as u64;
                let expected = (inside >= threshold).then_some(inside as i64);
                prop_assert_eq!(values.add(&different, now_ns, Computed::Text(vec![value])), expected);
                prop_assert!(values.values.len() == values.order.len() && values.values.len() as u64 <= threshold);
                if expected.is_some() {
                    all_values.clear();
                    values = Counted::default();
                }
            }
        }

        /// A sum forgets what is out of the window by a step or more, and nothing that is in it.
        #[test]
        fn sums_are_right_to_a_step(steps in prop::collection::vec((0u64..400, 0i64..10), 1..80)) {
            let window = window(Measure::Sum(None, i128::MAX));
            let mut counted = Counted::default();
            let (mut now_ns, mut all) = (10_000, Vec::new());
            for (step_ns, value) in steps {
                now_ns += step_ns;
                all.push((now_ns, value));
                counted.add(&window, now_ns, Computed::Number(value));
                let since = |ns: u64| -> i128 {
                    all.iter().filter(|at| at.0 + ns > now_ns).map(|at| i128::from(at.1)).sum()
                };
                let sum: i128 = counted.sums.iter().map(|step| step.1).sum();
                prop_assert!(sum >= since(1_000) && sum <= since(1_000 + 1_000 / BUCKETS));
                prop_assert!(counted.sums.len() as u64 <= BUCKETS + BUCKETS);
            }
        }
    }
}
