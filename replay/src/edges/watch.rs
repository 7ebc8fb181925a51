//! Sees connections and listeners of containers in the records, and hands each out once per container,
//! [`SETTLE_NS`] after it was first seen: by then the container's image is known, and whether a local
//! container has the peer's address. Counted is what comes in that time.

use hashbrown::{HashMap, hash_map::Entry};
use std::{collections::VecDeque, net::IpAddr};
use trace_format::{Event, EventData, event::Endpoint};

use super::{Edge, Peer, Port, Protocol, image_of};
use crate::{
    order::EventRef,
    resolve::{DescriptorKind, State},
    syscalls,
};

/// From the first sight of an edge until it is handed out, in trace time. A container engine is asked for
/// milliseconds; the rest is for counting.
pub const SETTLE_NS: u64 = 5_000_000_000;

/// Edges remembered, of all containers; past it, the one that was first seen first is forgotten and may be
/// handed out again. Some 12 MB.
pub const OBSERVED_MAX: usize = 65_536;

/// Addresses of local containers; past it, further ones are strangers.
pub const ADDRESSES_MAX: usize = 65_536;

/// Linux `TCP_*`.
const ESTABLISHED: u8 = 1;
const SYN_SENT: u8 = 2;
const LISTEN: u8 = 10;

/// `AF_INET`, `AF_INET6`; `SOCK_STREAM`, `SOCK_DGRAM`.
const INET: [u16; 2] = [2, 10];
const STREAM: u16 = 1;
const DATAGRAM: u16 = 2;

/// What was seen, before anybody knows whose address it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sight {
    Connects(Protocol, IpAddr, u16),
    Listens(Port),
}

/// An edge and what was seen of it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub sight: Sight,
    pub first_ns: u64,
    pub cgroup_id: u64,
    pub pid: u32,
    /// With the pid: the process; 0: not known.
    pub start_ns: u64,
    pub at: EventRef,
    pub count: u64,
}

/// Whose an address is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Container(u64),
    /// Of several containers, or of the host too: it says nothing.
    Several,
}

#[derive(Default)]
pub struct Watch {
    /// By container key; `None`: handed out.
    observed: HashMap<(u64, Sight), Option<Seen>>,
    /// In the order of their first sight, those not handed out at the end.
    order: VecDeque<(u64, Sight)>,
    /// Of `order`, from where on nothing is handed out yet.
    next: usize,
    due_ns: Option<u64>,
    addresses: HashMap<IpAddr, Owner>,
    /// The trace has states of TCP sockets, which tell more than calls: each attempt, once.
    tcp_told: bool,
}

impl Watch {
    pub fn event(&mut self, event: &Event, at: EventRef, state: &State) {
        match &event.data {
            EventData::TcpState(tcp) => {
                self.tcp_told = true;
                if tcp.new == LISTEN {
                    let sight = Sight::Listens(Port::own(tcp.local.port));
                    self.see(event, at, state, sight);
                    return;
                }
                self.owns(event, &tcp.local, state);
                if tcp.new == SYN_SENT {
                    self.connects(event, at, state, Protocol::Tcp, &tcp.remote);
                } else if tcp.new == ESTABLISHED && tcp.old != SYN_SENT && tcp.local.port != 0 {
                    // It listened before the trace began.
                    let sight = Sight::Listens(Port::own(tcp.local.port));
                    self.see(event, at, state, sight);
                }
            }
            EventData::SockCall(call) if INET.contains(&call.family) => {
                self.owns(event, &call.local, state);
                let descriptor = || {
                    let process = state.process_of(event)?;
                    let descriptor = state.descriptor(process, call.fd)?;
                    (descriptor.kind == DescriptorKind::Socket).then_some(descriptor)
                };
                let kind = match call.sock_type {
                    0 => descriptor().map_or(0, |it| it.sock_type),
                    known => known,
                };
                if self.tcp_told && kind == STREAM {
                    return;
                }
                match syscalls::name(state.arch(), call.nr) {
                    Some("connect") => {
                        let protocol = match kind {
                            STREAM => Protocol::Tcp,
                            DATAGRAM => Protocol::Udp,
                            _ => Protocol::Ip,
                        };
                        self.connects(event, at, state, protocol, &call.remote);
                    }
                    Some("listen") if call.ret == 0 => {
                        let port = match call.local.port {
                            0 => descriptor().map_or(0, |it| it.local.port),
                            port => port,
                        };
                        if port != 0 {
                            self.see(event, at, state, Sight::Listens(Port::own(port)));
                        }
                    }
                    _ => {}
                }
            }
            EventData::Cgroup(change) if change.removed => {
                // The next container may get its address.
                let gone = Owner::Container(change.id);
                self.addresses.retain(|_, owner| *owner != gone);
            }
            _ => {}
        }
    }

