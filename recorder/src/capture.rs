//! The capture loop: attach → drain → observe → seal → sinks, until it is told to stop.
//!
//! One thread drains and seals; whatever may wait (files of /proc, an engine's API, a disk, a
//! subscriber) has a thread of its own. Everything the trace says about the world passes through
//! here and becomes a record before the chunk is sealed.

mod figures;
mod losses;
mod output;
mod switchboard;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use crossbeam_channel::Receiver;
use recorder_ebpf::{Settings, probe};
use trace_format::{
    ChunkBuilder, Context, ContextRecord, Limits, Mark, SigningKey,
    context::{Continued, Continues, Probes as ProbeTable},
    syscalls::Arch,
};

use crate::{
    calls::RingSizes,
    clock,
    control::Asked,
    drain::{Chunks as _, Drain, Rings},
    filter::{Resolved, lists::Lists, value::SAMPLE},
    listed, notice,
    observe::{
        cgroups::Cgroups,
        containers::Containers,
        counts::Counts,
        host, processes,
        runtimes::Resolver,
        watcher::{Batch, Watcher},
    },
    own::Own,
    pauses::Pauses,
    policy::Profile,
    privileges,
    probes::{self, Probes},
    redact::Redact,
    rotation::{Rotate, Rotation},
    sinks::{Ending, Running, Sink},
    switch::{self, InForce},
};

use losses::Losses;
use output::Output;
use switchboard::{Policy, Switchboard, describe, wanted};

const NS_PER_S: u64 = 1_000_000_000;
/// Records in one round: bounds how late a tick or a stop can be.
const ROUND_MAX: usize = 262_144;
/// Marks in one round: whoever asks for them without a pause does not keep the rings waiting.
const MARKS_ROUND: usize = 64;
/// The observer's floor holds the watermark back at most this long: a hung read of /proc must not
/// stop the stream.
const FLOOR_AGE_MAX_NS: u64 = 2 * NS_PER_S;
/// Programs that were running when they were detached end within this time.
const DETACH_PAUSE: Duration = Duration::from_millis(20);
/// The first process snapshot takes some milliseconds; the rings hold much longer than this.
const FIRST_BATCH_MAX: Duration = Duration::from_secs(1);
/// A checkpoint lets a reader start in the middle.
const CHECKPOINT_INTERVAL_NS: u64 = 60 * NS_PER_S;
/// So does one after this many events: what a reader folds before the place it was asked for, in a
/// tenth of a second or so.
const CHECKPOINT_EVENTS: u64 = 500_000;
/// But no sooner after the one before: a snapshot of a host's processes takes some milliseconds.
const CHECKPOINT_PAUSE_NS: u64 = NS_PER_S;

/// Bytes of a payload that are kept unless told otherwise: a request line, a command, the head of a file.
pub const SNAPLEN: u32 = 80;

/// What to record.
#[derive(Clone, Debug)]
pub struct Options {
    pub profile: Profile,
    /// Look for HTTP/1 in what goes through TCP sockets; `None`: as the profile does.
    pub http: Option<bool>,
    /// Measure how long system calls take.
    pub durations: bool,
    /// Calls of which the first bytes that they read or write are recorded, and how many of these.
    pub payload: Vec<&'static str>,
    pub snaplen: u32,
    /// Ids of the probes.
    pub probes: Vec<u8>,
    /// Only this.
    pub filter: Resolved,
    pub duration: Option<Duration>,
    /// Age at which a chunk is sealed.
    pub chunk_age: Duration,
    pub checkpoint_interval_ns: u64,
    /// A checkpoint also after this many bytes of chunks.
    pub checkpoint_bytes: u64,
    /// Bytes of the rings for system calls, all CPUs together (a power of two); None: enough.
    pub ring_bytes: Option<u32>,
    pub btf: Option<std::path::PathBuf>,
    pub object: Option<std::path::PathBuf>,
    /// Attach the programs but let them record nothing: the price of the hooks alone.
    pub empty: bool,
    /// Ask the container runtimes for names.
    pub runtimes: bool,
    /// Signs the chain while it grows.
    pub key: Option<Arc<SigningKey>>,
    /// When a part of the capture is full; `None`: it has one.
    pub rotate: Option<Rotate>,
    /// Ask the kernel for the run time of each probe, every second.
    pub own: bool,
    /// Sinks create files later on.
    pub writes_later: bool,
    /// What is taken out before anything is sealed.
    pub redact: Redact,
    /// Notes to write, as they come.
    pub marks: Receiver<Asked>,
    /// Changes of what is recorded.
    pub switches: Receiver<switch::Asked>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            profile: Profile::Standard,
            http: None,
            durations: false,
            payload: Vec::new(),
            snaplen: SNAPLEN,
            probes: probes::PROBES.iter().map(|probe| probe.id).collect(),
            filter: Resolved::default(),
            duration: None,
            chunk_age: Duration::from_secs(1),
            checkpoint_interval_ns: CHECKPOINT_INTERVAL_NS,
            checkpoint_bytes: u64::MAX,
            ring_bytes: None,
            btf: None,
            object: None,
            empty: false,
            runtimes: true,
            key: None,
            rotate: None,
            own: false,
            writes_later: false,
            redact: Redact::default(),
            marks: crossbeam_channel::never(),
            switches: crossbeam_channel::never(),
        }
    }
}

