//! Where sealed chunks go. Every sink gets the same bytes, in order, on a thread of its own.

#[cfg(feature = "detect")]
pub mod detect;
pub mod file;
pub mod parts;
pub mod pipe;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use crossbeam_channel::{Receiver, Sender, bounded};
use trace_format::SealedChunk;

/// Sealed chunks that wait for a sink. At one chunk a second it is a minute; at full load it bounds
/// memory to some tens of MiB, and then a slow disk holds the drain back and the rings count what is lost.
const CHUNKS_MAX: usize = 64;

/// Events of chunks that a sink could not keep, since the start: (CPU, probe) → how many.
pub type Lost = BTreeMap<(u16, u8), u64>;

/// A destination of sealed chunks.
pub trait Sink: Send {
    /// Takes the next chunk.
    fn chunk(&mut self, chunk: &SealedChunk) -> anyhow::Result<()>;
    /// A trace of another UUID is about to begin: makes room for it, so that it cannot fail for want
    /// of that. Until it begins, chunks of the current one go on coming.
    fn prepare(&mut self, _part: u32) -> anyhow::Result<()> {
        Ok(())
    }
    /// The part that has ended before its time, where it is the current one: it takes no more chunks, and
    /// the next one should begin.
    fn ended_part(&self) -> Option<u32> {
        None
    }
    /// What it could not keep, if there is any.
    fn lost(&self) -> Option<&Lost> {
        None
    }
    /// No more chunks come. Bytes written in all.
    fn finish(self: Box<Self>, ending: &Ending) -> anyhow::Result<u64>;
}

/// Why no more chunks come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The capture ended as it was asked to.
    Clean,
    /// It could not go on.
    Failed(String),
}

/// More than a part's number can be.
const NO_PART: u64 = u64::MAX;

/// Of a capture that let go of its sinks without a word.
const ABANDONED: &str = "the capture ended before it was finished";

enum Order {
    Chunk(Box<SealedChunk>),
    Prepare(u32),
}

/// A sink at work on its thread.
pub struct Running {
    orders: Option<Sender<Order>>,
    prepared: Receiver<anyhow::Result<()>>,
    ending: Arc<Mutex<Ending>>,
    failed: Arc<AtomicBool>,
    /// [`NO_PART`]: none.
    ended_part: Arc<AtomicU64>,
    lost: Arc<Mutex<Lost>>,
    thread: thread::JoinHandle<anyhow::Result<u64>>,
}

impl Running {
    pub fn start(mut sink: Box<dyn Sink>) -> Self {
        let (orders, incoming) = bounded::<Order>(CHUNKS_MAX);
        let (answer, prepared) = bounded(1);
        let ending = Arc::new(Mutex::new(Ending::Failed(ABANDONED.to_owned())));
        let failed = Arc::new(AtomicBool::new(false));
        let ended_part = Arc::new(AtomicU64::new(NO_PART));
        let lost = Arc::new(Mutex::new(Lost::new()));
        let (told, has_failed) = (ending.clone(), failed.clone());
        let (ended, loses) = (ended_part.clone(), lost.clone());
        let thread = thread::Builder::new()
            .name("rec-sink".into())
            .spawn(move || {
                let mut failure = None;
                for order in incoming {
                    match order {
                        Order::Chunk(chunk) => {
                            if let Err(error) = sink.chunk(&chunk) {
                                has_failed.store(true, Ordering::Release);
                                failure = Some(error);
                                break;
                            }
                            if let Some(now) = sink.lost() {
                                loses
                                    .lock()
                                    .unwrap_or_else(PoisonError::into_inner)
                                    .clone_from(now);
                            }
                            let part = sink.ended_part().map_or(NO_PART, u64::from);
                            ended.store(part, Ordering::Release);
                        }
                        // One answer for each question; nobody asks again before it is taken.
                        Order::Prepare(part) => {
                            let _ = answer.try_send(sink.prepare(part));
                        }
                    }
                }
                // What was written before a failure is still finished: it is a complete trace up to there.
                let ending = told.lock().unwrap_or_else(PoisonError::into_inner);
                let finished = sink.finish(&ending);
                match failure {
                    Some(error) => Err(error),
                    None => finished,
                }
            })
            .expect("a thread for a sink: the process may start threads");
        Running {
            orders: Some(orders),
            prepared,
            ending,
            failed,
            ended_part,
            lost,
            thread,
        }
    }

    /// Hands a chunk over, waiting while the sink is behind. False: the sink has failed and takes no more.
    pub fn send(&self, chunk: SealedChunk) -> bool {
        self.orders
            .as_ref()
            .is_some_and(|orders| orders.send(Order::Chunk(Box::new(chunk))).is_ok())
    }

    /// Asks the sink to make room for the next part; false: it has no time for that now.
    pub fn prepare(&self, part: u32) -> bool {
        self.orders
            .as_ref()
            .is_some_and(|orders| orders.try_send(Order::Prepare(part)).is_ok())
    }

    /// The answer to [`Running::prepare`], once.
    pub fn prepared(&self) -> Option<anyhow::Result<()>> {
        self.prepared.try_recv().ok()
    }

    /// It waits for the part after this one.
    pub fn ended_part(&self) -> Option<u32> {
        u32::try_from(self.ended_part.load(Ordering::Acquire)).ok()
    }

    /// What it could not keep so far.
    pub fn lost(&self) -> Lost {
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        lost.clone()
    }

    /// It takes no more.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Ends the sink; its first error, or the bytes it wrote.
    pub fn finish(mut self, ending: Ending) -> anyhow::Result<u64> {
        *self.ending.lock().unwrap_or_else(PoisonError::into_inner) = ending;
        self.orders = None;
        self.thread
            .join()
            .unwrap_or_else(|_| anyhow::bail!("the thread of a sink panicked"))
    }
}
