//! How an act is to run, and what it may leave to others: pace, names, and tidying up.

use std::{
    fs,
    net::Ipv4Addr,
    ops::Range,
    path::PathBuf,
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::ActError;
use crate::image::SCRATCH;

/// What an act must know of its container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// The container's memory limit.
    pub memory_bytes: u64,
    /// The /24 behind its virtual pair.
    pub network: Option<Ipv4Addr>,
    /// Its part in an IPC namespace that it shares with another container.
    pub shared: Option<Shared>,
}

/// Two containers that share an IPC namespace each have objects of System V IPC there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shared {
    /// Even: its first half's key. The other half's is the next one.
    key: u32,
    second: bool,
}

/// Keys are positive numbers of `key_t`, and 0 makes private objects.
const KEYS: Range<u32> = 0x0100_0000..0x7fff_0000;

impl Shared {
    pub fn new(rng: &mut StdRng, second: bool) -> Shared {
        Shared {
            key: rng.random_range(KEYS) & !1,
            second,
        }
    }

    /// The same objects, seen from the other container.
    pub fn other(self) -> Shared {
        Shared {
            second: !self.second,
            ..self
        }
    }

    /// Of the own objects.
    pub fn key(self) -> i32 {
        (self.key | u32::from(self.second)) as i32
    }

    /// As an order and a program's arguments have it.
    pub fn number(part: Option<Shared>) -> u64 {
        part.map_or(0, |shared| u64::from(shared.key | u32::from(shared.second)))
    }

    pub fn from_number(number: u64) -> Option<Shared> {
        let number = u32::try_from(number).ok().filter(|&number| number != 0)?;
        Some(Shared {
            key: number & !1,
            second: number & 1 == 1,
        })
    }
}

pub struct Ctx {
    /// 0.1 to 1.
    pub intensity: f64,
    pub rng: StdRng,
    pub surroundings: Surroundings,
    start: Instant,
    deadline: Instant,
    /// Removed at the end, the last one first.
    made: Vec<PathBuf>,
}

impl Ctx {
    pub fn new(intensity: f64, duration: Duration, seed: u64, surroundings: Surroundings) -> Ctx {
        let start = Instant::now();
        Ctx {
            intensity: intensity.clamp(0.0, 1.0),
            rng: StdRng::seed_from_u64(seed),
            surroundings,
            start,
            deadline: start + duration,
            made: Vec::new(),
        }
    }

    pub fn over(&self) -> bool {
        Instant::now() >= self.deadline
    }

    pub fn duration(&self) -> Duration {
        self.deadline - self.start
    }

    /// Sleeps, but not beyond the end.
    pub fn sleep(&self, duration: Duration) {
        let left = self.deadline.saturating_duration_since(Instant::now());
        std::thread::sleep(duration.min(left));
    }

    /// A value between the ends, by intensity.
    pub fn scale(&self, at_zero: f64, at_one: f64) -> f64 {
        at_zero + (at_one - at_zero) * self.intensity
    }

    /// The pause between two of so many a second.
    pub fn pause(&self, at_zero: f64, at_one: f64) -> Duration {
        Duration::from_secs_f64(1.0 / self.scale(at_zero, at_one))
    }

    /// A name that says nothing.
    pub fn word(&mut self) -> String {
        let length = self.rng.random_range(5..10);
        (0..length)
            .map(|_| char::from(self.rng.random_range(b'a'..=b'z')))
            .collect()
    }

    /// A new directory that is removed, with what is in it, at the end.
    pub fn directory(&mut self) -> Result<PathBuf, ActError> {
        let path = PathBuf::from(SCRATCH).join(self.word());
        fs::create_dir(&path).map_err(ActError::io("make", path.to_string_lossy()))?;
        self.made.push(path.clone());
        Ok(path)
    }

    /// A file or directory that is removed at the end.
    pub fn removes(&mut self, path: impl Into<PathBuf>) {
        self.made.push(path.into());
    }

    /// Removes what was made, as far as it is still there.
    pub fn tidy(&mut self) {
        for path in self.made.drain(..).rev() {
            let _ = match path.is_dir() {
                true => fs::remove_dir_all(&path),
                false => fs::remove_file(&path),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_act_ends_with_its_time() {
        let ctx = Ctx::new(0.5, Duration::ZERO, 1, Surroundings::default());
        ctx.sleep(Duration::from_secs(3600));
        assert!(ctx.over());
        assert_eq!(ctx.scale(10.0, 20.0), 15.0);
        assert_eq!(ctx.pause(1.0, 3.0), Duration::from_millis(500));
    }

    #[test]
    fn a_part_of_a_shared_namespace_survives_an_order() {
        let mut rng = StdRng::seed_from_u64(1);
        let first = Shared::new(&mut rng, false);
        assert_eq!(first.key() + 1, first.other().key());
        assert_eq!(first.other().other(), first);
        for part in [None, Some(first), Some(first.other())] {
            assert_eq!(Shared::from_number(Shared::number(part)), part);
        }
    }
}
