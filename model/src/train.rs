//! Training: from labelled runs to a model.
//!
//! 1. Every run's windows are computed without any training knowledge, with their items.
//! 2. With two runs or more, each run's windows are computed again with what the *other* runs' normal
//!    windows show of each image. So a training row is as new as a row will be when the model is used;
//!    with its own items known, nothing normal would ever be new, and the forest could not learn how
//!    much novelty is normal.
//! 3. Held-out scores: each run (with a single run: each group of containers) is scored by a forest that
//!    was fitted on the normal windows of the rest. Threshold and printed figures come from these.
//! 4. The model's own forest is fitted on the normal windows of all.
//!
//! Before fitting, rows are *spread* ([`spread`]): a forest cannot split on a column that never varied.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use forest::{IsolationForest, SplitMix64};
use linfa::{DatasetBase, traits::Fit};
use ndarray::Array2;
use replay::{
    artifact::{ITEMS_MAX, ImageItems, Model, Provenance, Run},
    features::{
        Settings, Trained,
        inputs::{INPUTS, Judge, Scales},
        schema::{COUNT, FEATURES, Kind},
    },
    findings::uuid_text,
};

use crate::{
    Error,
    dataset::{self, Condition, LabeledRow, LabeledRun},
    evaluate::{self, Report},
};

/// Normal windows below which a forest knows nothing.
pub const WINDOWS_MIN: usize = 8;

/// Groups of containers in held-out scoring of a single run.
const CONTAINER_GROUPS: usize = 5;

/// Spread copies: this share of the rows, and at least so many.
const SPREAD_SHARE: f64 = 0.25;
const SPREAD_MIN: usize = 64;

/// What may be chosen.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub window_ns: u64,
    pub seed: u64,
    pub trees: u32,
    pub samples: u32,
    /// Fit on every clear window, as if nothing were labelled.
    pub unlabeled: bool,
}

/// What training gives.
pub struct Trainee {
    pub model: Model,
    /// On held-out windows.
    pub report: Report,
    /// How the held-out windows were held out.
    pub held_out: &'static str,
    pub loss: bool,
    pub issues: Vec<String>,
}

/// Trains a model.
pub fn train(
    runs: &[LabeledRun],
    options: &Options,
    at: &mut dyn FnMut(&Path, u64),
) -> Result<Trainee, Error> {
    let first = Settings {
        window_ns: options.window_ns,
        trained: Trained::default(),
        items: true,
    };
    let (mut rows, conditions) = read(runs, at, |_| first.clone())?;
    let items: Vec<Items> = (0..runs.len())
        .map(|run| normal_items(rows.iter().filter(|row| row.run == run)))
        .collect();
    if runs.len() > 1 {
        (rows, _) = read(runs, at, |run| Settings {
            window_ns: options.window_ns,
            trained: Trained::new(
                merged(
                    items
                        .iter()
                        .enumerate()
                        .filter(|(other, _)| *other != run)
                        .map(|(_, items)| items),
                )
                .into_iter()
                .map(|image| (image.repository, image.items)),
            ),
            items: false,
        })?;
    }
    if rows.is_empty() {
        return Err(Error::NoWindows);
    }
    let clear: Vec<&LabeledRow> = rows.iter().filter(|row| row.is_clear()).collect();
    let (groups, held_out) = groups(runs, &clear);
    let (scores, held_out) = match held_out_scores(&clear, &groups, options) {
        Ok(scores) => (scores, held_out),
        // Too few windows to leave any out: the figures are those of the training windows themselves.
        Err(Error::TooFewWindows { .. }) => {
            let judge = fit(clear.iter().copied(), options)?;
            let scores = clear
                .iter()
                .map(|row| judge.score(&row.row.values))
                .collect();
            (
                scores,
                "nothing: too few windows, so these are the training windows themselves",
            )
        }
        Err(error) => return Err(error),
    };
    let anomalous: Vec<bool> = clear.iter().map(|row| row.is_anomalous()).collect();
    let (threshold, threshold_rule) = evaluate::threshold(&scores, &anomalous);
    let report = evaluate::report(runs, &clear, &scores, threshold);
    let judge = fit(clear.iter().copied(), options)?;
    let provenance = Provenance {
        program: format!("model {}", env!("CARGO_PKG_VERSION")),
        runs: runs
            .iter()
            .enumerate()
            .map(|(at, run)| {
                provenance_of(
                    run,
                    &conditions[at],
                    rows.iter().filter(|row| row.run == at).count(),
                )
            })
            .collect(),
        fitted_windows: clear
            .iter()
            .filter(|row| options.unlabeled || row.is_normal())
            .count() as u64,
        normal_windows: report.normal_windows,
        anomalous_windows: report.anomalous_windows,
        seed: options.seed,
        threshold_rule: threshold_rule.to_owned(),
        auroc: report.auroc,
        precision: report.precision,
        recall: report.recall,
    };
    let model = Model::new(
        judge,
        options.window_ns,
        threshold,
        merged(&items),
        provenance,
    );
    Ok(Trainee {
        model,
        report,
        held_out,
        loss: conditions.iter().any(|condition| condition.loss),
        issues: conditions
            .into_iter()
            .flat_map(|condition| condition.issues)
            .collect(),
    })
}

