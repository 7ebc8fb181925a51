//! Fields of a process beyond who it is: groups, terminal, login, rights, times of its program.
//!
//! A trace says which of them its recorder could see; the others are missing, never zero.

use super::{
    fields::Id,
    subject::{Subject, UNKNOWN},
};
use crate::{event_view::call_ns, resolve::Process};
use trace_format::{Details, Known, event::ExecFlags};

/// By number (include/uapi/linux/capability.h).
#[rustfmt::skip]
const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
    "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL", "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
];

impl<'a> Subject<'a> {
    /// The process's details, where the recorder could see that part.
    fn seen(&self, part: u32) -> Option<&'a Details> {
        self.process()
            .map(|process| &process.details)
            .filter(|details| details.known.has(part))
    }

    pub(super) fn detail_number(&self, id: Id) -> Option<i64> {
        match id {
            Id::Tty => self.seen(Known::TTY).map(|details| details.tty.into()),
            Id::Session => self.seen(Known::GROUPS).map(|details| details.sid.into()),
            Id::NamespaceGroup => self
                .seen(Known::GROUPS)
                .map(|details| details.ns_pgid.into()),
            Id::LoginUid => self
                .seen(Known::LOGIN)
                .map(|details| match details.login_uid {
                    Details::NO_LOGIN => -1,
                    uid => uid.into(),
                }),
            Id::ExeChanged => self.file_time(|details| details.exe_ctime_ns),
            Id::ExeModified => self.file_time(|details| details.exe_mtime_ns),
            Id::ExeChangedBeforeStart => {
                let changed = self.file_time(|details| details.exe_ctime_ns)?;
                let start_ns = self.process()?.start_ns;
                let started = self.state.wall_ns(start_ns).filter(|_| start_ns != 0)?;
                Some(i64::try_from(started).ok()? - changed)
            }
            Id::ContainerStart => {
                self.container()?;
                let start_ns = self.process()?.details.ns_start_ns;
                let started = self.state.wall_ns(start_ns).filter(|_| start_ns != 0)?;
                i64::try_from(started).ok()
            }
            Id::CallLatency => call_ns(&self.event.data).and_then(|ns| i64::try_from(ns).ok()),
            id => self.target_number(id),
        }
    }

    /// Upstream takes 0 for a time that is not there.
    fn file_time(&self, of: impl Fn(&Details) -> u64) -> Option<i64> {
        let time = self.seen(Known::FILE_TIMES).map(of)?;
        i64::try_from(time).ok().filter(|time| *time != 0)
    }

    pub(super) fn detail_text<'s>(&'s self, id: Id, out: &'s mut Vec<u8>) -> Option<&'s [u8]> {
        match id {
            Id::SessionName => self.leader_name(|details| details.sid),
            Id::GroupName => self.leader_name(|details| details.pgid),
            Id::LoginName => {
                let uid = self.seen(Known::LOGIN)?.login_uid;
                match (uid, self.state.user_name(uid)) {
                    (Details::NO_LOGIN, _) => Some(UNKNOWN),
                    (_, Some(name)) => Some(name.as_bytes()),
                    (_, None) => Some(UNKNOWN),
                }
            }
            Id::CapEffective | Id::CapPermitted | Id::CapInheritable => {
                let details = self.seen(Known::CAPABILITIES)?;
                let bits = match id {
                    Id::CapEffective => details.cap_effective,
                    Id::CapPermitted => details.cap_permitted,
                    _ => details.cap_inheritable,
                };
                write_capabilities(bits, out);
                Some(out)
            }
            id => self.target_text(id),
        }
    }

    /// The process that a group is named after, or, when that is gone, the oldest ancestor in the group.
    fn leader_name(&self, group: impl Fn(&Details) -> u32) -> Option<&'a [u8]> {
        let own = self.process()?;
        let id = group(self.seen(Known::GROUPS)?);
        let in_group = |process: &&Process| {
            process.details.known.has(Known::GROUPS) && group(&process.details) == id
        };
        let leader = self.state.process(id).filter(in_group);
        let oldest = || self.state.lineage_of(own).take_while(in_group).last();
        let leader = leader.or_else(oldest)?;
        (!leader.comm.is_empty()).then_some(&leader.comm[..])
    }

    pub(super) fn detail_boolean(&self, id: Id) -> Option<bool> {
        if id == Id::TargetForeign {
            return self.target_is_foreign();
        }
        let process = self.process()?;
        match id {
            Id::LeadsNamespaceGroup => {
                let details = self.seen(Known::GROUPS)?;
                (process.ns_pid != 0).then_some(details.ns_pgid == process.ns_pid)
            }
            Id::FromMemfd => Some(process.file?.flags.has(ExecFlags::MEMFD)),
            Id::Deleted => Some(process.file?.flags.has(ExecFlags::DELETED)),
            Id::UpperLayer => {
                let known = process.details.known;
                let upper = process.file?.flags.has(ExecFlags::UPPER_LAYER);
                // Traces without any of these bits are older, or say it in the flags alone.
                (upper || known.0 == 0 || known.has(Known::LAYER)).then_some(upper)
            }
            _ => None,
        }
    }
}

/// Names joined by blanks, lowest number first.
pub(super) fn write_capabilities(bits: u64, out: &mut Vec<u8>) {
    for (number, name) in CAPABILITIES.iter().enumerate() {
        if bits >> number & 1 != 0 {
            if !out.is_empty() {
                out.push(b' ');
            }
            out.extend_from_slice(name.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_named_by_their_number() {
        let names = |bits| {
            let mut out = Vec::new();
            write_capabilities(bits, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(names(0), "");
        assert_eq!(names(1 << 21 | 1), "CAP_CHOWN CAP_SYS_ADMIN");
        assert_eq!(names(1 << 40 | 1 << 63), "CAP_CHECKPOINT_RESTORE");
    }
}
