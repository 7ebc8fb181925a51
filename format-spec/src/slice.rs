//! Cuts a part out of a trace: a time range, some containers, some families. The result is a trace of
//! its own, with the context that its events need.
//!
//! A first pass over the headers finds where to begin: at the checkpoint before last before the
//! range, because a Loss record is sure to come after it. From there the state at the range's start
//! is folded together ([`World`]) and written as a checkpoint. Then chunk becomes chunk; chunks
//! outside are passed over by their headers. When events are left out, a process is described, with
//! its ancestors, before its first event that stays. SPEC.md §Derived traces.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    io::Write,
};

use crate::{
    Context, ContextRecord, DecodedChunk, Discard, Error, Event, EventData, HeaderAt, Provenance,
    ProvenanceSource, TraceReader, family_of, limits::*, rewrite::Rewriter, summary::IndexEntry,
    world::World,
};

/// A point in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlicePoint {
    /// `boot_ns`.
    Boot(u64),
    /// Nanoseconds since 1970, by the trace's clock pairs.
    Wall(u64),
    /// Nanoseconds after the trace's first record.
    Offset(u64),
}

/// What is wanted. Everything is, where nothing is said.
#[derive(Clone, Debug, Default)]
pub struct SliceOptions {
    /// Of the input, for the provenance.
    pub name: String,
    /// Program and version.
    pub tool_version: String,
    /// From here on …
    pub from: Option<SlicePoint>,
    /// … up to and without this.
    pub to: Option<SlicePoint>,
    /// Names, ids or beginnings of ids (12 characters or more) of containers.
    pub containers: Vec<String>,
    /// Ids of families …
    pub families: Vec<u16>,
    /// … and names of those that the trace declares.
    pub declared: Vec<String>,
    /// How the user said it, for the provenance; empty: made from the fields above. Different
    /// selections need different texts, because the UUID follows from it.
    pub arguments: String,
}

/// What was done.
#[derive(Clone, Debug, Default)]
pub struct Sliced {
    pub trace_uuid: [u8; 16],
    pub provenance: Provenance,
    /// In the source, and how many of them were decoded.
    pub source_chunks: u64,
    pub chunks_read: u64,
    pub from_ns: u64,
    /// `u64::MAX`: to the end.
    pub to_ns: u64,
    /// Cgroups of the containers that were asked for.
    pub cgroups: Vec<u64>,
    pub chunks: u64,
    pub events: u64,
    pub bytes: u64,
    /// Of the declared families that were asked for, those that the trace has in the range.
    pub declared: BTreeSet<String>,
    /// Context for which there was no room.
    pub forgotten: u64,
    /// What was missing in the part of the source that was read.
    pub discards: Vec<Discard>,
}

/// Beginnings of a container's id that are taken for it: as many characters as people quote.
const ID_PREFIX_MIN: usize = 12;

