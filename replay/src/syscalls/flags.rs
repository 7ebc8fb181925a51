//! Names of flags and enumerations in call arguments, as rules spell them.
//!
//! Values are the kernel's (`include/uapi`); the order of a table is the order in which names are
//! joined, which is the one Falco's rules expect.

use super::Arch;

/// The access mode in `O_*`, the same on all architectures.
pub const O_ACCMODE: u32 = 3;
pub const O_RDONLY: u32 = 0;
pub const O_WRONLY: u32 = 1;
pub const O_RDWR: u32 = 2;
pub const O_CREAT: u32 = 0o100;
pub const O_TRUNC: u32 = 0o1000;
/// `__O_TMPFILE`: `O_TMPFILE` without the `O_DIRECTORY` that goes with it.
pub const O_TMPFILE_BIT: u32 = 0o20000000;

/// `O_DIRECTORY`; aarch64 has numbers of its own for four open flags.
pub fn o_directory(arch: Arch) -> u32 {
    match arch {
        Arch::X86_64 => 0o200000,
        Arch::Aarch64 => 0o40000,
    }
}

/// How an argument's names come from its value.
#[derive(Clone, Copy, Debug)]
pub enum Names {
    /// Every name whose bits are all set.
    Bits(&'static [(u64, &'static str)]),
    /// Every name of exactly this value, in the low 32 bits.
    Value(&'static [(u64, &'static str)]),
    /// `O_*` of open.
    Open,
}

impl Names {
    /// Appends the names of a value, joined with `|`; nothing when it has none.
    pub fn write(self, value: u64, arch: Arch, out: &mut Vec<u8>) {
        let start = out.len();
        let mut push = |name: &str| {
            if out.len() > start {
                out.push(b'|');
            }
            out.extend_from_slice(name.as_bytes());
        };
        match self {
            Names::Bits(table) => {
                table
                    .iter()
                    .filter(|row| value & row.0 == row.0)
                    .for_each(|row| push(row.1));
            }
            Names::Value(table) => {
                let value = value & u64::from(u32::MAX);
                table
                    .iter()
                    .filter(|row| row.0 == value)
                    .for_each(|row| push(row.1));
            }
            Names::Open => open(value as u32, arch, push),
        }
    }
}

fn open(value: u32, arch: Arch, mut push: impl FnMut(&str)) {
    let (direct, large) = match arch {
        Arch::X86_64 => (0o40000, 0o100000),
        Arch::Aarch64 => (0o200000, 0o400000),
    };
    let bits = [
        (large, "O_LARGEFILE"),
        (o_directory(arch), "O_DIRECTORY"),
        (direct, "O_DIRECT"),
        (O_TRUNC, "O_TRUNC"),
        (0o4010000, "O_SYNC"),
        (0o4000, "O_NONBLOCK"),
        (0o200, "O_EXCL"),
        (0o10000, "O_DSYNC"),
        (0o2000, "O_APPEND"),
        (O_CREAT, "O_CREAT"),
    ];
    bits.iter()
        .filter(|row| value & row.0 == row.0)
        .for_each(|row| push(row.1));
    match value & O_ACCMODE {
        O_RDONLY => push("O_RDONLY"),
        O_WRONLY => push("O_WRONLY"),
        _ => push("O_RDWR"),
    }
    if value & 0o2000000 != 0 {
        push("O_CLOEXEC");
    }
    if value & O_TMPFILE_BIT != 0 {
        push("O_TMPFILE");
    }
}

#[rustfmt::skip]
pub const CLONE: Names = Names::Bits(&[
    (0x400, "CLONE_FILES"), (0x200, "CLONE_FS"), (0x8000_0000, "CLONE_IO"), (0x0800_0000, "CLONE_NEWIPC"),
    (0x4000_0000, "CLONE_NEWNET"), (0x2_0000, "CLONE_NEWNS"), (0x2000_0000, "CLONE_NEWPID"),
    (0x0400_0000, "CLONE_NEWUTS"), (0x8000, "CLONE_PARENT"), (0x10_0000, "CLONE_PARENT_SETTID"),
    (0x2000, "CLONE_PTRACE"), (0x800, "CLONE_SIGHAND"), (0x4_0000, "CLONE_SYSVSEM"), (0x1_0000, "CLONE_THREAD"),
    (0x80_0000, "CLONE_UNTRACED"), (0x100, "CLONE_VM"), (0x1000_0000, "CLONE_NEWUSER"),
    (0x20_0000, "CLONE_CHILD_CLEARTID"), (0x0100_0000, "CLONE_CHILD_SETTID"), (0x8_0000, "CLONE_SETTLS"),
    (0x4000, "CLONE_VFORK"), (0x0200_0000, "CLONE_NEWCGROUP"), (0x80, "CLONE_NEWTIME"),
]);

