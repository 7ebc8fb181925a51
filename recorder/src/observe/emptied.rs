//! Tables that the probes count in, in pairs: one is counted in while the other is emptied.
//!
//! [`Turn::turn`] makes the probes use the other ones; after [`GRACE`] no program is still in the
//! first, and [`take`] empties it in one system call. So what it takes is final, and nothing is counted
//! twice or never.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
    time::Duration,
};

use aya::maps::{Array, MapData};

/// Longer than a program can take that looked up which table to use.
pub const GRACE: Duration = Duration::from_millis(10);
/// `BPF_MAP_LOOKUP_AND_DELETE_BATCH` (include/uapi/linux/bpf.h), since Linux 5.6.
const LOOKUP_AND_DELETE_BATCH: libc::c_int = 25;

/// Which tables are counted in.
pub struct Turn {
    map: Array<MapData, u64>,
    now: u64,
}

impl Turn {
    pub fn new(map: Array<MapData, u64>) -> Self {
        Turn { map, now: 0 }
    }

    /// From now on the probes count in the other tables. The caller waits for [`GRACE`].
    pub fn turn(&mut self) {
        if self.map.set(0, self.now + 1, 0).is_ok() {
            self.now += 1;
        }
    }

    /// Which ones are still: 0 the even, 1 the odd.
    pub fn still(&self) -> usize {
        (self.now as usize + 1) & 1
    }
}

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

/// All that a hash table of at most `max` elements holds, which is empty afterwards. `K` and `V`: words
/// of its keys and values.
pub fn take<const K: usize, const V: usize>(
    table: &MapData,
    max: u32,
) -> io::Result<impl Iterator<Item = ([u64; K], [u64; V])>> {
    let mut keys = vec![[0u64; K]; max as usize];
    let mut values = vec![[0u64; V]; max as usize];
    let mut place = 0u64;
    let mut batch = Batch {
        out_batch: (&raw mut place) as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: max,
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
    let found = batch.count.min(max) as usize;
    Ok(keys.into_iter().zip(values).take(found))
}
