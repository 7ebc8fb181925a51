//! What processes share and do to each other: the parameters of such calls, whom they are about, and the
//! shipped rules for what leads out of a container.

use super::world::*;
use replay::{
    graph::contact::{Contacts, With},
    order::EventRef,
    pipeline::Detector,
};
use trace_format::{
    EventData, Ipc, IpcKind, IpcMarks, PassedFd, PassedMarks, ProcessAccess, Signal,
};

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

/// Received from a process that was seen to send it.
fn received(path: &str, nowhere: bool, peer_pid: u32, peer_cgroup_id: u64) -> PassedFd {
    let marks = if nowhere { PassedMarks::NOWHERE } else { 0 };
    PassedFd {
        fd: 9,
        socket: 4,
        count: 1,
        mode: 0o100_644,
        path: path.into(),
        dev: 7,
        ino: 70,
        peer_pid,
        peer_cgroup_id,
        marks: PassedMarks(marks | PassedMarks::SENDER_SEEN),
        ..PassedFd::default()
    }
}

#[test]
fn a_descriptor_that_is_passed_says_what_it_is_and_whose_it_was() {
    let mut world = World::new();
    let memory = received("memfd:x", true, 70, HOST);
    all_hold(
        &mut world,
        60,
        &EventData::PassedFd(memory.clone()),
        &[
            "evt.type=fd_received and fd.num=9 and fd.type=memfd and fd.name=memfd:x",
            "evt.rawarg.ino=70 and evt.rawarg.dev=7 and evt.arg.mode=0100644 and evt.rawarg.pid=70",
            "target.pid=70 and target.container.id=host and target.is_foreign=true",
        ],
    );
    let sent = PassedFd {
        sent: true,
        ..received("/etc/x", false, 61, WEB)
    };
    all_hold(
        &mut world,
        60,
        &EventData::PassedFd(sent),
        &["evt.type=fd_sent and fd.type=file and fd.name=/etc/x and target.is_foreign=false"],
    );
    let socket = PassedFd {
        mode: 0o140_777,
        ..received("TCP", true, 0, 0)
    };
    let conditions = ["fd.type=ipv4 and fd.l4proto=tcp and not target.is_foreign exists"];
    all_hold(&mut world, 60, &EventData::PassedFd(socket), &conditions);
}

#[test]
fn memory_files_that_come_into_a_container_are_found() {
    let rule = "Memory file received from another container";
    let mut world = World::new();
    let sent = PassedFd {
        sent: true,
        ..received("memfd:x", true, 70, HOST)
    };
    for (data, is_found) in [
        (received("memfd:x", true, 70, HOST), true),
        (received("memfd:x", true, 61, WEB), false),
        (received("memfd:x", true, 0, 0), false),
        (received("/memfd:x", false, 70, HOST), false),
        (sent, false),
    ] {
        let event = EventData::PassedFd(data);
        let found = world.shipped(&mut shipped_engine(), 60, event.clone());
        assert_eq!(found.iter().any(|name| name == rule), is_found, "{event:?}");
    }
    // What a container hands to a service of the host is not: logs go that way.
    let out = EventData::PassedFd(received("memfd:x", true, 60, WEB));
    let found = world.shipped(&mut shipped_engine(), 70, out);
    assert!(!found.iter().any(|name| name == rule), "{found:?}");
}

#[test]
fn descriptors_that_cross_containers_are_edges_from_their_sender() {
    let mut world = World::new();
    let mut contacts = Vec::new();
    let sent = PassedFd {
        sent: true,
        ..received("memfd:x", true, 70, HOST)
    };
    for data in [
        received("memfd:x", true, 70, HOST),
        received("memfd:x", true, 61, WEB),
        sent,
    ] {
        let event = world.event(60, EventData::PassedFd(data));
        let mut detector = Contacts::new(|contact| contacts.push(contact));
        detector.event(&event, &EventRef::default(), &world.state, &mut |_| {});
    }
    let [contact] = &contacts[..] else {
        panic!("one crosses: {contacts:?}");
    };
    assert_eq!((&contact.comm[..], contact.how), ("bash", "descriptor"));
    let With::Process { place, comm } = &contact.with else {
        panic!("a process: {contact:?}");
    };
    assert_eq!((&comm[..], place.cgroup_id), ("nginx", WEB));
}
