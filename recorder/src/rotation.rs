//! When a capture goes on in another part, and in which order that happens so that nothing is lost:
//!
//! filling → (full) sinks make room → (all have) snapshot is taken → it arrives: the part ends and the
//! next one begins with it.
//!
//! Until the last step everything goes into the part that is open. A sink that cannot make room
//! (a file in the way) is asked again later, and the part grows on meanwhile. A sink whose part has ended
//! for want of room asks for the next one itself.

use std::time::Duration;

use crate::{notice::say, sinks::Running};

const NS_PER_S: u64 = 1_000_000_000;
/// Pause before a sink that could not make room is asked again.
const RETRY_NS: u64 = 10 * NS_PER_S;
/// The same where the part has ended already and nothing is recorded meanwhile.
const RETRY_WAITED_FOR_NS: u64 = NS_PER_S;
/// A sink whose queue is full that long has other troubles than rotation.
const ANSWER_MAX_NS: u64 = 60 * NS_PER_S;

/// When a part is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotate {
    /// It holds this many bytes of chunks.
    Bytes(u64),
    /// It has lasted this long.
    Age(Duration),
}

/// Smaller parts would be nothing but checkpoints.
pub const PART_BYTES_MIN: u64 = 1 << 20;
pub const PART_AGE_MIN: Duration = Duration::from_secs(1);

impl std::str::FromStr for Rotate {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "{text:?} is neither a size nor a time; write 100MiB or 2GiB, or 30s, 10m or 1h"
            )
        };
        let digits = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| bad())?;
        let too_large = || format!("{text:?} is too large");
        let bytes = |scale: u64| number.checked_mul(scale).ok_or_else(too_large);
        let age = |scale: u64| {
            let seconds = number.checked_mul(scale).ok_or_else(too_large)?;
            Ok::<_, String>(Duration::from_secs(seconds))
        };
        let rotate = match unit {
            "KiB" => Rotate::Bytes(bytes(1 << 10)?),
            "MiB" => Rotate::Bytes(bytes(1 << 20)?),
            "GiB" => Rotate::Bytes(bytes(1 << 30)?),
            "kB" => Rotate::Bytes(bytes(1_000)?),
            "MB" => Rotate::Bytes(bytes(1_000_000)?),
            "GB" => Rotate::Bytes(bytes(1_000_000_000)?),
            "s" => Rotate::Age(age(1)?),
            "m" => Rotate::Age(age(60)?),
            "h" => Rotate::Age(age(3600)?),
            _ => return Err(bad()),
        };
        match rotate {
            Rotate::Bytes(bytes) if bytes < PART_BYTES_MIN => {
                Err(format!("a part of {text} is too small; the least is 1MiB"))
            }
            Rotate::Age(age) if age < PART_AGE_MIN => {
                Err(format!("a part of {text} is too short; the least is 1s"))
            }
            rotate => Ok(rotate),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Filling,
    /// The sinks were asked at this time.
    Asked(u64),
    /// A sink refused: not before this time again.
    Refused(u64),
    /// Waiting for the snapshot.
    Ready,
}

/// The state of a rotated capture.
pub struct Rotation {
    rotate: Rotate,
    capture_uuid: [u8; 16],
    /// The part that is open.
    part: u32,
    started_ns: Option<u64>,
    phase: Phase,
    answers: usize,
}

/// Where a new part stands.
pub struct Place {
    pub capture_uuid: [u8; 16],
    pub part: u32,
}

impl Rotation {
    pub fn new(rotate: Rotate, capture_uuid: [u8; 16]) -> Self {
        Rotation {
            rotate,
            capture_uuid,
            part: 0,
            started_ns: None,
            phase: Phase::Filling,
            answers: 0,
        }
    }

    /// Parts so far.
    pub fn parts(&self) -> u32 {
        self.part.saturating_add(1)
    }

    /// One look at what has changed; true when a snapshot is wanted now. `part_bytes`: of the chunks of the
    /// open part that went to the sinks.
    pub fn step(&mut self, now_ns: u64, part_bytes: u64, sinks: &[Running]) -> bool {
        let started_ns = *self.started_ns.get_or_insert(now_ns);
        match self.phase {
            Phase::Ready => false,
            Phase::Filling => {
                let full = self.has_ended(sinks)
                    || match self.rotate {
                        Rotate::Bytes(bytes) => part_bytes >= bytes,
                        Rotate::Age(age) => u128::from(now_ns - started_ns) >= age.as_nanos(),
                    };
                // A sink has room for one part ahead, and this part is it until its first chunk comes.
                let begun = part_bytes > 0;
                if full && begun && self.part < u32::MAX {
                    self.ask(now_ns, sinks);
                }
                false
            }
            Phase::Refused(until_ns) => {
                if now_ns >= until_ns {
                    self.ask(now_ns, sinks);
                }
                false
            }
            Phase::Asked(asked_ns) => self.hear(now_ns, asked_ns, sinks),
        }
    }

    /// The part that is open has ended in a sink.
    fn has_ended(&self, sinks: &[Running]) -> bool {
        let mut ended = sinks.iter().filter_map(Running::ended_part);
        ended.any(|part| part == self.part)
    }

    fn ask(&mut self, now_ns: u64, sinks: &[Running]) {
        self.answers = 0;
        // What an earlier question was answered too late is no answer to this one.
        for sink in sinks {
            while sink.prepared().is_some() {}
        }
        let asked = sinks.iter().all(|sink| sink.prepare(self.part + 1));
        self.phase = if asked {
            Phase::Asked(now_ns)
        } else {
            Phase::Refused(now_ns + RETRY_NS)
        };
    }