#[rustfmt::skip]
pub const PTRACE: Names = Names::Value(&[
    (0, "PTRACE_TRACEME"), (1, "PTRACE_PEEKTEXT"), (2, "PTRACE_PEEKDATA"), (3, "PTRACE_PEEKUSR"),
    (4, "PTRACE_POKETEXT"), (5, "PTRACE_POKEDATA"), (6, "PTRACE_POKEUSR"), (7, "PTRACE_CONT"), (8, "PTRACE_KILL"),
    (9, "PTRACE_SINGLESTEP"), (12, "PTRACE_GETREGS"), (13, "PTRACE_SETREGS"), (14, "PTRACE_GETFPREGS"),
    (15, "PTRACE_SETFPREGS"), (16, "PTRACE_ATTACH"), (17, "PTRACE_DETACH"), (18, "PTRACE_GETFPXREGS"),
    (19, "PTRACE_SETFPXREGS"), (21, "PTRACE_OLDSETOPTIONS"), (24, "PTRACE_SYSCALL"), (30, "PTRACE_ARCH_PRCTL"),
    (31, "PTRACE_SYSEMU"), (32, "PTRACE_SYSEMU_SINGLESTEP"), (33, "PTRACE_SINGLEBLOCK"),
    (0x4200, "PTRACE_SETOPTIONS"), (0x4201, "PTRACE_GETEVENTMSG"), (0x4202, "PTRACE_GETSIGINFO"),
    (0x4203, "PTRACE_SETSIGINFO"), (0x4204, "PTRACE_GETREGSET"), (0x4205, "PTRACE_SETREGSET"),
    (0x4206, "PTRACE_SEIZE"), (0x4207, "PTRACE_INTERRUPT"), (0x4208, "PTRACE_LISTEN"),
    (0x4209, "PTRACE_PEEKSIGINFO"), (0x420a, "PTRACE_GETSIGMASK"), (0x420b, "PTRACE_SETSIGMASK"),
]);

#[rustfmt::skip]
pub const BPF: Names = Names::Value(&[
    (0, "BPF_MAP_CREATE"), (1, "BPF_MAP_LOOKUP_ELEM"), (2, "BPF_MAP_UPDATE_ELEM"), (3, "BPF_MAP_DELETE_ELEM"),
    (4, "BPF_MAP_GET_NEXT_KEY"), (5, "BPF_PROG_LOAD"), (6, "BPF_OBJ_PIN"), (7, "BPF_OBJ_GET"),
    (8, "BPF_PROG_ATTACH"), (9, "BPF_PROG_DETACH"), (10, "BPF_PROG_TEST_RUN"), (11, "BPF_PROG_GET_NEXT_ID"),
    (12, "BPF_MAP_GET_NEXT_ID"), (13, "BPF_PROG_GET_FD_BY_ID"), (14, "BPF_MAP_GET_FD_BY_ID"),
    (15, "BPF_OBJ_GET_INFO_BY_FD"), (16, "BPF_PROG_QUERY"), (17, "BPF_RAW_TRACEPOINT_OPEN"), (18, "BPF_BTF_LOAD"),
    (19, "BPF_BTF_GET_FD_BY_ID"), (20, "BPF_TASK_FD_QUERY"), (21, "BPF_MAP_LOOKUP_AND_DELETE_ELEM"),
    (22, "BPF_MAP_FREEZE"), (23, "BPF_BTF_GET_NEXT_ID"), (24, "BPF_MAP_LOOKUP_BATCH"),
    (25, "BPF_MAP_LOOKUP_AND_DELETE_BATCH"), (26, "BPF_MAP_UPDATE_BATCH"), (27, "BPF_MAP_DELETE_BATCH"),
    (28, "BPF_LINK_CREATE"), (29, "BPF_LINK_UPDATE"), (30, "BPF_LINK_GET_FD_BY_ID"), (31, "BPF_LINK_GET_NEXT_ID"),
    (32, "BPF_ENABLE_STATS"), (33, "BPF_ITER_CREATE"), (34, "BPF_LINK_DETACH"), (35, "BPF_PROG_BIND_MAP"),
]);

#[rustfmt::skip]
pub const FAMILY: Names = Names::Value(&[
    (0, "AF_UNSPEC"), (1, "AF_LOCAL"), (1, "AF_UNIX"), (2, "AF_INET"), (3, "AF_AX25"), (4, "AF_IPX"),
    (5, "AF_APPLETALK"), (6, "AF_NETROM"), (7, "AF_BRIDGE"), (8, "AF_ATMPVC"), (9, "AF_X25"), (10, "AF_INET6"),
    (11, "AF_ROSE"), (15, "AF_KEY"), (16, "AF_ROUTE"), (16, "AF_NETLINK"), (17, "AF_PACKET"), (20, "AF_ATMSVC"),
    (21, "AF_RDS"), (24, "AF_PPPOX"), (26, "AF_LLC"), (29, "AF_CAN"), (30, "AF_TIPC"), (31, "AF_BLUETOOTH"),
    (38, "AF_ALG"), (39, "AF_NFC"), (40, "AF_VSOCK"), (44, "AF_XDP"),
]);

