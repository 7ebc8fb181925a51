//! The index by event type never changes a result.

use crate::world::*;
use proptest::prelude::*;
use replay::rules::{Engine, Filter, RuleSet};
use trace_format::{EventData, SyscallCount, TcpState};

/// One event of each kind that matters for types.
fn events() -> Vec<EventData> {
    let mut unix = sock_data("connect", 0, 3, Default::default(), Default::default());
    (unix.family, unix.unix_path) = (1, "/run/docker.sock".into());
    let tcp = |old, new| {
        EventData::TcpState(TcpState {
            old,
            new,
            family: 2,
            local: end([172, 17, 0, 2], 40000),
            remote: end([9, 9, 9, 9], 53),
            sock: 77,
            latency_ns: 5,
            ..TcpState::default()
        })
    };
    vec![
        open("/etc/shadow", 3, 0),
        open("/etc/passwd", -13, O_WRONLY),
        path_call("unlink", 0, "/var/log/wtmp", "", 0),
        path_call("rename", 0, "/a", "/usr/bin/b", 0),
        path_call("mount", 0, "none", "/mnt", 0),
        path_call("execve", -2, "/nothing", "", 0),
        connect(0, [93, 184, 216, 34], 443),
        EventData::SockCall(unix),
        call("read", 10, [3, 0, 0, 0, 0, 0]),
        call("getpid", 60, [0; 6]),
        call("ptrace", 0, [16, 1, 0, 0, 0, 0]),
        call("unshare", -1, [0x2_0000, 0, 0, 0, 0, 0]),
        call("close", 0, [3, 0, 0, 0, 0, 0]),
        exec("/bin/sh", &["sh"], 50, 0),
        fork(6100, 5),
        tcp(2, 1),
        tcp(1, 7),
        EventData::Sample(Box::default()),
        EventData::SyscallCount(SyscallCount { nr: 0, calls: 9 }),
        exit(60_000_000),
    ]
}

fn check() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "evt.type=openat",
        "evt.type!=openat",
        "evt.type in (connect, close, tcp_closed, clone)",
        "evt.type startswith tcp",
        "syscall.type!=read",
        "evt.num=0",
        "evt.num>=1",
        "evt.rawres<0",
        "evt.failed=true",
        "evt.res=SUCCESS",
        "evt.is_open_read=true",
        "evt.is_open_read=false",
        "evt.arg.flags contains CLONE",
        "evt.arg.flags exists",
        "evt.arg.fd exists",
        "evt.rawarg.pid=1",
        "fd.name contains etc",
        "fd.name!=x",
        "fd.num>=3",
        "fd.sip=93.184.216.34",
        "fd.ip!=1.1.1.1",
        "fd.port!=53",
        "fd.connected=true",
        "fs.path.name exists",
        "fs.path.target startswith /usr",
        "proc.name=nginx",
        "proc.aname=systemd",
        "proc.tty!=0",
        "proc.pname exists",
        "container.id!=host",
        "user.uid=33",
    ])
    .prop_map(str::to_owned)
}

fn condition() -> impl Strategy<Value = String> {
    check().prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4)
                .prop_map(|parts| format!("({})", parts.join(" and "))),
            prop::collection::vec(inner.clone(), 1..4)
                .prop_map(|parts| format!("({})", parts.join(" or "))),
            inner.prop_map(|part| format!("not ({part})")),
        ]
    })
}

/// A condition judged check by check, each as a filter of its own, joined by Rust's own `and`, `or`, `not`.
fn plainly(world: &mut World, condition: &str, event: &EventData) -> bool {
    if let Some(inner) = condition
        .strip_prefix("not (")
        .and_then(|rest| rest.strip_suffix(')'))
        && balanced(inner)
    {
        return !plainly(world, inner, event);
    }
    if let Some(inner) = condition
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(')'))
        && balanced(inner)
    {
        for (word, all) in [(" and ", true), (" or ", false)] {
            let parts = split(inner, word);
            if parts.len() > 1 {
                let mut results = parts.iter().map(|part| plainly(world, part, event));
                return if all {
                    !results.any(|result| !result)
                } else {
                    results.any(|result| result)
                };
            }
        }
        return plainly(world, inner, event);
    }
    let mut filter = Filter::compile(condition).unwrap();
    let event = world.event(60, event.clone());
    world.state.before(&event);
    filter.matches(&event, &world.state)
}

fn balanced(text: &str) -> bool {
    let mut depth = 0;
    text.bytes().all(|byte| {
        depth += i32::from(byte == b'(') - i32::from(byte == b')');
        depth >= 0
    })
}

/// Splits at a word that stands outside of parentheses.
fn split<'a>(text: &'a str, word: &str) -> Vec<&'a str> {
    let mut parts = Vec::new();
    let (mut start, mut depth) = (0, 0);
    for (at, byte) in text.bytes().enumerate() {
        depth += i32::from(byte == b'(') - i32::from(byte == b')');
        if depth == 0 && text[at..].starts_with(word) {
            parts.push(&text[start..at]);
            start = at + word.len();
        }
    }
    parts.push(&text[start..]);
    parts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn folding_and_indexing_never_change_a_result(condition in condition(), chosen in 0..20usize) {
        let event = &events()[chosen];
        let expected = plainly(&mut World::new(), &condition, event);
        prop_assert_eq!(World::new().holds(&condition, 60, event.clone()), expected, "{}", condition);
        let rule = format!("- rule: r\n  desc: d\n  condition: {condition}\n  output: o\n  priority: info\n");
        let mut engine = Engine::new(RuleSet::load(&[("t", &rule)]).unwrap().0);
        prop_assert_eq!(!World::new().judge(&mut engine, 60, event.clone()).is_empty(), expected, "{}", condition);
    }

    #[test]
    fn no_condition_text_panics(text in "[a-z.=<>()'\"\\\\ \\[\\]0-9,!éx]{0,60}") {
        let _ = Filter::compile(&text);
        let _ = RuleSet::load(&[("t", &format!("- rule: r\n  desc: d\n  condition: {text}\n  output: '%{text}'\n  priority: info\n"))]);
        let _ = RuleSet::load(&[("t", &text)]);
    }
}
