//! The ends of connections, which are looked for in each other.

use std::collections::HashMap;

use super::{HOST, Node};
use crate::resolve::Role;

/// The addresses of one end: its own and the other's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ends {
    pub own: (String, u16),
    pub other: (String, u16),
}

/// One end, as one trace shows it.
pub(super) struct End {
    pub host: String,
    pub node: Node,
    /// Process, and its start.
    pub whose: (u32, u64),
    pub protocol: String,
    pub role: Option<Role>,
    pub ends: Option<Ends>,
    pub failed: bool,
}

impl End {
    /// The node of an end that nobody recorded.
    pub fn elsewhere(&self, address: &str) -> Node {
        // A loopback address is another one on every host, and in every container.
        if !is_loopback(address) {
            return Node::Address(address.to_owned());
        }
        Node::Address(match self.node.container() {
            Some(container) if container != HOST => {
                format!("{address} of {container} on {}", self.host)
            }
            _ => format!("{address} of {}", self.host),
        })
    }
}

pub(super) fn is_loopback(address: &str) -> bool {
    address
        .parse()
        .is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

/// Receiving ends of UDP by their port and the other's.
pub(super) struct Datagrams(HashMap<(u16, u16), Vec<usize>>);

impl Datagrams {
    pub fn of(ends: &[End]) -> Datagrams {
        let mut by_ports: HashMap<(u16, u16), Vec<usize>> = HashMap::new();
        for (at, end) in ends.iter().enumerate() {
            if end.protocol == "udp"
                && end.role == Some(Role::Server)
                && let Some(ends) = &end.ends
            {
                let ports = (ends.own.1, ends.other.1);
                by_ports.entry(ports).or_default().push(at);
            }
        }
        Datagrams(by_ports)
    }

    /// Those that may have these ends.
    pub fn answering(&self, wanted: &Ends, ends: &[End]) -> Option<Vec<usize>> {
        let same = |one: &str, other: &str| one == other || is_any(one) || is_any(other);
        let found = self.0.get(&(wanted.own.1, wanted.other.1))?;
        let found = found.iter().copied().filter(|at| {
            ends[*at].ends.as_ref().is_some_and(|ends| {
                same(&ends.own.0, &wanted.own.0) && same(&ends.other.0, &wanted.other.0)
            })
        });
        Some(found.collect())
    }
}

/// A socket that is bound to no address of its own.
fn is_any(address: &str) -> bool {
    address.is_empty()
        || address
            .parse()
            .is_ok_and(|address: std::net::IpAddr| address.is_unspecified())
}
