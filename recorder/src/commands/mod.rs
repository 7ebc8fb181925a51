//! One file per command with more to it than the capture itself.

pub mod ctl;
#[cfg(feature = "detect")]
mod detection;
pub mod flight;
#[cfg(feature = "live")]
pub mod live;
#[cfg(feature = "detect")]
mod own;
#[cfg(feature = "detect")]
pub mod top;
