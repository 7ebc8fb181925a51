//! Builds the sandbox around a process: the part that Docker's runtime does for its containers.
//!
//! `inject` starts `workload cage HOSTNAME VERSION [PID]`, a process with one thread, and leads it by single
//! bytes on its stdin, because some steps must be taken from outside. PID is the first process of a container whose IPC
//! namespace it shares:
//!
//! ```text
//! inject                                     cage
//!                         ── 'u' ──▶         leave the host's namespaces but the cgroup one
//! write uid_map, gid_map  ◀─ "unshared" ──
//!                         ── 'm' ──▶         become root in there, fill a tmpfs with the image
//!                         ◀─ "pid N" ──      first process of the pid namespace, child of inject: then this one exits
//! put it into its cgroups ── 'c' ──▶         (the first process) leave the cgroup namespace, run
//! ```
//!
//! The first process mounts /proc and makes the tmpfs its root; only then it enters its cgroups, as
//! with an engine: what happens in a container's cgroup is the container's doing, not its builder's.
//! It gives up every capability, gets a filter of system calls and runs the supervisor. It is killed with the thread of `inject` that started the cage; should that thread be
//! gone already, its stdin is closed, which ends the supervisor.

use std::{
    ffi::CString,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    mem,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink},
    path::Path,
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
    sys::{
        prctl,
        resource::{Resource, setrlimit},
        signal::Signal,
    },
    unistd::{Gid, Uid, chdir, execve, pivot_root, setgroups, sethostname, setresgid, setresuid},
};

use super::{filter, guard};
use crate::{
    frame::Said,
    image::{self, Node},
};

/// Where the new root is mounted, in a mount namespace of its own: any directory that every host has.
const MOUNT_POINT: &str = "/tmp";

/// Devices that programs expect; the host's are bound, since a user namespace cannot make any.
const DEVICES: [&str; 4] = ["null", "zero", "random", "urandom"];

/// The image's root: the program and less than 1 MiB of files.
const ROOT_MIB: u32 = 16;

const DESCRIPTORS_MAX: u64 = 1024;

pub fn main(args: &[String]) -> i32 {
    let (mode, hostname, version, partner) = match args {
        [mode, hostname, version] => (mode, hostname, version, None),
        [mode, hostname, version, pid] => (mode, hostname, version, Some(pid.as_str())),
        _ => {
            eprintln!(
                "This is the program that `inject` puts into its containers; it is not for use by hand."
            );
            return 2;
        }
    };
    let (true, Ok(version)) = (mode == "cage", version.parse()) else {
        eprintln!("error: unknown part {mode:?} or version {version:?}");
        return 2;
    };
    match build(hostname, version, partner) {
        Ok(()) => 0,
        Err(error) => {
            println!("{}", Said::Fatal(error.to_string()));
            1
        }
    }
}

/// Errors name what failed: the line is all that `inject` sees.
trait Doing<T> {
    fn doing(self, what: &str) -> io::Result<T>;
}
impl<T, E: std::fmt::Display> Doing<T> for Result<T, E> {
    fn doing(self, what: &str) -> io::Result<T> {
        self.map_err(|error| io::Error::other(format!("sandbox: cannot {what}: {error}")))
    }
}

fn build(hostname: &str, version: u32, partner: Option<&str>) -> io::Result<()> {
    // Read while the host's files can still be reached.
    let program = fs::read("/proc/self/exe").doing("read the own program")?;
    let outside = guard::namespaces("self").doing("read the own namespaces")?;
    wait_for(b'u')?;
    let ipc = match partner {
        // While still root on the host: afterwards the namespace is another user namespace's.
        Some(pid) => {
            let path = format!("/proc/{pid}/ns/ipc");
            let namespace = File::open(&path).doing(&format!("open {path}"))?;
            setns(namespace, CloneFlags::CLONE_NEWIPC).doing(&format!("enter {path}"))?;
            CloneFlags::empty()
        }
        None => CloneFlags::CLONE_NEWIPC,
    };
    unshare(
        CloneFlags::CLONE_NEWUSER
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWNET
            | ipc
            | CloneFlags::CLONE_NEWUTS,
    )
    .doing("leave the host's namespaces")?;
    println!("unshared");
    wait_for(b'm')?;
    let root = (Uid::from_raw(0), Gid::from_raw(0));
    setgroups(&[]).doing("leave its groups")?;
    setresgid(root.1, root.1, root.1).doing("become root in its user namespace")?;
    setresuid(root.0, root.0, root.0).doing("become root in its user namespace")?;
    sethostname(hostname).doing("set the host name")?;
    loopback_up().doing("bring up loopback")?;
    mount_root(program, version)?;
    match fork_into()? {
        0 => match enter(&outside) {
            Ok(never) => match never {},
            Err(error) => {
                println!("{}", Said::Fatal(error.to_string()));
                // SAFETY: ends the process at once; the copy of the parent's state is not cleaned up.
                unsafe { libc::_exit(1) }
            }
        },
        pid => {
            println!("pid {pid}");
            Ok(())
        }
    }
}

