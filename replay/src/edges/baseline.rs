//! What is usual: the edges of each image, learned from traces.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};
use trace_format::{Context, ContextRecord, Event};

use super::{Edge, image_of, watch::Watch};
use crate::{
    findings::Finding,
    order::EventRef,
    pipeline::Detector,
    resolve::{News, State},
    syscalls::Arch,
};

/// Images of a baseline. A cluster runs some hundred; those after them count as never seen.
pub const IMAGES_MAX: usize = 4_096;

/// Edges of one image. One that has more scans, or is a proxy for anybody: no edge of it is unusual.
pub const EDGES_PER_IMAGE_MAX: usize = 4_096;

/// What the baseline knows of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Usual {
    edges: BTreeSet<Edge>,
    /// It had more edges than are kept.
    pub(super) too_many: bool,
}

/// The usual edges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Baseline {
    images: BTreeMap<String, Usual>,
    images_left_out: bool,
}

impl Baseline {
    /// How many edges it has, of all images.
    pub fn edges(&self) -> usize {
        self.images.values().map(|usual| usual.edges.len()).sum()
    }

    /// There were more than [`IMAGES_MAX`] images.
    pub fn left_out(&self) -> bool {
        self.images_left_out
    }

    pub(super) fn of(&self, image: &str) -> Option<&Usual> {
        self.images.get(image)
    }

    fn image(&mut self, image: &str) -> Option<&mut Usual> {
        if !self.images.contains_key(image) {
            if self.images.len() >= IMAGES_MAX {
                self.images_left_out = true;
                return None;
            }
            self.images.insert(image.to_owned(), Usual::default());
        }
        self.images.get_mut(image)
    }

    fn learn(&mut self, image: &str, edge: Edge) {
        if let Some(usual) = self.image(image) {
            if usual.edges.len() < EDGES_PER_IMAGE_MAX || usual.edges.contains(&edge) {
                usual.edges.insert(edge);
            } else {
                usual.too_many = true;
            }
        }
    }
}

impl Usual {
    pub(super) fn has(&self, edge: &Edge) -> bool {
        self.edges.contains(edge)
    }
}

/// A detector that finds nothing and adds what a trace shows to a baseline.
pub struct Learner {
    watch: Watch,
    baseline: Arc<Mutex<Baseline>>,
}

impl Learner {
    pub fn new(baseline: Arc<Mutex<Baseline>>) -> Learner {
        Learner {
            watch: Watch::default(),
            baseline,
        }
    }

    fn settle(&mut self, now_ns: u64, state: &State) {
        let mut baseline = self.baseline.lock().unwrap_or_else(PoisonError::into_inner);
        for seen in self.watch.settled(now_ns) {
            if let Some((image, edge, by_address)) = self.watch.resolve(&seen, state) {
                baseline.learn(image, edge);
                // Another time nobody may know who has the address, as while it does not answer.
                if let Some(by_address) = by_address {
                    baseline.learn(image, by_address);
                }
            }
        }
    }
}

impl Detector for Learner {
    fn event(&mut self, event: &Event, at: &EventRef, state: &State, _: &mut dyn FnMut(Finding)) {
        self.watch.event(event, *at, state);
    }

    /// An image is known once a container of it was there, whether it had edges or not.
    fn context(
        &mut self,
        record: &ContextRecord,
        news: Option<&News>,
        state: &State,
        _: &mut dyn FnMut(Finding),
    ) {
        if news.is_some()
            && let Context::Container(container) = &record.body
            && let Some(container) = state.container(container.cgroup_id)
        {
            let mut baseline = self.baseline.lock().unwrap_or_else(PoisonError::into_inner);
            baseline.image(image_of(container));
        }
    }

    fn advance(&mut self, boot_ns: u64, state: &State, _: &mut dyn FnMut(Finding)) {
        if boot_ns >= self.watch.due_ns() {
            self.settle(boot_ns, state);
        }
    }

    fn due_ns(&self) -> u64 {
        self.watch.due_ns()
    }

    fn wants_call(&self, _: u32, _: Arch) -> bool {
        false
    }

    fn wants_family(&self, _: u16) -> bool {
        false
    }

    fn finish(&mut self, state: &State, _: &mut dyn FnMut(Finding)) {
        self.settle(u64::MAX, state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edges::{Peer, Port, Protocol};

    #[test]
    fn images_over_the_limit_count_as_never_seen_and_that_is_known() {
        let mut baseline = Baseline::default();
        for number in 0..IMAGES_MAX {
            assert!(baseline.image(&format!("shop/{number}")).is_some());
        }
        assert!(!baseline.left_out(), "exactly full");
        assert!(baseline.image("shop/one-more").is_none());
        assert!(baseline.left_out() && baseline.of("shop/one-more").is_none());
        assert!(baseline.image("shop/0").is_some(), "those inside go on");
    }

    #[test]
    fn an_image_with_too_many_edges_keeps_as_many_and_says_so() {
        let mut baseline = Baseline::default();
        let edge = |number: usize| Edge::Connects {
            protocol: Protocol::Tcp,
            peer: Peer::Image(number.to_string()),
            port: Port::Fixed(80),
        };
        for number in 0..EDGES_PER_IMAGE_MAX {
            baseline.learn("shop/web", edge(number));
            baseline.learn("shop/web", edge(number));
        }
        assert!(!baseline.of("shop/web").unwrap().too_many, "exactly full");
        baseline.learn("shop/web", edge(EDGES_PER_IMAGE_MAX));
        assert!(baseline.of("shop/web").unwrap().too_many);
        assert_eq!(baseline.edges(), EDGES_PER_IMAGE_MAX);
    }
}
