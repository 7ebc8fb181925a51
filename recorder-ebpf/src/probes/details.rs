//! What the kernel keeps of the current process beyond who it is, for an exec.
//!
//! Each part is read only where user space found all members that it needs (`Settings::details`):
//! nothing is read at an offset that nobody knows.

use aya_ebpf::helpers::generated::bpf_get_current_task;
use recorder_ebpf::{ExecRecord, OVERLAYFS_MAGIC, TaskDetails, detail};

use crate::{
    idr::number,
    kernel::{bounded, read},
    offset, scratch_of, setting,
};

/// `signal_struct.pids` by `enum pid_type`, the same since 4.19.
const PIDTYPE_PGID: usize = 2;
const PIDTYPE_SID: usize = 3;
/// `MAX_PID_NS_LEVEL`, a power of two.
const LEVELS: usize = 32;
/// `i_ctime_nsec` has a mark in its top bit (multigrain timestamps, 6.13).
const NANOSECONDS: u32 = 0x7fff_ffff;

#[inline(always)]
fn wanted(bit: u32) -> bool {
    setting!(details) & bit != 0
}

/// Fills the details of the exec record in the scratch of `probe`. `inode` is the executable's.
///
/// Seen from outside, so that the verifier looks at it on its own: see `kernel::climb`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn task_details(probe: u64, inode: u64) -> u64 {
    let Some(scratch) = scratch_of(probe as u32) else {
        return 0;
    };
    // SAFETY: a helper without preconditions.
    let task: u64 = unsafe { bpf_get_current_task() };
    let details = &mut scratch.fixed::<ExecRecord>().details;
    groups(details, task);
    rights(details, task);
    namespaces(details, task);
    executable(details, inode);
    0
}

#[inline(always)]
fn groups(details: &mut TaskDetails, task: u64) {
    details.ns_pid = 0;
    details.sid = 0;
    details.pgid = 0;
    details.ns_sid = 0;
    details.ns_pgid = 0;
    details.tty = 0;
    let signal: u64 = read(task, offset!(task_signal));
    if wanted(detail::GROUPS) {
        let own: u64 = read(task, offset!(task_thread_pid));
        let level: u32 = read(own, offset!(pid_level));
        let pids = offset!(signal_pids);
        let group: u64 = read(signal, pids + PIDTYPE_PGID * 8);
        let leader: u64 = read(signal, pids + PIDTYPE_SID * 8);
        details.ns_pid = number(own, level);
        details.sid = number(leader, 0);
        details.pgid = number(group, 0);
        details.ns_sid = number(leader, level);
        details.ns_pgid = number(group, level);
    }
    if wanted(detail::TTY) {
        let tty: u64 = read(signal, offset!(signal_tty));
        if tty != 0 {
            let driver: u64 = read(tty, offset!(tty_driver));
            let major: u32 = read(driver, offset!(driver_major));
            let first: u32 = read(driver, offset!(driver_minor_start));
            let minor = first.wrapping_add(read::<u32>(tty, offset!(tty_index)));
            // As new_encode_dev (include/linux/kdev_t.h).
            details.tty = (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12);
        }
    }
}

#[inline(always)]
fn rights(details: &mut TaskDetails, task: u64) {
    details.login_uid = 0;
    details.capabilities = [0; 3];
    if wanted(detail::LOGIN) {
        details.login_uid = read(task, offset!(task_loginuid));
    }
    if wanted(detail::CAPABILITIES) {
        let cred: u64 = read(task, offset!(task_cred));
        details.capabilities[0] = read(cred, offset!(cred_cap_effective));
        details.capabilities[1] = read(cred, offset!(cred_cap_permitted));
        details.capabilities[2] = read(cred, offset!(cred_cap_inheritable));
    }
}

/// The inode number of a namespace that the `nsproxy` has.
#[inline(always)]
fn of_proxy(proxy: u64, member: usize, inum: usize) -> u32 {
    read(read::<u64>(proxy, member), inum)
}

#[inline(always)]
fn namespaces(details: &mut TaskDetails, task: u64) {
    details.namespaces = [0; 7];
    details.ns_start_ns = 0;
    if wanted(detail::NAMESPACES) {
        let proxy: u64 = read(task, offset!(task_nsproxy));
        let cred: u64 = read(task, offset!(task_cred));
        let user: u64 = read(cred, offset!(cred_user_ns));
        let numbers = &mut details.namespaces;
        numbers[0] = of_proxy(proxy, offset!(nsproxy_cgroup), offset!(cgroup_ns_inum));
        numbers[1] = of_proxy(proxy, offset!(nsproxy_ipc), offset!(ipc_ns_inum));
        numbers[2] = of_proxy(proxy, offset!(nsproxy_mnt), offset!(mnt_ns_inum));
        numbers[3] = of_proxy(proxy, offset!(nsproxy_net), offset!(net_ns_inum));
        numbers[5] = read(user, offset!(user_ns_inum));
        numbers[6] = of_proxy(proxy, offset!(nsproxy_uts), offset!(uts_ns_inum));
    }
    if wanted(detail::PID_NAMESPACE) {
        let own: u64 = read(task, offset!(task_thread_pid));
        let level: u32 = read(own, offset!(pid_level));
        let at = bounded(level as usize, LEVELS - 1) * offset!(upid_size);
        let space: u64 = read(own + at as u64, offset!(pid_numbers) + offset!(upid_ns));
        details.namespaces[4] = read(space, offset!(pid_ns_inum));
        let first: u64 = read(space, offset!(pid_ns_reaper));
        if first != 0 {
            details.ns_start_ns = read(first, offset!(task_start_boottime));
        }
    }
}

#[inline(always)]
fn executable(details: &mut TaskDetails, inode: u64) {
    details.ctime_s = 0;
    details.mtime_s = 0;
    details.ctime_ns = 0;
    details.mtime_ns = 0;
    details.upper = 0;
    if wanted(detail::FILE_TIMES) {
        details.ctime_s = read(inode, offset!(inode_ctime_s));
        details.mtime_s = read(inode, offset!(inode_mtime_s));
        details.ctime_ns = read::<u32>(inode, offset!(inode_ctime_ns)) & NANOSECONDS;
        details.mtime_ns = read::<u32>(inode, offset!(inode_mtime_ns)) & NANOSECONDS;
    }
    if wanted(detail::LAYER) {
        let superblock: u64 = read(inode, offset!(inode_sb));
        if read::<u64>(superblock, offset!(sb_magic)) == OVERLAYFS_MAGIC {
            // The inode lies inside of overlayfs's own.
            let whole = inode.wrapping_sub(offset!(ovl_inode_vfs) as u64);
            let upper: u64 = read(whole, offset!(ovl_inode_upper));
            details.upper = u32::from(upper != 0);
        }
    }
}
