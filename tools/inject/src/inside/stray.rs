//! What the program does under a name that it does not know: when an act dropped it as a new file.

use std::{fs, time::Duration};

/// Long enough for `inject` to see its pid, short against the pause between two drops.
const LIFE: Duration = Duration::from_millis(300);

pub fn main() -> i32 {
    // A look around, as a first stage does; what it reads is dropped.
    let seen = ["/proc/self/status", "/etc/os-release", "/proc/mounts"].map(fs::read);
    std::thread::sleep(LIFE);
    i32::from(seen.iter().all(Result::is_err))
}
