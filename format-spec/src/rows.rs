//! Between [`EventData`] and the columns of its family: the only code that pairs field and column.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::{
    Declared, Endpoint, Error, Event, EventData, EventType, Text, Value,
    columns::{self, Column, Type},
    details::{Details, Known, Namespaces},
    event::*,
    limits::{ROW_TEXT_BYTES_MAX, TEXT_BYTES_MAX},
};

/// The strings of one chunk, numbered from 1 in order of first use; 0 is the empty string.
#[derive(Default)]
pub struct Dictionary {
    ids: HashMap<Text, u32>,
    texts: Vec<Text>,
    bytes: usize,
    /// That the row at hand added.
    row_bytes: usize,
    /// Strings that were longer than [`TEXT_BYTES_MAX`], or than what was left of
    /// [`ROW_TEXT_BYTES_MAX`], and lost their end.
    pub cut: u32,
}

impl Dictionary {
    /// What follows are the strings of another row.
    pub fn begin_row(&mut self) {
        self.row_bytes = 0;
    }

    pub fn id(&mut self, text: &Text) -> u64 {
        if text.is_empty() {
            return 0;
        }
        if let Some(id) = self.ids.get(text) {
            return u64::from(*id);
        }
        let room = TEXT_BYTES_MAX.min(ROW_TEXT_BYTES_MAX - self.row_bytes);
        let text = if text.len() > room {
            self.cut += 1;
            if room == 0 {
                return 0;
            }
            let cut = Text::new(&text[..room]);
            if let Some(id) = self.ids.get(&cut) {
                return u64::from(*id);
            }
            cut
        } else {
            text.clone()
        };
        self.bytes += text.len();
        self.row_bytes += text.len();
        self.texts.push(text.clone());
        let id = u32::try_from(self.texts.len()).expect("rows bound the dictionary");
        self.ids.insert(text, id);
        u64::from(id)
    }

    /// The string of an id that [`Dictionary::id`] gave out.
    pub fn text(&self, id: u64) -> Text {
        match id {
            0 => Text::default(),
            id => self.texts[id as usize - 1].clone(),
        }
    }

    /// Uncompressed size of the section.
    pub fn bytes(&self) -> usize {
        self.bytes + 4 * self.texts.len()
    }

    pub fn len(&self) -> usize {
        self.texts.len()
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        for text in &self.texts {
            out.extend_from_slice(&(text.len() as u32).to_le_bytes());
        }
        for text in &self.texts {
            out.extend_from_slice(text);
        }
    }

    pub fn clear(&mut self) {
        self.ids.clear();
        self.texts.clear();
        self.bytes = 0;
        self.row_bytes = 0;
        self.cut = 0;
    }
}

/// The decoded dictionary: index 0 is the empty string.
pub fn read_dictionary(bytes: &[u8], entries: u32) -> Result<Vec<Text>, Error> {
    const WHAT: &str = "dictionary";
    Error::limit(
        "dictionary entries",
        entries.into(),
        crate::limits::DICTIONARY_ENTRIES_MAX.into(),
    )?;
    let lens_bytes = entries as usize * 4;
    let Some((lens, mut strings)) = bytes.split_at_checked(lens_bytes) else {
        return Err(Error::Short {
            what: WHAT,
            offset: 0,
            needed: lens_bytes as u64,
            available: bytes.len() as u64,
        });
    };
    let mut texts = Vec::with_capacity(entries as usize + 1);
    texts.push(Text::default());
    for len in lens.chunks_exact(4) {
        let len = u32::from_le_bytes(len.try_into().expect("chunks of 4")) as usize;
        Error::limit("length of a string", len as u64, TEXT_BYTES_MAX as u64)?;
        let Some((text, rest)) = strings.split_at_checked(len) else {
            return Err(Error::Short {
                what: WHAT,
                offset: (bytes.len() - strings.len()) as u64,
                needed: len as u64,
                available: strings.len() as u64,
            });
        };
        texts.push(Text::new(text));
        strings = rest;
    }
    if !strings.is_empty() {
        return Err(Error::malformed(
            WHAT,
            bytes.len() - strings.len(),
            "its end",
            format_args!("{} more bytes", strings.len()),
        ));
    }
    Ok(texts)
}

