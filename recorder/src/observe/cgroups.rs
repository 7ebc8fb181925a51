//! Cgroups: from the id that the probes see to the path, and from the path to a container.

use std::{
    fs,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

/// `FILEID_KERNFS` (include/linux/exportfs.h).
const FILEID_KERNFS: i32 = 0xfe;
/// Cgroups found by walking the hierarchy at the start.
const WALK_MAX: usize = 10_000;
const WALK_DEPTH_MAX: usize = 16;

/// Controllers of v1 in the order in which their hierarchies are asked who is in which container: first
/// those that container runtimes cannot do without.
const V1_CONTROLLERS: [&str; 12] = [
    "pids",
    "memory",
    "devices",
    "freezer",
    "cpuacct",
    "cpu",
    "blkio",
    "cpuset",
    "perf_event",
    "net_cls",
    "net_prio",
    "hugetlb",
];

/// Where the hierarchies are mounted.
pub struct Cgroups {
    /// The hierarchy whose ids the probes report: v2's, and where there is none that of a v1 controller.
    pub told: Option<PathBuf>,
    told_dir: Option<fs::File>,
    /// The controller, if it is one of v1.
    told_v1: Option<V1>,
    /// The v2 hierarchy.
    v2: Option<PathBuf>,
    /// v1 controllers by name (`cpuacct`, `memory`, `pids`, …).
    v1: Vec<(String, PathBuf)>,
}

/// A hierarchy of v1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct V1 {
    /// One of its controllers, by the name that /proc/cgroups has.
    pub controller: String,
    pub number: u32,
}

impl Cgroups {
    /// Reads the mount table.
    pub fn open() -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let (mut v2, mut v1) = (None, Vec::new());
        for line in mounts.lines() {
            let mut fields = line.split(' ');
            let (Some(_), Some(path), Some(kind), Some(options)) =
                (fields.next(), fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            match kind {
                "cgroup2" if v2.is_none() => v2 = Some(PathBuf::from(path)),
                "cgroup" => {
                    v1.extend(
                        options
                            .split(',')
                            .map(|controller| (controller.to_owned(), PathBuf::from(path))),
                    );
                }
                _ => {}
            }
        }
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mut told_v1 = None;
        let mut told = v2.clone();
        if told.is_none() {
            let found = V1_CONTROLLERS.iter().find_map(|name| {
                let mount = v1.iter().find(|(known, _)| known == name)?.1.clone();
                let (number, _) = line_of(&own, name)?;
                Some((mount, (*name).to_owned(), number))
            });
            if let Some((mount, controller, number)) = found {
                told = Some(mount);
                told_v1 = Some(V1 { controller, number });
            }
        }
        let told_dir = told.as_ref().and_then(|path| fs::File::open(path).ok());
        Cgroups {
            told,
            told_dir,
            told_v1,
            v2,
            v1,
        }
    }

    /// The hierarchy whose ids the probes report, where there is no v2.
    pub fn v1_hierarchy(&self) -> Option<&V1> {
        self.told_v1.as_ref()
    }

    /// Where a controller of v1 is mounted.
    pub fn v1_mount(&self, controller: &str) -> Option<&PathBuf> {
        let mut v1 = self.v1.iter();
        v1.find(|(name, _)| name == controller)
            .map(|(_, mount)| mount)
    }

    /// Where v2 is mounted.
    pub fn v2_mount(&self) -> Option<&PathBuf> {
        self.v2.as_ref()
    }

    /// Does v1 own this controller?
    pub fn is_v1(&self, controller: &str) -> bool {
        self.v1.iter().any(|(name, _)| name == controller)
    }

    /// Id of the cgroup at `path`; None if there is none.
    pub fn id(&self, path: &str) -> Option<u64> {
        Some(
            fs::metadata(self.told.as_ref()?.join(path.trim_start_matches('/')))
                .ok()?
                .ino(),
        )
    }

    /// Id of the cgroup that a process is in.
    pub fn of_process(&self, pid: u32) -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let path = match &self.told_v1 {
            None => text.lines().find_map(|line| line.strip_prefix("0::"))?,
            Some(v1) => line_of(&text, &v1.controller)?.1,
        };
        self.id(path)
    }

    /// Path of the cgroup with this id, relative to the hierarchy's root; None once it is removed.
    ///
    /// open_by_handle_at on kernfs (since 5.5) finds it without a walk.
    pub fn path(&self, id: u64) -> Option<String> {
        #[repr(C)]
        struct Handle {
            bytes: u32,
            kind: i32,
            id: u64,
        }
        let mut handle = Handle {
            bytes: 8,
            kind: FILEID_KERNFS,
            id,
        };
        // SAFETY: the handle is laid out as struct file_handle with 8 bytes of identity; the result is a new descriptor.
        let fd = unsafe {
            let fd = libc::syscall(
                libc::SYS_open_by_handle_at,
                self.told_dir.as_ref()?.as_raw_fd(),
                &raw mut handle,
                libc::O_PATH | libc::O_CLOEXEC,
            );
            if fd < 0 {
                return None;
            }
            OwnedFd::from_raw_fd(fd as i32)
        };
        let link = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok()?;
        let inside = link.strip_prefix(self.told.as_ref()?).ok()?;
        let path = format!("/{}", inside.to_string_lossy());
        (!path.ends_with(" (deleted)")).then_some(path)
    }

    /// Every cgroup of the hierarchy there is now: (id, path).
    pub fn walk(&self) -> Vec<(u64, String)> {
        let Some(root) = &self.told else {
            return Vec::new();
        };
        let (mut found, mut queue) = (Vec::new(), vec![(root.clone(), 0)]);
        while let Some((dir, depth)) = queue.pop() {
            let Ok(meta) = fs::metadata(&dir) else {
                continue;
            };
            let inside = dir.strip_prefix(root).unwrap_or(Path::new(""));
            found.push((meta.ino(), format!("/{}", inside.to_string_lossy())));
            if found.len() >= WALK_MAX {
                break;
            }
            if depth == WALK_DEPTH_MAX {
                continue;
            }
            let Ok(entries) = fs::read_dir(&dir) else {
                continue;
            };
            queue.extend(
                entries
                    .flatten()
                    .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                    .map(|entry| (entry.path(), depth + 1)),
            );
        }
        found
    }
}

