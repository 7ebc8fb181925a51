//! How long system calls last, where that was asked for.
//!
//! The beginning of a call is noted at a place that the thread's id decides, in one word with whose it is,
//! so that what is read is never half of one thread's and half of another's. Threads that share a place
//! overwrite each other: then the duration of a call is unknown, and never wrong. Each note is used once.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, generated::bpf_ktime_get_boot_ns},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use recorder_ebpf::{ENTERED_MAX, ENTERED_TIME_BITS, probe};

use crate::{ENTERED, scratch_of, setting};

const TIME: u64 = (1 << ENTERED_TIME_BITS) - 1;
/// clone, fork, vfork, clone3: the new thread comes back from one that it did not begin.
const FORKS: [u32; 4] = [56, 57, 58, 435];

#[btf_tracepoint(function = "sys_enter")]
fn sys_enter(_: BtfTracePointContext) -> i32 {
    let tid = bpf_get_current_pid_tgid() as u32;
    if let Some(place) = ENTERED.get_ptr_mut(tid & (ENTERED_MAX - 1)) {
        // SAFETY: a helper without preconditions; a whole word of the map.
        unsafe { core::ptr::write_volatile(place, note(tid, bpf_ktime_get_boot_ns())) };
    }
    0
}

#[inline(always)]
fn note(tid: u32, boot_ns: u64) -> u64 {
    u64::from(tid / ENTERED_MAX) << ENTERED_TIME_BITS | boot_ns & TIME
}

/// A call ended: what it lasted is there for [`of_call`] until the next one ends on this CPU.
#[inline(always)]
pub fn ended(nr: u32, ret: i64) {
    if setting!(durations) != 0 {
        let begun_here = !(ret == 0 && FORKS.contains(&nr));
        let _ = measure(u64::from(begun_here));
    }
}

/// Seen from outside for the sake of the stack: see `ipc::use_of`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn measure(begun_here: u64) -> u64 {
    let Some(scratch) = scratch_of(u32::from(probe::SYS_EXIT)) else {
        return 0;
    };
    let tid = bpf_get_current_pid_tgid() as u32;
    let mut lasted = 0;
    if let Some(place) = ENTERED.get_ptr_mut(tid & (ENTERED_MAX - 1)) {
        // SAFETY: helpers without preconditions; a whole word of the map.
        unsafe {
            let begun = core::ptr::read_volatile(place);
            if begun != 0 && begun >> ENTERED_TIME_BITS == u64::from(tid / ENTERED_MAX) {
                core::ptr::write_volatile(place, 0);
                if begun_here != 0 {
                    lasted = bpf_ktime_get_boot_ns().wrapping_sub(begun) & TIME;
                    // Nothing takes no time; 0 means unknown.
                    lasted = if lasted == 0 { 1 } else { lasted };
                }
            }
        }
    }
    scratch.duration_ns = lasted;
    lasted
}

/// How long the call lasted that `sys_exit` is at; 0: unknown.
#[inline(always)]
pub fn of_call() -> u64 {
    if setting!(durations) == 0 {
        return 0;
    }
    match scratch_of(u32::from(probe::SYS_EXIT)) {
        Some(scratch) => scratch.duration_ns,
        None => 0,
    }
}
