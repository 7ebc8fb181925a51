//! Promise: what names a sensitive file or directory is marked, however it is written, and whether it worked:
//! by its own name, by a directory in it, by the directory that it is relative to. What is named
//! alike only is not.

mod support;

use std::{
    ffi::{CString, OsStr},
    os::unix::ffi::OsStrExt,
    path::Path,
};

use support::{Recording, read};
use trace_format::{EventData, event::PathMarks};

/// What is written, whether it means something on the list, and what it is in the end.
const NAMES: &[(&str, bool, &str)] = &[
    ("/n/shadow", true, "/n/shadow"),
    ("/n/m/shadow/", true, "/n/m/shadow"),
    ("/n/shadows", false, "/n/shadows"),
    ("/n/shado", false, "/n/shado"),
    ("/shadow/n", false, "/shadow/n"),
    ("//n/./shadow-", true, "/n/shadow-"),
    ("/n/.ssh/config", true, "/n/.ssh/config"),
    ("/n/.ssh//a/b/c/d/e", true, "/n/.ssh/a/b/c/d/e"),
    ("/n/.sshd/config", false, "/n/.sshd/config"),
    ("/n/.kube", true, "/n/.kube"),
    ("/n/serviceaccount/token", true, "/n/serviceaccount/token"),
    (
        "/n/serviceaccounts/token",
        false,
        "/n/serviceaccounts/token",
    ),
    ("/n/authorized_keys", true, "/n/authorized_keys"),
    ("/n/authorized_keys2", false, "/n/authorized_keys2"),
    ("/n/sysrq-trigger", true, "/n/sysrq-trigger"),
    ("/n/id_rsa", true, "/n/id_rsa"),
    ("/n/id_rsa.pub", false, "/n/id_rsa.pub"),
    ("/n/", false, "/n"),
];

#[test]
fn calls_that_name_sensitive_files_are_marked() {
    if let Some(reason) = support::cannot_record() {
        support::skip(&reason);
        return;
    }
    let work = tempfile::tempdir().unwrap();
    let dir = work.path().canonicalize().unwrap();
    std::fs::create_dir_all(dir.join(".aws/deep")).unwrap();
    std::fs::create_dir_all(dir.join("plain")).unwrap();
    let trace = dir.join("trace.zst");
    let recording = Recording::start(&trace, &["--profile", "standard"]);
    for (name, _, _) in NAMES {
        chmod(libc::AT_FDCWD, OsStr::new(name));
        open(OsStr::new(name));
        rename(OsStr::new("/n/from"), OsStr::new(name));
    }
    for place in [".aws", ".aws/deep", "plain"] {
        let at = open(dir.join(place).as_os_str());
        assert!(at >= 0);
        chmod(at, OsStr::new("absent"));
        // SAFETY: closes what was opened.
        unsafe { libc::close(at) };
    }
    recording.stop();
    let trace = read(&trace);

    let calls: Vec<(libc::c_long, String, String, bool)> = trace
        .events
        .iter()
        .filter(|event| event.pid == std::process::id())
        .filter_map(|event| match &event.data {
            EventData::Open(open) if open.ret < 0 => Some((
                libc::SYS_openat,
                open.path.to_string_lossy().into_owned(),
                String::new(),
                open.marks.has(PathMarks::LISTED),
            )),
            EventData::PathCall(call) => Some((
                libc::c_long::from(call.nr),
                call.path.to_string_lossy().into_owned(),
                call.path2.to_string_lossy().into_owned(),
                call.marks.has(PathMarks::LISTED),
            )),
            _ => None,
        })
        .collect();
    let marks = |nr: libc::c_long, path: &str, second: &str| -> Vec<bool> {
        calls
            .iter()
            .filter(|call| (call.0, &*call.1, &*call.2) == (nr, path, second))
            .map(|call| call.3)
            .collect()
    };
    for (name, listed, path) in NAMES {
        assert_eq!(
            marks(libc::SYS_fchmodat, path, ""),
            [*listed],
            "chmod {name}"
        );
        assert_eq!(marks(libc::SYS_openat, path, ""), [*listed], "open {name}");
        assert_eq!(
            marks(libc::SYS_rename, "/n/from", path),
            [*listed],
            "rename {name}"
        );
    }
    let absent = |place: &str| {
        let path = dir.join(place).join("absent");
        marks(libc::SYS_fchmodat, path.to_str().unwrap(), "")
    };
    assert_eq!(absent(".aws"), [true], "relative to a listed directory");
    assert_eq!(absent(".aws/deep"), [true], "relative to one below it");
    assert_eq!(absent("plain"), [false]);
}

fn text(path: &OsStr) -> CString {
    CString::new(path.as_bytes()).unwrap()
}

fn chmod(at: i32, path: &OsStr) {
    let path = text(path);
    // SAFETY: a string that ends. The right it gives is that of a file that is not there.
    unsafe { libc::syscall(libc::SYS_fchmodat, at, path.as_ptr(), 0o600) };
}

fn open(path: &OsStr) -> i32 {
    let path = text(path);
    // SAFETY: a string that ends.
    unsafe { libc::open(path.as_ptr(), libc::O_RDONLY) }
}

fn rename(from: &OsStr, to: &OsStr) {
    assert!(!Path::new("/n").exists(), "/n is not to be touched");
    let (from, to) = (text(from), text(to));
    // SAFETY: strings that end.
    unsafe { libc::syscall(libc::SYS_rename, from.as_ptr(), to.as_ptr()) };
}
