//! Nodes and edges while they are added, and what leads out of a container.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{EDGES_MAX, Edge, Graph, NODES_MAX, Node, Weight, ends::End};

/// Nodes by number while edges are added; numbers follow the nodes' order in the end.
pub(super) struct Building {
    numbers: BTreeMap<Node, usize>,
    edges: HashMap<Edge, Weight>,
    left_out: u64,
}

impl Building {
    pub fn new(left_out: u64) -> Building {
        Building {
            numbers: BTreeMap::new(),
            edges: HashMap::new(),
            left_out,
        }
    }

    fn number(&mut self, node: &Node) -> Option<usize> {
        if let Some(number) = self.numbers.get(node) {
            return Some(*number);
        }
        let number = self.numbers.len();
        (number < NODES_MAX).then(|| {
            self.numbers.insert(node.clone(), number);
            number
        })
    }

    pub fn add(&mut self, from: &Node, to: &Node, end: &End, port: u16, joined: bool) {
        let weight = Weight {
            connections: 1,
            failed: u64::from(end.failed),
            joined: u64::from(joined),
            across: false,
        };
        self.weigh(from, to, end.protocol.clone(), port, weight);
    }

    pub fn weigh(&mut self, from: &Node, to: &Node, protocol: String, port: u16, more: Weight) {
        let (Some(from), Some(to)) = (self.number(from), self.number(to)) else {
            self.left_out += 1;
            return;
        };
        let edge = Edge {
            from,
            to,
            protocol,
            port,
        };
        if self.edges.len() >= EDGES_MAX && !self.edges.contains_key(&edge) {
            self.left_out += 1;
            return;
        }
        self.edges.entry(edge).or_default().add(more);
    }

    pub fn finish(self) -> Graph {
        let mut places = vec![0; self.numbers.len()];
        let mut nodes = Vec::new();
        for (place, (node, number)) in self.numbers.into_iter().enumerate() {
            places[number] = place;
            nodes.push(node);
        }
        let edges = self.edges.into_iter().map(|(edge, weight)| {
            let edge = Edge {
                from: places[edge.from],
                to: places[edge.to],
                ..edge
            };
            (edge, weight)
        });
        let mut edges: BTreeMap<Edge, Weight> = edges.collect();
        mark_across(&nodes, &mut edges);
        Graph {
            nodes,
            edges,
            left_out: self.left_out,
        }
    }
}

/// Sockets and objects are across where those around them are of different places.
fn mark_across(nodes: &[Node], edges: &mut BTreeMap<Edge, Weight>) {
    let place = |node: usize| (nodes[node].host(), nodes[node].container());
    let mut users: HashMap<usize, BTreeSet<_>> = HashMap::new();
    for edge in edges.keys() {
        users.entry(edge.to).or_default().insert(place(edge.from));
        users.entry(edge.from).or_default().insert(place(edge.to));
    }
    for (edge, weight) in edges {
        weight.across = match (&nodes[edge.from], &nodes[edge.to]) {
            (Node::Program { .. }, Node::Program { .. }) => place(edge.from) != place(edge.to),
            (_, Node::Object { .. } | Node::Socket { .. }) => users[&edge.to].len() > 1,
            (Node::Socket { .. }, _) => users[&edge.from].len() > 1,
            _ => false,
        };
    }
}
