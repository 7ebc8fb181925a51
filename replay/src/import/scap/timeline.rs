//! From the capture's wall time to the trace's own clock, and back through Clock records.
//!
//! The trace's clock never goes back, so that its order is the capture's order: a block whose time is
//! missing or older than the block before gets that block's time and says how far it is off. A new
//! section, and a clock that was set, start a new pair of clocks right behind what was written.

use trace_format::Clock;

/// Where a trace begins: a second after an imaginary boot, because captures before 2022 name none.
const START_NS: u64 = 1_000_000_000;

/// A clock that goes back further was set; less is disorder between CPUs.
const BACK_NS_MAX: u64 = 1_000_000_000;

/// A step further ahead is no time but damage. No host stays silent for a month.
const AHEAD_NS_MAX: u64 = 30 * 86_400 * 1_000_000_000;

pub struct Timeline {
    last_ns: u64,
    /// Wall time less trace time, as the last pair of clocks has it; `None` before the first.
    offset_ns: Option<u64>,
    /// The next time that can be used makes a new pair: a section has begun.
    renew: bool,
}

/// Where a block stands in the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub boot_ns: u64,
    /// How far the block's own time is ahead of the place's.
    pub ahead_ns: i64,
    /// A pair of clocks that holds from here on: to be written before the block.
    pub clock: Option<Clock>,
}

impl Default for Timeline {
    fn default() -> Self {
        Timeline {
            last_ns: START_NS,
            offset_ns: None,
            renew: false,
        }
    }
}

impl Timeline {
    /// The time reached.
    pub fn now_ns(&self) -> u64 {
        self.last_ns
    }

    /// The pair of clocks in force.
    pub fn clock(&self) -> Option<Clock> {
        self.offset_ns.map(|offset_ns| Clock {
            boot_ns: self.last_ns,
            wall_ns: self.last_ns.wrapping_add(offset_ns),
        })
    }

    /// Times of another section follow.
    pub fn section(&mut self) {
        // Until then readers go by the old pair. The lists of the section come after all that was
        // written.
        self.renew = true;
        self.last_ns += 1;
    }

    pub fn place(&mut self, wall_ns: u64) -> Place {
        let usable = wall_ns != 0 && wall_ns < u64::MAX - AHEAD_NS_MAX;
        let in_step = |offset_ns: u64| {
            let boot_ns = wall_ns.wrapping_sub(offset_ns);
            let back_ns = self.last_ns.saturating_sub(boot_ns);
            let ahead_ns = boot_ns.saturating_sub(self.last_ns);
            (back_ns <= BACK_NS_MAX && ahead_ns <= AHEAD_NS_MAX).then_some(boot_ns)
        };
        let mut clock = None;
        match self.offset_ns.filter(|_| !self.renew).map(in_step) {
            _ if !usable => {}
            Some(Some(boot_ns)) => self.last_ns = self.last_ns.max(boot_ns),
            // Strictly later than what is written: the pair must not change that.
            Some(None) | None => {
                self.last_ns += 1;
                self.offset_ns = Some(wall_ns.wrapping_sub(self.last_ns));
                self.renew = false;
                clock = self.clock();
            }
        }
        let offset_ns = self.offset_ns.unwrap_or(0);
        Place {
            boot_ns: self.last_ns,
            ahead_ns: wall_ns.wrapping_sub(self.last_ns.wrapping_add(offset_ns)) as i64,
            clock,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Places the times, and checks that clocks and places give them back.
    fn places(times: &[u64]) -> Vec<Place> {
        let mut timeline = Timeline::default();
        let mut offset_ns = 0;
        let mut last_ns = 0;
        let placed = times.iter().map(|wall_ns| {
            let place = timeline.place(*wall_ns);
            if let Some(clock) = place.clock {
                assert!(clock.boot_ns > last_ns, "a pair changes nothing before it");
                offset_ns = clock.wall_ns.wrapping_sub(clock.boot_ns);
            }
            assert!(place.boot_ns >= last_ns, "never back");
            last_ns = place.boot_ns;
            let found = place.boot_ns.wrapping_add(offset_ns);
            assert_eq!(found.wrapping_add_signed(place.ahead_ns), *wall_ns);
            place
        });
        placed.collect()
    }

    const T: u64 = 1_700_000_000_000_000_000;

    #[test]
    fn times_go_on_and_missing_ones_take_the_place_before() {
        let found = places(&[0, 0, T, T + 5, T + 3, 0, T + 9]);
        let boots: Vec<_> = found.iter().map(|place| place.boot_ns - START_NS).collect();
        assert_eq!(boots, [0, 0, 1, 6, 6, 6, 10]);
        assert_eq!(found[4].ahead_ns, -2);
        assert_eq!(
            found.iter().filter(|place| place.clock.is_some()).count(),
            1
        );
    }

    #[test]
    fn a_clock_that_was_set_and_nonsense_are_kept_without_turning_time_back() {
        let hour = 3_600_000_000_000;
        let found = places(&[T, T - hour, T - hour + 1, u64::MAX, 1, 2, T]);
        assert!(found[1].clock.is_some());
        assert!(found[2].clock.is_none());
        assert!(found.last().unwrap().boot_ns < START_NS + 100);
    }

    #[test]
    fn a_section_starts_its_own_clock() {
        let mut timeline = Timeline::default();
        let before = timeline.place(T + 50).boot_ns;
        timeline.section();
        // Readers go by the old pair until there is another.
        let missing = timeline.place(0);
        assert_eq!(missing.clock, None);
        let shown = timeline.clock().unwrap().wall_ns;
        assert_eq!(shown.wrapping_add_signed(missing.ahead_ns), 0);
        let place = timeline.place(T);
        assert_eq!((place.boot_ns, place.ahead_ns), (before + 2, 0));
        assert_eq!(place.clock.unwrap().wall_ns, T);
    }
}
