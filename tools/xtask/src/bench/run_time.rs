//! The kernel's own clock around each run of a program (`kernel.bpf_stats_enabled`).

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};

pub const STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// The kernel's measuring of programs, off again when dropped.
pub struct Measuring;

impl Measuring {
    pub fn start() -> Result<Self> {
        fs::write(STATS, "1").with_context(|| format!("cannot write {STATS}"))?;
        Ok(Measuring)
    }
}

impl Drop for Measuring {
    fn drop(&mut self) {
        let _ = fs::write(STATS, "0");
    }
}

/// Nanoseconds and runs of one program so far.
#[derive(Clone, Copy, Default)]
pub struct Runs {
    pub ns: f64,
    pub count: f64,
}

/// Of every program that a process holds, by program id.
pub fn programs(pid: u32) -> Result<BTreeMap<u64, Runs>> {
    let dir = format!("/proc/{pid}/fdinfo");
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(&dir).with_context(|| format!("cannot read {dir}"))? {
        // A descriptor that is gone meanwhile is no program.
        let info = fs::read_to_string(entry?.path()).unwrap_or_default();
        let number = |name: &str| {
            info.lines()
                .find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok())
        };
        if let (Some(id), Some(ns), Some(count)) = (
            number("prog_id:"),
            number("run_time_ns:"),
            number("run_cnt:"),
        ) {
            let (ns, count) = (ns as f64, count as f64);
            found.insert(id, Runs { ns, count });
        }
    }
    Ok(found)
}

/// All programs of a process together.
pub fn total(pid: u32) -> Result<Runs> {
    Ok(programs(pid)?
        .values()
        .fold(Runs::default(), |sum, one| Runs {
            ns: sum.ns + one.ns,
            count: sum.count + one.count,
        }))
}
