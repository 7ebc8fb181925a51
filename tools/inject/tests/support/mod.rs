//! Running `inject` and watching its containers from outside while it runs.

// Each test program uses its own part of this.
#![allow(dead_code, reason = "each test program uses its own part of this")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read, Write},
    os::{fd::AsRawFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

pub mod network;

pub const INJECT: &str = env!("CARGO_BIN_EXE_inject");
pub const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");

/// Nothing here takes as long; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// Set where every test must run: a skip is then a failure.
const NO_SKIP: &str = "TRAILCAM_NO_SKIP";

/// Says by name why a test does not run.
pub fn skip(reason: &str) {
    assert!(
        std::env::var_os(NO_SKIP).is_none(),
        "{NO_SKIP} is set, but: {reason}"
    );
    println!("skipped: {reason}");
}

/// Why containers cannot be started in the sandbox here; `None` when they can.
pub fn no_sandbox() -> Option<String> {
    cannot_look().or_else(|| {
        Some(format!(
            "{:#}",
            inject::cgroup::Hierarchies::of_host().err()?
        ))
    })
}

/// The same for the engine.
pub fn no_docker() -> Option<String> {
    let reason = cannot_look();
    if reason.is_some() {
        return reason;
    }
    match inject::runtime::docker::Docker::socket() {
        Err(error) => Some(format!("{error:#}")),
        Ok(socket) => std::os::unix::net::UnixStream::connect(socket)
            .err()
            .map(|error| format!("no container engine answers: {error}")),
    }
}

fn cannot_look() -> Option<String> {
    if !nix::unistd::Uid::effective().is_root() {
        return Some("needs root, to make containers and to look into them".into());
    }
    Some(format!(
        "{:#}",
        inject::payload::find(Some(Path::new(WORKLOAD))).err()?
    ))
}

pub fn unified() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    let line = mounts
        .lines()
        .find(|line| line.split(' ').nth(2) == Some("cgroup2"))?;
    Some(PathBuf::from(line.split(' ').nth(1)?))
}

pub fn inject(args: &[&str]) -> Command {
    let mut command = Command::new(INJECT);
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// What a finished program left: exit code, stdout, stderr.
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error} in {:?}; stderr: {}", self.stdout, self.stderr))
    }
}

pub fn end(mut child: Child) -> Ended {
    let drain = |pipe: Option<Box<dyn Read + Send>>| {
        thread::spawn(move || {
            let mut text = String::new();
            if let Some(mut pipe) = pipe {
                let _ = pipe.read_to_string(&mut text);
            }
            text
        })
    };
    let stdout = drain(child.stdout.take().map(|pipe| Box::new(pipe) as _));
    let stderr = drain(child.stderr.take().map(|pipe| Box::new(pipe) as _));
    let code = child.wait().unwrap().code();
    Ended {
        code,
        stdout: stdout.join().unwrap(),
        stderr: stderr.join().unwrap(),
    }
}

pub fn finish(args: &[&str]) -> Ended {
    end(inject(args).spawn().unwrap())
}

/// Waits for something that must come.
pub fn await_some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "{what} did not come");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Cgroups (by container id) below the unified hierarchy in which `inject` puts its containers, or in
/// which an engine does that leaves them to systemd.
pub fn cgroups() -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    for parent in ["trailcam", "trailcam/docker", "docker", "system.slice"] {
        let Some(entries) = unified().and_then(|root| fs::read_dir(root.join(parent)).ok()) else {
            continue;
        };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let scope = name
                .strip_prefix("docker-")
                .and_then(|rest| rest.strip_suffix(".scope"));
            let id = scope.unwrap_or(&name);
            if id.len() == 64 {
                found.insert(id.to_owned(), entry.path());
            }
        }
    }
    found
}

