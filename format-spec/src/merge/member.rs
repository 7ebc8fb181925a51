//! One source of a merge: what has to be known of it before, and its chunks one by one.

use std::collections::BTreeMap;

use super::{MergeInput, Probe, Probes, ProvenanceSource, shift::Shift};
use crate::{
    ChunkSource, Clock, Context, Continues, DecodedChunk, Discard, Error, EventData, Host, Issue,
    SealedChunk, TraceReader, columns, limits::*,
};

/// Users of which names are compared.
const USERS_MAX: usize = 65_536;

/// What a whole pass over a source found.
#[derive(Clone, Debug, Default)]
pub(super) struct Survey {
    pub source: ProvenanceSource,
    pub host: Host,
    /// The first pair.
    pub clock: Option<Clock>,
    /// Parts of one capture have it in common; else the trace's own UUID.
    pub capture: [u8; 16],
    /// Of a later part: what it continues.
    pub continues: Option<Continues>,
    pub first_ns: u64,
    pub last_ns: u64,
    /// Oldest time in the first chunk, and what holds for all chunks from it on.
    pub first_chunk_ns: u64,
    pub first_bound_ns: u64,
    pub selected: bool,
    /// It is itself merged from several captures.
    pub origins: bool,
    /// It has rows of families that it describes itself.
    pub declared: bool,
    pub pid_max: u32,
    pub cgroup_max: u64,
    pub cpu_max: u16,
    probes: BTreeMap<u8, Probe>,
    profile: String,
    users: BTreeMap<u32, String>,
}

impl Survey {
    /// Which boot of which host; a source that does not say is one of its own.
    pub fn boot(&self) -> ([u8; 16], [u8; 16]) {
        match self.host.boot_id {
            boot_id if boot_id == [0; 16] => (self.host.host_uuid, self.capture),
            boot_id => (self.host.host_uuid, boot_id),
        }
    }

    /// CPU numbers to keep free for it.
    pub fn cpus(&self) -> u16 {
        let counted = u16::try_from(self.host.cpus).unwrap_or(u16::MAX);
        counted.max(self.cpu_max.saturating_add(1))
    }
}

/// What lies between the parts of one capture that are merged, and is in none of them.
pub(super) fn between_parts(surveys: &[Survey]) -> Vec<Discard> {
    let lost = surveys.iter().enumerate().filter_map(|(index, survey)| {
        let continues = survey.continues?;
        let part = |survey: &Survey| survey.continues.map_or(0, |continues| continues.part);
        let (before_index, before) = surveys
            .iter()
            .enumerate()
            .filter(|(_, other)| other.capture == survey.capture && part(other) < continues.part)
            .max_by_key(|(_, other)| part(other))?;
        let source = &before.source;
        let mut discard = Discard {
            source: index as u32,
            after_ns: before.last_ns,
            before_ns: survey.first_ns,
            ..Discard::default()
        };
        if source.trace_uuid != continues.previous_uuid {
            let (from, to) = (part(before) + 1, continues.part - 1);
            discard.reason = format!("parts {from} to {to} of the capture are not here");
        } else if source.chain_head != continues.previous_head {
            discard.source = before_index as u32;
            discard.first_number = source.chunks;
            discard.chunks = continues.previous_chunks.saturating_sub(source.chunks);
            discard.reason = format!(
                "part {} continues {} chunks, of which this is not the end",
                continues.part, continues.previous_chunks
            );
        } else {
            return None;
        }
        Some(discard)
    });
    lost.collect()
}

pub(super) fn survey(input: &MergeInput<'_>) -> Result<Survey, Error> {
    let mut reader = (input.open)()?;
    let mut survey = Survey {
        first_ns: u64::MAX,
        ..Survey::default()
    };
    survey.source.name = input.name.clone();
    while let Some(chunk) = reader.next_chunk()? {
        let header = &chunk.header;
        if survey.source.chunks == 0 {
            survey.source.trace_uuid = header.trace_uuid;
            survey.capture = header.trace_uuid;
            survey.first_chunk_ns = header.first_ns;
            survey.first_bound_ns = header.first_ns.min(header.watermark_ns);
        }
        survey.source.chunks += 1;
        survey.source.chain_head = header.hash;
        survey.first_ns = survey.first_ns.min(header.first_ns);
        survey.last_ns = survey.last_ns.max(header.last_ns);
        if let Ok(decoded) = chunk.decode() {
            survey.chunk(&decoded);
        }
    }
    if survey.source.chunks == 0 {
        return Err(Error::NothingLeft {
            path: reader.path().to_owned(),
        });
    }
    survey.source.complete = reader.issues().is_empty();
    Ok(survey)
}

