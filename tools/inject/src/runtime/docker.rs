//! Containers of a Docker engine (or one that speaks its API), from an image made on the spot.
//!
//! Containers have no network but loopback and what [`crate::neighbours`] gives them, a read-only root, no capability, and remove themselves.
//! The supervisor's stdin is this process's connection (`StdinOnce`): when it breaks, however that
//! happens, the engine closes the stdin and the container ends.

use std::{
    collections::HashMap,
    env,
    io::{self, Write},
    path::Path,
    pin::Pin,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use bollard::{
    API_DEFAULT_VERSION, Docker as Client,
    errors::Error as ClientError,
    models::{ContainerCreateBody, HostConfig, ResourcesUlimits, SystemInfoCgroupDriverEnum},
    query_parameters::{
        AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, CreateImageOptionsBuilder,
        ListContainersOptionsBuilder, ListImagesOptionsBuilder, RemoveContainerOptionsBuilder,
        RemoveImageOptionsBuilder, StartContainerOptions,
    },
};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::{Container, Heard, Identity, Ipc, Runtime, Wire, wire::Ear};
use crate::{
    cgroup::{self, Hierarchies, Limits},
    frame::Order,
    image,
    inside::guard,
    payload::Payload,
    proc,
};

/// On every container: who started it, as `pid:start time`, so that a later start knows what nobody owns.
const OWNER_LABEL: &str = "trailcam.injector";

/// On the image, so that one left behind is known.
const IMAGE_LABEL: &str = "trailcam.image";

/// Sockets that are tried when DOCKER_HOST does not say.
const SOCKETS: [&str; 2] = ["/var/run/docker.sock", "/run/podman/podman.sock"];

/// For any one request but the streams.
const REQUEST_S: u64 = 60;

const STOP_MAX: Duration = Duration::from_secs(3);

/// After the request to remove a container; the engine works in the background.
const REMOVE_MAX: Duration = Duration::from_secs(20);

pub struct Docker {
    pub(super) tokio: tokio::runtime::Runtime,
    pub(super) client: Client,
    pub(super) hierarchies: Hierarchies,
    /// Files of the image, if containers are to be started from it.
    payload: Vec<u8>,
    image: String,
    /// Versions of the image that the engine has from us.
    imported: Vec<u32>,
}

impl Docker {
    /// Where an engine is expected: DOCKER_HOST, or the first usual socket that is there.
    pub fn socket() -> Result<String> {
        match env::var("DOCKER_HOST") {
            Ok(host) if !host.is_empty() => match host.strip_prefix("unix://") {
                Some(path) => Ok(path.to_owned()),
                None => bail!(
                    "DOCKER_HOST is {host:?}: only unix:// is used, since labels need the engine on this host"
                ),
            },
            _ => SOCKETS
                .into_iter()
                .find(|socket| Path::new(socket).exists())
                .map(str::to_owned)
                .with_context(|| {
                    format!("no engine: DOCKER_HOST is not set and neither of {SOCKETS:?} exists")
                }),
        }
    }

    pub fn connect(payload: &Payload, image: &str) -> Result<Docker> {
        let socket = Docker::socket()?;
        let tokio = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .context("cannot start the runtime of the engine's client")?;
        let client = tokio
            .block_on(async {
                Client::connect_with_unix(&socket, REQUEST_S, API_DEFAULT_VERSION)?
                    .negotiate_version()
                    .await
            })
            .with_context(|| format!("no container engine answers at {socket}"))?;
        Ok(Docker {
            tokio,
            client,
            hierarchies: Hierarchies::of_host()?,
            payload: payload.program.clone(),
            image: image.to_owned(),
            imported: Vec::new(),
        })
    }

    /// `docker import` of an archive that never touches the disk.
    fn import(&mut self, version: u32) -> Result<()> {
        let archive = Bytes::from(image::tar(&image::entries(self.payload.clone(), version)));
        let reference = image::versioned(&self.image, version);
        let (repo, tag) = reference.split_once(':').context("the image has a tag")?;
        let label = format!("LABEL {IMAGE_LABEL}=1");
        let options = CreateImageOptionsBuilder::default()
            .from_src("-")
            .repo(repo)
            .tag(tag)
            .changes(vec![label])
            .build();
        let mut steps = Box::pin(self.client.create_image(
            Some(options),
            Some(bollard::body_full(archive)),
            None,
        ));
        self.tokio
            .block_on(async {
                while let Some(step) = steps.next().await {
                    step?;
                }
                Ok::<_, ClientError>(())
            })
            .with_context(|| format!("the engine did not take the image {reference}"))?;
        drop(steps);
        if !self.imported.contains(&version) {
            self.imported.push(version);
        }
        Ok(())
    }

    fn remove_images(&self, keep: &str) -> Result<()> {
        let filters = HashMap::from([("label".to_owned(), vec![format!("{IMAGE_LABEL}=1")])]);
        let options = ListImagesOptionsBuilder::default()
            .filters(&filters)
            .build();
        let images = self
            .tokio
            .block_on(self.client.list_images(Some(options)))
            .context("cannot list images")?;
        for image in images.iter().filter(|image| {
            !image
                .repo_tags
                .iter()
                .any(|tag| !keep.is_empty() && tag.starts_with(keep))
        }) {
            // One that another injector uses is refused, and stays.
            let options = RemoveImageOptionsBuilder::default().build();
            let _ = self
                .tokio
                .block_on(self.client.remove_image(&image.id, Some(options), None));
        }
        Ok(())
    }

    /// Where the engine puts containers, so that all of them together are limited; a driver that leaves
    /// that to systemd makes scopes in systemd's own slices, where limits are systemd's affair: there each
    /// container gets its part of what all may have ([`Limits::shared_by`]).
    fn parent(&self) -> Result<Option<String>> {
        let info = self
            .tokio
            .block_on(self.client.info())
            .context("cannot ask the engine for its cgroup driver")?;
        let own = info.cgroup_driver == Some(SystemInfoCgroupDriverEnum::CGROUPFS);
        Ok(own.then(|| format!("/{}/{}", cgroup::PARENT, cgroup::ENGINE)))
    }

    fn host_config(&self, limits: &Limits, parent: Option<String>, ipc: Ipc) -> HostConfig {
        let tmpfs = |mib: u32, exec: &str| {
            format!(
                "rw,{exec},nosuid,nodev,size={mib}m,nr_inodes={},mode=755",
                image::INODES
            )
        };
        let ulimit = |name: &str, value: i64| ResourcesUlimits {
            name: Some(name.into()),
            soft: Some(value),
            hard: Some(value),
        };
        HostConfig {
            memory: Some(limits.memory_bytes as i64),
            memory_swap: Some(limits.memory_bytes as i64),
            nano_cpus: Some(limits.cpu_milli as i64 * 1_000_000),
            pids_limit: Some(limits.pids as i64),
            cap_drop: Some(vec!["ALL".into()]),
            security_opt: Some(vec!["no-new-privileges".into()]),
            network_mode: Some("none".into()),
            ipc_mode: Some(match ipc {
                Ipc::Own => "private".into(),
                Ipc::Shareable => "shareable".into(),
                Ipc::Of(other) => format!("container:{}", other.id),
            }),
            sysctls: Some(HashMap::from([(
                "net.ipv4.ip_unprivileged_port_start".to_owned(),
                "0".to_owned(),
            )])),
            readonly_rootfs: Some(true),
            tmpfs: Some(
                image::WRITABLE
                    .iter()
                    .map(|path| ((*path).to_owned(), tmpfs(image::WRITABLE_MIB, "noexec")))
                    .chain([(image::SCRATCH.to_owned(), tmpfs(image::SCRATCH_MIB, "exec"))])
                    .collect(),
            ),
            ulimits: Some(vec![ulimit("core", 0), ulimit("nofile", 1024)]),
            auto_remove: Some(true),
            cgroup_parent: parent,
            ..HostConfig::default()
        }
    }

    /// Who the container with this first process is.
    pub(super) fn identity(
        &self,
        id: String,
        name: &str,
        image: &str,
        pid: u32,
        memory_bytes: u64,
    ) -> Result<Identity> {
        let directory = proc::cgroup_of(pid, self.hierarchies.unified())?;
        Ok(Identity {
            cgroup_id: cgroup::id(&directory)?,
            cgroup: directory,
            id,
            name: name.to_owned(),
            image: image.to_owned(),
            pid,
            memory_bytes,
        })
    }
}

impl Runtime for Docker {
    fn name(&self) -> &'static str {
        "docker"
    }

    fn reap(&mut self) -> Result<usize> {
        let filters = HashMap::from([("label".to_owned(), vec![OWNER_LABEL.to_owned()])]);
        let options = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&filters)
            .build();
        let containers = self
            .tokio
            .block_on(self.client.list_containers(Some(options)))
            .context("cannot list containers")?;
        let mut removed = 0;
        for container in containers {
            let owner = container
                .labels
                .as_ref()
                .and_then(|labels| labels.get(OWNER_LABEL));
            let Some(id) = container
                .id
                .filter(|_| !owner.is_some_and(|owner| lives(owner)))
            else {
                continue;
            };
            remove(&self.tokio, &self.client, &id)?;
            removed += 1;
        }
        self.remove_images(&self.image)?;
        self.hierarchies.reap()?;
        Ok(removed)
    }

    fn may_share(&self) -> &'static [&'static str] {
        &guard::MAY_BE_SHARED
    }

    fn start(
        &mut self,
        name: &str,
        limits: &Limits,
        version: u32,
        ipc: Ipc,
    ) -> Result<Box<dyn Container>> {
        if !self.imported.contains(&version) {
            self.import(version)?;
        }
        let image = image::versioned(&self.image, version);
        // Until the container is in it, nobody may remove the directory of all.
        let _hold = self.hierarchies.hold()?;
        let parent = self.parent()?;
        if parent.is_some() {
            self.hierarchies.gather()?;
        }
        let program = Path::new(image::PROGRAM)
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let body = ContainerCreateBody {
            image: Some(image.clone()),
            entrypoint: Some(vec![program.into_owned()]),
            env: Some(vec!["PATH=/usr/bin".into(), "HOME=/root".into()]),
            open_stdin: Some(true),
            stdin_once: Some(true),
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            labels: Some(HashMap::from([(OWNER_LABEL.to_owned(), own_name()?)])),
            host_config: Some(self.host_config(limits, parent, ipc)),
            ..ContainerCreateBody::default()
        };
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        let mut created = self.tokio.block_on(
            self.client
                .create_container(Some(options.clone()), body.clone()),
        );
        if matches!(
            created,
            Err(ClientError::DockerResponseServerError {
                status_code: 404,
                ..
            })
        ) {
            // Another injector that ended just now took the image with it.
            self.import(version)?;
            created = self
                .tokio
                .block_on(self.client.create_container(Some(options), body));
        }
        let created =
            created.with_context(|| format!("the engine did not create container {name}"))?;
        let removed = Removed {
            id: created.id.clone(),
            client: self.client.clone(),
            handle: self.tokio.handle().clone(),
            armed: true,
        };
        let attach = AttachContainerOptionsBuilder::default()
            .stdin(true)
            .stdout(true)
            .stderr(true)
            .stream(true)
            .build();
        let attached = self
            .tokio
            .block_on(self.client.attach_container(&created.id, Some(attach)))
            .with_context(|| format!("cannot attach to container {name}"))?;
        let (wire, ear) = Wire::new(Box::new(Orders {
            handle: self.tokio.handle().clone(),
            input: attached.input,
        }));
        listen(&self.tokio, attached.output, ear);
        self.tokio
            .block_on(
                self.client
                    .start_container(&created.id, None::<StartContainerOptions>),
            )
            .with_context(|| format!("the engine did not start container {name}"))?;
        let state = self
            .tokio
            .block_on(self.client.inspect_container(&created.id, None))
            .with_context(|| format!("cannot inspect container {name}"))?
            .state;
        let pid = state
            .and_then(|state| state.pid)
            .and_then(|pid| u32::try_from(pid).ok())
            .filter(|&pid| pid != 0);
        let pid = pid.with_context(|| format!("container {name} ended at once"))?;
        let identity = self.identity(created.id, name, &image, pid, limits.memory_bytes)?;
        Ok(Box::new(Started {
            identity,
            wire,
            removed,
        }))
    }

    fn limits_together(&self) -> Result<bool> {
        Ok(self.parent()?.is_some())
    }

    fn finish(&mut self) -> Result<()> {
        self.hierarchies.reap()?;
        self.remove_images("")
    }
}

