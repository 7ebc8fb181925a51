//! What Falco does not have: windows, sequences, rules over findings, severities by container.

use crate::world::*;
use replay::{
    findings::{EngineKind, Finding, Severity},
    rules::{Engine, LoadError, RuleMatch, RuleSet},
};
use trace_format::EventData;

const TAIL: &str = "  desc: d\n  output: o %container.name\n  priority: WARNING\n  tags: [T1046]\n";

fn rules(text: &str) -> RuleSet {
    RuleSet::load(&[("t.yaml", text)])
        .unwrap_or_else(|error| panic!("{error}\n{text}"))
        .0
}

fn fail(text: &str) -> LoadError {
    match RuleSet::load(&[("t.yaml", text)]) {
        Ok(_) => panic!("loads:\n{text}"),
        Err(error) => error,
    }
}

/// A world with an engine, and a clock that the test moves.
struct Bench {
    world: World,
    engine: Engine,
}

impl Bench {
    fn new(text: &str) -> Bench {
        Bench {
            world: World::new(),
            engine: Engine::new(rules(text)),
        }
    }

    fn wait(&mut self, ms: u64) {
        self.world.boot_ns += ms * 1_000_000;
    }

    fn does(&mut self, pid: u32, data: EventData) -> Vec<RuleMatch> {
        let mut matches = Vec::new();
        self.engine.advance(self.world.boot_ns, &mut matches);
        matches.extend(self.world.judge(&mut self.engine, pid, data));
        matches
    }

    fn count(&mut self, pid: u32, data: EventData) -> usize {
        self.does(pid, data).len()
    }

    /// Time passes and nothing happens.
    fn idle(&mut self, ms: u64) -> Vec<RuleMatch> {
        self.wait(ms);
        let mut matches = Vec::new();
        self.engine.advance(self.world.boot_ns, &mut matches);
        matches
    }
}

fn window(measure: &str) -> String {
    format!("- window: w\n  condition: evt.type=openat\n  within: 10s\n  {measure}\n{TAIL}")
}

#[test]
fn a_count_fires_when_it_is_reached_and_starts_anew() {
    let mut bench = Bench::new(&window("count: 3"));
    assert_eq!(bench.count(60, open("/a", 3, 0)), 0);
    assert_eq!(bench.count(60, open("/a", 3, 0)), 0);
    assert_eq!(
        bench.count(70, open("/a", 3, 0)),
        0,
        "the host is another key"
    );
    let found = bench.does(60, open("/a", 3, 0));
    assert_eq!(found[0].output, "o web");
    assert_eq!(found[0].window_ns, 10_000_000_000);
    let value = found[0].fields.last().unwrap();
    assert_eq!(&*value.0, "window.value");
    assert_eq!(format!("{:?}", value.1), "Number(3)");
    assert_eq!(bench.count(60, open("/a", 3, 0)), 0);
    assert_eq!(bench.count(60, open("/a", 3, 0)), 0);
    bench.wait(10_000);
    assert_eq!(bench.count(60, open("/a", 3, 0)), 0, "the others are out");
}

#[test]
fn distinct_values_and_sums_are_measured() {
    let mut bench = Bench::new(&window("distinct: {of: fd.name, at_least: 3}"));
    for (path, expected) in [("/a", 0), ("/b", 0), ("/a", 0), ("/b", 0), ("/c", 1)] {
        assert_eq!(bench.count(60, open(path, 3, 0)), expected, "{path}");
    }
    let mut bench = Bench::new(&window("sum: {of: len(fd.name), at_least: 10}"));
    assert_eq!(bench.count(60, open("/1234", 3, 0)), 0);
    assert_eq!(bench.count(60, open("/1234", 3, 0)), 1);
    // Two a second over ten seconds are twenty.
    let mut bench = Bench::new(&window("rate: {at_least: 2}"));
    let counts: Vec<usize> = (0..40).map(|_| bench.count(60, open("/a", 3, 0))).collect();
    let fired = counts.iter().enumerate().filter(|one| *one.1 > 0);
    assert_eq!(fired.map(|one| one.0).collect::<Vec<_>>(), [19, 39]);
}

