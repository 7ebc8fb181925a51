//! The pipeline: sealed chunks in, findings out. A pure fold, the same for a file, a live stream and
//! in process.
//!
//! ```text
//! SealedChunk ─ decode ─▶ order ─▶ State.context / State.before ─▶ detectors ─▶ State.after
//!                                                                      │
//!                                             complete (container, lineage, wall time, loss)
//!                                                                      │
//!                                            gate (wait, de-duplicate, limit) ─▶ incidents ─▶ findings
//! ```
//!
//! Nothing here reads a clock, a file or the network, and nothing depends on where chunks end: time
//! advances with the records alone.

use trace_format::{ChunkEvents, ContextRecord, Event, EventHead, SealedChunk, columns};

use crate::{
    findings::{Finding, FoundProcess},
    gate::{Gate, Suppressed},
    import::{
        native::{Native, Told},
        scap::families::MORE,
    },
    incidents::{Incident, Incidents},
    order::{Disorder, EventRef, Fold, Order},
    plain::{Plain, PlainBlocks, PlainCalls, PlainFamilies},
    resolve::{News, State},
    rules::RuleSet,
    rules_detector::RulesDetector,
    statistics::Statistics,
    syscalls::{Arch, Transfer},
};

/// An engine that looks at every record and says what it found.
///
/// The pipeline calls `advance` with the time of a record before that record changes the state, then
/// `context` or `event`. A detector fills in what [`Finding::new`] takes and what it knows beyond;
/// the pipeline adds the rest.
pub trait Detector: Send {
    /// One event; the state already shows what it changed ([`State::before`]).
    fn event(
        &mut self,
        event: &Event,
        at: &EventRef,
        state: &State,
        found: &mut dyn FnMut(Finding),
    );

    /// One context record, already applied to the state; `news` when it is worth judging.
    fn context(
        &mut self,
        _record: &ContextRecord,
        _news: Option<&News>,
        _state: &State,
        _found: &mut dyn FnMut(Finding),
    ) {
    }

    /// A finding of any engine, complete but for what the gate adds; also one that the gate will leave out.
    fn finding(&mut self, _finding: &Finding, _state: &State, _found: &mut dyn FnMut(Finding)) {}

    /// Trace time has reached `boot_ns`: windows that ended before can close. Never goes back. Called before
    /// whatever else is told of that time, and at [`Detector::due_ns`] at the latest.
    fn advance(&mut self, _boot_ns: u64, _state: &State, _found: &mut dyn FnMut(Finding)) {}

    /// From when on [`Detector::advance`] may find something, unless an event, a record or a finding comes
    /// before that; 0: it wants to know all the time.
    fn due_ns(&self) -> u64 {
        0
    }

    /// Whether plain system calls with this number, which change no state, are to be put together for it. Of
    /// others it gets no event, but [`Detector::call`].
    fn wants_call(&self, _nr: u32, _arch: Arch) -> bool {
        true
    }

    /// Whether events of a family that changes no state are to be put together for it. Those that nobody wants
    /// only move time on.
    fn wants_family(&self, _family: u16) -> bool {
        true
    }

    /// A plain system call that it did not want more of.
    fn call(&mut self, _head: &EventHead<'_>, _at: &EventRef) {}

    /// Whether it wants to be told of such calls what they wrote.
    fn wants_writes(&self) -> bool {
        false
    }

    /// A call of which it was just told wrote to a descriptor.
    fn wrote(&mut self, _head: &EventHead<'_>, _at: &EventRef, _write: Write, _state: &State) {}

    /// The trace has ended.
    fn finish(&mut self, _state: &State, _found: &mut dyn FnMut(Finding)) {}
}

/// What a single call wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    pub fd: i32,
    /// 0 also where the call failed.
    pub bytes: u64,
    pub transfer: Transfer,
}

impl Write {
    /// Of a call that writes to a descriptor, with its result and arguments.
    pub fn of(transfer: Transfer, ret: i64, argument: impl FnOnce(u8) -> u64) -> Option<Write> {
        Some(Write {
            // The kernel looks at the lower half.
            fd: argument(transfer.to?) as i32,
            bytes: u64::try_from(ret).unwrap_or(0),
            transfer,
        })
    }
}

/// How far back a finding's process, descriptors and lineage may rest on earlier events: a loss in
/// this time before it makes it degraded, also where the detector looked at one event only.
pub const EVIDENCE_NS: u64 = 10_000_000_000;

/// Ancestors in a finding. Lineages in containers have three to six; a shell bomb has thousands.
pub const LINEAGE_MAX: usize = 16;

/// What runs.
#[derive(Default)]
pub struct Settings {
    pub rules: Option<RuleSet>,
    pub statistics: bool,
    /// Further engines, such as a trained model.
    pub detectors: Vec<Box<dyn Detector>>,
}

/// What went through, for the summary line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub chunks: u64,
    pub events: u64,
    pub findings: u64,
    /// Events known to be lost: dropped by the kernel, or in a missing chunk.
    pub lost: u64,
    /// Chunks whose numbers were skipped.
    pub chunks_missing: u64,
    /// Chunks that had been folded already, and were left out.
    pub chunks_repeated: u64,
    pub disorder: Disorder,
    /// Findings left out as identical, see [`Gate::suppressed`].
    pub suppressed: u64,
    /// Findings left out because their container had too many, see [`Gate::rate_limited`].
    pub rate_limited: u64,
}

