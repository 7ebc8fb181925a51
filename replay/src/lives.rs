//! Processes and connections with their beginning and end, folded from the records: what `replay tree`
//! shows and `replay export --table` writes.
//!
//! A detector that finds nothing ([`Lives`]): it hands out a process when it ends, a connection when it is
//! closed, and at the end of the trace what is left. What it keeps is bounded by the state's own tables and
//! by [`CONNECTIONS_MAX`].

use std::collections::{BTreeMap, VecDeque};

use hashbrown::{HashMap, HashSet};
use trace_format::{
    Event, EventData, Text, Usage,
    event::{Endpoint, Peer},
};

use crate::{
    event_names::{address_text, family_text},
    findings::Finding,
    order::EventRef,
    pipeline::Detector,
    resolve::{Process, Role, State},
    syscalls,
};

/// TCP connections that are open at a time; past it, the oldest is handed out as it is.
pub const CONNECTIONS_MAX: usize = 65_536;
/// Ends of UDP that are known from before; past it, each is handed out once more.
pub const DATAGRAMS_MAX: usize = 65_536;

/// Linux `TCP_*`.
const ESTABLISHED: u8 = 1;
const SYN_SENT: u8 = 2;
const SYN_RECV: u8 = 3;
const CLOSE: u8 = 7;
const LISTEN: u8 = 10;
const NEW_SYN_RECV: u8 = 12;

/// `AF_UNIX`, `AF_INET`, `AF_INET6`; `SOCK_STREAM`.
const UNIX: u16 = 1;
const INET: [u16; 2] = [2, 10];
const STREAM: u16 = 1;

/// Where something happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// 0: not known, or the host's root.
    pub cgroup_id: u64,
    pub container_id: String,
    pub container_name: String,
    pub image: String,
}

impl Place {
    pub fn of(state: &State, cgroup_id: u64) -> Place {
        match state.container(cgroup_id) {
            None => Place {
                cgroup_id,
                ..Place::default()
            },
            Some(container) => Place {
                cgroup_id,
                container_id: container.id.clone(),
                container_name: container.name.clone(),
                image: container.image.clone(),
            },
        }
    }

    /// How to name it to people.
    pub fn label(&self) -> &str {
        match (self.container_name.as_str(), self.container_id.as_str()) {
            ("", "") => "host",
            ("", id) => crate::findings::short_id(id),
            (name, _) => name,
        }
    }
}

/// A process, from its start to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessLife {
    pub pid: u32,
    /// 0: the trace does not say.
    pub start_ns: u64,
    pub start_wall_ns: Option<u64>,
    pub ppid: u32,
    /// Start of the process that started it; 0: the trace does not show it.
    pub parent_start_ns: u64,
    pub comm: String,
    pub exe: String,
    pub command_line: String,
    pub uid: Option<u32>,
    pub place: Place,
    /// Of the last exec that the trace shows.
    pub exec_ns: Option<u64>,
    pub exit_ns: Option<u64>,
    pub exit_code: Option<u8>,
    pub exit_signal: Option<u8>,
    /// Known when it has ended, of a recorder that could see it.
    pub usage: Option<Usage>,
}

/// How a connection went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Went {
    /// It was there before the trace, or its end is not in it.
    Open,
    /// Both ends had agreed, and it was closed.
    Closed,
    /// Nobody answered, or somebody refused.
    Failed,
}

impl Went {
    pub fn name(self) -> &'static str {
        match self {
            Went::Open => "open",
            Went::Closed => "closed",
            Went::Failed => "failed",
        }
    }
}

/// A TCP connection, an exchange of datagrams, or a connect call on another kind of socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    pub boot_ns: u64,
    pub wall_ns: Option<u64>,
    /// `tcp`, `udp`, `unix`, or the address family.
    pub protocol: String,
    pub role: Option<Role>,
    pub pid: u32,
    pub start_ns: u64,
    pub comm: String,
    pub place: Place,
    pub local_addr: Option<String>,
    pub local_port: u16,
    /// Of a unix socket: its path.
    pub remote_addr: Option<String>,
    pub remote_port: u16,
    /// From SYN to the end of the handshake.
    pub latency_ns: u64,
    pub established_ns: Option<u64>,
    pub end_ns: Option<u64>,
    pub went: Went,
    /// Result of a connect call: 0 or -errno.
    pub ret: Option<i64>,
}

/// Who listens at a unix socket, as a connection to it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// As [`Connection::remote_addr`] has it.
    pub path: String,
    pub comm: String,
    pub place: Place,
    /// Who connected: pid, and start where the trace tells.
    pub client: (u32, u64),
}

/// What ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Life {
    Process(Box<ProcessLife>),
    Connection(Box<Connection>),
    Listener(Box<Listener>),
}

/// The detector. `take` gets what ended, in the order of its end; what is left at the end of the trace
/// comes in the order of its beginning.
pub struct Lives<T> {
    take: T,
    processes: bool,
    connections: bool,
    /// By socket.
    open: HashMap<u64, Connection>,
    order: VecDeque<u64>,
    datagrams: HashSet<FarEnd>,
}

