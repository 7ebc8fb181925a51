//! Re-runs detection over recorded traces: the pipeline, its engines and what comes out of them.

pub mod resolve;
pub mod rules;
pub mod syscalls;
