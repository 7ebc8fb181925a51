//! The other process of an event: whom a signal goes to, whom ptrace and its relatives are about, from whom a
//! descriptor comes.

use super::{fields::Id, subject::Subject};
use trace_format::EventData;

/// Who that is.
struct Target {
    pid: u32,
    /// 0: unknown.
    cgroup_id: u64,
}

impl<'a> Subject<'a> {
    fn target(&self) -> Option<Target> {
        match &self.event.data {
            EventData::ProcessAccess(call) if call.target_pid != 0 => Some(Target {
                pid: call.target_pid,
                cgroup_id: call.target_cgroup,
            }),
            EventData::PassedFd(passed) if passed.peer_pid != 0 => Some(Target {
                pid: passed.peer_pid,
                cgroup_id: passed.peer_cgroup_id,
            }),
            EventData::Signal(signal) if signal.target_pid != 0 => Some(Target {
                pid: signal.target_pid,
                cgroup_id: self
                    .state
                    .process(signal.target_pid)
                    .map_or(0, |process| process.cgroup_id),
            }),
            _ => None,
        }
    }

    pub(super) fn target_number(&self, id: Id) -> Option<i64> {
        match id {
            Id::TargetPid => self.target().map(|target| i64::from(target.pid)),
            _ => None,
        }
    }

    pub(super) fn target_text(&self, id: Id) -> Option<&'a [u8]> {
        match id {
            Id::TargetName => {
                let process = self.state.process(self.target()?.pid)?;
                (!process.comm.is_empty()).then_some(&process.comm[..])
            }
            Id::TargetContainer | Id::TargetContainerName => {
                let cgroup_id = self.target()?.cgroup_id;
                match (self.state.container(cgroup_id), id) {
                    (Some(container), Id::TargetContainer) => Some(container.short_id.as_bytes()),
                    (Some(container), _) => {
                        let name = container.name.as_bytes();
                        (!name.is_empty()).then_some(name)
                    }
                    (None, _) => self.state.is_host_cgroup(cgroup_id).then_some(b"host"),
                }
            }
            _ => None,
        }
    }

    /// Is the target in another container, or only one of the two in any? A signal of the kernel's own has
    /// no sender.
    pub(super) fn target_is_foreign(&self) -> Option<bool> {
        if matches!(&self.event.data, EventData::Signal(signal) if signal.code > 0) {
            return None;
        }
        let target = self.target()?;
        self.state.is_across(self.event.cgroup_id, target.cgroup_id)
    }
}
