//! An event with what the trace knows about its surroundings, as one flat row: the columns that
//! `replay export` writes and `replay cat --json` prints. `docs/export.md` is the table for readers.
//!
//! One table, [`COLUMNS`], serves every format. A column that an event has nothing for is null.

use std::cell::OnceCell;

use trace_format::{
    CredentialMarks, Declared, Event, EventData, IpcMarks, Payload, Rights, SampleKnown, Usage,
    columns, event::Endpoint,
};

use crate::{
    event_names::{
        address_text, arguments, dns_rcode, dns_type, family_text, io_kind, ipc_kind, mark_names,
        signal_name, tcp_state, tcp_what,
    },
    order::EventRef,
    passed,
    resolve::{Container, Process, State},
    syscalls::{self, errno},
};

/// An event at its place in the fold. Valid between `State::before` and `State::after`.
pub struct EventView<'a> {
    pub event: &'a Event,
    /// Of a capture's block, the event it completes, where the walk folds every block: see
    /// [`crate::resolve::Depth::Count`].
    pub judged: &'a Event,
    pub at: EventRef,
    pub state: &'a State,
    process: OnceCell<Option<&'a Process>>,
    container: OnceCell<Option<&'a Container>>,
}

impl<'a> EventView<'a> {
    pub fn new(event: &'a Event, at: EventRef, state: &'a State) -> EventView<'a> {
        EventView {
            event,
            judged: event,
            at,
            state,
            process: OnceCell::new(),
            container: OnceCell::new(),
        }
    }

    /// The same, of a block that completes an event.
    pub fn judged_as(self, judged: &'a Event) -> EventView<'a> {
        EventView { judged, ..self }
    }

    /// Whose event it is.
    pub fn process(&self) -> Option<&'a Process> {
        let find = || self.state.process_of(self.event);
        *self.process.get_or_init(find)
    }

    /// Where it happened.
    pub fn container(&self) -> Option<&'a Container> {
        let find = || self.state.container(self.event.cgroup_id);
        *self.container.get_or_init(find)
    }

    pub fn wall_ns(&self) -> Option<u64> {
        self.state.wall_ns(self.event.boot_ns)
    }

    /// The number of the system call, for an event that is one.
    pub fn syscall_nr(&self) -> Option<u32> {
        match &self.event.data {
            EventData::Syscall(call) | EventData::Payload(Payload { call, .. }) => Some(call.nr),
            EventData::SyscallCount(count) => Some(count.nr),
            EventData::Open(open) => Some(open.nr),
            EventData::PathCall(call) => Some(call.nr),
            EventData::SockCall(call) => Some(call.nr),
            EventData::Ipc(call) => Some(call.nr),
            EventData::ProcessAccess(call) => Some(call.nr),
            EventData::Credentials(change) => Some(change.nr),
            _ => None,
        }
    }

    /// Its name on the recording host, where it has one.
    pub fn syscall_name(&self) -> Option<&'static str> {
        syscalls::name(self.state.arch(), self.syscall_nr()?)
    }

    pub fn ret(&self) -> Option<i64> {
        match &self.event.data {
            EventData::Syscall(call) | EventData::Payload(Payload { call, .. }) => Some(call.ret),
            EventData::Open(open) => Some(open.ret),
            EventData::PathCall(call) => Some(call.ret),
            EventData::SockCall(call) => Some(call.ret),
            EventData::Ipc(call) => Some(call.ret),
            EventData::ProcessAccess(call) => Some(call.ret),
            _ => None,
        }
    }
}

/// Name of a family of events, as far as its number alone tells.
pub fn family_name(family: u16) -> &'static str {
    match columns::family(family) {
        Some(family) => family.name,
        None if family >= columns::DECLARED => "declared",
        None => "unknown",
    }
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// Nanoseconds since the Unix epoch.
    Time,
    Unsigned,
    Signed,
    Flag,
    Text,
}

/// The value of one column in one row.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell<'a> {
    Null,
    Time(u64),
    Unsigned(u64),
    Signed(i64),
    Flag(bool),
    Text(&'a [u8]),
    Made(String),
    /// Of an event whose family the trace describes itself.
    Fields(&'a Declared),
}

impl<'a> Cell<'a> {
    fn some<T>(value: Option<T>, cell: impl FnOnce(T) -> Cell<'a>) -> Cell<'a> {
        value.map_or(Cell::Null, cell)
    }

    /// An empty text says nothing: null.
    fn text(text: &'a [u8]) -> Cell<'a> {
        if text.is_empty() {
            Cell::Null
        } else {
            Cell::Text(text)
        }
    }

    /// Zero says nothing: null.
    fn nonzero(value: impl Into<u64>) -> Cell<'a> {
        match value.into() {
            0 => Cell::Null,
            value => Cell::Unsigned(value),
        }
    }
}

/// One column.
pub struct Column {
    pub name: &'static str,
    pub ty: ColumnType,
    pub about: &'static str,
    pub get: for<'a> fn(&EventView<'a>) -> Cell<'a>,
}

const fn column(
    name: &'static str,
    ty: ColumnType,
    about: &'static str,
    get: for<'a> fn(&EventView<'a>) -> Cell<'a>,
) -> Column {
    Column {
        name,
        ty,
        about,
        get,
    }
}