/// Number of the family an event belongs to.
pub fn family_of(data: &EventData) -> u16 {
    match data {
        EventData::Syscall(call) if call.duration_ns != 0 => columns::TIMED_SYSCALL,
        EventData::Syscall(_) => columns::SYSCALL,
        EventData::SyscallCount(_) => columns::SYSCALL_COUNT,
        EventData::Fork(_) => columns::FORK,
        EventData::Exec(_) => columns::EXEC,
        EventData::Exit(_) => columns::EXIT,
        EventData::Open(_) => columns::OPEN,
        EventData::PathCall(_) => columns::PATH_CALL,
        EventData::SockCall(_) => columns::SOCK_CALL,
        EventData::TcpState(_) => columns::TCP_STATE,
        EventData::Cgroup(_) => columns::CGROUP,
        EventData::Sample(_) => columns::SAMPLE,
        EventData::Io(_) => columns::IO,
        EventData::Signal(_) => columns::SIGNAL,
        EventData::OomKill(_) => columns::OOM_KILL,
        EventData::TcpEvent(_) => columns::TCP_EVENT,
        EventData::Ipc(_) => columns::IPC,
        EventData::ProcessAccess(_) => columns::PROCESS_ACCESS,
        EventData::Dns(_) => columns::DNS,
        EventData::Http(_) => columns::HTTP,
        EventData::Peer(_) => columns::PEER,
        EventData::Credentials(_) => columns::CREDENTIALS,
        EventData::Payload(_) => columns::PAYLOAD,
        EventData::PassedFd(_) => columns::PASSED_FD,
        EventData::Declared(declared) => declared.ty().family(),
    }
}

/// Appends the value of each common column, in the order of [`columns::COMMON`].
pub fn put_common(event: &Event, out: &mut Vec<u64>) {
    out.extend_from_slice(&[
        event.boot_ns,
        event.tid.into(),
        event.pid.into(),
        event.cgroup_id,
        event.cpu.into(),
        event.probe.into(),
        event.seq,
        family_of(&event.data).into(),
    ]);
}

