//! The acts: what an injected container does that a normal one does not.
//!
//! One module and one [`Act`] each. An act runs as a task process of the supervisor inside a
//! container that already does its normal work; it stays inside its time, its container and
//! loopback. Its class is known inside only by its number.

mod cpu_hog;
mod cred_read;
mod drop_exec;
mod noop;
mod port_scan;

use std::{
    io,
    time::{Duration, Instant},
};

use rand::{SeedableRng, rngs::StdRng};
use serde::Serialize;

/// Matrix version of every [`Info::attack_id`].
pub const ATTACK_VERSION: &str = "16";

/// What is known about a class without running it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Info {
    pub name: &'static str,
    /// MITRE ATT&CK technique; empty for what is not an attack.
    pub attack_id: &'static str,
    /// What it does, in one line.
    pub about: &'static str,
    /// What its container must offer.
    pub needs: &'static str,
    /// Signals that must move while it runs, one word each.
    pub signals: &'static [&'static str],
}

/// A program inside the container.
pub trait Act: Sync {
    fn info(&self) -> &'static Info;

    /// Acts until [`Ctx::over`], then returns one line that says what it did.
    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError>;
}

#[derive(Debug, thiserror::Error)]
pub enum ActError {
    #[error("cannot {action} {object}: {error}")]
    Io {
        action: &'static str,
        object: String,
        error: io::Error,
    },
    #[error("found none of the {tried} decoy files that the image should hold")]
    NoDecoys { tried: usize },
}

impl ActError {
    fn io(action: &'static str, object: impl Into<String>) -> impl FnOnce(io::Error) -> ActError {
        let object = object.into();
        move |error| ActError::Io {
            action,
            object,
            error,
        }
    }
}

/// Every class; its number is its place, counted from 1, so the list is only ever appended to.
static ACTS: [&dyn Act; 5] = [
    &noop::Noop,
    &cpu_hog::CpuHog,
    &port_scan::PortScan,
    &cred_read::CredRead,
    &drop_exec::DropExec,
];

pub fn all() -> impl Iterator<Item = &'static Info> {
    ACTS.iter().map(|act| act.info())
}

pub fn by_number(class: u64) -> Option<&'static dyn Act> {
    let place = usize::try_from(class.checked_sub(1)?).ok()?;
    ACTS.get(place).copied()
}

/// A class by its name, with its number.
pub fn by_name(name: &str) -> Option<(u64, &'static Info)> {
    let place = ACTS.iter().position(|act| act.info().name == name)?;
    Some((place as u64 + 1, ACTS[place].info()))
}

/// How an act is to run.
pub struct Ctx {
    /// 0.1 to 1.
    pub intensity: f64,
    pub rng: StdRng,
    deadline: Instant,
}

impl Ctx {
    pub fn new(intensity: f64, duration: Duration, seed: u64) -> Ctx {
        Ctx {
            intensity: intensity.clamp(0.0, 1.0),
            rng: StdRng::seed_from_u64(seed),
            deadline: Instant::now() + duration,
        }
    }

    pub fn over(&self) -> bool {
        Instant::now() >= self.deadline
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_have_distinct_names_and_are_found_by_name_and_number() {
        for (place, info) in all().enumerate() {
            let (number, found) = by_name(info.name).expect("listed classes have names");
            assert_eq!((number, found), (place as u64 + 1, info));
            assert_eq!(by_number(number).map(|act| act.info()), Some(info));
            assert!(
                info.signals
                    .iter()
                    .all(|signal| !signal.contains([' ', ',']))
            );
        }
        assert!(by_number(0).is_none() && by_number(ACTS.len() as u64 + 1).is_none());
        assert!(by_name("CPU_HOG").is_none());
    }

    #[test]
    fn an_act_ends_with_its_time() {
        let ctx = Ctx::new(0.5, Duration::ZERO, 1);
        ctx.sleep(Duration::from_secs(3600));
        assert!(ctx.over());
        assert_eq!(ctx.scale(10.0, 20.0), 15.0);
    }
}
