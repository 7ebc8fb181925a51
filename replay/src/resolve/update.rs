//! What each event changes in the state.

use super::{
    State,
    descriptor::{Descriptor, DescriptorKind, Role},
    process::{Image, NewProcess, Slot},
};
use crate::passed;
use crate::syscalls::{Effect, O_ACCMODE, O_RDONLY, errno, o_directory};
use trace_format::{
    Event, EventData, Known,
    event::{Exec, Open, PassedFd, PathCall, PathMarks, Payload, SockCall, Syscall, TcpState},
};

/// States of `include/net/tcp_states.h` that tell which end a socket is.
pub(crate) mod tcp {
    pub const ESTABLISHED: u8 = 1;
    pub const SYN_SENT: u8 = 2;
    pub const SYN_RECV: u8 = 3;
    pub const CLOSE: u8 = 7;
    pub const LISTEN: u8 = 10;
    pub const NEW_SYN_RECV: u8 = 12;
}

pub(super) fn before(state: &mut State, event: &Event) {
    match &event.data {
        EventData::Syscall(call) | EventData::Payload(Payload { call, .. }) => {
            syscall(state, event, call);
        }
        EventData::Fork(fork) => {
            if fork.child_pid == event.pid {
                return; // A thread: it shares everything with its process.
            }
            let parent = actor(state, event);
            let child = state.processes.insert(
                NewProcess {
                    pid: fork.child_pid,
                    start_ns: fork.child_start_ns,
                    ppid: event.pid,
                    cgroup_id: event.cgroup_id,
                },
                event.boot_ns,
            );
            state.processes.inherit(child, parent);
            if fork.child_ns_tid != 0
                && let Some(process) = state.processes.get_mut(child)
            {
                process.ns_pid = fork.child_ns_tid;
            }
        }
        EventData::Exec(exec) => execute(state, event, exec),
        EventData::Exit(exit) if exit.last_thread => {
            state.exiting = state.processes.living_slot(event.pid).filter(|&slot| {
                // The main thread's start is its process's: it shows whether the pid is still the same.
                event.tid != event.pid || state.processes.is_same(slot, exit.start_ns)
            });
        }
        EventData::Open(open) => opened(state, event, open),
        EventData::PathCall(call) => path_call(state, event, call),
        EventData::SockCall(call) => sock_call(state, event, call),
        EventData::TcpState(change) => tcp_state(state, change),
        EventData::ProcessAccess(call) => {
            if let Effect::Makes(letter) = state.effects.of(call.nr)
                && call.ret >= 0
                && let Some(slot) = state.processes.living_slot(event.pid)
            {
                let descriptor = Descriptor::bare(DescriptorKind::Other(letter));
                insert(state, slot, call.ret as i32, descriptor);
            }
        }
        EventData::PassedFd(passed) if !passed.sent => received(state, event, passed),
        EventData::Cgroup(change) if !change.removed => {
            state.changes += 1;
            state.containers.made(change.id, &change.path);
        }
        EventData::Credentials(change) => {
            if let Some(slot) = state.processes.living_slot(event.pid)
                && let Some(process) = state.processes.get_mut(slot)
            {
                let after = &change.after;
                process.uid = Some(after.euid);
                process.gid = Some(after.egid);
                process.details.cap_effective = after.cap_effective;
                process.details.cap_permitted = after.cap_permitted;
                process.details.namespaces.user = after.user_ns;
            }
        }
        EventData::Exit(_)
        | EventData::Cgroup(_)
        | EventData::Io(_)
        | EventData::Signal(_)
        | EventData::OomKill(_)
        | EventData::TcpEvent(_)
        | EventData::Ipc(_)
        | EventData::Dns(_)
        | EventData::Http(_)
        | EventData::Peer(_)
        | EventData::PassedFd(_)
        | EventData::Sample(_)
        | EventData::SyscallCount(_)
        | EventData::Declared(_) => {}
    }
}

