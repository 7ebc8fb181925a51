//! From what the user calls a container to the cgroups that the probes filter by.

use anyhow::bail;

use crate::observe::{
    cgroups::{Cgroups, identify},
    metadata::Metadata,
};

/// The cgroup ids of a running container named by its name, its id or the beginning of its id (at
/// least 4 digits).
pub fn cgroups_of(reference: &str) -> anyhow::Result<Vec<u64>> {
    let known = find(reference);
    let wanted = match &known {
        Ok((id, _)) => id.as_str(),
        Err(_) => reference,
    };
    let running: Vec<_> = Cgroups::open()
        .walk()
        .into_iter()
        .filter_map(|(cgroup_id, path)| Some((cgroup_id, identify(&path)?.id)))
        .collect();
    let found: Vec<u64> = running
        .iter()
        .filter(|(_, id)| wanted.len() >= 4 && id.starts_with(wanted))
        .map(|(id, _)| *id)
        .collect();
    let mut containers: Vec<_> = running
        .iter()
        .filter(|(cgroup_id, _)| found.contains(cgroup_id))
        .map(|(_, id)| &id[..12])
        .collect();
    containers.sort_unstable();
    containers.dedup();
    if containers.len() > 1 {
        bail!(
            "{reference} fits more than one container: {}; give more of the id",
            containers.join(", ")
        );
    }
    if !found.is_empty() {
        return Ok(found);
    }
    let mut ids: Vec<_> = running
        .into_iter()
        .map(|(_, id)| id[..12].to_owned())
        .collect();
    ids.sort();
    ids.dedup();
    let running = if ids.is_empty() {
        "none runs here".to_owned()
    } else {
        format!("running: {}", ids.join(", "))
    };
    match known {
        Ok((id, _)) => bail!(
            "container {reference} ({}) has no cgroup: it is not running; start it first",
            &id[..12.min(id.len())]
        ),
        Err(error) => {
            bail!("no such container: {reference} ({running}; the Docker engine says: {error})")
        }
    }
}

#[cfg(feature = "runtimes")]
fn find(reference: &str) -> anyhow::Result<(String, Metadata)> {
    crate::observe::docker::find(reference)
}

#[cfg(not(feature = "runtimes"))]
fn find(_: &str) -> anyhow::Result<(String, Metadata)> {
    bail!("nothing, because this rec was built without container runtimes; give the id")
}
