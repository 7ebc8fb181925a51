//! Promise: what an exec event says of its process is what /proc says of it, and where its program
//! lies is told: a memfd, a deleted file, an overlay's upper layer.

mod support;

use std::{
    ffi::CString,
    fs::{self, File},
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::{ffi::OsStrExt, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
    time::Duration,
};

use recorder::observe::{cgroups::Cgroups, processes};
use support::{Recording, Trace, read};
use trace_format::{
    Context, EventData, Known,
    context::{Process, SnapshotDetails},
    event::{Exec, ExecDetails, ExecFlags},
};

/// Programs outlive the recording: /proc is read while they run.
const SLEEP: &str = "/bin/sleep";

/// A program that runs, and what /proc said of it.
struct Ran {
    child: Child,
    seen: Process,
}

impl Ran {
    fn start(mut command: Command) -> Ran {
        let child = command.spawn().unwrap();
        let seen = processes::read(child.id(), &Cgroups::open()).unwrap();
        Ran { child, seen }
    }

    fn details(&self) -> &SnapshotDetails {
        self.seen.details.as_deref().unwrap()
    }
}

impl Drop for Ran {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn sleep(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("100");
    command
}

fn exec_of(trace: &Trace, pid: u32) -> (&Exec, &ExecDetails) {
    let mut execs = trace.events.iter().filter_map(|event| match &event.data {
        EventData::Exec(exec) if event.pid == pid => Some(exec),
        _ => None,
    });
    // `unshare` is one exec, what it runs another: the last one is what /proc shows.
    let exec = execs.next_back().expect("the exec was recorded");
    (exec, exec.details.as_deref().expect("with details"))
}

/// Everything that both sources have.
fn same(trace: &Trace, ran: &Ran) {
    let (exec, told) = exec_of(trace, ran.child.id());
    let seen = ran.details();
    assert_eq!(told.cwd.as_bytes(), ran.seen.cwd);
    assert_eq!(told.ns_pid, ran.seen.ns_pid);
    assert_eq!(exec.path.as_bytes(), ran.seen.exe);
    assert_eq!(exec.ino, seen.ino);
    let mut process = told.process;
    assert!(process.ns_start_ns > 0);
    // Neither is in /proc.
    process.ns_start_ns = 0;
    process.known.0 &= !Known::LAYER;
    assert_eq!(process, seen.process);
    assert_eq!(process.known.0, 31, "all parts that /proc has");
}

#[test]
fn an_exec_says_what_proc_says() {
    needs_kernel!();
    let dir = tempfile::tempdir().unwrap();
    let recording = Recording::start(&dir.path().join("trace.zst"), &[]);
    let path = recording.trace.clone();

    let mut above = sleep(Path::new(SLEEP));
    above.current_dir("/");
    let above = Ran::start(above);
    let mut elsewhere = sleep(Path::new(SLEEP));
    elsewhere.current_dir(dir.path()).process_group(0);
    let plain = Ran::start(elsewhere);
    let terminal = with_terminal();
    let inner = in_namespaces();
    let bare = without_rights();

    thread::sleep(Duration::from_millis(300));
    recording.stop();
    let trace = read(&path);

    for ran in [&above, &plain, &terminal.0, &bare] {
        same(&trace, ran);
    }
    let (_, told) = exec_of(&trace, above.child.id());
    assert_eq!(told.cwd.as_bytes(), b"/");
    let (_, told) = exec_of(&trace, plain.child.id());
    assert_eq!(told.cwd.as_bytes(), dir.path().as_os_str().as_bytes());
    assert_eq!(told.process.pgid, plain.child.id());
    let (_, told) = exec_of(&trace, terminal.0.child.id());
    assert_ne!(told.process.tty, 0, "a terminal of its own");
    assert_eq!(told.process.sid, terminal.0.child.id());
    let (_, told) = exec_of(&trace, bare.child.id());
    assert_eq!(told.process.cap_effective, 0);

    let own = own_namespaces();
    if let Some((_unshare, pid)) = inner {
        let (exec, told) = exec_of(&trace, pid);
        assert_eq!(told.ns_pid, 1, "the first of its namespace");
        assert_eq!(told.process.ns_start_ns, exec.start_ns);
        assert_ne!(told.process.namespaces.pid, own.pid);
        assert_ne!(told.process.namespaces.uts, own.uts);
        assert_eq!(told.process.namespaces.net, own.net);
    }

    // What ran before is described as well.
    let snapshot = trace.context.iter().find_map(|record| match &record.body {
        Context::Process(process) if process.pid == std::process::id() => process.details.as_ref(),
        _ => None,
    });
    let snapshot = snapshot.expect("this process ran before");
    assert_eq!(snapshot.process.namespaces, own);
    // SAFETY: a call without preconditions.
    assert_eq!(snapshot.process.sid, unsafe { libc::getsid(0) } as u32);
}

fn own_namespaces() -> trace_format::Namespaces {
    let own = processes::read(std::process::id(), &Cgroups::open()).unwrap();
    own.details.unwrap().process.namespaces
}

/// With the other end of its terminal, which must stay open.
fn with_terminal() -> (Ran, OwnedFd) {
    let (mut outer, mut inner) = (0, 0);
    // SAFETY: two places for descriptors; the rest may be null.
    let made = unsafe {
        libc::openpty(
            &mut outer,
            &mut inner,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        )
    };
    assert_eq!(made, 0);
    // SAFETY: just opened, owned by nobody else.
    let (outer, inner) = unsafe { (OwnedFd::from_raw_fd(outer), OwnedFd::from_raw_fd(inner)) };
    let fd = inner.as_raw_fd();
    let mut command = sleep(Path::new(SLEEP));
    // SAFETY: only system calls between fork and exec.
    unsafe {
        command.pre_exec(move || {
            if libc::setsid() < 0 || libc::ioctl(fd, libc::TIOCSCTTY, 0) < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
    (Ran::start(command), outer)
}

fn without_rights() -> Ran {
    let mut command = sleep(Path::new(SLEEP));
    command.uid(65_534).gid(65_534);
    Ran::start(command)
}

/// A program in pid and UTS namespaces of its own: the `unshare` that made them, and its pid.
fn in_namespaces() -> Option<(Ran, u32)> {
    let mut command = Command::new("unshare");
    command.args(["--pid", "--uts", "--fork", "--kill-child", SLEEP, "100"]);
    let Ok(probe) = Command::new("unshare").arg("--version").output() else {
        support::skip("there is no unshare");
        return None;
    };
    assert!(probe.status.success());
    let outer = Ran::start(command);
    let children = format!("/proc/{0}/task/{0}/children", outer.child.id());
    for _ in 0..100 {
        let pid = fs::read_to_string(&children)
            .ok()
            .and_then(|text| text.split_whitespace().next()?.parse().ok());
        if let Some(pid) = pid {
            return Some((outer, pid));
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("unshare started nothing");
}

#[test]
fn where_a_program_lies_is_told() {
    needs_kernel!();
    let dir = tempfile::tempdir().unwrap();
    let overlay = Overlay::mount(&dir.path().join("overlay"));
    let recording = Recording::start(&dir.path().join("trace.zst"), &[]);
    let path = recording.trace.clone();

    // SAFETY: a name that ends with NUL.
    let memory = unsafe { libc::memfd_create(c"hidden".as_ptr(), 0) };
    assert!(memory >= 0);
    // SAFETY: just opened, owned by nobody else.
    let mut memory = unsafe { File::from_raw_fd(memory) };
    io::copy(&mut File::open(SLEEP).unwrap(), &mut memory).unwrap();
    let memfd = Ran::start(sleep(&by_descriptor(&memory)));

    let gone = dir.path().join("gone");
    fs::copy(SLEEP, &gone).unwrap();
    let opened = File::open(&gone).unwrap();
    // SAFETY: a descriptor of this process, which its child is to have.
    assert_eq!(
        unsafe { libc::fcntl(opened.as_raw_fd(), libc::F_SETFD, 0) },
        0
    );
    fs::remove_file(&gone).unwrap();
    let deleted = Ran::start(sleep(&by_descriptor(&opened)));

    let layers = overlay.as_ref().map(|overlay| {
        [
            (Ran::start(sleep(&overlay.merged.join("lower"))), false),
            (Ran::start(sleep(&overlay.merged.join("upper"))), true),
        ]
    });
    thread::sleep(Duration::from_millis(300));
    recording.stop();
    let trace = read(&path);

    let (exec, told) = exec_of(&trace, memfd.child.id());
    assert_eq!(exec.flags, ExecFlags(ExecFlags::MEMFD));
    assert_eq!(exec.path.as_bytes(), b"/memfd:hidden");
    assert_eq!(
        told.process.exe_mtime_ns,
        memfd.details().process.exe_mtime_ns
    );
    assert_eq!(memfd.details().flags, exec.flags);
    assert_eq!(memfd.seen.exe, exec.path.as_bytes());

    let (exec, _) = exec_of(&trace, deleted.child.id());
    assert_eq!(exec.flags, ExecFlags(ExecFlags::DELETED));
    assert_eq!(exec.path.as_bytes(), gone.as_os_str().as_bytes());
    assert_eq!(deleted.seen.exe, exec.path.as_bytes());

    for (ran, is_upper) in layers.iter().flatten() {
        let (exec, told) = exec_of(&trace, ran.child.id());
        if told.process.known.has(Known::LAYER) {
            assert_eq!(exec.flags.has(ExecFlags::UPPER_LAYER), *is_upper);
        } else {
            support::skip("this kernel's types do not describe overlayfs");
        }
    }
    drop((layers, overlay));
}

fn by_descriptor(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

/// A file system of two layers with a program on each.
struct Overlay {
    base: PathBuf,
    merged: PathBuf,
}

impl Overlay {
    fn mount(base: &Path) -> Option<Overlay> {
        fs::create_dir(base).unwrap();
        // An overlay cannot have its upper layer on another overlay, which this directory may be on.
        mount("tmpfs", base, "tmpfs", "").unwrap();
        let [below, above, work, merged] = ["below", "above", "work", "merged"].map(|name| {
            let dir = base.join(name);
            fs::create_dir(&dir).unwrap();
            dir
        });
        let overlay = Overlay {
            base: base.into(),
            merged: merged.clone(),
        };
        fs::copy(SLEEP, below.join("lower")).unwrap();
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            below.display(),
            above.display(),
            work.display()
        );
        if let Err(error) = mount("overlay", &merged, "overlay", &options) {
            support::skip(&format!("no overlay can be mounted: {error}"));
            return None;
        }
        fs::copy(SLEEP, merged.join("upper")).unwrap();
        Some(overlay)
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        for dir in [&self.merged, &self.base] {
            let dir = CString::new(dir.as_os_str().as_bytes()).unwrap();
            // SAFETY: a path that ends with NUL.
            unsafe { libc::umount2(dir.as_ptr(), libc::MNT_DETACH) };
        }
    }
}

fn mount(source: &str, target: &Path, kind: &str, options: &str) -> io::Result<()> {
    let [source, kind, options] = [source, kind, options].map(|text| CString::new(text).unwrap());
    let target = CString::new(target.as_os_str().as_bytes()).unwrap();
    // SAFETY: four strings that end with NUL.
    let done = unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            0,
            options.as_ptr().cast(),
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
