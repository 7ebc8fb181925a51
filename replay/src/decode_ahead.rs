//! Decodes chunks on other threads, ahead of the fold that takes them, in order.
//!
//! Decoding needs nothing but the chunk, so the fold gets the same events whatever thread made them, and
//! findings are the same bytes for any number of threads. What is ahead is bounded: [`DecodeAhead::depth`]
//! chunks and [`AHEAD_BYTES_MAX`].

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        mpsc::{self, Receiver, Sender, SyncSender},
    },
    thread,
};

use trace_format::{ChunkEvents, Error, SealedChunk};

/// Decoding threads; one fold cannot use more.
pub const THREADS_MAX: usize = 16;

/// Uncompressed bodies that are ahead, and one more: a few chunks of the usual size, two of the largest.
pub const AHEAD_BYTES_MAX: u64 = 32 << 20;

/// How much of a chunk is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decode {
    Whole,
    /// What all events have; the rest of a family's when one of its events is asked for.
    AsAsked,
}

impl Decode {
    fn of(self, chunk: &SealedChunk) -> Decoded {
        match self {
            Decode::Whole => chunk.events(),
            Decode::AsAsked => chunk.events_as_asked(),
        }
    }
}

type Decoded = Result<ChunkEvents, Error>;
type Job = (SealedChunk, SyncSender<Decoded>);

/// The threads and what they work on, with what the caller wants to know of each chunk.
pub struct DecodeAhead<T> {
    /// `None`: everything is decoded where it is taken.
    jobs: Option<Sender<Job>>,
    decode: Decode,
    depth: usize,
    waiting: VecDeque<(T, u64, Waiting)>,
    /// Uncompressed, of all that wait.
    bytes: u64,
}

enum Waiting {
    Chunk(Box<SealedChunk>),
    Decoded(Receiver<Decoded>),
}

impl<T> DecodeAhead<T> {
    /// With one thread, the caller's, nothing is decoded ahead.
    pub fn new(threads: usize, decode: Decode) -> DecodeAhead<T> {
        let workers = threads.min(THREADS_MAX).saturating_sub(1);
        let (jobs, receiver) = mpsc::channel::<Job>();
        let receiver = Arc::new(Mutex::new(receiver));
        let started = (0..workers)
            .filter(|worker| {
                let receiver = Arc::clone(&receiver);
                let named = thread::Builder::new().name(format!("decode-{worker}"));
                named.spawn(move || work(&receiver, decode)).is_ok()
            })
            .count();
        DecodeAhead {
            jobs: (started > 0).then_some(jobs),
            decode,
            depth: if started > 0 { started + 1 } else { 0 },
            waiting: VecDeque::new(),
            bytes: 0,
        }
    }

    /// Chunks that may be ahead of the fold.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Takes the next chunk.
    pub fn push(&mut self, about: T, chunk: &SealedChunk) {
        let here = || Waiting::Chunk(Box::new(chunk.clone()));
        let waiting = match &self.jobs {
            None => here(),
            Some(jobs) => {
                let (sender, receiver) = mpsc::sync_channel(1);
                match jobs.send((chunk.clone(), sender)) {
                    Ok(()) => Waiting::Decoded(receiver),
                    Err(_) => here(),
                }
            }
        };
        let bytes = u64::from(chunk.header.body_len);
        self.bytes += bytes;
        self.waiting.push_back((about, bytes, waiting));
    }

    /// The oldest chunk, when more than the depth are ahead or they are too large, or in any case with `all`.
    pub fn next(&mut self, all: bool) -> Option<(T, Decoded)> {
        if !all && self.waiting.len() <= self.depth && self.bytes <= AHEAD_BYTES_MAX {
            return None;
        }
        let (about, bytes, waiting) = self.waiting.pop_front()?;
        self.bytes -= bytes;
        let decoded = match waiting {
            Waiting::Chunk(chunk) => self.decode.of(&chunk),
            Waiting::Decoded(receiver) => match receiver.recv() {
                Ok(decoded) => decoded,
                Err(_) => unreachable!("a decoding thread answers every chunk it takes"),
            },
        };
        Some((about, decoded))
    }
}

/// Until nobody sends any more.
fn work(jobs: &Mutex<Receiver<Job>>, decode: Decode) {
    loop {
        let job = {
            let jobs = jobs.lock().unwrap_or_else(|error| error.into_inner());
            jobs.recv()
        };
        let Ok((chunk, answer)) = job else { return };
        // Whoever asked may have gone.
        let _ = answer.send(decode.of(&chunk));
    }
}
