//! Loads the probe object and attaches each probe by what this kernel offers.
//!
//! Nothing is assumed: each program is loaded and attached on its own, and one that cannot be is
//! left out with the reason. A member that BTF does not have disables the probes that need it.

use std::{
    collections::HashMap as Links,
    path::{Path, PathBuf},
};

use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{Array, HashMap, LpmTrie, Map, MapData, PerCpuArray, RingBuf},
    programs::{BtfTracePoint, Iter, tp_btf::BtfTracePointLinkId},
};
use recorder_ebpf::{
    COUNTED_CALLS, ENTERED_MAX, FILTER_PIDS_MAX, IO_NEAR_MAX, Offsets, Settings, filter as option,
    probe,
};
use trace_format::syscalls::Arch;

use crate::{
    btf::{self, Btf},
    calls::{CallRings, RingSizes},
    casts, details,
    observe::{cgroups::Cgroups, counts::CallCounts, descriptors::Descriptors},
};

/// The object that was built from `recorder-ebpf/src/probes`, as zstd.
static OBJECT: &[u8] = include_bytes!("../../recorder-ebpf/prebuilt/recorder.bpf.o.zst");

/// The object that this program brings along.
pub(crate) fn own_object() -> Vec<u8> {
    zstd::decode_all(OBJECT).expect("the object was compressed when it was built")
}

/// A probe: id, program in the object, kernel tracepoint, what it is for.
pub struct ProbeSpec {
    pub id: u8,
    pub family: &'static str,
    pub tracepoint: &'static str,
    pub what: &'static str,
    /// Prefixes of the offsets it reads ([`Offsets::MEMBERS`] structure names).
    needs: &'static [&'static str],
}

/// Structures that lead from a descriptor to a path.
const PATHS: &[&str] = &[
    "files_struct",
    "fdtable",
    "fs_struct",
    "path",
    "file",
    "inode",
    "super_block",
    "dentry",
    "mount",
    "vfsmount",
];

/// Members that some architectures have not: what they are for is left out there, in the probe.
const OPTIONAL: &[&str] = &["thread_info.status", "cqe.fd"];

/// Tracepoints that had another name on older kernels, with a program for each.
const RENAMED: &[(&str, &str)] = &[("io_uring_submit_req", "io_uring_submit_sqe")];

/// The tracepoint of a probe as this kernel calls it.
fn tracepoint(spec: &ProbeSpec, types: &Btf) -> &'static str {
    let exists = |name: &str| types.parameters(&format!("btf_trace_{name}")).is_some();
    let older = RENAMED.iter().find(|(now, _)| *now == spec.tracepoint);
    match older {
        Some((_, older)) if !exists(spec.tracepoint) && exists(older) => older,
        _ => spec.tracepoint,
    }
}

const POINTER_BYTES: u32 = 8;

/// Structures that lead from the current task to its cgroup, where it is read without helpers.
const TYPED_TASK: &[&str] = &["task_struct", "css_set", "cgroup", "kernfs_node"];

