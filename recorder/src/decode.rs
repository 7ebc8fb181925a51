//! From the probes' records to events of the trace.
//!
//! The bytes come from our own probes, but paths in them can be anything, and the lengths are
//! checked all the same: a record that does not fit is refused and counted, never trusted.

use recorder_ebpf::{
    AccessRecord, CgroupRecord, CredentialsRecord, ExecRecord, ExitRecord, ForkRecord, Header,
    IoRecord, IpcRecord, NetRecord, OomKillRecord, OpenRecord, PassedRecord, PathCallRecord,
    PayloadRecord, SignalRecord, SockCallRecord, TaskUsage, TcpEventRecord, TcpStateRecord,
    UringRecord, abi, detail, ipc, kind, marks, passed, probe,
};
use trace_format::{
    Event, EventData, Text,
    event::{
        CgroupChange, CredentialMarks, Credentials, Dns, Endpoint, Exec, ExecDetails, ExecFlags,
        Exit, Fork, Http, Ipc, IpcKind, IpcMarks, OomKill, Open, PassedFd, PassedMarks, PathCall,
        PathMarks, Payload, Peer, ProcessAccess, Rights, Signal, SockCall, Syscall, TcpEvent,
        TcpState, TcpWhat, Usage,
    },
    syscalls::{self, Arch},
};

use crate::{calls::Call, details, dns, http, io_calls};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// Of x86-64; an aarch64 kernel may have larger ones, and says so nowhere in what it writes here.
const PAGE_BYTES: u64 = 4_096;

/// The event of a plain system call.
#[inline]
pub fn call(cpu: usize, call: Call) -> Event {
    let Call {
        record,
        seq,
        duration_ns,
        args,
    } = call;
    Event {
        boot_ns: record.boot_ns,
        cpu: cpu as u16,
        probe: probe::SYS_EXIT,
        seq,
        tid: record.pid_tgid as u32,
        pid: (record.pid_tgid >> 32) as u32,
        cgroup_id: record.cgroup_id,
        data: EventData::Syscall(Syscall {
            nr: u32::from(record.nr) | u32::from(record.abi) << abi::SHIFT,
            ret: record.ret,
            args,
            duration_ns,
        }),
    }
}

/// The event of a record of a ring buffer. None: it is not one of ours (another ABI, or damaged).
pub fn record(bytes: &[u8]) -> Option<Event> {
    let header: Header = fixed(bytes)?;
    let data = match header.kind {
        kind::OPEN => open(&fixed(bytes)?, variable::<OpenRecord>(bytes, &header)?)?,
        kind::PATH_CALL => path_call(&fixed(bytes)?, variable::<PathCallRecord>(bytes, &header)?)?,
        kind::SOCK_CALL => sock_call(&fixed(bytes)?, variable::<SockCallRecord>(bytes, &header)?),
        kind::FORK => fork(&fixed(bytes)?),
        kind::EXEC => exec(&fixed(bytes)?, variable::<ExecRecord>(bytes, &header)?)?,
        kind::EXIT => exit(&fixed(bytes)?),
        kind::TCP_STATE => tcp_state(&fixed(bytes)?),
        kind::IO => io(placed(bytes)?),
        kind::SIGNAL => signal(&fixed(bytes)?),
        kind::OOM_KILL => oom_kill(&fixed(bytes)?),
        kind::TCP_EVENT => tcp_event(&fixed(bytes)?),
        kind::URING => uring(&fixed(bytes)?),
        kind::IPC => ipc_call(&fixed(bytes)?, variable::<IpcRecord>(bytes, &header)?),
        kind::PROCESS_ACCESS => process_access(&fixed(bytes)?),
        kind::DNS => dns(&fixed(bytes)?, variable::<NetRecord>(bytes, &header)?),
        kind::HTTP => http(&fixed(bytes)?, variable::<NetRecord>(bytes, &header)?),
        kind::PEER => peer(&fixed(bytes)?, variable::<NetRecord>(bytes, &header)?),
        kind::CREDENTIALS => credentials(&fixed(bytes)?),
        kind::PAYLOAD => payload(&fixed(bytes)?, variable::<PayloadRecord>(bytes, &header)?),
        kind::PASSED_FD => passed_fd(&fixed(bytes)?, variable::<PassedRecord>(bytes, &header)?),
        kind::CGROUP => cgroup(&fixed(bytes)?, variable::<CgroupRecord>(bytes, &header)?),
        _ => return None,
    };
    Some(Event {
        boot_ns: header.boot_ns,
        cpu: header.cpu,
        probe: header.probe,
        seq: header.seq,
        tid: header.pid_tgid as u32,
        pid: (header.pid_tgid >> 32) as u32,
        cgroup_id: header.cgroup_id,
        data,
    })
}