impl Survey {
    fn chunk(&mut self, decoded: &DecodedChunk) {
        for record in &decoded.context {
            match &record.body {
                Context::Host(host) => self.host = host.clone(),
                Context::Clock(clock) => {
                    self.clock.get_or_insert(*clock);
                }
                Context::Probes(probes) => {
                    self.profile.clone_from(&probes.profile);
                    for probe in &probes.probes {
                        self.probes.insert(probe.id, probe.clone());
                    }
                }
                Context::User(user) if self.users.len() < USERS_MAX => {
                    self.users.insert(user.uid, user.name.clone());
                }
                Context::Provenance(provenance) => self.selected |= provenance.selected,
                Context::Origin(_) => self.origins = true,
                Context::Continues(continues) if decoded.header.number == 0 => {
                    self.capture = continues.capture_uuid;
                    self.continues = Some(*continues);
                }
                Context::Process(process) => {
                    self.pid_max = self.pid_max.max(process.pid).max(process.ppid);
                    if let Some(details) = &process.details {
                        let groups = &details.process;
                        self.pid_max = self.pid_max.max(groups.sid).max(groups.pgid);
                    }
                    self.cgroup_max = self.cgroup_max.max(process.cgroup_id);
                }
                Context::Container(container) => {
                    self.cgroup_max = self.cgroup_max.max(container.cgroup_id);
                }
                Context::Loss(loss) => {
                    for count in &loss.counts {
                        self.cpu_max = self.cpu_max.max(count.cpu);
                    }
                }
                _ => {}
            }
        }
        for event in &decoded.events {
            self.pid_max = self.pid_max.max(event.pid).max(event.tid);
            self.cgroup_max = self.cgroup_max.max(event.cgroup_id);
            self.cpu_max = self.cpu_max.max(event.cpu);
            match &event.data {
                EventData::Fork(fork) => {
                    self.pid_max = self.pid_max.max(fork.child_tid).max(fork.child_pid);
                }
                EventData::Exec(exec) => {
                    self.pid_max = self.pid_max.max(exec.ppid);
                    if let Some(details) = &exec.details {
                        let process = &details.process;
                        self.pid_max = self.pid_max.max(process.sid).max(process.pgid);
                    }
                }
                EventData::Cgroup(change) => self.cgroup_max = self.cgroup_max.max(change.id),
                _ => {}
            }
        }
        let known = |kind: u16| columns::family(kind).is_some();
        self.declared |= !decoded.header.kinds.iter().all(|count| known(count.kind));
    }
}

/// Each source's probe ids, and those they have in the merged trace.
type Ids = Vec<Vec<(u8, u8)>>;

/// The probes of all sources in one table: the same name has the same id, and only what would
/// coincide is renumbered.
pub(super) fn probes(surveys: &[Survey]) -> Result<(Probes, Ids), Error> {
    let mut table: BTreeMap<u8, Probe> = BTreeMap::new();
    let mut ids = Vec::with_capacity(surveys.len());
    for survey in surveys {
        let mut moved = Vec::new();
        for (id, probe) in &survey.probes {
            let known = table.values().find(|known| known.name == probe.name);
            let here = match known {
                Some(known) => known.id,
                None if !table.contains_key(id) => *id,
                None => (1..=u8::MAX)
                    .find(|id| !table.contains_key(id))
                    .ok_or_else(|| Error::CannotMerge {
                        name: survey.source.name.clone(),
                        reason: "all sources together have more than 255 probes".to_owned(),
                    })?,
            };
            table.entry(here).or_insert(Probe {
                id: here,
                ..probe.clone()
            });
            if here != *id {
                moved.push((*id, here));
            }
        }
        ids.push(moved);
    }
    let probes = Probes {
        profile: names(surveys.iter().map(|survey| &survey.profile)),
        probes: table.into_values().collect(),
    };
    Ok((probes, ids))
}

/// What stands for all of the hosts.
pub(super) fn host(surveys: &[Survey]) -> Host {
    let mut boots: BTreeMap<_, &Host> = BTreeMap::new();
    for survey in surveys {
        boots.entry(survey.boot()).or_insert(&survey.host);
    }
    let all = || boots.values().copied();
    Host {
        host_uuid: [0; 16],
        hostname: names(all().map(|host| &host.hostname)),
        kernel_release: names(all().map(|host| &host.kernel_release)),
        arch: names(all().map(|host| &host.arch)),
        cpus: all().fold(0, |sum, host| sum.saturating_add(host.cpus)),
        memory_bytes: all().fold(0, |sum, host| sum.saturating_add(host.memory_bytes)),
        boot_id: [0; 16],
        recorder_version: names(all().map(|host| &host.recorder_version)),
    }
}

