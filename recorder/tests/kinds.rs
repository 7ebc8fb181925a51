//! Promise: each kind of event is recorded, as often as it happens and with the right fields.
//!
//! This process does everything in [`ROWS`] a known number of times while `rec` records in the
//! default profile and with `--http`, and then looks for exactly that. A family of the format without a row fails.

#[path = "support/actor.rs"]
mod actor;
#[path = "kinds/credentials.rs"]
mod credentials;
#[path = "kinds/durations.rs"]
mod durations;
#[path = "kinds/ipc.rs"]
mod ipc;
#[path = "kinds/passing.rs"]
mod passing;
#[path = "kinds/payload.rs"]
mod payload;
mod support;
#[path = "support/uring.rs"]
mod uring;

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io::{Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::{
            fs::MetadataExt,
            net::{UnixListener, UnixStream},
            process::ExitStatusExt,
        },
    },
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
    thread,
    time::Duration,
};

use support::{Recording, Trace, read};
use trace_format::{
    Event, EventData,
    columns::FAMILIES,
    event::{Io, IoKind, PathMarks, SampleKnown, TcpWhat},
    syscalls::IO_URING,
};
use uring::{OP_OPENAT, OP_READ, Request, Uring};

const TIMES: usize = 5;
/// No call has this operation: it fails, and nothing else asks for it.
const KEYCTL_OPERATION: u64 = 0x4242;
const TCP_CLOSE: u8 = 7;
const BYTES: usize = 100;
/// Names of requests to open, by who takes them: this process, or a thread of the kernel.
const BY_CALL: u64 = 0x7261_696c_0001;
const BY_POLLING: u64 = 0x7261_696c_0002;

