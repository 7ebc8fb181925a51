//! Connections that keep time: does a container connect to one address and port again and again at even
//! intervals? People and requests come at random; programs that report to somebody keep a period.
//!
//! Connections after less than [`BEAT_GAP_NS`] of quiet are one beat, so that a report that takes several is
//! one. The last [`BEATS`] beats are looked at: without the shortest and the longest interval (one beat that
//! came late makes one of each), all others have to lie within [`SPREAD_MAX`] of their median of each other.
//! Whoever comes more often than every [`PERIOD_NS_MIN`] polls, and is left out. A target is reported once.

use super::{
    thresholds::{BEAT_GAP_NS, BEATS, PERIOD_NS_MIN, SPREAD_MAX, TARGETS_WATCHED_MAX},
    window::Target,
};

/// The targets of one container.
#[derive(Default)]
pub struct Rhythms {
    targets: Vec<Watched>,
}

struct Watched {
    target: Target,
    beats: [u64; BEATS],
    /// Beats so far, at most [`BEATS`]; and the place of the next.
    length: usize,
    next: usize,
    last_ns: u64,
    reported: bool,
}

/// A target whose connections keep time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rhythm {
    pub target: Target,
    pub period_ns: u64,
    /// (longest − shortest) ÷ period, of the intervals that count.
    pub spread: f64,
    /// Since the first of the beats.
    pub since_ns: u64,
}

impl Rhythms {
    /// Takes a connection attempt.
    pub fn connect(&mut self, target: Target, boot_ns: u64) -> Option<Rhythm> {
        let place = match self.targets.iter().position(|one| one.target == target) {
            Some(place) => place,
            None => self.admit(target),
        };
        let watched = &mut self.targets[place];
        let quiet_ns = boot_ns.saturating_sub(watched.last_ns);
        watched.last_ns = watched.last_ns.max(boot_ns);
        if watched.length > 0 && quiet_ns < BEAT_GAP_NS {
            return None;
        }
        watched.beats[watched.next] = boot_ns;
        watched.next = (watched.next + 1) % BEATS;
        watched.length = (watched.length + 1).min(BEATS);
        if watched.reported || watched.length < BEATS {
            return None;
        }
        let rhythm = watched.rhythm()?;
        watched.reported = true;
        Some(rhythm)
    }

    /// A place for a new target, in that of the one that was quiet longest if there is no other.
    fn admit(&mut self, target: Target) -> usize {
        let new = Watched {
            target,
            beats: [0; BEATS],
            length: 0,
            next: 0,
            last_ns: 0,
            reported: false,
        };
        if self.targets.len() < TARGETS_WATCHED_MAX {
            self.targets.push(new);
            return self.targets.len() - 1;
        }
        let quiet = self.targets.iter().enumerate();
        let place = quiet
            .min_by_key(|(_, one)| one.last_ns)
            .map_or(0, |it| it.0);
        self.targets[place] = new;
        place
    }
}

impl Watched {
    fn rhythm(&self) -> Option<Rhythm> {
        let mut intervals = [0; BEATS - 1];
        for (step, interval) in intervals.iter_mut().enumerate() {
            let at = |step: usize| self.beats[(self.next + step) % BEATS];
            *interval = at(step + 1).saturating_sub(at(step));
        }
        intervals.sort_unstable();
        let counted = &intervals[1..BEATS - 2];
        let period_ns = counted[counted.len() / 2];
        let range_ns = counted[counted.len() - 1] - counted[0];
        let spread = range_ns as f64 / period_ns.max(1) as f64;
        (period_ns >= PERIOD_NS_MIN && spread <= SPREAD_MAX).then(|| Rhythm {
            target: self.target,
            period_ns,
            spread,
            since_ns: self.beats[self.next],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn target(port: u16) -> Target {
        ([0; 16], port)
    }

    /// What is said of connections at these intervals, in milliseconds, and at which one.
    fn said(intervals_ms: impl IntoIterator<Item = u64>) -> Option<(usize, Rhythm)> {
        let mut rhythms = Rhythms::default();
        let mut now_ns = MS;
        let mut found = intervals_ms.into_iter().enumerate().filter_map(|(at, ms)| {
            now_ns += ms * MS;
            Some((at, rhythms.connect(target(1), now_ns)?))
        });
        let first = found.next();
        assert_eq!(found.next(), None, "once");
        first
    }

    /// A repeatable number in 0..1, without a random generator.
    fn chance(step: u64) -> f64 {
        (step.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f64 / (1u64 << 24) as f64
    }

    #[test]
    fn a_period_with_jitter_is_found_at_its_last_beat() {
        let (at, rhythm) = said((0..60).map(|step| 970 + (60.0 * chance(step)) as u64)).unwrap();
        assert_eq!(at, BEATS - 1);
        assert!((970 * MS..1030 * MS).contains(&rhythm.period_ns));
        assert!(rhythm.spread < 0.07, "{rhythm:?}");
        assert_eq!(rhythm.since_ns, 971 * MS);
    }

    #[test]
    fn one_beat_that_is_late_and_beats_of_several_connections_do_not_hide_it() {
        let late = (0..60).map(|step| match step {
            5 => 1700,
            6 => 300,
            _ => 1000,
        });
        assert_eq!(said(late).unwrap().0, BEATS - 1);
        // Each report takes five connections.
        let several = (0..300).map(|step| match step % 5 {
            0 => 1000,
            _ => 3,
        });
        assert_eq!(said(several).unwrap().0, (BEATS - 1) * 5);
    }

    #[test]
    fn requests_at_random_and_polling_keep_no_time() {
        assert_eq!(
            said((0..20_000).map(|step| 50 + (100.0 * chance(step)) as u64)),
            None
        );
        assert_eq!(
            said((0..20_000).map(|step| 500 + (1000.0 * chance(step)) as u64)),
            None
        );
        assert_eq!(said((0..1_000).map(|_| 100)), None, "ten times a second");
        assert_eq!(
            said((0..10_000).map(|_| 2)),
            None,
            "a load test never pauses"
        );
    }

    #[test]
    fn targets_are_bounded_and_the_quiet_one_makes_room() {
        let mut rhythms = Rhythms::default();
        for port in 0..u16::MAX {
            rhythms.connect(target(port), u64::from(port) * MS);
        }
        assert_eq!(rhythms.targets.len(), TARGETS_WATCHED_MAX);
        // What keeps time is never the one that was quiet longest while few others come.
        let mut found = 0;
        for beat in 0..BEATS as u64 {
            let now_ns = (100_000 + beat * 1000) * MS;
            found += usize::from(rhythms.connect(target(7), now_ns).is_some());
            for other in 0..TARGETS_WATCHED_MAX as u64 - 2 {
                rhythms.connect(
                    target(100 + (beat * 10 + other) as u16),
                    now_ns + other * MS,
                );
            }
        }
        assert_eq!(found, 1);
    }
}
