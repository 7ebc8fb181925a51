//! An isolation forest: how quickly does a random axis-parallel partition isolate a row?
//!
//! Rows that are isolated early are unlike the rest. [`IsolationForest::params`] gives linfa-style
//! parameters; `fit` grows the trees, `predict` scores rows between 0 and 1 (1: most isolated),
//! [`IsolationForest::explain`] says which columns the score comes from.
//!
//! What it promises:
//! * **The same seed and rows give the same forest and the same scores, bit for bit**, on any machine
//!   and with any number of threads. Own generator, own `exp2`, sums in one fixed order.
//! * **A missing value (NaN) counts as its column's training median**, in fitting and in scoring:
//!   what was not measured is unremarkable. Infinities count as the largest finite number.
//! * **Bytes from outside never panic**: [`IsolationForest::from_bytes`] checks every count, index
//!   and threshold, and bounds what it allocates. It does not detect a flipped bit that leaves a
//!   valid forest: whoever stores the bytes adds a checksum.
//!
//! ```
//! use forest::IsolationForest;
//! use linfa::{DatasetBase, traits::{Fit, Predict}};
//! use ndarray::Array2;
//!
//! let rows = Array2::from_shape_fn((200, 2), |(row, column)| if row == 0 { 9.0 } else { ((row * 7 + column) % 10) as f64 / 10.0 });
//! let forest = IsolationForest::params().seed(1).fit(&DatasetBase::from(rows.clone()))?;
//! let scores = forest.predict(&rows);
//! assert!(scores.iter().skip(1).all(|score| *score < scores[0]));
//! # Ok::<(), forest::Error>(())
//! ```

mod codec;
mod error;
mod fit;
mod math;
mod metrics;
mod params;
mod random;
mod score;
mod tree;

pub use codec::FORMAT_VERSION;
pub use error::Error;
pub use metrics::{auroc, average_precision};
pub use params::{
    IsolationForestParams, IsolationForestValidParams, MAX_COLUMNS, MAX_SAMPLES, MAX_TREES,
    ParamsError,
};
pub use random::SplitMix64;
pub use score::{Explanation, IsolationForest};
