//! `rec`'s parts: probes → drain → decode → observe → seal → sinks. See ARCHITECTURE.md for the flow.

pub mod btf;
pub mod calls;
pub mod capture;
mod casts;
pub mod check;
pub mod clock;
pub mod control;
pub mod decode;
pub mod details;
pub mod dns;
pub mod drain;
pub mod filter;
pub mod flight;
pub mod http;
pub mod io_calls;
pub mod key;
pub mod listed;
#[cfg(feature = "live")]
pub mod live;
mod mapping;
pub mod notice;
pub mod observe;
pub mod own;
pub mod pairs;
mod pauses;
pub mod policy;
pub mod privileges;
pub mod probes;
pub mod redact;
pub mod rotation;
pub mod sinks;
pub mod switch;
pub mod target;
#[cfg(feature = "detect")]
pub mod top;
