//! One dump: what the ring held when it was asked for, then what comes, as a complete trace.
//!
//! A thread writes it, so that copying a ring of gigabytes holds up neither the capture nor the ring.
//! What may be found on disk: a trace that grows from its oldest chunk on, readable at every moment; it
//! ends with a summary when the dump ends, when the disk is full, and when the recorder stops.

use std::{path::PathBuf, thread};

use anyhow::Context as _;
use crossbeam_channel::{Receiver, Sender, bounded};
use trace_format::{Excerpt, Provenance, ProvenanceSource, SealedChunk};

use super::{Begun, Settings, ring::Kept};
use crate::{
    clock,
    notice::say,
    sinks::{Ending, Sink, file::FileSink},
};

/// Chunks that wait for the disk; with more the capture waits, as for any file.
const CHUNKS_MAX: usize = 64;

/// When a dump ends.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Nothing after this is asked for …
    pub until_ns: u64,
    /// … and nothing after this can be.
    pub latest_ns: u64,
    pub bytes_max: u64,
}

/// A dump that is written.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Written {
    pub path: PathBuf,
    pub reason: String,
    pub from_boot_ns: u64,
    pub to_boot_ns: u64,
    pub chunks: u64,
    pub events: u64,
    pub bytes: u64,
    /// Chunks of the ring that could not be read again.
    pub missing_chunks: u64,
    /// Why it ends before it should; the trace is complete up to there.
    pub failed: Option<String>,
}

pub struct Dump {
    path: PathBuf,
    from_ns: u64,
    bounds: Bounds,
    bytes: u64,
    chunks: Option<Sender<SealedChunk>>,
    thread: thread::JoinHandle<u64>,
}

impl Dump {
    pub fn begin(
        settings: &Settings,
        reason: &str,
        source: ProvenanceSource,
        kept: Vec<Kept>,
        bounds: Bounds,
        written: Sender<Written>,
    ) -> anyhow::Result<Dump> {
        let first = kept
            .first()
            .context("the ring is empty until the next checkpoint; ask again in a moment")?;
        let from_ns = first.first_ns;
        let provenance = Provenance {
            action: "flight".to_owned(),
            tool_version: concat!("rec ", env!("CARGO_PKG_VERSION")).to_owned(),
            arguments: format!("from {from_ns} ns on, {reason}"),
            selected: false,
            sources: vec![source],
        };
        let path = settings
            .pattern
            .free(clock::wall_ns())
            .map_err(anyhow::Error::msg)?;
        let mut file = FileSink::create(&path, false)?;
        if let Some(key) = &settings.key {
            file.sign_with(key.clone());
        }
        let (excerpt, head) = Excerpt::begin(provenance, from_ns, settings.key.clone())?;
        let (chunks, incoming) = bounded(CHUNKS_MAX);
        let bytes = kept.iter().map(Kept::bytes).sum();
        let writer = Writer {
            excerpt,
            file,
            result: Written {
                path: path.clone(),
                reason: reason.to_owned(),
                from_boot_ns: from_ns,
                to_boot_ns: from_ns,
                chunks: 0,
                events: 0,
                bytes: 0,
                missing_chunks: 0,
                failed: None,
            },
        };
        let thread = thread::Builder::new()
            .name("rec-dump".into())
            .spawn(move || writer.run(&head, kept, &incoming, &written))
            .context("cannot start a thread for the dump")?;
        Ok(Dump {
            path,
            from_ns,
            bounds,
            bytes,
            chunks: Some(chunks),
            thread,
        })
    }

    pub fn begun(&self, joined: bool) -> Begun {
        Begun {
            path: self.path.clone(),
            joined,
            from_ns: self.from_ns,
            until_ns: self.bounds.until_ns,
        }
    }

    /// Another trigger wants more, within the bound.
    pub fn extend(&mut self, until_ns: u64) {
        let wanted = self.bounds.until_ns.max(until_ns);
        self.bounds.until_ns = wanted.min(self.bounds.latest_ns);
    }

    pub fn add(&mut self, chunk: &SealedChunk) {
        self.bytes += chunk.bytes.len() as u64;
        // A dump that failed takes no more, and has said so.
        if let Some(chunks) = &self.chunks {
            let _ = chunks.send(chunk.clone());
        }
    }

    /// Everything that was asked for is in it, or as much as may be.
    pub fn is_due(&self, watermark_ns: u64) -> bool {
        watermark_ns >= self.bounds.until_ns || self.bytes >= self.bounds.bytes_max
    }

    pub fn close(&mut self) {
        self.chunks = None;
    }

    pub fn is_written(&self) -> bool {
        self.thread.is_finished()
    }

    /// Bytes of the file, once it is written.
    pub fn wait(self) -> u64 {
        self.thread.join().unwrap_or_default()
    }
}

struct Writer {
    excerpt: Excerpt,
    file: FileSink,
    result: Written,
}

impl Writer {
    fn run(
        mut self,
        head: &SealedChunk,
        kept: Vec<Kept>,
        incoming: &Receiver<SealedChunk>,
        written: &Sender<Written>,
    ) -> u64 {
        let outcome = self.write(head, kept, incoming);
        let end = match &outcome {
            Ok(()) => Ending::Clean,
            Err(error) => Ending::Failed(format!("{error:#}")),
        };
        let finished = Box::new(self.file).finish(&end);
        let mut result = self.result;
        result.failed = outcome
            .err()
            .or_else(|| {
                finished
                    .as_ref()
                    .err()
                    .map(|error| anyhow::anyhow!("{error:#}"))
            })
            .map(|error| format!("{error:#}"));
        result.bytes = finished.unwrap_or_default();
        let bytes = result.bytes;
        // Nobody may be listening any more; the file is there.
        let _ = written.try_send(result);
        bytes
    }

    fn write(
        &mut self,
        head: &SealedChunk,
        kept: Vec<Kept>,
        incoming: &Receiver<SealedChunk>,
    ) -> anyhow::Result<()> {
        self.file.chunk(head)?;
        for chunk in kept {
            match chunk.load() {
                Ok(chunk) => self.carry(&chunk)?,
                Err(error) => {
                    self.result.missing_chunks += 1;
                    say(format_args!(
                        "rec: {}: a chunk of the ring is left out: {error}",
                        self.result.path.display()
                    ));
                }
            }
        }
        for chunk in incoming {
            self.carry(&chunk)?;
        }
        Ok(())
    }

    fn carry(&mut self, source: &SealedChunk) -> anyhow::Result<()> {
        for chunk in self.excerpt.carry(source)? {
            self.file.chunk(&chunk)?;
            self.result.chunks += 1;
        }
        self.result.events += u64::from(source.header.rows);
        self.result.to_boot_ns = self.result.to_boot_ns.max(source.header.last_ns);
        Ok(())
    }
}
