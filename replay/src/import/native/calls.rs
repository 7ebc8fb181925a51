//! One call's blocks as the event that our own probes would have reported.

use std::sync::LazyLock;

use trace_format::{
    Endpoint, Event, EventData, Exec, ExecDetails, ExecFlags, Exit, Fork, Open, PathCall,
    PathMarks, Payload, SockCall, Syscall, Text, Value,
};

use super::{
    Told, details,
    values::{self, CLONE_THREAD, Call, Ends, OPEN_CREATED},
};
use crate::{
    import::scap::{schema, stored::Parameter},
    resolve::State,
    rules::fold_path,
    syscalls::{Arch, number},
};

/// What the calls of one name are as events of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Open,
    Exec,
    Birth,
    Exit,
    Socket,
    Path,
    /// A call without a type of its own.
    Generic,
    /// Any other: its number, arguments and result.
    Plain,
}

impl Shape {
    fn of(name: &str) -> Shape {
        match name {
            "open" | "openat" | "openat2" | "creat" | "open_by_handle_at" => Shape::Open,
            "execve" | "execveat" => Shape::Exec,
            "clone" | "clone3" | "fork" | "vfork" => Shape::Birth,
            "procexit" => Shape::Exit,
            "socket" | "bind" | "connect" | "listen" | "accept" | "accept4" => Shape::Socket,
            "unlink" | "unlinkat" | "rename" | "renameat" | "renameat2" | "link" | "linkat"
            | "symlink" | "symlinkat" | "mkdir" | "mkdirat" | "rmdir" | "chmod" | "fchmodat"
            | "chown" | "lchown" | "fchownat" | "mount" | "umount" | "umount2" | "chdir"
            | "chroot" | "mknod" | "mknodat" | "pivot_root" => Shape::Path,
            "syscall" => Shape::Generic,
            _ => Shape::Plain,
        }
    }

    fn of_call(call: &Call<'_>) -> Shape {
        // Every block asks.
        static OF_TYPES: LazyLock<Vec<Shape>> = LazyLock::new(|| {
            let names = schema::types().iter().map(|ty| ty.name);
            names.map(Shape::of).collect()
        });
        let known = OF_TYPES.get(usize::from(call.exit.number)).copied();
        known.unwrap_or_else(|| Shape::of(call.name))
    }
}

/// Whether calls of this name, if they become events at all, become plain system calls.
pub(super) fn is_plain(name: &str) -> bool {
    Shape::of(name) == Shape::Plain
}

pub(super) fn fold(call: &Call<'_>, state: &State, told: &mut Vec<Told>) {
    let data = match Shape::of_call(call) {
        Shape::Open => open(call, state),
        Shape::Exec if call.result() == 0 => Some(exec(call, state)),
        Shape::Exec => path_call(call, state),
        Shape::Birth => return born(call, state, told),
        Shape::Exit => Some(exit(call)),
        Shape::Socket => sock_call(call, state),
        Shape::Path => path_call(call, state),
        Shape::Generic => {
            // A hidden one has nothing to say to the state, and is hidden from all others.
            let shown = generic(call).filter(|_| call.exit.flags & 1 == 0);
            told.extend(shown.map(|data| Told::Bare(with(call.event, data))));
            return;
        }
        Shape::Plain => syscall(call, state),
    };
    told.extend(data.map(|data| Told::Event(with(call.event, data))));
}

fn with(event: &Event, data: EventData) -> Event {
    Event {
        data,
        ..event.clone()
    }
}

/// The call's number in the host's table; `None` for what is no call of the kernel's.
fn nr(call: &Call<'_>, state: &State) -> Option<u32> {
    // Every block asks, and nearly every host is of this kind.
    static OF_TYPES: LazyLock<Vec<Option<u32>>> = LazyLock::new(|| {
        let names = schema::types().iter().map(|ty| ty.name);
        names.map(|name| named(name, Arch::X86_64)).collect()
    });
    match state.arch() {
        Arch::X86_64 => *OF_TYPES.get(usize::from(call.exit.number))?,
        arch => named(call.name, arch),
    }
}

/// The number of calls that captures call so.
pub(super) fn named(name: &str, arch: Arch) -> Option<u32> {
    number(arch, kernel_name(name))
}

/// The kernel's name of a call that captures name otherwise.
pub(crate) fn kernel_name(name: &str) -> &str {
    match name {
        "pread" => "pread64",
        "pwrite" => "pwrite64",
        "prlimit" => "prlimit64",
        "umount" => "umount2",
        name => name,
    }
}

