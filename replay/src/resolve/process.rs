//! The process tree. A process is a pid and a start time; a pid alone may have been several.

use super::descriptor::Descriptors;
use hashbrown::HashMap;
use std::collections::VecDeque;
use trace_format::{Details, Known, Text, context, event::ExecFlags};

/// Processes remembered, living and exited: twice the kernel's default `pid_max`.
const PROCESSES_MAX: usize = 65_536;

/// Exited processes remembered although nothing living descends from them: sockets outlive their
/// owners by seconds, and a finding names its lineage up to half a second later.
const EXITED_MAX: usize = 8_192;

/// Ancestors that lineage walks: real trees are some ten deep; damage could make a circle.
const LINEAGE_MAX: usize = 64;

/// `/proc/PID/stat` gives start times in ticks of 10 ms (`USER_HZ`), the probes in nanoseconds.
const START_TOLERANCE_NS: u64 = 10_000_000;

/// A process as the trace describes it so far.
#[derive(Clone, Debug)]
pub struct Process {
    pub pid: u32,
    /// `CLOCK_BOOTTIME`; with the pid, the process's identity. 0: the trace did not say.
    pub start_ns: u64,
    /// Who started it. Not changed when the starter exits and the kernel hands its children on.
    pub ppid: u32,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub cgroup_id: u64,
    pub comm: Text,
    /// Path of the executable in the process's root; empty: unknown, or a kernel thread.
    pub exe_path: Text,
    /// argv joined with NUL; empty: unknown.
    pub args: Text,
    /// Name and arguments joined with blanks.
    pub command_line: Text,
    /// Empty: unknown.
    pub cwd: Text,
    /// Pid in its own namespace, 0: unknown.
    pub ns_pid: u32,
    /// Whether its root is a container's: not for what was forked on the host and has not changed its
    /// root since. `None`: the trace does not say.
    pub(super) inside_root: Option<bool>,
    /// What its last exec in the trace said about the program.
    pub image: Option<Image>,
    /// The executable, from an exec or a snapshot.
    pub file: Option<ExeFile>,
    /// Groups, terminal, rights, namespaces: what `known` has no bit for is not known.
    pub details: Details,
    pub exited_ns: Option<u64>,
    pub(super) descriptors: Descriptors,
    parent: Option<Slot>,
    slot: Slot,
}

/// An executable file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExeFile {
    pub dev: u64,
    pub ino: u64,
    pub flags: ExecFlags,
}

/// The program of an exec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    pub exec_ns: u64,
    /// The cgroup it was started in: another one than the process is in while a runtime sets up a container.
    pub cgroup_id: u64,
    /// The file came from outside of any container: the process had the host's root.
    pub from_outside_root: bool,
    /// What ran before it in this process had been started outside of the container: it is the image's
    /// first program, or somebody entered the container with it.
    pub enters_container: bool,
    pub dev: u64,
    pub ino: u64,
    pub flags: ExecFlags,
    /// The file was made or written by the same container earlier in the trace.
    pub born_in_container: bool,
    /// Whose rights the process had before, when known.
    pub uid_before: Option<u32>,
}

impl Process {
    /// argv[0], if known.
    pub fn exe(&self) -> Option<&[u8]> {
        (!self.args.is_empty()).then(|| match self.args.iter().position(|&byte| byte == 0) {
            Some(end) => &self.args[..end],
            None => &self.args[..],
        })
    }

    /// The arguments after argv[0], joined with blanks.
    pub fn arguments(&self) -> &[u8] {
        self.command_line
            .get(self.comm.len() + 1..)
            .unwrap_or_default()
    }

    fn set_command(&mut self, comm: &Text, args: &Text) {
        self.comm = comm.clone();
        self.args = args.clone();
        let mut line = Vec::with_capacity(comm.len() + args.len() + 1);
        line.extend_from_slice(comm);
        // One blank where each NUL stood; the kernel ends the last argument with one too.
        let args = args.strip_suffix(&[0]).unwrap_or(args);
        if let Some(end) = args.iter().position(|&byte| byte == 0) {
            line.extend(
                args[end..]
                    .iter()
                    .map(|&byte| if byte == 0 { b' ' } else { byte }),
            );
        }
        self.command_line = Text::from(line);
    }
}