/// Slices the input that `open` opens from its start, each time it is called.
pub fn slice<W: Write>(
    open: &dyn Fn() -> Result<TraceReader, Error>,
    options: &SliceOptions,
    out: W,
) -> Result<(Sliced, W), Error> {
    let plan = plan(open, options)?;
    let mut sliced = Sliced {
        source_chunks: plan.source.chunks,
        from_ns: plan.from_ns,
        to_ns: plan.to_ns,
        ..Sliced::default()
    };
    let mut input = Chunks::new(open, &plan)?;
    let kinds = !options.families.is_empty() || !options.declared.is_empty();
    let selected = !options.containers.is_empty() || kinds;
    let mut select = Select {
        from_ns: plan.from_ns,
        to_ns: plan.to_ns,
        kinds,
        families: options.families.clone(),
        declared: options.declared.clone(),
        cgroups: (!options.containers.is_empty()).then(BTreeSet::new),
    };

    // The state at the start of the range.
    let mut world = World::default();
    let mut waiting: Vec<Change> = Vec::new();
    let mut folded = 0;
    if plan.from_ns > 0 {
        while let Some(decoded) = input.next(0, plan.from_ns)? {
            let watermark_ns = decoded.header.watermark_ns;
            folded = decoded.header.number + 1;
            waiting.extend(changes_before(decoded, plan.from_ns));
            // Chunks overlap; what is below the watermark is all there.
            waiting.sort_by_key(Change::boot_ns);
            let ready = waiting.partition_point(|change| change.boot_ns() < watermark_ns);
            waiting
                .drain(..ready)
                .for_each(|change| change.apply(&mut world));
            if watermark_ns >= plan.from_ns {
                break;
            }
        }
        waiting
            .into_iter()
            .for_each(|change| change.apply(&mut world));
    }
    sliced.chunks_read += input.read;
    let mut discards = std::mem::take(&mut input.discards);

    if let Some(cgroups) = &mut select.cgroups {
        for body in world.checkpoint(|_| false, |_| true) {
            note_container(&body, &options.containers, cgroups);
        }
        let mut input = Chunks::new(open, &plan)?;
        while let Some(decoded) = input.next(plan.from_ns, plan.to_ns)? {
            for record in &decoded.context {
                note_container(&record.body, &options.containers, cgroups);
            }
        }
        sliced.cgroups = cgroups.iter().copied().collect();
    }

    let provenance = Provenance {
        action: "slice".to_owned(),
        tool_version: options.tool_version.clone(),
        arguments: said(options, &plan),
        selected,
        sources: vec![ProvenanceSource {
            name: options.name.clone(),
            ..plan.source.clone()
        }],
    };
    sliced.trace_uuid = provenance.trace_uuid();
    let mut rewriter = Rewriter::new(sliced.trace_uuid, out);
    let start_ns = plan.from_ns.max(plan.first_ns);
    rewriter.context(start_ns, Context::Provenance(provenance.clone()))?;
    let mut described = HashMap::new();
    if plan.from_ns > 0 {
        // With the ancestors of what is wanted: a process without them has no origin.
        let wanted: HashSet<u32> = world
            .processes()
            .filter(|process| select.wants_cgroup(process.cgroup_id))
            .flat_map(|process| world.lineage(process.pid))
            .map(|known| known.process.pid)
            .collect();
        for body in world.checkpoint(
            |process| wanted.contains(&process.pid),
            |container| select.wants_cgroup(container.cgroup_id),
        ) {
            if let Context::Process(process) = &body
                && let Some(known) = world.process(process.pid)
            {
                described.insert(process.pid, known.version);
            }
            if let Some(body) = select.context(body) {
                rewriter.context(start_ns, body)?;
            }
        }
    }

    let mut input = Chunks::new(open, &plan)?;
    let mut emit = Emit {
        rewriter: &mut rewriter,
        world: &mut world,
        select: &select,
        described,
        selected,
        folded,
    };
    while let Some(decoded) = input.next(plan.from_ns, plan.to_ns)? {
        for discard in input.discards.drain(..) {
            let boot_ns = decoded.header.first_ns.max(start_ns);
            emit.rewriter
                .context(boot_ns, Context::Discard(discard.clone()))?;
            discards.push(discard);
        }
        for record in &decoded.context {
            if let Context::EventType(ty) = &record.body
                && options.declared.iter().any(|name| name == ty.name())
            {
                sliced.declared.insert(ty.name().to_owned());
            }
        }
        emit.chunk(decoded)?;
    }
    for discard in input.discards.drain(..) {
        rewriter.context(start_ns, Context::Discard(discard.clone()))?;
        discards.push(discard);
    }
    if !rewriter.is_empty() {
        rewriter.seal(0)?;
    }
    sliced.chunks_read += input.read;
    discards.sort_by_key(|discard| discard.offset);
    discards.dedup();
    sliced.discards = discards;
    sliced.forgotten = world.forgotten;
    sliced.provenance = provenance;
    sliced.events = rewriter.events;
    let (out, chunks, bytes) = rewriter.finish()?;
    (sliced.chunks, sliced.bytes) = (chunks, bytes);
    Ok((sliced, out))
}

