//! Who talks to whom: containers and programs, addresses and sockets, and the connections between them.
//!
//! Made from connections ([`crate::lives`]) of one trace or several. A TCP connection that both ends show is
//! one edge between them: its two rows have the same addresses, turned round. Ends are looked for in the
//! same container first, then on the same host, then, except for loopback addresses, on the others. What has
//! no recorded other end ends at its address.
//!
//! Besides connections it has what processes share and do to each other ([`contact`]): an object of IPC is a
//! node where two programs use it, and a call into another process or a signal across containers is an edge.

pub mod contact;
mod fold;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use self::contact::{Contact, Object, With};
use crate::{
    lives::{Connection, Went},
    resolve::Role,
};

/// Nodes; what comes after them is counted as left out. More nobody can look at.
pub const NODES_MAX: usize = 10_000;
/// Edges, likewise.
pub const EDGES_MAX: usize = 50_000;
/// Connections that wait for their other end: some 200 MB.
pub const CONNECTIONS_MAX: usize = 1_000_000;

/// What [`Node::Program`] calls the container of what runs in none.
const HOST: &str = "host";

/// What a node stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Node {
    /// A program of a container, or of the host.
    Program {
        host: String,
        /// `host` for the host itself.
        container: String,
        /// Empty: all of the container.
        comm: String,
    },
    /// An end that no trace recorded.
    Address(String),
    /// A unix socket of a host.
    Socket { host: String, path: String },
    /// An object of IPC of a host that several programs use.
    Object { host: String, name: String },
    /// Addresses of one network with the same neighbours, in a graph that is [folded](Graph::folded).
    Network { prefix: String, addresses: usize },
}

/// What connections share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Edge {
    pub from: usize,
    pub to: usize,
    pub protocol: String,
    /// Of the server; 0: none.
    pub port: u16,
}

/// How often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    pub connections: u64,
    pub failed: u64,
    /// Both ends are recorded.
    pub joined: u64,
    /// It leads out of a container: to a program of another one or of the host, or to an object that
    /// another one has too.
    pub across: bool,
}

/// The addresses of one end: its own and the other's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Ends {
    own: (String, u16),
    other: (String, u16),
}

struct End {
    host: String,
    node: Node,
    protocol: String,
    role: Option<Role>,
    ends: Option<Ends>,
    failed: bool,
}

/// Collects connections.
#[derive(Default)]
pub struct Collector {
    ends: Vec<End>,
    /// Between programs.
    direct: HashMap<(Node, Node, &'static str), Weight>,
    /// Programs and the objects (of hosts) that they use.
    uses: HashMap<(Node, (String, Object)), Weight>,
    names: HashMap<(String, Object), String>,
    by_container: bool,
    left_out: u64,
}

/// The finished graph.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph {
    /// In order.
    pub nodes: Vec<Node>,
    pub edges: BTreeMap<Edge, Weight>,
    /// Connections over a limit.
    pub left_out: u64,
}

impl Collector {
    /// `by_container`: programs of a container are one node.
    pub fn new(by_container: bool) -> Collector {
        Collector {
            by_container,
            ..Collector::default()
        }
    }

    pub fn add(&mut self, host: &str, connection: &Connection) {
        if self.ends.len() >= CONNECTIONS_MAX {
            self.left_out += 1;
            return;
        }
        let node = self.program(host, connection.place.label(), &connection.comm);
        let own = connection.local_addr.clone().unwrap_or_default();
        self.ends.push(End {
            host: host.to_owned(),
            node,
            protocol: connection.protocol.clone(),
            role: connection.role,
            ends: connection.remote_addr.clone().map(|other| Ends {
                own: (own, connection.local_port),
                other: (other, connection.remote_port),
            }),
            failed: connection.went == Went::Failed,
        });
    }

    fn program(&self, host: &str, container: &str, comm: &str) -> Node {
        Node::Program {
            host: host.to_owned(),
            container: container.to_owned(),
            comm: match (self.by_container, comm) {
                (true, _) => String::new(),
                // Nobody in process context was seen with the socket.
                (false, "") => "?".to_owned(),
                (false, comm) => comm.to_owned(),
            },
        }
    }

