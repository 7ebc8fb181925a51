//! Re-runs detection over recorded traces: the pipeline, its engines and what comes out of them.
//!
//! Start with [`pipeline`]: it says how a chunk becomes findings. Everything here but [`source`] and
//! `live` is a pure fold over records.

mod ahead;
mod append;
pub mod artifact;
pub mod decode_ahead;
pub mod edges;
pub mod event_json;
pub mod event_names;
pub mod event_text;
pub mod event_view;
#[cfg(feature = "export")]
pub mod export;
pub mod features;
pub mod findings;
pub mod gate;
pub mod graph;
pub mod import;
mod incident_json;
pub mod incidents;
#[cfg(feature = "messages")]
pub mod live;
pub mod lives;
pub mod model_detector;
pub mod order;
pub mod parts;
pub mod passed;
pub mod performance;
pub mod pipeline;
mod plain;
pub mod resolve;
pub mod rules;
mod rules_detector;
pub mod seek;
pub mod select;
#[cfg(feature = "sinks")]
pub mod sinks;
pub mod skip;
pub mod source;
pub mod statistics;
pub mod syscalls;
pub mod time;
pub mod walk;
