//! What one cgroup did in the open second: counts, the last event behind each, and who did most of it.

use hashbrown::HashSet;
use trace_format::{Event, EventData, event::Endpoint};

use super::metrics::{
    CONNECTS, COUNTED, EXECS, FAILED_EXITS, FORKS, OPENS, REFUSED, REMOVALS, SYSCALLS, TARGETS,
};
use crate::{
    order::EventRef,
    syscalls::{Arch, number},
};

/// Distinct targets told apart in one second; more than that alarms all the same.
pub const TARGETS_MAX: usize = 4096;

const ECONNREFUSED: i64 = 111;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const TCP_SYN_SENT: u8 = 2;
const TCP_CLOSE: u8 = 7;

/// Numbers of the calls that are counted by name, on the recording host's architecture.
pub struct Calls {
    connect: Option<u32>,
    removals: [Option<u32>; 6],
}

impl Calls {
    pub fn of(arch: Arch) -> Calls {
        Calls {
            connect: number(arch, "connect"),
            removals: [
                "unlink",
                "unlinkat",
                "rmdir",
                "rename",
                "renameat",
                "renameat2",
            ]
            .map(|name| number(arch, name)),
        }
    }
}

/// A closed second.
pub struct Bin {
    /// `None`: nothing is known about this second.
    pub values: [Option<f64>; COUNTED],
    /// The last event that counted.
    pub evidence: [Option<EventRef>; COUNTED],
    /// The process with more than half of the events, if there is one (else any of them; 0: none).
    pub process: [u32; COUNTED],
    pub active: bool,
}

/// The open second.
#[derive(Default)]
pub struct Counters {
    tallies: [Tally; COUNTED],
    /// Connects and refusals seen as socket states: the same ones again where the calls are recorded
    /// too, and the only ones for a connect that does not block.
    tcp_connects: Tally,
    tcp_refused: Tally,
    targets: HashSet<Target>,
    counted: CountedCalls,
}

/// Calls that the kernel only counted. The counts come about once a second, not in step with the bins.
#[derive(Default)]
struct CountedCalls {
    calls: u64,
    /// Time of the newest batch and of the one before the open bin; 0: none yet.
    batch_ns: u64,
    before_ns: u64,
    /// Bins since the last batch.
    silent_bins: u32,
}

#[derive(Clone, Copy, Default)]
struct Tally {
    count: u32,
    at: EventRef,
    /// Majority vote (Boyer–Moore): `process` leads by `lead`.
    process: u32,
    lead: u32,
}

impl Tally {
    #[inline]
    fn add(&mut self, pid: u32, at: EventRef) {
        self.count += 1;
        self.at = at;
        if self.lead == 0 {
            self.process = pid;
            self.lead = 1;
        } else if self.process == pid {
            self.lead += 1;
        } else {
            self.lead -= 1;
        }
    }
}

/// An address (IPv4 as the kernel maps it into IPv6) and a port.
type Target = ([u8; 16], u16);

fn target(remote: &Endpoint) -> Option<Target> {
    let mut address = [0; 16];
    match remote.addr.len() {
        4 => {
            address[10..12].fill(0xff);
            address[12..].copy_from_slice(&remote.addr);
        }
        16 => address.copy_from_slice(&remote.addr),
        _ => return None,
    }
    Some((address, remote.port))
}

impl Counters {
    /// Counts one event. The hottest function of the detector: no allocation, but for a new target.
    #[inline]
    pub fn count(&mut self, event: &Event, at: EventRef, calls: &Calls) {
        let mut add = |metric: usize| self.tallies[metric].add(event.pid, at);
        match &event.data {
            EventData::Syscall(_) => add(SYSCALLS),
            EventData::Open(_) => {
                add(SYSCALLS);
                add(OPENS);
            }
            EventData::PathCall(call) => {
                add(SYSCALLS);
                if call.ret == 0 && calls.removals.contains(&Some(call.nr)) {
                    add(REMOVALS);
                }
            }
            EventData::SockCall(call) => {
                add(SYSCALLS);
                if Some(call.nr) == calls.connect && matches!(call.family, AF_INET | AF_INET6) {
                    add(CONNECTS);
                    if call.ret == -ECONNREFUSED {
                        add(REFUSED);
                    }
                    self.see_target(&call.remote, event.pid, at);
                }
            }
            EventData::TcpState(state) => {
                if state.new == TCP_SYN_SENT {
                    self.tcp_connects.add(event.pid, at);
                    self.see_target(&state.remote, event.pid, at);
                } else if state.old == TCP_SYN_SENT && state.new == TCP_CLOSE {
                    self.tcp_refused.add(event.pid, at);
                }
            }
            EventData::Exec(_) => add(EXECS),
            EventData::Fork(fork) => {
                if fork.child_pid == fork.child_tid {
                    add(FORKS);
                }
            }
            EventData::Exit(exit) => {
                if exit.last_thread && (exit.code != 0 || exit.signal != 0) {
                    add(FAILED_EXITS);
                }
            }
            EventData::SyscallCount(count) => {
                self.counted.calls = self.counted.calls.saturating_add(count.calls);
                self.counted.batch_ns = event.boot_ns;
            }
            EventData::Cgroup(_)
            | EventData::Sample(_)
            | EventData::Io(_)
            | EventData::Signal(_)
            | EventData::OomKill(_)
            | EventData::TcpEvent(_)
            | EventData::Declared(_) => {}
        }
    }