pub(super) fn after(state: &mut State, event: &Event) {
    if let Some(slot) = state.exiting.take() {
        state.processes.exit(slot, event.boot_ns);
    }
    if let Some((slot, fd)) = state.closing.take()
        && let Some((process, total)) = state.processes.with_total(slot)
    {
        process.descriptors.remove(fd, total);
    }
    if let Some(sock) = state.closed_sock.take() {
        state.roles.ended(sock);
    }
}

/// The process of an event that only a living process can cause; made up when the trace never showed it.
fn actor(state: &mut State, event: &Event) -> Slot {
    let in_container = state.in_container(event.cgroup_id);
    let new = NewProcess {
        pid: event.pid,
        start_ns: 0,
        ppid: 0,
        cgroup_id: event.cgroup_id,
    };
    let slot = state.processes.identify(new, event.boot_ns);
    if let Some(process) = state.processes.get_mut(slot) {
        process.inside_root = process.inside_root.or(in_container);
    }
    slot
}

/// The process has another root from here on: a container's, as far as a container's rules care.
fn change_root(state: &mut State, slot: Slot) {
    if let Some(process) = state.processes.get_mut(slot) {
        process.inside_root = Some(true);
    }
}

fn execute(state: &mut State, event: &Event, exec: &Exec) {
    let new = NewProcess {
        pid: event.pid,
        start_ns: exec.start_ns,
        ppid: exec.ppid,
        cgroup_id: event.cgroup_id,
    };
    let slot = state.processes.identify(new, event.boot_ns);
    relink(state, slot, exec.ppid);
    let born_in_container = state
        .container_key(event.cgroup_id)
        .is_some_and(|key| state.births.is_born(key, &exec.path, exec.dev, exec.ino));
    let before = state.processes.get(slot);
    // A lost event may have been the one that changed the root: then nothing is said.
    let from_outside_root = before.is_some_and(|process| {
        process.inside_root == Some(false)
            && state
                .gaps
                .last_ns()
                .is_none_or(|gap_ns| gap_ns < process.start_ns)
    });
    let image = Image {
        exec_ns: event.boot_ns,
        cgroup_id: event.cgroup_id,
        from_outside_root,
        enters_container: before
            .is_some_and(|process| state.started_outside(process, event.cgroup_id) == Some(true)),
        dev: exec.dev,
        ino: exec.ino,
        flags: exec.flags,
        born_in_container,
        uid_before: before.and_then(|process| process.uid),
    };
    state.processes.exec(slot, exec, image);
    if let Some(process) = state.processes.get_mut(slot) {
        process.cgroup_id = event.cgroup_id;
    }
}

/// An exec names the parent the kernel has now. It differs from the starter when that one is gone
/// (then the starter stays, for the lineage) or when the child was made a sibling (`CLONE_PARENT`).
fn relink(state: &mut State, slot: Slot, ppid: u32) {
    let Some(process) = state.processes.get(slot) else {
        return;
    };
    if ppid == 0 || ppid == process.pid {
        return;
    }
    let keep = match state.processes.parent(process) {
        Some(parent) => parent.exited_ns.is_some() || parent.pid == ppid,
        None => false,
    };
    if keep {
        return;
    }
    let parent = state.processes.living_slot(ppid);
    if let Some(process) = state.processes.get_mut(slot) {
        process.ppid = ppid;
    }
    state.processes.adopt(slot, parent);
}

