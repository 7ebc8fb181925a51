//! What a profile does with each system call: the values of the probes' policy array.

use recorder_ebpf::{AccessShape, IpcShape, PathShape, SYSCALLS_MAX, action, by, ipc, reuse};
use trace_format::syscalls::{self, Arch, NUMBERS, arity, number};

use crate::io_calls::{self, How};

/// Arguments that are kept of a call which this version does not know.
const ARGS_MAX: u8 = 6;

/// How much is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Profile {
    /// Security events, sensitive files, per-container counts of everything else, resources
    Light,
    /// `light`, every opened file, and reads and writes counted per descriptor
    Standard,
    /// Every system call with arguments and result
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

const NONE: u32 = PathShape::NONE;
const CWD: u32 = PathShape::CWD;

/// Calls that name files: directory and path arguments (twice for two paths), flags or mode.
/// Signatures: fs/namei.c, fs/open.c, fs/namespace.c.
#[rustfmt::skip]
const PATH_CALLS: &[(&str, PathShape)] = &[
    ("unlink",    shape(CWD, 0, NONE, NONE, NONE)),
    ("unlinkat",  shape(0, 1, NONE, NONE, 2)),
    ("rmdir",     shape(CWD, 0, NONE, NONE, NONE)),
    ("mkdir",     shape(CWD, 0, NONE, NONE, 1)),
    ("mkdirat",   shape(0, 1, NONE, NONE, 2)),
    ("mknod",     shape(CWD, 0, NONE, NONE, 1)),
    ("mknodat",   shape(0, 1, NONE, NONE, 2)),
    ("rename",    shape(CWD, 0, CWD, 1, NONE)),
    ("renameat",  shape(0, 1, 2, 3, NONE)),
    ("renameat2", shape(0, 1, 2, 3, 4)),
    ("link",      shape(CWD, 0, CWD, 1, NONE)),
    ("linkat",    shape(0, 1, 2, 3, 4)),
    ("symlink",   shape(CWD, 0, CWD, 1, NONE)),
    ("symlinkat", shape(CWD, 0, 1, 2, NONE)),
    ("chmod",     shape(CWD, 0, NONE, NONE, 1)),
    ("fchmodat",  shape(0, 1, NONE, NONE, 2)),
    ("chown",     shape(CWD, 0, NONE, NONE, 1)),
    ("lchown",    shape(CWD, 0, NONE, NONE, 1)),
    ("fchownat",  shape(0, 1, NONE, NONE, 2)),
    ("truncate",  shape(CWD, 0, NONE, NONE, 1)),
    ("mount",     shape(CWD, 0, CWD, 1, 3)),
    ("umount2",   shape(CWD, 0, NONE, NONE, 1)),
    ("pivot_root",shape(CWD, 0, CWD, 1, NONE)),
    ("chroot",    shape(CWD, 0, NONE, NONE, NONE)),
    ("chdir",     shape(CWD, 0, NONE, NONE, NONE)),
];

/// Their success is another event (exec); their failure is a path call.
#[rustfmt::skip]
const EXEC_CALLS: &[(&str, PathShape)] = &[
    ("execve",   shape(CWD, 0, NONE, NONE, NONE)),
    ("execveat", shape(0, 1, NONE, NONE, 4)),
];

const OPEN_CALLS: &[&str] = &["open", "openat", "openat2", "creat"];
const SOCK_CALLS: &[&str] = &["socket", "bind", "listen", "connect", "accept", "accept4"];

/// Recorded in every profile: rare, and what rules about containers look at.
const SECURITY_CALLS: &[&str] = &[
    "init_module",
    "finit_module",
    "delete_module",
    "kexec_load",
    "kexec_file_load",
    "bpf",
    "perf_event_open",
    "keyctl",
    "add_key",
    "memfd_create",
    "userfaultfd",
    "reboot",
    "swapon",
    "swapoff",
    "sethostname",
    "fsopen",
    "fsmount",
    "move_mount",
    "open_tree",
    "mount_setattr",
    "kill",
    "tkill",
    "tgkill",
    "dup2",
    "dup3",
    "fchmod",
    "fchown",
    "ftruncate",
    "fchdir",
    "setsid",
    "socketpair",
    "io_uring_setup",
    "open_by_handle_at",
];

/// Likewise, and what they change of the caller's rights is told beside them.
const CREDENTIAL_CALLS: &[&str] = &[
    "setuid",
    "setgid",
    "setreuid",
    "setregid",
    "setresuid",
    "setresgid",
    "setgroups",
    "setfsuid",
    "setfsgid",
    "capset",
    "unshare",
    "setns",
];