/// The fixed part of a record.
fn fixed<T: Copy>(bytes: &[u8]) -> Option<T> {
    if bytes.len() < size_of::<T>() {
        return None;
    }
    // SAFETY: the length was checked; the ABI structs are repr(C) integers, for which any bits are valid.
    Some(unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast()) })
}

/// The same where it lies, for one that is large and at an aligned place: the kernel's rings have only such.
fn placed<T: Copy>(bytes: &[u8]) -> Option<&T> {
    let place = bytes.as_ptr().cast::<T>();
    let fits = bytes.len() >= size_of::<T>() && place.is_aligned();
    // SAFETY: length and place were checked; for the rest see above.
    fits.then(|| unsafe { &*place })
}

/// The variable part behind a fixed part `T`.
fn variable<'a, T>(bytes: &'a [u8], header: &Header) -> Option<&'a [u8]> {
    bytes.get(size_of::<T>()..)?.get(..header.data_len as usize)
}

/// Splits `len` bytes off the front.
fn take<'a>(data: &mut &'a [u8], len: u32) -> Option<&'a [u8]> {
    let (front, rest) = data.split_at_checked(len as usize)?;
    *data = rest;
    Some(front)
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or_default()
}

fn without_nul(bytes: &[u8]) -> &[u8] {
    bytes.strip_suffix(&[0]).unwrap_or(bytes)
}

/// Leaf-first components, each with its NUL, to an absolute path. A single name without a place
/// (memfd, pipe, socket) stays as it is.
fn absolute(components: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(components.len() + 1);
    for component in components
        .split(|&byte| byte == 0)
        .rev()
        .filter(|component| !component.is_empty())
    {
        if component != b"/" {
            path.push(b'/');
            path.extend_from_slice(component);
        }
    }
    if path.is_empty() {
        path.push(b'/');
    }
    path
}

/// What the caller wrote, made absolute with its directory where that is known.
fn joined(user: &[u8], directory: &[u8], marks: &mut u32) -> Vec<u8> {
    let user = without_nul(user);
    if user.is_empty() {
        // AT_EMPTY_PATH: the descriptor itself is meant.
        return if directory.is_empty() {
            Vec::new()
        } else {
            absolute(directory)
        };
    }
    if user.starts_with(b"/") {
        return folded(user);
    }
    if directory.is_empty() {
        *marks |= PathMarks::RELATIVE;
        return user.to_vec();
    }
    let mut path = absolute(directory);
    if path != b"/" {
        path.push(b'/');
    }
    path.extend_from_slice(user);
    folded(&path)
}

/// Folds `.`, `..` and doubled slashes of an absolute path, by text alone (symbolic links are not followed).
fn folded(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let mut folded = Vec::with_capacity(path.len());
    for part in parts {
        folded.push(b'/');
        folded.extend_from_slice(part);
    }
    if folded.is_empty() {
        folded.push(b'/');
    }
    folded
}

fn path_marks(kernel: u32) -> u32 {
    let mut bits = 0;
    for (from, to) in [
        (marks::UNTRUSTED, PathMarks::UNTRUSTED),
        (marks::CREATED, PathMarks::CREATED),
        (marks::CUT, PathMarks::CUT),
        (marks::LISTED, PathMarks::LISTED),
    ] {
        bits |= if kernel & from != 0 { to } else { 0 };
    }
    bits
}

/// The kernel's internal device number (20 bits of minor) as `makedev` of the C library writes it.
pub fn device(kernel: u32) -> u64 {
    let (major, minor) = (u64::from(kernel >> 20), u64::from(kernel & 0xf_ffff));
    ((major & 0xfff) << 8) | (minor & 0xff) | ((minor & !0xff) << 12)
}