    fn see_target(&mut self, remote: &Endpoint, pid: u32, at: EventRef) {
        if self.targets.len() < TARGETS_MAX
            && let Some(target) = target(remote)
            && self.targets.insert(target)
        {
            self.tallies[TARGETS].add(pid, at);
        }
    }

    /// Ends the second and starts the next one.
    pub fn close(&mut self, end_ns: u64) -> Bin {
        let tallies = &mut self.tallies;
        // Either view may be switched off; where both are on, they are the same connects.
        for (metric, tcp) in [(CONNECTS, self.tcp_connects), (REFUSED, self.tcp_refused)] {
            if tcp.count > tallies[metric].count {
                tallies[metric] = tcp;
            }
        }
        let mut values = tallies.map(|tally| Some(f64::from(tally.count)));
        let counts_came = self.counted.batch_ns > self.counted.before_ns;
        let recorded = f64::from(tallies[SYSCALLS].count);
        values[SYSCALLS] = self.counted.rate(end_ns, recorded);
        let bin = Bin {
            values,
            evidence: tallies.map(|tally| (tally.count > 0).then_some(tally.at)),
            process: tallies.map(|tally| tally.process),
            active: counts_came || tallies.iter().any(|tally| tally.count > 0),
        };
        self.clear();
        bin
    }

    /// Forgets the open second.
    pub fn clear(&mut self) {
        self.tallies = [Tally::default(); COUNTED];
        self.tcp_connects = Tally::default();
        self.tcp_refused = Tally::default();
        self.targets.clear();
        self.counted.calls = 0;
    }
}

impl CountedCalls {
    /// Calls a second: those recorded one by one, or those counted, whichever are more (the counts may
    /// include the recorded ones). `None` while counts are expected and not there.
    fn rate(&mut self, end_ns: u64, recorded: f64) -> Option<f64> {
        if self.batch_ns == 0 {
            return Some(recorded);
        }
        let came = self.batch_ns > self.before_ns;
        if !came {
            self.silent_bins += 1;
            // A cgroup that called nothing has no count: after two seconds, that is what it means.
            return (self.silent_bins > 1).then_some(recorded);
        }
        let first = self.before_ns == 0;
        let since_ns = if self.silent_bins > 1 {
            1_000_000_000
        } else {
            self.batch_ns - self.before_ns
        };
        self.before_ns = self.batch_ns.min(end_ns);
        self.silent_bins = 0;
        let counted = self.calls as f64 * 1e9 / since_ns.max(200_000_000) as f64;
        (!first).then(|| counted.max(recorded))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trace_format::SyscallCount;

    fn count(boot_ns: u64, calls: u64) -> Event {
        let data = EventData::SyscallCount(SyscallCount { nr: 0, calls });
        Event {
            boot_ns,
            cpu: 0,
            probe: 0,
            seq: 0,
            tid: 0,
            pid: 0,
            cgroup_id: 1,
            data,
        }
    }

    /// Counts come once a second, but not in step with the bins: some bins get two batches, some none.
    #[test]
    fn counted_calls_are_a_steady_rate_whatever_the_jitter() {
        let calls = Calls::of(Arch::X86_64);
        let mut counters = Counters::default();
        let batches_ms = [950, 1_990, 2_010, 2_990, 4_020, 5_000, 5_980, 6_985];
        let mut values = Vec::new();
        for bin in 0..7 {
            let mut before_ms = *batches_ms
                .iter()
                .rfind(|ms| **ms < bin * 1000)
                .unwrap_or(&0);
            for ms in batches_ms.into_iter().filter(|ms| ms / 1000 == bin) {
                // A thousand calls a second since the batch before.
                counters.count(
                    &count(ms * 1_000_000, ms - before_ms),
                    EventRef::default(),
                    &calls,
                );
                before_ms = ms;
            }
            values.push(counters.close((bin + 1) * 1_000_000_000).values[SYSCALLS]);
        }
        assert_eq!(
            values[0], None,
            "how long the first batch took is not known"
        );
        assert_eq!(values[3], None, "no batch came in this second");
        for value in values.into_iter().flatten() {
            assert!((value - 1000.0).abs() < 1.0, "{value}");
        }
    }

    #[test]
    fn a_cgroup_without_counts_made_no_calls() {
        let calls = Calls::of(Arch::X86_64);
        let mut counters = Counters::default();
        for bin in 0..3u64 {
            counters.count(
                &count(bin * 1_000_000_000 + 1, 500),
                EventRef::default(),
                &calls,
            );
            counters.close((bin + 1) * 1_000_000_000);
        }
        let values: Vec<Option<f64>> = (3..6)
            .map(|bin| counters.close((bin + 1) * 1_000_000_000).values[SYSCALLS])
            .collect();
        assert_eq!(values, [None, Some(0.0), Some(0.0)]);
    }

    #[test]
    fn distinct_targets_are_bounded() {
        let mut counters = Counters::default();
        for port in 0..=u16::MAX {
            let remote = Endpoint {
                addr: trace_format::Text::new(&[10, 0, 0, 1]),
                port,
            };
            counters.see_target(&remote, 1, EventRef::default());
            counters.see_target(&remote, 1, EventRef::default());
        }
        let bin = counters.close(1_000_000_000);
        assert_eq!(bin.values[TARGETS], Some(TARGETS_MAX as f64));
    }
}
