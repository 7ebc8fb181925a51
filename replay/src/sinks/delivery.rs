//! Brings messages to a receiver that may be down: a spool, and a thread that sends its first messages
//! until they are taken. Detection never waits for it, except at its end, for as long as the sink says.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread,
    time::{Duration, Instant},
};

use super::{Error, Report, Spec, spool::Spool};

/// Before the second attempt; each later one waits twice as long as the one before.
pub const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// Between attempts at most: a receiver that comes back is found this late.
pub const BACKOFF_MAX: Duration = Duration::from_secs(15);
/// Lines that say why something was dropped.
const REASONS_MAX: usize = 5;

/// Why messages were not taken.
#[derive(Debug)]
pub enum Failure {
    /// It may work later.
    Again(String),
    /// It never will: the receiver does not want these.
    Refused(String),
}

/// How messages are sent.
pub trait Transport: Send {
    /// Messages in one attempt.
    fn most(&self) -> usize;
    fn send(&mut self, messages: &[Vec<u8>]) -> Result<(), Failure>;
}

/// The spool and the thread that empties it.
pub struct Delivery {
    shared: Arc<Shared>,
    wait: Duration,
}

struct Shared {
    state: Mutex<State>,
    /// Something changed in the state.
    changed: Condvar,
}

struct State {
    spool: Spool,
    report: Report,
    /// No message follows.
    ending: bool,
    /// Nobody waits any longer.
    stop: bool,
    stopped: bool,
    /// The last attempt's failure, for the report.
    failure: Option<String>,
}

impl State {
    fn say(&mut self, reason: String) {
        let reasons = &mut self.report.reasons;
        if reasons.len() < REASONS_MAX && !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
}

impl Delivery {
    pub fn start(spec: &Spec, transport: Box<dyn Transport>) -> Result<Delivery, Error> {
        let spool = match &spec.spool {
            None => Spool::in_memory(spec.spool_bytes),
            Some(path) => Spool::open(path, spec.spool_bytes).map_err(|source| Error::File {
                path: path.clone(),
                source,
            })?,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                spool,
                report: Report::default(),
                ending: false,
                stop: false,
                stopped: false,
                failure: None,
            }),
            changed: Condvar::new(),
        });
        let thread_shared = Arc::clone(&shared);
        let name = format!("sink-{}", spec.kind.name());
        thread::Builder::new()
            .name(name.clone())
            .spawn(move || deliver(&thread_shared, transport))
            .map_err(|error| Error::Setup {
                what: name,
                reason: error.to_string(),
            })?;
        Ok(Delivery {
            shared,
            wait: spec.wait,
        })
    }

    /// Takes a message, or counts it as dropped.
    pub fn push(&self, body: Vec<u8>) {
        let mut state = self.shared.lock();
        match state.spool.push(body) {
            Ok(true) => {}
            Ok(false) => {
                state.report.dropped += 1;
                let failure = state.failure.clone();
                let why =
                    failure.unwrap_or_else(|| "the receiver is slower than findings come".into());
                state.say(format!("the spool is full: {why}"));
            }
            Err(error) => {
                state.report.dropped += 1;
                state.say(format!("the spool cannot be written: {error}"));
            }
        }
        self.shared.changed.notify_all();
    }

    /// Waits until everything has arrived, or for as long as the sink says.
    pub fn finish(self) -> Report {
        let deadline = Instant::now() + self.wait;
        let mut state = self.shared.lock();
        state.ending = true;
        self.shared.changed.notify_all();
        while !state.stopped {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.shared.wait(state, left);
        }
        state.stop = true;
        self.shared.changed.notify_all();
        let left = state.spool.len() as u64;
        let failure = state.failure.clone();
        if left > 0 {
            let why = failure.unwrap_or_else(|| "the time to wait was over".into());
            state.say(why);
        }
        let mut report = std::mem::take(&mut state.report);
        match state.spool.on_disk() {
            true => report.kept += left,
            false => report.dropped += left,
        }
        report
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A thread that panicked has left counts, no broken structure.
        self.state.lock().unwrap_or_else(|error| error.into_inner())
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, most: Duration) -> MutexGuard<'a, State> {
        match self.changed.wait_timeout(state, most) {
            Ok((state, _)) => state,
            Err(error) => error.into_inner().0,
        }
    }
}

fn deliver(shared: &Shared, mut transport: Box<dyn Transport>) {
    let mut backoff = BACKOFF_MIN;
    let mut state = shared.lock();
    while !state.stop {
        let messages = state.spool.first(transport.most());
        if messages.is_empty() {
            if state.ending {
                break;
            }
            state = shared.wait(state, BACKOFF_MAX);
            continue;
        }
        drop(state);
        let sent = transport.send(&messages);
        state = shared.lock();
        // After the end was reported as it stood then, nothing may change it: what was sent late is sent again.
        if state.stop {
            break;
        }
        match sent {
            Ok(()) => {
                state.spool.pop(messages.len());
                state.report.delivered += messages.len() as u64;
                state.failure = None;
                backoff = BACKOFF_MIN;
            }
            Err(Failure::Refused(reason)) => {
                state.spool.pop(messages.len());
                state.report.dropped += messages.len() as u64;
                state.say(reason);
                backoff = BACKOFF_MIN;
            }
            Err(Failure::Again(reason)) => {
                state.failure = Some(reason);
                // New messages do not make a receiver come back sooner.
                let until = Instant::now() + backoff;
                while !state.stop && Instant::now() < until {
                    let left = until.saturating_duration_since(Instant::now());
                    state = shared.wait(state, left);
                }
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        }
    }
    state.stopped = true;
    drop(state);
    shared.changed.notify_all();
}
