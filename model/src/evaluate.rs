//! How well scores agree with labels.

use std::collections::{BTreeMap, BTreeSet};

use forest::{auroc, average_precision};
use serde::Serialize;

use crate::{
    dataset::{LabeledRow, LabeledRun},
    labels::NOOP,
};

/// The answer, for windows that are clear. Shares are `None` where there is nothing to divide by.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub threshold: f64,
    pub normal_windows: u64,
    pub anomalous_windows: u64,
    pub auroc: Option<f64>,
    pub average_precision: Option<f64>,
    pub precision: Option<f64>,
    pub recall: Option<f64>,
    /// Share of normal windows that would alarm.
    pub false_alarms: Option<f64>,
    /// Of these, windows of `noop`: what alarms here has learned the injector.
    pub noop_windows: u64,
    pub noop_alarms: u64,
    pub classes: Vec<ClassReport>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassReport {
    pub class: String,
    pub windows: u64,
    pub found_windows: u64,
    /// An act is found when one of its windows is.
    pub acts: u64,
    pub found_acts: u64,
    /// This class's windows against all normal ones.
    pub auroc: Option<f64>,
}

#[derive(Default)]
struct OfClass {
    scores: Vec<f64>,
    acts: BTreeSet<(usize, usize)>,
    found_acts: BTreeSet<(usize, usize)>,
}

/// `rows` and `scores` go together; rows that are not clear must have been left out.
pub fn report(runs: &[LabeledRun], rows: &[&LabeledRow], scores: &[f64], threshold: f64) -> Report {
    assert_eq!(rows.len(), scores.len(), "one score is needed for each row");
    let anomalous: Vec<bool> = rows.iter().map(|row| row.is_anomalous()).collect();
    let mut normal_scores = Vec::new();
    let (mut hits, mut false_alarms, mut noop_windows, mut noop_alarms) = (0u64, 0u64, 0u64, 0u64);
    let mut classes: BTreeMap<&str, OfClass> = BTreeMap::new();
    for (row, score) in rows.iter().zip(scores) {
        let alarm = *score >= threshold;
        let label = row.judged.label.map(|at| (at, &runs[row.run].labels[at]));
        match label {
            Some((at, label)) if row.is_anomalous() => {
                let class = classes.entry(&label.class).or_default();
                class.scores.push(*score);
                class.acts.insert((row.run, at));
                hits += u64::from(alarm);
                if alarm {
                    class.found_acts.insert((row.run, at));
                }
            }
            label => {
                normal_scores.push(*score);
                false_alarms += u64::from(alarm);
                if label.is_some_and(|(_, label)| label.class == NOOP) {
                    noop_windows += 1;
                    noop_alarms += u64::from(alarm);
                }
            }
        }
    }
    let share = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
    let anomalous_windows = anomalous.iter().filter(|anomalous| **anomalous).count() as u64;
    let normal_windows = rows.len() as u64 - anomalous_windows;
    let classes = classes
        .into_iter()
        .map(|(class, of)| {
            let both: Vec<f64> = of.scores.iter().chain(&normal_scores).copied().collect();
            let truth: Vec<bool> = (0..both.len()).map(|at| at < of.scores.len()).collect();
            ClassReport {
                class: class.to_owned(),
                windows: of.scores.len() as u64,
                found_windows: of
                    .scores
                    .iter()
                    .filter(|score| **score >= threshold)
                    .count() as u64,
                acts: of.acts.len() as u64,
                found_acts: of.found_acts.len() as u64,
                auroc: auroc(&both, &truth),
            }
        })
        .collect();
    Report {
        threshold,
        normal_windows,
        anomalous_windows,
        auroc: auroc(scores, &anomalous),
        average_precision: average_precision(scores, &anomalous),
        precision: share(hits, hits + false_alarms),
        recall: share(hits, anomalous_windows),
        false_alarms: share(false_alarms, normal_windows),
        noop_windows,
        noop_alarms,
        classes,
    }
}

/// Room above the highest normal score where no anomaly says how high a threshold may be.
const MARGIN: f64 = 0.02;

/// The score from which a window alarms, and how it was chosen: the greatest F1 where both sides are
/// labelled (between two neighbouring scores, the higher place of equals), else just above the normal ones.
pub fn threshold(scores: &[f64], anomalous: &[bool]) -> (f64, &'static str) {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    let total = anomalous.iter().filter(|anomalous| **anomalous).count();
    if total == 0 || total == scores.len() {
        let highest = order.first().map_or(1.0 - MARGIN, |first| scores[*first]);
        return (
            (highest + MARGIN).min(1.0),
            "just above the highest normal score: no anomaly was labelled",
        );
    }
    let (mut hits, mut best, mut chosen) = (0usize, 0.0, 1.0);
    for (rank, index) in order.iter().enumerate() {
        hits += usize::from(anomalous[*index]);
        let next = order.get(rank + 1).map_or(0.0, |next| scores[*next]);
        // Equal scores stand on the same side of any threshold.
        if next == scores[*index] {
            continue;
        }
        let f1 = 2.0 * hits as f64 / (rank + 1 + total) as f64;
        if f1 > best {
            best = f1;
            chosen = (scores[*index] + next) / 2.0;
        }
    }
    (chosen, "greatest F1 on held-out windows")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_lies_between_the_sides() {
        let (threshold, _) = threshold(&[0.4, 0.45, 0.7, 0.8], &[false, false, true, true]);
        assert!((threshold - 0.575).abs() < 1e-12, "{threshold}");
    }

    #[test]
    fn one_hopeless_anomaly_does_not_pull_the_threshold_into_the_normal_ones() {
        let scores = [0.40, 0.41, 0.42, 0.43, 0.44, 0.45, 0.39, 0.7, 0.8, 0.75];
        let anomalous = [
            false, false, false, false, false, false, true, true, true, true,
        ];
        let (threshold, _) = threshold(&scores, &anomalous);
        assert!((0.45..0.7).contains(&threshold), "{threshold}");
    }

    #[test]
    fn equal_scores_are_never_split() {
        let (threshold, _) = threshold(&[0.5, 0.5, 0.5, 0.2], &[true, true, false, false]);
        assert!((0.2..0.5).contains(&threshold), "{threshold}");
    }

    #[test]
    fn without_anomalies_the_threshold_is_above_all() {
        let (threshold, why) = threshold(&[0.4, 0.5], &[false, false]);
        assert!(threshold > 0.5 && why.contains("no anomaly"), "{threshold}");
    }
}
