//! Falco's own rule file, unmodified.

use replay::rules::RuleSet;
use std::path::Path;

/// The stock file, where it is; else says that the test is skipped.
pub fn text(test: &str) -> Option<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/data/falco-rules/falco_rules.yaml");
    let text = std::fs::read_to_string(&path).ok();
    if text.is_none() {
        println!("skipped: {test}: no {}", path.display());
    }
    text
}

/// Rules of Falco's stock file: all of them load, and say which of them can never match here.
#[test]
fn the_stock_rules_load_unmodified() {
    let Some(text) = text("the_stock_rules_load_unmodified") else {
        return;
    };
    let (rules, warnings) =
        RuleSet::load(&[("falco_rules.yaml", &text)]).unwrap_or_else(|error| panic!("{error}"));
    let defined = text
        .lines()
        .filter(|line| line.starts_with("- rule: "))
        .count();
    println!("{} of {defined} rules", rules.rules().len());
    for warning in &warnings {
        println!("{warning}");
    }
    assert_eq!(rules.rules().len(), defined);
}
