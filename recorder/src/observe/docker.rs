//! Names and images of containers from the Docker Engine API (Podman's compatible socket too).

use std::time::Duration;

use bollard::{Docker, query_parameters::InspectContainerOptions};

use super::metadata::Metadata;

/// One request.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Asks once and waits: for `--container NAME` at the start. `reference` is a name or the beginning of an id.
pub fn find(reference: &str) -> anyhow::Result<(String, Metadata)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let engine = Docker::connect_with_defaults()?;
        tokio::time::timeout(TIMEOUT, inspect(&engine, reference)).await?
    })
}

/// Asks once; `None`: the engine does not know it.
pub async fn inspect_now(engine: &Docker, id: &str) -> anyhow::Result<Option<Metadata>> {
    match tokio::time::timeout(TIMEOUT, inspect(engine, id)).await? {
        Ok((_, metadata)) => Ok(Some(metadata)),
        Err(error) if is_not_found(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_not_found(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref::<bollard::errors::Error>(),
        Some(bollard::errors::Error::DockerResponseServerError {
            status_code: 404,
            ..
        })
    )
}

async fn inspect(engine: &Docker, reference: &str) -> anyhow::Result<(String, Metadata)> {
    let found = engine
        .inspect_container(reference, None::<InspectContainerOptions>)
        .await?;
    let config = found.config.unwrap_or_default();
    let mut labels: Vec<_> = config.labels.unwrap_or_default().into_iter().collect();
    labels.sort();
    let metadata = Metadata {
        name: found
            .name
            .unwrap_or_default()
            .trim_start_matches('/')
            .to_owned(),
        image: config.image.unwrap_or_default(),
        privileged: found
            .host_config
            .and_then(|host| host.privileged)
            .unwrap_or(false),
        labels,
        ..Metadata::default()
    };
    Ok((found.id.unwrap_or_default(), metadata))
}

/// Version of the engine that answers.
pub fn version() -> anyhow::Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let version =
            tokio::time::timeout(TIMEOUT, Docker::connect_with_defaults()?.version()).await??;
        Ok(version.version.unwrap_or_default())
    })
}
