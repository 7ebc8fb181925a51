//! Which containers share an IPC namespace, two by two: those whose act needs a second container, and some
//! others by the seed, so that sharing says nothing about what is done in a container.

use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde::Serialize;

use crate::{
    act::{self, Shared, Surroundings},
    plan::PlannedContainer,
};

/// One pair for so many containers of which none needs it.
const OTHERS_FOR_A_PAIR: usize = 8;

/// Apart from what else is drawn from the seed.
const STREAM: u64 = 0x6970_6370_6169_7273;

/// A container's half of a pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Half {
    /// Name of the other container.
    pub with: String,
    #[serde(skip)]
    pub part: Shared,
    /// It is started first, and its namespace is the one that is shared.
    #[serde(skip)]
    pub first: bool,
}

/// The same containers and the same seed give the same pairs.
pub fn pair_up(containers: &mut [PlannedContainer], seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed ^ STREAM);
    // A container that is replaced would leave its namespace, and its other half, behind.
    let mut free: Vec<usize> = (0..containers.len())
        .filter(|&place| !is_replaced(&containers[place]))
        .collect();
    free.shuffle(&mut rng);
    let (needy, others): (Vec<usize>, Vec<usize>) = free
        .into_iter()
        .partition(|&place| needs_another(&containers[place]));
    // Beside one that needs it, one that does not; then they among themselves.
    let mut rest = others;
    let mut pairs = Vec::new();
    let mut alone = Vec::new();
    for place in needy {
        match rest.pop().or_else(|| alone.pop()) {
            Some(other) => pairs.push((place, other)),
            None => alone.push(place),
        }
    }
    for _ in 0..rest.len().div_ceil(OTHERS_FOR_A_PAIR) {
        if let (Some(one), Some(other)) = (rest.pop(), rest.pop()) {
            pairs.push((one, other));
        }
    }
    for (one, other) in pairs {
        let (first, second) = (one.min(other), one.max(other));
        let part = Shared::new(&mut rng, false);
        let half = |other: usize, first, part| {
            let with = containers[other].name.clone();
            Some(Half { with, part, first })
        };
        let halves = (half(second, true, part), half(first, false, part.other()));
        (containers[first].shares_ipc, containers[second].shares_ipc) = halves;
    }
}

fn needs_another(container: &PlannedContainer) -> bool {
    // With everything but a shared namespace.
    let surroundings = Surroundings {
        network: Some(std::net::Ipv4Addr::LOCALHOST),
        ..Surroundings::default()
    };
    acts(container).any(|act| act.lacks(&surroundings).is_some())
}

fn is_replaced(container: &PlannedContainer) -> bool {
    acts(container).any(|act| act.done_outside().is_some())
}

fn acts(container: &PlannedContainer) -> impl Iterator<Item = &'static dyn act::Act> {
    container
        .acts
        .iter()
        .filter_map(|act| act::by_number(act.number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{inside::workload::Workload, plan::PlannedAct};

    fn containers(classes: &[&'static str]) -> Vec<PlannedContainer> {
        let act = |class: &&'static str| PlannedAct {
            class,
            number: act::by_name(class).map_or(0, |(number, _)| number),
            intensity: 0.5,
            seed: 1,
            at_ms: 0,
            duration_ms: 1,
        };
        classes
            .iter()
            .enumerate()
            .map(|(place, class)| PlannedContainer {
                name: format!("app-{place}"),
                seed: 1,
                workload: Workload::Idle,
                pace_milli: 1000,
                shares_ipc: None,
                acts: [class]
                    .into_iter()
                    .filter(|c| !c.is_empty())
                    .map(act)
                    .collect(),
            })
            .collect()
    }

    fn paired(classes: &[&'static str], seed: u64) -> Vec<PlannedContainer> {
        let mut containers = containers(classes);
        pair_up(&mut containers, seed);
        containers
    }

    #[test]
    fn who_needs_another_container_has_one_and_so_have_some_others() {
        let mut classes = vec![""; 38];
        classes.extend(["ipc_abuse", "container_restart"]);
        for seed in 0..50 {
            let containers = paired(&classes, seed);
            assert_eq!(containers, paired(&classes, seed), "same seed, same pairs");
            let with = |place: usize| containers[place].shares_ipc.as_ref();
            assert!(with(38).is_some() && with(39).is_none());
            let sharing = (0..40).filter(|&place| with(place).is_some()).count();
            assert_eq!(sharing, 12, "five pairs beside the one that is needed");
            for place in 0..40 {
                let Some(half) = with(place) else { continue };
                let other = (0..40).find(|&other| containers[other].name == half.with);
                let other = other.and_then(with).unwrap();
                assert_eq!(other.with, containers[place].name);
                assert_eq!(other.part, half.part.other());
                assert_ne!(other.first, half.first);
            }
        }
    }

    #[test]
    fn alone_there_is_nobody_to_share_with() {
        assert_eq!(paired(&["ipc_abuse"], 1)[0].shares_ipc, None);
        assert_eq!(
            paired(&["ipc_abuse", "image_deploy"], 1)[0].shares_ipc,
            None
        );
        let both = paired(&["ipc_abuse", "ipc_abuse"], 1);
        assert!(both.iter().all(|one| one.shares_ipc.is_some()));
    }
}