pub const PROBES: &[ProbeSpec] = &[
    ProbeSpec {
        id: probe::SYS_EXIT,
        family: "syscall",
        tracepoint: "sys_exit",
        what: "system calls, opened files, socket calls",
        needs: PATHS,
    },
    ProbeSpec {
        id: probe::SYS_ENTER,
        family: "syscall",
        tracepoint: "sys_enter",
        what: "beginnings of system calls, for their durations (--durations)",
        needs: &[],
    },
    ProbeSpec {
        id: probe::FORK,
        family: "process",
        tracepoint: "sched_process_fork",
        what: "new processes and threads",
        needs: &["task_struct"],
    },
    ProbeSpec {
        id: probe::EXEC,
        family: "process",
        tracepoint: "sched_process_exec",
        what: "programs started",
        needs: &["task_struct", "mm_struct", "linux_binprm", "cred"],
    },
    ProbeSpec {
        id: probe::EXIT,
        family: "process",
        tracepoint: "sched_process_exit",
        what: "processes and threads ended",
        needs: &["task_struct", "signal_struct"],
    },
    ProbeSpec {
        id: probe::TCP_STATE,
        family: "network",
        tracepoint: "inet_sock_set_state",
        what: "TCP connections",
        needs: &["sock_common"],
    },
    ProbeSpec {
        id: probe::SIGNAL,
        family: "ipc",
        tracepoint: "signal_generate",
        what: "signals sent",
        needs: &["task_struct", "kernel_siginfo"],
    },
    ProbeSpec {
        id: probe::OOM_KILL,
        family: "resource",
        tracepoint: "mark_victim",
        what: "processes killed for want of memory",
        needs: &["task_struct", "signal_struct", "mm_struct", "cred"],
    },
    ProbeSpec {
        id: probe::TCP_RETRANSMIT,
        family: "network",
        tracepoint: "tcp_retransmit_skb",
        what: "TCP segments sent again",
        needs: &["sock_common"],
    },
    ProbeSpec {
        id: probe::TCP_RESET_SENT,
        family: "network",
        tracepoint: "tcp_send_reset",
        what: "TCP resets sent",
        needs: &["sock_common", "sk_buff"],
    },
    ProbeSpec {
        id: probe::TCP_RESET_RECEIVED,
        family: "network",
        tracepoint: "tcp_receive_reset",
        what: "TCP resets received",
        needs: &["sock_common"],
    },
    ProbeSpec {
        id: probe::URING_SUBMIT,
        family: "syscall",
        tracepoint: "io_uring_submit_req",
        what: "requests to io_uring",
        needs: &["task_struct", "io_kiocb"],
    },
    ProbeSpec {
        id: probe::URING_COMPLETE,
        family: "syscall",
        tracepoint: "io_uring_complete",
        what: "what io_uring read and wrote (from Linux 6.0 on)",
        needs: &["task_struct", "io_uring_cqe"],
    },
    ProbeSpec {
        id: probe::CGROUP_MKDIR,
        family: "container",
        tracepoint: "cgroup_mkdir",
        what: "cgroups made",
        needs: &["cgroup", "kernfs_node", "cgroup_root"],
    },
    ProbeSpec {
        id: probe::CGROUP_RMDIR,
        family: "container",
        tracepoint: "cgroup_rmdir",
        what: "cgroups removed",
        needs: &["cgroup", "kernfs_node", "cgroup_root"],
    },
];

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Btf(#[from] btf::Error),
    #[error("cannot read the probe object {path}: {source}")]
    Object {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the kernel refused the probes' maps or the object is damaged: {source}{hint}", source = chain(.source), hint = permission_hint(.source))]
    Load { source: Box<aya::EbpfError> },
    #[error(
        "the probe object has no map {name}: it was built from other sources; rebuild it with `cargo xtask ebpf`"
    )]
    NoMap { name: &'static str },
    #[error("map {name}: {source}")]
    Map {
        name: &'static str,
        source: Box<aya::maps::MapError>,
    },
    #[error("the rings of system calls cannot be mapped: {source}")]
    CallRings { source: std::io::Error },
    #[error("the counts of system calls cannot be mapped: {source}")]
    CallCounts { source: std::io::Error },
    #[error("no probe could be attached; first reason: {reason}")]
    NothingAttached { reason: String },
}

/// What to load.
#[derive(Clone, Debug)]
pub struct Options {
    /// A BTF file instead of the kernel's own.
    pub btf: Option<PathBuf>,
    /// A probe object instead of the built-in one.
    pub object: Option<PathBuf>,
    pub settings: Settings,
    pub rings: RingSizes,
    /// Ids of the probes to attach.
    pub wanted: Vec<u8>,
}

/// Reason of a probe that the caller did not want.
pub const NOT_WANTED: &str = "not asked for";
/// Reason of a probe that was switched off while recording.
pub const SWITCHED_OFF: &str = "switched off";

/// How one probe fared.
#[derive(Clone, Debug)]
pub struct Attached {
    pub id: u8,
    pub family: &'static str,
    pub tracepoint: &'static str,
    pub what: &'static str,
    /// Why it is not attached; None: it is.
    pub reason: Option<String>,
}

/// The loaded object. Dropping it detaches everything.
pub struct Probes {
    ebpf: Ebpf,
    pub attached: Vec<Attached>,
    /// Process details that this kernel's types do not suffice for, each with the reason.
    pub details_left_out: Vec<String>,
    /// Of attached programs, by probe.
    links: Links<u8, BtfTracePointLinkId>,
}

