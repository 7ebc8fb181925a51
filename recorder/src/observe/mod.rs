//! What the recorder sees of the world besides the kernel's events. Everything here ends as a
//! record in the trace: nothing downstream asks the host again.

pub mod cgroups;
pub mod containers;
pub mod counts;
pub mod cri;
pub mod descriptors;
mod details;
pub mod docker;
pub mod emptied;
pub mod host;
pub mod oci;
pub mod processes;
pub mod resources;
pub mod runtimes;
pub mod watcher;
