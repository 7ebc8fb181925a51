//! The filter's lists in the kernel: written before the probes are attached, but for the processes of a
//! tree, which are looked for when the probes at fork and exit keep that list.

use aya::maps::{Array, HashMap, MapData, MapError, lpm_trie::Key};
use recorder_ebpf::FILTER_PATH_BYTES_MAX;
use trace_format::syscalls::{Arch, number};

use super::{
    Resolved, tree,
    value::{Value, comm_key, path_key},
};
use crate::probes::{Error, Probes};

/// The lists that are looked at while recording.
pub struct Lists {
    pids: HashMap<MapData, u32, u8>,
    full: Array<MapData, u64>,
    /// Places that were missing when it was last asked.
    told: u64,
    no_room: usize,
}

impl Lists {
    /// Writes every list but that of processes.
    pub fn write(resolved: &Resolved, probes: &mut Probes, arch: Arch) -> Result<Lists, Error> {
        let mut cgroups = probes.hash::<u64, u8>("FILTER_CGROUPS")?;
        for (id, value) in &resolved.cgroups {
            set("FILTER_CGROUPS", cgroups.insert(id, value, 0))?;
        }
        let mut uids = probes.hash::<u32, u8>("FILTER_UIDS")?;
        let mut comms = probes.hash::<[u64; 2], u8>("FILTER_COMMS")?;
        let mut results = probes.hash::<u32, u8>("FILTER_RESULTS")?;
        let mut calls = probes.hash::<u32, u8>("FILTER_CALLS")?;
        let mut paths = probes.trie::<[u8; FILTER_PATH_BYTES_MAX]>("FILTER_PATHS")?;
        let mut addresses = probes.trie("FILTER_ADDRESSES")?;
        for (value, listing) in resolved.filter.all() {
            match value {
                Value::Uid(uid) => set("FILTER_UIDS", uids.insert(uid, listing, 0))?,
                Value::Comm(name) => {
                    set("FILTER_COMMS", comms.insert(comm_key(name), listing, 0))?;
                }
                Value::Result(errno) => set("FILTER_RESULTS", results.insert(errno, listing, 0))?,
                Value::Path(path) => {
                    let (bits, bytes) = path_key(path);
                    set(
                        "FILTER_PATHS",
                        paths.insert(&Key::new(bits, bytes), listing, 0),
                    )?;
                }
                Value::Address(address) => {
                    let (bits, bytes) = address.key();
                    set(
                        "FILTER_ADDRESSES",
                        addresses.insert(&Key::new(bits, bytes), listing, 0),
                    )?;
                }
                Value::Syscall(name) => {
                    if let Some(number) = number(arch, name) {
                        set("FILTER_CALLS", calls.insert(number, listing, 0))?;
                    }
                }
                // In other places: `Filter::kinds`, and below.
                Value::Container(_) | Value::Tree(_) | Value::Kind(_) => {}
            }
        }
        Ok(Lists {
            pids: probes.hash("FILTER_PIDS")?,
            full: probes.array("FILTER_FULL")?,
            told: 0,
            no_room: 0,
        })
    }

    /// Puts the trees that the filter names on their list. The probes are attached.
    pub fn seed(&mut self, resolved: &Resolved) {
        let roots: Vec<(u32, u8)> = resolved
            .filter
            .all()
            .filter_map(|(value, listing)| match value {
                Value::Tree(pid) => Some((*pid, listing)),
                _ => None,
            })
            .collect();
        if roots.is_empty() {
            return;
        }
        let pids = std::cell::RefCell::new(&mut self.pids);
        self.no_room = tree::put_on_list(
            &roots,
            |pid, value| pids.borrow_mut().insert(pid, value, 0).is_ok(),
            // It is gone from the list if the probe was faster.
            |pid| drop(pids.borrow_mut().remove(&pid)),
        );
    }

    /// Processes and cgroups that had no room on their list, if there are more than when last asked.
    pub fn newly_full(&mut self) -> Option<u64> {
        let full = self.full.get(&0, 0).unwrap_or(self.told) + self.no_room as u64;
        (full > std::mem::replace(&mut self.told, full)).then_some(full)
    }
}

fn set(name: &'static str, result: Result<(), MapError>) -> Result<(), Error> {
    result.map_err(|source| Error::Map {
        name,
        source: Box::new(source),
    })
}
