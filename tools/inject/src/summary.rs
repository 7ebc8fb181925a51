//! Tables for people: the classes, and what a run came to.

use std::fmt::Write as _;

use crate::{act::Info, inside::workload::Workload, run::Outcome, signal, verify::Verified};

pub fn classes<'a>(all: impl Iterator<Item = &'a Info>) -> String {
    let mut rows = vec![
        [
            "CLASS",
            "KIND",
            "ATT&CK",
            "SIGNALS",
            "NEEDS",
            "WHAT IT DOES",
        ]
        .map(str::to_owned),
    ];
    rows.extend(all.map(|info| {
        [
            info.name.to_owned(),
            info.kind.name().to_owned(),
            if info.attack_id.is_empty() {
                "-".to_owned()
            } else {
                info.attack_id.to_owned()
            },
            if info.signals.is_empty() {
                "-".to_owned()
            } else {
                signal::joined(info.signals)
            },
            info.needs.to_owned(),
            info.about.to_owned(),
        ]
    }));
    table(&rows)
}

pub fn workloads() -> String {
    let mut rows = vec![["WORKLOAD", "WHAT IT DOES"].map(str::to_owned)];
    rows.extend(
        Workload::ALL
            .iter()
            .map(|known| [known.name(), known.about()].map(str::to_owned)),
    );
    table(&rows)
}

pub fn outcome(outcome: &Outcome) -> String {
    let mut rows = vec![
        [
            "CLASS",
            "CONTAINER",
            "INTENSITY",
            "SECONDS",
            "PIDS",
            "OUTCOME",
            "DETAIL",
        ]
        .map(str::to_owned),
    ];
    rows.extend(outcome.acts.iter().map(|acted| {
        let label = &acted.label;
        let seconds = label.end_boot_ns.saturating_sub(label.start_boot_ns) as f64 / 1e9;
        // The reason is in the detail too, where there is one.
        let word = if acted.detail.is_empty() {
            &label.outcome
        } else {
            label.outcome.split(':').next().unwrap_or("")
        };
        [
            label.class.clone(),
            label.container_name.clone(),
            label.intensity.to_string(),
            format!("{seconds:.1}"),
            label.pids.split_whitespace().count().to_string(),
            word.to_owned(),
            acted.detail.clone(),
        ]
    }));
    let mut text = table(&rows);
    let normal = outcome
        .containers
        .iter()
        .filter(|ran| ran.acts == 0)
        .count();
    let _ = write!(
        text,
        "\nrun {} in the {} runtime, seed {}: {} acts, {} containers, {normal} of them normal throughout\n",
        outcome.run,
        outcome.runtime,
        outcome.seed,
        outcome.acts.len(),
        outcome.containers.len(),
    );
    if let Some(recorded) = &outcome.recorded {
        let _ = writeln!(
            text,
            "trace {}{}",
            recorded.trace.display(),
            if recorded.loss { " (with loss)" } else { "" }
        );
    }
    if outcome.interrupted {
        text.push_str("interrupted: acts that had not begun were left out\n");
    }
    text
}

pub fn verified(verified: &Verified) -> String {
    let mut rows =
        vec![["CLASS", "CONTAINER", "SIGNAL", "BEFORE", "WITHIN", "MOVED"].map(str::to_owned)];
    for act in &verified.acts {
        let row = |signal: &str, before: String, within: String, moved: &str| {
            [
                act.class.clone(),
                act.container_name.clone(),
                signal.to_owned(),
                before,
                within,
                moved.to_owned(),
            ]
        };
        rows.extend(act.signals.iter().map(|moved| {
            let word = match (moved.moved, moved.promised) {
                (true, _) => "yes",
                (false, true) => "no",
                (false, false) => "no (not promised)",
            };
            row(
                &moved.signal,
                format!("{:.2}", moved.before),
                format!("{:.2}", moved.within),
                word,
            )
        }));
        if act.signals.is_empty() {
            rows.push(row("-", "-".into(), "-".into(), "-"));
        }
    }
    table(&rows)
}

/// Columns as wide as their widest cell, the last one as it comes.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_listed_in_aligned_columns() {
        let text = classes(crate::act::all());
        let column = text
            .lines()
            .next()
            .and_then(|head| head.find("ATT&CK"))
            .unwrap();
        for (line, info) in text.lines().skip(1).zip(crate::act::all()) {
            assert!(line.starts_with(info.name));
            assert_ne!(line.as_bytes()[column], b' ');
            assert_eq!(line.as_bytes()[column - 1], b' ');
        }
        assert_eq!(text.lines().count(), crate::act::all().count() + 1);
    }
}
