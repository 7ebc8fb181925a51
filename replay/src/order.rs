//! Puts the records of a trace into one order that does not depend on where its chunks end.
//!
//! Chunks overlap in time, because CPUs are drained one after the other. A chunk's watermark
//! promises that no later chunk holds an older event; records below it are released, sorted by
//! time, then family, then the identity of the event (CPU, probe, sequence number), then chunk
//! and row. The identity comes before chunk and row, because only the identity stays when the
//! same events are cut into other chunks. Context comes before the events of its nanosecond.
//!
//! A record older than what was already released (a *late* one) is released at once and counted.
//! What waits is bounded: past [`PENDING_ROWS_MAX`], [`PENDING_CHUNKS_MAX`] or [`PENDING_BYTES_MAX`] the oldest chunk is released without waiting
//! for its watermark, and that is counted too.

use std::cmp::Ordering;
use trace_format::{ChunkEvents, ContextRecord, Event, columns::DECLARED};

/// Events that may wait for a watermark. A chunk has at most 65,536 rows and a recorder's watermark
/// lags by less than two chunks, so this is eight times what a sound trace needs (about 250 MB).
pub const PENDING_ROWS_MAX: usize = 1 << 20;

/// Chunks that may wait. A chunk without events (an idle second) waits too, for its context.
pub const PENDING_CHUNKS_MAX: usize = 1024;

/// Uncompressed bodies that may wait: rows alone do not bound context records and long strings. Ten
/// times what as many rows of a sound trace take.
pub const PENDING_BYTES_MAX: u64 = 256 << 20;

/// Where an event is stored: with the trace's UUID, the evidence of a finding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventRef {
    /// Which of the traces that were folded as one: parts of a capture, from 0.
    pub part: u32,
    pub chunk: u64,
    pub family: u16,
    pub row: u32,
}

/// Takes the records in their order.
pub trait Fold {
    fn context(&mut self, record: &ContextRecord);
    fn event(&mut self, event: &Event, at: EventRef);
    /// Asked before each event: true says that the fold has taken all it wants of it from its columns,
    /// and that nobody needs to put it together.
    #[inline]
    fn takes(&mut self, _chunk: &ChunkEvents, _index: usize, _at: EventRef) -> bool {
        false
    }
    /// An event cannot be put together, nor any other of its family in its chunk: nothing is told of it.
    fn unreadable(&mut self, _at: EventRef, _error: &trace_format::Error) {}
}

/// What did not go by the watermark. All zero for a sound trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disorder {
    /// Records older than what was already released.
    pub late: u64,
    /// Chunks released before their watermark, because too much waited.
    pub forced: u64,
}

/// The buffer between chunks and the fold.
#[derive(Default)]
pub struct Order {
    /// In the order of arrival, so of chunk numbers.
    runs: Vec<Run>,
    rows: usize,
    /// Everything below this time has been released.
    released_ns: u64,
    disorder: Disorder,
    /// The trace that chunks come from at present.
    part: u32,
}

impl Order {
    /// The chunks that follow are those of the next part.
    pub fn next_part(&mut self) {
        self.part = self.part.saturating_add(1);
    }

    /// Takes one chunk and releases what its watermark allows.
    pub fn push(&mut self, chunk: ChunkEvents, fold: &mut impl Fold) {
        let watermark_ns = chunk.header.watermark_ns;
        let run = Run::new(chunk, self.part);
        self.disorder.late += run.older_than(self.released_ns);
        self.rows += run.order.len();
        self.runs.push(run);
        self.release(watermark_ns.max(self.released_ns), fold);
        while self.rows > PENDING_ROWS_MAX
            || self.runs.len() > PENDING_CHUNKS_MAX
            || self.runs.iter().map(Run::bytes).sum::<u64>() > PENDING_BYTES_MAX
        {
            self.disorder.forced += 1;
            match self.runs[0].last_ns().checked_add(1) {
                Some(limit_ns) => self.release(limit_ns, fold),
                // The largest time there is has no limit after it.
                None => self.release_all(fold),
            }
        }
    }

    /// A chunk was passed over: releases what its watermark allows.
    pub fn pass(&mut self, watermark_ns: u64, fold: &mut impl Fold) {
        self.release(watermark_ns.max(self.released_ns), fold);
    }

    /// No chunk follows: releases everything.
    pub fn finish(&mut self, fold: &mut impl Fold) {
        self.release_all(fold);
    }

    /// Also what carries the largest time there is.
    fn release_all(&mut self, fold: &mut impl Fold) {
        while let Some((best, bound)) = self.next_run(Key::AFTER_ALL) {
            self.rows -= self.runs[best].drain(bound, fold);
        }
        self.runs.clear();
        self.released_ns = u64::MAX;
    }

    pub fn disorder(&self) -> Disorder {
        self.disorder
    }

    /// Events that wait for a watermark.
    pub fn pending(&self) -> usize {
        self.rows
    }

    /// Releases every record before `limit_ns`.
    fn release(&mut self, limit_ns: u64, fold: &mut impl Fold) {
        let limit = Key::before_all_of(limit_ns);
        while let Some((best, bound)) = self.next_run(limit) {
            self.rows -= self.runs[best].drain(bound, fold);
        }
        self.runs.retain(|run| !run.is_empty());
        self.released_ns = self.released_ns.max(limit_ns);
    }