/// Uids that no two hosts name differently.
pub(super) fn users(surveys: &[Survey]) -> Vec<(u32, String)> {
    let mut users: BTreeMap<u32, Option<&String>> = BTreeMap::new();
    for (uid, name) in surveys.iter().flat_map(|survey| &survey.users) {
        let known = users.entry(*uid).or_insert(Some(name));
        if *known != Some(name) {
            *known = None;
        }
    }
    users
        .into_iter()
        .filter_map(|(uid, name)| Some((uid, name?.clone())))
        .collect()
}

/// Different values, in the order in which they come, in one text.
fn names<'a>(all: impl Iterator<Item = &'a String>) -> String {
    let mut seen: Vec<&str> = Vec::new();
    for name in all {
        if !name.is_empty() && !seen.contains(&name.as_str()) {
            seen.push(name);
        }
    }
    seen.join(", ")
}

/// A source while it is merged. It is open only from its first chunk to its last: of parts that
/// follow each other one or two are.
pub(super) struct Member<'a> {
    open: &'a dyn Fn() -> Result<TraceReader, Error>,
    shift: Shift,
    state: State,
    /// Neither the next chunk nor a later one holds an older event, but for late ones; in the
    /// source's time.
    bound_ns: u64,
    first_ns: u64,
    /// The last chunk's promise.
    watermark_ns: u64,
    told: usize,
    /// Issues that are not reported yet.
    issues: Vec<Issue>,
    /// Chunks that turned out not to decode.
    pub undecoded: Vec<Discard>,
    /// Records that could not be carried over.
    pub unknown: u64,
}

enum State {
    Waiting,
    Open(Box<TraceReader>, Box<SealedChunk>),
    Ended,
}

impl<'a> Member<'a> {
    pub fn new(
        open: &'a dyn Fn() -> Result<TraceReader, Error>,
        survey: &Survey,
        shift: Shift,
    ) -> Member<'a> {
        Member {
            open,
            shift,
            state: State::Waiting,
            bound_ns: survey.first_bound_ns,
            first_ns: survey.first_chunk_ns,
            watermark_ns: 0,
            told: 0,
            issues: Vec::new(),
            undecoded: Vec::new(),
            unknown: 0,
        }
    }

    pub fn has_next(&self) -> bool {
        !matches!(self.state, State::Ended)
    }

    /// Oldest time in the next chunk.
    pub fn first_ns(&self) -> u64 {
        self.shift.time(self.first_ns)
    }

    pub fn bound_ns(&self) -> u64 {
        self.shift.time(self.bound_ns)
    }

    /// The next chunk. `None`: it does not decode, which is reported, or the source has changed and
    /// ends here.
    pub fn take(&mut self) -> Result<Option<DecodedChunk>, Error> {
        if matches!(self.state, State::Waiting) {
            self.advance(Box::new((self.open)()?))?;
        }
        let State::Open(reader, chunk) = std::mem::replace(&mut self.state, State::Ended) else {
            return Ok(None);
        };
        let header = &chunk.header;
        self.watermark_ns = self.watermark_ns.max(header.watermark_ns);
        self.bound_ns = self.watermark_ns;
        let decoded = match chunk.decode() {
            Ok(decoded) => Some(decoded),
            Err(error) => {
                if self.undecoded.len() < ISSUES_MAX {
                    self.undecoded.push(Discard {
                        offset: reader.offset().saturating_sub(chunk.bytes.len() as u64),
                        bytes: chunk.bytes.len() as u64,
                        first_number: header.number,
                        chunks: 1,
                        after_ns: header.first_ns,
                        before_ns: header.last_ns,
                        reason: error.to_string(),
                        ..Discard::default()
                    });
                }
                None
            }
        };
        self.advance(reader)?;
        Ok(decoded)
    }

    fn advance(&mut self, mut reader: Box<TraceReader>) -> Result<(), Error> {
        let next = reader.next_chunk()?;
        self.issues.extend_from_slice(&reader.issues()[self.told..]);
        self.told = reader.issues().len();
        if let Some(chunk) = next {
            let header = &chunk.header;
            self.first_ns = header.first_ns;
            self.bound_ns = header
                .first_ns
                .min(header.watermark_ns)
                .max(self.watermark_ns);
            self.state = State::Open(reader, Box::new(chunk));
        }
        Ok(())
    }

    pub fn new_issues(&mut self) -> Vec<Issue> {
        std::mem::take(&mut self.issues)
    }
}
