//! What can watch the load, each as a guard: attached while it lives.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::repo;

const STOP_TIMEOUT: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(20);

/// An eBPF program that does nothing, on the hook the recorder uses for system calls: what any
/// program there costs. A raw tracepoint and a BTF tracepoint share the kernel's path to the program.
pub struct EmptyProgram {
    _program: OwnedFd,
    _attachment: OwnedFd,
}

impl EmptyProgram {
    pub fn attach(tracepoint: &std::ffi::CStr) -> Result<Self> {
        // r0 = 0; exit
        let code: [u64; 2] = [0xb7, 0x95];
        let license = c"GPL";
        // The first fields of union bpf_attr for BPF_PROG_LOAD; the kernel reads the rest as zero.
        #[repr(C)]
        #[derive(Default)]
        struct Load {
            kind: u32,
            instructions: u32,
            code: u64,
            license: u64,
            rest: [u64; 3],
        }
        const RAW_TRACEPOINT: u32 = 17;
        let load = Load {
            kind: RAW_TRACEPOINT,
            instructions: code.len() as u32,
            code: code.as_ptr() as u64,
            license: license.as_ptr() as u64,
            rest: [0; 3],
        };
        const PROG_LOAD: i32 = 5;
        let program = bpf(PROG_LOAD, &load).context("loading an empty program")?;
        #[repr(C)]
        struct Open {
            name: u64,
            program: u32,
            reserved: u32,
        }
        const RAW_TRACEPOINT_OPEN: i32 = 17;
        let open = Open {
            name: tracepoint.as_ptr() as u64,
            program: program.as_raw_fd() as u32,
            reserved: 0,
        };
        let attachment = bpf(RAW_TRACEPOINT_OPEN, &open).with_context(|| {
            format!(
                "attaching an empty program to {}",
                tracepoint.to_string_lossy()
            )
        })?;
        Ok(Self {
            _program: program,
            _attachment: attachment,
        })
    }
}

fn bpf<T>(command: i32, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: `attributes` is a repr(C) prefix of union bpf_attr, valid for its size during the call;
    // both commands return a new descriptor or -1.
    unsafe {
        let fd = libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            std::mem::size_of::<T>() as u32,
        );
        if fd < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(OwnedFd::from_raw_fd(fd as i32))
        }
    }
}

/// A recorder in a process of its own, ended with SIGINT as a user would.
pub struct Recorder {
    child: Child,
    log: PathBuf,
}

/// What it took, read just before it was told to stop.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub cpu_seconds: f64,
    /// Peak resident memory plus the memory of its BPF maps.
    pub memory_bytes: u64,
}

impl Recorder {
    /// `rec capture` with these switches, into `trace`.
    pub fn rec(program: &Path, switches: &[&str], trace: &Path, log: &Path) -> Result<Self> {
        let mut command = repo::command(program);
        command
            .arg("capture")
            .args(switches)
            .args(["--force", "-o"])
            .arg(trace);
        let _ = fs::remove_file(trace);
        Self::start(command, log, |_| {
            fs::read_to_string(log).is_ok_and(|said| said.contains("recording"))
        })
    }

    /// perf with both ends of every system call, everywhere.
    pub fn perf(data: &Path, log: &Path) -> Result<Self> {
        let mut command = repo::command(repo::need_program("perf", "linux-perf")?);
        command
            .args([
                "record",
                "--all-cpus",
                "--event",
                "raw_syscalls:*",
                "--output",
            ])
            .arg(data);
        // It does not say when it is ready.
        Self::start(command, log, |waited| waited > Duration::from_secs(1))
    }

    /// bpftrace with the least it can do about every system call: a count by number.
    pub fn bpftrace(log: &Path) -> Result<Self> {
        let mut command = repo::command(repo::need_program("bpftrace", "bpftrace")?);
        command.args([
            "-e",
            "tracepoint:raw_syscalls:sys_exit { @[args->id] = count(); }",
        ]);
        // It says when it begins to attach, not when it is done.
        const ATTACHING: Duration = Duration::from_millis(300);
        let mut said = None;
        Self::start(command, log, |waited| {
            if fs::read_to_string(log).is_ok_and(|text| text.contains("Attaching")) {
                said.get_or_insert(waited);
            }
            said.is_some_and(|at| waited > at + ATTACHING)
        })
    }

