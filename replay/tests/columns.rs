//! `replay info --columns`: what columns weigh adds up to the file, for our own traces and for imports.

mod captures;

use serde_json::Value;
use std::{
    fs,
    process::{Command, Stdio},
};

fn info(arguments: &[&str], input: Option<&str>) -> Value {
    let stdin = match input {
        Some(path) => Stdio::from(fs::File::open(path).unwrap()),
        None => Stdio::null(),
    };
    let output = Command::new(env!("CARGO_BIN_EXE_replay"))
        .args([&["info", "--json"], arguments].concat())
        .stdin(stdin)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn sum(of: &Value) -> u64 {
    let parts = of.as_array().unwrap().iter();
    parts
        .map(|part| part["stored_bytes"].as_u64().unwrap())
        .sum()
}

/// Returns the names of the families.
fn check(path: &str) -> Vec<String> {
    let found = info(&["--columns", path], None);
    let columns = &found["columns"];
    let stored = columns["stored_bytes"].as_u64().unwrap();
    assert_eq!(sum(&columns["columns"]), stored);
    assert_eq!(sum(&columns["families"]), stored);
    // What is left are the summary and the seek table.
    let file = found["file_bytes"].as_u64().unwrap();
    assert!(
        stored < file && stored > file * 9 / 10,
        "{stored} of {file}"
    );
    let families = columns["families"].as_array().unwrap();
    let common = families.iter().find(|family| family["family"] == "common");
    assert_eq!(common.unwrap()["events"], found["events"]);
    for column in columns["columns"].as_array().unwrap() {
        let name = column["column"].as_str().unwrap();
        assert!(!name.starts_with("column "), "{column} has no name");
    }
    let streamed = info(&["--columns", "-"], Some(path));
    assert_eq!(&streamed["columns"], columns);
    assert_eq!(info(&[path], None)["columns"], Value::Null);
    let names = families.iter().map(|family| family["family"].as_str());
    names.map(|name| name.unwrap().to_owned()).collect()
}

#[test]
fn our_own_trace_is_weighed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("golden.zst");
    fixtures::golden().write_file(&path).unwrap();
    let families = check(path.to_str().unwrap());
    for family in ["common", "chunk", "syscall", "exec"] {
        assert!(families.iter().any(|name| name == family), "{families:?}");
    }
}

#[cfg(feature = "import")]
#[test]
fn an_imported_capture_is_weighed_by_its_own_names() {
    let captures = captures::captures();
    let Some(capture) = captures
        .iter()
        .find(|one| one.name.ends_with("cat_write.scap"))
    else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("imported.zst");
    let path = path.to_str().unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_replay"))
        .args([
            "import",
            "--quiet",
            capture.path.to_str().unwrap(),
            "-o",
            path,
        ])
        .stdout(Stdio::null())
        .status();
    assert!(status.unwrap().success());
    let families = check(path);
    assert!(
        families.iter().any(|name| name == "scap.process"),
        "{families:?}"
    );
}