fn wait_for(step: u8) -> io::Result<()> {
    let mut byte = [0];
    // Read one by one: what follows belongs to the supervisor.
    let mut stdin = super::raw_stdin();
    stdin
        .read_exact(&mut byte)
        .doing("go on: the injector is gone")?;
    match byte[0] == step {
        true => Ok(()),
        false => Err(io::Error::other(format!(
            "sandbox: told {:?}, expected {:?}",
            byte[0] as char, step as char
        ))),
    }
}

/// A tmpfs with the image's files, in a mount namespace that nothing outside sees.
fn mount_root(program: Vec<u8>, version: u32) -> io::Result<()> {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .doing("part from the host's mounts")?;
    mount_tmpfs(MOUNT_POINT, ROOT_MIB, MsFlags::MS_NODEV)?;
    for entry in image::entries(program, version) {
        let path = format!("{MOUNT_POINT}{}", entry.path);
        let made = match &entry.node {
            Node::Directory => fs::DirBuilder::new().mode(entry.mode).create(&path),
            Node::Link(target) => symlink(target, &path),
            Node::File(content) => OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(entry.mode)
                .open(&path)
                .and_then(|mut file| file.write_all(content)),
        };
        made.doing(&format!("make {}", entry.path))?;
    }
    for device in DEVICES {
        let (from, to) = (
            format!("/dev/{device}"),
            format!("{MOUNT_POINT}/dev/{device}"),
        );
        File::create(&to).doing(&format!("make {to}"))?;
        mount(Some(&*from), &*to, none, MsFlags::MS_BIND, none).doing(&format!("bind {from}"))?;
    }
    let writable = MsFlags::MS_NODEV;
    mount_tmpfs(
        &format!("{MOUNT_POINT}{}", image::SCRATCH),
        image::SCRATCH_MIB,
        writable,
    )?;
    for path in image::WRITABLE {
        mount_tmpfs(
            &format!("{MOUNT_POINT}{path}"),
            image::WRITABLE_MIB,
            writable | MsFlags::MS_NOEXEC,
        )?;
    }
    Ok(())
}

fn mount_tmpfs(at: &str, mib: u32, flags: MsFlags) -> io::Result<()> {
    let options = format!("size={mib}m,nr_inodes={},mode=755", image::INODES);
    mount(
        Some("tmpfs"),
        at,
        Some("tmpfs"),
        flags | MsFlags::MS_NOSUID,
        Some(&*options),
    )
    .doing(&format!("mount a tmpfs at {at}"))?;
    fs::set_permissions(at, fs::Permissions::from_mode(0o755)).doing(&format!("chmod {at}"))
}

/// As fork, but the child is the caller's sibling: `inject` is its parent and this process can go.
fn fork_into() -> io::Result<i32> {
    let flags = libc::CLONE_PARENT | libc::SIGCHLD;
    // SAFETY: without CLONE_VM and with a null stack this is fork; the process has one thread.
    let result = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    match result {
        -1 => Err(io::Error::last_os_error()).doing("fork into the pid namespace"),
        pid => Ok(pid as i32),
    }
}

