//! Refuses to do anything outside a container.
//!
//! Checked twice: here, before anything else, against what the kernel fixes for the first
//! namespaces of a host, and by `inject`, which compares every namespace of the supervisor with its
//! own and with those of the host's process 1 before it orders an act.

use std::{fs, io, path::PathBuf};

/// Names below `/proc/PID/ns`, in the order in which they are reported.
pub const NAMESPACES: [&str; 7] = ["pid", "mnt", "net", "ipc", "uts", "user", "cgroup"];

/// Namespaces that Docker shares with the host by default; the sandbox shares none.
pub const MAY_BE_SHARED: [&str; 2] = ["user", "cgroup"];

/// Inode numbers of a host's first namespaces: `include/uapi/linux/nsfs.h`, `enum init_ns_ino`
/// (fixed since Linux 3.8; those of net and mnt only since 6.18, so they are compared outside).
const FIRST: [(&str, u64); 3] = [
    ("ipc", 0xEFFF_FFFF),
    ("uts", 0xEFFF_FFFE),
    ("pid", 0xEFFF_FFFC),
];

#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error(
        "this is the host's own {namespace} namespace: it runs only inside a container made by `inject`"
    )]
    Host { namespace: &'static str },
    #[error("cannot tell which namespaces this is: {path:?}: {error}")]
    Unknown { path: PathBuf, error: io::Error },
}

/// Inode numbers of a process's namespaces, in the order of [`NAMESPACES`].
pub fn namespaces(process: &str) -> Result<Vec<u64>, Refusal> {
    NAMESPACES.iter().map(|name| inode(process, name)).collect()
}

fn inode(process: &str, name: &str) -> Result<u64, Refusal> {
    let path = PathBuf::from(format!("/proc/{process}/ns/{name}"));
    let unknown = |error| Refusal::Unknown {
        path: path.clone(),
        error,
    };
    let link = fs::read_link(&path).map_err(unknown)?;
    let text = link.to_string_lossy();
    text.split(['[', ']'])
        .nth(1)
        .and_then(|inode| inode.parse().ok())
        .ok_or_else(|| unknown(io::Error::other(format!("unexpected {text:?}"))))
}

/// Holds only when the first namespaces of the host are not this process's.
pub fn check() -> Result<(), Refusal> {
    for (namespace, first) in FIRST {
        if inode("self", namespace)? == first {
            return Err(Refusal::Host { namespace });
        }
    }
    Ok(())
}