/// Appends the value of each field, in the order of the family's column table.
#[inline]
pub fn put_fields(data: &EventData, dictionary: &mut Dictionary, out: &mut Vec<u64>) {
    match data {
        EventData::Syscall(call) => {
            out.extend_from_slice(&plain(call));
            if call.duration_ns != 0 {
                out.push(call.duration_ns);
            }
        }
        EventData::SyscallCount(SyscallCount { nr, calls }) => {
            out.extend_from_slice(&[(*nr).into(), *calls]);
        }
        EventData::Fork(fork) => out.extend_from_slice(&[
            fork.child_tid.into(),
            fork.child_pid.into(),
            fork.child_start_ns,
            fork.child_ns_tid.into(),
        ]),
        EventData::Exec(exec) => {
            out.extend_from_slice(&[
                dictionary.id(&exec.path),
                dictionary.id(&exec.filename),
                dictionary.id(&exec.args),
                dictionary.id(&exec.comm),
                exec.ppid.into(),
                exec.uid.into(),
                exec.gid.into(),
                exec.start_ns,
                exec.dev,
                exec.ino,
                exec.flags.0.into(),
            ]);
            match &exec.details {
                Some(details) => put_details(details, dictionary, out),
                None => out.extend_from_slice(&[0; EXEC_DETAILS]),
            }
        }
        EventData::Exit(exit) => {
            let used = exit.usage.unwrap_or_default();
            out.extend_from_slice(&[
                exit.code.into(),
                exit.signal.into(),
                exit.start_ns,
                exit.last_thread.into(),
                exit.usage.is_some().into(),
                used.user_ns,
                used.system_ns,
                used.max_rss_bytes,
                used.minor_faults,
                used.major_faults,
            ]);
        }
        EventData::Open(open) => out.extend_from_slice(&[
            open.nr.into(),
            open.ret as u64,
            open.flags.into(),
            open.mode.into(),
            dictionary.id(&open.path),
            open.dev,
            open.ino,
            open.marks.0.into(),
            open.duration_ns,
        ]),
        EventData::PathCall(call) => out.extend_from_slice(&[
            call.nr.into(),
            call.ret as u64,
            call.arg,
            dictionary.id(&call.path),
            dictionary.id(&call.path2),
            call.marks.0.into(),
            call.duration_ns,
        ]),
        EventData::SockCall(call) => out.extend_from_slice(&[
            call.nr.into(),
            call.ret as u64,
            call.fd as i64 as u64,
            call.family.into(),
            call.sock_type.into(),
            dictionary.id(&call.local.addr),
            call.local.port.into(),
            dictionary.id(&call.remote.addr),
            call.remote.port.into(),
            dictionary.id(&call.unix_path),
            call.marks.0.into(),
            call.interface.into(),
            call.duration_ns,
        ]),
        EventData::TcpState(state) => out.extend_from_slice(&[
            state.old.into(),
            state.new.into(),
            state.family.into(),
            dictionary.id(&state.local.addr),
            state.local.port.into(),
            dictionary.id(&state.remote.addr),
            state.remote.port.into(),
            state.sock,
            state.latency_ns,
            state.sent_bytes,
            state.received_bytes,
            state.duration_ns,
            state.error.into(),
        ]),
        EventData::Cgroup(change) => out.extend_from_slice(&[
            change.id,
            dictionary.id(&change.path),
            change.removed.into(),
        ]),
        EventData::Sample(sample) => out.extend_from_slice(&[
            sample.cpu_ns,
            sample.throttled_ns,
            sample.memory_bytes,
            sample.memory_limit_bytes,
            sample.pids,
            sample.io_read_bytes,
            sample.io_write_bytes,
            sample.known.0.into(),
            sample.memory_peak_bytes,
            sample.anon_bytes,
            sample.file_bytes,
            sample.minor_faults,
            sample.major_faults,
            sample.cpu_stall_ns,
            sample.memory_stall_ns,
            sample.memory_full_stall_ns,
            sample.io_stall_ns,
            sample.io_full_stall_ns,
            sample.io_reads,
            sample.io_writes,
            sample.net_received_bytes,
            sample.net_received_packets,
            sample.net_sent_bytes,
            sample.net_sent_packets,
            sample.load_hundredths,
        ]),
        EventData::Io(io) => out.extend_from_slice(&[
            io.fd as i64 as u64,
            io.kind.0.into(),
            io.reads,
            io.read_bytes,
            io.writes,
            io.written_bytes,
            io.dev,
            io.ino,
        ]),
        EventData::Signal(signal) => out.extend_from_slice(&[
            signal.signal.into(),
            signal.code as i64 as u64,
            signal.target_tid.into(),
            signal.target_pid.into(),
            signal.to_group.into(),
            signal.outcome.into(),
        ]),
        EventData::OomKill(kill) => out.extend_from_slice(&[
            dictionary.id(&kill.comm),
            kill.uid.into(),
            kill.total_vm_bytes,
            kill.score_adj as i64 as u64,
            kill.trigger_pid.into(),
        ]),
        EventData::TcpEvent(event) => out.extend_from_slice(&[
            event.what.0.into(),
            event.state.into(),
            event.family.into(),
            dictionary.id(&event.local.addr),
            event.local.port.into(),
            dictionary.id(&event.remote.addr),
            event.remote.port.into(),
            event.sock,
        ]),
        EventData::Ipc(call) => out.extend_from_slice(&[
            call.nr.into(),
            call.ret as u64,
            call.kind.0.into(),
            call.id as u64,
            call.key.into(),
            call.namespace.into(),
            call.size,
            call.arg,
            dictionary.id(&call.name),
            call.calls,
            call.marks.0.into(),
        ]),
        EventData::ProcessAccess(call) => out.extend_from_slice(&[
            call.nr.into(),
            call.ret as u64,
            call.target_pid.into(),
            call.target_tid.into(),
            call.target_cgroup,
            call.arg,
            call.calls,
        ]),
        EventData::Dns(dns) => out.extend_from_slice(&[
            dns.fd as i64 as u64,
            dns.sent.into(),
            dns.id.into(),
            dns.flags.into(),
            dns.qtype.into(),
            dictionary.id(&dns.name),
            dns.answers.into(),
            dns.malformed.into(),
            dns.family.into(),
            dictionary.id(&dns.local.addr),
            dns.local.port.into(),
            dictionary.id(&dns.remote.addr),
            dns.remote.port.into(),
            dns.latency_ns,
        ]),
        EventData::Http(http) => out.extend_from_slice(&[
            http.fd as i64 as u64,
            http.sent.into(),
            http.status.into(),
            dictionary.id(&http.method),
            dictionary.id(&http.path),
            dictionary.id(&http.host),
            http.family.into(),
            dictionary.id(&http.local.addr),
            http.local.port.into(),
            dictionary.id(&http.remote.addr),
            http.remote.port.into(),
            http.latency_ns,
        ]),
        EventData::Peer(peer) => out.extend_from_slice(&[
            peer.fd as i64 as u64,
            peer.sent.into(),
            peer.family.into(),
            peer.sock_type.into(),
            dictionary.id(&peer.local.addr),
            peer.local.port.into(),
            dictionary.id(&peer.remote.addr),
            peer.remote.port.into(),
            dictionary.id(&peer.unix_path),
            peer.peer_pid.into(),
            peer.peer_cgroup_id,
        ]),
        EventData::Credentials(change) => {
            out.extend_from_slice(&[change.nr.into(), change.marks.0.into()]);
            out.extend_from_slice(&rights(&change.after));
            out.extend_from_slice(&rights(&change.before));
        }
        EventData::Payload(Payload { call, data }) => {
            out.extend_from_slice(&plain(call));
            out.extend_from_slice(&[call.duration_ns, dictionary.id(data)]);
        }
        EventData::PassedFd(passed) => out.extend_from_slice(&[
            passed.fd as i64 as u64,
            passed.sent.into(),
            passed.socket as i64 as u64,
            passed.count.into(),
            passed.place.into(),
            passed.mode.into(),
            dictionary.id(&passed.path),
            passed.dev,
            passed.ino,
            passed.peer_pid.into(),
            passed.peer_cgroup_id,
            passed.marks.0.into(),
        ]),
        EventData::Declared(declared) => {
            let numbers = declared.values().iter();
            out.extend(numbers.map(|value| value.number(dictionary)));
        }
    }
}