fn open(call: &Call<'_>, state: &State) -> Option<EventData> {
    let portable = call.number("flags").unwrap_or(0) as u32;
    let ret = call.result();
    let dir = call.number("dirfd");
    let (path, mut marks) = resolve(call, state, dir, call.one_text(&["name", "path"])?);
    if portable & OPEN_CREATED != 0 {
        marks.0 |= PathMarks::CREATED;
    }
    let flags = match call.name {
        "creat" => 0o1101,
        _ => values::open_flags(portable),
    };
    Some(EventData::Open(Open {
        nr: nr(call, state)?,
        ret,
        flags,
        mode: call.number("mode").unwrap_or(0) as u32,
        path,
        dev: call.number("dev").unwrap_or(0) as u64,
        ino: call.number("ino").unwrap_or(0) as u64,
        marks,
        duration_ns: 0,
    }))
}

/// A path as the kernel would have found it, as far as the directory is known.
fn resolve(call: &Call<'_>, state: &State, dir: Option<i64>, path: &Text) -> (Text, PathMarks) {
    const AT_FDCWD: i64 = -100;
    let process = state.process(call.event.pid);
    let base = match dir {
        _ if path.starts_with(b"/") => None,
        None | Some(AT_FDCWD) => process.map(|process| &process.cwd),
        Some(fd) => process
            .zip(i32::try_from(fd).ok())
            .and_then(|(process, fd)| state.descriptor(process, fd))
            .map(|descriptor| &descriptor.path),
    };
    let base = base.filter(|base| base.starts_with(b"/"));
    if path.is_empty() || (base.is_none() && !path.starts_with(b"/")) {
        return (path.clone(), PathMarks(PathMarks::RELATIVE));
    }
    let mut whole = Vec::new();
    fold_path(base.map_or(&[][..], |base| base), path, &mut whole);
    (Text::from(whole), PathMarks::default())
}

fn exec(call: &Call<'_>, state: &State) -> EventData {
    const UPPER_LAYER: i64 = 2;
    const MEMFD: i64 = 4;
    let known = state.process(call.event.pid);
    let text = |name: &str| call.text(name).cloned().unwrap_or_default();
    let exe = text("exe");
    let filename = match call.one_text(&["filename", "pathname"]) {
        Some(name) if !name.is_empty() => name.clone(),
        _ => exe.clone(),
    };
    // As the kernel names it: after the file as it was called, wherever that led.
    let comm = match text("comm") {
        comm if !comm.is_empty() => comm,
        _ => {
            let name = filename.rsplit(|byte| *byte == b'/').next();
            let name = name.unwrap_or_default();
            Text::new(&name[..name.len().min(15)])
        }
    };
    let path = match text("trusted_exepath") {
        path if !path.is_empty() => path,
        _ => resolve(call, state, call.number("dirfd"), &filename).0,
    };
    let mut args = exe.to_vec();
    let rest = text("args");
    if !rest.is_empty() {
        args.push(0);
        args.extend_from_slice(rest.strip_suffix(&[0]).unwrap_or(&rest));
    }
    let flags = call.number("flags").unwrap_or(0);
    let mut bits = 0;
    if flags & MEMFD != 0 {
        bits |= ExecFlags::MEMFD;
    }
    if flags & UPPER_LAYER != 0 {
        bits |= ExecFlags::UPPER_LAYER;
    }
    let id = |name: &str, known: Option<u32>| match call.number(name) {
        Some(id) => id as u32,
        None => known.unwrap_or(0),
    };
    EventData::Exec(Exec {
        path,
        filename,
        args: Text::from(args),
        comm,
        ppid: call.number("ptid").unwrap_or(0) as u32,
        uid: id("uid", known.and_then(|process| process.uid)),
        gid: id("gid", known.and_then(|process| process.gid)),
        start_ns: known.map_or(0, |process| process.start_ns),
        dev: 0,
        ino: call.number("exe_ino").unwrap_or(0) as u64,
        flags: ExecFlags(bits),
        details: Some(Box::new(ExecDetails {
            cwd: text("cwd"),
            ns_pid: known.map_or(0, |process| process.ns_pid),
            process: details::of_exec(call, known),
        })),
    })
}

