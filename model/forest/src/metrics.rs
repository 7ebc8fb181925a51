//! How well scores separate two groups.

/// Area under the ROC curve: the chance that a random anomaly scores above a random normal row; ties count half.
/// `None` when one of the groups is empty or a score is NaN. Panics when the lengths differ.
pub fn auroc(scores: &[f64], anomalies: &[bool]) -> Option<f64> {
    let groups = ranked(scores, anomalies)?;
    let (anomalies, normals) = totals(&groups);
    // Each anomaly beats the normals below its tie group and half of those within it.
    let (mut wins, mut below) = (0.0, 0u64);
    for (positive, negative) in groups.iter().rev() {
        wins += *positive as f64 * (below as f64 + *negative as f64 / 2.0);
        below += negative;
    }
    (anomalies > 0 && normals > 0).then(|| wins / anomalies as f64 / normals as f64)
}

/// Average precision: precision at each threshold, weighted by the recall it adds. `None` without anomalies or with a NaN score.
/// Panics when the lengths differ.
pub fn average_precision(scores: &[f64], anomalies: &[bool]) -> Option<f64> {
    let groups = ranked(scores, anomalies)?;
    let (anomalies, _) = totals(&groups);
    let (mut sum, mut found, mut alarms) = (0.0, 0u64, 0u64);
    for (positive, negative) in groups {
        found += positive;
        alarms += positive + negative;
        sum += positive as f64 * found as f64 / alarms as f64;
    }
    (anomalies > 0).then(|| sum / anomalies as f64)
}

/// Anomalies and normals of each distinct score, highest score first.
fn ranked(scores: &[f64], anomalies: &[bool]) -> Option<Vec<(u64, u64)>> {
    assert_eq!(
        scores.len(),
        anomalies.len(),
        "one label is needed for each score"
    );
    if scores.iter().any(|score| score.is_nan()) {
        return None;
    }
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    let mut groups: Vec<(u64, u64)> = Vec::new();
    for (rank, index) in order.iter().enumerate() {
        if rank == 0 || scores[*index] != scores[order[rank - 1]] {
            groups.push((0, 0));
        }
        let group = groups.last_mut().expect("the first rank opens a group");
        if anomalies[*index] {
            group.0 += 1;
        } else {
            group.1 += 1;
        }
    }
    Some(groups)
}

fn totals(groups: &[(u64, u64)]) -> (u64, u64) {
    groups.iter().fold((0, 0), |(anomalies, normals), group| {
        (anomalies + group.0, normals + group.1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auroc_of_known_orders() {
        assert_eq!(
            auroc(&[0.1, 0.2, 0.8, 0.9], &[false, false, true, true]),
            Some(1.0)
        );
        assert_eq!(
            auroc(&[0.9, 0.8, 0.2, 0.1], &[false, false, true, true]),
            Some(0.0)
        );
        assert_eq!(
            auroc(&[0.1, 0.4, 0.35, 0.8], &[false, false, true, true]),
            Some(0.75)
        );
    }

    #[test]
    fn auroc_counts_a_tie_as_half_a_win() {
        assert_eq!(
            auroc(&[0.5; 5], &[true, false, true, false, false]),
            Some(0.5)
        );
        assert_eq!(auroc(&[0.0, -0.0], &[true, false]), Some(0.5));
        // One win, one tie, of two pairs.
        assert_eq!(auroc(&[0.7, 0.7, 0.1], &[true, false, false]), Some(0.75));
    }

    #[test]
    fn a_measure_that_has_no_meaning_is_not_given() {
        assert_eq!(auroc(&[0.1, 0.2], &[true, true]), None);
        assert_eq!(auroc(&[], &[]), None);
        assert_eq!(auroc(&[f64::NAN, 0.2], &[true, false]), None);
        assert_eq!(average_precision(&[0.1], &[false]), None);
    }

    #[test]
    fn average_precision_of_known_orders() {
        assert_eq!(
            average_precision(&[0.9, 0.8, 0.7], &[true, true, false]),
            Some(1.0)
        );
        // scikit-learn's documented example.
        let ap = average_precision(&[0.1, 0.4, 0.35, 0.8], &[false, false, true, true]).unwrap();
        assert!((ap - 0.8333333333333333).abs() < 1e-12, "{ap}");
    }
}