fn syscall(state: &mut State, event: &Event, call: &Syscall) {
    let effect = state.effects.of(call.nr);
    if effect == Effect::None || call.ret < 0 {
        return;
    }
    let Some(slot) = state.processes.living_slot(event.pid) else {
        return;
    };
    let first = call.args[0] as i32;
    match effect {
        Effect::None => {}
        Effect::Close => state.closing = Some((slot, first)),
        Effect::Duplicate => duplicate(state, slot, first, call.ret as i32),
        Effect::Control => {
            const F_DUPFD: u64 = 0;
            const F_DUPFD_CLOEXEC: u64 = 1030;
            if call.args[1] == F_DUPFD || call.args[1] == F_DUPFD_CLOEXEC {
                duplicate(state, slot, first, call.ret as i32);
            }
        }
        Effect::Makes(letter) => {
            let descriptor = Descriptor::bare(DescriptorKind::Other(letter));
            insert(state, slot, call.ret as i32, descriptor);
        }
        Effect::ChangeDirectory => {
            if let Some(process) = state.processes.get_mut(slot)
                && let Some(descriptor) = process.descriptors.get(first)
            {
                process.cwd = descriptor.path.clone();
            }
        }
        Effect::ChangeRoot => change_root(state, slot),
        Effect::EnterNamespace => {
            const CLONE_NEWNS: u64 = 0x2_0000;
            if call.args[1] == 0 || call.args[1] & CLONE_NEWNS != 0 {
                change_root(state, slot);
            }
            // 0: of whatever kind the descriptor is, or all that a pidfd stands for.
            let kinds = if call.args[1] == 0 { !0 } else { call.args[1] };
            change_namespaces(state, slot, kinds, false);
        }
        Effect::LeaveNamespaces => change_namespaces(state, slot, call.args[0], true),
        Effect::Leads => {
            if let Some(process) = state.processes.get_mut(slot) {
                let (pid, ns_pid) = (process.pid, process.ns_pid);
                process.details.leads(pid, ns_pid);
            }
        }
        Effect::Rights => {
            if let Some(process) = state.processes.get_mut(slot) {
                process.details.known.0 &= !Known::CAPABILITIES;
            }
        }
        Effect::User(argument) => {
            let uid = call.args[argument as usize] as u32;
            if uid != u32::MAX
                && let Some(process) = state.processes.get_mut(slot)
            {
                process.uid = Some(uid);
            }
        }
        Effect::Group(argument) => {
            let gid = call.args[argument as usize] as u32;
            if gid != u32::MAX
                && let Some(process) = state.processes.get_mut(slot)
            {
                process.gid = Some(gid);
            }
        }
    }
}

/// The process is in other namespaces of these kinds (`CLONE_NEW*`): which, nobody says. Who makes a user
/// namespace may do everything in it.
fn change_namespaces(state: &mut State, slot: Slot, kinds: u64, made: bool) {
    const CLONE_NEWCGROUP: u64 = 0x0200_0000;
    const CLONE_NEWNS: u64 = 0x0002_0000;
    const CLONE_NEWUTS: u64 = 0x0400_0000;
    const CLONE_NEWIPC: u64 = 0x0800_0000;
    const CLONE_NEWUSER: u64 = 0x1000_0000;
    const CLONE_NEWNET: u64 = 0x4000_0000;
    let Some(process) = state.processes.get_mut(slot) else {
        return;
    };
    let namespaces = &mut process.details.namespaces;
    // A pid namespace is for children: the process stays where it is.
    for (kind, number) in [
        (CLONE_NEWCGROUP, &mut namespaces.cgroup),
        (CLONE_NEWIPC, &mut namespaces.ipc),
        (CLONE_NEWNS, &mut namespaces.mnt),
        (CLONE_NEWNET, &mut namespaces.net),
        (CLONE_NEWUSER, &mut namespaces.user),
        (CLONE_NEWUTS, &mut namespaces.uts),
    ] {
        if kinds & kind != 0 {
            *number = 0;
        }
    }
    if kinds & CLONE_NEWUSER == 0 {
        return;
    }
    if made {
        process.details.cap_effective = ALL_CAPABILITIES;
        process.details.cap_permitted = ALL_CAPABILITIES;
        process.details.cap_inheritable = 0;
    } else {
        process.details.known.0 &= !Known::CAPABILITIES;
    }
}

/// Up to CAP_CHECKPOINT_RESTORE (5.9).
const ALL_CAPABILITIES: u64 = (1 << 41) - 1;

fn duplicate(state: &mut State, slot: Slot, from: i32, to: i32) {
    let Some((process, total)) = state.processes.with_total(slot) else {
        return;
    };
    match process.descriptors.get(from).cloned() {
        Some(descriptor) => process.descriptors.insert(to, descriptor, total),
        None => process.descriptors.remove(to, total),
    }
}

fn insert(state: &mut State, slot: Slot, fd: i32, descriptor: Descriptor) {
    if let Some((process, total)) = state.processes.with_total(slot) {
        process.descriptors.insert(fd, descriptor, total);
    }
}

