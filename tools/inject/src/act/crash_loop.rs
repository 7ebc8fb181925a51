//! A child that crashes and is started again.

use std::{process, time::Duration};

use nix::{
    sys::wait::{WaitStatus, waitpid},
    unistd::{ForkResult, fork},
};
use rand::Rng;

use super::{Act, ActError, Ctx, Info, Kind, Signal};

pub struct CrashLoop;

static INFO: Info = Info {
    name: "crash_loop",
    kind: Kind::Anomaly,
    attack_id: "T1499",
    about: "a child that works for a moment, then aborts or exits with an error, 1 to 20 a second",
    needs: "nothing",
    signals: &[Signal::FailedExits],
};

impl Act for CrashLoop {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError> {
        let pause = ctx.pause(0.7, 20.0);
        let (mut aborted, mut failed) = (0u64, 0u64);
        while !ctx.over() {
            let abort = ctx.rng.random_bool(0.7);
            // SAFETY: the task process has one thread, so the child may do whatever a process may.
            match unsafe { fork() }.map_err(ActError::os("fork", "a child"))? {
                ForkResult::Child => {
                    std::thread::sleep(Duration::from_millis(5));
                    if abort {
                        process::abort();
                    }
                    // SAFETY: ends the process at once, without the parent's destructors.
                    unsafe { libc::_exit(70) }
                }
                ForkResult::Parent { child } => {
                    match waitpid(child, None).map_err(ActError::os("wait for", "a child"))? {
                        WaitStatus::Signaled(..) => aborted += 1,
                        _ => failed += 1,
                    }
                }
            }
            ctx.sleep(pause);
        }
        Ok(format!("{aborted} aborted, {failed} failed"))
    }
}
