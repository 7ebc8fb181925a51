//! What the kernel keeps of a process beyond who it is: process group, terminal, login, rights, namespaces.
//!
//! An exec event has it ([`crate::event::ExecDetails`]) and so has a process of a snapshot
//! ([`crate::context::SnapshotDetails`]). Zero is a value of most of it, so a bit says what is known.

use bincode::{Decode, Encode};
use serde::Serialize;

/// SPEC.md §exec and §Context have the meaning of each field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Details {
    pub known: Known,
    /// Process that leads its terminal's group of groups (setsid), in the initial pid namespace.
    pub sid: u32,
    /// Process group, in the initial pid namespace.
    pub pgid: u32,
    /// The same two in the process's own pid namespace; 0: the leader is outside of it.
    pub ns_sid: u32,
    pub ns_pgid: u32,
    /// Device number of the controlling terminal; 0: none.
    pub tty: u32,
    /// Who logged in; [`Details::NO_LOGIN`]: nobody did.
    pub login_uid: u32,
    pub cap_effective: u64,
    pub cap_permitted: u64,
    pub cap_inheritable: u64,
    pub namespaces: Namespaces,
    /// When the first process of the pid namespace started: of a container, when that did. 0: unknown.
    pub ns_start_ns: u64,
    /// Since 1970, of the executable file.
    pub exe_ctime_ns: u64,
    pub exe_mtime_ns: u64,
}

/// Inode numbers of the namespaces that a process is in; 0: unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Namespaces {
    pub cgroup: u32,
    pub ipc: u32,
    pub mnt: u32,
    pub net: u32,
    pub pid: u32,
    pub user: u32,
    pub uts: u32,
}

/// Bits: which of the [`Details`] the recorder could see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize)]
#[serde(transparent)]
pub struct Known(pub u32);
impl Known {
    /// `sid`, `pgid` and the two in the namespace.
    pub const GROUPS: u32 = 1;
    pub const TTY: u32 = 2;
    pub const LOGIN: u32 = 4;
    pub const CAPABILITIES: u32 = 8;
    pub const FILE_TIMES: u32 = 16;
    /// Whether the executable is on an overlay's upper layer: a bit of the flags.
    pub const LAYER: u32 = 32;

    pub fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }
}

impl Details {
    /// The process has called setsid: it leads a group of its own and has no terminal.
    pub fn leads(&mut self, pid: u32, ns_pid: u32) {
        (self.sid, self.pgid) = (pid, pid);
        (self.ns_sid, self.ns_pgid) = (ns_pid, ns_pid);
        self.tty = 0;
    }

    /// `login_uid` of a process that descends from no login.
    pub const NO_LOGIN: u32 = u32::MAX;
}
