//! Detection on imported captures; [`suite`] has the peer's own regression cases.

#![cfg(feature = "import")]

mod captures;
#[path = "falco_suite/mod.rs"]
mod suite;

use captures::captures;
use replay::{
    findings::Finding,
    import::scap::{Capture, import},
    order::EventRef,
    pipeline::{Detector, Pipeline, Settings},
    resolve::{News, State},
    rules::{Engine, RuleMatch, RuleSet},
};
use std::{
    collections::BTreeMap,
    io::Cursor,
    sync::{Arc, Mutex},
};
use trace_format::{ChunkSource, ContextRecord, Event, Provenance, TraceReader};

/// What matched, and when by the wall clock.
type Alerts = Arc<Mutex<Vec<(u64, RuleMatch)>>>;

/// Keeps what each rule matches, without the pipeline's de-duplication.
struct Keeping {
    engine: Engine,
    matches: Vec<RuleMatch>,
    alerts: Alerts,
}

impl Keeping {
    fn keep(&mut self, boot_ns: u64, state: &State) {
        let wall_ns = state.wall_ns(boot_ns).unwrap_or_default();
        let mut alerts = self.alerts.lock().unwrap();
        alerts.extend(self.matches.drain(..).map(|found| (wall_ns, found)));
    }
}

impl Detector for Keeping {
    fn event(&mut self, event: &Event, _: &EventRef, state: &State, _: &mut dyn FnMut(Finding)) {
        self.engine.evaluate(event, state, &mut self.matches);
        self.keep(event.boot_ns, state);
    }

    fn context(
        &mut self,
        record: &ContextRecord,
        news: Option<&News>,
        state: &State,
        _: &mut dyn FnMut(Finding),
    ) {
        if let Some(news) = news {
            self.engine.observe(*news, state, &mut self.matches);
            self.keep(record.boot_ns, state);
        }
    }
}

fn trace(name: &str) -> Option<Vec<u8>> {
    let capture = captures().into_iter().find(|one| one.name == name)?;
    let mut capture = Capture::open(&capture.path).unwrap();
    Some(
        import(&mut capture, Provenance::default(), 1, Vec::new())
            .unwrap()
            .1,
    )
}

fn alerts(trace: &[u8], rules: RuleSet) -> (Vec<(u64, RuleMatch)>, Pipeline) {
    let alerts = Alerts::default();
    let detector = Keeping {
        engine: Engine::new(rules).first_match(true),
        matches: Vec::new(),
        alerts: Arc::clone(&alerts),
    };
    let mut pipeline = Pipeline::new(Settings {
        detectors: vec![Box::new(detector)],
        ..Settings::default()
    });
    let mut reader = TraceReader::from_read(Cursor::new(trace.to_vec()));
    while let Some(chunk) = reader.next_chunk().unwrap() {
        pipeline.push(&chunk).unwrap();
    }
    pipeline.finish();
    let alerts = std::mem::take(&mut *alerts.lock().unwrap());
    (alerts, pipeline)
}

fn run(trace: &[u8], rules: RuleSet) -> (BTreeMap<String, u64>, Pipeline) {
    let (alerts, pipeline) = alerts(trace, rules);
    let mut counts = BTreeMap::new();
    for (_, found) in alerts {
        *counts.entry(found.name.to_string()).or_default() += 1;
    }
    (counts, pipeline)
}

#[test]
fn numbers_of_folded_blocks_are_no_loss() {
    for name in ["libs/curl_google.scap", "falco-history/cat_write.scap"] {
        let Some(trace) = trace(name) else { return };
        let (_, pipeline) = run(&trace, RuleSet::shipped());
        let totals = pipeline.totals();
        assert_eq!((totals.lost, totals.chunks_missing), (0, 0), "{name}");
        assert!(totals.events > 30, "{name}: {}", totals.events);
        assert!(pipeline.state().processes_len() > 20, "{name}");
    }
}

/// Asks for every event, and finds nothing.
struct Asking;

