//! The list of sensitive files: opening one is always recorded, in every profile, and in `standard`
//! so is each of its reads and writes.
//!
//! The list is names of files and of directories, because that is what the probes can compare while
//! they walk a path: a file `shadow` counts wherever it lies, and in whichever container. A file that
//! is named like a sensitive one is recorded too; the other way round nothing is left out.

use recorder_ebpf::{LISTED_NAME_BYTES_MAX, ListedName, listed};

const FILES: &[&str] = &[
    "shadow",
    "shadow-",
    "gshadow",
    "passwd",
    "sudoers",
    "environ",
    "docker.sock",
    "containerd.sock",
    "crio.sock",
    "podman.sock",
    "authorized_keys",
    "id_rsa",
    "id_ecdsa",
    "id_ed25519",
    ".netrc",
    ".pgpass",
    "core_pattern",
    "release_agent",
    "kubeconfig",
    "sysrq-trigger",
    "kcore",
];

/// Everything in them and two levels below: [`listed::DEPTH`] names are compared, the file's among them.
/// (`light`, which does not walk paths, compares the directory that the file is in.)
const DIRECTORIES: &[&str] = &[
    ".ssh",
    ".aws",
    ".kube",
    ".docker",
    ".gnupg",
    "serviceaccount",
    "sudoers.d",
];

/// What the probes look up, and their first test.
pub struct List {
    pub names: Vec<(ListedName, u32)>,
    pub bits: u64,
}

pub fn list() -> List {
    let files = FILES.iter().map(|name| (key(name), listed::FILE));
    let directories = DIRECTORIES
        .iter()
        .map(|name| (key(name), listed::DIRECTORY));
    let names: Vec<_> = files
        .chain(directories)
        .filter_map(|(name, place)| Some((name?, place)))
        .collect();
    let bits = names
        .iter()
        .fold(0, |bits, (name, _)| bits | listed::bit(name[0]));
    List { names, bits }
}

/// None: longer than a name on the list can be.
fn key(name: &str) -> Option<ListedName> {
    let mut bytes = [0; 16];
    bytes
        .get_mut(..name.len())
        .filter(|_| name.len() <= LISTED_NAME_BYTES_MAX)?
        .copy_from_slice(name.as_bytes());
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
    Some([word(0), word(8)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_fits_and_stands_once() {
        let list = list();
        assert_eq!(list.names.len(), FILES.len() + DIRECTORIES.len());
        assert!(list.names.len() < recorder_ebpf::LISTED_NAMES_MAX as usize);
        let mut names: Vec<_> = list.names.iter().map(|(name, _)| name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), list.names.len());
        assert!(
            list.bits.count_ones() < 40,
            "the first test still sorts out"
        );
    }
}
