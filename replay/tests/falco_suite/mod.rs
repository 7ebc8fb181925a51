//! The peer's regression cases: every one of `../shared/data/falco-suite` is run here or named with the
//! reason why it cannot be. Where the folder is absent the test says so and passes, unless
//! `TRAILCAM_NO_SKIP=1`.

use crate::{alerts, trace};
use regex::Regex;
use replay::{
    rules::{FieldValue, RuleMatch, RuleSet},
    time,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// Cases that are about something that this program does not do. A case that is not in the folder, or
/// that could be run, must not be here.
const LEFT_OUT: [(&str, &str); 6] = [
    ("monitor_syscall_drops_alert", SIMULATED),
    ("monitor_syscall_drops_exit", SIMULATED),
    ("monitor_syscall_drops_ignore", SIMULATED),
    ("monitor_syscall_drops_log", SIMULATED),
    ("monitor_syscall_drops_none", SIMULATED),
    ("monitor_syscall_drops_threshold_oor", SIMULATED),
];
const SIMULATED: &str =
    "the peer's program pretends to lose events and tests its configuration; loss is a record here";

/// Parts of expectations that are not about rules: what the peer's program logs on standard error.
const INFORMATIVE: [&str; 2] = ["stderr_contains", "stderr_not_contains"];

/// How many cases of each kind there are, so that none is passed over in silence.
const CASES: usize = 76;

fn folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/falco-suite");
    if folder.join("cases.json").exists() {
        return Some(folder);
    }
    assert!(
        std::env::var_os("TRAILCAM_NO_SKIP").is_none(),
        "{} is absent",
        folder.display()
    );
    eprintln!("SKIPPED: no cases at {}", folder.display());
    None
}

fn strings(value: &Value) -> Vec<&str> {
    let list = value.as_array().into_iter().flatten();
    list.map(|one| one.as_str().unwrap()).collect()
}