/// The selection in words.
fn said(options: &SliceOptions, plan: &Plan) -> String {
    if !options.arguments.is_empty() {
        return options.arguments.clone();
    }
    let mut said = format!("from {} to {} ns", plan.from_ns, plan.to_ns);
    for container in &options.containers {
        said += &format!(" container {container}");
    }
    for family in &options.families {
        said += &format!(" family {family}");
    }
    for name in &options.declared {
        said += &format!(" family {name}");
    }
    said
}

/// Where to begin, and what the source is.
struct Plan {
    source: ProvenanceSource,
    first_ns: u64,
    /// 0: from the beginning.
    from_ns: u64,
    to_ns: u64,
    /// Number of the chunk where the fold of the context begins.
    begin: u64,
}

/// The pass over the headers.
fn plan(
    open: &dyn Fn() -> Result<TraceReader, Error>,
    options: &SliceOptions,
) -> Result<Plan, Error> {
    let mut reader = open()?;
    let first = reader.next_header()?;
    let Some(first) = first else {
        return Err(Error::NothingLeft {
            path: reader.path().to_owned(),
        });
    };
    let first_ns = first.header.first_ns;
    let wall = [options.from, options.to]
        .iter()
        .any(|point| matches!(point, Some(SlicePoint::Wall(_))));
    let clocks = if wall {
        clocks(open, options)?
    } else {
        [None; 2]
    };
    let resolve = |point: Option<SlicePoint>, clock: Option<i128>, open_end: u64| match point {
        None => Ok(open_end),
        Some(SlicePoint::Boot(ns)) => Ok(ns),
        Some(SlicePoint::Offset(ns)) => Ok(first_ns.saturating_add(ns)),
        Some(SlicePoint::Wall(ns)) => match clock {
            Some(offset) => Ok(u64::try_from(i128::from(ns) - offset).unwrap_or(0)),
            None => Err(Error::NoClock),
        },
    };
    let from_ns = resolve(options.from, clocks[0], 0)?;
    let to_ns = resolve(options.to, clocks[1], u64::MAX)?;
    // A range that begins before the trace begins with it.
    let from_ns = if from_ns <= first_ns { 0 } else { from_ns };
    if from_ns >= to_ns {
        return Err(Error::EmptyRange { from_ns, to_ns });
    }
    let mut source = ProvenanceSource {
        trace_uuid: first.header.trace_uuid,
        ..ProvenanceSource::default()
    };
    let mut checkpoints = [0; 2];
    let mut next = Some(first);
    while let Some(HeaderAt { header, .. }) = next {
        if header.has_checkpoint && header.last_ns < from_ns {
            checkpoints = [checkpoints[1], header.number];
        }
        source.chunks += 1;
        source.chain_head = header.hash;
        next = reader.next_header()?;
    }
    source.complete = reader.issues().is_empty();
    Ok(Plan {
        source,
        first_ns,
        from_ns,
        to_ns,
        begin: checkpoints[0],
    })
}

/// Wall clock minus boot clock at `from` and `to`: of the last pair before each, else of the first.
fn clocks(
    open: &dyn Fn() -> Result<TraceReader, Error>,
    options: &SliceOptions,
) -> Result<[Option<i128>; 2], Error> {
    let mut found = [None; 2];
    let wanted = [options.from, options.to].map(|point| match point {
        Some(SlicePoint::Wall(ns)) => Some(ns),
        _ => None,
    });
    let mut headers = open()?;
    let chunks = open()?;
    while let Some(at) = headers.next_header()? {
        // Pairs are written once a second, and with each checkpoint: every chunk has to be looked at.
        let Ok(decoded) = chunks
            .read_chunk(&entry(&at))
            .and_then(|chunk| chunk.decode())
        else {
            continue;
        };
        let mut passed = true;
        for record in &decoded.context {
            let Context::Clock(clock) = record.body else {
                continue;
            };
            for (found, wanted) in found.iter_mut().zip(wanted) {
                let Some(wanted) = wanted else { continue };
                if found.is_none() || clock.wall_ns <= wanted {
                    *found = Some(i128::from(clock.wall_ns) - i128::from(clock.boot_ns));
                }
                passed &= clock.wall_ns > wanted;
            }
        }
        let has_clock = decoded
            .context
            .iter()
            .any(|record| matches!(record.body, Context::Clock(_)));
        if passed && has_clock {
            break;
        }
    }
    Ok(found)
}