fn open(record: &OpenRecord, mut data: &[u8]) -> Option<EventData> {
    let user = take(&mut data, record.user_len)?;
    let mut marks = path_marks(record.marks);
    let path = if user.is_empty() && record.ret >= 0 {
        absolute(data)
    } else {
        joined(user, data, &mut marks)
    };
    Some(EventData::Open(Open {
        nr: record.nr,
        ret: record.ret,
        flags: record.flags,
        mode: record.mode,
        path: path.into(),
        dev: device(record.dev),
        ino: record.ino,
        marks: PathMarks(marks),
        duration_ns: record.duration_ns,
    }))
}

fn path_call(record: &PathCallRecord, mut data: &[u8]) -> Option<EventData> {
    let mut marks = path_marks(record.marks);
    let mut next = |index: usize| -> Option<Text> {
        let user = take(&mut data, record.user_len[index])?;
        let directory = take(&mut data, record.dir_len[index])?;
        Some(joined(user, directory, &mut marks).into())
    };
    let (path, path2) = (next(0)?, next(1)?);
    Some(EventData::PathCall(PathCall {
        nr: record.nr,
        ret: record.ret,
        arg: record.arg,
        path,
        path2,
        marks: PathMarks(marks),
        duration_ns: record.duration_ns,
    }))
}

fn endpoint(family: u16, addr: &[u8; 16], port: u16) -> Endpoint {
    let addr = match family {
        AF_INET => Text::new(&addr[..4]),
        AF_INET6 => Text::new(addr),
        _ => return Endpoint::default(),
    };
    Endpoint { addr, port }
}

/// An abstract name starts with NUL and may hold more; a path ends at its first NUL.
fn unix_name(sun_path: &[u8]) -> &[u8] {
    match sun_path.first() {
        Some(0) => sun_path,
        _ => until_nul(sun_path),
    }
}

fn sock_call(record: &SockCallRecord, sun_path: &[u8]) -> EventData {
    let unix_path = unix_name(sun_path);
    EventData::SockCall(SockCall {
        nr: record.nr,
        ret: record.ret,
        fd: record.fd,
        family: record.family,
        sock_type: record.sock_type,
        local: endpoint(record.family, &record.local, record.local_port),
        remote: endpoint(record.family, &record.remote, record.remote_port),
        unix_path: Text::new(unix_path),
        marks: PathMarks(path_marks(record.marks)),
        interface: record.interface,
        duration_ns: record.duration_ns,
    })
}

fn dns(record: &NetRecord, message: &[u8]) -> EventData {
    let mut event = Dns {
        fd: record.fd,
        sent: record.sent != 0,
        family: record.family,
        local: endpoint(record.family, &record.local, record.local_port),
        remote: endpoint(record.family, &record.remote, record.remote_port),
        ..Dns::default()
    };
    dns::read(message, &mut event);
    EventData::Dns(event)
}

fn http(record: &NetRecord, message: &[u8]) -> EventData {
    let mut event = Http {
        fd: record.fd,
        sent: record.sent != 0,
        family: record.family,
        local: endpoint(record.family, &record.local, record.local_port),
        remote: endpoint(record.family, &record.remote, record.remote_port),
        ..Http::default()
    };
    http::read(message, &mut event);
    EventData::Http(event)
}

fn peer(record: &NetRecord, sun_path: &[u8]) -> EventData {
    EventData::Peer(Peer {
        fd: record.fd,
        sent: record.sent != 0,
        family: record.family,
        sock_type: record.sock_type,
        local: endpoint(record.family, &record.local, record.local_port),
        remote: endpoint(record.family, &record.remote, record.remote_port),
        unix_path: Text::new(unix_name(sun_path)),
        peer_pid: record.peer_pid,
        peer_cgroup_id: record.peer_cgroup_id,
    })
}