#[rustfmt::skip]
pub const MOUNT: Names = Names::Bits(&[
    (1, "MS_RDONLY"), (2, "MS_NOSUID"), (4, "MS_NODEV"), (8, "MS_NOEXEC"), (16, "MS_SYNCHRONOUS"),
    (32, "MS_REMOUNT"), (64, "MS_MANDLOCK"), (128, "MS_DIRSYNC"), (1024, "MS_NOATIME"), (2048, "MS_NODIRATIME"),
    (4096, "MS_BIND"), (8192, "MS_MOVE"), (16384, "MS_REC"), (32768, "MS_SILENT"), (1 << 16, "MS_POSIXACL"),
    (1 << 17, "MS_UNBINDABLE"), (1 << 18, "MS_PRIVATE"), (1 << 19, "MS_SLAVE"), (1 << 20, "MS_SHARED"),
    (1 << 21, "MS_RELATIME"), (1 << 24, "MS_STRICTATIME"), (1 << 25, "MS_LAZYTIME"),
]);

pub const UMOUNT: Names =
    Names::Bits(&[(1, "FORCE"), (2, "DETACH"), (4, "EXPIRE"), (8, "NOFOLLOW")]);

pub const MEMFD: Names = Names::Bits(&[
    (1, "MFD_CLOEXEC"),
    (2, "MFD_ALLOW_SEALING"),
    (4, "MFD_HUGETLB"),
    (8, "MFD_NOEXEC_SEAL"),
    (16, "MFD_EXEC"),
]);

pub const UNLINKAT: Names = Names::Bits(&[(0x200, "AT_REMOVEDIR")]);

pub const EXECVE: Names = Names::Bits(&[(2, "EXE_UPPER_LAYER"), (4, "EXE_FROM_MEMFD")]);

#[rustfmt::skip]
pub const MODE: Names = Names::Bits(&[
    (0o400, "S_IRUSR"), (0o200, "S_IWUSR"), (0o100, "S_IXUSR"), (0o040, "S_IRGRP"), (0o020, "S_IWGRP"),
    (0o010, "S_IXGRP"), (0o004, "S_IROTH"), (0o002, "S_IWOTH"), (0o001, "S_IXOTH"), (0o4000, "S_ISUID"),
    (0o2000, "S_ISGID"), (0o1000, "S_ISVTX"),
]);

#[rustfmt::skip]
pub const PRCTL: Names = Names::Value(&[
    (1, "PR_SET_PDEATHSIG"), (4, "PR_SET_DUMPABLE"), (8, "PR_SET_KEEPCAPS"), (15, "PR_SET_NAME"),
    (16, "PR_GET_NAME"), (22, "PR_SET_SECCOMP"), (23, "PR_CAPBSET_READ"), (24, "PR_CAPBSET_DROP"),
    (28, "PR_SET_SECUREBITS"), (35, "PR_SET_MM"), (36, "PR_SET_CHILD_SUBREAPER"), (38, "PR_SET_NO_NEW_PRIVS"),
    (47, "PR_CAP_AMBIENT"), (0x53564d41, "PR_SET_VMA"), (0x59616d61, "PR_SET_PTRACER"),
]);

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: Names, value: u64, arch: Arch) -> String {
        let mut out = Vec::new();
        names.write(value, arch, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn open_flags_name_one_access_mode_and_follow_the_architecture() {
        let x86 = Arch::X86_64;
        assert_eq!(names(Names::Open, 0, x86), "O_RDONLY");
        assert_eq!(names(Names::Open, 0o1101, x86), "O_TRUNC|O_CREAT|O_WRONLY");
        assert_eq!(names(Names::Open, 0o2000002, x86), "O_RDWR|O_CLOEXEC");
        assert_eq!(names(Names::Open, 0o200000, x86), "O_DIRECTORY|O_RDONLY");
        assert_eq!(
            names(Names::Open, 0o40000, Arch::Aarch64),
            "O_DIRECTORY|O_RDONLY"
        );
    }

    #[test]
    fn enumerations_give_all_names_of_the_value() {
        let x86 = Arch::X86_64;
        assert_eq!(names(FAMILY, 1, x86), "AF_LOCAL|AF_UNIX");
        assert_eq!(names(FAMILY, 17, x86), "AF_PACKET");
        assert_eq!(names(PTRACE, 16, x86), "PTRACE_ATTACH");
        assert_eq!(names(PTRACE, 0x4206, x86), "PTRACE_SEIZE");
        assert_eq!(
            names(CLONE, 0x1000_0000 | 0x2_0000, x86),
            "CLONE_NEWNS|CLONE_NEWUSER"
        );
        assert_eq!(names(PTRACE, 999, x86), "");
    }
}
