//! Detection on imported captures: the peer's own regression cases give the peer's own counts.
//!
//! `../shared/data/falco-suite` holds the cases. Where a case's rule or capture is absent the test
//! says so and passes, unless `TRAILCAM_NO_SKIP=1`.

#![cfg(feature = "import")]

mod captures;

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
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};
use trace_format::{ChunkSource, ContextRecord, Event, Provenance, TraceReader};

type Counts = Arc<Mutex<BTreeMap<String, u64>>>;

/// Counts what each rule matches, without the pipeline's de-duplication.
struct Counting {
    engine: Engine,
    matches: Vec<RuleMatch>,
    counts: Counts,
}

impl Counting {
    fn count(&mut self) {
        let mut counts = self.counts.lock().unwrap();
        for found in self.matches.drain(..) {
            *counts.entry(found.name.to_string()).or_default() += 1;
        }
    }
}

impl Detector for Counting {
    fn event(&mut self, event: &Event, _: &EventRef, state: &State, _: &mut dyn FnMut(Finding)) {
        self.engine.evaluate(event, state, &mut self.matches);
        self.count();
    }

    fn context(
        &mut self,
        _: &ContextRecord,
        news: Option<&News>,
        state: &State,
        _: &mut dyn FnMut(Finding),
    ) {
        if let Some(news) = news {
            self.engine.observe(*news, state, &mut self.matches);
            self.count();
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

fn run(trace: &[u8], rules: RuleSet) -> (BTreeMap<String, u64>, Pipeline) {
    let counts = Counts::default();
    let detector = Counting {
        engine: Engine::new(rules).first_match(true),
        matches: Vec::new(),
        counts: Arc::clone(&counts),
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
    let counts = counts.lock().unwrap().clone();
    (counts, pipeline)
}

fn suite() -> Option<PathBuf> {
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

/// Cases whose rules our language refuses: `intersects` on a boolean, and a field behind an unknown
/// filter that Falco skips.
const NOT_LOADED: [&str; 2] = ["psp_privileged_container", "skip_unknown_prefix"];

#[test]
fn the_peers_cases_give_the_peers_counts() {
    let Some(folder) = suite() else { return };
    let text = std::fs::read_to_string(folder.join("cases.json")).unwrap();
    let cases: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut traces = BTreeMap::new();
    let (mut reached, mut wrong) = (0, Vec::new());
    for case in cases.as_array().unwrap() {
        let strings = |value: &serde_json::Value| -> Vec<String> {
            let list = value.as_array().into_iter().flatten();
            list.map(|one| one.as_str().unwrap().to_owned()).collect()
        };
        let (Some(capture), "run") = (case["capture"].as_str(), case["mode"].as_str().unwrap())
        else {
            continue;
        };
        // Simulated event drops are a feature of the peer's program, not of a capture.
        if case["scope"] == "drops" {
            continue;
        }
        let name = case["name"].as_str().or(case["id"].as_str()).unwrap();
        let files: Vec<(String, String)> = strings(&case["rules"])
            .into_iter()
            .map(|file| {
                let text = std::fs::read_to_string(folder.join(&file)).unwrap();
                (file, text)
            })
            .collect();
        let files: Vec<(&str, &str)> = files
            .iter()
            .map(|(name, text)| (&name[..], &text[..]))
            .collect();
        let (mut rules, _) = match RuleSet::load(&files) {
            Ok(loaded) => loaded,
            Err(_) if NOT_LOADED.contains(&name) => continue,
            Err(error) => {
                wrong.push(format!("{name}: {error}"));
                continue;
            }
        };
        let options = &case["options"];
        for pattern in strings(&options["disabled_rules"]) {
            rules.switch_named(&pattern, false);
        }
        if let Some(priority) = options["min_priority"].as_str() {
            rules.minimum(priority.to_lowercase().parse().unwrap());
        }
        let bytes = traces
            .entry(capture.to_owned())
            .or_insert_with(|| trace(capture).unwrap());
        let (counts, _) = run(bytes, rules);
        let expected = &case["expect"];
        let total: u64 = counts.values().sum();
        let mut fits = expected["count"]
            .as_u64()
            .is_none_or(|count| count == total)
            && expected["detected"]
                .as_bool()
                .is_none_or(|any| any == (total > 0));
        for (rule, count) in expected["counts_by_rule"].as_object().into_iter().flatten() {
            fits &= counts.get(rule).copied().unwrap_or(0) == count.as_u64().unwrap();
        }
        match fits {
            true => reached += 1,
            false => wrong.push(format!("{name}: {counts:?}, expected {expected}")),
        }
    }
    eprintln!("{reached} cases reached");
    assert!(
        wrong.is_empty(),
        "{reached} reached, {}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(reached >= 49, "{reached}");
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
