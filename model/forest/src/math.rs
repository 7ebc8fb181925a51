//! The two functions of the score, in additions, multiplications and divisions only.
//!
//! A C library's `exp2` and `ln` differ in the last bit between machines; these do not.

/// Average path length of an unsuccessful search in a binary search tree of `n` rows: 2·H(n−1) − 2(n−1)/n
/// (Liu, Ting & Zhou 2008, equation 1, with the harmonic number summed instead of approximated).
pub fn average_path(n: u32) -> f64 {
    if n < 2 {
        return 0.0;
    }
    let harmonic: f64 = (1..n).map(|i| 1.0 / f64::from(i)).sum();
    2.0 * harmonic - 2.0 * f64::from(n - 1) / f64::from(n)
}

/// 2^x: the integer part goes into the exponent, the rest (at most ½ in size) through the Taylor series of e^(x·ln 2).
pub fn exp2(x: f64) -> f64 {
    // Below and above, the result is 0 or infinite anyway; NaN falls through the clamp as NaN.
    let x = x.clamp(-1022.0, 1023.0);
    let whole = (x + 0.5).floor();
    let rest = (x - whole) * std::f64::consts::LN_2;
    // 14 terms: 0.35^14 / 14! < 5e-18.
    let series = (1..=14)
        .rev()
        .fold(1.0, |sum, term| 1.0 + rest / f64::from(term) * sum);
    series * f64::from_bits(((whole as i64 + 1023) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp2_agrees_with_the_platform() {
        for step in -4000..=400 {
            let x = f64::from(step) / 100.0;
            assert!(
                (exp2(x) / x.exp2() - 1.0).abs() < 1e-15,
                "2^{x}: {} against {}",
                exp2(x),
                x.exp2()
            );
        }
        assert_eq!(exp2(-1.0), 0.5);
        assert_eq!(exp2(0.0), 1.0);
    }

    #[test]
    fn average_path_has_its_known_values() {
        assert_eq!(average_path(0), 0.0);
        assert_eq!(average_path(1), 0.0);
        assert_eq!(average_path(2), 1.0);
        assert!((average_path(256) - 10.244770920116851).abs() < 2e-2);
    }
}
