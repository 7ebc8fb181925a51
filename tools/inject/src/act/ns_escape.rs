//! Tries the ways out of a container: other namespaces, mounts, a release agent.

use std::{
    fs::{self, File},
    time::Duration,
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
    sys::wait::waitpid,
    unistd::{ForkResult, fork},
};

use super::{Act, ActError, Ctx, Info, Kind, Signal, capabilities::refuse_powerful};

pub struct NsEscape;

static INFO: Info = Info {
    name: "ns_escape",
    kind: Kind::Anomaly,
    attack_id: "T1611",
    about: "unshare, setns, mount (refused) and a fake release_agent, every 0.5 to 5 s",
    needs: "a container without CAP_SYS_ADMIN",
    signals: &[Signal::NamespaceCalls, Signal::MountRefused],
};

impl Act for NsEscape {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError> {
        refuse_powerful()?;
        let pause = Duration::from_secs_f64(ctx.scale(5.0, 0.5));
        let directory = ctx.directory()?;
        let mut tries = 0u64;
        // At least once, however short its time.
        loop {
            // SAFETY: the task process has one thread, so the child may do whatever a process may.
            match unsafe { fork() }.map_err(ActError::os("fork", "a child"))? {
                ForkResult::Child => {
                    escape();
                    // SAFETY: ends the process at once, without the parent's destructors.
                    unsafe { libc::_exit(0) }
                }
                ForkResult::Parent { child } => {
                    waitpid(child, None).map_err(ActError::os("wait for", "a child"))?;
                }
            }
            // A plain file of that name, which no cgroup knows.
            let agent = directory.join("release_agent");
            fs::write(&agent, b"/tmp/agent\n")
                .map_err(ActError::io("write", agent.to_string_lossy()))?;
            tries += 1;
            ctx.sleep(pause);
            if ctx.over() {
                return Ok(format!("{tries} tries"));
            }
        }
    }
}

/// Refused one by one: the container has no capability. Nothing is mounted in the end, since the
/// mounts are tried before there is a user namespace in which they would succeed.
fn escape() {
    let none = None::<&str>;
    let _ = unshare(CloneFlags::CLONE_NEWNS);
    let _ = mount(Some("proc"), "/mnt", Some("proc"), MsFlags::empty(), none);
    let _ = mount(
        Some("none"),
        "/sys/fs/cgroup",
        Some("cgroup"),
        MsFlags::empty(),
        Some("memory"),
    );
    for name in ["mnt", "pid", "net"] {
        if let Ok(namespace) = File::open(format!("/proc/1/ns/{name}")) {
            let _ = setns(namespace, CloneFlags::empty());
        }
    }
    let _ = unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWUTS);
}
