//! What the state promises: identities, lineage, bounds, gaps.

use super::*;
use crate::syscalls::number;
use trace_format::{
    EventData, Exec, ExecFlags, Exit, Fork, Loss, LossCount, Open, PassedFd, PathMarks,
    Process as Seen, Syscall, Text,
};

fn event(boot_ns: u64, pid: u32, data: EventData) -> Event {
    Event {
        boot_ns,
        cpu: 0,
        probe: 0,
        seq: 0,
        tid: pid,
        pid,
        cgroup_id: 7,
        data,
    }
}

fn apply(state: &mut State, event: &Event) {
    state.before(event);
    state.after(event);
}

fn fork(state: &mut State, boot_ns: u64, parent: u32, child: u32) {
    let fork = Fork {
        child_tid: child,
        child_pid: child,
        child_start_ns: boot_ns,
        child_ns_tid: 0,
    };
    apply(state, &event(boot_ns, parent, EventData::Fork(fork)));
}

fn exit(state: &mut State, boot_ns: u64, pid: u32, start_ns: u64) {
    let exit = Exit {
        code: 0,
        signal: 0,
        start_ns,
        last_thread: true,
        usage: None,
    };
    apply(state, &event(boot_ns, pid, EventData::Exit(exit)));
}

fn exec(state: &mut State, boot_ns: u64, pid: u32, ppid: u32, start_ns: u64, comm: &str) {
    let exec = Exec {
        path: format!("/bin/{comm}").into(),
        filename: comm.into(),
        args: format!("{comm}\0a").into(),
        comm: comm.into(),
        ppid,
        uid: 5,
        gid: 6,
        start_ns,
        dev: 0,
        ino: 0,
        flags: ExecFlags::default(),
        details: None,
    };
    apply(state, &event(boot_ns, pid, EventData::Exec(exec)));
}

fn snapshot(state: &mut State, boot_ns: u64, pid: u32, ppid: u32, start_ns: u64, comm: &str) {
    let process = Seen {
        pid,
        ppid,
        start_ns,
        comm: comm.into(),
        exe: format!("/bin/{comm}").into(),
        args: comm.into(),
        ..Seen::default()
    };
    state.context(&ContextRecord {
        boot_ns,
        body: Context::Process(process),
    });
}

fn lineage(state: &State, pid: u32) -> Vec<String> {
    state
        .lineage(pid)
        .map(|process| process.comm.to_string())
        .collect()
}

/// One second, in nanoseconds: far beyond the tolerance of start times.
const S: u64 = 1_000_000_000;

#[test]
fn a_reused_pid_is_another_process() {
    let mut state = State::new();
    snapshot(&mut state, 0, 1, 0, 0, "init");
    fork(&mut state, S, 1, 10);
    exec(&mut state, 2 * S, 10, 1, S, "first");
    fork(&mut state, 3 * S, 10, 11);
    exit(&mut state, 4 * S, 10, S);
    assert!(state.process(10).is_none());
    fork(&mut state, 5 * S, 1, 10);
    exec(&mut state, 6 * S, 10, 1, 5 * S, "second");
    assert_eq!(lineage(&state, 10), ["second", "init"]);
    // The child of the first one still descends from the first one.
    assert_eq!(lineage(&state, 11), ["first", "first", "init"]);
    // A late exit of the first one does not end the second.
    exit(&mut state, 7 * S, 10, S);
    assert!(state.process(10).is_some());
    exit(&mut state, 8 * S, 10, 5 * S);
    assert!(state.process(10).is_none());
}

#[test]
fn a_reused_pid_is_noticed_even_when_fork_and_exit_were_lost() {
    let mut state = State::new();
    fork(&mut state, S, 1, 10);
    exec(&mut state, 2 * S, 10, 1, S, "first");
    exec(&mut state, 9 * S, 10, 1, 8 * S, "second");
    assert_eq!(state.process(10).unwrap().start_ns, 8 * S);
    // A snapshot of what the pid was before is older than what is known.
    snapshot(&mut state, 10 * S, 10, 1, S, "first");
    assert_eq!(state.process(10).unwrap().comm, Text::from("second"));
    snapshot(&mut state, 20 * S, 10, 1, 15 * S, "third");
    assert_eq!(state.process(10).unwrap().comm, Text::from("third"));
}

