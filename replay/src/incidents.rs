//! Findings that belong together, as one story: the same process tree or the same container, within a
//! time. Sits behind the gate ([`crate::gate`]) and sees findings in the order in which they leave it.
//!
//! A finding joins the oldest open incident that shares a process of its lineage or its container. What
//! everything descends from links nothing: init, the services that init starts, and of a finding in a
//! container whatever started the container. An incident ends when
//! it has been quiet for [`QUIET_NS`], when it is [`LENGTH_NS_MAX`] long, or with the trace. All times are
//! trace times, so that file, live stream and in-process detection group alike.

use hashbrown::HashMap;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    sync::Arc,
};

use crate::findings::{
    EngineKind, Finding, FoundContainer, FoundProcess, Severity, hex_id, one_line, short_id,
};
use crate::order::EventRef;

/// Without a finding for this long, an incident is over: attacks by hand pause for seconds, and what
/// comes minutes later is a story of its own that names the same container.
pub const QUIET_NS: u64 = 60_000_000_000;

/// Longer incidents are cut: a container that is never quiet would otherwise never be reported.
pub const LENGTH_NS_MAX: u64 = 1_800_000_000_000;

/// Open incidents; past it, the one that was quiet longest is over. A node runs some hundred containers.
pub const OPEN_MAX: usize = 512;

/// Lines of a story. Past it, the last of the least severe makes room for a more severe one.
pub const STEPS_MAX: usize = 50;

/// Processes by which findings join an incident; past it, only those known and the container link.
pub const PROCESSES_MAX: usize = 1_024;

/// Containers that a story names.
pub const CONTAINERS_MAX: usize = 32;

/// Tags, and other incidents, that a story names.
pub const NAMED_MAX: usize = 64;

/// Rules in a title.
const TITLE_RULES_MAX: usize = 4;

/// init and kthreadd: everything descends from them.
const COMMON_PIDS: u32 = 2;

/// Why no more is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Nothing for [`QUIET_NS`].
    Quiet,
    /// It was [`LENGTH_NS_MAX`] long.
    Long,
    /// More than [`OPEN_MAX`] were open.
    Room,
    /// The trace ended.
    Trace,
}

impl Ended {
    pub fn name(self) -> &'static str {
        match self {
            Ended::Quiet => "quiet",
            Ended::Long => "long",
            Ended::Room => "room",
            Ended::Trace => "trace",
        }
    }
}

/// One line of a story: what one process did again and again is one line.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub boot_ns: u64,
    pub wall_ns: Option<u64>,
    /// Of its last finding.
    pub last_ns: u64,
    pub severity: Severity,
    pub engine: EngineKind,
    pub rule: Arc<str>,
    pub message: String,
    /// Empty: the host.
    pub container: String,
    pub process: Option<FoundProcess>,
    pub evidence: Option<EventRef>,
    pub findings: u64,
    /// Where it happened, with the pid and the rule what makes two findings one step.
    cgroup_id: u64,
}

/// A story.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    /// From its first finding: the same in every run, and in a slice that has it.
    pub id: u64,
    pub trace_uuid: [u8; 16],
    /// Time of its first and last finding.
    pub start_ns: u64,
    pub start_wall_ns: Option<u64>,
    pub end_ns: u64,
    pub end_wall_ns: Option<u64>,
    /// The worst.
    pub severity: Severity,
    pub containers: Vec<FoundContainer>,
    pub findings: u64,
    /// Identical findings, and those over the limit, that its findings say were left out.
    pub left_out: u64,
    /// Findings by severity, worst first.
    pub by_severity: Vec<(Severity, u64)>,
    /// ATT&CK ids and tags in the order in which they came.
    pub tags: Vec<String>,
    pub steps: Vec<Step>,
    /// Findings that are in no step.
    pub steps_left_out: u64,
    /// Incidents that share a process or a container with this one.
    pub related: Vec<u64>,
    pub degraded: bool,
    pub ended: Ended,
}

struct Open {
    incident: Incident,
    first_seen_ns: u64,
    last_seen_ns: u64,
    container_keys: Vec<u64>,
    processes: Vec<(u32, u64)>,
}

impl Open {
    fn due_ns(&self) -> u64 {
        let quiet = self.last_seen_ns.saturating_add(QUIET_NS);
        quiet.min(self.first_seen_ns.saturating_add(LENGTH_NS_MAX))
    }
}