impl Probes {
    /// Loads the programs and maps, attaches nothing yet.
    pub fn load(options: &Options) -> Result<Probes, Error> {
        let btf_path = options
            .btf
            .clone()
            .unwrap_or_else(|| btf::KERNEL_BTF.into());
        let types = Btf::load(&btf_path)?;
        let mut found: Vec<u32> = Offsets::MEMBERS
            .iter()
            .map(|(name, member)| types.offset(name, member).unwrap_or(Offsets::MISSING))
            .collect();
        let mut hierarchy = 0;
        if let Some(v1) = Cgroups::open().v1_hierarchy()
            && let Some(subsys) = types.offset("css_set", "subsys")
            && let Some(place) = types.controller(&v1.controller)
        {
            let member = ("css_set", "dfl_cgrp");
            for (known, offset) in Offsets::MEMBERS.iter().zip(&mut found) {
                if *known == member {
                    *offset = subsys + place * POINTER_BYTES;
                }
            }
            hierarchy = v1.number;
        }
        let words = types
            .function("bpf_rdonly_cast")
            .zip(types.structure("pt_regs"));
        // What leads to a v1 cgroup is not of the types that are followed there.
        let task_btf = u32::from(
            hierarchy == 0
                && types.has_helper("bpf_get_current_task_btf")
                && missing(TYPED_TASK, &found).is_none(),
        );
        // Before 6.9 it has the pid alone. The first parameter is the tracepoint's own.
        let victim_task = u32::from(types.parameters("btf_trace_mark_victim") == Some(3));
        // Their parameters changed more than once, and so did one's name.
        let uring_submit = types.parameters("btf_trace_io_uring_submit_sqe");
        let uring_complete = types.parameters("btf_trace_io_uring_complete");
        let current_at = current_at(&types);
        let tracepoints: Vec<&'static str> =
            PROBES.iter().map(|spec| tracepoint(spec, &types)).collect();
        drop(types);
        let kernel =
            aya::Btf::parse_file(&btf_path, aya::Endianness::default()).map_err(|source| {
                Error::Load {
                    source: Box::new(source.into()),
                }
            })?;
        let mut object = match &options.object {
            Some(path) => std::fs::read(path).map_err(|source| Error::Object {
                path: path.clone(),
                source,
            })?,
            None => own_object(),
        };
        casts::put(&mut object, words.map(|(function, _)| function));
        let Settings {
            self_tgid,
            filter,
            empty,
            names,
            filter_kinds,
            filter_min_ns,
            filter_must,
            durations,
            snaplen,
            ..
        } = options.settings;
        let RingSizes {
            cpus,
            call_pages,
            bulk_bytes,
            urgent_bytes,
        } = options.rings;
        let mut ebpf = EbpfLoader::new()
            .btf(Some(&kernel))
            .override_global("OFFSETS", &found[..], true)
            .override_global(
                "SETTINGS",
                &[
                    self_tgid,
                    filter,
                    empty,
                    call_pages,
                    task_btf,
                    durations,
                    victim_task,
                    details::readable(&found),
                    names as u32,
                    (names >> 32) as u32,
                    uring_submit.unwrap_or(0),
                    uring_complete.unwrap_or(0),
                    filter_kinds as u32,
                    (filter_kinds >> 32) as u32,
                    filter_min_ns as u32,
                    (filter_min_ns >> 32) as u32,
                    filter_must,
                    hierarchy,
                    snaplen,
                    words.map_or(0, |(_, structure)| structure),
                    current_at.unwrap_or(0),
                    0, // the end of `Settings`, whose size is a multiple of 8
                ][..],
                true,
            )
            .map_max_entries("CALL_RINGS", cpus)
            .map_max_entries("CURRENT_AT", cpus)
            .map_max_entries("CALL_PAGES", cpus * call_pages)
            .map_max_entries("COUNT_SLOTS", cpus * 2 * COUNTED_CALLS)
            .map_max_entries("ENTERED", if durations == 0 { 1 } else { ENTERED_MAX })
            .map_max_entries("IO_NEAR", cpus * 2 * IO_NEAR_MAX)
            .map_max_entries("BULK", bulk_bytes)
            .map_max_entries("URGENT", urgent_bytes)
            .map_max_entries(
                "FILTER_PIDS",
                match filter & option::TREE {
                    0 => 1,
                    _ => FILTER_PIDS_MAX,
                },
            )
            .load(&object)
            .map_err(|source| Error::Load {
                source: Box::new(source),
            })?;
        let attached = PROBES
            .iter()
            .zip(tracepoints)
            .map(|(spec, tracepoint)| Attached {
                id: spec.id,
                family: spec.family,
                tracepoint,
                what: spec.what,
                // Loaded all the same: it may be switched on later, when nothing can be loaded any more.
                reason: missing_members(spec, &found)
                    .or_else(|| load_program(&mut ebpf, tracepoint, &kernel).err())
                    .or_else(|| {
                        (!options.wanted.contains(&spec.id)).then(|| NOT_WANTED.to_owned())
                    }),
            })
            .collect();
        let mut details_left_out = details::left_out(&found);
        details_left_out.extend(load_iterator(&mut ebpf, &kernel).err());
        Ok(Probes {
            ebpf,
            attached,
            details_left_out,
            links: Links::new(),
        })
    }

