//! What a trace shows of each act: a tally of its signals within the act and before it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::IpAddr,
};

use trace_format::{
    Context, ContextRecord, Event, EventData, Exec, ExecFlags, Open, PathCall, Payload, SockCall,
    Text,
    syscalls::{self, Arch},
};

use crate::{image, signal::Signal};

/// One label's place in the trace.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stretch {
    pub cgroup_id: u64,
    pub start_ns: u64,
    pub end_ns: u64,
    /// How long after the end its counts and samples still come.
    pub late_ns: u64,
}

/// Processes remembered; the oldest knowledge goes when there are more.
const PROCESSES_MAX: usize = 1 << 16;
/// Written paths remembered for "written, then run", and pairs of programs.
const REMEMBERED_MAX: usize = 1 << 16;
/// Moments of connections to one port, and ports.
const MOMENTS_MAX: usize = 256;
const PORTS_MAX: usize = 4096;
/// Distinct values counted.
const DISTINCT_MAX: usize = 1 << 16;
/// Even intervals: their standard deviation against their mean.
const EVEN: f64 = 0.25;

#[derive(Default)]
struct Half {
    counts: HashMap<Signal, u64>,
    ports: HashSet<u16>,
    addresses: HashSet<IpAddr>,
    /// By port: when it was connected to.
    moments: BTreeMap<u16, Vec<u64>>,
}

#[derive(Clone, Copy)]
struct Sampled {
    at_ns: u64,
    cpu_ns: u64,
    throttled_ns: u64,
    memory_bytes: u64,
}

/// One act.
#[derive(Default)]
pub struct Tally {
    stretch: Stretch,
    /// First event of its container.
    since_ns: u64,
    /// Of the time before: what belongs to other acts.
    others_ns: u64,
    before: Half,
    within: Half,
    samples: Vec<Sampled>,
}

impl Tally {
    pub fn within_ns(&self) -> u64 {
        self.stretch.end_ns.saturating_sub(self.stretch.start_ns)
    }

    pub fn before_ns(&self) -> u64 {
        self.stretch
            .start_ns
            .saturating_sub(self.since_ns)
            .saturating_sub(self.others_ns)
    }

    pub fn counts(&self, signal: Signal) -> (u64, u64) {
        let of = |half: &Half| half.counts.get(&signal).copied().unwrap_or(0);
        (of(&self.before), of(&self.within))
    }

    pub fn distinct(&self, signal: Signal) -> (u64, u64) {
        let of = |half: &Half| match signal {
            Signal::DistinctAddresses => half.addresses.len() as u64,
            _ => half.ports.len() as u64,
        };
        (of(&self.before), of(&self.within))
    }

    /// Growth a second, before and within.
    pub fn counter(&self, signal: Signal) -> (f64, f64) {
        let value = |sample: &Sampled| match signal {
            Signal::Throttled => sample.throttled_ns,
            _ => sample.cpu_ns,
        };
        let growth = |from: Option<&Sampled>, to: Option<&Sampled>| match (from, to) {
            (Some(from), Some(to)) if to.at_ns > from.at_ns => {
                value(to).saturating_sub(value(from)) as f64 * 1e9 / (to.at_ns - from.at_ns) as f64
            }
            _ => 0.0,
        };
        let start = self.start_sample();
        (
            growth(self.samples.first(), start),
            growth(start, self.samples.last()),
        )
    }

    /// How far the level rose above where it was, within; and how far it swung before.
    pub fn rise(&self, _signal: Signal) -> (f64, f64) {
        let Some(start) = self.start_sample() else {
            return (0.0, 0.0);
        };
        let level = |sample: &Sampled| sample.memory_bytes as f64;
        let (early, late): (Vec<&Sampled>, Vec<&Sampled>) = self
            .samples
            .iter()
            .partition(|sample| sample.at_ns <= start.at_ns);
        let most = late.into_iter().map(level).fold(0.0, f64::max);
        // The second half of what was before: a container that is just starting grows too.
        let settled = &early[early.len() / 2..];
        let high = settled.iter().copied().map(level).fold(0.0, f64::max);
        let low = settled.iter().copied().map(level).fold(f64::MAX, f64::min);
        ((high - low).max(0.0), (most - level(start)).max(0.0))
    }