    fn connects(
        &mut self,
        event: &Event,
        at: EventRef,
        state: &State,
        protocol: Protocol,
        remote: &Endpoint,
    ) {
        if let Some(address) = address(remote)
            && remote.port != 0
        {
            let sight = Sight::Connects(protocol, address, remote.port);
            self.see(event, at, state, sight);
        }
    }

    /// Takes note of whose the local address is.
    fn owns(&mut self, event: &Event, local: &Endpoint, state: &State) {
        let Some(address) = address(local) else {
            return;
        };
        if address.is_loopback() || address.is_unspecified() || event.cgroup_id == 0 {
            return;
        }
        let owner = match state.container_key(event.cgroup_id) {
            Some(key) => Owner::Container(key),
            None => Owner::Several,
        };
        let full = self.addresses.len() >= ADDRESSES_MAX;
        match self.addresses.entry(address) {
            Entry::Occupied(mut known) if *known.get() != owner => {
                known.insert(Owner::Several);
            }
            Entry::Vacant(free) if !full => {
                free.insert(owner);
            }
            _ => {}
        }
    }

    fn see(&mut self, event: &Event, at: EventRef, state: &State, sight: Sight) {
        let Some(key) = state.container_key(event.cgroup_id) else {
            return;
        };
        match self.observed.entry((key, sight)) {
            Entry::Occupied(mut known) => {
                if let Some(seen) = known.get_mut() {
                    seen.count += 1;
                }
                return;
            }
            Entry::Vacant(free) => {
                free.insert(Some(Seen {
                    sight,
                    first_ns: event.boot_ns,
                    cgroup_id: event.cgroup_id,
                    pid: event.pid,
                    start_ns: state.process_of(event).map_or(0, |it| it.start_ns),
                    at,
                    count: 1,
                }));
            }
        }
        self.order.push_back((key, sight));
        self.due_ns
            .get_or_insert(event.boot_ns.saturating_add(SETTLE_NS));
    }

    /// When something is handed out next; `u64::MAX`: nothing is there.
    pub fn due_ns(&self) -> u64 {
        match self.order.len() > OBSERVED_MAX {
            true => 0,
            false => self.due_ns.unwrap_or(u64::MAX),
        }
    }

    /// Hands out what has settled at this time, in the order of first sight.
    pub fn settled(&mut self, now_ns: u64) -> Vec<Seen> {
        let mut settled = Vec::new();
        while let Some(key) = self.order.get(self.next) {
            let waiting = self.observed.get_mut(key);
            let full = self.order.len() > OBSERVED_MAX;
            if let Some(waiting) = waiting
                && let Some(seen) = waiting
            {
                let due_ns = seen.first_ns.saturating_add(SETTLE_NS);
                if due_ns > now_ns && !full {
                    self.due_ns = Some(due_ns);
                    return settled;
                }
                if let Some(seen) = waiting.take() {
                    settled.push(seen);
                }
            }
            self.next += 1;
            self.forget();
        }
        self.due_ns = None;
        settled
    }

    /// Makes room, if there is too much.
    fn forget(&mut self) {
        while self.order.len() > OBSERVED_MAX
            && self.next > 0
            && let Some(oldest) = self.order.pop_front()
        {
            self.next -= 1;
            self.observed.remove(&oldest);
        }
    }

    /// What it is an edge of, and the edge; `None` where no container did it. And the edge by the peer's
    /// address, where that is a local container's.
    pub fn resolve<'a>(
        &self,
        seen: &Seen,
        state: &'a State,
    ) -> Option<(&'a str, Edge, Option<Edge>)> {
        let image = image_of(state.container(seen.cgroup_id)?);
        let (protocol, address, port) = match seen.sight {
            Sight::Listens(port) => return Some((image, Edge::Listens(port), None)),
            Sight::Connects(protocol, address, port) => (protocol, address, port),
        };
        let elsewhere = Peer::elsewhere(address);
        let by_address = Edge::Connects {
            protocol,
            port: match elsewhere {
                Peer::Loopback => Port::own(port),
                _ => Port::Fixed(port),
            },
            peer: elsewhere,
        };
        let local = match self.addresses.get(&address) {
            Some(Owner::Container(key)) => state.container(*key),
            _ => None,
        };
        Some(match local {
            Some(peer) => {
                let by_image = Edge::Connects {
                    protocol,
                    peer: Peer::Image(image_of(peer).to_owned()),
                    port: Port::Fixed(port),
                };
                (image, by_image, Some(by_address))
            }
            None => (image, by_address, None),
        })
    }
}

fn address(endpoint: &Endpoint) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(&endpoint.addr[..]) {
        return Some(four.into());
    }
    let sixteen = <[u8; 16]>::try_from(&endpoint.addr[..]).ok()?;
    Some(IpAddr::from(sixteen).to_canonical())
}
