//! One file per command with more to it than the capture itself.

pub mod live;
