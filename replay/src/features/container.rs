//! One container: its open window, its past, and how the one becomes part of the other.

use super::{
    COVERED_MIN, Row, Settings,
    baseline::{Level, Mix, ln},
    novelty::{Known, New, Witness},
    schema::{self, COMPARED, COUNT, FEATURES, RATIOS},
    window::{What, Window},
};
use crate::resolve::State;

/// A container since it was first seen.
pub struct Followed {
    /// The container's first cgroup, which names it.
    pub key: u64,
    /// The host's own: not counted.
    pub host: bool,
    pub since_ns: u64,
    pub active_ns: u64,
    /// Started within the trace, and its first full window is still to come.
    pub starting: bool,
    /// Full windows so far.
    windows: u32,
    pub window: Window,
    levels: [Level; COMPARED],
    mix: Mix,
    known: Known,
}

impl Followed {
    pub fn new(key: u64, host: bool, since_ns: u64, active_ns: u64, starting: bool) -> Followed {
        Followed {
            key,
            host,
            since_ns,
            active_ns,
            starting,
            windows: 0,
            window: Window::default(),
            levels: Default::default(),
            mix: Mix::default(),
            known: Known::default(),
        }
    }

    /// Ends the window: its row, if it is a container's and covers enough of it; then the past includes it.
    pub fn close(
        &mut self,
        start_ns: u64,
        end_ns: u64,
        settings: &Settings,
        state: &State,
    ) -> Option<Row> {
        let container = state
            .container(self.key)
            .filter(|container| container.key == self.key && !container.id.is_empty());
        self.host = container.is_none() && state.is_host_cgroup(self.key);
        let covered_ns = end_ns.saturating_sub(self.since_ns.max(start_ns));
        if (covered_ns as f64) < settings.window_ns as f64 * COVERED_MIN || self.host {
            // What a container did at first is habit, even if it was too short to be measured.
            if self.windows == 0 {
                self.known.take(&self.window.seen, 0, true, None);
            }
            self.window.next();
            return None;
        }
        let warm_up = self.windows == 0;
        let calls = self.window.calls();
        let measures = self.window.measures(covered_ns as f64 / 1e9, &calls);
        let mut values = [f64::NAN; COUNT];
        let trained =
            container.and_then(|container| settings.trained.0.get(&container.image_repository));
        for (feature, measure) in measures.into_iter().enumerate() {
            let measure = if feature < RATIOS {
                logarithm(measure, FEATURES[feature].floor)
            } else {
                measure
            };
            values[feature] = self.levels[feature].compare(measure);
            if !self.starting {
                self.levels[feature].learn(measure);
            }
        }
        values[schema::MIX] = self.mix.compare(&calls);
        if !self.starting {
            self.mix.learn(&calls);
        }
        let new = self.known.take(
            &self.window.seen,
            self.windows,
            warm_up || self.starting,
            trained,
        );
        let mut witnesses = self.witnesses();
        for (kind, New { count, witness }) in new.into_iter().enumerate() {
            values[schema::NEW_EDGES + kind] = ln(1.0 + f64::from(count));
            witnesses[schema::NEW_EDGES + kind] = witness;
        }
        values[schema::BORN_EXECS] = ln(1.0 + self.window.tally(What::BornExecs));
        let row = container.map(|container| Row {
            start_ns: start_ns.max(self.since_ns),
            end_ns,
            cgroup_id: self.key,
            container_id: container.id.clone(),
            container_name: container.name.clone(),
            image: container.image.clone(),
            repository: container.image_repository.clone(),
            warm_up: warm_up || self.starting,
            values,
            witnesses,
            items: if settings.items {
                sorted(self.window.seen.items())
            } else {
                Vec::new()
            },
        });
        if !self.starting {
            self.windows = self.windows.saturating_add(1);
        }
        self.starting = false;
        self.window.next();
        row
    }

    fn witnesses(&self) -> [Option<Witness>; COUNT] {
        let mut witnesses = [None; COUNT];
        for feature in [
            schema::CPU,
            schema::MEMORY,
            schema::PIDS,
            schema::IO,
            schema::THROTTLED,
            schema::MEMORY_SLOPE,
        ] {
            witnesses[feature] = self.window.sample_witness();
        }
        for (feature, whats) in [
            (schema::SYSCALLS, [What::Calls, What::Calls]),
            (schema::EXECS, [What::Execs, What::Execs]),
            (schema::FORKS, [What::Forks, What::Forks]),
            (schema::FAILED_EXITS, [What::FailedExits, What::FailedExits]),
            (schema::OPENS, [What::Opens, What::Opens]),
            (schema::WRITES, [What::Writes, What::Writes]),
            (schema::CONNECTS, [What::Connects, What::TcpConnects]),
            (schema::PORTS, [What::Connects, What::TcpConnects]),
            (schema::FAILURES, [What::Failures, What::Failures]),
            (schema::REFUSED, [What::Refused, What::TcpRefused]),
            (schema::MIX, [What::Calls, What::Calls]),
            (schema::BORN_EXECS, [What::BornExecs, What::BornExecs]),
        ] {
            witnesses[feature] = self
                .window
                .witness(whats[0])
                .or_else(|| self.window.witness(whats[1]));
        }
        witnesses
    }
}

fn logarithm(measure: f64, floor: f64) -> f64 {
    if measure.is_nan() {
        measure
    } else {
        ln(measure + floor)
    }
}

fn sorted(items: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut items: Vec<u64> = items.collect();
    items.sort_unstable();
    items
}
