//! What the engines must find in a known trace, and what they must leave alone.

mod support;

use replay::{
    findings::{EngineKind, Finding, Severity},
    gate::{REPEAT_NS, WAIT_NS_MAX},
    order::EventRef,
    pipeline::{Detector, Pipeline, Settings},
    resolve::State,
};
use support::{DB_ID, Item, SECOND_NS, START_NS, Scenario, WEB, WEB_ID, items, seal};
use trace_format::{
    Container, Context, ContextRecord, Event, EventData, LossCount, Resolution, TcpState,
};

fn run(items: &[Item], settings: Settings) -> (Vec<Finding>, Pipeline) {
    let mut pipeline = Pipeline::new(settings);
    let mut findings = Vec::new();
    for chunk in seal(items, |_| 500) {
        pipeline.push(&chunk).unwrap();
        findings.extend(pipeline.findings());
    }
    pipeline.finish();
    findings.extend(pipeline.findings());
    (findings, pipeline)
}

fn statistics(scenario: Scenario) -> Vec<Finding> {
    run(
        &items(scenario),
        Settings {
            statistics: true,
            ..Default::default()
        },
    )
    .0
}

fn of<'a>(findings: &'a [Finding], rule: &str) -> Vec<&'a Finding> {
    findings
        .iter()
        .filter(|finding| &*finding.rule == rule)
        .collect()
}

#[test]
fn a_quiet_minute_raises_nothing() {
    let findings = statistics(Scenario::QUIET);
    assert!(
        findings.is_empty(),
        "{:#?}",
        findings.iter().map(Finding::to_text).collect::<Vec<_>>()
    );
}

#[test]
fn a_port_scan_is_found_in_two_seconds_with_its_process() {
    let findings = statistics(Scenario {
        cpu_hog_at: None,
        ..Scenario::ATTACKED
    });
    let scans = of(&findings, "connect_targets");
    assert_eq!(scans.len(), 1, "{findings:#?}");
    let scan = scans[0];
    assert!(
        scan.boot_ns <= START_NS + (12 + 2) * SECOND_NS,
        "{}",
        scan.to_text()
    );
    assert_eq!(
        (scan.container.id.as_str(), scan.container.name.as_str()),
        (WEB_ID, "web")
    );
    let names: Vec<&str> = scan
        .lineage
        .iter()
        .map(|process| process.comm.as_str())
        .collect();
    assert_eq!(names[..2], ["worker", "nginx"]);
    assert!(scan.tags.iter().any(|tag| tag == "T1046"));
    assert!(scan.evidence.is_some() && scan.degraded.is_none());
}

#[test]
fn five_seconds_of_baseline_are_enough() {
    let findings = statistics(Scenario {
        seconds: 15,
        port_scan_at: Some(5),
        shadow_at: None,
        cpu_hog_at: Some(6),
    });
    let scan = of(&findings, "connect_targets")[0];
    assert!(
        scan.boot_ns <= START_NS + 8 * SECOND_NS,
        "{}",
        scan.to_text()
    );
    let hog = of(&findings, "cpu_share")[0];
    assert!(
        hog.boot_ns <= START_NS + 10 * SECOND_NS,
        "{}",
        hog.to_text()
    );
}

#[test]
fn a_busy_cpu_is_found_in_four_seconds() {
    let findings = statistics(Scenario {
        port_scan_at: None,
        shadow_at: None,
        ..Scenario::ATTACKED
    });
    assert_eq!(
        findings.len(),
        1,
        "{:#?}",
        findings.iter().map(Finding::to_text).collect::<Vec<_>>()
    );
    let hog = &findings[0];
    assert_eq!(&*hog.rule, "cpu_share");
    assert_eq!(hog.container.id, DB_ID);
    assert!(
        hog.boot_ns <= START_NS + 24 * SECOND_NS,
        "{}",
        hog.to_text()
    );
    let field = |name: &str| {
        hog.fields
            .iter()
            .find(|(field, _)| field == name)
            .map(|(_, value)| value.to_string())
    };
    assert_eq!(field("value").as_deref(), Some("0.95"));
    assert_eq!(field("direction").as_deref(), Some("up"));
}

