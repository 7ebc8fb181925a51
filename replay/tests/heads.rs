//! Events that nobody asks for are not put together. What is found, counted and known is the same as if each
//! had been.

mod support;

use replay::{
    findings::Finding,
    order::EventRef,
    pipeline::{Detector, Pipeline, Settings},
    resolve::State,
    rules::RuleSet,
};
use support::{Item, SECOND_NS, START_NS, Scenario, WEB, items, seal};
use trace_format::{
    Event, EventData, Open, Signal, Syscall,
    event::{Dns, Http},
};

// x86-64.
const CLOSE: u32 = 3;
const FSYNC: u32 = 74;
const OPENAT: u32 = 257;
const WEB_PID: u32 = 1_000;

/// Wants everything.
struct Curious;

impl Detector for Curious {
    fn event(&mut self, _: &Event, _: &EventRef, _: &State, _: &mut dyn FnMut(Finding)) {}
}

/// What is asked of descriptors after they may have been closed.
const SYNCED: &str = "
- rule: Synced
  desc: d
  condition: evt.type = fsync and fd.name startswith /srv/
  output: '%fd.name'
  priority: NOTICE
";

const ASKED: &str = "
- rule: Asked for the key
  desc: d
  condition: evt.type = http_request and http.path contains key
  output: '%http.path'
  priority: NOTICE
- rule: Closed
  desc: d
  condition: evt.type = close and fd.name startswith /srv/
  output: '%fd.name'
  priority: NOTICE
";

fn call(nr: u32, ret: i64, fd: u64) -> EventData {
    EventData::Syscall(Syscall {
        nr,
        ret,
        args: [fd, 0, 0, 0, 0, 0],
        duration_ns: 0,
    })
}

fn open(second: u64, fd: i64) -> EventData {
    EventData::Open(Open {
        nr: OPENAT,
        ret: fd,
        flags: 0,
        mode: 0,
        path: format!("/srv/{second}-{fd}").as_str().into(),
        dev: 1,
        ino: second,
        marks: Default::default(),
        duration_ns: 0,
    })
}

fn request(path: &str) -> EventData {
    EventData::Http(Http {
        fd: 11,
        sent: false,
        status: 0,
        method: "GET".into(),
        path: path.into(),
        host: "web".into(),
        family: 2,
        local: Default::default(),
        remote: Default::default(),
        latency_ns: 0,
    })
}

/// The attack of the other tests, and beside it each second: two files are opened, one is closed, a close
/// fails, both are synced; a request, a question and a signal.
fn trace() -> Vec<Item> {
    let mut all = items(Scenario::ATTACKED);
    for second in 0..30 {
        let acts = [
            open(second, 9),
            open(second, 10),
            call(CLOSE, 0, 9),
            call(CLOSE, -9, 10),
            call(FSYNC, -9, 9),
            call(FSYNC, 0, 10),
            request(if second == 21 { "/key" } else { "/" }),
            EventData::Dns(Dns {
                name: "web".into(),
                ..Dns::default()
            }),
            EventData::Signal(Signal {
                signal: 17,
                ..Signal::default()
            }),
        ];
        for (number, data) in (0..).zip(acts) {
            all.push(Item::Event(Event {
                boot_ns: START_NS + second * SECOND_NS + 500_000_000 + number * 1_000,
                cpu: 0,
                probe: 9,
                seq: 0,
                tid: WEB_PID,
                pid: WEB_PID,
                cgroup_id: WEB,
                data,
            }));
        }
    }
    all.sort_by_key(Item::boot_ns);
    let ours = all.iter_mut().filter_map(|item| match item {
        Item::Event(event) if event.probe == 9 => Some(event),
        _ => None,
    });
    for (seq, event) in (0..).zip(ours) {
        event.seq = seq;
    }
    all
}

/// Findings, events that went through, and what the descriptors 9 and 10 are in the end.
fn folded(rules: &str, curious: bool) -> (Vec<String>, u64, [Option<String>; 2]) {
    let mut pipeline = Pipeline::new(Settings {
        rules: Some(RuleSet::load(&[("rules", rules)]).unwrap().0),
        statistics: true,
        detectors: if curious {
            vec![Box::new(Curious)]
        } else {
            Vec::new()
        },
    });
    for chunk in &seal(&trace(), |_| 500) {
        pipeline.push(chunk).unwrap();
    }
    pipeline.finish();
    let found = pipeline.findings().map(|it| it.to_text()).collect();
    let state = pipeline.state();
    let process = state.process(WEB_PID).unwrap();
    let names = [9, 10].map(|fd| {
        let descriptor = state.descriptor(process, fd)?;
        Some(descriptor.path.to_string())
    });
    assert_eq!(state.lost(), 0, "no number is missed");
    (found, pipeline.totals().events, names)
}

#[test]
fn what_nobody_asks_for_changes_nothing_that_is_found() {
    let (found, events, names) = folded(SYNCED, false);
    assert_eq!((found.clone(), events, names.clone()), folded(SYNCED, true));
    // What was closed has no name any more; what could not be closed has.
    assert_eq!(names, [None, Some("/srv/29-10".to_owned())]);
    let synced = |name: &str| found.iter().filter(|it| it.contains(name)).count();
    assert!(synced("/srv/0-10") > 0, "{found:#?}");
    assert!((0..30).all(|second| synced(&format!("/srv/{second}-9")) == 0));
    assert!(
        found.iter().any(|it| it.contains("connect_rate")),
        "{found:#?}"
    );
}

#[test]
fn what_a_rule_asks_for_is_put_together_for_it() {
    let (found, events, names) = folded(ASKED, false);
    assert_eq!((found.clone(), events, names), folded(ASKED, true));
    let told = |name: &str| found.iter().filter(|it| it.contains(name)).count();
    assert_eq!(told("Asked for the key"), 1, "{found:#?}");
    assert!(told("Closed") > 0, "{found:#?}");
    assert_eq!(
        folded(SYNCED, false).1,
        events,
        "each counts, asked for or not"
    );
}
