//! The grown forest: scores, and where they come from.

use crate::{
    Error, IsolationForestParams,
    fit::seen,
    math::{average_path, exp2},
    tree::{LANES, Tree},
};
use linfa::traits::PredictInplace;
use ndarray::{Array1, ArrayBase, ArrayView2, Data, Ix2};

/// A fitted forest.
#[derive(Clone, Debug, PartialEq)]
pub struct IsolationForest {
    medians: Vec<f32>,
    samples: u32,
    trees: Vec<Tree>,
}

/// A score, taken apart by column: `log2(score) = log2(baseline) + sum of contributions`, up to rounding.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// 0 to 1; 1 is most isolated.
    pub score: f64,
    /// The score of the average row that the forest was grown from.
    pub baseline: f64,
    /// Per column, in doublings of the score: positive made the row look more isolated than average, negative less.
    pub contributions: Vec<f64>,
}

impl IsolationForest {
    /// 100 trees of 256 samples, seed 0, until told otherwise.
    pub fn params() -> IsolationForestParams {
        IsolationForestParams::default()
    }

    pub(crate) fn from_parts(medians: Vec<f32>, samples: u32, trees: Vec<Tree>) -> Self {
        IsolationForest {
            medians,
            samples,
            trees,
        }
    }

    pub(crate) fn trees(&self) -> &[Tree] {
        &self.trees
    }

    /// Columns that a row must have.
    pub fn columns(&self) -> usize {
        self.medians.len()
    }

    /// Number of trees.
    pub fn tree_count(&self) -> usize {
        self.trees.len()
    }

    /// Rows that each tree was grown from.
    pub fn samples(&self) -> u32 {
        self.samples
    }

    /// The value that stands in for a missing one, per column.
    pub fn medians(&self) -> &[f32] {
        &self.medians
    }

    /// Score of one row: 2^(−mean path length ÷ average path length of the sample size).
    pub fn score(&self, row: &[f64]) -> Result<f64, Error> {
        let view = ArrayView2::from_shape((1, row.len()), row).map_err(linfa::Error::from)?;
        Ok(self.score_rows(view)?[0])
    }

    /// Scores of many rows. The same row always gets the same score, whatever stands beside it.
    pub fn score_rows<F: Copy + Into<f64>>(
        &self,
        rows: ArrayView2<'_, F>,
    ) -> Result<Array1<f64>, Error> {
        self.check_columns(rows.ncols())?;
        let mut scores = Vec::with_capacity(rows.nrows());
        // As many blocks of rows a turn as stay in the first-level cache beside one tree's table.
        let blocks = (BLOCK_VALUES / (LANES * self.columns())).max(1);
        let mut values = vec![[0.0f32; LANES]; blocks * self.columns()];
        let mut sums = vec![[0.0f64; LANES]; blocks];
        for first in (0..rows.nrows()).step_by(blocks * LANES) {
            let count = (rows.nrows() - first).min(blocks * LANES);
            for row in 0..count {
                let block = row / LANES * self.columns();
                for (column, (value, median)) in
                    rows.row(first + row).iter().zip(&self.medians).enumerate()
                {
                    values[block + column][row % LANES] = seen((*value).into(), *median);
                }
            }
            sums.fill([0.0; LANES]);
            for tree in &self.trees {
                // Lanes beyond `count` are left over from the last turn: walked for nothing, never read.
                for (block, sums) in values
                    .chunks_exact(self.columns())
                    .zip(&mut sums)
                    .take(count.div_ceil(LANES))
                {
                    tree.add_paths(block, sums);
                }
            }
            scores.extend(
                sums.iter()
                    .flatten()
                    .take(count)
                    .map(|sum| self.normalised(*sum)),
            );
        }
        Ok(Array1::from_vec(scores))
    }

    /// The score of one row and each column's part in it. A path of the forest gets shorter or longer than
    /// expected at each split it passes; the difference goes to the column of the split.
    pub fn explain(&self, row: &[f64]) -> Result<Explanation, Error> {
        self.check_columns(row.len())?;
        let mut values = vec![0.0; self.columns()];
        for ((value, median), into) in row.iter().zip(&self.medians).zip(&mut values) {
            *into = seen(*value, *median);
        }
        let mut credits = vec![0.0; self.columns()];
        let sum = self
            .trees
            .iter()
            .fold(0.0, |sum, tree| sum + tree.credit(&values, &mut credits));
        let baseline = self
            .trees
            .iter()
            .fold(0.0, |sum, tree| sum + tree.expected());
        let unit = -1.0 / (self.trees.len() as f64 * average_path(self.samples));
        Ok(Explanation {
            score: self.normalised(sum),
            baseline: self.normalised(baseline),
            contributions: credits.into_iter().map(|credit| credit * unit).collect(),
        })
    }

    fn normalised(&self, path_sum: f64) -> f64 {
        exp2(-(path_sum / self.trees.len() as f64) / average_path(self.samples))
    }

    fn check_columns(&self, found: usize) -> Result<(), Error> {
        if found == self.columns() {
            Ok(())
        } else {
            Err(Error::WrongColumns {
                expected: self.columns(),
                found,
            })
        }
    }
}

/// 16 KiB of 32-bit values: half a first-level cache.
const BLOCK_VALUES: usize = 4096;

impl<F, D> PredictInplace<ArrayBase<D, Ix2>, Array1<f64>> for IsolationForest
where
    F: Copy + Into<f64>,
    D: Data<Elem = F>,
{
    /// Scores every row. Panics when the columns are not those it was fitted on: linfa's trait has no way to say so;
    /// [`IsolationForest::score_rows`] has.
    fn predict_inplace<'a>(&'a self, rows: &'a ArrayBase<D, Ix2>, scores: &mut Array1<f64>) {
        assert_eq!(
            rows.nrows(),
            scores.len(),
            "the number of rows must match the number of scores"
        );
        match self.score_rows(rows.view()) {
            Ok(found) => *scores = found,
            Err(error) => panic!("{error}"),
        }
    }

    fn default_target(&self, rows: &ArrayBase<D, Ix2>) -> Array1<f64> {
        Array1::zeros(rows.nrows())
    }
}
