//! Puts sealed chunks one behind the other and closes the trace with summary and seek table.
//!
//! What may be found on disk: a chunk is handed to the writer in one `write_all`, nothing is patched
//! afterwards. A file that ends inside a chunk lost that chunk; one without a seek table was not
//! finished, and is read by scanning.

use std::{io::Write, path::PathBuf, sync::Arc};

use crate::{
    Error, SealedChunk, SigningKey,
    summary::{self, Summary},
};

pub struct TraceWriter<W> {
    out: W,
    offset: u64,
    summary: Option<Summary>,
    key: Option<Arc<SigningKey>>,
}

impl<W: Write> TraceWriter<W> {
    pub fn new(out: W) -> Self {
        TraceWriter {
            out,
            offset: 0,
            summary: None,
            key: None,
        }
    }

    /// Has `finish` sign the summary: all chunks, and that these are all.
    pub fn sign_with(&mut self, key: Arc<SigningKey>) {
        self.key = Some(key);
    }

    /// Appends a chunk. The chunks are those of one [`crate::ChunkBuilder`], in order.
    pub fn write(&mut self, chunk: &SealedChunk) -> Result<(), Error> {
        self.put(&chunk.bytes)?;
        let header_len = chunk.bytes.len() as u64 - u64::from(chunk.header.body_compressed_len);
        self.summary
            .get_or_insert_with(|| Summary::new(chunk.header.trace_uuid))
            .add(&chunk.header, self.offset, header_len as u32);
        self.offset += chunk.bytes.len() as u64;
        Ok(())
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.offset
    }

    /// Bytes that `finish` will write: what to keep free on a disk that fills up.
    pub fn finish_bytes(&self) -> u64 {
        self.ending().len() as u64
    }

    /// The totals so far.
    pub fn summary(&self) -> Option<&Summary> {
        self.summary.as_ref()
    }

    pub fn get_ref(&self) -> &W {
        &self.out
    }
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.out
    }

    /// Writes summary and seek table and flushes. A trace without any chunk stays an empty file.
    pub fn finish(mut self) -> Result<W, Error> {
        let ending = self.ending();
        self.put(&ending)?;
        self.out.flush().map_err(|source| Error::Io {
            path: PathBuf::from("the trace"),
            action: "write",
            source,
        })?;
        Ok(self.out)
    }

    fn ending(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Some(mut summary) = self.summary.clone() {
            let sign = |key: &Arc<SigningKey>| key.sign(&summary.signed());
            summary.signature = self.key.as_ref().map(sign);
            summary.write(&mut bytes);
            // A seek table must list every frame; without a whole index there is none.
            if summary.index_complete {
                let summary_len = bytes.len() as u32;
                summary::write_seek_table(&summary, summary_len, &mut bytes);
            }
        }
        bytes
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.out.write_all(bytes).map_err(|source| Error::Io {
            path: PathBuf::from("the trace"),
            action: "write",
            source,
        })
    }
}
