//! What containers and processes did and used, counted: system calls and their errors, bytes read and
//! written by calls, TCP connects and their latency, CPU, memory and block I/O from the samples.
//! `replay stats` shows it.
//!
//! A detector that finds nothing. It counts what the trace says and nothing else: a profile that records
//! counts instead of calls gives calls without errors, one without samples gives no CPU.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use trace_format::{Event, EventData, event::Sample};

use crate::{
    findings::Finding, lives::Place, order::EventRef, pipeline::Detector, resolve::State, syscalls,
};

/// Containers counted by themselves, the host among them; a node runs some hundred.
pub const CONTAINERS_MAX: usize = 4_096;
/// Processes counted by themselves: twice the kernel's default `pid_max`.
pub const PROCESSES_MAX: usize = 65_536;
/// System-call numbers that are told apart in a container: kernels have some 460.
pub const CALLS_MAX: usize = 1_024;

/// Linux `TCP_*`.
const ESTABLISHED: u8 = 1;
const SYN_SENT: u8 = 2;
const CLOSE: u8 = 7;

/// Buckets of a histogram: powers of two of nanoseconds, up to 2⁶³.
const BUCKETS: usize = 64;

/// How often which latency, by powers of two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    buckets: [u64; BUCKETS],
    pub count: u64,
    pub sum_ns: u64,
    pub max_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram {
            buckets: [0; BUCKETS],
            count: 0,
            sum_ns: 0,
            max_ns: 0,
        }
    }
}

impl Histogram {
    pub fn add(&mut self, ns: u64) {
        let at = (u64::BITS - ns.leading_zeros()).saturating_sub(1) as usize;
        self.buckets[at.min(BUCKETS - 1)] += 1;
        self.count += 1;
        self.sum_ns = self.sum_ns.saturating_add(ns);
        self.max_ns = self.max_ns.max(ns);
    }

    /// At most this, in so many of a hundred cases: the end of its bucket, or the largest there was.
    pub fn percentile_ns(&self, percent: u64) -> u64 {
        let wanted = (self.count * percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (at, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                let end = 1u64
                    .checked_shl(at as u32 + 1)
                    .map_or(u64::MAX, |end| end - 1);
                return end.min(self.max_ns);
            }
        }
        0
    }

    /// Buckets that have something: from (inclusive, in ns), and how many.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let buckets = self.buckets.iter().enumerate();
        buckets
            .filter(|(_, count)| **count > 0)
            .map(|(at, count)| (if at == 0 { 0 } else { 1 << at }, *count))
    }
}

/// Calls of one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    pub calls: u64,
    /// Of the calls that were recorded one by one.
    pub errors: u64,
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
}

/// One container, or the host.
#[derive(Clone, Debug, Default)]
pub struct ContainerUse {
    pub place: Place,
    pub events: u64,
    /// By number; see [`syscalls::name`].
    pub calls: BTreeMap<u32, Calls>,
    pub read_bytes: u64,
    pub written_bytes: u64,
    pub execs: u64,
    pub forks: u64,
    pub exits: u64,
    pub connects: u64,
    pub connects_failed: u64,
    pub connect_latency: Histogram,
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
    pub read_bytes: u64,
    pub written_bytes: u64,
}

/// The counts of a trace.
#[derive(Default)]
pub struct Performance {
    /// By the container's key; 0: the host.
    pub containers: HashMap<u64, ContainerUse>,
    pub processes: HashMap<(u32, u64), ProcessUse>,
    /// Events of containers and processes that had no room.
    pub not_counted: u64,
    /// By cgroup: what was cumulative when it was last sampled. A container has several.
    last: HashMap<u64, Sample>,
    arch: syscalls::Arch,
}

impl Performance {
    pub fn arch(&self) -> syscalls::Arch {
        self.arch
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
        }
        used.memory_last_bytes = sample.memory_bytes;
        used.memory_limit_bytes = sample.memory_limit_bytes;
        used.memory_max_bytes = used.memory_max_bytes.max(sample.memory_bytes);
        used.pids_max = used.pids_max.max(sample.pids);
    }
}

