//! The rings of plain system calls, one per CPU: memory that the probe writes and this side reads.
//!
//! The probe owns `head` and everything from `tail` on; this side owns `tail`. Between the two lie
//! complete records. Reading costs no system call and no atomic instruction, and what was read is
//! given back in bulk.

use std::{
    io,
    os::fd::AsFd,
    sync::atomic::{AtomicU64, Ordering},
};

use aya::maps::{Map, MapData};
use recorder_ebpf::{CALL_PAGE_BYTES, CallPage, CallRecord, CallRing};

use crate::mapping::Mapping;

/// Bytes for the rings of system calls, all CPUs together, where every CPU gets at least [`CALL_BYTES_MIN`].
pub const RING_BYTES: u32 = 8 << 20;
/// A CPU's least share of that: at a million calls a second it holds 8 ms.
const CALL_BYTES_MIN: u32 = 512 << 10;
/// Files and paths share a ring buffer of this part of the bytes.
const BULK_PART: u32 = 4;
const URGENT_BYTES: u32 = 2 << 20;
const PAGE: u32 = CALL_PAGE_BYTES as u32;

/// Sizes of all rings. Ring buffers must be powers of two and at least a page; the pages of a CPU too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSizes {
    pub cpus: u32,
    /// Per CPU.
    pub call_pages: u32,
    pub bulk_bytes: u32,
    pub urgent_bytes: u32,
}

impl RingSizes {
    /// For this machine; `bytes` (a power of two) is what the user asked for.
    pub fn new(bytes: Option<u32>) -> io::Result<Self> {
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
        Ok(Self::shared_out(cpus as u32, bytes))
    }

    fn shared_out(cpus: u32, bytes: Option<u32>) -> Self {
        let share = bytes.unwrap_or(RING_BYTES) / cpus.max(1);
        let least = if bytes.is_some() {
            PAGE
        } else {
            CALL_BYTES_MIN
        };
        let pages = share.max(least) / PAGE;
        RingSizes {
            cpus,
            // The largest power of two that is not more.
            call_pages: 1 << pages.ilog2(),
            bulk_bytes: (bytes.unwrap_or(RING_BYTES) / BULK_PART).max(PAGE),
            urgent_bytes: URGENT_BYTES,
        }
    }
}

/// All CPUs' rings, mapped.
pub struct CallRings {
    states: Mapping,
    pages: Mapping,
    /// Kept open, so that /proc says what the process holds.
    _maps: [MapData; 2],
    sizes: RingSizes,
    /// Records have a word for how long the call took.
    durations: bool,
    /// Next to be read, per CPU; ahead of the shared `tail` until [`CallRings::give_back`].
    next: Vec<u64>,
}

impl CallRings {
    pub fn map(states: Map, pages: Map, sizes: RingSizes, durations: bool) -> io::Result<Self> {
        let (Map::Array(states), Map::Array(pages)) = (states, pages) else {
            return Err(io::Error::other(
                "they are no arrays: the object is of another version",
            ));
        };
        let (rings, all) = (
            sizes.cpus as usize,
            (sizes.cpus * sizes.call_pages) as usize,
        );
        Ok(CallRings {
            states: Mapping::new(
                states.fd().as_fd(),
                rings * size_of::<CallRing>(),
                libc::PROT_READ | libc::PROT_WRITE,
            )?,
            pages: Mapping::new(
                pages.fd().as_fd(),
                all * size_of::<CallPage>(),
                libc::PROT_READ,
            )?,
            _maps: [states, pages],
            sizes,
            durations,
            next: vec![0; rings],
        })
    }

    pub fn cpus(&self) -> usize {
        self.next.len()
    }

    /// What lies in this CPU's ring now: to be gone through with [`CallRings::next`].
    pub fn filled(&self, cpu: usize) -> Filled {
        let state = self.state(cpu);
        // SAFETY: inside the mapping, aligned; the probe stores whole words.
        let (head, seq) = unsafe {
            (
                AtomicU64::from_ptr(&raw mut (*state).head).load(Ordering::Acquire),
                AtomicU64::from_ptr(&raw mut (*state).seq).load(Ordering::Relaxed),
            )
        };
        Filled { head, seq }
    }

