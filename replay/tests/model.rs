//! Features, the model file and `replay detect --model`: the same numbers for any chunking, and a model
//! that cannot be trusted is refused.

mod support;

use std::{
    path::Path,
    process::{Command, Output, Stdio},
    sync::{Arc, mpsc},
};

use forest::IsolationForest;
use linfa::{DatasetBase, traits::Fit};
use ndarray::Array2;
use replay::{
    artifact::{Error, FORMAT_VERSION, ImageItems, Model, Provenance},
    features::{
        Row, Settings,
        inputs::{INPUTS, Judge, Scales},
        schema::{self, COUNT},
    },
    findings::Finding,
    model_detector::{self, FeatureDetector},
    pipeline::{self, Pipeline},
};
use support::{DB, Item, SECOND_NS, START_NS, Scenario, WEB, items, seal};
use trace_format::{Context, ContextRecord, Mark, SealedChunk};

fn pipeline(detector: Box<dyn pipeline::Detector>) -> Pipeline {
    Pipeline::new(pipeline::Settings {
        rules: None,
        statistics: false,
        detectors: vec![detector],
    })
}

fn rows_with(settings: Settings, chunks: &[SealedChunk]) -> Vec<Row> {
    let (sender, receiver) = mpsc::channel();
    let mut pipeline = pipeline(Box::new(FeatureDetector::new(settings, move |row, _| {
        sender.send(row).unwrap()
    })));
    for chunk in chunks {
        pipeline.push(chunk).unwrap();
    }
    pipeline.finish();
    receiver.try_iter().collect()
}

fn rows(chunks: &[SealedChunk]) -> Vec<Row> {
    rows_with(
        Settings {
            items: true,
            ..Settings::default()
        },
        chunks,
    )
}

/// Everything of a row but where its witnesses are stored, which depends on the chunks.
fn text(row: &Row) -> String {
    let bits: Vec<u64> = row.values.iter().map(|value| value.to_bits()).collect();
    let pids: Vec<Option<u32>> = row
        .witnesses
        .iter()
        .map(|witness| witness.map(|witness| witness.pid))
        .collect();
    format!(
        "{} {} {} {} {bits:?} {pids:?} {:?}",
        row.start_ns, row.end_ns, row.container_id, row.warm_up, row.items
    )
}

#[test]
fn features_are_the_same_for_any_chunking() {
    let items = items(Scenario::ATTACKED);
    let of = |rows_per_chunk: usize| -> Vec<String> {
        let mut texts: Vec<String> = rows(&seal(&items, |_| rows_per_chunk))
            .iter()
            .map(text)
            .collect();
        texts.sort();
        texts
    };
    let whole = of(usize::MAX >> 1);
    assert_eq!(
        whole.len(),
        6,
        "two containers, three windows of ten seconds"
    );
    assert_eq!(whole, of(1000));
    assert_eq!(whole, of(7));
}

#[test]
fn a_note_in_the_trace_is_not_a_feature() {
    let mut with_marks = items(Scenario::ATTACKED);
    for second in [3, 11, 12, 25] {
        let boot_ns = START_NS + second * SECOND_NS;
        let mark = Item::Context(ContextRecord {
            boot_ns,
            body: Context::Mark(Mark {
                label: "attack".into(),
                text: "begins".into(),
            }),
        });
        let at = with_marks.partition_point(|item| item.boot_ns() < boot_ns);
        with_marks.insert(at, mark);
    }
    let texts =
        |items: &[Item]| -> Vec<String> { rows(&seal(items, |_| 1000)).iter().map(text).collect() };
    assert_eq!(texts(&with_marks), texts(&items(Scenario::ATTACKED)));
}

/// The scan (seconds 12 to 15), the read (15) and the busy CPU (from 20) show in the features that are about them.
#[test]
fn acts_move_the_features_that_are_about_them() {
    let found = rows(&seal(&items(Scenario::ATTACKED), |_| 1000));
    let value = |cgroup_id: u64, window: u64, feature: usize| {
        found
            .iter()
            .find(|row| {
                row.cgroup_id == cgroup_id && row.start_ns == START_NS + window * 10 * SECOND_NS
            })
            .unwrap_or_else(|| panic!("no row of window {window}"))
            .values[feature]
    };
    assert!(
        value(WEB, 1, schema::NEW_PORTS) > 3.0,
        "{}",
        value(WEB, 1, schema::NEW_PORTS)
    );
    assert!(value(WEB, 1, schema::PORTS) > 2.0);
    assert!(value(WEB, 1, schema::NEW_PATHS) > 0.6, "the password file");
    assert!(
        value(DB, 2, schema::CPU) > 1.0,
        "{}",
        value(DB, 2, schema::CPU)
    );
    assert!(value(DB, 1, schema::CPU).abs() < 0.5);
    let quiet = rows(&seal(&items(Scenario::QUIET), |_| 1000));
    for row in quiet.iter().filter(|row| !row.warm_up) {
        for feature in [schema::NEW_PORTS, schema::BORN_EXECS, schema::REFUSED] {
            assert!(
                row.values[feature].abs() < 0.1,
                "{}: {row:?}",
                schema::FEATURES[feature].name
            );
        }
    }
}