impl Detector for Asking {
    fn event(&mut self, _: &Event, _: &EventRef, _: &State, _: &mut dyn FnMut(Finding)) {}
}

/// All findings and totals; `asking`: with every block folded.
fn found(trace: &[u8], rules: &RuleSet, statistics: bool, asking: bool) -> (Vec<String>, String) {
    let mut pipeline = Pipeline::new(Settings {
        rules: Some(rules.clone()),
        statistics,
        detectors: match asking {
            true => vec![Box::new(Asking)],
            false => Vec::new(),
        },
    });
    let mut reader = TraceReader::from_read(Cursor::new(trace.to_vec()));
    let mut findings = Vec::new();
    while let Some(chunk) = reader.next_chunk().unwrap() {
        pipeline.push(&chunk).unwrap();
        findings.extend(pipeline.findings().map(|finding| format!("{finding:?}")));
    }
    pipeline.finish();
    findings.extend(pipeline.findings().map(|finding| format!("{finding:?}")));
    let totals = format!(
        "{:?}, {} events seen",
        pipeline.totals(),
        pipeline.state().events_seen()
    );
    (findings, totals)
}

#[test]
fn blocks_that_are_only_counted_change_nothing_that_is_found() {
    // Of descriptors, of numbers, of the second half of a call, of some calls and not of others.
    let conditions = [
        "evt.type = close and evt.dir = < and fd.name exists",
        "evt.type in (open, openat) and fd.name startswith /etc",
        "evt.type in (execve, connect, accept, clone, procexit)",
        "evt.type in (write, sendto, prctl) and evt.dir = <",
        "evt.type = switch or evt.type = setuid or evt.type = fsync",
    ];
    let ours = |only: &[&str]| {
        let rules: Vec<String> = (only.iter().zip(0..))
            .map(|(condition, number)| {
                format!(
                    "- rule: {number}\n  desc: d\n  condition: {condition}\n  output: \"%evt.num %evt.time %evt.type %evt.args %fd.name %proc.cmdline\"\n  priority: INFO\n"
                )
            })
            .collect();
        RuleSet::load(&[("ours.yaml", &rules.concat())]).unwrap().0
    };
    let mut sets = vec![RuleSet::shipped(), ours(&conditions)];
    sets.extend(conditions.map(|condition| ours(&[condition])));
    let mut findings = 0;
    for capture in captures() {
        let mut file = Capture::open(&capture.path).unwrap();
        let (_, trace) = import(&mut file, Provenance::default(), 1, Vec::new()).unwrap();
        for (number, rules) in sets.iter().enumerate() {
            let with_statistics = number == 0;
            let [asked, counted] =
                [true, false].map(|asking| found(&trace, rules, with_statistics, asking));
            assert_eq!(asked, counted, "{}, rules {number}", capture.name);
            findings += counted.0.len();
        }
    }
    assert!(captures().is_empty() || findings > 500, "{findings}");
}

#[test]
fn a_new_thread_leaves_its_process_as_it_is() {
    let Some(trace) = trace("libs/curl_google.scap") else {
        return;
    };
    let rule = |name: &str, condition: &str| {
        format!(
            "- rule: {name}\n  desc: d\n  condition: {condition}\n  output: o\n  priority: INFO\n"
        )
    };
    // curl resolves names in a thread of its own; bash is only who started it.
    let rules = [
        rule(
            "thread",
            "evt.type = connect and evt.dir = < and proc.name = curl and thread.tid = 17498",
        ),
        rule("starter", "evt.type = connect and proc.name = bash"),
        rule(
            "page",
            "evt.type = recvfrom and fd.rport = 80 and proc.pname = bash",
        ),
    ];
    let (rules, _) = RuleSet::load(&[("rules", &rules.concat())]).unwrap();
    let counts = run(&trace, rules).0;
    assert!(counts["thread"] > 0 && counts["page"] > 0, "{counts:?}");
    assert_eq!(counts.get("starter"), None);
}
