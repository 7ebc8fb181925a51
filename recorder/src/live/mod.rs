//! Sealed chunks to remote readers: the same bytes as in the file, over gRPC.

pub mod hub;
pub mod server;
