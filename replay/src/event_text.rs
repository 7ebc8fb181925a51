//! An event as one line for people: time, container, process, what happened. `replay cat` prints it.

use std::io::Write;

use hashbrown::HashMap;
use trace_format::{
    CredentialMarks, Declared, EventData, IpcMarks, Rights, Sample, SampleKnown, Syscall, Usage,
    Value, event::Endpoint,
};

use crate::{
    append::{self, OfSecond},
    event_names::{
        address_text, arguments, dns_rcode, dns_type, family_text, io_kind, ipc_kind, mark_names,
        signal_name, tcp_state, tcp_what,
    },
    event_view::EventView,
    findings::one_line,
    import::{
        block_text,
        scap::{kinds::Kinds, stored::Kind},
    },
    passed,
    resolve::{State, Version, may_outlive_its_process},
    syscalls::{self, errno, flags},
    walk::Noted,
};

/// Writes lines; remembers what most lines share with one before.
#[derive(Default)]
pub struct LineWriter {
    of_second: OfSecond,
    who: Whos,
    kinds: Kinds,
}

impl LineWriter {
    /// Appends the line, without the newline.
    pub fn write(&mut self, view: &EventView<'_>, out: &mut Vec<u8>) {
        append::time(view.wall_ns(), view.event.boot_ns, &mut self.of_second, out);
        self.who.write(view, out);
        match &view.event.data {
            EventData::Declared(data) => {
                let kind = self.kinds.of(data.ty());
                write_declared(data, kind, out);
            }
            _ => write_what(view, out),
        }
    }
}

impl LineWriter {
    /// Appends the line of a mark, which is nobody's.
    pub fn write_mark(&mut self, noted: &Noted<'_>, out: &mut Vec<u8>) {
        append::time(noted.wall_ns, noted.boot_ns, &mut self.of_second, out);
        out.extend_from_slice(b"  ");
        append::one_line_padded("-", CONTAINER_WIDTH, out);
        out.extend_from_slice(b"  -  mark ");
        append::one_line(noted.mark.label.as_bytes(), out);
        out.extend_from_slice(b": ");
        append::one_line(noted.mark.text.as_bytes(), out);
    }
}

/// Threads whose place in the line is remembered: those of a busy host that run within a second.
const WHOS_MAX: usize = 4_096;

/// Where and who, between time and event: the same in most lines of a thread.
#[derive(Default)]
struct Whos {
    /// Of the state that they were written from.
    of: Version,
    texts: HashMap<Who, Box<[u8]>>,
}

/// All that decides about the text, but for the state.
#[derive(PartialEq, Eq, Hash)]
struct Who {
    tid: u32,
    pid: u32,
    cgroup_id: u64,
    /// A socket's event belongs to the last process with the id, living or not.
    of_socket: bool,
}

impl Whos {
    fn write(&mut self, view: &EventView<'_>, out: &mut Vec<u8>) {
        let event = view.event;
        let version = view.state.version();
        if self.of != version || self.texts.len() >= WHOS_MAX {
            self.texts.clear();
            self.of = version;
        }
        let who = Who {
            tid: event.tid,
            pid: event.pid,
            cgroup_id: event.cgroup_id,
            of_socket: may_outlive_its_process(&event.data),
        };
        let text = self.texts.entry(who).or_insert_with(|| {
            let mut text = Vec::new();
            write_who(view, &mut text);
            text.into()
        });
        out.extend_from_slice(text);
    }
}

fn write_who(view: &EventView<'_>, out: &mut Vec<u8>) {
    let event = view.event;
    out.extend_from_slice(b"  ");
    let container = match event.cgroup_id {
        0 => "-",
        _ => State::label_of(view.container()),
    };
    append::one_line_padded(container, CONTAINER_WIDTH, out);
    out.extend_from_slice(b"  ");
    match event.pid {
        0 => out.push(b'-'),
        pid => {
            match view.process() {
                Some(process) => append::one_line(&process.comm, out),
                None => out.push(b'?'),
            }
            out.push(b'(');
            append::decimal(pid.into(), out);
            if event.tid != pid {
                out.push(b'/');
                append::decimal(event.tid.into(), out);
            }
            out.push(b')');
        }
    }
    out.extend_from_slice(b"  ");
}

