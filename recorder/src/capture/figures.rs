//! What recording costs and loses, in figures.

use std::sync::atomic::Ordering;

use recorder_ebpf::{COUNTS_MAX, IO_MAX};

use super::Capture;
use crate::{
    observe::{containers::CGROUPS_MAX, watcher::Watcher},
    own::{self, Drops, DropsOf, Own, ProbeUse, TableUse},
    probes::Probes,
};

impl Capture<'_> {
    /// What recording costs and loses, for whoever asks.
    pub fn tell_own(&mut self, probes: &Probes, watcher: &Watcher, run_times: bool) {
        let (cpu_ns, memory_bytes, memory_peak_bytes) = own::process();
        let name = |id: u8| {
            let entry = probes.attached.iter().find(|entry| entry.id == id);
            entry.map_or_else(|| id.to_string(), |entry| entry.tracepoint.to_owned())
        };
        let figures = Own {
            cpu_ns,
            memory_bytes,
            memory_peak_bytes,
            rings: self.drain.filled_most(),
            probes: probes
                .attached
                .iter()
                .map(|entry| {
                    let counts = || {
                        self.losses
                            .counts()
                            .iter()
                            .filter(|count| count.probe == entry.id)
                    };
                    let (runs, run_ns) = match run_times {
                        true => probes.run_time(entry.tracepoint).unwrap_or_default(),
                        false => (0, 0),
                    };
                    ProbeUse {
                        name: entry.tracepoint.to_owned(),
                        seen: counts().map(|count| count.seen).sum(),
                        dropped: counts().map(|count| count.dropped).sum(),
                        filtered: counts().map(|count| count.filtered).sum(),
                        runs,
                        run_ns,
                    }
                })
                .collect(),
            drops: self
                .losses
                .counts()
                .iter()
                .filter(|count| count.dropped > 0)
                .map(|count| Drops {
                    cpu: count.cpu,
                    probe: name(count.probe),
                    dropped: count.dropped,
                })
                .collect(),
            dropped_of: self
                .losses
                .by_cgroup()
                .iter()
                .map(|count| DropsOf {
                    cgroup_id: count.cgroup_id,
                    container: self.containers.title(count.cgroup_id),
                    dropped: count.dropped,
                })
                .collect(),
            tables: [
                (
                    "cgroups",
                    self.containers.remembered() as u64,
                    CGROUPS_MAX as u64,
                ),
                (
                    "counts of calls",
                    watcher.shared.counted.load(Ordering::Relaxed),
                    COUNTS_MAX.into(),
                ),
                (
                    "descriptors",
                    watcher.shared.descriptors.load(Ordering::Relaxed),
                    IO_MAX.into(),
                ),
            ]
            .map(|(name, entries, entries_max)| TableUse {
                name: name.to_owned(),
                entries,
                entries_max,
            })
            .into(),
        };
        if let Ok(mut told) = self.out.progress.own.lock() {
            *told = figures;
        }
    }
}
