//! Opens that no rule's condition holds for: a server opens the same files again and again, and as long as neither the open
//! nor anything about who opens differs, neither does the answer.
//!
//! That holds for rules whose conditions look at nothing else ([`is_repeatable`]), also for those that
//! remember: what fulfils none of their conditions they pass over. Others are asked every time.

use super::{
    load::{Compiled, Work},
    node::Node,
    types::Type,
};
use crate::resolve::Version;
use trace_format::{Event, event::Open};

/// Opens remembered, each where its process, result and path lead: the newest of those that lead to one place.
const SEEN: usize = 256;
/// Longer paths are judged each time: what is remembered stays below a megabyte.
const PATH_BYTES_MAX: usize = 2_048;

/// The memory.
pub(super) struct Repeats {
    seen: Vec<Option<Seen>>,
}

struct Seen {
    version: Version,
    pid: u32,
    tid: u32,
    cgroup_id: u64,
    open: Open,
}

impl Default for Repeats {
    fn default() -> Self {
        Repeats {
            seen: (0..SEEN).map(|_| None).collect(),
        }
    }
}

impl Repeats {
    /// Whether this very open was noted, and nothing about processes, users and containers changed since.
    #[inline]
    pub fn has(&self, event: &Event, open: &Open, version: Version) -> bool {
        self.seen[place(event, open)].as_ref().is_some_and(|seen| {
            seen.version == version
                && seen.pid == event.pid
                && seen.tid == event.tid
                && seen.cgroup_id == event.cgroup_id
                && seen.open == *open
        })
    }

    /// No condition of a repeatable rule holds for this open.
    pub fn note(&mut self, event: &Event, open: &Open, version: Version) {
        if open.path.len() > PATH_BYTES_MAX {
            return;
        }
        self.seen[place(event, open)] = Some(Seen {
            version,
            pid: event.pid,
            tid: event.tid,
            cgroup_id: event.cgroup_id,
            open: open.clone(),
        });
    }
}

/// Where to look. Anything will do that spreads; names end in what tells them apart.
#[inline]
fn place(event: &Event, open: &Open) -> usize {
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let end = open.path.last_chunk::<8>().copied().unwrap_or_default();
    let mixed = u64::from_le_bytes(end) ^ (u64::from(event.pid) << 32) ^ open.ret as u64;
    let len = open.path.len() as u64;
    ((mixed ^ (len << 17)).wrapping_mul(SPREAD) >> 56) as usize % SEEN
}

/// Whether it follows from an open of this type and from who opens alone whether any condition of the rule
/// holds.
pub(super) fn is_repeatable(compiled: &Compiled, kind: Type) -> bool {
    let of_open = |condition: &Node| {
        let mut of_open = true;
        condition.fields(&mut |field| of_open &= field.id.is_of_open());
        of_open || !condition.event_types().contains(kind)
    };
    match &compiled.work {
        Work::Tell | Work::Window(_) => of_open(&compiled.condition),
        Work::Sequence(sequence) => sequence.conditions().all(of_open),
    }
}
