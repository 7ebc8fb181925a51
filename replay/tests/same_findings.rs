//! The promise of the one rule: everything after the seal is a pure fold over records. So where
//! chunks end, and whether they come from a file, a stream or memory, changes nothing.

mod support;

use replay::{
    findings::{EngineKind, Finding, Severity},
    order::{EventRef, Fold, Order},
    pipeline::{Detector, Pipeline, Settings},
    resolve::State,
    rules::{RuleSet, SHIPPED},
};
use std::io::Write;
use support::{Item, Scenario, items, seal};
use trace_format::{
    ChunkSource, Context, ContextRecord, Event, Mark, MemorySource, SealedChunk, TraceReader,
};

/// Reports every tenth event with all that is known at its place: any other order or state shows.
#[derive(Default)]
struct Echo {
    seen: u64,
}

impl Detector for Echo {
    fn event(
        &mut self,
        event: &Event,
        at: &EventRef,
        state: &State,
        found: &mut dyn FnMut(Finding),
    ) {
        self.seen += 1;
        if self.seen.is_multiple_of(10) {
            let rule = format!("event {}", self.seen).into();
            let mut finding =
                Finding::new(EngineKind::Forest, rule, Severity::Debug, event.boot_ns);
            finding.message = format!("{event:?} {} processes", state.processes_len());
            finding.cgroup_id = event.cgroup_id;
            finding.pid = event.pid;
            finding.evidence = Some(*at);
            found(finding);
        }
    }
}

/// Rules of every kind that remembers: each fires in the scenario, some by time alone.
const REMEMBERING: &str = "
- window: many events
  desc: d
  condition: evt.type != sample
  within: 2s
  count: 20
  output: '%evt.num %evt.type'
  priority: ALERT
- window: many files
  desc: d
  condition: fd.name exists
  within: 5s
  distinct: {of: fd.name, at_least: 2}
  output: '%fd.name'
  priority: CRITICAL
- sequence: start without end
  desc: d
  by: [container.id]
  within: 700ms
  steps:
  - condition: evt.type=execve
  - absent: evt.type=procexit
  output: '%proc.name'
  priority: EMERGENCY
- window: several findings
  desc: d
  condition: evt.type=finding and finding.level > 0
  within: 60s
  distinct: {of: finding.rule, at_least: 2}
  output: '%finding.rule'
  priority: NOTICE
- severity: everything a little worse
  rules: [several*]
  condition: container.id exists
  priority: ERROR
";

fn settings() -> Settings {
    let files = [SHIPPED, ("remembering", REMEMBERING)];
    Settings {
        rules: Some(RuleSet::load(&files).unwrap().0),
        statistics: true,
        detectors: vec![Box::new(Echo::default())],
    }
}

/// Findings as they come, chunk by chunk.
fn detect(mut source: impl ChunkSource) -> Vec<Finding> {
    let mut pipeline = Pipeline::new(settings());
    let mut findings = Vec::new();
    while let Some(chunk) = source.next_chunk().unwrap() {
        pipeline.push(&chunk).unwrap();
        findings.extend(pipeline.findings());
    }
    pipeline.finish();
    findings.extend(pipeline.findings());
    assert_eq!(pipeline.totals().disorder, Default::default());
    findings
}

fn lines(findings: Vec<Finding>) -> Vec<String> {
    findings.iter().map(Finding::to_json).collect()
}

/// Where an event is stored depends on the chunks, and only that.
fn without_places(findings: Vec<Finding>) -> Vec<String> {
    let cleared = findings.into_iter().map(|mut finding| {
        finding.evidence = None;
        finding
    });
    lines(cleared.collect())
}

fn chunkings(items: &[Item]) -> Vec<(&'static str, Vec<SealedChunk>)> {
    let mut random = 1u64;
    vec![
        ("one chunk", seal(items, |_| items.len())),
        ("1000 rows", seal(items, |_| 1000)),
        ("7 rows", seal(items, |_| 7)),
        (
            "random",
            seal(items, move |_| {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                1 + (random >> 33) as usize % 3000
            }),
        ),
    ]
}

#[test]
fn findings_are_the_same_for_any_chunking() {
    let items = items(Scenario::ATTACKED);
    let mut expected: Option<Vec<String>> = None;
    for (name, chunks) in chunkings(&items) {
        let found = without_places(detect(MemorySource::new(chunks)));
        // Two containers at the limit of a minute at least.
        assert!(found.len() > 400, "{name}: only {} findings", found.len());
        for rule in [
            "many events",
            "many files",
            "start without end",
            "several findings",
        ] {
            let named = format!("\"rule\":\"{rule}\"");
            let lines = || found.iter().filter(|line| line.contains(&named));
            assert!(lines().count() > 0, "{name}: {rule}");
            let worse = lines().filter(|line| line.contains("\"severity\":\"error\""));
            let expected = if rule == "several findings" {
                lines().count()
            } else {
                0
            };
            assert_eq!(worse.count(), expected, "{name}: {rule}");
        }
        match &expected {
            None => expected = Some(found),
            Some(expected) => {
                let differs = found.iter().zip(expected).find(|(one, other)| one != other);
                assert_eq!((differs, found.len()), (None, expected.len()), "{name}");
            }
        }
    }
}

