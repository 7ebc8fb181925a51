//! The zstd frame of a body. Its blocks end where planes end, so that bytes with different
//! statistics do not share an entropy table, a plane of one value becomes three bytes, and a
//! reader that wants the front of a body decompresses no more than that.

use zstd::zstd_safe::{
    CCtx, CParameter, InBuffer, OutBuffer, ResetDirective, compress_bound, get_error_name,
};

/// A block of its own costs a header and an entropy table, about a hundred bytes: shorter pieces are
/// put together.
pub const PIECE_BYTES_MIN: usize = 4 << 10;

pub struct Compressor(CCtx<'static>);

impl Compressor {
    /// # Panics
    /// When zstd cannot allocate its context.
    pub fn new(level: i32) -> Self {
        let mut zstd = CCtx::create();
        for parameter in [
            CParameter::CompressionLevel(level),
            CParameter::ChecksumFlag(true),
            CParameter::ContentSizeFlag(true),
        ] {
            done(zstd.set_parameter(parameter));
        }
        Compressor(zstd)
    }

    /// Makes `frame` the frame of directory and payloads, a block ending at each of `cuts` in the
    /// payloads, which are ascending.
    pub fn compress(&mut self, directory: &[u8], body: &[u8], cuts: &[usize], frame: &mut Vec<u8>) {
        let len = directory.len() + body.len();
        frame.clear();
        // Room for the header of a block at each cut, beyond what zstd asks for in the worst case.
        frame.reserve(compress_bound(len) + 8 * (cuts.len() + 1));
        let zstd = &mut self.0;
        done(zstd.reset(ResetDirective::SessionOnly));
        done(zstd.set_pledged_src_size(Some(len as u64)));
        let mut out = OutBuffer::around(frame);
        let mut front = InBuffer::around(directory);
        while front.pos < front.src.len() {
            done(zstd.compress_stream(&mut out, &mut front));
        }
        let mut start = 0;
        for end in cuts.iter().copied().chain([body.len()]) {
            if end - start < PIECE_BYTES_MIN && end < body.len() {
                continue;
            }
            let mut piece = InBuffer::around(&body[start..end]);
            while piece.pos < piece.src.len() {
                done(zstd.compress_stream(&mut out, &mut piece));
            }
            if end < body.len() {
                while done(zstd.flush_stream(&mut out)) > 0 {}
            }
            start = end;
        }
        while done(zstd.end_stream(&mut out)) > 0 {}
    }
}

/// What zstd cannot refuse: parameters it knows, and output into a buffer that is large enough.
fn done(result: Result<usize, usize>) -> usize {
    result.unwrap_or_else(|code| panic!("zstd: {}", get_error_name(code)))
}
