//! Tries to become more than it is: other users, capabilities back, a setuid helper.
//!
//! No new privileges are to be had in the container, so each of these is refused or changes nothing
//! beyond a user namespace of the child's own.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
    time::Duration,
};

use nix::{
    sched::{CloneFlags, unshare},
    sys::wait::waitpid,
    unistd::{ForkResult, Gid, Uid, fork, setgroups, setresuid, setuid},
};

use super::{Act, ActError, Ctx, Info, Kind, Signal};

pub struct PrivEsc;

static INFO: Info = Info {
    name: "priv_esc",
    kind: Kind::Anomaly,
    attack_id: "T1548.001",
    about: "changes users, asks for capabilities, runs a setuid helper of its own, every 0.5 to 5 s",
    needs: "a writable directory without noexec",
    signals: &[Signal::CredentialCalls, Signal::SetuidFile],
};

/// An account of the image.
const APP: u32 = 1000;

impl Act for PrivEsc {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError> {
        const OWN: &str = "/proc/self/exe";
        let program = fs::read(OWN).map_err(ActError::io("read", OWN))?;
        let pause = Duration::from_secs_f64(ctx.scale(5.0, 0.5));
        let mut tries = 0u64;
        // At least once, however short its time.
        loop {
            // SAFETY: the task process has one thread, so the child may do whatever a process may.
            match unsafe { fork() }.map_err(ActError::os("fork", "a child"))? {
                ForkResult::Child => {
                    escalate();
                    // SAFETY: ends the process at once, without the parent's destructors.
                    unsafe { libc::_exit(0) }
                }
                ForkResult::Parent { child } => {
                    waitpid(child, None).map_err(ActError::os("wait for", "a child"))?;
                }
            }
            let directory = ctx.directory()?;
            let helper = directory.join(ctx.word());
            let shown = helper.to_string_lossy().into_owned();
            fs::write(&helper, &program).map_err(ActError::io("write", &shown))?;
            fs::set_permissions(&helper, fs::Permissions::from_mode(0o4755))
                .map_err(ActError::io("chmod", &shown))?;
            Command::new(&helper)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .map_err(ActError::io("run", &shown))?;
            ctx.tidy();
            tries += 1;
            ctx.sleep(pause);
            if ctx.over() {
                return Ok(format!("{tries} tries"));
            }
        }
    }
}

/// What is refused is refused; nothing depends on it.
fn escalate() {
    let _ = setgroups(&[Gid::from_raw(0), Gid::from_raw(4)]);
    let app = Uid::from_raw(APP);
    let _ = setresuid(app, app, app);
    let _ = setuid(Uid::from_raw(0));
    ask_for_capabilities();
    // In a namespace of its own it gets them all, over nothing.
    if unshare(CloneFlags::CLONE_NEWUSER).is_ok() {
        ask_for_capabilities();
        let _ = setuid(Uid::from_raw(0));
    }
}

fn ask_for_capabilities() {
    // `struct __user_cap_header_struct` and two `__user_cap_data_struct`: capget(2).
    const VERSION_3: u32 = 0x2008_0522;
    let header: [u32; 2] = [VERSION_3, 0];
    let sets: [u32; 6] = [u32::MAX, u32::MAX, 0, 0x1ff, 0x1ff, 0];
    // SAFETY: both arrays have the layout that version 3 prescribes and outlive the call.
    unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) };
}
