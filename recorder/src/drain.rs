//! Empties the rings into the open chunk, in the only thread that touches either.
//!
//! The watermark: a record's time is taken just before its place in a ring is reserved, and a ring
//! is read in the order of reservation. So once a ring was found empty, nothing older than that
//! moment can follow, and while it is not, nothing older than the last record read: both less the
//! time a probe can take between the two.

use std::os::fd::{AsFd, BorrowedFd};

use aya::maps::{MapData, RingBuf};
use trace_format::{ContextRecord, Event, EventData, syscalls::Arch};

use crate::{
    calls::CallRings,
    clock, decode,
    io_calls::{Calls, Numbers},
    observe::containers::Containers,
    own::RingUse,
    pairs::Pairs,
};

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

/// What the probes write to.
pub struct Rings {
    pub calls: CallRings,
    pub bulk: RingBuf<MapData>,
    pub urgent: RingBuf<MapData>,
}

/// One of them; the numbers are places in [`Drain::safe_ns`].
#[derive(Clone, Copy)]
enum Source {
    Urgent,
    Bulk,
    Calls(usize),
}

impl Source {
    fn index(self) -> usize {
        match self {
            Source::Urgent => 0,
            Source::Bulk => 1,
            Source::Calls(cpu) => 2 + cpu,
        }
    }
}

pub struct Drain {
    rings: Rings,
    /// Per source: the most bytes that were found in it at once since somebody asked.
    most: Vec<u64>,
    /// Per source: nothing older can still be in it.
    safe_ns: Vec<u64>,
    /// Records that were not ours.
    pub refused: u64,
    numbers: Numbers,
    /// Calls that were counted of descriptors which closed, for the counts per cgroup.
    pub calls: Calls,
    /// DNS questions and HTTP requests that wait for their answers.
    pairs: Pairs,
}

impl Drain {
    pub fn new(rings: Rings, arch: Arch) -> Self {
        Drain {
            most: vec![0; 2 + rings.calls.cpus()],
            safe_ns: vec![0; 2 + rings.calls.cpus()],
            rings,
            refused: 0,
            numbers: Numbers::of(arch),
            calls: Calls::new(),
            pairs: Pairs::default(),
        }
    }

    /// The fullest that each ring of system calls was found since the last call.
    pub fn filled_most(&mut self) -> Vec<RingUse> {
        let most = std::mem::replace(&mut self.most, vec![0; self.safe_ns.len()]);
        (0..self.rings.calls.cpus())
            .map(|cpu| {
                let filled = self.rings.calls.filled(cpu);
                RingUse {
                    name: format!("system calls, cpu {cpu}"),
                    bytes: self.rings.calls.waiting(cpu, &filled).1,
                    filled_max_bytes: most[Source::Calls(cpu).index()],
                }
            })
            .collect()
    }

    /// Those that a record can be waited for in.
    pub fn ring_buffers(&self) -> [BorrowedFd<'_>; 2] {
        [self.rings.bulk.as_fd(), self.rings.urgent.as_fd()]
    }

    /// No event older than this comes out of the rings any more.
    pub fn safe_ns(&self) -> u64 {
        self.safe_ns.iter().copied().min().unwrap_or(0)
    }

    /// Takes what is there, at most about `max` records. Returns how many records it took.
    pub fn round(
        &mut self,
        containers: &mut Containers,
        chunks: &mut impl Chunks,
        floor: &dyn Fn() -> u64,
        max: usize,
    ) -> usize {
        let mut taken = 0;
        loop {
            let urgent = self.take(Source::Urgent, containers, chunks, floor);
            let bulk = self.take(Source::Bulk, containers, chunks, floor);
            let mut most = urgent.max(bulk);
            taken += urgent + bulk;
            for cpu in 0..self.rings.calls.cpus() {
                let calls = self.take(Source::Calls(cpu), containers, chunks, floor);
                most = most.max(calls);
                taken += calls;
            }
            if most < BURST || taken >= max {
                return taken;
            }
        }
    }

    /// At most a burst of one source.
    fn take(
        &mut self,
        source: Source,
        containers: &mut Containers,
        chunks: &mut impl Chunks,
        floor: &dyn Fn() -> u64,
    ) -> usize {
        let started_ns = clock::boot_ns();
        let filled = match source {
            Source::Calls(cpu) => Some(self.rings.calls.filled(cpu)),
            _ => None,
        };
        if let (Source::Calls(cpu), Some(filled)) = (source, &filled) {
            let most = &mut self.most[source.index()];
            *most = (*most).max(self.rings.calls.waiting(cpu, filled).0);
        }
        let mut taken = 0;
        let mut last_ns = 0;
        while taken < BURST {
            let next = match (source, &filled) {
                (Source::Calls(cpu), Some(filled)) => self
                    .rings
                    .calls
                    .next(cpu, filled)
                    .map(|call| Some(decode::call(cpu, call))),
                (Source::Urgent, _) => self.rings.urgent.next().map(|item| decode::record(&item)),
                _ => self.rings.bulk.next().map(|item| {
                    let event = decode::record(&item);
                    if matches!(&event, Some(event) if matches!(event.data, EventData::Io(_)))
                        && let Some(count) = decode::io_count(&item)
                    {
                        self.numbers.add(count, &mut self.calls);
                    }
                    event
                }),
            };
            let Some(event) = next else {
                // All that began before this moment is read.
                last_ns = started_ns;
                break;
            };
            taken += 1;
            let Some(mut event) = event else {
                self.refused += 1;
                continue;
            };
            last_ns = event.boot_ns;
            self.pairs.see(&mut event);
            if chunks.full() {
                self.advance(source, last_ns);
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
            // Of whom it is about nothing else may happen.
            let other = match &event.data {
                EventData::ProcessAccess(call) => call.target_cgroup,
                EventData::PassedFd(passed) => passed.peer_cgroup_id,
                _ => 0,
            };
            if other != 0
                && let Some(body) = containers.see(other)
            {
                chunks.context(ContextRecord {
                    boot_ns: event.boot_ns,
                    body,
                });
            }
            chunks.event(event);
        }
        if let Source::Calls(cpu) = source
            && taken > 0
        {
            self.rings.calls.give_back(cpu);
        }
        self.advance(source, last_ns);
        taken
    }

    fn advance(&mut self, source: Source, time_ns: u64) {
        let safe = &mut self.safe_ns[source.index()];
        *safe = (*safe).max(time_ns.saturating_sub(PROBE_SLACK_NS));
    }
}