fn read(
    runs: &[LabeledRun],
    at: &mut dyn FnMut(&Path, u64),
    settings: impl Fn(usize) -> Settings,
) -> Result<(Vec<LabeledRow>, Vec<Condition>), Error> {
    let (mut rows, mut conditions) = (Vec::new(), Vec::new());
    for (number, run) in runs.iter().enumerate() {
        let (of_run, condition) = dataset::labeled_rows(number, run, &settings(number), at)?;
        rows.extend(of_run);
        conditions.push(condition);
    }
    Ok((rows, conditions))
}

/// Items by image.
type Items = BTreeMap<String, BTreeSet<u64>>;

/// What normal windows show, warm-ups included: they are as normal as the rest.
fn normal_items<'a>(rows: impl Iterator<Item = &'a LabeledRow>) -> Items {
    let mut items = Items::new();
    for row in rows.filter(|row| row.is_normal() && !row.row.repository.is_empty()) {
        let known = items.entry(row.row.repository.clone()).or_default();
        for item in &row.row.items {
            if known.len() < ITEMS_MAX {
                known.insert(*item);
            }
        }
    }
    items
}

fn merged<'a>(items: impl IntoIterator<Item = &'a Items>) -> Vec<ImageItems> {
    let mut all = Items::new();
    for (repository, items) in items.into_iter().flatten() {
        all.entry(repository.clone()).or_default().extend(items);
    }
    all.into_iter()
        .map(|(repository, items)| ImageItems {
            repository,
            items: items.into_iter().collect(),
        })
        .collect()
}

/// Which windows are held out together: those of a run, or of some containers of the only run.
fn groups(runs: &[LabeledRun], rows: &[&LabeledRow]) -> (Vec<usize>, &'static str) {
    if runs.len() > 1 {
        return (
            rows.iter().map(|row| row.run).collect(),
            "one run at a time",
        );
    }
    let containers: BTreeSet<&str> = rows
        .iter()
        .map(|row| row.row.container_id.as_str())
        .collect();
    let numbers: BTreeMap<&str, usize> = containers
        .into_iter()
        .enumerate()
        .map(|(number, id)| (id, number % CONTAINER_GROUPS))
        .collect();
    (
        rows.iter()
            .map(|row| numbers[row.row.container_id.as_str()])
            .collect(),
        "some containers at a time",
    )
}

fn held_out_scores(
    rows: &[&LabeledRow],
    groups: &[usize],
    options: &Options,
) -> Result<Vec<f64>, Error> {
    let mut scores = vec![0.0; rows.len()];
    let distinct: BTreeSet<usize> = groups.iter().copied().collect();
    for group in distinct {
        let rest = rows
            .iter()
            .zip(groups)
            .filter(|(_, of)| **of != group)
            .map(|(row, _)| *row);
        let judge = fit(rest, options)?;
        for (at, row) in rows
            .iter()
            .enumerate()
            .filter(|(at, _)| groups[*at] == group)
        {
            scores[at] = judge.score(&row.row.values);
        }
    }
    Ok(scores)
}

