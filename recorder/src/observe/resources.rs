//! Resources of each container, read once a second: cgroup v2 files or the v1 controllers'.

use std::{
    fs,
    path::{Path, PathBuf},
};

use trace_format::event::Sample;

use super::cgroups::Cgroups;

/// v1 reports "no limit" as a number near 2^63.
const NO_LIMIT: u64 = 1 << 62;

/// What a cgroup uses now. None when it is gone.
pub fn sample(cgroups: &Cgroups, path: &str) -> Option<Sample> {
    let dir = |controller: &str| cgroups.controller(controller, path);
    let cpu_ns = if cgroups.is_v1("cpuacct") {
        number(&dir("cpuacct")?.join("cpuacct.usage"))?
    } else {
        1_000 * keyed(&dir("cpu")?.join("cpu.stat"), "usage_usec")?
    };
    let throttled_ns = if cgroups.is_v1("cpu") {
        dir("cpu").and_then(|dir| keyed(&dir.join("cpu.stat"), "throttled_time"))
    } else {
        dir("cpu")
            .and_then(|dir| keyed(&dir.join("cpu.stat"), "throttled_usec"))
            .map(|micros| micros * 1_000)
    };
    let (memory, limit) = if cgroups.is_v1("memory") {
        ("memory.usage_in_bytes", "memory.limit_in_bytes")
    } else {
        ("memory.current", "memory.max")
    };
    let memory_of = |file: &str| dir("memory").and_then(|dir| number(&dir.join(file)));
    let (io_read_bytes, io_write_bytes) = io(cgroups, path).unwrap_or_default();
    Some(Sample {
        cpu_ns,
        throttled_ns: throttled_ns.unwrap_or(0),
        memory_bytes: memory_of(memory).unwrap_or(0),
        memory_limit_bytes: memory_of(limit)
            .filter(|&limit| limit < NO_LIMIT)
            .unwrap_or(0),
        pids: dir("pids")
            .and_then(|dir| number(&dir.join("pids.current")))
            .unwrap_or(0),
        io_read_bytes,
        io_write_bytes,
    })
}

/// The host as a whole, in the same units (`cgroup_id` 0 in the trace).
pub fn host() -> Option<Sample> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    // user nice system idle iowait irq softirq steal, in ticks of 10 ms: all but idle and iowait is use.
    let ticks: Vec<u64> = stat
        .lines()
        .next()?
        .split_whitespace()
        .skip(1)
        .take(8)
        .filter_map(|field| field.parse().ok())
        .collect();
    let busy: u64 = ticks
        .iter()
        .enumerate()
        .filter(|(index, _)| !matches!(index, 3 | 4))
        .map(|(_, ticks)| ticks)
        .sum();
    let memory = fs::read_to_string("/proc/meminfo").ok()?;
    let kib = |name: &str| -> Option<u64> {
        memory
            .lines()
            .find_map(|line| line.strip_prefix(name))?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    };
    let total = kib("MemTotal:")? * 1024;
    let load = fs::read_to_string("/proc/loadavg").ok()?;
    let threads = load
        .split_whitespace()
        .nth(3)
        .and_then(|field| field.split('/').nth(1)?.parse().ok());
    Some(Sample {
        cpu_ns: busy * 10_000_000,
        memory_bytes: total.saturating_sub(kib("MemAvailable:")? * 1024),
        memory_limit_bytes: total,
        pids: threads.unwrap_or(0),
        ..Sample::default()
    })
}

fn io(cgroups: &Cgroups, path: &str) -> Option<(u64, u64)> {
    let (file, keys) = if cgroups.is_v1("blkio") {
        ("blkio.throttle.io_service_bytes", ["Read", "Write"])
    } else {
        ("io.stat", ["rbytes", "wbytes"])
    };
    let controller = if cgroups.is_v1("blkio") {
        "blkio"
    } else {
        "io"
    };
    let text = fs::read_to_string(cgroups.controller(controller, path)?.join(file)).ok()?;
    // v1: "8:0 Read 4096"; v2: "8:0 rbytes=4096 wbytes=0".
    let words: Vec<&str> = text.split(['\n', ' ', '=']).collect();
    let sum = |key: &str| {
        words
            .windows(2)
            .filter(|pair| pair[0] == key)
            .filter_map(|pair| pair[1].parse::<u64>().ok())
            .sum()
    };
    Some((sum(keys[0]), sum(keys[1])))
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The value behind `key` in a file of "key value" lines.
fn keyed(path: &PathBuf, key: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| {
        line.strip_prefix(key)?
            .strip_prefix(' ')?
            .trim()
            .parse()
            .ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_sampled() {
        let host = host().unwrap();
        assert!(host.memory_bytes > 0 && host.memory_bytes < host.memory_limit_bytes);
        assert!(host.cpu_ns > 0 && host.pids > 0);
    }
}
