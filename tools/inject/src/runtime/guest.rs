//! A container of somebody else's (`--container`): the program is put into it and started by `exec`.
//!
//! Only acts run there; the normal workload is whatever the container does. It must be as confined
//! as our own: apart from the host, and limited in CPU, memory and processes.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bollard::{
    exec::{StartExecOptions, StartExecResults},
    models::{ContainerInspectResponse, ExecConfig, HostConfig},
    query_parameters::UploadToContainerOptionsBuilder,
};
use bytes::Bytes;

use super::{
    Container, Heard, Identity, Ipc, Runtime, Wire,
    docker::{Docker, Orders, listen},
};
use crate::{
    cgroup::Limits,
    frame::Order,
    image::{self, Entry, Node},
    payload::Payload,
};

/// In the container's root; the program removes itself at its end.
const PROGRAM: &str = "/appd";

const STOP_MAX: Duration = Duration::from_secs(3);

pub struct Guests {
    docker: Docker,
    program: Vec<u8>,
    container: String,
}

impl Guests {
    pub fn new(payload: &Payload, image: &str, container: &str) -> Result<Guests> {
        Ok(Guests {
            docker: Docker::connect(payload, image)?,
            program: payload.program.clone(),
            container: container.to_owned(),
        })
    }
}

impl Runtime for Guests {
    fn name(&self) -> &'static str {
        "docker exec"
    }

    fn reap(&mut self) -> Result<usize> {
        self.docker.reap()
    }

    fn may_share(&self) -> &'static [&'static str] {
        self.docker.may_share()
    }

    fn is_guest(&self) -> bool {
        true
    }

    fn start(
        &mut self,
        _name: &str,
        _limits: &Limits,
        _version: u32,
        _ipc: Ipc,
    ) -> Result<Box<dyn Container>> {
        let asked = &self.container;
        let (tokio, client) = (&self.docker.tokio, &self.docker.client);
        let found = tokio
            .block_on(client.inspect_container(asked, None))
            .with_context(|| format!("no container {asked:?} at the engine"))?;
        if let Some(reason) = unfit(&found) {
            bail!("container {asked} is refused: {reason}");
        }
        let memory_bytes = found
            .host_config
            .as_ref()
            .and_then(|config| u64::try_from(config.memory?).ok())
            .unwrap_or(0);
        let id = found.id.context("the engine named no id")?;
        let name = found
            .name
            .unwrap_or_default()
            .trim_start_matches('/')
            .to_owned();
        let image = found
            .config
            .and_then(|config| config.image)
            .unwrap_or_default();
        let pid = found
            .state
            .and_then(|state| state.pid)
            .and_then(|pid| u32::try_from(pid).ok());
        let pid = pid
            .filter(|&pid| pid != 0)
            .with_context(|| format!("container {asked} does not run"))?;
        let identity = self.docker.identity(id, &name, &image, pid, memory_bytes)?;
        let program = Entry {
            path: PROGRAM.into(),
            mode: 0o755,
            node: Node::File(self.program.clone()),
        };
        let archive = bollard::body_full(Bytes::from(image::tar(&[program])));
        let options = UploadToContainerOptionsBuilder::default().path("/").build();
        tokio
            .block_on(client.upload_to_container(asked, Some(options), archive))
            .with_context(|| format!("cannot put a program into container {asked}"))?;
        let config = ExecConfig {
            cmd: Some(vec![PROGRAM.into()]),
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..ExecConfig::default()
        };
        let started = tokio
            .block_on(async {
                let exec = client.create_exec(asked, config).await?;
                client.start_exec(&exec.id, None::<StartExecOptions>).await
            })
            .with_context(|| format!("cannot start a program in container {asked}"))?;
        let StartExecResults::Attached { output, input } = started else {
            bail!("the engine did not attach to the program in container {asked}");
        };
        let (wire, ear) = Wire::new(Box::new(Orders {
            handle: tokio.handle().clone(),
            input,
        }));
        listen(tokio, output, ear);
        Ok(Box::new(Guest { identity, wire }))
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Why acts must not run in a container; `None` when they may.
fn unfit(found: &ContainerInspectResponse) -> Option<String> {
    let none = HostConfig::default();
    let config = found.host_config.as_ref().unwrap_or(&none);
    let positive = |value: Option<i64>| value.is_some_and(|value| value > 0);
    if config.privileged == Some(true) {
        return Some("it is privileged".into());
    }
    for (what, mode) in [
        ("pid", &config.pid_mode),
        ("net", &config.network_mode),
        ("ipc", &config.ipc_mode),
        ("uts", &config.uts_mode),
    ] {
        if mode.as_deref() == Some("host") {
            return Some(format!("it shares the host's {what} namespace"));
        }
    }
    if let Some(added) = config.cap_add.as_ref().filter(|added| !added.is_empty()) {
        return Some(format!("it has added capabilities {added:?}"));
    }
    // Named volumes are binds too; neither is the container's own.
    let mounted = config
        .mounts
        .as_ref()
        .is_some_and(|mounts| !mounts.is_empty());
    if mounted || config.binds.as_ref().is_some_and(|binds| !binds.is_empty()) {
        return Some("it has directories of the host".into());
    }
    let limits = [
        (
            "memory limit (docker update --memory 128m --memory-swap 128m)",
            positive(config.memory),
        ),
        (
            "CPU limit (docker update --cpus 0.5)",
            positive(config.nano_cpus) || positive(config.cpu_quota),
        ),
        (
            "pids limit (docker update --pids-limit 64)",
            positive(config.pids_limit),
        ),
    ];
    let missing = limits.iter().find(|(_, there)| !there)?;
    Some(format!("it has no {}", missing.0))
}

struct Guest {
    identity: Identity,
    wire: Wire,
}

impl Container for Guest {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    fn stop(&mut self) -> Result<()> {
        // It may have ended by itself. It removes its file last, so its end is waited for.
        let until = Instant::now() + STOP_MAX;
        let mut open = self.wire.order(&Order::Stop).is_ok();
        while open && Instant::now() < until {
            open = !matches!(self.wire.hear(Duration::from_millis(50)), Heard::Closed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn confined() -> HostConfig {
        HostConfig {
            memory: Some(64 << 20),
            nano_cpus: Some(500_000_000),
            pids_limit: Some(64),
            network_mode: Some("none".into()),
            ..HostConfig::default()
        }
    }

    fn reason(host_config: HostConfig) -> Option<String> {
        unfit(&ContainerInspectResponse {
            host_config: Some(host_config),
            ..Default::default()
        })
    }

    #[test]
    fn only_a_confined_container_is_a_host() {
        assert_eq!(reason(confined()), None);
        let unfit = [
            (
                HostConfig {
                    privileged: Some(true),
                    ..confined()
                },
                "privileged",
            ),
            (
                HostConfig {
                    pid_mode: Some("host".into()),
                    ..confined()
                },
                "pid namespace",
            ),
            (
                HostConfig {
                    network_mode: Some("host".into()),
                    ..confined()
                },
                "net namespace",
            ),
            (
                HostConfig {
                    cap_add: Some(vec!["SYS_ADMIN".into()]),
                    ..confined()
                },
                "SYS_ADMIN",
            ),
            (
                HostConfig {
                    binds: Some(vec!["/etc:/etc".into()]),
                    ..confined()
                },
                "directories of the host",
            ),
            (
                HostConfig {
                    memory: Some(0),
                    ..confined()
                },
                "no memory limit",
            ),
            (
                HostConfig {
                    nano_cpus: None,
                    ..confined()
                },
                "no CPU limit",
            ),
            (
                HostConfig {
                    pids_limit: Some(-1),
                    ..confined()
                },
                "no pids limit",
            ),
        ];
        for (config, expected) in unfit {
            let found = reason(config).expect(expected);
            assert!(found.contains(expected), "{found}");
        }
    }
}