use ColumnType::{Flag, Signed, Text, Time, Unsigned};

/// The value that `$pattern` binds, or null for an event of another kind.
macro_rules! of {
    ($pattern:pat => $cell:expr) => {
        |view| match &view.event.data {
            $pattern => $cell,
            _ => Cell::Null,
        }
    };
}

/// A figure of a sample, where the recorder could read it.
macro_rules! sampled {
    ($bit:ident, $field:ident) => {
        of!(EventData::Sample(sample) => figure(sample.known, SampleKnown::$bit, sample.$field))
    };
}

/// Who wrote no [`SampleKnown`] told what there was then.
fn figure(known: SampleKnown, bit: u32, value: u64) -> Cell<'static> {
    match known.has(bit) || known == SampleKnown::default() && bit & SampleKnown::SINCE_EVER != 0 {
        true => Cell::Unsigned(value),
        false => Cell::Null,
    }
}

/// What a thread, or with its last one the process, used until its end.
fn usage(view: &EventView<'_>) -> Option<Usage> {
    match &view.event.data {
        EventData::Exit(exit) => exit.usage,
        _ => None,
    }
}

/// Every column, in order. Names are for ever; new ones are appended.
#[rustfmt::skip]
pub const COLUMNS: &[Column] = &[
    column("time", Time, "wall time", |view| {
        Cell::some(view.wall_ns(), Cell::Time)
    }),
    column(
        "boot_ns",
        Unsigned,
        "nanoseconds of the boot clock",
        |view| Cell::Unsigned(view.event.boot_ns),
    ),
    column("event", Text, "family of the event", |view| {
        Cell::Text(view.event.family_name().as_bytes())
    }),
    column("cpu", Unsigned, "CPU that reported it", |view| {
        Cell::Unsigned(view.event.cpu.into())
    }),
    column(
        "probe",
        Unsigned,
        "probe that reported it; 0: the recorder",
        |view| Cell::Unsigned(view.event.probe.into()),
    ),
    column(
        "seq",
        Unsigned,
        "sequence number of CPU and probe",
        |view| Cell::Unsigned(view.event.seq),
    ),
    column("pid", Unsigned, "process", |view| {
        Cell::nonzero(view.event.pid)
    }),
    column("tid", Unsigned, "thread", |view| {
        Cell::nonzero(view.event.tid)
    }),
    column("comm", Text, "name of the process", |view| {
        Cell::some(view.process(), |process| Cell::text(&process.comm))
    }),
    column("exe", Text, "its executable", |view| {
        Cell::some(view.process(), |process| Cell::text(&process.exe_path))
    }),
    column("ppid", Unsigned, "its parent", |view| {
        Cell::some(view.process(), |process| Cell::nonzero(process.ppid))
    }),
    column("uid", Unsigned, "its user", |view| {
        Cell::some(view.process().and_then(|process| process.uid), |uid| {
            Cell::Unsigned(uid.into())
        })
    }),
    column("cgroup_id", Unsigned, "kernel id of the cgroup", |view| {
        Cell::nonzero(view.event.cgroup_id)
    }),
    column("container_id", Text, "container, full id", |view| {
        Cell::some(view.container(), |container| {
            Cell::text(container.id.as_bytes())
        })
    }),
    column("container_name", Text, "its name", |view| {
        Cell::some(view.container(), |container| {
            Cell::text(container.name.as_bytes())
        })
    }),
    column("image", Text, "its image", |view| {
        Cell::some(view.container(), |container| {
            Cell::text(container.image.as_bytes())
        })
    }),
    column("syscall", Text, "name of the system call", |view| {
        Cell::some(view.syscall_name(), |name| Cell::Text(name.as_bytes()))
    }),
    column("nr", Unsigned, "its number on the recording host", |view| {
        Cell::some(view.syscall_nr(), |nr| Cell::Unsigned(nr.into()))
    }),
    column("ret", Signed, "its result; negative: -errno", |view| {
        Cell::some(view.ret(), Cell::Signed)
    }),
    column(
        "arg0",
        Unsigned,
        "first argument of a plain system call",
        of!(EventData::Syscall(call) | EventData::Payload(Payload { call, .. }) => Cell::Unsigned(call.args[0])),
    ),
    column(
        "arg1",
        Unsigned,
        "second",
        of!(EventData::Syscall(call) | EventData::Payload(Payload { call, .. }) => Cell::Unsigned(call.args[1])),
    ),
    column(
        "arg2",
        Unsigned,
        "third",
        of!(EventData::Syscall(call) | EventData::Payload(Payload { call, .. }) => Cell::Unsigned(call.args[2])),
    ),
    column(
        "arg3",
        Unsigned,
        "fourth",
        of!(EventData::Syscall(call) | EventData::Payload(Payload { call, .. }) => Cell::Unsigned(call.args[3])),
    ),
    column(
        "arg4",
        Unsigned,
        "fifth",
        of!(EventData::Syscall(call) | EventData::Payload(Payload { call, .. }) => Cell::Unsigned(call.args[4])),
    ),
    column(
        "arg5",
        Unsigned,
        "sixth",
        of!(EventData::Syscall(call) | EventData::Payload(Payload { call, .. }) => Cell::Unsigned(call.args[5])),
    ),
    column(
        "calls",
        Unsigned,
        "calls counted, where only counts were kept, and calls that one event stands for",
        |view| match &view.event.data {
            EventData::SyscallCount(count) => Cell::Unsigned(count.calls),
            EventData::Ipc(call) => Cell::Unsigned(call.calls),
            EventData::ProcessAccess(call) => Cell::Unsigned(call.calls),
            _ => Cell::Null,
        },
    ),
    column(
        "path",
        Text,
        "path of the file, executable or cgroup; name of a passed file that is in no directory",
        |view| match &view.event.data {
            EventData::Exec(exec) => Cell::text(&exec.path),
            EventData::Open(open) => Cell::text(&open.path),
            EventData::PathCall(call) => Cell::text(&call.path),
            EventData::Cgroup(change) => Cell::text(&change.path),
            EventData::PassedFd(passed) => Cell::text(&passed.path),
            _ => Cell::Null,
        },
    ),
    column(
        "path2",
        Text,
        "second path (rename, link, mount); of an exec: as the caller wrote it",
        |view| match &view.event.data {
            EventData::Exec(exec) => Cell::text(&exec.filename),
            EventData::PathCall(call) => Cell::text(&call.path2),
            _ => Cell::Null,
        },
    ),
    column(
        "args",
        Text,
        "arguments of an exec, joined with blanks",
        of!(EventData::Exec(exec) => {
            if exec.args.is_empty() { Cell::Null } else { Cell::Made(arguments(&exec.args)) }
        }),
    ),
    column(
        "flags",
        Unsigned,
        "flags of an open or an exec; flags or mode of a path call",
        |view| match &view.event.data {
            EventData::Exec(exec) => Cell::Unsigned(exec.flags.0.into()),
            EventData::Open(open) => Cell::Unsigned(open.flags.into()),
            EventData::PathCall(call) => Cell::Unsigned(call.arg),
            _ => Cell::Null,
        },
    ),
    column(
        "mode",
        Unsigned,
        "mode of an open that may create",
        of!(EventData::Open(open) => Cell::Unsigned(open.mode.into())),
    ),
    column("dev", Unsigned, "device of the file", |view| {
        match &view.event.data {
            EventData::Exec(exec) => Cell::nonzero(exec.dev),
            EventData::Open(open) => Cell::nonzero(open.dev),
            EventData::Io(io) => Cell::nonzero(io.dev),
            EventData::PassedFd(passed) => Cell::nonzero(passed.dev),
            _ => Cell::Null,
        }
    }),
    column("ino", Unsigned, "inode of the file", |view| {
        match &view.event.data {
            EventData::Exec(exec) => Cell::nonzero(exec.ino),
            EventData::Open(open) => Cell::nonzero(open.ino),
            EventData::Io(io) => Cell::nonzero(io.ino),
            EventData::PassedFd(passed) => Cell::nonzero(passed.ino),
            _ => Cell::Null,
        }
    }),
    column(
        "marks",
        Text,
        "untrusted, created, cut, relative, listed: about the path",
        |view| {
            let marks = match &view.event.data {
                EventData::Open(open) => open.marks,
                EventData::PathCall(call) => call.marks,
                EventData::SockCall(call) => call.marks,
                _ => return Cell::Null,
            };
            if marks.0 == 0 {
                Cell::Null
            } else {
                Cell::Made(mark_names(marks))
            }
        },
    ),
    column(
        "fd",
        Signed,
        "descriptor of a socket call, of counted reads and writes, that a message went through, or that was passed",
        |view| match &view.event.data {
            EventData::SockCall(call) => Cell::Signed(call.fd.into()),
            EventData::Dns(dns) => Cell::Signed(dns.fd.into()),
            EventData::Http(http) => Cell::Signed(http.fd.into()),
            EventData::Peer(peer) => Cell::Signed(peer.fd.into()),
            EventData::Io(io) => Cell::Signed(io.fd.into()),
            EventData::PassedFd(passed) => Cell::Signed(passed.fd.into()),
            _ => Cell::Null,
        },
    ),
    column("family", Text, "address family", |view| {
        match &view.event.data {
            EventData::SockCall(call) => Cell::Made(family_text(call.family)),
            EventData::TcpState(state) => Cell::Made(family_text(state.family)),
            EventData::TcpEvent(event) => Cell::Made(family_text(event.family)),
            EventData::Dns(dns) => Cell::Made(family_text(dns.family)),
            EventData::Http(http) => Cell::Made(family_text(http.family)),
            EventData::Peer(peer) => Cell::Made(family_text(peer.family)),
            _ => Cell::Null,
        }
    }),
    column(
        "sock_type",
        Unsigned,
        "SOCK_STREAM = 1, SOCK_DGRAM = 2, SOCK_RAW = 3, SOCK_PACKET = 10",
        |view| match &view.event.data {
            EventData::SockCall(call) => Cell::nonzero(call.sock_type),
            EventData::Peer(peer) => Cell::nonzero(peer.sock_type),
            _ => Cell::Null,
        },
    ),
    column("local_addr", Text, "own address", |view| {
        Cell::some(endpoints(view.event), |(local, _)| address(local))
    }),
    column("local_port", Unsigned, "own port", |view| {
        Cell::some(endpoints(view.event), |(local, _)| port(local))
    }),
    column("remote_addr", Text, "other end's address", |view| {
        Cell::some(endpoints(view.event), |(_, remote)| address(remote))
    }),
    column("remote_port", Unsigned, "other end's port", |view| {
        Cell::some(endpoints(view.event), |(_, remote)| port(remote))
    }),
    column(
        "unix_path",
        Text,
        "path of a unix socket; @ for the NUL of an abstract one",
        |view| match &view.event.data {
            EventData::SockCall(call) => unix_path(&call.unix_path),
            EventData::Peer(peer) => unix_path(&peer.unix_path),
            _ => Cell::Null,
        },
    ),
    column(
        "sock",
        Unsigned,
        "identity of the TCP socket in the trace",
        |view| match &view.event.data {
            EventData::TcpState(state) => Cell::Unsigned(state.sock),
            EventData::TcpEvent(event) => Cell::nonzero(event.sock),
            _ => Cell::Null,
        },
    ),
    column(
        "state_old",
        Text,
        "TCP state before",
        of!(EventData::TcpState(state) => Cell::Text(tcp_state(state.old).as_bytes())),
    ),
    column(
        "state_new",
        Text,
        "TCP state after",
        of!(EventData::TcpState(state) => Cell::Text(tcp_state(state.new).as_bytes())),
    ),
    column(
        "latency_ns",
        Unsigned,
        "from SYN to the end of the handshake; from a DNS question or HTTP request to the answer",
        |view| match &view.event.data {
            EventData::TcpState(state) => Cell::nonzero(state.latency_ns),
            EventData::Dns(dns) => Cell::nonzero(dns.latency_ns),
            EventData::Http(http) => Cell::nonzero(http.latency_ns),
            _ => Cell::Null,
        },
    ),
    column(
        "child_pid",
        Unsigned,
        "process of the new thread",
        of!(EventData::Fork(fork) => Cell::Unsigned(fork.child_pid.into())),
    ),
    column(
        "child_tid",
        Unsigned,
        "the new thread",
        of!(EventData::Fork(fork) => Cell::Unsigned(fork.child_tid.into())),
    ),
    column(
        "start_ns",
        Unsigned,
        "start of the process or thread, boot clock",
        |view| match &view.event.data {
            EventData::Fork(fork) => Cell::Unsigned(fork.child_start_ns),
            EventData::Exec(exec) => Cell::Unsigned(exec.start_ns),
            EventData::Exit(exit) => Cell::Unsigned(exit.start_ns),
            _ => Cell::Null,
        },
    ),
    column(
        "exit_code",
        Unsigned,
        "status of an exit",
        of!(EventData::Exit(exit) => Cell::Unsigned(exit.code.into())),
    ),
    column(
        "exit_signal",
        Unsigned,
        "signal that ended it",
        of!(EventData::Exit(exit) => Cell::nonzero(exit.signal)),
    ),
    column(
        "last_thread",
        Flag,
        "the process ended with this thread",
        of!(EventData::Exit(exit) => Cell::Flag(exit.last_thread)),
    ),
    column(
        "changed_cgroup",
        Unsigned,
        "cgroup that was made or removed",
        of!(EventData::Cgroup(change) => Cell::Unsigned(change.id)),
    ),
    column(
        "removed",
        Flag,
        "it was removed",
        of!(EventData::Cgroup(change) => Cell::Flag(change.removed)),
    ),
    column(
        "cpu_ns",
        Unsigned,
        "CPU time used, cumulative",
        of!(EventData::Sample(sample) => Cell::Unsigned(sample.cpu_ns)),
    ),
    column(
        "throttled_ns",
        Unsigned,
        "time throttled, cumulative",
        sampled!(THROTTLED, throttled_ns),
    ),
    column(
        "memory_bytes",
        Unsigned,
        "memory in use",
        sampled!(MEMORY, memory_bytes),
    ),
    column(
        "memory_limit_bytes",
        Unsigned,
        "memory limit",
        of!(EventData::Sample(sample) => Cell::nonzero(sample.memory_limit_bytes)),
    ),
    column(
        "pids",
        Unsigned,
        "threads and processes",
        sampled!(PIDS, pids),
    ),
    column(
        "io_read_bytes",
        Unsigned,
        "read from block devices, cumulative",
        sampled!(IO, io_read_bytes),
    ),
    column(
        "io_write_bytes",
        Unsigned,
        "written to block devices, cumulative",
        sampled!(IO, io_write_bytes),
    ),
    column("chunk", Unsigned, "chunk it is stored in", |view| {
        Cell::Unsigned(view.at.chunk)
    }),
    column("row", Unsigned, "row in the chunk's table", |view| {
        Cell::Unsigned(view.at.row.into())
    }),
    column(
        "fields",
        Text,
        "fields of an event whose family the trace describes itself, a JSON object",
        of!(EventData::Declared(declared) => Cell::Fields(declared)),
    ),
    column(
        "io_kind",
        Text,
        "what is behind the descriptor: file, socket, pipe, device, other",
        of!(EventData::Io(io) => Cell::Text(io_kind(io.kind).as_bytes())),
    ),
    column(
        "reads",
        Unsigned,
        "calls that read",
        of!(EventData::Io(io) => Cell::Unsigned(io.reads)),
    ),
    column(
        "read_bytes",
        Unsigned,
        "bytes that they read",
        of!(EventData::Io(io) => Cell::Unsigned(io.read_bytes)),
    ),
    column(
        "writes",
        Unsigned,
        "calls that wrote",
        of!(EventData::Io(io) => Cell::Unsigned(io.writes)),
    ),
    column(
        "written_bytes",
        Unsigned,
        "bytes that they wrote",
        of!(EventData::Io(io) => Cell::Unsigned(io.written_bytes)),
    ),
    column(
        "sent_bytes",
        Unsigned,
        "of a closed TCP connection",
        of!(EventData::TcpState(state) => Cell::nonzero(state.sent_bytes)),
    ),
    column(
        "received_bytes",
        Unsigned,
        "of a closed TCP connection",
        of!(EventData::TcpState(state) => Cell::nonzero(state.received_bytes)),
    ),
    column(
        "duration_ns",
        Unsigned,
        "how long a closed TCP connection was established",
        of!(EventData::TcpState(state) => Cell::nonzero(state.duration_ns)),
    ),
    column(
        "error",
        Text,
        "errno with which a TCP connection ended",
        of!(EventData::TcpState(state) => {
            Cell::some(errno::of_result(-i64::from(state.error)), |name| Cell::Text(name.as_bytes()))
        }),
    ),
    column(
        "tcp_what",
        Text,
        "retransmit, reset_sent, reset_received",
        of!(EventData::TcpEvent(event) => Cell::Text(tcp_what(event.what).as_bytes())),
    ),
    column(
        "signal",
        Text,
        "name of a signal that was sent",
        of!(EventData::Signal(signal) => Cell::Made(signal_name(signal.signal))),
    ),
    column(
        "signal_code",
        Signed,
        "its si_code; above 0: from the kernel",
        of!(EventData::Signal(signal) => Cell::Signed(signal.code.into())),
    ),
    column(
        "target_pid",
        Unsigned,
        "process it was sent to, or that the call is about",
        |view| match &view.event.data {
            EventData::Signal(signal) => Cell::Unsigned(signal.target_pid.into()),
            EventData::ProcessAccess(call) => Cell::nonzero(call.target_pid),
            _ => Cell::Null,
        },
    ),
    column(
        "target_tid",
        Unsigned,
        "thread it was sent to, or that the call is about",
        |view| match &view.event.data {
            EventData::Signal(signal) => Cell::Unsigned(signal.target_tid.into()),
            EventData::ProcessAccess(call) => Cell::nonzero(call.target_tid),
            _ => Cell::Null,
        },
    ),
    column(
        "outcome",
        Unsigned,
        "0 on its way, 1 ignored, 2 already pending, 3 and 4 lost",
        of!(EventData::Signal(signal) => Cell::Unsigned(signal.outcome.into())),
    ),
    column(
        "victim",
        Text,
        "name of the process that was killed for want of memory",
        of!(EventData::OomKill(kill) => Cell::text(&kill.comm)),
    ),
    column(
        "total_vm_bytes",
        Unsigned,
        "its address space",
        of!(EventData::OomKill(kill) => Cell::nonzero(kill.total_vm_bytes)),
    ),
    column(
        "score_adj",
        Signed,
        "its oom_score_adj",
        of!(EventData::OomKill(kill) => Cell::Signed(kill.score_adj.into())),
    ),
    column(
        "trigger_pid",
        Unsigned,
        "process that wanted the memory",
        of!(EventData::OomKill(kill) => Cell::nonzero(kill.trigger_pid)),
    ),
    column(
        "sent",
        Flag,
        "the process sent the message or descriptor, or connected; false: it received it, or accepted",
        |view| match &view.event.data {
            EventData::Dns(dns) => Cell::Flag(dns.sent),
            EventData::Http(http) => Cell::Flag(http.sent),
            EventData::Peer(peer) => Cell::Flag(peer.sent),
            EventData::PassedFd(passed) => Cell::Flag(passed.sent),
            _ => Cell::Null,
        },
    ),
    column(
        "dns_name",
        Text,
        "what a DNS message asks for; a byte that is no letter, digit, - or _ as backslash and three digits",
        of!(EventData::Dns(dns) => Cell::text(&dns.name)),
    ),
    column(
        "dns_type",
        Text,
        "type of the record it asks for",
        of!(EventData::Dns(dns) => Cell::Made(dns_type(dns.qtype))),
    ),
    column(
        "dns_rcode",
        Text,
        "response code of a DNS answer",
        of!(EventData::Dns(dns) => {
            if dns.is_answer() { Cell::Made(dns_rcode(dns.rcode())) } else { Cell::Null }
        }),
    ),
    column(
        "dns_answers",
        Unsigned,
        "records in a DNS answer",
        of!(EventData::Dns(dns) => {
            if dns.is_answer() { Cell::Unsigned(dns.answers.into()) } else { Cell::Null }
        }),
    ),
    column(
        "dns_id",
        Unsigned,
        "number of the DNS message",
        of!(EventData::Dns(dns) => Cell::Unsigned(dns.id.into())),
    ),
    column(
        "dns_malformed",
        Flag,
        "what went to or from port 53 could not be read as DNS",
        of!(EventData::Dns(dns) => Cell::Flag(dns.malformed)),
    ),
    column(
        "http_status",
        Unsigned,
        "status of an HTTP response; null: a request",
        of!(EventData::Http(http) => Cell::nonzero(http.status)),
    ),
    column(
        "http_method",
        Text,
        "method of the request, or of the one that a response answers",
        of!(EventData::Http(http) => Cell::text(&http.method)),
    ),
    column(
        "http_path",
        Text,
        "its target, at most 256 bytes",
        of!(EventData::Http(http) => Cell::text(&http.path)),
    ),
    column(
        "http_host",
        Text,
        "its Host field",
        of!(EventData::Http(http) => Cell::text(&http.host)),
    ),
    column(
        "peer_pid",
        Unsigned,
        "process at the other end of a unix socket; of a received descriptor who sent it",
        |view| match &view.event.data {
            EventData::Peer(peer) => Cell::nonzero(peer.peer_pid),
            EventData::PassedFd(passed) => Cell::nonzero(passed.peer_pid),
            _ => Cell::Null,
        },
    ),
    column(
        "peer_cgroup_id",
        Unsigned,
        "kernel id of its cgroup",
        |view| Cell::nonzero(peer_cgroup(view.event)),
    ),
    column("peer_container_name", Text, "its container", |view| {
        match peer_cgroup(view.event) {
            0 => Cell::Null,
            cgroup => Cell::some(view.state.container(cgroup), |container| {
                Cell::text(container.name.as_bytes())
            }),
        }
    }),
    column(
        "interface",
        Unsigned,
        "network interface that a packet socket was bound to",
        of!(EventData::SockCall(call) => Cell::nonzero(call.interface)),
    ),
    column(
        "target_container",
        Text,
        "name of the container of the process that the call is about",
        |view| match &view.event.data {
            EventData::ProcessAccess(call) => match view.state.container(call.target_cgroup) {
                Some(container) => Cell::Text(State::label_of(Some(container)).as_bytes()),
                None => Cell::Null,
            },
            _ => Cell::Null,
        },
    ),
    column(
        "request",
        Unsigned,
        "request of ptrace, flags of pidfd_open, descriptor of pidfd_getfd",
        of!(EventData::ProcessAccess(call) => Cell::Unsigned(call.arg)),
    ),
    column(
        "ipc_kind",
        Text,
        "semaphores, messages, shared memory, queue (POSIX)",
        of!(EventData::Ipc(call) => Cell::Text(ipc_kind(call.kind).as_bytes())),
    ),
    column(
        "ipc_id",
        Signed,
        "id of the object, inode of a queue; none: unknown",
        of!(EventData::Ipc(call) => match call.id {
            -1 => Cell::Null,
            id => Cell::Signed(id),
        }),
    ),
    column(
        "ipc_key",
        Unsigned,
        "its key; 0: private",
        of!(EventData::Ipc(call) => match call.marks.has(IpcMarks::KEY_KNOWN) {
            true => Cell::Unsigned(call.key.into()),
            false => Cell::Null,
        }),
    ),
    column(
        "ipc_ns",
        Unsigned,
        "inode number of the IPC namespace",
        of!(EventData::Ipc(call) => Cell::nonzero(call.namespace)),
    ),
    column(
        "ipc_size",
        Unsigned,
        "bytes of shared memory or of the message, number of semaphores",
        of!(EventData::Ipc(call) => Cell::nonzero(call.size)),
    ),
    column(
        "ipc_arg",
        Unsigned,
        "flags, command, operations or priority of the call",
        of!(EventData::Ipc(call) => Cell::Unsigned(call.arg)),
    ),
    column(
        "ipc_name",
        Text,
        "name of a POSIX queue",
        of!(EventData::Ipc(call) => Cell::text(&call.name)),
    ),
    column(
        "new_uid",
        Unsigned,
        "after credentials changed: the real user",
        of!(EventData::Credentials(change) => Cell::Unsigned(change.after.uid.into())),
    ),
    column(
        "new_euid",
        Unsigned,
        "the effective one",
        of!(EventData::Credentials(change) => Cell::Unsigned(change.after.euid.into())),
    ),
    column(
        "new_suid",
        Unsigned,
        "the saved one",
        of!(EventData::Credentials(change) => Cell::Unsigned(change.after.suid.into())),
    ),
    column(
        "new_gid",
        Unsigned,
        "the real group",
        of!(EventData::Credentials(change) => Cell::Unsigned(change.after.gid.into())),
    ),
    column(
        "new_egid",
        Unsigned,
        "the effective one",
        of!(EventData::Credentials(change) => Cell::Unsigned(change.after.egid.into())),
    ),
    column(
        "new_sgid",
        Unsigned,
        "the saved one",
        of!(EventData::Credentials(change) => Cell::Unsigned(change.after.sgid.into())),
    ),
    column(
        "new_cap_effective",
        Unsigned,
        "effective capabilities, bit n: capability n",
        of!(EventData::Credentials(change) => Cell::Unsigned(change.after.cap_effective)),
    ),
    column(
        "new_cap_permitted",
        Unsigned,
        "permitted ones",
        of!(EventData::Credentials(change) => Cell::Unsigned(change.after.cap_permitted)),
    ),
    column(
        "new_user_ns",
        Unsigned,
        "inode number of the user namespace",
        of!(EventData::Credentials(change) => Cell::Unsigned(change.after.user_ns.into())),
    ),
    column(
        "old_uid",
        Unsigned,
        "the real user before; empty: unknown",
        |view| Cell::some(before(view), |before| Cell::Unsigned(before.uid.into())),
    ),
    column(
        "old_euid",
        Unsigned,
        "the effective one",
        |view| Cell::some(before(view), |before| Cell::Unsigned(before.euid.into())),
    ),
    column(
        "old_suid",
        Unsigned,
        "the saved one",
        |view| Cell::some(before(view), |before| Cell::Unsigned(before.suid.into())),
    ),
    column(
        "old_gid",
        Unsigned,
        "the real group",
        |view| Cell::some(before(view), |before| Cell::Unsigned(before.gid.into())),
    ),
    column(
        "old_egid",
        Unsigned,
        "the effective one",
        |view| Cell::some(before(view), |before| Cell::Unsigned(before.egid.into())),
    ),
    column(
        "old_sgid",
        Unsigned,
        "the saved one",
        |view| Cell::some(before(view), |before| Cell::Unsigned(before.sgid.into())),
    ),
    column(
        "old_cap_effective",
        Unsigned,
        "effective capabilities",
        |view| Cell::some(before(view), |before| Cell::Unsigned(before.cap_effective)),
    ),
    column(
        "old_cap_permitted",
        Unsigned,
        "permitted ones",
        |view| Cell::some(before(view), |before| Cell::Unsigned(before.cap_permitted)),
    ),
    column(
        "old_user_ns",
        Unsigned,
        "inode number of the user namespace",
        |view| Cell::some(before(view), |before| Cell::Unsigned(before.user_ns.into())),
    ),
    column(
        "call_ns",
        Unsigned,
        "how long the system call took; empty: unknown",
        |view| Cell::some(call_ns(&view.event.data), Cell::Unsigned),
    ),
    column(
        "ns_tid",
        Unsigned,
        "the new thread in its own pid namespace",
        of!(EventData::Fork(fork) => Cell::nonzero(fork.child_ns_tid)),
    ),
    column("user_ns", Unsigned, "CPU time of a thread that ended, or of the process that ended with it", |view| {
        Cell::some(usage(view), |used| Cell::Unsigned(used.user_ns))
    }),
    column("system_ns", Unsigned, "CPU time in the kernel", |view| {
        Cell::some(usage(view), |used| Cell::Unsigned(used.system_ns))
    }),
    column("max_rss_bytes", Unsigned, "the most memory that the process had resident", |view| {
        Cell::some(usage(view), |used| Cell::nonzero(used.max_rss_bytes))
    }),
    column(
        "minor_faults",
        Unsigned,
        "page faults without I/O, of what ended; of a sample, cumulative",
        |view| match &view.event.data {
            EventData::Sample(sample) => {
                figure(sample.known, SampleKnown::FAULTS, sample.minor_faults)
            }
            _ => Cell::some(usage(view), |used| Cell::Unsigned(used.minor_faults)),
        },
    ),
    column(
        "major_faults",
        Unsigned,
        "page faults with I/O, of what ended; of a sample, cumulative",
        |view| match &view.event.data {
            EventData::Sample(sample) => {
                figure(sample.known, SampleKnown::FAULTS, sample.major_faults)
            }
            _ => Cell::some(usage(view), |used| Cell::Unsigned(used.major_faults)),
        },
    ),
    column("memory_peak_bytes", Unsigned, "the most memory there was in use", sampled!(MEMORY_PEAK, memory_peak_bytes)),
    column("anon_bytes", Unsigned, "memory of no file", sampled!(MEMORY_KINDS, anon_bytes)),
    column("file_bytes", Unsigned, "page cache", sampled!(MEMORY_KINDS, file_bytes)),
    column("cpu_stall_ns", Unsigned, "in which a task waited for a CPU, cumulative", sampled!(PRESSURE, cpu_stall_ns)),
    column("memory_stall_ns", Unsigned, "in which a task waited for memory, cumulative", sampled!(PRESSURE, memory_stall_ns)),
    column("memory_full_stall_ns", Unsigned, "in which all did, cumulative", sampled!(PRESSURE, memory_full_stall_ns)),
    column("io_stall_ns", Unsigned, "in which a task waited for I/O, cumulative", sampled!(PRESSURE, io_stall_ns)),
    column("io_full_stall_ns", Unsigned, "in which all did, cumulative", sampled!(PRESSURE, io_full_stall_ns)),
    column("io_reads", Unsigned, "reads from block devices, cumulative", sampled!(IO, io_reads)),
    column("io_writes", Unsigned, "writes to block devices, cumulative", sampled!(IO, io_writes)),
    column("net_received_bytes", Unsigned, "by the network's interfaces, cumulative", sampled!(NETWORK, net_received_bytes)),
    column("net_received_packets", Unsigned, "packets, cumulative", sampled!(NETWORK, net_received_packets)),
    column("net_sent_bytes", Unsigned, "by the network's interfaces, cumulative", sampled!(NETWORK, net_sent_bytes)),
    column("net_sent_packets", Unsigned, "packets, cumulative", sampled!(NETWORK, net_sent_packets)),
    column("load_hundredths", Unsigned, "load average of a minute, times 100; the host's", sampled!(LOAD, load_hundredths)),
    column(
        "data",
        Text,
        "first bytes of what the call read or wrote",
        of!(EventData::Payload(payload) => Cell::text(&payload.data)),
    ),
    column(
        "passed_kind",
        Text,
        "what a passed descriptor is: file, directory, memfd, pipe, socket, device, other",
        of!(EventData::PassedFd(passed) => Cell::Text(passed::kind(passed).as_bytes())),
    ),
    column(
        "passed_socket",
        Signed,
        "descriptor of the unix socket that it went through",
        of!(EventData::PassedFd(passed) => Cell::Signed(passed.socket.into())),
    ),
    column(
        "passed_count",
        Unsigned,
        "descriptors that stood together with it, itself included",
        of!(EventData::PassedFd(passed) => Cell::Unsigned(passed.count.into())),
    ),
    column(
        "passed_place",
        Unsigned,
        "which of these it is, from 0",
        of!(EventData::PassedFd(passed) => Cell::Unsigned(passed.place.into())),
    ),
    column(
        "passed_mode",
        Unsigned,
        "type and permissions of its file (st_mode)",
        of!(EventData::PassedFd(passed) => Cell::nonzero(passed.mode)),
    ),
    column(
        "passed_marks",
        Text,
        "sender_seen, cut, path_cut, nowhere (in no directory), readable, writable",
        of!(EventData::PassedFd(passed) => Cell::Made(passed::marks(passed))),
    ),
    column(
        "passed_across",
        Flag,
        "it came from or went to another container, or one of the two is the host",
        |view| match &view.event.data {
            EventData::PassedFd(passed) => {
                let ends = (view.event.cgroup_id, passed.peer_cgroup_id);
                Cell::some(view.state.is_across(ends.0, ends.1), Cell::Flag)
            }
            _ => Cell::Null,
        },
    ),
];

