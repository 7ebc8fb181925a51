//! The exit of every system call: the policy array says what to do with each number.
//!
//! At the exit `pt_regs` still holds the arguments (not after a successful execve or rt_sigreturn;
//! those are not recorded here), so there is no program at the entry and nothing to join.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use recorder_ebpf::{Offsets, abi, action, filter as option, probe, reuse, switched};

use crate::{
    Current, POLICY, SWITCHED, calls, counts::count, credentials, durations, files, filter, io,
    ipc, kernel::Task, offset, setting, sockets, wanted,
};

/// The registers at a system call, in the order of its arguments.
#[derive(Clone, Copy)]
pub struct Call {
    /// With the [`abi`] in its upper bits.
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

    /// All arguments of a call through the 32-bit entry.
    #[inline(always)]
    pub fn args_i386(&self) -> [u64; 6] {
        // SAFETY: as in `arg`.
        unsafe {
            let regs = &*self.regs;
            [regs.rbx, regs.rcx, regs.rdx, regs.rsi, regs.rdi, regs.rbp]
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

/// Not a function in a function: each costs 32 bytes of the 512 that 5.10 has for the stack.
#[btf_tracepoint(function = "sys_exit")]
#[inline(always)]
fn sys_exit(ctx: BtfTracePointContext) -> i32 {
    if setting!(empty) != 0 {
        return 0;
    }
    let regs: *const Registers = ctx.arg(0);
    let nr = Call::number(regs);
    durations::ended(nr, ctx.arg(1));
    let task = Task::current();
    let abi = abi(nr, task);
    if abi != abi::NATIVE {
        foreign(&ctx, abi, regs, task);
        return 0;
    }
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
    // Nothing is made of an exec that works here: so there is nothing to reject.
    if setting!(filter) != 0 && policy & action::MASK == action::FAILED_PATH && call.ret >= 0 {
        return 0;
    }
    if let Some(current) = wanted(probe::SYS_EXIT, option::WHO, task) {
        record(policy, call, current);
    } else if setting!(filter) & option::WHO != 0 && policy & action::MASK == action::SOCK {
        sockets::accepted_by_unwanted(&call);
    }
    0
}

/// `__X32_SYSCALL_BIT` (arch/x86/include/uapi/asm/unistd.h).
const X32_BIT: u32 = 1 << 30;
/// `TS_COMPAT` (arch/x86/include/asm/thread_info.h): this call came through the 32-bit entry.
const TS_COMPAT: u32 = 2;

/// Which table the number is from.
#[inline(always)]
fn abi(nr: u32, task: Task) -> u8 {
    let status = offset!(task_status);
    if status != Offsets::MISSING as usize && task.word(status) & TS_COMPAT != 0 {
        abi::I386
    } else if nr & X32_BIT != 0 && nr != u32::MAX {
        abi::X32
    } else {
        abi::NATIVE
    }
}

/// A call of another table: its number says nothing about paths or sockets here, so it is a plain call.
#[inline(always)]
fn foreign(ctx: &BtfTracePointContext, abi: u8, regs: *const Registers, task: Task) -> Option<()> {
    let call = Call {
        nr: Call::number(regs) & 0xffff | u32::from(abi) << abi::SHIFT,
        ret: ctx.arg(1),
        regs,
    };
    let policy = *SWITCHED.get(switched::FOREIGN)? as u32;
    let what = policy & action::MASK;
    if what != action::COUNT && what != action::RECORD {
        return None;
    }
    let current = wanted(probe::SYS_EXIT, option::WHO, task)?;
    if !filter::call_wanted(policy, &call, current) {
        return None;
    }
    if what == action::COUNT {
        count(call, abi, current)
    } else {
        calls::plain(policy, call, abi, current)
    }
}

#[inline(always)]
fn record(policy: u32, call: Call, current: Current) -> Option<()> {
    let mut what = policy & action::MASK;
    if setting!(snaplen) != 0 && what == action::PAYLOAD {
        what = action::IO;
    }
    // Reads and writes have their shape in those bits.
    let reused = policy >> action::REUSE_SHIFT & action::REUSE_MASK;
    if what != action::IO && reused != reuse::NONE && call.ret >= 0 {
        io::reused(reused, &call, current);
    }
    if what == action::CLOSE && call.ret == 0 {
        io::flush(probe::SYS_EXIT, call.arg::<0>() as u32, current);
    }
    if !filter::call_wanted(policy, &call, current) {
        return None;
    }
    match what {
        action::COUNT => count(call, abi::NATIVE, current),
        action::CLOSE if policy >> action::ARITY_SHIFT == 0 => count(call, abi::NATIVE, current),
        action::RECORD | action::CLOSE | action::CREDENTIALS => {
            let written = calls::plain(policy, call, abi::NATIVE, current);
            if what == action::CREDENTIALS && call.ret >= 0 {
                credentials::may_have_changed(probe::SYS_EXIT, call.nr, 0, current);
            }
            written
        }
        action::PATH => files::path_call(policy, call, current),
        action::FAILED_PATH if call.ret < 0 => files::path_call(policy, call, current),
        action::SOCK => sockets::sock_call(call, current),
        action::IO => io::io(policy, call, current),
        action::IPC => ipc::object(policy, call, current),
        action::ACCESS => ipc::access(policy, call, current),
        // One copy of the code for both: each costs the verifier its time again.
        action @ (action::OPEN | action::OPEN_LISTED) => {
            if action == action::OPEN || files::is_listed(&call) {
                files::open(call, current)
            } else {
                count(call, abi::NATIVE, current)
            }
        }
        _ => None,
    }
}
