//! Makes one trace of several: parts of one capture, several captures of a host, several hosts.
//!
//! Chunks are taken whole, in the order of their times (wall times, when there is more than one boot;
//! then the host's UUID), and written again. What names something on one boot only (pids, cgroups,
//! CPUs, times) is shifted so that nothing coincides; an Origin record says by how much. The watermark
//! promises what the slowest source still can: so loss, order and lateness are those of the sources.
//! SPEC.md §Merged traces.

mod member;
mod shift;

use std::{collections::BTreeMap, io::Write};

use crate::{
    Clock, Context, Discard, DropCount, Drops, Error, Host, Issue, Probe, Probes, Provenance,
    ProvenanceSource, TraceReader, limits::*, rewrite::Rewriter, world::World,
};
use member::{Member, Survey};
use shift::Shift;

/// Sources of one merge: two weeks of hourly parts from twelve hosts. They are named in one record.
pub const SOURCES_MAX: usize = 4_096;
/// Linux's largest pid (`PID_MAX_LIMIT`).
const PIDS: u32 = 1 << 22;
/// More cgroups than a kernel makes in a boot; leaves 16 bits for the boots.
const CGROUPS: u64 = 1 << 48;
/// Time between the checkpoints that a merged trace writes for itself: the recorder's interval.
const CHECKPOINT_NS: u64 = 30_000_000_000;

/// One input.
pub struct MergeInput<'a> {
    /// For the provenance and for messages.
    pub name: String,
    /// Opens it from its start.
    pub open: &'a dyn Fn() -> Result<TraceReader, Error>,
}

/// What was done.
#[derive(Clone, Debug, Default)]
pub struct Merged {
    pub trace_uuid: [u8; 16],
    pub provenance: Provenance,
    /// Different boots of hosts among the sources.
    pub boots: usize,
    /// Captures: parts of one count once.
    pub captures: usize,
    pub chunks: u64,
    pub events: u64,
    pub bytes: u64,
    /// What was missing in the sources.
    pub discards: Vec<Discard>,
    /// Context for which there was no room in a checkpoint.
    pub forgotten: u64,
}

