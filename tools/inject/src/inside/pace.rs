//! When to do the next piece of normal work: at random around a mean that rises and falls, as by day
//! and night.

use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng, rngs::StdRng};

/// The rate rises and falls by this share over this time.
const SWING: f64 = 0.3;
const SWING_PERIOD_S: f64 = 40.0;

pub struct Pace {
    pub rng: StdRng,
    a_second: f64,
    phase: f64,
    start: Instant,
}

impl Pace {
    /// From the arguments `PACE_MILLI SEED` that the supervisor gives; `None`: they are no numbers.
    pub fn from_args(args: &[String]) -> Option<Pace> {
        let number = |place: usize| args.get(place)?.parse::<u64>().ok();
        Some(Pace::new(number(0)?, number(1)?))
    }

    pub fn new(pace_milli: u64, seed: u64) -> Pace {
        let mut rng = StdRng::seed_from_u64(seed);
        let phase = rng.random_range(0.0..std::f64::consts::TAU);
        Pace {
            rng,
            a_second: pace_milli.max(1) as f64 / 1000.0,
            phase,
            start: Instant::now(),
        }
    }

    /// The same pace, this many times slower.
    pub fn slower(mut self, times: f64) -> Pace {
        self.a_second /= times;
        self
    }

    pub fn sleep(&mut self) {
        let turn = self.start.elapsed().as_secs_f64() / SWING_PERIOD_S * std::f64::consts::TAU;
        let rate = self.a_second * (1.0 + SWING * (turn + self.phase).sin());
        let pause = self.rng.random_range(0.5..1.5) / rate;
        std::thread::sleep(Duration::from_secs_f64(pause));
    }
}
