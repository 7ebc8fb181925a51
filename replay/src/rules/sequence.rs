//! Rules over several events in order: steps by key within a time, with what must not happen between.
//!
//! Of each key and step only the latest start is remembered that got so far: it is the one with the most
//! time left. An event completes at most one step of a key's attempt. `absent` kills the attempts that
//! wait at its place; before the first step it must not have come within the time; behind the last step it must not come until the time is over, and then the rule
//! fires by trace time, also when nothing else happens.

use super::{
    keyed::{Keyed, Remembered},
    node::{Node, Scratch},
    operand::Operand,
    subject::Subject,
    window,
};
use std::{collections::BTreeMap, sync::Arc};

/// Steps of a rule: stories that people write have two to four.
pub(super) const STEPS_MAX: usize = 8;
/// Attempts that wait for the end of their time, of one rule; past it, the one that ends first is dropped.
const PENDING_MAX: usize = super::keyed::KEYS_MAX;

#[derive(Clone, Debug)]
pub(super) struct Sequence {
    pub within_ns: u64,
    /// What must not have happened in this time before the first step.
    pub before: Box<[(Node, Box<[Operand]>)]>,
    /// In order; at least one, or two where nothing must be absent.
    pub steps: Box<[Step]>,
}

#[derive(Clone, Debug)]
pub(super) struct Step {
    pub condition: Node,
    pub by: Box<[Operand]>,
    /// What must not happen behind this step, before the next one or the end of the time.
    pub absent: Box<[(Node, Box<[Operand]>)]>,
}

impl Sequence {
    /// All of them, of steps and of what must not happen.
    pub fn conditions(&self) -> impl Iterator<Item = &Node> {
        let steps = self.steps.iter().flat_map(|step| {
            let absent = step.absent.iter().map(|absent| &absent.0);
            absent.chain([&step.condition])
        });
        steps.chain(self.before.iter().map(|before| &before.0))
    }

    /// Nothing may follow the last step: the rule fires when its time is over.
    fn waits(&self) -> bool {
        self.steps
            .last()
            .is_some_and(|step| !step.absent.is_empty())
    }
}

/// When, and which one of that time.
type Deadline = (u64, u64);

/// What one rule remembers. `M` is what is told when its time is over.
pub(super) struct SequenceMemory<M> {
    keys: Keyed<Attempts>,
    /// By deadline and number.
    pending: BTreeMap<Deadline, (Arc<[u8]>, M)>,
    numbers: u64,
    now_ns: u64,
}

impl<M> Default for SequenceMemory<M> {
    fn default() -> Self {
        SequenceMemory {
            keys: Keyed::default(),
            pending: BTreeMap::new(),
            numbers: 0,
            now_ns: 0,
        }
    }
}

#[derive(Default)]
struct Attempts {
    /// By step: when the attempt began that completed it.
    begun: [Option<u64>; STEPS_MAX],
    /// When something came last that must not have come before the first step.
    spoilt_ns: Option<u64>,
    pending: Option<Deadline>,
    until_ns: u64,
}

impl Remembered for Attempts {
    fn is_over(&self, now_ns: u64) -> bool {
        self.until_ns <= now_ns
    }
}

/// What an event did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// All steps are done: how long they took.
    pub done_ns: Option<u64>,
    /// The same, but something must stay absent until then: see [`SequenceMemory::wait`].
    pub waits: Option<Wait>,
    /// A key that still mattered was forgotten.
    pub lost: bool,
    /// A condition held: one that none holds for changes nothing.
    pub touched: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    pub took_ns: u64,
    pub until_ns: u64,
}

impl Outcome {
    /// A condition held; true.
    fn touch(&mut self) -> bool {
        self.touched = true;
        true
    }
}

impl<M> SequenceMemory<M> {
    /// An event of this time is left out, because no condition holds for it.
    pub fn pass(&mut self, boot_ns: u64) {
        self.now_ns = self.now_ns.max(boot_ns);
    }

