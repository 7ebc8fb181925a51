//! What processes share and do to each other, as parts of the graph: objects of IPC that several programs
//! use, calls into another process, signals and descriptors from container to container.

use trace_format::{Event, EventData, Ipc, IpcKind, IpcMarks};

use crate::{
    event_names::ipc_kind, findings::Finding, lives::Place, order::EventRef, pipeline::Detector,
    resolve::State, syscalls,
};

/// POSIX shared memory is a file here, and named semaphores are.
const SHARED_FILES: &[u8] = b"/dev/shm/";

/// Somebody had to do with something or somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    pub place: Place,
    pub comm: String,
    pub with: With,
    /// `shared memory`, `ptrace`, `signal` and so on.
    pub how: &'static str,
    pub calls: u64,
    pub failed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum With {
    Object {
        object: Object,
        /// To be preferred when several contacts name the same object.
        name: Option<String>,
    },
    Process {
        place: Place,
        comm: String,
    },
}

/// What tells objects of a host apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Object {
    pub kind: &'static str,
    /// IPC namespace or device.
    pub space: u64,
    /// Id or inode.
    pub id: u64,
}

/// The detector: it finds nothing, and hands out contacts.
pub struct Contacts<T> {
    take: T,
}

impl<T: FnMut(Contact) + Send> Contacts<T> {
    pub fn new(take: T) -> Contacts<T> {
        Contacts { take }
    }

    fn object(&mut self, event: &Event, call: &Ipc, state: &State) {
        if call.id < 0 {
            return;
        }
        let kind = ipc_kind(call.kind);
        let name = if call.kind.0 == IpcKind::QUEUE {
            (!call.name.is_empty()).then(|| call.name.to_string_lossy().into_owned())
        } else {
            let has_key = call.marks.has(IpcMarks::KEY_KNOWN) && call.key != 0;
            has_key.then(|| format!("{} with key {:#x}", call.id, call.key))
        };
        let object = Object {
            kind,
            space: call.namespace.into(),
            id: call.id as u64,
        };
        let with = With::Object { object, name };
        self.tell(event, state, with, kind, call.calls, call.ret < 0);
    }

    fn tell(
        &mut self,
        event: &Event,
        state: &State,
        with: With,
        how: &'static str,
        calls: u64,
        failed: bool,
    ) {
        (self.take)(Contact {
            place: Place::of(state, event.cgroup_id),
            comm: comm(state, event.pid),
            with,
            how,
            calls: calls.max(1),
            failed,
        });
    }
}

impl<T: FnMut(Contact) + Send> Detector for Contacts<T> {
    fn event(&mut self, event: &Event, _: &EventRef, state: &State, _: &mut dyn FnMut(Finding)) {
        match &event.data {
            EventData::Ipc(call) => self.object(event, call, state),
            EventData::Open(open)
                if open.ret >= 0 && open.ino != 0 && open.path.starts_with(SHARED_FILES) =>
            {
                let object = Object {
                    kind: "shared file",
                    space: open.dev,
                    id: open.ino,
                };
                let name = Some(open.path.to_string_lossy().into_owned());
                let with = With::Object { object, name };
                self.tell(event, state, with, object.kind, 1, false);
            }
            EventData::ProcessAccess(call) if call.target_pid != 0 => {
                let how = syscalls::name(state.arch(), call.nr).unwrap_or("access");
                let across = state.is_across(event.cgroup_id, call.target_cgroup);
                // That a process holds another one, which is how programs wait for their children.
                if how == "pidfd_open" && across != Some(true) {
                    return;
                }
                let with = With::Process {
                    place: Place::of(state, call.target_cgroup),
                    comm: comm(state, call.target_pid),
                };
                self.tell(event, state, with, how, call.calls, call.ret < 0);
            }
            // Of the two sides of a descriptor's way this one knows the other.
            EventData::PassedFd(passed) if !passed.sent && passed.peer_pid != 0 => {
                if state.is_across(passed.peer_cgroup_id, event.cgroup_id) != Some(true) {
                    return;
                }
                (self.take)(Contact {
                    place: Place::of(state, passed.peer_cgroup_id),
                    comm: comm(state, passed.peer_pid),
                    with: With::Process {
                        place: Place::of(state, event.cgroup_id),
                        comm: comm(state, event.pid),
                    },
                    how: "descriptor",
                    calls: 1,
                    failed: false,
                });
            }
            // The kernel's own have no sender, and those inside of a container are its business.
            EventData::Signal(signal) if signal.code <= 0 && signal.target_pid != 0 => {
                let Some(target) = state.process(signal.target_pid) else {
                    return;
                };
                if state.is_across(event.cgroup_id, target.cgroup_id) != Some(true) {
                    return;
                }
                let with = With::Process {
                    place: Place::of(state, target.cgroup_id),
                    comm: target.comm.to_string(),
                };
                self.tell(event, state, with, "signal", 1, false);
            }
            _ => {}
        }
    }
}

fn comm(state: &State, pid: u32) -> String {
    state
        .process(pid)
        .map(|process| process.comm.to_string())
        .unwrap_or_default()
}
