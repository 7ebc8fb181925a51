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
