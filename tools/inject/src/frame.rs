//! What `inject` and the supervisor inside a container say to each other.
//!
//! Orders go in over the container's stdin as frames of one size, so that the size of a read says
//! nothing about what was ordered. Answers come out over stdout as lines of text.

use std::fmt;

/// Size of every order.
pub const FRAME_BYTES: usize = 64;

/// Numbers in an order.
const FIELDS: usize = 7;

/// Longest line a container may say; what follows is cut. Bounds the reader's memory.
pub const LINE_BYTES_MAX: usize = 1024;

const MAGIC: u32 = 0x7472_6331;

/// From `inject` to the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// First of all: start the normal workload. The supervisor ends by itself after `lifetime_ms`.
    Begin {
        seed: u64,
        lifetime_ms: u64,
        /// Number of the normal workload (see [`crate::inside::workload`]); 0: none is started (a guest).
        workload: u64,
        /// Requests a second of it, in thousandths.
        pace_milli: u64,
        /// The container's memory limit.
        memory_bytes: u64,
        /// Address of the network behind its virtual pair; 0: it has none.
        network: u64,
        /// Its part in a shared IPC namespace (see [`crate::act::Shared`]); 0: it shares none.
        shared: u64,
    },
    /// Fork a task that does act number `class` (see [`crate::act::by_number`]).
    Act {
        task: u64,
        class: u64,
        intensity_milli: u64,
        duration_ms: u64,
        seed: u64,
    },
    /// End everything.
    Stop,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("order starts with {found:#010x}, expected {MAGIC:#010x}")]
    Magic { found: u32 },
    #[error("order has unknown kind {kind}")]
    Kind { kind: u32 },
}

impl Order {
    pub fn encode(&self) -> [u8; FRAME_BYTES] {
        let (kind, fields): (u32, [u64; FIELDS]) = match *self {
            Order::Begin {
                seed,
                lifetime_ms,
                workload,
                pace_milli,
                memory_bytes,
                network,
                shared,
            } => (
                1,
                [
                    seed,
                    lifetime_ms,
                    workload,
                    pace_milli,
                    memory_bytes,
                    network,
                    shared,
                ],
            ),
            Order::Act {
                task,
                class,
                intensity_milli,
                duration_ms,
                seed,
            } => (2, [task, class, intensity_milli, duration_ms, seed, 0, 0]),
            Order::Stop => (3, [0; FIELDS]),
        };
        let mut frame = [0; FRAME_BYTES];
        frame[..4].copy_from_slice(&MAGIC.to_le_bytes());
        frame[4..8].copy_from_slice(&kind.to_le_bytes());
        for (slot, field) in frame[8..].chunks_exact_mut(8).zip(fields) {
            slot.copy_from_slice(&field.to_le_bytes());
        }
        frame
    }

    pub fn decode(frame: &[u8; FRAME_BYTES]) -> Result<Order, FrameError> {
        let u32_at = |at: usize| {
            u32::from_le_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]])
        };
        let mut fields = [0; FIELDS];
        for (field, slot) in fields.iter_mut().zip(frame[8..].chunks_exact(8)) {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(slot);
            *field = u64::from_le_bytes(bytes);
        }
        if u32_at(0) != MAGIC {
            return Err(FrameError::Magic { found: u32_at(0) });
        }
        let [a, b, c, d, e, f, g] = fields;
        match u32_at(4) {
            1 => Ok(Order::Begin {
                seed: a,
                lifetime_ms: b,
                workload: c,
                pace_milli: d,
                memory_bytes: e,
                network: f,
                shared: g,
            }),
            2 => Ok(Order::Act {
                task: a,
                class: b,
                intensity_milli: c,
                duration_ms: d,
                seed: e,
            }),
            3 => Ok(Order::Stop),
            kind => Err(FrameError::Kind { kind }),
        }
    }
}

/// Both clocks, read together inside the container (it shares the host's clocks).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    pub boot_ns: u64,
    pub wall_ns: u64,
}

impl Moment {
    pub fn now() -> Moment {
        Moment {
            boot_ns: clock_ns(libc::CLOCK_BOOTTIME),
            wall_ns: clock_ns(libc::CLOCK_REALTIME),
        }
    }
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid timespec for the duration of the call.
    let result = unsafe { libc::clock_gettime(clock, &mut time) };
    assert_eq!(result, 0, "Linux has CLOCK_BOOTTIME and CLOCK_REALTIME");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    Exit(i32),
    Signal(i32),
    /// It had to be killed: it was still there after its time and a grace period.
    Overran,
    /// It was never started.
    Refused,
}

/// From the supervisor to `inject`, one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Where the supervisor finds itself: inode numbers of its namespaces, in the order of
    /// [`crate::inside::guard::NAMESPACES`].
    Hello { namespaces: Vec<u64> },
    /// The normal workload runs.
    Ready,
    /// The task is about to be forked (the time) and has this pid in the container (the pid).
    Start { task: u64, pid: u32, at: Moment },
    End {
        task: u64,
        pid: u32,
        at: Moment,
        how: Ending,
        detail: String,
    },
    /// The supervisor gives up.
    Fatal(String),
    /// Anything else that came out of the container.
    Other(String),
}

