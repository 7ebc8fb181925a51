//! Rule files: what they may say, and what is said about their mistakes.

use crate::world::*;
use replay::rules::{Engine, Filter, LoadError, Priority, RuleSet};

fn rule(name: &str, condition: &str) -> String {
    format!(
        "- rule: {name}\n  desc: d\n  condition: {condition}\n  output: o\n  priority: WARNING\n"
    )
}

fn load(text: &str) -> RuleSet {
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

/// Names of the rules that match opening a file for reading, by nginx in the container.
fn matching(rules: RuleSet, path: &str) -> Vec<String> {
    World::new().shipped(&mut Engine::new(rules), 60, open(path, 3, 0))
}

#[test]
fn errors_point_at_the_word_and_say_what_would_be_right() {
    for (condition, column, token, expected) in [
        ("proc.nmae = x", 14, "`proc.nmae`", "proc.name"),
        ("proc.name is x", 24, "`is`", "operator"),
        ("proc.name = ", 25, "the end", "a value"),
        ("proc.name = x and", 31, "the end", "a field, a macro"),
        ("(proc.name = x", 28, "the end", "`)`"),
        ("proc.name = x)", 27, "`)`", "`and`, `or` or the end"),
        ("proc.name in (a, )", 31, "`)`", "a value"),
        ("proc.name in (a b)", 30, "`b`", "`,` or `)`"),
        ("fd.num = three", 23, "`three`", "a number"),
        ("fd.num contains 3", 21, "`contains`", "= != <"),
        ("evt.failed = maybe", 27, "`maybe`", "true or false"),
        ("evt.failed > true", 25, "`>`", "= or !="),
        ("fd.sip = 1.2.3", 23, "`1.2.3`", "IP address"),
        ("fd.sip = 10.0.0.0/8", 23, "`10.0.0.0/8`", "an address"),
        ("fd.net = 10.0.0.0/40", 23, "`10.0.0.0/40`", "network"),
        ("fd.port = nowhere", 24, "`nowhere`", "service"),
        ("nonsense", 14, "`nonsense`, which is no macro", "a macro"),
        (
            "nonsense = 3",
            14,
            "`nonsense`",
            "a field (such as evt.type)",
        ),
        ("proc.aname[x] = y", 14, "`proc.aname[x]`", "generations"),
        ("proc.name regex '[a'", 30, "`[a`", "a closing ]"),
        ("proc.name regex \\d", 30, "`\\d`", "[[:digit:]]"),
        ("b46(proc.name) = x", 14, "`b46`", "a transformer: tolower"),
        ("len(proc.name) contains x", 29, "`contains`", "= != <"),
        (
            "concat(proc.name) = x",
            14,
            "`concat`",
            "two values or more",
        ),
        ("getopt(proc.args, 'f:')[g] = x", 14, "`getopt`", "options"),
        ("proc.name bcontains 4", 34, "`4`", "hex digits"),
        ("evt.type = opne", 25, "`opne`", "event type"),
        (
            "evt.arg.nonsense = x",
            14,
            "`evt.arg.nonsense`",
            "parameter",
        ),
        ("proc.name = val(proc.pid)", 30, "`proc.pid`", "same type"),
        ("proc.name = 'a", 26, "`'a`", "closing quote"),
    ] {
        let error = fail(&rule("r", condition));
        assert_eq!(
            (error.file.as_str(), error.line),
            ("t.yaml", 3),
            "{condition}: {error}"
        );
        assert_eq!(
            (error.column, error.token.as_str()),
            (column, token),
            "{condition}: {error}"
        );
        assert!(error.expected.contains(expected), "{condition}: {error}");
    }
}

#[test]
fn errors_in_folded_texts_macros_and_lists_point_into_them() {
    let folded = "- rule: r\n  desc: d\n  condition: >\n    evt.type = open\n    and   proc.nmae = x\n  output: o\n  priority: info\n";
    let error = fail(folded);
    assert_eq!((error.line, error.column), (5, 11), "{error}");

    let in_macro = format!(
        "- macro: m\n  condition: (evt.type = open and proc.nmae = x)\n{}",
        rule("r", "m")
    );
    let error = fail(&in_macro);
    assert_eq!((error.line, error.column), (2, 35), "{error}");

    let in_list = format!(
        "- list: ports\n  items: [80, eighty]\n{}",
        rule("r", "fd.port in (81, ports)")
    );
    let error = fail(&in_list);
    assert_eq!(
        (error.line, error.token.as_str()),
        (5, "`eighty`"),
        "{error}"
    );

    let in_output = rule("r", "evt.type = open").replace("output: o", "output: a %proc.nmae b");
    let error = fail(&in_output);
    assert_eq!((error.line, error.column), (4, 14), "{error}");
    let error = fail(&rule("r", "evt.type = open").replace("output: o", "output: 100%"));
    assert!(error.expected.contains("field after %"), "{error}");

    let second = [
        ("a.yaml", rule("r", "evt.type = open")),
        (
            "b.yaml",
            "- rule: r\n  append: true\n  condition: and bad.field = 1\n".into(),
        ),
    ];
    let files: Vec<_> = second
        .iter()
        .map(|file| (file.0, file.1.as_str()))
        .collect();
    let error = RuleSet::load(&files).unwrap_err();
    assert_eq!(
        (error.file.as_str(), error.line, error.column),
        ("b.yaml", 3, 18),
        "{error}"
    );

    let error = Filter::compile("evt.type = open and\n  nope.field = 1")
        .err()
        .unwrap();
    assert_eq!(
        (error.file.as_str(), error.line, error.column),
        ("filter", 2, 3),
        "{error}"
    );
}

#[test]
fn mistakes_in_the_structure_are_named() {
    for (text, expected) in [
        ("rule: r", "a list of rules"),
        ("- just text", "a mapping with rule"),
        (
            "- rule: r\n  desc: d\n  output: o\n  priority: info\n",
            "`condition`",
        ),
        (
            "- rule: r\n  desc: d\n  condition: evt.num=1\n  priority: info\n",
            "`output`",
        ),
        (
            "- rule: r\n  desc: d\n  condition: evt.num=1\n  output: o\n",
            "`priority`",
        ),
        (
            "- rule: r\n  desc: d\n  condition: evt.num=1\n  output: o\n  priority: loud\n",
            "a priority: emergency",
        ),
        (
            "- rule: r\n  desc: d\n  condition: evt.num=1\n  output: o\n  priority: info\n  enabled: perhaps\n",
            "true or false",
        ),
        ("- macro: m\n", "`condition`"),
        ("- list: l\n", "`items`"),
        ("- list: l\n  items: x\n", "a list"),
        (
            "- list: l\n  append: true\n  items: [x]\n",
            "earlier definition",
        ),
        (
            "- macro: m\n  append: true\n  condition: or x\n",
            "earlier definition",
        ),
        (
            "- rule: r\n  append: true\n  condition: or x\n",
            "earlier definition",
        ),
        ("- macro: m\n  condition: m\n", "without a loop"),
        (
            "- macro: a\n  condition: evt.num=1\n- macro: b\n  condition: not a\n- macro: a\n  condition: b\n",
            "without a loop",
        ),
        (
            "- macro: a\n  condition: b\n- macro: b\n  condition: evt.num=1\n",
            "defined before this one",
        ),
        (
            "- list: a\n  items: [b]\n- list: b\n  items: [a]\n",
            "without a loop",
        ),
        ("- required_engine_version: 1.0.0\n", "or older"),
        ("- required_engine_version: 0.99.0\n", "or older"),
        ("- required_engine_version: soon\n", "a version"),
        (
            "- required_plugin_versions:\n  - name: k8saudit\n    version: 0.1.0\n",
            "no plugin but",
        ),
        ("- rule: [x]\n", "the name of the rule"),
        (
            "- list: l\n  items: [a]\n  append: true\n  override: {items: append}\n",
            "one of them",
        ),
    ] {
        let error = fail(text);
        assert!(error.expected.contains(expected), "{text}\n{error}");
        assert!(error.line >= 1 && error.column >= 1);
    }
}

#[test]
fn later_definitions_replace_append_and_override() {
    let base = format!(
        "- required_engine_version: 0.57.0\n- required_plugin_versions:\n  - name: container\n    version: 0.4.0\n\
         - list: files\n  items: [/a]\n- macro: wanted\n  condition: fd.name in (files)\n{}{}",
        rule("first", "evt.type=openat and wanted"),
        rule("second", "evt.type=openat and fd.name=/z")
    );
    let with = |more: &str| {
        RuleSet::load(&[("a", &base), ("b", more)])
            .unwrap_or_else(|error| panic!("{error}"))
            .0
    };
    assert_eq!(matching(with(""), "/a"), ["first"]);
    assert_eq!(
        matching(with("- list: files\n  items: [/b]"), "/a"),
        [""; 0]
    );
    assert_eq!(
        matching(with("- list: files\n  items: [/b]\n  append: true"), "/b"),
        ["first"]
    );
    assert_eq!(
        matching(
            with("- list: files\n  items: [/b]\n  override: {items: append}"),
            "/a"
        ),
        ["first"]
    );
    assert_eq!(
        matching(
            with("- list: files\n  items: [/b]\n  override: {items: replace}"),
            "/a"
        ),
        [""; 0]
    );
    assert_eq!(
        matching(
            with("- macro: wanted\n  append: true\n  condition: or fd.name=/c"),
            "/c"
        ),
        ["first"]
    );
    assert_eq!(
        matching(
            with("- rule: first\n  append: true\n  condition: and proc.name=sh"),
            "/a"
        ),
        [""; 0]
    );
    assert_eq!(
        matching(with("- rule: first\n  enabled: false"), "/a"),
        [""; 0]
    );
    // A redefinition keeps the place.
    assert_eq!(
        matching(with(&rule("first", "evt.type=openat")), "/z"),
        ["first", "second"]
    );
    let overridden = with(
        "- rule: first\n  override: {condition: replace, priority: replace, tags: append, output: append, desc: append}\n  condition: evt.type=openat\n  priority: debug\n  tags: [x]\n  output: more\n  desc: more",
    );
    assert_eq!(overridden.rule(0).unwrap().priority, Priority::Debug);
    assert_eq!(*overridden.rule(0).unwrap().tags, ["x".to_owned()]);
    assert_eq!(overridden.rule(0).unwrap().description, "d more");
    let mut engine = Engine::new(overridden);
    assert_eq!(
        World::new().judge(&mut engine, 60, open("/q", 3, 0))[0].output,
        "o more"
    );

    for (more, expected) in [
        (
            "- rule: first\n  override: {condition: replace}\n",
            "`condition`",
        ),
        (
            "- rule: first\n  override: {condition: replace}\n  condition: x\n  priority: info\n",
            "only keys that",
        ),
        (
            "- rule: first\n  override: {priority: append}\n  priority: info\n",
            "replace",
        ),
        (
            "- rule: first\n  override: {condition: perhaps}\n  condition: x\n",
            "append or replace",
        ),
    ] {
        let error = RuleSet::load(&[("a", &base), ("b", more)]).unwrap_err();
        assert!(error.expected.contains(expected), "{more}\n{error}");
    }
}

#[test]
fn exceptions_keep_a_rule_quiet_for_their_values() {
    let base = format!(
        "{}  exceptions:\n  - name: pairs\n    fields: [proc.name, fd.name]\n    comps: [=, startswith]\n    values:\n    - [nginx, /ok]\n  - name: dirs\n    fields: fd.directory\n    values: [/quiet, /very quiet]\n  - name: later\n    fields: [proc.name, fd.filename]\n    comps: [in, endswith]\n",
        rule("r", "evt.type=openat or evt.type=close")
    );
    assert_eq!(matching(load(&base), "/ok/file"), [""; 0]);
    assert_eq!(matching(load(&base), "/quiet/file"), [""; 0]);
    assert_eq!(matching(load(&base), "/very quiet/file"), [""; 0]);
    assert_eq!(matching(load(&base), "/loud/file"), ["r"]);
    let more = "- rule: r\n  append: true\n  exceptions:\n  - name: later\n    values: [[[nginx, apache], ile]]\n  - name: dirs\n    values: [/loud2]\n";
    let appended = RuleSet::load(&[("a", &base), ("b", more)])
        .unwrap_or_else(|error| panic!("{error}"))
        .0;
    assert_eq!(matching(appended.clone(), "/loud/file"), [""; 0]);
    assert_eq!(matching(appended.clone(), "/loud2/x"), [""; 0]);
    assert_eq!(matching(appended, "/loud/x"), ["r"]);

    let wrong = base.replace("[nginx, /ok]", "[nginx]");
    assert!(
        fail(&wrong).expected.contains("a tuple of 2"),
        "{}",
        fail(&wrong)
    );
    let wrong = base.replace("comps: [=, startswith]", "comps: [=]");
    assert!(fail(&wrong).expected.contains("2 operators"));
    let redefined =
        "- rule: r\n  append: true\n  exceptions:\n  - name: later\n    fields: [proc.name]\n";
    assert!(
        RuleSet::load(&[("a", &base), ("b", redefined)])
            .unwrap_err()
            .expected
            .contains("values only")
    );
}

#[test]
fn lists_with_blanks_and_quotes_become_single_values() {
    let text = format!(
        "- list: lines\n  items: [plain, two words, '\"quoted words\"', \"runc:[1:CHILD]\"]\n{}",
        rule("r", "evt.type=openat and fd.name in (/x, lines)")
    );
    for (path, expected) in [
        ("plain", 1),
        ("two words", 1),
        ("quoted words", 1),
        ("runc:[1:CHILD]", 1),
        ("two", 0),
    ] {
        let mut world = World::new();
        let matches = world.judge(&mut Engine::new(load(&text)), 60, open(path, 3, 0));
        assert_eq!(matches.len(), expected, "{path}");
    }
}

#[test]
fn every_matching_rule_fires_unless_the_first_is_asked_for() {
    let text =
        rule("a", "evt.type=openat") + &rule("b", "proc.name=nginx") + &rule("c", "evt.type=close");
    assert_eq!(matching(load(&text), "/x"), ["a", "b"]);
    let mut engine = Engine::new(load(&text)).first_match(true);
    assert_eq!(
        World::new().shipped(&mut engine, 60, open("/x", 3, 0)),
        ["a"]
    );
}

#[test]
fn rules_can_be_selected_by_name_tag_and_priority() {
    let text = rule("Shell a", "evt.type=openat").replace("WARNING", "WARNING\n  tags: [x]")
        + &rule("Shell b", "evt.type=openat").replace("WARNING", "debug");
    let mut rules = load(&text);
    assert_eq!(rules.switch_named("Shell*", false), 2);
    assert_eq!(matching(rules.clone(), "/x"), [""; 0]);
    assert_eq!(rules.switch_tagged("x", true), 1);
    assert_eq!(matching(rules.clone(), "/x"), ["Shell a"]);
    assert_eq!(
        rules.switch_named("Shell", true),
        0,
        "a name without star is whole"
    );
    rules.switch_named("*", true);
    rules.minimum(Priority::Notice);
    assert_eq!(matching(rules, "/x"), ["Shell a"]);
}

#[test]
fn unknown_fields_skip_a_rule_that_asks_for_it() {
    let text = rule("a", "future.field = 1")
        .replace("WARNING", "WARNING\n  skip-if-unknown-filter: true")
        + &rule("b", "evt.type=openat");
    let (rules, warnings) = RuleSet::load(&[("t", &text)]).unwrap();
    assert_eq!(rules.rules().len(), 1);
    assert!(
        warnings
            .iter()
            .any(|warning| warning.message.contains("skipped")),
        "{warnings:?}"
    );
    assert_eq!(
        fail(&text.replace("  skip-if-unknown-filter: true\n", "")).token,
        "`future.field`"
    );
}

#[test]
fn warnings_say_what_has_no_effect() {
    let text = format!(
        "- what: ever\n- macro: unused\n  condition: evt.num=0\n- macro: inner\n  condition: evt.num>=0\n- macro: used\n  condition: inner\n- list: idle\n  items: [a]\n{}{}{}",
        rule("everything", "used and proc.name=x"),
        rule("nothing", "evt.type=openat and proc.env contains x"),
        rule("odd", "evt.type=openat")
            .replace("desc: d", "desc: d\n  colour: red\n  source: syscall")
            + &rule("other", "ka.verb=get").replace("desc: d", "desc: d\n  source: k8s_audit")
    );
    let (rules, warnings) = RuleSet::load(&[("t.yaml", &text)]).unwrap();
    assert_eq!(rules.rules().len(), 3);
    let all: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    let all = all.join("\n");
    for expected in [
        "t.yaml:1:3: `what`: not a rule",
        "macro unused is not used",
        "list idle is not used",
        "rule everything: no evt.type",
        "rule nothing: no trace has an event",
        "unknown key `colour`",
        "source `k8s_audit` is unknown",
    ] {
        assert!(all.contains(expected), "{expected} not in\n{all}");
    }
    assert!(!all.contains("inner is not used"), "{all}");
    assert_eq!(warnings.len(), 7, "{all}");
}

#[test]
fn hostile_rule_files_are_refused() {
    let bomb = (1..60).fold(
        "- macro: m0\n  condition: fd.num=1 or fd.num=2\n".to_owned(),
        |text, at| {
            format!(
                "{text}- macro: m{at}\n  condition: m{0} and not m{0}\n",
                at - 1
            )
        },
    );
    assert!(
        fail(&(bomb + &rule("r", "m59")))
            .expected
            .contains("at most")
    );
    let deep = rule("r", &("(".repeat(5000) + "evt.num=1" + &")".repeat(5000)));
    assert!(fail(&deep).expected.contains("nested parentheses"));
    let lists = (1..60).fold(
        "- list: l0\n  items: [aaaaaaaaaa]\n".to_owned(),
        |text, at| format!("{text}- list: l{at}\n  items: [l{0}, l{0}, l{0}]\n", at - 1),
    );
    assert!(
        fail(&(lists + &rule("r", "proc.name in (l59)")))
            .expected
            .contains("at most")
    );
    // Each is there before the one that uses it is defined anew.
    let chain: String = (0..200)
        .rev()
        .map(|at| format!("- macro: c{at}\n  condition: evt.num=1\n"))
        .chain((1..200).map(|at| format!("- macro: c{at}\n  condition: c{}\n", at - 1)))
        .collect();
    assert!(
        fail(&chain).expected.contains("at most"),
        "{}",
        fail(&chain)
    );
    for text in [
        "\u{0}",
        "- rule: \"\\x00\"",
        "---\n...\n---\n- ~\n",
        "- {}",
        "- rule: r\n  condition: \"a\\0b\"\n",
    ] {
        let _ = RuleSet::load(&[("t", text)]);
    }
}
