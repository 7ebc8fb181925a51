//! What was lost, and what the filter left out: by CPU and probe, and by cgroup.

use aya::maps::{HashMap, MapData, PerCpuArray};
use recorder_ebpf::{DROPS_MAX, probe};
use trace_format::context::{DropCount, Drops, Loss, LossCount};

use crate::probes::{self, Probes};

/// The probes' counters and what they were when they were last read.
pub struct Losses {
    counters: PerCpuArray<MapData, [u64; 3]>,
    by_cgroup: HashMap<MapData, u64, u64>,
    counts: Vec<LossCount>,
    drops: Vec<DropCount>,
    /// Of these those that the probes counted.
    dropped: u64,
}

impl Losses {
    pub fn take(probes: &mut Probes) -> Result<Self, probes::Error> {
        Ok(Losses {
            counters: probes.counters()?,
            by_cgroup: probes.hash("DROPS")?,
            counts: Vec::new(),
            drops: Vec::new(),
            dropped: 0,
        })
    }

    /// Reads them and adds what was `lost` behind the probes, by CPU and probe. Returns whether any count
    /// changed, and whether one of a cgroup did.
    pub fn read(&mut self, lost: impl Iterator<Item = ((u16, u8), u64)>) -> (bool, bool) {
        let mut counts = self.counters();
        let dropped = counts.iter().map(|count| count.dropped).sum();
        for ((cpu, probe), lost) in lost {
            let at = counts.binary_search_by_key(&(cpu, probe), |count| (count.cpu, count.probe));
            // What was recorded has been counted.
            if let Ok(at) = at {
                counts[at].dropped += lost;
            }
        }
        let changed = counts != self.counts;
        self.counts = counts;
        // Cgroups are asked for only where there is something new, because it takes two calls for each.
        let more = std::mem::replace(&mut self.dropped, dropped) != dropped;
        let more = more && self.read_cgroups();
        (changed, more)
    }

    /// Per CPU and probe, those that ever counted anything.
    fn counters(&self) -> Vec<LossCount> {
        let mut counts = Vec::new();
        for id in 1..probe::COUNT {
            let Ok(per_cpu) = self.counters.get(&id, 0) else {
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

    fn read_cgroups(&mut self) -> bool {
        // Nothing is ever removed from the table, so walking it comes to an end.
        let mut drops: Vec<DropCount> = self
            .by_cgroup
            .iter()
            .take(DROPS_MAX as usize)
            .filter_map(Result::ok)
            .map(|(cgroup_id, dropped)| DropCount { cgroup_id, dropped })
            .filter(|count| count.dropped > 0)
            .collect();
        drops.sort_by_key(|count| count.cgroup_id);
        let changed = drops != self.drops;
        self.drops = drops;
        changed
    }

    pub fn loss(&self) -> Loss {
        Loss {
            counts: self.counts.clone(),
        }
    }

    pub fn drops(&self) -> Drops {
        Drops {
            counts: self.drops.clone(),
        }
    }

    pub fn counts(&self) -> &[LossCount] {
        &self.counts
    }

    pub fn by_cgroup(&self) -> &[DropCount] {
        &self.drops
    }

    /// Sequence numbers that were handed out.
    pub fn seen(&self) -> u64 {
        self.counts.iter().map(|count| count.seen).sum()
    }

    pub fn dropped(&self) -> u64 {
        self.counts.iter().map(|count| count.dropped).sum()
    }

    pub fn filtered(&self) -> u64 {
        self.counts.iter().map(|count| count.filtered).sum()
    }
}