#[test]
fn a_snapshot_in_clock_ticks_is_the_process_of_the_events() {
    let mut state = State::new();
    fork(&mut state, S + 4_567_891, 1, 10);
    exec(&mut state, 2 * S, 10, 1, S + 4_567_891, "app");
    snapshot(&mut state, 3 * S, 10, 1, S, "app");
    let process = state.process(10).unwrap();
    assert_eq!(process.start_ns, S + 4_567_891);
    assert_eq!(
        process.args,
        Text::from("app\0a"),
        "what the event said is exact"
    );
    exit(&mut state, 4 * S, 10, S + 4_567_891);
    snapshot(&mut state, 4 * S, 10, 1, S, "app");
    assert!(state.process(10).is_none(), "looked at before it exited");
}

#[test]
fn lineage_keeps_the_starter_after_its_exit() {
    let mut state = State::new();
    snapshot(&mut state, 0, 1, 0, 0, "init");
    snapshot(&mut state, 0, 50, 1, 1000, "shim");
    fork(&mut state, S, 50, 51);
    exec(&mut state, S + 1, 51, 50, S, "runc");
    fork(&mut state, S + 2, 51, 52);
    exit(&mut state, S + 3, 51, S);
    // The kernel handed it to the shim: the exec says so, and the starter stays.
    exec(&mut state, S + 4, 52, 50, S + 2, "sh");
    assert_eq!(lineage(&state, 52), ["sh", "runc", "shim", "init"]);
    assert_eq!(state.process(52).unwrap().ppid, 51);
    // Cloned as a sibling (CLONE_PARENT): the kernel's parent counts while the starter lives.
    fork(&mut state, S + 5, 52, 53);
    exec(&mut state, S + 6, 53, 50, S + 5, "sibling");
    assert_eq!(lineage(&state, 53), ["sibling", "shim", "init"]);
}

#[test]
fn lineage_ends_in_a_circle_and_in_a_long_chain() {
    let mut state = State::new();
    snapshot(&mut state, 0, 10, 11, 5, "a");
    snapshot(&mut state, 0, 11, 10, 5, "b");
    assert!(lineage(&state, 10).len() <= 64);
    for pid in 100..400 {
        fork(&mut state, S * u64::from(pid), pid, pid + 1);
    }
    assert_eq!(lineage(&state, 400).len(), 64);
}

#[test]
fn a_thread_is_not_a_process() {
    let mut state = State::new();
    snapshot(&mut state, 0, 10, 1, S, "app");
    let thread = Fork {
        child_tid: 99,
        child_pid: 10,
        child_start_ns: 2 * S,
        child_ns_tid: 0,
    };
    apply(&mut state, &event(2 * S, 10, EventData::Fork(thread)));
    assert!(state.process(99).is_none());
    let thread_exit = Exit {
        code: 0,
        signal: 0,
        start_ns: 2 * S,
        last_thread: false,
        usage: None,
    };
    apply(
        &mut state,
        &Event {
            tid: 99,
            ..event(3 * S, 10, EventData::Exit(thread_exit))
        },
    );
    assert!(state.process(10).is_some());
    // The main thread may be gone before the last one.
    let last = Exit {
        last_thread: true,
        ..thread_exit
    };
    apply(
        &mut state,
        &Event {
            tid: 99,
            ..event(4 * S, 10, EventData::Exit(last))
        },
    );
    assert!(state.process(10).is_none());
}

#[test]
fn the_exiting_process_is_there_until_its_exit_was_judged() {
    let mut state = State::new();
    snapshot(&mut state, 0, 10, 1, S, "app");
    let exit = event(
        2 * S,
        10,
        EventData::Exit(Exit {
            code: 0,
            signal: 9,
            start_ns: S,
            last_thread: true,
            usage: None,
        }),
    );
    state.before(&exit);
    assert_eq!(state.process_of(&exit).unwrap().comm, Text::from("app"));
    state.after(&exit);
    assert!(state.process_of(&exit).is_none());
    // A socket may outlive it.
    let tcp = trace_format::TcpState {
        old: 4,
        new: 7,
        family: 2,
        local: Default::default(),
        remote: Default::default(),
        sock: 1,
        latency_ns: 0,
        ..trace_format::TcpState::default()
    };
    assert!(
        state
            .process_of(&event(3 * S, 10, EventData::TcpState(tcp)))
            .is_some()
    );
}