/// One trace's fold, or that of a capture's parts in order ([`crate::parts`]): a chunk of another
/// UUID is taken for the next part. Another trace needs another pipeline.
pub struct Pipeline {
    order: Order,
    engines: Engines,
    chunks: u64,
    chunks_missing: u64,
    chunks_repeated: u64,
    next_number: Option<u64>,
}

impl Pipeline {
    pub fn new(settings: Settings) -> Pipeline {
        let mut detectors: Vec<Box<dyn Detector>> = Vec::new();
        let severities = settings.rules.clone().filter(RuleSet::overrides_severities);
        if let Some(rules) = settings.rules {
            detectors.push(Box::new(RulesDetector::new(rules)));
        }
        if settings.statistics {
            detectors.push(Box::new(Statistics::default()));
        }
        detectors.extend(settings.detectors);
        Pipeline {
            order: Order::default(),
            engines: Engines {
                severities,
                ..Engines::new(detectors)
            },
            chunks: 0,
            chunks_missing: 0,
            chunks_repeated: 0,
            next_number: None,
        }
    }

    /// Takes the next chunk. An error says that this chunk is unreadable; the pipeline goes on
    /// without it and counts it as missing.
    pub fn push(&mut self, chunk: &SealedChunk) -> Result<(), trace_format::Error> {
        self.push_decoded(chunk.events()?);
        Ok(())
    }

    pub fn push_decoded(&mut self, chunk: ChunkEvents) {
        let header = &chunk.header;
        if self.engines.traces.last() != Some(&header.trace_uuid) {
            if !self.engines.traces.is_empty() {
                self.order.next_part();
                self.next_number = Some(0);
            }
            self.engines.traces.push(header.trace_uuid);
        }
        if let Some(expected) = self.next_number {
            if header.number < expected {
                // The same file twice, or a stream that began again: its events have been folded.
                self.chunks_repeated += 1;
                return;
            }
            if header.number > expected {
                self.chunks_missing += header.number - expected;
                self.engines.hole_ns = Some(header.first_ns);
            }
        }
        self.next_number = Some(header.number.saturating_add(1));
        self.chunks += 1;
        self.order.push(chunk, &mut self.engines);
    }

    /// The trace has ended: closes what is open.
    pub fn finish(&mut self) {
        self.order.finish(&mut self.engines);
        self.engines.finish();
    }

    /// What was found since the last call, in order.
    pub fn findings(&mut self) -> impl Iterator<Item = Finding> + '_ {
        self.engines.grouped = 0;
        self.engines.out.drain(..)
    }

    /// The incidents that ended since the last call, in order.
    pub fn incidents(&mut self) -> impl Iterator<Item = Incident> + '_ {
        self.engines.incidents.ended()
    }

    pub fn state(&self) -> &State {
        &self.engines.state
    }

    /// How far trace time has come.
    pub fn now_ns(&self) -> u64 {
        self.engines.now_ns
    }

    pub fn totals(&self) -> Totals {
        Totals {
            chunks: self.chunks,
            events: self.engines.events,
            findings: self.engines.findings,
            lost: self.engines.state.lost(),
            chunks_missing: self.chunks_missing,
            chunks_repeated: self.chunks_repeated,
            disorder: self.order.disorder(),
            suppressed: self
                .engines
                .gate
                .suppressed()
                .iter()
                .map(|(_, count)| count)
                .sum(),
            rate_limited: self.engines.gate.rate_limited(),
        }
    }

    /// Findings left out, by rule.
    pub fn suppressed(&self) -> Suppressed {
        self.engines.gate.suppressed()
    }
}

