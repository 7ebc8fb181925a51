//! What the probes count instead of writing an event each: calls per cgroup and number, and reads and
//! writes per descriptor, which are calls too. Taken once a second.

use std::{
    io,
    os::fd::AsFd,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use aya::maps::{Array, MapData};
use recorder_ebpf::{COUNTED_CALLS, CountSlot};
use trace_format::{Event, EventData, event::SyscallCount};

use super::{
    descriptors::Descriptors,
    emptied::{self, Turn},
};
use crate::{clock, io_calls::Calls, mapping::Mapping, notice};

/// An event that no probe wrote.
pub fn observed(cgroup_id: u64, data: EventData) -> Event {
    Event {
        boot_ns: clock::boot_ns(),
        cpu: 0,
        probe: 0,
        seq: 0,
        tid: 0,
        pid: 0,
        cgroup_id,
        data,
    }
}

/// Calls per cgroup and number: per CPU in slots that are this process's memory too, and in tables of
/// all pairs.
pub struct CallCounts {
    slots: Mapping,
    cpus: usize,
    /// Kept open, so that /proc says what the process holds.
    _map: MapData,
    /// The even one, the odd one.
    tables: [MapData; 2],
}

impl CallCounts {
    pub fn map(slots: MapData, even: MapData, odd: MapData, cpus: u32) -> io::Result<Self> {
        let all = cpus as usize * 2 * COUNTED_CALLS as usize;
        Ok(CallCounts {
            slots: Mapping::new(
                slots.fd().as_fd(),
                all * size_of::<CountSlot>(),
                libc::PROT_READ | libc::PROT_WRITE,
            )?,
            cpus: cpus as usize,
            _map: slots,
            tables: [even, odd],
        })
    }

    /// Adds what was counted in the half that is `still`, and sets it to zero. Returns how many entries
    /// were taken out of its table; beside an error, until then.
    fn take(&self, still: usize, calls: &mut Calls) -> (usize, io::Result<()>) {
        let numbers = COUNTED_CALLS as usize;
        for cpu in 0..self.cpus {
            for nr in 0..numbers {
                let (cgroup_id, times) = self.take_slot((cpu * 2 + still) * numbers + nr);
                if times > 0 {
                    *calls.entry([cgroup_id, nr as u64]).or_default() += times;
                }
            }
        }
        let mut entries = 0;
        let emptied = emptied::take::<2, 1>(&self.tables[still], |key, [times]| {
            *calls.entry(key).or_default() += times;
            entries += 1;
        });
        (entries, emptied)
    }

    /// Its cgroup and calls; the slot is empty afterwards.
    fn take_slot(&self, index: usize) -> (u64, u64) {
        let all = self.cpus * 2 * COUNTED_CALLS as usize;
        assert!(index < all, "slot {index} of {all}");
        // SAFETY: inside the mapping, aligned; no program uses this half now.
        unsafe {
            let slot = self.slots.start.as_ptr().cast::<CountSlot>().add(index);
            let word = |at: *mut u64| AtomicU64::from_ptr(at);
            let calls = word(&raw mut (*slot).calls);
            let times = calls.load(Ordering::Acquire);
            if times > 0 {
                calls.store(0, Ordering::Release);
            }
            let cgroup_id = word(&raw mut (*slot).cgroup_id).load(Ordering::Relaxed);
            (cgroup_id, times)
        }
    }
}

/// All of it.
pub struct Counts {
    turn: Turn,
    calls: CallCounts,
    descriptors: Descriptors,
}

impl Counts {
    pub fn new(turn: Array<MapData, u64>, calls: CallCounts, descriptors: Descriptors) -> Self {
        Counts {
            turn: Turn::new(turn),
            calls,
            descriptors,
        }
    }

    /// Lets the probes go on in the other tables, and waits until these are still.
    pub fn turn(&mut self) {
        self.turn.turn();
        thread::sleep(emptied::GRACE);
    }

    /// Events for what was counted until the last turn; `calls` were counted elsewhere. Returns how many
    /// entries the tables of calls and of descriptors had.
    pub fn take(&self, mut calls: Calls, events: &mut Vec<Event>) -> (usize, usize) {
        let still = self.turn.still();
        let (counted, emptied) = self.descriptors.take(still);
        if let Err(error) = emptied {
            notice::say(format_args!(
                "rec: some reads and writes of the last second were not counted: {error}"
            ));
        }
        for (key, times) in counted.calls {
            *calls.entry(key).or_default() += times;
        }
        let mut found = counted.events;
        found.sort_unstable_by_key(|(_, pid, data)| match data {
            EventData::Io(io) => (*pid, io.fd),
            _ => (*pid, 0),
        });
        events.extend(found.into_iter().map(|(cgroup_id, pid, data)| Event {
            pid,
            tid: pid,
            ..observed(cgroup_id, data)
        }));
        let (entries, emptied) = self.calls.take(still, &mut calls);
        if let Err(error) = emptied {
            notice::say(format_args!(
                "rec: some system calls of the last second were not counted: {error}"
            ));
        }
        let mut found: Vec<([u64; 2], u64)> = calls.into_iter().collect();
        found.sort_unstable();
        events.extend(found.into_iter().map(|([cgroup_id, nr], calls)| {
            observed(
                cgroup_id,
                EventData::SyscallCount(SyscallCount {
                    nr: nr as u32,
                    calls,
                }),
            )
        }));
        (entries, counted.entries)
    }
}
