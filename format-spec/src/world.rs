//! The context at one moment: what a checkpoint written now would hold.
//!
//! A fold over context records and over the events that change what those say (forks, execs, exits,
//! changes of user and directory). It knows only what Process, Container and the other records can
//! express: descriptors and what a detector remembers are not context. Bounded; what does not fit is
//! forgotten and counted, never guessed.

use std::collections::BTreeMap;

use crate::{
    Clock, Container, Context, Drops, Event, EventData, Host, Loss, Origin, PathCall, Probes,
    Process, SnapshotDetails, Syscall,
    syscalls::{self, Arch},
};

/// Processes, users and cgroups, each: twice the kernel's default `pid_max`.
const ENTRIES_MAX: usize = 65_536;
/// What the processes' strings may take: a checkpoint has to stand in one chunk.
const BYTES_MAX: usize = 10 << 20;
/// Ancestors that are walked: real trees are some ten deep; damage could make a circle.
const LINEAGE_MAX: usize = 64;

/// A process and how often what is known of it changed.
pub(crate) struct Known {
    pub process: Process,
    pub version: u64,
}

#[derive(Default)]
pub(crate) struct World {
    host: Option<Host>,
    clock: Option<Clock>,
    probes: Option<Probes>,
    loss: Option<Loss>,
    drops: Option<Drops>,
    users: BTreeMap<u32, String>,
    containers: BTreeMap<u64, Container>,
    origins: BTreeMap<u32, Origin>,
    processes: BTreeMap<u32, Known>,
    bytes: usize,
    version: u64,
    /// Entries for which there was no room.
    pub forgotten: u64,
}

impl World {
    pub fn context(&mut self, body: &Context) {
        match body {
            Context::Host(host) => self.host = Some(host.clone()),
            Context::Clock(clock) => self.clock = Some(*clock),
            Context::Probes(probes) => self.probes = Some(probes.clone()),
            Context::Loss(loss) => self.loss = Some(loss.clone()),
            Context::Drops(drops) => self.drops = Some(drops.clone()),
            Context::Process(process) => self.put(process.clone()),
            Context::User(user) => {
                if self.users.len() < ENTRIES_MAX || self.users.contains_key(&user.uid) {
                    self.users.insert(user.uid, user.name.clone());
                } else {
                    self.forgotten += 1;
                }
            }
            Context::Container(container) => {
                let id = container.cgroup_id;
                if self.containers.len() < ENTRIES_MAX || self.containers.contains_key(&id) {
                    self.containers.insert(id, container.clone());
                } else {
                    self.forgotten += 1;
                }
            }
            Context::Origin(origin) if self.origins.len() < ENTRIES_MAX => {
                self.origins.insert(origin.source, origin.clone());
            }
            _ => {}
        }
    }

    pub fn event(&mut self, event: &Event) {
        match &event.data {
            EventData::Fork(fork) if fork.child_pid != event.pid => {
                // Of a child whose parent is not known nothing is known but its pid.
                if let Some(parent) = self.processes.get(&event.pid) {
                    let child = Process {
                        pid: fork.child_pid,
                        ppid: event.pid,
                        start_ns: fork.child_start_ns,
                        cgroup_id: event.cgroup_id,
                        ns_pid: fork.child_ns_tid,
                        ..parent.process.clone()
                    };
                    self.put(child);
                }
            }
            EventData::Exec(exec) => {
                let before = self.processes.get(&event.pid).map(|known| &known.process);
                let process = Process {
                    pid: event.pid,
                    ppid: exec.ppid,
                    start_ns: exec.start_ns,
                    uid: exec.uid,
                    gid: exec.gid,
                    cgroup_id: event.cgroup_id,
                    comm: exec.comm.to_vec(),
                    exe: exec.path.to_vec(),
                    args: exec.args.to_vec(),
                    cwd: match exec.details.as_deref() {
                        Some(details) if !details.cwd.is_empty() => details.cwd.to_vec(),
                        _ => before.map_or_else(Vec::new, |process| process.cwd.clone()),
                    },
                    ns_pid: match exec.details.as_deref() {
                        Some(details) if details.ns_pid != 0 => details.ns_pid,
                        _ => before.map_or(0, |process| process.ns_pid),
                    },
                    details: exec.details.as_deref().map(|details| {
                        Box::new(SnapshotDetails {
                            process: details.process,
                            dev: exec.dev,
                            ino: exec.ino,
                            flags: exec.flags,
                        })
                    }),
                };
                self.put(process);
            }
            EventData::Exit(exit) if exit.last_thread => {
                if let Some(known) = self.processes.remove(&event.pid) {
                    self.bytes -= bytes(&known.process);
                }
            }
            EventData::Syscall(call) if call.ret >= 0 => self.identity(event.pid, call),
            EventData::PathCall(call) if call.ret == 0 => self.directory(event.pid, call),
            EventData::Cgroup(change) if change.removed => {
                self.containers.remove(&change.id);
            }
            _ => {}
        }
    }

