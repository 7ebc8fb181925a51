//! What `known-sequence` says it did, against what the trace says: the same acts, in the same order,
//! by the same threads, no more and no fewer. Every difference is one line of text.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde_json::Value;
use trace_format::syscalls::{self, Arch};
use trace_format::{Endpoint, Event, EventData, SockCall};

use super::recording::Recording;

const ECONNREFUSED: i64 = 111;
const TCP_ESTABLISHED: u8 = 1;
const TCP_SYN_SENT: u8 = 2;
/// As the guest's recorder is started.
const SNAPLEN: usize = 7;

/// Parsed from the program's own words.
pub struct Known {
    pid: u32,
    threads: Vec<Thread>,
}

struct Thread {
    tid: u32,
    opens: Vec<String>,
    unlinks: Vec<String>,
    /// (own port, other port) of connections that were made.
    connects: Vec<(u16, u16)>,
    /// Ports that refused.
    refused: Vec<u16>,
    /// (argument, result) of calls of getpid through the 32-bit entry.
    i386: Vec<(u64, u64)>,
    execs: Vec<Child>,
}

struct Child {
    pid: u32,
    path: String,
    arg: String,
    code: u32,
}

impl Known {
    pub fn parse(json: &str) -> Result<Self> {
        let all: Value = serde_json::from_str(json)
            .with_context(|| format!("known-sequence printed no JSON: {json:?}"))?;
        let threads = all["threads"]
            .as_array()
            .context("no threads in the known sequence")?;
        Ok(Self {
            pid: number(&all["pid"])?,
            threads: threads.iter().map(Thread::parse).collect::<Result<_>>()?,
        })
    }

    fn children(&self) -> impl Iterator<Item = (u32, &Child)> {
        self.threads
            .iter()
            .flat_map(|t| t.execs.iter().map(move |child| (t.tid, child)))
    }
}

impl Thread {
    fn parse(json: &Value) -> Result<Self> {
        let list = |name: &str| {
            json[name]
                .as_array()
                .with_context(|| format!("no `{name}` in the known sequence"))
        };
        let texts = |name: &str| list(name)?.iter().map(text).collect::<Result<Vec<_>>>();
        let connect = |c: &Value| Ok((number(&c["from_port"])?, number(&c["to_port"])?));
        let child = |c: &Value| {
            Ok(Child {
                pid: number(&c["pid"])?,
                path: text(&c["path"])?,
                arg: text(&c["arg"])?,
                code: number(&c["code"])?,
            })
        };
        Ok(Self {
            tid: number(&json["tid"])?,
            opens: texts("opens")?,
            unlinks: texts("unlinks")?,
            connects: list("connects")?
                .iter()
                .map(connect)
                .collect::<Result<_>>()?,
            refused: list("refused")?
                .iter()
                .map(|c| number(&c["to_port"]))
                .collect::<Result<_>>()?,
            i386: list("i386")?
                .iter()
                .map(|call| Ok((number(&call["arg"])?, number(&call["ret"])?)))
                .collect::<Result<_>>()?,
            execs: list("execs")?.iter().map(child).collect::<Result<_>>()?,
        })
    }
}

fn number<T: TryFrom<u64>>(json: &Value) -> Result<T> {
    json.as_u64()
        .and_then(|n| T::try_from(n).ok())
        .with_context(|| format!("{json} is not a number in range"))
}

fn text(json: &Value) -> Result<String> {
    Ok(json
        .as_str()
        .with_context(|| format!("{json} is not a text"))?
        .to_owned())
}

/// All differences; none means that the recording is exact.
pub fn differences(known: &Known, recording: &Recording, container_id: &str) -> Vec<String> {
    let mut found = Vec::new();
    whole(recording, &mut found);
    every_loss_is_counted(recording, &mut found);
    acts(known, recording, &mut found);
    tcp_states(known, recording, &mut found);
    in_container(known, recording, container_id, &mut found);
    found
}

fn whole(recording: &Recording, found: &mut Vec<String>) {
    if !recording.complete {
        found.push("the trace has no summary: it was not finished".into());
    }
    found.extend(
        recording
            .issues
            .iter()
            .map(|issue| format!("the trace is damaged: {issue}")),
    );
    if recording.probes.is_empty() {
        found.push("the trace names no probes".into());
    }
    for probe in recording
        .probes
        .iter()
        .filter(|probe| probe.attached.is_empty())
    {
        found.push(format!(
            "probe {} is not attached: {}",
            probe.name, probe.reason
        ));
    }
}