    /// Attaches the program of probe `id`, if it loaded.
    pub fn attach_first(&mut self, id: u8) {
        for entry in self
            .attached
            .iter_mut()
            .filter(|entry| entry.id == id && entry.reason.is_none())
        {
            match attach_program(&mut self.ebpf, entry.tracepoint) {
                Ok(link) => drop(self.links.insert(entry.id, link)),
                Err(error) => entry.reason = Some(error),
            }
        }
    }

    /// Attaches every program that loaded and is not attached. An error only if there is none at all.
    pub fn attach(&mut self) -> Result<(), Error> {
        let ids: Vec<u8> = self.attached.iter().map(|entry| entry.id).collect();
        for id in ids {
            if !self.links.contains_key(&id) {
                self.attach_first(id);
            }
        }
        match self.attached.iter().find_map(|entry| entry.reason.clone()) {
            Some(reason) if self.attached.iter().all(|entry| entry.reason.is_some()) => {
                Err(Error::NothingAttached { reason })
            }
            _ => Ok(()),
        }
    }

    /// Has the kernel go through all threads once, so that the probes know the rights of those that run
    /// already. Where it cannot, that has been said when the program was loaded.
    pub fn learn_rights(&mut self) -> Result<(), String> {
        let program = iterator(&mut self.ebpf)?;
        if program.fd().is_err() {
            return Ok(());
        }
        let link = program.attach().map_err(|error| chain(&error))?;
        let link = program.take_link(link).map_err(|error| chain(&error))?;
        let mut threads = link.into_file().map_err(|error| chain(&error))?;
        // The program writes nothing: to read is to run it.
        std::io::copy(&mut threads, &mut std::io::sink())
            .map(drop)
            .map_err(|error| format!("{RUNNING_TASKS} cannot be read: {error}"))
    }

    /// Attaches or detaches one probe; what is so already stays so.
    pub fn switch(&mut self, id: u8, on: bool) -> Result<(), String> {
        let Some(entry) = self.attached.iter_mut().find(|entry| entry.id == id) else {
            return Err(format!("there is no probe {id}"));
        };
        let name = entry.tracepoint;
        match (on, entry.reason.as_deref()) {
            (true, None) => Ok(()),
            (true, Some(NOT_WANTED | SWITCHED_OFF)) => {
                let link = attach_program(&mut self.ebpf, name)
                    .map_err(|error| format!("{name} cannot be attached: {error}"))?;
                self.links.insert(id, link);
                entry.reason = None;
                Ok(())
            }
            (true, Some(reason)) => Err(format!("{name} is not there: {reason}")),
            (false, None) => {
                let Some(link) = self.links.remove(&id) else {
                    return Err(format!("{name} has no link"));
                };
                program(&mut self.ebpf, name)?
                    .detach(link)
                    .map_err(|error| format!("{name} cannot be detached: {}", chain(&error)))?;
                entry.reason = Some(SWITCHED_OFF.to_owned());
                Ok(())
            }
            (false, Some(_)) => Ok(()),
        }
    }

    /// How often a program ran and how long, in nanoseconds; the kernel counts only while somebody asked
    /// it to (`BPF_ENABLE_STATS`).
    pub fn run_time(&self, name: &str) -> Option<(u64, u64)> {
        let info = self.ebpf.program(name)?.info().ok()?;
        let run_ns = u64::try_from(info.run_time().as_nanos()).ok()?;
        Some((info.run_count(), run_ns))
    }

    /// Detaches every program; the maps stay readable.
    pub fn detach(&mut self) {
        for (_, program) in self.ebpf.programs_mut() {
            if let aya::programs::Program::BtfTracePoint(program) = program {
                // Unloading closes the links; a program that never loaded has nothing to close.
                let _ = program.unload();
            }
        }
    }

    fn take(&mut self, name: &'static str) -> Result<Map, Error> {
        self.ebpf.take_map(name).ok_or(Error::NoMap { name })
    }

