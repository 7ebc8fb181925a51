//! A sealed chunk: its bytes, its header, and the way to what is in it.

use std::sync::Arc;

use crate::{
    Error,
    body::Directory,
    column_chunk::{ColumnChunk, decode_times},
    columns,
    decode::{ChunkEvents, DecodedChunk},
    error::hex,
    header::{self, ChunkHeader, FRAME_MAGIC, HASH_LEN, SKIPPABLE_LEN},
    limits::HEADER_BYTES_MAX,
    unpack::{Front, decompress},
};

/// A chunk as it is in the file, in the stream and in memory: the same bytes everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedChunk {
    pub header: ChunkHeader,
    /// The skippable frame with the header, then the zstd frame with the body.
    pub bytes: Arc<[u8]>,
}

impl SealedChunk {
    /// A chunk that fills `bytes`, its hash checked.
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>) -> Result<Self, Error> {
        let bytes = bytes.into();
        let (header, body_at) = split(&bytes)?;
        check_hash(&header, &bytes, body_at)?;
        Ok(SealedChunk { header, bytes })
    }

    /// The zstd frame.
    pub fn body_frame(&self) -> Result<&[u8], Error> {
        let (_, body_at) = split(&self.bytes)?;
        Ok(&self.bytes[body_at..])
    }

    /// Checks the hash, decompresses, and hands out events and context. `bytes` alone counts: the
    /// header is read from there.
    pub fn decode(&self) -> Result<DecodedChunk, Error> {
        self.events().map(ChunkEvents::into_decoded)
    }

    /// The same with each event put together when it is asked for.
    pub fn events(&self) -> Result<ChunkEvents, Error> {
        ChunkEvents::new(self.columns()?, true)
    }

    /// The same, and what events of a family have of their own is read and checked when one of them is
    /// asked for: for who looks at some events, and leaves the others to `verify`.
    pub fn events_as_asked(&self) -> Result<ChunkEvents, Error> {
        ChunkEvents::new(self.columns()?, false)
    }

    /// Checks the hash, decompresses, and hands out columns as they are asked for.
    pub fn columns(&self) -> Result<ColumnChunk, Error> {
        let (header, body_at) = split(&self.bytes)?;
        check_hash(&header, &self.bytes, body_at)?;
        let body = decompress(&header, &self.bytes[body_at..])?;
        ColumnChunk::new(header, body)
    }

    /// Checks the hash and hands out the time of each row, in the table's order. Decompresses no
    /// more than the front of the body.
    pub fn times(&self) -> Result<Vec<u64>, Error> {
        let (header, body_at) = split(&self.bytes)?;
        check_hash(&header, &self.bytes, body_at)?;
        let mut front = Front::new(&self.bytes[body_at..], header.body_len as usize)?;
        let count = front.take(2)?;
        let directory_len = Directory::bytes([count[0], count[1]])?;
        let directory = Directory::read(front.take(directory_len)?)?;
        let entry = directory
            .columns
            .get(&(columns::COMMON_FAMILY, columns::TIME));
        let stored = match entry {
            Some(entry) => {
                let end = entry.at + entry.section.len as usize;
                Some((entry, &front.take(end)?[entry.at..]))
            }
            None => None,
        };
        let mut times = Vec::new();
        decode_times(&header, stored, &mut times)?;
        Ok(times)
    }
}

/// Reads the header and says where the body frame starts; checks every length, not the hash.
fn split(bytes: &[u8]) -> Result<(ChunkHeader, usize), Error> {
    const WHAT: &str = "chunk";
    let mut cursor = crate::wire::Cursor::new(WHAT, bytes);
    let magic = cursor.u32()?;
    if magic != FRAME_MAGIC {
        return Err(Error::malformed(
            WHAT,
            0,
            format_args!("{FRAME_MAGIC:#x}"),
            format_args!("{magic:#x}"),
        ));
    }
    let payload_len = cursor.u32()?;
    Error::limit("chunk header", payload_len.into(), HEADER_BYTES_MAX.into())?;
    let header = ChunkHeader::read(cursor.take(payload_len as usize)?)?;
    if cursor.left() != header.body_compressed_len as usize {
        return Err(Error::malformed(
            WHAT,
            cursor.at(),
            format_args!("a body frame of {} bytes", header.body_compressed_len),
            format_args!("{} bytes", cursor.left()),
        ));
    }
    Ok((header, cursor.at()))
}

fn check_hash(header: &ChunkHeader, bytes: &[u8], body_at: usize) -> Result<(), Error> {
    let expected = header::hash_of(&bytes[SKIPPABLE_LEN..body_at - HASH_LEN], &bytes[body_at..]);
    if expected != header.hash {
        return Err(Error::Hash {
            what: "chunk",
            expected: hex(&expected),
            found: hex(&header.hash),
        });
    }
    Ok(())
}