/// Per CPU and probe: sequence numbers handed out = events in the trace, and nothing dropped at this
/// small load.
fn every_loss_is_counted(recording: &Recording, found: &mut Vec<String>) {
    let Some(loss) = &recording.loss else {
        found.push("the trace has no loss record".into());
        return;
    };
    let mut events: BTreeMap<(u16, u8), u64> = BTreeMap::new();
    // Probe 0 is no probe: samples, which the recorder takes itself.
    for event in recording.events.iter().filter(|event| event.probe != 0) {
        *events.entry((event.cpu, event.probe)).or_default() += 1;
    }
    for count in &loss.counts {
        let inside = events.remove(&(count.cpu, count.probe)).unwrap_or(0);
        if count.dropped != 0 || count.seen != inside {
            found.push(format!(
                "CPU {} probe {}: {} seen, {} dropped, {inside} in the trace",
                count.cpu, count.probe, count.seen, count.dropped
            ));
        }
    }
    for ((cpu, probe), inside) in events {
        found.push(format!(
            "CPU {cpu} probe {probe}: {inside} in the trace, none counted"
        ));
    }
}

/// What the sequence says of itself, it writes: the recording has the first bytes of that.
pub fn unheard(known: &Known, said: &str, recording: &Recording) -> Option<String> {
    let said = said.as_bytes();
    let said = &said[..said.len().min(SNAPLEN)];
    let heard = recording.events.iter().any(|event| {
        event.pid == known.pid
            && matches!(&event.data, EventData::Payload(payload) if payload.data.as_bytes() == said)
    });
    (!heard).then(|| {
        format!(
            "no write of {:?} is recorded",
            String::from_utf8_lossy(said)
        )
    })
}

/// Compares per thread, in order; threads are named by what they did, so a stranger doing the same shows.
fn acts(known: &Known, recording: &Recording, found: &mut Vec<String>) {
    let mut expected: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for thread in &known.threads {
        let acts = expected.entry(thread.tid).or_default();
        acts.extend(thread.opens.iter().map(|path| format!("open {path}")));
        acts.extend(
            thread
                .unlinks
                .iter()
                .map(|path| format!("unlink {path} = 0")),
        );
        let connect = |(from, to): &(u16, u16)| format!("connect {from} to {to} = 0");
        acts.extend(thread.connects.iter().map(connect));
        acts.extend(
            thread
                .refused
                .iter()
                .map(|to| format!("connect to {to} = -{ECONNREFUSED}")),
        );
        let i386 = |(argument, result): &(u64, u64)| format!("i386 20({argument}) = {result}");
        acts.extend(thread.i386.iter().map(i386));
        acts.extend(
            thread
                .execs
                .iter()
                .map(|child| format!("fork {}", child.pid)),
        );
    }
    for (_, child) in known.children() {
        let acts = expected.entry(child.pid).or_default();
        let ppid = known.pid;
        acts.push(format!("exec {} {} by {ppid}", child.path, child.arg));
        acts.push(format!("exit {} signal 0", child.code));
    }
    let mut seen: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for event in &recording.events {
        if let Some(act) = act(known, event) {
            seen.entry(event.tid).or_default().push(act);
        }
    }
    for (tid, expected) in &expected {
        let seen = seen.remove(tid).unwrap_or_default();
        if *expected != seen {
            found.push(first_difference(*tid, expected, &seen));
        }
    }
    for (tid, acts) in seen {
        found.push(format!(
            "thread {tid} was not part of the sequence, but: {}",
            acts.join("; ")
        ));
    }
}

