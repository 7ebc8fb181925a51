//! Spins threads under the container's CPU limit, as a hidden miner would.

use std::{
    hint,
    time::{Duration, Instant},
};

use super::{Act, ActError, Ctx, Info, Kind, Signal};

pub struct CpuHog;

static INFO: Info = Info {
    name: "cpu_hog",
    kind: Kind::Anomaly,
    attack_id: "T1496.001",
    about: "spins 1 to 4 threads, busy for the given share of the time",
    needs: "a CPU limit",
    signals: &[Signal::CpuTime, Signal::Throttled],
};

/// Busy and idle alternate within this: short against the 1 s of a resource sample.
const PERIOD: Duration = Duration::from_millis(50);

impl Act for CpuHog {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError> {
        let threads = ctx.scale(1.0, 4.0).round() as u32;
        let busy = PERIOD.mul_f64(ctx.intensity);
        let ctx = &*ctx;
        let rounds: u64 = std::thread::scope(|scope| {
            let spinners: Vec<_> = (1..threads)
                .map(|_| scope.spawn(|| spin(ctx, busy)))
                .collect();
            let own = spin(ctx, busy);
            // A spinner only computes: it cannot panic.
            own + spinners
                .into_iter()
                .map(|spinner| spinner.join().unwrap_or(0))
                .sum::<u64>()
        });
        Ok(format!("{threads} threads, {rounds} rounds"))
    }
}

fn spin(ctx: &Ctx, busy: Duration) -> u64 {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut rounds = 0;
    while !ctx.over() {
        let start = Instant::now();
        while start.elapsed() < busy {
            for _ in 0..1000 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
            }
            hint::black_box(state);
            rounds += 1;
        }
        ctx.sleep(PERIOD.saturating_sub(start.elapsed()));
    }
    rounds
}