    /// setuid and its like change who a process is.
    fn identity(&mut self, pid: u32, call: &Syscall) {
        let (is_user, argument) = match syscalls::name(self.arch(), call.nr) {
            Some("setsid") => return self.leads(pid),
            Some("setuid") => (true, 0),
            Some("setreuid" | "setresuid") => (true, 1),
            Some("setgid") => (false, 0),
            Some("setregid" | "setresgid") => (false, 1),
            _ => return,
        };
        let id = call.args[argument] as u32;
        if id == u32::MAX {
            return; // Not changed.
        }
        self.change(pid, |process| {
            if is_user {
                process.uid = id;
            } else {
                process.gid = id;
            }
        });
    }

    /// After setsid: a process group of its own, without a terminal.
    fn leads(&mut self, pid: u32) {
        self.change(pid, |process| {
            let ns_pid = process.ns_pid;
            if let Some(details) = &mut process.details {
                details.process.leads(pid, ns_pid);
            }
        });
    }

    fn directory(&mut self, pid: u32, call: &PathCall) {
        if syscalls::name(self.arch(), call.nr) == Some("chdir") && call.path.starts_with(b"/") {
            self.change(pid, |process| process.cwd = call.path.to_vec());
        }
    }

    fn change(&mut self, pid: u32, change: impl FnOnce(&mut Process)) {
        if let Some(known) = self.processes.get(&pid) {
            let mut process = known.process.clone();
            change(&mut process);
            self.put(process);
        }
    }

    fn put(&mut self, process: Process) {
        let pid = process.pid;
        if let Some(before) = self.processes.remove(&pid) {
            self.bytes -= bytes(&before.process);
        }
        let taken = self.bytes + bytes(&process);
        if taken > BYTES_MAX || self.processes.len() >= ENTRIES_MAX {
            self.forgotten += 1;
            return;
        }
        self.bytes = taken;
        self.version += 1;
        let version = self.version;
        self.processes.insert(pid, Known { process, version });
    }

    fn arch(&self) -> Arch {
        self.host
            .as_ref()
            .and_then(|host| Arch::from_name(&host.arch))
            .unwrap_or_default()
    }

    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        self.processes.values().map(|known| &known.process)
    }

    pub fn process(&self, pid: u32) -> Option<&Known> {
        self.processes.get(&pid)
    }

    /// The process and its ancestors, oldest first.
    pub fn lineage(&self, pid: u32) -> Vec<&Known> {
        let mut lineage = Vec::new();
        let mut next = pid;
        while lineage.len() < LINEAGE_MAX
            && next != 0
            && let Some(known) = self.processes.get(&next)
        {
            lineage.push(known);
            next = known.process.ppid;
        }
        lineage.reverse();
        lineage
    }

    /// Everything a reader needs to start here, and the loss so far, which is no part of that. Of
    /// processes and containers those that are wanted.
    pub fn checkpoint(
        &self,
        process: impl Fn(&Process) -> bool,
        container: impl Fn(&Container) -> bool,
    ) -> Vec<Context> {
        let mut bodies: Vec<Context> = self
            .origins
            .values()
            .cloned()
            .map(Context::Origin)
            .collect();
        bodies.push(Context::CheckpointBegin);
        bodies.extend(self.host.clone().map(Context::Host));
        bodies.extend(self.clock.map(Context::Clock));
        bodies.extend(self.probes.clone().map(Context::Probes));
        bodies.extend(self.users.iter().map(|(uid, name)| {
            Context::User(crate::User {
                uid: *uid,
                name: name.clone(),
            })
        }));
        let containers = self.containers.values().filter(|it| container(it));
        bodies.extend(containers.cloned().map(Context::Container));
        // Parents first: they started first.
        let mut processes: Vec<&Process> = self
            .processes
            .values()
            .map(|known| &known.process)
            .filter(|it| process(it))
            .collect();
        processes.sort_by_key(|process| (process.start_ns, process.pid));
        bodies.extend(processes.into_iter().cloned().map(Context::Process));
        bodies.push(Context::CheckpointEnd);
        bodies.extend(self.loss.clone().map(Context::Loss));
        bodies.extend(self.drops.clone().map(Context::Drops));
        bodies
    }
}

fn bytes(process: &Process) -> usize {
    // The fixed fields and the frame of the record too.
    256 + process.comm.len() + process.exe.len() + process.args.len() + process.cwd.len()
}
