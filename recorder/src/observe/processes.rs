//! The processes that already run when recording starts, from /proc.
//!
//! The probes are attached first: a process that starts meanwhile has its own events, and a
//! record here that repeats it says nothing else.

use std::{fs, io::Read, os::unix::ffi::OsStrExt, path::Path};

use hashbrown::HashMap;

use trace_format::{
    context::{Context, ContextRecord, Process},
    event::ExecFlags,
};

use super::{cgroups::Cgroups, details};
use crate::clock;

/// Kernel ticks per second in /proc: `USER_HZ`, 100 on every Linux ABI.
const TICK_NS: u64 = 10_000_000;
/// Bytes of arguments kept.
const ARGS_MAX: u64 = 1_024;
/// Bytes of any other file under /proc/PID.
const FILE_MAX: u64 = 4_096;

/// One record per process, each at the moment it was read. A process that ends meanwhile is left out.
pub fn snapshot(cgroups: &Cgroups) -> Vec<ContextRecord> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut records: Vec<ContextRecord> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| {
            let boot_ns = clock::boot_ns();
            Some(ContextRecord {
                boot_ns,
                body: Context::Process(read(pid, cgroups)?),
            })
        })
        .collect();
    start_namespaces(&mut records);
    records
}

/// A pid namespace began when its first process did: every process of it says so, as an exec does.
fn start_namespaces(records: &mut [ContextRecord]) {
    let mut starts = HashMap::new();
    for record in records.iter() {
        if let Context::Process(process) = &record.body
            && process.ns_pid == 1
            && let Some(details) = &process.details
        {
            starts.insert(details.process.namespaces.pid, process.start_ns);
        }
    }
    starts.remove(&0); // Could not be read.
    for record in records {
        if let Context::Process(process) = &mut record.body
            && let Some(details) = &mut process.details
            && let Some(start_ns) = starts.get(&details.process.namespaces.pid)
        {
            details.process.ns_start_ns = *start_ns;
        }
    }
}

/// The process `pid` as it is now; None when it is gone.
pub fn read(pid: u32, cgroups: &Cgroups) -> Option<Process> {
    let dir = Path::new("/proc").join(pid.to_string());
    let stat = Stat::parse(&file(&dir.join("stat"), FILE_MAX)?)?;
    let status = String::from_utf8_lossy(&file(&dir.join("status"), FILE_MAX)?).into_owned();
    let ids = |name: &str| -> Option<u32> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().nth(1)?.parse().ok() // the effective id
    };
    let ns_pid = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))
        .and_then(|line| line.split_whitespace().last()?.parse().ok())
        .unwrap_or(pid);
    let mut args = file(&dir.join("cmdline"), ARGS_MAX).unwrap_or_default();
    while args.last() == Some(&0) {
        args.pop();
    }
    let link = |name: &str| {
        fs::read_link(dir.join(name))
            .map(|path| path.as_os_str().as_bytes().to_vec())
            .unwrap_or_default()
    };
    let details = details::read(&dir, &status, stat.groups);
    let mut exe = link("exe");
    // The kernel's word for a file without a name, which is no part of the path.
    const GONE: &[u8] = b" (deleted)";
    if (details.flags.has(ExecFlags::DELETED) || details.flags.has(ExecFlags::MEMFD))
        && exe.ends_with(GONE)
    {
        exe.truncate(exe.len() - GONE.len());
    }
    Some(Process {
        pid,
        ppid: stat.ppid,
        start_ns: stat.start_ns,
        uid: ids("Uid:")?,
        gid: ids("Gid:")?,
        cgroup_id: cgroups.of_process(pid).unwrap_or(0),
        comm: stat.comm,
        exe,
        args,
        cwd: link("cwd"),
        ns_pid,
        details: Some(Box::new(details)),
    })
}

pub(super) fn file(path: &Path, max: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)
        .ok()?
        .take(max)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(bytes)
}

/// The fields of /proc/PID/stat that are used (proc_pid_stat(5)).
struct Stat {
    comm: Vec<u8>,
    ppid: u32,
    groups: Groups,
    start_ns: u64,
}

/// Process group, the group's leader's, and the terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Groups {
    pub pgid: u32,
    pub sid: u32,
    pub tty: u32,
}

impl Stat {
    fn parse(bytes: &[u8]) -> Option<Stat> {
        // The name is in parentheses and may contain anything, parentheses too: the last one ends it.
        let open = bytes.iter().position(|&byte| byte == b'(')?;
        let close = bytes.iter().rposition(|&byte| byte == b')')?;
        let comm = bytes.get(open + 1..close)?.to_vec();
        let rest = std::str::from_utf8(bytes.get(close + 1..)?).ok()?;
        let mut fields = rest.split_whitespace();
        let ppid = fields.nth(1)?.parse().ok()?; // field 4
        let groups = Groups {
            pgid: fields.next()?.parse().ok()?,
            sid: fields.next()?.parse().ok()?,
            // Signed there, though a device number.
            tty: fields.next()?.parse::<i32>().ok()? as u32,
        };
        let start: u64 = fields.nth(14)?.parse().ok()?; // field 22
        Some(Stat {
            comm,
            ppid,
            groups,
            start_ns: start * TICK_NS,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_blanks_is_read_whole() {
        let line = b"7 (a) b (c) S 3 7 6 34816 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 250 1 1";
        let stat = Stat::parse(line).unwrap();
        assert_eq!(
            (stat.comm.as_slice(), stat.ppid, stat.start_ns),
            (&b"a) b (c"[..], 3, 2_500_000_000)
        );
        let groups = Groups {
            pgid: 7,
            sid: 6,
            tty: 0x8800,
        };
        assert_eq!(stat.groups, groups);
        for cut in 0..line.len() {
            Stat::parse(&line[..cut]);
        }
    }

    #[test]
    fn this_process_is_in_the_snapshot() {
        let own = read(std::process::id(), &Cgroups::open()).unwrap();
        assert_eq!(own.ppid, std::os::unix::process::parent_id());
        let details = own.details.unwrap();
        // SAFETY: calls without preconditions.
        let (sid, pgid) = unsafe { (libc::getsid(0) as u32, libc::getpgid(0) as u32) };
        assert_eq!((details.process.sid, details.process.pgid), (sid, pgid));
        assert!(details.ino > 0 && details.process.namespaces.mnt > 0);
        assert!(!own.exe.is_empty() && own.start_ns > 0 && own.start_ns < clock::boot_ns());
    }
}
