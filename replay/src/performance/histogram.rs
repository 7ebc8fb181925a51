//! How often which latency, by powers of two of nanoseconds.

/// Buckets: up to 2⁶³ ns.
const BUCKETS: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    buckets: [u64; BUCKETS],
    pub count: u64,
    pub sum_ns: u64,
    pub max_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram {
            buckets: [0; BUCKETS],
            count: 0,
            sum_ns: 0,
            max_ns: 0,
        }
    }
}

impl Histogram {
    pub fn add(&mut self, ns: u64) {
        let at = (u64::BITS - ns.leading_zeros()).saturating_sub(1) as usize;
        self.buckets[at.min(BUCKETS - 1)] += 1;
        self.count += 1;
        self.sum_ns = self.sum_ns.saturating_add(ns);
        self.max_ns = self.max_ns.max(ns);
    }

    /// At most this, in so many of a hundred cases: the end of its bucket, or the largest there was.
    pub fn percentile_ns(&self, percent: u64) -> u64 {
        let wanted = (self.count * percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (at, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return end_ns(at).min(self.max_ns);
            }
        }
        0
    }

    /// Buckets that have something: from (inclusive, in ns), and how many.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let buckets = self.buckets.iter().enumerate();
        buckets
            .filter(|(_, count)| **count > 0)
            .map(|(at, count)| (start_ns(at), *count))
    }

    /// From the first to the last bucket that has something: where the first begins and the last ends, and
    /// what each has.
    pub fn shape(&self) -> Option<(u64, u64, &[u64])> {
        let first = self.buckets.iter().position(|count| *count > 0)?;
        let last = self.buckets.iter().rposition(|count| *count > 0)?;
        Some((start_ns(first), end_ns(last), &self.buckets[first..=last]))
    }
}

fn start_ns(bucket: usize) -> u64 {
    if bucket == 0 { 0 } else { 1 << bucket }
}

fn end_ns(bucket: usize) -> u64 {
    1u64.checked_shl(bucket as u32 + 1)
        .map_or(u64::MAX, |end| end - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_the_end_of_their_bucket_and_never_above_the_largest() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile_ns(50), 0);
        assert_eq!(histogram.shape(), None);
        for ns in [0, 1, 5, 1_000, 1_000_000] {
            histogram.add(ns);
        }
        assert_eq!(histogram.percentile_ns(1), 1);
        assert_eq!(histogram.percentile_ns(60), 7);
        assert_eq!(histogram.percentile_ns(80), 1_023);
        assert_eq!(histogram.percentile_ns(99), 1_000_000);
        let (from, to, counts) = histogram.shape().unwrap();
        assert_eq!((from, to, counts.len()), (0, (1 << 20) - 1, 20));
        assert_eq!(counts[..3], [2, 0, 1]);
        histogram.add(u64::MAX);
        assert_eq!(histogram.percentile_ns(100), u64::MAX);
        assert_eq!(histogram.buckets().map(|(_, count)| count).sum::<u64>(), 6);
        assert_eq!(histogram.shape().unwrap().1, u64::MAX);
    }
}
