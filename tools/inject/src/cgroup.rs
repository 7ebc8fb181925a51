//! The sandbox's cgroups: limits, membership, removal.
//!
//! A container is one directory `trailcam/<64 hex digits>` in the cgroup2 hierarchy, by which the
//! recorder names it, and one of the same name in each v1 hierarchy that holds a controller which
//! the limits need. Hosts with v1, with v2 and with both are served.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};

/// Directory of all containers in every hierarchy: together they get no more than [`CPU_SHARE`].
pub const PARENT: &str = "trailcam";

/// Below it: where a Docker engine puts its containers. The recorder knows them by this name.
pub const ENGINE: &str = "docker";

/// Share of the host's CPUs that all containers have together, in thousandths: the host stays usable.
pub const CPU_SHARE_MILLI: u64 = 750;

/// Weight of all containers together against the rest of the host, whose usual one is 1024 (v1) and
/// 100 (v2): the host goes first.
const SHARES: u64 = 256;
const WEIGHT: u64 = 25;

/// What a container must be limited in; without one of them nothing is run.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

/// Period of the CPU limit, the kernel's default.
const CPU_PERIOD_US: u64 = 100_000;

/// The least CPU limit: a quota of 1 ms in a period of 100 ms.
const CPU_MILLI_MIN: u64 = 10;

/// The kernel frees a cgroup shortly after its last process was reaped.
const REMOVE_MAX: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub memory_bytes: u64,
    /// Thousandths of a CPU.
    pub cpu_milli: u64,
    pub pids: u64,
}

impl Limits {
    /// The same, with no more CPU than all containers have together: v1 refuses a larger share below
    /// a smaller one.
    pub fn within_host(self) -> Limits {
        Limits {
            cpu_milli: self.cpu_milli.min(cpu_milli_max()),
            ..self
        }
    }
}

impl Limits {
    /// The same, with an equal part of what so many containers may have together: where no cgroup is
    /// above them all. The kernel knows no less than a hundredth of a CPU.
    pub fn shared_by(self, containers: usize) -> Limits {
        let part = cpu_milli_max() / containers.max(1) as u64;
        Limits {
            cpu_milli: self.cpu_milli.min(part).max(CPU_MILLI_MIN),
            ..self
        }
    }
}

/// What all containers have together.
pub fn cpu_milli_max() -> u64 {
    let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u64);
    cpus * CPU_SHARE_MILLI
}

struct Hierarchy {
    mount: PathBuf,
    /// v1: the controllers mounted here. v2: those it offers.
    controllers: Vec<String>,
    v2: bool,
}

/// The host's mounted cgroup hierarchies, as far as they matter here, and where all are mounted.
pub struct Hierarchies(Vec<Hierarchy>, Vec<PathBuf>);

impl Hierarchies {
    pub fn of_host() -> Result<Hierarchies> {
        let path = "/proc/self/mountinfo";
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
        Hierarchies::parse(&text, |mount| {
            fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default()
        })
    }

