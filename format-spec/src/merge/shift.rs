//! The ids and times of one source, moved to where they do not coincide with another's. Invertible:
//! SPEC.md §Merged traces.

use crate::{
    Clock, Container, Context, Details, Drops, Event, EventData, Host, Loss, LossCount, Origin,
    Process, Resolution,
};

#[derive(Clone, Debug, Default)]
pub(super) struct Shift {
    pub source: u32,
    pub time_base: u64,
    pub pid_base: u32,
    pub cgroup_base: u64,
    pub cpu_base: u16,
    pub probes: Vec<(u8, u8)>,
}

impl Shift {
    pub fn origin(&self, host: &Host, clock: Clock) -> Origin {
        Origin {
            source: self.source,
            host: host.clone(),
            clock,
            time_base: self.time_base,
            pid_base: self.pid_base,
            cgroup_base: self.cgroup_base,
            cpu_base: self.cpu_base,
            probes: self.probes.clone(),
        }
    }

    /// What the samples of the whole host stand under.
    pub fn host_cgroup(&self) -> Container {
        Container {
            cgroup_id: self.cgroup_base,
            cgroup_path: "/".to_owned(),
            resolution: Resolution::Resolved,
            ..Container::default()
        }
    }

    pub fn time(&self, ns: u64) -> u64 {
        ns.wrapping_add(self.time_base)
    }

    /// An end of a hole: 0 and the largest number mean that there is none.
    pub fn range_end(&self, ns: u64) -> u64 {
        match ns {
            0 | u64::MAX => ns,
            ns => self.time(ns),
        }
    }

    fn start(&self, ns: u64) -> u64 {
        if ns == 0 { 0 } else { self.time(ns) }
    }

    fn pid(&self, pid: u32) -> u32 {
        if pid == 0 {
            0
        } else {
            pid.wrapping_add(self.pid_base)
        }
    }

    fn details(&self, details: &mut Details) {
        details.sid = self.pid(details.sid);
        details.pgid = self.pid(details.pgid);
        details.ns_start_ns = self.start(details.ns_start_ns);
    }

    fn cgroup(&self, id: u64) -> u64 {
        if id == 0 {
            0
        } else {
            id.wrapping_add(self.cgroup_base)
        }
    }

    fn probe(&self, probe: u8) -> u8 {
        match self.probes.binary_search_by_key(&probe, |(from, _)| *from) {
            Ok(place) => self.probes[place].1,
            Err(_) => probe,
        }
    }

    pub fn loss(&self, loss: Loss) -> Loss {
        let counts = loss.counts.into_iter().map(|count| LossCount {
            cpu: count.cpu.wrapping_add(self.cpu_base),
            probe: self.probe(count.probe),
            ..count
        });
        Loss {
            counts: counts.collect(),
        }
    }

    pub fn drops(&self, mut drops: Drops) -> Drops {
        for count in &mut drops.counts {
            count.cgroup_id = self.cgroup(count.cgroup_id);
        }
        drops
    }

    pub fn context(&self, body: Context) -> Context {
        match body {
            Context::Process(process) => Context::Process(Process {
                pid: self.pid(process.pid),
                ppid: self.pid(process.ppid),
                start_ns: self.start(process.start_ns),
                cgroup_id: self.cgroup(process.cgroup_id),
                details: process.details.map(|mut details| {
                    self.details(&mut details.process);
                    details
                }),
                ..process
            }),
            Context::Container(container) => Context::Container(Container {
                cgroup_id: self.cgroup(container.cgroup_id),
                ..container
            }),
            Context::Loss(loss) => Context::Loss(self.loss(loss)),
            Context::Drops(drops) => Context::Drops(self.drops(drops)),
            body => body,
        }
    }

    pub fn event(&self, event: Event) -> Event {
        let data = match event.data {
            EventData::Fork(mut fork) => {
                fork.child_tid = self.pid(fork.child_tid);
                fork.child_pid = self.pid(fork.child_pid);
                fork.child_start_ns = self.start(fork.child_start_ns);
                EventData::Fork(fork)
            }
            EventData::Exec(mut exec) => {
                exec.ppid = self.pid(exec.ppid);
                exec.start_ns = self.start(exec.start_ns);
                if let Some(details) = &mut exec.details {
                    self.details(&mut details.process);
                }
                EventData::Exec(exec)
            }
            EventData::Exit(mut exit) => {
                exit.start_ns = self.start(exit.start_ns);
                EventData::Exit(exit)
            }
            EventData::TcpState(mut change) => {
                change.sock = self.cgroup(change.sock);
                EventData::TcpState(change)
            }
            EventData::TcpEvent(mut event) => {
                event.sock = self.cgroup(event.sock);
                EventData::TcpEvent(event)
            }
            EventData::Peer(mut peer) => {
                peer.peer_pid = self.pid(peer.peer_pid);
                peer.peer_cgroup_id = self.cgroup(peer.peer_cgroup_id);
                EventData::Peer(peer)
            }
            EventData::PassedFd(mut passed) => {
                passed.peer_pid = self.pid(passed.peer_pid);
                passed.peer_cgroup_id = self.cgroup(passed.peer_cgroup_id);
                EventData::PassedFd(passed)
            }
            EventData::Signal(mut signal) => {
                signal.target_tid = self.pid(signal.target_tid);
                signal.target_pid = self.pid(signal.target_pid);
                EventData::Signal(signal)
            }
            EventData::ProcessAccess(mut call) => {
                call.target_pid = self.pid(call.target_pid);
                call.target_tid = self.pid(call.target_tid);
                call.target_cgroup = self.cgroup(call.target_cgroup);
                EventData::ProcessAccess(call)
            }
            EventData::OomKill(mut kill) => {
                kill.trigger_pid = self.pid(kill.trigger_pid);
                EventData::OomKill(kill)
            }
            EventData::Cgroup(mut change) => {
                change.id = self.cgroup(change.id);
                EventData::Cgroup(change)
            }
            data => data,
        };
        let cgroup_id = match data {
            // The whole host's.
            EventData::Sample(_) => event.cgroup_id.wrapping_add(self.cgroup_base),
            _ => self.cgroup(event.cgroup_id),
        };
        Event {
            boot_ns: self.time(event.boot_ns),
            cpu: event.cpu.wrapping_add(self.cpu_base),
            probe: self.probe(event.probe),
            seq: event.seq,
            tid: self.pid(event.tid),
            pid: self.pid(event.pid),
            cgroup_id,
            data,
        }
    }
}
