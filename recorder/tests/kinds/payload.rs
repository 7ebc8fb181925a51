//! What calls read and write, for the table of kinds: the first bytes of it where that was asked for, of the
//! calls that were named, and of nothing else.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::{fs::MetadataExt, net::UnixDatagram},
    },
    path::Path,
};

use trace_format::{Context, ContextRecord, Event, EventData, Payload, Syscall};

use super::{
    MACHINE, TIMES, of,
    support::{self, Recording, Trace, read},
};

const SNAPLEN: usize = 16;
const LONG: &[u8] = b"what is passed \xff\x00 is cut behind that";
const SHORT: &[u8] = b"a\0b";
const SECRET: &str = "hunter2-0123456789";

fn payloads(trace: &Trace, pid: u32) -> impl Iterator<Item = (&Event, &Payload)> {
    of(trace, pid).filter_map(|event| match &event.data {
        EventData::Payload(payload) => Some((event, payload)),
        _ => None,
    })
}

pub fn unasked(trace: &Trace, _: &super::Done) {
    let any = |event: &Event| matches!(event.data, EventData::Payload(_));
    assert!(!trace.events.iter().any(any));
    let said = |record: &ContextRecord| matches!(&record.body, Context::Mark(mark) if mark.label == "payload");
    assert!(!trace.context.iter().any(said));
}

/// The call `name` on `fd`, with these bytes to write, or a buffer of that length to read into.
fn call(name: &str, fd: RawFd, bytes: &mut [u8]) -> isize {
    let (data, len) = (bytes.as_mut_ptr().cast::<libc::c_void>(), bytes.len());
    // A C library puts what it kept back into the first one, be it nothing.
    let mut parts = [
        libc::iovec {
            iov_base: data,
            iov_len: 0,
        },
        libc::iovec {
            iov_base: data,
            iov_len: len,
        },
    ];
    // SAFETY: the buffer is as long as said.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = parts.as_mut_ptr().add(1);
        message.msg_iovlen = 1;
        let (nobody, no_len) = (std::ptr::null_mut(), std::ptr::null_mut());
        match name {
            "read" => libc::read(fd, data, len),
            "pread64" => libc::pread(fd, data, len, 0),
            "readv" => libc::readv(fd, parts.as_ptr().add(1), 1),
            "recvfrom" => libc::recvfrom(fd, data, len, libc::MSG_TRUNC, nobody, no_len),
            "recvmsg" => libc::recvmsg(fd, &raw mut message, 0),
            "write" => libc::write(fd, data, len),
            "pwrite64" => libc::pwrite(fd, data, len, 0),
            "writev" => libc::writev(fd, parts.as_ptr(), 2),
            "sendto" => libc::sendto(fd, data, len, 0, nobody, 0),
            "sendmsg" => libc::sendmsg(fd, &raw const message, 0),
            _ => panic!("{name} is not in the list"),
        }
    }
}

/// Two that pass data, as (who writes, who reads), and where.
const PAIRS: [(&str, &str, bool); 5] = [
    ("write", "read", false),
    ("pwrite64", "pread64", true),
    ("writev", "readv", false),
    ("sendto", "recvfrom", false),
    ("sendmsg", "recvmsg", false),
];

/// Every call, with what is longer than the recorder keeps and with what is not.
fn act(dir: &Path) -> Vec<(&'static str, RawFd, Vec<u8>)> {
    let mut done = Vec::new();
    let (from, to) = UnixDatagram::pair().unwrap();
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(dir.join("passed"))
        .unwrap();
    for (writes, reads, in_file) in PAIRS {
        let (into, out) = match in_file {
            true => (file.as_raw_fd(), file.as_raw_fd()),
            false => (from.as_raw_fd(), to.as_raw_fd()),
        };
        for _ in 0..TIMES {
            for text in [LONG, SHORT] {
                if in_file {
                    file.set_len(0).unwrap();
                }
                let mut bytes = text.to_vec();
                assert_eq!(call(writes, into, &mut bytes), text.len() as isize);
                done.push((writes, into, text.to_vec()));
                let mut buffer = [0; 256];
                assert_eq!(call(reads, out, &mut buffer), text.len() as isize);
                done.push((reads, out, text.to_vec()));
            }
        }
    }
    done
}

fn nr(name: &str) -> u32 {
    use trace_format::syscalls::{Arch, number};
    number(Arch::native().unwrap(), name).unwrap()
}