/// Of most names, so that the columns after it line up.
const CONTAINER_WIDTH: usize = 12;

fn write_what(view: &EventView<'_>, out: &mut Vec<u8>) {
    // Writing into memory cannot fail.
    let _ = match &view.event.data {
        EventData::Syscall(call) => plain(view, call, out),
        EventData::Payload(payload) => {
            let _ = plain(view, &payload.call, out);
            write!(out, "  \"{}\"", payload.data.escape_ascii())
        }
        EventData::SyscallCount(count) => {
            name(view, count.nr, out);
            write!(out, " × {}", count.calls)
        }
        EventData::Fork(fork) if fork.child_pid == fork.child_tid => {
            write!(out, "fork → process {}", fork.child_pid)
        }
        EventData::Fork(fork) => write!(out, "fork → thread {}", fork.child_tid),
        EventData::Exec(exec) => {
            let _ = write!(out, "exec {}", one_line(&exec.path.to_string_lossy()));
            if exec.args.is_empty() {
                Ok(())
            } else {
                write!(out, "  [{}]", one_line(&arguments(&exec.args)))
            }
        }
        EventData::Exit(exit) => {
            let who = if exit.last_thread {
                "process"
            } else {
                "thread"
            };
            let _ = match exit.signal {
                0 => write!(out, "exit of {who}, code {}", exit.code),
                signal => write!(out, "exit of {who}, signal {signal}"),
            };
            exit.usage.map_or(Ok(()), |used| write_usage(&used, out))
        }
        EventData::Open(open) => {
            name(view, open.nr, out);
            out.push(b'(');
            append::one_line(&open.path, out);
            out.extend_from_slice(b", ");
            open_flags(open.flags, out);
            const O_CREAT: u32 = 0o100;
            if open.flags & O_CREAT != 0 {
                let _ = write!(out, ", {:#o}", open.mode);
            }
            out.push(b')');
            result(open.ret, out);
            let _ = marks(open.marks, out);
            lasted(open.duration_ns, out)
        }
        EventData::PathCall(call) => {
            name(view, call.nr, out);
            out.push(b'(');
            append::one_line(&call.path, out);
            if !call.path2.is_empty() {
                out.extend_from_slice(b", ");
                append::one_line(&call.path2, out);
            }
            if call.arg != 0 {
                let _ = write!(out, ", {:#o}", call.arg);
            }
            out.push(b')');
            result(call.ret, out);
            let _ = marks(call.marks, out);
            lasted(call.duration_ns, out)
        }
        EventData::SockCall(call) => {
            name(view, call.nr, out);
            let _ = write!(out, "({}", family_text(call.family));
            if call.fd >= 0 {
                let _ = write!(out, ", fd {}", call.fd);
            }
            if !call.unix_path.is_empty() {
                let path = call.unix_path.to_string_lossy();
                let _ = write!(out, ", {}", one_line(&path.replacen('\0', "@", 1)));
            }
            endpoint(", local ", &call.local, out);
            endpoint(", remote ", &call.remote, out);
            out.push(b')');
            result(call.ret, out);
            let _ = marks(call.marks, out);
            lasted(call.duration_ns, out)
        }
        EventData::Ipc(call) => {
            name(view, call.nr, out);
            let _ = write!(out, "({}", ipc_kind(call.kind));
            if !call.name.is_empty() {
                let _ = write!(out, " {}", one_line(&call.name.to_string_lossy()));
            } else if call.id >= 0 {
                let _ = write!(out, " {}", call.id);
            }
            if call.marks.has(IpcMarks::KEY_KNOWN) {
                let _ = write!(out, ", key {:#x}", call.key);
            }
            if call.size > 0 {
                let _ = write!(out, ", size {}", call.size);
            }
            out.push(b')');
            result(call.ret, out);
            times(call.calls, out)
        }
        EventData::ProcessAccess(call) => {
            name(view, call.nr, out);
            out.push(b'(');
            let of_ptrace = syscalls::name(view.state.arch(), call.nr) == Some("ptrace");
            let start = out.len();
            if of_ptrace {
                flags::PTRACE.write(call.arg, view.state.arch(), out);
            }
            if out.len() == start && call.arg > 0 {
                let _ = write!(out, "{:#x}", call.arg);
            }
            if call.target_pid > 0 {
                let between = if out.len() > start { ", " } else { "" };
                let _ = write!(out, "{between}process {}", call.target_pid);
            }
            out.push(b')');
            result(call.ret, out);
            times(call.calls, out)
        }
        EventData::TcpState(state) => {
            let _ = write!(
                out,
                "tcp {} → {}",
                tcp_state(state.old),
                tcp_state(state.new)
            );
            endpoint(", local ", &state.local, out);
            endpoint(", remote ", &state.remote, out);
            match state.latency_ns {
                0 => Ok(()),
                latency_ns => write!(out, ", after {} µs", latency_ns / 1000),
            }
            .and_then(|()| match state.duration_ns {
                0 => Ok(()),
                duration_ns => write!(
                    out,
                    ", {} bytes out, {} in, {} ms",
                    state.sent_bytes,
                    state.received_bytes,
                    duration_ns / 1_000_000
                ),
            })
            .and_then(|()| match errno::of_result(-i64::from(state.error)) {
                Some(error) => write!(out, ", {error}"),
                None => Ok(()),
            })
        }
        EventData::TcpEvent(event) => {
            let _ = write!(out, "tcp {}", tcp_what(event.what));
            endpoint(", local ", &event.local, out);
            endpoint(", remote ", &event.remote, out);
            Ok(())
        }
        EventData::Dns(dns) => {
            let kind = if dns.is_answer() {
                "answer"
            } else {
                "question"
            };
            let _ = write!(
                out,
                "dns {kind} {} {} {}",
                if dns.sent { "sent" } else { "received" },
                dns_type(dns.qtype),
                match dns.name.is_empty() {
                    true => ".".into(),
                    false => one_line(&dns.name.to_string_lossy()),
                }
            );
            if dns.is_answer() {
                let _ = write!(out, ": {}, {} records", dns_rcode(dns.rcode()), dns.answers);
            }
            if dns.malformed {
                out.extend_from_slice(b" (malformed)");
            }
            endpoint(", remote ", &dns.remote, out);
            after(dns.latency_ns, out)
        }
        EventData::Http(http) => {
            let way = if http.sent { "sent" } else { "received" };
            let _ = match http.status {
                0 => write!(out, "http request {way}: "),
                status => write!(out, "http response {way}: {status} to "),
            };
            append::one_line(&http.method, out);
            out.push(b' ');
            append::one_line(&http.path, out);
            if !http.host.is_empty() {
                out.extend_from_slice(b", host ");
                append::one_line(&http.host, out);
            }
            endpoint(", remote ", &http.remote, out);
            after(http.latency_ns, out)
        }
        EventData::Peer(peer) => {
            let verb = match (peer.family, peer.sent) {
                (AF_UNIX, true) => "connected to",
                (AF_UNIX, false) => "accepted from",
                (_, true) => "sent to",
                (_, false) => "received from",
            };
            let _ = write!(out, "peer on {}: {verb}", peer.fd);
            endpoint(" ", &peer.remote, out);
            if peer.peer_pid != 0 {
                let _ = write!(out, " process {}", peer.peer_pid);
            }
            if peer.peer_cgroup_id != 0 {
                let container = view.state.container(peer.peer_cgroup_id);
                let _ = write!(out, " in {}", one_line(State::label_of(container)));
            }
            if !peer.unix_path.is_empty() {
                let path = peer.unix_path.to_string_lossy();
                let _ = write!(out, ", {}", one_line(&path.replacen('\0', "@", 1)));
            }
            endpoint(", local ", &peer.local, out);
            Ok(())
        }
        EventData::PassedFd(passed) => {
            let (verb, to) = if passed.sent {
                ("sent", "to")
            } else {
                ("received", "from")
            };
            let _ = write!(
                out,
                "{verb} descriptor {}: {}",
                passed.fd,
                passed::kind(passed)
            );
            if !passed.path.is_empty() {
                out.push(b' ');
                append::one_line(&passed.path, out);
            }
            let _ = write!(out, ", through {}", passed.socket);
            if passed.count > 1 {
                let _ = write!(out, ", {} of {}", u64::from(passed.place) + 1, passed.count);
            }
            if passed.peer_pid != 0 {
                let _ = write!(out, ", {to} process {}", passed.peer_pid);
            }
            if passed.peer_cgroup_id != 0 {
                let container = view.state.container(passed.peer_cgroup_id);
                let _ = write!(out, " in {}", one_line(State::label_of(container)));
            }
            if view
                .state
                .is_across(view.event.cgroup_id, passed.peer_cgroup_id)
                == Some(true)
            {
                out.extend_from_slice(b", across containers");
            }
            let marks = passed::marks(passed);
            if !marks.is_empty() {
                let _ = write!(out, " [{marks}]");
            }
            Ok(())
        }
        EventData::Credentials(change) => {
            let _ = write!(out, "credentials changed by ");
            name(view, change.nr, out);
            if change.marks.has(CredentialMarks::SET_USER_ID) {
                let _ = write!(out, " of a set-user-ID file");
            }
            if change.marks.has(CredentialMarks::SET_GROUP_ID) {
                let _ = write!(out, " of a set-group-ID file");
            }
            out.extend_from_slice(b": ");
            if change.marks.has(CredentialMarks::BEFORE_KNOWN) {
                rights(&change.before, out);
                out.extend_from_slice(" → ".as_bytes());
            }
            rights(&change.after, out);
            Ok(())
        }
        EventData::Io(io) => write!(
            out,
            "io on {} {}: {} reads of {} bytes, {} writes of {}",
            io_kind(io.kind),
            io.fd,
            io.reads,
            io.read_bytes,
            io.writes,
            io.written_bytes
        ),
        EventData::Signal(signal) => {
            let from = if signal.code > 0 {
                " by the kernel"
            } else {
                ""
            };
            let _ = write!(
                out,
                "{} to {}{from}",
                signal_name(signal.signal),
                signal.target_pid
            );
            match signal.outcome {
                0 => Ok(()),
                1 => write!(out, ", ignored"),
                2 => write!(out, ", already pending"),
                _ => write!(out, ", lost"),
            }
        }
        EventData::OomKill(kill) => write!(
            out,
            "killed for want of memory: {}, {} KiB of addresses, wanted by {}",
            one_line(&kill.comm.to_string_lossy()),
            kill.total_vm_bytes / 1024,
            kill.trigger_pid
        ),
        EventData::Cgroup(change) => {
            let verb = if change.removed { "removed" } else { "made" };
            write!(
                out,
                "cgroup {} {verb}: {}",
                change.id,
                one_line(&change.path.to_string_lossy())
            )
        }
        EventData::Sample(sample) => write_sample(sample, out),
        EventData::Declared(declared) => {
            write_declared(declared, Kind::of(declared.ty()), out);
            Ok(())
        }
    };
}