    fn parse(mountinfo: &str, offered: impl Fn(&Path) -> String) -> Result<Hierarchies> {
        let mut found: Vec<Hierarchy> = Vec::new();
        let mut mounts = Vec::new();
        for line in mountinfo.lines() {
            // proc_pid_mountinfo(5): "… root mountpoint options … - fstype source super_options"
            let Some((left, right)) = line.split_once(" - ") else {
                continue;
            };
            let (left, right): (Vec<_>, Vec<_>) =
                (left.split(' ').collect(), right.split(' ').collect());
            let ([_, _, _, "/", mount, ..], [kind, _, options]) = (&left[..], &right[..]) else {
                continue;
            };
            let mount = PathBuf::from(mount);
            if found.iter().any(|known| known.mount == mount) {
                continue;
            }
            if kind.starts_with("cgroup") {
                mounts.push(mount.clone());
            }
            match *kind {
                "cgroup2" if !found.iter().any(|known| known.v2) => {
                    let controllers = offered(&mount)
                        .split_whitespace()
                        .map(str::to_owned)
                        .collect();
                    found.push(Hierarchy {
                        mount,
                        controllers,
                        v2: true,
                    });
                }
                "cgroup" => {
                    // cpuacct limits nothing, but it is where v1 counts the CPU time of a container.
                    let controllers: Vec<String> = options
                        .split(',')
                        .filter(|option| CONTROLLERS.contains(option) || *option == "cpuacct")
                        .map(str::to_owned)
                        .collect();
                    if !controllers.is_empty() {
                        found.push(Hierarchy {
                            mount,
                            controllers,
                            v2: false,
                        });
                    }
                }
                _ => {}
            }
        }
        if !found.iter().any(|hierarchy| hierarchy.v2) {
            bail!(
                "no cgroup2 hierarchy is mounted: a recorder could not tell containers apart (mount -t cgroup2 none DIR)"
            );
        }
        for controller in CONTROLLERS {
            if !found.iter().any(|hierarchy| {
                hierarchy
                    .controllers
                    .iter()
                    .any(|known| known == controller)
            }) {
                bail!(
                    "no cgroup hierarchy offers the {controller} controller: containers could not be limited, so none is started"
                );
            }
        }
        Ok(Hierarchies(found, mounts))
    }

    pub fn unified(&self) -> &Path {
        let unified = self.0.iter().find(|hierarchy| hierarchy.v2);
        &unified.expect("parse refuses hosts without it").mount
    }

    /// Held while a new cgroup is still empty, so that [`Hierarchies::reap`] lets it be.
    pub fn hold(&self) -> Result<Flock<File>> {
        lock(self.unified(), FlockArg::LockShared)?.context("a lock that waits is given")
    }

    /// The directory of all containers, limited as a whole. Called while holding.
    pub fn gather(&self) -> Result<()> {
        for hierarchy in &self.0 {
            if hierarchy.v2 {
                delegate(&hierarchy.mount, &hierarchy.controllers)?;
            }
            let parent = hierarchy.mount.join(PARENT);
            create(&parent)?;
            if hierarchy.v2 {
                delegate(&parent, &hierarchy.controllers)?;
            }
            if hierarchy.controllers.iter().any(|known| known == "cpu") {
                limit_cpu(&parent, hierarchy.v2, cpu_milli_max())?;
                match hierarchy.v2 {
                    true => write(&parent.join("cpu.weight"), WEIGHT)?,
                    false => write(&parent.join("cpu.shares"), SHARES)?,
                }
            }
        }
        Ok(())
    }

    /// Removes what an injector left that was killed: every sandbox cgroup without processes.
    pub fn reap(&self) -> Result<usize> {
        let Some(_lock) = lock(self.unified(), FlockArg::LockExclusiveNonblock)? else {
            return Ok(0);
        };
        let mut removed = 0;
        for hierarchy in &self.0 {
            let Ok(entries) = fs::read_dir(hierarchy.mount.join(PARENT)) else {
                continue;
            };
            for entry in entries.flatten() {
                let name = entry.file_name();
                let is_ours =
                    name.len() == 64 && name.as_encoded_bytes().iter().all(u8::is_ascii_hexdigit);
                // A cgroup with processes cannot be removed: it belongs to somebody who lives.
                if is_ours && fs::remove_dir(entry.path()).is_ok() && hierarchy.v2 {
                    removed += 1;
                }
            }
        }
        for mount in &self.1 {
            // An engine makes its directories in every hierarchy. With containers in it, it stays.
            let _ = fs::remove_dir(mount.join(PARENT).join(ENGINE));
            let _ = fs::remove_dir(mount.join(PARENT));
        }
        Ok(removed)
    }

