//! Short-lived children, faster than they end, until the pids limit refuses more.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::{
        signal::{Signal as Number, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{ForkResult, Pid, fork},
};

use super::{Act, ActError, Ctx, Info, Kind, Signal};

pub struct ForkStorm;

static INFO: Info = Info {
    name: "fork_storm",
    kind: Kind::Anomaly,
    attack_id: "T1499.001",
    about: "20 to 400 children a second that live 0.1 to 2 s, as many as the pids limit allows",
    needs: "a pids limit",
    signals: &[Signal::ForkRate, Signal::ExitRate],
};

/// Between two looks at what is due.
const PAUSE: Duration = Duration::from_millis(2);

impl Act for ForkStorm {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError> {
        // Should memory run out first, the kernel takes one of these and not the normal work.
        let own = "/proc/self/oom_score_adj";
        fs::write(own, "1000").map_err(ActError::io("write", own))?;
        let (a_second, start) = (ctx.scale(20.0, 400.0), Instant::now());
        let life = Duration::from_secs_f64(ctx.scale(0.1, 2.0));
        let mut alive: Vec<Pid> = Vec::new();
        let (mut forked, mut refused, mut most) = (0u64, 0u64, 0);
        while !ctx.over() {
            // By the clock: on a busy host a sleep for each would leave most of them out.
            let due = (start.elapsed().as_secs_f64() * a_second) as u64;
            if forked + refused >= due {
                ctx.sleep(PAUSE);
                bury(&mut alive);
                continue;
            }
            // SAFETY: the task process has one thread, so the child may do whatever a process may.
            match unsafe { fork() } {
                Ok(ForkResult::Child) => {
                    thread::sleep(life);
                    // SAFETY: ends the process at once, without the parent's destructors.
                    unsafe { libc::_exit(0) }
                }
                Ok(ForkResult::Parent { child }) => {
                    forked += 1;
                    alive.push(child);
                    most = most.max(alive.len());
                }
                Err(Errno::EAGAIN | Errno::ENOMEM) => refused += 1,
                Err(error) => return Err(ActError::os("fork", "a child")(error)),
            }
            bury(&mut alive);
        }
        for child in &alive {
            let _ = kill(*child, Number::SIGKILL);
        }
        Ok(format!(
            "{forked} children, {most} at once, {refused} refused"
        ))
    }
}

fn bury(alive: &mut Vec<Pid>) {
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        match status {
            WaitStatus::StillAlive => return,
            status => alive.retain(|child| Some(*child) != status.pid()),
        }
    }
}