    /// Bytes of them that were not gone through yet, and of a ring.
    pub fn waiting(&self, cpu: usize, filled: &Filled) -> (u64, u64) {
        let ring = u64::from(self.sizes.call_pages) * CALL_PAGE_BYTES as u64;
        (filled.head.saturating_sub(self.next[cpu]), ring)
    }

    /// The next record and its arguments, beyond the call's arity zero. None: `filled` is read.
    #[inline]
    pub fn next(&mut self, cpu: usize, filled: &Filled) -> Option<Call> {
        let at = self.next[cpu];
        if at >= filled.head {
            return None;
        }
        let page = (at / CALL_PAGE_BYTES as u64) as usize & (self.sizes.call_pages as usize - 1);
        let place = (cpu * self.sizes.call_pages as usize + page) * size_of::<CallPage>()
            + at as usize % CALL_PAGE_BYTES;
        // SAFETY: a page has room for the largest record behind any offset below CALL_PAGE_BYTES, and
        // the probe does not write between tail and head. Any bits are a valid record.
        let (record, duration_ns, args) = unsafe {
            let start = self.pages.start.as_ptr().cast::<u8>().add(place);
            let record = start.cast::<CallRecord>().read_unaligned();
            let words = start.add(size_of::<CallRecord>()).cast::<u64>();
            let (duration_ns, args) = match self.durations {
                true => (words.read_unaligned(), words.add(1)),
                false => (0, words),
            };
            (
                record,
                duration_ns,
                args.cast::<[u64; 6]>().read_unaligned(),
            )
        };
        let count = usize::from(record.args.min(6));
        let mut call = Call {
            record,
            seq: filled.full(record.seq),
            duration_ns,
            args: [0; 6],
        };
        for (to, from) in call.args.iter_mut().zip(args).take(count) {
            *to = from;
        }
        let words = count + usize::from(self.durations);
        self.next[cpu] = at + (size_of::<CallRecord>() + words * 8) as u64;
        Some(call)
    }

    /// What was read is room again.
    pub fn give_back(&self, cpu: usize) {
        // SAFETY: as in `filled`; the probe only reads this word.
        unsafe { AtomicU64::from_ptr(&raw mut (*self.state(cpu)).tail) }
            .store(self.next[cpu], Ordering::Release);
    }

    fn state(&self, cpu: usize) -> *mut CallRing {
        assert!(cpu < self.next.len(), "CPU {cpu} of {}", self.next.len());
        // SAFETY: checked against the mapping's length.
        unsafe { self.states.start.as_ptr().cast::<CallRing>().add(cpu) }
    }
}

/// A view of one ring's contents.
#[derive(Clone, Copy)]
pub struct Filled {
    head: u64,
    /// Not older than the newest record below `head`.
    seq: u64,
}

impl Filled {
    /// A record's sequence number from its low half: the nearest one that is not after `seq`. A ring
    /// is read many times a second; 2^32 numbers take an hour at least.
    fn full(&self, low: u32) -> u64 {
        self.seq
            .wrapping_sub(u64::from((self.seq as u32).wrapping_sub(low)))
    }
}

/// A plain system call as the probe saw it.
pub struct Call {
    pub record: CallRecord,
    pub seq: u64,
    /// 0: unknown.
    pub duration_ns: u64,
    pub args: [u64; 6],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cpu_gets_its_share_and_at_least_the_least() {
        let pages = |cpus, bytes| RingSizes::shared_out(cpus, bytes).call_pages;
        assert_eq!(pages(2, None), 1024, "4 MiB each");
        assert_eq!(pages(3, None), 512, "a power of two below the share");
        assert_eq!(pages(256, None), CALL_BYTES_MIN / PAGE);
        assert_eq!(pages(2, Some(4096)), 1, "what was asked for, but a page");
        assert_eq!(pages(2, Some(1 << 24)), 2048);
    }

    #[test]
    fn a_sequence_number_grows_past_its_low_half() {
        let filled = Filled {
            head: 0,
            seq: (5 << 32) | 3,
        };
        assert_eq!(filled.full(3), (5 << 32) | 3);
        assert_eq!(filled.full(u32::MAX), (4 << 32) | u64::from(u32::MAX));
        assert_eq!(Filled { head: 0, seq: 7 }.full(0), 0);
    }
}
