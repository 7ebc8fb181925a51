//! Passes over chunks that hold nothing wanted, by their headers: their bodies are not decompressed.
//!
//! What is printed of an event that is wanted needs the state it happened in. So a chunk is passed over
//! in one of two ways:
//!
//! * The stretch between two checkpoints holds nothing wanted. It is dropped, and a new fold begins with
//!   the later checkpoint: by the rule of [`crate::seek`], events newer than its end look the same. Chunks
//!   are held back, still sealed, until either a wanted one comes, and then the last such checkpoint
//!   before it, or a checkpoint that makes what stands before it useless.
//! * A single chunk inside a fold has no context records and no events that change what others show.
//!
//! Both need headers only. Traces whose events cannot be understood from a checkpoint on (declared
//! families, slices with holes) are folded whole.

use std::collections::VecDeque;
use trace_format::{ContextRecord, SealedChunk};

use crate::{
    seek,
    select::{Cgroups, Selection, feeds_state},
    time::Point,
    walk::TimeRange,
};

/// Sealed chunks that wait: half of what a reader may take. A checkpoint interval of a recorder under
/// full load has about as much; more is folded.
const HELD_BYTES_MAX: usize = 32 << 20;

/// What to do with a chunk, in this order.
pub enum Step {
    /// Fold it; `anew`: the fold so far has ended, and another begins with it.
    Fold { chunk: Box<SealedChunk>, anew: bool },
    /// Nothing of it is needed but that time went on.
    Pass { watermark_ns: u64 },
}

/// One chunk that waits.
struct Held {
    chunk: SealedChunk,
    anew: bool,
    wanted: bool,
    /// Of a checkpoint: the newest record of everything up to its end.
    begins_after_ns: Option<u64>,
}

/// The choice, chunk by chunk, over one trace or capture after the other.
pub struct Skip {
    selection: Selection,
    range: TimeRange,
    cgroups: Cgroups,
    trace_uuid: Option<[u8; 16]>,
    /// Chunks of the trace at hand may be passed over.
    active: bool,
    start_ns: Option<u64>,
    held: VecDeque<Held>,
    held_bytes: usize,
    /// Newest record so far.
    last_ns: u64,
    /// Nothing older follows.
    watermark_ns: u64,
}

impl Skip {
    pub fn new(selection: Selection, range: TimeRange) -> Skip {
        Skip {
            selection,
            range,
            cgroups: Cgroups::default(),
            trace_uuid: None,
            active: false,
            start_ns: None,
            held: VecDeque::new(),
            held_bytes: 0,
            last_ns: 0,
            watermark_ns: 0,
        }
    }

    /// When the trace or capture at hand began.
    pub fn start_ns(&self) -> Option<u64> {
        self.start_ns
    }

    /// Takes the next chunk. `goes_on`: it belongs to the fold of the one before. `started_ns`: chunks
    /// before it may have been left out, and the trace began at this time.
    pub fn push(
        &mut self,
        chunk: &SealedChunk,
        goes_on: bool,
        started_ns: Option<u64>,
    ) -> Vec<Step> {
        let header = &chunk.header;
        let other = self.trace_uuid.replace(header.trace_uuid) != Some(header.trace_uuid);
        if !goes_on {
            // Whatever waits held nothing wanted.
            self.held.clear();
            self.held_bytes = 0;
            if other {
                self.cgroups = Cgroups::default();
                self.active = started_ns.is_some() || seek::checkpoints_suffice(chunk);
                self.start_ns = Some(started_ns.unwrap_or(header.first_ns));
                (self.last_ns, self.watermark_ns) = (0, 0);
            }
        }
        self.last_ns = self.last_ns.max(header.last_ns);
        let held = Held {
            anew: !goes_on,
            wanted: self.may_be_wanted(chunk),
            begins_after_ns: (header.has_checkpoint && header.number > 0).then_some(self.last_ns),
            chunk: chunk.clone(),
        };
        let wanted = held.wanted;
        self.held_bytes += chunk.bytes.len();
        self.held.push_back(held);
        let before_ns = self.watermark_ns;
        self.watermark_ns = self.watermark_ns.max(header.watermark_ns);
        if !self.active {
            return self.release();
        }
        // Events that are wanted are not older than this, now or later.
        let wanted_from_ns = match wanted {
            true => before_ns.min(header.first_ns),
            false => self.watermark_ns,
        };
        self.drop_before(wanted_from_ns);
        if wanted || self.held_bytes > HELD_BYTES_MAX {
            return self.release();
        }
        Vec::new()
    }

    /// Takes from a chunk that is folded what later headers are judged by.
    pub fn learn(&mut self, records: &[ContextRecord]) {
        self.cgroups.learn(&self.selection, records);
    }

    fn may_be_wanted(&self, chunk: &SealedChunk) -> bool {
        let header = &chunk.header;
        let reached = |point: Point, ns: u64| match point {
            Point::Boot(point_ns) => Some(ns >= point_ns),
            Point::Offset(point_ns) => {
                Some(ns >= self.start_ns.unwrap_or(0).saturating_add(point_ns))
            }
            // What the clocks say is in the body.
            Point::Wall(_) => None,
        };
        let from = self
            .range
            .from
            .and_then(|from| reached(from, header.last_ns));
        let to = self.range.to.and_then(|to| reached(to, header.first_ns));
        from != Some(false) && to != Some(true) && self.cgroups.may_hold(&self.selection, header)
    }

    /// Drops what waits before the last checkpoint from which all events from `wanted_from_ns` on look
    /// as they do from the start.
    fn drop_before(&mut self, wanted_from_ns: u64) {
        let begins = |held: &Held| held.begins_after_ns.is_some_and(|ns| ns < wanted_from_ns);
        let at = loop {
            match self.held.iter().rposition(begins) {
                None | Some(0) => return,
                // It has to be whole.
                Some(at) if self.held[at].chunk.events().is_ok() => break at,
                Some(at) => self.held[at].begins_after_ns = None,
            }
        };
        for dropped in self.held.drain(..at) {
            self.held_bytes -= dropped.chunk.bytes.len();
        }
        if let Some(first) = self.held.front_mut() {
            first.anew = true;
        }
    }

    fn release(&mut self) -> Vec<Step> {
        self.held_bytes = 0;
        let (selection, active) = (&self.selection, self.active);
        let steps = self.held.drain(..).map(|held| {
            let header = &held.chunk.header;
            let passed = active
                && !held.wanted
                && !held.anew
                && header.records == 0
                && !feeds_state(selection, header);
            match passed {
                true => Step::Pass {
                    watermark_ns: header.watermark_ns,
                },
                false => Step::Fold {
                    chunk: Box::new(held.chunk),
                    anew: held.anew,
                },
            }
        });
        steps.collect()
    }
}