    /// Connections at even intervals, to one port before the act and within it: of all ports, the one
    /// where they grew most. Normal work that keeps time by chance goes to a port of its own.
    pub fn regular(&self) -> (u64, u64) {
        let before = |port| self.before.moments.get(port).map_or(0, |at| even(at));
        self.within
            .moments
            .iter()
            .map(|(port, at)| (before(port), even(at)))
            .max_by_key(|(before, within)| within.saturating_sub(*before))
            .unwrap_or((0, 0))
    }

    /// The last sample before the act.
    fn start_sample(&self) -> Option<&Sampled> {
        self.samples
            .iter()
            .rfind(|sample| sample.at_ns <= self.stretch.start_ns)
            .or(self.samples.first())
    }
}

/// How many, if their intervals are even; else 0.
fn even(moments: &[u64]) -> u64 {
    let gaps: Vec<f64> = moments
        .windows(2)
        .map(|pair| pair[1].saturating_sub(pair[0]) as f64)
        .collect();
    if gaps.len() < 2 {
        return 0;
    }
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
    match mean > 0.0 && variance.sqrt() <= EVEN * mean {
        true => moments.len() as u64,
        false => 0,
    }
}

/// Reads a trace record by record.
pub struct Tracker {
    tallies: Vec<Tally>,
    by_cgroup: HashMap<u64, Vec<usize>>,
    arch: Arch,
    /// Executable of a process.
    programs: HashMap<u32, Text>,
    parents: HashMap<u32, u32>,
    /// Sockets of a process.
    sockets: HashSet<(u32, i32)>,
    written: HashSet<(u64, Text)>,
    /// By call, key, id and namespace: the container that made it.
    objects: HashMap<(u32, u64, i64, u32), u64>,
    edges: HashSet<(u64, Text, Text)>,
}

impl Tracker {
    pub fn new(stretches: Vec<Stretch>) -> Tracker {
        let mut by_cgroup: HashMap<u64, Vec<usize>> = HashMap::new();
        for (place, stretch) in stretches.iter().enumerate() {
            by_cgroup.entry(stretch.cgroup_id).or_default().push(place);
        }
        let others = |own: &Stretch| {
            stretches
                .iter()
                .filter(|other| other.cgroup_id == own.cgroup_id && other.start_ns != 0)
                .filter(|other| other.end_ns <= own.start_ns)
                .map(|other| other.end_ns - other.start_ns)
                .sum()
        };
        let tallies = stretches
            .iter()
            .map(|stretch| Tally {
                stretch: *stretch,
                since_ns: stretch.start_ns,
                others_ns: others(stretch),
                before: Half::default(),
                within: Half::default(),
                samples: Vec::new(),
            })
            .collect();
        Tracker {
            tallies,
            by_cgroup,
            arch: Arch::native().unwrap_or_default(),
            programs: HashMap::new(),
            parents: HashMap::new(),
            sockets: HashSet::new(),
            written: HashSet::new(),
            objects: HashMap::new(),
            edges: HashSet::new(),
        }
    }

    pub fn tallies(self) -> Vec<Tally> {
        self.tallies
    }

    pub fn context(&mut self, record: &ContextRecord) {
        match &record.body {
            Context::Host(host) => {
                if let Some(arch) = Arch::from_name(&host.arch) {
                    self.arch = arch;
                }
            }
            Context::Process(process) => {
                self.name(process.pid, Text::new(&process.exe));
            }
            _ => {}
        }
    }

    fn name(&mut self, pid: u32, program: Text) {
        if self.programs.len() >= PROCESSES_MAX {
            self.programs.clear();
        }
        self.programs.insert(pid, program);
    }

    pub fn event(&mut self, event: &Event) {
        if let EventData::Fork(fork) = &event.data
            && fork.child_pid == fork.child_tid
        {
            if let Some(program) = self.programs.get(&event.pid).cloned() {
                self.name(fork.child_pid, program);
            }
            if self.parents.len() >= PROCESSES_MAX {
                self.parents.clear();
            }
            self.parents.insert(fork.child_pid, event.pid);
        }
        let maker = self.maker(event);
        if !self.by_cgroup.contains_key(&event.cgroup_id) {
            if let EventData::Exec(exec) = &event.data {
                self.name(event.pid, exec.path.clone());
            }
            return;
        }
        let mut seen = Seen::default();
        self.look(event, &mut seen);
        seen.count_if(
            maker.is_some_and(|maker| maker != event.cgroup_id),
            Signal::IpcAcross,
        );
        let late = matches!(
            event.data,
            EventData::SyscallCount(_) | EventData::Sample(_)
        );
        let places = &self.by_cgroup[&event.cgroup_id];
        // What another act of the container did is not what was before.
        let of_an_act = places.iter().any(|place| {
            let stretch = &self.tallies[*place].stretch;
            (stretch.start_ns..stretch.end_ns + stretch.late_ns).contains(&event.boot_ns)
        });
        for place in places {
            self.tallies[*place].take(event, &seen, late, of_an_act);
        }
    }