fn entry(at: &HeaderAt) -> IndexEntry {
    IndexEntry {
        offset: at.offset,
        header_len: at.header_len,
        body_compressed_len: at.header.body_compressed_len,
        ..IndexEntry::default()
    }
}

/// The decoded chunks from `begin` on, others passed over by their headers; what is missing.
struct Chunks {
    headers: TraceReader,
    begin: u64,
    /// The promise of the last chunk that was passed.
    watermark_ns: u64,
    last_ns: u64,
    read: u64,
    told: usize,
    discards: Vec<Discard>,
}

impl Chunks {
    fn new(open: &dyn Fn() -> Result<TraceReader, Error>, plan: &Plan) -> Result<Self, Error> {
        Ok(Chunks {
            headers: open()?,
            begin: plan.begin,
            watermark_ns: 0,
            last_ns: 0,
            read: 0,
            told: 0,
            discards: Vec::new(),
        })
    }

    /// The next chunk with something at or after `from_ns`; `None` when nothing before `to_ns` can follow.
    fn next(&mut self, from_ns: u64, to_ns: u64) -> Result<Option<DecodedChunk>, Error> {
        while self.watermark_ns < to_ns {
            let Some(at) = self.headers.next_header()? else {
                self.tell(from_ns);
                break;
            };
            let header = &at.header;
            self.watermark_ns = self.watermark_ns.max(header.watermark_ns);
            if header.number < self.begin || header.last_ns < from_ns || header.first_ns >= to_ns {
                self.told = if header.number < self.begin {
                    self.headers.issues().len()
                } else {
                    self.told
                };
                continue;
            }
            self.tell(from_ns);
            let chunk = self.headers.read_chunk(&entry(&at));
            match chunk.and_then(|chunk| chunk.decode()) {
                Ok(decoded) => {
                    self.read += 1;
                    self.last_ns = header.last_ns;
                    return Ok(Some(decoded));
                }
                Err(error) => self.discards.push(Discard {
                    source: 0,
                    offset: at.offset,
                    bytes: u64::from(at.header_len) + u64::from(header.body_compressed_len),
                    first_number: header.number,
                    chunks: 1,
                    after_ns: self.last_ns,
                    before_ns: header.watermark_ns,
                    reason: error.to_string(),
                }),
            }
        }
        Ok(None)
    }

    /// Takes over what the reader found missing in the meantime.
    fn tell(&mut self, from_ns: u64) {
        for issue in &self.headers.issues()[self.told..] {
            let over = issue.before_ns.is_some_and(|before_ns| before_ns < from_ns);
            if issue.is_loss() && !over && self.discards.len() < ISSUES_MAX {
                self.discards.push(Discard::of_issue(0, issue));
            }
        }
        self.told = self.headers.issues().len();
    }
}

/// Something that changes the world.
enum Change {
    Context(ContextRecord),
    Event(Event),
}

impl Change {
    fn boot_ns(&self) -> u64 {
        match self {
            Change::Context(record) => record.boot_ns,
            Change::Event(event) => event.boot_ns,
        }
    }

    fn apply(self, world: &mut World) {
        match self {
            Change::Context(record) => world.context(&record.body),
            Change::Event(event) => world.event(&event),
        }
    }
}

