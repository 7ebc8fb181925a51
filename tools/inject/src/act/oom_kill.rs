//! Takes more memory than the limit allows, in a child that the kernel then kills.

use std::{fs, hint, time::Duration};

use nix::{
    sys::{
        signal::Signal as Number,
        wait::{WaitStatus, waitpid},
    },
    unistd::{ForkResult, fork},
};

use super::{Act, ActError, Ctx, Info, Kind, Signal};

pub struct OomKill;

static INFO: Info = Info {
    name: "oom_kill",
    kind: Kind::Anomaly,
    attack_id: "T1499",
    about: "a child takes memory until the kernel kills it, every 0.5 to 5 s",
    needs: "a memory limit without swap",
    signals: &[Signal::KilledExits],
};

const STEP: usize = 1 << 20;

/// Beyond twice the limit nothing limits it.
const TIMES_LIMIT: u64 = 2;

impl Act for OomKill {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError> {
        let pause = Duration::from_secs_f64(ctx.scale(5.0, 0.5));
        let most = ctx.surroundings.memory_bytes.saturating_mul(TIMES_LIMIT);
        let (mut tried, mut killed) = (0, 0u64);
        loop {
            tried += 1;
            // SAFETY: the task process has one thread, so the child may do whatever a process may.
            match unsafe { fork() }.map_err(ActError::os("fork", "a child"))? {
                ForkResult::Child => {
                    grow(most);
                    // SAFETY: ends the process at once, without the parent's destructors.
                    unsafe { libc::_exit(1) }
                }
                ForkResult::Parent { child } => match waitpid(child, None) {
                    Ok(WaitStatus::Signaled(_, Number::SIGKILL, _)) => killed += 1,
                    Ok(_) => {}
                    Err(error) => return Err(ActError::os("wait for", "a child")(error)),
                },
            }
            ctx.sleep(pause);
            if ctx.over() {
                break;
            }
        }
        match killed {
            0 => Err(ActError::NotReached {
                what: "a kill for want of memory",
                tried,
            }),
            _ => Ok(format!("{killed} of {tried} children killed")),
        }
    }
}

fn grow(most: u64) {
    // The kernel then takes this process and no other of the container.
    if fs::write("/proc/self/oom_score_adj", "1000").is_err() {
        return;
    }
    let mut held: Vec<Vec<u8>> = Vec::new();
    while ((held.len() * STEP) as u64) < most {
        held.push(vec![1; STEP]);
        hint::black_box(held.last());
    }
}
