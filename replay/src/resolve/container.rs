//! Cgroups and the containers they belong to.

use hashbrown::HashMap;
use std::collections::VecDeque;
use trace_format::context::{self, Resolution};

/// What rules and people call a process outside any container.
pub(crate) const HOST: &str = "host";

/// Cgroups remembered, living and removed. A node runs hundreds of containers and some thousand
/// cgroups; removed ones stay for the findings that still name them.
const CGROUPS_MAX: usize = 65_536;

/// Characters of a container id that people quote.
const SHORT_ID: usize = 12;
/// Hex digits of the ids that Docker, containerd, CRI-O and Podman give out.
const FULL_ID: usize = 64;

/// A container as the trace describes it so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// One number for all cgroups of a container: the first of them that the trace showed.
    pub key: u64,
    pub cgroup_path: String,
    pub id: String,
    /// The first 12 characters of a long hex id, else the id as it is.
    pub short_id: String,
    pub runtime: String,
    pub name: String,
    pub image: String,
    /// The image without tag and digest.
    pub image_repository: String,
    /// `None` until the metadata is known.
    pub privileged: Option<bool>,
    pub pod: String,
    pub namespace: String,
    pub labels: Vec<(String, String)>,
    pub resolution: Resolution,
}

enum Cgroup {
    Host,
    Container(Box<Container>),
}

#[derive(Default)]
pub(super) struct Containers {
    cgroups: HashMap<u64, Cgroup>,
    /// Full id to the container's key.
    keys: HashMap<String, u64>,
    /// Keys that were reported as news.
    reported: HashMap<u64, ()>,
    /// In the order in which they became known, for the bound.
    order: VecDeque<u64>,
}

