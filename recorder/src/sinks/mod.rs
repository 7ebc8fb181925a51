//! Where sealed chunks go. Every sink gets the same bytes, in order, on a thread of its own.

#[cfg(feature = "detect")]
pub mod detect;
pub mod file;

use std::thread;

use crossbeam_channel::{Sender, bounded};
use trace_format::SealedChunk;

/// Sealed chunks that wait for a sink. At one chunk a second it is a minute; at full load it bounds
/// memory to some tens of MiB, and then a slow disk holds the drain back and the rings count what is lost.
const CHUNKS_MAX: usize = 64;

/// A destination of sealed chunks.
pub trait Sink: Send {
    /// Takes the next chunk.
    fn chunk(&mut self, chunk: &SealedChunk) -> anyhow::Result<()>;
    /// No more chunks come. Bytes written in all.
    fn finish(self: Box<Self>) -> anyhow::Result<u64>;
}

/// A sink at work on its thread.
pub struct Running {
    chunks: Option<Sender<SealedChunk>>,
    thread: thread::JoinHandle<anyhow::Result<u64>>,
}

impl Running {
    pub fn start(mut sink: Box<dyn Sink>) -> Self {
        let (chunks, incoming) = bounded::<SealedChunk>(CHUNKS_MAX);
        let thread = thread::Builder::new()
            .name("rec-sink".into())
            .spawn(move || {
                let mut failure = None;
                for chunk in incoming {
                    if let Err(error) = sink.chunk(&chunk) {
                        failure = Some(error);
                        break;
                    }
                }
                // What was written before a failure is still finished: it is a complete trace up to there.
                let finished = sink.finish();
                match failure {
                    Some(error) => Err(error),
                    None => finished,
                }
            })
            .expect("a thread for a sink: the process may start threads");
        Running {
            chunks: Some(chunks),
            thread,
        }
    }

    /// Hands a chunk over, waiting while the sink is behind. False: the sink has failed and takes no more.
    pub fn send(&self, chunk: SealedChunk) -> bool {
        self.chunks
            .as_ref()
            .is_some_and(|chunks| chunks.send(chunk).is_ok())
    }

    /// Ends the sink; its first error, or the bytes it wrote.
    pub fn finish(mut self) -> anyhow::Result<u64> {
        self.chunks = None;
        self.thread
            .join()
            .unwrap_or_else(|_| anyhow::bail!("the thread of a sink panicked"))
    }
}