fn passed_fd(record: &PassedRecord, components: &[u8]) -> EventData {
    const MARKS: [(u32, u32); 6] = [
        (passed::SENDER_SEEN, PassedMarks::SENDER_SEEN),
        (passed::CUT, PassedMarks::CUT),
        (passed::PATH_CUT, PassedMarks::PATH_CUT),
        (passed::NOWHERE, PassedMarks::NOWHERE),
        (passed::READABLE, PassedMarks::READABLE),
        (passed::WRITABLE, PassedMarks::WRITABLE),
    ];
    let marks = MARKS.iter().filter(|(bit, _)| record.marks & bit != 0);
    let marks = marks.fold(0, |all, (_, mark)| all | mark);
    let path = match record.marks & passed::NOWHERE {
        0 => absolute(components).into(),
        _ => Text::new(until_nul(components)),
    };
    EventData::PassedFd(PassedFd {
        fd: record.fd,
        sent: record.sent != 0,
        socket: record.socket,
        count: record.count,
        place: record.place,
        mode: record.mode,
        path,
        dev: device(record.dev),
        ino: record.ino,
        peer_pid: record.peer_pid,
        peer_cgroup_id: record.peer_cgroup_id,
        marks: PassedMarks(marks),
    })
}

fn fork(record: &ForkRecord) -> EventData {
    EventData::Fork(Fork {
        child_tid: record.child_tid,
        child_pid: record.child_pid,
        child_start_ns: record.child_start_ns,
        child_ns_tid: record.child_ns_tid,
    })
}

fn exec(record: &ExecRecord, mut data: &[u8]) -> Option<EventData> {
    let filename = without_nul(take(&mut data, record.filename_len)?);
    let path = absolute(take(&mut data, record.path_len)?);
    let components = take(&mut data, record.cwd_len)?;
    // The root has no components.
    let cwd = if record.details.known & detail::CWD != 0 {
        absolute(components).into()
    } else {
        Text::default()
    };
    let args = without_nul(take(&mut data, record.args_len)?);
    let mut flags = 0;
    if record.details.upper != 0 {
        flags |= ExecFlags::UPPER_LAYER;
    }
    if record.nlink == 0 {
        // shmem_file_setup clears the link count: a memfd was never on a file system.
        flags |= if path.starts_with(b"/memfd:") {
            ExecFlags::MEMFD
        } else {
            ExecFlags::DELETED
        };
    }
    if record.args_len < record.args_total {
        flags |= ExecFlags::ARGS_CUT;
    }
    let comm = until_nul(&record.comm);
    Some(EventData::Exec(Exec {
        path: path.into(),
        filename: Text::new(filename),
        args: Text::new(args),
        comm: Text::new(comm),
        ppid: record.ppid,
        uid: record.uid,
        gid: record.gid,
        start_ns: record.start_ns,
        dev: device(record.dev),
        ino: record.ino,
        flags: ExecFlags(flags),
        details: Some(Box::new(ExecDetails {
            cwd,
            ns_pid: record.details.ns_pid,
            process: details::of_task(&record.details),
        })),
    }))
}

/// The kernel's `S_ISUID`, `S_ISGID`, and `S_IXGRP`, without which the second means something else.
const SET_USER_ID: u32 = 0o4000;
const SET_GROUP_ID: u32 = 0o2010;

fn credentials(record: &CredentialsRecord) -> EventData {
    let mut marks = 0;
    if record.before_known != 0 {
        marks |= CredentialMarks::BEFORE_KNOWN;
    }
    if record.mode & SET_USER_ID != 0 {
        marks |= CredentialMarks::SET_USER_ID;
    }
    if record.mode & SET_GROUP_ID == SET_GROUP_ID {
        marks |= CredentialMarks::SET_GROUP_ID;
    }
    let nr = match record.nr {
        CredentialsRecord::EXEC => Arch::native().and_then(|arch| syscalls::number(arch, "execve")),
        nr => Some(nr),
    };
    EventData::Credentials(Credentials {
        nr: nr.unwrap_or(u32::MAX),
        marks: CredentialMarks(marks),
        after: rights(&record.after.rights),
        before: rights(&record.before),
    })
}

fn rights(of: &recorder_ebpf::Rights) -> Rights {
    Rights {
        uid: of.uid,
        euid: of.euid,
        suid: of.suid,
        gid: of.gid,
        egid: of.egid,
        sgid: of.sgid,
        cap_effective: of.cap_effective,
        cap_permitted: of.cap_permitted,
        user_ns: of.user_ns,
    }
}

