//! Whose events they are: process and container of each thread, as the capture tells while it is read.
//!
//! Scap names containers by the cgroup paths of processes and describes them in events of their own.
//! The trace wants a number: 1 is the host, containers count from 2 in the order they appear.

use std::collections::HashMap;

use trace_format::{Container, Resolution};

/// Threads remembered: twice the kernel's default `pid_max`. Further ones have no container.
const THREADS_MAX: usize = 65_536;
/// Containers that get a number of their own; what comes after has none.
const CONTAINERS_MAX: usize = 4_096;
/// Bytes of one container's labels that are kept: a pod has some hundred.
const LABEL_BYTES_MAX: usize = 4_096;
/// Bytes of a container's name, image or id that are kept.
const NAME_BYTES_MAX: usize = 512;

pub const HOST: u64 = 1;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    pub pid: u32,
    /// 0: unknown.
    pub cgroup_id: u64,
}

#[derive(Default)]
pub struct Owners {
    threads: HashMap<u64, Owner>,
    /// By short id: records name it in full or short.
    containers: HashMap<String, Container>,
}

/// Characters that tell containers apart.
const SHORT_ID: usize = 12;

impl Owners {
    pub fn of(&self, tid: u64) -> Owner {
        self.threads.get(&tid).copied().unwrap_or(Owner {
            // A thread that nobody introduced: its own process, as far as anybody can tell.
            pid: u32::try_from(tid).unwrap_or(0),
            cgroup_id: 0,
        })
    }

    /// A thread exists. Returns a container that was not known before.
    pub fn thread(&mut self, tid: u64, pid: u64, cgroups: Option<&[u8]>) -> Option<Container> {
        let known = self.threads.get(&tid).copied();
        let (cgroup_id, news) = match cgroups {
            Some(cgroups) if !cgroups.is_empty() => self.cgroup(cgroups),
            _ => (known.map_or(0, |owner| owner.cgroup_id), None),
        };
        if known.is_some() || self.threads.len() < THREADS_MAX {
            let owner = Owner {
                pid: u32::try_from(pid).unwrap_or(0),
                cgroup_id,
            };
            self.threads.insert(tid, owner);
        }
        news
    }

    pub fn exit(&mut self, tid: u64) {
        self.threads.remove(&tid);
    }

    /// The number of the container that these cgroups belong to.
    fn cgroup(&mut self, cgroups: &[u8]) -> (u64, Option<Container>) {
        let Some((id, path)) = container_of(cgroups) else {
            return (HOST, None);
        };
        if let Some(known) = self.containers.get(short(&id)) {
            return (known.cgroup_id, None);
        }
        let container = Container {
            id,
            cgroup_path: path,
            ..Container::default()
        };
        match self.add(container) {
            Some(container) => (container.cgroup_id, Some(container)),
            None => (0, None),
        }
    }

    fn add(&mut self, mut container: Container) -> Option<Container> {
        if self.containers.len() >= CONTAINERS_MAX {
            return None;
        }
        container.cgroup_id = HOST + 1 + self.containers.len() as u64;
        let key = short(&container.id).to_owned();
        self.containers.insert(key, container.clone());
        Some(container)
    }

    /// What a container event says; `None` where it is no description of one.
    pub fn described(&mut self, json: &[u8]) -> Option<Container> {
        let json = json.strip_suffix(&[0]).unwrap_or(json);
        let value: serde_json::Value = serde_json::from_slice(json).ok()?;
        let about = value.get("container")?;
        let text = |name: &str| {
            let text = about.get(name).and_then(|value| value.as_str());
            text.filter(|text| text.len() <= NAME_BYTES_MAX)
                .unwrap_or("")
        };
        let id = match text("full_id") {
            "" => text("id"),
            full => full,
        };
        if id.is_empty() || id == "host" {
            return None;
        }
        let mut container = match self.containers.get(short(id)) {
            Some(known) => known.clone(),
            None => self.add(Container {
                id: id.to_owned(),
                ..Container::default()
            })?,
        };
        let labels = about.get("labels").and_then(|labels| labels.as_object());
        let mut left = LABEL_BYTES_MAX;
        container.labels = labels
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .take_while(|(name, value)| {
                let bytes = name.len() + value.len();
                let fits = bytes <= left;
                left = left.saturating_sub(bytes);
                fits
            })
            .collect();
        let label = |name: &str| {
            let found = container.labels.iter().find(|label| label.0 == name);
            found.map(|label| label.1.clone()).unwrap_or_default()
        };
        container.pod = label("io.kubernetes.pod.name");
        container.namespace = label("io.kubernetes.pod.namespace");
        container.name = text("name").to_owned();
        container.image = text("image").to_owned();
        container.privileged =
            about.get("privileged").and_then(|value| value.as_bool()) == Some(true);
        container.runtime = runtime(about.get("type")).to_owned();
        container.resolution = Resolution::Resolved;
        self.containers
            .insert(short(id).to_owned(), container.clone());
        Some(container)
    }

