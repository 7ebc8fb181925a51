//! The parameters of events: what `evt.arg.NAME`, `evt.arg[n]` and `evt.args` show.
//!
//! Names and order are Falco's where it has the event. A parameter exists where the trace holds it;
//! one that points into memory of the traced process usually does not.

use super::types::{TYPES, Type};
use crate::syscalls::flags::{self, Names};
use std::sync::OnceLock;

/// One parameter of an event type.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parameter {
    pub name: &'static str,
    pub from: From,
    pub show: Show,
}

/// Where a parameter's value is in the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// Argument register of a plain system call.
    Register(u8),
    /// Flags or mode: `PathCall::arg` or `Open::flags`, else this register.
    Flags(u8),
    Mode,
    Result,
    /// First path, executable or cgroup path.
    Path,
    SecondPath,
    Descriptor,
    Family,
    SocketType,
    Addresses,
    Device,
    Inode,
    Argv0,
    Argv,
    /// The first bytes of what was read or written, where they were recorded.
    Data,
    Comm,
    ExecFlags,
    Uid,
    Child,
    ExitCode,
    ExitSignal,
    OldState,
    NewState,
    Latency,
    Socket,
    Call,
    Calls,
    Cpu,
    Throttled,
    Memory,
    Pids,
    ReadBytes,
    WrittenBytes,
    Id,
    Reads,
    Writes,
    SentBytes,
    ReceivedBytes,
    Duration,
    Error,
    Signal,
    SignalCode,
    Target,
    Trigger,
    /// Of rights that changed: this one as it is now, and as it was.
    Right(Right),
    OldRight(Right),
    /// Bits of the program whose exec changed rights.
    ExecBits,
    /// The object's key; of a plain call that makes one, its argument.
    Key,
    /// Its id; of a plain call, its argument.
    Object,
    ObjectSize,
    ObjectArgument,
    ObjectName,
    IpcNamespace,
    /// Request or flags of a call into another process; of a plain call this register.
    Request(u8),
    /// The process that such a call is about; of a plain call what this register calls it.
    Accessed(u8),
}

/// One of [`trace_format::Rights`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    Uid,
    EffectiveUid,
    SavedUid,
    Gid,
    EffectiveGid,
    SavedGid,
    Effective,
    Permitted,
    UserNamespace,
}

/// How a value becomes text.
#[derive(Clone, Copy, Debug)]
pub(super) enum Show {
    /// The value as it is: text, or a number in decimal.
    Plain,
    /// A 32-bit number with sign.
    Signed,
    /// Without prefix.
    Hex,
    /// With a leading 0.
    Octal,
    Names(Names),
    /// `<f>/etc/passwd`
    Descriptor,
    User,
}

impl Parameter {
    pub fn is_number(&self) -> bool {
        !matches!(
            self.from,
            From::Path
                | From::SecondPath
                | From::Addresses
                | From::Argv0
                | From::Argv
                | From::Data
                | From::Comm
                | From::Call
                | From::ObjectName
                | From::ExecBits
                | From::Right(Right::Effective | Right::Permitted)
                | From::OldRight(Right::Effective | Right::Permitted)
        )
    }
}

const fn new(name: &'static str, from: From, show: Show) -> Parameter {
    Parameter { name, from, show }
}
const fn register(name: &'static str, number: u8) -> Parameter {
    new(name, From::Register(number), Show::Signed)
}
const fn wide(name: &'static str, number: u8) -> Parameter {
    new(name, From::Register(number), Show::Plain)
}
const fn named(name: &'static str, number: u8, names: Names) -> Parameter {
    new(name, From::Flags(number), Show::Names(names))
}
const fn accessed(number: u8) -> Parameter {
    new("pid", From::Accessed(number), Show::Signed)
}
const fn right(name: &'static str, right: Right) -> Parameter {
    plain(name, From::Right(right))
}
const fn old_right(name: &'static str, right: Right) -> Parameter {
    plain(name, From::OldRight(right))
}
const fn path(name: &'static str) -> Parameter {
    new(name, From::Path, Show::Plain)
}
const fn second(name: &'static str) -> Parameter {
    new(name, From::SecondPath, Show::Plain)
}
const fn plain(name: &'static str, from: From) -> Parameter {
    new(name, from, Show::Plain)
}