/// Requests of io_uring that are recorded in every profile: those whose system calls are, because a
/// program that means to stay unseen makes no system calls for them.
const URING_REQUESTS: &[&str] = &[
    "io_uring_openat",
    "io_uring_openat2",
    "io_uring_connect",
    "io_uring_accept",
    "io_uring_socket",
    "io_uring_bind",
    "io_uring_listen",
    "io_uring_unlinkat",
    "io_uring_renameat",
    "io_uring_mkdirat",
    "io_uring_symlinkat",
    "io_uring_linkat",
    "io_uring_ftruncate",
    "io_uring_setxattr",
    "io_uring_fsetxattr",
    "io_uring_uring_cmd",
    "io_uring_fixed_fd_install",
];

/// Calls after which descriptors mean another file ([`reuse`]).
#[rustfmt::skip]
const REUSES: &[(&str, u32)] = &[
    ("dup",             reuse::RESULT),
    ("dup2",            reuse::SECOND),
    ("dup3",            reuse::SECOND),
    ("socket",          reuse::RESULT),
    ("accept",          reuse::RESULT),
    ("accept4",         reuse::RESULT),
    ("memfd_create",    reuse::RESULT),
    ("epoll_create",    reuse::RESULT),
    ("epoll_create1",   reuse::RESULT),
    ("eventfd",         reuse::RESULT),
    ("eventfd2",        reuse::RESULT),
    ("timerfd_create",  reuse::RESULT),
    ("inotify_init",    reuse::RESULT),
    ("inotify_init1",   reuse::RESULT),
    ("pidfd_open",      reuse::RESULT),
    ("pidfd_getfd",     reuse::RESULT),
    ("mq_open",         reuse::RESULT),
    ("pipe",            reuse::PAIR_AT_FIRST),
    ("pipe2",           reuse::PAIR_AT_FIRST),
    ("socketpair",      reuse::PAIR_AT_FOURTH),
    ("close_range",     reuse::RANGE),
];

const RESULT: u32 = IpcShape::RESULT;

/// Calls on what processes share: how they name it, the bytes of a message, flags or command.
/// Signatures: ipc/shm.c, ipc/sem.c, ipc/msg.c, ipc/mqueue.c.
#[rustfmt::skip]
const IPC_CALLS: &[(&str, IpcShape)] = &[
    ("shmget",          object(ipc::MEMORY, by::KEY, NONE, 2)),
    ("shmat",           object(ipc::MEMORY, by::ATTACHED, NONE, 2)),
    ("shmdt",           object(ipc::MEMORY, by::ADDRESS, NONE, NONE)),
    ("shmctl",          object(ipc::MEMORY, by::ID, NONE, 1)),
    ("semget",          object(ipc::SEMAPHORES, by::KEY, NONE, 2)),
    ("semop",           object(ipc::SEMAPHORES, by::ID, NONE, 2)),
    ("semtimedop",      object(ipc::SEMAPHORES, by::ID, NONE, 2)),
    ("semctl",          object(ipc::SEMAPHORES, by::ID, NONE, 2)),
    ("msgget",          object(ipc::MESSAGES, by::KEY, NONE, 1)),
    ("msgsnd",          object(ipc::MESSAGES, by::ID, 2, 3)),
    ("msgrcv",          object(ipc::MESSAGES, by::ID, RESULT, 4)),
    ("msgctl",          object(ipc::MESSAGES, by::ID, NONE, 1)),
    ("mq_open",         object(ipc::QUEUE, by::OPENED, NONE, 1)),
    ("mq_unlink",       object(ipc::QUEUE, by::NAME, NONE, NONE)),
    ("mq_timedsend",    object(ipc::QUEUE, by::DESCRIPTOR, 2, 3)),
    ("mq_timedreceive", object(ipc::QUEUE, by::DESCRIPTOR, RESULT, NONE)),
];

/// Calls into another process: the argument that names it, whether that is a pidfd, request or flags.
#[rustfmt::skip]
const ACCESS_CALLS: &[(&str, AccessShape)] = &[
    ("ptrace",            AccessShape { target: 1, descriptor: 0, arg: 0, each: 0, zero_is_none: 1 }),
    ("process_vm_readv",  AccessShape { target: 0, descriptor: 0, arg: NONE, each: 0, zero_is_none: 0 }),
    ("process_vm_writev", AccessShape { target: 0, descriptor: 0, arg: NONE, each: 0, zero_is_none: 0 }),
    ("pidfd_open",        AccessShape { target: 0, descriptor: 0, arg: 1, each: 0, zero_is_none: 0 }),
    ("pidfd_getfd",       AccessShape { target: 0, descriptor: 1, arg: 1, each: 0, zero_is_none: 0 }),
];

