//! The sliding-window detector: per container and metric, did the level shift?
//!
//! Time is cut into bins of one second of the boot clock. Events are counted into the open bin; the
//! first record of a later second closes it (the recorder writes a tick each second, so bins close
//! when nothing happens too). CPU, memory and tasks come from the samples, one value a sample.
//! A container's first [`STARTUP_BINS`] are left out: starting up is always unusual.
//!
//! The metrics and their sizes: [`metrics`]. The question itself: [`series`]; whether it has been like that
//! before: [`novelty`]; what two do together: [`pairs`]; connections that keep time: [`rhythm`]. What is large
//! enough, for all: [`thresholds`].

pub mod metrics;
pub mod novelty;
pub mod pairs;
pub mod rhythm;
pub mod series;
pub mod thresholds;
mod window;

use hashbrown::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use trace_format::{
    Context, ContextRecord, Event, EventData, EventHead, Payload, columns, event::Sample,
};

use crate::{
    findings::{EngineKind, Finding, Severity, Value},
    order::EventRef,
    pipeline::{Detector, Write},
    resolve::{News, State},
    syscalls::{Arch, Transfers},
};
use metrics::{CPU, MEMORY, METRICS, Metric, PIDS};
use pairs::{HOST, Pairs, Parted};
use rhythm::{Rhythm, Rhythms};
use series::{Direction, Series, Shift};
use thresholds::{BEATS, BLOCK_BINS, NOVEL};
use window::{Bin, Calls, Counters, connects_to};

const BIN_NS: u64 = 1_000_000_000;

/// Bins after a container's first event that are neither judged nor a baseline.
pub const STARTUP_BINS: u64 = 2;

/// Cgroups watched at once; past it, the one that was silent longest makes room. Ten times what a
/// host with 110 pods has; 9 KiB each.
pub const CGROUPS_MAX: usize = 1024;

/// Seconds without any record after which the recording itself had a hole: ticks come every second.
const HOLE_BINS: u64 = 3;

/// The detector.
pub struct Statistics {
    cgroups: Vec<Watched>,
    index: HashMap<u64, usize>,
    /// Position of the last event's cgroup: events come in bursts of one container.
    last: usize,
    /// Number of the open bin: boot_ns / BIN_NS.
    bin: u64,
    /// False until the first record.
    started: bool,
    /// The open bin began before the recording, or after a hole in it.
    partial: bool,
    calls: Calls,
    transfers: Transfers,
    pairs: Pairs,
    host: Option<SampleSeen>,
    /// The trace tells what is written and sent: in sums, or call by call.
    bytes_counted: bool,
    /// The trace has states of TCP sockets.
    tcp_told: bool,
}

struct Watched {
    cgroup_id: u64,
    /// Bins before this one are start-up.
    from_bin: u64,
    active_bin: u64,
    counters: Counters,
    sample: Option<SampleSeen>,
    series: Box<[Series; METRICS.len()]>,
    rhythms: Rhythms,
}

#[derive(Clone, Copy)]
struct SampleSeen {
    boot_ns: u64,
    cpu_ns: u64,
}

impl SampleSeen {
    fn of(event: &Event, sample: &Sample) -> SampleSeen {
        SampleSeen {
            boot_ns: event.boot_ns,
            cpu_ns: sample.cpu_ns,
        }
    }

    /// Cores used since.
    fn cpu_share(self, event: &Event, sample: &Sample) -> Option<f64> {
        let elapsed_ns = event.boot_ns.saturating_sub(self.boot_ns);
        // Two samples close together divide by almost nothing; a counter that fell was reset.
        let used_ns = sample.cpu_ns.checked_sub(self.cpu_ns)?;
        (elapsed_ns >= BIN_NS / 5).then(|| used_ns as f64 / elapsed_ns as f64)
    }
}

impl Default for Statistics {
    fn default() -> Self {
        Statistics {
            cgroups: Vec::new(),
            index: HashMap::new(),
            last: 0,
            bin: 0,
            started: false,
            partial: true,
            calls: Calls::of(Arch::default()),
            transfers: Transfers::default(),
            pairs: Pairs::default(),
            host: None,
            bytes_counted: false,
            tcp_told: false,
        }
    }
}

