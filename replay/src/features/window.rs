//! What one container did in the open window: counts, items and samples.

use hashbrown::HashSet;
use trace_format::{
    Event, EventData,
    event::{ExecFlags, PathMarks, Payload, Sample},
};

use super::{
    novelty::{self, Seen, Witness},
    schema,
};
use crate::{
    order::EventRef,
    resolve::State,
    syscalls::{Arch, NUMBERS, O_ACCMODE, O_RDONLY, errno::EINPROGRESS, number},
};

/// Distinct ports told apart in a window.
const PORTS_MAX: usize = 4096;
/// Threads whose last call is remembered, by the low bits of their id. Two threads that share a place
/// lose pairs of calls, no more.
const THREADS: usize = 256;
/// Pairs of calls that were added last, so that a busy loop does not hash the same pair each time.
const RECENT: usize = 256;

/// Calls of one number in a window; more is damage, and 512 such numbers can still be added up.
const CALLS_MAX: u64 = 1 << 48;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const TCP_SYN_SENT: u8 = 2;
const TCP_CLOSE: u8 = 7;
const ECONNREFUSED: i64 = 111;

/// Results that are part of normal operation: nothing there (yet), interrupted, under way.
const USUAL_ERRORS: [i64; 6] = [2, 4, 11, 110, EINPROGRESS as i64, 517];
/// The kernel's own restart codes (`include/linux/errno.h`).
const RESTARTS: std::ops::RangeInclusive<i64> = 512..=516;

/// Numbers of the calls that are told apart by name, on the recording host's architecture.
pub struct Calls {
    connect: Option<u32>,
    bind: Option<u32>,
    changes: [Option<u32>; 12],
}

impl Calls {
    pub fn of(arch: Arch) -> Calls {
        const CHANGES: [&str; 12] = [
            "unlink",
            "unlinkat",
            "rmdir",
            "rename",
            "renameat",
            "renameat2",
            "truncate",
            "link",
            "linkat",
            "symlink",
            "symlinkat",
            "mkdir",
        ];
        Calls {
            connect: number(arch, "connect"),
            bind: number(arch, "bind"),
            changes: CHANGES.map(|name| number(arch, name)),
        }
    }
}

/// What is counted; each has the first event behind it as witness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum What {
    Calls,
    Failures,
    Execs,
    Forks,
    FailedExits,
    Opens,
    Writes,
    Connects,
    Refused,
    TcpConnects,
    TcpRefused,
    BornExecs,
}
const WHATS: usize = What::BornExecs as usize + 1;

#[derive(Clone, Copy, Default)]
struct Tally {
    count: u64,
    witness: Witness,
}

/// The open window.
pub struct Window {
    tallies: [Tally; WHATS],
    /// By number: calls recorded one by one, and calls that were only counted.
    recorded: Box<[u32; NUMBERS]>,
    counted: Box<[u64; NUMBERS]>,
    ports: HashSet<u16>,
    pub seen: Seen,
    /// Thread and its last call plus one.
    threads: Box<[(u32, u16); THREADS]>,
    recent: Box<[u32; RECENT]>,
    samples: Samples,
}

/// Resources in the window; the last sample before it is where differences start.
#[derive(Clone, Copy, Default)]
struct Samples {
    before: Option<(u64, Sample)>,
    last: Option<(u64, Sample)>,
    at: EventRef,
    count: u32,
    memory_sum: f64,
    pids_sum: f64,
}

impl Default for Window {
    fn default() -> Self {
        Window {
            tallies: [Tally::default(); WHATS],
            recorded: Box::new([0; NUMBERS]),
            counted: Box::new([0; NUMBERS]),
            ports: HashSet::new(),
            seen: Seen::default(),
            threads: Box::new([(0, 0); THREADS]),
            recent: Box::new([u32::MAX; RECENT]),
            samples: Samples::default(),
        }
    }
}

