//! What rises and falls together: the CPU share of two containers, or of a container and the rest of the
//! host. A web server and its database do; when they stop, or two that never did begin to, something of
//! how they work together has changed, though each looks as usual by itself.
//!
//! Time is cut into blocks of [`BLOCK_BINS`]. A pair's correlation in a block is Spearman's (of ranks, so that
//! one spike is one rank), as Fisher's z, whose standard deviation is known: 1/√(n − 3). The baseline is the
//! median of the last [`BLOCKS`] blocks. Two blocks in a row that are off it the same way, each by
//! [`PAIR_ALARM`] standard deviations (or the spread of the blocks, if that is greater), are reported; then
//! the pair learns anew.
//!
//! Pairs grow with the square of containers: those of the [`PAIRED_MAX`] containers that have been watched
//! longest are looked at, and each of them with the host.

use hashbrown::HashMap;

use super::thresholds::{BLOCK_BINS, BLOCK_VALUES_MIN, BLOCKS, BLOCKS_MIN, PAIR_ALARM, PAIRED_MAX};

/// In the place of a container's cgroup.
pub const HOST: u64 = 0;

/// Fisher's z has no end; correlations of 0.98 and 1 are not told apart.
const CORRELATION_MAX: f64 = 0.98;

/// A pair that left its baseline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parted {
    pub cgroup_id: u64,
    /// [`HOST`]: the rest of the host.
    pub with: u64,
    pub correlation: f64,
    pub baseline: f64,
    /// In standard deviations.
    pub score: f64,
    /// Blocks the baseline rests on.
    pub blocks: usize,
}

/// Values of the open block, by bin; NaN: none.
type Block = [f32; BLOCK_BINS];

#[derive(Default)]
pub struct Pairs {
    /// In the order in which they came.
    members: Vec<(u64, Block)>,
    host: Option<Block>,
    memories: HashMap<(u64, u64), Memory>,
    /// Bins of the open block that have passed.
    bins: usize,
}

#[derive(Default)]
struct Memory {
    /// Fisher's z of the last blocks, oldest first.
    blocks: Vec<f32>,
    /// The last block was off by so many deviations.
    off: f64,
}

impl Pairs {
    /// A container's CPU share in the open bin, or the host's.
    pub fn value(&mut self, cgroup_id: u64, share: f64) {
        let block = match cgroup_id {
            HOST => self.host.get_or_insert([f32::NAN; BLOCK_BINS]),
            _ => match self.members.iter_mut().position(|(id, _)| *id == cgroup_id) {
                Some(place) => &mut self.members[place].1,
                None if self.members.len() < PAIRED_MAX => {
                    self.members.push((cgroup_id, [f32::NAN; BLOCK_BINS]));
                    let last = self.members.len() - 1;
                    &mut self.members[last].1
                }
                None => return,
            },
        };
        block[self.bins] = share as f32;
    }

    pub fn forget(&mut self, cgroup_id: u64) {
        self.members.retain(|(id, _)| *id != cgroup_id);
        self.memories
            .retain(|(one, other), _| *one != cgroup_id && *other != cgroup_id);
    }

    /// After a hole in the recording: the open block is worth nothing.
    pub fn begin_anew(&mut self) {
        self.bins = 0;
        self.members
            .iter_mut()
            .for_each(|(_, block)| block.fill(f32::NAN));
        self.host = None;
    }

    /// Ends the open bin, and with the last of a block the block.
    pub fn close_bin(&mut self, parted: &mut dyn FnMut(Parted)) {
        self.bins += 1;
        if self.bins < BLOCK_BINS {
            return;
        }
        let members = std::mem::take(&mut self.members);
        for (place, (one, block)) in members.iter().enumerate() {
            for (other, other_block) in &members[place + 1..] {
                let correlation = spearman(block, other_block);
                self.judge((*one, *other), correlation, parted);
            }
            if let Some(host) = &self.host {
                let mut rest = *host;
                for (rest, own) in rest.iter_mut().zip(block) {
                    *rest -= own;
                }
                let correlation = spearman(block, &rest);
                self.judge((*one, HOST), correlation, parted);
            }
        }
        self.members = members;
        self.begin_anew();
    }

