//! Reads and writes that the probes counted per descriptor, emptied once a second.
//!
//! The probes count in one of two tables. [`Descriptors::turn`] makes them use the other one; after
//! [`GRACE`] no program is still in the first, and [`Descriptors::read`] takes all there is in one
//! system call. So what it takes is final, and no call is counted twice or never.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
    time::Duration,
};

use aya::maps::{Array, MapData};
use recorder_ebpf::{IO_MAX, IoCount};
use trace_format::{EventData, syscalls::Arch};

use crate::{decode, io_calls, io_calls::Calls};

/// Longer than a program can take that looked up which table to use.
pub const GRACE: Duration = Duration::from_millis(10);
const WORDS: usize = size_of::<IoCount>() / 8;
/// `BPF_MAP_LOOKUP_AND_DELETE_BATCH` (include/uapi/linux/bpf.h), since Linux 5.6.
const LOOKUP_AND_DELETE_BATCH: libc::c_int = 25;

/// `union bpf_attr`, as that command has it.
#[repr(C)]
#[derive(Default)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

pub struct Descriptors {
    turn: Array<MapData, u64>,
    /// Counted in when the turn is even, odd.
    tables: [MapData; 2],
    now: u64,
}

/// What one table held.
pub struct Counted {
    /// (cgroup, process, event)
    pub events: Vec<(u64, u32, EventData)>,
    pub calls: Calls,
}

impl Descriptors {
    pub fn new(turn: Array<MapData, u64>, even: MapData, odd: MapData) -> Self {
        Descriptors {
            turn,
            tables: [even, odd],
            now: 0,
        }
    }

    /// From now on the probes count in the other table. The caller waits for [`GRACE`].
    pub fn turn(&mut self) {
        if self.turn.set(0, self.now + 1, 0).is_ok() {
            self.now += 1;
        }
    }

    /// Empties the table that was in use before the last turn.
    pub fn read(&self, arch: Arch) -> io::Result<Counted> {
        let table = &self.tables[(self.now as usize + 1) & 1];
        let mut keys = vec![0u64; IO_MAX as usize];
        let mut values = vec![[0u64; WORDS]; IO_MAX as usize];
        let mut place = 0u64;
        let mut batch = Batch {
            out_batch: (&raw mut place) as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: IO_MAX,
            map_fd: table.fd().as_fd().as_raw_fd() as u32,
            ..Batch::default()
        };
        // SAFETY: the pointers are to live buffers of `count` elements of the map's sizes.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                LOOKUP_AND_DELETE_BATCH,
                &raw mut batch,
                size_of::<Batch>(),
            )
        };
        if result < 0 {
            let error = io::Error::last_os_error();
            // ENOENT: the walk came to the table's end, as it should.
            if error.raw_os_error() != Some(libc::ENOENT) {
                return Err(error);
            }
        }
        let mut counted = Counted {
            events: Vec::new(),
            calls: Calls::new(),
        };
        let found = batch.count.min(IO_MAX) as usize;
        for (key, words) in keys.into_iter().zip(values).take(found) {
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