impl Window {
    /// Counts one event. Allocates only for what the window has not shown yet.
    #[inline]
    pub fn count(&mut self, event: &Event, at: EventRef, state: &State, calls: &Calls) {
        match &event.data {
            EventData::Syscall(call) | EventData::Payload(Payload { call, .. }) => {
                self.call(event, at, call.nr, call.ret);
            }
            EventData::Open(open) => {
                self.call(event, at, open.nr, open.ret);
                self.add(What::Opens, event, at);
                if open.ret >= 0
                    && (open.flags & O_ACCMODE != O_RDONLY || open.marks.has(PathMarks::CREATED))
                {
                    self.add(What::Writes, event, at);
                }
                self.seen.add(novelty::path(&open.path), event.pid, at);
            }
            EventData::PathCall(call) => {
                self.call(event, at, call.nr, call.ret);
                if call.ret == 0 && calls.changes.contains(&Some(call.nr)) {
                    self.add(What::Writes, event, at);
                }
                self.seen.add(novelty::path(&call.path), event.pid, at);
            }
            EventData::Ipc(call) => self.call(event, at, call.nr, call.ret),
            EventData::ProcessAccess(call) => self.call(event, at, call.nr, call.ret),
            EventData::SockCall(call) => {
                self.call(event, at, call.nr, call.ret);
                if !matches!(call.family, AF_INET | AF_INET6) {
                    return;
                }
                if Some(call.nr) == calls.connect {
                    self.add(What::Connects, event, at);
                    if call.ret == -ECONNREFUSED {
                        self.add(What::Refused, event, at);
                    }
                    self.port(call.remote.port, event, at);
                } else if Some(call.nr) == calls.bind && call.ret == 0 && call.local.port != 0 {
                    self.seen
                        .add(novelty::port(call.local.port, true), event.pid, at);
                }
            }
            EventData::TcpState(change) => {
                if change.new == TCP_SYN_SENT {
                    self.add(What::TcpConnects, event, at);
                    self.port(change.remote.port, event, at);
                } else if change.old == TCP_SYN_SENT && change.new == TCP_CLOSE {
                    self.add(What::TcpRefused, event, at);
                }
            }
            EventData::Exec(exec) => {
                self.add(What::Execs, event, at);
                let Some(process) = state.process_of(event) else {
                    return;
                };
                let born = process.image.is_some_and(|image| image.born_in_container);
                if born || exec.flags.has(ExecFlags::MEMFD) || exec.flags.has(ExecFlags::DELETED) {
                    self.add(What::BornExecs, event, at);
                }
                if let Some(parent) = state.parent(process) {
                    self.seen
                        .add(novelty::edge(&parent.comm, &exec.path), event.pid, at);
                }
            }
            EventData::Fork(_) => self.add(What::Forks, event, at),
            EventData::Exit(exit) => {
                if exit.last_thread && (exit.code != 0 || exit.signal != 0) {
                    self.add(What::FailedExits, event, at);
                }
            }
            EventData::SyscallCount(count) => {
                if let Some(calls) = self.counted.get_mut(count.nr as usize) {
                    *calls = calls.saturating_add(count.calls);
                    self.seen.add(novelty::call(None, count.nr), event.pid, at);
                }
            }
            EventData::Cgroup(_)
            | EventData::Sample(_)
            | EventData::Io(_)
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

    #[inline]
    fn add(&mut self, what: What, event: &Event, at: EventRef) {
        let tally = &mut self.tallies[what as usize];
        if tally.count == 0 {
            tally.witness = Witness { pid: event.pid, at };
        }
        tally.count += 1;
    }

    #[inline]
    fn call(&mut self, event: &Event, at: EventRef, nr: u32, ret: i64) {
        self.add(What::Calls, event, at);
        if ret < 0 && ret > -4096 && !USUAL_ERRORS.contains(&-ret) && !RESTARTS.contains(&-ret) {
            self.add(What::Failures, event, at);
        }
        let Some(count) = self.recorded.get_mut(nr as usize) else {
            return;
        };
        *count = count.saturating_add(1);
        if *count == 1 {
            self.seen.add(novelty::call(None, nr), event.pid, at);
        }
        let last = &mut self.threads[event.tid as usize % THREADS];
        let before = (last.0 == event.tid && last.1 != 0).then(|| u32::from(last.1) - 1);
        *last = (event.tid, nr as u16 + 1);
        if let Some(before) = before {
            let pair = before << 16 | nr;
            let place = (before.wrapping_mul(31) ^ nr) as usize % RECENT;
            if self.recent[place] != pair {
                self.recent[place] = pair;
                self.seen
                    .add(novelty::call(Some(before), nr), event.pid, at);
            }
        }
    }

    fn port(&mut self, port: u16, event: &Event, at: EventRef) {
        if self.ports.len() < PORTS_MAX {
            self.ports.insert(port);
        }
        self.seen.add(novelty::port(port, false), event.pid, at);
    }

    pub fn sample(&mut self, boot_ns: u64, sample: &Sample, at: EventRef) {
        let samples = &mut self.samples;
        samples.at = at;
        samples.last = Some((boot_ns, *sample));
        if samples.before.is_none() {
            samples.before = samples.last;
        }
        samples.count += 1;
        samples.memory_sum += sample.memory_bytes as f64;
        samples.pids_sum += sample.pids as f64;
    }

    pub fn tally(&self, what: What) -> f64 {
        self.tallies[what as usize].count as f64
    }

    /// The first event of a kind in the window.
    pub fn witness(&self, what: What) -> Option<Witness> {
        let tally = &self.tallies[what as usize];
        (tally.count > 0).then_some(tally.witness)
    }

    /// The last sample of the window; nobody's process.
    pub fn sample_witness(&self) -> Option<Witness> {
        (self.samples.count > 0).then_some(Witness {
            pid: 0,
            at: self.samples.at,
        })
    }

    /// Calls by number. Where a number was recorded and counted, the larger one holds: counts may include
    /// what was recorded.
    pub fn calls(&self) -> Vec<u64> {
        let both = self.recorded.iter().zip(self.counted.iter());
        both.map(|(recorded, counted)| u64::from(*recorded).max(*counted).min(CALLS_MAX))
            .collect()
    }

    /// Rates, levels and shares of a window of this length, in the order of the compared features and before
    /// the comparison. Unknown: NaN.
    pub fn measures(&self, seconds: f64, calls: &[u64]) -> [f64; schema::COMPARED] {
        let total: u64 = calls.iter().sum();
        let connects = self
            .tally(What::Connects)
            .max(self.tally(What::TcpConnects));
        let refused = self.tally(What::Refused).max(self.tally(What::TcpRefused));
        let mut measures = [f64::NAN; schema::COMPARED];
        for (feature, count) in [
            (schema::SYSCALLS, total as f64),
            (schema::EXECS, self.tally(What::Execs)),
            (schema::FORKS, self.tally(What::Forks)),
            (schema::FAILED_EXITS, self.tally(What::FailedExits)),
            (schema::OPENS, self.tally(What::Opens)),
            (schema::WRITES, self.tally(What::Writes)),
            (schema::CONNECTS, connects),
        ] {
            measures[feature] = count / seconds;
        }
        measures[schema::PORTS] = self.ports.len() as f64;
        // A few calls or connects more in the divisor: one failure of one call is not a share of 1.
        measures[schema::FAILURES] = self.tally(What::Failures) / (self.tally(What::Calls) + 100.0);
        measures[schema::REFUSED] = refused / (connects + 5.0);
        self.samples.measure(&mut measures);
        measures
    }

    /// Empties the window for the next one; threads and the last sample go on.
    pub fn next(&mut self) {
        self.tallies = [Tally::default(); WHATS];
        self.recorded.fill(0);
        self.counted.fill(0);
        self.ports.clear();
        self.seen.clear();
        self.recent.fill(u32::MAX);
        self.samples = Samples {
            before: self.samples.last,
            ..Samples::default()
        };
    }

    /// The recording had a hole: nothing from before it goes on.
    pub fn reset(&mut self) {
        self.next();
        self.threads.fill((0, 0));
        self.samples = Samples::default();
    }
}

impl Samples {
    fn measure(&self, measures: &mut [f64; schema::COMPARED]) {
        let (Some((before_ns, before)), Some((last_ns, last))) = (self.before, self.last) else {
            return;
        };
        if self.count == 0 {
            return;
        }
        let count = f64::from(self.count);
        measures[schema::MEMORY] = self.memory_sum / count;
        measures[schema::PIDS] = self.pids_sum / count;
        let elapsed_ns = last_ns.saturating_sub(before_ns) as f64;
        // Samples come once a second; two of them close together divide by almost nothing.
        if elapsed_ns < 0.2e9 {
            return;
        }
        // A cumulative value that fell was reset.
        let grown = |before: u64, last: u64| {
            last.checked_sub(before)
                .map_or(f64::NAN, |grown| grown as f64)
        };
        measures[schema::CPU] = grown(before.cpu_ns, last.cpu_ns) / elapsed_ns;
        measures[schema::THROTTLED] =
            (grown(before.throttled_ns, last.throttled_ns) / elapsed_ns).min(1.0);
        let io = grown(before.io_read_bytes, last.io_read_bytes)
            + grown(before.io_write_bytes, last.io_write_bytes);
        measures[schema::IO] = io / elapsed_ns * 1e9;
        let floor = schema::FEATURES[schema::MEMORY_SLOPE].floor;
        measures[schema::MEMORY_SLOPE] = super::baseline::ln(
            (last.memory_bytes as f64 + floor) / (before.memory_bytes as f64 + floor),
        );
    }
}
