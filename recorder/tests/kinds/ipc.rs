//! What processes share and do to each other, for the table of kinds.

use std::{
    fs::{self, File},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    process::Command,
};

use trace_format::{
    EventData,
    event::{Ipc, IpcKind, IpcMarks, ProcessAccess},
};

use super::{
    TIMES, of, pipe,
    support::{self, Trace},
};

#[derive(Default)]
pub struct Done {
    /// Of System V: memory, semaphores, messages.
    objects: [i32; 3],
    queue: u64,
    /// It was attached to, and its memory read.
    accessed: u32,
    /// The same in a pid namespace: target and caller, by their ids out here.
    inside: (u32, u32),
}

pub fn act(done: &mut Done) {
    use_objects(done);
    access(done);
    access_inside(done);
}

fn key(pid: u32) -> i32 {
    0x5400_0000 | pid as i32
}

/// Each call on objects of its own several times within a second.
fn use_objects(done: &mut Done) {
    let key = key(std::process::id());
    let flags = libc::IPC_CREAT | 0o600;
    let mut text = [0i64; 2];
    // SAFETY: objects of this process, of the sizes that are said.
    unsafe {
        let memory = libc::shmget(key, 8_192, flags);
        let semaphores = libc::semget(key, 3, flags);
        let messages = libc::msgget(key, flags);
        assert!(memory >= 0 && semaphores >= 0 && messages >= 0);
        done.objects = [memory, semaphores, messages];
        for _ in 0..TIMES {
            let at = libc::shmat(memory, std::ptr::null(), 0);
            assert_ne!(at as isize, -1);
            assert_eq!(libc::shmdt(at), 0);
            let mut up = libc::sembuf {
                sem_num: 0,
                sem_op: 1,
                sem_flg: 0,
            };
            // By its number: the C library makes semtimedop of it.
            let done = libc::syscall(libc::SYS_semop, semaphores, &raw mut up, 1);
            assert_eq!(done, 0);
            text[0] = 1;
            assert_eq!(libc::msgsnd(messages, text.as_ptr().cast(), 8, 0), 0);
            assert_eq!(libc::msgrcv(messages, text.as_mut_ptr().cast(), 8, 0, 0), 8);
        }
        libc::shmctl(memory, libc::IPC_RMID, std::ptr::null_mut());
        libc::semctl(semaphores, 0, libc::IPC_RMID);
        libc::msgctl(messages, libc::IPC_RMID, std::ptr::null_mut());
        let name = std::ffi::CString::new(format!("/kinds-{}", std::process::id())).unwrap();
        let queue = libc::mq_open(
            name.as_ptr(),
            libc::O_CREAT | libc::O_RDWR,
            0o600,
            std::ptr::null::<libc::mq_attr>(),
        );
        if queue < 0 {
            return;
        }
        let file = File::from(OwnedFd::from_raw_fd(queue));
        done.queue = file.metadata().unwrap().ino();
        let mut buffer = vec![0u8; 8_192];
        for _ in 0..TIMES {
            assert_eq!(libc::mq_send(queue, b"job".as_ptr().cast(), 3, 7), 0);
            let got = libc::mq_receive(
                queue,
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                std::ptr::null_mut(),
            );
            assert_eq!(got, 3);
        }
        assert_eq!(libc::mq_unlink(name.as_ptr()), 0);
    }
}