#[test]
fn what_training_knows_is_not_new() {
    let chunks = seal(&items(Scenario::ATTACKED), |_| 1000);
    let learned = rows(&chunks);
    let all: Vec<(String, Vec<u64>)> = learned
        .iter()
        .map(|row| (row.repository.clone(), row.items.clone()))
        .collect();
    let mut merged = std::collections::BTreeMap::<String, Vec<u64>>::new();
    for (repository, items) in all {
        merged.entry(repository).or_default().extend(items);
    }
    let settings = Settings {
        trained: replay::features::Trained::new(merged),
        ..Settings::default()
    };
    for row in rows_with(settings, &chunks) {
        assert_eq!(row.values[schema::NEW_PORTS], 0.0, "{row:?}");
        assert!(row.items.is_empty(), "items were not asked for");
    }
}

#[test]
fn the_warm_up_and_a_cut_window() {
    let all = items(Scenario::QUIET);
    let cut = |seconds: u64| {
        let end_ns = START_NS + seconds * SECOND_NS;
        let kept: Vec<Item> = all
            .iter()
            .filter(|item| item.boot_ns() < end_ns)
            .cloned()
            .collect();
        rows(&seal(&kept, |_| 1000))
    };
    let of_web = |rows: &[Row]| -> Vec<bool> {
        rows.iter()
            .filter(|row| row.cgroup_id == WEB)
            .map(|row| row.warm_up)
            .collect()
    };
    assert_eq!(of_web(&cut(13)), [true], "3 s of a window are too little");
    assert_eq!(of_web(&cut(17)), [true, false], "7 s are enough");
}

/// A model fitted on quiet windows, which it knows; scans are far from them.
fn model() -> Model {
    let quiet = rows(&seal(&items(Scenario::QUIET), |_| 1000));
    let values: Vec<[f64; COUNT]> = quiet
        .iter()
        .filter(|row| !row.warm_up)
        .map(|row| row.values)
        // Small surprises in every feature, larger ones rarer.
        .flat_map(|row| {
            (0..5 * COUNT).map(move |at| {
                let mut row = row;
                row[at / 5] += [0.5, 1.0, 1.0, 2.0, 4.0][at % 5] * schema::FEATURES[at / 5].scale;
                row
            })
        })
        .collect();
    let scales = Scales::learn(values.iter());
    let inputs: Vec<[f64; INPUTS]> = values.iter().map(|row| scales.inputs(row)).collect();
    let records =
        Array2::from_shape_fn((inputs.len(), INPUTS), |(row, column)| inputs[row][column]);
    let forest = IsolationForest::params()
        .trees(50)
        .seed(3)
        .fit(&DatasetBase::from(records))
        .unwrap();
    let judge = Judge::new(forest, scales).unwrap();
    let highest = values
        .iter()
        .map(|row| judge.score(row))
        .fold(0.0, f64::max);
    let images = vec![ImageItems {
        repository: "nginx".into(),
        items: vec![3, 1, 2],
    }];
    let provenance = Provenance {
        program: "test".into(),
        seed: 3,
        ..Provenance::default()
    };
    Model::new(judge, 10 * SECOND_NS, highest + 0.01, images, provenance)
}

fn detect(model: &Arc<Model>, chunks: &[SealedChunk]) -> Vec<Finding> {
    let mut pipeline = pipeline(model_detector::detector(model.clone()));
    for chunk in chunks {
        pipeline.push(chunk).unwrap();
    }
    pipeline.finish();
    pipeline.findings().collect()
}

#[test]
fn a_stored_model_detects_what_the_original_does() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m.tcm");
    let original = Arc::new(model());
    original.save(&path, false).unwrap();
    let stored = Arc::new(Model::load(&path).unwrap());
    assert_eq!(
        std::fs::read_dir(directory.path()).unwrap().count(),
        1,
        "nothing is left beside it"
    );
    let chunks = seal(&items(Scenario::ATTACKED), |_| 1000);
    let found = detect(&stored, &chunks);
    assert!(
        !found.is_empty() && found.iter().any(|finding| finding.cgroup_id == WEB),
        "{found:?}"
    );
    assert_eq!(found, detect(&original, &chunks));
    assert_eq!(
        detect(&stored, &seal(&items(Scenario::QUIET), |_| 1000)),
        []
    );
    assert_eq!(stored.images(), original.images());
    assert_eq!(stored.provenance(), original.provenance());
}

