//! Would the kernel matrix notice? A perfect recording passes; anything missing, doubled, foreign or wrong fails.

use trace_format::{
    Container, Exec, Exit, Fork, Loss, LossCount, Open, PathCall, Probe, Syscall, TcpState,
};

use super::*;

const KNOWN: &str = r#"{"pid":7,"threads":[{"tid":7,"opens":["/tmp/ks-open-0"],
    "unlinks":["/tmp/ks-open-0"],"connects":[{"to_port":90,"from_port":91}],
    "refused":[{"to_port":1}],"i386":[{"arg":0,"ret":7}],"execs":[{"pid":8,"path":"/ks","arg":"noop-0","code":0}]}]}"#;

/// The recording that a perfect recorder makes of [`KNOWN`].
fn perfect() -> Recording {
    let nr = |name: &str| syscalls::number(Arch::native().unwrap(), name).unwrap();
    let loopback = |port| Endpoint {
        addr: (&[127u8, 0, 0, 1][..]).into(),
        port,
    };
    let connect = |ret, local, remote| {
        EventData::SockCall(SockCall {
            nr: nr("connect"),
            ret,
            fd: 3,
            family: 2,
            sock_type: 1,
            local,
            remote,
            unix_path: Default::default(),
            marks: Default::default(),
            interface: 0,
            duration_ns: 0,
        })
    };
    let data = [
        (
            7,
            EventData::Open(Open {
                nr: nr("openat"),
                ret: 3,
                flags: libc::O_CREAT as u32,
                mode: 0,
                path: "/tmp/ks-open-0".into(),
                dev: 0,
                ino: 1,
                marks: Default::default(),
                duration_ns: 0,
            }),
        ),
        (
            7,
            EventData::PathCall(PathCall {
                nr: nr("unlink"),
                ret: 0,
                arg: 0,
                path: "/tmp/ks-open-0".into(),
                path2: Default::default(),
                marks: Default::default(),
                duration_ns: 0,
            }),
        ),
        (
            7,
            EventData::TcpState(TcpState {
                old: TCP_SYN_SENT,
                new: TCP_ESTABLISHED,
                family: 2,
                local: loopback(91),
                remote: loopback(90),
                sock: 1,
                latency_ns: 5,
                ..TcpState::default()
            }),
        ),
        (7, connect(0, loopback(91), loopback(90))),
        (7, connect(-111, Endpoint::default(), loopback(1))),
        (
            7,
            EventData::Syscall(Syscall {
                nr: syscalls::I386 | 20,
                ret: 7,
                args: [0; 6],
                duration_ns: 0,
            }),
        ),
        (
            7,
            EventData::Fork(Fork {
                child_tid: 8,
                child_pid: 8,
                child_start_ns: 1,
                child_ns_tid: 0,
            }),
        ),
        (
            8,
            EventData::Exec(Exec {
                path: "/ks".into(),
                filename: "/ks".into(),
                args: "/ks\0noop-0".into(),
                comm: "ks".into(),
                ppid: 7,
                uid: 0,
                gid: 0,
                start_ns: 1,
                dev: 0,
                ino: 2,
                flags: Default::default(),
                details: None,
            }),
        ),
        (
            8,
            EventData::Exit(Exit {
                code: 0,
                signal: 0,
                start_ns: 1,
                last_thread: true,
                usage: None,
            }),
        ),
    ];
    let event = |(i, (tid, data)): (usize, (u32, EventData))| Event {
        boot_ns: i as u64,
        cpu: 0,
        probe: 1,
        seq: i as u64,
        tid,
        pid: tid,
        cgroup_id: 5,
        data,
    };
    let container = Container {
        cgroup_id: 5,
        id: "abc".into(),
        ..Default::default()
    };
    Recording {
        events: data.into_iter().enumerate().map(event).collect(),
        containers: [(5, container)].into(),
        probes: vec![Probe {
            id: 1,
            attached: "tp_btf/sys_exit".into(),
            ..Default::default()
        }],
        loss: Some(Loss {
            counts: vec![LossCount {
                cpu: 0,
                probe: 1,
                seen: 9,
                dropped: 0,
                filtered: 0,
            }],
        }),
        complete: true,
        issues: vec![],
    }
}

fn judged(recording: &Recording) -> Vec<String> {
    differences(&Known::parse(KNOWN).unwrap(), recording, "abc")
}

#[test]
fn a_perfect_recording_has_no_difference() {
    assert_eq!(judged(&perfect()), Vec::<String>::new());
}

/// Would the matrix notice? One event gone, doubled or done by somebody else must always show.
#[test]
fn every_missing_doubled_or_foreign_event_is_a_difference() {
    for index in 0..perfect().events.len() {
        let mut missing = perfect();
        missing.events.remove(index);
        assert!(
            !judged(&missing).is_empty(),
            "missing event {index} went unnoticed"
        );
        let mut doubled = perfect();
        doubled.events.insert(index, doubled.events[index].clone());
        assert!(
            !judged(&doubled).is_empty(),
            "doubled event {index} went unnoticed"
        );
        let mut foreign = perfect();
        (foreign.events[index].tid, foreign.events[index].pid) = (99, 99);
        assert!(
            !judged(&foreign).is_empty(),
            "foreign event {index} went unnoticed"
        );
    }
}

#[test]
fn wrong_values_are_differences() {
    let mut events = perfect();
    let change: [fn(&mut Recording); 7] = [
        |r| r.events.swap(0, 1),
        |r| r.events[0].cgroup_id = 6,
        |r| r.complete = false,
        |r| r.probes[0].attached.clear(),
        |r| r.loss.as_mut().unwrap().counts[0].dropped = 1,
        |r| r.issues.push("cut".into()),
        |r| r.containers.clear(),
    ];
    for (index, change) in change.into_iter().enumerate() {
        change(&mut events);
        assert!(!judged(&events).is_empty(), "change {index} went unnoticed");
        events = perfect();
    }
    for event in &mut events.events {
        match &mut event.data {
            EventData::Exit(exit) => exit.code = 1,
            EventData::TcpState(tcp) => tcp.latency_ns = 0,
            EventData::Exec(exec) => exec.ppid = 1,
            _ => continue,
        }
        let mut one = perfect();
        one.events[event.boot_ns as usize] = event.clone();
        assert!(!judged(&one).is_empty(), "{event:?} went unnoticed");
    }
}
