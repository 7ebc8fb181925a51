//! The commands as a user meets them: outputs, exit codes, messages.

mod support;

use std::{
    fs, io,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;
use support::labeled;

fn model(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_model"))
        .args(arguments)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn succeeds(arguments: &[&str]) -> String {
    let output = model(arguments);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{arguments:?}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

fn fails(arguments: &[&str], code: i32, expected: &str) {
    let output = model(arguments);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
    assert!(
        message.contains(expected),
        "{arguments:?}: {message:?} does not say {expected:?}"
    );
    assert_eq!(
        message
            .lines()
            .filter(|line| line.contains("panicked"))
            .count(),
        0
    );
}

/// A reader that went away has seen enough: no message, no failure.
fn reader_gone(arguments: &[&str]) {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let output = Command::new(env!("CARGO_BIN_EXE_model"))
        .args(arguments)
        .arg("--quiet")
        .stdout(writer)
        .output()
        .unwrap();
    assert_eq!(
        (output.status.code(), text(&output.stderr)),
        (Some(0), String::new()),
        "{arguments:?}"
    );
}

fn path(directory: &Path, name: &str) -> String {
    directory.join(name).to_str().unwrap().to_owned()
}

#[test]
fn features_train_info_eval_score_explain() {
    let directory = labeled();
    let (data, model_file) = (path(directory.path(), ""), path(directory.path(), "m.tcm"));

    let table = succeeds(&["features", &data]);
    let head: Vec<&str> = table.lines().next().unwrap().split(',').collect();
    assert_eq!(
        head[..4],
        ["run", "container_id", "container_name", "image"]
    );
    assert_eq!(head.last(), Some(&"born_execs"));
    assert!(
        table
            .lines()
            .all(|line| line.split(',').count() == head.len())
    );
    assert!(table.lines().any(|line| line.contains(",1,port_scan,0.5,")));
    assert!(table.lines().any(|line| line.contains(",0,noop,0.5,")));

    let trained: Value = serde_json::from_str(&succeeds(&[
        "--json",
        "train",
        &data,
        "-o",
        &model_file,
        "--trees",
        "100",
    ]))
    .unwrap();
    assert!(
        trained["report"]["auroc"].as_f64().unwrap() > 0.95,
        "{trained}"
    );
    assert_eq!(trained["report"]["classes"].as_array().unwrap().len(), 4);
    assert_eq!(trained["runs"].as_array().unwrap().len(), 3);

    let info = succeeds(&["info", &model_file]);
    assert!(
        info.contains("100 trees") && info.contains("habits of 2 images"),
        "{info}"
    );
    assert!(info.contains("run        run2: trace "), "{info}");

    let report: Value = serde_json::from_str(&succeeds(&[
        "eval",
        "--json",
        &data,
        "--model",
        &model_file,
    ]))
    .unwrap();
    assert!(report["auroc"].as_f64().unwrap() > 0.95, "{report}");
    let report = succeeds(&[
        "eval",
        &path(directory.path(), "run1"),
        "--model",
        &model_file,
    ]);
    assert!(
        report.contains("port_scan") && report.contains("AUROC"),
        "{report}"
    );

    for command in [
        &["info", &model_file] as &[&str],
        &["eval", &data, "--model", &model_file],
        &["features", &data],
    ] {
        reader_gone(command);
    }

    let trace = path(directory.path(), "run0/trace.zst");
    let scores = succeeds(&["score", &trace, "--model", &model_file]);
    assert_eq!(scores.lines().count(), 4 * 12);
    assert!(scores.contains(" !  shop-web"), "{scores}");
    let explained = succeeds(&["explain", &trace, "--model", &model_file, "--top", "1"]);
    assert!(
        explained.contains("(alarm)") && explained.contains("new"),
        "{explained}"
    );
}

/// Other programs read the table: the file must be real Parquet with the labels in it.
#[test]
fn parquet_holds_the_rows_of_the_csv() {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    let directory = labeled();
    let (data, file) = (
        path(directory.path(), ""),
        path(directory.path(), "w.parquet"),
    );
    succeeds(&["features", &data, "--format", "parquet", "-o", &file]);
    let rows = succeeds(&["features", &data]).lines().count() - 1;
    let reader = SerializedFileReader::new(fs::File::open(&file).unwrap()).unwrap();
    assert_eq!(reader.metadata().file_metadata().num_rows() as usize, rows);
    let columns: Vec<String> = reader
        .metadata()
        .file_metadata()
        .schema_descr()
        .columns()
        .iter()
        .map(|column| column.name().to_owned())
        .collect();
    assert_eq!(columns[8..11], ["label", "class", "intensity"]);
    fails(&["features", &data, "-o", &file], 1, "exists");
}

#[test]
fn training_twice_gives_the_same_file() {
    let directory = labeled();
    let data = path(directory.path(), "");
    for name in ["a.tcm", "b.tcm"] {
        succeeds(&[
            "train",
            &data,
            "-o",
            &path(directory.path(), name),
            "--seed",
            "9",
            "--trees",
            "50",
        ]);
    }
    assert!(
        fs::read(directory.path().join("a.tcm")).unwrap()
            == fs::read(directory.path().join("b.tcm")).unwrap()
    );
}

#[test]
fn mistakes_have_a_message_and_an_exit_code() {
    let directory = tempfile::tempdir().unwrap();
    support::write_run(&directory.path().join("run"), 0, false);
    let (data, model_file) = (
        path(directory.path(), "run"),
        path(directory.path(), "m.tcm"),
    );
    fails(&["train"], 2, "required");
    fails(
        &["train", &data, "-o", &model_file, "--window", "soon"],
        2,
        "not a time",
    );
    fails(
        &["train", &data, "-o", &model_file, "--trees", "0"],
        1,
        "0 trees",
    );
    fails(
        &[
            "train",
            &path(directory.path(), "nowhere"),
            "-o",
            &model_file,
        ],
        1,
        "nowhere",
    );
    fails(&["info", &model_file], 1, "cannot read the model");
    fails(
        &["info", &path(directory.path(), "run/trace.zst")],
        1,
        "is not a model",
    );
    assert!(
        !Path::new(&model_file).exists(),
        "a failed training leaves no file"
    );

    succeeds(&["train", &data, "-o", &model_file, "--trees", "20"]);
    fails(&["train", &data, "-o", &model_file], 1, "--force");
    succeeds(&[
        "train",
        &data,
        "-o",
        &model_file,
        "--trees",
        "20",
        "--force",
    ]);
    let bytes = fs::read(&model_file).unwrap();
    fs::write(&model_file, &bytes[..bytes.len() / 2]).unwrap();
    fails(
        &["eval", &data, "--model", &model_file],
        1,
        "damaged or cut short",
    );

    // A trace that was cut short still gives what it holds, and exit code 3.
    let trace = directory.path().join("run/trace.zst");
    let bytes = fs::read(&trace).unwrap();
    fs::write(&trace, &bytes[..bytes.len() * 3 / 4]).unwrap();
    let output = model(&["features", &data]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert!(text(&output.stdout).lines().count() > 20);
}

#[test]
fn a_closed_output_is_no_failure() {
    let directory = labeled();
    let mut child = Command::new(env!("CARGO_BIN_EXE_model"))
        .args(["features", directory.path().to_str().unwrap()])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}