fn exit(record: &ExitRecord) -> EventData {
    EventData::Exit(Exit {
        code: (record.exit_code >> 8) & 0xff,
        signal: record.exit_code & 0x7f,
        start_ns: record.start_ns,
        last_thread: record.live == 0,
        usage: (record.usage_known != 0).then(|| usage(record)),
    })
}

/// CPU time in the way of `cputime_adjust` (kernel/sched/cputime.c), as wait4 tells it: the sum is exact, and
/// its parts are as those of the ticks.
fn usage(record: &ExitRecord) -> Usage {
    let TaskUsage {
        runtime_ns,
        user_ns,
        system_ns,
        minor_faults,
        major_faults,
    } = record.usage;
    let ticks = u128::from(user_ns) + u128::from(system_ns);
    let system = (u128::from(runtime_ns) * u128::from(system_ns))
        .checked_div(ticks)
        .map_or(0, |system| system as u64);
    Usage {
        user_ns: runtime_ns - system,
        system_ns: system,
        max_rss_bytes: record.max_rss_pages.saturating_mul(PAGE_BYTES),
        minor_faults,
        major_faults,
    }
}

fn tcp_state(record: &TcpStateRecord) -> EventData {
    EventData::TcpState(TcpState {
        old: record.old,
        new: record.new,
        family: record.family,
        local: endpoint(record.family, &record.local, record.local_port),
        remote: endpoint(record.family, &record.remote, record.remote_port),
        sock: record.sock_id,
        latency_ns: record.latency_ns,
        sent_bytes: record.sent_bytes,
        received_bytes: record.received_bytes,
        duration_ns: record.duration_ns,
        error: record.error as u16,
    })
}

/// What was counted of a descriptor, in a record that gave an event of it.
pub fn io_count(bytes: &[u8]) -> Option<&recorder_ebpf::IoCount> {
    Some(&placed::<IoRecord>(bytes)?.count)
}

fn io(record: &IoRecord) -> EventData {
    let device = device(record.count.dev);
    EventData::Io(io_calls::event(record.fd, &record.count, device))
}

fn signal(record: &SignalRecord) -> EventData {
    EventData::Signal(Signal {
        signal: record.signal,
        code: record.code,
        target_tid: record.target_tid,
        target_pid: record.target_pid,
        to_group: record.to_group != 0,
        outcome: record.outcome as u8,
    })
}

fn oom_kill(record: &OomKillRecord) -> EventData {
    EventData::OomKill(OomKill {
        comm: Text::new(until_nul(&record.comm)),
        uid: record.uid,
        total_vm_bytes: record.total_vm_pages.saturating_mul(PAGE_BYTES),
        score_adj: record.score_adj,
        trigger_pid: record.trigger_pid,
    })
}

fn tcp_event(record: &TcpEventRecord) -> EventData {
    EventData::TcpEvent(TcpEvent {
        what: TcpWhat(record.what),
        state: record.state,
        family: record.family,
        local: endpoint(record.family, &record.local, record.local_port),
        remote: endpoint(record.family, &record.remote, record.remote_port),
        sock: record.sock_id,
    })
}

fn uring(record: &UringRecord) -> EventData {
    EventData::Syscall(Syscall {
        nr: syscalls::IO_URING | record.opcode,
        ret: 0,
        args: [record.fd as i64 as u64, record.user_data, 0, 0, 0, 0],
        duration_ns: 0,
    })
}

fn payload(record: &PayloadRecord, data: &[u8]) -> EventData {
    let mut call = Syscall {
        nr: record.nr,
        ret: record.ret,
        args: [0; 6],
        duration_ns: record.duration_ns,
    };
    let count = record.arity.min(6) as usize;
    call.args[..count].copy_from_slice(&record.args[..count]);
    EventData::Payload(Payload {
        call,
        data: Text::new(data),
    })
}

fn ipc_call(record: &IpcRecord, name: &[u8]) -> EventData {
    let mut bits = 0;
    if record.marks & marks::UNTRUSTED != 0 {
        bits |= IpcMarks::UNTRUSTED;
    }
    if record.marks & ipc::KEY_KNOWN != 0 {
        bits |= IpcMarks::KEY_KNOWN;
    }
    EventData::Ipc(Ipc {
        nr: record.nr,
        ret: record.ret,
        kind: IpcKind(record.kind as u8),
        id: record.id,
        key: record.key,
        namespace: record.namespace,
        size: record.size,
        arg: record.arg,
        name: queue_name(until_nul(name)),
        calls: record.calls,
        marks: IpcMarks(bits),
    })
}

