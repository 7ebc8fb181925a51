//! Any text as a rule file and as a condition: it loads or says where it is wrong, what loads judges
//! events without end or panic, and a condition means the same after it was compiled twice.
//!
//! Input: a rule file, and behind the first byte 0xff a condition.
#![no_main]

use libfuzzer_sys::fuzz_target;
use replay::{
    resolve::State,
    rules::{Engine, Filter, LoadError, RuleSet},
    syscalls::{Arch, number},
};
use trace_format::{Event, EventData, Exec, ExecFlags, Open, PathMarks, Syscall, Text};

fuzz_target!(|bytes: &[u8]| {
    let split = bytes.iter().position(|&byte| byte == 0xff);
    let (file, condition) = bytes.split_at(split.unwrap_or(bytes.len()));
    if let Ok(file) = std::str::from_utf8(file) {
        let checked = RuleSet::check(&[("one", file), ("two", file)]);
        let errors = checked.files.iter().flat_map(|report| &report.errors);
        let mut sound = true;
        for error in errors {
            says_where(error, file);
            sound = false;
        }
        assert_eq!(
            sound,
            RuleSet::load(&[("one", file), ("two", file)]).is_ok()
        );
        let mut engine = Engine::new(checked.rules);
        judge(|event, state| {
            let mut matches = Vec::new();
            engine.evaluate(event, state, &mut matches);
            matches.len()
        });
    }
    let condition = condition.get(1..).unwrap_or_default();
    if let Ok(condition) = std::str::from_utf8(condition) {
        match (Filter::compile(condition), Filter::compile(condition)) {
            (Ok(mut filter), Ok(mut again)) => judge(|event, state| {
                let matched = filter.matches(event, state);
                assert_eq!(matched, again.matches(event, state));
                usize::from(matched)
            }),
            (Err(error), Err(_)) => says_where(&error, condition),
            _ => panic!("the same text, once a condition and once not"),
        }
    }
});

fn says_where(error: &LoadError, text: &str) {
    assert!(error.line >= 1 && error.column >= 1, "{error}");
    // A carriage return alone breaks a line in YAML, too.
    let lines = text.matches(['\n', '\r']).count() + 1;
    assert!(error.line <= lines + 1, "{error}");
    assert!(!error.expected.is_empty(), "{error}");
}

/// A few events of several kinds, of a process that the state comes to know.
fn judge(mut each: impl FnMut(&Event, &State) -> usize) {
    let mut state = State::new();
    let nr = |name| number(Arch::X86_64, name).expect("a call of the table");
    let text = |text: &str| Text::new(text.as_bytes());
    let exec = Exec {
        path: text("/usr/bin/cat"),
        filename: text("/usr/bin/cat"),
        args: text("cat\0/etc/shadow"),
        comm: text("cat"),
        ppid: 1,
        uid: 0,
        gid: 0,
        start_ns: 1,
        dev: 1,
        ino: 9,
        flags: ExecFlags::default(),
        details: None,
    };
    let open = Open {
        nr: nr("openat"),
        ret: 3,
        flags: 0,
        mode: 0,
        dev: 1,
        ino: 8,
        path: text("/etc/shadow"),
        marks: PathMarks::default(), duration_ns: 0, };
    let call = Syscall {
        nr: nr("dup2"),
        ret: 1,
        args: [3, 1, 0, 0, 0, 0], duration_ns: 0, };
    let events = [
        EventData::Exec(exec),
        EventData::Open(open),
        EventData::Syscall(call),
    ];
    for (at, data) in events.into_iter().enumerate() {
        let event = Event {
            boot_ns: 1_000 * at as u64 + 1,
            cpu: 0,
            probe: 0,
            seq: at as u64,
            tid: 7,
            pid: 7,
            cgroup_id: 0,
            data,
        };
        state.before(&event);
        each(&event, &state);
        state.after(&event);
    }
}
