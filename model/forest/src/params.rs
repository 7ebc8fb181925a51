//! Parameters: unchecked while they are being set, checked before they are used.

use linfa::ParamGuard;

/// More trees stop helping long before this; it bounds a model's size.
pub const MAX_TREES: u32 = 10_000;
/// Rows a tree may be grown from. Small samples are what makes an isolation forest work (256 is the published default).
pub const MAX_SAMPLES: u32 = 1 << 16;
/// Columns are stored as 16-bit numbers.
pub const MAX_COLUMNS: usize = 1 << 12;
/// Tree cells of a forest: 128 MiB of scoring tables, reached by 128 trees of 65,536 samples.
pub(crate) const MAX_CELLS: u64 = 1 << 24;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParamsError {
    #[error("{found} trees: a forest has 1 to {MAX_TREES}")]
    Trees { found: u32 },
    #[error("{found} samples a tree: choose 2 to {MAX_SAMPLES}")]
    Samples { found: u32 },
    #[error("0 threads cannot grow a forest: choose at least 1")]
    Threads,
    #[error(
        "{trees} trees of {samples} samples need too much memory: choose fewer trees or samples"
    )]
    TooLarge { trees: u32, samples: u32 },
}

/// What to grow. Defaults: 100 trees of 256 samples, seed 0, as many threads as the machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IsolationForestParams(IsolationForestValidParams);

/// Parameters that were checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IsolationForestValidParams {
    pub(crate) trees: u32,
    pub(crate) samples: u32,
    pub(crate) seed: u64,
    pub(crate) threads: usize,
}

impl Default for IsolationForestParams {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get());
        IsolationForestParams(IsolationForestValidParams {
            trees: 100,
            samples: 256,
            seed: 0,
            threads,
        })
    }
}

impl IsolationForestParams {
    /// Number of trees, 1 to [`MAX_TREES`].
    pub fn trees(mut self, trees: u32) -> Self {
        self.0.trees = trees;
        self
    }
    /// Rows drawn without replacement for each tree, 2 to [`MAX_SAMPLES`]; all rows when there are fewer.
    pub fn samples(mut self, samples: u32) -> Self {
        self.0.samples = samples;
        self
    }
    pub fn seed(mut self, seed: u64) -> Self {
        self.0.seed = seed;
        self
    }
    /// Threads to grow with. Changes how long it takes, never the result.
    pub fn threads(mut self, threads: usize) -> Self {
        self.0.threads = threads;
        self
    }
}

impl ParamGuard for IsolationForestParams {
    type Checked = IsolationForestValidParams;
    type Error = ParamsError;

    fn check_ref(&self) -> Result<&Self::Checked, ParamsError> {
        let params = &self.0;
        if !(1..=MAX_TREES).contains(&params.trees) {
            return Err(ParamsError::Trees {
                found: params.trees,
            });
        }
        if !(2..=MAX_SAMPLES).contains(&params.samples) {
            return Err(ParamsError::Samples {
                found: params.samples,
            });
        }
        if params.threads == 0 {
            return Err(ParamsError::Threads);
        }
        if (u64::from(params.trees) << height(params.samples)) > MAX_CELLS {
            return Err(ParamsError::TooLarge {
                trees: params.trees,
                samples: params.samples,
            });
        }
        Ok(params)
    }

    fn check(self) -> Result<Self::Checked, ParamsError> {
        self.check_ref().copied()
    }
}

/// Levels of splits below which nothing more is learned: the depth of a balanced tree over the sample.
pub(crate) fn height(samples: u32) -> u32 {
    samples.max(2).next_power_of_two().trailing_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_accepted_up_to_their_bounds_and_not_beyond() {
        let params = IsolationForestParams::default;
        assert!(params().trees(MAX_TREES).check().is_ok());
        assert_eq!(
            params().trees(MAX_TREES + 1).check(),
            Err(ParamsError::Trees {
                found: MAX_TREES + 1
            })
        );
        assert_eq!(
            params().trees(0).check(),
            Err(ParamsError::Trees { found: 0 })
        );
        assert!(params().samples(MAX_SAMPLES).check().is_ok());
        assert_eq!(
            params().samples(MAX_SAMPLES + 1).check(),
            Err(ParamsError::Samples {
                found: MAX_SAMPLES + 1
            })
        );
        assert_eq!(
            params().samples(1).check(),
            Err(ParamsError::Samples { found: 1 })
        );
        assert_eq!(params().threads(0).check(), Err(ParamsError::Threads));
        assert!(params().trees(256).samples(MAX_SAMPLES).check().is_ok());
        assert!(matches!(
            params().trees(257).samples(MAX_SAMPLES).check(),
            Err(ParamsError::TooLarge { .. })
        ));
    }

    #[test]
    fn height_is_the_depth_of_a_balanced_tree() {
        assert_eq!(
            [2, 3, 4, 5, 255, 256, 257].map(height),
            [1, 2, 2, 3, 8, 8, 9]
        );
    }
}