impl Detector for Statistics {
    fn event(
        &mut self,
        event: &Event,
        at: &EventRef,
        state: &State,
        found: &mut dyn FnMut(Finding),
    ) {
        match &event.data {
            EventData::Cgroup(change) => {
                if change.removed {
                    self.forget(change.id);
                }
                return;
            }
            EventData::Sample(sample) => {
                if event.cgroup_id == HOST {
                    let before = self.host.replace(SampleSeen::of(event, sample));
                    if let Some(share) = before.and_then(|it| it.cpu_share(event, sample)) {
                        self.pairs.value(HOST, share);
                    }
                } else {
                    let position = self.position(event.cgroup_id);
                    self.sample(position, event, sample, at, state, found);
                }
                return;
            }
            // Nothing is counted of these, nor do they say that a container is at work.
            EventData::Dns(_)
            | EventData::Http(_)
            | EventData::OomKill(_)
            | EventData::PassedFd(_)
            | EventData::Peer(_)
            | EventData::Signal(_)
            | EventData::TcpEvent(_) => return,
            EventData::Io(_) => self.bytes_counted = true,
            EventData::TcpState(_) => self.tcp_told = true,
            _ => {}
        }
        if event.cgroup_id == 0 {
            return;
        }
        let position = self.at_hand(event.cgroup_id);
        let watched = &mut self.cgroups[position];
        watched.counters.count(event, *at, &self.calls);
        if let EventData::Syscall(call) | EventData::Payload(Payload { call, .. }) = &event.data
            && let Some(transfer) = self.transfers.of(call.nr)
            && let Some(write) = Write::of(transfer, call.ret, |at| call.args[usize::from(at)])
        {
            self.writes(event.pid, event.cgroup_id, at, write, state);
            return;
        }
        if let Some(target) = connects_to(event, &self.calls, self.tcp_told)
            && let Some(rhythm) = watched.rhythms.connect(target, event.boot_ns)
            && is_container(state, event.cgroup_id)
        {
            found(keeping_time(&rhythm, event, *at));
        }
    }

    /// Most plain calls are only counted; some count for more.
    fn wants_call(&self, nr: u32, arch: Arch) -> bool {
        Calls::of(arch).tell_more(nr)
    }

    fn wants_family(&self, family: u16) -> bool {
        use columns::{DNS, HTTP, OOM_KILL, PASSED_FD, PEER, SIGNAL, TCP_EVENT};
        !matches!(
            family,
            DNS | HTTP | OOM_KILL | PASSED_FD | PEER | SIGNAL | TCP_EVENT
        )
    }

    fn call(&mut self, head: &EventHead<'_>, at: &EventRef) {
        if head.cgroup_id != 0 {
            let position = self.at_hand(head.cgroup_id);
            self.cgroups[position].counters.call(head.pid, *at);
        }
    }

    fn wants_writes(&self) -> bool {
        true
    }

    fn wrote(&mut self, head: &EventHead<'_>, at: &EventRef, write: Write, state: &State) {
        if head.cgroup_id != 0 {
            self.writes(head.pid, head.cgroup_id, at, write, state);
        }
    }

    fn due_ns(&self) -> u64 {
        match self.started {
            true => (self.bin + 1).saturating_mul(BIN_NS),
            false => 0,
        }
    }

    fn context(
        &mut self,
        record: &ContextRecord,
        _: Option<&News>,
        _: &State,
        _: &mut dyn FnMut(Finding),
    ) {
        if let Context::Host(host) = &record.body
            && let Some(arch) = Arch::from_name(&host.arch)
        {
            self.calls = Calls::of(arch);
            self.transfers = Transfers::new(arch);
        }
    }

    fn advance(&mut self, boot_ns: u64, state: &State, found: &mut dyn FnMut(Finding)) {
        let bin = boot_ns / BIN_NS;
        if bin <= self.bin && self.started {
            return;
        }
        if !self.started {
            self.started = true;
            self.bin = bin;
            return;
        }
        if bin - self.bin > HOLE_BINS {
            for watched in &mut self.cgroups {
                watched.counters.clear();
                watched.sample = None;
            }
            self.pairs.begin_anew();
            self.host = None;
            self.bin = bin;
            self.partial = true;
            return;
        }
        while self.bin < bin {
            self.close(state, found);
            self.bin += 1;
            self.partial = false;
        }
    }

    /// The last bin is not complete: it says nothing.
    fn finish(&mut self, _: &State, _: &mut dyn FnMut(Finding)) {}
}