/// The id of the engine's container of this name, asked for as any client does.
pub fn docker_container(name: &str) -> Option<String> {
    let socket = inject::runtime::docker::Docker::socket().ok()?;
    let mut stream = std::os::unix::net::UnixStream::connect(socket).ok()?;
    // HTTP/1.0: the answer ends with the connection and comes in one piece.
    write!(
        stream,
        "GET /containers/{name}/json HTTP/1.0\r\nHost: engine\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    let json: Value = serde_json::from_str(body).ok()?;
    Some(json["Id"].as_str()?.to_owned())
}

pub fn members(cgroup: &Path) -> Vec<u32> {
    inject::cgroup::members(cgroup)
}

/// The first process of a container that this injector started, with its cgroup.
pub fn first_container(injector: u32) -> Option<(u32, PathBuf)> {
    for cgroup in cgroups().into_values() {
        for pid in members(&cgroup) {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let child = status
                .lines()
                .any(|line| line == format!("PPid:\t{injector}"));
            let apart = status
                .lines()
                .any(|line| line.starts_with("NSpid:") && line.ends_with("\t1"));
            // The workload of the last step runs: everything is set up.
            if child && apart && members(&cgroup).len() >= 3 {
                return Some((pid, cgroup));
            }
        }
    }
    None
}

/// Names of the containers that these arguments plan.
pub fn dry_run_names(args: &[&str]) -> Vec<String> {
    let plan = finish(&[args, &["--dry-run"]].concat()).json();
    let containers = plan["containers"].as_array().unwrap();
    containers
        .iter()
        .map(|container| container["name"].as_str().unwrap().to_owned())
        .collect()
}

/// What was seen of one container while it ran. Everything comes from the kernel, nothing from the acts.
#[derive(Default, Debug)]
pub struct Seen {
    pub cpu_ns: u64,
    /// `AttemptFails` of its network namespace: connects that were refused.
    pub refused: u64,
    /// Opens of its decoy shadow file, at least: the kernel merges notices that nobody read in between.
    pub shadow_opens: u64,
    /// Executables that ran, as its processes see them.
    pub programs: BTreeSet<String>,
    /// Names, arguments and environments of its processes.
    pub texts: BTreeSet<String>,
    pub supervisor: Option<u32>,
}

/// Looks at all containers until the child ends.
pub fn watch(mut child: Child) -> (Ended, BTreeMap<String, Seen>) {
    let mut all: BTreeMap<String, Seen> = BTreeMap::new();
    let mut shadows = Shadows::new();
    while child.try_wait().unwrap().is_none() {
        for (id, cgroup) in cgroups() {
            let seen = all.entry(id.clone()).or_default();
            look(&cgroup, seen);
            if let Some(pid) = seen.supervisor {
                shadows.watch(&id, pid);
            }
        }
        thread::sleep(Duration::from_millis(20));
    }
    for (id, opens) in shadows.opens() {
        all.entry(id).or_default().shadow_opens = opens;
    }
    (end(child), all)
}

fn look(cgroup: &Path, seen: &mut Seen) {
    seen.cpu_ns = seen.cpu_ns.max(cpu_ns(cgroup).unwrap_or(0));
    for pid in members(cgroup) {
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let Ok(program) = fs::read_link(proc.join("exe")) else {
            continue;
        };
        let program = program.to_string_lossy().into_owned();
        // Before that, the processes that build the container are in its cgroup.
        let comm = fs::read_to_string(proc.join("comm")).unwrap_or_default();
        let first = fs::read_to_string(proc.join("status")).is_ok_and(|status| {
            status
                .lines()
                .any(|line| line.starts_with("NSpid:") && line.ends_with("\t1"))
        });
        if first && comm.trim() == "appd" && program == "/usr/bin/appd" {
            seen.supervisor = Some(pid);
        }
        if seen.supervisor.is_none() {
            continue;
        }
        seen.programs.insert(program);
        seen.texts.insert(comm);
        for file in ["cmdline", "environ"] {
            let bytes = fs::read(proc.join(file)).unwrap_or_default();
            seen.texts
                .insert(String::from_utf8_lossy(&bytes).into_owned());
        }
        if let Ok(snmp) = fs::read_to_string(proc.join("net/snmp")) {
            seen.refused = seen.refused.max(attempt_fails(&snmp).unwrap_or(0));
        }
    }
}

/// v1 counts in cpuacct, v2 in cpu.stat.
pub fn cpu_ns(cgroup: &Path) -> Option<u64> {
    let relative = cgroup.strip_prefix(unified()?).ok()?;
    let v1 = Path::new("/sys/fs/cgroup/cpuacct")
        .join(relative)
        .join("cpuacct.usage");
    if let Ok(text) = fs::read_to_string(v1) {
        return text.trim().parse().ok();
    }
    let stat = fs::read_to_string(cgroup.join("cpu.stat")).ok()?;
    let usage = stat
        .lines()
        .find_map(|line| line.strip_prefix("usage_usec "))?;
    Some(usage.parse::<u64>().ok()? * 1000)
}

fn attempt_fails(snmp: &str) -> Option<u64> {
    let mut tcp = snmp.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (tcp.next()?, tcp.next()?);
    let place = names.split(' ').position(|name| name == "AttemptFails")?;
    values.split(' ').nth(place)?.parse().ok()
}

/// Counts opens of each container's shadow file, through the kernel's inotify: it watches the inode,
/// whichever mount namespace it is opened in.
struct Shadows {
    fd: std::os::fd::OwnedFd,
    watched: BTreeMap<i32, String>,
}

impl Shadows {
    fn new() -> Shadows {
        use std::os::fd::FromRawFd;
        // SAFETY: a new descriptor that nothing else owns.
        let fd = unsafe {
            let fd = libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC);
            assert!(fd >= 0);
            std::os::fd::OwnedFd::from_raw_fd(fd)
        };
        Shadows {
            fd,
            watched: BTreeMap::new(),
        }
    }

    fn watch(&mut self, id: &str, pid: u32) {
        if self.watched.values().any(|known| known == id) {
            return;
        }
        let path = PathBuf::from(format!("/proc/{pid}/root/etc/shadow"));
        let path = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
        // SAFETY: the path is a C string that outlives the call.
        let watch =
            unsafe { libc::inotify_add_watch(self.fd.as_raw_fd(), path.as_ptr(), libc::IN_OPEN) };
        if watch >= 0 {
            self.watched.insert(watch, id.to_owned());
        }
    }

    fn opens(self) -> BTreeMap<String, u64> {
        let mut opens = BTreeMap::new();
        let mut buffer = vec![0u8; 1 << 16];
        while let Ok(length @ 1..) = nix::unistd::read(&self.fd, &mut buffer) {
            let mut at = 0;
            while at + 16 <= length {
                let word = |place: usize| {
                    i32::from_ne_bytes(buffer[at + place..at + place + 4].try_into().unwrap())
                };
                let (watch, mask, name) = (word(0), word(4) as u32, word(12) as usize);
                if let Some(id) = self.watched.get(&watch)
                    && mask & libc::IN_OPEN != 0
                {
                    *opens.entry(id.clone()).or_default() += 1;
                }
                at += 16 + name;
            }
        }
        opens
    }
}
