//! A Docker engine of our own: own socket, own data, own bridge, nothing of the machine's shared or
//! changed. Tests and the demo use it where no engine runs; `stop` leaves nothing behind.
//!
//! What may lie in the state directory: `pid` (an engine ran; alive or not, /proc says), `docker.sock`,
//! `log`, `data/`, `exec/`. A directory without `trailcam-engine` in it is not ours and is never removed.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::repo;

/// Says that the directory was made here.
const MARKER: &str = "trailcam-engine";
/// A cold start takes about 5 s on two cores; a loaded machine several times that.
const START_TIMEOUT: Duration = Duration::from_secs(90);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);

/// The image that `start` imports: busybox under all its names, nothing else.
pub const IMAGE: &str = "busybox:test";

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    /// Where socket, log and data live [default: $XDG_RUNTIME_DIR/trailcam-engine, else /run/trailcam-engine]
    #[arg(long, global = true)]
    state: Option<PathBuf>,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Start it (if it does not run), import the busybox:test image, print the line that exports DOCKER_HOST
    Start,
    /// Stop it with its containers and remove its data
    Stop,
}

pub fn main(args: &Args) -> Result<()> {
    let state = std::path::absolute(args.state.clone().unwrap_or_else(default_state))?;
    match args.action {
        Action::Start => {
            let host = start(&state)?;
            println!("export DOCKER_HOST={host}");
            Ok(())
        }
        Action::Stop => stop(&state),
    }
}

pub fn default_state() -> PathBuf {
    std::env::var_os("XDG_RUNTIME_DIR")
        .map_or_else(|| PathBuf::from("/run"), PathBuf::from)
        .join(MARKER)
}

/// The address of a running engine with its image in place.
pub fn start(state: &Path) -> Result<String> {
    let socket = state.join("docker.sock");
    let host = format!("unix://{}", socket.display());
    if pid(state).is_some() && answers(&socket) {
        import_image(&host, state)?;
        return Ok(host);
    }
    if !repo::is_root() {
        bail!("starting a Docker engine needs root");
    }
    let dockerd = repo::need_program("dockerd", "docker.io")?;
    for (program, package) in [
        ("docker", "docker.io"),
        ("containerd", "containerd"),
        ("ip", "iproute2"),
    ] {
        repo::need_program(program, package)?;
    }
    let busybox = busybox()?;
    if state.exists() {
        stop(state).context("clearing away what an earlier engine left")?;
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state)
        .with_context(|| format!("cannot make {}", state.display()))?;
    fs::write(state.join(MARKER), "")?;
    let bridge = Bridge::of(state);
    bridge.make()?;

    // overlay2 does not work on top of an overlay (a container as the machine); copying always does.
    let mut failure = String::new();
    for driver in ["overlay2", "vfs"] {
        match spawn(&dockerd, state, &host, driver, &bridge) {
            Ok(()) => {
                eprintln!("engine: {driver}, image {IMAGE} from {}", busybox.display());
                import_image(&host, state)?;
                return Ok(host);
            }
            Err(error) => failure = format!("{failure}\nwith {driver}: {error:#}"),
        }
    }
    bail!("dockerd does not start:{failure}")
}

fn spawn(dockerd: &Path, state: &Path, host: &str, driver: &str, bridge: &Bridge) -> Result<()> {
    let log = File::create(state.join("log"))?;
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = repo::command(dockerd);
    command
        // Its helpers (containerd, runc, docker-proxy, ip) are in the system's directories.
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .env_remove("DOCKER_HOST")
        .arg("--data-root")
        .arg(state.join("data"))
        .arg("--exec-root")
        .arg(state.join("exec"))
        .arg("--pidfile")
        .arg(state.join("pid"))
        .args([
            "-H",
            host,
            "--storage-driver",
            driver,
            "--bridge",
            &bridge.name,
        ])
        // The machine's packet filter and forwarding stay as they are: containers talk to each other only.
        .args([
            "--iptables=false",
            "--ip6tables=false",
            "--ip-masq=false",
            "--ip-forward=false",
        ])
        .args(["--userland-proxy=false", "--shutdown-timeout", "5"])
        .stdout(log.try_clone()?)
        .stderr(log)
        // A group of its own: Ctrl-C at our terminal is not meant for the engine.
        .process_group(0);
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {}", dockerd.display()))?;
    let begun = Instant::now();
    while begun.elapsed() < START_TIMEOUT {
        if answers(&state.join("docker.sock")) {
            return Ok(());
        }
        if let Some(status) = child.try_wait()? {
            bail!("ended with {status}:\n{}", log_tail(state));
        }
        std::thread::sleep(POLL);
    }
    let _ = child.kill();
    let _ = child.wait();
    bail!(
        "no answer within {} s:\n{}",
        START_TIMEOUT.as_secs(),
        log_tail(state)
    )
}

/// Ends the engine that `state` names, its containers first, and removes the directory.
pub fn stop(state: &Path) -> Result<()> {
    if !state.exists() {
        return Ok(());
    }
    if !state.join(MARKER).exists() {
        bail!(
            "{} was not made by `cargo xtask engine start`: not touched",
            state.display()
        );
    }
    if let Some(pid) = pid(state) {
        remove_containers(&format!("unix://{}", state.join("docker.sock").display()));
        signal(pid, libc::SIGTERM);
        let begun = Instant::now();
        while alive(pid) && begun.elapsed() < STOP_TIMEOUT {
            std::thread::sleep(POLL);
        }
        if alive(pid) {
            signal(pid, libc::SIGKILL);
        }
    }
    unmount_below(state);
    Bridge::of(state).remove();
    fs::remove_dir_all(state).with_context(|| format!("cannot remove {}", state.display()))
}

