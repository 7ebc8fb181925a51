//! Gives up what a recorder no longer needs once its programs are loaded.
//!
//! Capabilities belong to threads: a thread inherits those of the one that starts it. So the capture's
//! thread drops them before it starts any other ([`keep`]), and threads that were there before drop all
//! of theirs when they begin ([`none`]). What stays is written down in [`KEPT`], with its reason.

use std::io;

/// `_LINUX_CAPABILITY_VERSION_3` of include/uapi/linux/capability.h: two words of 32 bits each.
const VERSION: u32 = 0x2008_0522;

/// Numbers of include/uapi/linux/capability.h.
const DAC_OVERRIDE: u32 = 1;
const DAC_READ_SEARCH: u32 = 2;
const SYS_PTRACE: u32 = 19;
const PERFMON: u32 = 38;
const BPF: u32 = 39;

/// What the capture keeps, and what for.
pub const KEPT: &[(u32, &str)] = &[
    // Reading /proc of other users, cgroup files, and cgroups by their ids (open_by_handle_at).
    (DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH"),
    // /proc/PID/exe, cwd and root of other users.
    (SYS_PTRACE, "CAP_SYS_PTRACE"),
    // Attaching the loaded programs, now and when they are switched on again; reading their maps where
    // unprivileged BPF is disabled.
    (PERFMON, "CAP_PERFMON"),
    (BPF, "CAP_BPF"),
];

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// This thread, and those that it starts, keep [`KEPT`] and nothing else. `writes_later`: files will be
/// created in directories that may belong to somebody else.
pub fn keep(writes_later: bool) -> io::Result<()> {
    let mut wanted = KEPT
        .iter()
        .fold(0, |bits, (number, _)| bits | 1u64 << number);
    if writes_later {
        wanted |= 1 << DAC_OVERRIDE;
    }
    limit(wanted)
}

/// This thread keeps nothing. A thread that cannot say so goes on with what it has.
pub fn none() {
    let _ = limit(0);
}

fn limit(wanted: u64) -> io::Result<()> {
    let mut header = Header {
        version: VERSION,
        pid: 0,
    };
    let mut data = [Data::default(); 2];
    // SAFETY: the kernel writes two elements for this version; pid 0 is this thread.
    let got = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) };
    if got != 0 {
        return Err(io::Error::last_os_error());
    }
    for (word, data) in data.iter_mut().enumerate() {
        let wanted = (wanted >> (32 * word)) as u32;
        // Never more than there is.
        data.permitted &= wanted;
        data.effective = data.permitted;
        data.inheritable = 0;
    }
    // SAFETY: the kernel reads two elements for this version.
    let set = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) };
    match set {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effective() -> u64 {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("CapEff:"))
            .unwrap();
        u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
    }

    #[test]
    fn a_thread_keeps_what_it_may_and_gains_nothing() {
        std::thread::spawn(|| {
            let before = effective();
            keep(true).unwrap();
            let allowed = KEPT
                .iter()
                .fold(1 << DAC_OVERRIDE, |bits, (number, _)| bits | 1 << number);
            assert_eq!(effective(), before & allowed);
            keep(false).unwrap();
            assert_eq!(effective() & (1 << DAC_OVERRIDE), 0);
            none();
            assert_eq!(effective(), 0);
            keep(true).unwrap();
            assert_eq!(effective(), 0, "what is gone is gone");
        })
        .join()
        .unwrap();
    }
}
