//! From labelled traces to findings: what a user of `model` relies on.

mod support;

use std::{path::PathBuf, sync::Arc};

use model::{
    dataset::{self, LabeledRow},
    labels::Truth,
    train::{self, Options},
};
use replay::{
    artifact::Model,
    features::Settings,
    findings::{EngineKind, Finding, Value},
    model_detector,
    pipeline::{self, Pipeline},
};
use support::{CLASSES, SECONDS, labeled, run};
use trace_format::SealedChunk;

const OPTIONS: Options = Options {
    window_ns: 10_000_000_000,
    seed: 7,
    trees: 100,
    samples: 256,
    unlabeled: false,
};

fn rows_of(directory: &tempfile::TempDir) -> (Vec<dataset::LabeledRun>, Vec<LabeledRow>) {
    let runs = dataset::find_runs(&[directory.path().to_owned()]).unwrap();
    let rows = runs
        .iter()
        .enumerate()
        .flat_map(|(number, run)| {
            dataset::labeled_rows(number, run, &Settings::default(), &mut |_, _| ())
                .unwrap()
                .0
        })
        .collect();
    (runs, rows)
}

/// One row for each container and window; each act makes exactly the windows it lies in anomalous, noop none.
#[test]
fn windows_are_joined_with_their_labels() {
    let directory = labeled();
    let (runs, rows) = rows_of(&directory);
    assert_eq!(
        runs.iter().map(|run| run.name.as_str()).collect::<Vec<_>>(),
        ["run0", "run1", "run2"]
    );
    // Four containers, thirteen windows each, three runs.
    assert_eq!(rows.len(), 4 * (SECONDS / 10) as usize * 3);
    for class in CLASSES {
        let of_class: Vec<&LabeledRow> = rows
            .iter()
            .filter(|row| {
                row.judged
                    .label
                    .is_some_and(|at| runs[row.run].labels[at].class == class)
            })
            .collect();
        let anomalous = of_class
            .iter()
            .filter(|row| row.judged.truth == Truth::Anomalous)
            .count();
        match class {
            "noop" => assert!(!of_class.is_empty() && anomalous == 0, "noop is normal"),
            // Ten seconds that begin at 60.8 lie in two windows, by more than half only in the first.
            _ => assert_eq!(anomalous, 3, "{class}: one window in each run"),
        }
    }
    assert!(
        rows.iter()
            .all(|row| row.row.warm_up == (row.row.start_ns == support::start_ns())),
        "the first window is the warm-up"
    );
}

#[test]
fn the_same_seed_gives_the_same_model() {
    let directory = labeled();
    let runs = dataset::find_runs(&[directory.path().to_owned()]).unwrap();
    let train = |seed| {
        train::train(&runs, &Options { seed, ..OPTIONS }, &mut |_, _| ())
            .unwrap()
            .model
            .to_bytes()
    };
    let first = train(1);
    assert!(first == train(1), "same seed");
    assert!(first != train(2), "the seed must matter");
}

/// Held-out scores separate every class, and noop stays quiet. Has teeth: with features that are not computed
/// relative to the container's own past, the busy servers' windows score like the anomalies.
#[test]
fn every_class_is_found_and_noop_is_not() {
    let directory = labeled();
    let runs = dataset::find_runs(&[directory.path().to_owned()]).unwrap();
    let trained = train::train(&runs, &OPTIONS, &mut |_, _| ()).unwrap();
    let report = &trained.report;
    println!("{report:#?}");
    assert_eq!(trained.held_out, "one run at a time");
    assert!(report.auroc.unwrap() > 0.95, "{:?}", report.auroc);
    assert_eq!(report.noop_alarms, 0);
    assert!(report.noop_windows > 0);
    for class in &report.classes {
        assert_eq!(class.found_acts, class.acts, "{class:?}");
    }
}

fn findings(chunks: &[SealedChunk], model: &Arc<Model>) -> Vec<Finding> {
    let mut pipeline = Pipeline::new(pipeline::Settings {
        rules: None,
        statistics: false,
        detectors: vec![model_detector::detector(model.clone())],
    });
    for chunk in chunks {
        pipeline.push(chunk).unwrap();
    }
    pipeline.finish();
    pipeline.findings().collect()
}

