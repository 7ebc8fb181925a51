//! The open chunk, and where chunks go when they are sealed.

use std::sync::atomic::Ordering;

use trace_format::{ChunkBuilder, Context, ContextRecord, Event, Mark};

use super::Progress;
use crate::{clock, drain::Chunks, notice, redact::Redact, sinks::Running};

/// The open chunk and where chunks go.
pub struct Output<'a> {
    pub builder: ChunkBuilder,
    pub sinks: Vec<Running>,
    pub sink_failed: bool,
    pub progress: &'a Progress,
    pub events: u64,
    /// Bytes of the current part's chunks.
    pub part_bytes: u64,
    /// Bytes of all chunks.
    pub bytes: u64,
    pub redact: Redact,
    /// The places that the trace's last mark about redaction counts.
    pub redact_told: Option<u64>,
}

impl Chunks for Output<'_> {
    fn event(&mut self, mut event: Event) {
        self.redact.event(&mut event);
        self.builder.push(event);
        self.events += 1;
    }

    fn context(&mut self, mut record: ContextRecord) {
        self.redact.context(&mut record.body);
        if self.builder.is_full() {
            // A watermark never goes back: 0 promises what was promised before. A checkpoint that is
            // larger than a chunk is no longer marked as one.
            self.seal(0);
        }
        // A record over the format's limit is the kernel's or an engine's text gone wild: the trace goes on without it.
        if let Err(error) = self.builder.context(record) {
            notice::say(format_args!("rec: an observation was left out: {error}"));
        }
    }

    fn full(&self) -> bool {
        self.builder.is_full()
    }

    fn seal(&mut self, watermark_ns: u64) {
        if self.builder.is_empty() {
            return;
        }
        let chunk = self.builder.seal(watermark_ns);
        self.progress.events.store(self.events, Ordering::Relaxed);
        self.progress.chunks.fetch_add(1, Ordering::Relaxed);
        self.progress
            .bytes
            .fetch_add(chunk.bytes.len() as u64, Ordering::Relaxed);
        self.bytes += chunk.bytes.len() as u64;
        self.part_bytes += chunk.bytes.len() as u64;
        for sink in &self.sinks {
            self.sink_failed |= !sink.send(chunk.clone());
        }
    }
}

impl Output<'_> {
    /// Says what was taken out so far, if that has changed: the reader of a trace knows that it is not
    /// all there.
    pub fn tell_redacted(&mut self) {
        if self.redact.is_empty() || self.redact_told == Some(self.redact.places) {
            return;
        }
        self.redact_told = Some(self.redact.places);
        let text = format!(
            "{} places in {} texts, by {} patterns",
            self.redact.places,
            self.redact.texts,
            self.redact.patterns()
        );
        self.now(Context::Mark(Mark {
            label: "redacted".to_owned(),
            text,
        }));
    }

    /// An observation at this moment.
    pub fn now(&mut self, body: Context) {
        self.context(ContextRecord {
            boot_ns: clock::boot_ns(),
            body,
        });
    }
}
