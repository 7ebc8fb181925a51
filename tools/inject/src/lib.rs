//! `inject`: labelled anomalies, safely, in containers that already do normal work.
//!
//! Two programs come out of this package. `inject` runs on the host: it plans, starts containers
//! (Docker, or namespaces and cgroups of its own), tells each container when to do what, and writes
//! the labels. `workload` is the static program that a container's image consists of: supervisor,
//! normal workload and acts. They talk over the container's stdin and stdout ([`frame`]).
//!
//! ```text
//! plan ─▶ run ─▶ runtime::{docker, sandbox} ──frame::Order──▶ inside::supervisor ─▶ act::*
//!          └──▶ label  ◀──────────────────────frame::Said─────────┘
//! ```
//!
//! Nothing but the act may tell an injected container from a normal one: same image, same start
//! path, neutral names, and the class crosses into the container as a number in a fixed-size frame.

pub mod act;
pub mod campaign;
pub mod cgroup;
pub mod entropy;
pub mod errand;
pub mod frame;
pub mod image;
pub mod inside;
pub mod interrupt;
pub mod label;
pub mod mark;
pub mod neighbours;
mod netlink;
pub mod pairs;
pub mod payload;
pub mod plan;
pub mod proc;
mod raise;
pub mod record;
pub mod run;
pub mod runtime;
pub mod signal;
pub mod span;
pub mod summary;
pub mod sysv;
pub mod verify;
