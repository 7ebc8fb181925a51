//! What containers and processes did and used, counted: system calls, their errors and how long they took
//! ([`histogram`]), bytes read and written ([`transfers`]), TCP, DNS and HTTP ([`exchanges`]), CPU, memory and
//! block I/O from the samples. `replay stats` shows it.
//!
//! A detector that finds nothing. It counts what the trace says and nothing else: a profile that records
//! counts instead of calls gives calls without errors, one without samples gives no CPU.

pub mod exchanges;
pub mod histogram;
pub mod transfers;

use std::collections::BTreeMap;

use hashbrown::HashMap;
use trace_format::{
    Context, ContextRecord, Event, EventData,
    context::Drops,
    event::{Payload, Sample, SampleKnown, SockCall, Usage},
};

use self::{
    exchanges::Exchanges,
    histogram::Histogram,
    transfers::{ByKind, Files, Moved},
};
use crate::{
    event_view::call_ns,
    findings::Finding,
    lives::Place,
    order::EventRef,
    pipeline::Detector,
    resolve::{News, State},
    syscalls::{self, Transfers},
};

/// Containers counted by themselves, the host among them; a node runs some hundred.
pub const CONTAINERS_MAX: usize = 4_096;
/// Processes counted by themselves: twice the kernel's default `pid_max`.
pub const PROCESSES_MAX: usize = 65_536;
/// System-call numbers that are told apart in a container: kernels have some 460.
pub const CALLS_MAX: usize = 1_024;

/// Histograms of calls, of all containers: 600 bytes each. Most containers make some thirty calls.
pub const HISTOGRAMS_MAX: usize = 32_768;

/// Calls of one number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    pub calls: u64,
    /// Of the calls that were recorded one by one.
    pub errors: u64,
    /// Of the calls whose beginning and end the trace shows.
    pub latency: Option<Box<Histogram>>,
}

/// What was used between the first and the last sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    pub samples: u64,
    pub first_ns: u64,
    pub last_ns: u64,
    pub cpu_ns: u64,
    pub throttled_ns: u64,
    pub io_read_bytes: u64,
    pub io_write_bytes: u64,
    pub memory_max_bytes: u64,
    pub memory_last_bytes: u64,
    pub memory_limit_bytes: u64,
    pub pids_max: u64,
    /// [`SampleKnown`] of all samples together: what has no bit there is not told.
    pub known: u32,
    pub memory_peak_bytes: u64,
    pub anon_max_bytes: u64,
    pub file_max_bytes: u64,
    pub minor_faults: u64,
    pub major_faults: u64,
    pub cpu_stall_ns: u64,
    pub memory_stall_ns: u64,
    pub io_stall_ns: u64,
    pub io_reads: u64,
    pub io_writes: u64,
    pub net_received_bytes: u64,
    pub net_sent_bytes: u64,
}

/// One container, or the host.
#[derive(Clone, Debug, Default)]
pub struct ContainerUse {
    pub place: Place,
    pub events: u64,
    /// By number; see [`syscalls::name`].
    pub calls: BTreeMap<u32, Calls>,
    /// Of all kinds, and by kind.
    pub moved: Moved,
    pub moved_by_kind: ByKind,
    pub execs: u64,
    pub forks: u64,
    pub exits: u64,
    /// Events of it that the recorder dropped.
    pub dropped: u64,
    pub exchanges: Exchanges,
    pub resources: Resources,
}

/// One process.
#[derive(Clone, Debug, Default)]
pub struct ProcessUse {
    pub pid: u32,
    pub start_ns: u64,
    pub comm: String,
    pub container: u64,
    pub calls: u64,
    pub errors: u64,
    /// Time in calls, of those whose beginning and end the trace shows.
    pub calls_ns: u64,
    pub moved: Moved,
    /// At its end.
    pub usage: Option<Usage>,
}

/// The counts of a trace.
#[derive(Default)]
pub struct Performance {
    /// By the container's key; 0: the host.
    pub containers: HashMap<u64, ContainerUse>,
    pub processes: HashMap<(u32, u64), ProcessUse>,
    pub files: Files,
    /// Events of containers and processes that had no room.
    pub not_counted: u64,
    /// Calls that are counted without how long they took, because there was no room for a histogram.
    pub latencies_left_out: u64,
    histograms: usize,
    /// By cgroup: what was cumulative when it was last sampled. A container has several.
    last: HashMap<u64, Sample>,
    /// By cgroup: what was dropped so far.
    drops: HashMap<u64, u64>,
    /// A later part of a capture begins: what its first records count was lost before.
    continues: bool,
    transfers: Transfers,
}

impl Performance {
    pub fn arch(&self) -> syscalls::Arch {
        self.transfers.arch()
    }

    fn container(&mut self, key: u64, cgroup_id: u64, state: &State) -> Option<&mut ContainerUse> {
        if !self.containers.contains_key(&key) {
            if self.containers.len() >= CONTAINERS_MAX {
                self.not_counted += 1;
                return None;
            }
            self.containers.insert(key, ContainerUse::default());
        }
        let container = self.containers.get_mut(&key)?;
        // Its name may come later.
        if container.events == 0 || key != 0 && container.place.container_name.is_empty() {
            container.place = Place::of(state, cgroup_id);
        }
        Some(container)
    }

