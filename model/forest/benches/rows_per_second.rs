//! How many rows does one core score in a second (100 trees of 256 samples, 16 columns)?

use forest::IsolationForest;
use linfa::{
    DatasetBase,
    traits::{Fit, Predict},
};
use ndarray::Array2;
use std::time::Instant;

fn main() {
    let mut state = 1u64;
    let rows = Array2::from_shape_simple_fn((200_000, 16), || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 40) as f64 / (1u64 << 24) as f64
    });
    let started = Instant::now();
    let forest = IsolationForest::params()
        .seed(1)
        .threads(1)
        .fit(&DatasetBase::from(rows.clone()))
        .expect("the rows can be fitted");
    println!("fit: {:.1} ms", started.elapsed().as_secs_f64() * 1e3);
    let mut best = f64::MAX;
    for _ in 0..7 {
        let started = Instant::now();
        let scores = forest.predict(&rows);
        best = best.min(started.elapsed().as_secs_f64());
        assert_eq!(scores.len(), rows.nrows());
    }
    println!(
        "score: {:.2} M rows/s on one core",
        rows.nrows() as f64 / best / 1e6
    );
}
