//! The chunks that subscribers can still have, held once for all of them.
//!
//! A subscriber is only a number: the next chunk it wants. There is no queue per subscriber, so a
//! slow one costs nothing; it falls behind until its chunk is gone and is then told what it missed.
//! The capture only ever appends under a short lock.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;
use trace_format::SealedChunk;

use crate::sinks::{Ending, Sink};

/// Chunks kept for late and slow subscribers. At full load on two cores it is some 20 s of trace,
/// more than two checkpoint intervals; it bounds what live mode adds to the recorder's memory.
pub const HELD_BYTES_MAX: usize = 16 << 20;

/// How the stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    pub clean: bool,
    pub reason: String,
}

#[derive(Default)]
struct State {
    held: VecDeque<SealedChunk>,
    held_bytes: usize,
    next: u64,
    end: Option<End>,
}

impl State {
    fn oldest(&self) -> u64 {
        self.held
            .front()
            .map_or(self.next, |chunk| chunk.header.number)
    }
}

/// Shared by the capture (which appends) and the server (which reads).
pub struct Hub {
    state: Mutex<State>,
    /// Number of the next chunk; changes wake the subscribers. `u64::MAX`: ended.
    changed: watch::Sender<u64>,
    bytes_max: usize,
}

/// What a subscriber gets next.
#[derive(Debug)]
pub enum Next {
    Chunk(Box<SealedChunk>),
    /// These are gone; ask again from the number after the last.
    Missed {
        first: u64,
        last: u64,
    },
    End(End),
    /// Nothing yet.
    Wait,
}

impl Hub {
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Hub {
            state: Mutex::default(),
            changed: watch::Sender::new(0),
            bytes_max,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the list as it was: each change is complete before the lock opens.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a chunk and lets go of the oldest beyond the limit; the newest always stays.
    pub fn push(&self, chunk: SealedChunk) {
        let mut state = self.state();
        state.next = chunk.header.number + 1;
        state.held_bytes += chunk.bytes.len();
        state.held.push_back(chunk);
        while state.held_bytes > self.bytes_max && state.held.len() > 1 {
            if let Some(gone) = state.held.pop_front() {
                state.held_bytes -= gone.bytes.len();
            }
        }
        let next = state.next;
        drop(state);
        self.changed.send_replace(next);
    }

    /// No more chunks will come. The first end counts.
    pub fn end(&self, end: End) {
        self.state().end.get_or_insert(end);
        self.changed.send_replace(u64::MAX);
    }

    /// (oldest held, next to be sealed).
    pub fn range(&self) -> (u64, u64) {
        let state = self.state();
        (state.oldest(), state.next)
    }

    /// Where a subscriber begins that asks for no number: the newest checkpoint, else the oldest chunk.
    pub fn start(&self) -> u64 {
        let state = self.state();
        let checkpoint = state
            .held
            .iter()
            .rev()
            .find(|chunk| chunk.header.has_checkpoint);
        checkpoint.map_or(state.oldest(), |chunk| chunk.header.number)
    }

    /// What a subscriber that wants `number` gets now.
    pub fn next(&self, number: u64) -> Next {
        let state = self.state();
        let oldest = state.oldest();
        if number < oldest {
            return Next::Missed {
                first: number,
                last: oldest - 1,
            };
        }
        // Held numbers are consecutive: one builder numbers them, and only the front is let go.
        match state.held.get((number - oldest) as usize) {
            Some(chunk) => Next::Chunk(Box::new(chunk.clone())),
            None => state.end.clone().map_or(Next::Wait, Next::End),
        }
    }

    /// Wakes at each change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

/// The hub as a sink of the capture.
pub struct HubSink(pub Arc<Hub>);

impl Sink for HubSink {
    fn chunk(&mut self, chunk: &SealedChunk) -> anyhow::Result<()> {
        self.0.push(chunk.clone());
        Ok(())
    }

    fn finish(self: Box<Self>, ending: &Ending) -> anyhow::Result<u64> {
        let (clean, reason) = match ending {
            Ending::Clean => (true, String::new()),
            Ending::Failed(reason) => (false, reason.clone()),
        };
        self.0.end(End { clean, reason });
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::Running;
    use trace_format::{ChunkBuilder, Context, ContextRecord, Limits};

    fn chunks(count: u64, checkpoints: &[u64]) -> Vec<SealedChunk> {
        let mut builder = ChunkBuilder::new([1; 16], Limits::default());
        (0..count)
            .map(|number| {
                let mut add = |body| {
                    builder
                        .context(ContextRecord {
                            boot_ns: number,
                            body,
                        })
                        .unwrap()
                };
                if checkpoints.contains(&number) {
                    add(Context::CheckpointBegin);
                    add(Context::CheckpointEnd);
                }
                add(Context::Tick);
                builder.seal(number)
            })
            .collect()
    }

    #[test]
    fn every_chunk_in_order_then_the_end() {
        let hub = Hub::new(HELD_BYTES_MAX);
        for chunk in chunks(3, &[0]) {
            hub.push(chunk);
        }
        for number in 0..3 {
            assert!(
                matches!(hub.next(number), Next::Chunk(chunk) if chunk.header.number == number)
            );
        }
        assert!(matches!(hub.next(3), Next::Wait));
        let end = End {
            clean: true,
            reason: String::new(),
        };
        hub.end(end.clone());
        assert!(matches!(hub.next(3), Next::End(found) if found == end));
        assert!(
            matches!(hub.next(1), Next::Chunk(_)),
            "the end does not overtake what is held"
        );
    }

    #[test]
    fn a_slow_subscriber_is_told_exactly_what_it_missed() {
        let all = chunks(10, &[]);
        let hub = Hub::new(all[0].bytes.len() * 3 + all[0].bytes.len() / 2);
        for chunk in all {
            hub.push(chunk);
        }
        assert_eq!(hub.range(), (7, 10));
        assert!(matches!(hub.next(2), Next::Missed { first: 2, last: 6 }));
        assert!(matches!(hub.next(7), Next::Chunk(_)));
    }

    #[test]
    fn a_late_subscriber_begins_at_the_newest_checkpoint() {
        let hub = Hub::new(HELD_BYTES_MAX);
        assert_eq!(hub.start(), 0);
        for chunk in chunks(9, &[0, 4]) {
            hub.push(chunk);
        }
        assert_eq!(hub.start(), 4);
    }

    /// It failed once: every end was called clean, also that of a capture whose disk was full.
    #[test]
    fn subscribers_learn_that_a_capture_failed_and_how() {
        let told = |finish: &dyn Fn(Running)| {
            let hub = Hub::new(HELD_BYTES_MAX);
            finish(Running::start(Box::new(HubSink(hub.clone()))));
            loop {
                if let Next::End(end) = hub.next(0) {
                    return end;
                }
                std::thread::yield_now();
            }
        };
        let finished = |ending: Ending| {
            told(&|sink: Running| {
                sink.finish(ending.clone()).unwrap();
            })
        };
        assert!(finished(Ending::Clean).clean);
        let end = finished(Ending::Failed("the disk is full".into()));
        assert_eq!(
            (end.clean, end.reason.as_str()),
            (false, "the disk is full")
        );
        let end = told(&drop);
        assert!(!end.clean && !end.reason.is_empty(), "{end:?}");
    }

    #[test]
    fn memory_is_bounded_but_the_newest_chunk_stays() {
        let hub = Hub::new(0);
        for chunk in chunks(5, &[]) {
            hub.push(chunk);
        }
        assert_eq!(hub.range(), (4, 5));
    }
}