/// What tells ends of UDP apart: process, descriptor, own port, address and port of the other.
type FarEnd = (u32, i32, u16, Text, u16);

impl<T: FnMut(Life) + Send> Lives<T> {
    pub fn new(processes: bool, connections: bool, take: T) -> Lives<T> {
        Lives {
            take,
            processes,
            connections,
            open: HashMap::new(),
            order: VecDeque::new(),
            datagrams: HashSet::new(),
        }
    }

    fn tcp(&mut self, event: &Event, tcp: &trace_format::event::TcpState, state: &State) {
        if tcp.new == LISTEN || tcp.old == LISTEN && tcp.new == CLOSE {
            return;
        }
        if !self.open.contains_key(&tcp.sock) {
            if self.open.len() >= CONNECTIONS_MAX {
                while let Some(oldest) = self.order.pop_front() {
                    if let Some(connection) = self.open.remove(&oldest) {
                        (self.take)(Life::Connection(Box::new(connection)));
                        break;
                    }
                }
            }
            self.open
                .insert(tcp.sock, begin(event, "tcp".to_owned(), state));
            self.order.push_back(tcp.sock);
        }
        let Some(connection) = self.open.get_mut(&tcp.sock) else {
            return;
        };
        ends(connection, &tcp.local, &tcp.remote);
        connection.role =
            connection
                .role
                .or_else(|| state.socket_role(tcp.sock))
                .or(match tcp.new {
                    SYN_SENT => Some(Role::Client),
                    SYN_RECV | NEW_SYN_RECV => Some(Role::Server),
                    _ => None,
                });
        // In softirq the socket may have no owner yet.
        if connection.pid == 0 && event.pid != 0 {
            whose(connection, event, state);
        }
        if tcp.latency_ns > 0 {
            connection.latency_ns = tcp.latency_ns;
        }
        if tcp.new == ESTABLISHED {
            connection.established_ns = Some(event.boot_ns);
        }
        if tcp.new == CLOSE {
            connection.end_ns = Some(event.boot_ns);
            let failed = connection.established_ns.is_none()
                && matches!(tcp.old, SYN_SENT | SYN_RECV | NEW_SYN_RECV);
            connection.went = if failed { Went::Failed } else { Went::Closed };
            if let Some(connection) = self.open.remove(&tcp.sock) {
                (self.take)(Life::Connection(Box::new(connection)));
            }
            // Places of closed sockets are cleared once in a while.
            if self.order.len() > 2 * CONNECTIONS_MAX {
                let open = &self.open;
                self.order.retain(|sock| open.contains_key(sock));
            }
        }
    }

    /// TCP has events of its own.
    fn call(&mut self, event: &Event, call: &trace_format::event::SockCall, state: &State) {
        if syscalls::name(state.arch(), call.nr) != Some("connect")
            || INET.contains(&call.family) && call.sock_type == STREAM
        {
            return;
        }
        let protocol = match call.family {
            UNIX => "unix".to_owned(),
            family if INET.contains(&family) => "udp".to_owned(),
            family => family_text(family),
        };
        let mut connection = begin(event, protocol, state);
        ends(&mut connection, &call.local, &call.remote);
        if call.family == UNIX {
            let path = unix_name(&call.unix_path);
            connection.remote_addr = (!path.is_empty()).then_some(path);
        } else if INET.contains(&call.family) && call.ret >= 0 {
            self.is_new(far_end(event.pid, call.fd, &call.local, &call.remote));
        }
        connection.role = Some(Role::Client);
        connection.ret = Some(call.ret);
        if call.ret < 0 {
            connection.went = Went::Failed;
            connection.end_ns = Some(event.boot_ns);
        }
        (self.take)(Life::Connection(Box::new(connection)));
    }
}

impl<T: FnMut(Life) + Send> Lives<T> {
    fn is_new(&mut self, end: FarEnd) -> bool {
        if self.datagrams.len() >= DATAGRAMS_MAX {
            self.datagrams.clear();
        }
        self.datagrams.insert(end)
    }

    /// Datagrams to or from an address: a connection for each process, descriptor and address.
    fn datagram(
        &mut self,
        event: &Event,
        fd: i32,
        asks: bool,
        [local, remote]: [&Endpoint; 2],
        state: &State,
    ) {
        if !self.is_new(far_end(event.pid, fd, local, remote)) {
            return;
        }
        let mut connection = begin(event, "udp".to_owned(), state);
        ends(&mut connection, local, remote);
        connection.role = Some(if asks { Role::Client } else { Role::Server });
        (self.take)(Life::Connection(Box::new(connection)));
    }

