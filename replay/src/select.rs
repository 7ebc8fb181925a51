//! Which events are wanted, by container, kind and process: what a chunk's header can answer for all of
//! its events at once ([`crate::skip`]), and each event for itself.

use hashbrown::{HashMap, HashSet};
use trace_format::{
    ChunkHeader, Context, ContextRecord, EventData, columns::FAMILIES, context::Resolution,
    family_of,
};

use crate::{event_view::EventView, resolve::Container};

/// Beginnings of a container's id that are taken for it: as many characters as people quote.
const ID_PREFIX_MIN: usize = 12;
/// Cgroups whose container is remembered, as many as the state remembers. Of further ones nothing is
/// known, so their chunks are read.
const CGROUPS_MAX: usize = 65_536;

/// What is wanted. All given parts must hold; an empty one holds for everything.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Names, ids or beginnings of ids of containers; `host` for what is in none.
    pub containers: Vec<String>,
    /// Names of families: our own, or those that a trace declares.
    pub kinds: Vec<String>,
    pub pids: Vec<u32>,
    /// Of the kinds, those that traces declared.
    declared: HashSet<String>,
}

/// The name of an event's kind.
pub fn kind_name(data: &EventData) -> &str {
    match data {
        EventData::Declared(declared) => declared.ty().name(),
        other => crate::event_view::family_name(family_of(other)),
    }
}

impl Selection {
    pub fn new(containers: Vec<String>, kinds: Vec<String>, pids: Vec<u32>) -> Selection {
        Selection {
            containers,
            kinds,
            pids,
            declared: HashSet::new(),
        }
    }

    /// Everything is wanted.
    pub fn is_all(&self) -> bool {
        self.containers.is_empty() && self.kinds.is_empty() && self.pids.is_empty()
    }

    pub fn wants(&self, view: &EventView<'_>) -> bool {
        // Of a capture's block, its own kind or that of the event it completes.
        let kind = || {
            let names = [view.event, view.judged].map(|event| kind_name(&event.data));
            self.kinds.iter().any(|kind| names.contains(&kind.as_str()))
        };
        (self.kinds.is_empty() || kind())
            && (self.pids.is_empty() || self.pids.contains(&view.event.pid))
            && (self.containers.is_empty() || self.wants_container(view.container()))
    }

    /// Notes the kinds that a trace declares.
    pub fn learn(&mut self, records: &[ContextRecord]) {
        for record in records {
            if let Context::EventType(ty) = &record.body
                && self.kinds.iter().any(|kind| kind == ty.name())
            {
                self.declared.insert(ty.name().to_owned());
            }
        }
    }

    /// A kind that is none of ours and that no trace declared: most likely a mistake.
    pub fn unknown_kind(&self) -> Option<&str> {
        let ours = |kind: &str| FAMILIES.iter().any(|family| family.name == kind);
        let unknown = |kind: &&String| !ours(kind) && !self.declared.contains(*kind);
        self.kinds.iter().find(unknown).map(String::as_str)
    }

    fn wants_container(&self, container: Option<&Container>) -> bool {
        match container {
            None => self.wants_host(),
            Some(container) => self.wants_named(&container.id, &container.name),
        }
    }

    fn wants_host(&self) -> bool {
        self.containers.iter().any(|wanted| wanted == "host")
    }

    fn wants_named(&self, id: &str, name: &str) -> bool {
        self.containers.iter().any(|wanted| {
            let prefix = wanted.len() >= ID_PREFIX_MIN && id.starts_with(wanted.as_str());
            prefix || id == wanted || name == wanted
        })
    }
}

/// What the cgroups in headers are, as far as records told.
#[derive(Default)]
pub struct Cgroups {
    /// Whether it belongs to a container that is wanted.
    wanted: HashMap<u64, bool>,
}

impl Cgroups {
    pub fn learn(&mut self, selection: &Selection, records: &[ContextRecord]) {
        for record in records {
            let Context::Container(container) = &record.body else {
                continue;
            };
            if container.resolution == Resolution::Pending {
                // Its name may still come.
                self.wanted.remove(&container.cgroup_id);
                continue;
            }
            let wanted = match container.id.as_str() {
                "" => selection.wants_host(),
                id => selection.wants_named(id, &container.name),
            };
            if self.wanted.len() < CGROUPS_MAX || self.wanted.contains_key(&container.cgroup_id) {
                self.wanted.insert(container.cgroup_id, wanted);
            }
        }
    }

    /// Whether an event of such a chunk may be wanted. `false` is certain.
    pub fn may_hold(&self, selection: &Selection, header: &ChunkHeader) -> bool {
        let kind = |family: u16| {
            let known = FAMILIES.iter().find(|known| known.id == family);
            known.is_none_or(|known| selection.kinds.iter().any(|kind| kind == known.name))
        };
        let cgroup = |id: &u64| self.wanted.get(id) != Some(&false);
        let pid = |pid: &u32| header.processes.binary_search(pid).is_ok();
        header.rows > 0
            && (selection.kinds.is_empty() || header.kinds.iter().any(|kinds| kind(kinds.kind)))
            && (selection.containers.is_empty()
                || !header.cgroups_listed
                || header.cgroups.iter().any(cgroup))
            && (selection.pids.is_empty()
                || !header.processes_listed
                || selection.pids.iter().any(pid))
    }
}

/// Whether a chunk's events change what lines show of other events: where processes begin, change and
/// end, what cgroups are, and events that nobody here knows.
pub fn feeds_state(selection: &Selection, header: &ChunkHeader) -> bool {
    use trace_format::columns::*;
    // What a system call changes, it changes of its own process: that is asked for by its pid or
    // container, or by neither.
    let own_only = !selection.pids.is_empty() || !selection.containers.is_empty();
    header.kinds.iter().any(|kinds| match kinds.kind {
        SYSCALL_COUNT | TCP_STATE | SAMPLE => false,
        SYSCALL | OPEN | PATH_CALL | SOCK_CALL => !own_only,
        FORK | EXEC | EXIT | CGROUP | DECLARED.. => true,
        _ => true,
    })
}
