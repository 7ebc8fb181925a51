//! Descriptors that go through unix sockets, for the table of kinds: each that is sent or received, with its
//! file and who sent it, and nothing for messages without any.

use std::{
    fs::{self, File},
    net::TcpListener,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::{
            fs::MetadataExt,
            net::{UnixDatagram, UnixStream},
        },
    },
    path::Path,
    time::{Duration, Instant},
};

use trace_format::{
    Context, ContextRecord, Event, EventData,
    event::{PassedFd, PassedMarks},
};

use super::{
    MACHINE, TIMES,
    actor::Place,
    of, pipe,
    support::{self, Recording, Trace, read},
};

/// What the recorder tells of one call (`PASSED_FDS_MAX` of the probes), and more than that.
const TOLD: usize = 32;
const MANY: usize = 40;

/// What was passed: path, inode, device, marks but for who sent it.
type What = (String, u64, u64, u32);

#[derive(Default)]
pub struct Done {
    /// Descriptors of the socket that sent, and of the one that received.
    plain: [RawFd; 2],
    files: Vec<(RawFd, What)>,
    empty: [RawFd; 2],
    peeked: [RawFd; 2],
    cut: [RawFd; 2],
    no_room: [RawFd; 2],
    many: [RawFd; 2],
    beside: [RawFd; 2],
    several: [RawFd; 2],
    /// Nothing is to be told of these.
    silent: Vec<RawFd>,
    inherited: (RawFd, u32),
    across: Option<Across>,
    /// They have their numbers to themselves for as long as anything is passed.
    open: Vec<OwnedFd>,
}

/// Two processes, each in the cgroup of a container, and the ids of these.
struct Across {
    sender: u32,
    receiver: u32,
    cgroups: [u64; 2],
}

/// A buffer for control data, aligned as the kernel wants it.
type Control = [u64; 64];

/// Appends a control message; `at` is where the next one goes.
fn put(control: &mut Control, at: &mut usize, kind: i32, data: &[i32]) {
    let len = 16 + data.len() * 4;
    let words = &mut control[*at / 8..];
    words[0] = len as u64;
    words[1] = libc::SOL_SOCKET as u64 | (kind as u64) << 32;
    for (at, number) in data.iter().enumerate() {
        words[2 + at / 2] |= u64::from(*number as u32) << (at % 2 * 32);
    }
    *at += len.next_multiple_of(8);
}

fn rights(fds: &[RawFd]) -> (Control, usize) {
    let (mut control, mut at) = ([0; 64], 0);
    put(&mut control, &mut at, libc::SCM_RIGHTS, fds);
    (control, at)
}

/// sendmsg with these bytes and this control data.
fn send(socket: RawFd, bytes: &[u8], control: &Control, len: usize) -> isize {
    let mut vector = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: everything is as long as said, and lives while the call lasts.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut vector;
        message.msg_iovlen = 1;
        message.msg_control = control.as_ptr().cast_mut().cast();
        message.msg_controllen = len;
        libc::sendmsg(socket, &raw const message, 0)
    }
}

