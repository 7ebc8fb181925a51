//! Bodies out of their zstd frames: whole, or their front alone.
//!
//! A thread keeps a decompressor and the room of one body of usual size: who reads chunk after chunk
//! gets the same memory again.

use std::{cell::Cell, io};

use zstd::{
    bulk::Decompressor,
    zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, get_error_name},
};

use crate::{Error, header::ChunkHeader, limits::BODY_BYTES_MAX};

/// Full chunks of system calls take some two MiB.
const KEPT_BYTES: usize = 4 << 20;

thread_local! {
    static KEPT: Cell<(Option<Decompressor<'static>>, Vec<u8>)> = const { Cell::new((None, Vec::new())) };
}

/// Takes back the room of a body that [`decompress`] gave.
pub fn keep(body: Vec<u8>) {
    if (1..=KEPT_BYTES).contains(&body.capacity()) {
        // Nothing is kept for a thread that ends.
        let _ = KEPT.try_with(|kept| {
            let (zstd, _) = kept.take();
            kept.set((zstd, body));
        });
    }
}

/// The front of a body, decompressed as far as it is asked for.
pub struct Front<'a> {
    zstd: DCtx<'static>,
    frame: InBuffer<'a>,
    body: Vec<u8>,
    body_len: usize,
}

impl<'a> Front<'a> {
    pub fn new(frame: &'a [u8], body_len: usize) -> Result<Self, Error> {
        let mut zstd = DCtx::try_create().ok_or_else(|| zstd_error("no memory for its context"))?;
        // A window is never larger than the body, whatever the frame says.
        zstd.set_parameter(DParameter::WindowLogMax(BODY_BYTES_MAX.ilog2()))
            .map_err(|code| zstd_error(get_error_name(code)))?;
        Ok(Front {
            zstd,
            frame: InBuffer::around(frame),
            body: Vec::new(),
            body_len,
        })
    }

    /// The first `len` bytes, which [`ChunkHeader::read`] has bounded.
    pub fn take(&mut self, len: usize) -> Result<&[u8], Error> {
        let short = |available: usize| Error::Short {
            what: "body",
            offset: 0,
            needed: len as u64,
            available: available as u64,
        };
        if len > self.body_len {
            return Err(short(self.body_len));
        }
        // zstd fills the room there is.
        self.body.reserve_exact(len.saturating_sub(self.body.len()));
        while self.body.len() < len {
            let before = (self.body.len(), self.frame.pos);
            let mut out = OutBuffer::around_pos(&mut self.body, before.0);
            self.zstd
                .decompress_stream(&mut out, &mut self.frame)
                .map_err(|code| zstd_error(get_error_name(code)))?;
            if (self.body.len(), self.frame.pos) == before {
                return Err(short(before.0));
            }
        }
        Ok(&self.body[..len])
    }
}

fn zstd_error(reason: &'static str) -> Error {
    Error::Zstd {
        action: "decompress the body",
        source: io::Error::other(reason),
    }
}

/// The body, never larger than the header says, which [`ChunkHeader::read`] has bounded.
pub fn decompress(header: &ChunkHeader, frame: &[u8]) -> Result<Vec<u8>, Error> {
    // zstd would read several frames as one; other readers might not.
    let whole = zstd::zstd_safe::find_frame_compressed_size(frame) == Ok(frame.len());
    let stated = zstd::zstd_safe::get_frame_content_size(frame)
        .ok()
        .flatten();
    if !whole || stated != Some(header.body_len.into()) {
        return Err(Error::malformed(
            "body",
            0,
            format_args!("one zstd frame of {} bytes of content", header.body_len),
            format_args!("{} bytes of something else", frame.len()),
        ));
    }
    let (zstd, mut body) = KEPT.take();
    body.clear();
    body.reserve_exact(header.body_len as usize);
    let done = zstd
        .map_or_else(Decompressor::new, Ok)
        .and_then(|mut zstd| {
            let done = zstd.decompress_to_buffer(frame, &mut body);
            KEPT.set((Some(zstd), Vec::new()));
            done
        });
    done.map_err(|source| Error::Zstd {
        action: "decompress the body",
        source,
    })?;
    if body.len() != header.body_len as usize {
        return Err(Error::malformed(
            "body",
            0,
            format_args!("{} bytes", header.body_len),
            body.len(),
        ));
    }
    Ok(body)
}