/// Merges the inputs, in whatever order they are named.
pub fn merge<W: Write>(
    inputs: &[MergeInput<'_>],
    tool_version: &str,
    out: W,
) -> Result<(Merged, W), Error> {
    Error::limit(
        "number of traces to merge",
        inputs.len() as u64,
        SOURCES_MAX as u64,
    )?;
    let mut surveys = Vec::with_capacity(inputs.len());
    for input in inputs {
        surveys.push(member::survey(input)?);
    }
    let plan = Plan::new(&surveys)?;
    let provenance = Provenance {
        action: "merge".to_owned(),
        tool_version: tool_version.to_owned(),
        arguments: String::new(),
        // Sources from which events were left out stay so.
        selected: surveys.iter().any(|survey| survey.selected),
        sources: surveys.iter().map(|survey| survey.source.clone()).collect(),
    };
    let mut members = Vec::with_capacity(inputs.len());
    for (index, input) in inputs.iter().enumerate() {
        members.push(Member::new(
            input.open,
            &surveys[index],
            plan.shifts[index].clone(),
        ));
    }
    let trace_uuid = provenance.trace_uuid();
    let merge = Merge {
        rewriter: Rewriter::new(trace_uuid, out),
        merged: Merged {
            trace_uuid,
            boots: plan.boots,
            captures: plan.captures,
            provenance,
            ..Merged::default()
        },
        surveys,
        members,
        plan,
        world: World::default(),
        losses: BTreeMap::new(),
        drops: BTreeMap::new(),
        next_checkpoint_ns: 0,
    };
    merge.run()
}

/// How ids and times of each source become those of the merged trace.
struct Plan {
    shifts: Vec<Shift>,
    boots: usize,
    captures: usize,
    /// Host, clock and users are the trace's own, not one source's.
    several_boots: bool,
    /// Checkpoints are the trace's own: one source's does not describe the others.
    several_captures: bool,
    host: Host,
    probes: Probes,
    users: Vec<(u32, String)>,
}

impl Plan {
    fn new(surveys: &[Survey]) -> Result<Plan, Error> {
        let mut boots: Vec<([u8; 16], [u8; 16])> = surveys.iter().map(Survey::boot).collect();
        boots.sort_unstable();
        boots.dedup();
        let mut captures: Vec<[u8; 16]> = surveys.iter().map(|survey| survey.capture).collect();
        captures.sort_unstable();
        captures.dedup();
        Self::check(surveys, boots.len() > 1)?;
        let probes = member::probes(surveys)?;
        let mut shifts: Vec<Shift> = Vec::with_capacity(surveys.len());
        let mut cpus: BTreeMap<[u8; 16], u16> = BTreeMap::new();
        let mut next_cpu: u32 = 0;
        for (index, survey) in surveys.iter().enumerate() {
            let same = surveys[..index]
                .iter()
                .position(|other| other.capture == survey.capture);
            if same.is_none() {
                let base = u16::try_from(next_cpu).map_err(|_| Error::CannotMerge {
                    name: survey.source.name.clone(),
                    reason: "all sources together have more than 65,536 CPUs".to_owned(),
                })?;
                cpus.insert(survey.capture, base);
                next_cpu += u32::from(survey.cpus());
            }
            let mut shift = Shift {
                cpu_base: cpus[&survey.capture],
                probes: probes.1[index].clone(),
                ..Shift::default()
            };
            if boots.len() > 1 {
                let boot = boots.binary_search(&survey.boot()).unwrap_or(0) as u64 + 1;
                shift.pid_base = boot as u32 * PIDS;
                shift.cgroup_base = boot * CGROUPS;
                // All sources of a boot are shifted alike: their processes are the same.
                let first = surveys
                    .iter()
                    .find(|other| other.boot() == survey.boot())
                    .and_then(|other| other.clock)
                    .unwrap_or_default();
                shift.time_base = first.wall_ns.wrapping_sub(first.boot_ns);
            }
            shift.source = same.unwrap_or(index) as u32;
            shifts.push(shift);
        }
        Ok(Plan {
            shifts,
            boots: boots.len(),
            captures: captures.len(),
            several_boots: boots.len() > 1,
            several_captures: captures.len() > 1,
            host: member::host(surveys),
            probes: probes.0,
            users: member::users(surveys),
        })
    }

    /// Refuses what one trace cannot hold without mixing things up.
    fn check(surveys: &[Survey], several_boots: bool) -> Result<(), Error> {
        let refuse = |survey: &Survey, reason: String| {
            Err(Error::CannotMerge {
                name: survey.source.name.clone(),
                reason,
            })
        };
        for (index, survey) in surveys.iter().enumerate() {
            for other in &surveys[..index] {
                if survey.source.trace_uuid == other.source.trace_uuid {
                    return refuse(
                        survey,
                        format!("it is the same trace as {}", other.source.name),
                    );
                }
                let apart = survey.last_ns <= other.first_ns || other.last_ns <= survey.first_ns;
                if survey.boot() == other.boot() && survey.capture != other.capture && !apart {
                    return refuse(
                        survey,
                        format!(
                            "it records the same boot of the same host at the same time as {}: events of both would be there twice",
                            other.source.name
                        ),
                    );
                }
                if survey.host.arch != other.host.arch {
                    return refuse(
                        survey,
                        format!(
                            "its system calls are numbered for {:?}, those of {} for {:?}: a trace has one table",
                            survey.host.arch, other.source.name, other.host.arch
                        ),
                    );
                }
            }
            if !several_boots {
                continue;
            }
            if survey.clock.is_none() {
                return refuse(
                    survey,
                    "it has no clock pair: hosts are ordered by wall time".to_owned(),
                );
            }
            if survey.origins {
                return refuse(
                    survey,
                    "it is merged from several hosts already: merge their traces instead"
                        .to_owned(),
                );
            }
            if survey.pid_max >= PIDS || survey.cgroup_max >= CGROUPS {
                return refuse(
                    survey,
                    format!(
                        "its pids reach {} and its cgroups {}: there is no room to shift them by host",
                        survey.pid_max, survey.cgroup_max
                    ),
                );
            }
            if survey.declared {
                return refuse(
                    survey,
                    "it has families that it declares itself: which of their fields are pids or times is not known".to_owned(),
                );
            }
        }
        Ok(())
    }
}

struct Merge<'a, W> {
    rewriter: Rewriter<W>,
    merged: Merged,
    surveys: Vec<Survey>,
    members: Vec<Member<'a>>,
    plan: Plan,
    /// For the checkpoints; empty when the one capture brings its own.
    world: World,
    /// (CPU, probe) → the last count, of all captures: a Loss record speaks for the whole trace.
    losses: BTreeMap<(u16, u8), crate::LossCount>,
    /// (Capture, cgroup) → the last count, for the same reason.
    drops: BTreeMap<([u8; 16], u64), u64>,
    next_checkpoint_ns: u64,
}