/// In the first process of the pid namespace.
fn enter(outside: &[u64]) -> io::Result<std::convert::Infallible> {
    prctl::set_pdeathsig(Signal::SIGKILL).doing("ask to be killed with its parent")?;
    let none = None::<&str>;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(
        Some("proc"),
        &*format!("{MOUNT_POINT}/proc"),
        Some("proc"),
        flags,
        none,
    )
    .doing("mount /proc (is this inside a container already? then use --docker)")?;
    // As engines do: the container's resolver is nobody in particular.
    fs::write(
        format!("{MOUNT_POINT}/proc/sys/net/ipv4/ip_unprivileged_port_start"),
        "0",
    )
    .doing("open the low ports of its network")?;
    chdir(MOUNT_POINT).doing("enter the new root")?;
    pivot_root(".", ".").doing("change the root")?;
    umount2(".", MntFlags::MNT_DETACH).doing("let go of the host's files")?;
    chdir("/").doing("enter the new root")?;
    let read_only = MsFlags::MS_REMOUNT
        | MsFlags::MS_BIND
        | MsFlags::MS_RDONLY
        | MsFlags::MS_NOSUID
        | MsFlags::MS_NODEV;
    mount(none, "/", none, read_only, none).doing("make the root read-only")?;
    wait_for(b'c')?;
    unshare(CloneFlags::CLONE_NEWCGROUP).doing("leave the host's cgroup namespace")?;
    let inside = guard::namespaces("self").doing("read the own namespaces")?;
    if let Some(place) = (0..inside.len()).find(|&place| inside[place] == outside[place]) {
        let name = guard::NAMESPACES[place];
        return Err(io::Error::other(format!(
            "sandbox: still in the host's {name} namespace"
        )));
    }
    drop_capabilities().doing("give up its capabilities")?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).doing("limit core files")?;
    setrlimit(Resource::RLIMIT_NOFILE, DESCRIPTORS_MAX, DESCRIPTORS_MAX)
        .doing("limit descriptors")?;
    // SAFETY: a plain prctl; it cannot be undone by what runs next.
    let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    nix::errno::Errno::result(result).doing("forbid new privileges")?;
    filter::install().doing("filter its system calls")?;
    let name = Path::new(image::PROGRAM).file_name().unwrap_or_default();
    let text = |bytes: &[u8]| CString::new(bytes).map_err(io::Error::other);
    let environment = ["PATH=/usr/bin", "HOME=/root"].map(|variable| text(variable.as_bytes()));
    let environment: Vec<CString> = environment.into_iter().collect::<Result<_, _>>()?;
    execve(
        &text(image::PROGRAM.as_bytes())?,
        &[text(name.as_encoded_bytes())?],
        &environment,
    )
    .doing(&format!("run {}", image::PROGRAM))
}

fn loopback_up() -> io::Result<()> {
    // SAFETY: an all-zero ifreq is valid; the name is shorter than its field.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: the request outlives the call, and the kernel only reads its name and flags.
    let result = unsafe {
        libc::ioctl(
            std::os::fd::AsRawFd::as_raw_fd(&socket),
            libc::SIOCSIFFLAGS,
            &request,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// From every set, so that no later exec can bring one back.
fn drop_capabilities() -> io::Result<()> {
    // The kernel answers EINVAL beyond the last capability it knows.
    let known = |capability: &libc::c_ulong| {
        // SAFETY: a plain prctl that reads.
        unsafe { libc::prctl(libc::PR_CAPBSET_READ, *capability, 0, 0, 0) >= 0 }
    };
    for capability in (0..64).take_while(known) {
        // SAFETY: a plain prctl.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    // SAFETY: a plain prctl.
    if unsafe {
        libc::prctl(
            libc::PR_CAP_AMBIENT,
            libc::PR_CAP_AMBIENT_CLEAR_ALL,
            0,
            0,
            0,
        )
    } != 0
    {
        return Err(io::Error::last_os_error());
    }
    // `struct __user_cap_header_struct` and two `__user_cap_data_struct`: capget(2).
    const VERSION_3: u32 = 0x2008_0522;
    let header: [u32; 2] = [VERSION_3, 0];
    let sets: [u32; 6] = [0; 6];
    // SAFETY: both arrays have the layout that version 3 prescribes and outlive the call.
    match unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