#[test]
fn every_case_of_the_peer_gives_what_the_peer_expects() {
    let Some(folder) = folder() else { return };
    let text = std::fs::read_to_string(folder.join("cases.json")).unwrap();
    let cases: Value = serde_json::from_str(&text).unwrap();
    let cases = cases.as_array().unwrap();
    assert_eq!(cases.len(), CASES);
    let mut traces = BTreeMap::new();
    let mut left_out: BTreeSet<&str> = LEFT_OUT.iter().map(|case| case.0).collect();
    let (mut passed, mut wrong) = (0, Vec::new());
    for case in cases {
        let name = case["name"].as_str().unwrap();
        if left_out.remove(name) {
            assert_eq!(case["scope"], "drops", "{name} could be run");
            continue;
        }
        let result = match case["mode"].as_str().unwrap() {
            "run" => runs(case, &folder, &mut traces),
            "validate" => validates(case, &folder),
            other => Err(format!("a mode that nobody knows: {other}")),
        };
        match result {
            Ok(()) => passed += 1,
            Err(why) => wrong.push(format!("{name}: {why}")),
        }
    }
    assert!(left_out.is_empty(), "no such cases: {left_out:?}");
    eprintln!("{passed} cases passed, {} left out", LEFT_OUT.len());
    assert!(
        wrong.is_empty(),
        "{passed} passed, {} did not:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert_eq!(passed + LEFT_OUT.len(), CASES);
}

fn files(case: &Value, folder: &Path) -> Vec<(String, String)> {
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
    strings(&case["rules"])
        .into_iter()
        .map(|file| (file.to_owned(), read(file)))
        .collect()
}

fn named(files: &[(String, String)]) -> Vec<(&str, &str)> {
    files
        .iter()
        .map(|(name, text)| (&name[..], &text[..]))
        .collect()
}

/// Every key of the expectation is understood: one that is new must not pass unseen.
fn known_keys(expected: &Value, known: &[&str]) -> Result<(), String> {
    let keys = expected.as_object().unwrap().keys();
    let mut unknown =
        keys.filter(|key| !known.contains(&key.as_str()) && !INFORMATIVE.contains(&key.as_str()));
    match unknown.next() {
        Some(key) => Err(format!("expects `{key}`, which the test does not know")),
        None => Ok(()),
    }
}

fn runs(case: &Value, folder: &Path, traces: &mut BTreeMap<String, Vec<u8>>) -> Result<(), String> {
    let expected = &case["expect"];
    known_keys(
        expected,
        &[
            "exit_code",
            "detected",
            "count",
            "counts_by_rule",
            "counts_by_priority",
            "stdout_contains",
            "stdout_not_contains",
            "stdout_lines",
        ],
    )?;
    let files = files(case, folder);
    let (mut rules, _) = RuleSet::load(&named(&files)).map_err(|error| error.to_string())?;
    let options = &case["options"];
    if options["enabled_tags"].is_array() {
        rules.switch_named("*", false);
    }
    for tag in strings(&options["enabled_tags"]) {
        rules.switch_tagged(tag, true);
    }
    for tag in strings(&options["disabled_tags"]) {
        rules.switch_tagged(tag, false);
    }
    for pattern in strings(&options["disabled_rules"]) {
        rules.switch_named(pattern, false);
    }
    if let Some(priority) = options["min_priority"].as_str() {
        rules.minimum(priority.parse().unwrap());
    }
    let capture = case["capture"].as_str().ok_or("no capture")?;
    let bytes = traces
        .entry(capture.to_owned())
        .or_insert_with(|| trace(capture).unwrap_or_default());
    if bytes.is_empty() {
        return Err(format!("no capture {capture}"));
    }
    let (found, _) = alerts(bytes, rules);
    let lines: Vec<String> = found
        .iter()
        .map(|(wall_ns, found)| line(*wall_ns, found, options))
        .collect();

    let mut problems = Vec::new();
    let mut expect = |fits: bool, what: String| {
        if !fits {
            problems.push(what);
        }
    };
    if let Some(count) = expected["count"].as_u64() {
        expect(
            found.len() as u64 == count,
            format!("{} alerts, not {count}", found.len()),
        );
    }
    if let Some(detected) = expected["detected"].as_bool() {
        expect(
            found.is_empty() != detected,
            format!("{} alerts", found.len()),
        );
    }
    for (rule, count) in expected["counts_by_rule"].as_object().into_iter().flatten() {
        let matched = found.iter().filter(|alert| *alert.1.name == **rule).count();
        expect(
            Some(matched as u64) == count.as_u64(),
            format!("{rule}: {matched}, not {count}"),
        );
    }
    for (priority, count) in expected["counts_by_priority"]
        .as_object()
        .into_iter()
        .flatten()
    {
        let priority = priority.parse().unwrap();
        let matched = found
            .iter()
            .filter(|alert| alert.1.priority == priority)
            .count() as u64;
        let fits = match count.as_str() {
            Some(">0") => matched > 0,
            Some(other) => panic!("what is {other}?"),
            None => Some(matched) == count.as_u64(),
        };
        expect(fits, format!("{priority:?}: {matched}, not {count}"));
    }
    let matches = |pattern: &str| {
        let pattern = Regex::new(pattern).unwrap();
        lines.iter().any(|line| pattern.is_match(line))
    };
    for pattern in strings(&expected["stdout_contains"]) {
        expect(
            matches(pattern),
            format!("no line fits {pattern} in {lines:#?}"),
        );
    }
    for pattern in strings(&expected["stdout_not_contains"]) {
        expect(!matches(pattern), format!("a line fits {pattern}"));
    }
    for wanted in strings(&expected["stdout_lines"]) {
        expect(
            lines.iter().any(|line| line == wanted),
            format!("no line {wanted} in {lines:#?}"),
        );
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(problems.join("; ")),
    }
}

/// An alert as the peer prints it, from what a match says.
fn line(wall_ns: u64, found: &RuleMatch, options: &Value) -> String {
    let iso = options["time_format_iso_8601"] == true;
    let utc = time::rfc3339(wall_ns);
    let shown = match iso {
        true => format!("{}+0000", utc.trim_end_matches('Z')),
        false => utc[11..].trim_end_matches('Z').to_owned(),
    };
    let mut priority = found.priority.name().to_owned();
    priority[..1].make_ascii_uppercase();
    let text = format!("{shown}: {priority} {}", found.output);
    if options["json_output"] != true {
        return text;
    }
    let fields = found.fields.iter().map(|(name, value)| {
        let value = match value {
            FieldValue::Missing => Value::Null,
            FieldValue::Text(text) => json!(text),
            FieldValue::Number(number) => json!(number),
            FieldValue::Boolean(flag) => json!(flag),
        };
        (name.to_string(), value)
    });
    let mut object = json!({
        "time": utc,
        "rule": *found.name,
        "priority": priority,
        "source": "syscall",
        "output_fields": fields.collect::<serde_json::Map<_, _>>(),
    });
    if options["json_include_output_property"] != false {
        object["output"] = json!(text);
    }
    if options["json_include_tags_property"] != false {
        let tags: BTreeSet<&String> = found.tags.iter().collect();
        object["tags"] = json!(tags);
    }
    object.to_string()
}

fn validates(case: &Value, folder: &Path) -> Result<(), String> {
    let expected = &case["expect"];
    known_keys(
        expected,
        &[
            "exit_code",
            "errors",
            "warnings",
            "file_ok",
            "ok",
            "warning_count",
        ],
    )?;
    let files = files(case, folder);
    let checked = RuleSet::check(&named(&files));
    let errors: Vec<_> = checked.files.iter().flat_map(|file| &file.errors).collect();
    if errors.is_empty() != (expected["exit_code"] == 0) {
        return Err(format!("errors: {errors:?}"));
    }
    let same = |wanted: &Value, code: &str, item: Option<&replay::rules::Item>| {
        wanted["code"] == code
            && wanted["item_type"].as_str() == item.map(|item| item.kind.name())
            && wanted["item_name"].as_str() == item.and_then(|item| item.name.as_deref())
    };
    for wanted in expected["errors"].as_array().into_iter().flatten() {
        if !errors
            .iter()
            .any(|error| same(wanted, error.code.name(), error.item.as_deref()))
        {
            return Err(format!("no {wanted} in {errors:?}"));
        }
    }
    for wanted in expected["warnings"].as_array().into_iter().flatten() {
        let warnings = &checked.warnings;
        if !warnings
            .iter()
            .any(|one| same(wanted, one.code.name(), one.item.as_ref()))
        {
            return Err(format!("no {wanted} in {warnings:?}"));
        }
    }
    for file in expected["file_ok"].as_array().into_iter().flatten() {
        let report = &checked.files[file.as_u64().unwrap() as usize];
        if !report.errors.is_empty() {
            return Err(format!("{}: {:?}", report.file, report.errors));
        }
    }
    if let Some(count) = expected["warning_count"].as_u64()
        && checked.warnings.len() as u64 != count
    {
        return Err(format!("{} warnings, not {count}", checked.warnings.len()));
    }
    Ok(())
}