    fn start(
        mut command: std::process::Command,
        log: &Path,
        mut ready: impl FnMut(Duration) -> bool,
    ) -> Result<Self> {
        const START_TIMEOUT: Duration = Duration::from_secs(20);
        let file = File::create(log)?;
        command.stdout(file.try_clone()?).stderr(file);
        let child = repo::ends_with_us(&mut command, libc::SIGTERM)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
        let mut recorder = Self {
            child,
            log: log.to_path_buf(),
        };
        let begun = Instant::now();
        while !ready(begun.elapsed()) {
            if let Some(status) = recorder.child.try_wait()? {
                bail!("the recorder ended with {status}: {}", recorder.said());
            }
            if begun.elapsed() > START_TIMEOUT {
                bail!("the recorder did not start recording: {}", recorder.said());
            }
            std::thread::sleep(POLL);
        }
        Ok(recorder)
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// CPU time of all its threads that live, in nanoseconds.
    pub fn cpu_ns(&self) -> Result<f64> {
        let dir = format!("/proc/{}/task", self.child.id());
        let tasks = fs::read_dir(&dir).with_context(|| format!("cannot read {dir}"))?;
        let of_task = |task: io::Result<fs::DirEntry>| {
            let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<f64>().ok()
        };
        Ok(tasks.filter_map(of_task).sum())
    }

    pub fn usage(&self) -> Usage {
        let pid = self.child.id();
        let proc_file =
            |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        Usage {
            cpu_seconds: cpu_seconds(&proc_file("stat")),
            // The rings are mapped twice, one after the other, and charged to the kernel: counted once, there.
            memory_bytes: peak_bytes(&proc_file("status"))
                .saturating_sub(mapped_map_bytes(&proc_file("smaps")))
                + map_bytes(pid),
        }
    }

    /// Ends it and waits: what it was writing is complete.
    pub fn stop(mut self) -> Result<()> {
        // SAFETY: kill takes plain numbers; the child has not been waited for, so its pid is still its own.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGINT) };
        let begun = Instant::now();
        while begun.elapsed() < STOP_TIMEOUT {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
        bail!(
            "the recorder did not end within {} s of SIGINT",
            STOP_TIMEOUT.as_secs()
        )
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// User and system time of /proc/PID/stat: fields 14 and 15, counted after the name's last parenthesis.
fn cpu_seconds(stat: &str) -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |index: usize| {
        fields
            .get(index)
            .and_then(|f| f.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    (ticks(11) + ticks(12)) / TICKS_PER_SECOND
}

fn peak_bytes(status: &str) -> u64 {
    let kilobytes = status.lines().find_map(|line| {
        line.strip_prefix("VmHWM:")?
            .trim()
            .strip_suffix("kB")?
            .trim()
            .parse::<u64>()
            .ok()
    });
    kilobytes.unwrap_or(0) * 1024
}

/// Resident parts of BPF maps in a process's address space, of /proc/PID/smaps.
fn mapped_map_bytes(smaps: &str) -> u64 {
    let mut bytes = 0;
    let mut in_map = false;
    for line in smaps.lines() {
        // A mapping's first line starts with its addresses, the others with a name and a colon.
        let first = line.split(' ').next().unwrap_or_default();
        if !first.ends_with(':') {
            in_map = line.ends_with("anon_inode:bpf-map");
        } else if in_map && first == "Rss:" {
            let kilobytes = line[first.len()..]
                .trim()
                .trim_end_matches(" kB")
                .parse::<u64>();
            bytes += kilobytes.unwrap_or(0) * 1024;
        }
    }
    bytes
}

/// What the kernel charges for the BPF maps a process holds.
fn map_bytes(pid: u32) -> u64 {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fdinfo")) else {
        return 0;
    };
    entries
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path()).ok())
        .filter(|info| info.contains("map_type:"))
        .filter_map(|info| {
            info.lines()
                .find_map(|line| line.strip_prefix("memlock:")?.trim().parse::<u64>().ok())
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_read_by_field_not_by_position_of_the_name() {
        let stat = "77 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 3";
        assert_eq!(cpu_seconds(stat), 2.0);
        assert_eq!(
            peak_bytes("VmPeak:\t9 kB\nVmHWM:\t    2048 kB\n"),
            2 * 1024 * 1024
        );
    }
}