    /// Who made the object of System V IPC that was asked for, of any container.
    fn maker(&mut self, event: &Event) -> Option<u64> {
        let EventData::Ipc(call) = &event.data else {
            return None;
        };
        if !matches!(
            syscalls::name(self.arch, call.nr)?,
            "msgget" | "shmget" | "semget"
        ) {
            return None;
        }
        let key = u64::from(call.key);
        if key == libc::IPC_PRIVATE as u64 || call.ret < 0 {
            return None;
        }
        let object = (call.nr, key, call.ret, call.namespace);
        if call.arg & libc::IPC_CREAT as u64 != 0 && self.objects.len() < REMEMBERED_MAX {
            self.objects.entry(object).or_insert(event.cgroup_id);
        }
        self.objects.get(&object).copied()
    }

    /// Which signals an event is.
    fn look(&mut self, event: &Event, seen: &mut Seen) {
        match &event.data {
            EventData::Fork(fork) => seen.count(match fork.child_pid == fork.child_tid {
                true => Signal::ForkRate,
                false => Signal::ThreadRate,
            }),
            EventData::Exit(exit) if exit.last_thread => {
                seen.count(Signal::ExitRate);
                seen.count_if(exit.code != 0 || exit.signal != 0, Signal::FailedExits);
                seen.count_if(exit.signal == libc::SIGKILL as u32, Signal::KilledExits);
                self.sockets.retain(|(pid, _)| *pid != event.pid);
            }
            EventData::Exec(exec) => self.look_at_exec(event, exec, seen),
            EventData::Open(open) => self.look_at_open(event, open, seen),
            EventData::PathCall(call) => self.look_at_path(call, seen),
            EventData::SockCall(call) => self.look_at_socket(event, call, seen),
            // TCP_SYN_SENT to TCP_CLOSE: include/net/tcp_states.h.
            EventData::TcpState(state) => {
                seen.count_if((state.old, state.new) == (2, 7), Signal::ConnectRefused);
            }
            EventData::Syscall(call) | EventData::Payload(Payload { call, .. }) => {
                self.look_at_call(event, call.nr, call.ret, &call.args, seen)
            }
            EventData::Ipc(call) => {
                let name = syscalls::name(self.arch, call.nr);
                let makes = matches!(name, Some("shmget" | "msgget" | "semget"));
                seen.count_if(makes, Signal::IpcCalls);
            }
            EventData::ProcessAccess(call) => {
                let traces = syscalls::name(self.arch, call.nr) == Some("ptrace");
                seen.count_if(traces, Signal::PtraceCalls);
            }
            EventData::SyscallCount(count) => {
                if let Some(signal) = self.called(count.nr) {
                    seen.signals.push((signal, count.calls));
                }
            }
            _ => {}
        }
    }

    fn look_at_exec(&mut self, event: &Event, exec: &Exec, seen: &mut Seen) {
        let path = exec.path.clone();
        seen.count(Signal::ExecRate);
        let born = path.starts_with(image::SCRATCH.as_bytes());
        seen.count_if(
            born || exec.flags.has(ExecFlags::UPPER_LAYER),
            Signal::ExecNewFile,
        );
        seen.count_if(exec.flags.has(ExecFlags::MEMFD), Signal::ExecMemory);
        let key = (event.cgroup_id, path.clone());
        seen.count_if(self.written.contains(&key), Signal::WriteThenExec);
        let called = if exec.filename.is_empty() {
            &path
        } else {
            &exec.filename
        };
        let name = called
            .rsplit(|byte| *byte == b'/')
            .next()
            .unwrap_or_default();
        seen.count_if(
            [&b"sh"[..], b"bash", b"dash", b"ash"].contains(&name),
            Signal::ShellExec,
        );
        seen.begins |= name == b"appd";
        // By the names under which they were called: in our image all are links to one file.
        let parent = self.programs.get(&event.pid).cloned().unwrap_or_default();
        let edge = (event.cgroup_id, parent, called.clone());
        if self.edges.len() < REMEMBERED_MAX {
            seen.count_if(self.edges.insert(edge), Signal::NewEdge);
        }
        let called = called.clone();
        self.name(event.pid, called);
    }

