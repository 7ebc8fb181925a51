//! System calls, counted per cgroup and number.
//!
//! Each CPU has a slot for each number, with the cgroup whose calls it counts: as long as the CPU runs
//! the same container, a call is one comparison and one addition. When another cgroup makes the call,
//! what the slot held is added to a table of all (cgroup, number) pairs. Slots and table exist twice:
//! the programs count in one while user space empties the other (see [`odd`]), so that each sum is
//! exact and nothing is evicted. Where the table is full, a call is an event of its own.

use core::arch::asm;

use aya_ebpf::{bindings::BPF_NOEXIST, helpers::bpf_get_smp_processor_id};
use recorder_ebpf::{COUNTED_CALLS, CountKey};

use crate::{COUNT_SLOTS, COUNTS_EVEN, COUNTS_ODD, Current, TURN, calls, syscalls::Call};

/// Which of the two tables is counted in now; user space turns it.
#[inline(always)]
pub fn odd() -> bool {
    match TURN.get(0) {
        // SAFETY: a whole word that user space stores; volatile, because it changes.
        Some(turn) => unsafe { core::ptr::read_volatile(turn) & 1 != 0 },
        None => false,
    }
}

/// Counts a call from table `abi`.
#[inline(always)]
pub fn count(call: Call, abi: u8, current: Current) -> Option<()> {
    let odd = u64::from(odd());
    let nr = call.nr;
    if nr >= COUNTED_CALLS {
        return counted(add(odd, current.cgroup_id, nr, 1), call, abi, current);
    }
    // SAFETY: a helper without preconditions.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let slot = COUNT_SLOTS.get_ptr_mut((cpu * 2 + odd as u32) * COUNTED_CALLS + nr)?;
    // SAFETY: this CPU's slot; the kernel runs a program at most once at a time on a CPU.
    unsafe {
        if (*slot).cgroup_id != current.cgroup_id {
            let (before, calls) = ((*slot).cgroup_id, (*slot).calls);
            if calls > 0 && add(odd, before, nr, calls) == 0 {
                return counted(0, call, abi, current);
            }
            (*slot).cgroup_id = current.cgroup_id;
            (*slot).calls = 0;
        }
        (*slot).calls += 1;
    }
    Some(())
}

/// Counts what is no system call under a number beyond theirs, from any probe. False: there is no room.
#[inline(always)]
pub fn beside(nr: u32, current: Current) -> bool {
    add(u64::from(odd()), current.cgroup_id, nr, 1) != 0
}

#[inline(always)]
fn counted(done: u64, call: Call, abi: u8, current: Current) -> Option<()> {
    if done != 0 {
        Some(())
    } else {
        calls::plain(0, call, abi, current)
    }
}

/// Adds to the table; 0: it is full. A function of its own, so that each way through it does not double
/// the verifier's work for all that follows.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn add(odd: u64, cgroup_id: u64, nr: u32, calls: u64) -> u64 {
    let key = CountKey {
        cgroup_id,
        nr: u64::from(nr),
    };
    let get = || {
        if odd != 0 {
            COUNTS_ODD.get_ptr_mut(key)
        } else {
            COUNTS_EVEN.get_ptr_mut(key)
        }
    };
    let count = match get() {
        Some(count) => count,
        None => {
            // Another CPU may have been faster: its element is the one.
            let flags = u64::from(BPF_NOEXIST);
            let made = if odd != 0 {
                COUNTS_ODD.insert(key, calls, flags)
            } else {
                COUNTS_EVEN.insert(key, calls, flags)
            };
            if made.is_ok() {
                return 1;
            }
            match get() {
                Some(count) => count,
                None => return 0,
            }
        }
    };
    // SAFETY: an element of the table; atomic, because other CPUs may add to it, and without a result,
    // which 5.10 does not have and the compiler has no other way to write for this target.
    unsafe {
        asm!("lock *(u64 *)({at} + 0) += {calls}", at = in(reg) count, calls = in(reg) calls);
    }
    1
}