/// What of a chunk changes the world before `from_ns`; context first, as at equal times.
fn changes_before(decoded: DecodedChunk, from_ns: u64) -> impl Iterator<Item = Change> {
    let context = decoded.context.into_iter().map(Change::Context);
    let events = decoded
        .events
        .into_iter()
        .filter(|event| match &event.data {
            EventData::Syscall(call) => call.ret == 0,
            EventData::Fork(_) | EventData::Exec(_) | EventData::Exit(_) => true,
            EventData::PathCall(_) | EventData::Cgroup(_) => true,
            _ => false,
        });
    context
        .chain(events.map(Change::Event))
        .filter(move |change| change.boot_ns() < from_ns)
}

/// Adds the cgroup of a container that was asked for.
fn note_container(body: &Context, wanted: &[String], cgroups: &mut BTreeSet<u64>) {
    let Context::Container(container) = body else {
        return;
    };
    let is = |wanted: &String| {
        let prefix = wanted.len() >= ID_PREFIX_MIN && container.id.starts_with(wanted.as_str());
        (prefix || container.id == *wanted || container.name == *wanted) && !container.id.is_empty()
            || wanted == "host" && container.id.is_empty()
    };
    if wanted.iter().any(is) && cgroups.len() < SUMMARY_CGROUPS_MAX {
        cgroups.insert(container.cgroup_id);
    }
}

struct Select {
    from_ns: u64,
    to_ns: u64,
    /// Only some kinds.
    kinds: bool,
    families: Vec<u16>,
    declared: Vec<String>,
    /// `None`: all.
    cgroups: Option<BTreeSet<u64>>,
}

impl Select {
    fn wants_time(&self, boot_ns: u64) -> bool {
        (self.from_ns..self.to_ns).contains(&boot_ns)
    }

    /// A record without what it says of cgroups that are not wanted; None: it says nothing else.
    fn context(&self, body: Context) -> Option<Context> {
        match body {
            Context::Drops(drops) => drops
                .of(|cgroup_id| self.wants_cgroup(cgroup_id))
                .map(Context::Drops),
            body => Some(body),
        }
    }

    fn wants_cgroup(&self, cgroup_id: u64) -> bool {
        self.cgroups
            .as_ref()
            .is_none_or(|cgroups| cgroups.contains(&cgroup_id))
    }

    fn wants_kind(&self, data: &EventData) -> bool {
        match data {
            EventData::Declared(data) => self.declared.iter().any(|name| name == data.ty().name()),
            data => self.families.contains(&family_of(data)),
        }
    }

    fn wants_event(&self, event: &Event) -> bool {
        let about = match &event.data {
            EventData::Cgroup(change) => self.wants_cgroup(change.id),
            _ => false,
        };
        self.wants_time(event.boot_ns)
            && (!self.kinds || self.wants_kind(&event.data))
            && (about || self.wants_cgroup(event.cgroup_id))
    }
}

/// Writes what stays of each chunk.
struct Emit<'a, W> {
    rewriter: &'a mut Rewriter<W>,
    world: &'a mut World,
    select: &'a Select,
    /// Processes that the output describes, with the version it knows.
    described: HashMap<u32, u64>,
    /// Events are left out inside the range: processes have to be described.
    selected: bool,
    /// Context of chunks below this number is in the world already.
    folded: u64,
}

