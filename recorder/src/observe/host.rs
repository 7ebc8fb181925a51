//! The recording host, and who its users are.

use std::{fs, path::Path};

use trace_format::context::{Clock, Context, Host, User};

use crate::clock;

/// Users kept from /etc/passwd.
const USERS_MAX: usize = 4_096;

/// The host as it is now. What cannot be read stays empty: it is no reason not to record.
pub fn host() -> Host {
    let uname = nix::sys::utsname::uname().ok();
    let text = |field: Option<&std::ffi::OsStr>| {
        field
            .map(|text| text.to_string_lossy().into_owned())
            .unwrap_or_default()
    };
    Host {
        host_uuid: uuid_file("/etc/machine-id"),
        hostname: text(uname.as_ref().map(|uname| uname.nodename())),
        kernel_release: text(uname.as_ref().map(|uname| uname.release())),
        arch: std::env::consts::ARCH.to_owned(),
        cpus: std::thread::available_parallelism().map_or(0, |cpus| cpus.get() as u32),
        memory_bytes: memory_bytes().unwrap_or(0),
        boot_id: uuid_file("/proc/sys/kernel/random/boot_id"),
        recorder_version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// `PROC_PID_INIT_INO` (include/linux/proc_ns.h): the initial pid namespace.
const HOST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// The probes see pids of the initial namespace: elsewhere the recorder could not even leave itself out.
pub fn in_host_pid_namespace() -> anyhow::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let namespace = fs::metadata("/proc/self/ns/pid").map(|meta| meta.ino());
    anyhow::ensure!(
        namespace.is_ok_and(|inode| inode == HOST_PID_NAMESPACE),
        "rec must run in the host's pid namespace: start its container with --pid=host (Kubernetes: hostPID: true)"
    );
    Ok(())
}

/// Both clocks, read as close together as user space can.
pub fn clock_pair() -> Clock {
    let before = clock::boot_ns();
    let wall_ns = clock::wall_ns();
    let after = clock::boot_ns();
    Clock {
        boot_ns: before + (after - before) / 2,
        wall_ns,
    }
}

/// The users of the host; containers may have others.
pub fn users() -> Vec<Context> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    passwd
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let (name, uid) = (fields.next()?, fields.nth(1)?);
            Some(Context::User(User {
                uid: uid.parse().ok()?,
                name: name.to_owned(),
            }))
        })
        .take(USERS_MAX)
        .collect()
}

fn uuid_file(path: &str) -> [u8; 16] {
    let text = fs::read_to_string(Path::new(path)).unwrap_or_default();
    let mut digits = text
        .bytes()
        .filter_map(|byte| char::from(byte).to_digit(16));
    let mut uuid = [0; 16];
    for byte in &mut uuid {
        let (Some(high), Some(low)) = (digits.next(), digits.next()) else {
            return [0; 16];
        };
        *byte = (high << 4 | low) as u8;
    }
    uuid
}

fn memory_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}
