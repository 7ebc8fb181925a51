//! The normal workloads: what a container does when nobody injects anything.
//!
//! A workload is a few programs that the supervisor starts by their names and starts again when
//! they die; beside them every container has a resolver and a job now and then ([`super::job`]), and
//! one that shares an IPC namespace its half of a service ([`shared_state`]).

pub mod batch;
pub mod database;
pub mod idle;
pub mod key_value;
pub mod messages;
pub mod shared_state;

use serde::{Serialize, Serializer};

use crate::act::Shared;

/// In the order of their numbers, which start at 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// A web server and its client.
    Web,
    /// A key-value store and its client.
    KeyValue,
    /// Transactions in SQLite.
    Database,
    /// Files read, sorted and written.
    Batch,
    /// A message broker, a producer and a worker.
    Messages,
    /// A daemon that wakes now and then.
    Idle,
}

impl Workload {
    pub const ALL: [Workload; 6] = [
        Workload::Web,
        Workload::KeyValue,
        Workload::Database,
        Workload::Batch,
        Workload::Messages,
        Workload::Idle,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Workload::Web => "web",
            Workload::KeyValue => "key_value",
            Workload::Database => "database",
            Workload::Batch => "batch",
            Workload::Messages => "messages",
            Workload::Idle => "idle",
        }
    }

    pub fn about(self) -> &'static str {
        match self {
            Workload::Web => "an HTTP server and a client that asks it for pages",
            Workload::KeyValue => "a key-value store over TCP and a client that sets and gets",
            Workload::Database => "transfers between accounts in SQLite, each a transaction",
            Workload::Batch => "reads tables, sorts them, writes and renames results",
            Workload::Messages => "a broker on a unix socket, a producer, a worker",
            Workload::Idle => "wakes now and then and looks around",
        }
    }

    pub fn by_name(name: &str) -> Option<Workload> {
        Workload::ALL
            .into_iter()
            .find(|workload| workload.name() == name)
    }

    /// As an order has it; 0 is none.
    pub fn number(self) -> u64 {
        Workload::ALL
            .iter()
            .position(|known| *known == self)
            .map_or(0, |place| place as u64 + 1)
    }
}

impl Serialize for Workload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A program and its arguments.
pub type Part = (&'static str, Vec<String>);

/// What a workload consists of, also where the container shares its IPC namespace; `None`: no such number.
pub fn parts(number: u64, pace_milli: u64, seed: u64, shared: Option<Shared>) -> Option<Vec<Part>> {
    let place = usize::try_from(number.checked_sub(1)?).ok()?;
    let asks = vec![pace_milli.to_string(), seed.to_string()];
    let mut parts = vec![("named", vec![])];
    if shared.is_some() {
        let part = Shared::number(shared).to_string();
        parts.push(("stated", [asks.clone(), vec![part]].concat()));
    }
    parts.extend(match Workload::ALL.get(place)? {
        Workload::Web => vec![("webd", vec![]), ("fetchd", asks)],
        Workload::KeyValue => vec![("kvd", vec![]), ("kvc", asks)],
        Workload::Database => vec![("dbd", asks)],
        Workload::Batch => vec![("batchd", asks)],
        Workload::Messages => vec![("brokerd", vec![]), ("feedd", asks), ("workd", vec![])],
        Workload::Idle => vec![("idled", asks)],
    });
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_lead_back_and_every_part_is_in_the_image() {
        for workload in Workload::ALL {
            assert_eq!(Workload::by_name(workload.name()), Some(workload));
            let shared = Shared::from_number(0x0100_0000);
            let parts = parts(workload.number(), 1000, 1, shared).unwrap();
            for (name, _) in parts {
                let path = format!("/usr/bin/{name}");
                assert!(crate::image::LINKS.contains(&&*path), "{path}");
            }
        }
        assert!(parts(0, 1, 1, None).is_none() && parts(99, 1, 1, None).is_none());
    }
}
