//! Every situation of the fixtures through the whole pipeline, as `replay detect` runs it: what must
//! be found is found in its container and at its time, and a quiet minute raises nothing.

use fixtures::{Built, SITUATIONS};
use replay::{
    findings::{EngineKind, Finding, Severity},
    pipeline::{Pipeline, Settings},
    rules::RuleSet,
};
use trace_format::ChunkSource;

fn detect(built: &Built) -> Vec<Finding> {
    let mut pipeline = Pipeline::new(Settings {
        rules: Some(RuleSet::shipped()),
        statistics: true,
        ..Default::default()
    });
    let mut source = built.source();
    while let Some(chunk) = source.next_chunk().unwrap() {
        pipeline.push(&chunk).unwrap();
    }
    pipeline.finish();
    assert_eq!(pipeline.totals().disorder, Default::default());
    pipeline.findings().collect()
}

fn texts(findings: &[Finding]) -> String {
    let texts: Vec<String> = findings.iter().map(Finding::to_text).collect();
    texts.join("\n")
}

/// A shift of level shows some seconds after it began.
const NOTICED_NS: u64 = 5_000_000_000;

#[test]
fn every_situation_is_found_at_its_time_and_quiet_is_quiet() {
    for situation in SITUATIONS {
        let built = (situation.build)().build();
        let findings = detect(&built);
        if situation.what.is_empty() {
            assert!(
                findings.is_empty(),
                "{}: {}",
                situation.name,
                texts(&findings)
            );
            continue;
        }
        for act in &built.acts {
            let of_act = |finding: &&Finding| {
                finding.severity >= Severity::Notice
                    && (act.cgroup_id == 0 || finding.cgroup_id == act.cgroup_id)
                    // What a container is, rather than does, is known from its start.
                    && (finding.evidence.is_none()
                        || (act.from_ns..=act.to_ns + NOTICED_NS).contains(&finding.boot_ns))
            };
            assert!(
                findings.iter().any(|finding| of_act(&finding)),
                "{} at {}: not among\n{}",
                act.what,
                act.from_ns,
                texts(&findings)
            );
        }
        // Nothing before it: the container did the same work all the time.
        let first = built.acts.iter().map(|act| act.from_ns).min().unwrap();
        let early: Vec<Finding> = findings
            .into_iter()
            .filter(|finding| finding.evidence.is_some() && finding.boot_ns < first)
            .collect();
        assert!(early.is_empty(), "{}: {}", situation.name, texts(&early));
    }
}

#[test]
fn the_golden_trace_tells_its_whole_story() {
    let built = fixtures::golden();
    let findings = detect(&built);
    println!("{}", texts(&findings));
    for act in &built.acts {
        let found = findings.iter().any(|finding| {
            (act.cgroup_id == 0 || finding.cgroup_id == act.cgroup_id)
                && (act.from_ns..=act.to_ns + NOTICED_NS).contains(&finding.boot_ns)
        });
        assert!(found, "{}: not among\n{}", act.what, texts(&findings));
    }
    let metrics: Vec<&str> = findings
        .iter()
        .filter(|finding| finding.engine == EngineKind::Statistics)
        .map(|finding| &*finding.rule)
        .collect();
    assert!(
        metrics.contains(&"connect_targets") && metrics.contains(&"cpu_share"),
        "{metrics:?}"
    );
    // One line each for a person: an incident of nine acts is not a hundred findings.
    assert!(findings.len() < 40, "{}", texts(&findings));
}