/// The columns that every system call has.
#[inline]
fn plain(call: &Syscall) -> [u64; 8] {
    let [a, b, c, d, e, f] = call.args;
    [call.nr.into(), call.ret as u64, a, b, c, d, e, f]
}

/// Columns of [`Rights`].
const RIGHTS: usize = 9;

fn rights(rights: &Rights) -> [u64; RIGHTS] {
    [
        rights.uid.into(),
        rights.euid.into(),
        rights.suid.into(),
        rights.gid.into(),
        rights.egid.into(),
        rights.sgid.into(),
        rights.cap_effective,
        rights.cap_permitted,
        rights.user_ns.into(),
    ]
}

/// Columns of an exec that [`ExecDetails`] holds, the last ones, and the first of them.
const EXEC_DETAILS: usize = 22;
const EXEC_DETAILS_AT: usize = 11;

fn put_details(details: &ExecDetails, dictionary: &mut Dictionary, out: &mut Vec<u64>) {
    let process = &details.process;
    let namespaces = &process.namespaces;
    let values: [u64; EXEC_DETAILS] = [
        dictionary.id(&details.cwd),
        process.known.0.into(),
        details.ns_pid.into(),
        process.sid.into(),
        process.pgid.into(),
        process.ns_sid.into(),
        process.ns_pgid.into(),
        process.tty.into(),
        process.login_uid.into(),
        process.cap_effective,
        process.cap_permitted,
        process.cap_inheritable,
        namespaces.cgroup.into(),
        namespaces.ipc.into(),
        namespaces.mnt.into(),
        namespaces.net.into(),
        namespaces.pid.into(),
        namespaces.user.into(),
        namespaces.uts.into(),
        process.ns_start_ns,
        process.exe_ctime_ns,
        process.exe_mtime_ns,
    ];
    out.extend_from_slice(&values);
}