/// A place in the table. The generation tells whether the same process still has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    at: u32,
    generation: u32,
}

struct Entry {
    generation: u32,
    /// Remembered processes that name this one as their parent.
    children: u32,
    process: Option<Process>,
}

#[derive(Default)]
pub(super) struct Processes {
    entries: Vec<Entry>,
    free: Vec<u32>,
    /// The last process with each pid, living or exited.
    by_pid: HashMap<u32, Slot>,
    /// Exited processes, first to exit first.
    exited: VecDeque<Slot>,
    /// All processes, first to be seen first; may name slots that are free again.
    seen: VecDeque<Slot>,
    /// Descriptors of all processes, for their bound.
    pub(super) descriptors_total: usize,
    /// Counts every change of a process or of the table, except of descriptors.
    changes: u64,
}

/// What the trace says of a new process.
pub(super) struct NewProcess {
    pub pid: u32,
    pub start_ns: u64,
    pub ppid: u32,
    pub cgroup_id: u64,
}

fn same_start(a_ns: u64, b_ns: u64) -> bool {
    a_ns == 0 || b_ns == 0 || a_ns.abs_diff(b_ns) < START_TOLERANCE_NS
}

impl Processes {
    /// Grows with every change that could change an answer about a process.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Process> {
        self.entries
            .iter()
            .filter_map(|entry| entry.process.as_ref())
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&Process> {
        let entry = self.entries.get(slot.at as usize)?;
        if entry.generation == slot.generation {
            entry.process.as_ref()
        } else {
            None
        }
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Process> {
        self.changes += 1;
        let entry = self.entries.get_mut(slot.at as usize)?;
        if entry.generation == slot.generation {
            entry.process.as_mut()
        } else {
            None
        }
    }

    pub(super) fn last(&self, pid: u32) -> Option<&Process> {
        self.get(*self.by_pid.get(&pid)?)
    }

    pub(super) fn living(&self, pid: u32) -> Option<&Process> {
        self.last(pid).filter(|process| process.exited_ns.is_none())
    }

    /// Whether the process there is the one that started then.
    pub(super) fn is_same(&self, slot: Slot, start_ns: u64) -> bool {
        self.get(slot)
            .is_some_and(|process| same_start(process.start_ns, start_ns))
    }

    pub(super) fn living_slot(&self, pid: u32) -> Option<Slot> {
        self.living(pid).map(|process| process.slot)
    }

    /// The process and the running count of descriptors, for changing one with the other. Nothing
    /// else of the process is changed through it without counting that.
    pub(super) fn with_total(&mut self, slot: Slot) -> Option<(&mut Process, &mut usize)> {
        let entry = self.entries.get_mut(slot.at as usize)?;
        if entry.generation != slot.generation {
            return None;
        }
        entry
            .process
            .as_mut()
            .map(|process| (process, &mut self.descriptors_total))
    }

    pub(super) fn parent(&self, process: &Process) -> Option<&Process> {
        match process.parent {
            Some(slot) => self.get(slot),
            // Its parent may have become known after it; a later user of that pid is not it.
            None if process.ppid != 0 => self.last(process.ppid).filter(|parent| {
                parent.slot != process.slot
                    && parent.start_ns <= process.start_ns.saturating_add(START_TOLERANCE_NS)
            }),
            None => None,
        }
    }

    pub(super) fn lineage<'a>(
        &'a self,
        process: Option<&'a Process>,
    ) -> impl Iterator<Item = &'a Process> {
        std::iter::successors(process, |process| self.parent(process)).take(LINEAGE_MAX)
    }

    /// Finds the process with this identity or makes it; what else had the pid is over.
    pub(super) fn identify(&mut self, new: NewProcess, now_ns: u64) -> Slot {
        if let Some(slot) = self.living_slot(new.pid)
            && let Some(process) = self.get_mut(slot)
            && same_start(process.start_ns, new.start_ns)
        {
            if process.start_ns == 0 {
                process.start_ns = new.start_ns;
            }
            return slot;
        }
        self.insert(new, now_ns)
    }

    /// A new process, whatever had its pid before.
    pub(super) fn insert(&mut self, new: NewProcess, now_ns: u64) -> Slot {
        self.changes += 1;
        if let Some(slot) = self.living_slot(new.pid) {
            self.exit(slot, now_ns);
        }
        self.make_room();
        let at = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry {
                generation: 0,
                children: 0,
                process: None,
            });
            (self.entries.len() - 1) as u32
        });
        let entry = &mut self.entries[at as usize];
        let slot = Slot {
            at,
            generation: entry.generation,
        };
        entry.process = Some(Process {
            pid: new.pid,
            start_ns: new.start_ns,
            ppid: new.ppid,
            uid: None,
            gid: None,
            cgroup_id: new.cgroup_id,
            comm: Text::default(),
            exe_path: Text::default(),
            args: Text::default(),
            command_line: Text::default(),
            cwd: Text::default(),
            ns_pid: 0,
            inside_root: None,
            image: None,
            file: None,
            details: Details::default(),
            exited_ns: None,
            descriptors: Descriptors::default(),
            parent: None,
            slot,
        });
        self.by_pid.insert(new.pid, slot);
        self.seen.push_back(slot);
        slot
    }

    /// Links a process to its parent, which must be older or unknown.
    pub(super) fn adopt(&mut self, child: Slot, parent: Option<Slot>) {
        let Some(process) = self.get_mut(child) else {
            return;
        };
        let before = std::mem::replace(&mut process.parent, parent);
        if let Some(slot) = before {
            self.count_child(slot, false);
        }
        if let Some(slot) = parent {
            self.count_child(slot, true);
        }
    }

    fn count_child(&mut self, parent: Slot, more: bool) {
        if let Some(entry) = self.entries.get_mut(parent.at as usize)
            && entry.generation == parent.generation
        {
            entry.children = if more {
                entry.children + 1
            } else {
                entry.children.saturating_sub(1)
            };
        }
    }

    /// The process is over; it stays for its descendants' lineage and for late events.
    pub(super) fn exit(&mut self, slot: Slot, now_ns: u64) {
        self.changes += 1;
        let Some((process, total)) = self.with_total(slot) else {
            return;
        };
        if process.exited_ns.is_some() {
            return;
        }
        process.exited_ns = Some(now_ns);
        process.descriptors.clear(total);
        self.exited.push_back(slot);
        // One look a turn: what still has children goes to the back, as long as there is room.
        if self.exited.len() > EXITED_MAX
            && let Some(oldest) = self.exited.pop_front()
        {
            let needed = self
                .entries
                .get(oldest.at as usize)
                .is_some_and(|entry| entry.generation == oldest.generation && entry.children > 0);
            if needed && self.exited.len() < PROCESSES_MAX / 2 {
                self.exited.push_back(oldest);
            } else {
                self.forget(oldest);
            }
        }
    }

    fn make_room(&mut self) {
        while self.len() >= PROCESSES_MAX {
            let Some(slot) = self.exited.pop_front().or_else(|| self.seen.pop_front()) else {
                return;
            };
            self.forget(slot);
        }
        if self.seen.len() > 2 * PROCESSES_MAX {
            let seen = std::mem::take(&mut self.seen);
            self.seen = seen
                .into_iter()
                .filter(|&slot| self.get(slot).is_some())
                .collect();
        }
    }

    fn forget(&mut self, slot: Slot) {
        let Some((process, total)) = self.with_total(slot) else {
            return;
        };
        process.descriptors.clear(total);
        let (pid, parent) = (process.pid, process.parent);
        let entry = &mut self.entries[slot.at as usize];
        entry.process = None;
        entry.generation = entry.generation.wrapping_add(1);
        entry.children = 0;
        self.free.push(slot.at);
        if self.by_pid.get(&pid) == Some(&slot) {
            self.by_pid.remove(&pid);
        }
        if let Some(parent) = parent {
            self.count_child(parent, false);
        }
    }

    /// A process of a snapshot. What an event said of the same image stays: it is exact.
    pub(super) fn observe(&mut self, seen: &context::Process, in_container: Option<bool>) {
        if let Some(known) = self.living(seen.pid)
            && !same_start(known.start_ns, seen.start_ns)
            && seen.start_ns < known.start_ns
        {
            return; // The snapshot is older than what the pid is now.
        }
        if let Some(gone) = self.last(seen.pid)
            && gone.exited_ns.is_some()
            && seen.start_ns != 0
            && same_start(gone.start_ns, seen.start_ns)
        {
            return; // It was looked at before it exited.
        }
        let new = NewProcess {
            pid: seen.pid,
            start_ns: seen.start_ns,
            ppid: seen.ppid,
            cgroup_id: seen.cgroup_id,
        };
        let slot = self.identify(new, seen.start_ns);
        let Some(process) = self.get_mut(slot) else {
            return;
        };
        process.uid = Some(seen.uid);
        process.gid = Some(seen.gid);
        process.cgroup_id = seen.cgroup_id;
        // Who is in a container's cgroup without a history has long been set up.
        process.inside_root = process.inside_root.or(in_container);
        if seen.ns_pid != 0 {
            process.ns_pid = seen.ns_pid;
        }
        if !seen.cwd.is_empty() {
            process.cwd = Text::from(&seen.cwd[..]);
        }
        if let Some(details) = seen.details.as_deref() {
            // Of the file of an exec more is known than /proc says.
            if process.image.is_none() || *process.exe_path != *seen.exe {
                process.file = Some(ExeFile {
                    dev: details.dev,
                    ino: details.ino,
                    flags: details.flags,
                });
            }
            let exact = process.details;
            process.details = details.process;
            if process.details.ns_start_ns == 0 || exact.ns_start_ns != 0 {
                process.details.ns_start_ns = exact.ns_start_ns;
            }
        }
        let same_image = process.image.is_some() && *process.exe_path == *seen.exe;
        let says_something = !seen.comm.is_empty() || !seen.exe.is_empty();
        if says_something && !same_image {
            process.image = None;
            process.exe_path = Text::from(&seen.exe[..]);
            process.set_command(&Text::from(&seen.comm[..]), &Text::from(&seen.args[..]));
        }
        if process.ppid == 0 {
            process.ppid = seen.ppid;
        }
    }

    /// Copies from the parent what a fork copies. A thread that forks copies its process.
    pub(super) fn inherit(&mut self, child: Slot, parent: Slot) {
        let Some(parent_process) = self.get(parent) else {
            return;
        };
        let from = parent_process.clone();
        let Some(process) = self.get_mut(child) else {
            return;
        };
        process.uid = from.uid;
        process.gid = from.gid;
        process.comm = from.comm;
        process.exe_path = from.exe_path;
        process.args = from.args;
        process.command_line = from.command_line;
        process.cwd = from.cwd;
        process.inside_root = from.inside_root;
        process.image = from.image;
        process.file = from.file;
        process.details = from.details;
        process.descriptors = from.descriptors;
        self.adopt(child, Some(parent));
    }

    /// The new image of an exec.
    pub(super) fn exec(&mut self, slot: Slot, exec: &trace_format::event::Exec, image: Image) {
        let Some(process) = self.get_mut(slot) else {
            return;
        };
        process.uid = Some(exec.uid);
        process.gid = Some(exec.gid);
        process.exe_path = exec.path.clone();
        process.set_command(&exec.comm, &exec.args);
        process.image = Some(image);
        process.file = Some(ExeFile {
            dev: exec.dev,
            ino: exec.ino,
            flags: exec.flags,
        });
        let Some(details) = exec.details.as_deref() else {
            // Nobody looked: groups, terminal and login are what they were, rights may not be.
            process.details.known.0 &= Known::GROUPS | Known::TTY | Known::LOGIN;
            (process.details.exe_ctime_ns, process.details.exe_mtime_ns) = (0, 0);
            return;
        };
        if !details.cwd.is_empty() {
            process.cwd = details.cwd.clone();
        }
        if details.ns_pid != 0 {
            process.ns_pid = details.ns_pid;
        }
        process.details = details.process;
    }
}