/// This process as [`OWNER_LABEL`] names it: a pid alone is used again.
fn own_name() -> Result<String> {
    let pid = std::process::id();
    Ok(format!(
        "{pid}:{}",
        start_time(pid).context("cannot read /proc/self/stat")?
    ))
}

fn lives(owner: &str) -> bool {
    let Some((pid, start)) = owner.split_once(':') else {
        return false;
    };
    pid.parse()
        .ok()
        .and_then(start_time)
        .is_some_and(|time| time == start)
}

/// Field 22 of proc_pid_stat(5); the name in field 2 may hold anything.
fn start_time(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19).map(str::to_owned)
}

fn remove(tokio: &tokio::runtime::Runtime, client: &Client, id: &str) -> Result<()> {
    tokio.block_on(remove_container(client, id))
}

async fn remove_container(client: &Client, id: &str) -> Result<()> {
    let options = RemoveContainerOptionsBuilder::default()
        .force(true)
        .v(true)
        .build();
    match client.remove_container(id, Some(options)).await {
        // 404: gone by itself. 409: about to go by itself.
        Ok(())
        | Err(ClientError::DockerResponseServerError {
            status_code: 404 | 409,
            ..
        }) => {}
        Err(error) => return Err(error).with_context(|| format!("cannot remove container {id}")),
    }
    // Until it is really gone its name, its cgroup and its image are still in use.
    let until = Instant::now() + REMOVE_MAX;
    while Instant::now() < until {
        match client.inspect_container(id, None).await {
            Err(ClientError::DockerResponseServerError {
                status_code: 404, ..
            }) => return Ok(()),
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    bail!("container {id} is still there {REMOVE_MAX:?} after it was removed")
}

type Output = Pin<
    Box<dyn futures_util::Stream<Item = Result<bollard::container::LogOutput, ClientError>> + Send>,
>;

/// Passes on what the container says until it ends.
pub(super) fn listen(tokio: &tokio::runtime::Runtime, mut output: Output, mut ear: Ear) {
    tokio.spawn(async move {
        while let Some(Ok(part)) = output.next().await {
            // Blocks this one thread when nobody reads: nothing else runs on it but other listeners.
            if !ear.take(part.as_ref()) {
                return;
            }
        }
    });
}

/// A container's stdin, for code that is not asynchronous.
pub(super) struct Orders {
    pub handle: tokio::runtime::Handle,
    pub input: Pin<Box<dyn AsyncWrite + Send>>,
}

impl Write for Orders {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.handle.block_on(self.input.write(bytes))
    }
    fn flush(&mut self) -> io::Result<()> {
        self.handle.block_on(self.input.flush())
    }
}

/// Removes a container when dropped while armed.
struct Removed {
    id: String,
    client: Client,
    handle: tokio::runtime::Handle,
    armed: bool,
}

impl Drop for Removed {
    fn drop(&mut self) {
        if self.armed {
            let _ = self
                .handle
                .block_on(remove_container(&self.client, &self.id));
        }
    }
}

struct Started {
    identity: Identity,
    wire: Wire,
    removed: Removed,
}

impl Container for Started {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    fn stop(&mut self) -> Result<()> {
        if !self.removed.armed {
            return Ok(());
        }
        let until = Instant::now() + STOP_MAX;
        let mut open = self.wire.order(&Order::Stop).is_ok();
        while open && Instant::now() < until {
            open = !matches!(self.wire.hear(Duration::from_millis(50)), Heard::Closed);
        }
        self.removed.armed = false;
        self.removed
            .handle
            .block_on(remove_container(&self.removed.client, &self.removed.id))
    }
}