impl Containers {
    pub(super) fn get(&self, cgroup_id: u64) -> Option<&Container> {
        match self.cgroups.get(&cgroup_id)? {
            Cgroup::Container(container) => Some(container),
            Cgroup::Host => None,
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (u64, &Container)> {
        self.cgroups
            .iter()
            .filter_map(|(cgroup_id, cgroup)| match cgroup {
                Cgroup::Container(container) => Some((*cgroup_id, &**container)),
                Cgroup::Host => None,
            })
    }

    pub(super) fn is_host(&self, cgroup_id: u64) -> bool {
        matches!(self.cgroups.get(&cgroup_id), Some(Cgroup::Host))
    }

    /// Takes over a record; true when the container's metadata became final for the first time.
    pub(super) fn observe(&mut self, record: &context::Container) -> bool {
        let final_answer = record.resolution != Resolution::Pending;
        if record.id.is_empty() {
            // A pending cgroup without an id is not known to be the host's.
            if final_answer {
                self.insert(record.cgroup_id, Cgroup::Host);
            }
            return false;
        }
        let key = *self
            .keys
            .entry_ref(record.id.as_str())
            .or_insert(record.cgroup_id);
        let container = Container {
            key,
            cgroup_path: record.cgroup_path.clone(),
            id: record.id.clone(),
            short_id: short_id(&record.id).to_owned(),
            runtime: record.runtime.clone(),
            name: record.name.clone(),
            image: record.image.clone(),
            image_repository: repository(&record.image).to_owned(),
            privileged: (record.resolution == Resolution::Resolved).then_some(record.privileged),
            pod: record.pod.clone(),
            namespace: record.namespace.clone(),
            labels: record.labels.clone(),
            resolution: record.resolution,
        };
        self.insert(record.cgroup_id, Cgroup::Container(Box::new(container)));
        final_answer && self.reported.insert(key, ()).is_none()
    }

    /// A cgroup appeared: its path may name a container before any record does.
    pub(super) fn made(&mut self, cgroup_id: u64, path: &[u8]) {
        if self.cgroups.contains_key(&cgroup_id) {
            return;
        }
        let path = String::from_utf8_lossy(path);
        if let Some(id) = id_in_path(&path) {
            let key = *self.keys.entry_ref(id).or_insert(cgroup_id);
            let container = Container {
                key,
                id: id.to_owned(),
                short_id: short_id(id).to_owned(),
                cgroup_path: path.to_string(),
                ..Container::default()
            };
            self.insert(cgroup_id, Cgroup::Container(Box::new(container)));
        }
    }

    fn insert(&mut self, cgroup_id: u64, cgroup: Cgroup) {
        if self.cgroups.insert(cgroup_id, cgroup).is_some() {
            return;
        }
        self.order.push_back(cgroup_id);
        if self.order.len() > CGROUPS_MAX
            && let Some(oldest) = self.order.pop_front()
            && let Some(Cgroup::Container(container)) = self.cgroups.remove(&oldest)
            && container.key == oldest
        {
            self.keys.remove(&container.id);
            self.reported.remove(&oldest);
        }
    }
}

fn short_id(id: &str) -> &str {
    if id.len() > SHORT_ID && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        &id[..SHORT_ID]
    } else {
        id
    }
}

/// The innermost path component that ends in 64 hex digits, `.scope` aside: every OCI runtime's layout.
fn id_in_path(path: &str) -> Option<&str> {
    path.rsplit('/').find_map(|component| {
        let name = component.strip_suffix(".scope").unwrap_or(component);
        let at = name.len().checked_sub(FULL_ID)?;
        let id = name.get(at..)?;
        id.bytes()
            .all(|byte| byte.is_ascii_hexdigit())
            .then_some(id)
    })
}

/// `registry:5000/team/app:1.2@sha256:…` → `registry:5000/team/app`.
fn repository(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or(image);
    match name.rfind(':') {
        Some(colon) if !name[colon..].contains('/') => &name[..colon],
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn the_id_is_found_in_the_paths_of_all_runtimes() {
        for path in [
            format!("/system.slice/docker-{ID}.scope"),
            format!("/docker/{ID}"),
            format!("/kubepods.slice/kubepods-pod12.slice/cri-containerd-{ID}.scope"),
            format!("/machine.slice/libpod-{ID}.scope/container"),
        ] {
            assert_eq!(id_in_path(&path), Some(ID), "{path}");
        }
        assert_eq!(id_in_path("/system.slice/ssh.service"), None);
        assert_eq!(
            id_in_path(&format!("/ü{}", "€".repeat(30))),
            None,
            "no panic inside a character"
        );
    }

    #[test]
    fn the_repository_is_the_image_without_tag_and_digest() {
        assert_eq!(repository("nginx"), "nginx");
        assert_eq!(repository("nginx:1.27"), "nginx");
        assert_eq!(
            repository("registry:5000/team/app"),
            "registry:5000/team/app"
        );
        assert_eq!(
            repository("registry:5000/team/app:1@sha256:00"),
            "registry:5000/team/app"
        );
    }

    #[test]
    fn a_container_is_news_once_even_with_checkpoints_and_inner_cgroups() {
        let mut containers = Containers::default();
        containers.made(5, format!("/docker/{ID}").as_bytes());
        assert_eq!(containers.get(5).unwrap().short_id, "0123456789ab");
        let mut record = context::Container {
            cgroup_id: 5,
            id: ID.into(),
            resolution: Resolution::Pending,
            ..Default::default()
        };
        assert!(!containers.observe(&record));
        assert_eq!(
            containers.get(5).unwrap().privileged,
            None,
            "not known while pending"
        );
        record.resolution = Resolution::Resolved;
        record.privileged = true;
        assert!(containers.observe(&record));
        assert!(!containers.observe(&record), "re-emitted in a checkpoint");
        record.cgroup_id = 6;
        assert!(
            !containers.observe(&record),
            "an inner cgroup of the same container"
        );
        assert_eq!(containers.get(6).unwrap().key, 5);
        assert_eq!(containers.get(5).unwrap().privileged, Some(true));
    }

    #[test]
    fn only_a_final_record_without_id_means_host() {
        let mut containers = Containers::default();
        let mut record = context::Container {
            cgroup_id: 9,
            ..Default::default()
        };
        containers.observe(&record);
        assert!(!containers.is_host(9));
        record.resolution = Resolution::Resolved;
        containers.observe(&record);
        assert!(containers.is_host(9));
    }

    #[test]
    fn cgroups_are_bounded() {
        let mut containers = Containers::default();
        for cgroup_id in 0..=CGROUPS_MAX as u64 {
            let record = context::Container {
                cgroup_id,
                id: format!("box-{cgroup_id}"),
                ..Default::default()
            };
            containers.observe(&record);
        }
        assert_eq!(containers.cgroups.len(), CGROUPS_MAX);
        assert_eq!(containers.keys.len(), CGROUPS_MAX);
        assert!(containers.get(0).is_none());
    }
}
