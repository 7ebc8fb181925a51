//! What the recorder sees of the world besides the kernel's events. Everything here ends as a
//! record in the trace: nothing downstream asks the host again.

pub mod cgroups;
pub mod containers;
pub mod counts;
#[cfg(feature = "runtimes")]
pub mod cri;
pub mod descriptors;
mod details;
#[cfg(feature = "runtimes")]
pub mod docker;
pub mod emptied;
pub mod host;
pub mod metadata;
pub mod oci;
pub mod processes;
pub mod resources;
#[cfg(feature = "runtimes")]
pub mod runtimes;
#[cfg(not(feature = "runtimes"))]
#[path = "without_runtimes.rs"]
pub mod runtimes;
pub mod watcher;