/// recvmsg with room for that many bytes of control data; the descriptors that came.
fn receive(socket: RawFd, room: usize, flags: i32) -> Vec<OwnedFd> {
    let mut byte = [0u8; 8];
    let mut control: Control = [0; 64];
    let mut vector = libc::iovec {
        iov_base: byte.as_mut_ptr().cast(),
        iov_len: byte.len(),
    };
    let mut received = Vec::new();
    // SAFETY: as above; what the kernel wrote there are descriptors that nobody else owns.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut vector;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = room;
        assert!(libc::recvmsg(socket, &raw mut message, flags) >= 0);
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while !header.is_null() {
            if (*header).cmsg_type == libc::SCM_RIGHTS {
                let fds = libc::CMSG_DATA(header).cast::<i32>();
                for at in 0..((*header).cmsg_len - 16) / 4 {
                    received.push(OwnedFd::from_raw_fd(fds.add(at).read_unaligned()));
                }
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    received
}

const ROOM: usize = size_of::<Control>();

fn memfd(name: &std::ffi::CStr) -> OwnedFd {
    // SAFETY: a new descriptor, or an error.
    unsafe {
        let fd = libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC);
        assert!(fd >= 0);
        OwnedFd::from_raw_fd(fd)
    }
}

pub fn act(dir: &Path, done: &mut Done) {
    let path = dir.join("handed");
    fs::write(&path, "x").unwrap();
    let file = OwnedFd::from(File::open(&path).unwrap());
    let (out, into) = pipe();
    let listener = OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
    let memory = memfd(c"handed");
    let (read, write) = (PassedMarks::READABLE, PassedMarks::WRITABLE);
    let nowhere = PassedMarks::NOWHERE;
    for (fd, name, marks) in [
        (&file, path.to_str().unwrap(), read),
        (&memory, "memfd:handed", nowhere | read | write),
        (&out, "", nowhere | read),
        (&listener, "TCP", nowhere | read | write),
    ] {
        let meta = File::from(fd.try_clone().unwrap()).metadata().unwrap();
        let what = (name.to_owned(), meta.ino(), meta.dev(), marks);
        done.files.push((fd.as_raw_fd(), what));
    }
    let all: Vec<RawFd> = done.files.iter().map(|(fd, _)| *fd).collect();
    let (control, len) = rights(&all);

    let [from, to] = streams(done);
    done.plain = [from, to];
    for _ in 0..TIMES {
        assert_eq!(send(from, b"x", &control, len), 1);
        assert_eq!(receive(to, ROOM, 0).len(), all.len());
    }

    let (one, one_len) = rights(&all[1..2]);
    let [from, to] = datagrams(done);
    done.empty = [from, to];
    assert_eq!(send(from, b"", &one, one_len), 0);
    assert_eq!(receive(to, ROOM, 0).len(), 1);

    let [from, to] = streams(done);
    done.peeked = [from, to];
    assert_eq!(send(from, b"x", &one, one_len), 1);
    assert_eq!(receive(to, ROOM, libc::MSG_PEEK).len(), 1);
    assert_eq!(receive(to, ROOM, 0).len(), 1);

    // Room for two of four, and for none.
    let [from, to] = streams(done);
    done.cut = [from, to];
    assert_eq!(send(from, b"x", &control, len), 1);
    assert_eq!(receive(to, 24, 0).len(), 2);
    let [from, to] = streams(done);
    done.no_room = [from, to];
    assert_eq!(send(from, b"x", &control, len), 1);
    assert_eq!(receive(to, 0, 0).len(), 0);

    let (many, many_len) = rights(&[all[0]; MANY]);
    let [from, to] = streams(done);
    done.many = [from, to];
    assert_eq!(send(from, b"x", &many, many_len), 1);
    assert_eq!(receive(to, ROOM, 0).len(), MANY);

    beside_others(done, all[1]);
    several_at_once(done, all[0]);
    without_any(done);
    inherited(done, all[1]);
    across(done);
    done.open.extend([file, out, into, listener, memory]);
}

fn streams(done: &mut Done) -> [RawFd; 2] {
    let (from, to) = UnixStream::pair().unwrap();
    kept(done, from.into(), to.into())
}

fn datagrams(done: &mut Done) -> [RawFd; 2] {
    let (from, to) = UnixDatagram::pair().unwrap();
    kept(done, from.into(), to.into())
}

fn kept(done: &mut Done, from: OwnedFd, to: OwnedFd) -> [RawFd; 2] {
    let fds = [from.as_raw_fd(), to.as_raw_fd()];
    done.open.extend([from, to]);
    fds
}

fn pass_credentials(socket: RawFd) {
    let on = 1i32;
    // SAFETY: a value of four bytes.
    let set = unsafe {
        libc::setsockopt(
            socket,
            libc::SOL_SOCKET,
            libc::SO_PASSCRED,
            (&raw const on).cast(),
            4,
        )
    };
    assert_eq!(set, 0);
}

/// pid, uid, gid: `struct ucred`.
fn own_credentials() -> [i32; 3] {
    // SAFETY: calls without preconditions.
    unsafe { [libc::getpid(), libc::getuid() as i32, libc::getgid() as i32] }
}

/// Behind credentials, on both sides.
fn beside_others(done: &mut Done, fd: RawFd) {
    let [from, to] = streams(done);
    pass_credentials(to);
    let (mut control, mut at) = ([0; 64], 0);
    put(
        &mut control,
        &mut at,
        libc::SCM_CREDENTIALS,
        &own_credentials(),
    );
    put(&mut control, &mut at, libc::SCM_RIGHTS, &[fd]);
    assert_eq!(send(from, b"x", &control, at), 1);
    assert_eq!(receive(to, ROOM, 0).len(), 1);
    done.beside = [from, to];
}

/// Two messages of a call.
fn several_at_once(done: &mut Done, fd: RawFd) {
    let [from, to] = datagrams(done);
    done.several = [from, to];
    let (control, len) = rights(&[fd]);
    let mut received: [Control; 2] = [[0; 64]; 2];
    let mut bytes = [0u8; 2];
    let mut vector = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: 1,
    };
    // SAFETY: everything is as long as said.
    unsafe {
        let mut messages: [libc::mmsghdr; 2] = std::mem::zeroed();
        for message in &mut messages {
            message.msg_hdr.msg_iov = &raw mut vector;
            message.msg_hdr.msg_iovlen = 1;
            message.msg_hdr.msg_control = control.as_ptr().cast_mut().cast();
            message.msg_hdr.msg_controllen = len;
        }
        assert_eq!(libc::sendmmsg(from, messages.as_mut_ptr(), 2, 0), 2);
        for (message, room) in messages.iter_mut().zip(&mut received) {
            message.msg_hdr.msg_control = room.as_mut_ptr().cast();
            message.msg_hdr.msg_controllen = ROOM;
        }
        let none = std::ptr::null_mut();
        assert_eq!(libc::recvmmsg(to, messages.as_mut_ptr(), 2, 0, none), 2);
    }
    for control in received {
        let fd = control[2] as i32;
        // SAFETY: the kernel wrote its number there, behind the header.
        done.open.push(unsafe { OwnedFd::from_raw_fd(fd) });
    }
}

