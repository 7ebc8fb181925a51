//! Opens that no rule matched: a server opens the same files again and again, and as long as neither the open
//! nor anything about who opens differs, neither does the answer.
//!
//! That holds for rules whose conditions look at nothing else ([`is_repeatable`]). Others, and those that
//! remember, are asked every time.

use super::load::{Compiled, Work};
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

    /// No repeatable rule matched this open.
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

/// Whether the rule's answer to an open follows from the open and from who opens alone.
pub(super) fn is_repeatable(compiled: &Compiled) -> bool {
    let mut repeatable = matches!(compiled.work, Work::Tell);
    compiled
        .condition
        .fields(&mut |field| repeatable &= field.id.is_of_open());
    repeatable
}
