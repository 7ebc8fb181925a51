//! Features: what a container did in a window of trace time, as numbers that a forest can judge.
//!
//! One row per container and window. A window is [`Settings::window_ns`] long; windows begin with the
//! trace's first record. A row says how unlike its own past the container was: rates and levels
//! against its usual ones, and things it never did before ([`schema`], [`novelty`], [`baseline`]).
//! Until a container has shown one full window, its rows are marked as *warm-up*: they are the past
//! that later ones are compared with. A container that was started within the trace warms up from
//! its first full window: starting up is always unusual.
//!
//! A pure fold over records, like every detector. Marks never count: a note in the trace must not
//! teach anything about what it notes.

pub mod baseline;
mod container;
pub mod inputs;
pub mod novelty;
pub mod schema;
mod window;

use hashbrown::{HashMap, HashSet};
use std::sync::Arc;
use trace_format::{Context, ContextRecord, Event, EventData};

use crate::{order::EventRef, resolve::State, syscalls::Arch};
use container::Followed;
use novelty::{KnownItems, Witness};
use schema::COUNT;
use window::Calls;

/// The usual length of a window.
pub const WINDOW_NS: u64 = 10_000_000_000;
/// Shorter windows hold too few events and samples (one a second) to say anything.
pub const WINDOW_NS_MIN: u64 = 1_000_000_000;
/// A day: longer is a mistyped number.
pub const WINDOW_NS_MAX: u64 = 86_400_000_000_000;

/// Containers followed at once; past it, the one that was silent longest makes room. Ten times what a host
/// with 110 pods has; some 20 KiB each, and 150 KiB where there are many habits.
pub const CONTAINERS_MAX: usize = 1024;

/// Time without any record after which the recording itself had a hole: ticks come every second.
const HOLE_NS: u64 = 3_500_000_000;

/// Part of a window that must have been seen for a row: less says little.
const COVERED_MIN: f64 = 0.5;

/// What is computed.
#[derive(Clone)]
pub struct Settings {
    pub window_ns: u64,
    /// What training showed of each image.
    pub trained: Trained,
    /// Give the items of each window with its row (training needs them).
    pub items: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            window_ns: WINDOW_NS,
            trained: Trained::default(),
            items: false,
        }
    }
}

/// Items that each image is known by. The image is the repository, without tag: a new version has old habits.
#[derive(Clone, Debug, Default)]
pub struct Trained(pub HashMap<String, KnownItems>);

/// A container in a window.
#[derive(Clone, Debug)]
pub struct Row {
    pub start_ns: u64,
    pub end_ns: u64,
    pub cgroup_id: u64,
    pub container_id: String,
    pub container_name: String,
    pub image: String,
    /// The image without its tag.
    pub repository: String,
    /// Too early to compare with anything: not for fitting, not for judging.
    pub warm_up: bool,
    pub values: [f64; COUNT],
    /// The first event behind each feature, where there is one.
    pub witnesses: [Option<Witness>; COUNT],
    /// Items of the window, sorted; empty unless asked for.
    pub items: Vec<u64>,
}

/// The fold.
pub struct Features {
    settings: Settings,
    calls: Calls,
    containers: Vec<Followed>,
    /// Cgroup to its container's position. Several cgroups may share one.
    index: HashMap<u64, usize>,
    /// The last event's cgroup and position: events come in bursts of one container.
    last: (u64, usize),
    /// False until the first record.
    started: bool,
    /// The open window. Its end is 0 before the first record.
    start_ns: u64,
    end_ns: u64,
    /// Time of the newest record.
    now_ns: u64,
    /// The window began with the trace or behind a hole: who is seen in it was there before.
    first_window: bool,
}

impl Features {
    /// # Panics
    /// When the window's length is outside [`WINDOW_NS_MIN`]..=[`WINDOW_NS_MAX`]: the caller has checked it.
    pub fn new(settings: Settings) -> Features {
        assert!(
            (WINDOW_NS_MIN..=WINDOW_NS_MAX).contains(&settings.window_ns),
            "a window of {} ns is outside {WINDOW_NS_MIN}..={WINDOW_NS_MAX}",
            settings.window_ns
        );
        Features {
            settings,
            calls: Calls::of(Arch::default()),
            containers: Vec::new(),
            index: HashMap::new(),
            last: (0, 0),
            started: false,
            start_ns: 0,
            end_ns: 0,
            now_ns: 0,
            first_window: true,
        }
    }