const fn object(kind: u32, by: u32, size: u32, arg: u32) -> IpcShape {
    IpcShape {
        kind,
        by,
        size,
        arg,
        each: 0,
    }
}

const fn shape(dir: u32, path: u32, dir2: u32, path2: u32, arg: u32) -> PathShape {
    PathShape {
        dir,
        path,
        dir2,
        path2,
        arg,
    }
}

/// For calls of another table than the architecture's own (32-bit programs on x86-64). Their files and
/// sockets are not looked up, so what `standard` would know of them otherwise is in their arguments.
pub fn foreign(profile: Profile) -> u32 {
    match profile {
        Profile::Light => action::COUNT,
        Profile::Standard | Profile::Full => {
            action::RECORD | u32::from(ARGS_MAX) << action::ARITY_SHIFT
        }
    }
}

/// Signals that are not recorded, as bits: a child that ended is an exit event, and a runtime that
/// interrupts its own threads all the time (Go, with SIGURG) is nobody's news.
pub fn quiet_signals(profile: Profile) -> u64 {
    match profile {
        Profile::Light | Profile::Standard => 1 << libc::SIGCHLD | 1 << libc::SIGURG,
        Profile::Full => 0,
    }
}

/// Is HTTP looked for, where nobody says? It costs each first payload of a TCP descriptor a look, and each
/// request and response an event: of a loaded web server as many as its system calls.
pub fn http(profile: Profile) -> bool {
    profile == Profile::Full
}

