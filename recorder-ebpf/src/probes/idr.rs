//! Looking an id up in the kernel's own tables: which object, which process.
//!
//! An idr is a tree of nodes (lib/radix-tree.c); a node has a slot for each value of some bits of the
//! number. It is walked without its lock: a node that goes meanwhile is freed after a grace period, which
//! a program holds up, so that a stale number finds an old object or none and nothing else.

use aya_ebpf::helpers::generated::bpf_get_current_task;

use crate::{
    kernel::{bounded, read},
    offset,
};

/// A slot that leads to a node: `RADIX_TREE_INTERNAL_NODE`.
const TO_NODE: u64 = 2;
const KIND: u64 = 3;
/// Ids have 31 bits, a node decides 4 or 6 of them.
const LEVELS_MAX: u32 = 8;
/// `MAX_PID_NS_LEVEL`, a power of two.
const NAMESPACES: usize = 32;

/// What the idr at `idr` has under `id`; 0: nothing.
///
/// Seen from outside, so that the verifier looks at it on its own: see `kernel::climb`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn idr_find(idr: u64, id: u64) -> u64 {
    let base: u32 = read(idr, offset!(idr_base));
    let index = id.wrapping_sub(u64::from(base)) & 0xffff_ffff;
    let mut entry: u64 = read(idr, offset!(idr_head));
    // Both by the layout of a node: the marks lie behind the slots.
    let slots = (offset!(xa_marks) - offset!(xa_slots)) / 8;
    let mut level = 0;
    while level < LEVELS_MAX {
        if entry & KIND != TO_NODE {
            // A tree without nodes has its only entry, that of 0, in its head.
            return if level == 0 && index != 0 { 0 } else { entry };
        }
        let node = entry - TO_NODE;
        let shift: u8 = read(node, offset!(xa_shift));
        let place = index >> (shift & 31);
        if level == 0 && place >= slots as u64 {
            return 0;
        }
        let place = bounded(place as usize, slots - 1);
        entry = read(node, offset!(xa_slots) + place * 8);
        if shift == 0 {
            return if entry & KIND == 0 { entry } else { 0 };
        }
        level += 1;
    }
    0
}

/// The number of a `struct pid` at a level of pid namespaces; 0: it is not seen there.
#[inline(always)]
pub fn number(pid: u64, level: u32) -> u32 {
    if read::<u32>(pid, offset!(pid_level)) < level {
        return 0;
    }
    let at = bounded(level as usize, NAMESPACES - 1) * offset!(upid_size);
    read(pid + at as u64, offset!(pid_numbers) + offset!(upid_nr))
}

/// The current process's place among pid namespaces: level, and its table of ids.
#[inline(always)]
fn namespace() -> (u32, u64) {
    // SAFETY: a helper without preconditions.
    let task: u64 = unsafe { bpf_get_current_task() };
    let own: u64 = read(task, offset!(task_thread_pid));
    let level: u32 = read(own, offset!(pid_level));
    let at = bounded(level as usize, NAMESPACES - 1) * offset!(upid_size);
    let space: u64 = read(own + at as u64, offset!(pid_numbers) + offset!(upid_ns));
    (level, space + offset!(pid_ns_idr) as u64)
}

/// The task with the id in the current process's namespace; 0: there is none.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn task_of_id(id: u64) -> u64 {
    task_of(idr_find(namespace().1, id & 0xffff_ffff))
}

/// The task behind a descriptor's file, if that is a pidfd: its `struct pid` lies in the file (before
/// 6.9) or in the inode. That it is one shows in the table having it under its number.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn task_of_file(file: u64) -> u64 {
    let (level, idr) = namespace();
    let inode: u64 = read(file, offset!(file_inode));
    let mut pid: u64 = read(inode, offset!(inode_private));
    let mut tries = 0;
    while tries < 2 {
        let id = number(pid, level);
        if pid != 0 && id != 0 && idr_find(idr, u64::from(id)) == pid {
            return task_of(pid);
        }
        pid = read(file, offset!(file_private));
        tries += 1;
    }
    0
}

/// The task that a `struct pid` stands for as the id of a thread.
#[inline(always)]
fn task_of(pid: u64) -> u64 {
    if pid == 0 {
        return 0;
    }
    let first: u64 = read(pid, offset!(pid_tasks));
    if first == 0 {
        0
    } else {
        first - offset!(task_pid_links) as u64
    }
}
