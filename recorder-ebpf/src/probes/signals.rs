//! Signals that are sent, and processes that the kernel kills for want of memory.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use recorder_ebpf::{OomKillRecord, SignalRecord, kind, probe, switched};

use crate::{
    Current, Ring, SWITCHED, current, header,
    kernel::{cgroup_of_typed, read},
    offset, setting, submit,
};

/// `SEND_SIG_NOINFO`: kill(2) by a process; `SEND_SIG_PRIV`: the kernel (include/linux/sched/signal.h).
const NO_INFO: u64 = 0;
const PRIVILEGED: u64 = 1;
/// `SI_USER` and `SI_KERNEL` (include/uapi/asm-generic/siginfo.h).
const BY_USER: i32 = 0;
const BY_KERNEL: i32 = 0x80;

#[btf_tracepoint(function = "signal_generate")]
fn signal_generate(ctx: BtfTracePointContext) -> i32 {
    signal(&ctx);
    0
}

#[inline(always)]
fn signal(ctx: &BtfTracePointContext) -> Option<()> {
    let signal: u32 = ctx.arg::<i32>(0) as u32;
    if SWITCHED.get(switched::QUIET_SIGNALS)? & (1 << (signal & 63)) != 0 {
        return None;
    }
    let info: u64 = ctx.arg(1);
    let task: u64 = ctx.arg(2);
    let current = current(probe::SIGNAL)?;
    let header = header(probe::SIGNAL, kind::SIGNAL, current)?;
    submit(
        Ring::Urgent,
        probe::SIGNAL,
        SignalRecord {
            header,
            signal,
            code: match info {
                NO_INFO => BY_USER,
                PRIVILEGED => BY_KERNEL,
                info => read(info, offset!(siginfo_code)),
            },
            target_tid: read(task, offset!(task_pid)),
            target_pid: read(task, offset!(task_tgid)),
            to_group: u32::from(ctx.arg::<i32>(3) != 0),
            outcome: ctx.arg::<i32>(4) as u32,
        },
    );
    Some(())
}

#[btf_tracepoint(function = "mark_victim")]
fn mark_victim(ctx: BtfTracePointContext) -> i32 {
    victim(&ctx);
    0
}

#[inline(always)]
fn victim(ctx: &BtfTracePointContext) -> Option<()> {
    // Who wants memory is in the victim's cgroup or above it, and is what a filter asks about.
    let trigger = current(probe::OOM_KILL)?;
    let (pid, task): (u32, u64) = if setting!(victim_task) != 0 {
        let task: u64 = ctx.arg(0);
        (read(task, offset!(task_tgid)), task)
    } else {
        (ctx.arg::<i32>(0) as u32, 0)
    };
    let mut victim = Current {
        pid_tgid: u64::from(pid) << 32 | u64::from(pid),
        cgroup_id: trigger.cgroup_id,
    };
    let mut record = OomKillRecord {
        header: header(probe::OOM_KILL, kind::OOM_KILL, trigger)?,
        total_vm_pages: 0,
        uid: 0,
        score_adj: 0,
        trigger_pid: (trigger.pid_tgid >> 32) as u32,
        reserved: 0,
        comm: [0; 16],
    };
    if task != 0 {
        victim.cgroup_id = cgroup_of_typed(task);
        let mm: u64 = read(task, offset!(task_mm));
        let cred: u64 = read(task, offset!(task_cred));
        let signal: u64 = read(task, offset!(task_signal));
        record.total_vm_pages = read(mm, offset!(mm_total_vm));
        record.uid = read(cred, offset!(cred_uid));
        record.score_adj = i32::from(read::<i16>(signal, offset!(task_signal_score)));
        record.comm = read(task, offset!(task_comm));
    }
    record.header.pid_tgid = victim.pid_tgid;
    record.header.cgroup_id = victim.cgroup_id;
    submit(Ring::Urgent, probe::OOM_KILL, record);
    Some(())
}