    /// Makes a container's cgroups, puts what `start` returns into them, and hands both back.
    pub fn start_in_new<T>(
        &self,
        id: &str,
        limits: &Limits,
        start: impl FnOnce() -> Result<(T, u32)>,
    ) -> Result<(T, Cgroup)> {
        let _lock = self.hold()?;
        self.gather()?;
        let mut cgroup = Cgroup {
            unified: self.unified().join(PARENT).join(id),
            directories: Vec::new(),
        };
        for hierarchy in &self.0 {
            let directory = hierarchy.mount.join(PARENT).join(id);
            create(&directory)?;
            cgroup.directories.push(directory.clone());
            limit(&directory, hierarchy, limits)?;
        }
        let (started, pid) = start()?;
        for directory in &cgroup.directories {
            write(&directory.join("cgroup.procs"), pid)?;
        }
        Ok((started, cgroup))
    }
}

fn lock(unified: &Path, how: FlockArg) -> Result<Option<Flock<File>>> {
    let directory = File::open(unified).with_context(|| format!("cannot open {unified:?}"))?;
    match Flock::lock(directory, how) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, error)) => Err(error).with_context(|| format!("cannot lock {unified:?}")),
    }
}

fn create(directory: &Path) -> Result<()> {
    match fs::create_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| {
                format!("cannot create the cgroup {directory:?} (the sandbox needs root)")
            })
        }
        _ => Ok(()),
    }
}

fn write(path: &Path, value: impl ToString) -> Result<()> {
    let value = value.to_string();
    fs::write(path, &value).with_context(|| format!("cannot write {value:?} to {path:?}"))
}

/// v2: lets the controllers that we need reach the cgroups below.
fn delegate(directory: &Path, offered: &[String]) -> Result<()> {
    for controller in CONTROLLERS {
        if offered.iter().any(|known| known == controller) {
            write(
                &directory.join("cgroup.subtree_control"),
                format!("+{controller}"),
            )?;
        }
    }
    Ok(())
}

fn limit_cpu(directory: &Path, v2: bool, cpu_milli: u64) -> Result<()> {
    let quota_us = cpu_milli * CPU_PERIOD_US / 1000;
    if v2 {
        return write(
            &directory.join("cpu.max"),
            format!("{quota_us} {CPU_PERIOD_US}"),
        );
    }
    write(&directory.join("cpu.cfs_period_us"), CPU_PERIOD_US)?;
    write(&directory.join("cpu.cfs_quota_us"), quota_us)
}

fn limit(directory: &Path, hierarchy: &Hierarchy, limits: &Limits) -> Result<()> {
    for controller in &hierarchy.controllers {
        let settings: Vec<(&str, String)> = match (controller.as_str(), hierarchy.v2) {
            ("cpu", v2) => {
                limit_cpu(directory, v2, limits.cpu_milli)?;
                vec![]
            }
            ("memory", true) => vec![("memory.max", limits.memory_bytes.to_string())],
            ("memory", false) => vec![("memory.limit_in_bytes", limits.memory_bytes.to_string())],
            ("pids", _) => vec![("pids.max", limits.pids.to_string())],
            _ => vec![],
        };
        for (file, value) in settings {
            write(&directory.join(file), value)?;
        }
        // Swap off; a kernel built without swap accounting has no such files, and no swap to limit.
        let swap = match (controller.as_str(), hierarchy.v2) {
            ("memory", true) => ("memory.swap.max", 0),
            ("memory", false) => ("memory.memsw.limit_in_bytes", limits.memory_bytes),
            _ => continue,
        };
        let path = directory.join(swap.0);
        if path.exists() {
            write(&path, swap.1)?;
        }
    }
    Ok(())
}

/// One container's cgroups; removed when dropped.
pub struct Cgroup {
    unified: PathBuf,
    directories: Vec<PathBuf>,
}

impl Cgroup {
    /// Its directory in the cgroup2 hierarchy.
    pub fn unified(&self) -> &Path {
        &self.unified
    }

