//! Findings of one attack read as one story: what joins, what stays apart, what ends it, and the bounds.

mod support;

use replay::{
    findings::{EngineKind, Finding, FoundContainer, FoundProcess, Severity},
    incidents::{Ended, Incident, Incidents, LENGTH_NS_MAX, OPEN_MAX, QUIET_NS, STEPS_MAX},
    pipeline::{Pipeline, Settings},
    rules::RuleSet,
};
use support::{SECOND_NS, Scenario, items, seal};

fn finding(rule: &str, container: u64, lineage: &[u32], at_ns: u64) -> Finding {
    let mut finding = Finding::new(EngineKind::Rules, rule.into(), Severity::Warning, at_ns);
    finding.cgroup_id = container;
    if container != 0 {
        finding.container = FoundContainer {
            id: format!("{container:064x}"),
            name: format!("c{container}"),
            cgroup_id: container,
            ..Default::default()
        };
    }
    finding.pid = lineage.first().copied().unwrap_or(0);
    finding.lineage = lineage
        .iter()
        .map(|pid| FoundProcess {
            pid: *pid,
            start_ns: u64::from(*pid) * 10,
            comm: format!("p{pid}"),
            exe: String::new(),
            inside: true,
        })
        .collect();
    finding
}

struct Told {
    incidents: Incidents,
    ids: Vec<u64>,
}

impl Told {
    fn new() -> Told {
        Told {
            incidents: Incidents::default(),
            ids: Vec::new(),
        }
    }

    fn take(&mut self, mut finding: Finding) -> u64 {
        let (key, now_ns) = (finding.cgroup_id, finding.boot_ns);
        self.incidents.take(&mut finding, key, now_ns);
        self.ids.push(finding.incident);
        finding.incident
    }

    fn end(mut self) -> Vec<Incident> {
        self.incidents.finish();
        self.incidents.ended().collect()
    }
}

#[test]
fn a_container_or_a_process_tree_joins_findings() {
    let mut told = Told::new();
    let web = told.take(finding("shell", 7, &[20, 10], SECOND_NS));
    assert_eq!(
        told.take(finding("scan", 7, &[99, 98], 2 * SECOND_NS)),
        web,
        "the same container"
    );
    let escaped = told.take(finding("escape", 0, &[30, 20, 10], 3 * SECOND_NS));
    assert_eq!(escaped, web, "a child of the shell, on the host now");
    let other = told.take(finding("shell", 8, &[50, 40], 3 * SECOND_NS));
    assert_ne!(other, web);
    let incidents = told.end();
    assert_eq!(incidents.len(), 2);
    let story = &incidents[0];
    assert_eq!((story.id, story.findings), (web, 3));
    assert_eq!(story.title(), "shell, then scan, then escape");
    assert_eq!(story.ended, Ended::Trace);
    let text = story.to_text();
    assert!(
        text.contains("[c7]") && text.contains("+    2.000 s"),
        "{text}"
    );
    let json: serde_json::Value = serde_json::from_str(&story.to_json()).unwrap();
    assert_eq!(json["steps"].as_array().unwrap().len(), 3);
    assert_eq!(json["incident"], format!("{web:016x}"));
}

#[test]
fn init_and_its_services_join_nothing() {
    let mut told = Told::new();
    // Two logins by one sshd (pid 100), which init started.
    let one = told.take(finding("a", 0, &[300, 200, 100, 1], SECOND_NS));
    let two = told.take(finding("b", 0, &[301, 201, 100, 1], SECOND_NS));
    assert_ne!(one, two);
    // What the service does itself is its own.
    let service = told.take(finding("c", 0, &[100, 1], SECOND_NS));
    assert!(service != one && service != two);
    assert_eq!(
        told.take(finding("d", 0, &[302, 200, 100, 1], SECOND_NS)),
        one
    );
}

#[test]
fn what_started_two_containers_does_not_join_them() {
    let started = |container, lineage: &[u32], at_ns| {
        let mut finding = finding("a", container, lineage, at_ns);
        let ancestors = finding.lineage.iter_mut().rev();
        ancestors.take(2).for_each(|process| process.inside = false);
        finding
    };
    let mut told = Told::new();
    let one = told.take(started(7, &[300, 200, 100], SECOND_NS));
    let two = told.take(started(8, &[400, 200, 100], SECOND_NS));
    assert_ne!(one, two);
    // A tree that leaves the container is still one tree.
    let escaped = told.take(finding("b", 0, &[301, 300, 200, 100], SECOND_NS));
    assert_eq!(escaped, one);
}

