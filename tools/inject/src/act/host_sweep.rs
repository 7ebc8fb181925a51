//! Looks for hosts: one port on each address of the /24 behind the container's virtual pair. Few are
//! there and refuse; the others stay silent, as absent hosts do, until the kernel or the sweep gives up.

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrIn, connect, getsockopt, socket,
        sockopt::SocketError,
    },
};
use rand::{Rng, seq::SliceRandom};

use super::{Act, ActError, Ctx, Info, Kind, Signal, Surroundings};
use crate::neighbours;

pub struct HostSweep;

static INFO: Info = Info {
    name: "host_sweep",
    kind: Kind::Anomaly,
    attack_id: "T1018",
    about: "connects to every address of the /24 behind its own virtual pair, 20 to 400 a second",
    needs: "the container's virtual pair, which takes root to make",
    signals: &[Signal::DistinctAddresses, Signal::ConnectRate],
};

/// What is asked for on each address.
const PORTS: [u16; 3] = [22, 80, 445];

/// How long an address is given to answer: its owner is on the same wire.
const PATIENCE: Duration = Duration::from_millis(500);

/// Connections that wait at once: the pace times the patience, and below the container's descriptors.
const WAITING_MAX: usize = 256;

#[derive(Default)]
struct Found {
    tried: u64,
    refused: u64,
    open: u64,
    silent: u64,
}

impl Act for HostSweep {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn lacks(&self, surroundings: &Surroundings) -> Option<&'static str> {
        surroundings
            .network
            .is_none()
            .then_some("a virtual pair with a network of its own")
    }

    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError> {
        let network = ctx.surroundings.network.ok_or(ActError::Missing {
            what: "network of its own",
        })?;
        let pause = ctx.pause(20.0, 400.0);
        let mut found = Found::default();
        let mut waiting: VecDeque<(Instant, OwnedFd)> = VecDeque::new();
        while !ctx.over() {
            let mut hosts: Vec<u8> = (1..=254).filter(|&host| host != neighbours::OWN).collect();
            hosts.shuffle(&mut ctx.rng);
            for host in hosts {
                if ctx.over() {
                    break;
                }
                let port = PORTS[ctx.rng.random_range(0..PORTS.len())];
                found.tried += 1;
                match begin(neighbours::host(network, host), port)? {
                    Ok(socket) => waiting.push_back((Instant::now() + PATIENCE, socket)),
                    Err(errno) => found.count(errno),
                }
                heed(&mut waiting, &mut found);
                ctx.sleep(pause);
            }
        }
        Ok(format!(
            "{} addresses, {} refused, {} open, {} silent",
            found.tried,
            found.refused,
            found.open,
            found.silent + waiting.len() as u64
        ))
    }
}

impl Found {
    fn count(&mut self, errno: Errno) {
        match errno {
            Errno::ECONNREFUSED => self.refused += 1,
            Errno::UnknownErrno => self.open += 1,
            _ => self.silent += 1,
        }
    }
}

/// A connection under way, or how it ended at once.
fn begin(address: Ipv4Addr, port: u16) -> Result<Result<OwnedFd, Errno>, ActError> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None)
        .map_err(ActError::os("open", "a socket"))?;
    let to = SockaddrIn::from(SocketAddrV4::new(address, port));
    match connect(socket.as_raw_fd(), &to) {
        Err(Errno::EINPROGRESS) => Ok(Ok(socket)),
        Ok(()) => Ok(Err(Errno::UnknownErrno)),
        Err(errno) => Ok(Err(errno)),
    }
}

/// Counts those that have been answered, and gives up those that waited long enough.
fn heed(waiting: &mut VecDeque<(Instant, OwnedFd)>, found: &mut Found) {
    let now = Instant::now();
    waiting.retain(|(until, socket)| {
        let mut polled = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
        if poll(&mut polled, PollTimeout::ZERO) == Ok(1) {
            // 0: connected.
            let error = getsockopt(socket, SocketError).unwrap_or(libc::EIO);
            found.count(Errno::from_raw(error));
            return false;
        }
        if now >= *until {
            found.silent += 1;
        }
        now < *until
    });
    while waiting.len() > WAITING_MAX {
        waiting.pop_front();
        found.silent += 1;
    }
}
