//! A container's neighbourhood: a /24 behind a virtual pair of its own, in which a few hosts answer.
//!
//! ```text
//! container's network namespace            a namespace that nothing else is in
//! lo, eth0 10.213.N.2/24  ◀── pair ──▶     far 10.213.N.1, .10, .27, …
//! ```
//!
//! Made from outside, for every container alike, when it is apart from the host and before anything runs
//! in it. There is no route but the /24's, and the far side has no other interface: no packet can
//! leave. The far namespace lives as long as this process holds it: with the process, however it ends,
//! go the namespace and the pair.

use std::{fs::File, net::Ipv4Addr, os::fd::AsFd, thread};

use anyhow::{Context, Result, bail};
use nix::{
    net::if_::if_nametoindex,
    sched::{CloneFlags, setns, unshare},
    sys::stat::fstat,
};

use crate::netlink::Netlink;

/// The name that a container's engine would give it.
pub const NEAR: &str = "eth0";
const FAR: &str = "far";

/// Networks are 10.213.N.0/24, by the container's place in the plan, which has at most 200.
const FIRST: [u8; 2] = [10, 213];
pub const PREFIX: u8 = 24;

/// The container's own address in its network.
pub const OWN: u8 = 2;

/// Who is there; whoever is not stays silent. None offers a service: they refuse.
pub const HOSTS: [u8; 6] = [1, 10, 27, 53, 101, 200];

pub struct Neighbours {
    /// Address of the network.
    pub network: Ipv4Addr,
    _far: File,
}

/// An address in a network.
pub fn host(network: Ipv4Addr, number: u8) -> Ipv4Addr {
    let [a, b, c, _] = network.octets();
    Ipv4Addr::new(a, b, c, number)
}

impl Neighbours {
    /// For the container of this process, which must be apart from the host already.
    pub fn of(pid: u32, place: usize) -> Result<Neighbours> {
        let Ok(third) = u8::try_from(place) else {
            bail!("container {place} of a run has no network: there are 256");
        };
        let network = Ipv4Addr::new(FIRST[0], FIRST[1], third, 0);
        // A thread of its own: it changes its network namespace, and ends.
        let made = thread::spawn(move || build(pid, network)).join();
        let far = match made {
            Ok(far) => far?,
            Err(_) => bail!("the thread that makes a network panicked"),
        };
        Ok(Neighbours { network, _far: far })
    }
}

fn build(pid: u32, network: Ipv4Addr) -> Result<File> {
    let open = |path: &str| File::open(path).with_context(|| format!("cannot open {path}"));
    let host_side = open("/proc/thread-self/ns/net")?;
    let near = open(&format!("/proc/{pid}/ns/net"))?;
    let inode = |file: &File| fstat(file).map(|stat| stat.st_ino);
    if inode(&near)? == inode(&host_side)? {
        bail!("process {pid} is in the host's network");
    }
    unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
    let far = open("/proc/thread-self/ns/net")?;
    setns(&near, CloneFlags::CLONE_NEWNET).context("cannot enter the container's network")?;
    let mut netlink = Netlink::open()?;
    netlink.make_pair(NEAR, FAR, far.as_fd())?;
    let index = if_nametoindex(NEAR).with_context(|| format!("no interface {NEAR}"))?;
    netlink.add_address(index, host(network, OWN), PREFIX)?;
    netlink.bring_up(index)?;
    setns(&far, CloneFlags::CLONE_NEWNET).context("cannot enter the far side's network")?;
    let mut netlink = Netlink::open()?;
    let index = if_nametoindex(FAR).with_context(|| format!("no interface {FAR}"))?;
    for number in HOSTS {
        netlink.add_address(index, host(network, number), PREFIX)?;
    }
    netlink.bring_up(index)?;
    Ok(far)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_never_given_neighbours() {
        let Err(refused) = Neighbours::of(std::process::id(), 0) else {
            panic!("an interface was made on the host");
        };
        assert!(format!("{refused:#}").contains("the host's network"));
        assert!(Neighbours::of(std::process::id(), 256).is_err());
    }
}