/// Number and path of the hierarchy with a controller, in a text such as /proc/PID/cgroup
/// (`4:cpu,cpuacct:/docker/…`).
fn line_of<'a>(text: &'a str, controller: &str) -> Option<(u32, &'a str)> {
    text.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let number = fields.next()?.parse().ok()?;
        let mut controllers = fields.next()?.split(',');
        controllers
            .any(|name| name == controller)
            .then_some((number, fields.next()?))
    })
}

/// Does this kernel resolve cgroup ids? (For `rec check`.)
pub fn handles_work(cgroups: &Cgroups) -> bool {
    let Some(root) = &cgroups.told else {
        return false;
    };
    fs::metadata(root).is_ok_and(|meta| cgroups.path(meta.ino()).is_some())
}

/// A container as its cgroup path tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// 64 hex digits.
    pub id: String,
    pub runtime: &'static str,
}

/// The innermost container on a cgroup path.
pub fn identify(path: &str) -> Option<Identity> {
    let mut parent = "";
    let mut found = None;
    for component in path.split('/').filter(|component| !component.is_empty()) {
        let name = component.strip_suffix(".scope").unwrap_or(component);
        // systemd scopes are RUNTIME-ID.scope, nerdctl and CRI add their prefix after a colon or dash.
        let id = name.rsplit(['-', ':']).next().unwrap_or(name);
        if id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let prefix = &name[..name.len() - 64];
            let runtime = match (prefix, parent) {
                ("docker-", _) | ("", "docker") => "docker",
                ("libpod-", _) | ("", "libpod") => "podman",
                ("crio-", _) => "cri-o",
                ("cri-containerd-" | "cri-containerd:", _) => "containerd",
                ("", "trailcam") => "sandbox",
                _ if path.contains("kubepods") => "containerd",
                _ => "",
            };
            found = Some(Identity {
                id: id.to_owned(),
                runtime,
            });
        }
        parent = name;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn containers_are_known_by_their_paths() {
        for (path, runtime) in [
            (format!("/docker/{ID}"), "docker"),
            (format!("/docker/{ID}/init"), "docker"),
            (format!("/system.slice/docker-{ID}.scope"), "docker"),
            (
                format!("/machine.slice/libpod-{ID}.scope/container"),
                "podman",
            ),
            (
                format!("/kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope"),
                "containerd",
            ),
            (
                format!("/kubepods.slice/kubepods-pod1.slice/crio-{ID}.scope"),
                "cri-o",
            ),
            (format!("/kubepods/burstable/pod1/{ID}"), "containerd"),
            (format!("/trailcam/{ID}"), "sandbox"),
        ] {
            assert_eq!(
                identify(&path),
                Some(Identity {
                    id: ID.to_owned(),
                    runtime
                }),
                "{path}"
            );
        }
    }

    #[test]
    fn other_paths_are_not_containers() {
        for path in [
            "/",
            "/user.slice",
            "/system.slice/docker.service",
            "/docker",
            &format!("/docker/{}", &ID[1..]),
        ] {
            assert_eq!(identify(path), None, "{path}");
        }
    }

    #[test]
    fn a_controller_has_its_line() {
        let text = "12:pids:/docker/1\n4:cpu,cpuacct:/a:b\n1:name=systemd:/\n0::/unified\n";
        assert_eq!(line_of(text, "pids"), Some((12, "/docker/1")));
        assert_eq!(line_of(text, "cpuacct"), Some((4, "/a:b")));
        assert_eq!(line_of(text, "memory"), None);
        assert_eq!(line_of("no line", "memory"), None);
    }

    #[test]
    fn an_id_leads_back_to_its_path() {
        let cgroups = Cgroups::open();
        if !handles_work(&cgroups) {
            eprintln!("skipped: no cgroup hierarchy here, or no permission to open by handle");
            return;
        }
        for (id, path) in cgroups.walk() {
            assert_eq!(cgroups.path(id).as_deref(), Some(path.as_str()));
            assert_eq!(cgroups.id(&path), Some(id));
        }
        assert_eq!(cgroups.path(u64::MAX), None);
    }
}
