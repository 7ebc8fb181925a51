//! What the recorder writes: the least profile in which an event type is recorded one by one.
//!
//! The recorder's own table is its policy; `recorder/tests/supply.rs` compares the two.

/// How much is recorded, least first; the recorder's `--profile`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Profile {
    Light,
    Standard,
    Full,
}

impl Profile {
    pub fn name(self) -> &'static str {
        match self {
            Profile::Light => "light",
            Profile::Standard => "standard",
            Profile::Full => "full",
        }
    }
}

/// Calls that every profile records: what changes files, programs, privileges and connections.
#[rustfmt::skip]
const LIGHT: &[&str] = &[
    "accept", "accept4", "add_key", "bind", "bpf", "capset", "chdir", "chmod", "chown", "chroot", "connect",
    "delete_module", "dup2", "dup3", "execve", "execveat", "fchdir", "fchmod", "fchmodat", "fchown", "fchownat",
    "finit_module", "fsmount", "fsopen", "ftruncate", "init_module", "io_uring_setup", "kexec_file_load",
    "kexec_load", "keyctl", "kill", "lchown", "link", "linkat", "listen", "memfd_create", "mkdir", "mkdirat", "mknod",
    "mknodat", "mount", "mount_setattr", "move_mount", "mq_open", "mq_timedreceive", "mq_timedsend", "mq_unlink",
    "msgctl", "msgget", "msgrcv", "msgsnd", "open_by_handle_at", "open_tree", "perf_event_open", "pidfd_getfd",
    "pidfd_open", "pivot_root", "process_vm_readv", "process_vm_writev", "ptrace", "reboot", "rename", "renameat",
    "renameat2", "rmdir", "semctl", "semget", "semop", "semtimedop", "setfsgid", "setfsuid", "setgid", "setgroups",
    "sethostname", "setns", "setregid", "setresgid", "setresuid", "setreuid", "setsid", "setuid", "shmat", "shmctl",
    "shmdt", "shmget", "socket", "socketpair", "swapoff", "swapon", "symlink", "symlinkat", "tgkill", "tkill",
    "truncate", "umount2", "unlink", "unlinkat", "unshare", "userfaultfd",
];
const STANDARD: &[&str] = &["creat", "open", "openat", "openat2"];

/// What was read and written, summed per descriptor; `light` has counts of calls only.
const STANDARD_SUMS: &[&str] = &["io"];

/// What is looked for in what goes through sockets.
const STANDARD_MESSAGES: &[&str] = &[
    "dns_question",
    "dns_answer",
    "udp_peer",
    "fd_sent",
    "fd_received",
];
/// `rec --http` records these in `standard` too.
const FULL_MESSAGES: &[&str] = &["http_request", "http_response"];

/// The least profile that records events of this type; other calls are counted in the lesser ones.
pub fn recorded_from(event_type: &str) -> Profile {
    if LIGHT.binary_search(&event_type).is_ok() {
        return Profile::Light;
    }
    if [STANDARD, STANDARD_SUMS, STANDARD_MESSAGES]
        .iter()
        .any(|types| types.contains(&event_type))
    {
        return Profile::Standard;
    }
    if FULL_MESSAGES.contains(&event_type) {
        return Profile::Full;
    }
    match crate::syscalls::row_named(event_type) {
        // The report of a new task is recorded always, the call only in `full`.
        Some(_) if event_type != "clone" => Profile::Full,
        _ => Profile::Light,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_sorted_and_exist() {
        assert!(LIGHT.windows(2).all(|pair| pair[0] < pair[1]));
        for name in LIGHT.iter().chain(STANDARD) {
            assert!(crate::syscalls::row_named(name).is_some(), "{name}");
        }
        assert_eq!(recorded_from("read"), Profile::Full);
        assert_eq!(recorded_from("io"), Profile::Standard);
        assert_eq!(recorded_from("tcp_accepted"), Profile::Light);
        assert_eq!(recorded_from("clone"), Profile::Light);
    }
}
