//! What an interval's events add to a table.

use hashbrown::HashMap;
use replay::{
    event_names::io_kind,
    passed,
    performance::transfers::{Side, sides},
    resolve::{DescriptorKind, State},
    syscalls::Transfers,
};
use trace_format::{
    Endpoint, Event, EventData, Ipc, IpcMarks, PassedFd, Payload, ProcessAccess, Sample,
    SampleKnown, Syscall, SyscallCount, TcpState, Text, syscalls,
};

use super::table::{Cell, Snapshot, Table};

/// Rows of one interval: more is nothing that anybody reads, and each may hold a path.
const ROWS_MAX: usize = 16_384;
/// Containers whose last sample is remembered.
const SAMPLES_MAX: usize = 16_384;
/// Numbers of a row.
const NUMBERS: usize = 6;

const AF_UNIX: u16 = 1;
/// `TCP_*` of include/net/tcp_states.h.
const TCP_ESTABLISHED: u8 = 1;
const TCP_SYN_SENT: u8 = 2;
const TCP_SYN_RECV: u8 = 3;
const TCP_CLOSE: u8 = 7;

type Key = (u64, u64, Text);

struct Row {
    texts: Vec<String>,
    numbers: [u64; NUMBERS],
}

pub struct Counting {
    table: Table,
    rows: HashMap<Key, Row>,
    left_out: u64,
    /// Per cgroup: the newest sample, and that of the interval before.
    samples: HashMap<u64, (Sample, Option<Sample>)>,
    transfers: Transfers,
}

impl Counting {
    pub fn new(table: Table) -> Self {
        Counting {
            table,
            rows: HashMap::new(),
            left_out: 0,
            samples: HashMap::new(),
            transfers: Transfers::default(),
        }
    }

    /// Adds to one number of a row, which `texts` describes when it is new.
    fn add(&mut self, key: Key, texts: impl FnOnce() -> Vec<String>, numbers: &[(usize, u64)]) {
        if self.rows.len() >= ROWS_MAX && !self.rows.contains_key(&key) {
            self.left_out += 1;
            return;
        }
        let row = self.rows.entry(key).or_insert_with(|| Row {
            texts: texts(),
            numbers: [0; NUMBERS],
        });
        for &(at, number) in numbers {
            row.numbers[at] = row.numbers[at].saturating_add(number);
        }
    }

    pub fn event(&mut self, event: &Event, state: &State) {
        match self.table {
            Table::Process => self.process(event, state),
            Table::File => self.file(event, state),
            Table::Tcp => self.tcp(event, state),
            Table::Syscall => self.syscall(event, state),
            Table::Ipc => self.ipc(event, state),
            Table::Container => self.container(event, state),
        }
    }

    /// calls, failed, opens, connects, forks.
    fn process(&mut self, event: &Event, state: &State) {
        if event.pid == 0 {
            return;
        }
        let mut numbers = [(0, 0), (1, 0), (2, 0), (3, 0), (4, 0)];
        if let Some((nr, ret)) = call(event) {
            numbers[0].1 = 1;
            numbers[1].1 = u64::from(ret < 0);
            numbers[3].1 = u64::from(is(state, nr, "connect"));
        }
        match &event.data {
            EventData::Open(_) => numbers[2].1 = 1,
            EventData::Fork(fork) if fork.child_pid != event.pid => numbers[4].1 = 1,
            _ => {}
        }
        let process = state.process_of(event);
        let start_ns = process.map_or(0, |process| process.start_ns);
        self.add(
            (event.pid.into(), start_ns, Text::default()),
            || {
                let user = process.and_then(|process| process.uid).map(|uid| {
                    state
                        .user_name(uid)
                        .map_or_else(|| uid.to_string(), str::to_owned)
                });
                let args = process
                    .map(|process| String::from_utf8_lossy(process.arguments()).into_owned());
                vec![
                    event.pid.to_string(),
                    container(state, event.cgroup_id),
                    user.unwrap_or_default(),
                    comm(state, event),
                    args.unwrap_or_default(),
                ]
            },
            &numbers,
        );
    }

