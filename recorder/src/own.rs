//! What the recorder itself costs and loses, for whoever asks while it records.

use std::fs;

use serde::{Deserialize, Serialize};

/// Figures of the last second, or since the start where named so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Own {
    /// CPU time of all its threads, since its start.
    pub cpu_ns: u64,
    pub memory_bytes: u64,
    pub memory_peak_bytes: u64,
    pub rings: Vec<RingUse>,
    pub probes: Vec<ProbeUse>,
    /// Where events were dropped, since the start.
    pub drops: Vec<Drops>,
    /// Whose events those were, as far as it is known.
    #[serde(default)]
    pub dropped_of: Vec<DropsOf>,
    /// What grows with what is recorded, and how far it may.
    #[serde(default)]
    pub tables: Vec<TableUse>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableUse {
    pub name: String,
    pub entries: u64,
    pub entries_max: u64,
}

/// The fullest that a ring was found in the last second.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingUse {
    pub name: String,
    pub bytes: u64,
    pub filled_max_bytes: u64,
}

/// Since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeUse {
    pub name: String,
    pub seen: u64,
    pub dropped: u64,
    pub filtered: u64,
    /// While run times are measured (`rec top --self`): else 0.
    pub runs: u64,
    pub run_ns: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drops {
    pub cpu: u16,
    pub probe: String,
    pub dropped: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropsOf {
    pub cgroup_id: u64,
    /// Its name, else its id, else the path of the cgroup.
    pub container: String,
    pub dropped: u64,
}

/// CPU time, memory now and at its peak; zeros where /proc does not say.
pub fn process() -> (u64, u64, u64) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name, which may hold anything, utime and stime are the 12th and 13th field (proc(5)).
    let ticks: u64 = stat
        .rsplit_once(')')
        .map(|(_, rest)| {
            let fields = rest.split_whitespace().skip(11).take(2);
            fields.filter_map(|field| field.parse::<u64>().ok()).sum()
        })
        .unwrap_or(0);
    // USER_HZ is 100 on every architecture that records.
    let cpu_ns = ticks.saturating_mul(10_000_000);
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = |name: &str| -> u64 {
        let line = status.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
            .unwrap_or(0)
    };
    (cpu_ns, kib("VmRSS:") * 1024, kib("VmHWM:") * 1024)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_process_knows_its_own_cost() {
        let started = std::time::Instant::now();
        while started.elapsed().as_millis() < 60 {
            std::hint::black_box(0);
        }
        let (cpu_ns, memory, peak) = super::process();
        assert!(cpu_ns > 0 && memory > 1 << 20 && peak >= memory);
    }
}
