//! The generator: SplitMix64 (Steele, Lea & Flood 2014), a counter through a 64-bit mixer.
//!
//! Written here because a forest must come out the same in ten years: the algorithm behind a
//! library's "standard" generator may change with any release.

/// Weyl increment of SplitMix64: 2^64 divided by the golden ratio, made odd.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// Numbers that depend on the seed alone, today and in ten years.
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// One of many independent streams of a seed (each tree has one).
    pub fn stream(seed: u64, stream: u64) -> Self {
        SplitMix64(mix(seed ^ mix(stream.wrapping_add(1).wrapping_mul(STEP))))
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// Uniform in `0..below`. The bias of the multiply-shift is below 2^-32 for the counts used here.
    pub fn below(&mut self, below: usize) -> usize {
        assert!(below > 0, "a number below 0 was asked for");
        ((u128::from(self.next_u64()) * below as u128) >> 64) as usize
    }

    /// Uniform in [0, 1), 53 bits.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The finaliser: variant 13 of Stafford's mixers.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Published outputs of SplitMix64 for the state 1234567: whoever changes the generator changes every model.
    #[test]
    fn the_algorithm_is_pinned() {
        let mut random = SplitMix64(1234567);
        let drawn: Vec<u64> = (0..3).map(|_| random.next_u64()).collect();
        assert_eq!(
            drawn,
            [
                6457827717110365317,
                3203168211198807973,
                9817491932198370423
            ]
        );
    }

    #[test]
    fn draws_stay_in_range_and_reach_both_ends() {
        let mut random = SplitMix64::stream(7, 0);
        let draws: Vec<usize> = (0..1000).map(|_| random.below(3)).collect();
        assert!(draws.contains(&0) && draws.contains(&2) && draws.iter().all(|d| *d < 3));
        assert!(
            (0..1000)
                .map(|_| random.unit())
                .all(|u| (0.0..1.0).contains(&u))
        );
    }
}