/// A model that was written and read again finds the windows that training scored above the threshold, with
/// the same scores, and says why.
#[test]
fn detection_with_a_stored_model_gives_the_scores_of_training() {
    let directory = labeled();
    let runs = dataset::find_runs(&[directory.path().to_owned()]).unwrap();
    let trained = train::train(&runs, &OPTIONS, &mut |_, _| ()).unwrap().model;
    let path = directory.path().join("m.tcm");
    trained.save(&path, false).unwrap();
    let model = Arc::new(Model::load(&path).unwrap());
    assert_eq!(model.to_bytes(), trained.to_bytes());

    let (rows, _) = dataset::rows(&runs[0].traces, &trained.settings(), &mut |_, _| ()).unwrap();
    let expected: Vec<(u64, u64, String)> = rows
        .iter()
        .filter(|row| !row.warm_up && trained.judge().score(&row.values) >= trained.threshold())
        .map(|row| {
            (
                row.end_ns,
                row.cgroup_id,
                format!("{:.4}", trained.judge().score(&row.values)),
            )
        })
        .collect();
    let (built, acts) = run(0);
    let found = findings(&built.chunks, &model);
    let score = |finding: &Finding| match &finding.fields[0] {
        (name, Value::Number(score)) if name == "score" => format!("{score:.4}"),
        other => panic!("the first field is {other:?}"),
    };
    let found_windows: Vec<_> = found
        .iter()
        .map(|finding| (finding.boot_ns, finding.cgroup_id, score(finding)))
        .collect();
    assert_eq!(found_windows, expected);

    for finding in &found {
        println!("{}", finding.to_text());
        assert_eq!(finding.engine, EngineKind::Forest);
        assert_eq!(finding.container.name, "shop-web");
        assert!(
            finding
                .fields
                .iter()
                .any(|(name, _)| name.starts_with("contribution.")),
            "{finding:?}"
        );
    }
    // Each act's window names what the act did first of all, and points at an event of its process.
    for (class, feature) in [
        ("cpu_hog", "feature.cpu"),
        ("port_scan", "feature.ports"),
        ("cred_read", "feature.new_paths"),
        ("drop_exec", "feature.born_execs"),
    ] {
        let act = acts.iter().find(|act| act.class == class).unwrap();
        let finding = found
            .iter()
            .find(|finding| {
                finding.cgroup_id == act.cgroup_id
                    && finding.boot_ns > act.start_ns
                    && finding.boot_ns - finding.window_ns <= act.start_ns
            })
            .unwrap_or_else(|| panic!("{class} was not found"));
        assert!(
            finding.fields.iter().any(|(name, _)| name == feature),
            "{class}: {:?}",
            finding.fields
        );
        if class != "cpu_hog" {
            assert!(
                finding.evidence.is_some() && !finding.lineage.is_empty(),
                "{class}: {finding:?}"
            );
        }
    }
}

#[test]
fn what_is_not_labelled_data_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let find = |path: PathBuf| dataset::find_runs(&[path]).unwrap_err().to_string();
    assert!(find(directory.path().to_owned()).contains("has no labels.csv"));
    std::fs::write(directory.path().join("labels.csv"), "").unwrap();
    assert!(find(directory.path().to_owned()).contains("no trace"));
    std::fs::write(directory.path().join("trace.zst"), "").unwrap();
    assert!(find(directory.path().to_owned()).contains("the head line is missing"));
    assert!(find(directory.path().join("nowhere")).contains("cannot read"));
}

#[test]
fn too_little_to_learn_from_is_said_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    support::write_run(directory.path(), 0, false);
    let runs = dataset::find_runs(&[directory.path().to_owned()]).unwrap();
    let error = train::train(
        &runs,
        &Options {
            window_ns: 60_000_000_000,
            ..OPTIONS
        },
        &mut |_, _| (),
    )
    .err()
    .unwrap()
    .to_string();
    assert!(
        error.contains("at least 8 are needed") && error.contains("--window"),
        "{error}"
    );
}

#[test]
fn one_run_is_enough() {
    let directory = tempfile::tempdir().unwrap();
    support::write_run(directory.path(), 0, false);
    let runs = dataset::find_runs(&[directory.path().to_owned()]).unwrap();
    let trained = train::train(&runs, &OPTIONS, &mut |_, _| ()).unwrap();
    assert_eq!(trained.held_out, "some containers at a time");
    println!("{:#?}", trained.report);
    assert!(
        trained.report.auroc.unwrap() > 0.9,
        "{:?}",
        trained.report.auroc
    );
}

/// The file that `inject` promises to write is the file that is read here.
#[test]
fn the_labels_of_inject_are_read() {
    let golden =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tools/inject/tests/golden/labels.csv");
    let labels = model::labels::read(&golden).unwrap();
    assert_eq!(labels.len(), 2);
    assert_eq!(labels[0].class, "cred_read");
    assert_eq!(labels[0].container_id, "ab".repeat(32));
    assert_eq!(
        (labels[0].start_ns, labels[0].end_ns),
        (1_000_000_001, 31_000_000_002)
    );
    assert!(labels[0].outcome.starts_with("failed: "));
    assert_eq!(
        (labels[1].class.as_str(), labels[1].outcome.as_str()),
        ("noop", "done")
    );
}