    pub fn window_ns(&self) -> u64 {
        self.settings.window_ns
    }

    /// One event; the state already shows what it changed. The removal of a container's cgroup ends its window.
    pub fn event(&mut self, event: &Event, at: EventRef, state: &State, rows: &mut dyn FnMut(Row)) {
        if let EventData::Cgroup(change) = &event.data {
            if change.removed {
                self.removed(change.id, event.boot_ns, state, rows);
            } else {
                self.made(change.id, event.boot_ns, state);
            }
            return;
        }
        if event.cgroup_id == 0 {
            return;
        }
        if self.last.0 != event.cgroup_id {
            self.last = (event.cgroup_id, self.position(event.cgroup_id, state));
        }
        let followed = &mut self.containers[self.last.1];
        if followed.host {
            return;
        }
        followed.active_ns = event.boot_ns;
        match &event.data {
            // The outermost cgroup's sample holds what its inner ones use.
            EventData::Sample(sample) if followed.key == event.cgroup_id => {
                followed.window.sample(event.boot_ns, sample, at)
            }
            EventData::Sample(_) => {}
            _ => followed.window.count(event, at, state, &self.calls),
        }
    }

    /// One context record, already applied to the state.
    pub fn context(&mut self, record: &ContextRecord, state: &State) {
        match &record.body {
            Context::Host(host) => {
                if let Some(arch) = Arch::from_name(&host.arch) {
                    self.calls = Calls::of(arch);
                }
            }
            Context::Container(container) => {
                // A cgroup that turns out to belong to another container's is looked up again.
                let key = state
                    .container(container.cgroup_id)
                    .map(|container| container.key);
                if let Some(&position) = self.index.get(&container.cgroup_id) {
                    let followed = &mut self.containers[position];
                    if key.is_some_and(|key| key != followed.key) {
                        self.index.remove(&container.cgroup_id);
                    } else if followed.key == container.cgroup_id {
                        followed.host = state.is_host_cgroup(container.cgroup_id);
                    }
                    self.last = (0, 0);
                }
            }
            _ => {}
        }
    }

    /// Trace time has reached `boot_ns`: gives the rows of every window that ended before.
    #[inline]
    pub fn advance(&mut self, boot_ns: u64, state: &State, rows: &mut dyn FnMut(Row)) {
        if boot_ns >= self.end_ns || boot_ns.saturating_sub(self.now_ns) > HOLE_NS {
            self.turn(boot_ns, state, rows);
        }
        self.now_ns = self.now_ns.max(boot_ns);
    }

    /// The trace begins, goes on after a hole, or has reached the end of the window.
    #[cold]
    fn turn(&mut self, boot_ns: u64, state: &State, rows: &mut dyn FnMut(Row)) {
        if !self.started {
            self.started = true;
            self.open(boot_ns);
        } else if boot_ns.saturating_sub(self.now_ns) > HOLE_NS {
            // The window ended where the records stopped.
            self.close(self.now_ns, state, rows);
            self.open(boot_ns);
            self.first_window = true;
            for followed in &mut self.containers {
                followed.window.reset();
                followed.since_ns = boot_ns;
            }
        } else {
            // At most four turns: a hole is shorter than that many of the shortest windows.
            while boot_ns >= self.end_ns && self.end_ns != u64::MAX {
                let end_ns = self.end_ns;
                self.close(end_ns, state, rows);
                self.open(end_ns);
                self.first_window = false;
            }
        }
    }

    fn open(&mut self, start_ns: u64) {
        self.start_ns = start_ns;
        self.end_ns = start_ns.saturating_add(self.settings.window_ns);
    }

    /// The trace has ended.
    pub fn finish(&mut self, state: &State, rows: &mut dyn FnMut(Row)) {
        if self.started {
            self.close(self.now_ns, state, rows);
        }
    }

    fn close(&mut self, end_ns: u64, state: &State, rows: &mut dyn FnMut(Row)) {
        for followed in &mut self.containers {
            if let Some(row) = followed.close(self.start_ns, end_ns, &self.settings, state) {
                rows(row);
            }
        }
    }

    /// Position of a cgroup's container, which is followed from now on.
    fn position(&mut self, cgroup_id: u64, state: &State) -> usize {
        if let Some(&position) = self.index.get(&cgroup_id) {
            return position;
        }
        let key = state
            .container(cgroup_id)
            .map_or(cgroup_id, |container| container.key);
        let position = match self.index.get(&key) {
            Some(&position) => position,
            None => self.follow(key, state),
        };
        self.index.insert(cgroup_id, position);
        position
    }

