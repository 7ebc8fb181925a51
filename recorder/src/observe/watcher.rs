//! The once-a-second observer: resources, counts of system calls, and the process snapshot.
//!
//! Runs beside the drain, because reading files of a hundred containers takes longer than the
//! rings can wait. While a batch is being made its start time holds the watermark back, so that
//! what it observed is never late.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use trace_format::{ContextRecord, Event, EventData};

use super::{
    cgroups::Cgroups,
    counts::{Counts, observed},
    processes,
    resources::Resources,
};
use crate::{clock, io_calls::Calls};

/// Batches that wait for the drain.
const BATCHES_MAX: usize = 4;
const PERIOD: Duration = Duration::from_secs(1);

/// What one round observed.
#[derive(Default)]
pub struct Batch {
    /// When it was begun: nothing in it is older.
    pub floor_ns: u64,
    pub context: Vec<ContextRecord>,
    pub events: Vec<Event>,
}

/// Shared with the drain.
pub struct Shared {
    /// Start of the batch that is being made; `u64::MAX`: none.
    pub floor_ns: AtomicU64,
    /// (cgroup id, path) of the containers to sample.
    pub sampled: Mutex<Vec<(u64, String)>>,
    /// Entries of the table of counts, and of descriptors in the last second.
    pub counted: AtomicU64,
    pub descriptors: AtomicU64,
    /// Calls that the drain found counted beside the table of counts.
    calls: Mutex<Calls>,
}

pub struct Watcher {
    pub batches: Receiver<Batch>,
    pub shared: Arc<Shared>,
    orders: Option<Sender<Order>>,
    thread: Option<thread::JoinHandle<()>>,
}

enum Order {
    /// Include a process snapshot in the next batch.
    Snapshot,
}

impl Watcher {
    /// Starts the thread; the first batch, with a process snapshot, comes at once.
    pub fn start(cgroups: Cgroups, counts: Counts, samples: bool) -> Self {
        let shared = Arc::new(Shared {
            floor_ns: AtomicU64::new(u64::MAX),
            sampled: Mutex::default(),
            counted: AtomicU64::new(0),
            descriptors: AtomicU64::new(0),
            calls: Mutex::default(),
        });
        let (sender, batches) = bounded(BATCHES_MAX);
        let (orders, ordered) = bounded(1);
        let state = State {
            resources: samples.then(|| Resources::new(&cgroups)),
            cgroups,
            counts,
            shared: shared.clone(),
        };
        let thread = thread::Builder::new()
            .name("rec-watch".into())
            .spawn(move || state.run(&sender, &ordered))
            .expect("a thread for the observer: the process may start threads");
        Watcher {
            batches,
            shared,
            orders: Some(orders),
            thread: Some(thread),
        }
    }

    /// Hands over calls that were counted elsewhere, for the next batch.
    pub fn count(&self, calls: &mut Calls) {
        if !calls.is_empty()
            && let Ok(mut all) = self.shared.calls.try_lock()
        {
            for (key, times) in calls.drain() {
                *all.entry(key).or_default() += times;
            }
        }
    }

    /// Asks for a process snapshot in the next batch.
    pub fn snapshot(&self) {
        if let Some(orders) = &self.orders {
            // Full: one is on its way already.
            let _ = orders.try_send(Order::Snapshot);
        }
    }

    /// Ends the thread and returns what it had still observed, counts included.
    pub fn stop(&mut self) -> Vec<Batch> {
        self.orders = None;
        let mut rest = Vec::new();
        loop {
            match self.batches.recv_timeout(PERIOD) {
                Ok(batch) => rest.push(batch),
                Err(RecvTimeoutError::Disconnected) => {
                    if let Some(thread) = self.thread.take() {
                        // A panic of the observer has been reported by the panic hook; the trace goes on without it.
                        let _ = thread.join();
                    }
                    break;
                }
                // A read of /proc hangs: the trace ends without it.
                Err(RecvTimeoutError::Timeout) => break,
            }
        }
        rest
    }
}

/// How a round ended.
enum Sent {
    Done,
    /// The batch before is still under way: this round is left out.
    Held,
    /// Nobody takes batches any more.
    Closed,
}

struct State {
    cgroups: Cgroups,
    counts: Counts,
    /// None: no samples are wanted.
    resources: Option<Resources>,
    shared: Arc<Shared>,
}

impl State {
    fn run(mut self, batches: &Sender<Batch>, orders: &Receiver<Order>) {
        let mut snapshot = true;
        loop {
            let held = match self.send(batches, snapshot) {
                Sent::Done => false,
                Sent::Held => snapshot,
                Sent::Closed => return,
            };
            snapshot = match orders.recv_timeout(PERIOD) {
                Ok(Order::Snapshot) => true,
                Err(RecvTimeoutError::Timeout) => held,
                Err(RecvTimeoutError::Disconnected) => {
                    // The last counts; whether anybody still wants them shows in the sending.
                    self.shared.floor_ns.store(u64::MAX, Ordering::Release);
                    let _ = self.send(batches, false);
                    return;
                }
            };
        }
    }

    /// Makes a batch and hands it over.
    fn send(&mut self, batches: &Sender<Batch>, snapshot: bool) -> Sent {
        if self.shared.floor_ns.load(Ordering::Acquire) != u64::MAX {
            // The drain still has the last batch before it, and its floor must stand until then.
            return Sent::Held;
        }
        self.counts.turn();
        let mut batch = Batch {
            floor_ns: clock::boot_ns(),
            ..Batch::default()
        };
        self.shared
            .floor_ns
            .store(batch.floor_ns, Ordering::Release);
        if snapshot {
            batch.context = processes::snapshot(&self.cgroups);
        }
        self.sample(&mut batch.events);
        let beside = self
            .shared
            .calls
            .lock()
            .map(|mut calls| std::mem::take(&mut *calls))
            .unwrap_or_default();
        let (counted, descriptors) = self.counts.take(beside, &mut batch.events);
        self.shared.counted.store(counted as u64, Ordering::Relaxed);
        self.shared
            .descriptors
            .store(descriptors as u64, Ordering::Relaxed);
        match batches.send(batch) {
            Ok(()) => Sent::Done,
            Err(_) => Sent::Closed,
        }
    }

    fn sample(&mut self, events: &mut Vec<Event>) {
        let Some(resources) = &mut self.resources else {
            return;
        };
        let sampled = self
            .shared
            .sampled
            .lock()
            .map(|list| list.clone())
            .unwrap_or_default();
        resources.round(&self.cgroups, &sampled, |cgroup_id, sample| {
            events.push(observed(cgroup_id, EventData::Sample(Box::new(sample))));
        });
    }
}
