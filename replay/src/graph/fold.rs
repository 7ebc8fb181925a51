//! A graph to look at: a scan reaches hundreds of addresses that nobody else talks to, and they become one
//! node.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{Edge, Graph, Node, Weight};

/// Addresses of one network that become one node; fewer are looked at one by one.
pub const FOLD_MIN: usize = 8;

impl Graph {
    /// The same graph with at least [`FOLD_MIN`] addresses of a network (/24, /64) that have the same
    /// neighbours as one [`Node::Network`]. Networks come behind the other nodes; weights add up.
    pub fn folded(&self) -> Graph {
        let mut neighbours = vec![BTreeSet::new(); self.nodes.len()];
        for edge in self.edges.keys() {
            neighbours[edge.from].insert(edge.to);
            neighbours[edge.to].insert(edge.from);
        }
        let mut groups: BTreeMap<(&BTreeSet<usize>, String), Vec<usize>> = BTreeMap::new();
        for (number, node) in self.nodes.iter().enumerate() {
            if let Node::Address(address) = node
                && let Some(prefix) = network(address)
            {
                let group = groups.entry((&neighbours[number], prefix)).or_default();
                group.push(number);
            }
        }
        groups.retain(|_, members| members.len() >= FOLD_MIN);
        let away: BTreeSet<usize> = groups.values().flatten().copied().collect();

        let mut places = vec![0; self.nodes.len()];
        let mut nodes = Vec::new();
        for (number, node) in self.nodes.iter().enumerate() {
            if !away.contains(&number) {
                places[number] = nodes.len();
                nodes.push(node.clone());
            }
        }
        for ((_, prefix), members) in groups {
            for number in &members {
                places[*number] = nodes.len();
            }
            nodes.push(Node::Network {
                prefix,
                addresses: members.len(),
            });
        }
        let mut edges: BTreeMap<Edge, Weight> = BTreeMap::new();
        for (edge, weight) in &self.edges {
            let sum = edges
                .entry(Edge {
                    from: places[edge.from],
                    to: places[edge.to],
                    ..edge.clone()
                })
                .or_default();
            sum.connections += weight.connections;
            sum.failed += weight.failed;
            sum.joined += weight.joined;
            sum.across |= weight.across;
        }
        Graph {
            nodes,
            edges,
            left_out: self.left_out,
        }
    }
}

/// What an address is folded into; a loopback address, which names its owner, into nothing.
fn network(address: &str) -> Option<String> {
    match address.parse().ok()? {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            Some(format!("{a}.{b}.{c}.0/24"))
        }
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            let first = std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0);
            Some(format!("{first}/64"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(comm: &str) -> Node {
        Node::Program {
            host: "h".to_owned(),
            container: "c".to_owned(),
            comm: comm.to_owned(),
        }
    }

    /// Edges from the first two nodes to the addresses behind them.
    fn graph(addresses: &[(&str, &[usize])]) -> Graph {
        let mut graph = Graph {
            nodes: vec![program("one"), program("two")],
            left_out: 3,
            ..Graph::default()
        };
        for (address, from) in addresses {
            let to = graph.nodes.len();
            graph.nodes.push(Node::Address((*address).to_owned()));
            for from in *from {
                let edge = Edge {
                    from: *from,
                    to,
                    protocol: "tcp".to_owned(),
                    port: 22,
                };
                let weight = Weight {
                    connections: 2,
                    failed: 1,
                    joined: 0,
                    across: false,
                };
                graph.edges.insert(edge, weight);
            }
        }
        graph
    }

    #[test]
    fn many_addresses_of_a_network_become_one_node() {
        let names: Vec<String> = (1..=FOLD_MIN)
            .map(|host| format!("10.1.2.{host}"))
            .collect();
        let mut addresses: Vec<(&str, &[usize])> = names
            .iter()
            .map(|name| (name.as_str(), &[0usize] as &[_]))
            .collect();
        // The one that another talks to as well, a neighbouring network, and a loopback stay.
        addresses.extend([
            ("10.1.2.200", &[0usize, 1] as &[_]),
            ("10.1.3.1", &[0]),
            ("127.0.0.1 of c", &[0]),
        ]);
        let whole = graph(&addresses);
        let folded = whole.folded();
        assert_eq!(folded.nodes.len(), 2 + 3 + 1);
        let network = Node::Network {
            prefix: "10.1.2.0/24".to_owned(),
            addresses: FOLD_MIN,
        };
        assert_eq!(folded.nodes.last(), Some(&network));
        let (_, weight) = folded.edges.iter().find(|(edge, _)| edge.to == 5).unwrap();
        assert_eq!(weight.connections, 2 * FOLD_MIN as u64);
        assert_eq!(weight.failed, FOLD_MIN as u64);
        let sum = |graph: &Graph| {
            graph
                .edges
                .values()
                .map(|weight| weight.connections)
                .sum::<u64>()
        };
        assert_eq!((sum(&folded), folded.left_out), (sum(&whole), 3));
        assert_eq!(folded.folded(), folded);
    }

    #[test]
    fn few_addresses_and_addresses_far_apart_stay() {
        let few: Vec<String> = (1..FOLD_MIN)
            .map(|host| format!("2001:db8::{host}"))
            .collect();
        let far: Vec<String> = (0..2 * FOLD_MIN)
            .map(|net| format!("10.1.{net}.1"))
            .collect();
        let addresses: Vec<(&str, &[usize])> = few
            .iter()
            .chain(&far)
            .map(|name| (name.as_str(), &[1usize] as &[_]))
            .collect();
        let whole = graph(&addresses);
        assert_eq!(whole.folded(), whole);
    }
}