#[test]
fn keys_are_the_fields_that_by_names() {
    let text = window("count: 2").replace("within", "by: [proc.pid, basename(fd.name)]\n  within");
    let mut bench = Bench::new(&text);
    assert_eq!(bench.count(60, open("/a/x", 3, 0)), 0);
    assert_eq!(bench.count(60, open("/a/y", 3, 0)), 0);
    assert_eq!(bench.count(70, open("/a/x", 3, 0)), 0);
    assert_eq!(bench.count(60, open("/b/x", 3, 0)), 1);
    // A key field that is missing: the event does not count.
    let mut bench = Bench::new(&window("count: 1").replace("within", "by: fd.sip\n  within"));
    assert_eq!(bench.count(60, open("/a/x", 3, 0)), 0);
}

const DROP: &str = "- sequence: s\n  within: 5s\n  by: [container.id, fd.name]\n  steps:\n  - condition: evt.type=openat and evt.is_open_write=true\n  - condition: evt.type=chmod\n    by: [container.id, fs.path.name]\n  - condition: evt.type=execve\n    by: [container.id, proc.exepath]\n";

#[test]
fn steps_come_in_order_by_key_and_in_time() {
    let text = format!("{DROP}{TAIL}");
    let write = || open("/tmp/x", 3, 1);
    let chmod = || path_call("chmod", 0, "/tmp/x", "", 0o755);
    let run = |path: &str| exec(path, &["x"], 60, 0);
    let mut bench = Bench::new(&text);
    assert_eq!(bench.count(60, write()), 0);
    assert_eq!(bench.count(60, run("/tmp/x")), 0, "not yet executable");
    assert_eq!(bench.count(60, chmod()), 0);
    assert_eq!(bench.count(60, run("/tmp/y")), 0, "another file");
    assert_eq!(bench.count(60, run("/tmp/x")), 1);
    assert_eq!(bench.count(60, run("/tmp/x")), 0, "once");

    let mut bench = Bench::new(&text);
    bench.count(60, write());
    bench.count(60, chmod());
    bench.wait(5_000);
    assert_eq!(bench.count(60, run("/tmp/x")), 0, "too late");
    // The latest start counts.
    bench.count(60, write());
    bench.wait(4_000);
    bench.count(60, write());
    bench.count(60, chmod());
    bench.wait(2_000);
    let found = bench.does(60, run("/tmp/x"));
    assert_eq!(
        format!("{:?}", found[0].fields.last().unwrap().1),
        "Number(2002000000)"
    );

    let mut bench = Bench::new(&text);
    bench.count(60, chmod());
    bench.count(60, write());
    assert_eq!(bench.count(60, run("/tmp/x")), 0, "in another order");
}

#[test]
fn an_absent_step_between_two_others_kills_the_attempt() {
    let text = format!(
        "- sequence: s\n  within: 5s\n  steps:\n  - condition: evt.type=openat and fd.name=/a\n  - absent: evt.type=openat and fd.name=/b\n  - condition: evt.type=openat and fd.name=/c\n{TAIL}"
    );
    let mut bench = Bench::new(&text);
    for (path, expected) in [("/a", 0), ("/c", 1), ("/a", 0), ("/b", 0), ("/c", 0)] {
        assert_eq!(bench.count(60, open(path, 3, 0)), expected, "{path}");
    }
    bench.count(60, open("/a", 3, 0));
    bench.count(70, open("/b", 3, 0));
    assert_eq!(
        bench.count(60, open("/c", 3, 0)),
        1,
        "/b was opened on the host"
    );
}

