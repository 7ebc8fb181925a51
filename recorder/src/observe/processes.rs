//! The processes that already run when recording starts, from /proc.
//!
//! The probes are attached first: a process that starts meanwhile has its own events, and a
//! record here that repeats it says nothing else.

use std::{fs, io::Read, os::unix::ffi::OsStrExt, path::Path};

use trace_format::context::{Context, ContextRecord, Process};

use super::cgroups::Cgroups;
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
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| {
            let boot_ns = clock::boot_ns();
            Some(ContextRecord {
                boot_ns,
                body: Context::Process(read(pid, cgroups)?),
            })
        })
        .collect()
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
    Some(Process {
        pid,
        ppid: stat.ppid,
        start_ns: stat.start_ns,
        uid: ids("Uid:")?,
        gid: ids("Gid:")?,
        cgroup_id: cgroups.of_process(pid).unwrap_or(0),
        comm: stat.comm,
        exe: link("exe"),
        args,
        cwd: link("cwd"),
        ns_pid,
    })
}

fn file(path: &Path, max: u64) -> Option<Vec<u8>> {
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
    start_ns: u64,
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
        let start: u64 = fields.nth(17)?.parse().ok()?; // field 22
        Some(Stat {
            comm,
            ppid,
            start_ns: start * TICK_NS,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_blanks_is_read_whole() {
        let line = b"7 (a) b (c) S 3 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 250 1 1";
        let stat = Stat::parse(line).unwrap();
        assert_eq!(
            (stat.comm.as_slice(), stat.ppid, stat.start_ns),
            (&b"a) b (c"[..], 3, 2_500_000_000)
        );
        for cut in 0..line.len() {
            Stat::parse(&line[..cut]);
        }
    }

    #[test]
    fn this_process_is_in_the_snapshot() {
        let own = read(std::process::id(), &Cgroups::open()).unwrap();
        assert_eq!(own.ppid, std::os::unix::process::parent_id());
        assert!(!own.exe.is_empty() && own.start_ns > 0 && own.start_ns < clock::boot_ns());
    }
}