/// Figures of a running capture, for whoever shows them.
#[derive(Debug, Default)]
pub struct Progress {
    pub events: AtomicU64,
    pub chunks: AtomicU64,
    pub bytes: AtomicU64,
    pub dropped: AtomicU64,
    /// Set once the probes are attached.
    pub recording: AtomicBool,
    /// Of the trace's newest Probes record.
    pub in_force: Mutex<InForce>,
    /// Somebody may ask for `own`.
    pub own_wanted: AtomicBool,
    /// What recording costs and loses: every second, if it is wanted.
    pub own: Mutex<Own>,
}

/// What a capture did.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Report {
    pub trace_uuid: String,
    /// Traces that it was written as.
    pub parts: u32,
    pub events: u64,
    pub chunks: u64,
    /// Bytes of sealed chunks.
    pub bytes: u64,
    /// Sequence numbers that the probes handed out, and what became of them.
    pub seen: u64,
    pub dropped: u64,
    pub filtered: u64,
    /// Records that were not decodable: a probe object of another version.
    pub refused: u64,
    pub duration_s: f64,
    /// Probes that could not be attached, with the reason.
    pub missing_probes: Vec<(String, String)>,
}

/// Records until `stop`, the duration's end, or a failed sink. Returns the report; the sinks' own
/// failures are in the second value.
pub fn run(
    options: &Options,
    trace_uuid: [u8; 16],
    sinks: Vec<Box<dyn Sink>>,
    stop: &AtomicBool,
    progress: &Progress,
) -> anyhow::Result<(Report, Vec<anyhow::Error>)> {
    let arch = Arch::native()
        .ok_or_else(|| anyhow::anyhow!("recording works on x86-64 and aarch64 only"))?;
    host::in_host_pid_namespace()?;
    let sizes = RingSizes::new(options.ring_bytes)
        .context("cannot read the number of CPUs from /sys/devices/system/cpu/possible")?;
    let list = listed::list();
    let filter = &options.filter.filter;
    let (filter_options, filter_must) = filter.options();
    let min_duration = filter.min_duration.unwrap_or_default();
    let mut probes = Probes::load(&probes::Options {
        btf: options.btf.clone(),
        object: options.object.clone(),
        settings: Settings {
            self_tgid: std::process::id(),
            filter: filter_options,
            filter_must,
            filter_kinds: filter.kinds(),
            filter_min_ns: u64::try_from(min_duration.as_nanos()).unwrap_or(u64::MAX),
            empty: u32::from(options.empty),
            call_pages: sizes.call_pages,
            names: list.bits,
            durations: u32::from(options.durations),
            snaplen: match options.payload.is_empty() {
                true => 0,
                false => options.snaplen,
            },
            ..Settings::default()
        },
        rings: sizes,
        wanted: wanted(options, &filter.needs()),
    })?;
    let mut policy = Policy::take(&mut probes, arch, options)?;
    policy.write(options.profile)?;
    let mut lists = Lists::write(&options.filter, &mut probes, arch)?;
    let mut names = probes.listed_names()?;
    for (name, place) in &list.names {
        names.insert(name, place, 0)?;
    }
    let losses = Losses::take(&mut probes)?;
    let drain = Drain::new(
        Rings {
            calls: probes.call_rings(sizes, options.durations)?,
            bulk: probes.ring("BULK")?,
            urgent: probes.ring("URGENT")?,
        },
        arch,
    );
    let pauses = Pauses::new(probes.array("ASLEEP")?);
    let descriptors = probes.descriptors(sizes, arch)?;
    let calls = probes.call_counts(sizes)?;
    let counts = Counts::new(probes.turn()?, calls, descriptors);

    // Before the first thread is started: each has what this one has then.
    if let Err(error) = privileges::keep(options.writes_later || options.rotate.is_some()) {
        notice::say(format_args!(
            "rec: goes on with all its capabilities, as none can be given up: {error}"
        ));
    }
    let mut builder = ChunkBuilder::new(trace_uuid, Limits::default());
    if let Some(key) = &options.key {
        builder.sign_with(key.clone());
    }
    let resolver = options.runtimes.then(Resolver::start);
    let mut capture = Capture {
        drain,
        pauses,
        losses,
        containers: Containers::new(Cgroups::open(), resolver),
        out: Output {
            builder,
            sinks: sinks.into_iter().map(Running::start).collect(),
            sink_failed: false,
            progress,
            events: 0,
            part_bytes: 0,
            bytes: 0,
            redact: options.redact.clone(),
            redact_told: None,
        },
        rotation: options
            .rotate
            .map(|rotate| Rotation::new(rotate, trace_uuid)),
        events_at_checkpoint: 0,
        bytes_at_checkpoint: 0,
        probe_table: ProbeTable::default(),
        filter: &options.filter,
        filter_text: filter.text(),
        payload_text: match options.payload.is_empty() {
            true => String::new(),
            false => format!(
                "{}: up to {} bytes of each",
                options.payload.join(", "),
                options.snaplen
            ),
        },
        marks: options.marks.clone(),
    };
    // Who runs already is read while forks are recorded, so nobody is missed who starts meanwhile; who ended
    // before being read is not told to end either.
    policy.exits_from(u64::MAX)?;
    probes.attach_first(probe::EXIT);
    probes.attach_first(probe::FORK);
    policy.exits_from(clock::boot_ns())?;
    capture.before_probes();
    policy.exits_from(0)?;
    probes.attach()?;
    if let Err(error) = probes.learn_rights() {
        notice::say(format_args!(
            "rec: what processes that run already may do is not known before it changes: {error}"
        ));
    }
    // The duration is that of recording, not of starting to.
    let started = Instant::now();
    lists.seed(&options.filter);
    capture.probe_table = describe(&probes, options.profile);
    capture.tell_options();
    capture.tell_in_force(clock::boot_ns());
    // Events are waiting from here on; everything else about the start is written after them.
    progress.recording.store(true, Ordering::Release);
    let samples = filter.kinds() >> SAMPLE & 1 != 0;
    let watcher = Watcher::start(Cgroups::open(), counts, samples);
    capture.start(&watcher);
    let mut switchboard = Switchboard {
        probes: &mut probes,
        policy,
        profile: options.profile,
        filter,
        lists,
    };
    capture.record(options, &watcher, stop, started, &mut switchboard);
    probes.detach();
    thread::sleep(DETACH_PAUSE);
    let missing_probes = probes
        .attached
        .iter()
        .filter_map(|entry| Some((entry.tracepoint.to_owned(), entry.reason.clone()?)))
        .filter(|(_, reason)| reason != probes::NOT_WANTED && reason != probes::SWITCHED_OFF)
        .collect();
    let (mut report, failures) = capture.end(watcher);
    report.trace_uuid = uuid::Uuid::from_bytes(trace_uuid).to_string();
    report.duration_s = started.elapsed().as_secs_f64();
    report.missing_probes = missing_probes;
    Ok((report, failures))
}