/// State and detectors: what the order feeds.
struct Engines {
    state: State,
    /// Of an imported capture: the events that its blocks make together.
    native: Native,
    /// Reused: what the current row tells.
    told: Vec<Told>,
    detectors: Vec<Box<dyn Detector>>,
    /// Rules that change how severe findings are.
    severities: Option<RuleSet>,
    gate: Gate,
    incidents: Incidents,
    /// Reused: found in the current record, not yet completed.
    found: Vec<Finding>,
    out: Vec<Finding>,
    /// Of `out`, those that have an incident.
    grouped: usize,
    /// By [`EventRef::part`].
    traces: Vec<[u8; 16]>,
    now_ns: u64,
    /// The time that detectors know.
    told_ns: u64,
    /// When they have to know it.
    due_ns: u64,
    calls: PlainCalls,
    families: PlainFamilies,
    blocks: PlainBlocks,
    /// Some detector does.
    wants_writes: bool,
    /// When the trace went on after missing chunks.
    hole_ns: Option<u64>,
    events: u64,
    findings: u64,
}

impl Engines {
    fn new(detectors: Vec<Box<dyn Detector>>) -> Engines {
        Engines {
            state: State::new(),
            native: Native::default(),
            told: Vec::new(),
            wants_writes: detectors.iter().any(|detector| detector.wants_writes()),
            families: PlainFamilies::new(&detectors),
            detectors,
            severities: None,
            gate: Gate::default(),
            incidents: Incidents::default(),
            found: Vec::new(),
            out: Vec::new(),
            grouped: 0,
            traces: Vec::new(),
            now_ns: 0,
            told_ns: 0,
            due_ns: 0,
            calls: PlainCalls::default(),
            blocks: PlainBlocks::default(),
            hole_ns: None,
            events: 0,
            findings: 0,
        }
    }

    /// Moves trace time on, before a record of that time applies.
    #[inline]
    fn advance(&mut self, boot_ns: u64) {
        // A late record does not turn time back.
        if boot_ns <= self.now_ns {
            return;
        }
        self.now_ns = boot_ns;
        if boot_ns >= self.due_ns {
            self.tell_time();
        }
        if self.gate.waits() {
            self.gate.advance(boot_ns, &self.state, &mut self.out);
            self.group();
        }
        if boot_ns >= self.incidents.due_ns() {
            self.incidents.advance(boot_ns);
        }
    }

    /// Detectors get to know how far time has come. Most records only move it on, which need not be said
    /// before it matters.
    #[inline]
    fn tell_time(&mut self) {
        if self.told_ns == self.now_ns {
            return;
        }
        self.told_ns = self.now_ns;
        let found = &mut self.found;
        for detector in &mut self.detectors {
            detector.advance(self.now_ns, &self.state, &mut |finding| found.push(finding));
        }
        if !self.found.is_empty() {
            self.complete();
        }
        let due_ns = self.detectors.iter().map(|detector| detector.due_ns());
        self.due_ns = due_ns.min().unwrap_or(u64::MAX);
    }

    /// Something is about to be told that may change when detectors are due.
    #[inline]
    fn catch_up(&mut self) {
        self.tell_time();
        self.due_ns = 0;
    }

    /// Gives what has just left the gate its incident.
    fn group(&mut self) {
        for finding in &mut self.out[self.grouped..] {
            if let Some(priority) = self
                .severities
                .as_ref()
                .and_then(|rules| rules.severity_of(finding, &self.state))
            {
                finding.severity = priority.into();
            }
            let key = container_key(&self.state, finding.cgroup_id);
            self.incidents.take(finding, key, self.now_ns);
        }
        self.grouped = self.out.len();
    }