/// A clone comes back twice: in the parent with the child's id, in the child with 0. Whichever comes
/// first makes the child, the other one is only a call that succeeded.
fn born(call: &Call<'_>, state: &State, told: &mut Vec<Told>) {
    let result = call.result();
    let number = |name: &str| call.number(name).unwrap_or(0) as u32;
    let event = call.event;
    let flags = call.number("flags").unwrap_or(0) as u32;
    let in_namespace = call
        .number("vtid")
        .is_some_and(|vtid| vtid != i64::from(event.tid));
    let (parent, child_tid, child_pid) = match result {
        ..0 => (0, 0, 0),
        // A new thread: its process goes on.
        0 if event.tid != event.pid => (0, 0, 0),
        0 => (number("ptid"), event.tid, event.pid),
        // In a pid namespace the result is not the id that the capture uses elsewhere.
        _ if in_namespace => (0, 0, 0),
        child if flags & CLONE_THREAD != 0 => (event.pid, child as u32, event.pid),
        child => (event.pid, child as u32, child as u32),
    };
    let known = state.process(child_pid).is_some_and(|child| {
        // The id's last owner may have been somebody else.
        child.ppid == parent && child.start_ns + 1_000_000_000 > event.boot_ns
    });
    if parent != 0 && child_pid != parent && !known {
        told.push(Told::Event(Event {
            tid: parent,
            pid: parent,
            data: EventData::Fork(Fork {
                child_tid,
                child_pid,
                child_start_ns: event.boot_ns,
                child_ns_tid: 0,
            }),
            ..event.clone()
        }));
    } else if let Some(nr) = nr(call, state) {
        let mut args = [0; 6];
        args[0] = values::clone_flags(flags).into();
        let data = EventData::Syscall(Syscall {
            nr,
            ret: result,
            args,
            duration_ns: 0,
        });
        told.push(Told::Event(with(event, data)));
    }
}

fn exit(call: &Call<'_>) -> EventData {
    let status = call.number("status").unwrap_or(0);
    let code = call.number("ret").unwrap_or(status >> 8 & 0xff);
    EventData::Exit(Exit {
        code: code as u32 & 0xff,
        signal: call.number("sig").unwrap_or(status & 0x7f) as u32 & 0x7f,
        start_ns: 0,
        last_thread: call.event.tid == call.event.pid,
        usage: None,
    })
}

fn sock_call(call: &Call<'_>, state: &State) -> Option<EventData> {
    const AF_UNIX: u16 = 1;
    let ret = call.result();
    let mut ends = call.text("tuple").and_then(|bytes| values::tuple(bytes));
    let (mut local, mut remote) = (Endpoint::default(), Endpoint::default());
    match (call.name, &ends) {
        // The source is the other end.
        ("accept" | "accept4", Some(ends)) => {
            (local, remote) = (ends.destination.clone(), ends.source.clone());
        }
        (_, Some(ends)) => (local, remote) = (ends.source.clone(), ends.destination.clone()),
        (name, None) => {
            ends = call.text("addr").and_then(|bytes| values::address(bytes));
            let end = ends.as_ref().map(|ends| ends.source.clone());
            match name {
                "connect" => remote = end.unwrap_or_default(),
                _ => local = end.unwrap_or_default(),
            }
        }
    }
    let Ends {
        family, unix_path, ..
    } = ends.unwrap_or_default();
    let makes = matches!(call.name, "socket" | "accept" | "accept4");
    let fd = match makes {
        true => ret.max(-1),
        false => call.descriptor().unwrap_or(-1),
    };
    let domain = call.number("domain").map(|domain| domain as u16);
    Some(EventData::SockCall(SockCall {
        nr: nr(call, state)?,
        ret,
        fd: i32::try_from(fd).unwrap_or(-1),
        family: domain.unwrap_or(family),
        sock_type: call.number("type").map_or(0, |ty| ty as u16 & 0xf),
        local,
        remote,
        unix_path: if family == AF_UNIX {
            unix_path
        } else {
            Text::default()
        },
        marks: PathMarks::default(),
        interface: 0,
        duration_ns: 0,
    }))
}

fn path_call(call: &Call<'_>, state: &State) -> Option<EventData> {
    let first = call.one_text(&[
        "path", "name", "filename", "pathname", "oldpath", "target", "dev", "new_root",
    ]);
    let second = call.one_text(&["newpath", "linkpath", "dir", "put_old"]);
    let first = first.cloned().unwrap_or_default();
    let dirs = call.one_number(&["dirfd", "olddirfd", "olddir"]);
    let (path, marks) = match call.name {
        // What a link holds, and a device: names, not places.
        "symlink" | "symlinkat" | "mount" => (first, PathMarks::default()),
        _ => resolve(call, state, dirs, &first),
    };
    let path2 = second.map(|second| {
        let dirs = call.one_number(&["newdirfd", "newdir", "linkdirfd"]);
        resolve(call, state, dirs, second).0
    });
    let flags = call.one_number(&["flags", "mode"]).unwrap_or(0);
    Some(EventData::PathCall(PathCall {
        nr: nr(call, state)?,
        ret: call.result(),
        arg: if call.name.starts_with("exec") {
            0
        } else {
            flags as u64
        },
        path,
        path2: path2.unwrap_or_default(),
        marks,
        duration_ns: 0,
    }))
}