#[test]
fn processes_are_bounded_and_the_exited_go_first() {
    let mut state = State::new();
    snapshot(&mut state, 0, 1, 0, 1, "init");
    // Short-lived children by the hundred thousand.
    for number in 0..200_000u64 {
        let pid = 1000 + (number % 30_000) as u32;
        let at = S + number * 100_000_000;
        fork(&mut state, at, 1, pid);
        exit(&mut state, at + 1, pid, at);
    }
    assert!(state.processes_len() < 10_000, "{}", state.processes_len());
    assert!(state.process(1).is_some());
    // More living ones than the table holds.
    for number in 0..70_000u32 {
        fork(
            &mut state,
            10 * S * 200_000 + u64::from(number) * S,
            1,
            100_000 + number,
        );
    }
    assert_eq!(state.processes_len(), 65_536);
    assert!(state.process(169_999).is_some());
    assert!(state.process(100_000).is_none(), "the oldest gave way");
}

#[test]
fn an_exited_ancestor_stays_while_a_descendant_needs_it() {
    let mut state = State::new();
    snapshot(&mut state, 0, 1, 0, 1, "init");
    fork(&mut state, S, 1, 10);
    exec(&mut state, 2 * S, 10, 1, S, "starter");
    fork(&mut state, 3 * S, 10, 11);
    exec(&mut state, 4 * S, 11, 10, 3 * S, "daemon");
    exit(&mut state, 5 * S, 10, S);
    for number in 0..50_000u64 {
        let at = 10 * S + number * 100_000_000;
        let pid = 1000 + (number % 20_000) as u32;
        fork(&mut state, at, 1, pid);
        exit(&mut state, at + 1, pid, at);
    }
    assert_eq!(lineage(&state, 11), ["daemon", "starter", "init"]);
}

#[test]
fn holes_and_loss_records_mark_a_gap_once() {
    let mut state = State::new();
    let at = |boot_ns: u64, cpu: u16, probe: u8, seq: u64| Event {
        cpu,
        probe,
        seq,
        ..event(
            boot_ns,
            1,
            EventData::Syscall(Syscall {
                nr: 39,
                ret: 1,
                args: [0; 6],
                duration_ns: 0,
            }),
        )
    };
    for seq in [17, 18, 19] {
        apply(&mut state, &at(seq, 0, 1, seq));
    }
    apply(&mut state, &at(20, 1, 1, 3));
    apply(&mut state, &at(21, 0, 2, 900));
    apply(&mut state, &at(22, 0, 0, 5));
    apply(&mut state, &at(23, 0, 0, 2));
    assert_eq!(
        state.last_gap_ns(),
        None,
        "a pair may start anywhere; samples have no sequence"
    );
    apply(&mut state, &at(30, 0, 1, 23));
    assert_eq!((state.last_gap_ns(), state.lost()), (Some(30), 3));
    apply(&mut state, &at(31, 0, 1, 21));
    assert_eq!(
        (state.last_gap_ns(), state.lost()),
        (Some(30), 2),
        "late, not lost"
    );
    let loss = |dropped| {
        let count = LossCount {
            cpu: 0,
            probe: 1,
            seen: 100,
            dropped,
            filtered: 9,
        };
        Context::Loss(Loss {
            counts: vec![count],
        })
    };
    state.context(&ContextRecord {
        boot_ns: 40,
        body: loss(2),
    });
    assert_eq!(state.last_gap_ns(), Some(30), "the hole was seen already");
    state.context(&ContextRecord {
        boot_ns: 50,
        body: loss(7),
    });
    assert_eq!((state.last_gap_ns(), state.lost()), (Some(50), 7));
    apply(&mut state, &at(60, u16::MAX, 255, u64::MAX));
    apply(&mut state, &at(61, 8191, 255, u64::MAX));
    apply(&mut state, &at(62, 8191, 255, u64::MAX));
}