fn write_usage(used: &Usage, out: &mut Vec<u8>) -> std::io::Result<()> {
    write!(
        out,
        "; cpu {} ms user, {} ms system",
        used.user_ns / 1_000_000,
        used.system_ns / 1_000_000
    )?;
    if used.max_rss_bytes > 0 {
        write!(out, ", {} KiB resident", used.max_rss_bytes / 1024)?;
    }
    write!(
        out,
        ", {} + {} faults",
        used.minor_faults, used.major_faults
    )
}

/// What is not known is left out.
fn write_sample(sample: &Sample, out: &mut Vec<u8>) -> std::io::Result<()> {
    let known = |bit| sample.known.has(bit);
    write!(
        out,
        "sample: cpu {} ms, throttled {} ms, memory {} KiB, pids {}, read {} KiB, written {} KiB",
        sample.cpu_ns / 1_000_000,
        sample.throttled_ns / 1_000_000,
        sample.memory_bytes / 1024,
        sample.pids,
        sample.io_read_bytes / 1024,
        sample.io_write_bytes / 1024
    )?;
    if known(SampleKnown::IO) {
        write!(
            out,
            " in {} + {} operations",
            sample.io_reads, sample.io_writes
        )?;
    }
    if known(SampleKnown::MEMORY_PEAK) {
        write!(out, ", peak {} KiB", sample.memory_peak_bytes / 1024)?;
    }
    if known(SampleKnown::MEMORY_KINDS) {
        write!(
            out,
            ", anonymous {} KiB, of files {} KiB",
            sample.anon_bytes / 1024,
            sample.file_bytes / 1024
        )?;
    }
    if known(SampleKnown::FAULTS) {
        write!(
            out,
            ", {} + {} faults",
            sample.minor_faults, sample.major_faults
        )?;
    }
    if known(SampleKnown::PRESSURE) {
        write!(
            out,
            ", stalled cpu {} ms, memory {} ms, io {} ms",
            sample.cpu_stall_ns / 1_000_000,
            sample.memory_stall_ns / 1_000_000,
            sample.io_stall_ns / 1_000_000
        )?;
    }
    if known(SampleKnown::NETWORK) {
        write!(
            out,
            ", network {} KiB received, {} KiB sent",
            sample.net_received_bytes / 1024,
            sample.net_sent_bytes / 1024
        )?;
    }
    if known(SampleKnown::LOAD) {
        let load = sample.load_hundredths;
        write!(out, ", load {}.{:02}", load / 100, load % 100)?;
    }
    Ok(())
}

