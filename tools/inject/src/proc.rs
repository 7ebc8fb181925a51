//! What `/proc` says about a container's processes, seen from the host.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{cgroup, inside::guard};

/// The process's directory in the cgroup2 hierarchy mounted at `unified`.
pub fn cgroup_of(pid: u32, unified: &Path) -> Result<PathBuf> {
    let path = format!("/proc/{pid}/cgroup");
    let text = fs::read_to_string(&path)
        .with_context(|| format!("cannot read {path}: is the container engine on another host?"))?;
    let own = text.lines().find_map(|line| line.strip_prefix("0::/"));
    let own = own.with_context(|| format!("{path} has no cgroup2 line"))?;
    Ok(unified.join(own))
}

/// Host pids of a task: the members of the cgroup whose process group is the task's own
/// (`task` is its pid as the container knows it).
pub fn of_task(cgroup: &Path, task: u32) -> Vec<u32> {
    let belongs = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        innermost(&status, "NSpgid:") == Some(task)
    };
    cgroup::members(cgroup)
        .into_iter()
        .filter(belongs)
        .collect()
}

/// The last of the numbers in a line of `/proc/PID/status` that has one for each nested namespace.
fn innermost(status: &str, key: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next_back()?.parse().ok()
}

/// Refuses a container that shares a namespace with this process or with the host's first process,
/// apart from those in `may_be_shared`.
pub fn refuse_shared(namespaces: &[u64], may_be_shared: &[&str]) -> Result<()> {
    if namespaces.len() != guard::NAMESPACES.len() {
        bail!(
            "the container named {} namespaces instead of {}",
            namespaces.len(),
            guard::NAMESPACES.len()
        );
    }
    let own = guard::namespaces("self")?;
    // Process 1 may be hidden from us; then ours are all there is to compare with.
    let first = guard::namespaces("1").unwrap_or_else(|_| own.clone());
    for (place, name) in guard::NAMESPACES.iter().enumerate() {
        let shared = namespaces[place] == own[place] || namespaces[place] == first[place];
        if shared && !may_be_shared.contains(name) {
            bail!("the container is in the host's {name} namespace: no act is run there");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_namespaces_are_refused_by_name() {
        let Ok(own) = guard::namespaces("self") else {
            println!("skipped: no /proc/self/ns");
            return;
        };
        let apart: Vec<u64> = own.iter().map(|inode| inode + 1_000_000_000).collect();
        refuse_shared(&apart, &[]).unwrap();
        for (place, name) in guard::NAMESPACES.iter().enumerate() {
            let mut shared = apart.clone();
            shared[place] = own[place];
            let error = refuse_shared(&shared, &[]).unwrap_err().to_string();
            assert!(
                error.contains(&format!("the host's {name} namespace")),
                "{error}"
            );
            let allowed = refuse_shared(&shared, &guard::MAY_BE_SHARED).is_ok();
            assert_eq!(allowed, guard::MAY_BE_SHARED.contains(name));
        }
        assert!(refuse_shared(&[], &[]).is_err());
    }

    #[test]
    fn the_innermost_number_counts() {
        let status = "Name:\tappd\nNSpid:\t4711\t7\nNSpgid:\t4711\t7\n";
        assert_eq!(innermost(status, "NSpgid:"), Some(7));
        assert_eq!(innermost(status, "NSsid:"), None);
    }
}