struct Capture<'a> {
    drain: Drain,
    pauses: Pauses,
    losses: Losses,
    containers: Containers,
    out: Output<'a>,
    probe_table: ProbeTable,
    filter: &'a Resolved,
    /// Empty: there is none.
    filter_text: String,
    /// Empty: no payload is recorded.
    payload_text: String,
    rotation: Option<Rotation>,
    /// Events recorded when the last checkpoint was written.
    events_at_checkpoint: u64,
    bytes_at_checkpoint: u64,
    marks: Receiver<Asked>,
}

impl Capture<'_> {
    /// The world as it is before the other events: what runs already is known from the start on.
    fn before_probes(&mut self) {
        self.out.now(Context::Host(host::host()));
        self.out.now(Context::Clock(host::clock_pair()));
        for user in host::users() {
            self.out.now(user);
        }
        if self.containers.cgroups().told.is_none() {
            // Its ids are what the probes report.
            notice::say(
                "rec: no cgroup hierarchy is mounted: containers cannot be told apart; an empty one \
                 does: mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified",
            );
        }
        for (id, path) in self.containers.cgroups().walk() {
            if let Some(body) = self.containers.made(id, &path) {
                self.out.now(body);
            }
        }
        for process in processes::snapshot(self.containers.cgroups()) {
            self.out.context(process);
        }
    }

    /// The first checkpoint, with what was started before the probes were attached. The rings wait meanwhile.
    fn start(&mut self, watcher: &Watcher) {
        match watcher.batches.recv_timeout(FIRST_BATCH_MAX) {
            Ok(batch) => self.batch(batch, watcher),
            // A host where reading /proc takes seconds: the snapshot comes when it comes.
            Err(_) => self.checkpoint(Vec::new()),
        }
    }

    /// Everything that a reader needs to start here; `processes` is the snapshot.
    fn checkpoint(&mut self, processes: Vec<ContextRecord>) {
        self.events_at_checkpoint = self.out.events;
        self.bytes_at_checkpoint = self.out.bytes;
        self.out.now(Context::CheckpointBegin);
        self.out.now(Context::Host(host::host()));
        self.out.now(Context::Clock(host::clock_pair()));
        let probe_table = self.probe_table.clone();
        self.out.now(Context::Probes(probe_table));
        self.tell_options();
        for user in host::users() {
            self.out.now(user);
        }
        for container in self.containers.all() {
            self.out.now(container);
        }
        for process in processes {
            self.out.context(process);
        }
        self.out.now(Context::CheckpointEnd);
    }

    fn record(
        &mut self,
        options: &Options,
        watcher: &Watcher,
        stop: &AtomicBool,
        started: Instant,
        switchboard: &mut Switchboard<'_>,
    ) {
        let mut next_tick_ns = clock::boot_ns() + NS_PER_S;
        let mut next_checkpoint_ns = clock::boot_ns() + options.checkpoint_interval_ns;
        let mut sealed = Instant::now();
        while !stop.load(Ordering::Relaxed) && !self.out.sink_failed {
            if options
                .duration
                .is_some_and(|duration| started.elapsed() >= duration)
            {
                return;
            }
            let taken = self.step(watcher, ROUND_MAX);
            // One a round: the rings come first.
            if let Ok(asked) = options.switches.try_recv() {
                let outcome = switchboard.switch(&asked.switch);
                // Also of a change that was made in part: the trace says what is in force.
                self.probe_table = describe(switchboard.probes, switchboard.profile);
                let boot_ns = clock::boot_ns();
                self.out.now(Context::Probes(self.probe_table.clone()));
                let in_force = self.tell_in_force(boot_ns);
                // Whoever asked may have gone.
                let _ = asked.done.try_send(outcome.map(|()| in_force));
            }
            let now_ns = clock::boot_ns();
            if now_ns >= next_tick_ns {
                next_tick_ns = now_ns + NS_PER_S;
                self.tick(watcher);
                if self.out.progress.own_wanted.load(Ordering::Relaxed) {
                    self.tell_own(switchboard.probes, watcher, options.own);
                }
                self.tell_full(&mut switchboard.lists);
            }
            // Bounded in time and in events: both are what a reader has to go through from there.
            let many = self.out.events - self.events_at_checkpoint >= CHECKPOINT_EVENTS
                || self.out.bytes - self.bytes_at_checkpoint >= options.checkpoint_bytes;
            let soon = next_checkpoint_ns - options.checkpoint_interval_ns + CHECKPOINT_PAUSE_NS;
            let wanted = self.rotate(now_ns);
            if now_ns >= next_checkpoint_ns || (many && now_ns >= soon) || wanted {
                next_checkpoint_ns = now_ns + options.checkpoint_interval_ns;
                watcher.snapshot();
            }
            if sealed.elapsed() >= options.chunk_age {
                sealed = Instant::now();
                self.out.seal(self.watermark(watcher));
            }
            if taken < ROUND_MAX {
                self.pauses
                    .pause(taken, options.chunk_age, self.drain.ring_buffers());
            }
        }
    }

    /// What the filter is and of which calls there are payloads, as marks: a reader knows what cannot be in
    /// the trace.
    fn tell_options(&mut self) {
        for (label, text) in [
            ("filter", &self.filter_text),
            ("payload", &self.payload_text),
        ] {
            if !text.is_empty() {
                self.out.now(Context::Mark(Mark {
                    label: label.to_owned(),
                    text: text.clone(),
                }));
            }
        }
    }

    /// Says it where the filter's lists have no room for all that belongs on them.
    fn tell_full(&mut self, lists: &mut Lists) {
        if let Some(count) = lists.newly_full() {
            let text = format!(
                "{count} processes or cgroups belong to the filter and have no room on its lists: they are taken for others"
            );
            notice::say(format_args!("rec: {text}"));
            self.out.now(Context::Mark(Mark {
                label: "filter".to_owned(),
                text,
            }));
        }
    }

    /// Lets the control socket know.
    fn tell_in_force(&self, boot_ns: u64) -> InForce {
        let mut in_force = InForce::of(&self.probe_table, boot_ns);
        in_force.filter.clone_from(&self.filter_text);
        if let Ok(mut told) = self.out.progress.in_force.lock() {
            told.clone_from(&in_force);
        }
        in_force
    }

    /// One round: rings, observations, answers.
    fn step(&mut self, watcher: &Watcher, max: usize) -> usize {
        let taken = self
            .drain
            .round(&mut self.containers, &mut self.out, &|| floor(watcher), max);
        watcher.count(&mut self.drain.calls);
        while let Ok(batch) = watcher.batches.try_recv() {
            self.batch(batch, watcher);
        }
        for body in self.containers.answers() {
            self.out.now(body);
        }
        for asked in self.marks.try_iter().take(MARKS_ROUND) {
            let boot_ns = clock::boot_ns();
            self.out.context(ContextRecord {
                boot_ns,
                body: Context::Mark(asked.mark),
            });
            // Whoever asked may have gone.
            let _ = asked.written.try_send(boot_ns);
        }
        taken
    }

    fn batch(&mut self, batch: Batch, watcher: &Watcher) {
        if !batch.context.is_empty() {
            // A checkpoint stands in one chunk: whoever starts there has all of it.
            self.out.seal(self.watermark(watcher));
            self.next_part(watcher);
            self.checkpoint(batch.context);
        }
        for event in batch.events {
            if self.out.full() {
                self.out.seal(self.watermark(watcher));
            }
            if let Some(body) = self.containers.see(event.cgroup_id) {
                self.out.context(ContextRecord {
                    boot_ns: event.boot_ns,
                    body,
                });
            }
            self.out.event(event);
        }
        // In the chunk: it holds the watermark back no longer. A next batch may already do.
        let _ = watcher.shared.floor_ns.compare_exchange(
            batch.floor_ns,
            u64::MAX,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
    }

    /// Lets a full part end; true when the next one is ready and waits for a snapshot to begin with.
    fn rotate(&mut self, now_ns: u64) -> bool {
        let Some(rotation) = &mut self.rotation else {
            return false;
        };
        rotation.step(now_ns, self.out.part_bytes, &self.out.sinks)
    }

    /// Ends this part and begins the next, if it is ready. The open chunk is sealed.
    fn next_part(&mut self, watcher: &Watcher) {
        let Some(rotation) = self.rotation.as_mut().filter(|rotation| rotation.ready()) else {
            return;
        };
        let next_uuid = *uuid::Uuid::new_v4().as_bytes();
        let place = rotation.begin(clock::boot_ns());
        self.out.now(Context::Continued(Continued { next_uuid }));
        self.out.seal(self.watermark(watcher));
        let continues = Continues {
            capture_uuid: place.capture_uuid,
            part: place.part,
            ..self.out.builder.start_part(next_uuid)
        };
        self.out.part_bytes = 0;
        self.out.now(Context::Continues(continues));
        // What the parts before held; it also makes the header's counts go on.
        self.out.now(Context::Loss(self.losses.loss()));
        if !self.losses.by_cgroup().is_empty() {
            self.out.now(Context::Drops(self.losses.drops()));
        }
    }

    fn watermark(&self, watcher: &Watcher) -> u64 {
        self.drain.safe_ns().min(floor(watcher))
    }

    fn tick(&mut self, watcher: &Watcher) {
        self.out.now(Context::Clock(host::clock_pair()));
        self.write_loss();
        self.out.tell_redacted();
        self.out.now(Context::Tick);
        if let Ok(mut sampled) = watcher.shared.sampled.lock() {
            *sampled = self.containers.sampled();
            sampled.retain(|(id, _)| self.filter.wants_sample(*id));
        }
    }

    /// The probes' counters as records, if they changed.
    fn write_loss(&mut self) {
        let lost = self.out.sinks.iter().flat_map(Running::lost);
        let (changed, of_cgroups) = self.losses.read(lost);
        if !changed {
            return;
        }
        let dropped = self.losses.dropped();
        self.out.progress.dropped.store(dropped, Ordering::Relaxed);
        self.out.now(Context::Loss(self.losses.loss()));
        if of_cgroups {
            for count in self.losses.by_cgroup() {
                // It may have lost all that it did.
                if let Some(body) = self.containers.see(count.cgroup_id) {
                    self.out.now(body);
                }
            }
            self.out.now(Context::Drops(self.losses.drops()));
        }
    }

    /// Everything that is still there, the final counters, the last chunk.
    fn end(mut self, mut watcher: Watcher) -> (Report, Vec<anyhow::Error>) {
        while self.step(&watcher, usize::MAX) > 0 {}
        let rest = watcher.stop();
        if let Some(first) = rest.first() {
            watcher
                .shared
                .floor_ns
                .store(first.floor_ns, Ordering::Release);
        }
        for batch in rest {
            self.batch(batch, &watcher);
        }
        watcher.shared.floor_ns.store(u64::MAX, Ordering::Release);
        for body in self.containers.answers() {
            self.out.now(body);
        }
        self.out.now(Context::Clock(host::clock_pair()));
        self.write_loss();
        self.out.tell_redacted();
        self.out.now(Context::Tick);
        self.out.seal(clock::boot_ns());
        let report = Report {
            events: self.out.events,
            chunks: self.out.progress.chunks.load(Ordering::Relaxed),
            bytes: self.out.progress.bytes.load(Ordering::Relaxed),
            seen: self.losses.seen(),
            dropped: self.losses.dropped(),
            filtered: self.losses.filtered(),
            refused: self.drain.refused,
            parts: self.rotation.as_ref().map_or(1, Rotation::parts),
            ..Report::default()
        };
        // Those that failed first: the others end with the reason.
        let (failed, working): (Vec<_>, Vec<_>) =
            self.out.sinks.into_iter().partition(Running::has_failed);
        let mut failures = Vec::new();
        for sink in failed.into_iter().chain(working) {
            let ending = failures
                .first()
                .map_or(Ending::Clean, |error| Ending::Failed(format!("{error:#}")));
            failures.extend(sink.finish(ending).err());
        }
        (report, failures)
    }
}

/// The start of the observation that is under way, unless that has taken suspiciously long.
fn floor(watcher: &Watcher) -> u64 {
    let floor_ns = watcher.shared.floor_ns.load(Ordering::Acquire);
    if clock::boot_ns().saturating_sub(floor_ns) > FLOOR_AGE_MAX_NS {
        u64::MAX
    } else {
        floor_ns
    }
}
