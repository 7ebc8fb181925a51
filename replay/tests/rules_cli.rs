//! `replay rules check | list | explain | test`, as they are called.

mod program;

use program::replay;
use serde_json::Value;
use std::{fs, path::Path};

const SHIPPED_CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/rules/trailcam_cases.yaml");
const SHIPPED_RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/rules/trailcam_rules.yaml");

/// Exit code, standard output, standard error.
fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = replay(&[&["rules"], arguments].concat(), b"");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn file(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn check_says_everything_that_is_wrong_with_codes() {
    let folder = tempfile::tempdir().unwrap();
    let (code, out, _) = run(&["check", SHIPPED_RULES]);
    assert_eq!(code, 0, "{out}");
    assert!(out.ends_with("0 errors, 0 warnings\n"), "{out}");
    let bad = file(
        folder.path(),
        "bad.yaml",
        "- rule: a\n  desc: d\n  condition: proc.nmae=x\n  output: o\n  priority: info\n- rule: b\n  desc: d\n  condition: evt.type=open\n  output: '%nope.x'\n  priority: info\n- macro: m\n  condition: evt.num=1\n- thing: x\n",
    );
    let (code, out, _) = run(&["check", &bad]);
    assert_eq!(code, 1);
    for part in [
        ":3:14: found `proc.nmae`, expected a known field, such as proc.name",
        "[LOAD_ERR_COMPILE_CONDITION]",
        ":9:13: found `nope.x`",
        "[LOAD_ERR_COMPILE_OUTPUT]",
        "[LOAD_UNUSED_MACRO]",
        "[LOAD_UNKNOWN_ITEM]",
        "2 errors, 2 warnings",
    ] {
        assert!(out.contains(part), "{part}\n{out}");
    }
    let (code, out, _) = run(&["check", &bad, "--json"]);
    let value: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &value["ok"]), (1, &Value::Bool(false)));
    assert_eq!(value["errors"][0]["code"], "LOAD_ERR_COMPILE_CONDITION");
    assert_eq!(value["errors"][0]["item"]["name"], "a");
    assert_eq!(value["warnings"].as_array().unwrap().len(), 2);
    let (code, _, err) = run(&["check", "/no/such/file"]);
    assert!(code == 1 && err.contains("/no/such/file"), "{err}");
}

#[test]
fn list_names_rules_and_what_selection_leaves() {
    let (code, out, _) = run(&["list", "--json"]);
    assert_eq!(code, 0);
    let rules: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(rules.len() > 40, "{}", rules.len());
    let scan = rules
        .iter()
        .find(|rule| rule["name"] == "Many ports tried by a container")
        .unwrap();
    assert_eq!(scan["attack"], serde_json::json!(["T1046"]));
    assert_eq!(
        (&scan["kind"], &scan["enabled"]),
        (&"window".into(), &true.into())
    );
    let on = |arguments: &[&str]| {
        let (code, out, err) = run(&[&["list"], arguments].concat());
        assert_eq!(code, 0, "{err}");
        out.lines().filter(|line| line.starts_with("on ")).count()
    };
    assert_eq!(on(&["--rule", "Many ports*"]), 1);
    assert_eq!(on(&["--tag", "T1046", "--rule", "Program run*"]), 4);
    assert_eq!(on(&["--rule", "Program*", "--disable", "*memory"]), 4);
    assert!(on(&["--min-priority", "critical"]) < on(&["--min-priority", "error"]));
    assert!(on(&["--disable-tag", "container"]) < 5);
    let (code, _, err) = run(&["list", "--rule", "No such rule"]);
    assert!(code == 2 && err.contains("No such rule"), "{err}");
}

