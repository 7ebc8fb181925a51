//! Which cgroup is which container: one context record at first sight, another when its name is known.

use std::collections::VecDeque;

use hashbrown::HashMap;
use trace_format::context::{Container, Context, Resolution};

use super::{
    cgroups::{Cgroups, Identity, identify},
    metadata::Answer,
    runtimes::Resolver,
};

/// Cgroups remembered at once. Removed ones go first, in the order of their removal.
pub const CGROUPS_MAX: usize = 16_384;

/// All cgroups that the capture has seen.
pub struct Containers {
    cgroups: Cgroups,
    resolver: Option<Resolver>,
    known: HashMap<u64, Container>,
    removed: VecDeque<u64>,
    /// The cgroup of the last event: most events come from the same one as the event before.
    last: u64,
}

impl Containers {
    /// `resolver` None: ids only.
    pub fn new(cgroups: Cgroups, resolver: Option<Resolver>) -> Self {
        Containers {
            cgroups,
            resolver,
            known: HashMap::new(),
            removed: VecDeque::new(),
            last: 0,
        }
    }

    /// The record to write before the first event of a cgroup; None when it is known already.
    #[inline]
    pub fn see(&mut self, cgroup_id: u64) -> Option<Context> {
        if cgroup_id == self.last || cgroup_id == 0 {
            return None;
        }
        self.last = cgroup_id;
        if self.known.contains_key(&cgroup_id) {
            return None;
        }
        let path = self.cgroups.path(cgroup_id).unwrap_or_default();
        self.made(cgroup_id, &path)
    }

    /// A cgroup with its path: from the kernel's own event, or from a walk.
    pub fn made(&mut self, cgroup_id: u64, path: &str) -> Option<Context> {
        if self
            .known
            .get(&cgroup_id)
            .is_some_and(|known| !known.cgroup_path.is_empty() || path.is_empty())
        {
            return None;
        }
        self.make_room();
        let Identity { id, runtime } = identify(path).unwrap_or(Identity {
            id: String::new(),
            runtime: "",
        });
        let asked = self.ask(&id, runtime);
        let container = Container {
            cgroup_id,
            cgroup_path: path.to_owned(),
            resolution: match (id.is_empty(), asked) {
                // Gone before it was looked at: nobody knows what it was.
                _ if path.is_empty() => Resolution::GaveUp,
                (true, _) => Resolution::Resolved,
                (false, true) => Resolution::Pending,
                (false, false) => Resolution::GaveUp,
            },
            id,
            runtime: runtime.to_owned(),
            ..Container::default()
        };
        self.known.insert(cgroup_id, container.clone());
        Some(Context::Container(container))
    }

    /// A cgroup was removed: its entry stays as a tombstone until room is needed.
    pub fn removed(&mut self, cgroup_id: u64) {
        if self.known.contains_key(&cgroup_id) {
            self.removed.push_back(cgroup_id);
        }
    }

    /// Records for all answers that have arrived.
    pub fn answers(&mut self) -> Vec<Context> {
        let Some(resolver) = &self.resolver else {
            return Vec::new();
        };
        let answers: Vec<Answer> = resolver.answers.try_iter().collect();
        let mut records = Vec::new();
        for answer in answers {
            for container in self
                .known
                .values_mut()
                .filter(|container| container.id == answer.id)
            {
                match &answer.metadata {
                    Some(metadata) => {
                        container.resolution = Resolution::Resolved;
                        container.name.clone_from(&metadata.name);
                        container.image.clone_from(&metadata.image);
                        container.privileged = metadata.privileged;
                        container.pod.clone_from(&metadata.pod);
                        container.namespace.clone_from(&metadata.namespace);
                        container.labels.clone_from(&metadata.labels);
                    }
                    None => container.resolution = Resolution::GaveUp,
                }
                records.push(container.clone());
            }
        }
        // By id, not in the map's order: what is written must not depend on it.
        records.sort_by_key(|container| container.cgroup_id);
        records.into_iter().map(Context::Container).collect()
    }

    /// Everything known, by cgroup id: for a checkpoint.
    pub fn all(&self) -> Vec<Context> {
        let mut all: Vec<_> = self.known.values().cloned().collect();
        all.sort_by_key(|container| container.cgroup_id);
        all.into_iter().map(Context::Container).collect()
    }

    /// Cgroups whose resources are sampled: those of containers that are still there.
    pub fn sampled(&self) -> Vec<(u64, String)> {
        let gone: hashbrown::HashSet<u64> = self.removed.iter().copied().collect();
        let mut found: Vec<_> = self
            .known
            .values()
            .filter(|container| !container.id.is_empty() && !gone.contains(&container.cgroup_id))
            .map(|container| (container.cgroup_id, container.cgroup_path.clone()))
            .collect();
        found.sort();
        found
    }

    /// What to call a cgroup: the container's name, else its id, else the cgroup's path.
    pub fn title(&self, cgroup_id: u64) -> String {
        let of = |container: &Container| {
            let titles = [&container.name, &container.id, &container.cgroup_path];
            titles.into_iter().find(|title| !title.is_empty()).cloned()
        };
        let title = self.known.get(&cgroup_id).and_then(of);
        title.unwrap_or_else(|| format!("cgroup {cgroup_id}"))
    }

    /// Cgroups that are remembered, [`CGROUPS_MAX`] at most.
    pub fn remembered(&self) -> usize {
        self.known.len()
    }

    pub fn cgroups(&self) -> &Cgroups {
        &self.cgroups
    }

    fn ask(&self, id: &str, runtime: &str) -> bool {
        !id.is_empty()
            && self
                .resolver
                .as_ref()
                .is_some_and(|resolver| resolver.ask(id, runtime))
    }

    fn make_room(&mut self) {
        while self.known.len() >= CGROUPS_MAX {
            match self
                .removed
                .pop_front()
                .or_else(|| self.known.keys().min().copied())
            {
                Some(oldest) => drop(self.known.remove(&oldest)),
                None => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn containers() -> Containers {
        Containers::new(Cgroups::open(), None)
    }

    #[test]
    fn a_cgroup_is_described_once() {
        let mut containers = containers();
        let path = format!("/docker/{}", "a".repeat(64));
        let Some(Context::Container(first)) = containers.made(77, &path) else {
            panic!("no record")
        };
        assert_eq!(
            (first.runtime.as_str(), first.resolution),
            ("docker", Resolution::GaveUp)
        );
        assert_eq!(containers.made(77, &path), None);
        assert_eq!(containers.see(77), None);
        assert_eq!(containers.sampled(), vec![(77, path)]);
        containers.removed(77);
        assert!(
            containers.sampled().is_empty(),
            "a removed cgroup has no files to read"
        );
        assert_eq!(containers.all().len(), 1, "but is still known");
    }

    #[test]
    fn the_table_never_grows_past_its_bound() {
        let mut containers = containers();
        for id in 1..=(CGROUPS_MAX as u64 + 100) {
            containers.made(id, "/x");
            containers.removed(id);
        }
        assert_eq!(containers.known.len(), CGROUPS_MAX);
        assert!(containers.known.contains_key(&(CGROUPS_MAX as u64 + 100)));
    }
}