    /// Adds what is no connection.
    pub fn touch(&mut self, host: &str, contact: &Contact) {
        let from = self.program(host, contact.place.label(), &contact.comm);
        let full = self.direct.len() + self.uses.len() >= EDGES_MAX;
        let weight = match &contact.with {
            With::Process { place, comm } => {
                let to = self.program(host, place.label(), comm);
                // Programs of one node that have to do with each other say nothing about it.
                if self.by_container && from == to {
                    return;
                }
                let key = (from, to, contact.how);
                if full && !self.direct.contains_key(&key) {
                    self.left_out += 1;
                    return;
                }
                self.direct.entry(key).or_default()
            }
            With::Object { object, name } => {
                let object = (host.to_owned(), *object);
                let key = (from, object.clone());
                if full && !self.uses.contains_key(&key) {
                    self.left_out += 1;
                    return;
                }
                if let Some(name) = name {
                    self.names.entry(object).or_insert_with(|| name.clone());
                }
                self.uses.entry(key).or_default()
            }
        };
        weight.connections += contact.calls;
        weight.joined += contact.calls;
        weight.failed += if contact.failed { contact.calls } else { 0 };
    }

    /// Joins the ends.
    pub fn finish(mut self) -> Graph {
        let direct = std::mem::take(&mut self.direct);
        let uses = std::mem::take(&mut self.uses);
        // Servers by their ends; several hosts may have the same private addresses.
        let mut servers: HashMap<Ends, Vec<usize>> = HashMap::new();
        for (at, end) in self.ends.iter().enumerate() {
            if end.protocol == "tcp"
                && end.role == Some(Role::Server)
                && let Some(ends) = &end.ends
            {
                servers.entry(ends.clone()).or_default().push(at);
            }
        }
        let mut taken = vec![false; self.ends.len()];
        let mut building = Building::new(self.left_out);
        for end in &self.ends {
            if end.role == Some(Role::Server) {
                continue;
            }
            let Some(ends) = &end.ends else { continue };
            let turned = Ends {
                own: ends.other.clone(),
                other: ends.own.clone(),
            };
            let found = servers.get(&turned).and_then(|found| {
                let free = |at: &&usize| !taken[**at];
                let here = |at: &&usize| self.ends[**at].host == end.host;
                let inside = |at: &&usize| self.ends[**at].node.container() == end.node.container();
                let mut found_here = found.iter().filter(free).filter(here);
                // Every network namespace has a loopback of its own, and containers may share one.
                match found_here.clone().find(inside).or(found_here.next()) {
                    Some(at) => Some(*at),
                    None if is_loopback(&ends.other.0) => None,
                    None => found.iter().find(free).copied(),
                }
            });
            let to = match found {
                Some(at) => {
                    taken[at] = true;
                    self.ends[at].node.clone()
                }
                None => end.elsewhere(&ends.other.0),
            };
            building.add(&end.node, &to, end, ends.other.1, found.is_some());
        }
        for (at, end) in self.ends.iter().enumerate() {
            if end.role == Some(Role::Server)
                && !taken[at]
                && let Some(ends) = &end.ends
            {
                let from = end.elsewhere(&ends.other.0);
                building.add(&from, &end.node, end, ends.own.1, false);
            }
        }
        contacts(direct, &uses, &self.names, &mut building);
        building.finish()
    }
}

