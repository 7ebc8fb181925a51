//! An event as one line for people: time, container, process, what happened. `replay cat` prints it.

use std::fmt::Write;
use trace_format::{EventData, Value, event::Endpoint};

use crate::{
    append::{self, OfSecond},
    event_names::{address_text, arguments, family_text, mark_names, tcp_state},
    event_view::EventView,
    findings::one_line,
    import::block_text,
    resolve::State,
    syscalls::{self, errno},
};

/// Writes lines; remembers what most lines share with the one before.
#[derive(Default)]
pub struct LineWriter {
    of_second: OfSecond,
}

impl LineWriter {
    /// Appends the line, without the newline.
    pub fn write(&mut self, view: &EventView<'_>, out: &mut String) {
        let event = view.event;
        append::time(view.wall_ns(), event.boot_ns, &mut self.of_second, out);
        out.push_str("  ");
        let container = match (event.cgroup_id, view.container) {
            (0, _) => "-",
            (_, container) => State::label_of(container),
        };
        append::one_line_padded(container, CONTAINER_WIDTH, out);
        out.push_str("  ");
        match (event.pid, view.process) {
            (0, _) => out.push('-'),
            (pid, process) => {
                match process {
                    Some(process) => append::one_line(&process.comm, out),
                    None => out.push('?'),
                }
                out.push('(');
                append::decimal(pid.into(), out);
                if event.tid != pid {
                    out.push('/');
                    append::decimal(event.tid.into(), out);
                }
                out.push(')');
            }
        }
        out.push_str("  ");
        write_what(view, out);
    }
}

/// Of most names, so that the columns after it line up.
const CONTAINER_WIDTH: usize = 12;

fn write_what(view: &EventView<'_>, out: &mut String) {
    // Writing into a String cannot fail.
    let _ = match &view.event.data {
        EventData::Syscall(call) => {
            name(view, call.nr, out);
            out.push('(');
            let arity = syscalls::arity(view.state.arch(), call.nr).unwrap_or(6);
            for (index, argument) in call.args.iter().take(usize::from(arity)).enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                write_number(*argument, out);
            }
            out.push(')');
            result(call.ret, out);
            Ok(())
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
            match exit.signal {
                0 => write!(out, "exit of {who}, code {}", exit.code),
                signal => write!(out, "exit of {who}, signal {signal}"),
            }
        }
        EventData::Open(open) => {
            name(view, open.nr, out);
            out.push('(');
            append::one_line(&open.path, out);
            out.push_str(", ");
            open_flags(open.flags, out);
            const O_CREAT: u32 = 0o100;
            if open.flags & O_CREAT != 0 {
                let _ = write!(out, ", {:#o}", open.mode);
            }
            out.push(')');
            result(open.ret, out);
            marks(open.marks, out)
        }
        EventData::PathCall(call) => {
            name(view, call.nr, out);
            out.push('(');
            append::one_line(&call.path, out);
            if !call.path2.is_empty() {
                out.push_str(", ");
                append::one_line(&call.path2, out);
            }
            if call.arg != 0 {
                let _ = write!(out, ", {:#o}", call.arg);
            }
            out.push(')');
            result(call.ret, out);
            marks(call.marks, out)
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
            out.push(')');
            result(call.ret, out);
            marks(call.marks, out)
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
        }
        EventData::Cgroup(change) => {
            let verb = if change.removed { "removed" } else { "made" };
            write!(
                out,
                "cgroup {} {verb}: {}",
                change.id,
                one_line(&change.path.to_string_lossy())
            )
        }
        EventData::Sample(sample) => write!(
            out,
            "sample: cpu {} ms, throttled {} ms, memory {} KiB, pids {}, read {} KiB, written {} KiB",
            sample.cpu_ns / 1_000_000,
            sample.throttled_ns / 1_000_000,
            sample.memory_bytes / 1024,
            sample.pids,
            sample.io_read_bytes / 1024,
            sample.io_write_bytes / 1024
        ),
        EventData::Declared(declared) if block_text::write(declared, out) => Ok(()),
        EventData::Declared(declared) => {
            append::one_line(declared.ty().name().as_bytes(), out);
            for (name, value) in declared.iter() {
                out.push(' ');
                append::one_line(name.as_bytes(), out);
                out.push('=');
                match value {
                    Value::Unsigned(value) => write_number(*value, out),
                    Value::Signed(value) => append::signed(*value, out),
                    Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
                    Value::Text(text) => append::one_line(text, out),
                }
            }
            Ok(())
        }
    };
}

fn name(view: &EventView<'_>, nr: u32, out: &mut String) {
    match syscalls::name(view.state.arch(), nr) {
        Some(name) => out.push_str(name),
        None => {
            let _ = match nr {
                syscalls::I386.. => write!(out, "i386_syscall_{}", nr ^ syscalls::I386),
                syscalls::X32.. => write!(out, "x32_syscall_{}", nr ^ syscalls::X32),
                _ => write!(out, "syscall_{nr}"),
            };
        }
    }
}

/// Small numbers as counts and descriptors, small negative ones as such (AT_FDCWD), pointers in hex.
fn write_number(value: u64, out: &mut String) {
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

fn result(ret: i64, out: &mut String) {
    out.push_str(" = ");
    match errno::of_result(ret) {
        Some(name) if ret >= -4095 => {
            out.push('-');
            out.push_str(name);
        }
        _ if ret.unsigned_abs() >= 1 << 20 => append::hexadecimal(ret as u64, out),
        _ => append::signed(ret, out),
    }
}

fn marks(marks: trace_format::event::PathMarks, out: &mut String) -> std::fmt::Result {
    if marks.0 == 0 {
        Ok(())
    } else {
        write!(out, "  ({})", mark_names(marks))
    }
}

fn endpoint(before: &str, endpoint: &Endpoint, out: &mut String) {
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
fn open_flags(flags: u32, out: &mut String) {
    const NAMES: [(u32, &str); 7] = [
        (0o100, "|O_CREAT"),
        (0o200, "|O_EXCL"),
        (0o1000, "|O_TRUNC"),
        (0o2000, "|O_APPEND"),
        (0o4000, "|O_NONBLOCK"),
        (0o2000000, "|O_CLOEXEC"),
        (0o10000000, "|O_PATH"),
    ];
    out.push_str(match flags & 3 {
        0 => "O_RDONLY",
        1 => "O_WRONLY",
        2 => "O_RDWR",
        _ => "O_NOACCESS",
    });
    let mut rest = flags & !3;
    for (bit, name) in NAMES {
        if rest & bit != 0 {
            rest &= !bit;
            out.push_str(name);
        }
    }
    if rest != 0 {
        out.push('|');
        append::hexadecimal(rest.into(), out);
    }
}