/// The open incidents, and those that ended.
pub struct Incidents {
    /// By running number: oldest first.
    open: BTreeMap<u64, Open>,
    next: u64,
    by_container: HashMap<u64, u64>,
    by_process: HashMap<(u32, u64), u64>,
    /// The earliest time at which one is over.
    due_ns: u64,
    ended: Vec<Incident>,
}

impl Default for Incidents {
    fn default() -> Self {
        Incidents {
            open: BTreeMap::new(),
            next: 0,
            by_container: HashMap::new(),
            by_process: HashMap::new(),
            due_ns: u64::MAX,
            ended: Vec::new(),
        }
    }
}

impl Incidents {
    /// When [`Incidents::advance`] has something to do.
    #[inline]
    pub fn due_ns(&self) -> u64 {
        self.due_ns
    }

    /// Puts a finding into its incident and writes the incident's id into it. `container_key` is one
    /// number for all cgroups of a container, 0 for the host.
    pub fn take(&mut self, finding: &mut Finding, container_key: u64, now_ns: u64) {
        self.advance(now_ns);
        let linking = linking(finding);
        let mut found: BTreeSet<u64> = linking
            .iter()
            .filter_map(|process| self.by_process.get(process).copied())
            .collect();
        if container_key != 0 {
            found.extend(self.by_container.get(&container_key).copied());
        }
        let number = match found.first() {
            Some(number) => *number,
            None => self.begin(finding, now_ns),
        };
        self.relate(&found);
        let Some(open) = self.open.get_mut(&number) else {
            unreachable!("incident {number} is in an index, so it is open");
        };
        open.last_seen_ns = now_ns.max(open.last_seen_ns);
        if container_key != 0 && open.container_keys.len() < CONTAINERS_MAX {
            self.by_container.entry(container_key).or_insert_with(|| {
                open.container_keys.push(container_key);
                number
            });
        }
        for process in linking {
            if open.processes.len() == PROCESSES_MAX {
                break;
            }
            self.by_process.entry(process).or_insert_with(|| {
                open.processes.push(process);
                number
            });
        }
        open.incident.add(finding);
        finding.incident = open.incident.id;
        self.due_ns = self.due_ns.min(open.due_ns());
    }

    /// Ends what is over at this time.
    pub fn advance(&mut self, now_ns: u64) {
        if now_ns < self.due_ns {
            return;
        }
        let mut due: Vec<(u64, u64)> = Vec::new();
        for (number, open) in &self.open {
            if open.due_ns() <= now_ns {
                due.push((open.due_ns(), *number));
            }
        }
        // In the order in which they ended, however long nobody asked.
        due.sort_unstable();
        for (_, number) in due {
            let long = self
                .open
                .get(&number)
                .is_some_and(|open| open.due_ns() < open.last_seen_ns.saturating_add(QUIET_NS));
            self.end(number, if long { Ended::Long } else { Ended::Quiet });
        }
        self.due_ns = self
            .open
            .values()
            .map(Open::due_ns)
            .min()
            .unwrap_or(u64::MAX);
    }

    /// The trace has ended: ends all, the oldest first.
    pub fn finish(&mut self) {
        while let Some((&number, _)) = self.open.first_key_value() {
            self.end(number, Ended::Trace);
        }
        self.due_ns = u64::MAX;
    }

    /// What ended since the last call.
    pub fn ended(&mut self) -> impl Iterator<Item = Incident> + '_ {
        self.ended.drain(..)
    }

    fn begin(&mut self, finding: &Finding, now_ns: u64) -> u64 {
        if self.open.len() >= OPEN_MAX {
            let quietest = self
                .open
                .iter()
                .min_by_key(|(number, open)| (open.last_seen_ns, **number))
                .map(|(number, _)| *number);
            if let Some(number) = quietest {
                self.end(number, Ended::Room);
            }
        }
        let number = self.next;
        self.next += 1;
        let open = Open {
            incident: Incident::begin(finding),
            first_seen_ns: now_ns,
            last_seen_ns: now_ns,
            container_keys: Vec::new(),
            processes: Vec::new(),
        };
        self.open.insert(number, open);
        number
    }

    /// A finding links these: each names the others.
    fn relate(&mut self, numbers: &BTreeSet<u64>) {
        if numbers.len() < 2 {
            return;
        }
        let ids: Vec<u64> = numbers
            .iter()
            .filter_map(|number| Some(self.open.get(number)?.incident.id))
            .collect();
        for number in numbers {
            let Some(open) = self.open.get_mut(number) else {
                continue;
            };
            for id in &ids {
                let related = &mut open.incident.related;
                if *id != open.incident.id && !related.contains(id) && related.len() < NAMED_MAX {
                    related.push(*id);
                }
            }
        }
    }

    fn end(&mut self, number: u64, ended: Ended) {
        let Some(open) = self.open.remove(&number) else {
            return;
        };
        for key in &open.container_keys {
            self.by_container.remove(key);
        }
        for process in &open.processes {
            self.by_process.remove(process);
        }
        self.ended.push(Incident {
            ended,
            ..open.incident
        });
    }
}

