//! One file per command with more to it than the capture itself.

pub mod ctl;
pub mod live;
