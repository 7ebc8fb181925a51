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
//!
//! What creeps is no shift: the window's median follows it. A level (memory, tasks) that went the same way
//! in nearly all of the last [`TREND_BINS`] values, by the metric's `trend` in all, is a trend. It counts
//! as a shift in its direction, so one thing is reported once.
//!
//! Each report says how new it is in a longer memory ([`super::novelty`]).

use super::{
    metrics::Metric,
    novelty::Novelty,
    thresholds::{
        ADOPT_BINS, ALARM, BASELINE_BINS_FULL, BASELINE_BINS_MIN, BURST_BINS_MAX, CALM_BINS, DRIFT,
        STEP_MAX, TREND_AGAINST_MAX, TREND_BINS, TREND_STEP_MAX, WINDOW_BINS, YOUNG_STRICTNESS,
    },
};

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
    /// A slow one, over the last [`TREND_BINS`]; then the baseline is the value before them.
    pub trend: bool,
    /// How far beyond the series' memory this went since it began to stand out; `None`: it has none yet.
    pub novelty: Option<f64>,
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
    novelty: Novelty,
    /// The greatest since values began to stand out.
    newest: Option<f64>,
    recent: [f32; TREND_BINS],
    /// Of the last trend that was reported: bins since.
    since_trend: u32,
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
            novelty: Novelty::default(),
            newest: None,
            recent: [f32::NAN; TREND_BINS],
            since_trend: u32::MAX,
        }
    }
}

impl Series {
    /// Takes the value of one bin. `complete` is false when events of the bin were lost: then a low
    /// value means nothing, and the value is no baseline.
    pub fn observe(&mut self, metric: &Metric, value: f64, complete: bool) -> Option<Shift> {
        if complete {
            self.recent.rotate_left(1);
            self.recent[TREND_BINS - 1] = value as f32;
            let new = self.novelty.observe(value, metric.floor);
            // Since values began to stand out, if they do.
            self.newest = match (self.newest, new) {
                (Some(newest), Some(new)) if self.aside_length > 0 => Some(newest.max(new)),
                (_, new) => new,
            };
        }
        let trend = self.trend(metric);
        let shift = self.shift(metric, value, complete, trend.is_some());
        self.since_trend = self.since_trend.saturating_add(1);
        match (shift, trend) {
            (None, Some(trend)) if self.says(&trend) => Some(trend),
            (shift, _) => shift,
        }
    }

    /// Whether a trend is to be reported: not again within a window, and not after a shift that way.
    fn says(&mut self, trend: &Shift) -> bool {
        let new = self.reported != Some(trend.direction)
            && self.since_trend as usize >= WINDOW_BINS
            && self.length >= BASELINE_BINS_MIN;
        if new {
            self.reported = Some(trend.direction);
            self.since_trend = 0;
        }
        new
    }

    /// The same way in nearly all of the last values, and far enough in all.
    fn trend(&self, metric: &Metric) -> Option<Shift> {
        let (first, last) = (self.recent[0], self.recent[TREND_BINS - 1]);
        let growth = f64::from(last) - f64::from(first);
        let far = metric.trend.max(metric.relative * f64::from(first).abs());
        // Never for a metric without trends, and not before there are enough values.
        if !metric.trend.is_finite() || first.is_nan() || growth.abs() < far {
            return None;
        }
        let changes = self
            .recent
            .windows(2)
            .map(|pair| (f64::from(pair[1]) - f64::from(pair[0])) * growth.signum());
        let against = changes.clone().filter(|change| *change <= 0.0).count();
        let greatest = changes.fold(0.0, f64::max);
        if against > TREND_AGAINST_MAX || greatest > TREND_STEP_MAX * growth.abs() {
            return None;
        }
        let direction = match growth > 0.0 {
            true => Direction::Up,
            false => Direction::Down,
        };
        Some(Shift {
            direction,
            value: f64::from(last),
            baseline: f64::from(first),
            scale: far,
            score: growth / far,
            bins: TREND_BINS as u32,
            baseline_bins: self.length,
            trend: true,
            novelty: None,
        })
    }

