//! One metric of one container: a window of past values, and the question whether the level shifted.
//!
//! Each value gets a score: its distance from the window's median in units of the scale
//! ([`Metric`] says how that is bounded from below). Two cumulative sums (CUSUM), one per direction,
//! add what the score exceeds [`DRIFT`] by; a value adds at most [`STEP_MAX`] − [`DRIFT`], so one
//! spike never reaches [`ALARM`] alone and a shift reaches it in three bins. Only a score beyond the
//! metric's `huge` that also exceeds the whole window by half alarms at once.
//!
//! Values that stand out are kept aside, so that an attack does not become its own baseline. A burst
//! shorter than [`BURST_BINS_MAX`] joins the window afterwards; what lasts [`ADOPT_BINS`] is the new
//! level and replaces the window. A shift is reported once, and again only after the series was calm
//! for [`CALM_BINS`].

use super::metrics::Metric;

/// Bins in the window: a minute.
pub const WINDOW_BINS: usize = 60;
/// Values before anything is said at all.
pub const BASELINE_BINS_MIN: usize = 4;
/// Values from which on the window counts in full; with fewer, scores are divided by up to [`YOUNG_STRICTNESS`].
pub const BASELINE_BINS_FULL: usize = 10;
const YOUNG_STRICTNESS: f64 = 1.5;

/// Scores up to here are noise (three standard deviations).
pub const DRIFT: f64 = 3.0;
/// What one value counts at most.
pub const STEP_MAX: f64 = 8.0;
/// The sum that alarms: three full steps of 5, or seven values at a score of 5.
pub const ALARM: f64 = 12.0;

/// Bins in a row that stand out and are no burst any more.
pub const BURST_BINS_MAX: usize = 3;
/// Bins after which a shifted level is the new baseline.
pub const ADOPT_BINS: usize = 30;
/// Calm bins after which the same direction may be reported again.
pub const CALM_BINS: u32 = 5;

/// Which way the level went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Up,
    Down,
}

/// A reported change of level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shift {
    pub direction: Direction,
    pub value: f64,
    /// Median of the window.
    pub baseline: f64,
    pub scale: f64,
    /// (value − baseline) / scale.
    pub score: f64,
    /// How many bins in a row contributed.
    pub bins: u32,
    /// Values the baseline rests on.
    pub baseline_bins: usize,
}

/// The window and the sums.
#[derive(Clone, Debug)]
pub struct Series {
    window: [f32; WINDOW_BINS],
    length: usize,
    next: usize,
    aside: [f32; ADOPT_BINS],
    aside_length: usize,
    up: Sum,
    down: Sum,
    /// Reported and not yet calm again.
    reported: Option<Direction>,
    calm: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    total: f64,
    bins: u32,
}

impl Sum {
    fn add(&mut self, score: f64) {
        // What is above the alarm adds nothing: it would only make the end of a shift look late.
        self.total = (self.total + score.min(STEP_MAX) - DRIFT).min(ALARM);
        if self.total > 0.0 {
            self.bins += 1;
        } else {
            *self = Sum::default();
        }
    }
}

impl Default for Series {
    fn default() -> Self {
        Series {
            window: [0.0; WINDOW_BINS],
            length: 0,
            next: 0,
            aside: [0.0; ADOPT_BINS],
            aside_length: 0,
            up: Sum::default(),
            down: Sum::default(),
            reported: None,
            calm: 0,
        }
    }
}