#[test]
fn descriptors_follow_open_dup_close_and_fork() {
    let mut state = State::new();
    let nr = |name| number(Arch::X86_64, name).unwrap();
    let call = |state: &mut State, pid, name, ret, args: [u64; 6]| {
        apply(
            state,
            &event(
                S,
                pid,
                EventData::Syscall(Syscall {
                    nr: nr(name),
                    ret,
                    args,
                    duration_ns: 0,
                }),
            ),
        );
    };
    snapshot(&mut state, 0, 10, 1, 1, "app");
    let open = |path: &str, fd| Open {
        nr: nr("openat"),
        ret: fd,
        flags: 0,
        mode: 0,
        path: path.into(),
        dev: 0,
        ino: 0,
        marks: PathMarks::default(),
        duration_ns: 0,
    };
    apply(&mut state, &event(S, 10, EventData::Open(open("/a", 3))));
    apply(
        &mut state,
        &event(S, 10, EventData::Open(open("/failed", -2))),
    );
    let path = |state: &State, pid, fd| {
        let process = state.process(pid).unwrap();
        state
            .descriptor(process, fd)
            .map(|descriptor| descriptor.path.to_string())
    };
    call(&mut state, 10, "dup2", 7, [3, 7, 0, 0, 0, 0]);
    call(&mut state, 10, "fcntl", 8, [3, 1030, 0, 0, 0, 0]);
    call(&mut state, 10, "fcntl", 0, [3, 2, 0, 0, 0, 0]);
    fork(&mut state, 2 * S, 10, 11);
    call(&mut state, 11, "close", 0, [3, 0, 0, 0, 0, 0]);
    call(&mut state, 10, "close", -9, [7, 0, 0, 0, 0, 0]);
    for (pid, fd, expected) in [
        (10, 3, Some("/a")),
        (10, 7, Some("/a")),
        (10, 8, Some("/a")),
        (11, 3, None),
        (11, 7, Some("/a")),
        (10, 0, None),
    ] {
        assert_eq!(path(&state, pid, fd).as_deref(), expected, "{pid} {fd}");
    }
    assert_eq!(path(&state, 10, -2), None);
    call(&mut state, 10, "memfd_create", 9, [0; 6]);
    let process = state.process(10).unwrap();
    assert_eq!(
        state.descriptor(process, 9).unwrap().kind,
        DescriptorKind::Other(b'm')
    );
    let mut passed = PassedFd {
        fd: 9,
        mode: 0o100_644,
        path: "/other/root".into(),
        ..PassedFd::default()
    };
    apply(
        &mut state,
        &event(S, 11, EventData::PassedFd(passed.clone())),
    );
    assert_eq!(path(&state, 11, 9).as_deref(), Some("/other/root"));
    // Who sends keeps what it has.
    passed.sent = true;
    apply(&mut state, &event(S, 10, EventData::PassedFd(passed)));
    assert_eq!(path(&state, 10, 9).as_deref(), Some(""));
}

#[test]
fn the_architecture_selects_the_table() {
    let mut state = State::new();
    let host = Host {
        arch: "aarch64".into(),
        ..Host::default()
    };
    state.context(&ContextRecord {
        boot_ns: 0,
        body: Context::Host(host),
    });
    assert_eq!(state.arch(), Arch::Aarch64);
    snapshot(&mut state, 0, 10, 1, 1, "app");
    // 146 is setuid there.
    let setuid = Syscall {
        nr: 146,
        ret: 0,
        args: [33, 0, 0, 0, 0, 0],
        duration_ns: 0,
    };
    apply(&mut state, &event(S, 10, EventData::Syscall(setuid)));
    assert_eq!(state.process(10).unwrap().uid, Some(33));
}

#[test]
fn wall_time_needs_a_clock_record() {
    let mut state = State::new();
    assert_eq!(state.wall_ns(5), None);
    let clock = Clock {
        boot_ns: 1000,
        wall_ns: 5000,
    };
    state.context(&ContextRecord {
        boot_ns: 1000,
        body: Context::Clock(clock),
    });
    assert_eq!(state.wall_ns(1500), Some(5500));
    assert_eq!(state.wall_ns(0), Some(4000));
    assert_eq!(
        state.wall_ns(u64::MAX),
        None,
        "beyond what a wall clock can be"
    );
}
