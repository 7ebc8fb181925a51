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
    /// Connects and refusals seen as socket states: the same ones again where the calls are recorded too.
    tcp_connects: u32,
    tcp_refused: u32,
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
                    self.tcp_connects += 1;
                    self.see_target(&state.remote, event.pid, at);
                } else if state.old == TCP_SYN_SENT && state.new == TCP_CLOSE {
                    self.tcp_refused += 1;
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
            EventData::Cgroup(_) | EventData::Sample(_) => {}
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
        let mut values = [Some(0.0); COUNTED];
        for (value, tally) in values.iter_mut().zip(tallies.iter()) {
            *value = Some(f64::from(tally.count));
        }
        // Either view may be switched off; where both are on, they are the same connects.
        values[CONNECTS] = values[CONNECTS].map(|calls| calls.max(f64::from(self.tcp_connects)));
        values[REFUSED] = values[REFUSED].map(|calls| calls.max(f64::from(self.tcp_refused)));
        let recorded = f64::from(tallies[SYSCALLS].count);
        values[SYSCALLS] = self.counted.rate(end_ns, recorded);
        let bin = Bin {
            values,
            evidence: tallies.map(|tally| (tally.count > 0).then_some(tally.at)),
            process: tallies.map(|tally| tally.process),
            active: tallies.iter().any(|tally| tally.count > 0) || self.counted.silent_bins == 0,
        };
        self.clear();
        bin
    }

    /// Forgets the open second.
    pub fn clear(&mut self) {
        self.tallies = [Tally::default(); COUNTED];
        self.tcp_connects = 0;
        self.tcp_refused = 0;
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