    fn peer(&mut self, event: &Event, peer: &Peer, state: &State) {
        if peer.family != UNIX {
            let ends = [&peer.local, &peer.remote];
            return self.datagram(event, peer.fd, peer.sent, ends, state);
        }
        if peer.unix_path.is_empty() {
            return;
        }
        // The one who connected says it, and so does the one who accepted.
        let (client, listener, cgroup_id) = match peer.sent {
            true => (event.pid, peer.peer_pid, peer.peer_cgroup_id),
            false => (peer.peer_pid, event.pid, event.cgroup_id),
        };
        if client == 0 || listener == 0 {
            return;
        }
        let comm = state.process(listener).map(|it| it.comm.to_string());
        let start_ns = state.process(client).map_or(0, |it| it.start_ns);
        (self.take)(Life::Listener(Box::new(Listener {
            path: unix_name(&peer.unix_path),
            comm: comm.unwrap_or_default(),
            place: Place::of(state, cgroup_id),
            client: (client, start_ns),
        })));
    }
}

fn far_end(pid: u32, fd: i32, local: &Endpoint, remote: &Endpoint) -> FarEnd {
    (pid, fd, local.port, remote.addr.clone(), remote.port)
}

/// A leading NUL, which says that the name is on no file system, is written `@`.
fn unix_name(path: &[u8]) -> String {
    match path.strip_prefix(&[0]) {
        Some(name) => format!("@{}", String::from_utf8_lossy(name)),
        None => String::from_utf8_lossy(path).into_owned(),
    }
}

impl<T: FnMut(Life) + Send> Detector for Lives<T> {
    fn event(&mut self, event: &Event, _: &EventRef, state: &State, _: &mut dyn FnMut(Finding)) {
        match &event.data {
            EventData::Exit(exit) if exit.last_thread && self.processes => {
                if let Some(process) = state.process(event.pid) {
                    let mut life = life_of(process, state);
                    life.exit_ns = Some(event.boot_ns);
                    life.exit_code = u8::try_from(exit.code).ok();
                    life.usage = exit.usage;
                    life.exit_signal = u8::try_from(exit.signal).ok().filter(|signal| *signal != 0);
                    (self.take)(Life::Process(Box::new(life)));
                }
            }
            EventData::TcpState(tcp) if self.connections => self.tcp(event, tcp, state),
            EventData::SockCall(call) if self.connections => self.call(event, call, state),
            EventData::Peer(peer) if self.connections => self.peer(event, peer, state),
            EventData::Dns(dns) if self.connections => {
                let asks = dns.sent != dns.is_answer();
                self.datagram(event, dns.fd, asks, [&dns.local, &dns.remote], state);
            }
            _ => {}
        }
    }

    fn finish(&mut self, state: &State, _: &mut dyn FnMut(Finding)) {
        if self.processes {
            let mut left: BTreeMap<(u64, u32), &Process> = BTreeMap::new();
            for process in state.processes() {
                if process.exited_ns.is_none() {
                    left.insert((process.start_ns, process.pid), process);
                }
            }
            for process in left.into_values() {
                (self.take)(Life::Process(Box::new(life_of(process, state))));
            }
        }
        for sock in std::mem::take(&mut self.order) {
            if let Some(connection) = self.open.remove(&sock) {
                (self.take)(Life::Connection(Box::new(connection)));
            }
        }
    }
}

fn life_of(process: &Process, state: &State) -> ProcessLife {
    let text = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
    ProcessLife {
        pid: process.pid,
        start_ns: process.start_ns,
        start_wall_ns: match process.start_ns {
            0 => None,
            start_ns => state.wall_ns(start_ns),
        },
        ppid: process.ppid,
        parent_start_ns: state.parent(process).map_or(0, |parent| parent.start_ns),
        comm: text(&process.comm),
        exe: text(&process.exe_path),
        command_line: text(&process.command_line),
        uid: process.uid,
        place: Place::of(state, process.cgroup_id),
        exec_ns: process.image.map(|image| image.exec_ns),
        exit_ns: process.exited_ns,
        exit_code: None,
        exit_signal: None,
        usage: None,
    }
}

fn begin(event: &Event, protocol: String, state: &State) -> Connection {
    let mut connection = Connection {
        boot_ns: event.boot_ns,
        wall_ns: state.wall_ns(event.boot_ns),
        protocol,
        role: None,
        pid: 0,
        start_ns: 0,
        comm: String::new(),
        place: Place::default(),
        local_addr: None,
        local_port: 0,
        remote_addr: None,
        remote_port: 0,
        latency_ns: 0,
        established_ns: None,
        end_ns: None,
        went: Went::Open,
        ret: None,
    };
    whose(&mut connection, event, state);
    connection
}

fn whose(connection: &mut Connection, event: &Event, state: &State) {
    connection.pid = event.pid;
    connection.place = Place::of(state, event.cgroup_id);
    if let Some(process) = state.process_of(event) {
        connection.start_ns = process.start_ns;
        connection.comm = process.comm.to_string();
    }
}

fn ends(connection: &mut Connection, local: &Endpoint, remote: &Endpoint) {
    if !local.addr.is_empty() {
        connection.local_addr = address_text(local);
        connection.local_port = local.port;
    }
    if !remote.addr.is_empty() {
        connection.remote_addr = address_text(remote);
        connection.remote_port = remote.port;
    }
}
