//! The live service (`proto/live.proto`): generated client, server and messages.
//!
//! The stream carries sealed chunks as opaque bytes, so everything this crate promises of a file
//! holds for a stream: `SealedChunk::from_bytes` on each `chunk`.

/// Largest message: one chunk of the largest header and body, and the envelope around it.
/// For tonic's `max_decoding_message_size` and `max_encoding_message_size`.
pub const MESSAGE_BYTES_MAX: usize = crate::limits::HEADER_BYTES_MAX as usize
    + crate::limits::BODY_COMPRESSED_BYTES_MAX as usize
    + 1024;

#[allow(clippy::all, missing_docs)]
mod generated {
    tonic::include_proto!("trailcam.live.v1");
}

pub use generated::*;