    /// The run whose next record comes first, and the key up to which it may go on alone.
    fn next_run(&self, limit: Key) -> Option<(usize, Key)> {
        let mut best: Option<(usize, Key)> = None;
        let mut bound = limit;
        for (index, run) in self.runs.iter().enumerate() {
            let Some(key) = run.key() else { continue };
            match best {
                // Equal keys: the earlier chunk goes first.
                Some((_, first)) if first <= key => bound = bound.min(key),
                Some((_, first)) => {
                    bound = bound.min(first);
                    best = Some((index, key));
                }
                None if key < limit => best = Some((index, key)),
                None => {}
            }
        }
        best.map(|(index, _)| (index, bound))
    }
}

/// Position of a record in the order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    boot_ns: u64,
    /// 0: context. An event has its family's number plus 1, declared ones all the first of them.
    family: u32,
    cpu: u16,
    probe: u8,
    seq: u64,
}

impl Key {
    const AFTER_ALL: Key = Key {
        boot_ns: u64::MAX,
        family: u32::MAX,
        cpu: 0,
        probe: 0,
        seq: 0,
    };

    fn before_all_of(boot_ns: u64) -> Key {
        Key {
            boot_ns,
            family: 0,
            cpu: 0,
            probe: 0,
            seq: 0,
        }
    }

    fn of(chunk: &ChunkEvents, index: usize) -> Key {
        let (cpu, probe, seq) = chunk.identity(index);
        Key {
            boot_ns: chunk.boot_ns(index),
            // Declared families are one to the order: what an importer numbers goes by its numbers.
            family: u32::from(chunk.row(index).family.min(DECLARED)) + 1,
            cpu,
            probe,
            seq,
        }
    }
}

/// One chunk and how much of it has been released.
struct Run {
    part: u32,
    chunk: ChunkEvents,
    /// Indices of the chunk's events in their order.
    order: Vec<u32>,
    event_next: usize,
    context_next: usize,
}

impl Run {
    fn new(chunk: ChunkEvents, part: u32) -> Run {
        let mut run = Run {
            part,
            order: (0..chunk.len() as u32).collect(),
            chunk,
            event_next: 0,
            context_next: 0,
        };
        run.sort();
        run
    }

    /// A chunk comes sorted by (time, row): only events of the same nanosecond need work.
    fn sort(&mut self) {
        let ChunkEvents { context, .. } = &mut self.chunk;
        if !context.is_sorted_by_key(|record| record.boot_ns) {
            context.sort_by_key(|record| record.boot_ns);
        }
        let chunk = &self.chunk;
        let key = |index: &u32| Key::of(chunk, *index as usize);
        let same_time = |a: &u32, b: &u32| chunk.boot_ns(*a as usize) == chunk.boot_ns(*b as usize);
        for tied in self.order.chunk_by_mut(same_time) {
            if tied.len() > 1 && !tied.is_sorted_by_key(key) {
                tied.sort_by_key(key);
            }
        }
    }

    /// Uncompressed.
    fn bytes(&self) -> u64 {
        self.chunk.header.body_len.into()
    }

    fn boot_ns(&self, index: u32) -> u64 {
        self.chunk.boot_ns(index as usize)
    }

    fn older_than(&self, boot_ns: u64) -> u64 {
        let events = self
            .order
            .partition_point(|index| self.boot_ns(*index) < boot_ns);
        let context = self
            .chunk
            .context
            .partition_point(|record| record.boot_ns < boot_ns);
        (events + context) as u64
    }

    fn last_ns(&self) -> u64 {
        let event = self.order.last().map_or(0, |index| self.boot_ns(*index));
        let context = self.chunk.context.last().map_or(0, |record| record.boot_ns);
        event.max(context)
    }

    fn is_empty(&self) -> bool {
        self.event_next == self.order.len() && self.context_next == self.chunk.context.len()
    }

    fn key(&self) -> Option<Key> {
        let event = self
            .order
            .get(self.event_next)
            .map(|index| Key::of(&self.chunk, *index as usize));
        let context = self
            .chunk
            .context
            .get(self.context_next)
            .map(|record| Key::before_all_of(record.boot_ns));
        match (event, context) {
            (Some(event), Some(context)) => Some(event.min(context)),
            (one, other) => one.or(other),
        }
    }

    /// Releases the next record, and those after it that come before `bound`. Returns how many events that were.
    fn drain(&mut self, bound: Key, fold: &mut impl Fold) -> usize {
        let start = self.event_next;
        let mut first = true;
        loop {
            // Events up to the next context record need no look at the context.
            let context_ns = self
                .chunk
                .context
                .get(self.context_next)
                .map(|record| record.boot_ns);
            while let Some(index) = self.order.get(self.event_next) {
                let index = *index as usize;
                let boot_ns = self.chunk.boot_ns(index);
                if context_ns.is_some_and(|context_ns| context_ns <= boot_ns) {
                    break;
                }
                let below = match boot_ns.cmp(&bound.boot_ns) {
                    Ordering::Less => true,
                    Ordering::Equal => Key::of(&self.chunk, index) < bound,
                    Ordering::Greater => false,
                };
                if !below && !first {
                    return self.event_next - start;
                }
                first = false;
                let row = self.chunk.row(index);
                let at = EventRef {
                    part: self.part,
                    chunk: self.chunk.header.number,
                    family: row.family,
                    row: row.row,
                };
                if !fold.takes(&self.chunk, index, at) {
                    match self.chunk.event(index) {
                        Ok(event) => fold.event(&event, at),
                        Err(error) => fold.unreadable(at, error),
                    }
                }
                self.event_next += 1;
            }
            let Some(record) = self.chunk.context.get(self.context_next) else {
                break;
            };
            if Key::before_all_of(record.boot_ns) >= bound && !first {
                break;
            }
            first = false;
            fold.context(record);
            self.context_next += 1;
        }
        self.event_next - start
    }
}
