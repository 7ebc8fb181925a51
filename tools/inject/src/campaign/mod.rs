//! A campaign: many containers with normal work of every kind, some of which act, derived from a seed.

pub mod config;
mod ini;
pub mod report;

use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};

use crate::{
    act,
    inside::workload::Workload,
    plan::{self, Plan, PlannedAct, PlannedContainer},
};
use config::{Choice, Config};

/// The plan, a pure function of configuration and seed.
pub fn plan(config: &Config, seed: u64) -> Plan {
    let mut rng = StdRng::seed_from_u64(seed);
    let of = |ratio: f64| (config.containers as f64 * ratio).round() as usize;
    let anomalous = of(config.anomaly_ratio);
    // Together never more than there are containers; the anomalous ones first.
    let noop = of(config.noop_ratio).min(config.containers - anomalous);
    let errands = of(config.hard_negative_ratio).min(config.containers - anomalous - noop);
    let mut acts: Vec<Option<PlannedAct>> = Vec::with_capacity(config.containers);
    let anomalies = draw(&mut rng, &config.classes, anomalous);
    acts.extend(
        anomalies
            .into_iter()
            .map(|choice| Some(act(&mut rng, config, &choice))),
    );
    let like = config.classes.first().or(config.hard_negatives.first());
    for _ in 0..noop {
        // As long and as intense as an anomaly might have been.
        let choice = like.map(|like| Choice {
            class: "noop",
            ..like.clone()
        });
        acts.push(choice.map(|choice| act(&mut rng, config, &choice)));
    }
    let errands = draw(&mut rng, &config.hard_negatives, errands);
    acts.extend(
        errands
            .into_iter()
            .map(|choice| Some(act(&mut rng, config, &choice))),
    );
    acts.resize(config.containers, None);
    // Else the anomalous ones would always be the first to start.
    acts.shuffle(&mut rng);
    let containers = acts
        .into_iter()
        .map(|act| PlannedContainer {
            name: plan::neutral_name(&mut rng),
            seed: plan::small(&mut rng),
            workload: workload(&mut rng, config),
            pace_milli: rng.random_range(plan::PACE_MILLI),
            shares_ipc: None,
            acts: act.into_iter().collect(),
        })
        .collect();
    Plan::new(
        seed,
        config.warmup,
        config.duration,
        config.cooldown,
        containers,
    )
}

/// So many classes by weight; none twice before every one was drawn once.
fn draw(rng: &mut StdRng, choices: &[Choice], count: usize) -> Vec<Choice> {
    let mut drawn = Vec::with_capacity(count);
    let mut left: Vec<&Choice> = Vec::new();
    while drawn.len() < count && !choices.is_empty() {
        if left.is_empty() {
            left = choices.iter().collect();
        }
        let place = weighted(rng, left.iter().map(|choice| choice.weight));
        drawn.push(left.remove(place).clone());
    }
    drawn
}

/// A place, by weight. There is at least one, and none is 0.
fn weighted(rng: &mut StdRng, weights: impl Iterator<Item = f64> + Clone) -> usize {
    let total: f64 = weights.clone().sum();
    let mut left = rng.random_range(0.0..total);
    let mut last = 0;
    for (place, weight) in weights.enumerate() {
        last = place;
        if left < weight {
            break;
        }
        left -= weight;
    }
    last
}

fn workload(rng: &mut StdRng, config: &Config) -> Workload {
    let place = weighted(rng, config.workloads.iter().map(|(_, weight)| *weight));
    config.workloads[place].0
}

fn act(rng: &mut StdRng, config: &Config, choice: &Choice) -> PlannedAct {
    let (number, info) = act::by_name(choice.class).expect("choices are classes");
    // In hundredths: a plan is read by people.
    let between = |(least, most): (f64, f64), share: f64| {
        ((least + (most - least) * share) * 100.0).round() / 100.0
    };
    let intensity = between(choice.intensity, rng.random());
    let (least, most) = choice.duration;
    let wanted = least + (most - least).mul_f64(rng.random());
    // A campaign that is shorter than its acts has shorter acts.
    let duration = wanted.min(config.duration);
    let latest = config.duration - duration;
    let at = latest.mul_f64(rng.random::<f64>());
    PlannedAct {
        class: info.name,
        number,
        intensity,
        seed: plan::small(rng),
        at_ms: plan::millis(at),
        duration_ms: plan::millis(duration.max(Duration::from_millis(1))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::act::Kind;

    fn counts(plan: &Plan) -> [usize; 4] {
        let mut counts = [0; 4];
        for container in &plan.containers {
            let kind = container
                .acts
                .first()
                .and_then(|act| act::by_name(act.class))
                .map(|(_, info)| info.kind);
            counts[match kind {
                Some(Kind::Anomaly) => 0,
                Some(Kind::Noop) => 1,
                Some(Kind::HardNegative) => 2,
                None => 3,
            }] += 1;
        }
        counts
    }

    #[test]
    fn same_seed_same_plan_and_the_known_shape() {
        let config = Config::shipped().unwrap();
        let first = plan(&config, 7);
        assert_eq!(first, plan(&config, 7));
        assert_ne!(first, plan(&config, 8));
        assert_eq!(counts(&first), [8, 2, 8, 22]);
        assert_eq!(first.total_ms, (60 + 600 + 10) * 1000);
        for planned in first
            .containers
            .iter()
            .flat_map(|container| &container.acts)
        {
            assert!(
                planned.at_ms + planned.duration_ms <= 600_000,
                "{planned:?}"
            );
            assert!((0.3..=0.9).contains(&planned.intensity), "{planned:?}");
        }
    }

    #[test]
    fn every_class_is_drawn_before_one_is_drawn_again() {
        let mut config = Config::shipped().unwrap();
        config.containers = 64;
        config.anomaly_ratio = 1.0;
        let plan = plan(&config, 1);
        assert_eq!(counts(&plan), [64, 0, 0, 0], "ratios beyond 1 are cut");
        for choice in &config.classes {
            let drawn = plan
                .containers
                .iter()
                .flat_map(|container| &container.acts)
                .filter(|act| act.class == choice.class)
                .count();
            assert_eq!(drawn, 2, "{}", choice.class);
        }
    }

    #[test]
    fn a_short_campaign_has_short_acts() {
        let mut config = Config::shipped().unwrap();
        config.duration = Duration::from_secs(3);
        for container in plan(&config, 3).containers {
            for act in container.acts {
                assert!(act.at_ms + act.duration_ms <= 3000);
            }
        }
    }
}