    /// Kills what is left in it and removes it. Safe to call twice.
    pub fn remove(&mut self) -> Result<()> {
        let until = Instant::now() + REMOVE_MAX;
        while let Some(directory) = self.directories.last() {
            match fs::remove_dir(directory) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(_) if Instant::now() < until => {
                    for pid in members(directory) {
                        let _ = nix::sys::signal::kill(
                            nix::unistd::Pid::from_raw(pid as i32),
                            nix::sys::signal::Signal::SIGKILL,
                        );
                    }
                    std::thread::sleep(Duration::from_millis(10));
                    continue;
                }
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("cannot remove the cgroup {directory:?}"));
                }
            }
            // The parent goes with the last sandbox, unless somebody is about to use it.
            if let Some(parent) = directory.parent()
                && let Some(unified) = self.unified.ancestors().nth(2)
                && let Ok(Some(_lock)) = lock(unified, FlockArg::LockExclusiveNonblock)
            {
                let _ = fs::remove_dir(parent);
            }
            self.directories.pop();
        }
        Ok(())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Already an error path; the next start reaps what stays.
        let _ = self.remove();
    }
}

/// Host pids of the processes in a cgroup.
pub fn members(directory: &Path) -> Vec<u32> {
    let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.parse().ok())
        .filter(|&pid| pid != 0)
        .collect()
}

/// The kernel's id of a cgroup: the inode number of its directory.
pub fn id(directory: &Path) -> Result<u64> {
    let meta = fs::metadata(directory)
        .with_context(|| format!("cannot look at the cgroup {directory:?}"))?;
    Ok(meta.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 22 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
31 22 0:27 / /sys/fs/cgroup/cpuacct rw - cgroup cgroup rw,cpuacct
32 22 0:28 / /sys/fs/cgroup/memory rw,nosuid shared:9 - cgroup cgroup rw,memory
33 22 0:29 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
34 22 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
35 22 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";

    #[test]
    fn parts_of_all_containers_are_no_more_than_all_may_have() {
        let limits = Limits {
            memory_bytes: 1,
            cpu_milli: 500,
            pids: 1,
        };
        for containers in [1, 2, 7, 40] {
            let part = limits.shared_by(containers).cpu_milli;
            assert!((CPU_MILLI_MIN..=500).contains(&part), "{part}");
            let fits = part * containers as u64 <= cpu_milli_max();
            assert!(fits || part == CPU_MILLI_MIN, "{containers} with {part}");
        }
        assert_eq!(limits.shared_by(0).cpu_milli, 500.min(cpu_milli_max()));
    }

    #[test]
    fn v1_v2_and_both_are_understood() {
        let both = Hierarchies::parse(HYBRID, |_| String::new()).unwrap();
        assert_eq!(both.unified(), Path::new("/sys/fs/cgroup/unified"));
        assert_eq!(both.0.len(), 5, "systemd's own hierarchy is left alone");
        let v2 = "30 22 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let v2 = Hierarchies::parse(v2, |_| "cpuset cpu io memory pids\n".into()).unwrap();
        assert_eq!(v2.unified(), Path::new("/sys/fs/cgroup"));
    }

    #[test]
    fn without_a_limit_nothing_starts() {
        for controller in CONTROLLERS {
            let without: String = HYBRID
                .lines()
                .filter(|line| !line.ends_with(controller))
                .map(|line| format!("{line}\n"))
                .collect();
            let error = Hierarchies::parse(&without, |_| String::new())
                .err()
                .unwrap()
                .to_string();
            assert!(
                error.contains(&format!("the {controller} controller")),
                "{error}"
            );
        }
        let without: String = HYBRID
            .lines()
            .take(5)
            .map(|line| format!("{line}\n"))
            .collect();
        let error = Hierarchies::parse(&without, |_| String::new())
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("no cgroup2"), "{error}");
    }
}