impl Statistics {
    /// Judges the open bin of every cgroup.
    fn close(&mut self, state: &State, found: &mut dyn FnMut(Finding)) {
        let end_ns = (self.bin + 1) * BIN_NS;
        let complete = state
            .last_gap_ns()
            .is_none_or(|gap_ns| gap_ns / BIN_NS < self.bin);
        self.pairs.close_bin(&mut |parted| {
            let known = parted.with == HOST || is_container(state, parted.with);
            if known && is_container(state, parted.cgroup_id) {
                found(parting(&parted, state, end_ns));
            }
        });
        for watched in &mut self.cgroups {
            let bin = watched.counters.close(end_ns, self.bytes_counted);
            if bin.active {
                watched.active_bin = self.bin;
            }
            if self.partial || self.bin < watched.from_bin {
                continue;
            }
            let counted = METRICS
                .iter()
                .zip(watched.series.iter_mut())
                .zip(bin.values);
            for (index, ((metric, series), value)) in counted.enumerate() {
                let Some(value) = value else { continue };
                if let Some(shift) = series.observe(metric, value, complete)
                    && is_container(state, watched.cgroup_id)
                {
                    let counted = Some((&bin, index));
                    found(finding(metric, &shift, watched.cgroup_id, end_ns, counted));
                }
            }
        }
    }

    fn sample(
        &mut self,
        position: usize,
        event: &Event,
        sample: &Sample,
        at: &EventRef,
        state: &State,
        found: &mut dyn FnMut(Finding),
    ) {
        let watched = &mut self.cgroups[position];
        watched.active_bin = self.bin;
        let before = watched.sample.replace(SampleSeen::of(event, sample));
        if self.bin < watched.from_bin {
            return;
        }
        let cpu_share = before.and_then(|before| before.cpu_share(event, sample));
        if let Some(share) = cpu_share {
            self.pairs.value(event.cgroup_id, share);
        }
        let values = [
            (CPU, cpu_share),
            (MEMORY, Some(sample.memory_bytes as f64)),
            (PIDS, Some(sample.pids as f64)),
        ];
        for (metric, value) in values {
            let Some(value) = value else { continue };
            if let Some(shift) = watched.series[metric].observe(&METRICS[metric], value, true)
                && is_container(state, watched.cgroup_id)
            {
                let mut finding = finding(
                    &METRICS[metric],
                    &shift,
                    watched.cgroup_id,
                    event.boot_ns,
                    None,
                );
                finding.evidence = Some(*at);
                found(finding);
            }
        }
    }

    /// A single call of a process wrote.
    #[inline]
    fn writes(&mut self, pid: u32, cgroup_id: u64, at: &EventRef, write: Write, state: &State) {
        self.bytes_counted = true;
        if write.bytes == 0 {
            return;
        }
        let descriptor = state
            .process(pid)
            .and_then(|process| state.descriptor(process, write.fd));
        let kind = write.transfer.kind(descriptor);
        let position = self.at_hand(cgroup_id);
        let counters = &mut self.cgroups[position].counters;
        counters.wrote(pid, *at, kind, write.bytes);
    }

    /// The same of the cgroup whose event came last, most likely.
    #[inline]
    fn at_hand(&mut self, cgroup_id: u64) -> usize {
        let position = match self.cgroups.get(self.last) {
            Some(watched) if watched.cgroup_id == cgroup_id => self.last,
            _ => self.position(cgroup_id),
        };
        self.last = position;
        position
    }

    /// Position of a cgroup, which is watched from now on.
    fn position(&mut self, cgroup_id: u64) -> usize {
        if let Some(&position) = self.index.get(&cgroup_id) {
            return position;
        }
        if self.cgroups.len() == CGROUPS_MAX {
            let silent = self
                .cgroups
                .iter()
                .min_by_key(|watched| watched.active_bin)
                .map(|watched| watched.cgroup_id);
            self.forget(silent.unwrap_or(0));
        }
        // A container that is there in the first second was there before: it is not starting up.
        let from_bin = if self.partial {
            self.bin
        } else {
            self.bin + STARTUP_BINS
        };
        self.cgroups.push(Watched {
            cgroup_id,
            from_bin,
            active_bin: self.bin,
            counters: Counters::default(),
            sample: None,
            series: Box::default(),
            rhythms: Rhythms::default(),
        });
        self.index.insert(cgroup_id, self.cgroups.len() - 1);
        self.cgroups.len() - 1
    }

    fn forget(&mut self, cgroup_id: u64) {
        let Some(position) = self.index.remove(&cgroup_id) else {
            return;
        };
        self.cgroups.swap_remove(position);
        self.pairs.forget(cgroup_id);
        if let Some(moved) = self.cgroups.get(position) {
            self.index.insert(moved.cgroup_id, position);
        }
        self.last = 0;
    }
}

