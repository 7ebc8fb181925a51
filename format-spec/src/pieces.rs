//! An input cut into what it consists of: frames that hold, and the stretches between them that do
//! not. Nothing is left out, so that whoever rewrites a trace can account for every byte.

use crate::{
    Error, IssueKind, SealedChunk, Summary,
    frames::{Found, Frames},
};

pub(crate) enum Piece {
    /// Its hash holds.
    Chunk(Box<SealedChunk>),
    Summary(Box<Summary>),
    SeekTable,
    /// A frame of a kind that this version does not know; its hash holds.
    Unknown,
    /// No frame, or frames that fail their checks, up to the next one that holds.
    Damage(IssueKind),
}

pub(crate) struct Placed {
    pub offset: u64,
    pub bytes: u64,
    pub piece: Piece,
}

/// The piece at the current position; `None` at the end of the input.
pub(crate) fn next(frames: &mut Frames) -> Result<Option<Placed>, Error> {
    let offset = frames.input.offset();
    let mut damage = None;
    loop {
        let piece = match frames.examine(true)? {
            Found::Bad(what) => {
                damage.get_or_insert(what);
                frames.resynchronise()?;
                continue;
            }
            // Looked at again by the next call: damage ends here.
            _ if damage.is_some() => break,
            Found::End => return Ok(None),
            Found::Chunk(candidate) => {
                let chunk = candidate.chunk.expect("whole frames were asked for");
                frames.input.consume(chunk.bytes.len());
                Piece::Chunk(Box::new(chunk))
            }
            Found::Summary(summary, len) => {
                frames.input.consume(len);
                Piece::Summary(summary)
            }
            Found::SeekTable(len) => {
                frames.input.consume(len);
                Piece::SeekTable
            }
            Found::Unknown(len) => {
                frames.input.consume(len);
                Piece::Unknown
            }
        };
        return Ok(Some(Placed {
            offset,
            bytes: frames.input.offset() - offset,
            piece,
        }));
    }
    Ok(damage.map(|what| Placed {
        offset,
        bytes: frames.input.offset() - offset,
        piece: Piece::Damage(what),
    }))
}