/// Fits a forest on the normal windows among the rows (on all of them when labels are to be ignored).
pub fn fit<'a>(
    rows: impl Iterator<Item = &'a LabeledRow>,
    options: &Options,
) -> Result<Judge, Error> {
    let normal: Vec<[f64; COUNT]> = rows
        .filter(|row| row.is_clear() && (options.unlabeled || row.is_normal()))
        .map(|row| row.row.values)
        .collect();
    if normal.len() < WINDOWS_MIN {
        return Err(Error::TooFewWindows {
            found: normal.len(),
            needed: WINDOWS_MIN,
        });
    }
    let scales = Scales::learn(normal.iter());
    let records = records(&spread(&normal, options.seed), &scales);
    let forest = IsolationForest::params()
        .trees(options.trees)
        .samples(options.samples)
        .seed(options.seed)
        .fit(&DatasetBase::from(records))?;
    Ok(Judge::new(forest, scales).expect("the forest was fitted on the inputs"))
}

fn records(rows: &[[f64; COUNT]], scales: &Scales) -> Array2<f64> {
    let inputs: Vec<[f64; INPUTS]> = rows.iter().map(|row| scales.inputs(row)).collect();
    Array2::from_shape_fn((rows.len(), INPUTS), |(row, column)| inputs[row][column])
}

/// The rows, and copies of some of them with one feature moved: by its scale times an exponentially
/// distributed factor, downwards too where that has a meaning.
///
/// Why: novelty of a well-known image is 0 in every normal window, and a column that is 0 in every row
/// is never split on, so that the greatest novelty would pass unseen. The copies say what a small surprise
/// in each feature looks like; what lies beyond them is isolated early.
fn spread(rows: &[[f64; COUNT]], seed: u64) -> Vec<[f64; COUNT]> {
    let copies = ((rows.len() as f64 * SPREAD_SHARE) as usize).max(SPREAD_MIN);
    let mut random = SplitMix64::stream(seed, SPREAD_STREAM);
    let mut all = rows.to_vec();
    for copy in 0..copies {
        let mut row = rows[random.below(rows.len())];
        // Each feature has its turn.
        let feature = copy % COUNT;
        // -ln(1-u) is exponentially distributed; u stays below 1.
        let mut move_by =
            -replay::features::baseline::ln(1.0 - random.unit()) * FEATURES[feature].scale;
        if matches!(FEATURES[feature].kind, Kind::Ratio | Kind::Difference) && random.below(2) == 0
        {
            move_by = -move_by;
        }
        let before = if row[feature].is_nan() {
            0.0
        } else {
            row[feature]
        };
        row[feature] = before + move_by;
        all.push(row);
    }
    all
}

/// Streams below this are the trees'.
const SPREAD_STREAM: u64 = 1 << 32;

fn provenance_of(run: &LabeledRun, condition: &Condition, windows: usize) -> Run {
    let uuids: Vec<String> = condition
        .trace_uuids
        .iter()
        .map(|uuid| uuid_text(*uuid))
        .collect();
    Run {
        name: run.name.clone(),
        trace_uuid: uuids.join(" "),
        windows: windows as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreading_makes_every_column_vary_and_keeps_the_rows() {
        let rows = vec![[0.0; COUNT]; 10];
        let all = spread(&rows, 1);
        assert_eq!(all[..10], rows[..]);
        assert_eq!(all.len(), 10 + SPREAD_MIN);
        for column in 0..COUNT {
            let moved = all.iter().filter(|row| row[column] != 0.0).count();
            assert!(
                (1..=SPREAD_MIN / COUNT + 1).contains(&moved),
                "{}: {moved}",
                FEATURES[column].name
            );
        }
        assert!(
            all.iter()
                .all(|row| row[replay::features::schema::NEW_PATHS] >= 0.0),
            "a count does not get negative"
        );
        assert_eq!(all, spread(&rows, 1));
        assert_ne!(all, spread(&rows, 2));
    }

    #[test]
    fn a_feature_that_never_varied_still_counts() {
        let rows = vec![[0.0; COUNT]; 200];
        let scales = Scales::learn(rows.iter());
        let fitted = |rows: &[[f64; COUNT]]| {
            let forest = IsolationForest::params()
                .fit(&DatasetBase::from(records(rows, &scales)))
                .unwrap();
            Judge::new(forest, scales.clone()).unwrap()
        };
        let mut surprise = [0.0; COUNT];
        surprise[replay::features::schema::NEW_PATHS] = 1.6;
        let blind = fitted(&rows);
        assert_eq!(blind.score(&surprise), blind.score(&[0.0; COUNT]));
        let seeing = fitted(&spread(&rows, 1));
        let (usual, surprised) = (seeing.score(&[0.0; COUNT]), seeing.score(&surprise));
        assert!(surprised > usual + 0.1, "{surprised} against {usual}");
    }
}