    /// Adds to each new finding what the state knows now, and hands it to the gate.
    #[cold]
    fn complete(&mut self) {
        self.due_ns = 0;
        let mut found = std::mem::take(&mut self.found);
        for mut finding in found.drain(..) {
            self.fill(&mut finding);
            // Rules over findings see each, but none of their own.
            if !finding.over_findings {
                for detector in &mut self.detectors {
                    detector.finding(&finding, &self.state, &mut |more| self.found.push(more));
                }
            }
            self.take(finding);
            for mut more in std::mem::take(&mut self.found) {
                more.over_findings = true;
                self.fill(&mut more);
                self.take(more);
            }
        }
        self.found = found;
        self.gate.advance(self.now_ns, &self.state, &mut self.out);
        self.group();
        self.findings = self.gate.passed();
    }

    fn take(&mut self, finding: Finding) {
        let key = container_key(&self.state, finding.cgroup_id);
        self.gate.take(finding, key, self.now_ns);
    }

    /// Adds lineage, trace and loss.
    fn fill(&self, finding: &mut Finding) {
        // Where the evidence is; what no single event shows belongs to the part that is read.
        let trace = match finding.evidence {
            Some(at) => self.traces.get(at.part as usize),
            None => self.traces.last(),
        };
        finding.trace_uuid = trace.copied().unwrap_or_default();
        if finding.pid != 0 && finding.lineage.is_empty() {
            let lineage = self.state.lineage(finding.pid).take(LINEAGE_MAX);
            let container = self.state.container_key(finding.cgroup_id);
            let inside =
                |cgroup_id| container.is_none() || self.state.container_key(cgroup_id) == container;
            finding.lineage = lineage
                .map(|process| FoundProcess {
                    pid: process.pid,
                    start_ns: process.start_ns,
                    comm: process.comm.to_string(),
                    exe: process.exe_path.to_string(),
                    inside: process.pid == finding.pid || inside(process.cgroup_id),
                })
                .collect();
        }
        let window_ns = finding.window_ns.max(EVIDENCE_NS);
        let gap_ns = self
            .state
            .last_gap_ns()
            .max(self.hole_ns.filter(|hole_ns| *hole_ns <= self.now_ns));
        if let Some(gap_ns) = gap_ns
            && gap_ns.saturating_add(window_ns) >= finding.boot_ns
        {
            let ago = finding.boot_ns.saturating_sub(gap_ns) as f64 / 1e9;
            finding.degraded = Some(format!(
                "events were lost {ago:.1} s before, within the {:.0} s it rests on",
                window_ns as f64 / 1e9
            ));
        }
    }

    fn finish(&mut self) {
        self.catch_up();
        let found = &mut self.found;
        for detector in &mut self.detectors {
            detector.finish(&self.state, &mut |finding| found.push(finding));
        }
        self.complete();
        self.gate.finish(&self.state, &mut self.out);
        self.group();
        self.incidents.finish();
        self.findings = self.gate.passed();
    }
}

/// One number for all cgroups of a container; 0: the host.
fn container_key(state: &State, cgroup_id: u64) -> u64 {
    state
        .container(cgroup_id)
        .map_or(cgroup_id, |container| container.key)
}

impl Fold for Engines {
    fn context(&mut self, record: &ContextRecord) {
        self.advance(record.boot_ns);
        self.catch_up();
        let news = self.state.context(record);
        let found = &mut self.found;
        for detector in &mut self.detectors {
            detector.context(record, news.as_ref(), &self.state, &mut |finding| {
                found.push(finding)
            });
        }
        if !self.found.is_empty() {
            self.complete();
        }
        if self.gate.waits() {
            self.gate.advance(self.now_ns, &self.state, &mut self.out);
            self.group();
        }
    }

    #[inline]
    fn event(&mut self, event: &Event, at: EventRef) {
        let mut told = std::mem::take(&mut self.told);
        if self.native.fold(event, &self.state, &mut told) {
            self.state.passed(event);
            for one in told.drain(..) {
                self.tell(one, at);
            }
        } else {
            self.judge(event, at);
        }
        self.told = told;
    }

    #[inline]
    fn takes(&mut self, chunk: &ChunkEvents, index: usize, at: EventRef) -> bool {
        match at.family {
            columns::SYSCALL | columns::TIMED_SYSCALL => self.takes_call(chunk, index, at),
            columns::DECLARED.. => self.takes_block(chunk, index, at),
            family => self.takes_family(chunk, index, family),
        }
    }
}

