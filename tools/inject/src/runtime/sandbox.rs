//! Containers without an engine: seven namespaces and the cgroups of [`crate::cgroup`].
//!
//! What a start leaves on the host, and who removes it: the processes (killed with this one by the
//! kernel, and ending by themselves when their stdin closes), their namespaces and mounts (gone
//! with the last process), and empty cgroup directories (removed at the end, or by the next start).

use std::{
    fs,
    io::{self, Read},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, Uid},
};

use super::{Container, Heard, Identity, Ipc, Runtime, START_MAX, Wire};
use crate::{
    cgroup::{self, Cgroup, Hierarchies, Limits},
    entropy,
    frame::{Order, Said},
    image,
    payload::Payload,
};

/// Root inside is this user outside: one that no account, service or container engine has
/// (systemd's and shadow's ranges end below 1,879,048,192, at most 65,536 of a container's follow).
const HOST_UID: u32 = 1_900_000_000;

/// After the order to stop, until it is killed.
const STOP_MAX: Duration = Duration::from_secs(2);

pub struct Sandbox {
    hierarchies: Hierarchies,
    workload: PathBuf,
    image: String,
}

impl Sandbox {
    pub fn new(payload: &Payload, image: &str) -> Result<Sandbox> {
        if !Uid::effective().is_root() {
            bail!("the sandbox needs root to limit its containers: run as root, or use --docker");
        }
        Ok(Sandbox {
            hierarchies: Hierarchies::of_host()?,
            workload: payload.path.clone(),
            image: image.to_owned(),
        })
    }
}

impl Runtime for Sandbox {
    fn name(&self) -> &'static str {
        "sandbox"
    }

    fn reap(&mut self) -> Result<usize> {
        self.hierarchies.reap()
    }

    fn may_share(&self) -> &'static [&'static str] {
        &[]
    }

    fn start(
        &mut self,
        name: &str,
        limits: &Limits,
        version: u32,
        ipc: Ipc,
    ) -> Result<Box<dyn Container>> {
        let id = entropy::hex::<32>()?;
        let (mut output, said) = io::pipe().context("cannot make a pipe")?;
        let also_said = said.try_clone().context("cannot share a pipe")?;
        let ((mut cage, mut wire, pid), cgroup) =
            self.hierarchies.start_in_new(&id, limits, || {
                let mut cage = Command::new(&self.workload)
                    .arg0("workload")
                    .args(["cage", &id[..12], &version.to_string()])
                    .args(match ipc {
                        Ipc::Own | Ipc::Shareable => None,
                        Ipc::Of(other) => Some(other.pid.to_string()),
                    })
                    .env_clear()
                    .stdin(Stdio::piped())
                    .stdout(said)
                    .stderr(also_said)
                    // Ctrl-C at the terminal is for the injector, which then stops its containers.
                    .process_group(0)
                    .spawn()
                    .with_context(|| format!("cannot start {:?}", self.workload))?;
                let stdin = cage.stdin.take().context("the cage has no stdin")?;
                let (mut wire, mut ear) = Wire::new(Box::new(stdin));
                std::thread::spawn(move || {
                    let mut part = [0; 4096];
                    while let Ok(read @ 1..) = output.read(&mut part) {
                        if !ear.take(&part[..read]) {
                            return;
                        }
                    }
                });
                match lead(&mut wire, cage.id()) {
                    Ok(pid) => Ok(((cage, wire, pid), pid)),
                    Err(error) => {
                        let _ = cage.kill();
                        let _ = cage.wait();
                        Err(error)
                    }
                }
            })?;
        let entered = wire
            .send(b"c")
            .context("the sandbox's first process is gone");
        let status = cage.wait().context("cannot wait for the cage")?;
        // From here on the process is our child, and dropping the box removes it.
        let mut boxed = Box::new(Boxed {
            identity: Identity {
                cgroup_id: cgroup::id(cgroup.unified())?,
                cgroup: cgroup.unified().to_owned(),
                id,
                name: name.to_owned(),
                image: image::versioned(&self.image, version),
                pid,
                memory_bytes: limits.memory_bytes,
            },
            wire,
            cgroup,
            running: true,
        });
        entered?;
        if !status.success() {
            boxed.stop()?;
            bail!("the sandbox of {name} was not built: {status}");
        }
        Ok(boxed)
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Leads the cage through its steps (see `inside::cage`); the pid of the container's first process.
fn lead(wire: &mut Wire, cage: u32) -> Result<u32> {
    let lost = "the sandbox's builder is gone";
    wire.send(b"u").context(lost)?;
    hear_word(wire, "unshared")?;
    // The file must be written from outside: inside, only the caller's own user could be mapped.
    for map in ["uid_map", "gid_map"] {
        let path = format!("/proc/{cage}/{map}");
        fs::write(&path, format!("0 {HOST_UID} 1\n"))
            .with_context(|| format!("cannot write {path}"))?;
    }
    wire.send(b"m").context(lost)?;
    let pid = hear_word(wire, "pid ")?;
    pid.parse()
        .with_context(|| format!("the sandbox's builder gave {pid:?} as a pid"))
}

/// What follows the word in the first thing said.
fn hear_word(wire: &mut Wire, word: &str) -> Result<String> {
    match wire.hear(START_MAX) {
        Heard::Said(Said::Other(text)) if text.starts_with(word) => {
            Ok(text[word.len()..].to_owned())
        }
        Heard::Said(Said::Fatal(text)) => bail!("{text}"),
        Heard::Said(said) => bail!("the sandbox's builder said {said:?} instead of {word:?}"),
        Heard::Nothing => bail!("the sandbox's builder did not say {word:?} within {START_MAX:?}"),
        Heard::Closed => bail!("the sandbox's builder ended before it said {word:?}"),
    }
}

struct Boxed {
    identity: Identity,
    wire: Wire,
    cgroup: Cgroup,
    running: bool,
}

impl Container for Boxed {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    fn stop(&mut self) -> Result<()> {
        if self.running {
            let _ = self.wire.order(&Order::Stop);
            self.wait()?;
            self.running = false;
        }
        self.cgroup.remove()
    }
}

impl Boxed {
    fn wait(&self) -> Result<()> {
        let pid = Pid::from_raw(self.identity.pid as i32);
        let kill_at = Instant::now() + STOP_MAX;
        let mut killed = false;
        loop {
            match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => {}
                Ok(_) | Err(Errno::ECHILD) => return Ok(()),
                Err(error) => return Err(error).context("cannot wait for the container"),
            }
            if !killed && Instant::now() >= kill_at {
                // With the first process of a pid namespace die all others in it.
                let _ = kill(pid, Signal::SIGKILL);
                killed = true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Boxed {
    fn drop(&mut self) {
        if self.running {
            let pid = Pid::from_raw(self.identity.pid as i32);
            let _ = kill(pid, Signal::SIGKILL);
            let _ = waitpid(pid, None);
        }
    }
}
