//! What the crate promises: the same forest everywhere, defined behaviour for missing values, an
//! explanation that adds up, and bytes that are checked.

use forest::{Error, IsolationForest, MAX_COLUMNS};
use linfa::{
    DatasetBase,
    traits::{Fit, Predict},
};
use ndarray::{Array2, array};
use proptest::prelude::*;

/// A cloud around the origin in a fixed pattern; row 0 lies outside, in column 2.
fn rows(count: usize, columns: usize) -> Array2<f64> {
    let mut state = 11u64;
    let mut rows = Array2::from_shape_simple_fn((count, columns), || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 40) as f64 / (1u64 << 24) as f64
    });
    rows[(0, 2)] = 5.0;
    rows
}

fn fitted(seed: u64, threads: usize) -> IsolationForest {
    IsolationForest::params()
        .seed(seed)
        .threads(threads)
        .trees(50)
        .samples(64)
        .fit(&DatasetBase::from(rows(300, 4)))
        .unwrap()
}

#[test]
fn same_seed_same_forest_with_any_number_of_threads() {
    let one = fitted(3, 1);
    for threads in [2, 3, 7, 50, 1000] {
        assert_eq!(
            one.to_bytes(),
            fitted(3, threads).to_bytes(),
            "{threads} threads"
        );
    }
    assert_ne!(
        one.to_bytes(),
        fitted(4, 1).to_bytes(),
        "the seed must matter"
    );
}

/// Fails when the generator, the growing or the scoring changes by a single bit: then FORMAT_VERSION
/// and every stored threshold have to be thought about.
#[test]
fn scores_are_pinned_to_the_bit() {
    let forest = fitted(1, 1);
    let scores = forest.predict(&rows(300, 4));
    let bits: Vec<u64> = scores.iter().take(3).map(|score| score.to_bits()).collect();
    assert_eq!(
        bits,
        PINNED,
        "{:?}",
        scores.iter().take(3).collect::<Vec<_>>()
    );
}
const PINNED: [u64; 3] = [
    4603402948185911446,
    4603000570807583120,
    4602542356718266974,
];

#[test]
fn the_row_outside_scores_highest_and_its_column_is_named() {
    let rows = rows(300, 4);
    let forest = IsolationForest::params()
        .fit(&DatasetBase::from(rows.clone()))
        .unwrap();
    let scores = forest.predict(&rows);
    assert!(
        scores.iter().skip(1).all(|score| *score < scores[0]),
        "{}",
        scores[0]
    );
    let explanation = forest.explain(rows.row(0).as_slice().unwrap()).unwrap();
    let highest = (0..4)
        .max_by(|a, b| explanation.contributions[*a].total_cmp(&explanation.contributions[*b]));
    assert_eq!(highest, Some(2), "{explanation:?}");
}

#[test]
fn contributions_add_up_to_the_score() {
    let (forest, rows) = (fitted(1, 1), rows(300, 4));
    for row in rows.rows() {
        let row = row.to_vec();
        let explanation = forest.explain(&row).unwrap();
        assert_eq!(explanation.score, forest.score(&row).unwrap());
        let sum = explanation.baseline.log2() + explanation.contributions.iter().sum::<f64>();
        assert!(
            (explanation.score.log2() - sum).abs() < 1e-6,
            "{explanation:?}"
        );
    }
}

#[test]
fn a_row_scores_the_same_alone_and_among_others() {
    let forest = fitted(1, 1);
    // More rows than one turn of the scoring loop takes, and not a multiple of its lanes.
    let many = rows(2_003, 4);
    let scores = forest.predict(&many);
    for (row, score) in many.rows().into_iter().zip(&scores) {
        assert_eq!(forest.score(&row.to_vec()).unwrap(), *score);
    }
    assert_eq!(forest.predict(&many.slice(ndarray::s![..0, ..])).len(), 0);
}

#[test]
fn rows_in_any_memory_layout_and_float_type_score_the_same() {
    let forest = fitted(1, 1);
    let (c_order, narrow) = (rows(40, 4), rows(40, 4).mapv(|value| value as f32));
    let mut f_order = Array2::zeros(ndarray::ShapeBuilder::f((40, 4)));
    f_order.assign(&c_order);
    assert_eq!(forest.predict(&c_order), forest.predict(&f_order));
    assert_eq!(forest.predict(&c_order), forest.predict(&narrow));
}

#[test]
fn a_missing_value_counts_as_the_median_in_fitting_and_scoring() {
    let mut with_gap = rows(301, 3);
    let mut middle: Vec<f64> = (0..300).map(|row| with_gap[(row, 1)]).collect();
    middle.sort_by(f64::total_cmp);
    let median = middle[149];
    // 300 values are there; the lower one of the middle pair stands in for the gap.
    with_gap[(300, 1)] = f64::NAN;
    let mut filled = with_gap.clone();
    filled[(300, 1)] = median;
    let fit = |rows: &Array2<f64>| {
        IsolationForest::params()
            .fit(&DatasetBase::from(rows.clone()))
            .unwrap()
    };
    assert_eq!(
        fit(&with_gap).predict(&with_gap),
        fit(&with_gap).predict(&filled)
    );
    assert_eq!(fit(&with_gap).to_bytes(), fit(&filled).to_bytes());
    let all_missing = fit(&Array2::from_elem((10, 2), f64::NAN));
    assert!(all_missing.score(&[f64::NAN, 1.0]).unwrap().is_finite());
}