    /// reads, writes, read_bytes, write_bytes.
    fn file(&mut self, event: &Event, state: &State) {
        if self.transfers.arch() != state.arch() {
            self.transfers = Transfers::new(state.arch());
        }
        let transfers = std::mem::take(&mut self.transfers);
        sides(event, state, &transfers, |side| {
            self.transfer(event, &side, state);
        });
        self.transfers = transfers;
    }

    fn transfer(&mut self, event: &Event, side: &Side<'_>, state: &State) {
        let path = side
            .descriptor
            .map_or_else(Text::default, |descriptor| descriptor.path.clone());
        // Without a name the descriptor's number stands for it.
        let number = if path.is_empty() {
            side.fd as u32 as u64 + 1
        } else {
            0
        };
        let key = (event.pid.into(), number, path.clone());
        let moved = &side.moved;
        self.add(
            key,
            || {
                let kind = match side.descriptor.map(|descriptor| descriptor.kind) {
                    Some(DescriptorKind::Directory) => "directory",
                    _ => io_kind(side.kind),
                };
                let name = match (path.is_empty(), side.descriptor) {
                    (false, _) => path.to_string_lossy().into_owned(),
                    (true, Some(found)) if !found.remote.addr.is_empty() => endpoint(&found.remote),
                    (true, _) => format!("descriptor {}", side.fd),
                };
                vec![
                    event.pid.to_string(),
                    container(state, event.cgroup_id),
                    kind.to_owned(),
                    comm(state, event),
                    name,
                ]
            },
            &[
                (0, moved.reads),
                (1, moved.writes),
                (2, moved.read_bytes),
                (3, moved.written_bytes),
            ],
        );
    }

    /// connects, accepts, failed, closed, latency in ns (summed), how many of those.
    fn tcp(&mut self, event: &Event, state: &State) {
        let EventData::TcpState(change) = &event.data else {
            return;
        };
        let accepted = change.old == TCP_SYN_RECV && change.new == TCP_ESTABLISHED;
        let known = u64::from(change.latency_ns > 0);
        let numbers: &[(usize, u64)] = match (change.old, change.new) {
            (TCP_SYN_SENT, TCP_ESTABLISHED) => &[(0, 1), (4, change.latency_ns), (5, known)],
            (TCP_SYN_RECV, TCP_ESTABLISHED) => &[(1, 1)],
            (TCP_SYN_SENT, TCP_CLOSE) => &[(2, 1), (4, change.latency_ns), (5, known)],
            (old, TCP_CLOSE) if old != TCP_CLOSE && old != 10 => &[(3, 1)],
            _ => return,
        };
        let peer = peer(change, accepted);
        let ports = u64::from(change.local.port) << 16 | u64::from(change.remote.port);
        // Every client has a port of its own: what listens is the row there.
        let ports = match change.local.port < change.remote.port {
            true => ports & !0xffff,
            false => ports & 0xffff,
        };
        self.add(
            (event.pid.into(), ports, change.remote.addr.clone()),
            || {
                vec![
                    event.pid.to_string(),
                    container(state, event.cgroup_id),
                    comm(state, event),
                    peer.0,
                    peer.1,
                ]
            },
            numbers,
        );
    }

    /// calls, failed.
    fn syscall(&mut self, event: &Event, state: &State) {
        let (nr, calls, failed) = match (&event.data, call(event)) {
            (EventData::SyscallCount(SyscallCount { nr, calls }), _) => (*nr, *calls, 0),
            (_, Some((nr, ret))) => (nr, 1, u64::from(ret < 0)),
            _ => return,
        };
        self.add(
            (event.cgroup_id, nr.into(), Text::default()),
            || vec![container(state, event.cgroup_id), call_name(state, nr)],
            &[(0, calls), (1, failed)],
        );
    }

