//! A trace as large as asked: a recording repeated, each time later, until the file is large enough.
//!
//! Times, sequence numbers and the starts of processes move on with each repetition, and the context
//! comes again with its checkpoints, so that the result is what a long recording looks like.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use trace_format::{
    ChunkBuilder, ChunkSource, Context, ContextRecord, Event, EventData, Limits, TraceReader,
    TraceWriter, read_info,
};

/// A repetition starts this long after the end of the one before.
const PAUSE_NS: u64 = 1_000_000;

pub fn grow(trace: &Path, out: &Path, bytes: u64) -> Result<Value> {
    let info = read_info(trace).with_context(|| format!("{}", trace.display()))?;
    ensure!(info.summary.rows > 0, "{} has no events", trace.display());
    let span_ns = info.summary.last_ns - info.summary.first_ns + PAUSE_NS;
    let file = File::create(out).with_context(|| format!("cannot make {}", out.display()))?;
    let mut writer = TraceWriter::new(BufWriter::new(file));
    let mut builder = ChunkBuilder::new([2; 16], Limits::default());
    let mut events = 0;
    for turn in 0.. {
        let shift = Shift {
            ns: turn * span_ns,
            // More than a recording of this size has of one CPU and probe.
            seq: turn * info.summary.rows,
        };
        let mut reader = TraceReader::open(trace)?;
        while let Some(chunk) = reader.next_chunk()? {
            let decoded = chunk.decode()?;
            for record in decoded.context {
                builder.context(shift.record(record))?;
            }
            events += decoded.events.len() as u64;
            for event in decoded.events {
                builder.push(shift.event(event));
            }
            let sealed = builder.seal(decoded.header.watermark_ns + shift.ns);
            writer.write(&sealed)?;
            if writer.bytes() >= bytes {
                let chunks = sealed.header.number + 1;
                let file_bytes = writer.bytes() + writer.finish_bytes();
                writer.finish()?;
                return Ok(json!({"events": events, "chunks": chunks, "trace_bytes": file_bytes}));
            }
        }
    }
    unreachable!("the loop ends when the file is large enough")
}

struct Shift {
    ns: u64,
    seq: u64,
}

impl Shift {
    fn event(&self, mut event: Event) -> Event {
        event.boot_ns += self.ns;
        event.seq += self.seq;
        match &mut event.data {
            EventData::Fork(fork) => fork.child_start_ns += self.ns,
            EventData::Exec(exec) => exec.start_ns += self.ns,
            EventData::Exit(exit) => exit.start_ns += self.ns,
            _ => {}
        }
        event
    }

    fn record(&self, mut record: ContextRecord) -> ContextRecord {
        record.boot_ns += self.ns;
        match &mut record.body {
            Context::Clock(clock) => {
                clock.boot_ns += self.ns;
                clock.wall_ns += self.ns;
            }
            Context::Process(process) => process.start_ns += self.ns,
            _ => {}
        }
        record
    }
}