    pub fn ring(&mut self, name: &'static str) -> Result<RingBuf<MapData>, Error> {
        RingBuf::try_from(self.take(name)?).map_err(|source| Error::Map {
            name,
            source: Box::new(source),
        })
    }

    /// The rings of plain system calls.
    pub fn call_rings(&mut self, sizes: RingSizes, durations: bool) -> Result<CallRings, Error> {
        let rings = self.take("CALL_RINGS")?;
        let pages = self.take("CALL_PAGES")?;
        CallRings::map(rings, pages, sizes, durations).map_err(|source| Error::CallRings { source })
    }

    /// Per CPU and probe id: seen, dropped, filtered.
    pub fn counters(&mut self) -> Result<PerCpuArray<MapData, [u64; 3]>, Error> {
        PerCpuArray::try_from(self.take("COUNTERS")?).map_err(|source| Error::Map {
            name: "COUNTERS",
            source: Box::new(source),
        })
    }

    pub fn policy(&mut self) -> Result<Array<MapData, u32>, Error> {
        Array::try_from(self.take("POLICY")?).map_err(|source| Error::Map {
            name: "POLICY",
            source: Box::new(source),
        })
    }

    /// What else follows the profile: [`recorder_ebpf::switched`].
    pub fn switched(&mut self) -> Result<Array<MapData, u64>, Error> {
        Array::try_from(self.take("SWITCHED")?).map_err(|source| Error::Map {
            name: "SWITCHED",
            source: Box::new(source),
        })
    }

    /// Which of each two tables the probes count in.
    pub fn turn(&mut self) -> Result<Array<MapData, u64>, Error> {
        Array::try_from(self.take("TURN")?).map_err(|source| Error::Map {
            name: "TURN",
            source: Box::new(source),
        })
    }

    /// Calls counted per cgroup and number.
    pub fn call_counts(&mut self, sizes: RingSizes) -> Result<CallCounts, Error> {
        let Map::Array(slots) = self.take("COUNT_SLOTS")? else {
            return Err(Error::NoMap {
                name: "COUNT_SLOTS",
            });
        };
        let [even, odd] = ["COUNTS_EVEN", "COUNTS_ODD"].map(|name| self.table(name));
        CallCounts::map(slots, even?, odd?, sizes.cpus)
            .map_err(|source| Error::CallCounts { source })
    }

    /// The reads and writes that are counted per descriptor.
    pub fn descriptors(&mut self, sizes: RingSizes, arch: Arch) -> Result<Descriptors, Error> {
        let Map::Array(near) = self.take("IO_NEAR")? else {
            return Err(Error::NoMap { name: "IO_NEAR" });
        };
        let [even, odd] = ["IO_EVEN", "IO_ODD"].map(|name| self.table(name));
        Descriptors::map(even?, odd?, near, sizes.cpus, arch)
            .map_err(|source| Error::CallCounts { source })
    }

    fn table(&mut self, name: &'static str) -> Result<MapData, Error> {
        match self.take(name)? {
            Map::HashMap(data) => Ok(data),
            _ => Err(Error::NoMap { name }),
        }
    }

    /// Names whose files are always recorded.
    pub fn listed_names(&mut self) -> Result<HashMap<MapData, [u64; 2], u32>, Error> {
        HashMap::try_from(self.take("LISTED_NAMES")?).map_err(|source| Error::Map {
            name: "LISTED_NAMES",
            source: Box::new(source),
        })
    }

    /// A list of the filter, by the name of its map.
    pub fn hash<K: Pod, V: Pod>(
        &mut self,
        name: &'static str,
    ) -> Result<HashMap<MapData, K, V>, Error> {
        HashMap::try_from(self.take(name)?).map_err(|source| Error::Map {
            name,
            source: Box::new(source),
        })
    }

    /// One that is looked through by beginnings.
    pub fn trie<K: Pod>(&mut self, name: &'static str) -> Result<LpmTrie<MapData, K, u8>, Error> {
        LpmTrie::try_from(self.take(name)?).map_err(|source| Error::Map {
            name,
            source: Box::new(source),
        })
    }

    pub fn array(&mut self, name: &'static str) -> Result<Array<MapData, u64>, Error> {
        Array::try_from(self.take(name)?).map_err(|source| Error::Map {
            name,
            source: Box::new(source),
        })
    }
}