fn write_declared(declared: &Declared, kind: Option<Kind>, out: &mut Vec<u8>) {
    if kind.is_some_and(|kind| block_text::write(declared, kind, out)) {
        return;
    }
    append::one_line(declared.ty().name().as_bytes(), out);
    for (name, value) in declared.iter() {
        out.push(b' ');
        append::one_line(name.as_bytes(), out);
        out.push(b'=');
        match value {
            Value::Unsigned(value) => write_number(*value, out),
            Value::Signed(value) => append::signed(*value, out),
            Value::Bool(value) => append::flag(*value, out),
            Value::Text(text) => append::one_line(text, out),
        }
    }
}

const AF_UNIX: u16 = 1;

/// How long an answer took, where that is known.
fn after(latency_ns: u64, out: &mut Vec<u8>) -> std::io::Result<()> {
    match latency_ns {
        0 => Ok(()),
        latency_ns => write!(out, ", after {} µs", latency_ns / 1000),
    }
}

/// How long a call took, where that is known.
fn lasted(duration_ns: u64, out: &mut Vec<u8>) -> std::io::Result<()> {
    match duration_ns {
        0 => Ok(()),
        1..1_000 => write!(out, ", took {duration_ns} ns"),
        _ => write!(out, ", took {} µs", duration_ns / 1000),
    }
}