/// The event in the words of the expectation; None for what the sequence does not speak of.
fn act(known: &Known, event: &Event) -> Option<String> {
    let name = |nr: u32| {
        Arch::native()
            .and_then(|arch| syscalls::name(arch, nr))
            .unwrap_or("?")
    };
    let is_child = || known.children().any(|(_, child)| child.pid == event.pid);
    match &event.data {
        EventData::Open(open) => {
            let path = open.path.to_string_lossy();
            let created = open.flags & libc::O_CREAT as u32 != 0 && open.ret >= 0;
            let note = if created { "" } else { " but not created" };
            path.contains("/ks-open-")
                .then(|| format!("open {path}{note}"))
        }
        EventData::PathCall(call) => {
            let path = call.path.to_string_lossy();
            let name = name(call.nr).trim_end_matches("at");
            path.contains("/ks-open-")
                .then(|| format!("{name} {path} = {}", call.ret))
        }
        EventData::SockCall(call) if event.pid == known.pid && name(call.nr) == "connect" => {
            Some(connect(call))
        }
        EventData::Syscall(call) if event.pid == known.pid && call.nr & syscalls::I386 != 0 => {
            let nr = call.nr ^ syscalls::I386;
            Some(format!("i386 {nr}({}) = {}", call.args[0], call.ret))
        }
        EventData::Fork(fork) if event.pid == known.pid && fork.child_pid != known.pid => {
            Some(format!("fork {}", fork.child_pid))
        }
        EventData::Exec(exec) => {
            let (path, args) = (exec.path.to_string_lossy(), exec.args.to_string_lossy());
            let args: Vec<&str> = args.split('\0').filter(|arg| !arg.is_empty()).collect();
            // The program itself is started with options, its children with one name.
            let noop = args.get(1).filter(|arg| arg.starts_with("noop-"))?;
            let rest = if args.len() == 2 {
                ""
            } else {
                " and more arguments"
            };
            Some(format!("exec {path} {noop}{rest} by {}", exec.ppid))
        }
        EventData::Exit(exit) if is_child() => {
            let note = if exit.last_thread {
                ""
            } else {
                " but not as the last thread"
            };
            Some(format!("exit {} signal {}{note}", exit.code, exit.signal))
        }
        _ => None,
    }
}

fn connect(call: &SockCall) -> String {
    let loopback = |end: &Endpoint| *end.addr == [127, 0, 0, 1];
    let note = if loopback(&call.remote) {
        ""
    } else {
        " but not on loopback"
    };
    let (from, to, ret) = (call.local.port, call.remote.port, call.ret);
    // A refused socket has lost its own address by the time the call returns.
    if ret == 0 {
        format!("connect {from} to {to} = 0{note}")
    } else {
        format!("connect to {to} = {ret}{note}")
    }
}

/// Each connection that was made shows its client's way from SYN_SENT to ESTABLISHED once, with the
/// time it took, owned by the thread's process.
fn tcp_states(known: &Known, recording: &Recording, found: &mut Vec<String>) {
    for (from, to) in known.threads.iter().flat_map(|thread| &thread.connects) {
        let established: Vec<_> = recording
            .events
            .iter()
            .filter_map(|event| match &event.data {
                EventData::TcpState(tcp)
                    if (tcp.old, tcp.new) == (TCP_SYN_SENT, TCP_ESTABLISHED)
                        && (tcp.local.port, tcp.remote.port) == (*from, *to) =>
                {
                    Some((event.pid, tcp.latency_ns))
                }
                _ => None,
            })
            .collect();
        match established[..] {
            [(pid, latency_ns)] if pid == known.pid && latency_ns > 0 => {}
            _ => found.push(format!(
                "connection {from} to {to}: expected one ESTABLISHED by {} with a latency, \
                 found (pid, latency) {established:?}",
                known.pid
            )),
        }
    }
}

/// Every event of the sequence's process and children happened in its container.
fn in_container(known: &Known, recording: &Recording, id: &str, found: &mut Vec<String>) {
    let containers: Vec<u64> = recording
        .containers
        .values()
        .filter(|c| c.id == id)
        .map(|c| c.cgroup_id)
        .collect();
    let [cgroup_id] = containers[..] else {
        found.push(format!(
            "container {id} has {} cgroups in the trace",
            containers.len()
        ));
        return;
    };
    let mut pids: Vec<u32> = known.children().map(|(_, child)| child.pid).collect();
    pids.push(known.pid);
    let outside = recording.events.iter().find(|event| {
        // Before its first exec the shell that started it moved into the container.
        let entered = !matches!(event.data, EventData::TcpState(_)) && act(known, event).is_some();
        entered && pids.contains(&event.pid) && event.cgroup_id != cgroup_id
    });
    if let Some(event) = outside {
        found.push(format!(
            "not in container {id} (cgroup {cgroup_id}): {event:?}"
        ));
    }
}

fn first_difference(tid: u32, expected: &[String], seen: &[String]) -> String {
    let at = expected
        .iter()
        .zip(seen)
        .take_while(|(a, b)| a == b)
        .count();
    let word = |acts: &[String]| {
        acts.get(at)
            .cloned()
            .unwrap_or_else(|| "nothing more".into())
    };
    format!(
        "thread {tid}: act {at} of {} expected and {} recorded: expected `{}`, recorded `{}`",
        expected.len(),
        seen.len(),
        word(expected),
        word(seen)
    )
}

#[cfg(test)]
#[path = "expectation_tests.rs"]
mod tests;
