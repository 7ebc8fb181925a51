//! Tables that the probes count in, in pairs: one is counted in while the other is emptied.
//!
//! [`Turn::turn`] makes the probes use the other ones; after [`GRACE`] no program is still in the
//! first, and [`take`] empties it. So what it takes is final, and nothing is counted
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

/// Elements that one system call takes at most: more than a bucket ever holds, and a quiet second is one call.
const BATCH: usize = 256;

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

/// Hands `found` all that a hash table holds, which is empty afterwards. `K` and `V`: words of its keys and
/// values. What was found before an error has been taken out.
pub fn take<const K: usize, const V: usize>(
    table: &MapData,
    mut found: impl FnMut([u64; K], [u64; V]),
) -> io::Result<()> {
    let mut keys = vec![[0u64; K]; BATCH];
    let mut values = vec![[0u64; V]; BATCH];
    // Where the walk is: of the kernel's own making.
    let mut place = 0u64;
    let mut begun = false;
    loop {
        let mut batch = Batch {
            in_batch: if begun { (&raw mut place) as u64 } else { 0 },
            out_batch: (&raw mut place) as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: BATCH as u32,
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
        let error = (result < 0).then(io::Error::last_os_error);
        // ENOENT: the walk came to the table's end, as it should.
        let ended = error.as_ref().and_then(io::Error::raw_os_error) == Some(libc::ENOENT);
        if let Some(error) = error.filter(|_| !ended) {
            return Err(error);
        }
        let count = (batch.count as usize).min(BATCH);
        for (key, value) in keys.iter().zip(&values).take(count) {
            found(*key, *value);
        }
        if ended {
            return Ok(());
        }
        begun = true;
    }
}