    fn hear(&mut self, now_ns: u64, asked_ns: u64, sinks: &[Running]) -> bool {
        for answer in sinks.iter().filter_map(Running::prepared) {
            match answer {
                Ok(()) => self.answers += 1,
                // It has said that it waits for room.
                Err(_) if self.has_ended(sinks) => {
                    self.phase = Phase::Refused(now_ns + RETRY_WAITED_FOR_NS);
                    return false;
                }
                Err(error) => {
                    say(format_args!(
                        "rec: part {} cannot begin: {error:#}; part {} goes on, the next try is in {} s",
                        self.part + 1,
                        self.part,
                        RETRY_NS / NS_PER_S
                    ));
                    self.phase = Phase::Refused(now_ns + RETRY_NS);
                    return false;
                }
            }
        }
        if self.answers == sinks.len() {
            self.phase = Phase::Ready;
            return true;
        }
        if now_ns - asked_ns > ANSWER_MAX_NS {
            self.phase = Phase::Refused(now_ns + RETRY_NS);
        }
        false
    }

    /// Room is made: the next snapshot begins a part.
    pub fn ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    /// The next part begins.
    pub fn begin(&mut self, now_ns: u64) -> Place {
        self.part += 1;
        self.started_ns = Some(now_ns);
        self.phase = Phase::Filling;
        Place {
            capture_uuid: self.capture_uuid,
            part: self.part,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::{Ending, Sink};
    use std::{thread, time::Instant};
    use trace_format::SealedChunk;

    /// Refuses to prepare the first `refuses` times.
    struct Room {
        refuses: u32,
    }

    impl Sink for Room {
        fn chunk(&mut self, _: &SealedChunk) -> anyhow::Result<()> {
            Ok(())
        }
        fn prepare(&mut self, _: u32) -> anyhow::Result<()> {
            if self.refuses > 0 {
                self.refuses -= 1;
                anyhow::bail!("no room");
            }
            Ok(())
        }
        fn finish(self: Box<Self>, _: &Ending) -> anyhow::Result<u64> {
            Ok(0)
        }
    }

    /// Steps at one time until the phase is as wanted.
    fn until(rotation: &mut Rotation, now_ns: u64, sinks: &[Running], wanted: Phase) -> bool {
        let started = Instant::now();
        let mut asked = false;
        while rotation.phase != wanted {
            asked |= rotation.step(now_ns, 2 << 20, sinks);
            thread::yield_now();
            assert!(started.elapsed().as_secs() < 20, "{:?}", rotation.phase);
        }
        asked
    }

    #[test]
    fn a_part_begins_when_every_sink_has_room_and_is_tried_again_when_one_has_none() {
        let sinks = [
            Running::start(Box::new(Room { refuses: 0 })),
            Running::start(Box::new(Room { refuses: 1 })),
        ];
        let mut rotation = Rotation::new(Rotate::Bytes(1 << 20), [1; 16]);
        assert!(!rotation.step(5, 1, &sinks));
        assert_eq!(rotation.phase, Phase::Filling, "not full");
        let refused = Phase::Refused(7 + RETRY_NS);
        assert!(!until(&mut rotation, 7, &sinks, refused));
        assert!(!rotation.ready());
        assert!(until(&mut rotation, 7 + RETRY_NS, &sinks, Phase::Ready));
        assert!(!rotation.step(8 + RETRY_NS, 2 << 20, &sinks), "asked once");
        let place = rotation.begin(9 + RETRY_NS);
        assert_eq!((place.part, rotation.parts()), (1, 2));
        assert_eq!(place.capture_uuid, [1; 16]);
    }

    /// A part that is as old as a chunk is: its first chunk may come when it is old enough to end.
    #[test]
    fn a_part_whose_first_chunk_has_not_come_is_not_followed_by_another() {
        let sinks = [Running::start(Box::new(Room { refuses: 0 }))];
        let age = Duration::from_secs(1);
        let mut rotation = Rotation::new(Rotate::Age(age), [1; 16]);
        assert!(!rotation.step(0, 0, &sinks));
        assert!(!rotation.step(2 * NS_PER_S, 0, &sinks));
        assert_eq!(rotation.phase, Phase::Filling);
        assert!(until(&mut rotation, 2 * NS_PER_S, &sinks, Phase::Ready));
        rotation.begin(2 * NS_PER_S);
        assert!(!rotation.step(4 * NS_PER_S, 0, &sinks));
        assert_eq!(rotation.phase, Phase::Filling);
    }

    #[test]
    fn sizes_and_times_are_told_apart() {
        assert_eq!("100MiB".parse(), Ok(Rotate::Bytes(100 << 20)));
        assert_eq!("2GB".parse(), Ok(Rotate::Bytes(2_000_000_000)));
        assert_eq!("10m".parse(), Ok(Rotate::Age(Duration::from_secs(600))));
        for bad in [
            "",
            "10",
            "10M",
            "m",
            "1.5h",
            "-1s",
            "99999999999999999999GiB",
            "18446744073709551615GiB",
            "1KiB",
            "0s",
        ] {
            let error = bad.parse::<Rotate>().unwrap_err();
            assert!(
                !error.is_empty() && (bad.is_empty() || error.contains(bad)),
                "{error}"
            );
        }
    }
}