#[test]
fn infinities_and_huge_values_are_scored_as_the_largest_number() {
    let forest = fitted(1, 1);
    let at = |value: f64| forest.score(&[0.5, value, 0.5, 0.5]).unwrap();
    assert_eq!(at(f64::INFINITY), at(f64::from(f32::MAX)));
    assert_eq!(at(f64::NEG_INFINITY), at(-1e300));
    assert!(at(f64::INFINITY) > at(0.5));
}

#[test]
fn equal_rows_give_one_leaf_and_one_score() {
    let forest = IsolationForest::params()
        .fit(&DatasetBase::from(Array2::from_elem((500, 3), 2.0)))
        .unwrap();
    let score = forest.score(&[2.0; 3]).unwrap();
    assert!((score - 0.5).abs() < 1e-6, "{score}");
    assert_eq!(forest.score(&[9.0; 3]).unwrap(), score);
}

#[test]
fn neighbouring_floats_can_be_split() {
    let low = 1.0f32;
    let high = f32::from_bits(low.to_bits() + 1);
    let forest = IsolationForest::params()
        .trees(20)
        .fit(&DatasetBase::from(array![[low], [high]]))
        .unwrap();
    assert_eq!(forest.score(&[1.0]).unwrap(), 0.5);
}

#[test]
fn what_cannot_be_fitted_or_scored_is_named() {
    let fit = |rows: Array2<f64>| {
        IsolationForest::params()
            .fit(&DatasetBase::from(rows))
            .map(|_| ())
    };
    assert!(matches!(
        fit(Array2::zeros((1, 3))),
        Err(Error::TooFewRows { found: 1 })
    ));
    assert!(matches!(
        fit(Array2::zeros((5, 0))),
        Err(Error::BadColumns { found: 0, .. })
    ));
    assert!(fit(Array2::zeros((2, MAX_COLUMNS))).is_ok());
    assert!(matches!(
        fit(Array2::zeros((2, MAX_COLUMNS + 1))),
        Err(Error::BadColumns { .. })
    ));
    let unchecked = IsolationForest::params()
        .trees(0)
        .fit(&DatasetBase::from(rows(10, 4)));
    assert!(matches!(unchecked, Err(Error::Params(_))));
    assert!(matches!(
        fitted(1, 1).score(&[0.0; 3]),
        Err(Error::WrongColumns {
            expected: 4,
            found: 3
        })
    ));
    assert!(matches!(
        fitted(1, 1).explain(&[0.0; 5]),
        Err(Error::WrongColumns {
            expected: 4,
            found: 5
        })
    ));
}

#[test]
fn stored_and_read_back_is_the_same_forest() {
    let forest = fitted(9, 2);
    let read = IsolationForest::from_bytes(&forest.to_bytes()).unwrap();
    assert_eq!(read, forest);
    assert_eq!(read.predict(&rows(300, 4)), forest.predict(&rows(300, 4)));
}

#[test]
fn cut_at_every_byte_is_refused() {
    let bytes = IsolationForest::params()
        .trees(3)
        .samples(8)
        .fit(&DatasetBase::from(rows(30, 4)))
        .unwrap()
        .to_bytes();
    for cut in 0..bytes.len() {
        assert!(
            IsolationForest::from_bytes(&bytes[..cut]).is_err(),
            "cut at {cut} of {}",
            bytes.len()
        );
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(matches!(
        IsolationForest::from_bytes(&longer),
        Err(Error::Damaged { .. })
    ));
}

#[test]
fn foreign_and_newer_bytes_are_told_apart() {
    let mut bytes = fitted(1, 1).to_bytes();
    assert!(matches!(
        IsolationForest::from_bytes(b"\x28\xb5\x2f\xfd trace"),
        Err(Error::Foreign { .. })
    ));
    assert!(matches!(
        IsolationForest::from_bytes(b""),
        Err(Error::Foreign { .. })
    ));
    bytes[4] = 2;
    assert!(matches!(
        IsolationForest::from_bytes(&bytes),
        Err(Error::Version {
            expected: 1,
            found: 2
        })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Flips and overwrites reach counts, columns, thresholds and node kinds; scoring what is still accepted must not panic either.
    #[test]
    fn damaged_bytes_never_panic(changes in prop::collection::vec((0usize..4096, any::<u8>()), 1..8)) {
        let mut bytes = IsolationForest::params().trees(4).samples(16).fit(&DatasetBase::from(rows(40, 4))).unwrap().to_bytes();
        for (at, value) in changes {
            let at = 6 + at % (bytes.len() - 6);
            bytes[at] = value;
        }
        if let Ok(forest) = IsolationForest::from_bytes(&bytes) {
            let row = vec![0.5; forest.columns()];
            let score = forest.score(&row).unwrap();
            prop_assert!((0.0..=1.0).contains(&score), "{score}");
            forest.explain(&row).unwrap();
        }
    }

    #[test]
    fn random_bytes_behind_the_magic_never_panic(tail in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = b"TCIF\x01\x00".to_vec();
        bytes.extend(tail);
        let _ = IsolationForest::from_bytes(&bytes);
    }

    #[test]
    fn scores_lie_between_0_and_1(row in prop::collection::vec(any::<f64>(), 4)) {
        let score = fitted(1, 1).score(&row).unwrap();
        prop_assert!(score > 0.0 && score <= 1.0, "{score}");
    }
}