    /// calls, failed.
    fn ipc(&mut self, event: &Event, state: &State) {
        let (kind, target, key, ret) = match &event.data {
            EventData::Syscall(call) => match ipc_call(call, state) {
                Some((kind, target, key)) => (kind, target, key, call.ret),
                None => return,
            },
            EventData::SockCall(call)
                if call.family == AF_UNIX && is(state, call.nr, "connect") =>
            {
                let target = call.unix_path.to_string_lossy().replace('\0', "@");
                ("unix".to_owned(), target, call.unix_path.clone(), call.ret)
            }
            EventData::Ipc(call) => {
                let (name, target) = (call_name(state, call.nr), ipc_object(call));
                let key = Text::from(target.clone().into_bytes());
                (name, target, key, call.ret)
            }
            EventData::ProcessAccess(call) => {
                let target = accessed(state, event, call);
                let key = Text::from(target.clone().into_bytes());
                (call_name(state, call.nr), target, key, call.ret)
            }
            EventData::PassedFd(passed) => {
                let kind = if passed.sent {
                    "fd_sent"
                } else {
                    "fd_received"
                };
                let target = handed(state, event, passed);
                let key = Text::from(format!("{kind} {target}").into_bytes());
                (kind.to_owned(), target, key, 0)
            }
            _ => return,
        };
        let (id, calls) = match &event.data {
            EventData::Syscall(call) => (call.nr, 1),
            EventData::Ipc(call) => (call.nr, call.calls),
            EventData::ProcessAccess(call) => (call.nr, call.calls),
            _ => (u32::MAX, 1),
        };
        self.add(
            (event.pid.into(), id.into(), key),
            || {
                vec![
                    event.pid.to_string(),
                    container(state, event.cgroup_id),
                    comm(state, event),
                    kind,
                    target,
                ]
            },
            &[(0, calls), (1, if ret < 0 { calls } else { 0 })],
        );
    }

    /// execs, opens, connects, calls.
    fn container(&mut self, event: &Event, state: &State) {
        let mut numbers = [(0, 0), (1, 0), (2, 0), (3, 0)];
        match &event.data {
            EventData::Sample(sample)
                if self.samples.len() < SAMPLES_MAX
                    || self.samples.contains_key(&event.cgroup_id) =>
            {
                let before = self.samples.get(&event.cgroup_id).and_then(|known| known.1);
                self.samples.insert(event.cgroup_id, (**sample, before));
            }
            EventData::SyscallCount(count) => numbers[3].1 = count.calls,
            EventData::Exec(_) => numbers[0].1 = 1,
            EventData::Open(_) => numbers[1].1 = 1,
            _ => {}
        }
        if let Some((nr, _)) = call(event) {
            numbers[3].1 = 1;
            numbers[2].1 = u64::from(is(state, nr, "connect"));
        }
        if state.is_host_cgroup(event.cgroup_id) && !matches!(event.data, EventData::Sample(_)) {
            return;
        }
        self.add(
            (event.cgroup_id, 0, Text::default()),
            || {
                let image = state
                    .container(event.cgroup_id)
                    .map(|known| known.image.to_string());
                vec![container(state, event.cgroup_id), image.unwrap_or_default()]
            },
            &numbers,
        );
    }

    /// The interval's table; counting begins anew.
    pub fn take(&mut self, state: &State, interval_ns: u64) -> Snapshot {
        let mut found: Vec<(Key, Row)> = self.rows.drain().collect();
        // Not in the map's order: what is shown must not depend on it.
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        let rows = found
            .into_iter()
            .map(|(key, row)| self.cells(key, row, interval_ns))
            .collect();
        self.samples.retain(|cgroup_id, (newest, before)| {
            *before = Some(*newest);
            *cgroup_id == 0 || state.container(*cgroup_id).is_some()
        });
        Snapshot {
            table: self.table,
            boot_ns: 0,
            wall_ns: None,
            interval_ns,
            rows,
            left_out: std::mem::take(&mut self.left_out),
            dropped: 0,
        }
    }

