//! A container's own past: usual levels and the usual mix of calls.

use crate::syscalls::NUMBERS;

/// Windows that make up the past: five minutes of 10 s windows.
const MEMORY_WINDOWS: usize = 32;

/// The median of the last windows: an attack that is shorter than half of what is remembered does not
/// make itself usual, and does not make what follows it look unusual. Unknown values are left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Level {
    /// A ring of at most [`MEMORY_WINDOWS`] values.
    past: Vec<f64>,
    next: usize,
    median: f64,
}

impl Level {
    /// How far a value is from the usual one; 0 when nothing is usual yet, NaN when the value is.
    pub fn compare(&self, value: f64) -> f64 {
        if value.is_nan() || !self.past.is_empty() {
            value - self.median
        } else {
            0.0
        }
    }

    pub fn learn(&mut self, value: f64) {
        if value.is_nan() {
            return;
        }
        if self.past.len() < MEMORY_WINDOWS {
            self.past.push(value);
        } else {
            self.past[self.next] = value;
            self.next = (self.next + 1) % MEMORY_WINDOWS;
        }
        let mut sorted = self.past.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        self.median = if sorted.len().is_multiple_of(2) {
            (sorted[middle - 1] + sorted[middle]) / 2.0
        } else {
            sorted[middle]
        };
    }
}

/// From this many windows on, a window that is far from the usual mix changes it less.
const SETTLED_WINDOWS: u32 = 3;
/// From this distance on.
const FAR: f64 = 0.1;

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
        let trust = if self.windows >= SETTLED_WINDOWS && distance > FAR {
            (FAR / distance) * (FAR / distance)
        } else {
            1.0
        };
        self.shares.resize(NUMBERS, 0.0);
        self.windows = (self.windows + 1).min(MEMORY_WINDOWS as u32);
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
    fn a_level_forgets_a_spike_and_follows_a_lasting_change() {
        let mut level = Level::default();
        assert_eq!(level.compare(5.0), 0.0, "nothing is usual yet");
        assert!(level.compare(f64::NAN).is_nan());
        for _ in 0..6 {
            level.learn(2.0);
        }
        for _ in 0..5 {
            level.learn(100.0);
        }
        level.learn(f64::NAN);
        assert_eq!(
            level.compare(2.0),
            0.0,
            "five windows of six do not make a habit"
        );
        for _ in 0..MEMORY_WINDOWS {
            level.learn(3.0);
        }
        assert_eq!(level.compare(3.0), 0.0);
        assert_eq!(level.past.len(), MEMORY_WINDOWS);
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
