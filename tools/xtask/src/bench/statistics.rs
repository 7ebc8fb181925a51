//! Medians and what they are worth. The machines are noisy (a factor of 1.7 between minutes), so
//! nothing here assumes a distribution.

/// The middle, and an interval that holds the true median with at least 95 % confidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Median {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

/// None for no values. With fewer than six the interval is the whole range: no pair of ranks reaches 95 %.
pub fn median(values: &[f64]) -> Option<Median> {
    if values.is_empty() {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    let value = if n % 2 == 1 {
        sorted[n / 2]
    } else {
        (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0
    };
    let rank = confidence_rank(n);
    Some(Median {
        value,
        low: sorted[rank],
        high: sorted[n - 1 - rank],
    })
}

/// The largest k for which the k-th smallest and k-th largest value (from 0) enclose the median with 95 %:
/// the number of values below the median is binomial (n, 1/2).
fn confidence_rank(n: usize) -> usize {
    const TAIL_MAX: f64 = 0.025;
    let mut probability = 0.5f64.powi(n as i32);
    let mut tail = probability;
    let mut rank = 0;
    while rank < n / 2 {
        // P(at most `rank` values below the median) must stay within the tail for rank + 1 to be allowed.
        probability *= (n - rank) as f64 / (rank + 1) as f64;
        tail += probability;
        if tail > TAIL_MAX {
            break;
        }
        rank += 1;
    }
    rank
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ranks from the table of the sign test: n = 10 → 2nd smallest, n = 20 → 6th, n = 30 → 10th.
    #[test]
    fn interval_has_the_ranks_of_the_sign_test() {
        assert_eq!(confidence_rank(5), 0);
        assert_eq!(confidence_rank(10), 1);
        assert_eq!(confidence_rank(20), 5);
        assert_eq!(confidence_rank(30), 9);
    }

    #[test]
    fn median_of_even_and_odd_counts() {
        assert_eq!(median(&[]), None);
        assert_eq!(
            median(&[3.0]),
            Some(Median {
                value: 3.0,
                low: 3.0,
                high: 3.0
            })
        );
        let even = median(&[4.0, 1.0, 2.0, 3.0]).expect("four values");
        assert_eq!((even.value, even.low, even.high), (2.5, 1.0, 4.0));
    }
}