/// What was done, as far as it has names that are only known then.
struct Done {
    pid: u32,
    dir: PathBuf,
    children: Vec<u32>,
    port: u16,
    /// Accepted connections are reset there.
    reset_port: u16,
    /// Nobody listens there.
    refused_port: u16,
    /// Nobody accepts there any more; these wait.
    full_port: u16,
    waiting: Vec<OwnedFd>,
    /// Requests of io_uring: which opens they are.
    requests: Vec<u64>,
    cgroup: Option<String>,
    killed: Vec<u32>,
    oom_victims: Vec<u32>,
    ipc: ipc::Done,
    credentials: credentials::Done,
    passing: passing::Done,
    /// Of a server of DNS, of UDP without, of HTTP.
    dns_port: u16,
    udp_port: u16,
    http_port: u16,
    unix_path: PathBuf,
    /// Inode, what was read of it and written to it.
    files: Vec<(&'static str, u64, Sum)>,
}

#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
struct Sum {
    reads: u64,
    read_bytes: u64,
    writes: u64,
    written_bytes: u64,
}

type Check = fn(&Trace, &Done);

/// Family, and what must have come of it.
const ROWS: [(&str, Check); 24] = [
    ("syscall", syscalls),
    ("syscall_count", counts),
    ("fork", forks),
    ("exec", execs),
    ("exit", exits),
    ("open", opens),
    ("path_call", path_calls),
    ("sock_call", sock_calls),
    ("tcp_state", tcp_states),
    ("cgroup", cgroups),
    ("sample", samples),
    ("io", ios),
    ("signal", signals),
    ("oom_kill", oom_kills),
    ("tcp_event", tcp_events),
    ("ipc", ipc::objects),
    ("process_access", ipc::accesses),
    ("dns", dns),
    ("http", http),
    ("peer", peers),
    ("credentials", credentials::changes),
    ("timed_syscall", durations::unasked),
    ("payload", payload::unasked),
    ("passed_fd", passing::both_ways),
];

/// Two recordings of the whole machine at once would have each other's events.
static MACHINE: Mutex<()> = Mutex::new(());

#[test]
fn every_kind_comes_as_often_as_it_happens() {
    for family in &FAMILIES {
        assert!(
            ROWS.iter().any(|(name, _)| *name == family.name),
            "no row for {}",
            family.name
        );
    }
    needs_kernel!();
    let _machine = MACHINE.lock();
    let dir = tempfile::tempdir().unwrap();
    let recording = Recording::start(&dir.path().join("trace.zst"), &["--http"]);
    let path = recording.trace.clone();
    let done = act(dir.path());
    // Counts and samples come once a second, and so does the second try of a connection.
    thread::sleep(Duration::from_millis(1_500));
    recording.stop();
    let trace = read(&path);
    assert!(trace.complete && trace.issues.is_empty());
    assert_eq!(trace.late_rows, 0);
    for (name, check) in ROWS {
        eprintln!("{name}");
        check(&trace, &done);
    }
    exact(&trace);
}

fn act(dir: &Path) -> Done {
    let mut done = Done {
        pid: std::process::id(),
        dir: dir.into(),
        children: Vec::new(),
        port: 0,
        reset_port: 0,
        refused_port: 0,
        full_port: 0,
        waiting: Vec::new(),
        requests: Vec::new(),
        dns_port: 0,
        udp_port: 0,
        http_port: 0,
        unix_path: dir.join("kinds.sock"),
        cgroup: None,
        killed: Vec::new(),
        oom_victims: Vec::new(),
        files: Vec::new(),
        ipc: ipc::Done::default(),
        credentials: credentials::Done::default(),
        passing: passing::Done::default(),
    };
    files(dir, &mut done);
    requests(dir, &mut done);
    sockets(&mut done);
    refused_and_repeated(&mut done);
    datagrams(&mut done);
    messages(&mut done);
    unix_sockets(&done);
    processes(&mut done);
    made_cgroups(&mut done);
    ipc::act(&mut done.ipc);
    credentials::act(dir, &mut done.credentials);
    passing::act(dir, &mut done.passing);
    for _ in 0..TIMES {
        // SAFETY: an operation that does not exist; getpgid of this process.
        unsafe {
            libc::syscall(libc::SYS_keyctl, KEYCTL_OPERATION, 0, 0, 0, 0);
            libc::syscall(libc::SYS_getpgid, 0);
        }
    }
    done
}

/// Each way of reading and writing on a file of its own.
fn files(dir: &Path, done: &mut Done) {
    let times = TIMES as u64;
    let bytes = BYTES as u64;
    let all = Sum {
        reads: times,
        read_bytes: times * bytes,
        ..Sum::default()
    };
    let mut buffer = [0u8; BYTES];
    let (out, into) = pipe();
    for how in ["read", "readv", "pread", "sendfile", "splice"] {
        let path = dir.join(how);
        fs::write(&path, vec![7; BYTES * TIMES]).unwrap();
        let mut file = File::open(&path).unwrap();
        for at in 0..TIMES {
            // SAFETY: the buffer is as long as said, the descriptors are open.
            let got = unsafe {
                match how {
                    "read" => file.read(&mut buffer).unwrap() as isize,
                    "readv" => {
                        let part = libc::iovec {
                            iov_base: buffer.as_mut_ptr().cast(),
                            iov_len: BYTES,
                        };
                        libc::readv(file.as_raw_fd(), &raw const part, 1)
                    }
                    "pread" => libc::pread(
                        file.as_raw_fd(),
                        buffer.as_mut_ptr().cast(),
                        BYTES,
                        (at * BYTES) as i64,
                    ),
                    "sendfile" => libc::sendfile(
                        into.as_raw_fd(),
                        file.as_raw_fd(),
                        std::ptr::null_mut(),
                        BYTES,
                    ),
                    _ => libc::splice(
                        file.as_raw_fd(),
                        std::ptr::null_mut(),
                        into.as_raw_fd(),
                        std::ptr::null_mut(),
                        BYTES,
                        0,
                    ),
                }
            };
            assert_eq!(got, BYTES as isize, "{how}");
        }
        done.files.push((how, file.metadata().unwrap().ino(), all));
    }
    let both = TIMES as u64 * 2;
    done.files.push((
        "pipe",
        File::from(into.try_clone().unwrap())
            .metadata()
            .unwrap()
            .ino(),
        Sum {
            writes: both,
            written_bytes: both * bytes,
            ..Sum::default()
        },
    ));
    drop((out, into));
    let mut written = File::create(dir.join("written")).unwrap();
    for _ in 0..TIMES {
        written.write_all(&buffer).unwrap();
    }
    let sum = Sum {
        writes: times,
        written_bytes: times * bytes,
        ..Sum::default()
    };
    done.files
        .push(("write", written.metadata().unwrap().ino(), sum));
    drop(written);
    // A number that means another file from one call to the next, and nothing was closed.
    let [mut before, after] = ["before", "after"].map(|name| File::create(dir.join(name)).unwrap());
    done.files
        .push(("write", before.metadata().unwrap().ino(), sum));
    done.files
        .push(("write", after.metadata().unwrap().ino(), sum));
    for _ in 0..TIMES {
        before.write_all(&buffer).unwrap();
    }
    // SAFETY: both are open, and this value's own.
    assert!(unsafe { libc::dup2(after.as_raw_fd(), before.as_raw_fd()) } >= 0);
    for _ in 0..TIMES {
        before.write_all(&buffer).unwrap();
    }
    drop((before, after));
    // One number for one file after the other, as servers have them: no sum takes from the next one's.
    let mut numbers = HashSet::new();
    for at in 0..TIMES {
        let mut next = File::create(dir.join(format!("next-{at}"))).unwrap();
        numbers.insert(next.as_raw_fd());
        let writes = 1 + at % 4;
        for _ in 0..writes {
            next.write_all(&buffer[..=at]).unwrap();
        }
        let sum = Sum {
            writes: writes as u64,
            written_bytes: (writes * (at + 1)) as u64,
            ..Sum::default()
        };
        done.files
            .push(("write", next.metadata().unwrap().ino(), sum));
    }
    assert!(numbers.len() < TIMES, "{numbers:?}");
    // On the list by its name: each read is an event of its own.
    fs::write(dir.join("shadow"), vec![7; BYTES * TIMES]).unwrap();
    let mut shadow = File::open(dir.join("shadow")).unwrap();
    for _ in 0..TIMES {
        assert_eq!(shadow.read(&mut buffer).unwrap(), BYTES);
    }
    done.files
        .push(("listed", shadow.metadata().unwrap().ino(), Sum::default()));
    drop(shadow);
    for at in 0..TIMES {
        let path = dir.join(format!("kind-{at}"));
        drop(File::create(&path).unwrap());
        fs::remove_file(&path).unwrap();
    }
}

/// Reads and opens that no system call is made for.
fn requests(dir: &Path, done: &mut Done) {
    let mut buffer = [0u8; BYTES];
    let path = dir.join("io_uring");
    fs::write(&path, vec![7; BYTES * TIMES]).unwrap();
    let file = File::open(&path).unwrap();
    let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    for (polled, user_data) in [(false, BY_CALL), (true, BY_POLLING)] {
        let mut ring = match Uring::new(polled) {
            Ok(ring) => ring,
            Err(error) => {
                support::skip(&format!("no io_uring here: {error}"));
                return;
            }
        };
        for at in 0..TIMES {
            let open = Request {
                opcode: OP_OPENAT,
                fd: libc::AT_FDCWD,
                offset: 0,
                address: name.as_ptr() as u64,
                len: 0,
                flags: libc::O_RDONLY as u32,
                user_data,
            };
            let opened = ring.ask(&open);
            assert!(opened >= 0, "{opened}");
            // SAFETY: just opened, and nobody else's.
            drop(unsafe { OwnedFd::from_raw_fd(opened) });
            if !polled {
                let read = Request {
                    opcode: OP_READ,
                    fd: file.as_raw_fd(),
                    offset: (at * BYTES) as u64,
                    address: buffer.as_mut_ptr() as u64,
                    len: BYTES as u32,
                    flags: 0,
                    user_data: 0,
                };
                assert_eq!(ring.ask(&read), BYTES as i32);
            }
        }
        done.requests.push(user_data);
    }
    let sum = Sum {
        reads: TIMES as u64,
        read_bytes: (TIMES * BYTES) as u64,
        ..Sum::default()
    };
    done.files
        .push(("io_uring", file.metadata().unwrap().ino(), sum));
}

fn pipe() -> (OwnedFd, OwnedFd) {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors, which nobody else owns.
    unsafe {
        assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC), 0);
        (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1]))
    }
}