fn opened(state: &mut State, event: &Event, open: &Open) {
    if open.ret < 0 {
        return;
    }
    let writes = open.flags & O_ACCMODE != O_RDONLY || open.marks.has(PathMarks::CREATED);
    // What a runtime puts into a container's root is its image.
    let set_up = state
        .process(event.pid)
        .and_then(|process| state.started_outside(process, event.cgroup_id));
    if writes
        && set_up != Some(true)
        && let Some(key) = state.container_key(event.cgroup_id)
    {
        state.births.written(key, &open.path, open.dev, open.ino);
    }
    if let Some(slot) = state.processes.living_slot(event.pid) {
        let directory = open.flags & o_directory(state.arch()) != 0;
        let descriptor = Descriptor::file(&open.path, directory);
        insert(state, slot, open.ret as i32, descriptor);
    }
}

fn received(state: &mut State, event: &Event, passed: &PassedFd) {
    if let Some(slot) = state.processes.living_slot(event.pid) {
        insert(state, slot, passed.fd, passed::descriptor(passed));
    }
}

fn path_call(state: &mut State, event: &Event, call: &PathCall) {
    if call.ret < 0 {
        return;
    }
    match state.effects.name(call.nr) {
        Some("chdir") if call.path.starts_with(b"/") => {
            if let Some(slot) = state.processes.living_slot(event.pid)
                && let Some(process) = state.processes.get_mut(slot)
            {
                process.cwd = call.path.clone();
            }
        }
        Some("pivot_root" | "chroot") => {
            if let Some(slot) = state.processes.living_slot(event.pid) {
                change_root(state, slot);
            }
        }
        Some("rename" | "renameat" | "renameat2" | "link" | "linkat") => {
            if let Some(key) = state.container_key(event.cgroup_id) {
                state.births.renamed(key, &call.path, &call.path2);
            }
        }
        _ => {}
    }
}

fn sock_call(state: &mut State, event: &Event, call: &SockCall) {
    let name = state.effects.name(call.nr);
    let pending = name == Some("connect") && call.ret == -i64::from(errno::EINPROGRESS);
    if call.fd < 0 || (call.ret < 0 && !pending) {
        return;
    }
    let Some(slot) = state.processes.living_slot(event.pid) else {
        return;
    };
    let role = match name {
        Some("connect") => Some(Role::Client),
        Some("accept" | "accept4" | "listen") => Some(Role::Server),
        _ => None,
    };
    let Some((process, total)) = state.processes.with_total(slot) else {
        return;
    };
    let mut descriptor = match (name, process.descriptors.get(call.fd)) {
        (Some("bind" | "connect" | "listen"), Some(known)) => known.clone(),
        _ => Descriptor::bare(DescriptorKind::Socket),
    };
    descriptor.kind = DescriptorKind::Socket;
    descriptor.family = call.family;
    if call.sock_type != 0 {
        descriptor.sock_type = call.sock_type;
    }
    if !call.local.addr.is_empty() {
        descriptor.local = call.local.clone();
    }
    if !call.remote.addr.is_empty() {
        descriptor.remote = call.remote.clone();
    }
    if !call.unix_path.is_empty() {
        descriptor.path = call.unix_path.clone();
    }
    descriptor.role = role.or(descriptor.role);
    process.descriptors.insert(call.fd, descriptor, total);
}

fn tcp_state(state: &mut State, change: &TcpState) {
    if change.sock == 0 {
        return;
    }
    match change.new {
        tcp::SYN_SENT => state.roles.set(change.sock, Role::Client),
        tcp::LISTEN | tcp::SYN_RECV | tcp::NEW_SYN_RECV => {
            state.roles.set(change.sock, Role::Server);
        }
        tcp::ESTABLISHED if change.old == tcp::SYN_SENT => {
            state.roles.set(change.sock, Role::Client);
        }
        tcp::ESTABLISHED => state.roles.set(change.sock, Role::Server),
        tcp::CLOSE => state.closed_sock = Some(change.sock),
        _ => {}
    }
}
