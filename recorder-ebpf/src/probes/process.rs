//! Fork, exec and exit, from the scheduler's tracepoints.

use aya_ebpf::{
    helpers::generated::bpf_probe_read_user, macros::btf_tracepoint, programs::BtfTracePointContext,
};
use recorder_ebpf::{
    ARGS_MAX, CredentialsRecord, DATA_MAX, ENDING_MAX, ExecRecord, ExitRecord, ForkRecord,
    PIECE_MAX, TaskUsage, detail, filter as option, kind, marks, probe, switched,
};

use crate::{
    Current, Ring, SWITCHED, credentials,
    details::task_details,
    filter, header,
    idr::number,
    io,
    kernel::{bounded, cwd_path, file, inode_identity, kernel_string, read, walk},
    lineage, offset, scratch, send, setting, submit,
};

#[btf_tracepoint(function = "sched_process_fork")]
fn sched_process_fork(ctx: BtfTracePointContext) -> i32 {
    fork(&ctx);
    0
}

#[inline(always)]
fn fork(ctx: &BtfTracePointContext) -> Option<()> {
    let child: u64 = ctx.arg(1);
    if setting!(filter) & option::TREE != 0 {
        filter::forked(filter::process_of(ctx.arg(0)), filter::process_of(child));
    }
    let current = lineage(probe::FORK)?;
    let tid: u32 = read(child, offset!(task_pid));
    credentials::forked(child, tid);
    let mut child_ns_tid = 0;
    if setting!(details) & detail::GROUPS != 0 {
        let own: u64 = read(child, offset!(task_thread_pid));
        child_ns_tid = number(own, read(own, offset!(pid_level)));
    }
    let header = header(probe::FORK, kind::FORK, current)?;
    submit(
        Ring::Urgent,
        probe::FORK,
        ForkRecord {
            header,
            child_start_ns: read(child, offset!(task_start_boottime)),
            child_tid: tid,
            child_pid: read(child, offset!(task_tgid)),
            child_ns_tid,
            reserved: 0,
        },
    );
    Some(())
}

#[btf_tracepoint(function = "sched_process_exit")]
fn sched_process_exit(ctx: BtfTracePointContext) -> i32 {
    exit(&ctx);
    if setting!(filter) & option::TREE != 0 {
        let task: u64 = ctx.arg(0);
        if live(task) == 0 {
            filter::exited(filter::process_of(task));
        }
    }
    0
}

/// Threads of the task's group that are still alive.
#[inline(always)]
fn live(task: u64) -> u32 {
    let signal: u64 = read(task, offset!(task_signal));
    read(signal, offset!(signal_live))
}

#[inline(always)]
fn exit(ctx: &BtfTracePointContext) -> Option<()> {
    let task: u64 = ctx.arg(0);
    let current = lineage(probe::EXIT)?;
    credentials::exited(current.pid_tgid as u32);
    let start_ns: u64 = read(task, offset!(task_start_boottime));
    if start_ns < *SWITCHED.get(switched::EXITS_FROM)? {
        return None;
    }
    let header = header(probe::EXIT, kind::EXIT, current)?;
    let live = live(task);
    let (mut usage, mut max_rss_pages) = (TaskUsage::default(), 0);
    let usage_known = setting!(details) & detail::USAGE != 0;
    if usage_known {
        if live == 0 {
            let signal: u64 = read(task, offset!(task_signal));
            max_rss_pages = read(signal, offset!(signal_maxrss));
            usage = of_group(signal);
        } else {
            add(&mut usage, task);
        }
    }
    submit(
        Ring::Urgent,
        probe::EXIT,
        ExitRecord {
            header,
            start_ns,
            exit_code: read(task, offset!(task_exit_code)),
            live,
            usage,
            max_rss_pages,
            usage_known: usage_known.into(),
            reserved: 0,
        },
    );
    if live == 0 && io::counting() {
        io::process_ended(current);
    }
    Some(())
}

