//! Captures of other recorders, turned into traces.

pub(crate) mod block_text;
pub mod native;
pub mod scap;
