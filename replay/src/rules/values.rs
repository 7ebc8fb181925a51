//! The values of an event's parameters ([`super::arguments`] names them), as numbers and as text.

use super::{
    arguments::{From, Parameter, Right, Show},
    details::write_capabilities,
    subject::{Subject, UNKNOWN},
};
use crate::{resolve::Process, syscalls::errno};
use std::io::Write;
use trace_format::{
    CredentialMarks, Credentials, EventData, IpcMarks, Payload, Rights, event::ExecFlags,
};

impl Subject<'_> {
    /// A parameter as a number.
    pub(super) fn raw(&self, parameter: &Parameter) -> Option<i64> {
        let unsigned = |value: u64| Some(value as i64);
        match (parameter.from, &self.event.data) {
            (From::Result, _) => self.result(),
            (From::Descriptor, _) => self.view().map(|view| view.number),
            (
                From::Register(at) | From::Flags(at),
                EventData::Syscall(call) | EventData::Payload(Payload { call, .. }),
            ) => {
                let value = *call.args.get(at as usize)?;
                match parameter.show {
                    Show::Signed | Show::User => Some(i64::from(value as i32)),
                    _ => unsigned(value),
                }
            }
            (From::Flags(_), EventData::PathCall(call)) => unsigned(call.arg),
            (From::Flags(_), EventData::Open(open)) => Some(i64::from(open.flags)),
            (From::Mode, EventData::Open(open)) => Some(i64::from(open.mode)),
            (From::Device, EventData::Open(open)) => unsigned(open.dev),
            (From::Inode, EventData::Open(open)) => unsigned(open.ino),
            (From::Inode, EventData::Exec(exec)) => unsigned(exec.ino),
            (From::Family, EventData::SockCall(call)) => Some(i64::from(call.family)),
            (From::SocketType, EventData::SockCall(call)) => Some(i64::from(call.sock_type)),
            (From::ExecFlags, EventData::Exec(exec)) => {
                let bits = [(ExecFlags::UPPER_LAYER, 2), (ExecFlags::MEMFD, 4)];
                Some(
                    bits.iter()
                        .filter(|bit| exec.flags.has(bit.0))
                        .map(|bit| bit.1)
                        .sum(),
                )
            }
            (From::Uid, EventData::Exec(exec)) => Some(i64::from(exec.uid)),
            (From::Child, EventData::Fork(fork)) => Some(i64::from(fork.child_tid)),
            (From::ExitCode, EventData::Exit(exit)) => Some(i64::from(exit.code)),
            (From::ExitSignal, EventData::Exit(exit)) => Some(i64::from(exit.signal)),
            (From::OldState, EventData::TcpState(change)) => Some(i64::from(change.old)),
            (From::NewState, EventData::TcpState(change)) => Some(i64::from(change.new)),
            (From::Latency, EventData::TcpState(change)) => unsigned(change.latency_ns),
            (From::Socket, EventData::TcpState(change)) => unsigned(change.sock),
            (From::Calls, EventData::SyscallCount(count)) => unsigned(count.calls),
            (From::Cpu, EventData::Sample(sample)) => unsigned(sample.cpu_ns),
            (From::Throttled, EventData::Sample(sample)) => unsigned(sample.throttled_ns),
            (From::Memory, EventData::Sample(sample)) => unsigned(sample.memory_bytes),
            (From::Pids, EventData::Sample(sample)) => unsigned(sample.pids),
            (From::ReadBytes, EventData::Sample(sample)) => unsigned(sample.io_read_bytes),
            (From::WrittenBytes, EventData::Sample(sample)) => unsigned(sample.io_write_bytes),
            (From::Id, EventData::Cgroup(change)) => unsigned(change.id),
            (From::SentBytes, EventData::TcpState(change)) => unsigned(change.sent_bytes),
            (From::ReceivedBytes, EventData::TcpState(change)) => unsigned(change.received_bytes),
            (From::Duration, EventData::TcpState(change)) => unsigned(change.duration_ns),
            (From::Error, EventData::TcpState(change)) => Some(i64::from(change.error)),
            (From::NewState, EventData::TcpEvent(event)) => Some(i64::from(event.state)),
            (From::Socket, EventData::TcpEvent(event)) => unsigned(event.sock),
            (From::Reads, EventData::Io(io)) => unsigned(io.reads),
            (From::ReadBytes, EventData::Io(io)) => unsigned(io.read_bytes),
            (From::Writes, EventData::Io(io)) => unsigned(io.writes),
            (From::WrittenBytes, EventData::Io(io)) => unsigned(io.written_bytes),
            (From::Device, EventData::Io(io)) => unsigned(io.dev),
            (From::Inode, EventData::Io(io)) => unsigned(io.ino),
            (From::Signal, EventData::Signal(signal)) => Some(i64::from(signal.signal)),
            (From::SignalCode, EventData::Signal(signal)) => Some(i64::from(signal.code)),
            (From::Target, EventData::Signal(signal)) => Some(i64::from(signal.target_pid)),
            (From::Mode, EventData::PassedFd(passed)) => Some(i64::from(passed.mode)),
            (From::Device, EventData::PassedFd(passed)) => unsigned(passed.dev),
            (From::Inode, EventData::PassedFd(passed)) => unsigned(passed.ino),
            (From::Target, EventData::PassedFd(passed)) => {
                (passed.peer_pid != 0).then_some(i64::from(passed.peer_pid))
            }
            (From::Uid, EventData::OomKill(kill)) => Some(i64::from(kill.uid)),
            (From::Right(right), EventData::Credentials(change)) => number_of(right, &change.after),
            (From::OldRight(right), EventData::Credentials(change)) => {
                number_of(right, before(change)?)
            }
            (From::Trigger, EventData::OomKill(kill)) => Some(i64::from(kill.trigger_pid)),
            (From::Key, EventData::Ipc(call)) => call
                .marks
                .has(IpcMarks::KEY_KNOWN)
                .then_some(i64::from(call.key)),
            (From::Object, EventData::Ipc(call)) => (call.id >= 0).then_some(call.id),
            (From::ObjectSize, EventData::Ipc(call)) => unsigned(call.size),
            (From::ObjectArgument, EventData::Ipc(call)) => unsigned(call.arg),
            (From::IpcNamespace, EventData::Ipc(call)) => Some(i64::from(call.namespace)),
            // What another recorder or an older trace has is the plain call.
            (From::Key, EventData::Syscall(call)) if self.kind.name().ends_with("get") => {
                unsigned(call.args[0])
            }
            (From::Object, EventData::Syscall(call)) if self.kind.name() != "shmdt" => {
                unsigned(call.args[0])
            }
            // None is known: not another one than what has none either.
            (From::IpcNamespace, EventData::Syscall(_)) => Some(0),
            (From::Request(_), EventData::ProcessAccess(call)) => unsigned(call.arg),
            (From::Request(at), EventData::Syscall(call)) => unsigned(*call.args.get(at as usize)?),
            (From::Accessed(_) | From::Target, EventData::ProcessAccess(call)) => {
                (call.target_pid != 0).then_some(i64::from(call.target_pid))
            }
            (From::Accessed(at), EventData::Syscall(call)) => {
                Some(i64::from(*call.args.get(at as usize)? as i32))
            }
            _ => None,
        }
    }

    /// Appends a parameter as text; false when this event does not have it.
    pub(super) fn parameter(&self, parameter: &Parameter, raw: bool, out: &mut Vec<u8>) -> bool {
        if parameter.is_number() {
            let Some(value) = self.raw(parameter) else {
                return false;
            };
            self.write_number(parameter, value, raw, out);
            return true;
        }
        let start = out.len();
        match (parameter.from, &self.event.data) {
            (From::Path, EventData::Open(open)) => out.extend_from_slice(&open.path),
            (From::Path, EventData::PathCall(call)) => out.extend_from_slice(&call.path),
            (From::SecondPath, EventData::PathCall(call)) => out.extend_from_slice(&call.path2),
            (From::Path, EventData::Exec(exec)) => out.extend_from_slice(&exec.filename),
            (From::Path, EventData::Cgroup(change)) => out.extend_from_slice(&change.path),
            (From::Path, EventData::PassedFd(passed)) => out.extend_from_slice(&passed.path),
            (From::Comm, EventData::Exec(exec)) => out.extend_from_slice(&exec.comm),
            (From::Argv0, EventData::Exec(_)) => {
                out.extend_from_slice(self.process().and_then(Process::exe).unwrap_or_default());
            }
            (From::Argv, EventData::Exec(_)) => {
                out.extend_from_slice(self.process().map(Process::arguments).unwrap_or_default());
            }
            (From::Data, EventData::Payload(payload)) if payload.data.is_empty() => {
                out.extend_from_slice(b"NULL");
            }
            (From::Data, EventData::Payload(payload)) => out.extend_from_slice(&payload.data),
            (From::ObjectName, EventData::Ipc(call)) => out.extend_from_slice(&call.name),
            (From::Comm, EventData::OomKill(kill)) => out.extend_from_slice(&kill.comm),
            (
                From::Addresses,
                EventData::SockCall(_) | EventData::TcpState(_) | EventData::TcpEvent(_),
            ) => {
                if let Some(view) = self.view() {
                    view.write_socket_name(out);
                }
            }
            (From::Right(right), EventData::Credentials(change)) => {
                write_capabilities(capabilities_of(right, &change.after), out);
            }
            (From::OldRight(right), EventData::Credentials(change)) => {
                let Some(before) = before(change) else {
                    return false;
                };
                write_capabilities(capabilities_of(right, before), out);
            }
            (From::ExecBits, EventData::Credentials(change)) => {
                let names = [
                    (CredentialMarks::SET_USER_ID, "setuid"),
                    (CredentialMarks::SET_GROUP_ID, "setgid"),
                ];
                append_names(change.marks.0, &names, out);
            }
            (From::Call, EventData::Credentials(change)) => {
                let name = crate::syscalls::name(self.state.arch(), change.nr).unwrap_or("unknown");
                out.extend_from_slice(name.as_bytes());
            }
            (From::Call, EventData::SyscallCount(count)) => {
                let name = crate::syscalls::name(self.state.arch(), count.nr).unwrap_or("unknown");
                out.extend_from_slice(name.as_bytes());
            }
            _ => return false,
        }
        if out.len() == start {
            out.extend_from_slice(UNKNOWN);
        }
        true
    }

    fn write_number(&self, parameter: &Parameter, value: i64, raw: bool, out: &mut Vec<u8>) {
        let start = out.len();
        // Writing into a Vec cannot fail.
        let _ = match parameter.show {
            _ if raw => write!(out, "{value}"),
            Show::Names(names) => {
                names.write(value as u64, self.state.arch(), out);
                if out.len() == start {
                    write!(out, "{value}")
                } else {
                    Ok(())
                }
            }
            Show::Hex => write!(out, "{value:x}"),
            Show::Octal => write!(out, "0{value:o}"),
            Show::Descriptor => match (value, self.view()) {
                (-1, _) if self.result().is_some_and(|result| result < 0) => {
                    let error = self.result().and_then(errno::of_result);
                    write!(out, "{}", error.unwrap_or("-1"))
                }
                (_, Some(view)) if view.letter != 0 => {
                    out.extend_from_slice(&[b'<', view.shown_letter()]);
                    out.extend_from_slice(view.protocol_mark().as_bytes());
                    out.push(b'>');
                    match view.is_file() {
                        true => out.extend_from_slice(view.path),
                        false => view.write_socket_name(out),
                    }
                    Ok(())
                }
                _ => write!(out, "{value}"),
            },
            Show::User => match u32::try_from(value)
                .ok()
                .and_then(|uid| self.state.user_name(uid))
            {
                Some(name) => write!(out, "{name}"),
                None if value == -1 => write!(out, "<NONE>"),
                None => out.write_all(UNKNOWN),
            },
            Show::Plain | Show::Signed => match parameter.from {
                From::Result => match errno::of_result(value) {
                    Some(name) => write!(out, "{name}"),
                    None => write!(out, "{value}"),
                },
                _ => write!(out, "{value}"),
            },
        };
    }
}

/// Of rights that changed, those before.
fn before(change: &Credentials) -> Option<&Rights> {
    change
        .marks
        .has(CredentialMarks::BEFORE_KNOWN)
        .then_some(&change.before)
}

fn number_of(right: Right, rights: &Rights) -> Option<i64> {
    let value = match right {
        Right::Uid => rights.uid,
        Right::EffectiveUid => rights.euid,
        Right::SavedUid => rights.suid,
        Right::Gid => rights.gid,
        Right::EffectiveGid => rights.egid,
        Right::SavedGid => rights.sgid,
        Right::UserNamespace => rights.user_ns,
        Right::Effective | Right::Permitted => return None,
    };
    Some(value.into())
}

fn capabilities_of(right: Right, rights: &Rights) -> u64 {
    match right {
        Right::Permitted => rights.cap_permitted,
        _ => rights.cap_effective,
    }
}

fn append_names(bits: u32, names: &[(u32, &str)], out: &mut Vec<u8>) {
    let start = out.len();
    for (bit, name) in names {
        if bits & bit != 0 {
            if out.len() > start {
                out.push(b'|');
            }
            out.extend_from_slice(name.as_bytes());
        }
    }
}
