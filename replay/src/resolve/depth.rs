//! How deep into the state an event's effect goes, by its kind alone: what [`super::update`] could do with
//! any event of that kind. A walk that looks at a part of the state leaves out events that cannot
//! change that part.

use crate::syscalls::{Effect, Effects};
use trace_format::columns;

/// How much of the state an event of a kind can change, and how much of it somebody looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    Nothing,
    /// Who there is: processes with their names, arguments, parents and users; containers.
    Who,
    /// Also what processes have open, where they stand and which files were made, and what follows
    /// from these: an executable's path, where a program came from.
    All,
    /// Also how many events there were.
    Count,
}

impl Depth {
    /// Whether what changes this much can be left out where so much is looked at.
    #[inline]
    pub fn is_out_of(self, looked_at: Depth) -> bool {
        match self {
            Depth::Nothing => looked_at < Depth::Count,
            Depth::All => looked_at < Depth::All,
            Depth::Who | Depth::Count => false,
        }
    }

    /// Of a plain system call.
    #[inline]
    pub(crate) fn of_effect(effect: Effect) -> Depth {
        match effect {
            Effect::None => Depth::Nothing,
            Effect::User(_) | Effect::Group(_) => Depth::Who,
            Effect::Close
            | Effect::Duplicate
            | Effect::Control
            | Effect::Makes(_)
            | Effect::ChangeDirectory
            | Effect::ChangeRoot
            | Effect::Leads
            | Effect::Rights
            | Effect::LeaveNamespaces
            | Effect::EnterNamespace => Depth::All,
        }
    }

    /// Of an event of our own; `nr` is its system call, where the family is one, if it can be read.
    #[inline]
    pub(crate) fn of_family(
        family: u16,
        nr: impl FnOnce() -> Option<u32>,
        effects: &Effects,
    ) -> Depth {
        match family {
            columns::SYSCALL | columns::TIMED_SYSCALL => match nr() {
                Some(nr) => Depth::of_effect(effects.of(nr)),
                None => Depth::Who,
            },
            columns::SYSCALL_COUNT
            | columns::SAMPLE
            | columns::IO
            | columns::SIGNAL
            | columns::OOM_KILL
            | columns::TCP_EVENT
            | columns::IPC
            | columns::DNS
            | columns::HTTP
            | columns::PEER => Depth::Nothing,
            columns::OPEN
            | columns::PATH_CALL
            | columns::SOCK_CALL
            | columns::TCP_STATE
            | columns::PASSED_FD => Depth::All,
            columns::DECLARED.. => Depth::Nothing,
            // Fork, exec, exit, cgroup, and whatever will come.
            _ => Depth::Who,
        }
    }
}