fn is_container(state: &State, cgroup_id: u64) -> bool {
    state
        .container(cgroup_id)
        .is_some_and(|container| !container.id.is_empty())
}

fn finding(
    metric: &Metric,
    shift: &Shift,
    cgroup_id: u64,
    boot_ns: u64,
    counted: Option<(&Bin, usize)>,
) -> Finding {
    let (verb, word) = match shift.direction {
        Direction::Up => ("rose", "up"),
        Direction::Down => ("fell", "down"),
    };
    // What the container has done before in much the same way is worth less of a look.
    let again = shift.novelty.is_some_and(|novelty| novelty < NOVEL);
    let severity = match again {
        true => metric.severity.min(Severity::Notice),
        false => metric.severity,
    };
    let mut finding = Finding::new(
        EngineKind::Statistics,
        metric.name.into(),
        severity,
        boot_ns,
    );
    let (value, baseline) = (readable(shift.value), readable(shift.baseline));
    let (title, unit, bins) = (metric.title, metric.unit, shift.bins);
    finding.message = match shift.trend {
        true => format!(
            "{title} {verb} steadily to {value} {unit}: {baseline} when it began ({bins} s)"
        ),
        false => format!(
            "{title} {verb} to {value} {unit}: usually {baseline} (score {:.1}, {bins} s){}",
            shift.score,
            if again { ", as it did before" } else { "" }
        ),
    };
    finding.cgroup_id = cgroup_id;
    finding.window_ns = (shift.baseline_bins as u64 + u64::from(shift.bins)) * BIN_NS;
    finding.fields = vec![
        ("metric".into(), Value::Text(metric.name.into())),
        ("direction".into(), Value::Text(word.into())),
        ("value".into(), Value::Number(shift.value)),
        ("baseline".into(), Value::Number(shift.baseline)),
        ("scale".into(), Value::Number(shift.scale)),
        ("score".into(), Value::Number(shift.score)),
        ("unit".into(), Value::Text(metric.unit.into())),
        ("bins".into(), Value::Unsigned(u64::from(shift.bins))),
        (
            "baseline_bins".into(),
            Value::Unsigned(shift.baseline_bins as u64),
        ),
    ];
    if let Some(novelty) = shift.novelty {
        finding
            .fields
            .push(("novelty".into(), Value::Number(novelty)));
    }
    if shift.trend {
        finding.fields.push(("trend".into(), Value::Flag(true)));
    }
    if shift.direction == Direction::Up {
        finding.tags = metric.tags.iter().map(|tag| (*tag).to_owned()).collect();
    }
    if let Some((bin, metric)) = counted {
        finding.evidence = bin.evidence[metric];
        finding.pid = bin.process[metric];
    }
    finding
}

/// A target to which connections come at even intervals.
fn keeping_time(rhythm: &Rhythm, event: &Event, at: EventRef) -> Finding {
    let mut finding = Finding::new(
        EngineKind::Statistics,
        "connect_rhythm".into(),
        // Whoever asks whether a service is well does that too.
        Severity::Notice,
        event.boot_ns,
    );
    let (address, port) = rhythm.target;
    let address = IpAddr::V6(Ipv6Addr::from(address)).to_canonical();
    let target = SocketAddr::new(address, port).to_string();
    let period = rhythm.period_ns as f64 / 1e9;
    finding.message = format!(
        "Connections to {target} come every {} s: {BEATS} times, the intervals within {:.0} %",
        readable(period),
        rhythm.spread * 100.0
    );
    finding.cgroup_id = event.cgroup_id;
    finding.pid = event.pid;
    finding.evidence = Some(at);
    finding.window_ns = event.boot_ns.saturating_sub(rhythm.since_ns);
    finding.fields = vec![
        ("metric".into(), Value::Text("connect_rhythm".into())),
        ("target".into(), Value::Text(target)),
        ("period".into(), Value::Number(period)),
        ("spread".into(), Value::Number(rhythm.spread)),
        ("unit".into(), Value::Text("s".into())),
        ("beats".into(), Value::Unsigned(BEATS as u64)),
    ];
    finding.tags = vec!["T1071.001".into()];
    finding
}

