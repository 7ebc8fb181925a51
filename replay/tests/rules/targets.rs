//! What processes share and do to each other: the parameters of such calls, whom they are about, and the
//! shipped rules for what leads out of a container.

use super::world::*;
use trace_format::{EventData, Ipc, IpcKind, IpcMarks, ProcessAccess, Signal};

fn access(name: &str, ret: i64, target_pid: u32, target_cgroup: u64, arg: u64) -> EventData {
    EventData::ProcessAccess(ProcessAccess {
        nr: nr(name),
        ret,
        target_pid,
        target_tid: target_pid,
        target_cgroup,
        arg,
        calls: 1,
    })
}

fn shared(name: &str, key: u32, namespace: u32) -> Ipc {
    Ipc {
        nr: nr(name),
        ret: 5,
        kind: IpcKind(IpcKind::MEMORY),
        id: 5,
        key,
        namespace,
        size: 4_096,
        arg: 0o1600,
        calls: 1,
        marks: IpcMarks(IpcMarks::KEY_KNOWN),
        ..Ipc::default()
    }
}

#[track_caller]
fn all_hold(world: &mut World, pid: u32, data: &EventData, conditions: &[&str]) {
    for condition in conditions {
        assert!(world.holds(condition, pid, data.clone()), "{condition}");
    }
}

#[test]
fn a_call_into_another_process_says_whose_that_is() {
    let mut world = World::new();
    let attach = access("ptrace", 0, 70, HOST, 16);
    all_hold(
        &mut world,
        60,
        &attach,
        &[
            "evt.type=ptrace and evt.rawres=0",
            "evt.arg.request=PTRACE_ATTACH and evt.arg.pid=70",
            "target.pid=70 and target.container.id=host and target.container.name=host",
            "target.is_foreign=true",
        ],
    );
    let inside = access("process_vm_readv", 8, 61, WEB, 0);
    let conditions = ["target.is_foreign=false", "evt.arg.pid=61"];
    all_hold(&mut world, 60, &inside, &conditions);
    let gone = access("ptrace", -3, 0, 0, 16);
    let conditions = ["not target.pid exists", "not target.is_foreign exists"];
    all_hold(&mut world, 60, &gone, &conditions);
    let opened = access("pidfd_open", 9, 61, WEB, 0);
    all_hold(&mut world, 60, &opened, &["fd.num=9"]);
    let signal = |code| {
        EventData::Signal(Signal {
            signal: 9,
            code,
            target_tid: 70,
            target_pid: 70,
            to_group: true,
            outcome: 0,
        })
    };
    let conditions = ["target.is_foreign=true and target.pid=70"];
    all_hold(&mut world, 60, &signal(0), &conditions);
    // Whoever runs then did not send it.
    all_hold(
        &mut world,
        60,
        &signal(0x80),
        &["not target.is_foreign exists"],
    );
}

#[test]
fn what_is_shared_has_its_key_size_and_namespace() {
    let mut world = World::new();
    let made = EventData::Ipc(shared("shmget", 0x2a, 7));
    all_hold(
        &mut world,
        60,
        &made,
        &[
            "evt.type=shmget and evt.arg.key=2a and evt.rawarg.key=42",
            "evt.rawarg.size=4096 and evt.arg.flags=01600 and evt.rawarg.ipc_ns=7",
        ],
    );
    let sent = EventData::Ipc(Ipc {
        nr: nr("mq_timedsend"),
        kind: IpcKind(IpcKind::QUEUE),
        name: "/jobs".into(),
        arg: 3,
        ..shared("shmget", 0, 7)
    });
    let conditions = ["evt.arg.name=/jobs and evt.rawarg.prio=3"];
    all_hold(&mut world, 60, &sent, &conditions);
    // The plain call of another recorder.
    let plain = call("shmget", 5, [0x2a, 4_096, 0, 0, 0, 0]);
    let conditions = ["evt.rawarg.key=42 and evt.rawarg.ipc_ns=0"];
    all_hold(&mut world, 60, &plain, &conditions);
}

#[test]
fn what_leads_out_of_a_container_is_found() {
    let rule = "Process of another container accessed";
    let mut world = World::new();
    for (data, is_found) in [
        (access("process_vm_readv", 8, 70, HOST, 0), true),
        (access("process_vm_readv", -1, 70, HOST, 0), true),
        (access("pidfd_getfd", 4, 70, HOST, 3), true),
        (access("process_vm_readv", 8, 61, WEB, 0), false),
        (access("process_vm_readv", -3, 0, 0, 0), false),
        (access("pidfd_open", 4, 70, HOST, 0), false),
    ] {
        let found = world.shipped(&mut shipped_engine(), 60, data.clone());
        assert_eq!(found.iter().any(|name| name == rule), is_found, "{data:?}");
        // The host may.
        let found = world.shipped(&mut shipped_engine(), 70, data.clone());
        assert!(!found.iter().any(|name| name == rule), "{data:?}");
    }
}