    fn cells(&self, key: Key, row: Row, interval_ns: u64) -> Vec<Cell> {
        let numbers = row.numbers;
        let mut texts = row.texts.into_iter();
        let mut text = || Cell::Text(texts.next().unwrap_or_default());
        let count = |at: usize| Cell::Count(numbers[at]);
        let pid = |cell: Cell| match cell {
            Cell::Text(text) => Cell::Count(text.parse().unwrap_or(0)),
            other => other,
        };
        match self.table {
            Table::Process => {
                let (id, container, user) = (pid(text()), text(), text());
                let mut cells = vec![id, container, user];
                cells.extend((0..5).map(count));
                cells.extend([text(), text()]);
                cells
            }
            Table::File => {
                let (id, container) = (pid(text()), text());
                let mut cells = vec![id, container];
                cells.extend((0..4).map(count));
                cells.extend([text(), text(), text()]);
                cells
            }
            Table::Tcp => {
                let (id, container) = (pid(text()), text());
                let latency_ms = numbers[4] as f64 / numbers[5].max(1) as f64 / 1e6;
                let mut cells = vec![id, container];
                cells.extend((0..4).map(count));
                cells.extend([Cell::Number(latency_ms), text(), text(), text()]);
                cells
            }
            Table::Syscall => vec![text(), text(), count(0), count(1)],
            Table::Ipc => {
                let (id, container) = (pid(text()), text());
                vec![id, container, count(0), count(1), text(), text(), text()]
            }
            Table::Container => {
                let name = text();
                let (newest, before) = self.samples.get(&key.0).copied().unwrap_or_default();
                let since = before.unwrap_or(newest);
                let grown = |of: fn(&Sample) -> u64| of(&newest).saturating_sub(of(&since));
                let percent = |ns: u64| Cell::Number(ns as f64 * 100.0 / interval_ns.max(1) as f64);
                let network = |of: fn(&Sample) -> u64| {
                    let known = newest.known.has(SampleKnown::NETWORK)
                        && since.known.has(SampleKnown::NETWORK);
                    if known { grown(of) } else { 0 }
                };
                let faults = |it: &Sample| it.minor_faults.saturating_add(it.major_faults);
                vec![
                    name,
                    percent(grown(|it| it.cpu_ns)),
                    percent(grown(|it| it.throttled_ns)),
                    Cell::Count(newest.memory_bytes),
                    Cell::Count(grown(faults)),
                    Cell::Count(newest.pids),
                    Cell::Count(grown(|it| it.io_read_bytes)),
                    Cell::Count(grown(|it| it.io_write_bytes)),
                    Cell::Count(network(|it| it.net_received_bytes)),
                    Cell::Count(network(|it| it.net_sent_bytes)),
                    count(0),
                    count(1),
                    count(2),
                    count(3),
                    text(),
                ]
            }
        }
    }
}

/// Number and result of the call that an event is about.
fn call(event: &Event) -> Option<(u32, i64)> {
    match &event.data {
        EventData::Syscall(call) | EventData::Payload(Payload { call, .. }) => {
            Some((call.nr, call.ret))
        }
        EventData::Open(call) => Some((call.nr, call.ret)),
        EventData::PathCall(call) => Some((call.nr, call.ret)),
        EventData::SockCall(call) => Some((call.nr, call.ret)),
        EventData::Ipc(call) => Some((call.nr, call.ret)),
        EventData::ProcessAccess(call) => Some((call.nr, call.ret)),
        _ => None,
    }
}

fn is(state: &State, nr: u32, name: &str) -> bool {
    syscalls::name(state.arch(), nr) == Some(name)
}

fn call_name(state: &State, nr: u32) -> String {
    let native = nr & !(syscalls::I386 | syscalls::X32);
    match syscalls::name(state.arch(), nr) {
        Some(name) => name.to_owned(),
        None if nr & syscalls::I386 != 0 => format!("i386 {native}"),
        None if nr & syscalls::X32 != 0 => format!("x32 {native}"),
        None => format!("call {native}"),
    }
}

fn container(state: &State, cgroup_id: u64) -> String {
    match state.is_host_cgroup(cgroup_id) || cgroup_id == 0 {
        true => "host".to_owned(),
        false => state.container_label(cgroup_id).to_owned(),
    }
}

fn comm(state: &State, event: &Event) -> String {
    state
        .process_of(event)
        .map(|process| process.comm.to_string_lossy().into_owned())
        .unwrap_or_default()
}

fn endpoint(endpoint: &Endpoint) -> String {
    let addr: &[u8] = &endpoint.addr;
    if let Ok(v4) = <[u8; 4]>::try_from(addr) {
        return format!("{}:{}", std::net::Ipv4Addr::from(v4), endpoint.port);
    }
    match <[u8; 16]>::try_from(addr) {
        Ok(v6) => format!("[{}]:{}", std::net::Ipv6Addr::from(v6), endpoint.port),
        Err(_) => String::new(),
    }
}