#[test]
fn what_came_before_can_keep_a_sequence_from_beginning() {
    let text = format!(
        "- sequence: s\n  within: 5s\n  by: fd.name\n  steps:\n  - absent: evt.type=openat and evt.is_open_read=true\n  - condition: evt.type=openat and evt.is_open_write=true\n{TAIL}"
    );
    let mut bench = Bench::new(&text);
    assert_eq!(bench.count(60, open("/a", 3, 1)), 1);
    assert_eq!(bench.count(60, open("/a", 3, 0)), 0);
    assert_eq!(bench.count(60, open("/a", 3, 1)), 0, "it was read");
    assert_eq!(bench.count(60, open("/b", 3, 1)), 1, "another file");
    bench.wait(5_000);
    assert_eq!(bench.count(60, open("/a", 3, 1)), 1, "long ago");
    assert_eq!(bench.count(60, open("/a", 3, 1)), 1);
    assert_eq!(
        bench.count(60, open("/a", 3, 2)),
        1,
        "an event is not before itself"
    );
}

#[test]
fn what_stays_absent_is_told_by_time_alone() {
    let text = format!(
        "- sequence: s\n  within: 5s\n  steps:\n  - condition: evt.type=openat and fd.name=/start\n  - absent: evt.type=openat and fd.name=/stop\n{TAIL}"
    );
    let mut bench = Bench::new(&text);
    assert_eq!(bench.count(60, open("/start", 3, 0)), 0);
    let started_ns = bench.world.boot_ns;
    bench.wait(2_000);
    bench.count(60, open("/start", 3, 0));
    assert!(bench.idle(2_999 - 2).is_empty());
    let found = bench.idle(2);
    assert_eq!(found.len(), 1, "the first start counts");
    let origin = found[0].origin.unwrap();
    assert_eq!(
        origin.boot_ns,
        started_ns + 5_000_000_000,
        "when its time was over"
    );
    assert_eq!((origin.pid, origin.cgroup_id), (60, WEB));
    assert_eq!(found[0].output, "o web");
    assert!(bench.idle(60_000).is_empty(), "once");

    bench.count(60, open("/start", 3, 0));
    bench.count(60, open("/stop", 3, 0));
    assert!(bench.idle(60_000).is_empty());
    bench.count(60, open("/start", 3, 0));
    bench.count(70, open("/stop", 3, 0));
    assert_eq!(bench.idle(60_000).len(), 1, "/stop was opened on the host");
}

#[test]
fn keys_are_bounded_and_the_rule_says_when_it_forgot_one() {
    let text = window("count: 2").replace("within", "by: fd.name\n  within");
    let mut bench = Bench::new(&text);
    for at in 0..4096 {
        bench.count(60, open(&format!("/{at}"), 3, 0));
    }
    assert_eq!(bench.engine.forgotten().count(), 0);
    bench.count(60, open("/new", 3, 0));
    let (rule, forgotten) = bench.engine.forgotten().next().unwrap();
    assert_eq!((&**rule, forgotten.keys), ("w", 1));
    assert_eq!(forgotten.first_ns, bench.world.boot_ns);
    assert_eq!(bench.count(60, open("/0", 3, 0)), 0, "forgotten");
    assert_eq!(bench.count(60, open("/4095", 3, 0)), 1);
}

