//! The exit of every system call: the policy array says what to do with each number.
//!
//! At the exit `pt_regs` still holds the arguments (not after a successful execve or rt_sigreturn;
//! those are not recorded here), so there is no program at the entry and nothing to join.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use recorder_ebpf::{CountKey, action, probe};

use crate::{COUNTS, Current, POLICY, calls, current, files, sockets};

/// The registers at a system call, in the order of its arguments.
#[derive(Clone, Copy)]
pub struct Call {
    pub nr: u32,
    pub ret: i64,
    regs: *const Registers,
}

/// x86-64's; another architecture has its own struct and its own order, here and nowhere else.
type Registers = aya_ebpf::bindings::pt_regs;

impl Call {
    /// Argument `N` (0..=5), read through the typed pointer: no helper call.
    #[inline(always)]
    pub fn arg<const N: usize>(&self) -> u64 {
        // SAFETY: the verifier knows the pointer as `struct pt_regs` and checks each access.
        unsafe {
            match N {
                0 => (*self.regs).rdi,
                1 => (*self.regs).rsi,
                2 => (*self.regs).rdx,
                3 => (*self.regs).r10,
                4 => (*self.regs).r8,
                _ => (*self.regs).r9,
            }
        }
    }

    /// Argument `index`; 0 for an index that means none.
    #[inline(always)]
    pub fn arg_at(&self, index: u32) -> u64 {
        match index {
            0 => self.arg::<0>(),
            1 => self.arg::<1>(),
            2 => self.arg::<2>(),
            3 => self.arg::<3>(),
            4 => self.arg::<4>(),
            5 => self.arg::<5>(),
            _ => 0,
        }
    }

    #[inline(always)]
    fn number(regs: *const Registers) -> u32 {
        // SAFETY: as in `arg`.
        unsafe { (*regs).orig_rax as u32 }
    }
}

#[btf_tracepoint(function = "sys_exit")]
fn sys_exit(ctx: BtfTracePointContext) -> i32 {
    let regs: *const Registers = ctx.arg(0);
    let nr = Call::number(regs);
    let Some(&policy) = POLICY.get(nr) else {
        return 0;
    };
    if policy == action::IGNORE {
        return 0;
    }
    let call = Call {
        nr,
        ret: ctx.arg(1),
        regs,
    };
    if let Some(current) = current(probe::SYS_EXIT) {
        record(policy, call, current);
    }
    0
}

#[inline(always)]
fn record(policy: u32, call: Call, current: Current) -> Option<()> {
    match policy & action::MASK {
        action::COUNT => count(call.nr, current),
        action::RECORD => calls::plain(policy, call, current),
        action::OPEN => files::open(call, current),
        action::PATH => files::path_call(policy, call, current),
        action::FAILED_PATH if call.ret < 0 => files::path_call(policy, call, current),
        action::SOCK => sockets::sock_call(call, current),
        _ => None,
    }
}

#[inline(always)]
fn count(nr: u32, current: Current) -> Option<()> {
    let key = CountKey {
        cgroup_id: current.cgroup_id,
        nr: u64::from(nr),
    };
    match COUNTS.get_ptr_mut(key) {
        // SAFETY: this CPU's value.
        Some(count) => unsafe { *count += 1 },
        None => COUNTS.insert(key, 1u64, 0).unwrap_or(()),
    }
    Some(())
}