fn name(view: &EventView<'_>, nr: u32, out: &mut Vec<u8>) {
    match syscalls::name(view.state.arch(), nr) {
        Some(name) => out.extend_from_slice(name.as_bytes()),
        None => {
            let _ = match nr {
                syscalls::I386.. => write!(out, "i386_syscall_{}", nr ^ syscalls::I386),
                syscalls::X32.. => write!(out, "x32_syscall_{}", nr ^ syscalls::X32),
                nr if nr >> 29 == 1 => write!(out, "io_uring_op_{}", nr ^ syscalls::IO_URING),
                _ => write!(out, "syscall_{nr}"),
            };
        }
    }
}

/// Small numbers as counts and descriptors, small negative ones as such (AT_FDCWD), pointers in hex.
fn write_number(value: u64, out: &mut Vec<u8>) {
    let signed = value as i64;
    // The lower half alone: a 32-bit -1 or AT_FDCWD in a 64-bit register.
    let half = value as u32 as i32;
    if (-4096..0).contains(&signed) {
        append::signed(signed, out);
    } else if value >> 32 == 0 && (-4096..0).contains(&half) {
        append::signed(half.into(), out);
    } else if value < 1 << 20 {
        append::decimal(value, out);
    } else {
        append::hexadecimal(value, out);
    }
}