    fn follow(&mut self, key: u64, state: &State) -> usize {
        if self.containers.len() == CONTAINERS_MAX
            && let Some(silent) =
                (0..CONTAINERS_MAX).min_by_key(|position| self.containers[*position].active_ns)
        {
            self.forget(silent);
        }
        let position = self.containers.len();
        let since_ns = if self.first_window {
            self.start_ns
        } else {
            self.now_ns
        };
        let host = state.is_host_cgroup(key);
        self.containers.push(Followed::new(
            key,
            host,
            since_ns,
            self.now_ns,
            !self.first_window,
        ));
        self.index.insert(key, position);
        position
    }

    /// A cgroup was made: its container starts now.
    fn made(&mut self, cgroup_id: u64, boot_ns: u64, state: &State) {
        if self.index.contains_key(&cgroup_id) {
            return;
        }
        let position = self.position(cgroup_id, state);
        let followed = &mut self.containers[position];
        if followed.key == cgroup_id {
            followed.since_ns = boot_ns;
            followed.starting = true;
        }
    }

    /// A cgroup is gone. Its container's window ends with it.
    fn removed(&mut self, cgroup_id: u64, boot_ns: u64, state: &State, rows: &mut dyn FnMut(Row)) {
        match self.index.get(&cgroup_id) {
            Some(&position) if self.containers[position].key == cgroup_id => {
                if let Some(row) =
                    self.containers[position].close(self.start_ns, boot_ns, &self.settings, state)
                {
                    rows(row);
                }
                self.forget(position);
            }
            Some(_) => {
                self.index.remove(&cgroup_id);
                self.last = (0, 0);
            }
            None => {}
        }
    }

    fn forget(&mut self, position: usize) {
        self.containers.swap_remove(position);
        let moved = self.containers.len();
        self.index.retain(|_, at| *at != position);
        for at in self.index.values_mut().filter(|at| **at == moved) {
            *at = position;
        }
        self.last = (0, 0);
    }
}

impl Trained {
    /// From items per image, as a model stores them. Containers whose image nobody knows have nothing in
    /// common: what one of them does says nothing about another.
    pub fn new(images: impl IntoIterator<Item = (String, Vec<u64>)>) -> Trained {
        Trained(
            images
                .into_iter()
                .filter(|(image, _)| !image.is_empty())
                .map(|(image, items)| {
                    (image, Arc::new(items.into_iter().collect::<HashSet<u64>>()))
                })
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trace_format::{Container, Resolution, event::SyscallCount};

    fn count(cgroup_id: u64, boot_ns: u64) -> Event {
        Event {
            boot_ns,
            cpu: 0,
            probe: 1,
            seq: 0,
            tid: 0,
            pid: 0,
            cgroup_id,
            data: EventData::SyscallCount(SyscallCount { nr: 1, calls: 100 }),
        }
    }

    /// One more container than fit: the one that was silent longest makes room, and its place is used again.
    #[test]
    fn containers_are_bounded_and_the_silent_one_makes_room() {
        let mut features = Features::new(Settings::default());
        let mut state = State::new();
        let last = CONTAINERS_MAX as u64 + 1;
        for cgroup_id in 1..=last {
            let record = ContextRecord {
                boot_ns: 0,
                body: Context::Container(Container {
                    cgroup_id,
                    id: format!("c{cgroup_id}"),
                    resolution: Resolution::Resolved,
                    ..Default::default()
                }),
            };
            state.context(&record);
        }
        let mut rows = Vec::new();
        for cgroup_id in 1..=last {
            let event = count(cgroup_id, cgroup_id * 1_000_000);
            features.advance(event.boot_ns, &state, &mut |row| rows.push(row));
            features.event(&event, EventRef::default(), &state, &mut |row| {
                rows.push(row)
            });
        }
        assert_eq!(features.containers.len(), CONTAINERS_MAX);
        assert_eq!(features.index.len(), CONTAINERS_MAX);
        for second in 2..=11 {
            features.advance(second * 1_000_000_000, &state, &mut |row| rows.push(row));
        }
        let mut ids: Vec<u64> = rows.iter().map(|row| row.cgroup_id).collect();
        ids.sort_unstable();
        assert_eq!(ids, (2..=last).collect::<Vec<_>>(), "all but the first");
    }
}