/// None where all are zero, as an older writer's are.
fn exec_details(row: &Row<'_>) -> Option<Box<ExecDetails>> {
    let at = |column: usize| row.at(EXEC_DETAILS_AT + column);
    if (0..EXEC_DETAILS).all(|column| at(column) == 0) {
        return None;
    }
    Some(Box::new(ExecDetails {
        cwd: row.text(EXEC_DETAILS_AT),
        ns_pid: at(2) as u32,
        process: Details {
            known: Known(at(1) as u32),
            sid: at(3) as u32,
            pgid: at(4) as u32,
            ns_sid: at(5) as u32,
            ns_pgid: at(6) as u32,
            tty: at(7) as u32,
            login_uid: at(8) as u32,
            cap_effective: at(9),
            cap_permitted: at(10),
            cap_inheritable: at(11),
            namespaces: Namespaces {
                cgroup: at(12) as u32,
                ipc: at(13) as u32,
                mnt: at(14) as u32,
                net: at(15) as u32,
                pid: at(16) as u32,
                user: at(17) as u32,
                uts: at(18) as u32,
            },
            ns_start_ns: at(19),
            exe_ctime_ns: at(20),
            exe_mtime_ns: at(21),
        },
    }))
}

/// One row of a family's decoded fields; an empty column is an absent one, all 0. Values were
/// checked against their type: narrowing is safe.
struct Row<'a> {
    fields: &'a [Vec<u64>],
    texts: &'a [Text],
    row: usize,
}

impl Row<'_> {
    fn rights(&self, first: usize) -> Rights {
        let at = |column: usize| self.at(first + column) as u32;
        Rights {
            uid: at(0),
            euid: at(1),
            suid: at(2),
            gid: at(3),
            egid: at(4),
            sgid: at(5),
            cap_effective: self.at(first + 6),
            cap_permitted: self.at(first + 7),
            user_ns: at(8),
        }
    }

    #[inline]
    fn call(&self, duration_ns: u64) -> Syscall {
        Syscall {
            nr: self.at(0) as u32,
            ret: self.at(1) as i64,
            args: std::array::from_fn(|arg| self.at(2 + arg)),
            duration_ns,
        }
    }
    #[inline]
    fn at(&self, field: usize) -> u64 {
        self.fields[field].get(self.row).copied().unwrap_or(0)
    }
    #[inline]
    fn text(&self, field: usize) -> Text {
        self.texts[self.at(field) as usize].clone()
    }
    #[inline]
    fn endpoint(&self, field: usize) -> Endpoint {
        Endpoint {
            addr: self.text(field),
            port: self.at(field + 1) as u16,
        }
    }
}

