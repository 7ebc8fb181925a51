//! Reads and writes that the probes counted per descriptor, emptied once a second.

use std::{
    io,
    os::fd::AsFd,
    sync::atomic::{AtomicU64, Ordering},
};

use aya::maps::MapData;
use hashbrown::HashMap;
use recorder_ebpf::{IO_NEAR_MAX, IoCount, IoNear, IoSums};
use trace_format::{EventData, syscalls::Arch};

use super::emptied;
use crate::{
    decode,
    io_calls::{self, Calls, Numbers},
    mapping::Mapping,
};

const WORDS: usize = size_of::<IoCount>() / 8;

pub struct Descriptors {
    /// The even one, the odd one.
    tables: [MapData; 2],
    /// What each CPU counts apart from them.
    near: Mapping,
    cpus: usize,
    numbers: Numbers,
    /// Kept open, so that /proc says what the process holds.
    _map: MapData,
}

/// What one table held.
pub struct Counted {
    /// (cgroup, process, event)
    pub events: Vec<(u64, u32, EventData)>,
    pub calls: Calls,
    /// Descriptors that had a place in the table, closed ones included.
    pub entries: usize,
}

impl Descriptors {
    pub fn map(
        even: MapData,
        odd: MapData,
        near: MapData,
        cpus: u32,
        arch: Arch,
    ) -> io::Result<Self> {
        let all = cpus as usize * 2 * IO_NEAR_MAX as usize;
        Ok(Descriptors {
            tables: [even, odd],
            near: Mapping::new(
                near.fd().as_fd(),
                all * size_of::<IoNear>(),
                libc::PROT_READ | libc::PROT_WRITE,
            )?,
            cpus: cpus as usize,
            numbers: Numbers::of(arch),
            _map: near,
        })
    }

    /// What CPUs counted apart in the half that is `still`, by descriptor; nothing of it is left there.
    fn take_near(&self, still: usize) -> HashMap<u64, IoSums> {
        let places = IO_NEAR_MAX as usize;
        let mut found: HashMap<u64, IoSums> = HashMap::new();
        for cpu in 0..self.cpus {
            for at in 0..places {
                // SAFETY: inside the mapping, aligned; no program uses this half now.
                let (key, sums) = unsafe {
                    let near = self.near.start.as_ptr().cast::<IoNear>();
                    let near = near.add((cpu * 2 + still) * places + at);
                    let key = AtomicU64::from_ptr(&raw mut (*near).key);
                    match key.swap(0, Ordering::AcqRel) {
                        0 => continue,
                        key => (key, (*near).counted),
                    }
                };
                let all = found.entry(key).or_default();
                for (all, more) in all.iter_mut().zip(sums) {
                    *all += more;
                }
            }
        }
        found
    }

    /// Empties the table that is `still`. Beside an error there is what was taken out until then.
    pub fn take(&self, still: usize) -> (Counted, io::Result<()>) {
        let mut counted = Counted {
            events: Vec::new(),
            calls: Calls::new(),
            entries: 0,
        };
        let near = self.take_near(still);
        let emptied = emptied::take::<1, WORDS>(&self.tables[still], |[key], words| {
            counted.entries += 1;
            // SAFETY: both are the same number of plain words.
            let mut count: IoCount = unsafe { std::mem::transmute(words) };
            if count.listed != 0 {
                return;
            }
            if let Some([read, written, calls @ ..]) = near.get(&key) {
                count.bytes[0] += read;
                count.bytes[1] += written;
                // Two to a word.
                for (pair, word) in count.calls.chunks_exact_mut(2).zip(calls) {
                    pair[0] += *word as u32;
                    pair[1] += (word >> 32) as u32;
                }
            }
            self.numbers.add(&count, &mut counted.calls);
            let event = io_calls::event(key as u32, &count, decode::device(count.dev));
            if event.reads + event.writes > 0 {
                let pid = (key >> 32) as u32;
                counted
                    .events
                    .push((count.cgroup_id, pid, EventData::Io(event)));
            }
        });
        (counted, emptied)
    }
}