/// What a group whose last thread ends has used: the sums of those that are gone (`__exit_signal` of
/// kernel/exit.c adds them), and what those still have that are not: the last one, the leader if it ended
/// before, and any that end on other CPUs at this moment.
#[inline(always)]
fn of_group(signal: u64) -> TaskUsage {
    let mut usage = TaskUsage {
        runtime_ns: read(signal, offset!(signal_runtime)),
        user_ns: read(signal, offset!(signal_utime)),
        system_ns: read(signal, offset!(signal_stime)),
        minor_faults: read(signal, offset!(signal_min_flt)),
        major_faults: read(signal, offset!(signal_maj_flt)),
    };
    let head = signal + offset!(signal_threads) as u64;
    let mut node: u64 = read(head, 0);
    for _ in 0..ENDING_MAX {
        if node == head || node == 0 {
            break;
        }
        add(&mut usage, node - offset!(task_thread_node) as u64);
        node = read(node, 0);
    }
    usage
}

#[inline(always)]
fn add(usage: &mut TaskUsage, task: u64) {
    usage.runtime_ns += read::<u64>(task, offset!(task_runtime));
    usage.user_ns += read::<u64>(task, offset!(task_utime));
    usage.system_ns += read::<u64>(task, offset!(task_stime));
    usage.minor_faults += read::<u64>(task, offset!(task_min_flt));
    usage.major_faults += read::<u64>(task, offset!(task_maj_flt));
}

#[btf_tracepoint(function = "sched_process_exec")]
fn sched_process_exec(ctx: BtfTracePointContext) -> i32 {
    exec(&ctx);
    0
}

#[inline(always)]
fn exec(ctx: &BtfTracePointContext) -> Option<()> {
    let task: u64 = ctx.arg(0);
    let bprm: u64 = ctx.arg(2);
    let current: Current = lineage(probe::EXEC)?;
    let scratch = scratch(probe::EXEC)?;
    let header = header(probe::EXEC, kind::EXEC, current)?;

    kernel_string(scratch, read(bprm, offset!(bprm_filename)), PIECE_MAX);
    let filename_len = scratch.at();

    let mm: u64 = read(task, offset!(task_mm));
    let exe = file(read(mm, offset!(mm_exe_file)));
    walk(scratch, exe.dentry, exe.mount);
    let path_end = scratch.at();
    let mut known = setting!(details);
    // A directory whose beginning is missing is none.
    if known & detail::CWD != 0 && cwd_path(scratch) & marks::CUT != 0 {
        scratch.set_at(path_end);
        known &= !detail::CWD;
    }
    let cwd_end = scratch.at();

    let arg_start: u64 = read(mm, offset!(mm_arg_start));
    let arg_end: u64 = read(mm, offset!(mm_arg_end));
    let args_total = arg_end.saturating_sub(arg_start) as usize;
    if cwd_end <= DATA_MAX - ARGS_MAX {
        const { assert!(ARGS_MAX <= PIECE_MAX * 4) };
        let args_len = bounded(
            if args_total > ARGS_MAX - 1 {
                ARGS_MAX - 1
            } else {
                args_total
            },
            ARGS_MAX - 1,
        );
        // SAFETY: `end` leaves room for ARGS_MAX.
        let result = unsafe {
            bpf_probe_read_user(scratch.end().cast(), args_len as u32, arg_start as *const _)
        };
        if result == 0 {
            scratch.grow(args_len);
        }
    }
    let end = scratch.at();

    let (ino, dev) = inode_identity(exe.inode);
    let cred: u64 = read(task, offset!(task_cred));
    let parent: u64 = read(task, offset!(task_real_parent));
    let record = scratch.fixed::<ExecRecord>();
    record.header = header;
    record.header.data_len = end as u32;
    record.start_ns = read(task, offset!(task_start_boottime));
    record.ino = ino;
    record.dev = dev;
    record.nlink = read(exe.inode, offset!(inode_nlink));
    let mode: u16 = read(exe.inode, offset!(inode_mode));
    record.mode = mode.into();
    record.ppid = read(parent, offset!(task_tgid));
    record.uid = read(cred, offset!(cred_euid));
    record.gid = read(cred, offset!(cred_egid));
    record.filename_len = filename_len as u32;
    record.path_len = (path_end - filename_len) as u32;
    record.cwd_len = (cwd_end - path_end) as u32;
    record.args_len = (end - cwd_end) as u32;
    record.args_total = args_total as u32;
    record.reserved = 0;
    record.comm = read(task, offset!(task_comm));
    record.details.known = known;
    task_details(probe::EXEC.into(), exe.inode);
    send::<ExecRecord>(Ring::Urgent, probe::EXEC, scratch);
    credentials::may_have_changed(probe::EXEC, CredentialsRecord::EXEC, mode.into(), current);
    Some(())
}