    fn judge(
        &mut self,
        pair: (u64, u64),
        correlation: Option<f64>,
        parted: &mut dyn FnMut(Parted),
    ) {
        // At rest there is nothing to see: not off, and no baseline either.
        let Some(correlation) = correlation else {
            return;
        };
        let z = correlation.clamp(-CORRELATION_MAX, CORRELATION_MAX).atanh();
        let memory = self.memories.entry(pair).or_default();
        if memory.blocks.len() >= BLOCKS_MIN {
            let (baseline, spread) = memory.usual();
            let off = (z - baseline) / spread.max(1.0 / ((BLOCK_BINS - 3) as f64).sqrt());
            let twice = memory.off * off > 0.0 && memory.off.abs() >= PAIR_ALARM;
            if off.abs() >= PAIR_ALARM {
                if twice {
                    parted(Parted {
                        cgroup_id: pair.0,
                        with: pair.1,
                        correlation,
                        baseline: baseline.tanh(),
                        score: off,
                        blocks: memory.blocks.len(),
                    });
                    *memory = Memory::default();
                    return;
                }
                // Kept out of the baseline until the next block says what it was.
                memory.off = off;
                return;
            }
            memory.off = 0.0;
        }
        if memory.blocks.len() == BLOCKS {
            memory.blocks.remove(0);
        }
        memory.blocks.push(z as f32);
    }
}

impl Memory {
    /// Median, and 1.4826 × the median distance from it.
    fn usual(&self) -> (f64, f64) {
        let mut blocks = self.blocks.clone();
        let middle = median(&mut blocks);
        let mut distances: Vec<f32> = blocks.iter().map(|z| (z - middle).abs()).collect();
        (
            f64::from(middle),
            1.4826 * f64::from(median(&mut distances)),
        )
    }
}