/// One policy value per system-call number of this architecture. `payload`: calls that are recorded with
/// the first bytes of what they read or write, whatever the profile does with them.
pub fn table(profile: Profile, arch: Arch, http: bool, payload: &[&'static str]) -> Vec<u32> {
    let base = if profile == Profile::Full {
        action::RECORD
    } else {
        action::COUNT
    };
    let mut table = vec![base; SYSCALLS_MAX as usize];
    const { assert!(NUMBERS <= SYSCALLS_MAX as usize) };
    let mut set = |name: &str, value: u32| {
        if let Some(number) = number(arch, name) {
            table[number as usize] = value;
        }
    };
    for name in SECURITY_CALLS {
        set(name, action::RECORD);
    }
    for name in CREDENTIAL_CALLS {
        set(name, action::CREDENTIALS);
    }
    for (name, shape) in PATH_CALLS {
        set(name, action::PATH | shape.pack());
    }
    for (name, shape) in EXEC_CALLS {
        set(name, action::FAILED_PATH | shape.pack());
    }
    for name in SOCK_CALLS {
        set(name, action::SOCK);
    }
    let each = u32::from(profile == Profile::Full);
    for (name, shape) in IPC_CALLS {
        set(name, action::IPC | IpcShape { each, ..*shape }.pack());
    }
    for (name, shape) in ACCESS_CALLS {
        set(name, action::ACCESS | AccessShape { each, ..*shape }.pack());
    }
    for name in OPEN_CALLS {
        set(
            name,
            match profile {
                Profile::Light => action::OPEN_LISTED,
                Profile::Standard | Profile::Full => action::OPEN,
            },
        );
    }
    let looks = profile != Profile::Light;
    let how = How {
        record: profile == Profile::Full,
        http: http && looks,
        udp: looks,
        passing: looks,
        payload,
    };
    for (name, value) in io_calls::policies(arch, how) {
        if looks || payload.contains(&name) {
            set(name, value);
        }
    }
    // A closed descriptor's number may soon mean another file: what is known of it goes, in both.
    match profile {
        Profile::Light => {}
        Profile::Standard => set("close", action::CLOSE),
        Profile::Full => set("close", action::CLOSE | 1 << action::ARITY_SHIFT),
    }
    for (nr, value) in (0..).zip(&mut table) {
        if *value == action::RECORD || *value == action::CREDENTIALS {
            // Registers beyond the call's arguments hold leftovers of the caller: noise, and not ours to keep.
            *value |= u32::from(arity(arch, nr).unwrap_or(ARGS_MAX)) << action::ARITY_SHIFT;
        }
    }
    if profile == Profile::Standard {
        for (name, how) in REUSES {
            if let Some(number) = number(arch, name) {
                table[number as usize] |= how << action::REUSE_SHIFT;
            }
        }
    }
    for opcode in 0..action::URING_MAX {
        let name = syscalls::name(arch, syscalls::IO_URING | opcode);
        table[(action::URING + opcode) as usize] = match name {
            Some(name) if URING_REQUESTS.contains(&name) => action::RECORD | action::URGENT,
            _ if profile == Profile::Full => action::RECORD,
            _ => action::COUNT,
        };
    }
    table
}

#[cfg(test)]
mod tests {
    use recorder_ebpf::IoShape;

    use super::*;

    #[test]
    fn every_named_call_exists_on_x86_64() {
        let names = PATH_CALLS.iter().chain(EXEC_CALLS).map(|(name, _)| name);
        for name in names
            .chain(OPEN_CALLS)
            .chain(SOCK_CALLS)
            .chain(SECURITY_CALLS)
            .chain(CREDENTIAL_CALLS)
            .chain(IPC_CALLS.iter().map(|(name, _)| name))
            .chain(ACCESS_CALLS.iter().map(|(name, _)| name))
        {
            assert!(
                number(Arch::X86_64, name).is_some(),
                "{name} is no system call"
            );
        }
    }

    #[test]
    fn every_named_request_of_io_uring_is_recorded_in_light() {
        let table = table(Profile::Light, Arch::X86_64, false, &[]);
        let recorded = table[action::URING as usize..]
            .iter()
            .filter(|policy| **policy & action::MASK == action::RECORD);
        assert_eq!(recorded.count(), URING_REQUESTS.len());
        assert_eq!(table.len(), (action::URING + action::URING_MAX) as usize);
    }

    #[test]
    fn descriptors_that_mean_another_file_are_marked_beside_what_is_done_with_the_call() {
        let plain = table(Profile::Light, Arch::X86_64, false, &[]);
        let marked = table(Profile::Standard, Arch::X86_64, false, &[]);
        for (name, how) in REUSES {
            let number = number(Arch::X86_64, name).unwrap() as usize;
            assert_eq!(marked[number] >> action::REUSE_SHIFT, *how, "{name}");
            let rest = marked[number] & ((1 << action::REUSE_SHIFT) - 1);
            assert_eq!(rest, plain[number], "{name}");
        }
    }

    #[test]
    fn shapes_survive_packing() {
        for (name, shape) in PATH_CALLS.iter().chain(EXEC_CALLS) {
            assert_eq!(
                PathShape::unpack(action::PATH | shape.pack()),
                *shape,
                "{name}"
            );
        }
        for (name, shape) in IPC_CALLS {
            assert_eq!(
                IpcShape::unpack(action::IPC | shape.pack()),
                *shape,
                "{name}"
            );
        }
        for (name, shape) in ACCESS_CALLS {
            let packed = action::ACCESS | shape.pack();
            assert_eq!(AccessShape::unpack(packed), *shape, "{name}");
        }
    }

    #[test]
    fn full_records_all_and_light_counts_reads_and_most_opens() {
        let getdents = number(Arch::X86_64, "getdents64").unwrap() as usize;
        let read = number(Arch::X86_64, "read").unwrap() as usize;
        let openat = number(Arch::X86_64, "openat").unwrap() as usize;
        let three_args = 3 << action::ARITY_SHIFT;
        assert_eq!(
            table(Profile::Full, Arch::X86_64, true, &[])[getdents],
            action::RECORD | three_args
        );
        let full = table(Profile::Full, Arch::X86_64, true, &[])[read];
        assert_eq!(full & action::MASK, action::IO);
        assert!(IoShape::unpack(full).record);
        let standard = table(Profile::Standard, Arch::X86_64, false, &[])[read];
        assert!(!IoShape::unpack(standard).record);
        let light = table(Profile::Light, Arch::X86_64, true, &[]);
        assert_eq!(light[read], action::COUNT);
        assert_eq!(light[openat], action::OPEN_LISTED);
        assert_eq!(
            table(Profile::Standard, Arch::X86_64, true, &[])[openat],
            action::OPEN
        );
    }

    /// Privacy: bytes only of what was named, in every profile.
    #[test]
    fn payloads_are_of_the_calls_that_were_named_and_of_no_other() {
        for profile in [Profile::Light, Profile::Standard, Profile::Full] {
            let with = |payload: &[&'static str]| table(profile, Arch::X86_64, true, payload);
            let (without, named) = (with(&[]), with(&["sendto", "pread64"]));
            assert!(
                without
                    .iter()
                    .all(|policy| policy & action::MASK != action::PAYLOAD)
            );
            for (nr, (plain, policy)) in (0..).zip(without.iter().zip(&named)) {
                let is_named = ["sendto", "pread64"]
                    .iter()
                    .any(|name| number(Arch::X86_64, name) == Some(nr));
                assert_eq!(policy & action::MASK == action::PAYLOAD, is_named, "{nr}");
                assert!(is_named || plain == policy, "{nr}");
            }
        }
    }
}
