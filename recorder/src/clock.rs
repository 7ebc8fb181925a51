//! The two clocks of a trace.

use nix::time::{ClockId, clock_gettime};

fn nanoseconds(clock: ClockId) -> u64 {
    // Neither clock can fail on a kernel that runs these probes.
    let time = clock_gettime(clock).expect("CLOCK_BOOTTIME and CLOCK_REALTIME exist");
    time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
}

/// `CLOCK_BOOTTIME`: the clock of every event.
pub fn boot_ns() -> u64 {
    nanoseconds(ClockId::CLOCK_BOOTTIME)
}

/// `CLOCK_REALTIME`, since the Unix epoch.
pub fn wall_ns() -> u64 {
    nanoseconds(ClockId::CLOCK_REALTIME)
}