impl<W: Write> Merge<'_, W> {
    fn run(mut self) -> Result<(Merged, W), Error> {
        let mut last_ns = 0;
        let mut opened = false;
        while let Some(index) = self.first() {
            let first_ns = self.members[index].first_ns();
            if !std::mem::replace(&mut opened, true) {
                self.open(first_ns)?;
            }
            if self.plan.several_captures
                && self.members[index].bound_ns() >= self.next_checkpoint_ns
            {
                self.checkpoint()?;
            }
            last_ns = last_ns.max(self.chunk(index)?);
            let watermark_ns = self.watermark();
            self.rewriter.seal(watermark_ns)?;
        }
        let mut left = member::between_parts(&self.surveys);
        for index in 0..self.members.len() {
            left.extend(self.discards(index));
        }
        for discard in left {
            self.rewriter
                .context(last_ns, Context::Discard(discard.clone()))?;
            self.discard(discard);
        }
        if !self.rewriter.is_empty() {
            self.rewriter.seal(0)?;
        }
        let Merge {
            rewriter,
            mut merged,
            world,
            ..
        } = self;
        merged.forgotten = world.forgotten;
        merged.events = rewriter.events;
        let (out, chunks, bytes) = rewriter.finish()?;
        (merged.chunks, merged.bytes) = (chunks, bytes);
        Ok((merged, out))
    }

    /// The member whose next chunk comes first; of equal ones by host, then as named.
    fn first(&self) -> Option<usize> {
        (0..self.members.len())
            .filter(|index| self.members[*index].has_next())
            .min_by_key(|index| {
                let survey = &self.surveys[*index];
                (
                    self.members[*index].bound_ns(),
                    survey.host.host_uuid,
                    *index,
                )
            })
    }

    /// No chunk that follows holds an older event.
    fn watermark(&self) -> u64 {
        let open = self.members.iter().filter(|member| member.has_next());
        match open.map(|member| member.bound_ns()).min() {
            Some(bound_ns) => bound_ns,
            None => self
                .members
                .iter()
                .map(|member| member.bound_ns())
                .max()
                .unwrap_or(0),
        }
    }

    /// What stands before everything else.
    fn open(&mut self, boot_ns: u64) -> Result<(), Error> {
        let provenance = Context::Provenance(self.merged.provenance.clone());
        self.rewriter.context(boot_ns, provenance)?;
        for index in 0..self.members.len() {
            // Parts of one capture share an origin.
            if self.plan.shifts[index].source == index as u32 {
                let survey = &self.surveys[index];
                let origin =
                    self.plan.shifts[index].origin(&survey.host, survey.clock.unwrap_or_default());
                self.put(boot_ns, Context::Origin(origin))?;
            }
        }
        self.put(boot_ns, Context::Probes(self.plan.probes.clone()))?;
        if self.plan.several_boots {
            self.put(boot_ns, Context::Host(self.plan.host.clone()))?;
            self.put(boot_ns, Context::Clock(Clock::default()))?;
            for (uid, name) in self.plan.users.clone() {
                self.put(boot_ns, Context::User(crate::User { uid, name }))?;
            }
            for (index, shift) in self.plan.shifts.clone().iter().enumerate() {
                if shift.source == index as u32 {
                    self.put(boot_ns, Context::Container(shift.host_cgroup()))?;
                }
            }
        }
        self.next_checkpoint_ns = boot_ns.saturating_add(CHECKPOINT_NS);
        Ok(())
    }

    /// Writes a record, and remembers it for the checkpoints.
    fn put(&mut self, boot_ns: u64, body: Context) -> Result<(), Error> {
        if self.plan.several_captures {
            self.world.context(&body);
        }
        self.rewriter.context(boot_ns, body)
    }

    /// In a chunk of its own: what it says holds when everything before it has been read.
    fn checkpoint(&mut self) -> Result<(), Error> {
        let boot_ns = self.watermark();
        self.next_checkpoint_ns = boot_ns.saturating_add(CHECKPOINT_NS);
        for body in self.world.checkpoint(|_| true, |_| true) {
            self.rewriter.context(boot_ns, body)?;
        }
        self.rewriter.seal(boot_ns)
    }

    /// Writes the next chunk of a member; its newest time.
    fn chunk(&mut self, index: usize) -> Result<u64, Error> {
        // What is missing before this chunk, not what is missing behind it.
        let discards = self.discards(index);
        let first_ns = self.members[index].first_ns();
        let decoded = self.members[index].take()?;
        let shift = self.plan.shifts[index].clone();
        for discard in discards {
            self.rewriter
                .context(first_ns, Context::Discard(discard.clone()))?;
            self.discard(discard);
        }
        let Some(decoded) = decoded else {
            return Ok(first_ns);
        };
        let last_ns = shift.time(decoded.header.last_ns);
        self.rewriter.declare(&decoded.context)?;
        let mut context = decoded.context.into_iter().peekable();
        self.rewriter.texts_cut(decoded.header.texts_cut);
        for event in decoded.events {
            while let Some(record) = context.next_if(|record| record.boot_ns <= event.boot_ns) {
                self.record(index, &shift, record)?;
            }
            let event = shift.event(event);
            if self.plan.several_captures {
                self.world.event(&event);
            }
            self.rewriter.event(event)?;
        }
        for record in context {
            self.record(index, &shift, record)?;
        }
        Ok(last_ns)
    }

    fn record(
        &mut self,
        index: usize,
        shift: &Shift,
        record: crate::ContextRecord,
    ) -> Result<(), Error> {
        let boot_ns = shift.time(record.boot_ns);
        let body = match record.body {
            // The trace has its own.
            // A derived trace is no part of a capture; EventType is the builder's to write.
            Context::Provenance(_)
            | Context::EventType(_)
            | Context::Continues(_)
            | Context::Continued(_) => return Ok(()),
            Context::Probes(_) if self.plan.several_captures => return Ok(()),
            Context::Host(_) | Context::User(_) if self.plan.several_boots => return Ok(()),
            Context::CheckpointBegin | Context::CheckpointEnd if self.plan.several_captures => {
                return Ok(());
            }
            Context::Clock(clock) if self.plan.several_boots => {
                Context::Origin(shift.origin(&self.surveys[index].host, clock))
            }
            Context::Unknown { .. } if self.plan.several_boots => {
                // Whether there are ids in it nobody can tell.
                self.members[index].unknown += 1;
                return Ok(());
            }
            Context::Discard(discard) => Context::Discard(Discard {
                source: index as u32,
                offset: 0,
                bytes: 0,
                first_number: 0,
                chunks: 0,
                after_ns: shift.range_end(discard.after_ns),
                before_ns: shift.range_end(discard.before_ns),
                reason: format!("lost before: {}", discard.reason),
            }),
            Context::Loss(loss) => {
                for count in shift.loss(loss).counts {
                    if self.losses.len() < SEQUENCES_MAX
                        || self.losses.contains_key(&(count.cpu, count.probe))
                    {
                        self.losses.insert((count.cpu, count.probe), count);
                    }
                }
                Context::Loss(crate::Loss {
                    counts: self.losses.values().copied().collect(),
                })
            }
            Context::Drops(drops) => {
                let capture = self.surveys[index].capture;
                for count in shift.drops(drops).counts {
                    let key = (capture, count.cgroup_id);
                    if self.drops.len() < SEQUENCES_MAX || self.drops.contains_key(&key) {
                        self.drops.insert(key, count.dropped);
                    }
                }
                Context::Drops(self.drops_of_all())
            }
            body => shift.context(body),
        };
        self.put(boot_ns, body)
    }

    /// Captures of one host have cgroups in common.
    fn drops_of_all(&self) -> Drops {
        let mut sums = BTreeMap::<u64, u64>::new();
        for ((_, cgroup_id), dropped) in &self.drops {
            *sums.entry(*cgroup_id).or_default() += dropped;
        }
        let counts = sums
            .into_iter()
            .map(|(cgroup_id, dropped)| DropCount { cgroup_id, dropped });
        Drops {
            counts: counts.collect(),
        }
    }

    /// What was found missing in a member since the last call.
    fn discards(&mut self, index: usize) -> Vec<Discard> {
        let shift = &self.plan.shifts[index];
        let member = &mut self.members[index];
        let mut discards: Vec<Discard> = member
            .new_issues()
            .iter()
            .filter(|issue| Issue::is_loss(issue))
            .map(|issue| Discard::of_issue(index as u32, issue))
            .collect();
        discards.append(&mut member.undecoded);
        if member.unknown > 0 && !member.has_next() {
            discards.push(Discard {
                source: index as u32,
                before_ns: u64::MAX,
                reason: format!(
                    "{} records of kinds that this version does not know",
                    std::mem::take(&mut member.unknown)
                ),
                ..Discard::default()
            });
        }
        for discard in &mut discards {
            discard.source = index as u32;
            discard.after_ns = shift.range_end(discard.after_ns);
            discard.before_ns = shift.range_end(discard.before_ns);
        }
        discards
    }

    fn discard(&mut self, discard: Discard) {
        if self.merged.discards.len() < ISSUES_MAX {
            self.merged.discards.push(discard);
        }
    }
}