    fn dropped(&mut self, drops: &Drops, state: &State) {
        for count in &drops.counts {
            let cgroup_id = count.cgroup_id;
            if self.drops.len() >= 4 * CONTAINERS_MAX && !self.drops.contains_key(&cgroup_id) {
                continue;
            }
            let before = self.drops.insert(cgroup_id, count.dropped);
            let before = before.unwrap_or(if self.continues { count.dropped } else { 0 });
            let container = state.container(cgroup_id);
            let key = container.map_or(0, |container| container.key);
            if let Some(container) = self.container(key, cgroup_id, state) {
                container.dropped += count.dropped.saturating_sub(before);
            }
        }
    }

    fn sampled(&mut self, key: u64, event: &Event, sample: &Sample, state: &State) {
        if !self.last.contains_key(&event.cgroup_id) && self.last.len() >= 4 * CONTAINERS_MAX {
            return;
        }
        let before = self.last.insert(event.cgroup_id, *sample);
        let Some(container) = self.container(key, event.cgroup_id, state) else {
            return;
        };
        let used = &mut container.resources;
        if used.samples == 0 {
            used.first_ns = event.boot_ns;
        }
        used.samples += 1;
        used.last_ns = event.boot_ns;
        if let Some(before) = before {
            // A counter that went back began anew.
            used.cpu_ns += sample.cpu_ns.saturating_sub(before.cpu_ns);
            used.throttled_ns += sample.throttled_ns.saturating_sub(before.throttled_ns);
            used.io_read_bytes += sample.io_read_bytes.saturating_sub(before.io_read_bytes);
            used.io_write_bytes += sample.io_write_bytes.saturating_sub(before.io_write_bytes);
            let both = sample.known.0 & before.known.0;
            used.more(both, sample, &before);
        }
        used.known |= sample.known.0;
        used.memory_peak_bytes = used.memory_peak_bytes.max(sample.memory_peak_bytes);
        used.anon_max_bytes = used.anon_max_bytes.max(sample.anon_bytes);
        used.file_max_bytes = used.file_max_bytes.max(sample.file_bytes);
        used.memory_last_bytes = sample.memory_bytes;
        used.memory_limit_bytes = sample.memory_limit_bytes;
        used.memory_max_bytes = used.memory_max_bytes.max(sample.memory_bytes);
        used.pids_max = used.pids_max.max(sample.pids);
    }
}

impl Resources {
    /// Adds what was counted since `before`, as far as both samples know it.
    fn more(&mut self, known: u32, sample: &Sample, before: &Sample) {
        let since = |bit: u32, of: fn(&Sample) -> u64| match known & bit {
            0 => 0,
            _ => of(sample).saturating_sub(of(before)),
        };
        self.minor_faults += since(SampleKnown::FAULTS, |it| it.minor_faults);
        self.major_faults += since(SampleKnown::FAULTS, |it| it.major_faults);
        self.cpu_stall_ns += since(SampleKnown::PRESSURE, |it| it.cpu_stall_ns);
        self.memory_stall_ns += since(SampleKnown::PRESSURE, |it| it.memory_stall_ns);
        self.io_stall_ns += since(SampleKnown::PRESSURE, |it| it.io_stall_ns);
        self.io_reads += since(SampleKnown::IO, |it| it.io_reads);
        self.io_writes += since(SampleKnown::IO, |it| it.io_writes);
        self.net_received_bytes += since(SampleKnown::NETWORK, |it| it.net_received_bytes);
        self.net_sent_bytes += since(SampleKnown::NETWORK, |it| it.net_sent_bytes);
    }

    /// The figure that goes with a bit of [`SampleKnown`], if it is told.
    pub fn told<T>(&self, bit: u32, value: T) -> Option<T> {
        (self.known & bit != 0).then_some(value)
    }
}

/// A TCP connection from elsewhere was taken.
fn is_accepted(call: &SockCall, state: &State) -> bool {
    const INET: [u16; 2] = [2, 10];
    const STREAM: u16 = 1;
    let name = syscalls::name(state.arch(), call.nr);
    call.ret >= 0
        && INET.contains(&call.family)
        && call.sock_type == STREAM
        && matches!(name, Some("accept" | "accept4"))
}

/// What an event tells of system calls: one number, how many calls, and the result of a single one.
fn calls_of(event: &Event) -> Option<(u32, u64, Option<i64>)> {
    match &event.data {
        EventData::Syscall(call) | EventData::Payload(Payload { call, .. }) => {
            Some((call.nr, 1, Some(call.ret)))
        }
        EventData::SyscallCount(count) => Some((count.nr, count.calls, None)),
        EventData::Open(open) => Some((open.nr, 1, Some(open.ret))),
        EventData::PathCall(call) => Some((call.nr, 1, Some(call.ret))),
        EventData::SockCall(call) => Some((call.nr, 1, Some(call.ret))),
        EventData::Ipc(call) => Some((call.nr, call.calls.max(1), Some(call.ret))),
        EventData::ProcessAccess(call) => Some((call.nr, call.calls.max(1), Some(call.ret))),
        _ => None,
    }
}

