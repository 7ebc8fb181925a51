//! From a planned container to one whose normal workload runs: the one way, whatever will be done in it.

use anyhow::Result;

use crate::{
    act::{self, Shared, Surroundings},
    cgroup::Limits,
    frame::Order,
    neighbours::Neighbours,
    plan::{Plan, PlannedContainer},
    runtime::{self, Container, Identity, Ipc, Runtime},
};

/// Where a container stands in its run.
pub struct Place<'a> {
    /// Of the image.
    pub version: u32,
    pub place: usize,
    pub plan: &'a Plan,
    pub limits: &'a Limits,
    /// The running container whose IPC namespace it is to share.
    pub partner: Option<&'a Identity>,
}

/// A container whose normal workload runs, and what is around it.
pub struct Raised {
    // Before the network: what is in the container ends first.
    pub container: Box<dyn Container>,
    _neighbours: Option<Neighbours>,
    surroundings: Surroundings,
    /// Why there is no network.
    pub no_network: Option<String>,
}

pub fn one(planned: &PlannedContainer, place: &Place, runtime: &mut dyn Runtime) -> Result<Raised> {
    let shared = planned.shares_ipc.as_ref();
    let ipc = match (shared, place.partner) {
        (Some(half), _) if half.first => Ipc::Shareable,
        (Some(_), Some(partner)) => Ipc::Of(partner),
        _ => Ipc::Own,
    };
    let mut container = runtime.start(&planned.name, place.limits, place.version, ipc)?;
    runtime::greet(&mut *container, runtime.may_share())?;
    let identity = container.identity();
    // Somebody else's container keeps the network that it has.
    let neighbours = match runtime.is_guest() {
        true => Err("the container is not ours to give it one".to_owned()),
        false => Neighbours::of(identity.pid, place.place).map_err(|error| format!("{error:#}")),
    };
    let surroundings = Surroundings {
        memory_bytes: identity.memory_bytes,
        network: neighbours.as_ref().ok().map(|made| made.network),
        shared: match runtime.is_guest() {
            true => None,
            false => shared.map(|half| half.part),
        },
    };
    let order = Order::Begin {
        seed: planned.seed,
        lifetime_ms: place.plan.lifetime_ms,
        workload: match runtime.is_guest() {
            true => 0,
            false => planned.workload.number(),
        },
        pace_milli: planned.pace_milli,
        memory_bytes: surroundings.memory_bytes,
        network: surroundings
            .network
            .map_or(0, |network| u64::from(network.to_bits())),
        shared: Shared::number(surroundings.shared),
    };
    runtime::begin(&mut *container, &order)?;
    let (neighbours, no_network) = match neighbours {
        Ok(made) => (Some(made), None),
        Err(reason) => (None, Some(reason)),
    };
    Ok(Raised {
        container,
        _neighbours: neighbours,
        surroundings,
        no_network,
    })
}

impl Raised {
    /// Why a class cannot be run here; `None` when it can.
    pub fn refuses(&self, class: u64) -> Option<String> {
        let act = act::by_number(class)?;
        let lacking = act.lacks(&self.surroundings)?;
        let name = act.info().name;
        let why = match (&self.no_network, self.surroundings.network) {
            (Some(reason), None) => format!(" (no network: {reason})"),
            _ => String::new(),
        };
        Some(format!("{name} needs {lacking}{why}"))
    }
}