    /// The question of the level. While a trend goes on, the series is not calm.
    fn shift(
        &mut self,
        metric: &Metric,
        value: f64,
        complete: bool,
        in_trend: bool,
    ) -> Option<Shift> {
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
            if self.calm >= CALM_BINS && !in_trend {
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
            trend: false,
            novelty: self.newest,
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
    use super::super::{
        metrics::{CPU, MEMORY, METRICS, SYSCALLS, TARGETS},
        thresholds::NOVEL,
    };
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
    fn a_level_that_creeps_is_a_trend_up_or_down_and_reported_once() {
        const MIB: f64 = 1024.0 * 1024.0;
        // A mebibyte a second, with a ripple that sometimes goes against it.
        let creep = |bin: usize| 1.0 * MIB * bin as f64 + 0.8 * MIB * ripple(bin);
        let values = (0..150).map(|bin| match bin {
            0..60 => 100.0 * MIB + MIB * ripple(bin),
            60..90 => 100.0 * MIB + creep(bin - 60),
            90..120 => 130.0 * MIB + MIB * ripple(bin),
            _ => 130.0 * MIB - creep(bin - 120),
        });
        let shifts = run(MEMORY, values);
        let seen: Vec<_> = shifts
            .iter()
            .map(|(_, shift)| (shift.direction, shift.trend))
            .collect();
        assert_eq!(seen, [(Direction::Up, true), (Direction::Down, true)]);
        assert!((70..=75).contains(&shifts[0].0), "{shifts:?}");
        // One step of the same size is none, and neither is noise of that size.
        let step = |bin| 100.0 * MIB + if bin < 60 { 0.0 } else { 20.0 * MIB };
        assert_eq!(run(MEMORY, (0..120).map(step)), []);
        let noise = |bin| 100.0 * MIB + 30.0 * MIB * ripple(bin);
        assert_eq!(run(MEMORY, (0..600).map(noise)), []);
        // Fast enough to be a shift first: reported once all the same.
        let fast = (0..90).map(|bin| 100.0 * MIB + 8.0 * MIB * (bin.max(60) - 60) as f64);
        assert_eq!(run(MEMORY, fast).len(), 1);
    }

    #[test]
    fn what_was_there_before_is_said_to_be_no_news() {
        // Ten seconds of work every five minutes, then a minute and a half of it.
        let busy = |bin: usize| bin % 300 >= 290 || bin >= 1200;
        let values = (0..1290).map(|bin| {
            if busy(bin) {
                0.9
            } else {
                0.05 + 0.01 * ripple(bin)
            }
        });
        let shifts = run(CPU, values);
        let news: Vec<_> = shifts
            .iter()
            .filter(|(_, shift)| shift.direction == Direction::Up)
            .map(|(bin, shift)| (bin / 300, shift.novelty.map(|new| new >= NOVEL)))
            .collect();
        assert_eq!(
            news,
            [
                (0, None),
                (1, Some(false)),
                (2, Some(false)),
                (3, Some(false))
            ],
            "what lasts longer has begun as it always did: {shifts:?}"
        );
        // Twice as much is news.
        let values = (0..1300).map(|bin| match bin {
            1250.. => 1.8,
            bin if busy(bin) => 0.9,
            bin => 0.05 + 0.01 * ripple(bin),
        });
        let last = run(CPU, values).pop().unwrap().1;
        assert!(last.value > 1.0 && last.novelty.unwrap() > 0.9, "{last:?}");
    }

    #[test]
    fn a_missing_sample_is_no_value() {
        // Bins without a value are not observed: what is left is judged as if they had not been.
        let values = (0..80).filter(|bin| bin % 3 != 0);
        let shifts = run(CPU, values.map(|bin| if bin < 50 { 0.05 } else { 0.95 }));
        assert_eq!(shifts.len(), 1, "{shifts:?}");
    }

    #[test]
    fn median_of_odd_even_and_none() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&mut []), 0.0);
    }
}