/// The processes by which a finding belongs to others: its own and its ancestors, without those that
/// unrelated work has in common.
fn linking(finding: &Finding) -> Vec<(u32, u64)> {
    let lineage = &finding.lineage;
    let service = |at: usize| {
        at > 0
            && lineage
                .get(at + 1)
                .is_none_or(|parent| parent.pid <= COMMON_PIDS)
    };
    lineage
        .iter()
        .enumerate()
        .filter(|(at, process)| process.inside && process.pid > COMMON_PIDS && !service(*at))
        .map(|(_, process)| (process.pid, process.start_ns))
        .collect()
}

impl Incident {
    fn begin(finding: &Finding) -> Incident {
        let mut hash = blake3::Hasher::new();
        hash.update(&finding.boot_ns.to_le_bytes());
        hash.update(&finding.cgroup_id.to_le_bytes());
        hash.update(&finding.pid.to_le_bytes());
        hash.update(finding.engine.name().as_bytes());
        hash.update(finding.rule.as_bytes());
        let mut id = [0; 8];
        id.copy_from_slice(&hash.finalize().as_bytes()[..8]);
        Incident {
            id: u64::from_be_bytes(id),
            trace_uuid: finding.trace_uuid,
            start_ns: finding.boot_ns,
            start_wall_ns: finding.wall_ns,
            end_ns: finding.boot_ns,
            end_wall_ns: finding.wall_ns,
            severity: finding.severity,
            containers: Vec::new(),
            findings: 0,
            left_out: 0,
            by_severity: Vec::new(),
            tags: Vec::new(),
            steps: Vec::new(),
            steps_left_out: 0,
            related: Vec::new(),
            degraded: false,
            ended: Ended::Trace,
        }
    }

    fn add(&mut self, finding: &Finding) {
        self.findings += 1;
        self.left_out += finding.suppressed + finding.rate_limited;
        self.severity = self.severity.max(finding.severity);
        self.degraded |= finding.degraded.is_some();
        // The end of a statistics window may lie before the event that came first.
        if finding.boot_ns < self.start_ns {
            (self.start_ns, self.start_wall_ns) = (finding.boot_ns, finding.wall_ns);
        }
        if finding.boot_ns >= self.end_ns {
            (self.end_ns, self.end_wall_ns) = (finding.boot_ns, finding.wall_ns);
        }
        match self
            .by_severity
            .iter_mut()
            .find(|(severity, _)| *severity == finding.severity)
        {
            Some((_, count)) => *count += 1,
            None => {
                self.by_severity.push((finding.severity, 1));
                self.by_severity
                    .sort_by_key(|(severity, _)| std::cmp::Reverse(*severity));
            }
        }
        if finding.cgroup_id != 0
            && self.containers.len() < CONTAINERS_MAX
            && !self.containers.iter().any(|known| {
                known.cgroup_id == finding.cgroup_id
                    || (!known.id.is_empty() && known.id == finding.container.id)
            })
        {
            self.containers.push(FoundContainer {
                cgroup_id: finding.cgroup_id,
                ..finding.container.clone()
            });
        }
        for tag in &finding.tags {
            if self.tags.len() < NAMED_MAX && !self.tags.contains(tag) {
                self.tags.push(tag.clone());
            }
        }
        self.step(finding);
    }