/// Both ends; the port that a client's kernel picked is left out.
fn peer(change: &TcpState, accepted: bool) -> (String, String) {
    let (local, remote) = (endpoint(&change.local), endpoint(&change.remote));
    let without_port = |text: &str| match text.rsplit_once(':') {
        Some((address, _)) => address.to_owned(),
        None => String::new(),
    };
    match accepted || change.local.port < change.remote.port {
        true => (local, without_port(&remote)),
        false => (without_port(&local), remote),
    }
}

/// What kind of exchange a call is, with whom or what, and what tells rows apart.
fn ipc_call(call: &Syscall, state: &State) -> Option<(String, String, Text)> {
    let name = syscalls::name(state.arch(), call.nr)?;
    let target = match name {
        "kill" | "tkill" | "tgkill" => process(state, call.args[0]),
        "pidfd_send_signal" => format!("descriptor {}", call.args[0]),
        "memfd_create" | "socketpair" => String::new(),
        _ => return None,
    };
    let kind = match name {
        "kill" | "tkill" => format!("signal {}", call.args[1]),
        "tgkill" => format!("signal {}", call.args[2]),
        _ => name.to_owned(),
    };
    let key = Text::from(format!("{kind} {target}").into_bytes());
    Some((kind, target, key))
}

/// An object that processes share, with the name that people know it by.
fn ipc_object(call: &Ipc) -> String {
    if !call.name.is_empty() {
        return call.name.to_string_lossy().into_owned();
    }
    let key = match call.marks.has(IpcMarks::KEY_KNOWN) {
        true if call.key != 0 => format!("key {:#x}", call.key),
        true => "private".to_owned(),
        false => String::new(),
    };
    match (call.id, key.as_str()) {
        (-1, _) => key,
        (id, "") => format!("id {id}"),
        (id, _) => format!("id {id}, {key}"),
    }
}

/// The process that a call is about, and its container where that is not the caller's.
fn accessed(state: &State, event: &Event, call: &ProcessAccess) -> String {
    other(state, event, call.target_pid, call.target_cgroup)
}

fn other(state: &State, event: &Event, pid: u32, cgroup_id: u64) -> String {
    let name = match pid {
        0 => return String::new(),
        pid => process(state, pid.into()),
    };
    match state.is_across(event.cgroup_id, cgroup_id) {
        Some(true) => format!("{name} of {}", container(state, cgroup_id)),
        _ => name,
    }
}

/// What a descriptor is that was passed, and to or from whom.
fn handed(state: &State, event: &Event, passed: &PassedFd) -> String {
    let what = match &passed.path[..] {
        [] => passed::kind(passed).to_owned(),
        _ => passed.path.to_string_lossy().into_owned(),
    };
    let with = other(state, event, passed.peer_pid, passed.peer_cgroup_id);
    match (with.as_str(), passed.sent) {
        ("", _) => what,
        (_, true) => format!("{what} to {with}"),
        (_, false) => format!("{what} from {with}"),
    }
}

fn process(state: &State, pid: u64) -> String {
    let comm = u32::try_from(pid)
        .ok()
        .and_then(|pid| state.process(pid))
        .map(|process| process.comm.to_string_lossy().into_owned());
    match comm {
        Some(comm) => format!("{comm}({pid})"),
        None => format!("{}", pid as i32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passed_descriptor_is_named_by_its_file_or_its_kind() {
        let state = State::new();
        let text = |sent, path: &str, peer_pid| {
            let passed = PassedFd {
                sent,
                path: path.into(),
                mode: 0o010_600,
                peer_pid,
                ..PassedFd::default()
            };
            let event = Event {
                boot_ns: 1,
                cpu: 0,
                probe: 1,
                seq: 0,
                tid: 10,
                pid: 10,
                cgroup_id: 0,
                data: EventData::PassedFd(passed.clone()),
            };
            handed(&state, &event, &passed)
        };
        assert_eq!(text(true, "/etc/hosts", 70), "/etc/hosts to 70");
        assert_eq!(text(false, "", 70), "pipe from 70");
        assert_eq!(text(false, "memfd:x", 0), "memfd:x");
    }
}
