//! Every threshold that all metrics share, with what it means for false alarms. What differs from metric to
//! metric is one table: [`super::metrics::METRICS`].
//!
//! Rates of false alarms are those of independent normal values, which no series is: they say how the
//! thresholds compare, not what to expect. What is to be expected is measured on normal work.

/// Bins in the window: a minute.
pub const WINDOW_BINS: usize = 60;
/// Values before anything is said at all.
pub const BASELINE_BINS_MIN: usize = 4;
/// Values from which on the window counts in full; with fewer, scores are divided by up to
/// [`YOUNG_STRICTNESS`]: the scale of four values is wrong by a half in either direction.
pub const BASELINE_BINS_FULL: usize = 10;
pub const YOUNG_STRICTNESS: f64 = 1.5;

/// Scores up to here are noise: beyond three standard deviations are 27 of 10,000 values.
pub const DRIFT: f64 = 3.0;
/// What one value counts at most, so that no spike alarms alone: three of them are needed.
pub const STEP_MAX: f64 = 8.0;
/// The sum that alarms: three full steps of 5, or seven values at a score of 5. Three values in a row
/// beyond a score of 7 are below 1 in 10^30; what alarms on normal work are shifts that are real and
/// harmless, and against those stand the metrics' `change` and `ratio`.
pub const ALARM: f64 = 12.0;

/// Bins in a row that stand out and are no burst any more.
pub const BURST_BINS_MAX: usize = 3;
/// Bins after which a shifted level is the new baseline.
pub const ADOPT_BINS: usize = 30;
/// Calm bins after which the same direction may be reported again.
pub const CALM_BINS: u32 = 5;

/// Values that a trend is told from.
pub const TREND_BINS: usize = 13;
/// Changes against the trend among them at most. With changes up and down by chance, none or one of 12
/// come in 32 of 10,000 stretches, before the growth that the metric asks for.
pub const TREND_AGAINST_MAX: usize = 1;
/// The greatest change among them is at most this share of all: else it is a step, not a trend.
pub const TREND_STEP_MAX: f64 = 0.5;

/// Bins over which means are taken for novelty: a quarter of the window.
pub const SCALE_BINS: usize = 15;
/// Bins after which a range has forgotten two thirds of what went beyond the usual: 50 minutes.
pub const MEMORY_BINS: u32 = 3_000;
/// Bins before a memory says anything: five minutes.
pub const MEMORY_BINS_MIN: u32 = 300;
/// Beyond the range of its memory by a fifth is new. Below, a series has been much like it before: a
/// shift is then reported as a notice at most.
pub const NOVEL: f64 = 0.2;
/// Greater is not told apart.
pub const NOVELTY_MAX: f64 = 1_000.0;

/// Bins of a block in which two series are correlated.
pub const BLOCK_BINS: usize = 30;
/// Bins in which both must have a value.
pub const BLOCK_VALUES_MIN: usize = 20;
/// Blocks that a pair's baseline is the median of: ten minutes; and the least, four minutes.
pub const BLOCKS: usize = 20;
pub const BLOCKS_MIN: usize = 8;
/// Standard deviations that a correlation must be off its baseline, twice in a row. For one block that is
/// 6 in 10,000,000 where the baseline is exact; that of 8 blocks is not, and the second block guards it.
pub const PAIR_ALARM: f64 = 5.0;
/// Containers of which all pairs are looked at: 276 pairs and 24 with the host.
pub const PAIRED_MAX: usize = 24;

/// Beats that a rhythm is told from. That 14 of the 16 intervals between them lie within a fifth of each
/// other by chance, where requests come at half to one and a half times their mean interval, is below one
/// in a million.
pub const BEATS: usize = 17;
pub const SPREAD_MAX: f64 = 0.2;
/// Connections with less quiet before them belong to the same beat.
pub const BEAT_GAP_NS: u64 = 20_000_000;
/// Shorter periods are polling: a program that waits for another one to come up, or for work.
pub const PERIOD_NS_MIN: u64 = 200_000_000;
/// Targets of a container whose beats are remembered, 200 bytes each; the one that was quiet longest makes room.
pub const TARGETS_WATCHED_MAX: usize = 32;
