//! How new is what a series does: how far beyond all that it did in its memory, an hour rather than a minute?
//!
//! Three things are looked at, each a number a bin: the value, its mean over [`SCALE_BINS`], and its
//! restlessness, the mean change from bin to bin over [`SCALE_BINS`]. For each the range of what it has
//! been is kept. What lies outside is new, by its distance from the range in units of the range's width
//! (1: the range doubles); the greatest of the three counts. Then the range takes it in, so what lasts or
//! comes again is not new a second time; and it shrinks towards what is usual, so that a day's greatest
//! value is forgotten after some [`MEMORY_BINS`].
//!
//! Nothing is assumed about the distribution: a flat series, a noisy one and one with bursts each have
//! the range that they have. `cargo xtask bench nab` scores this number alone on labelled series.

use super::thresholds::{MEMORY_BINS, MEMORY_BINS_MIN, NOVELTY_MAX, SCALE_BINS};

/// The memory of one series.
#[derive(Clone, Debug, Default)]
pub struct Novelty {
    values: Mean,
    changes: Mean,
    last: f32,
    ranges: [Range; 3],
    bins: u32,
}

/// Over the last [`SCALE_BINS`]; of fewer, over all.
#[derive(Clone, Debug, Default)]
struct Mean {
    values: [f32; SCALE_BINS],
    next: u32,
}

impl Mean {
    fn add(&mut self, value: f32) -> f64 {
        self.values[self.next as usize % SCALE_BINS] = value;
        self.next += 1;
        // Wraps around to twice the length: the place stays right, and the length stays known.
        if self.next as usize == 2 * SCALE_BINS {
            self.next = SCALE_BINS as u32;
        }
        let length = (self.next as usize).min(SCALE_BINS);
        // Summed anew: a running sum of large and small values would drift.
        let sum: f64 = self.values[..length].iter().copied().map(f64::from).sum();
        sum / length as f64
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Range {
    low: f64,
    high: f64,
}

impl Range {
    /// How far outside, in units of the width, which is at least `floor`; then takes the value in.
    fn leave(&mut self, value: f64, floor: f64) -> f64 {
        let outside = (value - self.high).max(self.low - value).max(0.0);
        let width = (self.high - self.low).max(floor);
        if value > self.high {
            self.high = value;
        } else if value < self.low {
            self.low = value;
        } else {
            self.high -= (self.high - value) / f64::from(MEMORY_BINS);
            self.low += (value - self.low) / f64::from(MEMORY_BINS);
        }
        match outside > 0.0 {
            // A width of 0: the first ripple of a series that never moved.
            true => (outside / width).min(NOVELTY_MAX),
            false => 0.0,
        }
    }
}

impl Novelty {
    /// Takes the next value; how new it is, 0: not at all. `None` while the memory is too short to say.
    /// `floor` is the width that a range has at least, in the series' unit.
    pub fn observe(&mut self, value: f64, floor: f64) -> Option<f64> {
        let change = match self.bins {
            0 => 0.0,
            _ => (value as f32 - self.last).abs(),
        };
        self.last = value as f32;
        let looked_at = [
            value,
            self.values.add(value as f32),
            self.changes.add(change),
        ];
        if self.bins == 0 {
            self.ranges = looked_at.map(|value| Range {
                low: value,
                high: value,
            });
        }
        let mut newest: f64 = 0.0;
        for (range, value) in self.ranges.iter_mut().zip(looked_at) {
            newest = newest.max(range.leave(value, floor));
        }
        self.bins = self.bins.saturating_add(1);
        (self.bins > MEMORY_BINS_MIN).then_some(newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(values: impl Iterator<Item = f64>, floor: f64) -> Vec<Option<f64>> {
        let mut novelty = Novelty::default();
        values.map(|value| novelty.observe(value, floor)).collect()
    }

    const MIN: usize = MEMORY_BINS_MIN as usize;

    #[test]
    fn nothing_is_said_before_there_is_a_memory() {
        let said = run((0..MIN + 5).map(|bin| bin as f64), 0.0);
        assert!(said[..MIN].iter().all(Option::is_none));
        assert!(said[MIN..].iter().all(Option::is_some));
    }

    #[test]
    fn a_flat_series_is_never_new_and_its_first_ripple_is_measured_by_the_floor() {
        let flat = run((0..2 * MIN).map(|_| 45.0), 0.0);
        assert!(flat[MIN..].iter().all(|new| *new == Some(0.0)));
        let ripple = |floor| {
            let values = (0..=MIN).map(|bin| if bin == MIN { 46.0 } else { 45.0 });
            run(values, floor)[MIN].unwrap()
        };
        assert_eq!(ripple(10.0), 0.1);
        assert_eq!(ripple(0.0), NOVELTY_MAX);
    }

    #[test]
    fn twice_the_range_is_new_once_and_a_burst_that_comes_again_is_not() {
        let burst = |bin: usize| bin % 300 >= 290;
        let values = (0..2000).map(|bin| match bin {
            1500..1510 => 200.0,
            _ if burst(bin) => 100.0,
            _ => (bin % 7) as f64,
        });
        let said = run(values, 1.0);
        let new: Vec<usize> = (2 * MIN..2000)
            .filter(|&bin| said[bin].unwrap() >= super::super::thresholds::NOVEL)
            .collect();
        // At the first value, when its mean has grown beyond what bursts of 100 make of it, and at its end.
        assert_eq!(new[0], 1500);
        assert!(new.iter().all(|bin| (1500..=1510).contains(bin)), "{new:?}");
    }

    #[test]
    fn a_fall_and_a_restless_time_are_new_too() {
        let fallen = run(
            (0..1000).map(|bin| {
                if bin < 900 {
                    100.0 + (bin % 10) as f64
                } else {
                    0.0
                }
            }),
            1.0,
        );
        assert!(fallen[900].unwrap() > 5.0);
        // It stays within its range, but is never as quick.
        let values = (0..1000).map(|bin| match bin {
            0..900 => (bin % 100) as f64,
            _ => 99.0 * (bin % 2) as f64,
        });
        let restless = run(values, 1.0);
        let most = restless[900..]
            .iter()
            .flatten()
            .fold(0.0, |a: f64, b| a.max(*b));
        assert!(most > 0.5, "{most}");
        assert!(restless[MIN..900].iter().flatten().all(|new| *new < 0.1));
    }
}
