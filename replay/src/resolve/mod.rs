//! What the trace says about the world: processes, descriptors, containers, users, gaps.
//!
//! State is a fold over records and nothing else: the same records give the same answers. The
//! pipeline calls [`State::context`] for each context record and, for each event, [`State::before`],
//! then the engines, then [`State::after`]. What an event changes is visible to the engines that see
//! it, except that the process that exits and the descriptor that is closed are still there.
//!
//! Every table is bounded; what falls out is forgotten, never guessed.

mod birth;
mod container;
mod depth;
mod descriptor;
mod gap;
mod process;
/// Sockets live on, and reads and writes are counted up to a later moment: such an event belongs to the
/// last process with the id, living or not.
pub(crate) fn may_outlive_its_process(data: &trace_format::EventData) -> bool {
    use trace_format::EventData;
    matches!(
        data,
        EventData::TcpState(_) | EventData::TcpEvent(_) | EventData::Io(_)
    )
}

#[cfg(test)]
mod tests;
mod update;

pub use container::Container;
pub use depth::Depth;
pub use descriptor::{Descriptor, DescriptorKind, Role};
pub use process::{ExeFile, Image, Process};
pub(crate) use update::tcp;

use crate::syscalls::{Arch, Effects};
use birth::Births;
use container::Containers;
use descriptor::SocketRoles;
use gap::Gaps;
use hashbrown::HashMap;
use process::{Processes, Slot};
use std::sync::atomic::{AtomicU64, Ordering};
use trace_format::{
    context::{Clock, Host, User},
    {Context, ContextRecord, Event, EventHead},
};

/// Users remembered. A host has hundreds; a directory service may have more, and then the first ones stay.
const USERS_MAX: usize = 65_536;

/// States made so far by this program: gives each a number.
static STATES: AtomicU64 = AtomicU64::new(0);

/// Which state it is and how often its processes, containers and users changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Version {
    state: u64,
    changes: u64,
}

/// The state of the traced host at the current record.
pub struct State {
    /// From 1 on. Only tells states apart: nothing that comes out depends on it.
    number: u64,
    processes: Processes,
    containers: Containers,
    users: HashMap<u32, String>,
    gaps: Gaps,
    births: Births,
    roles: SocketRoles,
    effects: Effects,
    clock: Option<Clock>,
    host: Option<Host>,
    events_seen: u64,
    /// Counts changes of containers and users.
    changes: u64,
    /// Process and descriptor that [`State::after`] has to forget.
    exiting: Option<Slot>,
    closing: Option<(Slot, i32)>,
    closed_sock: Option<u64>,
}

/// A context record that rules can see as an event: [`crate::rules::Engine::observe`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// A container's metadata became known (or the recorder gave up): once per container and trace.
    Container { boot_ns: u64, cgroup_id: u64 },
}

impl Default for State {
    fn default() -> Self {
        State::new()
    }
}

impl State {
    pub fn new() -> Self {
        State {
            number: STATES.fetch_add(1, Ordering::Relaxed) + 1,
            processes: Processes::default(),
            containers: Containers::default(),
            users: HashMap::new(),
            gaps: Gaps::default(),
            births: Births::default(),
            roles: SocketRoles::default(),
            effects: Effects::new(Arch::default()),
            clock: None,
            host: None,
            events_seen: 0,
            changes: 0,
            exiting: None,
            closing: None,
            closed_sock: None,
        }
    }

    /// Applies a context record. What it returns is worth showing to the rules.
    pub fn context(&mut self, record: &ContextRecord) -> Option<News> {
        self.changes += 1;
        match &record.body {
            Context::Host(host) => {
                if let Some(arch) = Arch::from_name(&host.arch)
                    && arch != self.effects.arch()
                {
                    self.effects = Effects::new(arch);
                }
                self.host = Some(host.clone());
            }
            Context::Clock(clock) => self.clock = Some(*clock),
            Context::Process(process) => {
                let in_container = self.in_container(process.cgroup_id);
                self.processes.observe(process, in_container);
            }
            Context::Container(container) => {
                let cgroup_id = container.cgroup_id;
                if self.containers.observe(container) {
                    return Some(News::Container {
                        boot_ns: record.boot_ns,
                        cgroup_id,
                    });
                }
            }
            Context::Loss(loss) => self.gaps.loss(loss, record.boot_ns),
            Context::User(User { uid, name }) => {
                if self.users.len() < USERS_MAX || self.users.contains_key(uid) {
                    self.users.insert(*uid, name.clone());
                }
            }
            Context::Provenance(provenance) => self.gaps.provenance(provenance),
            Context::Discard(_) => self.gaps.discard(record.boot_ns),
            Context::Origin(_)
            | Context::Probes(_)
            | Context::Mark(_)
            | Context::Tick
            | Context::CheckpointBegin
            | Context::CheckpointEnd
            | Context::Continues(_)
            | Context::EventType(_)
            | Context::Continued(_)
            | Context::Drops(_)
            | Context::Unknown { .. } => {}
        }
        None
    }

