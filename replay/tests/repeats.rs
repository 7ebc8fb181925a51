//! An open that is judged again gets the answer of one judged for the first time, whatever happened in between.

use fixtures::SITUATIONS;
use replay::{
    resolve::State,
    rules::{Engine, RuleSet},
};
use trace_format::{EventData, event::Open};

/// Conditions that look at the open, at who opens, at where, and at what changes with every event.
const RULES: &str = "
- rule: by path
  desc: d
  condition: evt.type in (open, openat) and fd.name startswith /etc/ and evt.is_open_read=true
  output: '%evt.num'
  priority: NOTICE
- rule: by name
  desc: d
  condition: evt.type in (open, openat) and proc.name in (sh, cat) and proc.aname exists
  output: '%evt.num'
  priority: NOTICE
- rule: by container
  desc: d
  condition: evt.type in (open, openat) and container.name exists and user.uid=0 and proc.pname=sh
  output: '%evt.num'
  priority: NOTICE
- rule: by number
  desc: d
  condition: evt.type in (open, openat) and evt.num > 3000
  output: '%evt.num'
  priority: NOTICE
- rule: by result
  desc: d
  condition: evt.type in (open, openat) and evt.failed=true
  output: '%evt.num'
  priority: NOTICE
";

#[test]
fn an_open_is_judged_the_same_however_often_it_came() {
    let rules = RuleSet::load(&[("rules", RULES)]).unwrap().0;
    let (mut opens, mut quiet, mut matched) = (0, 0, 0);
    for situation in SITUATIONS {
        let built = (situation.build)().build();
        let mut state = State::new();
        let mut engine = Engine::new(rules.clone());
        let mut last: Vec<Open> = Vec::new();
        let mut chunks = built.source();
        use trace_format::ChunkSource;
        while let Some(chunk) = chunks.next_chunk().unwrap() {
            let chunk = chunk.decode().unwrap();
            for record in &chunk.context {
                state.context(record);
            }
            for event in &chunk.events {
                state.before(event);
                if let EventData::Open(open) = &event.data {
                    // Also those that others made before, by this process: of one that differs in one thing.
                    last.push(open.clone());
                    if last.len() > 4 {
                        last.remove(0);
                    }
                    for open in &last {
                        let mut event = event.clone();
                        event.data = EventData::Open(open.clone());
                        for _ in 0..2 {
                            let (mut again, mut anew) = (Vec::new(), Vec::new());
                            engine.evaluate(&event, &state, &mut again);
                            Engine::new(rules.clone()).evaluate(&event, &state, &mut anew);
                            let names = |matches: &[replay::rules::RuleMatch]| {
                                let names = matches
                                    .iter()
                                    .map(|it| (it.name.clone(), it.output.clone()));
                                names.collect::<Vec<_>>()
                            };
                            assert_eq!(
                                names(&again),
                                names(&anew),
                                "{}: {event:?}",
                                situation.name
                            );
                            quiet += usize::from(anew.is_empty());
                            matched += anew.len();
                        }
                        opens += 1;
                    }
                }
                state.after(event);
            }
        }
    }
    assert!(
        opens > 100 && quiet > 50 && matched > 50,
        "{opens} {quiet} {matched}"
    );
}

/// Rules that remember; `@` stands where a condition that is always fulfilled may make the open one that has
/// to be judged every time.
const REMEMBERING: &str = "
- window: many reads
  desc: d
  condition: evt.type in (open, openat) and evt.is_open_read=true and evt.rawres >= 0@
  output: '%evt.num'
  priority: NOTICE
  by: [proc.pid]
  within: 10s
  count: 3
- sequence: read, then failed
  desc: d
  output: '%evt.num'
  priority: NOTICE
  by: [proc.pid]
  within: 10s
  steps:
    - condition: evt.type in (open, openat) and evt.rawres >= 0@
    - absent: evt.type in (open, openat) and proc.name=cat and evt.is_open_write=true@
    - condition: evt.type in (open, openat) and evt.failed=true@
";

#[test]
fn rules_that_remember_see_the_same_opens_however_often_they_came() {
    let load = |text: String| {
        let rules = RuleSet::load(&[("rules", &text)]).unwrap().0;
        Engine::new(rules)
    };
    let (mut opens, mut matched) = (0, 0);
    for situation in SITUATIONS {
        let mut remembers = load(REMEMBERING.replace('@', ""));
        let mut judges = load(REMEMBERING.replace('@', " and evt.num > 0"));
        let built = (situation.build)().build();
        let mut state = State::new();
        let mut last: Vec<Open> = Vec::new();
        let mut chunks = built.source();
        use trace_format::ChunkSource;
        while let Some(chunk) = chunks.next_chunk().unwrap() {
            let chunk = chunk.decode().unwrap();
            for record in &chunk.context {
                state.context(record);
            }
            for event in &chunk.events {
                state.before(event);
                if let EventData::Open(open) = &event.data {
                    last.push(open.clone());
                    if last.len() > 4 {
                        last.remove(0);
                    }
                    for (at, open) in last.iter().enumerate() {
                        let mut event = event.clone();
                        // Some come late.
                        event.boot_ns -= [0, 2_000_000_000][at % 2].min(event.boot_ns);
                        event.data = EventData::Open(open.clone());
                        let (mut one, mut other) = (Vec::new(), Vec::new());
                        remembers.evaluate(&event, &state, &mut one);
                        judges.evaluate(&event, &state, &mut other);
                        let names = |matches: &[replay::rules::RuleMatch]| {
                            let names = matches
                                .iter()
                                .map(|it| (it.name.clone(), it.output.clone()));
                            names.collect::<Vec<_>>()
                        };
                        assert_eq!(names(&one), names(&other), "{}: {event:?}", situation.name);
                        matched += one.len();
                        opens += 1;
                    }
                }
                state.after(event);
            }
        }
    }
    assert!(opens > 100 && matched > 10, "{opens} {matched}");
}
