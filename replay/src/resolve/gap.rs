//! Where events are missing: holes in the sequence of a (CPU, probe) pair, and loss records.

use trace_format::{Event, EventHead, Provenance, context::Loss};

/// `CONFIG_NR_CPUS` is at most 8192 on x86-64; a larger number in a trace is damage and is not tracked.
const CPUS_MAX: usize = 8192;

/// What of an event says whether others are missing.
#[derive(Clone, Copy)]
pub(super) struct Numbered {
    pub boot_ns: u64,
    pub cpu: u16,
    pub probe: u8,
    pub seq: u64,
}

impl From<&Event> for Numbered {
    #[inline]
    fn from(event: &Event) -> Self {
        Numbered {
            boot_ns: event.boot_ns,
            cpu: event.cpu,
            probe: event.probe,
            seq: event.seq,
        }
    }
}

impl From<&EventHead<'_>> for Numbered {
    #[inline]
    fn from(head: &EventHead<'_>) -> Self {
        Numbered {
            boot_ns: head.boot_ns,
            cpu: head.cpu,
            probe: head.probe,
            seq: head.seq,
        }
    }
}

/// What each pair has shown so far.
#[derive(Default)]
pub(super) struct Gaps {
    /// By CPU, then probe: the sequence number that comes next, 0 before the first event.
    next: Vec<Vec<u64>>,
    lost: u64,
    last_ns: Option<u64>,
    /// Events were left out on purpose: holes say nothing, records alone do.
    selected: bool,
}

impl Gaps {
    #[inline]
    pub(super) fn event(&mut self, event: Numbered) {
        // Probe 0 is the recorder's own sampling: no sequence.
        if event.probe == 0 || self.selected {
            return;
        }
        let next = match self.next.get_mut(event.cpu as usize) {
            Some(cpu) => match cpu.get_mut(event.probe as usize) {
                Some(next) => next,
                None => return self.first(event),
            },
            None => return self.first(event),
        };
        if event.seq == *next {
            *next = next.saturating_add(1);
        } else {
            self.jump(event);
        }
    }

    #[cold]
    fn first(&mut self, event: Numbered) {
        let (cpu, probe) = (event.cpu as usize, event.probe as usize);
        if cpu >= CPUS_MAX {
            return;
        }
        if self.next.len() <= cpu {
            self.next.resize_with(cpu + 1, Vec::new);
        }
        if self.next[cpu].len() <= probe {
            self.next[cpu].resize(probe + 1, 0);
        }
        self.next[cpu][probe] = event.seq.saturating_add(1);
    }

    #[cold]
    fn jump(&mut self, event: Numbered) {
        let next = &mut self.next[event.cpu as usize][event.probe as usize];
        if *next == 0 {
            // A trace may start anywhere: the first number of a pair is where it starts.
            *next = event.seq.saturating_add(1);
        } else if event.seq > *next {
            self.lost = self.lost.saturating_add(event.seq - *next);
            *next = event.seq.saturating_add(1);
            self.last_ns = Some(event.boot_ns);
        } else {
            // A late row: it had been counted as lost.
            self.lost = self.lost.saturating_sub(1);
        }
    }

    /// Loss is cumulative; only what no hole has shown yet is a new gap.
    pub(super) fn loss(&mut self, loss: &Loss, boot_ns: u64) {
        let dropped = loss
            .counts
            .iter()
            .fold(0u64, |sum, count| sum.saturating_add(count.dropped));
        if dropped > self.lost {
            self.lost = dropped;
            self.last_ns = Some(boot_ns);
        }
    }

    pub(super) fn provenance(&mut self, provenance: &Provenance) {
        self.selected = provenance.selected;
    }

    /// Chunks that a tool could not carry over are missing here.
    pub(super) fn discard(&mut self, boot_ns: u64) {
        self.last_ns = Some(boot_ns);
    }

    pub(super) fn last_ns(&self) -> Option<u64> {
        self.last_ns
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trace_format::{EventData, Syscall, context::LossCount};

    fn event(boot_ns: u64, seq: u64) -> Event {
        Event {
            boot_ns,
            cpu: 0,
            probe: 1,
            seq,
            tid: 1,
            pid: 1,
            cgroup_id: 1,
            data: EventData::Syscall(Syscall {
                nr: 0,
                ret: 0,
                args: [0; 6],
                duration_ns: 0,
            }),
        }
    }

    #[test]
    fn a_hole_that_somebody_asked_for_is_no_loss_but_a_drop_and_a_discard_are() {
        let mut gaps = Gaps::default();
        gaps.provenance(&Provenance {
            selected: true,
            ..Provenance::default()
        });
        gaps.event((&event(10, 1)).into());
        gaps.event((&event(20, 900)).into());
        assert_eq!((gaps.lost(), gaps.last_ns()), (0, None));
        gaps.loss(
            &Loss {
                counts: vec![LossCount {
                    cpu: 0,
                    probe: 1,
                    seen: 1_000,
                    dropped: 3,
                    filtered: 0,
                }],
            },
            30,
        );
        assert_eq!((gaps.lost(), gaps.last_ns()), (3, Some(30)));
        gaps.discard(40);
        assert_eq!(gaps.last_ns(), Some(40));
    }

    #[test]
    fn a_recording_says_its_holes_itself() {
        let mut gaps = Gaps::default();
        gaps.event((&event(10, 1)).into());
        gaps.event((&event(20, 5)).into());
        assert_eq!((gaps.lost(), gaps.last_ns()), (3, Some(20)));
    }
}