impl Series {
    /// Takes the value of one bin. `complete` is false when events of the bin were lost: then a low
    /// value means nothing, and the value is no baseline.
    pub fn observe(&mut self, metric: &Metric, value: f64, complete: bool) -> Option<Shift> {
        if self.length < BASELINE_BINS_MIN {
            if complete {
                self.keep(value);
            }
            return None;
        }
        let (median, mad, largest) = self.robust();
        let scale = (1.4826 * mad)
            .max(metric.floor)
            .max(metric.relative * median.abs());
        let score = (value - median) / scale;
        let strictness = match self.length {
            BASELINE_BINS_FULL.. => 1.0,
            young => {
                let missing = (BASELINE_BINS_FULL - young) as f64
                    / (BASELINE_BINS_FULL - BASELINE_BINS_MIN) as f64;
                1.0 + (YOUNG_STRICTNESS - 1.0) * missing
            }
        };
        let weighed = score / strictness;
        let large_up = value - median >= metric.change && value >= median * metric.ratio;
        let large_down =
            complete && median - value >= metric.change && value * metric.ratio <= median;
        self.up.add(if large_up { weighed } else { 0.0 });
        self.down.add(if large_down { -weighed } else { 0.0 });

        let huge = large_up && weighed >= metric.huge && value > 1.5 * largest;
        // Bursts with pauses in between are a rhythm, not a level, however often they come.
        let lasting = self.aside_length + 1 >= BURST_BINS_MAX;
        let direction = if huge || (lasting && large_up && self.up.total >= ALARM) {
            Some(Direction::Up)
        } else if lasting && large_down && self.down.total >= ALARM {
            Some(Direction::Down)
        } else {
            None
        };
        let bins = match direction {
            Some(Direction::Down) => self.down.bins,
            _ => self.up.bins.max(1),
        };
        let baseline_bins = self.length;

        let stands_out = (large_up || large_down) && weighed.abs() > DRIFT;
        if stands_out {
            self.calm = 0;
            if self.set_aside(value) {
                return None;
            }
        } else {
            self.release_aside();
            if complete {
                self.keep(value);
            }
            self.calm += 1;
            if self.calm >= CALM_BINS {
                self.reported = None;
            }
        }
        let direction = direction.filter(|direction| self.reported != Some(*direction))?;
        self.reported = Some(direction);
        Some(Shift {
            direction,
            value,
            baseline: median,
            scale,
            score,
            bins,
            baseline_bins,
        })
    }

    /// Adds to the window, in the place of the oldest.
    fn keep(&mut self, value: f64) {
        self.window[self.next] = value as f32;
        self.next = (self.next + 1) % WINDOW_BINS;
        self.length = (self.length + 1).min(WINDOW_BINS);
    }

    /// Remembers a value that stands out. True when there are enough of them to be the new level.
    fn set_aside(&mut self, value: f64) -> bool {
        self.aside[self.aside_length] = value as f32;
        self.aside_length += 1;
        if self.aside_length < ADOPT_BINS {
            return false;
        }
        self.window[..ADOPT_BINS].copy_from_slice(&self.aside);
        self.length = ADOPT_BINS;
        self.next = ADOPT_BINS;
        self.aside_length = 0;
        self.up = Sum::default();
        self.down = Sum::default();
        self.reported = None;
        true
    }

    /// The series is back: a short burst belongs to what is usual here and joins the window, so that
    /// a job that comes again is known; a longer one was a shift and is forgotten.
    fn release_aside(&mut self) {
        let values = self.aside;
        let length = std::mem::take(&mut self.aside_length);
        if length < BURST_BINS_MAX {
            values[..length]
                .iter()
                .for_each(|value| self.keep(f64::from(*value)));
        }
    }

    /// Median, median absolute deviation and largest value of the window.
    fn robust(&self) -> (f64, f64, f64) {
        let mut values = self.window;
        let values = &mut values[..self.length];
        let median = median(values);
        let largest = values.iter().copied().fold(f32::MIN, f32::max);
        for value in values.iter_mut() {
            *value = (*value - median).abs();
        }
        (
            f64::from(median),
            f64::from(self::median(values)),
            f64::from(largest),
        )
    }
}

