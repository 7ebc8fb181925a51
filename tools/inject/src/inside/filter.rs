//! The sandbox's filter of system calls: what changes the kernel or the machine is refused before the kernel
//! looks at it, whatever the process may otherwise do. Engines have a filter of their own.
//!
//! Classic BPF over `struct seccomp_data` (include/uapi/linux/seccomp.h). A filter is inherited by every
//! child and cannot be taken off. Refused calls still show in a recording: they have an exit.

use std::io;

/// Refused with EPERM.
const REFUSED: [libc::c_long; 9] = [
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_bpf,
    libc::SYS_swapon,
    libc::SYS_swapoff,
];

/// `AUDIT_ARCH_*` of include/uapi/linux/audit.h.
#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7;

/// x32 calls have this bit in their number; other architectures have no such numbers.
const X32: u32 = 0x4000_0000;

// Instructions of include/uapi/linux/bpf_common.h, and places in `struct seccomp_data`.
const LOAD: u16 = 0x20;
const IF_EQUAL: u16 = 0x15;
const IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;
const NUMBER_AT: u32 = 0;
const ARCH_AT: u32 = 4;

const SET_MODE_FILTER: libc::c_long = 1;
const ALLOW: u32 = 0x7fff_0000;
const REFUSE: u32 = 0x0005_0000 | libc::EPERM as u32;

fn program() -> Vec<libc::sock_filter> {
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let refuse = step(RETURN, 0, 0, REFUSE);
    let mut program = vec![
        step(LOAD, 0, 0, ARCH_AT),
        // Numbers of another table mean other calls: none of them.
        step(IF_EQUAL, 1, 0, ARCH),
        refuse,
        step(LOAD, 0, 0, NUMBER_AT),
        step(IF_AT_LEAST, 0, 1, X32),
        refuse,
    ];
    for number in REFUSED {
        program.push(step(IF_EQUAL, 0, 1, number as u32));
        program.push(refuse);
    }
    program.push(step(RETURN, 0, 0, ALLOW));
    program
}

/// For this process and all that come from it. New privileges must be forbidden before.
pub fn install() -> io::Result<()> {
    let mut steps = program();
    let program = libc::sock_fprog {
        len: steps.len() as u16,
        filter: steps.as_mut_ptr(),
    };
    // SAFETY: the program and its steps outlive the call, which copies them.
    match unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, 0, &program) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use nix::{
        errno::Errno,
        sys::wait::{WaitStatus, waitpid},
        unistd::{ForkResult, fork},
    };

    use super::*;

    /// How a call with arguments that nobody would grant ends, for a process with the filter.
    fn refused_by(number: libc::c_long) -> i32 {
        // SAFETY: the child makes system calls only, and ends without returning.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                // SAFETY: plain calls; invalid magic numbers, descriptors and addresses.
                let code = unsafe {
                    libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
                    match install() {
                        Ok(()) => match libc::syscall(number, -1, -1, 0, 0, 0) {
                            -1 => Errno::last_raw(),
                            _ => 0,
                        },
                        Err(_) => 255,
                    }
                };
                // SAFETY: ends the process at once.
                unsafe { libc::_exit(code) }
            }
            ForkResult::Parent { child } => match waitpid(child, None).unwrap() {
                WaitStatus::Exited(_, code) => code,
                other => panic!("{other:?}"),
            },
        }
    }

    #[test]
    fn what_changes_the_machine_is_refused_and_nothing_else() {
        // Also for root: without the filter these would end otherwise, by their arguments.
        for number in REFUSED {
            assert_eq!(refused_by(number), libc::EPERM, "{number}");
        }
        assert_eq!(refused_by(libc::SYS_getpid), 0);
        assert_eq!(refused_by(libc::SYS_close), libc::EBADF);
        #[cfg(target_arch = "x86_64")]
        {
            let x32 = libc::SYS_getpid | libc::c_long::from(X32);
            assert_eq!(refused_by(x32), libc::EPERM);
        }
    }
}