#[test]
fn mistakes_are_named() {
    let sequence = |steps: &str| format!("- sequence: s\n  within: 5s\n  steps:\n{steps}{TAIL}");
    for (text, expected) in [
        (window("count: 0"), "from 1"),
        (window("count: many"), "from 1"),
        (
            window("count: 3\n  sum: {of: fd.num, at_least: 1}"),
            "one of count",
        ),
        (window("desc2: x"), "one of count"),
        (window("distinct: 3"), "`of` and `at_least`"),
        (window("distinct: {at_least: 3}"), "`of`"),
        (window("sum: {of: fd.name, at_least: 3}"), "a number"),
        (window("distinct: {of: fd.nmae, at_least: 3}"), "fd.name"),
        (
            window("distinct: {of: fd.name x, at_least: 3}"),
            "one field",
        ),
        (window("count: 3").replace("10s", "10"), "a time"),
        (window("count: 3").replace("10s", "25h"), "a time"),
        (
            window("count: 3").replace("within: 10s", "by: [fd.name]"),
            "`within`",
        ),
        (sequence("  - condition: evt.num=1\n"), "two steps"),
        (
            sequence("  - absent: evt.num=1\n  - absent: evt.num=1\n"),
            "one of them",
        ),
        (
            sequence("  - condition: evt.num=1\n    absent: evt.num=1\n"),
            "either",
        ),
        (
            sequence("  - condition: evt.num=1\n    by: [fd.num, fd.name]\n"),
            "1 key fields",
        ),
        (
            sequence(&"  - condition: evt.num=1\n".repeat(9)),
            "at most 8",
        ),
        (
            sequence("  - condition: nmae\n  - condition: evt.num=1\n"),
            "a macro",
        ),
        (
            window("count: 3") + &window("count: 3").replace("window: w", "rule: w"),
            "another name",
        ),
        ("- severity: x\n".to_owned(), "`priority`"),
        ("- severity: x\n  priority: loud\n".to_owned(), "a priority"),
        (
            "- severity: x\n  priority: info\n  engines: [luck]\n".to_owned(),
            "statistics",
        ),
    ] {
        let error = fail(&text);
        assert!(error.expected.contains(expected), "{text}\n{error}");
        assert!(error.line >= 1, "{error}");
    }
}

fn finding(rule: &str, severity: Severity, tags: &[&str]) -> Finding {
    let mut finding = Finding::new(EngineKind::Statistics, rule.into(), severity, 2_000_000_000);
    finding.cgroup_id = WEB;
    finding.pid = 60;
    finding.tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
    finding
}

#[test]
fn rules_can_be_about_findings() {
    let several = format!(
        "- window: several\n  condition: evt.type=finding and finding.level >= 3 and not finding.degraded=true\n  within: 60s\n  distinct: {{of: finding.rule, at_least: 2}}\n{TAIL}"
    );
    let one = "- rule: one\n  desc: d\n  condition: finding.tags = T1105 and finding.engine=statistics and container.image.repository endswith /web\n  output: '%finding.rule by %proc.name'\n  priority: INFO\n";
    // What is about events never sees a finding, and the other way round.
    let any =
        "- rule: any\n  desc: d\n  condition: container.name=web\n  output: o\n  priority: INFO\n";
    let mut bench = Bench::new(&format!("{several}{one}{any}"));
    let mut see = |finding: &Finding| {
        let mut matches = Vec::new();
        bench
            .engine
            .found(finding, &bench.world.state, &mut matches);
        let names = matches.iter().map(|found| found.name.to_string());
        (
            names.collect::<Vec<_>>(),
            matches.first().map(|found| found.output.clone()),
        )
    };
    assert!(see(&finding("a", Severity::Warning, &[])).0.is_empty());
    assert!(
        see(&finding("b", Severity::Notice, &[])).0.is_empty(),
        "too low"
    );
    assert!(
        see(&finding("a", Severity::Error, &[])).0.is_empty(),
        "the same"
    );
    assert_eq!(see(&finding("c", Severity::Error, &[])).0, ["several"]);
    let (names, output) = see(&finding("d", Severity::Debug, &["x", "T1105"]));
    assert_eq!(
        (names, output.as_deref()),
        (vec!["one".to_owned()], Some("d by nginx"))
    );
    assert_eq!(
        bench.count(60, open("/a", 3, 0)),
        1,
        "only `any` sees events"
    );
}

