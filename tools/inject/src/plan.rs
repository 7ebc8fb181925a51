//! What will be done, decided before anything starts: a pure function of the request and its seed.

use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde::Serialize;

use crate::{
    act,
    inside::workload::Workload,
    pairs::{self, Half},
};

/// Containers of one run: each is four processes and some 8 MiB.
pub const CONTAINERS_MAX: usize = 200;

/// Requests a second of a container's normal workload: the mean, by container.
pub const PACE_MILLI: std::ops::Range<u64> = 8_000..24_000;

/// What a container's lifetime allows for beyond the plan: slow starts and stops.
const LIFETIME_SLACK: Duration = Duration::from_secs(120);

/// Where and when several classes act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrangement {
    /// Each in a container of its own, one after another.
    InTurn,
    /// Each in a container of its own, all at once.
    Together,
    /// All in the same container, one after another.
    OneContainer,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Known names.
    pub classes: Vec<String>,
    pub intensity: f64,
    pub duration: Duration,
    /// Normal work before the first act, between acts in turn, and after the last.
    pub warmup: Duration,
    pub gap: Duration,
    pub cooldown: Duration,
    /// Containers in which nothing is ordered.
    pub background: usize,
    pub arrangement: Arrangement,
    /// Of the containers, one after another and over again.
    pub workloads: Vec<Workload>,
    pub seed: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    pub seed: u64,
    pub warmup_ms: u64,
    pub total_ms: u64,
    pub lifetime_ms: u64,
    pub containers: Vec<PlannedContainer>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlannedContainer {
    pub name: String,
    pub seed: u64,
    pub workload: Workload,
    pub pace_milli: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shares_ipc: Option<Half>,
    pub acts: Vec<PlannedAct>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlannedAct {
    pub class: &'static str,
    #[serde(skip)]
    pub number: u64,
    pub intensity: f64,
    pub seed: u64,
    /// After the end of the warm-up.
    pub at_ms: u64,
    pub duration_ms: u64,
}

impl Plan {
    /// `acts`: the time from the end of the warm-up to the end of the last act. Containers that are to
    /// share an IPC namespace are paired here.
    pub fn new(
        seed: u64,
        warmup: Duration,
        acts: Duration,
        cooldown: Duration,
        mut containers: Vec<PlannedContainer>,
    ) -> Plan {
        pairs::pair_up(&mut containers, seed);
        let total_ms = millis(warmup) + millis(acts) + millis(cooldown);
        Plan {
            seed,
            warmup_ms: millis(warmup),
            total_ms,
            lifetime_ms: total_ms * 2 + millis(LIFETIME_SLACK),
            containers,
        }
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("unknown class {name:?}: `inject list` names them all")]
    UnknownClass { name: String },
    #[error("no class to run")]
    NoClass,
    #[error("no workload for the containers")]
    NoWorkload,
    #[error("{asked} containers are more than {CONTAINERS_MAX}")]
    TooMany { asked: usize },
}

pub fn plan(request: &Request) -> Result<Plan, PlanError> {
    if request.classes.is_empty() {
        return Err(PlanError::NoClass);
    }
    if request.workloads.is_empty() {
        return Err(PlanError::NoWorkload);
    }
    let mut rng = StdRng::seed_from_u64(request.seed);
    let mut acts = Vec::new();
    let mut at = Duration::ZERO;
    for name in &request.classes {
        let (number, info) =
            act::by_name(name).ok_or_else(|| PlanError::UnknownClass { name: name.clone() })?;
        acts.push(PlannedAct {
            class: info.name,
            number,
            intensity: request.intensity,
            seed: small(&mut rng),
            at_ms: millis(at),
            duration_ms: millis(request.duration),
        });
        if request.arrangement != Arrangement::Together {
            at += request.duration + request.gap;
        }
    }
    let end_ms = acts
        .iter()
        .map(|act| act.at_ms + act.duration_ms)
        .max()
        .unwrap_or(0);
    let mut groups: Vec<Vec<PlannedAct>> = match request.arrangement {
        Arrangement::OneContainer => vec![acts],
        _ => acts.into_iter().map(|act| vec![act]).collect(),
    };
    groups.resize(groups.len() + request.background, Vec::new());
    if groups.len() > CONTAINERS_MAX {
        return Err(PlanError::TooMany {
            asked: groups.len(),
        });
    }
    // Else the injected containers would always be the first to start.
    groups.shuffle(&mut rng);
    let containers = groups
        .into_iter()
        .zip(request.workloads.iter().cycle())
        .map(|(acts, workload)| PlannedContainer {
            name: neutral_name(&mut rng),
            seed: small(&mut rng),
            workload: *workload,
            pace_milli: rng.random_range(PACE_MILLI),
            shares_ipc: None,
            acts,
        })
        .collect();
    Ok(Plan::new(
        request.seed,
        request.warmup,
        Duration::from_millis(end_ms),
        request.cooldown,
        containers,
    ))
}

/// Of a container: says nothing about what is done in it.
pub fn neutral_name(rng: &mut StdRng) -> String {
    format!("app-{:08x}", rng.random::<u32>())
}

/// Fits every reader's numbers, also those that are all floating point.
pub fn small(rng: &mut StdRng) -> u64 {
    u64::from(rng.random::<u32>())
}

pub fn millis(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        Request {
            classes: ["cpu_hog", "noop", "port_scan"].map(str::to_owned).into(),
            intensity: 0.5,
            duration: Duration::from_secs(10),
            warmup: Duration::from_secs(5),
            gap: Duration::from_secs(2),
            cooldown: Duration::from_secs(3),
            background: 2,
            arrangement: Arrangement::InTurn,
            workloads: vec![Workload::Web, Workload::Idle],
            seed: 42,
        }
    }

    fn acts(plan: &Plan) -> Vec<&PlannedAct> {
        let mut acts: Vec<_> = plan
            .containers
            .iter()
            .flat_map(|container| &container.acts)
            .collect();
        acts.sort_by_key(|act| act.at_ms);
        acts
    }

    #[test]
    fn same_seed_same_plan() {
        assert_eq!(plan(&request()), plan(&request()));
        assert_ne!(
            plan(&request()),
            plan(&Request {
                seed: 43,
                ..request()
            })
        );
    }

    #[test]
    fn acts_in_turn_never_overlap_and_have_containers_of_their_own() {
        let plan = plan(&request()).unwrap();
        assert_eq!(plan.containers.len(), 5);
        assert!(
            plan.containers
                .iter()
                .all(|container| container.acts.len() <= 1)
        );
        let starts: Vec<u64> = acts(&plan).iter().map(|act| act.at_ms).collect();
        assert_eq!(starts, [0, 12_000, 24_000]);
        assert_eq!(plan.total_ms, 5_000 + 34_000 + 3_000);
        assert!(plan.lifetime_ms > 2 * plan.total_ms);
    }

    #[test]
    fn together_and_in_one_container() {
        let together = plan(&Request {
            arrangement: Arrangement::Together,
            ..request()
        })
        .unwrap();
        assert!(acts(&together).iter().all(|act| act.at_ms == 0));
        assert_eq!(together.total_ms, 18_000);
        let one = plan(&Request {
            arrangement: Arrangement::OneContainer,
            ..request()
        })
        .unwrap();
        let sizes: Vec<usize> = one
            .containers
            .iter()
            .map(|container| container.acts.len())
            .collect();
        assert_eq!(
            (sizes.len(), sizes.iter().sum::<usize>(), sizes.iter().max()),
            (3, 3, Some(&3))
        );
    }

    #[test]
    fn names_are_neutral_and_distinct() {
        let plan = plan(&request()).unwrap();
        for (place, container) in plan.containers.iter().enumerate() {
            assert!(act::all().all(|info| !container.name.contains(info.name)));
            assert!(
                plan.containers[..place]
                    .iter()
                    .all(|other| other.name != container.name)
            );
        }
    }

    #[test]
    fn wrong_requests_are_named() {
        let unknown = Request {
            classes: vec!["cpu-hog".into()],
            ..request()
        };
        assert_eq!(
            plan(&unknown),
            Err(PlanError::UnknownClass {
                name: "cpu-hog".into()
            })
        );
        assert_eq!(
            plan(&Request {
                classes: vec![],
                ..request()
            }),
            Err(PlanError::NoClass)
        );
        let fits = Request {
            background: CONTAINERS_MAX - 3,
            ..request()
        };
        assert!(plan(&fits).is_ok());
        let many = Request {
            background: CONTAINERS_MAX - 2,
            ..request()
        };
        assert_eq!(
            plan(&many),
            Err(PlanError::TooMany {
                asked: CONTAINERS_MAX + 1
            })
        );
    }
}
