//! Hundreds of threads that want one lock.

use std::{
    io::ErrorKind,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use super::{Act, ActError, Ctx, Info, Kind, Signal};

pub struct ThreadStorm;

static INFO: Info = Info {
    name: "thread_storm",
    kind: Kind::Anomaly,
    attack_id: "T1499",
    about: "up to 500 threads on one lock, as many as the pids limit allows",
    needs: "a pids limit of 600 for all of them",
    signals: &[Signal::ThreadRate, Signal::FutexRate],
};

const STACK_BYTES: usize = 64 << 10;

/// How long a thread holds the lock: long against what waking the next one takes.
const HELD: Duration = Duration::from_micros(500);

impl Act for ThreadStorm {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError> {
        let wanted = ctx.scale(0.0, 500.0).round() as usize;
        let lock = Mutex::new(0u64);
        let turns = AtomicU64::new(0);
        let ctx = &*ctx;
        let started = thread::scope(|scope| {
            for number in 0..wanted {
                let work = || {
                    while !ctx.over() {
                        {
                            // A thread that panicked holding it has only counted.
                            let mut count = lock.lock().unwrap_or_else(PoisonError::into_inner);
                            *count += 1;
                            thread::sleep(HELD);
                        }
                        turns.fetch_add(1, Ordering::Relaxed);
                    }
                };
                match thread::Builder::new()
                    .stack_size(STACK_BYTES)
                    .spawn_scoped(scope, work)
                {
                    Ok(_) => {}
                    // The limit: what there is goes on.
                    Err(error)
                        if matches!(
                            error.kind(),
                            ErrorKind::WouldBlock | ErrorKind::OutOfMemory
                        ) =>
                    {
                        return Ok(number);
                    }
                    Err(error) => return Err(ActError::io("start", "a thread")(error)),
                }
            }
            Ok(wanted)
        })?;
        Ok(format!(
            "{started} of {wanted} threads, {} turns",
            turns.into_inner()
        ))
    }
}