/// The promise, in each profile: exact bytes up to the limit, whose call it was, and each call once.
#[test]
fn the_first_bytes_of_the_calls_that_were_named() {
    crate::needs_kernel!();
    let _machine = MACHINE.lock();
    let all: Vec<&str> = PAIRS.iter().flat_map(|pair| [pair.0, pair.1]).collect();
    for profile in ["light", "standard", "full"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trace.zst");
        let snaplen = SNAPLEN.to_string();
        let recording = Recording::start(
            &path,
            &[
                "--profile",
                profile,
                "--payload",
                &all.join(","),
                "--snaplen",
                &snaplen,
            ],
        );
        let done = act(dir.path());
        // Nothing passed: these calls are events, and have no bytes.
        let mut buffer = *b"not written";
        let empty = File::open("/dev/null").unwrap();
        assert_eq!(call("read", empty.as_raw_fd(), &mut buffer), 0);
        assert_eq!(call("write", -1, &mut buffer), -1);
        // Longer than the buffer, and not what lies behind that.
        let (from, to) = UnixDatagram::pair().unwrap();
        from.send(LONG).unwrap();
        let cut = call("recvfrom", to.as_raw_fd(), &mut buffer[..4]);
        assert_eq!(cut, LONG.len() as isize);
        let ino = fs::metadata(dir.path().join("passed")).unwrap().ino();
        recording.stop();
        let trace = read(&path);
        assert!(trace.complete && trace.issues.is_empty());
        let pid = std::process::id();
        let mut found: BTreeMap<(u32, u64), Vec<&Payload>> = BTreeMap::new();
        for (event, payload) in payloads(&trace, pid) {
            assert_eq!(
                event.tid,
                nix::unistd::gettid().as_raw() as u32,
                "{event:?}"
            );
            let key = (payload.call.nr, payload.call.args[0]);
            found.entry(key).or_default().push(payload);
        }
        for (name, fd, text) in &done {
            let of_call = &found[&(nr(name), *fd as u64)];
            let same: Vec<_> = of_call
                .iter()
                .filter(|payload| payload.call.ret == text.len() as i64)
                .collect();
            assert_eq!(same.len(), TIMES, "{profile} {name}: {of_call:?}");
            for payload in same {
                let kept = &text[..text.len().min(SNAPLEN)];
                assert_eq!(payload.data.as_bytes(), kept, "{profile} {name}");
            }
        }
        let key = (nr("recvfrom"), to.as_raw_fd() as u64);
        let cut: Vec<_> = found[&key].iter().map(|one| one.data.to_vec()).collect();
        assert_eq!(cut, [LONG[..4].to_vec()], "{profile}");
        // Once each: neither as a plain call too, nor in a sum.
        let plain: Vec<&Syscall> = of(&trace, pid)
            .filter_map(|event| match &event.data {
                EventData::Syscall(call) if all.iter().any(|name| nr(name) == call.nr) => {
                    Some(call)
                }
                _ => None,
            })
            .collect();
        assert!(
            plain.iter().all(|call| call.ret <= 0),
            "{profile}: {plain:?}"
        );
        for (nr, ret) in [(nr("read"), 0), (nr("write"), -i64::from(libc::EBADF))] {
            let is = |call: &&&Syscall| call.nr == nr && call.ret == ret;
            assert!(plain.iter().any(|call| is(&call)), "{profile}: {plain:?}");
        }
        let summed = trace
            .events
            .iter()
            .any(|event| matches!(&event.data, EventData::Io(io) if io.ino == ino));
        assert!(!summed, "{profile}");
    }
}

/// Whoever has the trace has neither the secret nor bytes of a call that was not named. The options come
/// from a configuration, so that it has them too.
#[test]
fn what_was_not_asked_for_or_matches_a_pattern_is_not_there() {
    crate::needs_kernel!();
    let _machine = MACHINE.lock();
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("rec.toml");
    fs::write(
        &config,
        "payload = [\"write\", \"sendto\"]\nsnaplen = 64\nredact = ['hunter2-\\d+']\n",
    )
    .unwrap();
    let path = dir.path().join("trace.zst");
    let recording = Recording::start(&path, &["--config", config.to_str().unwrap()]);
    let (from, to): (OwnedFd, OwnedFd) = {
        let (from, to) = UnixDatagram::pair().unwrap();
        (from.into(), to.into())
    };
    let mut told = format!("login\0{SECRET}\0 end").into_bytes();
    let mut buffer = [0; 64];
    for writes in ["write", "sendto", "sendmsg"] {
        assert_eq!(
            call(writes, from.as_raw_fd(), &mut told),
            told.len() as isize
        );
        assert_eq!(
            call("read", to.as_raw_fd(), &mut buffer),
            told.len() as isize
        );
    }
    recording.stop();
    let trace = read(&path);
    let pid = std::process::id();
    let found: Vec<(u32, &[u8])> = payloads(&trace, pid)
        .filter(|(_, payload)| payload.call.args[0] == from.as_raw_fd() as u64)
        .map(|(_, payload)| (payload.call.nr, payload.data.as_bytes()))
        .collect();
    let said = trace.context.iter().any(|record| {
        matches!(&record.body, Context::Mark(mark) if mark.label == "payload"
            && mark.text == "write, sendto: up to 64 bytes of each")
    });
    assert!(said, "the trace says what it has");
    let kept = &b"login\0[redacted]\0 end"[..];
    assert_eq!(found, [(nr("write"), kept), (nr("sendto"), kept)]);
    let named = [nr("write"), nr("sendto")];
    for event in &trace.events {
        if let EventData::Payload(payload) = &event.data {
            assert!(named.contains(&payload.call.nr), "{event:?}");
        }
        let text = format!("{:?}", event.data);
        assert!(!text.contains(SECRET), "{text}");
    }
}

#[test]
fn what_cannot_be_recorded_is_said_before_anything_is() {
    let refused = |args: &[&str]| {
        let output = support::rec().arg("capture").args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let said = refused(&["--payload", "write,mmap"]);
    assert!(
        said.contains("\"mmap\"") && said.contains("sendmsg"),
        "{said}"
    );
    let said = refused(&["--payload", "write", "--snaplen", "4097"]);
    assert!(said.contains("from 1 to 4096"), "{said}");
    let said = refused(&["--snaplen", "80"]);
    assert!(said.contains("--payload"), "{said}");
}