#[test]
fn explain_shows_what_a_rule_comes_to() {
    let (code, out, _) = run(&["explain", "Persistence file written in a container"]);
    assert_eq!(code, 0);
    for part in [
        "ERROR".to_lowercase().as_str(),
        "T1053.003",
        "container.id != 'host'",
        "evt.is_open_write = 'true'",
        "'/etc/cron.d'",
        "creat open openat openat2",
        "from profile standard on",
        "field      fd.name",
        "field      user.name (output only)",
    ] {
        assert!(out.contains(part), "{part}\n{out}");
    }
    let (_, out, _) = run(&["explain", "Log file cleared"]);
    assert!(
        out.contains("step 1 (absent, by container.id, fd.name)"),
        "{out}"
    );
    assert!(out.contains("within 60 s"), "{out}");
    let (_, out, _) = run(&["explain", "Several alarms in one container", "--json"]);
    let value: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(value["types"], serde_json::json!(["finding"]));
    let (code, _, err) = run(&["explain", "Nothing"]);
    assert!(code == 2 && err.contains("Nothing"), "{err}");
}

/// Promise: each shipped rule has a case in which it fires; the same file has what it leaves alone.
#[test]
fn every_shipped_rule_fires_in_a_case() {
    let left_out = [
        // Off until somebody says what is allowed.
        "Connection outside the allow list",
        // Cases have no sockets of that kind; tests/rules/shipped.rs has it.
        "Packet socket opened in a container",
    ];
    let cases = fs::read_to_string(SHIPPED_CASES).unwrap();
    let (_, out, _) = run(&["list", "--json"]);
    let mut rules = 0;
    for line in out.lines() {
        let rule: Value = serde_json::from_str(line).unwrap();
        let name = rule["name"].as_str().unwrap();
        let expected = ["}", ","].map(|end| format!("    - {{rule: {name}{end}"));
        let has = expected.iter().any(|expected| cases.contains(expected));
        assert_eq!(has, !left_out.contains(&name), "{name}");
        rules += 1;
    }
    assert!(rules > 40, "{out}");
}

#[test]
fn test_runs_cases_and_says_what_differs() {
    let (code, out, err) = run(&["test", SHIPPED_CASES]);
    assert_eq!(code, 0, "{out}{err}");
    let all = out.lines().filter(|line| line.starts_with("ok ")).count();
    assert!(out.ends_with(&format!("{all} passed, 0 failed\n")), "{out}");
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(SHIPPED_CASES).unwrap();
    let broken = text.replace("count: 1, severity: error", "count: 2, severity: error");
    let broken = broken.replace(
        "    - {rule: Log file cleared, count: 1, contains: /var/log/audit.log}\n",
        "",
    );
    let broken = file(folder.path(), "cases.yaml", &broken);
    let (code, out, _) = run(&["test", &broken]);
    assert_eq!(code, 1);
    for part in [
        &format!("{} passed, 2 failed", all - 2),
        "- 2 × Shell started by a server (error) in web with \"sh -c id\", found 1",
        "    + 2023-",
        "Log file cleared",
    ] {
        assert!(out.contains(part), "{part}\n{out}");
    }
    for (text, expected) in [
        ("- case: x\n  expect: []\n", "either `trace` or `events`"),
        (
            "- case: x\n  events: [{open: {pid: 1}}]\n  expect: []\n",
            "brought in before",
        ),
        (
            "- case: x\n  events: [{jump: {pid: 1}}]\n  expect: []\n",
            "one of container",
        ),
        ("- case: x\n  events: []\n", "`expect`"),
        (
            "- case: x\n  events: [{wait: 2h}]\n  expect: []\n",
            "at most an hour",
        ),
        (
            "- case: x\n  events: [{process: {pid: -4}}]\n  expect: []\n",
            "not below zero",
        ),
        (
            "- case: x\n  events: [{repeat: {times: 20000, events: [{wait: 1ms}]}}]\n  expect: []\n",
            "at most 10000 events",
        ),
        (
            "- case: x\n  events: [{repeat: {times: 2, events: [{repeat: {times: 2, events: []}}]}}]\n  expect: []\n",
            "no `repeat`",
        ),
    ] {
        let path = file(folder.path(), "wrong.yaml", text);
        let (code, _, err) = run(&["test", &path]);
        assert!(code == 2 && err.contains(expected), "{expected}: {err}");
    }
    let path = file(
        folder.path(),
        "missing.yaml",
        "- case: x\n  trace: none.zst\n  expect: []\n",
    );
    let (code, _, err) = run(&["test", &path]);
    assert!(code == 1 && err.contains("none.zst"), "{err}");
}