/// A call without a type of its own: all that is known is its number, not what it did.
fn generic(call: &Call<'_>) -> Option<EventData> {
    let nr = u32::try_from(call.number("nativeID")?).ok()?;
    Some(EventData::Syscall(Syscall {
        nr,
        ret: 0,
        args: [0; 6],
        duration_ns: 0,
    }))
}

/// Calls, and which of their parameters is which argument.
type Row = (&'static [&'static str], &'static [(&'static str, usize)]);

/// Which argument a parameter is, by its name: those that state and rules look at.
#[rustfmt::skip]
const ARGUMENTS: &[Row] = &[
    (&["read", "write", "pread", "pwrite", "sendto", "recvfrom"], &[("size", 2)]),
    (&["dup"], &[]),
    (&["dup2", "dup3"], &[("oldfd", 0), ("newfd", 1)]),
    (&["ioctl"], &[("request", 1), ("argument", 2)]),
    (&["setuid"], &[("uid", 0)]),
    (&["setgid"], &[("gid", 0)]),
    (&["setreuid"], &[("ruid", 0), ("euid", 1)]),
    (&["setregid"], &[("rgid", 0), ("egid", 1)]),
    (&["setresuid"], &[("ruid", 0), ("euid", 1), ("suid", 2)]),
    (&["setresgid"], &[("rgid", 0), ("egid", 1), ("sgid", 2)]),
    (&["kill"], &[("pid", 0), ("sig", 1)]),
    (&["tgkill"], &[("pid", 0), ("tid", 1), ("sig", 2)]),
    (&["tkill"], &[("tid", 0), ("sig", 1)]),
    (&["mmap"], &[("addr", 0), ("length", 1), ("prot", 2)]),
    (&["munmap"], &[("addr", 0), ("length", 1)]),
    (&["mprotect"], &[("addr", 0), ("length", 1), ("prot", 2)]),
    (&["madvise"], &[("addr", 0), ("length", 1)]),
    (&["brk"], &[("addr", 0)]),
    (&["lseek"], &[("offset", 1), ("whence", 2)]),
    (&["ftruncate"], &[("length", 1)]),
    (&["fchmod"], &[("mode", 1)]),
    (&["fchown"], &[("uid", 1), ("gid", 2)]),
    (&["finit_module"], &[("flags", 2)]),
    (&["init_module"], &[("length", 1)]),
    (&["setpgid"], &[("pid", 0), ("pgid", 1)]),
    (&["pidfd_open"], &[("pid", 0)]),
    (&["process_vm_readv", "process_vm_writev"], &[("pid", 0)]),
];

/// Calls of which a capture has the first bytes that passed.
const PASSING: [&str; 10] = [
    "read", "pread", "readv", "recvfrom", "recvmsg", "write", "pwrite", "writev", "sendto",
    "sendmsg",
];

/// Any other call by its number, with what it passed. Arguments that the capture names otherwise stay 0.
fn syscall(call: &Call<'_>, state: &State) -> Option<EventData> {
    let nr = nr(call, state)?;
    let mut args = [0u64; 6];
    if let Some(fd) = call.descriptor() {
        args[0] = fd as u64;
    }
    let table = ARGUMENTS.iter().find(|row| row.0.contains(&call.name));
    for (name, at) in table.map_or(&[][..], |row| row.1) {
        if let Some(value) = call.number(name) {
            args[*at] = value as u64;
        }
    }
    match call.name {
        "unshare" => args[0] = values::clone_flags(call.number("flags")? as u32).into(),
        "setns" => args[1] = values::clone_flags(call.number("nstype")? as u32).into(),
        // Portable commands: only those that duplicate matter here.
        "fcntl" => {
            args[1] = match call.number("cmd") {
                Some(1) => 0,
                Some(26) => 1030,
                Some(other) => 0x1_0000 | other as u64,
                None => 0x1_0000,
            };
        }
        _ => {}
    }
    let ret = match (call.name, call.exit.parameter(0)) {
        // An address: not an error, whatever its top bit.
        ("mmap" | "brk", Parameter::Value(Value::Unsigned(address))) => *address as i64,
        _ => call.result(),
    };
    let data = match PASSING.contains(&call.name) && ret > 0 {
        true => call.text("data").filter(|data| !data.is_empty()),
        false => None,
    };
    let call = Syscall {
        nr,
        ret,
        args,
        duration_ns: 0,
    };
    Some(match data {
        Some(data) => EventData::Payload(Payload {
            call,
            data: data.clone(),
        }),
        None => EventData::Syscall(call),
    })
}
