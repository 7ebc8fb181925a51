//! Falco's own rule file, unmodified.

use replay::rules::RuleSet;
use std::path::Path;

/// Rules of Falco's stock file: all of them load, and say which of them can never match here.
#[test]
fn the_stock_rules_load_unmodified() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/data/falco-rules/falco_rules.yaml");
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!(
            "skipped: the_stock_rules_load_unmodified: no {}",
            path.display()
        );
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
