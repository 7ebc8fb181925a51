//! What recording costs and loses, in figures.

use std::sync::atomic::Ordering;

use aya::maps::{MapData, PerCpuArray};
use recorder_ebpf::{COUNTS_MAX, IO_MAX, probe};
use trace_format::context::LossCount;

use super::Capture;
use crate::{
    observe::{containers::CGROUPS_MAX, watcher::Watcher},
    own::{self, Drops, Own, ProbeUse, TableUse},
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
                    let counts = || self.loss.iter().filter(|count| count.probe == entry.id);
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
                .loss
                .iter()
                .filter(|count| count.dropped > 0)
                .map(|count| Drops {
                    cpu: count.cpu,
                    probe: name(count.probe),
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

/// Per CPU and probe, those that ever counted anything.
pub fn read_counters(counters: &PerCpuArray<MapData, [u64; 3]>) -> Vec<LossCount> {
    let mut counts = Vec::new();
    for id in 1..probe::COUNT {
        let Ok(per_cpu) = counters.get(&id, 0) else {
            continue;
        };
        for (cpu, &[seen, dropped, filtered]) in per_cpu.iter().enumerate() {
            if seen + filtered > 0 {
                counts.push(LossCount {
                    cpu: cpu as u16,
                    probe: id as u8,
                    seen,
                    dropped,
                    filtered,
                });
            }
        }
    }
    counts.sort_by_key(|count| (count.cpu, count.probe));
    counts
}