/// What a call moved, and whether into the process.
fn moved(name: Option<&str>, ret: i64) -> Option<(bool, u64)> {
    let bytes = u64::try_from(ret).ok().filter(|bytes| *bytes > 0)?;
    let into = match name? {
        "read" | "pread64" | "readv" | "preadv" | "preadv2" | "recvfrom" | "recvmsg" => true,
        "write" | "pwrite64" | "writev" | "pwritev" | "pwritev2" | "sendto" | "sendmsg"
        | "sendfile" => false,
        _ => return None,
    };
    Some((into, bytes))
}

impl Detector for Performance {
    fn event(&mut self, event: &Event, _: &EventRef, state: &State, _: &mut dyn FnMut(Finding)) {
        self.arch = state.arch();
        let key = state
            .container(event.cgroup_id)
            .map_or(0, |container| container.key);
        if let EventData::Sample(sample) = &event.data {
            self.sampled(key, event, sample, state);
        }
        // One number, how many calls, and its result where it was recorded by itself.
        let call = match &event.data {
            EventData::Syscall(call) => Some((call.nr, 1, Some(call.ret))),
            EventData::SyscallCount(count) => Some((count.nr, count.calls, None)),
            EventData::Open(open) => Some((open.nr, 1, Some(open.ret))),
            EventData::PathCall(call) => Some((call.nr, 1, Some(call.ret))),
            EventData::SockCall(call) => Some((call.nr, 1, Some(call.ret))),
            EventData::Ipc(call) => Some((call.nr, 1, Some(call.ret))),
            EventData::ProcessAccess(call) => Some((call.nr, 1, Some(call.ret))),
            _ => None,
        };
        let moved = call.and_then(|(nr, _, ret)| moved(syscalls::name(self.arch, nr), ret?));
        let failed = |ret: Option<i64>| u64::from(ret.is_some_and(|ret| ret < 0));
        let Some(container) = self.container(key, event.cgroup_id, state) else {
            return;
        };
        container.events += 1;
        match &event.data {
            EventData::Exec(_) => container.execs += 1,
            EventData::Fork(fork) if fork.child_pid == fork.child_tid => container.forks += 1,
            EventData::Exit(exit) if exit.last_thread => container.exits += 1,
            EventData::TcpState(tcp) if tcp.old == SYN_SENT => match tcp.new {
                ESTABLISHED => {
                    container.connects += 1;
                    container.connect_latency.add(tcp.latency_ns);
                }
                CLOSE => {
                    container.connects += 1;
                    container.connects_failed += 1;
                }
                _ => {}
            },
            _ => {}
        }
        let Some((nr, calls, ret)) = call else { return };
        let room = container.calls.len() < CALLS_MAX || container.calls.contains_key(&nr);
        if room {
            let counted = container.calls.entry(nr).or_default();
            counted.calls = counted.calls.saturating_add(calls);
            counted.errors += failed(ret);
        }
        match moved {
            Some((true, bytes)) => container.read_bytes += bytes,
            Some((false, bytes)) => container.written_bytes += bytes,
            None => {}
        }
        let Some(process) = state.process_of(event) else {
            return;
        };
        let identity = (process.pid, process.start_ns);
        if !self.processes.contains_key(&identity) && self.processes.len() >= PROCESSES_MAX {
            self.not_counted += 1;
            return;
        }
        let used = self.processes.entry(identity).or_default();
        if used.calls == 0 {
            (used.pid, used.start_ns, used.container) = (process.pid, process.start_ns, key);
        }
        if used.comm.as_bytes() != &process.comm[..] {
            used.comm = process.comm.to_string();
        }
        used.calls = used.calls.saturating_add(calls);
        used.errors += failed(ret);
        match moved {
            Some((true, bytes)) => used.read_bytes += bytes,
            Some((false, bytes)) => used.written_bytes += bytes,
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_the_end_of_their_bucket_and_never_above_the_largest() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile_ns(50), 0);
        for ns in [0, 1, 5, 1_000, 1_000_000] {
            histogram.add(ns);
        }
        assert_eq!(histogram.percentile_ns(1), 1);
        assert_eq!(histogram.percentile_ns(60), 7);
        assert_eq!(histogram.percentile_ns(80), 1_023);
        assert_eq!(histogram.percentile_ns(99), 1_000_000);
        histogram.add(u64::MAX);
        assert_eq!(histogram.percentile_ns(100), u64::MAX);
        assert_eq!(histogram.buckets().map(|(_, count)| count).sum::<u64>(), 6);
    }
}