/// Row `row` of family `family` as event data; `fields` in the order of the column table.
#[inline]
pub fn take_fields(family: u16, fields: &[Vec<u64>], texts: &[Text], row: usize) -> EventData {
    let row = Row { fields, texts, row };
    match family {
        columns::SYSCALL => EventData::Syscall(row.call(0)),
        columns::TIMED_SYSCALL => EventData::Syscall(row.call(row.at(8))),
        columns::PAYLOAD => EventData::Payload(Payload {
            call: row.call(row.at(8)),
            data: row.text(9),
        }),
        columns::SYSCALL_COUNT => EventData::SyscallCount(SyscallCount {
            nr: row.at(0) as u32,
            calls: row.at(1),
        }),
        columns::FORK => EventData::Fork(Fork {
            child_tid: row.at(0) as u32,
            child_pid: row.at(1) as u32,
            child_start_ns: row.at(2),
            child_ns_tid: row.at(3) as u32,
        }),
        columns::EXEC => EventData::Exec(Exec {
            path: row.text(0),
            filename: row.text(1),
            args: row.text(2),
            comm: row.text(3),
            ppid: row.at(4) as u32,
            uid: row.at(5) as u32,
            gid: row.at(6) as u32,
            start_ns: row.at(7),
            dev: row.at(8),
            ino: row.at(9),
            flags: ExecFlags(row.at(10) as u32),
            details: exec_details(&row),
        }),
        columns::EXIT => EventData::Exit(Exit {
            code: row.at(0) as u32,
            signal: row.at(1) as u32,
            start_ns: row.at(2),
            last_thread: row.at(3) != 0,
            usage: (row.at(4) != 0).then(|| Usage {
                user_ns: row.at(5),
                system_ns: row.at(6),
                max_rss_bytes: row.at(7),
                minor_faults: row.at(8),
                major_faults: row.at(9),
            }),
        }),
        columns::OPEN => EventData::Open(Open {
            nr: row.at(0) as u32,
            ret: row.at(1) as i64,
            flags: row.at(2) as u32,
            mode: row.at(3) as u32,
            path: row.text(4),
            dev: row.at(5),
            ino: row.at(6),
            marks: PathMarks(row.at(7) as u32),
            duration_ns: row.at(8),
        }),
        columns::PATH_CALL => EventData::PathCall(PathCall {
            nr: row.at(0) as u32,
            ret: row.at(1) as i64,
            arg: row.at(2),
            path: row.text(3),
            path2: row.text(4),
            marks: PathMarks(row.at(5) as u32),
            duration_ns: row.at(6),
        }),
        columns::SOCK_CALL => EventData::SockCall(SockCall {
            nr: row.at(0) as u32,
            ret: row.at(1) as i64,
            fd: row.at(2) as i32,
            family: row.at(3) as u16,
            sock_type: row.at(4) as u16,
            local: row.endpoint(5),
            remote: row.endpoint(7),
            unix_path: row.text(9),
            marks: PathMarks(row.at(10) as u32),
            interface: row.at(11) as u32,
            duration_ns: row.at(12),
        }),
        columns::TCP_STATE => EventData::TcpState(TcpState {
            old: row.at(0) as u8,
            new: row.at(1) as u8,
            family: row.at(2) as u16,
            local: row.endpoint(3),
            remote: row.endpoint(5),
            sock: row.at(7),
            latency_ns: row.at(8),
            sent_bytes: row.at(9),
            received_bytes: row.at(10),
            duration_ns: row.at(11),
            error: row.at(12) as u16,
        }),
        columns::CGROUP => EventData::Cgroup(CgroupChange {
            id: row.at(0),
            path: row.text(1),
            removed: row.at(2) != 0,
        }),
        columns::SAMPLE => EventData::Sample(Box::new(Sample {
            cpu_ns: row.at(0),
            throttled_ns: row.at(1),
            memory_bytes: row.at(2),
            memory_limit_bytes: row.at(3),
            pids: row.at(4),
            io_read_bytes: row.at(5),
            io_write_bytes: row.at(6),
            known: SampleKnown(row.at(7) as u32),
            memory_peak_bytes: row.at(8),
            anon_bytes: row.at(9),
            file_bytes: row.at(10),
            minor_faults: row.at(11),
            major_faults: row.at(12),
            cpu_stall_ns: row.at(13),
            memory_stall_ns: row.at(14),
            memory_full_stall_ns: row.at(15),
            io_stall_ns: row.at(16),
            io_full_stall_ns: row.at(17),
            io_reads: row.at(18),
            io_writes: row.at(19),
            net_received_bytes: row.at(20),
            net_received_packets: row.at(21),
            net_sent_bytes: row.at(22),
            net_sent_packets: row.at(23),
            load_hundredths: row.at(24),
        })),
        columns::IO => EventData::Io(Io {
            fd: row.at(0) as i32,
            kind: IoKind(row.at(1) as u8),
            reads: row.at(2),
            read_bytes: row.at(3),
            writes: row.at(4),
            written_bytes: row.at(5),
            dev: row.at(6),
            ino: row.at(7),
        }),
        columns::SIGNAL => EventData::Signal(Signal {
            signal: row.at(0) as u32,
            code: row.at(1) as i32,
            target_tid: row.at(2) as u32,
            target_pid: row.at(3) as u32,
            to_group: row.at(4) != 0,
            outcome: row.at(5) as u8,
        }),
        columns::OOM_KILL => EventData::OomKill(OomKill {
            comm: row.text(0),
            uid: row.at(1) as u32,
            total_vm_bytes: row.at(2),
            score_adj: row.at(3) as i32,
            trigger_pid: row.at(4) as u32,
        }),
        columns::TCP_EVENT => EventData::TcpEvent(TcpEvent {
            what: TcpWhat(row.at(0) as u8),
            state: row.at(1) as u8,
            family: row.at(2) as u16,
            local: row.endpoint(3),
            remote: row.endpoint(5),
            sock: row.at(7),
        }),
        columns::IPC => EventData::Ipc(Ipc {
            nr: row.at(0) as u32,
            ret: row.at(1) as i64,
            kind: IpcKind(row.at(2) as u8),
            id: row.at(3) as i64,
            key: row.at(4) as u32,
            namespace: row.at(5) as u32,
            size: row.at(6),
            arg: row.at(7),
            name: row.text(8),
            calls: row.at(9),
            marks: IpcMarks(row.at(10) as u32),
        }),
        columns::PROCESS_ACCESS => EventData::ProcessAccess(ProcessAccess {
            nr: row.at(0) as u32,
            ret: row.at(1) as i64,
            target_pid: row.at(2) as u32,
            target_tid: row.at(3) as u32,
            target_cgroup: row.at(4),
            arg: row.at(5),
            calls: row.at(6),
        }),
        columns::DNS => EventData::Dns(Dns {
            fd: row.at(0) as i32,
            sent: row.at(1) != 0,
            id: row.at(2) as u16,
            flags: row.at(3) as u16,
            qtype: row.at(4) as u16,
            name: row.text(5),
            answers: row.at(6) as u16,
            malformed: row.at(7) != 0,
            family: row.at(8) as u16,
            local: row.endpoint(9),
            remote: row.endpoint(11),
            latency_ns: row.at(13),
        }),
        columns::HTTP => EventData::Http(Http {
            fd: row.at(0) as i32,
            sent: row.at(1) != 0,
            status: row.at(2) as u16,
            method: row.text(3),
            path: row.text(4),
            host: row.text(5),
            family: row.at(6) as u16,
            local: row.endpoint(7),
            remote: row.endpoint(9),
            latency_ns: row.at(11),
        }),
        columns::CREDENTIALS => EventData::Credentials(Credentials {
            nr: row.at(0) as u32,
            marks: CredentialMarks(row.at(1) as u32),
            after: row.rights(2),
            before: row.rights(2 + RIGHTS),
        }),
        columns::PEER => EventData::Peer(Peer {
            fd: row.at(0) as i32,
            sent: row.at(1) != 0,
            family: row.at(2) as u16,
            sock_type: row.at(3) as u16,
            local: row.endpoint(4),
            remote: row.endpoint(6),
            unix_path: row.text(8),
            peer_pid: row.at(9) as u32,
            peer_cgroup_id: row.at(10),
        }),
        columns::PASSED_FD => EventData::PassedFd(PassedFd {
            fd: row.at(0) as i32,
            sent: row.at(1) != 0,
            socket: row.at(2) as i32,
            count: row.at(3) as u32,
            place: row.at(4) as u32,
            mode: row.at(5) as u32,
            path: row.text(6),
            dev: row.at(7),
            ino: row.at(8),
            peer_pid: row.at(9) as u32,
            peer_cgroup_id: row.at(10),
            marks: PassedMarks(row.at(11) as u32),
        }),
        _ => unreachable!("only families of the table are decoded, found {family}"),
    }
}