/// Where the process at the other end is; 0: not known.
fn peer_cgroup(event: &Event) -> u64 {
    match &event.data {
        EventData::Peer(peer) => peer.peer_cgroup_id,
        EventData::PassedFd(passed) => passed.peer_cgroup_id,
        _ => 0,
    }
}

/// How long a system call took, where that is known.
pub fn call_ns(data: &EventData) -> Option<u64> {
    let duration_ns = match data {
        EventData::Syscall(call) | EventData::Payload(Payload { call, .. }) => call.duration_ns,
        EventData::Open(call) => call.duration_ns,
        EventData::PathCall(call) => call.duration_ns,
        EventData::SockCall(call) => call.duration_ns,
        _ => 0,
    };
    (duration_ns != 0).then_some(duration_ns)
}

/// Rights before they changed, where they are known.
fn before<'a>(view: &EventView<'a>) -> Option<&'a Rights> {
    match &view.event.data {
        EventData::Credentials(change) if change.marks.has(CredentialMarks::BEFORE_KNOWN) => {
            Some(&change.before)
        }
        _ => None,
    }
}

fn endpoints(event: &Event) -> Option<(&Endpoint, &Endpoint)> {
    match &event.data {
        EventData::SockCall(call) => Some((&call.local, &call.remote)),
        EventData::TcpState(state) => Some((&state.local, &state.remote)),
        EventData::TcpEvent(event) => Some((&event.local, &event.remote)),
        EventData::Dns(dns) => Some((&dns.local, &dns.remote)),
        EventData::Http(http) => Some((&http.local, &http.remote)),
        EventData::Peer(peer) => Some((&peer.local, &peer.remote)),
        _ => None,
    }
}

fn address(endpoint: &Endpoint) -> Cell<'static> {
    Cell::some(address_text(endpoint), Cell::Made)
}

fn port(endpoint: &Endpoint) -> Cell<'static> {
    if endpoint.addr.is_empty() {
        Cell::Null
    } else {
        Cell::Unsigned(endpoint.port.into())
    }
}

fn unix_path(path: &[u8]) -> Cell<'_> {
    match path.strip_prefix(&[0]) {
        Some(name) => Cell::Made(format!("@{}", String::from_utf8_lossy(name))),
        None => Cell::text(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_lists_every_column_in_order() {
        let documentation = include_str!("../../docs/export.md");
        let (_, columns) = documentation.split_once("\n## Columns\n").unwrap();
        let rows = columns
            .lines()
            .take_while(|line| !line.starts_with("## "))
            .filter_map(|line| line.strip_prefix("| `"));
        let documented: Vec<&str> = rows.filter_map(|row| row.split('`').next()).collect();
        let columns: Vec<&str> = COLUMNS.iter().map(|column| column.name).collect();
        assert_eq!(documented, columns);
    }
}
