//! Where reading may begin so that everything from a point on is still told.
//!
//! A chunk with a whole checkpoint stands for the state that earlier chunks left, as far as context
//! goes: host, clock, users, containers, processes. When nothing up to its end reaches the point, a
//! fold that begins with this chunk shows all that one from the first chunk on shows. Descriptors,
//! programs' origins, processes that had ended and what a detector remembers are not in a checkpoint.
//!
//! Files choose the chunk by the summary's index and read nothing before it but the first chunk;
//! streams begin anew when it comes by. The rule is the same, so both tell the same.

use trace_format::{Clock, Context, ContextRecord, IndexEntry, SealedChunk};

use crate::time::Point;

/// Looks for the place, over the parts of a capture and one trace after the other.
pub struct Seek {
    from: Point,
    /// `None`: nothing is left out of the trace at hand.
    start: Option<Start>,
    /// Newest record so far, over the parts of a capture.
    last_ns: u64,
}

/// What the first chunk says.
#[derive(Clone, Copy)]
struct Start {
    first_ns: u64,
    clock: Option<Clock>,
}

impl Seek {
    pub fn new(from: Point) -> Seek {
        Seek {
            from,
            start: None,
            last_ns: 0,
        }
    }

    /// Takes the first chunk of a trace. `goes_on`: it is the next part of the same capture.
    pub fn next_trace(&mut self, first: &SealedChunk, goes_on: bool) {
        if goes_on {
            return;
        }
        self.last_ns = 0;
        self.start = self_contained(first).map(|context| Start {
            first_ns: first.header.first_ns,
            clock: first_clock(&context),
        });
    }

    /// Time of the first record of the trace or capture at hand, if chunks of it may be left out.
    pub fn start_ns(&self) -> Option<u64> {
        self.start.map(|start| start.first_ns)
    }

    /// Takes the next chunk; true: a fold that begins with it tells everything from the point on.
    pub fn begins_at(&mut self, chunk: &SealedChunk) -> bool {
        let header = &chunk.header;
        self.last_ns = self.last_ns.max(header.last_ns);
        header.number > 0
            && header.has_checkpoint
            && self.allows(self.last_ns, || Some(chunk.clone()))
    }

    /// The last chunk of a file, by its index, for which [`Seek::begins_at`] holds. `read` gives a chunk.
    pub fn place<'a>(
        &mut self,
        index: &'a [IndexEntry],
        mut read: impl FnMut(&IndexEntry) -> Option<SealedChunk>,
    ) -> Option<&'a IndexEntry> {
        let mut last_ns = self.last_ns;
        let candidates: Vec<(&IndexEntry, u64)> = index
            .iter()
            .map(|entry| {
                last_ns = last_ns.max(entry.last_ns);
                (entry, last_ns)
            })
            .filter(|(entry, _)| entry.number > 0 && entry.has_checkpoint)
            .collect();
        let (entry, last_ns) = candidates.into_iter().rev().find(|(entry, last_ns)| {
            self.allows(*last_ns, || {
                read(entry).filter(|chunk| chunk.header.has_checkpoint)
            })
        })?;
        self.last_ns = last_ns;
        Some(entry)
    }

    /// Whether everything up to `last_ns`, where the chunk with a checkpoint ends, lies before the point.
    fn allows(&self, last_ns: u64, chunk: impl FnOnce() -> Option<SealedChunk>) -> bool {
        let Some(start) = self.start else {
            return false;
        };
        let before = |clock: Option<Clock>| match self.from {
            Point::Boot(ns) => last_ns < ns,
            Point::Offset(ns) => last_ns < start.first_ns.saturating_add(ns),
            Point::Wall(ns) => clock.is_some_and(|clock| {
                let wall_ns = i128::from(last_ns) + i128::from(clock.wall_ns);
                wall_ns - i128::from(clock.boot_ns) < i128::from(ns)
            }),
        };
        // The chunk is read last: most are told by their times alone. It has to be whole, and its own
        // clocks have to agree when the host's clock was set since the start.
        before(start.clock)
            && chunk()
                .and_then(|chunk| chunk.events().ok())
                .is_some_and(|events| before(first_clock(&events.context)))
    }
}

/// Whether a trace that begins with this chunk can be understood from a later checkpoint on.
pub fn checkpoints_suffice(first: &SealedChunk) -> bool {
    self_contained(first).is_some()
}

/// The first chunk's context, if nothing in the trace rests on earlier events of other than known
/// families.
fn self_contained(first: &SealedChunk) -> Option<Vec<ContextRecord>> {
    if first.header.number != 0 {
        return None;
    }
    let context = first.columns().and_then(|chunk| chunk.context()).ok()?;
    // Declared families are folded with what their own earlier events told, and holes on purpose are
    // known from the first record alone: of neither a checkpoint says anything.
    let whole = context.iter().any(|record| match &record.body {
        Context::EventType(_) => true,
        Context::Provenance(provenance) => provenance.selected,
        _ => false,
    });
    (!whole).then_some(context)
}

fn first_clock(context: &[ContextRecord]) -> Option<Clock> {
    context.iter().find_map(|record| match &record.body {
        Context::Clock(clock) => Some(*clock),
        _ => None,
    })
}