/// Of the upper middle where there are two.
fn median(values: &mut [f32]) -> f32 {
    values.sort_unstable_by(f32::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Correlation of ranks where both have values; `None`: too few, or one that hardly moved.
fn spearman(one: &Block, other: &Block) -> Option<f64> {
    let (ones, others): (Vec<f32>, Vec<f32>) = one
        .iter()
        .zip(other)
        .filter(|(one, other)| !one.is_nan() && !other.is_nan())
        .unzip();
    if ones.len() < BLOCK_VALUES_MIN {
        return None;
    }
    let (ones, others) = (ranks(&ones)?, ranks(&others)?);
    let mean = (ones.len() as f64 - 1.0) / 2.0;
    let (mut both, mut of_one, mut of_other) = (0.0, 0.0, 0.0);
    for (one, other) in ones.iter().zip(&others) {
        both += (one - mean) * (other - mean);
        of_one += (one - mean).powi(2);
        of_other += (other - mean).powi(2);
    }
    Some(both / (of_one * of_other).sqrt())
}

/// From 0; equal values share the mean of theirs. `None`: half of the values are the same.
fn ranks(values: &[f32]) -> Option<Vec<f64>> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let same = order[start..]
            .iter()
            .take_while(|place| values[**place] == values[order[start]])
            .count();
        if 2 * same > values.len() {
            return None;
        }
        let rank = start as f64 + (same as f64 - 1.0) / 2.0;
        order[start..start + same]
            .iter()
            .for_each(|place| ranks[*place] = rank);
        start += same;
    }
    Some(ranks)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Repeatable and without any pattern, in 0..1 (the finalizer of SplitMix64).
    fn noise(seed: u64, bin: usize) -> f64 {
        let mut x = ((seed << 32) + bin as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((x ^ (x >> 31)) >> 40) as f64 / (1u64 << 24) as f64
    }

    /// Reports by block, of pairs fed with the shares of containers 1, 2, … and of the host.
    fn run(blocks: usize, share: impl Fn(u64, usize) -> Option<f64>) -> Vec<(usize, Parted)> {
        let mut pairs = Pairs::default();
        let mut found = Vec::new();
        for bin in 0..blocks * BLOCK_BINS {
            for cgroup_id in 0..4 {
                if let Some(share) = share(cgroup_id, bin) {
                    pairs.value(cgroup_id, share);
                }
            }
            pairs.close_bin(&mut |parted| found.push((bin / BLOCK_BINS, parted)));
        }
        found
    }

    #[test]
    fn a_pair_that_parts_is_reported_once_and_no_other() {
        let found = run(40, |cgroup_id, bin| {
            let demand = noise(0, bin);
            Some(match cgroup_id {
                HOST => 2.0 + noise(9, bin),
                1 => 0.2 + 0.3 * demand,
                2 if bin < 20 * BLOCK_BINS => 0.1 + 0.2 * demand + 0.01 * noise(2, bin),
                2 => 0.1 + 0.2 * noise(3, bin),
                _ => noise(4, bin),
            })
        });
        assert_eq!(found.len(), 1, "{found:?}");
        let (block, parted) = found[0];
        assert_eq!((block, parted.cgroup_id, parted.with), (21, 1, 2));
        assert!(
            parted.baseline > 0.9 && parted.correlation < 0.7,
            "{parted:?}"
        );
        assert!(parted.score <= -PAIR_ALARM, "{parted:?}");
    }

    #[test]
    fn a_container_and_the_rest_of_the_host() {
        let load = |bin| noise(5, bin);
        let found = run(40, |cgroup_id, bin| match cgroup_id {
            HOST => Some(0.2 * noise(1, bin) + 1.5 * load(bin)),
            // Its own share is no part of what it is compared with.
            1 if bin < 25 * BLOCK_BINS => Some(0.2 * noise(1, bin)),
            1 => Some(0.5 * load(bin)),
            _ => None,
        });
        let seen: Vec<_> = found.iter().map(|(block, p)| (*block, p.with)).collect();
        assert_eq!(seen, [(26, HOST)], "{found:?}");
        assert!(found[0].1.baseline.abs() < 0.5, "{found:?}");
    }

    #[test]
    fn chance_rest_and_missing_values_say_nothing() {
        // Three that have nothing to do with each other, for six hours.
        let found = run(720, |cgroup_id, bin| Some(noise(cgroup_id + 20, bin)));
        assert_eq!(found, [], "independent");
        let flat = run(60, |cgroup_id, bin| {
            Some(0.1 + cgroup_id as f64 + if bin % 30 == 7 { 0.2 } else { 0.0 })
        });
        assert_eq!(flat, [], "at rest");
        // Together, then one without samples, then together again.
        let gap = run(60, |cgroup_id, bin| match bin / BLOCK_BINS {
            20..30 if cgroup_id == 2 => None,
            _ => Some(noise(1, bin)),
        });
        assert_eq!(gap, [], "missing");
    }

    #[test]
    fn pairs_are_bounded_and_go_with_their_containers() {
        let mut pairs = Pairs::default();
        for bin in 0..BLOCK_BINS {
            for cgroup_id in 1..=2 * PAIRED_MAX as u64 {
                pairs.value(cgroup_id, noise(cgroup_id, bin));
            }
            pairs.close_bin(&mut |_| {});
        }
        assert_eq!(pairs.memories.len(), PAIRED_MAX * (PAIRED_MAX - 1) / 2);
        for cgroup_id in 1..=2 * PAIRED_MAX as u64 {
            pairs.forget(cgroup_id);
        }
        assert!(pairs.members.is_empty() && pairs.memories.is_empty());
    }
}