#[test]
fn a_link_between_two_stories_joins_the_older_and_names_the_other() {
    let mut told = Told::new();
    let host = told.take(finding("a", 0, &[300, 200, 90], SECOND_NS));
    let container = told.take(finding("b", 7, &[400], SECOND_NS));
    assert_eq!(told.take(finding("c", 7, &[401, 200, 90], SECOND_NS)), host);
    let incidents = told.end();
    assert_eq!(incidents[0].related, [container]);
    assert_eq!(incidents[1].related, [host]);
}

#[test]
fn quiet_ends_a_story_and_so_does_its_length() {
    let mut told = Told::new();
    let first = told.take(finding("a", 7, &[], 0));
    assert_eq!(told.take(finding("a", 7, &[], QUIET_NS - 1)), first);
    let second = told.take(finding("a", 7, &[], 2 * QUIET_NS - 1));
    assert_ne!(second, first);
    let mut at_ns = 2 * QUIET_NS - 1;
    let end_ns = at_ns + LENGTH_NS_MAX;
    while at_ns + QUIET_NS / 2 < end_ns {
        at_ns += QUIET_NS / 2;
        assert_eq!(told.take(finding("a", 7, &[], at_ns)), second);
    }
    let third = told.take(finding("a", 7, &[], end_ns));
    assert_ne!(third, second);
    let ended: Vec<Ended> = told.end().iter().map(|incident| incident.ended).collect();
    assert_eq!(ended, [Ended::Quiet, Ended::Long, Ended::Trace]);
}

#[test]
fn stories_and_their_lines_are_bounded_and_the_worst_stays() {
    let mut told = Told::new();
    for container in 0..OPEN_MAX as u64 + 2 {
        told.take(finding("a", container + 1, &[], container));
    }
    let room: Vec<Incident> = told.incidents.ended().collect();
    assert_eq!(room.len(), 2);
    assert!(room.iter().all(|incident| incident.ended == Ended::Room));
    assert_eq!(room[0].containers[0].cgroup_id, 1);

    let mut told = Told::new();
    for rule in 0..STEPS_MAX as u64 + 10 {
        told.take(finding(&format!("r{rule}"), 7, &[], rule));
    }
    let mut worst = finding("worst", 7, &[], 1_000);
    worst.severity = Severity::Critical;
    told.take(worst);
    // The same again is no new line.
    told.take(finding("r0", 7, &[], 1_001));
    let story = &told.end()[0];
    assert_eq!(story.steps.len(), STEPS_MAX);
    assert_eq!(story.steps_left_out, 11);
    assert_eq!(story.severity, Severity::Critical);
    assert!(story.steps.iter().any(|step| &*step.rule == "worst"));
    assert_eq!(story.steps[0].findings, 2);
    let told: u64 = story.steps.iter().map(|step| step.findings).sum();
    assert_eq!(told + story.steps_left_out, story.findings);
}

/// However the trace is cut into chunks, and whenever somebody asks.
#[test]
fn stories_do_not_depend_on_chunks() {
    let told = |rows: usize, at_the_end: bool| {
        let mut pipeline = Pipeline::new(Settings {
            rules: Some(RuleSet::shipped()),
            statistics: true,
            detectors: Vec::new(),
        });
        let mut lines = Vec::new();
        let mut ids = Vec::new();
        let mut drain = |pipeline: &mut Pipeline| {
            ids.extend(pipeline.findings().map(|finding| finding.incident));
            lines.extend(pipeline.incidents().map(|incident| {
                assert!(!incident.to_text().is_empty());
                // Where the evidence is stored depends on chunks, of course.
                let mut json: serde_json::Value =
                    serde_json::from_str(&incident.to_json()).unwrap();
                for step in json["steps"].as_array_mut().unwrap() {
                    step["chunk"].take();
                    step["row"].take();
                }
                json.to_string()
            }));
        };
        for chunk in seal(&items(Scenario::ATTACKED), |_| rows) {
            pipeline.push(&chunk).unwrap();
            if !at_the_end {
                drain(&mut pipeline);
            }
        }
        pipeline.finish();
        drain(&mut pipeline);
        (lines, ids)
    };
    let (lines, ids) = told(2_000, false);
    assert!(!lines.is_empty() && ids.len() > lines.len(), "{lines:?}");
    assert_eq!(told(500, true), (lines.clone(), ids.clone()));
    assert_eq!(told(7_000, false), (lines, ids));
}
