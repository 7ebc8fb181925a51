//! Changes of what a thread may do and as whom, with what it was before.
//!
//! When a call ends or a program starts the kernel has the new rights only. So those of each thread are
//! remembered from its fork on, and compared where they can change: after the calls that are made for it,
//! and at an exec. What changed in between, without such a call, shows there too. Those of the
//! threads that run already are gone through once, by an iterator, when all probes are attached. A thread
//! that had to make room is not known: that is said, and nothing is guessed.

use aya_ebpf::{bindings::BPF_NOEXIST, helpers::generated::bpf_get_current_task};
use recorder_ebpf::{CredentialsRecord, KnownRights, detail, kind, probe};

use crate::{
    Current, RIGHTS, Ring, filter, header_of_wanted, kernel::read, offset, scratch_of, send,
    setting,
};

#[inline(always)]
fn readable() -> bool {
    setting!(details) & detail::CREDENTIALS != 0
}

/// The rights of a task as they are now.
#[inline(always)]
fn fill(known: &mut KnownRights, task: u64) {
    let cred: u64 = read(task, offset!(task_cred));
    known.start_ns = read(task, offset!(task_start_boottime));
    let rights = &mut known.rights;
    rights.cap_effective = read(cred, offset!(cred_cap_effective));
    rights.cap_permitted = read(cred, offset!(cred_cap_permitted));
    rights.uid = read(cred, offset!(cred_uid));
    rights.gid = read(cred, offset!(cred_gid));
    rights.suid = read(cred, offset!(cred_suid));
    rights.sgid = read(cred, offset!(cred_sgid));
    rights.euid = read(cred, offset!(cred_euid));
    rights.egid = read(cred, offset!(cred_egid));
    let space: u64 = read(cred, offset!(cred_user_ns));
    rights.user_ns = read(space, offset!(user_ns_inum));
    rights.reserved = 0;
}

/// `struct bpf_iter__task` (kernel/bpf/task_iter.c); user space sees each pointer as 8 bytes.
#[repr(C)]
struct TaskContext {
    meta: u64,
    /// 0 at the end.
    task: u64,
}

/// Remembers those of a thread that runs, unless it is known: what a call or a fork noted meanwhile is newer.
#[unsafe(link_section = "iter/task")]
#[unsafe(no_mangle)]
extern "C" fn running_tasks(context: *const TaskContext) -> i32 {
    // SAFETY: the kernel's, of this layout.
    let task = unsafe { core::ptr::read_volatile(&raw const (*context).task) };
    if task != 0 && readable() {
        let mut known = KnownRights::default();
        fill(&mut known, task);
        let tid: u32 = read(task, offset!(task_pid));
        let _ = RIGHTS.insert(tid, known, u64::from(BPF_NOEXIST));
    }
    0
}

/// Remembers those of a new thread.
#[inline(always)]
pub fn forked(child: u64, tid: u32) {
    if !readable() {
        return;
    }
    // Not on the stack: the space of the probe that saw the fork.
    if let Some(scratch) = scratch_of(probe::FORK.into()) {
        let record = scratch.fixed::<CredentialsRecord>();
        fill(&mut record.after, child);
        let _ = RIGHTS.insert(tid, record.after, 0);
    }
}

/// The thread ended: it makes room.
#[inline(always)]
pub fn exited(tid: u32) {
    if readable() {
        let _ = RIGHTS.remove(tid);
    }
}

/// A call that changes rights ended in success (`nr`), or a program started ([`CredentialsRecord::EXEC`],
/// and `mode` is its file's). Takes the scratch of `probe`.
#[inline(always)]
pub fn may_have_changed(probe: u8, nr: u32, mode: u32, current: Current) {
    if readable() {
        let what = u64::from(probe) << 32 | u64::from(nr);
        changed(what, mode.into(), current.pid_tgid, current.cgroup_id);
    }
}

/// Seen from outside for the sake of the stack: see `ipc::use_of`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn changed(what: u64, mode: u64, pid_tgid: u64, cgroup_id: u64) -> u64 {
    let (probe, nr) = ((what >> 32) as u8, what as u32);
    let Some(scratch) = scratch_of(u32::from(probe)) else {
        return 0;
    };
    scratch.clear();
    let record = scratch.fixed::<CredentialsRecord>();
    // SAFETY: a helper without preconditions.
    fill(&mut record.after, unsafe { bpf_get_current_task() });
    let tid = pid_tgid as u32;
    record.before_known = 0;
    record.before = Default::default();
    if let Some(known) = RIGHTS.get_ptr_mut(tid) {
        // SAFETY: an element of the table, which only this thread and its maker write.
        unsafe {
            if (*known).start_ns == record.after.start_ns {
                record.before = (*known).rights;
                record.before_known = 1;
                if record.before == record.after.rights {
                    return 0;
                }
            }
            *known = record.after;
        }
    } else {
        let _ = RIGHTS.insert(tid, record.after, 0);
    }
    // An exec says itself who the process is.
    if record.before_known == 0 && nr == CredentialsRecord::EXEC {
        return 0;
    }
    if !filter::kind_wanted(kind::CREDENTIALS) {
        filter::reject(probe);
        return 0;
    }
    let current = Current {
        pid_tgid,
        cgroup_id,
    };
    let Some(header) = header_of_wanted(probe, kind::CREDENTIALS, current) else {
        return 0;
    };
    record.header = header;
    record.nr = nr;
    record.mode = mode as u32;
    record.reserved = 0;
    send::<CredentialsRecord>(Ring::Urgent, probe, scratch);
    1
}