impl Performance {
    /// What the event tells was read and written.
    fn moved(&mut self, event: &Event, key: u64, state: &State) -> Moved {
        let mut sum = Moved::default();
        let Some(container) = self.containers.get_mut(&key) else {
            return sum;
        };
        let files = &mut self.files;
        transfers::sides(event, state, &self.transfers, |side| {
            container.moved_by_kind.add(side.kind, side.moved);
            sum.add(side.moved);
            if let Some(path) = side.path() {
                files.add(key, path, side.moved);
            }
        });
        container.moved.add(sum);
        sum
    }

    /// Of one call, or of several with the same number.
    fn called(&mut self, key: u64, nr: u32, told: &Told) {
        let Some(container) = self.containers.get_mut(&key) else {
            return;
        };
        if container.calls.len() >= CALLS_MAX && !container.calls.contains_key(&nr) {
            return;
        }
        let counted = container.calls.entry(nr).or_default();
        counted.calls = counted.calls.saturating_add(told.calls);
        counted.errors += told.failed;
        let Some(ns) = told.lasted_ns else { return };
        if counted.latency.is_none() {
            if self.histograms >= HISTOGRAMS_MAX {
                self.latencies_left_out += 1;
                return;
            }
            self.histograms += 1;
        }
        counted.latency.get_or_insert_default().add(ns);
    }

    fn process(&mut self, event: &Event, key: u64, told: &Told, moved: Moved, state: &State) {
        let Some(process) = state.process_of(event) else {
            return;
        };
        let identity = (process.pid, process.start_ns);
        if !self.processes.contains_key(&identity) && self.processes.len() >= PROCESSES_MAX {
            self.not_counted += 1;
            return;
        }
        let used = self.processes.entry(identity).or_default();
        if used.pid == 0 {
            (used.pid, used.start_ns, used.container) = (process.pid, process.start_ns, key);
        }
        if used.comm.as_bytes() != &process.comm[..] {
            used.comm = process.comm.to_string();
        }
        used.calls = used.calls.saturating_add(told.calls);
        used.errors += told.failed;
        used.calls_ns = used.calls_ns.saturating_add(told.lasted_ns.unwrap_or(0));
        used.moved.add(moved);
    }
}

/// What an event adds to its container's and its process's calls.
#[derive(Default)]
struct Told {
    calls: u64,
    failed: u64,
    lasted_ns: Option<u64>,
}

impl Detector for Performance {
    fn context(
        &mut self,
        record: &ContextRecord,
        _: Option<&News>,
        state: &State,
        _: &mut dyn FnMut(Finding),
    ) {
        match &record.body {
            Context::Continues(_) => self.continues = true,
            Context::Tick => self.continues = false,
            Context::Drops(drops) => self.dropped(drops, state),
            _ => {}
        }
    }

    fn event(&mut self, event: &Event, _: &EventRef, state: &State, _: &mut dyn FnMut(Finding)) {
        if self.transfers.arch() != state.arch() {
            self.transfers = Transfers::new(state.arch());
        }
        let key = state
            .container(event.cgroup_id)
            .map_or(0, |container| container.key);
        if let EventData::Sample(sample) = &event.data {
            self.sampled(key, event, sample, state);
        }
        let Some(container) = self.container(key, event.cgroup_id, state) else {
            return;
        };
        container.events += 1;
        let exchanges = &mut container.exchanges;
        match &event.data {
            EventData::Exec(_) => container.execs += 1,
            EventData::Fork(fork) if fork.child_pid == fork.child_tid => container.forks += 1,
            EventData::Exit(exit) if exit.last_thread => container.exits += 1,
            EventData::TcpState(tcp) => exchanges.tcp.state(tcp),
            EventData::TcpEvent(tcp) => exchanges.tcp.event(tcp),
            EventData::SockCall(call) if is_accepted(call, state) => exchanges.tcp.accepts += 1,
            EventData::Dns(dns) => exchanges.dns(dns),
            EventData::Http(http) => exchanges.http(http, event.boot_ns),
            _ => {}
        }
        let moved = self.moved(event, key, state);
        let mut told = Told::default();
        if let Some((nr, calls, ret)) = calls_of(event) {
            told = Told {
                calls,
                failed: u64::from(ret.is_some_and(|ret| ret < 0)),
                lasted_ns: call_ns(&event.data),
            };
            self.called(key, nr, &told);
        }
        if told.calls > 0 || !moved.is_nothing() {
            self.process(event, key, &told, moved, state);
        }
        if let EventData::Exit(exit) = &event.data
            && exit.last_thread
            && let Some(process) = state.process_of(event)
            && let Some(used) = self.processes.get_mut(&(process.pid, process.start_ns))
        {
            used.usage = exit.usage;
        }
    }
}