/// Reports each open.
struct Opens(&'static str);
impl Detector for Opens {
    fn event(&mut self, event: &Event, at: &EventRef, _: &State, found: &mut dyn FnMut(Finding)) {
        if let EventData::Open(_) = &event.data {
            let mut finding = Finding::new(
                EngineKind::Rules,
                self.0.into(),
                Severity::Notice,
                event.boot_ns,
            );
            finding.cgroup_id = event.cgroup_id;
            finding.pid = event.pid;
            finding.evidence = Some(*at);
            found(finding);
        }
    }
}

fn opens() -> Settings {
    Settings {
        detectors: vec![Box::new(Opens("open"))],
        ..Default::default()
    }
}

#[test]
fn identical_findings_in_ten_seconds_are_one_and_the_rest_is_counted() {
    // nginx and postgres open a file each second, for a minute.
    let (findings, pipeline) = run(&items(Scenario::QUIET), opens());
    let totals = pipeline.totals();
    assert_eq!(findings.len() as u64, totals.findings);
    assert_eq!(
        totals.findings + totals.suppressed,
        120,
        "nothing disappears uncounted"
    );
    assert!((10..=14).contains(&findings.len()), "{}", findings.len());
    for pid in [1_000, 2_000] {
        let mine: Vec<&Finding> = findings
            .iter()
            .filter(|finding| finding.pid == pid)
            .collect();
        for pair in mine.windows(2) {
            assert!(pair[1].boot_ns - pair[0].boot_ns >= REPEAT_NS);
            // One a second: what was left out in between is said by the next one.
            assert!(
                (8..=11).contains(&pair[1].suppressed),
                "{}",
                pair[1].suppressed
            );
        }
    }
    assert_eq!(pipeline.suppressed()[0].1, totals.suppressed);
}

#[test]
fn a_finding_waits_for_its_containers_name_but_not_for_ever() {
    let container = |resolution, name: &str| {
        let id = WEB_ID.to_owned();
        Context::Container(Container {
            cgroup_id: WEB,
            id,
            name: name.into(),
            resolution,
            ..Default::default()
        })
    };
    for (answer_ms, name) in [(499, "late-name"), (501, "")] {
        let mut trace: Vec<Item> = items(Scenario {
            seconds: 3,
            ..Scenario::QUIET
        });
        trace.retain(|item| {
            !matches!(
                item,
                Item::Context(ContextRecord {
                    body: Context::Container(_),
                    ..
                })
            )
        });
        let first_open = trace
            .iter()
            .filter_map(|item| match item {
                Item::Event(event)
                    if event.cgroup_id == WEB && matches!(event.data, EventData::Open(_)) =>
                {
                    Some(event.boot_ns)
                }
                _ => None,
            })
            .min()
            .unwrap();
        assert_eq!(WAIT_NS_MAX, 500_000_000);
        for (boot_ns, body) in [
            (START_NS, container(Resolution::Pending, "")),
            (
                first_open + answer_ms * 1_000_000,
                container(Resolution::Resolved, "late-name"),
            ),
        ] {
            trace.push(Item::Context(ContextRecord { boot_ns, body }));
        }
        trace.sort_by_key(Item::boot_ns);
        let (findings, _) = run(&trace, opens());
        let first = findings
            .iter()
            .find(|finding| finding.cgroup_id == WEB)
            .unwrap();
        assert_eq!(first.container.name, name, "answered after {answer_ms} ms");
        assert_eq!(first.container.id, WEB_ID);
    }
}

#[test]
fn findings_near_a_loss_say_degraded_and_others_do_not() {
    let mut trace = items(Scenario::QUIET);
    for (second, dropped) in [(1, 0), (30, 5), (31, 5)] {
        let counts = vec![LossCount {
            cpu: 0,
            probe: 2,
            seen: 100_000,
            dropped,
            filtered: 0,
        }];
        let body = Context::Loss(trace_format::Loss { counts });
        trace.push(Item::Context(ContextRecord {
            boot_ns: START_NS + second * SECOND_NS,
            body,
        }));
    }
    trace.sort_by_key(Item::boot_ns);
    let (findings, pipeline) = run(&trace, opens());
    assert!(pipeline.totals().lost > 0);
    let gap_ns = START_NS + 30 * SECOND_NS;
    for finding in &findings {
        let near = (gap_ns..=gap_ns + 10 * SECOND_NS).contains(&finding.boot_ns);
        assert_eq!(finding.degraded.is_some(), near, "{}", finding.to_text());
    }
    assert!(findings.iter().any(|finding| finding.degraded.is_some()));
}

#[test]
fn a_missing_chunk_degrades_what_follows() {
    let mut chunks = seal(
        &items(Scenario {
            seconds: 40,
            ..Scenario::QUIET
        }),
        |_| 500,
    );
    chunks.remove(10);
    let mut pipeline = Pipeline::new(opens());
    for chunk in &chunks {
        pipeline.push(chunk).unwrap();
    }
    pipeline.finish();
    assert_eq!(pipeline.totals().chunks_missing, 1);
    let findings: Vec<Finding> = pipeline.findings().collect();
    assert!(findings.iter().any(|finding| finding.degraded.is_some()));
    assert!(
        findings.first().unwrap().degraded.is_none() && findings.last().unwrap().degraded.is_none()
    );
}

#[test]
fn a_scan_that_does_not_block_is_found_by_its_socket_states() {
    // connect() answers EINPROGRESS; that nobody listens shows only in the state of the socket.
    let mut trace = items(Scenario {
        cpu_hog_at: None,
        shadow_at: None,
        ..Scenario::ATTACKED
    });
    let mut refusals = Vec::new();
    for item in &mut trace {
        if let Item::Event(event) = item
            && let EventData::SockCall(call) = &mut event.data
        {
            call.ret = -115;
            let state = TcpState {
                old: 2,
                new: 7,
                family: 2,
                local: call.local.clone(),
                remote: call.remote.clone(),
                sock: event.seq,
                latency_ns: 1_000,
                ..TcpState::default()
            };
            let boot_ns = event.boot_ns + 1_000;
            let data = EventData::TcpState(state);
            refusals.push(Item::Event(Event {
                boot_ns,
                probe: 5,
                data,
                ..event.clone()
            }));
        }
    }
    trace.extend(refusals);
    trace.sort_by_key(Item::boot_ns);
    let (findings, _) = run(
        &trace,
        Settings {
            statistics: true,
            ..Default::default()
        },
    );
    let refused = of(&findings, "connect_refused");
    assert_eq!(refused.len(), 1, "{findings:#?}");
    assert!(
        refused[0].evidence.is_some() && refused[0].pid == 1_500,
        "{}",
        refused[0].to_text()
    );
}
