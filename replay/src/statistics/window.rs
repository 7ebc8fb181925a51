//! What one cgroup did in the open second: counts, the last event behind each, and who did most of it.

use hashbrown::HashSet;
use trace_format::{
    Event, EventData,
    event::{Endpoint, IoKind, Payload},
};

use super::metrics::{
    CONNECTS, COUNTED, EXECS, FAILED_EXITS, FORKS, OPENS, REFUSED, REMOVALS, SENT, SYNCS, SYSCALLS,
    TARGETS, WRITTEN,
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
const SOCK_STREAM: u16 = 1;
const TCP_SYN_SENT: u8 = 2;
const TCP_CLOSE: u8 = 7;

/// Numbers of the calls that are counted by name, on the recording host's architecture.
pub struct Calls {
    connect: Option<u32>,
    removals: [Option<u32>; 6],
    syncs: Numbers,
}

/// A set of call numbers, as bits: asked about every call that is recorded.
#[derive(Default)]
struct Numbers([u64; 8]);

impl Numbers {
    fn of(arch: Arch, names: &[&str]) -> Numbers {
        let mut numbers = Numbers::default();
        for nr in names.iter().filter_map(|name| number(arch, name)) {
            if let Some(word) = numbers.0.get_mut(nr as usize / 64) {
                *word |= 1 << (nr % 64);
            }
        }
        numbers
    }

    #[inline]
    fn has(&self, nr: u32) -> bool {
        let word = self.0.get(nr as usize / 64);
        word.is_some_and(|word| word >> (nr % 64) & 1 != 0)
    }
}

impl Calls {
    /// Whether plain calls with this number are counted by more than that they were made.
    pub fn tell_more(&self, nr: u32) -> bool {
        self.syncs.has(nr)
    }

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
            syncs: Numbers::of(
                arch,
                &[
                    "fsync",
                    "fdatasync",
                    "sync_file_range",
                    "msync",
                    "syncfs",
                    "sync",
                ],
            ),
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
    /// Of system calls: all, and those that wait for the disk.
    counted: Batches<2>,
    /// Of bytes: written to files, and sent through sockets.
    bytes: Batches<2>,
    /// The same of calls that are recorded one by one.
    single_bytes: [u64; 2],
}

/// What the recorder counts and tells about once a second, not in step with the bins.
struct Batches<const N: usize> {
    sums: [u64; N],
    /// Time of the newest batch and of the one before the open bin; 0: none yet.
    batch_ns: u64,
    before_ns: u64,
    /// Bins since the last batch.
    silent_bins: u32,
}

impl<const N: usize> Default for Batches<N> {
    fn default() -> Self {
        Batches {
            sums: [0; N],
            batch_ns: 0,
            before_ns: 0,
            silent_bins: 0,
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Tally {
    count: u32,
    at: EventRef,
    /// Majority vote (Boyer–Moore): `process` leads by `lead`.
    process: u32,
    lead: u64,
}

impl Tally {
    #[inline]
    fn add(&mut self, pid: u32, at: EventRef) {
        self.weigh(pid, at, 1);
    }

    /// The same where one event stands for several.
    #[inline]
    fn weigh(&mut self, pid: u32, at: EventRef, weight: u64) {
        self.count += 1;
        self.at = at;
        if self.process == pid {
            self.lead = self.lead.saturating_add(weight);
        } else if self.lead < weight {
            self.process = pid;
            self.lead = weight - self.lead;
        } else {
            self.lead -= weight;
        }
    }
}

/// An address (IPv4 as the kernel maps it into IPv6) and a port.
pub type Target = ([u8; 16], u16);

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

/// Whom a connection attempt of the internet families goes to. One of TCP is told by its socket where the
/// trace has such states (`tcp_told`): the call of one that waits is only there when the answer is.
pub fn connects_to(event: &Event, calls: &Calls, tcp_told: bool) -> Option<Target> {
    match &event.data {
        EventData::SockCall(call)
            if Some(call.nr) == calls.connect
                && matches!(call.family, AF_INET | AF_INET6)
                && !(tcp_told && call.sock_type == SOCK_STREAM) =>
        {
            target(&call.remote)
        }
        EventData::TcpState(state) if state.new == TCP_SYN_SENT => target(&state.remote),
        _ => None,
    }
}

impl Counters {
    /// Counts one event. The hottest function of the detector: no allocation, but for a new target.
    #[inline]
    pub fn count(&mut self, event: &Event, at: EventRef, calls: &Calls) {
        let mut add = |metric: usize| self.tallies[metric].add(event.pid, at);
        match &event.data {
            EventData::Syscall(call) | EventData::Payload(Payload { call, .. }) => {
                add(SYSCALLS);
                if calls.syncs.has(call.nr) {
                    add(SYNCS);
                }
            }
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
            EventData::Ipc(_) | EventData::ProcessAccess(_) => add(SYSCALLS),
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
                let syncs = match calls.syncs.has(count.nr) {
                    true => {
                        add(SYNCS);
                        count.calls
                    }
                    false => 0,
                };
                self.counted.add([count.calls, syncs], event.boot_ns);
            }
            EventData::Io(io) => {
                let (files, sockets) = match io.kind.0 {
                    IoKind::FILE => (io.written_bytes, 0),
                    IoKind::SOCKET => (0, io.written_bytes),
                    _ => (0, 0),
                };
                for (metric, bytes) in [(WRITTEN, files), (SENT, sockets)] {
                    if bytes > 0 {
                        self.tallies[metric].weigh(event.pid, at, bytes);
                    }
                }
                self.bytes.add([files, sockets], event.boot_ns);
            }
            EventData::Cgroup(_)
            | EventData::Sample(_)
            | EventData::Signal(_)
            | EventData::OomKill(_)
            | EventData::TcpEvent(_)
            | EventData::Dns(_)
            | EventData::Http(_)
            | EventData::Peer(_)
            | EventData::Credentials(_)
            | EventData::PassedFd(_)
            | EventData::Declared(_) => {}
        }
    }

    /// Counts a plain system call that does not tell more ([`Calls::tell_more`]): the same as
    /// [`Counters::count`] of it.
    #[inline]
    pub fn call(&mut self, pid: u32, at: EventRef) {
        self.tallies[SYSCALLS].add(pid, at);
    }

    /// A single call wrote to a descriptor of that kind.
    #[inline]
    pub fn wrote(&mut self, pid: u32, at: EventRef, kind: IoKind, bytes: u64) {
        let (place, metric) = match kind.0 {
            IoKind::FILE => (0, WRITTEN),
            IoKind::SOCKET => (1, SENT),
            _ => return,
        };
        self.single_bytes[place] = self.single_bytes[place].saturating_add(bytes);
        self.tallies[metric].weigh(pid, at, bytes);
    }

    fn see_target(&mut self, remote: &Endpoint, pid: u32, at: EventRef) {
        if self.targets.len() < TARGETS_MAX
            && let Some(target) = target(remote)
            && self.targets.insert(target)
        {
            self.tallies[TARGETS].add(pid, at);
        }
    }

    /// Ends the second and starts the next one. `bytes_counted`: the trace has counts of what was written
    /// and sent, so that a container without any wrote nothing.
    pub fn close(&mut self, end_ns: u64, bytes_counted: bool) -> Bin {
        let tallies = &mut self.tallies;
        // Either view may be switched off; where both are on, they are the same connects.
        for (metric, tcp) in [(CONNECTS, self.tcp_connects), (REFUSED, self.tcp_refused)] {
            if tcp.count > tallies[metric].count {
                tallies[metric] = tcp;
            }
        }
        let mut values = tallies.map(|tally| Some(f64::from(tally.count)));
        let counts_came = self.counted.came() || self.bytes.came();
        // Calls that are recorded one by one, or those counted, whichever are more: the counts may include
        // the recorded ones.
        let recorded = [SYSCALLS, SYNCS].map(|metric| f64::from(tallies[metric].count));
        let rates = match self.counted.batch_ns {
            0 => Some(recorded),
            _ => self.counted.rates(end_ns),
        };
        for (place, metric) in [SYSCALLS, SYNCS].into_iter().enumerate() {
            values[metric] = rates.map(|rates| rates[place].max(recorded[place]));
        }
        let rates = match self.bytes.batch_ns {
            0 => bytes_counted.then_some([0.0; 2]),
            _ => self.bytes.rates(end_ns),
        };
        for (place, metric) in [WRITTEN, SENT].into_iter().enumerate() {
            let single = self.single_bytes[place] as f64;
            values[metric] = rates.map(|rates| rates[place] + single);
        }
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
        self.counted.sums = [0; 2];
        self.bytes.sums = [0; 2];
        self.single_bytes = [0; 2];
    }
}

impl<const N: usize> Batches<N> {
    fn add(&mut self, more: [u64; N], boot_ns: u64) {
        for (sum, more) in self.sums.iter_mut().zip(more) {
            *sum = sum.saturating_add(more);
        }
        self.batch_ns = boot_ns;
    }

    fn came(&self) -> bool {
        self.batch_ns > self.before_ns
    }

    /// A second's worth of each sum. `None` while a batch is expected and not there.
    fn rates(&mut self, end_ns: u64) -> Option<[f64; N]> {
        if !self.came() {
            self.silent_bins += 1;
            // Where nothing was to be counted there is no batch: after two seconds, that is what it means.
            return (self.silent_bins > 1).then_some([0.0; N]);
        }
        let first = self.before_ns == 0;
        let since_ns = if self.silent_bins > 1 {
            1_000_000_000
        } else {
            self.batch_ns - self.before_ns
        };
        self.before_ns = self.batch_ns.min(end_ns);
        self.silent_bins = 0;
        let seconds = since_ns.max(200_000_000) as f64 / 1e9;
        // How long the first batch took is not known.
        (!first).then(|| self.sums.map(|sum| sum as f64 / seconds))
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
            values.push(counters.close((bin + 1) * 1_000_000_000, false).values[SYSCALLS]);
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
            counters.close((bin + 1) * 1_000_000_000, false);
        }
        let values: Vec<Option<f64>> = (3..6)
            .map(|bin| counters.close((bin + 1) * 1_000_000_000, false).values[SYSCALLS])
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
        let bin = counters.close(1_000_000_000, false);
        assert_eq!(bin.values[TARGETS], Some(TARGETS_MAX as f64));
    }

    fn io(boot_ns: u64, pid: u32, kind: u8, written_bytes: u64) -> Event {
        let data = EventData::Io(trace_format::event::Io {
            fd: 3,
            kind: IoKind(kind),
            written_bytes,
            ..Default::default()
        });
        Event {
            pid,
            data,
            ..count(boot_ns, 0)
        }
    }

    #[test]
    fn bytes_are_told_apart_by_where_they_go_and_weigh_for_who_wrote_them() {
        let calls = Calls::of(Arch::X86_64);
        let mut counters = Counters::default();
        let unknown = counters.close(1_000_000_000, false).values;
        assert_eq!((unknown[WRITTEN], unknown[SENT]), (None, None));
        let nothing = counters.close(2_000_000_000, true).values;
        assert_eq!((nothing[WRITTEN], nothing[SENT]), (Some(0.0), Some(0.0)));
        let mut second = |end_s: u64| {
            let at_ns = end_s * 1_000_000_000 - 100;
            for (pid, kind, bytes) in [
                (7, IoKind::FILE, 100),
                (7, IoKind::FILE, 100),
                (8, IoKind::FILE, 5_000),
                (7, IoKind::SOCKET, 300),
                (7, IoKind::PIPE, 9_000),
            ] {
                counters.count(&io(at_ns, pid, kind, bytes), EventRef::default(), &calls);
            }
            counters.close(end_s * 1_000_000_000, true)
        };
        assert_eq!(
            second(3).values[WRITTEN],
            None,
            "over how long is not known"
        );
        let bin = second(4);
        assert_eq!(bin.values[WRITTEN], Some(5_200.0));
        assert_eq!(bin.values[SENT], Some(300.0));
        assert_eq!(bin.process[WRITTEN], 8, "who wrote most, not most often");
    }

    #[test]
    fn single_writes_count_in_the_second_in_which_they_were_made() {
        let mut counters = Counters::default();
        for (pid, kind, bytes) in [
            (7, IoKind::FILE, 100),
            (8, IoKind::FILE, 5_000),
            (7, IoKind::SOCKET, 300),
            (7, IoKind::PIPE, 9_000),
            (7, IoKind::UNKNOWN, 9_000),
        ] {
            counters.wrote(pid, EventRef::default(), IoKind(kind), bytes);
        }
        let bin = counters.close(1_000_000_000, true);
        assert_eq!(
            (bin.values[WRITTEN], bin.values[SENT]),
            (Some(5_100.0), Some(300.0))
        );
        assert_eq!(bin.process[WRITTEN], 8);
        let next = counters.close(2_000_000_000, true).values;
        assert_eq!((next[WRITTEN], next[SENT]), (Some(0.0), Some(0.0)));
    }

    #[test]
    fn calls_that_wait_for_the_disk_count_whether_recorded_or_counted() {
        let calls = Calls::of(Arch::X86_64);
        let fsync = number(Arch::X86_64, "fsync").unwrap();
        let mut counters = Counters::default();
        for second in 1..=2u64 {
            let data = EventData::SyscallCount(SyscallCount {
                nr: fsync,
                calls: 40,
            });
            let event = Event {
                data,
                ..count(second * 1_000_000_000 - 100, 0)
            };
            counters.count(&event, EventRef::default(), &calls);
            let bin = counters.close(second * 1_000_000_000, true);
            assert_eq!(bin.values[SYNCS], (second > 1).then_some(40.0));
        }
        let mut counters = Counters::default();
        let data = EventData::Syscall(trace_format::Syscall {
            nr: fsync,
            ret: 0,
            args: [0; 6],
            duration_ns: 0,
        });
        let event = Event {
            data,
            ..count(1, 0)
        };
        counters.count(&event, EventRef::default(), &calls);
        let values = counters.close(1_000_000_000, true).values;
        assert_eq!((values[SYNCS], values[SYSCALLS]), (Some(1.0), Some(1.0)));
    }
}