/// A call with its arguments as numbers.
fn plain(view: &EventView<'_>, call: &Syscall, out: &mut Vec<u8>) -> std::io::Result<()> {
    name(view, call.nr, out);
    out.push(b'(');
    let arity = syscalls::arity(view.state.arch(), call.nr).unwrap_or(6);
    for (index, argument) in call.args.iter().take(usize::from(arity)).enumerate() {
        if index > 0 {
            out.extend_from_slice(b", ");
        }
        write_number(*argument, out);
    }
    out.push(b')');
    result(call.ret, out);
    lasted(call.duration_ns, out)
}

/// Real, effective and saved ids, and capabilities as the kernel prints them.
fn rights(rights: &Rights, out: &mut Vec<u8>) {
    let _ = write!(
        out,
        "uid {}/{}/{} gid {}/{}/{} capabilities {:x}/{:x} in {}",
        rights.uid,
        rights.euid,
        rights.suid,
        rights.gid,
        rights.egid,
        rights.sgid,
        rights.cap_effective,
        rights.cap_permitted,
        rights.user_ns,
    );
}

/// How many calls one event stands for.
fn times(calls: u64, out: &mut Vec<u8>) -> std::io::Result<()> {
    match calls {
        0 | 1 => Ok(()),
        _ => write!(out, " × {calls}"),
    }
}

fn result(ret: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(b" = ");
    match errno::of_result(ret) {
        Some(name) if ret >= -4095 => {
            out.push(b'-');
            out.extend_from_slice(name.as_bytes());
        }
        _ if ret.unsigned_abs() >= 1 << 20 => append::hexadecimal(ret as u64, out),
        _ => append::signed(ret, out),
    }
}

fn marks(marks: trace_format::event::PathMarks, out: &mut Vec<u8>) -> std::io::Result<()> {
    if marks.0 == 0 {
        Ok(())
    } else {
        write!(out, "  ({})", mark_names(marks))
    }
}

fn endpoint(before: &str, endpoint: &Endpoint, out: &mut Vec<u8>) {
    if let Some(address) = address_text(endpoint) {
        let bracketed = address.contains(':');
        let _ = if bracketed {
            write!(out, "{before}[{address}]:{}", endpoint.port)
        } else {
            write!(out, "{before}{address}:{}", endpoint.port)
        };
    }
}

/// The flags whose bits are the same on x86-64 and aarch64; the rest in hex.
fn open_flags(flags: u32, out: &mut Vec<u8>) {
    const NAMES: [(u32, &str); 7] = [
        (0o100, "|O_CREAT"),
        (0o200, "|O_EXCL"),
        (0o1000, "|O_TRUNC"),
        (0o2000, "|O_APPEND"),
        (0o4000, "|O_NONBLOCK"),
        (0o2000000, "|O_CLOEXEC"),
        (0o10000000, "|O_PATH"),
    ];
    out.extend_from_slice(match flags & 3 {
        0 => &b"O_RDONLY"[..],
        1 => b"O_WRONLY",
        2 => b"O_RDWR",
        _ => b"O_NOACCESS",
    });
    let mut rest = flags & !3;
    for (bit, name) in NAMES {
        if rest & bit != 0 {
            rest &= !bit;
            out.extend_from_slice(name.as_bytes());
        }
    }
    if rest != 0 {
        out.push(b'|');
        append::hexadecimal(rest.into(), out);
    }
}