/// Credentials alone, nothing, what cannot be read, and what is no descriptor.
fn without_any(done: &mut Done) {
    let [from, to] = streams(done);
    pass_credentials(to);
    let (mut control, mut at) = ([0; 64], 0);
    put(
        &mut control,
        &mut at,
        libc::SCM_CREDENTIALS,
        &own_credentials(),
    );
    assert_eq!(send(from, b"x", &control, at), 1);
    assert_eq!(receive(to, ROOM, 0).len(), 0);
    assert_eq!(send(from, b"x", &[0; 64], 0), 1);
    assert_eq!(receive(to, ROOM, 0).len(), 0);
    let (wrong, len) = rights(&[-1]);
    assert_eq!(send(from, b"x", &wrong, len), -1);
    // A length that is longer than all, and one that is too short.
    for claimed in [4_096, 8] {
        let (mut control, len) = rights(&[to]);
        control[0] = claimed;
        assert_eq!(send(from, b"x", &control, len), -1, "{claimed}");
    }
    // SAFETY: the kernel refuses the address.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_control = 8 as *mut _;
        message.msg_controllen = 24;
        assert_eq!(libc::sendmsg(from, &raw const message, 0), -1);
    }
    done.silent = vec![from, to];
}

/// A child sends through its parent's socket: the socket itself knows who made it only.
fn inherited(done: &mut Done, fd: RawFd) {
    let [from, to] = streams(done);
    let (control, len) = rights(&[fd]);
    // SAFETY: the child of a process with threads makes two system calls.
    unsafe {
        let child = libc::fork();
        assert!(child >= 0);
        if child == 0 {
            let sent = send(from, b"x", &control, len);
            libc::_exit(i32::from(sent != 1));
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
        assert_eq!(status, 0);
        done.inherited = (to, child as u32);
    }
    assert_eq!(receive(to, ROOM, 0).len(), 1);
}

/// From one container's cgroup to another one's.
fn across(done: &mut Done) {
    let (Some(here), Some(there)) = (Place::make(0x51), Place::make(0x52)) else {
        support::skip("no v2 hierarchy to make cgroups in");
        return;
    };
    let [from, to] = streams(done);
    let memory = memfd(c"across");
    let (control, len) = rights(&[memory.as_raw_fd()]);
    let in_place = |place: &Place, act: &dyn Fn() -> bool| {
        let (out, into) = pipe();
        // SAFETY: the child makes system calls, and a value of the stack for each.
        unsafe {
            let child = libc::fork();
            assert!(child >= 0);
            if child == 0 {
                let mut go = 0u8;
                libc::read(out.as_raw_fd(), (&raw mut go).cast(), 1);
                libc::_exit(i32::from(!act()));
            }
            fs::write(place.dir.join("cgroup.procs"), child.to_string()).unwrap();
            assert_eq!(libc::write(into.as_raw_fd(), [1u8].as_ptr().cast(), 1), 1);
            let mut status = 0;
            assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
            assert_eq!(status, 0);
            child as u32
        }
    };
    let sender = in_place(&here, &|| send(from, b"x", &control, len) == 1);
    let receiver = in_place(&there, &|| receive(to, ROOM, 0).len() == 1);
    let cgroups = [&here, &there].map(|place| fs::metadata(&place.dir).unwrap().ino());
    done.across = Some(Across {
        sender,
        receiver,
        cgroups,
    });
}

fn passed(trace: &Trace, pid: u32) -> impl Iterator<Item = (&Event, &PassedFd)> {
    of(trace, pid).filter_map(|event| match &event.data {
        EventData::PassedFd(passed) => Some((event, passed)),
        _ => None,
    })
}

pub fn both_ways(trace: &Trace, done: &super::Done) {
    let through = |socket: RawFd| -> Vec<&PassedFd> {
        passed(trace, done.pid)
            .map(|(_, passed)| passed)
            .filter(|passed| passed.socket == socket)
            .collect()
    };
    let cgroup = of(trace, done.pid).next().unwrap().cgroup_id;
    let all = &done.passing.files;
    for (socket, sent) in done.passing.plain.into_iter().zip([true, false]) {
        let found = through(socket);
        assert_eq!(found.len(), all.len() * TIMES, "{found:?}");
        for (at, found) in found.into_iter().enumerate() {
            let place = at % all.len();
            let (fd, what) = &all[place];
            assert_eq!(found.sent, sent);
            assert_eq!(
                (found.place as usize, found.count as usize),
                (place, all.len())
            );
            // Who sends knows it by its own number; who receives gets a new one.
            assert_eq!(found.fd == *fd, sent, "{found:?}");
            assert_eq!((found.peer_pid, found.peer_cgroup_id), (done.pid, cgroup));
            let seen = if sent { 0 } else { PassedMarks::SENDER_SEEN };
            let is = (
                found.path.to_string_lossy().into_owned(),
                found.ino,
                found.dev,
            );
            let (path, ino, dev, marks) = what.clone();
            assert_eq!((is, found.marks.0), ((path, ino, dev), marks | seen));
        }
    }
    let counts = |sockets: [RawFd; 2]| sockets.map(|socket| through(socket).len());
    assert_eq!(counts(done.passing.empty), [1, 1]);
    assert_eq!(counts(done.passing.peeked), [1, 2], "who peeks gets it too");
    assert_eq!(counts(done.passing.beside), [1, 1]);
    assert_eq!(counts(done.passing.several), [2, 2]);
    assert_eq!(counts(done.passing.many), [TOLD, TOLD]);
    for found in through(done.passing.many[1]) {
        assert_eq!(found.count as usize, MANY);
    }
    assert_eq!(counts(done.passing.cut), [4, 2]);
    for (found, (_, what)) in through(done.passing.cut[1]).into_iter().zip(all) {
        assert_eq!((found.count, found.ino), (2, what.1));
        assert!(found.marks.has(PassedMarks::CUT), "{found:?}");
    }
    assert_eq!(counts(done.passing.no_room), [4, 0]);
    for socket in &done.passing.silent {
        assert_eq!(through(*socket), Vec::<&PassedFd>::new());
    }
    let (socket, child) = done.passing.inherited;
    let found = through(socket);
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].peer_pid, found[0].peer_cgroup_id),
        (child, cgroup)
    );
    assert!(found[0].marks.has(PassedMarks::SENDER_SEEN));
    if let Some(across) = &done.passing.across {
        went_across(trace, across);
    }
}