fn sockets(done: &mut Done) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    done.port = listener.local_addr().unwrap().port();
    for _ in 0..TIMES {
        let mut client = TcpStream::connect(("127.0.0.1", done.port)).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(b"hello").unwrap();
        let mut word = [0; 5];
        server.read_exact(&mut word).unwrap();
        server.write_all(b"hi").unwrap();
        client.read_exact(&mut word[..2]).unwrap();
        drop(client);
        assert_eq!(server.read(&mut word).unwrap(), 0);
    }
    let resetting = TcpListener::bind("127.0.0.1:0").unwrap();
    done.reset_port = resetting.local_addr().unwrap().port();
    for _ in 0..TIMES {
        let mut client = TcpStream::connect(("127.0.0.1", done.reset_port)).unwrap();
        client.write_all(b"never read").unwrap();
        let (server, _) = resetting.accept().unwrap();
        // Unread bytes: the kernel resets instead of closing.
        drop(server);
        assert!(client.read(&mut [0; 1]).is_err());
    }
}

/// Resets that are sent because nobody listens, and connections that are asked for again because the queue
/// of those to accept is full.
fn refused_and_repeated(done: &mut Done) {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    done.refused_port = closed.local_addr().unwrap().port();
    drop(closed);
    for _ in 0..TIMES {
        assert!(TcpStream::connect(("127.0.0.1", done.refused_port)).is_err());
    }
    // SAFETY: system calls on addresses of this process, each as long as said.
    unsafe {
        let socket = || {
            let fd = libc::socket(
                libc::AF_INET,
                libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
                0,
            );
            assert!(fd >= 0);
            OwnedFd::from_raw_fd(fd)
        };
        let listener = socket();
        let mut at: libc::sockaddr_in = std::mem::zeroed();
        at.sin_family = libc::AF_INET as u16;
        at.sin_addr.s_addr = u32::from_ne_bytes([127, 0, 0, 1]);
        let mut len = size_of_val(&at) as u32;
        let fd = listener.as_raw_fd();
        assert_eq!(libc::bind(fd, (&raw const at).cast(), len), 0);
        assert_eq!(libc::listen(fd, 0), 0);
        assert_eq!(libc::getsockname(fd, (&raw mut at).cast(), &raw mut len), 0);
        done.full_port = u16::from_be(at.sin_port);
        done.waiting.push(listener);
        // A queue of 0 takes one.
        for _ in 0..TIMES + 1 {
            let client = socket();
            libc::connect(client.as_raw_fd(), (&raw const at).cast(), len);
            done.waiting.push(client);
        }
    }
}