    fn look_at_open(&mut self, event: &Event, open: &Open, seen: &mut Seen) {
        let path = &open.path;
        seen.count(Signal::OpenRate);
        if let Ok(fd) = i32::try_from(open.ret) {
            // A number that was a socket's before is not any more.
            self.sockets.remove(&(event.pid, fd));
        }
        seen.count_if(open.ret == -i64::from(libc::EMFILE), Signal::OpenExhausted);
        seen.count_if(is_secret(path), Signal::SensitiveOpen);
        seen.count_if(
            path.starts_with(b"/proc/") && path.ends_with(b"/mem"),
            Signal::ProcMemOpen,
        );
        let writes = open.flags as i32 & libc::O_ACCMODE != libc::O_RDONLY;
        if writes {
            let starts = contains(path, b"/cron") || path.ends_with(b"/ld.so.preload");
            seen.count_if(starts, Signal::PersistenceWrite);
            if open.ret >= 0 && self.written.len() < REMEMBERED_MAX {
                self.written.insert((event.cgroup_id, path.clone()));
            }
        }
        let truncates = open.flags as i32 & libc::O_TRUNC != 0;
        seen.count_if(truncates && is_log(path), Signal::LogTruncate);
    }

    fn look_at_path(&mut self, call: &PathCall, seen: &mut Seen) {
        let Some(name) = syscalls::name(self.arch, call.nr) else {
            return;
        };
        match name {
            "unlink" | "unlinkat" | "rmdir" => seen.count(Signal::UnlinkRate),
            "rename" | "renameat" | "renameat2" => seen.count(Signal::RenameRate),
            "truncate" => seen.count_if(is_log(&call.path), Signal::LogTruncate),
            "chmod" | "fchmodat" => seen.count_if(call.arg & 0o6000 != 0, Signal::SetuidFile),
            "mount" => seen.count_if(call.ret < 0, Signal::MountRefused),
            _ => {}
        }
    }

    fn look_at_socket(&mut self, event: &Event, call: &SockCall, seen: &mut Seen) {
        match syscalls::name(self.arch, call.nr) {
            Some("connect") => {
                seen.count_if(call.remote.port == 53, Signal::DnsRate);
                seen.count_if(call.remote.port == 3333, Signal::MiningPort);
                if call.remote.port != 0 {
                    seen.count(Signal::ConnectRate);
                    seen.port = Some(call.remote.port);
                    seen.address = address(&call.remote.addr);
                }
            }
            Some("accept" | "accept4") => seen.count_if(call.ret >= 0, Signal::AcceptRate),
            Some("socket") => seen.count_if(
                i32::from(call.family) == libc::AF_PACKET,
                Signal::PacketSocket,
            ),
            _ => {}
        }
        if call.fd >= 0 && self.sockets.len() < REMEMBERED_MAX {
            self.sockets.insert((event.pid, call.fd));
        }
    }

    fn look_at_call(&mut self, event: &Event, nr: u32, ret: i64, args: &[u64; 6], seen: &mut Seen) {
        match syscalls::name(self.arch, nr) {
            Some("dup2" | "dup3") => {
                // The child of the process that opened it has it too.
                let parent = self.parents.get(&event.pid).copied().unwrap_or(0);
                let is_socket = i32::try_from(args[0]).is_ok_and(|fd| {
                    [event.pid, parent]
                        .iter()
                        .any(|pid| self.sockets.contains(&(*pid, fd)))
                });
                seen.count_if(is_socket && args[1] <= 2 && ret >= 0, Signal::SocketDup);
            }
            Some("fchmod") => seen.count_if(args[1] & 0o6000 != 0, Signal::SetuidFile),
            Some(
                "setuid" | "setgid" | "setreuid" | "setregid" | "setresuid" | "setresgid"
                | "setgroups" | "capset",
            ) => seen.count(Signal::CredentialCalls),
            Some("unshare" | "setns") => seen.count(Signal::NamespaceCalls),
            Some("init_module" | "finit_module" | "delete_module" | "kexec_load" | "bpf") => {
                seen.count(Signal::KernelCalls)
            }
            Some("memfd_create") => seen.count(Signal::MemfdCalls),
            Some("kill" | "tkill" | "tgkill") => seen.count(Signal::SignalRate),
            _ => {
                // In a trace of every call nothing is counted.
                if let Some(signal) = self.called(nr) {
                    seen.count(signal);
                }
            }
        }
    }

