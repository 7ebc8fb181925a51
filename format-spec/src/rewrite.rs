//! Writes decoded chunks again, as chunks of a derived trace: the common end of recovering, slicing
//! and merging.
//!
//! Chunk becomes chunk, with the watermark it is given; one that would be too large for a writer
//! becomes several. SPEC.md §Derived traces.

use std::io::Write;

use crate::{ChunkBuilder, Context, ContextRecord, Error, Event, Limits, TraceWriter, limits::*};

pub(crate) struct Rewriter<W> {
    builder: ChunkBuilder,
    writer: TraceWriter<W>,
    /// The last promise that was written.
    watermark_ns: u64,
    pub events: u64,
}

impl<W: Write> Rewriter<W> {
    pub fn new(trace_uuid: [u8; 16], out: W) -> Self {
        // As much as the format allows: chunk becomes chunk.
        let limits = Limits {
            rows_max: ROWS_MAX,
            bytes_max: BODY_BYTES_MAX,
            ..Limits::default()
        };
        Rewriter {
            builder: ChunkBuilder::new(trace_uuid, limits),
            writer: TraceWriter::new(out),
            watermark_ns: 0,
            events: 0,
        }
    }

    pub fn context(&mut self, boot_ns: u64, body: Context) -> Result<(), Error> {
        self.make_room()?;
        self.builder.context(ContextRecord { boot_ns, body })
    }

    /// Makes the families known that a chunk describes, before any event of theirs.
    pub fn declare(&mut self, context: &[ContextRecord]) -> Result<(), Error> {
        for record in context {
            if let Context::EventType(ty) = &record.body {
                self.builder.declare(ty)?;
            }
        }
        Ok(())
    }

    pub fn event(&mut self, event: Event) -> Result<(), Error> {
        self.make_room()?;
        self.events += 1;
        self.builder.push(event);
        Ok(())
    }

    /// Strings of the source's chunk that had lost their end before.
    pub fn texts_cut(&mut self, count: u32) {
        self.builder.texts_cut(count);
    }

    pub fn is_empty(&self) -> bool {
        self.builder.is_empty()
    }

    /// Ends the chunk.
    pub fn seal(&mut self, watermark_ns: u64) -> Result<(), Error> {
        self.watermark_ns = self.watermark_ns.max(watermark_ns);
        let chunk = self.builder.seal(self.watermark_ns);
        self.writer.write(&chunk)
    }

    /// Writes the summary; the output, the chunks in it and its bytes.
    pub fn finish(self) -> Result<(W, u64, u64), Error> {
        let chunks = self.builder.next_number();
        let bytes = self.writer.bytes() + self.writer.finish_bytes();
        Ok((self.writer.finish()?, chunks, bytes))
    }

    /// Nothing more is promised in the middle of a chunk than before it.
    fn make_room(&mut self) -> Result<(), Error> {
        if self.builder.is_full() {
            self.seal(self.watermark_ns)?;
        }
        Ok(())
    }
}