/// A question of DNS about `name`, or an answer.
fn dns_message(id: u16, flags: u16, name: &str) -> Vec<u8> {
    let words = [id, flags, 1, 0, 0, 0];
    let mut message: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend_from_slice(label.as_bytes());
    }
    message.extend_from_slice(&[0, 0, 1, 0, 1]);
    message
}

const ANSWER_NO_SUCH_NAME: u16 = 0x8183;
const QUESTION: u16 = 0x0100;

/// A server on port 53 of an address that nobody else has, and each way of asking it; then datagrams to
/// another port.
fn datagrams(done: &mut Done) {
    // A host may have a server of its own on another address of the loopback.
    let Ok(server) = UdpSocket::bind("127.9.8.7:53") else {
        support::skip("port 53 cannot be bound");
        return;
    };
    done.dns_port = 53;
    let mut buffer = [0; 512];
    let mut answer = |id: u16, name: &str| {
        let (len, from) = server.recv_from(&mut buffer).unwrap();
        assert_eq!(buffer[..len], dns_message(id, QUESTION, name));
        let answer = dns_message(id, ANSWER_NO_SUCH_NAME, name);
        server.send_to(&answer, from).unwrap();
    };
    let mut got = [0; 512];
    for at in 0..TIMES as u16 {
        // As musl does it: an address with each message.
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        let name = format!("sendto-{at}.kinds.example");
        client
            .send_to(&dns_message(at, QUESTION, &name), "127.9.8.7:53")
            .unwrap();
        answer(at, &name);
        client.recv_from(&mut got).unwrap();
        // As Go does it: connected, write and read.
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect("127.9.8.7:53").unwrap();
        let mut file = File::from(OwnedFd::from(client));
        let name = format!("write-{at}.kinds.example");
        file.write_all(&dns_message(at, QUESTION, &name)).unwrap();
        answer(at, &name);
        assert!(file.read(&mut got).unwrap() > 12);
        // As glibc does it: two questions in one call.
        let names = ["a", "b"].map(|which| format!("mmsg-{which}-{at}.kinds.example"));
        two_at_once(&file, [100 + at, 200 + at], &names);
        for (id, name) in [100 + at, 200 + at].into_iter().zip(&names) {
            answer(id, name);
        }
        for _ in 0..2 {
            assert!(file.read(&mut got).unwrap() > 12);
        }
    }
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    done.udp_port = other.local_addr().unwrap().port();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..TIMES {
        sender
            .send_to(b"no dns", ("127.0.0.1", done.udp_port))
            .unwrap();
        other.recv_from(&mut got).unwrap();
    }
}

/// sendmmsg on a connected socket.
fn two_at_once(socket: &File, ids: [u16; 2], names: &[String; 2]) {
    let mut messages = [0, 1].map(|at| dns_message(ids[at], QUESTION, &names[at]));
    let mut vectors = messages.each_mut().map(|message| libc::iovec {
        iov_base: message.as_mut_ptr().cast(),
        iov_len: message.len(),
    });
    let mut headers = vectors.each_mut().map(|vector| {
        // SAFETY: all zeros is a valid mmsghdr.
        let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        header
    });
    // SAFETY: two headers with buffers that live.
    let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), 2, 0) };
    assert_eq!(sent, 2);
}

/// HTTP over one connection: requests and what answers them.
fn messages(done: &mut Done) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    done.http_port = listener.local_addr().unwrap().port();
    let mut client = TcpStream::connect(("127.0.0.1", done.http_port)).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    let mut buffer = [0; 1024];
    for at in 0..TIMES {
        let request = format!("GET /kinds/{at}?x=1 HTTP/1.1\r\nHost: kinds.example\r\n\r\n");
        client.write_all(request.as_bytes()).unwrap();
        assert_eq!(server.read(&mut buffer).unwrap(), request.len());
        let response = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
        server.write_all(response).unwrap();
        assert_eq!(client.read(&mut buffer).unwrap(), response.len());
    }
}