#[test]
fn file_equals_pipeline_in_process() {
    let chunks = seal(&items(Scenario::ATTACKED), |_| 2000);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&support::file(&chunks)).unwrap();
    let in_process = lines(detect(MemorySource::new(chunks)));
    let mut reader = TraceReader::open(file.path()).unwrap();
    let from_file = lines(detect(&mut Source(&mut reader)));
    assert_eq!(reader.issues(), []);
    assert_eq!(from_file, in_process);
    let stream = TraceReader::from_read(std::fs::File::open(file.path()).unwrap());
    assert_eq!(lines(detect(stream)), in_process);
}

/// A source that stays with the caller.
struct Source<'a>(&'a mut TraceReader);
impl ChunkSource for &mut Source<'_> {
    fn next_chunk(&mut self) -> Result<Option<SealedChunk>, trace_format::Error> {
        self.0.next_chunk()
    }
}

#[derive(Default, PartialEq, Debug)]
struct Seen(Vec<(u64, u16, u16, u8, u64)>, Vec<u64>);
impl Fold for Seen {
    fn context(&mut self, record: &ContextRecord) {
        assert!(
            self.0.last().is_none_or(|last| last.0 < record.boot_ns),
            "context comes before the events of its time"
        );
        self.1.push(record.boot_ns);
    }
    fn event(&mut self, event: &Event, at: EventRef) {
        self.0
            .push((event.boot_ns, at.family, event.cpu, event.probe, event.seq));
    }
}

#[test]
fn every_record_comes_once_and_in_order() {
    let items = items(Scenario::ATTACKED);
    let events = items
        .iter()
        .filter(|item| matches!(item, Item::Event(_)))
        .count();
    for (name, chunks) in chunkings(&items) {
        let mut order = Order::default();
        let mut seen = Seen::default();
        for chunk in &chunks {
            order.push(chunk.events().unwrap(), &mut seen);
        }
        let waiting = order.pending();
        order.finish(&mut seen);
        assert_eq!(
            (seen.0.len(), seen.1.len()),
            (events, items.len() - events),
            "{name}"
        );
        assert!(seen.0.is_sorted() && seen.1.is_sorted(), "{name}");
        // Only the end waits for finish(): what is below a watermark is released at once.
        assert!(waiting < 1000, "{name}: {waiting}");
        assert_eq!(order.disorder(), Default::default(), "{name}");
    }
}

/// Promise: a mark is a note. Rules, statistics and the forest's place see what they saw without it, also
/// when it says what a rule looks for.
#[test]
fn a_mark_is_no_event_of_a_rule() {
    let plain = items(Scenario::ATTACKED);
    let mut marked = plain.clone();
    for place in [1, plain.len() / 3, plain.len() / 2, plain.len()] {
        let boot_ns = marked[place.min(marked.len() - 1)].boot_ns();
        let mark = Mark {
            label: "act".into(),
            text: "start class=cred_read evt.type=open fd.name=/etc/shadow proc.name=sh".into(),
        };
        marked.insert(
            place,
            Item::Context(ContextRecord {
                boot_ns,
                body: Context::Mark(mark),
            }),
        );
    }
    let found = |items: &[Item]| {
        let chunks = seal(items, |_| 1000);
        without_places(detect(MemorySource::new(chunks)))
    };
    let findings = found(&plain);
    assert!(findings.len() > 10, "{} findings", findings.len());
    assert_eq!(found(&marked), findings);
}

#[test]
fn a_late_event_is_released_at_once_and_counted() {
    let mut items = items(Scenario {
        seconds: 3,
        ..Scenario::QUIET
    });
    // The first event is moved to the end, behind watermarks that promise it cannot come.
    let place = items
        .iter()
        .position(|item| matches!(item, Item::Event(_)))
        .unwrap();
    let late = items.remove(place);
    let (Item::Event(event), boot_ns) = (late.clone(), late.boot_ns()) else {
        panic!("not an event")
    };
    let mut chunks = seal(&items, |_| 100);
    let mut tail = trace_format::ChunkBuilder::new([7; 16], Default::default());
    tail.push(event);
    chunks.push(tail.seal(u64::MAX));
    let mut order = Order::default();
    let mut seen = Seen::default();
    for chunk in &chunks {
        order.push(chunk.events().unwrap(), &mut seen);
    }
    assert_eq!(seen.0.last().unwrap().0, boot_ns, "released, and last");
    assert_eq!(order.disorder().late, 1);
    order.finish(&mut seen);
    assert_eq!(seen.0.len() + seen.1.len(), items.len() + 1);
}

#[test]
fn a_trace_without_watermarks_is_bounded() {
    let mut order = Order::default();
    struct Count(u64);
    impl Fold for Count {
        fn context(&mut self, _: &ContextRecord) {
            self.0 += 1;
        }
        fn event(&mut self, _: &Event, _: EventRef) {}
    }
    let mut count = Count(0);
    let mut builder = trace_format::ChunkBuilder::new([7; 16], Default::default());
    let chunks = replay::order::PENDING_CHUNKS_MAX as u64 + 10;
    for number in 0..chunks {
        let tick = ContextRecord {
            boot_ns: 1_000 + number,
            body: trace_format::Context::Tick,
        };
        builder.context(tick).unwrap();
        order.push(builder.seal(0).events().unwrap(), &mut count);
    }
    assert_eq!(order.disorder().forced, 10);
    assert_eq!(count.0, 10);
    order.finish(&mut count);
    assert_eq!(count.0, chunks);
}
