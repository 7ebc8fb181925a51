//! One virtual machine: an initramfs with the programs under test goes in, a tar of results comes out.
//!
//! The results leave over the second serial port, which every kernel has built in: no disk, no network,
//! no modules. The first one is the console, and what to read when something went wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::kernels::Kernel;
use crate::{engine, repo};

/// Booting takes about 8 s in software emulation, capturing 10 to 30 s; a busy machine several times that.
const GUEST_TIMEOUT: Duration = Duration::from_secs(420);
const POLL: Duration = Duration::from_millis(200);
const MEMORY_MIB: &str = "1024";

/// What goes into the guest besides busybox.
pub struct Payload<'a> {
    /// Programs, each as /bin/<its file name>, with the shared libraries they need.
    pub programs: Vec<&'a Path>,
    /// Other files: where they are, where they go.
    pub files: Vec<(&'a Path, &'a str)>,
    /// Runs as pid 1's only child; writes what it found into /out.
    pub script: &'a str,
}

/// Pid 1: what any Linux system has mounted, then the script, then its results to the serial port.
const INIT: &str = r#"#!/bin/sh
export PATH=/bin:/sbin HOME=/root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
mount -t tracefs trace /sys/kernel/tracing
mount -t bpf bpf /sys/fs/bpf
if grep -q trailcam.cgroup=v1 /proc/cmdline; then
  mount -t tmpfs cgroup /sys/fs/cgroup
  for controllers in pids memory cpu,cpuacct blkio; do
    mkdir /sys/fs/cgroup/$controllers
    mount -t cgroup -o $controllers cgroup /sys/fs/cgroup/$controllers || rmdir /sys/fs/cgroup/$controllers
  done
  export CGROUPS="/sys/fs/cgroup/*"
else
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
  mkdir /sys/fs/cgroup/docker
  for controller in cpu memory pids io; do
    echo +$controller > /sys/fs/cgroup/cgroup.subtree_control
    echo +$controller > /sys/fs/cgroup/docker/cgroup.subtree_control
  done
  export CGROUPS=/sys/fs/cgroup
fi
ip link set lo up
mkdir -p /out
uname -r > /out/uname
sh /script > /out/script.log 2>&1
echo $? > /out/status
stty -F /dev/ttyS1 raw 115200
tar -C /out -cf - . > /dev/ttyS1
sync
echo guest-done
poweroff -f
"#;

/// Builds the initramfs below `work`.
pub fn initramfs(payload: &Payload, work: &Path) -> Result<PathBuf> {
    let root = work.join("root");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    engine::busybox_root(&root)?;
    script(&root.join("init"), INIT)?;
    script(&root.join("script"), payload.script)?;
    for program in &payload.programs {
        let name = program.file_name().context("a program has a file name")?;
        copy(program, &root.join("bin").join(name))?;
        for library in shared_libraries(program)? {
            let inside = library.strip_prefix("/").unwrap_or(&library);
            copy(&library, &root.join(inside))?;
        }
    }
    for (from, to) in &payload.files {
        copy(from, &root.join(to.trim_start_matches('/')))?;
    }
    let archive = work.join("initramfs.gz");
    let pack = format!(
        "cd '{}' && find . | cpio --quiet -o -H newc | gzip -1 > '{}'",
        root.display(),
        archive.display()
    );
    repo::need_program("cpio", "cpio")?;
    repo::output(repo::command("sh").args(["-c", &pack]))?;
    fs::remove_dir_all(&root)?;
    Ok(archive)
}

fn script(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}

/// As the dynamic loader finds them here. The guest then runs the very programs that were built and
/// tested, and nothing is compiled twice for the sake of a static link.
fn shared_libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let Ok(listed) = repo::output(repo::command("ldd").arg(program)) else {
        return Ok(Vec::new()); // static
    };
    let mut libraries = Vec::new();
    for line in listed.lines() {
        if line.contains("not found") {
            bail!("{}: {}", program.display(), line.trim());
        }
        // `libc.so.6 => /lib/…/libc.so.6 (0x…)`, or `/lib64/ld-linux-x86-64.so.2 (0x…)`
        if let Some(path) = line.split_whitespace().find(|word| word.starts_with('/')) {
            libraries.push(PathBuf::from(path));
        }
    }
    Ok(libraries)
}

/// Boots, waits for the end, unpacks the results. The directory it returns holds what the guest's
/// script left in /out, and `console.log`. `v1`: only hierarchies of cgroup v1 are mounted there.
pub fn boot(kernel: &Kernel, v1: bool, initramfs: &Path, work: &Path) -> Result<PathBuf> {
    let (name, option) = if v1 {
        ("-v1", " trailcam.cgroup=v1")
    } else {
        ("", "")
    };
    let out = work.join(format!("out-{}{name}", kernel.series));
    if out.exists() {
        fs::remove_dir_all(&out)?;
    }
    fs::create_dir_all(&out)?;
    let (console, results) = (out.join("console.log"), out.join("results.tar"));
    let qemu = repo::need_program("qemu-system-x86_64", "qemu-system-x86")?;
    // Both CPUs in one thread: with a thread each, one may run into code that the other's kernel is just
    // patching, and dies of the breakpoint that stands there meanwhile (seen in 6.12, while it boots).
    // Nor may the kernel judge the timer by its first ticks: on a busy host they come late, and it panics.
    let child = repo::command(qemu)
        .args(["-accel", "tcg,thread=single", "-m", MEMORY_MIB])
        .args(["-smp", "2", "-display", "none"])
        .args(["-no-reboot", "-nodefaults", "-monitor", "none"])
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(initramfs)
        .arg("-append")
        .arg(format!(
            "console=ttyS0 quiet panic=-1 no_timer_check{option}"
        ))
        .args(["-serial", &format!("file:{}", console.display())])
        .args(["-serial", &format!("file:{}", results.display())])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start qemu-system-x86_64")?;
    let said = || {
        let log = fs::read_to_string(&console).unwrap_or_default();
        format!("console of kernel {}:\n{log}", kernel.series)
    };
    wait(child).with_context(said)?;
    if fs::metadata(&results).map_or(0, |meta| meta.len()) == 0 {
        bail!("the guest gave no results; {}", said());
    }
    repo::output(
        repo::command("tar")
            .arg("-C")
            .arg(&out)
            .arg("-xf")
            .arg(&results),
    )
    .with_context(said)?;
    fs::remove_file(&results)?;
    Ok(out)
}

/// The machine ends by itself; one that hangs is ended here.
fn wait(mut child: Child) -> Result<()> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            if status.success() {
                return Ok(());
            }
            let mut said = String::new();
            if let Some(mut stderr) = child.stderr.take() {
                std::io::Read::read_to_string(&mut stderr, &mut said)?;
            }
            bail!("qemu ended with {status}: {said}");
        }
        if begun.elapsed() > GUEST_TIMEOUT {
            let _ = child.kill();
            let _ = child.wait();
            bail!("the guest did not end within {} s", GUEST_TIMEOUT.as_secs());
        }
        std::thread::sleep(POLL);
    }
}
