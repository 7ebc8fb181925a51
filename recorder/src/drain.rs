//! Empties the rings into the open chunk, in the only thread that touches either.
//!
//! The watermark: a record's time is taken just before its place in a ring is reserved, and a ring
//! is read in the order of reservation. So once a ring was found empty, nothing older than that
//! moment can follow, and while it is not, nothing older than the last record read: both less the
//! time a probe can take between the two.

use aya::maps::{MapData, RingBuf};
use trace_format::{ContextRecord, Event, EventData};

use crate::{clock, decode::Decoder, observe::containers::Containers};

/// Longest time between a probe reading the clock and reserving its record: it runs with preemption
/// off, but interrupts, other probes in them and a hypervisor can hold it up.
const PROBE_SLACK_NS: u64 = 10_000_000;
/// Records taken from one ring before the other is looked at again: neither can hold the other up.
const BURST: usize = 4_096;

/// Takes what the drain finds.
pub trait Chunks {
    fn event(&mut self, event: Event);
    fn context(&mut self, record: ContextRecord);
    /// The open chunk should be sealed; `watermark_ns` is safe to promise.
    fn full(&self) -> bool;
    fn seal(&mut self, watermark_ns: u64);
}

pub struct Drain {
    bulk: RingBuf<MapData>,
    urgent: RingBuf<MapData>,
    decoder: Decoder,
    /// Nothing older can still be in the bulk and in the urgent ring.
    safe_ns: [u64; 2],
    /// Records that were not ours.
    pub refused: u64,
}

impl Drain {
    pub fn new(bulk: RingBuf<MapData>, urgent: RingBuf<MapData>, decoder: Decoder) -> Self {
        Drain {
            bulk,
            urgent,
            decoder,
            safe_ns: [0; 2],
            refused: 0,
        }
    }

    /// No event older than this comes out of the rings any more.
    pub fn safe_ns(&self) -> u64 {
        self.safe_ns[0].min(self.safe_ns[1])
    }

    /// Takes what is there, at most `max` records of bulk. Returns how many records it took.
    pub fn round(
        &mut self,
        containers: &mut Containers,
        chunks: &mut impl Chunks,
        floor: &dyn Fn() -> u64,
        max: usize,
    ) -> usize {
        let mut taken = 0;
        loop {
            let urgent = self.take(1, BURST, containers, chunks, floor);
            let bulk = self.take(0, BURST, containers, chunks, floor);
            taken += urgent + bulk;
            if (bulk < BURST && urgent < BURST) || taken >= max {
                return taken;
            }
        }
    }

    fn take(
        &mut self,
        index: usize,
        max: usize,
        containers: &mut Containers,
        chunks: &mut impl Chunks,
        floor: &dyn Fn() -> u64,
    ) -> usize {
        let started_ns = clock::boot_ns();
        let mut taken = 0;
        let mut last_ns = 0;
        while taken < max {
            let ring = if index == 0 {
                &mut self.bulk
            } else {
                &mut self.urgent
            };
            let Some(item) = ring.next() else {
                self.advance(index, started_ns);
                return taken;
            };
            taken += 1;
            let Some(event) = self.decoder.decode(&item) else {
                self.refused += 1;
                continue;
            };
            drop(item);
            last_ns = event.boot_ns;
            if chunks.full() {
                self.advance(index, last_ns);
                chunks.seal(self.safe_ns().min(floor()));
            }
            if let EventData::Cgroup(change) = &event.data {
                if change.removed {
                    containers.removed(change.id);
                } else if let Some(body) =
                    containers.made(change.id, &change.path.to_string_lossy())
                {
                    chunks.context(ContextRecord {
                        boot_ns: event.boot_ns,
                        body,
                    });
                }
            }
            // The id of a cgroup is never reused: what it is holds from before its first event.
            if let Some(body) = containers.see(event.cgroup_id) {
                chunks.context(ContextRecord {
                    boot_ns: event.boot_ns,
                    body,
                });
            }
            chunks.event(event);
        }
        self.advance(index, last_ns);
        taken
    }

    fn advance(&mut self, index: usize, time_ns: u64) {
        let safe = &mut self.safe_ns[index];
        *safe = (*safe).max(time_ns.saturating_sub(PROBE_SLACK_NS));
    }
}