/// Descriptors that are read from in each second: more than the probes count (`IO_MAX`).
const CROWD: usize = 9_000;

#[test]
fn who_fills_the_table_of_descriptors_hides_nothing_behind_it() {
    crate::needs_kernel!();
    let _machine = MACHINE.lock();
    let hard = 2 * CROWD as u64;
    let mut limit = libc::rlimit {
        rlim_cur: hard,
        rlim_max: hard,
    };
    // SAFETY: a value of the kernel's layout. Root may raise it.
    unsafe {
        let mut now: libc::rlimit = std::mem::zeroed();
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut now), 0);
        limit.rlim_max = limit.rlim_max.max(now.rlim_max);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
    }
    let dir = tempfile::tempdir().unwrap();
    let recording = Recording::start(&dir.path().join("trace.zst"), &[]);
    let path = recording.trace.clone();
    let crowd: Vec<OwnedFd> = (0..CROWD)
        .map(|_| {
            // SAFETY: a new descriptor, or an error.
            unsafe {
                let fd = libc::eventfd(0, libc::EFD_NONBLOCK);
                assert!(fd >= 0);
                OwnedFd::from_raw_fd(fd)
            }
        })
        .collect();
    let (from, to) = UnixStream::pair().unwrap();
    let memory = memfd(c"crowd");
    let (control, len) = rights(&[memory.as_raw_fd()]);
    let (mut rounds, begun) = (0, Instant::now());
    while begun.elapsed() < Duration::from_secs(3) {
        for fd in &crowd {
            // SAFETY: a buffer of eight bytes, of which none is filled.
            let got = unsafe { libc::read(fd.as_raw_fd(), (&raw mut limit).cast(), 8) };
            assert_eq!(got, -1);
        }
        assert_eq!(send(from.as_raw_fd(), b"x", &control, len), 1);
        assert_eq!(receive(to.as_raw_fd(), ROOM, 0).len(), 1);
        rounds += 1;
    }
    recording.stop();
    let trace = read(&path);
    let own = std::process::id();
    let told = |sent: bool| passed(&trace, own).filter(move |(_, it)| it.sent == sent);
    let lost = trace
        .counters()
        .values()
        .map(|(_, dropped)| dropped)
        .sum::<u64>();
    if lost > 0 {
        support::skip(&format!(
            "{lost} events were dropped: the machine is too busy"
        ));
        return;
    }
    assert_eq!([told(true).count(), told(false).count()], [rounds; 2]);
    // A call that found no room is an event of its own: the table was full.
    let apart = of(&trace, own).filter(|event| {
        matches!(&event.data, EventData::Syscall(call)
            if i64::from(call.nr) == libc::SYS_recvmsg && call.args[0] == to.as_raw_fd() as u64)
    });
    assert!(apart.count() > 0, "the table was never full");
}

fn went_across(trace: &Trace, across: &Across) {
    let one = |pid: u32| {
        let found: Vec<_> = passed(trace, pid).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        found[0]
    };
    let (event, sent) = one(across.sender);
    assert_eq!((sent.sent, event.cgroup_id), (true, across.cgroups[0]));
    let (event, received) = one(across.receiver);
    assert_eq!((received.sent, event.cgroup_id), (false, across.cgroups[1]));
    let peer = (received.peer_pid, received.peer_cgroup_id);
    assert_eq!(peer, (across.sender, across.cgroups[0]), "{received:?}");
    assert_eq!(received.path.to_vec(), b"memfd:across");
    assert_eq!((sent.ino, sent.dev), (received.ino, received.dev));
    // Both are told of, so that a reader can say that they are not the same.
    for cgroup in across.cgroups {
        let is = |record: &ContextRecord| matches!(&record.body, Context::Container(container) if container.cgroup_id == cgroup);
        assert!(trace.context.iter().any(is), "container of cgroup {cgroup}");
    }
}