    /// Applies what must be visible when the event is judged: the child of a fork, the image of an
    /// exec, the descriptor of an open.
    pub fn before(&mut self, event: &Event) {
        self.events_seen += 1;
        self.gaps.event(event.into());
        update::before(self, event);
    }

    /// Applies what must stay visible while the event is judged: an exit, a close.
    pub fn after(&mut self, event: &Event) {
        update::after(self, event);
    }

    /// Applies what an event says about loss alone: one that is shown as another, or not at all.
    pub(crate) fn passed(&mut self, event: &Event) {
        self.gaps.event(event.into());
    }

    /// The same of one that is left out.
    #[inline]
    pub(crate) fn left_out(&mut self, head: &EventHead<'_>) {
        self.gaps.event(head.into());
    }

    /// The same of one that changes nothing and counts.
    #[inline]
    pub(crate) fn counted(&mut self, head: &EventHead<'_>) {
        self.events_seen += 1;
        self.gaps.event(head.into());
    }

    /// A process closed a descriptor.
    #[inline]
    pub(crate) fn closed(&mut self, pid: u32, fd: i32) {
        if let Some(slot) = self.processes.living_slot(pid)
            && let Some((process, total)) = self.processes.with_total(slot)
        {
            process.descriptors.remove(fd, total);
        }
    }

    /// Counts an event that is shown, but of which nobody knows what it changed.
    pub(crate) fn saw(&mut self) {
        self.events_seen += 1;
    }

    pub(crate) fn effects(&self) -> &Effects {
        &self.effects
    }

    /// A living process has this descriptor, however it came by it.
    pub(crate) fn has_descriptor(&mut self, pid: u32, fd: i32, descriptor: Descriptor) {
        if let Some(slot) = self.processes.living_slot(pid)
            && let Some((process, total)) = self.processes.with_total(slot)
        {
            process.descriptors.insert(fd, descriptor, total);
        }
    }

    /// The living process with this id. Between `before` and `after` of its exit it still lives.
    pub fn process(&self, pid: u32) -> Option<&Process> {
        self.processes.living(pid)
    }

    /// The process an event belongs to. Socket events may come after their owner's exit: then the
    /// last process that had the id.
    pub fn process_of(&self, event: &Event) -> Option<&Process> {
        if event.pid == 0 {
            return None;
        }
        if may_outlive_its_process(&event.data) {
            self.processes.last(event.pid)
        } else {
            self.processes.living(event.pid)
        }
    }

    /// The process itself, then its ancestors, nearest first. An exited ancestor stays in its place:
    /// who started a process does not change when the starter dies.
    pub fn lineage(&self, pid: u32) -> impl Iterator<Item = &Process> {
        self.processes.lineage(self.processes.last(pid))
    }

    /// The same for a process at hand.
    pub fn lineage_of<'a>(&'a self, process: &'a Process) -> impl Iterator<Item = &'a Process> {
        self.processes.lineage(Some(process))
    }

    pub fn parent(&self, process: &Process) -> Option<&Process> {
        self.processes.parent(process)
    }

