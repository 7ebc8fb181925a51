//! The ring of plain system calls: memory that this CPU writes and user space reads, nothing between.
//!
//! One program writes it, on one CPU, and the kernel runs a program at most once at a time on a CPU
//! (preemption is off, or the second run is refused), so no lock is needed. `head` is stored after
//! the record, and x86-64 keeps stores in order: what user space sees below `head` is complete.
//! Another architecture needs a store with release here.

use aya_ebpf::helpers::{bpf_get_smp_processor_id, generated::bpf_ktime_get_boot_ns};
use recorder_ebpf::{
    CALL_BYTES_MAX, CALL_PAGE_BYTES, CallPage, CallRecord, CallRing, abi, action, probe,
};

use crate::{
    CALL_PAGES, CALL_RINGS, Current, count_drop, counters, durations, kernel::bounded, setting,
    syscalls::Call, wake,
};

/// Writes the record of a call from table `abi`, or counts it as dropped where user space is a whole ring behind.
#[inline(always)]
pub fn plain(policy: u32, call: Call, abi: u8, current: Current) -> Option<()> {
    let counters = counters(probe::SYS_EXIT)?;
    let seq = counters.seen;
    counters.seen = seq + 1;
    // SAFETY: a helper without preconditions.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let Some((ring, page, at)) = place(cpu) else {
        count_drop(probe::SYS_EXIT, current.cgroup_id);
        return None;
    };
    let args = (policy >> action::ARITY_SHIFT) & 7;
    let record = CallRecord {
        // SAFETY: a helper without preconditions.
        boot_ns: unsafe { bpf_ktime_get_boot_ns() },
        pid_tgid: current.pid_tgid,
        cgroup_id: current.cgroup_id,
        ret: call.ret,
        seq: seq as u32,
        nr: call.nr as u16,
        args: args as u8,
        abi,
    };
    let measured = setting!(durations) != 0;
    // Before the arguments are read, so that these need no room on the stack while it is looked up.
    let lasted = durations::of_call();
    let values = if abi == abi::I386 {
        call.args_i386()
    } else {
        [
            call.arg::<0>(),
            call.arg::<1>(),
            call.arg::<2>(),
            call.arg::<3>(),
            call.arg::<4>(),
            call.arg::<5>(),
        ]
    };
    let end =
        at + (size_of::<CallRecord>() as u64) + u64::from(args) * 8 + if measured { 8 } else { 0 };
    // SAFETY: any offset below CALL_PAGE_BYTES has room for CALL_BYTES_MAX behind it; the state is
    // this CPU's, and only `tail` is written by anyone else.
    unsafe {
        let start = page
            .cast::<u8>()
            .add(bounded(at as usize, CALL_PAGE_BYTES - 1));
        start.cast::<CallRecord>().write_volatile(record);
        // All six, because storing is cheaper than deciding: those beyond `args` are overwritten by the next record.
        let mut words = start.add(size_of::<CallRecord>()).cast::<u64>();
        if measured {
            words.write_volatile(lasted);
            words = words.add(1);
        }
        words.write_volatile(values[0]);
        words.add(1).write_volatile(values[1]);
        words.add(2).write_volatile(values[2]);
        words.add(3).write_volatile(values[3]);
        words.add(4).write_volatile(values[4]);
        words.add(5).write_volatile(values[5]);
        (&raw mut (*ring).seq).write_volatile(seq);
        (&raw mut (*ring).head).write_volatile(end);
    }
    Some(())
}

/// This CPU's ring, the page for its next record, and the record's position. None: no room.
#[inline(always)]
fn place(cpu: u32) -> Option<(*mut CallRing, *mut CallPage, u64)> {
    let pages = setting!(call_pages);
    let ring = CALL_RINGS.get_ptr_mut(cpu)?;
    // SAFETY: this CPU's element; user space writes `tail`, whole words.
    let (at, tail) = unsafe {
        (
            (&raw const (*ring).head).read_volatile(),
            (&raw const (*ring).tail).read_volatile(),
        )
    };
    let capacity = u64::from(pages) * CALL_PAGE_BYTES as u64;
    let filled = at + CALL_BYTES_MAX as u64 - tail;
    if filled > capacity / 8 {
        wake();
        if filled > capacity {
            return None;
        }
    }
    let page = (at / CALL_PAGE_BYTES as u64) as u32 & (pages - 1);
    Some((ring, CALL_PAGES.get_ptr_mut(cpu * pages + page)?, at))
}
