//! A recorder's live stream: [`stream`] judges what it says, `client` brings it over the network.

#[cfg(feature = "live")]
mod client;
pub mod stream;

#[cfg(feature = "live")]
pub use client::{Error, LiveSource, Options};
pub use stream::End;
