//! Meddles with the System V IPC of the container next door, and floods a process of its own with signals.
//!
//! The other container publishes its state in shared memory, a queue and a semaphore of an IPC namespace
//! that both are in (see [`crate::inside::workload::shared_state`]). The act finds them by their key, again and
//! again, overwrites the state and forges messages. Signals cross no border of pid namespaces, so their
//! flood stays within the container.

use std::{thread, time::Duration};

use nix::{
    sys::{
        signal::{Signal as Number, kill},
        wait::waitpid,
    },
    unistd::{ForkResult, Pid, fork},
};

use super::{Act, ActError, Ctx, Info, Kind, Signal, Surroundings};
use crate::sysv::Objects;

pub struct IpcAbuse;

static INFO: Info = Info {
    name: "ipc_abuse",
    kind: Kind::Anomaly,
    attack_id: "T1559",
    about: "overwrites the shared memory, queue and semaphore of another container, and sends 50 to 1000 signals a second",
    needs: "a second container in the same IPC namespace",
    signals: &[Signal::IpcCalls, Signal::IpcAcross, Signal::SignalRate],
};

impl Act for IpcAbuse {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn lacks(&self, surroundings: &Surroundings) -> Option<&'static str> {
        surroundings
            .shared
            .is_none()
            .then_some("a second container that shares its IPC namespace")
    }

    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError> {
        let shared = ctx.surroundings.shared.ok_or(ActError::Missing {
            what: "IPC namespace that another container shares",
        })?;
        let other = shared.other().key();
        let pause = ctx.pause(50.0, 1000.0);
        let own = Objects::private()?;
        // SAFETY: sets a disposition, which the child has from its first moment: the flood is not to end it.
        unsafe { libc::signal(libc::SIGUSR1, libc::SIG_IGN) };
        // SAFETY: the task process has one thread, so the child may do whatever a process may.
        let child = match unsafe { fork() }.map_err(ActError::os("fork", "a child"))? {
            ForkResult::Child => loop {
                own.receive();
                thread::sleep(Duration::from_millis(1));
            },
            ForkResult::Parent { child } => child,
        };
        let (mut signals, mut messages, mut forged, mut tried) = (0u64, 0u64, 0u64, 0u64);
        // At least once, however short its time.
        loop {
            messages += u64::from(own.send(messages));
            signals += u64::from(kill(child, Number::SIGUSR1).is_ok());
            tried += 1;
            // Not there yet, or just being made anew.
            if let Ok(theirs) = Objects::find(other) {
                forged += 1;
                theirs.send(tried);
            }
            ctx.sleep(pause);
            if ctx.over() {
                break;
            }
        }
        end(child);
        match forged {
            0 => Err(ActError::NotReached {
                what: "a hold on the other container's objects",
                tried,
            }),
            _ => Ok(format!(
                "{forged} times into another container, {messages} messages, {signals} signals"
            )),
        }
    }
}

fn end(other: Pid) {
    let _ = kill(other, Number::SIGKILL);
    let _ = waitpid(other, None);
}
