//! The forest finds what scikit-learn's finds: AUROC on public anomaly sets, against a recorded baseline.
//!
//! A wrong split distribution, a wrong path-length correction or a wrong sampling each move the
//! AUROC of at least one of these sets by more than the allowed difference. The sets are not part of
//! this repository: without them the test says that it was skipped.

mod npz;

use forest::{IsolationForest, auroc};
use linfa::{
    DatasetBase,
    traits::{Fit, Predict},
};
use std::path::PathBuf;

/// The two sets with more than 60,000 rows take seconds each; `PARITY_ALL=1` runs them too.
const LARGE_ROWS: usize = 60_000;
const SEEDS: u64 = 5;

fn sets() -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/adbench");
    let path = std::env::var_os("ADBENCH_DIR").map_or(beside, PathBuf::from);
    path.is_dir().then_some(path)
}

#[test]
fn auroc_is_that_of_the_baseline_on_every_set() {
    let Some(sets) = sets() else {
        println!(
            "skipped: auroc_is_that_of_the_baseline_on_every_set needs the ADBench sets (set ADBENCH_DIR)"
        );
        return;
    };
    let baseline = std::fs::read_to_string(sets.join("iforest_sklearn_baseline.csv"))
        .expect("the baseline is readable");
    let mut compared = 0;
    let mut failed = Vec::new();
    for line in baseline.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let [name, rows, columns, anomalies, mean, sd, _] = fields[..] else {
            panic!("baseline line {line:?} has not 7 fields")
        };
        let rows: usize = rows.parse().expect("a row count");
        if rows > LARGE_ROWS && std::env::var_os("PARITY_ALL").is_none() {
            println!("skipped: {name} has {rows} rows (set PARITY_ALL=1)");
            continue;
        }
        let (mean, sd): (f64, f64) = (
            mean.parse().expect("a mean"),
            sd.parse().expect("a deviation"),
        );
        let arrays = npz::read(&sets.join(format!("{name}.npz")));
        let labels: Vec<bool> = arrays["y"].iter().map(|label| *label != 0.0).collect();
        assert_eq!(
            arrays["X"].dim(),
            (rows, columns.parse().expect("a column count")),
            "{name}"
        );
        assert_eq!(
            labels.iter().filter(|label| **label).count(),
            anomalies.parse::<usize>().expect("a count"),
            "{name}"
        );
        let records = DatasetBase::from(arrays["X"].clone());
        let found = (0..SEEDS).map(|seed| {
            let forest = IsolationForest::params()
                .seed(seed)
                .fit(&records)
                .expect("the set can be fitted");
            auroc(
                forest
                    .predict(&records)
                    .as_slice()
                    .expect("scores lie in a row"),
                &labels,
            )
            .expect("both groups are there")
        });
        let found = found.sum::<f64>() / SEEDS as f64;
        let allowed = (3.0 * sd).max(0.02);
        println!("{name:16} {found:.4} (baseline {mean:.4} ± {allowed:.4})");
        if (found - mean).abs() > allowed {
            failed.push(format!(
                "{name}: {found:.4}, baseline {mean:.4} ± {allowed:.4}"
            ));
        }
        compared += 1;
    }
    assert!(compared >= 3, "only {compared} sets were compared");
    assert!(failed.is_empty(), "{failed:#?}");
}