    /// All that are known, by number.
    pub fn containers(&self) -> Vec<Container> {
        let mut all: Vec<_> = self.containers.values().cloned().collect();
        all.sort_unstable_by_key(|container| container.cgroup_id);
        all
    }
}

fn short(id: &str) -> &str {
    id.get(..SHORT_ID).unwrap_or(id)
}

/// Names of the numbers that container descriptions use for their runtime.
fn runtime(ty: Option<&serde_json::Value>) -> &'static str {
    match ty.and_then(|ty| ty.as_u64()) {
        Some(0) => "docker",
        Some(1) => "lxc",
        Some(2) => "libvirt_lxc",
        Some(3) => "mesos",
        Some(4) => "rkt",
        Some(6) => "cri",
        Some(7) => "containerd",
        Some(8) => "cri-o",
        Some(9) => "bpm",
        Some(11) => "podman",
        _ => "",
    }
}

/// Id and path of the first entry (`subsystem=path`, separated by NUL) that ends in a container's
/// id: 64 hex digits, a prefix before them and `.scope` after them aside.
fn container_of(cgroups: &[u8]) -> Option<(String, String)> {
    cgroups.split(|byte| *byte == 0).find_map(|entry| {
        let path = std::str::from_utf8(entry).ok()?.split_once('=')?.1;
        let name = path.rsplit('/').next()?;
        let name = name.strip_suffix(".scope").unwrap_or(name);
        let id = name.get(name.len().checked_sub(64)?..)?;
        let hex = id.bytes().all(|byte| byte.is_ascii_hexdigit());
        hex.then(|| (id.to_owned(), path.to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn containers_get_numbers_and_their_threads_belong_to_them() {
        let mut owners = Owners::default();
        let cgroups = format!("cpuset=/\0cpu=/docker/{ID}\0");
        let new = owners.thread(10, 9, Some(cgroups.as_bytes())).unwrap();
        assert_eq!((new.cgroup_id, new.id.as_str()), (2, ID));
        assert!(owners.thread(11, 9, Some(cgroups.as_bytes())).is_none());
        assert!(owners.thread(12, 12, Some(b"cpuset=/\0")).is_none());
        let of = |tid| (owners.of(tid).pid, owners.of(tid).cgroup_id);
        assert_eq!(
            [of(10), of(11), of(12), of(13)],
            [(9, 2), (9, 2), (12, HOST), (13, 0)]
        );
        owners.exit(10);
        assert_eq!(owners.of(10).cgroup_id, 0);
    }

    #[test]
    fn a_description_completes_what_the_cgroups_named() {
        let mut owners = Owners::default();
        owners.thread(1, 1, Some(format!("cpu=/docker/{ID}").as_bytes()));
        let json = format!(
            r#"{{"container":{{"id":"{}","name":"web","image":"nginx:1","type":0,"privileged":true,
                "labels":{{"io.kubernetes.pod.name":"web-0"}}}}}}"#,
            &ID[..12]
        );
        let about = owners.described(json.as_bytes()).unwrap();
        assert_eq!(
            (about.cgroup_id, about.id.as_str(), about.name.as_str()),
            (2, ID, "web")
        );
        assert_eq!(
            (about.runtime.as_str(), about.pod.as_str(), about.privileged),
            ("docker", "web-0", true)
        );
        for nothing in [
            "",
            "{}",
            "[1]",
            r#"{"container":{"id":"host"}}"#,
            r#"{"container":7}"#,
        ] {
            assert!(owners.described(nothing.as_bytes()).is_none(), "{nothing}");
        }
    }

    #[test]
    fn tables_are_bounded() {
        let mut owners = Owners::default();
        for tid in 0..THREADS_MAX as u64 + 5 {
            owners.thread(tid, tid, None);
        }
        assert_eq!(owners.threads.len(), THREADS_MAX);
        for number in 0..CONTAINERS_MAX + 5 {
            let cgroups = format!("cpu=/docker/{number:064x}");
            // Short ids differ only in their last digits: put the number in front.
            let cgroups = cgroups.replace(
                &format!("{number:064x}"),
                &format!("{number:012x}{:052x}", 0),
            );
            owners.thread(1, 1, Some(cgroups.as_bytes()));
        }
        assert_eq!(owners.containers.len(), CONTAINERS_MAX);
        assert_eq!(owners.of(1).cgroup_id, 0, "no number left");
    }
}
