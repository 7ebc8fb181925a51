//! Growing: each tree splits its own sample at random until rows stand alone or the height is reached.

use crate::{
    Error, IsolationForest, IsolationForestValidParams, MAX_COLUMNS,
    params::height,
    random::SplitMix64,
    tree::{Node, Tree},
};
use linfa::{DatasetBase, traits::Fit};
use ndarray::{ArrayBase, ArrayView2, Data, Ix2};
use std::collections::HashSet;

/// Rows are numbered with 32 bits.
const MAX_ROWS: usize = u32::MAX as usize;

impl<F, D, T> Fit<ArrayBase<D, Ix2>, T, Error> for IsolationForestValidParams
where
    F: Copy + Into<f64>,
    D: Data<Elem = F>,
{
    type Object = IsolationForest;

    /// Targets are ignored: an isolation forest learns without labels.
    fn fit(&self, dataset: &DatasetBase<ArrayBase<D, Ix2>, T>) -> Result<IsolationForest, Error> {
        let records = dataset.records();
        let (rows, columns) = records.dim();
        if rows < 2 {
            return Err(Error::TooFewRows { found: rows });
        }
        if rows > MAX_ROWS {
            return Err(Error::TooManyRows {
                found: rows,
                max: MAX_ROWS,
            });
        }
        if !(1..=MAX_COLUMNS).contains(&columns) {
            return Err(Error::BadColumns {
                found: columns,
                max: MAX_COLUMNS,
            });
        }
        let medians = medians(records.view());
        let values: Vec<f32> = records
            .rows()
            .into_iter()
            .flat_map(|row| {
                row.into_iter()
                    .zip(&medians)
                    .map(|(value, median)| seen((*value).into(), *median))
                    .collect::<Vec<_>>()
            })
            .collect();
        let samples = self.samples.min(rows as u32);
        let sampler = Grower {
            values: &values,
            rows,
            columns,
            samples,
            seed: self.seed,
        };
        Ok(IsolationForest::from_parts(
            medians,
            samples,
            sampler.grow_all(self.trees, self.threads),
        ))
    }
}

/// What the forest sees of a value: missing is the median, and every number is finite.
pub(crate) fn seen(value: f64, median: f32) -> f32 {
    if value.is_nan() {
        median
    } else {
        (value as f32).clamp(f32::MIN, f32::MAX)
    }
}

/// Of each column's values that are not missing (the lower of the two in the middle); 0 when all are missing.
fn medians<F: Copy + Into<f64>>(records: ArrayView2<'_, F>) -> Vec<f32> {
    records
        .columns()
        .into_iter()
        .map(|column| {
            let mut values: Vec<f32> = column
                .iter()
                .map(|value| (*value).into())
                .filter(|value: &f64| !value.is_nan())
                .map(|value| seen(value, 0.0))
                .collect();
            if values.is_empty() {
                return 0.0;
            }
            let middle = (values.len() - 1) / 2;
            *values.select_nth_unstable_by(middle, f32::total_cmp).1
        })
        .collect()
}

struct Grower<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    samples: u32,
    seed: u64,
}

impl Grower<'_> {
    /// Tree `n` depends on the seed and `n` alone, so it does not matter which thread grows it.
    fn grow_all(&self, trees: u32, threads: usize) -> Vec<Tree> {
        let per_thread = trees.div_ceil(threads.min(trees as usize) as u32);
        std::thread::scope(|scope| {
            let growing: Vec<_> = (0..trees)
                .step_by(per_thread as usize)
                .map(|first| {
                    scope.spawn(move || {
                        (first..trees.min(first + per_thread))
                            .map(|tree| self.grow(tree))
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            growing
                .into_iter()
                .flat_map(|thread| thread.join().expect("growing a tree panicked"))
                .collect()
        })
    }

    fn grow(&self, tree: u32) -> Tree {
        let mut random = SplitMix64::stream(self.seed, u64::from(tree));
        let mut sample = self.sample(&mut random);
        let height = height(self.samples);
        let mut shape = Vec::with_capacity(2 * sample.len());
        let mut columns: Vec<u16> = (0..self.columns as u16).collect();
        self.split(&mut sample, height, &mut columns, &mut random, &mut shape);
        Tree::new(shape, self.columns, self.samples, height).expect("a grown tree is well-formed")
    }

    /// Distinct rows, each subset equally likely (Floyd's method: as many draws as samples, whatever the number of rows).
    fn sample(&self, random: &mut SplitMix64) -> Vec<u32> {
        let mut chosen = HashSet::with_capacity(self.samples as usize);
        let mut sample = Vec::with_capacity(self.samples as usize);
        for last in self.rows - self.samples as usize..self.rows {
            let drawn = random.below(last + 1) as u32;
            let row = if chosen.insert(drawn) {
                drawn
            } else {
                last as u32
            };
            chosen.insert(row);
            sample.push(row);
        }
        sample
    }

    fn split(
        &self,
        sample: &mut [u32],
        levels: u32,
        columns: &mut [u16],
        random: &mut SplitMix64,
        shape: &mut Vec<Node>,
    ) {
        let Some((column, threshold)) = (if levels == 0 || sample.len() < 2 {
            None
        } else {
            self.choose(sample, columns, random)
        }) else {
            shape.push(Node::Leaf {
                rows: sample.len() as u32,
            });
            return;
        };
        shape.push(Node::Split { column, threshold });
        let mut middle = 0;
        for position in 0..sample.len() {
            if self.value(sample[position], column) <= threshold {
                sample.swap(position, middle);
                middle += 1;
            }
        }
        let (left, right) = sample.split_at_mut(middle);
        self.split(left, levels - 1, columns, random, shape);
        self.split(right, levels - 1, columns, random, shape);
    }

    /// A random column that differs within the sample, and a random place between its ends; `None` when all rows are equal.
    fn choose(
        &self,
        sample: &[u32],
        columns: &mut [u16],
        random: &mut SplitMix64,
    ) -> Option<(u16, f32)> {
        // Columns found to be constant are moved behind `left`, so that none is looked at twice.
        let mut left = columns.len();
        while left > 0 {
            let drawn = random.below(left);
            let column = columns[drawn];
            let (low, high) = sample
                .iter()
                .map(|row| self.value(*row, column))
                .fold((f32::MAX, f32::MIN), |(low, high), value| {
                    (low.min(value), high.max(value))
                });
            if low < high {
                let place = f64::from(low) + random.unit() * (f64::from(high) - f64::from(low));
                // Rounding to 32 bits can land on the upper end, which would leave the right side empty.
                let threshold = if place as f32 >= high {
                    low
                } else {
                    place as f32
                };
                return Some((column, threshold));
            }
            left -= 1;
            columns.swap(drawn, left);
        }
        None
    }

    fn value(&self, row: u32, column: u16) -> f32 {
        self.values[row as usize * self.columns + usize::from(column)]
    }
}