fn load(bytes: &[u8]) -> Result<Model, Error> {
    Model::from_bytes(bytes, Path::new("m.tcm"))
}

#[test]
fn a_model_cut_at_any_byte_is_refused() {
    let bytes = model().to_bytes();
    // Every byte of the header and its surroundings, then some of the body: each is one hash of what is there.
    let cuts = (0..200).chain((200..bytes.len()).step_by(997));
    for cut in cuts {
        let error = load(&bytes[..cut])
            .err()
            .unwrap_or_else(|| panic!("cut at {cut}"));
        match cut {
            0..8 => assert!(matches!(error, Error::Foreign { .. }), "{cut}: {error}"),
            _ => assert!(matches!(error, Error::Damaged { .. }), "{cut}: {error}"),
        }
    }
    assert!(matches!(
        load(&[&bytes[..], b"x"].concat()),
        Err(Error::Damaged { .. })
    ));
}

#[test]
fn a_changed_model_is_refused() {
    let bytes = model().to_bytes();
    for at in (0..bytes.len()).step_by(331).chain(0..60) {
        let mut changed = bytes.clone();
        changed[at] ^= 0x40;
        assert!(load(&changed).is_err(), "byte {at}");
    }
    let mut newer = bytes.clone();
    newer[8] = FORMAT_VERSION as u8 + 1;
    assert!(matches!(
        load(&newer),
        Err(Error::Version {
            expected: 1,
            found: 2,
            ..
        })
    ));
}

/// A model of a program with other features: the body says so, with a checksum that is right.
fn of_another_schema() -> Vec<u8> {
    let mut bytes = model().to_bytes();
    let at = bytes
        .windows(8)
        .position(|window| window == b"syscalls")
        .unwrap();
    bytes[at..at + 8].copy_from_slice(b"sysCalls");
    let body_at = 50;
    let hash = *blake3::hash(&bytes[body_at..]).as_bytes();
    bytes[18..body_at].copy_from_slice(&hash);
    bytes
}

#[test]
fn a_model_of_another_schema_is_refused_with_the_difference() {
    let error = load(&of_another_schema()).unwrap_err();
    assert!(matches!(error, Error::Schema { .. }), "{error}");
    let message = error.to_string();
    assert!(
        message.contains("unknown here: sysCalls") && message.contains("train it again"),
        "{message}"
    );
}

#[test]
fn a_model_is_not_overwritten_unasked_and_not_half_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m.tcm");
    let model = model();
    model.save(&path, false).unwrap();
    assert!(matches!(
        model.save(&path, false),
        Err(Error::Exists { .. })
    ));
    model.save(&path, true).unwrap();
    let nowhere = directory.path().join("no/such/place.tcm");
    assert!(matches!(
        model.save(&nowhere, false),
        Err(Error::Write { .. })
    ));
    // Renaming over a directory fails after the file was written beside it.
    let taken = directory.path().join("taken");
    std::fs::create_dir(&taken).unwrap();
    assert!(model.save(&taken, true).is_err());
    assert_eq!(
        std::fs::read_dir(directory.path()).unwrap().count(),
        2,
        "nothing half-written stays"
    );
}

fn replay(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_replay"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn detect_takes_a_model_and_refuses_a_wrong_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (trace, good) = (path("trace.zst"), path("m.tcm"));
    std::fs::write(
        &trace,
        support::file(&seal(&items(Scenario::ATTACKED), |_| 1000)),
    )
    .unwrap();
    model().save(Path::new(&good), false).unwrap();
    let only = ["detect", "--json", "--no-default-rules", "--no-statistics"];
    let output = replay(
        &[
            &only[..],
            &[&trace, "--model", &good, "--fail-on", "warning"],
        ]
        .concat(),
    );
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let lines = String::from_utf8(output.stdout).unwrap();
    assert!(!lines.is_empty());
    for line in lines.lines() {
        let finding: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(finding["engine"], "forest");
        assert_eq!(finding["rule"], model_detector::RULE);
        assert!(
            finding["fields"]["score"].as_f64().unwrap()
                >= finding["fields"]["threshold"].as_f64().unwrap()
        );
    }
    let bytes = std::fs::read(&good).unwrap();
    for (name, bytes, expected) in [
        (
            "cut.tcm",
            bytes[..bytes.len() / 2].to_vec(),
            "damaged or cut short",
        ),
        ("other.tcm", of_another_schema(), "other features"),
        (
            "trace.tcm",
            std::fs::read(&trace).unwrap(),
            "is not a model",
        ),
        ("empty.tcm", Vec::new(), "is not a model"),
    ] {
        std::fs::write(path(name), bytes).unwrap();
        let output = replay(&["detect", &trace, "--model", &path(name)]);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{name}: {message}");
        assert!(
            message.contains(expected) && message.contains(name),
            "{name}: {message}"
        );
        assert!(
            output.stdout.is_empty(),
            "{name}: nothing is detected with half of what was asked for"
        );
    }
    let output = replay(&["detect", &trace, "--model", &path("missing.tcm")]);
    assert_eq!(output.status.code(), Some(1));
}

