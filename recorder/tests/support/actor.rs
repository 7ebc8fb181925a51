//! A process that makes system calls when it is told to, in a cgroup and on a CPU of its own.
#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::{
    fs::{self, File},
    io::{Read, Write},
    os::fd::{FromRawFd, OwnedFd},
    path::PathBuf,
    thread,
    time::Duration,
};

use nix::{sched::CpuSet, unistd::Pid};

/// A cgroup that `rec capture --container` takes for a container's.
pub struct Place {
    pub dir: PathBuf,
    /// 64 hex digits.
    pub id: String,
}

impl Place {
    /// None: there is no v2 hierarchy here. `digit` tells several of one test binary apart.
    pub fn make(digit: u8) -> Option<Place> {
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let root = mounts.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            (fields[2] == "cgroup2").then(|| PathBuf::from(fields[1]))
        })?;
        let id = format!("{digit:02x}{:062x}", std::process::id());
        let parent = format!("trailcam-test-{}", std::process::id());
        let dir = root.join(parent).join(&id);
        fs::create_dir_all(&dir).unwrap();
        Some(Place { dir, id })
    }

    /// The kernel's number of it.
    pub fn cgroup_id(&self) -> u64 {
        std::os::unix::fs::MetadataExt::ino(&fs::metadata(&self.dir).unwrap())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Its last process may still be on its way out.
        for _ in 0..100 {
            if fs::remove_dir(&self.dir).is_ok() {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        // Gone with the last test that uses it.
        let _ = fs::remove_dir(self.dir.parent().unwrap());
    }
}

/// The process. It reads how often it is to act, acts, and says so; it ends when this value is dropped.
pub struct Actor {
    pub pid: u32,
    orders: Option<File>,
    done: File,
}

impl Actor {
    /// `act` runs in a forked child of a process with threads: it makes system calls and nothing else.
    pub fn start(place: &Place, cpu: usize, act: fn()) -> Actor {
        let (order, orders) = pipe();
        let (done, say_done) = pipe();
        let own = [raw(&order), raw(&say_done)];
        let others = [raw(&orders), raw(&done)];
        // SAFETY: the child only makes system calls.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0);
        if pid == 0 {
            obey(own, others, act);
        }
        let mut set = CpuSet::new();
        set.set(cpu).unwrap();
        nix::sched::sched_setaffinity(Pid::from_raw(pid), &set).unwrap();
        fs::write(place.dir.join("cgroup.procs"), pid.to_string()).unwrap();
        Actor {
            pid: pid as u32,
            orders: Some(orders.into()),
            done: done.into(),
        }
    }

    /// Has it act `times`, and waits until it has.
    pub fn act(&mut self, times: u64) {
        let orders = self.orders.as_mut().unwrap();
        orders.write_all(&times.to_ne_bytes()).unwrap();
        self.done.read_exact(&mut [0]).unwrap();
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        self.orders = None;
        // SAFETY: our own child.
        unsafe { libc::waitpid(self.pid as i32, std::ptr::null_mut(), 0) };
    }
}

fn obey([order, done]: [i32; 2], others: [i32; 2], act: fn()) -> ! {
    // SAFETY: system calls on descriptors and memory of this process.
    unsafe {
        for other in others {
            libc::close(other);
        }
        loop {
            let mut times = 0u64;
            if libc::read(order, (&raw mut times).cast(), 8) != 8 {
                libc::_exit(0);
            }
            for _ in 0..times {
                act();
            }
            libc::write(done, [1u8].as_ptr().cast(), 1);
        }
    }
}

fn raw(fd: &OwnedFd) -> i32 {
    std::os::fd::AsRawFd::as_raw_fd(fd)
}

fn pipe() -> (OwnedFd, OwnedFd) {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors, which nobody else owns.
    unsafe {
        assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC), 0);
        (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1]))
    }
}