/// With the slash that programs give it, which the C library takes away before the call.
fn queue_name(name: &[u8]) -> Text {
    match name {
        [] => Text::default(),
        [b'/', ..] => Text::new(name),
        _ => [b"/", name].concat().into(),
    }
}

fn process_access(record: &AccessRecord) -> EventData {
    EventData::ProcessAccess(ProcessAccess {
        nr: record.nr,
        ret: record.ret,
        target_pid: record.target_pid,
        target_tid: record.target_tid,
        target_cgroup: record.target_cgroup,
        arg: record.arg,
        calls: record.calls,
    })
}

fn cgroup(record: &CgroupRecord, path: &[u8]) -> EventData {
    EventData::Cgroup(CgroupChange {
        id: record.id,
        path: Text::new(without_nul(path)),
        removed: record.removed != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_become_a_path() {
        assert_eq!(absolute(b"passwd\0etc\0"), b"/etc/passwd");
        assert_eq!(absolute(b""), b"/");
        assert_eq!(absolute(b"memfd:x\0"), b"/memfd:x");
    }

    #[test]
    fn relative_paths_use_their_directory_and_say_when_they_have_none() {
        let mut marks = 0;
        assert_eq!(joined(b"../b\0", b"a\0home\0", &mut marks), b"/home/b");
        assert_eq!(joined(b"/x\0", b"", &mut marks), b"/x");
        assert_eq!(
            joined(b"/tmp/..//etc/./shadow\0", b"", &mut marks),
            b"/etc/shadow"
        );
        assert_eq!(joined(b"\0", b"a\0home\0", &mut marks), b"/home/a");
        assert_eq!(marks, 0);
        assert_eq!(joined(b"x\0", b"", &mut marks), b"x");
        assert_eq!(marks, PathMarks::RELATIVE);
    }

    #[test]
    fn cpu_time_is_split_as_wait4_splits_it() {
        let record = |runtime_ns, user_ns, system_ns| ExitRecord {
            header: Header::default(),
            start_ns: 0,
            exit_code: 0,
            live: 0,
            usage: TaskUsage {
                runtime_ns,
                user_ns,
                system_ns,
                ..TaskUsage::default()
            },
            max_rss_pages: 2,
            usage_known: 1,
            reserved: 0,
        };
        for (told, expected) in [
            ((1_000, 0, 0), (1_000, 0)),
            ((1_000, 4_000_000, 0), (1_000, 0)),
            ((1_000, 0, 4_000_000), (0, 1_000)),
            ((12_000_000, 8_000_000, 4_000_000), (8_000_000, 4_000_000)),
            (
                (u64::MAX, u64::MAX, u64::MAX),
                (u64::MAX / 2 + 1, u64::MAX / 2),
            ),
        ] {
            let (runtime, user, system) = told;
            let used = usage(&record(runtime, user, system));
            assert_eq!((used.user_ns, used.system_ns), expected, "{told:?}");
            assert_eq!(used.max_rss_bytes, 8_192);
        }
    }

    #[test]
    fn a_record_cut_anywhere_is_refused() {
        let header = Header {
            kind: kind::OPEN,
            data_len: 9,
            ..Header::default()
        };
        let record = OpenRecord {
            header,
            ret: 3,
            ino: 1,
            dev: 0x800001,
            nr: 257,
            flags: 0,
            mode: 0,
            user_len: 0,
            marks: 0,
            duration_ns: 0,
        };
        // SAFETY: a repr(C) struct without padding, read as its bytes.
        let fixed = unsafe {
            std::slice::from_raw_parts((&raw const record).cast::<u8>(), size_of::<OpenRecord>())
        };
        let bytes = [fixed, b"hosts\0etc"].concat();
        assert!(super::record(&bytes).is_some());
        for cut in 0..bytes.len() {
            assert!(super::record(&bytes[..cut]).is_none(), "cut at {cut}");
        }
    }
}