fn unix_sockets(done: &Done) {
    let listener = UnixListener::bind(&done.unix_path).unwrap();
    for _ in 0..TIMES {
        let client = UnixStream::connect(&done.unix_path).unwrap();
        drop(listener.accept().unwrap());
        drop(client);
    }
}

fn processes(done: &mut Done) {
    for _ in 0..TIMES {
        let mut child = Command::new("/bin/sh")
            .args(["-c", "exit 3"])
            .spawn()
            .unwrap();
        done.children.push(child.id());
        assert_eq!(child.wait().unwrap().code(), Some(3));
        let mut child = Command::new("/bin/sleep").arg("100").spawn().unwrap();
        done.killed.push(child.id());
        // SAFETY: our own child, which was not waited for yet.
        assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGUSR1) }, 0);
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGUSR1));
    }
}

/// Where the v2 hierarchy is mounted, and where memory can be limited: (directory, file, value).
fn cgroup_roots() -> (Option<PathBuf>, Option<(PathBuf, &'static str)>) {
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let mount = |fits: &dyn Fn(&[&str]) -> bool| {
        mounts.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            fits(&fields).then(|| PathBuf::from(fields[1]))
        })
    };
    let second = mount(&|fields| fields[2] == "cgroup2");
    let first = mount(&|fields| {
        fields[2] == "cgroup" && fields[3].split(',').any(|option| option == "memory")
    });
    let limited = match (&first, &second) {
        (Some(first), _) => Some((first.clone(), "memory.limit_in_bytes")),
        (None, Some(second)) => fs::read_to_string(second.join("cgroup.subtree_control"))
            .is_ok_and(|on| on.contains("memory"))
            .then(|| (second.clone(), "memory.max")),
        _ => None,
    };
    (second, limited)
}

