//! Who talks to whom: containers and programs, addresses and sockets, and the connections between them.
//!
//! Made from connections ([`crate::lives`]) of one trace or several. A TCP connection that both ends show is
//! one edge between them: its two rows have the same addresses, turned round. Ends are looked for in the
//! same container first, then on the same host, then, except for loopback addresses, on the others. What has
//! no recorded other end ends at its address. Ends of UDP are joined likewise; a socket that is bound to no
//! address of its own is the one that datagrams to its port reach. A unix socket is a node between who
//! connected and who listens, and belongs to the listener's container.
//!
//! Besides connections it has what processes share and do to each other ([`contact`]): an object of IPC is a
//! node where two programs use it, and a call into another process or a signal across containers is an edge.

mod building;
pub mod contact;
mod ends;
mod fold;

use std::collections::{BTreeMap, HashMap};

use self::{
    building::Building,
    contact::{Contact, Object, With},
    ends::{Datagrams, End, Ends, is_loopback},
};
use crate::{
    findings::short_id,
    lives::{Connection, Listener, Place, Went},
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
    /// A unix socket, of the container that listens there; where nobody shows who does, of the one that
    /// connects. `host` for the host itself.
    Socket {
        host: String,
        container: String,
        path: String,
    },
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

impl Weight {
    fn add(&mut self, more: Weight) {
        self.connections += more.connections;
        self.failed += more.failed;
        self.joined += more.joined;
    }
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
    /// By host, client and path: who listens at a unix socket. At most as many as connections.
    listeners: HashMap<(String, (u32, u64), String), Node>,
    /// By host and label from before its name was known: what a container is called.
    called: HashMap<(String, String), String>,
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
        let node = self.program(host, &connection.place, &connection.comm);
        let own = connection.local_addr.clone().unwrap_or_default();
        self.ends.push(End {
            host: host.to_owned(),
            node,
            whose: (connection.pid, connection.start_ns),
            protocol: connection.protocol.clone(),
            role: connection.role,
            ends: connection.remote_addr.clone().map(|other| Ends {
                own: (own, connection.local_port),
                other: (other, connection.remote_port),
            }),
            failed: connection.went == Went::Failed,
        });
    }

    /// Somebody listens at a unix socket.
    pub fn listens(&mut self, host: &str, listener: &Listener) {
        if self.listeners.len() >= CONNECTIONS_MAX {
            self.left_out += 1;
            return;
        }
        let program = self.program(host, &listener.place, &listener.comm);
        let key = (host.to_owned(), listener.client, listener.path.clone());
        self.listeners.insert(key, program);
    }

    fn program(&mut self, host: &str, place: &Place, comm: &str) -> Node {
        let label = place.label();
        if !place.container_name.is_empty() && self.called.len() < NODES_MAX {
            let before = short_id(&place.container_id);
            if before != label
                && !self
                    .called
                    .contains_key(&(host.to_owned(), before.to_owned()))
            {
                let key = (host.to_owned(), before.to_owned());
                self.called.insert(key, label.to_owned());
            }
        }
        Node::Program {
            host: host.to_owned(),
            container: label.to_owned(),
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
        let from = self.program(host, &contact.place, &contact.comm);
        let full = self.direct.len() + self.uses.len() >= EDGES_MAX;
        let weight = match &contact.with {
            With::Process { place, comm } => {
                let to = self.program(host, place, comm);
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

    /// Containers that were met before their names were known are the same ones.
    fn name_containers(&mut self) {
        let called = std::mem::take(&mut self.called);
        let name = |node: &mut Node| {
            if let Node::Program {
                host, container, ..
            } = node
                && let Some(name) = called.get(&(host.clone(), container.clone()))
            {
                container.clone_from(name);
            }
        };
        self.ends.iter_mut().for_each(|end| name(&mut end.node));
        self.listeners.values_mut().for_each(name);
        for ((mut from, mut to, how), weight) in std::mem::take(&mut self.direct) {
            name(&mut from);
            name(&mut to);
            self.direct.entry((from, to, how)).or_default().add(weight);
        }
        for ((mut from, object), weight) in std::mem::take(&mut self.uses) {
            name(&mut from);
            self.uses.entry((from, object)).or_default().add(weight);
        }
    }

    /// Joins the ends.
    pub fn finish(mut self) -> Graph {
        self.name_containers();
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
        let datagrams = Datagrams::of(&self.ends);
        let mut taken = vec![false; self.ends.len()];
        let mut building = Building::new(self.left_out);
        for end in &self.ends {
            if end.role == Some(Role::Server) {
                continue;
            }
            let Some(ends) = &end.ends else { continue };
            if end.protocol == "unix" {
                self.unix(end, &ends.other.0, &mut building);
                continue;
            }
            let turned = Ends {
                own: ends.other.clone(),
                other: ends.own.clone(),
            };
            let candidates = match end.protocol.as_str() {
                "udp" => datagrams.answering(&turned, &self.ends),
                _ => servers.get(&turned).cloned(),
            };
            let found = candidates.and_then(|found| {
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

    /// A connection to a unix socket, and to who listens there.
    fn unix(&self, end: &End, path: &str, building: &mut Building) {
        let key = (end.host.clone(), end.whose, path.to_owned());
        let listener = self.listeners.get(&key).filter(|_| !end.failed);
        let container = listener.unwrap_or(&end.node).container().unwrap_or(HOST);
        let socket = Node::Socket {
            host: end.host.clone(),
            container: container.to_owned(),
            path: path.to_owned(),
        };
        building.add(&end.node, &socket, end, 0, listener.is_some());
        if let Some(listener) = listener {
            building.add(&socket, listener, end, 0, true);
        }
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
            Node::Socket {
                host,
                container,
                path,
            } if container == HOST => format!("{}{path}", of(host)),
            Node::Socket {
                host,
                container,
                path,
            } => format!("{}{path} [{container}]", of(host)),
            Node::Object { host, name } => format!("{}{name}", of(host)),
            Node::Network { prefix, addresses } => format!("{prefix} ({addresses} addresses)"),
        }
    }

    /// `host` for the host itself.
    pub fn container(&self) -> Option<&str> {
        match self {
            Node::Program { container, .. } | Node::Socket { container, .. } => Some(container),
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