/// Of a call, from its columns.
fn result_and_first(chunk: &ChunkEvents, index: usize) -> Option<(i64, i32)> {
    let ret = chunk.field(index, 1).ok()? as i64;
    // The kernel looks at the lower half.
    let first = chunk.field(index, 2).ok()? as i32;
    Some((ret, first))
}

/// What a plain call wrote, from its columns: number, result, arguments.
fn write_of(chunk: &ChunkEvents, index: usize, transfer: Transfer) -> Option<Write> {
    let ret = chunk.field(index, 1).ok()? as i64;
    Write::of(transfer, ret, |argument| {
        let at = 2 + usize::from(argument);
        chunk.field(index, at).unwrap_or(0)
    })
}

impl Engines {
    /// Takes a plain system call that need not be put together.
    #[inline]
    fn takes_call(&mut self, chunk: &ChunkEvents, index: usize, at: EventRef) -> bool {
        let Ok(nr) = chunk.first_field(index) else {
            return false;
        };
        let Some(plain) = self.calls.of(nr as u32, &self.state, &self.detectors) else {
            return false;
        };
        let head = chunk.head(index);
        self.count(&head, &at);
        if plain == Plain::Closes {
            if let Some((ret, fd)) = result_and_first(chunk, index)
                && ret >= 0
            {
                self.state.closed(head.pid, fd);
            }
        } else if self.wants_writes
            && let Some(transfer) = self.calls.transfer(nr as u32)
            && let Some(write) = write_of(chunk, index, transfer)
        {
            for detector in &mut self.detectors {
                detector.wrote(&head, &at, write, &self.state);
            }
        }
        true
    }

    /// Takes an event of a family that changes nothing and that nobody asks for.
    #[inline]
    fn takes_family(&mut self, chunk: &ChunkEvents, index: usize, family: u16) -> bool {
        if !self.families.has(family) {
            return false;
        }
        let head = chunk.head(index);
        self.advance(head.boot_ns);
        self.state.counted(&head);
        self.events += 1;
        true
    }

    /// Takes a capture's row that tells of such a call.
    #[inline]
    fn takes_block(&mut self, chunk: &ChunkEvents, index: usize, at: EventRef) -> bool {
        let head = chunk.head(index);
        let Some(ty) = head.ty else { return false };
        let Some(block) = self.blocks.of(ty, &self.state, &self.detectors) else {
            return false;
        };
        if block.tells {
            // What the columns cannot say of a block may be that people are not to see it.
            if !matches!(chunk.field(index, MORE), Ok(0)) {
                return false;
            }
            self.count(&head, &at);
        } else {
            self.state.left_out(&head);
        }
        if block.is_call {
            self.native.left_out(head.tid);
        }
        true
    }

    /// Of a plain system call, all there is to do.
    #[inline]
    fn count(&mut self, head: &EventHead<'_>, at: &EventRef) {
        self.advance(head.boot_ns);
        self.state.counted(head);
        self.events += 1;
        for detector in &mut self.detectors {
            detector.call(head, at);
        }
    }

    /// Takes what a capture's row tells.
    fn tell(&mut self, told: Told, at: EventRef) {
        match told {
            Told::Event(event) => self.judge(&event, at),
            Told::Bare(event) => {
                self.advance(event.boot_ns);
                self.state.saw();
                self.detect(&event, at);
            }
            Told::Silent(event) => {
                self.advance(event.boot_ns);
                self.state.before(&event);
                self.state.after(&event);
            }
            Told::Context(record) => self.context(&record),
            Told::Descriptor {
                pid,
                fd,
                descriptor,
            } => self.state.has_descriptor(pid, fd, *descriptor),
        }
    }

    #[inline]
    fn judge(&mut self, event: &Event, at: EventRef) {
        self.advance(event.boot_ns);
        self.state.before(event);
        self.detect(event, at);
        self.state.after(event);
    }

    #[inline]
    fn detect(&mut self, event: &Event, at: EventRef) {
        self.events += 1;
        self.catch_up();
        let found = &mut self.found;
        for detector in &mut self.detectors {
            detector.event(event, &at, &self.state, &mut |finding| found.push(finding));
        }
        if !self.found.is_empty() {
            self.complete();
        }
    }
}