/// Row `row` of a declared family.
pub fn take_declared(
    ty: &Arc<EventType>,
    fields: &[Vec<u64>],
    texts: &[Text],
    row: usize,
) -> EventData {
    let row = Row { fields, texts, row };
    let value = |(field, column): (usize, &Column)| {
        Value::of(column.ty, row.at(field), |_| row.text(field))
    };
    let values = ty.columns().iter().enumerate().map(value).collect();
    EventData::Declared(Declared::of_columns(ty.clone(), values))
}

/// [`take_declared`] into an event of the same type.
pub fn retake_declared(data: &mut Declared, fields: &[Vec<u64>], texts: &[Text], row: usize) {
    let row = Row { fields, texts, row };
    let (ty, values) = data.parts_mut();
    for ((at, column), value) in ty.columns().iter().enumerate().zip(values) {
        let number = row.at(at);
        match value {
            // Counting its users up and down costs more than looking whether it is the same.
            Value::Text(text) if column.ty == Type::Text => {
                let new = &texts[number as usize];
                if !text.is_same(new) {
                    *text = new.clone();
                }
            }
            _ => *value = Value::of(column.ty, number, |_| row.text(at)),
        }
    }
}

/// The largest value of a type, for those where that says everything.
fn max_of(ty: Type, texts: usize) -> u64 {
    match ty {
        Type::U8 => u64::from(u8::MAX),
        Type::U16 => u64::from(u16::MAX),
        Type::U32 => u64::from(u32::MAX),
        Type::U64 | Type::I64 | Type::I32 => u64::MAX,
        Type::Bool => 1,
        Type::Text => texts as u64 - 1,
    }
}

/// Whether every value is one of the column's type. `texts` is the number of strings, the empty one
/// included.
#[inline]
pub fn fits(ty: Type, values: &[u64], texts: usize) -> bool {
    if ty == Type::I32 {
        // Moved up by half its range, such a number has no high half.
        let moved = |value: &u64| value.wrapping_add(1 << 31);
        return values.iter().fold(0, |all, value| all | moved(value)) >> 32 == 0;
    }
    let max = max_of(ty, texts);
    // None is larger than all of them or-ed together.
    values.iter().fold(0, |all, value| all | value) <= max
        || values.iter().all(|value| *value <= max)
}

/// What is wrong with a column for which [`fits`] does not hold.
pub fn misfit(column: &Column, values: &[u64], texts: usize) -> Error {
    let row = values
        .iter()
        .position(|value| !fits(column.ty, &[*value], texts))
        .unwrap_or(0);
    match column.ty {
        Type::I32 => Error::malformed(column.name, row, "a 32-bit number", values[row] as i64),
        ty => Error::malformed(
            column.name,
            row,
            format_args!("at most {}", max_of(ty, texts)),
            values[row],
        ),
    }
}