    /// The signal of a call that most profiles only count.
    fn called(&self, nr: u32) -> Option<Signal> {
        match syscalls::name(self.arch, nr)? {
            "write" | "writev" | "pwrite64" | "pwritev" | "pwritev2" => Some(Signal::WriteRate),
            "fsync" | "fdatasync" | "sync_file_range" => Some(Signal::FsyncRate),
            "futex" => Some(Signal::FutexRate),
            "sendto" | "sendmsg" | "sendmmsg" => Some(Signal::SendRate),
            _ => None,
        }
    }
}

/// What one event is.
#[derive(Default)]
struct Seen {
    signals: Vec<(Signal, u64)>,
    port: Option<u16>,
    address: Option<IpAddr>,
    /// The container's own first program: what was before set it up.
    begins: bool,
}

impl Seen {
    fn count(&mut self, signal: Signal) {
        self.signals.push((signal, 1));
    }

    fn count_if(&mut self, is: bool, signal: Signal) {
        if is {
            self.count(signal);
        }
    }
}

impl Tally {
    fn take(&mut self, event: &Event, seen: &Seen, late: bool, of_an_act: bool) {
        let at_ns = event.boot_ns;
        if seen.begins && at_ns < self.stretch.start_ns {
            self.before = Half::default();
            self.since_ns = at_ns;
        }
        self.since_ns = self.since_ns.min(at_ns);
        let end_ns = self.stretch.end_ns + if late { self.stretch.late_ns } else { 0 };
        if let EventData::Sample(sample) = &event.data
            && at_ns <= end_ns
        {
            self.samples.push(Sampled {
                at_ns,
                cpu_ns: sample.cpu_ns,
                throttled_ns: sample.throttled_ns,
                memory_bytes: sample.memory_bytes,
            });
        }
        let half = match at_ns {
            at if (self.stretch.start_ns..=end_ns).contains(&at) => &mut self.within,
            at if at < self.stretch.start_ns && !of_an_act => &mut self.before,
            _ => return,
        };
        for (signal, count) in &seen.signals {
            *half.counts.entry(*signal).or_default() += count;
        }
        if let Some(port) = seen.port {
            if half.ports.len() < DISTINCT_MAX {
                half.ports.insert(port);
            }
            if half.moments.len() < PORTS_MAX {
                let moments = half.moments.entry(port).or_default();
                if moments.len() < MOMENTS_MAX {
                    moments.push(at_ns);
                }
            }
        }
        if let Some(address) = seen.address
            && half.addresses.len() < DISTINCT_MAX
        {
            half.addresses.insert(address);
        }
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => None,
    }
}

fn is_secret(path: &[u8]) -> bool {
    image::DECOYS.iter().any(|(decoy, _)| {
        // /var/run is a link to /run in most images.
        path == decoy.as_bytes() || path == decoy.trim_start_matches("/var").as_bytes()
    })
}

fn is_log(path: &[u8]) -> bool {
    path.starts_with(image::LOGS.as_bytes())
}

fn contains(path: &[u8], part: &[u8]) -> bool {
    path.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_intervals_are_told_from_uneven_ones() {
        assert_eq!(even(&[0, 100, 205, 301]), 4);
        assert_eq!(even(&[0, 100, 900, 905]), 0);
        assert_eq!(even(&[0, 100]), 0, "two are not a rhythm");
        assert_eq!(even(&[5, 5, 5]), 0);
    }

    #[test]
    fn a_rhythm_is_compared_with_its_own_port() {
        let mut tally = Tally::default();
        tally.before.moments.insert(8080, vec![0, 1000, 2000, 3000]);
        tally.within.moments.insert(8080, vec![4000, 5000, 6000]);
        tally
            .within
            .moments
            .insert(4444, (0..5).map(|place| 4000 + 250 * place).collect());
        assert_eq!(tally.regular(), (0, 5), "not what another port did");

        tally.within.moments.remove(&4444);
        assert_eq!(tally.regular(), (4, 3), "the workload alone has not moved");
    }
}