#[test]
fn severities_can_depend_on_the_container() {
    let set = rules(
        "- severity: precious\n  condition: container.image.repository endswith /web\n  priority: critical\n- severity: noise\n  rules: [cpu*]\n  engines: [statistics]\n  priority: debug\n",
    );
    assert!(set.overrides_severities());
    let world = World::new();
    let of = |finding: &Finding| set.severity_of(finding, &world.state).map(|one| one.name());
    let mut one = finding("cpu_share", Severity::Warning, &[]);
    assert_eq!(of(&one), Some("debug"), "the last that fits");
    one.engine = EngineKind::Rules;
    assert_eq!(of(&one), Some("critical"));
    one.cgroup_id = HOST;
    assert_eq!(of(&one), None);
}

#[test]
fn an_override_changes_time_measure_and_key_of_a_window_and_the_time_of_a_sequence() {
    let window =
        format!("- window: opens\n  condition: evt.type=openat\n  within: 1s\n  count: 2\n{TAIL}");
    let first_open = || open("/a", 3, 0);
    // Twice within 500 ms is not twice within 100 ms.
    let twice = |change: &str, path: &str| {
        let mut bench = Bench::new(&format!("{window}{change}"));
        let first = bench.count(60, first_open());
        bench.wait(500);
        (first, bench.count(60, open(path, 3, 0)))
    };
    assert_eq!(twice("", "/a"), (0, 1));
    let change = "- window: opens\n  override: {within: replace}\n  within: 100ms\n";
    assert_eq!(twice(change, "/a"), (0, 0));
    let change = "- window: opens\n  override: {count: replace}\n  count: 1\n";
    assert_eq!(twice(change, "/a"), (1, 1));
    let change = "- window: opens\n  override: {by: replace}\n  by: [fd.name]\n";
    assert_eq!(twice(change, "/a"), (0, 1));
    assert_eq!(twice(change, "/b"), (0, 0));
    // Another measure replaces the one that was there.
    let change = "- window: opens\n  override: {distinct: replace}\n  distinct: {of: fd.name, at_least: 2}\n";
    assert_eq!(twice(change, "/a"), (0, 0));
    assert_eq!(twice(change, "/b"), (0, 1));
    // A rate is a second's worth of whatever the time is.
    let change = "- window: opens\n  override: {rate: replace, within: replace}\n  within: 2s\n  rate: {at_least: 1}\n";
    assert_eq!(twice(change, "/a"), (0, 1));
    let change = "- window: opens\n  override: {rate: replace}\n  rate: {at_least: 1}\n- window: opens\n  override: {within: replace}\n  within: 3s\n";
    assert_eq!(twice(change, "/a"), (0, 0));

    let sequence = format!(
        "- sequence: two\n  within: 1s\n  steps:\n    - condition: evt.type=openat\n    - condition: evt.type=openat and fd.name=/b\n{TAIL}"
    );
    let second = |change: &str| {
        let mut bench = Bench::new(&format!("{sequence}{change}"));
        bench.count(60, first_open());
        bench.wait(500);
        bench.count(60, open("/b", 3, 0))
    };
    assert_eq!(second(""), 1);
    assert_eq!(
        second("- sequence: two\n  override: {within: replace}\n  within: 100ms\n"),
        0
    );

    for (change, token, expected) in [
        (
            "- window: opens\n  override: {count: replace, sum: replace}\n  count: 1\n  sum: {of: evt.rawres, at_least: 1}\n",
            "2 measures",
            "one of count",
        ),
        (
            "- window: opens\n  override: {within: append}\n  within: 1s\n",
            "append to `within`",
            "replace",
        ),
        (
            "- window: opens\n  override: {steps: replace}\n  steps: []\n",
            "override of `steps`",
            "within",
        ),
    ] {
        let error = fail(&format!("{window}{change}"));
        assert_eq!(error.token, token);
        assert!(error.expected.contains(expected), "{error}");
    }
    let error = fail(&format!(
        "{sequence}- sequence: two\n  override: {{steps: replace}}\n  steps: []\n"
    ));
    assert_eq!(error.token, "override of `steps`");
}