/// A container that had shown something new was removed soon after a window began: the short rest of
/// its last window was judged as its first one, and the number of windows since went below zero.
#[test]
fn a_container_that_goes_early_in_a_window_is_done_with() {
    let mut scenario = fixtures::Scenario::new("goes early");
    let web = fixtures::Web::add(&mut scenario);
    web.serve_until_ms(&mut scenario, 25_000);
    scenario.open(web.workers[0], "/etc/shadow", 0);
    web.serve_until_ms(&mut scenario, 31_000);
    scenario.open(web.workers[0], "/etc/shadow", 0);
    scenario.stop_container(web.cgroup_id);
    scenario.advance_to_ms(45_000);
    let found = rows(&scenario.build().chunks);
    let windows: Vec<bool> = found
        .iter()
        .map(|row| row.values[schema::NEW_PATHS] > 0.0)
        .collect();
    assert_eq!(windows, [false, false, true]);
}

mod damage {
    use super::*;
    use proptest::prelude::*;
    use replay::{features::Features, order::EventRef, resolve::State};
    use trace_format::{
        CgroupChange, Container, Event, EventData, Resolution, Sample, SyscallCount, TcpState,
    };

    fn any_number() -> impl Strategy<Value = u64> {
        prop_oneof![
            Just(0),
            Just(1),
            Just(u64::MAX),
            Just(u64::MAX - 1),
            0..100_000_000_000u64,
            any::<u64>()
        ]
    }

    /// Mostly within a window, so that there are rows.
    fn any_step() -> impl Strategy<Value = u64> {
        prop_oneof![8 => 0..600_000_000u64, 1 => Just(5_000_000_000), 1 => any_number()]
    }

    fn any_event() -> impl Strategy<Value = EventData> {
        prop_oneof![
            (any::<u32>(), any_number()).prop_map(|(nr, calls)| EventData::SyscallCount(
                SyscallCount {
                    nr: nr % 600,
                    calls
                }
            )),
            (any_number(), any_number(), any_number()).prop_map(|(cpu_ns, memory_bytes, pids)| {
                EventData::Sample(Box::new(Sample {
                    cpu_ns,
                    throttled_ns: cpu_ns,
                    memory_bytes,
                    memory_limit_bytes: memory_bytes,
                    pids,
                    io_read_bytes: pids,
                    io_write_bytes: memory_bytes,
                    ..Sample::default()
                }))
            }),
            (0..3u64, any::<bool>()).prop_map(|(id, removed)| EventData::Cgroup(CgroupChange {
                id,
                path: "/x".into(),
                removed
            })),
            any::<[u8; 2]>().prop_map(|[old, new]| EventData::TcpState(TcpState {
                old,
                new,
                family: 2,
                local: Default::default(),
                remote: Default::default(),
                sock: 1,
                latency_ns: 0,
                ..TcpState::default()
            })),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// A trace can say anything: times at the end of the clock, counters that overflow, cgroups that come and go.
        #[test]
        fn whatever_a_trace_says_a_row_is_numbers(events in prop::collection::vec((any_step(), 0..3u64, any_event()), 1..60)) {
            let mut state = State::new();
            let mut features = Features::new(Settings { window_ns: 1_000_000_000, ..Settings::default() });
            let mut rows = Vec::new();
            for cgroup_id in 1..3 {
                let container = Container { cgroup_id, id: format!("c{cgroup_id}"), resolution: Resolution::Resolved, ..Default::default() };
                state.context(&ContextRecord { boot_ns: 0, body: Context::Container(container) });
            }
            let mut boot_ns = 0u64;
            for (step_ns, cgroup_id, data) in events {
                boot_ns = boot_ns.saturating_add(step_ns);
                let event = Event { boot_ns, cpu: 0, probe: 1, seq: 0, tid: 1, pid: 1, cgroup_id, data };
                features.advance(boot_ns, &state, &mut |row| rows.push(row));
                state.before(&event);
                features.event(&event, EventRef::default(), &state, &mut |row| rows.push(row));
                state.after(&event);
            }
            features.finish(&state, &mut |row| rows.push(row));
            for row in rows {
                prop_assert!(row.values.iter().all(|value| value.is_nan() || value.is_finite()), "{row:?}");
                prop_assert!(row.start_ns <= row.end_ns);
            }
        }
    }
}
