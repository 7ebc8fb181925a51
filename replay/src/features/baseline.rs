//! A container's own past: usual levels and the usual mix of calls.

use crate::syscalls::NUMBERS;

/// Windows over which the past fades: five minutes of 10 s windows.
const MEMORY_WINDOWS: u32 = 32;
/// From this many windows on, one window moves a level by a bounded step, so that an attack does not
/// make itself usual.
const SETTLED_WINDOWS: u32 = 3;
/// In the feature's scale ([`super::schema::Feature::scale`]).
const STEP_SCALES: f64 = 3.0;
/// The same for the mix, as a distance.
const STEP_MIX: f64 = 0.1;

/// A running mean; unknown values are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Level {
    mean: f64,
    windows: u32,
}

impl Level {
    /// How far a value is from the usual one; 0 when nothing is usual yet, NaN when the value is.
    pub fn compare(&self, value: f64) -> f64 {
        if value.is_nan() || self.windows > 0 {
            value - self.mean
        } else {
            0.0
        }
    }

    pub fn learn(&mut self, value: f64, scale: f64) {
        if value.is_nan() {
            return;
        }
        let away = value - self.mean;
        let away = if self.windows >= SETTLED_WINDOWS {
            away.clamp(-STEP_SCALES * scale, STEP_SCALES * scale)
        } else {
            away
        };
        self.windows = (self.windows + 1).min(MEMORY_WINDOWS);
        self.mean += away / f64::from(self.windows);
    }
}

/// The usual shares of each system call.
#[derive(Clone, Debug, Default)]
pub struct Mix {
    /// Empty before the first window.
    shares: Vec<f64>,
    windows: u32,
}

/// Calls of a window below which its mix is chance.
const MIX_CALLS_MIN: u64 = 50;

impl Mix {
    /// Hellinger distance of a window's mix from the usual one, 0 to 1 (only additions, multiplications and
    /// roots: the same bits everywhere). NaN where there is nothing to compare.
    pub fn compare(&self, counts: &[u64]) -> f64 {
        let total: u64 = counts.iter().sum();
        if self.windows == 0 || total < MIX_CALLS_MIN {
            return f64::NAN;
        }
        let overlap: f64 = self
            .shares
            .iter()
            .zip(counts)
            .map(|(share, count)| (share * (*count as f64 / total as f64)).sqrt())
            .sum();
        (1.0 - overlap).max(0.0).sqrt()
    }

    pub fn learn(&mut self, counts: &[u64]) {
        let total: u64 = counts.iter().sum();
        if total < MIX_CALLS_MIN {
            return;
        }
        let distance = self.compare(counts);
        let trust = if self.windows >= SETTLED_WINDOWS && distance > STEP_MIX {
            STEP_MIX / distance
        } else {
            1.0
        };
        self.shares.resize(NUMBERS, 0.0);
        self.windows = (self.windows + 1).min(MEMORY_WINDOWS);
        let step = trust / f64::from(self.windows);
        for (share, count) in self.shares.iter_mut().zip(counts) {
            *share += (*count as f64 / total as f64 - *share) * step;
        }
    }
}

/// Natural logarithm of a positive number in additions, multiplications and divisions only: a C library's
/// differs in the last bit between machines. Split into 2^e · m with m near 1, then the series of artanh.
pub fn ln(x: f64) -> f64 {
    assert!(
        x.is_normal() && x > 0.0,
        "the logarithm of {x} was asked for"
    );
    let bits = x.to_bits();
    let mut exponent = (bits >> 52) as i64 - 1023;
    let mut mantissa = f64::from_bits((bits & ((1 << 52) - 1)) | (1023 << 52));
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa /= 2.0;
        exponent += 1;
    }
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    // |s| < 0.172, so the term after 1/23 is below 1e-19.
    let series = (0..12)
        .rev()
        .fold(0.0, |sum, term| sum * s * s + 1.0 / f64::from(2 * term + 1));
    2.0 * s * series + exponent as f64 * std::f64::consts::LN_2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ln_agrees_with_the_platform() {
        for x in [
            1e-12, 0.2, 0.5, 0.7072, 1.0, 1.4143, 1.5, 2.0, 10.0, 12345.678, 1e18,
        ] {
            assert!(
                (ln(x) - x.ln()).abs() <= 1e-15 * x.ln().abs().max(1.0),
                "ln {x}: {} against {}",
                ln(x),
                x.ln()
            );
        }
    }

    #[test]
    fn a_settled_level_is_moved_little_by_one_window() {
        let mut level = Level::default();
        assert_eq!(level.compare(5.0), 0.0, "nothing is usual yet");
        for _ in 0..6 {
            level.learn(2.0, 0.3);
        }
        assert_eq!(level.compare(2.0), 0.0);
        level.learn(100.0, 0.3);
        assert!(level.compare(2.0).abs() < 0.15, "{level:?}");
        level.learn(f64::NAN, 0.3);
        assert!(level.compare(f64::NAN).is_nan());
        for _ in 0..1000 {
            level.learn(3.0, 0.3);
        }
        assert!(
            level.compare(3.0).abs() < 1e-6,
            "a lasting change becomes usual"
        );
    }

    #[test]
    fn the_mix_is_far_only_from_another_mix() {
        let counts = |pairs: &[(usize, u64)]| {
            let mut counts = vec![0; NUMBERS];
            pairs.iter().for_each(|(nr, count)| counts[*nr] = *count);
            counts
        };
        let mut mix = Mix::default();
        let usual = counts(&[(0, 600), (1, 400)]);
        assert!(mix.compare(&usual).is_nan());
        mix.learn(&usual);
        assert!(mix.compare(&usual) < 1e-7);
        assert!(mix.compare(&counts(&[(0, 55), (1, 45)])) < 0.1);
        assert!((mix.compare(&counts(&[(41, 500)])) - 1.0).abs() < 1e-9);
        assert!(
            mix.compare(&counts(&[(41, 5)])).is_nan(),
            "five calls are no mix"
        );
    }
}
