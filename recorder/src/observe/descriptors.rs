//! Reads and writes that the probes counted per descriptor, emptied once a second.

use std::io;

use aya::maps::MapData;
use recorder_ebpf::{IO_MAX, IoCount};
use trace_format::{EventData, syscalls::Arch};

use super::emptied;
use crate::{decode, io_calls, io_calls::Calls};

const WORDS: usize = size_of::<IoCount>() / 8;

pub struct Descriptors {
    /// The even one, the odd one.
    tables: [MapData; 2],
}

/// What one table held.
pub struct Counted {
    /// (cgroup, process, event)
    pub events: Vec<(u64, u32, EventData)>,
    pub calls: Calls,
}

impl Descriptors {
    pub fn new(even: MapData, odd: MapData) -> Self {
        Descriptors {
            tables: [even, odd],
        }
    }

    /// Empties the table that is `still`.
    pub fn take(&self, still: usize, arch: Arch) -> io::Result<Counted> {
        let mut counted = Counted {
            events: Vec::new(),
            calls: Calls::new(),
        };
        for ([key], words) in emptied::take::<1, WORDS>(&self.tables[still], IO_MAX)? {
            // SAFETY: both are the same number of plain words.
            let count: IoCount = unsafe { std::mem::transmute(words) };
            if count.listed != 0 {
                continue;
            }
            io_calls::add(&count, arch, &mut counted.calls);
            let event = io_calls::event(key as u32, &count, decode::device(count.dev));
            if event.reads + event.writes > 0 {
                let pid = (key >> 32) as u32;
                counted
                    .events
                    .push((count.cgroup_id, pid, EventData::Io(event)));
            }
        }
        Ok(counted)
    }
}