    pub fn take(
        &mut self,
        sequence: &Sequence,
        subject: &Subject<'_>,
        scratch: &mut Scratch,
    ) -> Outcome {
        self.now_ns = self.now_ns.max(subject.event.boot_ns);
        let now_ns = self.now_ns;
        let mut outcome = Outcome::default();
        for (at, step) in sequence.steps.iter().enumerate() {
            for (condition, by) in &step.absent {
                if condition.holds(subject, scratch)
                    && outcome.touch()
                    && let Some(key) = window::key(by, subject, scratch)
                    && let Some(attempts) = self.keys.get(&key)
                {
                    attempts.begun[at] = None;
                    if at + 1 == sequence.steps.len()
                        && let Some(pending) = attempts.pending.take()
                    {
                        self.pending.remove(&pending);
                    }
                }
            }
        }
        let last = sequence.steps.len() - 1;
        let spoilt = |attempts: Option<&mut Attempts>| {
            let spoilt_ns = attempts.and_then(|attempts| attempts.spoilt_ns);
            spoilt_ns.is_some_and(|ns| ns.saturating_add(sequence.within_ns) > now_ns)
        };
        for (at, step) in sequence.steps.iter().enumerate().rev() {
            if !step.condition.holds(subject, scratch) {
                continue;
            }
            outcome.touch();
            let Some(key) = window::key(&step.by, subject, scratch) else {
                continue;
            };
            let begun_ns = match at {
                0 if spoilt(self.keys.get(&key)) => continue,
                0 => now_ns,
                _ => {
                    let before = self.keys.get(&key).and_then(|known| known.begun[at - 1]);
                    match before {
                        Some(ns) if ns.saturating_add(sequence.within_ns) > now_ns => ns,
                        _ => continue,
                    }
                }
            };
            let (attempts, lost) = self.keys.entry(&key, now_ns);
            outcome.lost |= lost;
            let until_ns = begun_ns.saturating_add(sequence.within_ns);
            attempts.until_ns = attempts.until_ns.max(until_ns);
            if at < last {
                attempts.begun[at] = attempts.begun[at].max(Some(begun_ns));
            } else if sequence.waits() {
                // The first one counts: repetitions must not put the end off for ever.
                if attempts.pending.is_none() {
                    let took_ns = now_ns - begun_ns;
                    outcome.waits = Some(Wait { took_ns, until_ns });
                }
            } else {
                outcome.done_ns = Some(now_ns - begun_ns);
                // What spoils later attempts stays.
                attempts.begun = Default::default();
            }
        }
        for (condition, by) in &sequence.before {
            if condition.holds(subject, scratch)
                && outcome.touch()
                && let Some(key) = window::key(by, subject, scratch)
            {
                let (attempts, lost) = self.keys.entry(&key, now_ns);
                outcome.lost |= lost;
                attempts.spoilt_ns = Some(now_ns);
                let until_ns = now_ns.saturating_add(sequence.within_ns);
                attempts.until_ns = attempts.until_ns.max(until_ns);
            }
        }
        outcome
    }

    /// Keeps what to tell when the time is over, for the key of the last step.
    pub fn wait(
        &mut self,
        sequence: &Sequence,
        subject: &Subject<'_>,
        scratch: &mut Scratch,
        wait: Wait,
        message: M,
    ) -> bool {
        let Some(step) = sequence.steps.last() else {
            return false;
        };
        let Some(key) = window::key(&step.by, subject, scratch) else {
            return false;
        };
        self.numbers += 1;
        let number = (wait.until_ns, self.numbers);
        let (attempts, mut lost) = self.keys.entry(&key, self.now_ns);
        attempts.pending = Some(number);
        self.pending.insert(number, (key.into(), message));
        if self.pending.len() > PENDING_MAX {
            self.pending.pop_first();
            lost = true;
        }
        lost
    }

    /// When the next one's time is over.
    pub fn due_ns(&self) -> Option<u64> {
        self.pending
            .first_key_value()
            .map(|(deadline, _)| deadline.0)
    }

    /// Whose time is over at `now_ns`, with that time, in order.
    pub fn over(&mut self, now_ns: u64) -> Option<(u64, M)> {
        self.now_ns = self.now_ns.max(now_ns);
        let first = self.pending.first_entry()?;
        let number = *first.key();
        if number.0 > self.now_ns {
            return None;
        }
        let (key, message) = first.remove();
        if let Some(attempts) = self.keys.get(&key)
            && attempts.pending == Some(number)
        {
            attempts.pending = None;
        }
        Some((number.0, message))
    }
}