    /// All processes that are remembered, living and exited, in no order.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        self.processes.all()
    }

    /// All cgroups of containers that are remembered, in no order.
    pub fn containers(&self) -> impl Iterator<Item = (u64, &Container)> {
        self.containers.all()
    }

    /// The container a cgroup belongs to; `None` for the host's own cgroups and for unknown ones.
    pub fn container(&self, cgroup_id: u64) -> Option<&Container> {
        self.containers.get(cgroup_id)
    }

    /// How to name a cgroup's container to people: its name, else the short id, else `host`.
    pub fn container_label(&self, cgroup_id: u64) -> &str {
        State::label_of(self.containers.get(cgroup_id))
    }

    /// The same for the container of a cgroup.
    pub fn label_of(container: Option<&Container>) -> &str {
        match container {
            Some(container) if !container.name.is_empty() => &container.name,
            Some(container) => &container.short_id,
            None => container::HOST,
        }
    }

    /// Which container a cgroup's files and programs belong to; `None`: the host's.
    pub(crate) fn container_key(&self, cgroup_id: u64) -> Option<u64> {
        match self.containers.get(cgroup_id) {
            Some(container) => Some(container.key),
            None if cgroup_id == 0 || self.containers.is_host(cgroup_id) => None,
            // Not described yet: its first cgroup will be its key.
            None => Some(cgroup_id),
        }
    }

    /// Whether a process in this cgroup runs a program that was started outside of the container the
    /// cgroup belongs to: a runtime that sets the container up, or somebody who enters it. `None` when
    /// the trace did not show the start.
    pub fn started_outside(&self, process: &Process, cgroup_id: u64) -> Option<bool> {
        let image = process.image.filter(|image| image.cgroup_id != 0)?;
        let here = self.container_key(cgroup_id);
        let moved = self.container_key(image.cgroup_id) != here;
        Some(here.is_some() && (moved || image.from_outside_root))
    }

    /// `None`: nobody has said what the cgroup is.
    fn in_container(&self, cgroup_id: u64) -> Option<bool> {
        match self.containers.get(cgroup_id) {
            Some(_) => Some(true),
            None => self.containers.is_host(cgroup_id).then_some(false),
        }
    }

    /// True when a record says that the cgroup is the host's own.
    pub fn is_host_cgroup(&self, cgroup_id: u64) -> bool {
        self.containers.is_host(cgroup_id)
    }

    /// Are two cgroups of different containers, or one of a container and one of the host? None: one of
    /// them is not known to be either.
    pub fn is_across(&self, one: u64, other: u64) -> Option<bool> {
        let side = |cgroup_id: u64| match self.containers.get(cgroup_id) {
            Some(container) => Some(Some(container.key)),
            None => self.containers.is_host(cgroup_id).then_some(None),
        };
        Some(side(one)? != side(other)?)
    }

    pub fn user_name(&self, uid: u32) -> Option<&str> {
        match self.users.get(&uid) {
            Some(name) => Some(name),
            None if uid == 0 => Some("root"),
            None => None,
        }
    }

    /// The descriptor of a process, as far as the trace showed it being made.
    pub fn descriptor<'a>(&self, process: &'a Process, fd: i32) -> Option<&'a Descriptor> {
        process.descriptors.get(fd)
    }

    /// Which end of a TCP connection the traced host is, if its beginning was seen.
    pub fn socket_role(&self, sock: u64) -> Option<Role> {
        self.roles.get(sock)
    }

    /// Wall time of an event; `None` before the first clock record.
    pub fn wall_ns(&self, boot_ns: u64) -> Option<u64> {
        let clock = self.clock?;
        let wall_ns = i128::from(boot_ns) + i128::from(clock.wall_ns) - i128::from(clock.boot_ns);
        u64::try_from(wall_ns).ok()
    }

    pub fn host(&self) -> Option<&Host> {
        self.host.as_ref()
    }

    /// The system-call table of the traced host.
    pub fn arch(&self) -> Arch {
        self.effects.arch()
    }

    /// Events seen so far: the running number of the current one.
    pub fn events_seen(&self) -> u64 {
        self.events_seen
    }

    /// While this stays the same, every answer about processes, users and containers does.
    #[inline]
    pub fn version(&self) -> Version {
        Version {
            state: self.number,
            changes: self.changes + self.processes.changes(),
        }
    }

    /// When the last loss became visible: a hole in a sequence, or a loss record that grew.
    pub fn last_gap_ns(&self) -> Option<u64> {
        self.gaps.last_ns()
    }

    /// Events known to be lost so far.
    pub fn lost(&self) -> u64 {
        self.gaps.lost()
    }

    pub fn processes_len(&self) -> usize {
        self.processes.len()
    }
}
