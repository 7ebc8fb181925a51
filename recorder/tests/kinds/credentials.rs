//! Changes of credentials, for the table of kinds.

use std::{
    fs,
    os::{fd::AsRawFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
};

use trace_format::{
    EventData,
    event::{CredentialMarks, Credentials, Rights},
};

use super::{
    MACHINE, of, pipe,
    support::{self, Recording, Trace, read},
};

const USER: u32 = 4_242;
const GROUP: u32 = 4_343;
/// CAP_NET_RAW (include/uapi/linux/capability.h).
const NET_RAW: u64 = 1 << 13;

#[derive(Default)]
pub struct Done {
    /// Gives up rights by calls, and runs a set-user-ID program.
    child: u32,
    /// The first process of a pid namespace, by its id out here, and who made it.
    inside: (u32, u32),
    program: PathBuf,
}

/// A program of the own image's directory with the set-user-ID bit, where the file system heeds that.
fn program(dir: &Path) -> PathBuf {
    let path = dir.join("as-root");
    fs::copy("/bin/true", &path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4755)).unwrap();
    // Others must come to it.
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

pub fn act(dir: &Path, done: &mut Done) {
    done.program = program(dir);
    let path = std::ffi::CString::new(done.program.to_str().unwrap()).unwrap();
    let (from, into) = pipe();
    // SAFETY: the children make system calls only.
    unsafe {
        let child = libc::fork();
        assert!(child >= 0);
        if child == 0 {
            let _ = libc::syscall(libc::SYS_setgid, GROUP);
            // The same again changes nothing.
            let _ = libc::syscall(libc::SYS_setgid, GROUP);
            // Without CAP_NET_RAW from here on.
            let header = [0x2008_0522u32, 0];
            let mut sets = [0u32; 6];
            libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr());
            for set in &mut sets[..2] {
                *set &= !(NET_RAW as u32);
            }
            libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr());
            let _ = libc::syscall(libc::SYS_setresuid, USER, USER, USER);
            // Refused: nothing changes.
            let _ = libc::syscall(libc::SYS_setuid, 0);
            let args = [path.as_ptr(), std::ptr::null()];
            libc::execv(path.as_ptr(), args.as_ptr());
            libc::_exit(1);
        }
        done.child = child as u32;
        assert_eq!(libc::waitpid(child, std::ptr::null_mut(), 0), child);
        let outer = libc::fork();
        assert!(outer >= 0);
        if outer == 0 {
            if libc::unshare(libc::CLONE_NEWPID) != 0 {
                libc::_exit(1);
            }
            let inner = libc::fork();
            if inner == 0 {
                libc::_exit(0);
            }
            libc::write(into.as_raw_fd(), (&raw const inner).cast(), 4);
            libc::waitpid(inner, std::ptr::null_mut(), 0);
            libc::_exit(0);
        }
        let mut inner = 0i32;
        assert_eq!(libc::read(from.as_raw_fd(), (&raw mut inner).cast(), 4), 4);
        done.inside = (inner as u32, outer as u32);
        assert_eq!(libc::waitpid(outer, std::ptr::null_mut(), 0), outer);
    }
}

pub fn changes(trace: &Trace, done: &super::Done) {
    let done = &done.credentials;
    let found: Vec<Credentials> = of(trace, done.child)
        .filter_map(|event| match event.data {
            EventData::Credentials(change) => Some(change),
            _ => None,
        })
        .collect();
    let [group, capabilities, user, program] = found[..] else {
        panic!("setgid, capset, setresuid, execve: {found:?}");
    };
    let calls = [
        (group, libc::SYS_setgid),
        (capabilities, libc::SYS_capset),
        (user, libc::SYS_setresuid),
        (program, libc::SYS_execve),
    ];
    for (change, nr) in calls {
        assert_eq!(i64::from(change.nr), nr);
        assert!(
            change.marks.has(CredentialMarks::BEFORE_KNOWN),
            "{change:?}"
        );
        assert!(change.after.user_ns > 0 && change.after.user_ns == change.before.user_ns);
    }
    // Each begins where the one before ended.
    assert_eq!(group.after, capabilities.before);
    assert_eq!(capabilities.after, user.before);
    assert_eq!(user.after, program.before);
    let groups = |rights: &Rights| [rights.gid, rights.egid, rights.sgid];
    assert_eq!(groups(&group.before), [0; 3]);
    assert_eq!(groups(&group.after), [GROUP; 3]);
    let (before, after) = (&capabilities.before, &capabilities.after);
    assert_eq!(before.cap_effective & !after.cap_effective, NET_RAW);
    assert_eq!(before.cap_permitted & !after.cap_permitted, NET_RAW);
    let users = |rights: &Rights| [rights.uid, rights.euid, rights.suid];
    assert_eq!(users(&user.before), [0; 3]);
    assert_eq!(users(&user.after), [USER; 3]);
    assert_eq!((user.after.cap_effective, user.after.cap_permitted), (0, 0));
    assert_eq!(users(&program.after), [USER, 0, 0]);
    assert!(program.marks.has(CredentialMarks::SET_USER_ID));
    assert!(!program.marks.has(CredentialMarks::SET_GROUP_ID));
    let exec = of(trace, done.child).find_map(|event| match &event.data {
        EventData::Exec(exec) => Some((exec.uid, exec.gid)),
        _ => None,
    });
    assert_eq!(exec, Some((0, GROUP)), "the effective ones");

    let (inner, outer) = done.inside;
    let forked = of(trace, outer).find_map(|event| match event.data {
        EventData::Fork(fork) if fork.child_pid == inner => Some(fork.child_ns_tid),
        _ => None,
    });
    match forked {
        Some(id) => assert_eq!(id, 1, "the first of its namespace"),
        None => support::skip("no pid namespaces here"),
    }
}

/// What ran before the recording: a child that waits for it to begin.
#[test]
fn rights_of_what_runs_already_are_known() {
    crate::needs_kernel!();
    let _machine = MACHINE.lock();
    let (from, into) = pipe();
    // SAFETY: the child makes system calls only.
    let child = unsafe {
        let child = libc::fork();
        assert!(child >= 0);
        if child == 0 {
            let mut byte = 0u8;
            libc::read(from.as_raw_fd(), (&raw mut byte).cast(), 1);
            libc::_exit(i32::from(libc::syscall(libc::SYS_setgid, GROUP) != 0));
        }
        child
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trace.zst");
    let recording = Recording::start(&path, &[]);
    // SAFETY: one byte of this process; its own child.
    unsafe {
        assert_eq!(libc::write(into.as_raw_fd(), [1u8].as_ptr().cast(), 1), 1);
        let mut status = -1;
        assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
        assert_eq!(status, 0);
    }
    recording.stop();
    let trace = read(&path);
    let found: Vec<Credentials> = of(&trace, child as u32)
        .filter_map(|event| match event.data {
            EventData::Credentials(change) => Some(change),
            _ => None,
        })
        .collect();
    let [change] = found[..] else {
        panic!("one setgid: {found:?}");
    };
    assert!(
        change.marks.has(CredentialMarks::BEFORE_KNOWN),
        "{change:?}"
    );
    assert_eq!((change.before.gid, change.after.gid), (0, GROUP));
    assert_eq!(change.before.cap_effective, change.after.cap_effective);
    assert!(change.before.cap_effective > 0);
}