fn remove_containers(host: &str) {
    let docker =
        |args: &[&str]| repo::output(repo::command("docker").env("DOCKER_HOST", host).args(args));
    if let Ok(ids) = docker(&["ps", "--all", "--quiet"]) {
        for id in ids.split_whitespace() {
            let _ = docker(&["rm", "--force", id]);
        }
    }
}

/// The engine's process, if it lives: the file may be older than the machine's last start.
fn pid(state: &Path) -> Option<i32> {
    let pid = fs::read_to_string(state.join("pid"))
        .ok()?
        .trim()
        .parse()
        .ok()?;
    alive(pid).then_some(pid)
}

fn alive(pid: i32) -> bool {
    // A zombie (nobody waited for it) has ended, too.
    fs::read_to_string(format!("/proc/{pid}/status"))
        .is_ok_and(|status| status.starts_with("Name:\tdockerd") && !status.contains("State:\tZ"))
}

fn signal(pid: i32, signal: i32) {
    // SAFETY: kill takes plain numbers; the pid was just seen to be our dockerd.
    unsafe { libc::kill(pid, signal) };
}

/// One `GET /_ping` over the socket: the engine is ready when it answers 200.
pub fn answers(socket: &Path) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(status.ends_with(b" 200"))
    };
    ask().unwrap_or(false)
}

/// The containers' network: an interface of this engine alone, so that several can run side by side.
struct Bridge {
    name: String,
    address: String,
}

impl Bridge {
    /// Name and network follow from the state directory. The network is one of 198.18.0.0/15, which is
    /// set aside for benchmarks (RFC 2544): no real network behind the machine uses it.
    fn of(state: &Path) -> Self {
        let hash = blake3::hash(state.as_os_str().as_encoded_bytes());
        let [a, b, c, d, ..] = *hash.as_bytes();
        Self {
            name: format!("tc-{a:02x}{b:02x}{c:02x}{d:02x}"),
            address: format!("198.{}.{b}.1/24", 18 + a % 2),
        }
    }

    fn make(&self) -> Result<()> {
        let ip = |args: &[&str]| repo::run_quietly(repo::command("ip").args(args));
        self.remove();
        ip(&["link", "add", &self.name, "type", "bridge"])?;
        ip(&["address", "add", &self.address, "dev", &self.name])?;
        ip(&["link", "set", &self.name, "up"])
    }

    fn remove(&self) {
        if Path::new("/sys/class/net").join(&self.name).exists() {
            let _ = repo::run_quietly(repo::command("ip").args(["link", "delete", &self.name]));
        }
    }
}

/// Busybox without shared libraries: the only file a container of ours needs.
pub fn busybox() -> Result<PathBuf> {
    repo::need_program("busybox", "busybox-static")
}

/// A root file system that holds busybox under all its names.
pub fn busybox_root(root: &Path) -> Result<()> {
    let busybox = busybox()?;
    for dir in [
        "bin", "dev", "etc", "home", "opt", "proc", "root", "run", "sys", "tmp", "usr/bin",
        "var/log",
    ] {
        fs::create_dir_all(root.join(dir))?;
    }
    fs::copy(&busybox, root.join("bin/busybox"))?;
    for name in repo::output(repo::command(&busybox).arg("--list"))?.split_whitespace() {
        if name != "busybox" {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(name))?;
        }
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
    fs::write(root.join("etc/group"), "root:x:0:\n")?;
    Ok(())
}

fn import_image(host: &str, state: &Path) -> Result<()> {
    let docker = || {
        let mut command = Command::new("docker");
        command.env("DOCKER_HOST", host).stdin(Stdio::null());
        command
    };
    if repo::output(docker().args(["image", "inspect", IMAGE])).is_ok() {
        return Ok(());
    }
    let root = state.join("rootfs");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    busybox_root(&root)?;
    let archive = state.join("rootfs.tar");
    repo::run_quietly(
        repo::command("tar")
            .arg("-C")
            .arg(&root)
            .arg("-cf")
            .arg(&archive)
            .arg("."),
    )?;
    repo::run_quietly(docker().arg("import").arg(&archive).arg(IMAGE))?;
    fs::remove_file(&archive)?;
    fs::remove_dir_all(&root)?;
    Ok(())
}

/// Network namespaces and layers that a killed engine left mounted below its directory.
fn unmount_below(state: &Path) {
    let Ok(mounts) = fs::read_to_string("/proc/self/mounts") else {
        return;
    };
    let mut points: Vec<&str> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|point| Path::new(point).starts_with(state))
        .collect();
    points.sort_by_key(|point| std::cmp::Reverse(point.len()));
    for point in points {
        let _ = repo::command("umount")
            .arg("--lazy")
            .arg(point)
            .stderr(Stdio::null())
            .status();
    }
}

fn log_tail(state: &Path) -> String {
    const LINES: usize = 15;
    let log = fs::read_to_string(state.join("log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