/// Calls into a child.
fn access(done: &mut Done) {
    let mut child = Command::new("/bin/sleep").arg("100").spawn().unwrap();
    let pid = child.id() as i32;
    done.accessed = child.id();
    let mut word = [0u8; 8];
    // SAFETY: our own child; the address is likely wrong, which is a failure like any other.
    unsafe {
        for _ in 0..TIMES {
            let local = libc::iovec {
                iov_base: word.as_mut_ptr().cast(),
                iov_len: 8,
            };
            let remote = libc::iovec {
                iov_base: 8 as *mut _,
                iov_len: 8,
            };
            libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0);
        }
        let nothing = std::ptr::null_mut::<libc::c_void>();
        let none = 0 as libc::c_long;
        assert_eq!(libc::ptrace(libc::PTRACE_SEIZE, pid, nothing, none), 0);
        let opened = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        assert!(opened >= 0);
        let pidfd = OwnedFd::from_raw_fd(opened as i32);
        let taken = libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), 0, 0);
        if taken >= 0 {
            drop(OwnedFd::from_raw_fd(taken as i32));
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The first process of a new pid namespace is read by the second, for which its id is 1.
fn access_inside(done: &mut Done) {
    let (from, into) = pipe();
    // SAFETY: the child and its children make system calls only.
    unsafe {
        let outer = libc::fork();
        assert!(outer >= 0);
        if outer == 0 {
            if libc::unshare(libc::CLONE_NEWPID) != 0 {
                libc::_exit(1);
            }
            let target = libc::fork();
            if target == 0 {
                libc::pause();
                libc::_exit(0);
            }
            let caller = libc::fork();
            if caller == 0 {
                let mut word = [0u8; 8];
                let local = libc::iovec {
                    iov_base: word.as_mut_ptr().cast(),
                    iov_len: 8,
                };
                libc::process_vm_readv(1, &raw const local, 1, &raw const local, 1, 0);
                libc::_exit(0);
            }
            let ids = [target, caller];
            libc::write(into.as_raw_fd(), ids.as_ptr().cast(), 8);
            libc::waitpid(caller, std::ptr::null_mut(), 0);
            libc::kill(target, libc::SIGKILL);
            libc::waitpid(target, std::ptr::null_mut(), 0);
            libc::_exit(0);
        }
        let mut ids = [0i32; 2];
        assert_eq!(libc::read(from.as_raw_fd(), ids.as_mut_ptr().cast(), 8), 8);
        done.inside = (ids[0] as u32, ids[1] as u32);
        assert_eq!(libc::waitpid(outer, std::ptr::null_mut(), 0), outer);
    }
}

pub fn objects(trace: &Trace, done: &super::Done) {
    let calls = |nr: libc::c_long| -> Vec<&Ipc> {
        of(trace, done.pid)
            .filter_map(|event| match &event.data {
                EventData::Ipc(call) if i64::from(call.nr) == nr => Some(call),
                _ => None,
            })
            .collect()
    };
    let namespace = fs::metadata("/proc/self/ns/ipc").unwrap().ino() as u32;
    let [memory, semaphores, messages] = done.ipc.objects;
    for (nr, kind, id, size) in [
        (libc::SYS_shmget, IpcKind::MEMORY, memory, 8_192),
        (libc::SYS_shmat, IpcKind::MEMORY, memory, 8_192),
        (libc::SYS_shmdt, IpcKind::MEMORY, memory, 8_192),
        (libc::SYS_semget, IpcKind::SEMAPHORES, semaphores, 3),
        (libc::SYS_semop, IpcKind::SEMAPHORES, semaphores, 3),
        (libc::SYS_msgget, IpcKind::MESSAGES, messages, 0),
        (libc::SYS_msgsnd, IpcKind::MESSAGES, messages, 8),
        (libc::SYS_msgrcv, IpcKind::MESSAGES, messages, 8),
    ] {
        let found = calls(nr);
        let [call] = found[..] else {
            panic!("the first {nr} of a second: {found:?}");
        };
        assert_eq!((call.kind, call.id), (IpcKind(kind), id.into()), "{nr}");
        assert!(call.marks.has(IpcMarks::KEY_KNOWN), "{nr}");
        assert_eq!(call.key, key(done.pid) as u32, "{nr}");
        assert_eq!((call.namespace, call.calls), (namespace, 1), "{nr}");
        assert_eq!(call.size, size, "{nr}");
        assert!(call.ret >= 0, "{nr}");
    }
    // The others are only counted.
    let counted: u64 = trace
        .events
        .iter()
        .map(|event| match event.data {
            EventData::SyscallCount(count) if count.nr == libc::SYS_semop as u32 => count.calls,
            _ => 0,
        })
        .sum();
    assert!(counted >= TIMES as u64 - 1, "{counted}");
    for (nr, kind) in [
        (libc::SYS_shmctl, IpcKind::MEMORY),
        (libc::SYS_semctl, IpcKind::SEMAPHORES),
        (libc::SYS_msgctl, IpcKind::MESSAGES),
    ] {
        let found = calls(nr);
        let [call] = found[..] else {
            panic!("one removal: {found:?}");
        };
        assert_eq!((call.kind, call.arg), (IpcKind(kind), 0), "IPC_RMID");
        assert!(!call.marks.has(IpcMarks::KEY_KNOWN), "the object is gone");
    }
    if done.ipc.queue == 0 {
        support::skip("this kernel has no message queues");
        return;
    }
    let name = format!("/kinds-{}", done.pid);
    for (nr, size, arg) in [
        (libc::SYS_mq_timedsend, 3, 7),
        (libc::SYS_mq_timedreceive, 3, 0),
    ] {
        let found = calls(nr);
        let [call] = found[..] else {
            panic!("the first {nr} of a second: {found:?}");
        };
        assert_eq!(
            (call.id as u64, call.size, call.arg),
            (done.ipc.queue, size, arg)
        );
        assert_eq!(call.name.to_string_lossy(), name);
        assert_eq!(call.marks, IpcMarks(0), "the file's name");
    }
    let opened = calls(libc::SYS_mq_open);
    assert_eq!((opened.len(), opened[0].id as u64), (1, done.ipc.queue));
    assert_eq!(opened[0].name.to_string_lossy(), name);
    let removed = calls(libc::SYS_mq_unlink);
    assert_eq!((removed.len(), removed[0].id), (1, -1));
    assert_eq!(removed[0].name.to_string_lossy(), name);
    assert!(removed[0].marks.has(IpcMarks::UNTRUSTED));
}

pub fn accesses(trace: &Trace, done: &super::Done) {
    let own_cgroup = of(trace, done.pid).next().unwrap().cgroup_id;
    let calls = |nr: libc::c_long| -> Vec<ProcessAccess> {
        of(trace, done.pid)
            .filter_map(|event| match event.data {
                EventData::ProcessAccess(call) if i64::from(call.nr) == nr => Some(call),
                _ => None,
            })
            .filter(|call| call.target_pid == done.ipc.accessed)
            .collect()
    };
    for (nr, arg) in [
        (libc::SYS_process_vm_readv, 0),
        (libc::SYS_ptrace, u64::from(libc::PTRACE_SEIZE)),
        (libc::SYS_pidfd_open, 0),
        (libc::SYS_pidfd_getfd, 0),
    ] {
        let found = calls(nr);
        let [call] = found[..] else {
            panic!("the first {nr} of a second: {found:?}");
        };
        assert_eq!((call.arg, call.calls), (arg, 1), "{nr}");
        assert_eq!(call.target_tid, done.ipc.accessed, "{nr}");
        assert_eq!(call.target_cgroup, own_cgroup, "{nr}");
    }
    // By the id that only the namespace knows it by.
    let (target, caller) = done.ipc.inside;
    let inside: Vec<_> = of(trace, caller)
        .filter_map(|event| match event.data {
            EventData::ProcessAccess(call) => Some(call),
            _ => None,
        })
        .collect();
    let [call] = inside[..] else {
        panic!("one call of {caller}: {inside:?}");
    };
    assert_eq!(i64::from(call.nr), libc::SYS_process_vm_readv);
    assert_eq!((call.target_pid, call.target_tid), (target, target));
}
