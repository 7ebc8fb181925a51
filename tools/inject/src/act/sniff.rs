//! Asks for a packet socket: refused in its own network, granted in a network made for it.

use std::{io, time::Duration};

use nix::{
    sched::{CloneFlags, unshare},
    sys::wait::waitpid,
    unistd::{ForkResult, fork},
};

use super::{Act, ActError, Ctx, Info, Kind, Signal};

pub struct Sniff;

static INFO: Info = Info {
    name: "sniff",
    kind: Kind::Anomaly,
    attack_id: "T1040",
    about: "opens packet sockets, in its own network and in an empty one, every 0.5 to 5 s",
    needs: "nothing; without user namespaces only the refusal",
    signals: &[Signal::PacketSocket],
};

/// How long it listens where it may: nothing comes there.
const LISTEN_MS: libc::c_int = 200;

impl Act for Sniff {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError> {
        let pause = Duration::from_secs_f64(ctx.scale(5.0, 0.5));
        let (mut asked, mut granted) = (0u64, 0u64);
        // At least once, however short its time.
        loop {
            asked += 1;
            granted += u64::from(listen().is_ok());
            // SAFETY: the task process has one thread, so the child may do whatever a process may.
            match unsafe { fork() }.map_err(ActError::os("fork", "a child"))? {
                ForkResult::Child => {
                    let apart = unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET);
                    let heard = apart.map_err(io::Error::from).and_then(|()| listen());
                    // SAFETY: ends the process at once, without the parent's destructors.
                    unsafe { libc::_exit(i32::from(heard.is_err())) }
                }
                ForkResult::Parent { child } => {
                    let status = waitpid(child, None);
                    let status = status.map_err(ActError::os("wait for", "a child"))?;
                    asked += 1;
                    granted +=
                        u64::from(matches!(status, nix::sys::wait::WaitStatus::Exited(_, 0)));
                }
            }
            ctx.sleep(pause);
            if ctx.over() {
                return Ok(format!(
                    "{asked} packet sockets asked for, {granted} granted"
                ));
            }
        }
    }
}

fn listen() -> io::Result<()> {
    let every = libc::c_int::from((libc::ETH_P_ALL as u16).to_be());
    // SAFETY: plain calls; the descriptor is closed below.
    unsafe {
        let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, every);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut waiting = libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        };
        libc::poll(&mut waiting, 1, LISTEN_MS);
        libc::close(fd);
    }
    Ok(())
}