impl fmt::Display for Said {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Said::Hello { namespaces } => {
                write!(out, "hello")?;
                namespaces
                    .iter()
                    .try_for_each(|inode| write!(out, " {inode}"))
            }
            Said::Ready => write!(out, "ready"),
            Said::Start { task, pid, at } => {
                write!(out, "start {task} {pid} {} {}", at.boot_ns, at.wall_ns)
            }
            Said::End {
                task,
                pid,
                at,
                how,
                detail,
            } => {
                let how = match how {
                    Ending::Exit(code) => format!("exit:{code}"),
                    Ending::Signal(signal) => format!("signal:{signal}"),
                    Ending::Overran => "overran".into(),
                    Ending::Refused => "refused".into(),
                };
                write!(
                    out,
                    "end {task} {pid} {} {} {how} {}",
                    at.boot_ns,
                    at.wall_ns,
                    one_line(detail)
                )
            }
            Said::Fatal(text) => write!(out, "fatal {}", one_line(text)),
            Said::Other(text) => write!(out, "{}", one_line(text)),
        }
    }
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// As much of a text as fits into `bytes` without half a character.
pub fn cut(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len()))
        .rev()
        .find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or(0)]
}

impl Said {
    /// Understands a line; what it does not understand is [`Said::Other`], never an error.
    pub fn parse(line: &str) -> Said {
        understand(line).unwrap_or_else(|| Said::Other(line.to_owned()))
    }
}

fn understand(line: &str) -> Option<Said> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let mut parts = rest.splitn(6, ' ');
    let mut number = || parts.next()?.parse::<u64>().ok();
    match word {
        "hello" => {
            let namespaces: Result<Vec<u64>, _> = rest.split(' ').map(str::parse).collect();
            Some(Said::Hello {
                namespaces: namespaces.ok()?,
            })
        }
        "ready" => Some(Said::Ready),
        "fatal" => Some(Said::Fatal(rest.to_owned())),
        "start" => Some(Said::Start {
            task: number()?,
            pid: u32::try_from(number()?).ok()?,
            at: Moment {
                boot_ns: number()?,
                wall_ns: number()?,
            },
        }),
        "end" => {
            let task = number()?;
            let pid = u32::try_from(number()?).ok()?;
            let at = Moment {
                boot_ns: number()?,
                wall_ns: number()?,
            };
            let how = match parts.next()? {
                "overran" => Ending::Overran,
                "refused" => Ending::Refused,
                how => match how.split_once(':')? {
                    ("exit", code) => Ending::Exit(code.parse().ok()?),
                    ("signal", signal) => Ending::Signal(signal.parse().ok()?),
                    _ => return None,
                },
            };
            let detail = parts.next().unwrap_or("").to_owned();
            Some(Said::End {
                task,
                pid,
                at,
                how,
                detail,
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_survives_the_pipe_and_has_one_size() {
        let orders = [
            Order::Begin {
                seed: u64::MAX,
                lifetime_ms: 1,
                workload: 2,
                pace_milli: 20_000,
                memory_bytes: 96 << 20,
                network: 0x0ad5_0700,
                shared: 0x0100_0003,
            },
            Order::Act {
                task: 1,
                class: 5,
                intensity_milli: 1000,
                duration_ms: 30_000,
                seed: 7,
            },
            Order::Stop,
        ];
        for order in orders {
            let frame = order.encode();
            assert_eq!(frame.len(), FRAME_BYTES);
            assert_eq!(Order::decode(&frame), Ok(order));
        }
    }

    #[test]
    fn foreign_bytes_are_not_an_order() {
        assert_eq!(
            Order::decode(&[0; FRAME_BYTES]),
            Err(FrameError::Magic { found: 0 })
        );
        let mut frame = Order::Stop.encode();
        frame[4] = 9;
        assert_eq!(Order::decode(&frame), Err(FrameError::Kind { kind: 9 }));
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(
            [0, 1, 2, 3, 4, 9].map(|bytes| cut("aéz", bytes)),
            ["", "a", "a", "aé", "aéz", "aéz"]
        );
    }

    #[test]
    fn everything_said_is_understood() {
        let at = Moment {
            boot_ns: 12,
            wall_ns: 1_790_000_000_000_000_000,
        };
        let end = |how, detail: &str| Said::End {
            task: 3,
            pid: 9,
            at,
            how,
            detail: detail.into(),
        };
        let all = [
            Said::Hello {
                namespaces: vec![1, 2, 3],
            },
            Said::Ready,
            Said::Start {
                task: 3,
                pid: 9,
                at,
            },
            end(Ending::Exit(0), "512 connects, 511 refused"),
            end(Ending::Signal(9), ""),
            end(Ending::Overran, "overran twice"),
            end(Ending::Refused, "why: overrun"),
            Said::Fatal("no /proc".into()),
            Said::Other("thread 'main' panicked".into()),
        ];
        for said in all {
            assert_eq!(Said::parse(&said.to_string()), said);
        }
        assert_eq!(
            Said::parse("start 3 x 1 2"),
            Said::Other("start 3 x 1 2".into())
        );
        assert_eq!(Said::parse(""), Said::Other(String::new()));
    }
}