/// From a CPU's run queue to where it has its current task: [`recorder_ebpf::Settings::current_at`].
fn current_at(types: &Btf) -> Option<u32> {
    let current = types.per_cpu("current_task").or_else(|| {
        // From 6.2 to 6.14 it was one of several in a structure.
        let place = types.per_cpu("pcpu_hot")?;
        Some(place + types.offset("pcpu_hot", "current_task")?)
    })?;
    Some(current.wrapping_sub(types.per_cpu("runqueues")?))
}

/// The first member that a probe needs and this kernel does not have.
fn missing_members(spec: &ProbeSpec, found: &[u32]) -> Option<String> {
    missing(spec.needs, found)
}

fn missing(structures: &[&str], found: &[u32]) -> Option<String> {
    Offsets::MEMBERS
        .iter()
        .zip(found)
        .find_map(|((name, member), offset)| {
            (*offset == Offsets::MISSING
                && structures.contains(name)
                && !OPTIONAL.contains(member)
                && !details::is_optional(name, member))
            .then(|| format!("this kernel's BTF has no {name}.{member}"))
        })
}

fn load_program(ebpf: &mut Ebpf, tracepoint: &str, kernel: &aya::Btf) -> Result<(), String> {
    program(ebpf, tracepoint)?
        .load(tracepoint, kernel)
        .map_err(|error| chain(&error))
}

/// The program that goes through the threads that run.
const RUNNING_TASKS: &str = "running_tasks";

fn iterator(ebpf: &mut Ebpf) -> Result<&mut Iter, String> {
    ebpf.program_mut(RUNNING_TASKS)
        .ok_or_else(|| format!("the probe object has no program {RUNNING_TASKS}"))?
        .try_into()
        .map_err(|error| chain(&error))
}

fn load_iterator(ebpf: &mut Ebpf, kernel: &aya::Btf) -> Result<(), String> {
    let what = "rights of processes that run already, before they change";
    iterator(ebpf)
        .and_then(|program| program.load("task", kernel).map_err(|error| chain(&error)))
        .map_err(|error| format!("{what}: {error}"))
}

fn attach_program(ebpf: &mut Ebpf, tracepoint: &str) -> Result<BtfTracePointLinkId, String> {
    program(ebpf, tracepoint)?
        .attach()
        .map_err(|error| chain(&error))
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut BtfTracePoint, String> {
    let program = ebpf
        .program_mut(name)
        .ok_or_else(|| format!("the probe object has no program {name}"))?;
    program.try_into().map_err(|error| chain(&error))
}

/// An error with all its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

fn permission_hint(error: &aya::EbpfError) -> &'static str {
    let text = chain(error);
    if text.contains("os error 1)") || text.contains("os error 13)") {
        " — run as root"
    } else {
        ""
    }
}

/// Is there a BTF file to read offsets from?
pub fn btf_present(path: Option<&Path>) -> bool {
    path.unwrap_or(Path::new(btf::KERNEL_BTF)).exists()
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::process::Command;

    /// All probes, loaded and not yet attached; None, and said: that cannot be done here.
    pub fn loaded() -> Option<Probes> {
        if !nix::unistd::geteuid().is_root() || !Path::new(crate::btf::KERNEL_BTF).exists() {
            assert!(std::env::var_os("TRAILCAM_NO_SKIP").is_none());
            eprintln!("skipped: not root, or a kernel without BTF");
            return None;
        }
        let rings = RingSizes::new(None).unwrap();
        let options = Options {
            btf: None,
            object: None,
            settings: Settings {
                self_tgid: std::process::id(),
                call_pages: rings.call_pages,
                ..Settings::default()
            },
            rings,
            wanted: PROBES.iter().map(|probe| probe.id).collect(),
        };
        Some(Probes::load(&options).unwrap())
    }

    /// Else each call would cost a helper call more, and nothing else would show it.
    #[test]
    fn the_current_task_is_found_where_the_kernel_keeps_it() {
        let Some(mut probes) = loaded() else {
            return;
        };
        let types = Btf::load(Path::new(crate::btf::KERNEL_BTF)).unwrap();
        if types.function("bpf_rdonly_cast").is_none() || current_at(&types).is_none() {
            eprintln!("skipped: this kernel has no way to it");
            return;
        }
        let places = probes.array("CURRENT_AT").unwrap();
        probes.attach().unwrap();
        assert!(Command::new("true").status().unwrap().success());
        let places: Vec<u64> = places.iter().map(Result::unwrap).collect();
        // 0: no program has run on this CPU; 1: it did not find the task.
        assert!(places.iter().any(|place| *place > 1), "{places:?}");
        assert!(!places.contains(&1), "{places:?}");
    }
}