    fn step(&mut self, finding: &Finding) {
        let process = finding.lineage.first();
        let key = |process: Option<&FoundProcess>| process.map(|it| (it.pid, it.start_ns));
        if let Some(step) = self.steps.iter_mut().find(|step| {
            step.rule == finding.rule
                && step.engine == finding.engine
                && step.cgroup_id == finding.cgroup_id
                && step.severity == finding.severity
                && key(step.process.as_ref()) == key(process)
        }) {
            step.findings += 1;
            step.last_ns = step.last_ns.max(finding.boot_ns);
            return;
        }
        if self.steps.len() >= STEPS_MAX {
            let least = self.steps.iter().map(|step| step.severity).min();
            match least.filter(|least| *least < finding.severity) {
                Some(least) => {
                    let last = self.steps.iter().rposition(|step| step.severity == least);
                    if let Some(last) = last {
                        self.steps_left_out += self.steps.remove(last).findings;
                    }
                }
                None => {
                    self.steps_left_out += 1;
                    return;
                }
            }
        }
        let container = &finding.container;
        let step = Step {
            boot_ns: finding.boot_ns,
            wall_ns: finding.wall_ns,
            last_ns: finding.boot_ns,
            severity: finding.severity,
            engine: finding.engine,
            rule: finding.rule.clone(),
            message: finding.message.clone(),
            container: match (container.name.is_empty(), container.id.is_empty()) {
                (false, _) => container.name.clone(),
                (true, false) => short_id(&container.id).to_owned(),
                (true, true) if finding.cgroup_id == 0 => String::new(),
                (true, true) => format!("cgroup {}", finding.cgroup_id),
            },
            process: process.cloned(),
            evidence: finding.evidence,
            findings: 1,
            cgroup_id: finding.cgroup_id,
        };
        // Findings may leave the gate a little out of time; a story does not.
        let at = self
            .steps
            .partition_point(|known| known.boot_ns <= step.boot_ns);
        self.steps.insert(at, step);
    }

    /// Its rules in the order in which they came.
    pub fn title(&self) -> String {
        let mut names: Vec<&str> = Vec::new();
        for step in &self.steps {
            if !names.contains(&&*step.rule) {
                names.push(&step.rule);
            }
        }
        let more = names.len().saturating_sub(TITLE_RULES_MAX);
        names.truncate(TITLE_RULES_MAX);
        let mut title = names.join(", then ");
        if more > 0 {
            let _ = write!(title, ", and {more} more");
        }
        title
    }

    /// The story as one JSON line, without the newline.
    pub fn to_json(&self) -> String {
        match serde_json::to_string(&crate::incident_json::IncidentJson(self)) {
            Ok(line) => line,
            Err(error) => unreachable!(
                "an incident holds only strings, numbers and flags, all of which JSON can say: {error}"
            ),
        }
    }

    /// The story for people.
    pub fn to_text(&self) -> String {
        let seconds = |ns: u64| ns as f64 / 1e9;
        let places = match self.containers.is_empty() {
            true => "host".to_owned(),
            false => {
                let name = |container: &FoundContainer| match container {
                    FoundContainer { name, .. } if !name.is_empty() => one_line(name),
                    FoundContainer { id, .. } if !id.is_empty() => one_line(short_id(id)),
                    FoundContainer { cgroup_id, .. } => format!("cgroup {cgroup_id}"),
                };
                let names: Vec<String> = self.containers.iter().map(name).collect();
                names.join(", ")
            }
        };
        let mut text = format!(
            "{}  {:<8} {}  [{places}]\n    incident {}, {:.1} s, {}",
            crate::time::show(self.start_wall_ns, self.start_ns),
            self.severity,
            one_line(&self.title()),
            hex_id(self.id),
            seconds(self.end_ns - self.start_ns),
            plural(self.findings, "finding"),
        );
        if self.left_out > 0 {
            let _ = write!(text, ", {} more left out", self.left_out);
        }
        if !self.tags.is_empty() {
            let _ = write!(text, "  {}", one_line(&self.tags.join(" ")));
        }
        for step in &self.steps {
            let _ = write!(
                text,
                "\n    +{:>9.3} s  {:<13} {}",
                seconds(step.boot_ns.saturating_sub(self.start_ns)),
                step.severity,
                one_line(&step.rule)
            );
            if step.findings > 1 {
                let _ = write!(
                    text,
                    " ({} times, the last at +{:.3} s)",
                    step.findings,
                    seconds(step.last_ns.saturating_sub(self.start_ns))
                );
            }
            if self.containers.len() > 1 && !step.container.is_empty() {
                let _ = write!(text, "  [{}]", one_line(&step.container));
            }
            if !step.message.is_empty() {
                let _ = write!(text, "\n                   {}", one_line(&step.message));
            }
        }
        if self.steps_left_out > 0 {
            let _ = write!(
                text,
                "\n    {} without a line here",
                plural(self.steps_left_out, "finding")
            );
        }
        if !self.related.is_empty() {
            let related: Vec<String> = self.related.iter().map(|id| hex_id(*id)).collect();
            let _ = write!(text, "\n    related  {}", related.join(" "));
        }
        if self.degraded {
            text.push_str("\n    degraded events were lost in the time that some of it rests on");
        }
        text
    }
}

fn plural(count: u64, word: &str) -> String {
    match count {
        1 => format!("1 {word}"),
        count => format!("{count} {word}s"),
    }
}