impl<W: Write> Emit<'_, W> {
    fn chunk(&mut self, decoded: DecodedChunk) -> Result<(), Error> {
        let header = &decoded.header;
        // A checkpoint that begins before the range is not whole in it.
        let whole = decoded
            .context
            .iter()
            .filter(|record| {
                matches!(
                    record.body,
                    Context::CheckpointBegin | Context::CheckpointEnd
                )
            })
            .all(|record| self.select.wants_time(record.boot_ns));
        self.rewriter.declare(&decoded.context)?;
        let mut context = decoded.context.into_iter().peekable();
        let number = header.number;
        let texts_cut = header.texts_cut;
        let before = self.rewriter.events;
        for event in decoded.events {
            while let Some(record) = context.next_if(|record| record.boot_ns <= event.boot_ns) {
                self.record(record, number, whole)?;
            }
            self.event(event)?;
        }
        for record in context {
            self.record(record, number, whole)?;
        }
        if self.rewriter.events > before {
            // How many of them stayed nobody can tell: at most all.
            self.rewriter.texts_cut(texts_cut);
        }
        if !self.rewriter.is_empty() {
            self.rewriter.seal(header.watermark_ns)?;
        }
        Ok(())
    }

    fn record(&mut self, record: ContextRecord, chunk: u64, whole: bool) -> Result<(), Error> {
        if record.boot_ns >= self.select.to_ns {
            return Ok(());
        }
        let mut boot_ns = record.boot_ns;
        if boot_ns < self.select.from_ns {
            if chunk < self.folded {
                return Ok(());
            }
            // It was written late and holds from here on, too.
            boot_ns = self.select.from_ns;
        }
        if self.selected {
            self.world.context(&record.body);
        }
        let body = match record.body {
            Context::CheckpointBegin | Context::CheckpointEnd if !whole => return Ok(()),
            // Families are known; the builder describes those that stay.
            // A derived trace is no part of a capture; EventType is the builder's to write.
            Context::Provenance(_)
            | Context::EventType(_)
            | Context::Continues(_)
            | Context::Continued(_) => return Ok(()),
            Context::Discard(discard) => Context::Discard(Discard {
                after_ns: discard.after_ns,
                before_ns: discard.before_ns,
                reason: format!("lost before: {}", discard.reason),
                ..Discard::default()
            }),
            Context::Container(container) if !self.select.wants_cgroup(container.cgroup_id) => {
                return Ok(());
            }
            // Ancestors that the output describes are said again too.
            Context::Process(process)
                if !self.select.wants_cgroup(process.cgroup_id)
                    && !self.described.contains_key(&process.pid) =>
            {
                return Ok(());
            }
            body => match self.select.context(body) {
                Some(body) => body,
                None => return Ok(()),
            },
        };
        if self.selected
            && let Context::Process(process) = &body
            && let Some(known) = self.world.process(process.pid)
        {
            self.described.insert(process.pid, known.version);
        }
        self.rewriter.context(boot_ns, body)
    }

    fn event(&mut self, event: Event) -> Result<(), Error> {
        let wanted = self.select.wants_event(&event);
        if !self.selected {
            return if wanted {
                self.rewriter.event(event)
            } else {
                Ok(())
            };
        }
        if event.boot_ns < self.select.from_ns {
            return Ok(());
        }
        if wanted {
            self.describe(event.pid, event.boot_ns)?;
        }
        self.world.event(&event);
        if !wanted {
            return Ok(());
        }
        // A reader learns from these what the world has just learned.
        let told = match &event.data {
            EventData::Fork(fork) => Some(fork.child_pid),
            EventData::Exec(_) | EventData::Syscall(_) | EventData::PathCall(_) => Some(event.pid),
            _ => None,
        };
        if let Some(pid) = told
            && let Some(known) = self.world.process(pid)
        {
            self.described.insert(pid, known.version);
        }
        self.rewriter.event(event)
    }

    /// The process and its ancestors, as far as the output does not know them yet.
    fn describe(&mut self, pid: u32, boot_ns: u64) -> Result<(), Error> {
        let current = |known: &crate::world::Known| {
            self.described.get(&known.process.pid) == Some(&known.version)
        };
        if pid == 0 || self.world.process(pid).is_none_or(current) {
            return Ok(());
        }
        for known in self.world.lineage(pid) {
            let pid = known.process.pid;
            if self.described.insert(pid, known.version) != Some(known.version) {
                let body = Context::Process(known.process.clone());
                self.rewriter.context(boot_ns, body)?;
            }
        }
        Ok(())
    }
}