/// Adds to a graph what is no connection.
fn contacts(
    direct: HashMap<(Node, Node, &'static str), Weight>,
    uses: &HashMap<(Node, (String, Object)), Weight>,
    names: &HashMap<(String, Object), String>,
    building: &mut Building,
) {
    // In order, because limits cut off what comes last.
    let direct: BTreeMap<_, _> = direct.into_iter().collect();
    for ((from, to, how), weight) in direct {
        building.weigh(&from, &to, how.to_owned(), 0, weight);
    }
    let mut users: BTreeMap<&(String, Object), Vec<(&Node, &Weight)>> = BTreeMap::new();
    for ((from, object), weight) in uses {
        users.entry(object).or_default().push((from, weight));
    }
    for (place, mut users) in users {
        // What one program has for itself joins nobody.
        if users.len() < 2 {
            continue;
        }
        users.sort_unstable_by_key(|user| user.0);
        let (host, object) = place;
        let name = names.get(place).cloned();
        let to = Node::Object {
            host: host.clone(),
            name: format!(
                "{} {}",
                object.kind,
                name.unwrap_or_else(|| object.id.to_string())
            ),
        };
        for (from, weight) in users {
            building.weigh(from, &to, object.kind.to_owned(), 0, *weight);
        }
    }
}

impl End {
    /// The node of an end that nobody recorded.
    fn elsewhere(&self, address: &str) -> Node {
        match self.protocol.as_str() {
            "unix" => Node::Socket {
                host: self.host.clone(),
                path: address.to_owned(),
            },
            // A loopback address is another one on every host, and in every container.
            _ if is_loopback(address) => Node::Address(match self.node.container() {
                Some(container) if container != HOST => {
                    format!("{address} of {container} on {}", self.host)
                }
                _ => format!("{address} of {}", self.host),
            }),
            _ => Node::Address(address.to_owned()),
        }
    }
}

fn is_loopback(address: &str) -> bool {
    address
        .parse()
        .is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

/// Nodes by number while edges are added; numbers follow the nodes' order in the end.
struct Building {
    numbers: BTreeMap<Node, usize>,
    edges: HashMap<Edge, Weight>,
    left_out: u64,
}

impl Building {
    fn new(left_out: u64) -> Building {
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

    fn add(&mut self, from: &Node, to: &Node, end: &End, port: u16, joined: bool) {
        let weight = Weight {
            connections: 1,
            failed: u64::from(end.failed),
            joined: u64::from(joined),
            across: false,
        };
        self.weigh(from, to, end.protocol.clone(), port, weight);
    }

    fn weigh(&mut self, from: &Node, to: &Node, protocol: String, port: u16, more: Weight) {
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
        let weight = self.edges.entry(edge).or_default();
        weight.connections += more.connections;
        weight.failed += more.failed;
        weight.joined += more.joined;
    }

    fn finish(self) -> Graph {
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

fn mark_across(nodes: &[Node], edges: &mut BTreeMap<Edge, Weight>) {
    let place = |node: usize| (nodes[node].host(), nodes[node].container());
    let mut users: HashMap<usize, BTreeSet<_>> = HashMap::new();
    for edge in edges.keys() {
        users.entry(edge.to).or_default().insert(place(edge.from));
    }
    for (edge, weight) in edges {
        weight.across = match (&nodes[edge.from], &nodes[edge.to]) {
            (Node::Program { .. }, Node::Program { .. }) => place(edge.from) != place(edge.to),
            (_, Node::Object { .. }) => users[&edge.to].len() > 1,
            _ => false,
        };
    }
}

impl Node {
    /// How to name it to people, where there are several hosts or only one.
    pub fn label(&self, hosts: bool) -> String {
        let of = |host: &str| match hosts && !host.is_empty() {
            true => format!("{host}: "),
            false => String::new(),
        };
        match self {
            Node::Program {
                host,
                container,
                comm,
            } if comm.is_empty() => format!("{}{container}", of(host)),
            Node::Program {
                host,
                container,
                comm,
            } => format!("{}{comm} [{container}]", of(host)),
            Node::Address(address) => address.clone(),
            Node::Socket { host, path } => format!("{}{path}", of(host)),
            Node::Object { host, name } => format!("{}{name}", of(host)),
            Node::Network { prefix, addresses } => format!("{prefix} ({addresses} addresses)"),
        }
    }

    fn container(&self) -> Option<&str> {
        match self {
            Node::Program { container, .. } => Some(container),
            _ => None,
        }
    }

    pub fn kind(&self) -> &'static str {
        match self {
            Node::Program { .. } => "program",
            Node::Address(_) => "address",
            Node::Socket { .. } => "socket",
            Node::Object { .. } => "object",
            Node::Network { .. } => "network",
        }
    }

    pub fn host(&self) -> &str {
        match self {
            Node::Program { host, .. } | Node::Socket { host, .. } | Node::Object { host, .. } => {
                host
            }
            Node::Address(_) | Node::Network { .. } => "",
        }
    }
}

impl Graph {
    /// Whether programs of several hosts are in it.
    pub fn several_hosts(&self) -> bool {
        let mut hosts: Vec<&str> = self.nodes.iter().map(Node::host).collect();
        hosts.retain(|host| !host.is_empty());
        hosts.dedup();
        hosts.iter().any(|host| *host != hosts[0])
    }
}
