//! How long the drain waits between its rounds.
//!
//! While there is something to read it looks again after a while, and nobody tells it: to wake somebody costs
//! the observed program microseconds. Once a round found nothing it sleeps, and the probes wake it at the next
//! record: a machine where nothing happens is left alone, and of the first burst after a quiet time no more
//! has come than the rings hold.

use std::{os::fd::BorrowedFd, thread, time::Duration};

use aya::maps::{Array, MapData};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// A round that took at least this many records is followed by a short pause.
const BUSY_RECORDS: usize = 256;
/// Long enough to cost nothing, short enough that a ring of 8 MiB holds more than ten times what the fastest
/// machine writes meanwhile.
const BUSY: Duration = Duration::from_millis(2);
/// What woke the drain can be the first record of many.
const WOKEN: Duration = Duration::from_millis(5);
const CALM: Duration = Duration::from_millis(20);
/// Orders, answers and the clock are looked at as often as this.
const ASLEEP_MAX: Duration = Duration::from_millis(200);

pub struct Pauses {
    /// 1: the probes are to wake whoever waits for a ring buffer.
    asleep: Array<MapData, u64>,
    woken: bool,
}

impl Pauses {
    pub fn new(asleep: Array<MapData, u64>) -> Self {
        Pauses {
            asleep,
            woken: false,
        }
    }

    /// Waits after a round that took so many records, at most `max`; `rings` are the ring buffers.
    pub fn pause(&mut self, taken: usize, max: Duration, rings: [BorrowedFd<'_>; 2]) {
        let woken = std::mem::take(&mut self.woken);
        match taken {
            BUSY_RECORDS.. => thread::sleep(BUSY),
            _ if woken => thread::sleep(WOKEN.min(max)),
            1.. => thread::sleep(CALM.min(max)),
            0 => self.woken = self.sleep(ASLEEP_MAX.min(max), rings),
        }
    }

    /// True: something was written to a ring.
    fn sleep(&mut self, max: Duration, rings: [BorrowedFd<'_>; 2]) -> bool {
        if self.asleep.set(0, 1, 0).is_err() {
            thread::sleep(CALM.min(max));
            return false;
        }
        // What was written before the probes were told shows at once.
        let mut rings = rings.map(|ring| PollFd::new(ring, PollFlags::POLLIN));
        let timeout = PollTimeout::try_from(max).unwrap_or(PollTimeout::ZERO);
        let found = poll(&mut rings, timeout);
        // Where it cannot be taken back, waking goes on: that costs time and loses nothing.
        let _ = self.asleep.set(0, 0, 0);
        match found {
            Ok(ready) => ready > 0,
            Err(_) => {
                thread::sleep(CALM.min(max));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probes::tests::loaded;
    use std::{os::fd::AsFd as _, process::Command, time::Instant};

    /// Nobody looks at the rings for so long that only the probes can end the sleep.
    #[test]
    fn a_record_ends_a_sleep() {
        const LONG: Duration = Duration::from_secs(60);
        let Some(mut probes) = loaded() else {
            return;
        };
        let mut urgent = probes.ring("URGENT").unwrap();
        let mut bulk = probes.ring("BULK").unwrap();
        let mut pauses = Pauses::new(probes.array("ASLEEP").unwrap());
        probes.attach().unwrap();

        let mut acts = Command::new("sh")
            .args(["-c", "while sleep 0.3; do :; done"])
            .spawn()
            .unwrap();
        // What is in the rings before a sleep ends it at once and shows nothing.
        let slept = (0..1_000).find_map(|_| {
            while urgent.next().is_some() || bulk.next().is_some() {}
            let begun = Instant::now();
            let woken = pauses.sleep(LONG, [bulk.as_fd(), urgent.as_fd()]);
            let slept = begun.elapsed();
            (!woken || slept > BUSY).then_some(slept)
        });
        acts.kill().unwrap();
        acts.wait().unwrap();
        assert!(slept.is_some_and(|slept| slept < LONG), "{slept:?}");
    }
}