/// The middle value, or the mean of the two middle ones. Reorders the slice; 0 for an empty one.
fn median(values: &mut [f32]) -> f32 {
    let length = values.len();
    if length == 0 {
        return 0.0;
    }
    let (below, &mut high, _) = values.select_nth_unstable_by(length / 2, f32::total_cmp);
    if length % 2 == 1 {
        high
    } else {
        let low = below.iter().copied().fold(f32::MIN, f32::max);
        (low + high) / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::super::metrics::{CPU, METRICS, SYSCALLS, TARGETS};
    use super::*;

    /// Feeds a series and returns (bin, shift) of everything reported.
    fn run(metric: usize, values: impl IntoIterator<Item = f64>) -> Vec<(usize, Shift)> {
        let mut series = Series::default();
        let observe = |(bin, value)| {
            series
                .observe(&METRICS[metric], value, true)
                .map(|shift| (bin, shift))
        };
        values.into_iter().enumerate().filter_map(observe).collect()
    }

    /// A repeatable ripple in 0..1, without a random generator.
    fn ripple(bin: usize) -> f64 {
        ((bin as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f64 / (1u64 << 24) as f64
    }

    #[test]
    fn a_level_shift_is_reported_once_within_three_bins() {
        let values = (0..60).map(|bin| {
            if bin < 20 {
                0.02 + 0.01 * ripple(bin)
            } else {
                0.95
            }
        });
        let shifts = run(CPU, values.take(45));
        assert_eq!(shifts.len(), 1, "{shifts:?}");
        let (bin, shift) = shifts[0];
        assert_eq!((bin, shift.direction), (22, Direction::Up));
        assert!(shift.baseline < 0.04 && shift.score > 20.0, "{shift:?}");
    }

    #[test]
    fn five_bins_of_baseline_are_enough_for_a_clear_shift() {
        let shifts = run(
            CPU,
            [0.02, 0.03, 0.02, 0.02, 0.03, 0.98, 0.99, 0.98, 0.98, 0.98],
        );
        assert_eq!(shifts.iter().map(|(bin, _)| *bin).collect::<Vec<_>>(), [7]);
        let shifts = run(TARGETS, [0.0, 0.0, 1.0, 0.0, 0.0, 250.0, 250.0]);
        assert_eq!(
            shifts.iter().map(|(bin, _)| *bin).collect::<Vec<_>>(),
            [5],
            "one bin of a scan is enough"
        );
    }

    #[test]
    fn a_service_that_stops_is_a_shift_down() {
        let values = (0..40).map(|bin| {
            if bin < 25 {
                20_000.0 + 2_000.0 * ripple(bin)
            } else {
                0.0
            }
        });
        let shifts = run(SYSCALLS, values);
        assert_eq!(shifts.len(), 1, "{shifts:?}");
        assert_eq!(shifts[0].1.direction, Direction::Down);
        assert!(shifts[0].0 <= 28, "{shifts:?}");
    }

    #[test]
    fn a_low_value_beside_a_loss_is_no_shift() {
        let mut series = Series::default();
        for bin in 0..40 {
            let (value, complete) = if bin < 25 {
                (20_000.0, true)
            } else {
                (0.0, false)
            };
            assert_eq!(
                series.observe(&METRICS[SYSCALLS], value, complete),
                None,
                "bin {bin}"
            );
        }
    }

    #[test]
    fn one_spike_is_not_a_shift() {
        let values = (0..60).map(|bin| {
            if bin == 30 {
                500_000.0
            } else {
                100.0 * ripple(bin)
            }
        });
        assert_eq!(run(SYSCALLS, values), []);
    }

    #[test]
    fn bursts_that_come_again_are_the_baseline() {
        // A job every five seconds, and one every twenty.
        for period in [2, 5, 20] {
            let values = (0..180).map(|bin| {
                if bin % period == period - 1 {
                    30_000.0
                } else {
                    50.0
                }
            });
            assert_eq!(run(SYSCALLS, values), [], "period {period}");
        }
    }

    #[test]
    fn a_quiet_series_says_nothing() {
        for (index, metric) in METRICS.iter().enumerate() {
            let small = metric.floor;
            assert_eq!(
                run(index, (0..300).map(|_| 0.0)),
                [],
                "{} flat",
                metric.name
            );
            assert_eq!(
                run(index, (0..300).map(|bin| small * ripple(bin))),
                [],
                "{} ripple",
                metric.name
            );
            let level = metric.change * 10.0;
            let noisy = (0..300).map(|bin| level * (0.5 + ripple(bin)));
            assert_eq!(
                run(index, noisy),
                [],
                "{} busy: half to one and a half times its level",
                metric.name
            );
        }
    }

    #[test]
    fn a_slow_rise_is_followed_by_the_baseline() {
        assert_eq!(
            run(SYSCALLS, (0..600).map(|bin| 1000.0 + 20.0 * bin as f64)),
            []
        );
    }

    #[test]
    fn a_lasting_level_becomes_the_baseline_and_its_end_is_reported() {
        let values = (0..150).map(|bin| if (30..100).contains(&bin) { 1.0 } else { 0.05 });
        let shifts = run(CPU, values);
        let seen: Vec<_> = shifts
            .iter()
            .map(|(bin, shift)| (*bin, shift.direction))
            .collect();
        assert_eq!(seen.len(), 2, "{seen:?}");
        assert_eq!(seen[0], (32, Direction::Up));
        assert_eq!(seen[1].1, Direction::Down);
        assert!((100..105).contains(&seen[1].0), "{seen:?}");
    }

    #[test]
    fn an_attack_does_not_hide_the_next_one() {
        let values = (0..80).map(|bin| {
            if (20..30).contains(&bin) || (50..60).contains(&bin) {
                1.0
            } else {
                0.05
            }
        });
        let bins: Vec<usize> = run(CPU, values).iter().map(|(bin, _)| *bin).collect();
        assert_eq!(bins, [22, 52]);
    }

    #[test]
    fn median_of_odd_even_and_none() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&mut []), 0.0);
    }
}
