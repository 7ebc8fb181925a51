//! What processes share and do to each other: objects of System V IPC, POSIX message queues, and calls
//! into another process.
//!
//! Some of these calls come by the hundred thousand a second (semop). So a process's first call of a kind
//! on an object is an event, and the next one of them a second later at the earliest; those between are
//! counted like any other call, and the next event says how many they were.

use aya_ebpf::helpers::generated::{bpf_get_current_task, bpf_ktime_get_boot_ns};
use recorder_ebpf::{
    AccessRecord, AccessShape, IpcRecord, IpcShape, USE_QUIET_NS, Use, UseKey, abi, by, detail,
    ipc, kind, marks, probe,
};

use crate::{
    ATTACHED, Current, Ring, USES,
    counts::count,
    filter, header_of_wanted,
    idr::{idr_find, task_of_file, task_of_id},
    kernel::{cgroup_of, component, file, file_of, inode_identity, read, user_string},
    offset, scratch, send, setting,
    syscalls::Call,
};

/// `MQUEUE_MAGIC` (ipc/mqueue.c).
const QUEUES_MAGIC: u64 = 0x1980_0202;
/// Bits of an id that are its place in the table; the second where the kernel was started with
/// `ipcmni_extend` (include/linux/ipc_namespace.h, ipc/util.h).
const PLACE: u64 = (1 << 15) - 1;
const PLACE_EXTENDED: u64 = (1 << 24) - 1;
const IPC_PRIVATE: u32 = 0;

/// Is this use to be an event? Then how many calls it stands for; else 0.
#[inline(always)]
fn is_event(each: u32, object: u64, what: u64, current: Current, call: &Call) -> u64 {
    if each != 0 {
        1
    } else {
        use_of(
            object,
            what,
            u64::from(tgid(current)) << 32 | u64::from(call.nr),
        )
    }
}

/// Seen from outside for the sake of the stack: 5.10 has 512 bytes for all that call each other.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn use_of(object: u64, what: u64, tgid_nr: u64) -> u64 {
    let key = UseKey {
        object,
        what,
        tgid: (tgid_nr >> 32) as u32,
        nr: tgid_nr as u32,
    };
    // SAFETY: a helper without preconditions.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    match USES.get_ptr_mut(key) {
        // SAFETY: an element of the table. Threads of a process may race here: then one more call is an
        // event, or one less is counted.
        Some(known) => unsafe {
            let calls = (*known).calls + 1;
            if now.wrapping_sub((*known).event_ns) < USE_QUIET_NS {
                (*known).calls = calls;
                return 0;
            }
            (*known).event_ns = now;
            (*known).calls = 0;
            calls
        },
        None => {
            let first = Use {
                event_ns: now,
                calls: 0,
            };
            let _ = USES.insert(key, first, 0);
            1
        }
    }
}

/// No event, but a call like any other: it is counted, if counts are wanted.
#[inline(always)]
fn quiet(call: Call, current: Current) -> Option<()> {
    if filter::count_wanted(&call) {
        count(call, abi::NATIVE, current)
    } else {
        None
    }
}

#[inline(always)]
fn tgid(current: Current) -> u32 {
    (current.pid_tgid >> 32) as u32
}

/// The number of the IPC namespace, and where it is.
#[inline(always)]
fn namespace() -> (u32, u64) {
    // SAFETY: a helper without preconditions.
    let task: u64 = unsafe { bpf_get_current_task() };
    let proxy: u64 = read(task, offset!(task_nsproxy));
    let space: u64 = read(proxy, offset!(nsproxy_ipc));
    (read(space, offset!(ipc_ns_inum)), space)
}

/// The object of System V with this id; 0: there is none (any more).
#[inline(always)]
fn of_system_v(space: u64, kind: u32, id: i64) -> u64 {
    let table = kind.wrapping_sub(1) & 3;
    let ids = space + offset!(ipc_ns_ids) as u64 + u64::from(table) * offset!(ipc_ids_size) as u64;
    let idr = ids + offset!(ipc_ids_idr) as u64;
    let found = idr_find(idr, id as u64 & PLACE);
    if found != 0 && i64::from(read::<i32>(found, offset!(ipc_perm_id))) == id {
        return found;
    }
    let found = idr_find(idr, id as u64 & PLACE_EXTENDED);
    if found != 0 && i64::from(read::<i32>(found, offset!(ipc_perm_id))) == id {
        return found;
    }
    0
}