fn made_cgroups(done: &mut Done) {
    let (second, limited) = cgroup_roots();
    if let Some(root) = second {
        let name = format!("kinds-{}", done.pid);
        for _ in 0..TIMES {
            fs::create_dir(root.join(&name)).unwrap();
            fs::remove_dir(root.join(&name)).unwrap();
        }
        done.cgroup = Some(name);
    }
    let Some((root, limit)) = limited else { return };
    let dir = root.join(format!("kinds-oom-{}", done.pid));
    fs::create_dir(&dir).unwrap();
    if fs::write(dir.join(limit), "8388608").is_ok() {
        let script = format!(
            "echo $$ > {}/cgroup.procs && exec dd if=/dev/zero of=/dev/null bs=64M count=1",
            dir.display()
        );
        for _ in 0..2 {
            let mut child = Command::new("/bin/sh")
                .args(["-c", &script])
                .spawn()
                .unwrap();
            let pid = child.id();
            if child.wait().unwrap().signal() == Some(libc::SIGKILL) {
                done.oom_victims.push(pid);
            }
        }
    }
    // The last process of it may still be on its way out.
    for _ in 0..50 {
        if fs::remove_dir(&dir).is_ok() {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn of(trace: &Trace, pid: u32) -> impl Iterator<Item = &Event> {
    trace.events.iter().filter(move |event| event.pid == pid)
}

fn syscalls(trace: &Trace, done: &Done) {
    let calls = of(trace, done.pid).filter(|event| {
        matches!(event.data, EventData::Syscall(call)
            if call.nr == libc::SYS_keyctl as u32 && call.args[0] == KEYCTL_OPERATION && call.ret < 0)
    });
    assert_eq!(calls.count(), TIMES);
    let reads = of(trace, done.pid).filter(|event| {
        matches!(event.data, EventData::Syscall(call)
            if call.nr == libc::SYS_read as u32 && call.ret == BYTES as i64)
    });
    assert_eq!(reads.count(), TIMES, "reads of the listed file");
    for wanted in &done.requests {
        let requests = of(trace, done.pid).filter(|event| {
            matches!(event.data, EventData::Syscall(call)
                if call.nr == IO_URING | u32::from(OP_OPENAT) && call.args[1] == *wanted)
        });
        assert_eq!(
            requests.count(),
            TIMES,
            "requests {wanted:#x} of this process"
        );
    }
}

fn counts(trace: &Trace, done: &Done) {
    let counted = |nr: libc::c_long| -> u64 {
        let of = |event: &Event| match event.data {
            EventData::SyscallCount(count) if count.nr == nr as u32 => count.calls,
            _ => 0,
        };
        trace.events.iter().map(of).sum()
    };
    assert!(counted(libc::SYS_getpgid) >= TIMES as u64);
    // Those that are counted per descriptor count here too, and those of two descriptors once.
    assert_eq!(counted(libc::SYS_splice), TIMES as u64);
    let requested = counted((IO_URING | u32::from(OP_READ)).into());
    assert!(done.requests.is_empty() || requested >= TIMES as u64);
    assert!(counted(libc::SYS_pread64) >= TIMES as u64);
}

fn forks(trace: &Trace, done: &Done) {
    for child in &done.children {
        let forks = of(trace, done.pid).filter(|event| {
            matches!(event.data, EventData::Fork(fork)
                if fork.child_pid == *child && fork.child_tid == *child && fork.child_start_ns > 0
                    && fork.child_ns_tid == *child)
        });
        assert_eq!(forks.count(), 1);
    }
}

fn execs(trace: &Trace, done: &Done) {
    for child in &done.children {
        let execs: Vec<_> = of(trace, *child)
            .filter_map(|event| match &event.data {
                EventData::Exec(exec) => Some(exec),
                _ => None,
            })
            .collect();
        let [exec] = execs[..] else {
            panic!("{} execs", execs.len());
        };
        assert_eq!(exec.args.as_bytes(), b"/bin/sh\0-c\0exit 3");
        assert_eq!((exec.ppid, exec.ino > 0), (done.pid, true));
        // The rest of it is in tests/details.rs, against /proc.
        let details = exec.details.as_ref().expect("details of the process");
        let cwd = std::env::current_dir().unwrap();
        assert_eq!(details.cwd.as_bytes(), cwd.as_os_str().as_encoded_bytes());
        assert_eq!(details.ns_pid, *child);
    }
}

fn exits(trace: &Trace, done: &Done) {
    let exits = |pid: u32| -> Vec<(u32, u32, bool)> {
        of(trace, pid)
            .filter_map(|event| match event.data {
                EventData::Exit(exit) => {
                    // That the figures are right is in tests/resources.rs, against wait4.
                    let used = exit.usage.expect("what it used");
                    assert!(used.minor_faults > 0 && used.max_rss_bytes > 0, "{used:?}");
                    Some((exit.code, exit.signal, exit.last_thread))
                }
                _ => None,
            })
            .collect()
    };
    for child in &done.children {
        assert_eq!(exits(*child), [(3, 0, true)]);
    }
    for child in &done.killed {
        assert_eq!(exits(*child), [(0, libc::SIGUSR1 as u32, true)]);
    }
}

fn opens(trace: &Trace, done: &Done) {
    let opened = |path: PathBuf| -> Vec<(bool, PathMarks)> {
        let path = path.to_str().unwrap().to_owned();
        of(trace, done.pid)
            .filter_map(|event| match &event.data {
                EventData::Open(open) if open.path.to_string_lossy() == path => {
                    Some((open.ret >= 0 && open.ino > 0, open.marks))
                }
                _ => None,
            })
            .collect()
    };
    for at in 0..TIMES {
        let created = PathMarks(PathMarks::CREATED);
        assert_eq!(
            opened(done.dir.join(format!("kind-{at}"))),
            [(true, created)]
        );
    }
    let shadow = opened(done.dir.join("shadow"));
    assert_eq!(shadow.len(), 2, "written, then read");
    assert!(shadow.iter().all(|(_, marks)| marks.has(PathMarks::LISTED)));
    let other = opened(done.dir.join("read"));
    assert!(other.iter().all(|(_, marks)| !marks.has(PathMarks::LISTED)));
}

fn path_calls(trace: &Trace, done: &Done) {
    let prefix = done.dir.join("kind-");
    let removed = of(trace, done.pid).filter(|event| {
        matches!(&event.data, EventData::PathCall(call)
            if call.ret == 0 && call.path.to_string_lossy().starts_with(prefix.to_str().unwrap()))
    });
    assert_eq!(removed.count(), TIMES);
}

fn sock_calls(trace: &Trace, done: &Done) {
    let calls = |nr: libc::c_long| {
        of(trace, done.pid).filter(move |event| {
            matches!(&event.data, EventData::SockCall(call)
                if call.nr == nr as u32 && (call.remote.port == done.port || call.local.port == done.port))
        })
    };
    assert_eq!(calls(libc::SYS_connect).count(), TIMES);
    assert_eq!(calls(libc::SYS_accept4).count(), TIMES);
    assert_eq!(calls(libc::SYS_bind).count(), 1);
}

fn tcp_states(trace: &Trace, done: &Done) {
    let mut closed: Vec<_> = trace
        .events
        .iter()
        .filter_map(|event| match &event.data {
            EventData::TcpState(state) if state.new == TCP_CLOSE && state.duration_ns > 0 => {
                let client = state.remote.port == done.port;
                (client || state.local.port == done.port).then_some((
                    client,
                    state.received_bytes,
                    state.sent_bytes,
                    event.pid,
                    state.error,
                ))
            }
            _ => None,
        })
        .collect();
    closed.sort_unstable();
    for (client, received, sent, pid, error) in &closed {
        let (to, from) = if *client { (5, 2) } else { (2, 5) };
        assert_eq!(*sent, to, "{closed:?}");
        assert!(
            (from..=from + 1).contains(received),
            "a FIN counts: {closed:?}"
        );
        assert_eq!((*pid, *error), (done.pid, 0), "{closed:?}");
    }
    assert_eq!(closed.len(), TIMES * 2, "{closed:?}");
}

fn cgroups(trace: &Trace, done: &Done) {
    let Some(name) = &done.cgroup else {
        support::skip("no cgroup v2 hierarchy is mounted");
        return;
    };
    for removed in [false, true] {
        let changes = trace.events.iter().filter(|event| {
            matches!(&event.data, EventData::Cgroup(change)
                if change.removed == removed && change.path.to_string_lossy().ends_with(name.as_str()))
        });
        assert_eq!(changes.count(), TIMES);
    }
}

fn samples(trace: &Trace, _: &Done) {
    // Containers are in tests/resources.rs.
    let needed = SampleKnown::MEMORY | SampleKnown::FAULTS | SampleKnown::LOAD;
    let host = trace.events.iter().filter(|event| {
        event.cgroup_id == 0
            && matches!(&event.data, EventData::Sample(sample)
                if sample.cpu_ns > 0 && sample.anon_bytes > 0 && sample.minor_faults > 0
                    && sample.known.0 & needed == needed)
    });
    assert!(host.count() >= 1);
}

fn ios(trace: &Trace, done: &Done) {
    for (how, ino, expected) in &done.files {
        let mut sum = Sum::default();
        let of = of(trace, done.pid).filter_map(|event| match event.data {
            EventData::Io(io) if io.ino == *ino => Some(io),
            _ => None,
        });
        for Io {
            kind,
            reads,
            read_bytes,
            writes,
            written_bytes,
            ..
        } in of
        {
            let expected = if *how == "pipe" {
                IoKind::PIPE
            } else {
                IoKind::FILE
            };
            assert_eq!(kind, IoKind(expected), "{how}");
            // What filled the file before it was read.
            if *how != "write" && *how != "pipe" {
                assert_eq!(writes, u64::from(reads == 0), "{how}");
            } else {
                sum.writes += writes;
                sum.written_bytes += written_bytes;
            }
            sum.reads += reads;
            sum.read_bytes += read_bytes;
        }
        assert_eq!(sum, *expected, "{how}");
    }
}

fn signals(trace: &Trace, done: &Done) {
    for child in &done.killed {
        let sent: Vec<_> = of(trace, done.pid)
            .filter_map(|event| match event.data {
                EventData::Signal(signal) if signal.target_pid == *child => Some(signal),
                _ => None,
            })
            .collect();
        let [signal] = sent[..] else {
            panic!("one signal to {child}: {sent:?}");
        };
        assert_eq!(signal.signal, libc::SIGUSR1 as u32);
        assert_eq!((signal.code, signal.to_group), (0, true));
        assert_eq!(signal.outcome, 0);
    }
}

fn oom_kills(trace: &Trace, done: &Done) {
    if done.oom_victims.is_empty() {
        support::skip("memory cannot be limited here");
        return;
    }
    for victim in &done.oom_victims {
        let kills = of(trace, *victim).filter(
            |event| matches!(&event.data, EventData::OomKill(kill) if kill.trigger_pid > 0),
        );
        assert_eq!(kills.count(), 1, "of {victim}");
    }
}

fn tcp_events(trace: &Trace, done: &Done) {
    let resets = trace.events.iter().filter(|event| {
        matches!(&event.data, EventData::TcpEvent(tcp)
            if tcp.what == TcpWhat(TcpWhat::RESET_RECEIVED)
                && tcp.remote.port == done.reset_port
                && event.pid == done.pid)
    });
    assert_eq!(resets.count(), TIMES);
    let sent = trace.events.iter().filter(|event| {
        matches!(&event.data, EventData::TcpEvent(tcp)
            if tcp.what == TcpWhat(TcpWhat::RESET_SENT) && tcp.local.port == done.refused_port)
    });
    assert_eq!(sent.count(), TIMES);
    let mut repeated: Vec<u16> = trace
        .events
        .iter()
        .filter_map(|event| match &event.data {
            EventData::TcpEvent(tcp)
                if tcp.what == TcpWhat(TcpWhat::RETRANSMIT)
                    && tcp.remote.port == done.full_port =>
            {
                assert_eq!(event.pid, done.pid);
                Some(tcp.local.port)
            }
            _ => None,
        })
        .collect();
    repeated.sort_unstable();
    repeated.dedup();
    assert_eq!(
        repeated.len(),
        TIMES,
        "connections that were asked for again"
    );
}

fn dns(trace: &Trace, done: &Done) {
    if done.dns_port == 0 {
        return;
    }
    let mut found = HashMap::<(String, bool, bool), usize>::new();
    for event in of(trace, done.pid) {
        let EventData::Dns(dns) = &event.data else {
            continue;
        };
        let name = dns.name.to_string_lossy().into_owned();
        let Some(how) = name.strip_suffix(".kinds.example") else {
            continue;
        };
        assert!(!dns.malformed, "{dns:?}");
        assert_eq!((dns.qtype, dns.family), (1, 2), "{dns:?}");
        let client = dns.sent != dns.is_answer();
        if client {
            assert_eq!(dns.remote.addr.to_vec(), [127, 9, 8, 7], "{dns:?}");
            assert_eq!(dns.remote.port, 53, "{dns:?}");
        } else {
            assert_eq!(dns.local.port, 53, "{dns:?}");
        }
        if dns.is_answer() {
            assert_eq!(dns.rcode(), 3, "{dns:?}");
            assert!(dns.latency_ns > 0, "{dns:?}");
        }
        let how = how.rsplit_once('-').unwrap().0.to_owned();
        *found.entry((how, client, dns.is_answer())).or_default() += 1;
    }
    for how in ["sendto", "write", "mmsg-a", "mmsg-b"] {
        for (client, answer) in [(true, false), (false, false), (false, true), (true, true)] {
            let count = found.get(&(how.to_owned(), client, answer));
            assert_eq!(count, Some(&TIMES), "{how} {client} {answer}: {found:?}");
        }
    }
}

fn http(trace: &Trace, done: &Done) {
    let mut found = [[0; 2]; 2];
    for event in of(trace, done.pid) {
        let EventData::Http(http) = &event.data else {
            continue;
        };
        let client = http.remote.port == done.http_port;
        if !client && http.local.port != done.http_port {
            continue;
        }
        assert_eq!(http.method.to_vec(), b"GET", "{http:?}");
        assert_eq!(http.host.to_vec(), b"kinds.example", "{http:?}");
        assert!(
            http.path.starts_with(b"/kinds/") && http.path.ends_with(b"?x=1"),
            "{http:?}"
        );
        let response = http.status != 0;
        if response {
            assert_eq!(http.status, 404, "{http:?}");
            assert!(http.latency_ns > 0, "{http:?}");
        }
        assert_eq!(http.sent, client != response, "{http:?}");
        found[usize::from(client)][usize::from(response)] += 1;
    }
    assert_eq!(found, [[TIMES; 2]; 2]);
}

fn peers(trace: &Trace, done: &Done) {
    let of_unix = |sent: bool| {
        of(trace, done.pid).filter(move |event| {
            matches!(&event.data, EventData::Peer(peer)
                if peer.family == libc::AF_UNIX as u16
                    && peer.sent == sent
                    && peer.unix_path.to_string_lossy() == done.unix_path.to_str().unwrap()
                    && peer.peer_pid == done.pid
                    && peer.peer_cgroup_id == event.cgroup_id)
        })
    };
    assert_eq!(of_unix(true).count(), TIMES);
    assert_eq!(of_unix(false).count(), TIMES);
    if done.udp_port == 0 {
        return;
    }
    for sent in [true, false] {
        let peers = of(trace, done.pid).filter(|event| {
            matches!(&event.data, EventData::Peer(peer)
                if peer.sent == sent
                    && peer.sock_type == libc::SOCK_DGRAM as u16
                    && (if sent { peer.remote.port } else { peer.local.port }) == done.udp_port)
        });
        // Once a second, not once a datagram.
        assert_eq!(peers.count(), 1, "sent: {sent}");
    }
}

/// The new kinds are counted like all others: handed-out numbers = events + drops, per CPU and probe.
fn exact(trace: &Trace) {
    let counted = trace.counted();
    for (pair, (seen, dropped)) in trace.counters() {
        let events = counted.get(&pair).copied().unwrap_or(0);
        assert_eq!(seen, events + dropped, "CPU and probe {pair:?}");
    }
}