const RES: Parameter = plain("res", From::Result);
const FD: Parameter = new("fd", From::Descriptor, Show::Descriptor);
const DATA: Parameter = plain("data", From::Data);
const OPEN_FLAGS: Parameter = new("flags", From::Flags(1), Show::Names(Names::Open));
const OPEN_MODE: Parameter = new("mode", From::Mode, Show::Octal);
const DEV: Parameter = new("dev", From::Device, Show::Hex);
const INO: Parameter = plain("ino", From::Inode);
const TUPLE: Parameter = plain("tuple", From::Addresses);
const UID: Parameter = new("uid", From::Register(0), Show::User);

const KEY: Parameter = new("key", From::Key, Show::Hex);
const OBJECT: Parameter = plain("id", From::Object);
const OBJECT_FLAGS: Parameter = new("flags", From::ObjectArgument, Show::Octal);
const QUEUE: Parameter = plain("name", From::ObjectName);
const IPC_NS: Parameter = plain("ipc_ns", From::IpcNamespace);

#[rustfmt::skip]
static PARAMETERS: &[(&[&str], &[Parameter])] = &[
    (&["open", "openat", "openat2"], &[FD, path("name"), OPEN_FLAGS, OPEN_MODE, DEV, INO]),
    (&["creat"], &[FD, path("name"), OPEN_MODE, DEV, INO, OPEN_FLAGS]),
    (&["execve", "execveat"], &[
        RES, plain("exe", From::Argv0), plain("args", From::Argv), plain("comm", From::Comm),
        new("flags", From::ExecFlags, Show::Names(flags::EXECVE)), new("uid", From::Uid, Show::User),
        path("filename"), plain("exe_ino", From::Inode),
    ]),
    (&["clone"], &[RES, plain("child", From::Child), named("flags", 0, flags::CLONE)]),
    (&["procexit"], &[plain("ret", From::ExitCode), plain("sig", From::ExitSignal)]),
    (&["unshare"], &[RES, named("flags", 0, flags::CLONE)]),
    (&["setns"], &[RES, FD, named("nstype", 1, flags::CLONE)]),
    (&["ptrace"], &[RES, new("request", From::Request(0), Show::Names(flags::PTRACE)), accessed(1)]),
    (&["bpf"], &[RES, new("cmd", From::Register(0), Show::Names(flags::BPF))]),
    (&["mount"], &[RES, path("dev"), second("dir"), named("flags", 3, flags::MOUNT)]),
    (&["umount2"], &[RES, path("name"), named("flags", 1, flags::UMOUNT)]),
    (&["init_module"], &[RES, wide("length", 1)]),
    (&["finit_module"], &[RES, FD, register("flags", 2)]),
    (&["symlink", "symlinkat"], &[RES, path("target"), second("linkpath")]),
    (&["link", "linkat", "rename", "renameat", "renameat2"], &[RES, path("oldpath"), second("newpath")]),
    (&["unlink", "rmdir", "chdir", "chroot", "truncate"], &[RES, path("path")]),
    (&["unlinkat"], &[RES, path("name"), named("flags", 2, flags::UNLINKAT)]),
    (&["mkdir", "mkdirat"], &[RES, path("path"), new("mode", From::Flags(1), Show::Octal)]),
    (&["chmod", "fchmodat", "fchmodat2"], &[RES, path("filename"), named("mode", 1, flags::MODE)]),
    (&["fchmod"], &[RES, FD, named("mode", 1, flags::MODE)]),
    (&["chown", "lchown", "fchownat"], &[RES, path("path")]),
    (&["mknod", "mknodat"], &[RES, path("path"), new("mode", From::Flags(1), Show::Octal)]),
    (&["socket"], &[FD, new("domain", From::Family, Show::Names(flags::FAMILY)), plain("type", From::SocketType)]),
    (&["connect", "bind"], &[RES, TUPLE, FD]),
    (&["listen"], &[RES, FD]),
    (&["accept", "accept4"], &[FD, TUPLE]),
    (&["dup"], &[RES, register("oldfd", 0)]),
    (&["dup2"], &[RES, register("oldfd", 0), register("newfd", 1)]),
    (&["dup3"], &[RES, register("oldfd", 0), register("newfd", 1), named("flags", 2, Names::Open)]),
    (&["close"], &[RES, FD]),
    (&["read", "write", "pread64", "pwrite64"], &[RES, DATA, FD, wide("size", 2)]),
    (&["sendto", "recvfrom"], &[RES, DATA, FD, wide("size", 2)]),
    (&["readv", "writev", "sendmsg", "recvmsg"], &[RES, DATA, FD]),
    (&["fsync", "fdatasync", "fstat", "fchdir"], &[RES, FD]),
    (&["ftruncate"], &[RES, FD, wide("length", 1)]),
    (&["ioctl"], &[RES, FD, new("request", From::Register(1), Show::Hex)]),
    (&["fcntl"], &[RES, FD, register("cmd", 1)]),
    (&["kill"], &[RES, register("pid", 0), register("sig", 1)]),
    (&["shmget", "semget"], &[RES, KEY, plain("size", From::ObjectSize), OBJECT_FLAGS, IPC_NS]),
    (&["msgget"], &[RES, KEY, OBJECT_FLAGS, IPC_NS]),
    (&["shmat"], &[RES, OBJECT, KEY, plain("size", From::ObjectSize), OBJECT_FLAGS, IPC_NS]),
    (&["shmdt"], &[RES, OBJECT, KEY, plain("size", From::ObjectSize), IPC_NS]),
    (&["shmctl", "semctl", "msgctl"], &[RES, OBJECT, KEY, plain("cmd", From::ObjectArgument), IPC_NS]),
    (&["semop", "semtimedop"], &[RES, OBJECT, KEY, plain("nsops", From::ObjectArgument), IPC_NS]),
    (&["msgsnd", "msgrcv"], &[RES, OBJECT, KEY, plain("size", From::ObjectSize), OBJECT_FLAGS, IPC_NS]),
    (&["mq_open"], &[RES, QUEUE, OBJECT_FLAGS, IPC_NS]),
    (&["mq_unlink"], &[RES, QUEUE, IPC_NS]),
    (&["mq_timedsend"], &[RES, QUEUE, plain("size", From::ObjectSize), plain("prio", From::ObjectArgument), IPC_NS]),
    (&["mq_timedreceive"], &[RES, QUEUE, plain("size", From::ObjectSize), IPC_NS]),
    (&["tkill"], &[RES, register("tid", 0), register("sig", 1)]),
    (&["tgkill"], &[RES, register("pid", 0), register("tid", 1), register("sig", 2)]),
    (&["setuid"], &[RES, UID]),
    (&["setgid"], &[RES, register("gid", 0)]),
    (&["setreuid"], &[RES, new("ruid", From::Register(0), Show::User), new("euid", From::Register(1), Show::User)]),
    (&["setresuid"], &[
        RES, new("ruid", From::Register(0), Show::User), new("euid", From::Register(1), Show::User),
        new("suid", From::Register(2), Show::User),
    ]),
    (&["setregid"], &[RES, register("rgid", 0), register("egid", 1)]),
    (&["setresgid"], &[RES, register("rgid", 0), register("egid", 1), register("sgid", 2)]),
    (&["memfd_create"], &[FD, named("flags", 1, flags::MEMFD)]),
    (&["prctl"], &[RES, new("option", From::Register(0), Show::Names(flags::PRCTL)), wide("arg2", 1)]),
    (&["mmap"], &[RES, wide("length", 1), new("prot", From::Register(2), Show::Hex), new("flags", From::Register(3), Show::Hex)]),
    (&["mprotect"], &[RES, wide("length", 1), new("prot", From::Register(2), Show::Hex)]),
    (&["process_vm_readv", "process_vm_writev"], &[RES, accessed(0)]),
    (&["pidfd_open"], &[RES, accessed(0), new("flags", From::Request(1), Show::Hex)]),
    (&["pidfd_getfd"], &[RES, plain("targetfd", From::Request(1)), new("pid", From::Target, Show::Signed)]),
    (&["tcp_connecting", "tcp_accepted", "tcp_listening", "tcp_state"],
        &[plain("old", From::OldState), plain("new", From::NewState), TUPLE, plain("sock", From::Socket)]),
    (&["tcp_closed"], &[
        plain("old", From::OldState), plain("new", From::NewState), TUPLE, plain("sock", From::Socket),
        plain("sent_bytes", From::SentBytes), plain("received_bytes", From::ReceivedBytes),
        plain("duration", From::Duration), plain("error", From::Error),
    ]),
    (&["tcp_connect_done", "tcp_connect_failed"], &[
        plain("old", From::OldState), plain("new", From::NewState), TUPLE, plain("sock", From::Socket),
        plain("latency", From::Latency), plain("error", From::Error),
    ]),
    (&["tcp_retransmit", "tcp_reset_sent", "tcp_reset_received"],
        &[plain("state", From::NewState), TUPLE, plain("sock", From::Socket)]),
    (&["io"], &[
        FD, plain("reads", From::Reads), plain("read_bytes", From::ReadBytes), plain("writes", From::Writes),
        plain("written_bytes", From::WrittenBytes), DEV, INO,
    ]),
    (&["signal_sent"], &[
        plain("sig", From::Signal), plain("code", From::SignalCode), plain("pid", From::Target),
    ]),
    (&["fd_sent", "fd_received"], &[
        FD, path("name"), new("mode", From::Mode, Show::Octal), DEV, INO, plain("pid", From::Target),
    ]),
    (&["oom_kill"], &[plain("comm", From::Comm), new("uid", From::Uid, Show::User), plain("trigger", From::Trigger)]),
    (&["credentials_changed"], &[
        plain("call", From::Call), plain("file", From::ExecBits),
        right("uid", Right::Uid), right("euid", Right::EffectiveUid), right("suid", Right::SavedUid),
        right("gid", Right::Gid), right("egid", Right::EffectiveGid), right("sgid", Right::SavedGid),
        right("cap_effective", Right::Effective), right("cap_permitted", Right::Permitted),
        right("user_ns", Right::UserNamespace),
        old_right("old_uid", Right::Uid), old_right("old_euid", Right::EffectiveUid),
        old_right("old_suid", Right::SavedUid), old_right("old_gid", Right::Gid),
        old_right("old_egid", Right::EffectiveGid), old_right("old_sgid", Right::SavedGid),
        old_right("old_cap_effective", Right::Effective), old_right("old_cap_permitted", Right::Permitted),
        old_right("old_user_ns", Right::UserNamespace),
    ]),
    (&["syscall_count"], &[plain("call", From::Call), plain("calls", From::Calls)]),
    (&["sample"], &[
        plain("cpu_ns", From::Cpu), plain("throttled_ns", From::Throttled), plain("memory_bytes", From::Memory),
        plain("pids", From::Pids), plain("io_read_bytes", From::ReadBytes), plain("io_write_bytes", From::WrittenBytes),
    ]),
    (&["cgroup_made", "cgroup_removed"], &[plain("id", From::Id), path("path")]),
];

