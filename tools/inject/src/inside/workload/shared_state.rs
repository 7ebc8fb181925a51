//! `stated`: one half of a service in two containers that share an IPC namespace. Each publishes its state
//! in System V shared memory, with a semaphore and a queue, and reads the other's.

use crate::{act::Shared, inside::pace::Pace, sysv::Objects};

/// Messages taken at a time: far more than the other half sends between two looks.
const BATCH: usize = 64;

/// `stated PACE_MILLI SEED PART`
pub fn main(args: &[String]) -> i32 {
    let part = args.get(2).and_then(|part| part.parse().ok());
    let (Some(pace), Some(part)) = (
        args.get(..2).and_then(Pace::from_args),
        part.and_then(Shared::from_number),
    ) else {
        eprintln!("usage: stated PACE_MILLI SEED PART");
        return 2;
    };
    let mut pace = pace.slower(8.0);
    let own = match Objects::make(part.key()) {
        Ok(own) => own,
        Err(error) => {
            eprintln!("error: stated: {error}");
            return 1;
        }
    };
    let mut other = None;
    let mut state = 0;
    loop {
        state += 1;
        own.send(state);
        // The other half may not have begun yet.
        other = other.or_else(|| Objects::find(part.other().key()).ok());
        if let Some(other) = &other {
            (0..BATCH).take_while(|_| other.receive()).count();
        }
        pace.sleep();
    }
}