/// Notes where a process has an object: a later call names it by that.
#[inline(always)]
pub fn attached(call: &Call, current: Current) {
    // An address is positive or an error.
    if call.ret > 0 {
        let id = i64::from(call.arg::<0>() as i32);
        attach(u64::from(tgid(current)), call.ret as u64, id as u64);
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn attach(tgid: u64, address: u64, id: u64) -> u64 {
    u64::from(ATTACHED.insert([tgid, address], id, 0).is_ok())
}

/// What is attached at the address, and from now on no more if `ends`; all ones: nothing is known.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn attached_at(tgid: u64, address: u64, ends: u64) -> u64 {
    let place = [tgid, address];
    // SAFETY: a plain number, copied.
    let id = unsafe { ATTACHED.get(place) }.copied().unwrap_or(u64::MAX);
    if ends != 0 {
        let _ = ATTACHED.remove(place);
    }
    id
}

/// Which object a call is about: System V's id or the inode of a queue; -1: none.
#[inline(always)]
fn object_of(shape: IpcShape, call: &Call, current: Current) -> i64 {
    let first = call.arg::<0>();
    match shape.by {
        by::KEY => {
            if call.ret < 0 {
                -1
            } else {
                call.ret
            }
        }
        by::ATTACHED => {
            attached(call, current);
            i64::from(first as i32)
        }
        by::ADDRESS => {
            let ends = u64::from(call.ret == 0);
            attached_at(u64::from(tgid(current)), first, ends) as i64
        }
        by::DESCRIPTOR => queue(file_of(first as u32)).1 as i64,
        by::OPENED if call.ret >= 0 => queue(file_of(call.ret as u32)).1 as i64,
        by::OPENED | by::NAME => -1,
        _ => i64::from(first as i32),
    }
}

/// Dentry and inode number of a message queue's file; (0, -1): it is none.
#[inline(always)]
fn queue(address: u64) -> (u64, u64) {
    let file = file(address);
    let superblock: u64 = read(file.inode, offset!(inode_sb));
    if read::<u64>(superblock, offset!(sb_magic)) != QUEUES_MAGIC {
        return (0, u64::MAX);
    }
    (file.dentry, inode_identity(file.inode).0)
}

/// A call on an object that processes share.
#[inline(always)]
pub fn object(policy: u32, call: Call, current: Current) -> Option<()> {
    if setting!(details) & detail::IPC_OBJECT == 0 {
        return quiet(call, current);
    }
    let shape = IpcShape::unpack(policy);
    let id = object_of(shape, &call, current);
    let failed = u64::from(call.ret < 0);
    let calls = is_event(
        shape.each,
        id as u64,
        // A call that failed does not hide one that did not.
        u64::from(shape.kind) << 1 | failed,
        current,
        &call,
    );
    if calls == 0 {
        return quiet(call, current);
    }
    let scratch = scratch(probe::SYS_EXIT)?;
    // What is known goes where it belongs at once: on the stack there is no room for it.
    let record = scratch.fixed::<IpcRecord>();
    record.header = header_of_wanted(probe::SYS_EXIT, kind::IPC, current)?;
    record.id = id;
    record.calls = calls;
    let (number, space) = namespace();
    record.namespace = number;
    let mut key = IPC_PRIVATE;
    let mut marks = 0;
    let mut size = match shape.size {
        IpcShape::NONE => 0,
        IpcShape::RESULT => call.ret.max(0) as u64,
        argument => call.arg_at(argument),
    };
    if shape.kind == ipc::QUEUE {
        let descriptor = if shape.by == by::OPENED {
            call.ret
        } else {
            i64::from(call.arg::<0>() as i32)
        };
        if id != -1 && shape.by != by::NAME {
            let dentry = queue(file_of(descriptor as u32)).0;
            component(scratch, dentry);
        } else if shape.by == by::OPENED || shape.by == by::NAME {
            marks |= marks::UNTRUSTED;
            user_string(scratch, call.arg::<0>());
        }
    } else {
        if shape.by == by::KEY {
            key = call.arg::<0>() as u32;
            marks |= ipc::KEY_KNOWN;
        }
        let found = if id >= 0 {
            of_system_v(space, shape.kind, id)
        } else {
            0
        };
        if found != 0 {
            key = read(found, offset!(ipc_perm_key));
            marks |= ipc::KEY_KNOWN;
            if shape.kind == ipc::MEMORY {
                size = read(found, offset!(shm_size));
            } else if shape.kind == ipc::SEMAPHORES {
                size = u64::from(read::<u32>(found, offset!(sem_count)));
            }
        }
    }
    let end = scratch.at();
    let record = scratch.fixed::<IpcRecord>();
    record.header.data_len = end as u32;
    record.ret = call.ret;
    record.size = size;
    record.arg = call.arg_at(shape.arg);
    record.nr = call.nr;
    record.key = key;
    record.kind = shape.kind;
    record.marks = marks;
    record.reserved = 0;
    send::<IpcRecord>(Ring::Bulk, probe::SYS_EXIT, scratch);
    Some(())
}

/// A call into another process.
#[inline(always)]
pub fn access(policy: u32, call: Call, current: Current) -> Option<()> {
    let shape = AccessShape::unpack(policy);
    let named = call.arg_at(shape.target);
    let arg = call.arg_at(shape.arg);
    let has_target = setting!(details) & detail::TARGET != 0
        && !(shape.zero_is_none != 0 && arg == 0)
        && (shape.descriptor != 0 || named as i32 > 0);
    let task = if !has_target {
        0
    } else if shape.descriptor != 0 {
        task_of_file(file_of(named as u32))
    } else {
        task_of_id(named)
    };
    let (mut target_pid, mut target_tid, mut target_cgroup) = (0, 0, 0);
    if task != 0 {
        target_pid = read(task, offset!(task_tgid));
        target_tid = read(task, offset!(task_pid));
        target_cgroup = cgroup_of(task);
    }
    let failed = u64::from(call.ret < 0);
    let calls = is_event(
        shape.each,
        if target_tid != 0 {
            u64::from(target_tid)
        } else {
            named | 1 << 63
        },
        arg << 1 | failed,
        current,
        &call,
    );
    if calls == 0 {
        return quiet(call, current);
    }
    // Put together in the scratch and not on the stack, of which 5.10 has none left here.
    let scratch = scratch(probe::SYS_EXIT)?;
    let header = header_of_wanted(probe::SYS_EXIT, kind::PROCESS_ACCESS, current)?;
    let record = scratch.fixed::<AccessRecord>();
    record.header = header;
    record.ret = call.ret;
    record.arg = arg;
    record.calls = calls;
    record.target_cgroup = target_cgroup;
    record.nr = call.nr;
    record.target_pid = target_pid;
    record.target_tid = target_tid;
    record.reserved = 0;
    send::<AccessRecord>(Ring::Urgent, probe::SYS_EXIT, scratch);
    Some(())
}