fn by_type() -> &'static [&'static [Parameter]] {
    static BY_TYPE: OnceLock<Vec<&'static [Parameter]>> = OnceLock::new();
    BY_TYPE.get_or_init(|| {
        let of = |kind: Type| PARAMETERS.iter().find(|row| row.0.contains(&kind.name()));
        (0..TYPES as u16)
            .map(|number| of(Type(number)).map_or(&[][..], |row| row.1))
            .collect()
    })
}

/// The parameters of a type, in order; empty for calls without a table entry.
pub(super) fn of(kind: Type) -> &'static [Parameter] {
    by_type().get(kind.0 as usize).copied().unwrap_or_default()
}

/// Reads or writes, so that what passed can be recorded with it.
pub(super) fn has_data(kind: Type) -> bool {
    of(kind)
        .iter()
        .any(|parameter| parameter.from == From::Data)
}

pub(super) fn all() -> impl Iterator<Item = (Type, &'static [Parameter])> {
    (0..TYPES as u16).map(|number| (Type(number), of(Type(number))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_names_events_that_exist_once() {
        let mut seen = std::collections::HashSet::new();
        for (names, parameters) in PARAMETERS {
            for name in *names {
                assert!(seen.insert(name), "{name} has two rows");
                assert!(
                    all().any(|(kind, _)| kind.name() == *name),
                    "{name} is no event type"
                );
            }
            assert!(!parameters.is_empty());
        }
    }
}