/// A pair whose correlation has changed, as a finding of its first container.
fn parting(parted: &Parted, state: &State, boot_ns: u64) -> Finding {
    let name = |cgroup_id| match cgroup_id {
        HOST => "the rest of the host",
        _ => State::label_of(state.container(cgroup_id)),
    };
    let mut finding = Finding::new(
        EngineKind::Statistics,
        "cpu_correlation".into(),
        // That two work together otherwise than before is a hint beside other findings, seldom one alone.
        Severity::Informational,
        boot_ns,
    );
    finding.message = format!(
        "CPU share moves otherwise with that of {}: correlation {:.2}, usually {:.2} (score {:.1}, {} s)",
        name(parted.with),
        parted.correlation,
        parted.baseline,
        parted.score,
        2 * BLOCK_BINS
    );
    finding.cgroup_id = parted.cgroup_id;
    finding.window_ns = (parted.blocks as u64 + 2) * BLOCK_BINS as u64 * BIN_NS;
    finding.fields = vec![
        ("metric".into(), Value::Text("cpu_correlation".into())),
        ("with".into(), Value::Text(name(parted.with).into())),
        ("value".into(), Value::Number(parted.correlation)),
        ("baseline".into(), Value::Number(parted.baseline)),
        ("score".into(), Value::Number(parted.score)),
        (
            "baseline_blocks".into(),
            Value::Unsigned(parted.blocks as u64),
        ),
    ];
    finding
}

/// Three significant digits are all a message needs; the fields have more.
fn readable(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        0.0..0.1 => format!("{value:.3}"),
        0.1..10.0 => format!("{value:.2}"),
        10.0..1_000.0 => format!("{value:.0}"),
        1_000.0..1e6 => format!("{:.1}k", value / 1e3),
        1e6..1e9 => format!("{:.1}M", value / 1e6),
        _ => format!("{:.1}G", value / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trace_format::event::Syscall;

    fn call(boot_ns: u64, cgroup_id: u64) -> Event {
        let data = EventData::Syscall(Syscall {
            nr: 0,
            ret: 0,
            args: [0; 6],
            duration_ns: 0,
        });
        Event {
            boot_ns,
            cpu: 0,
            probe: 1,
            seq: 0,
            tid: 1,
            pid: 1,
            cgroup_id,
            data,
        }
    }

    #[test]
    fn cgroups_are_bounded_and_the_silent_one_makes_room() {
        let state = State::new();
        let mut statistics = Statistics::default();
        let mut see = |boot_ns, cgroup_id| {
            statistics.advance(boot_ns, &state, &mut |_| {});
            statistics.event(
                &call(boot_ns, cgroup_id),
                &EventRef::default(),
                &state,
                &mut |_| {},
            );
            (
                statistics.cgroups.len(),
                statistics.index.contains_key(&1),
                statistics.index.contains_key(&2),
            )
        };
        for cgroup_id in 1..=CGROUPS_MAX as u64 {
            see(0, cgroup_id);
        }
        for second in 1..4 {
            for cgroup_id in (1..=CGROUPS_MAX as u64).filter(|id| *id != 2) {
                see(second * BIN_NS, cgroup_id);
            }
        }
        assert_eq!(see(4 * BIN_NS, 5_000), (CGROUPS_MAX, true, false));
    }

    #[test]
    fn a_hole_in_the_recording_is_not_a_silent_container() {
        let mut state = State::new();
        let container = trace_format::Container {
            cgroup_id: 1,
            id: "c".repeat(64),
            ..Default::default()
        };
        state.context(&ContextRecord {
            boot_ns: 0,
            body: Context::Container(container),
        });
        let mut statistics = Statistics::default();
        let mut found = Vec::new();
        // Busy, then twenty seconds without any record, then busy again.
        for second in (0..20).chain(40..60) {
            for step in 0..5_000 {
                let boot_ns = second * BIN_NS + step * 100_000;
                statistics.advance(boot_ns, &state, &mut |finding| found.push(finding));
                statistics.event(
                    &call(boot_ns, 1),
                    &EventRef::default(),
                    &state,
                    &mut |finding| found.push(finding),
                );
            }
        }
        assert!(found.is_empty(), "{found:?}");
        // The same with ticks is a container that stopped.
        let mut statistics = Statistics::default();
        for second in 0..40 {
            let calls = if second < 20 { 5_000 } else { 0 };
            statistics.advance(second * BIN_NS, &state, &mut |finding| found.push(finding));
            for step in 0..calls {
                let boot_ns = second * BIN_NS + step * 100_000;
                statistics.event(
                    &call(boot_ns, 1),
                    &EventRef::default(),
                    &state,
                    &mut |finding| found.push(finding),
                );
            }
        }
        let rules: Vec<&str> = found.iter().map(|finding| &*finding.rule).collect();
        assert_eq!(rules, ["syscall_rate"]);
    }
}
