//! What each section of a body weighs in the file: which columns earn their place.
//!
//! zstd blocks end where planes end (`compress`), so most blocks belong to one section. A block that
//! several small ones share is divided by what they are before compression. All weights of a chunk add
//! up to its body's bytes in the file.

use std::{io, ops::Range};

use zstd::zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, get_error_name};

use crate::{
    Error, SealedChunk,
    limits::{BODY_BYTES_MAX, BODY_COMPRESSED_BYTES_MAX},
};

/// What a weight is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Weighed {
    /// The body's directory, zstd's own headers and checksum, sections of an unknown kind.
    Frame,
    Dictionary,
    Context,
    Sequences,
    /// Of a family; family 0: the columns that all events have.
    Column {
        family: u16,
        column: u16,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weight {
    pub of: Weighed,
    pub rows: u32,
    /// Before compression.
    pub raw_bytes: u64,
    pub stored_bytes: u64,
}

impl SealedChunk {
    /// The weights of all sections, in the order of the body, and the frame's at last.
    pub fn weights(&self) -> Result<Vec<Weight>, Error> {
        // Everything is checked here: hash, lengths, directory.
        let columns = self.columns()?;
        let frame = self.body_frame()?;
        let directory = columns.directory();
        let others = [
            (Weighed::Dictionary, directory.dictionary),
            (Weighed::Context, directory.context),
            (Weighed::Sequences, directory.sequences),
        ];
        let columns = directory
            .columns
            .iter()
            .map(|(&(family, column), &entry)| (Weighed::Column { family, column }, Some(entry)));
        let mut spans: Vec<(Range<usize>, Weight)> = others
            .into_iter()
            .chain(columns)
            .filter_map(|(of, entry)| {
                let entry = entry?;
                let len = entry.section.len as usize;
                let weight = Weight {
                    of,
                    rows: entry.section.rows,
                    raw_bytes: len as u64,
                    stored_bytes: 0,
                };
                Some((entry.at..entry.at + len, weight))
            })
            .collect();
        spans.sort_by_key(|(span, _)| span.start);
        let mut frame_bytes = frame.len() as u64;
        let mut first = 0;
        for block in blocks(frame)? {
            while spans
                .get(first)
                .is_some_and(|(span, _)| span.end <= block.raw.start)
            {
                first += 1;
            }
            for (span, weight) in &mut spans[first..] {
                if span.start >= block.raw.end {
                    break;
                }
                let shared = span.end.min(block.raw.end) - span.start.max(block.raw.start);
                let part = (block.stored * shared / block.raw.len()) as u64;
                weight.stored_bytes += part;
                frame_bytes -= part;
            }
        }
        let mut weights: Vec<Weight> = spans.into_iter().map(|(_, weight)| weight).collect();
        let sections: u64 = weights.iter().map(|weight| weight.raw_bytes).sum();
        weights.push(Weight {
            of: Weighed::Frame,
            rows: 0,
            raw_bytes: u64::from(self.header.body_len).saturating_sub(sections),
            stored_bytes: frame_bytes,
        });
        Ok(weights)
    }
}

/// A zstd block: what it decompresses to, never nothing, and its bytes in the file.
struct Block {
    raw: Range<usize>,
    stored: usize,
}

/// The blocks of a frame that is known to be whole.
fn blocks(frame: &[u8]) -> Result<Vec<Block>, Error> {
    let short = || Error::Short {
        what: "zstd frame",
        offset: 0,
        needed: frame.len() as u64 + 1,
        available: frame.len() as u64,
    };
    let failed = |reason: &'static str| Error::Zstd {
        action: "weigh the body",
        source: io::Error::other(reason),
    };
    // Frame header of RFC 8878, §3.1.1.1: magic, descriptor, then fields as the descriptor says.
    let descriptor = *frame.get(4).ok_or_else(short)?;
    let single = usize::from(descriptor >> 5 & 1);
    let content_size = match descriptor >> 6 {
        0 => single,
        flag => 1 << flag,
    };
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let mut at = 5 + (1 - single) + dictionary + content_size;

    let mut zstd = DCtx::try_create().ok_or_else(|| failed("no memory for its context"))?;
    zstd.set_parameter(DParameter::WindowLogMax(BODY_BYTES_MAX.ilog2()))
        .map_err(|code| failed(get_error_name(code)))?;
    // Only lengths are wanted: what comes out is forgotten.
    let mut piece = Vec::with_capacity(DCtx::out_size());
    let mut input = InBuffer::around(frame);
    let mut decompressed = 0;
    let mut blocks = Vec::new();
    loop {
        let [a, b, c] = *frame.get(at..at + 3).ok_or_else(short)? else {
            return Err(short());
        };
        let head = u32::from_le_bytes([a, b, c, 0]);
        let size = match head >> 1 & 3 {
            1 => 1,
            _ => (head >> 3).min(BODY_COMPRESSED_BYTES_MAX) as usize,
        };
        let end = at + 3 + size;
        let fed = frame.get(..end).ok_or_else(short)?;
        let before = decompressed;
        let mut part = InBuffer::around(fed);
        part.set_pos(input.pos());
        loop {
            piece.clear();
            let mut out = OutBuffer::around(&mut piece);
            zstd.decompress_stream(&mut out, &mut part)
                .map_err(|code| failed(get_error_name(code)))?;
            decompressed += piece.len();
            if part.pos() == fed.len() && piece.len() < piece.capacity() {
                break;
            }
        }
        input.set_pos(part.pos());
        if decompressed > before {
            blocks.push(Block {
                raw: before..decompressed,
                stored: end - at,
            });
        }
        at = end;
        if head & 1 == 1 {
            return Ok(blocks);
        }
    }
}
