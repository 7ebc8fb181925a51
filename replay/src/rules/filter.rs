//! One condition without a rule around it.
//!
//! What a condition says about who acted (a process, its ancestors, its container) does not change
//! from event to event: it is judged once per actor, and again when the state of any of them changed.
//! Most events of a filtered trace then cost one look into a table.

use super::{
    LoadError, SHIPPED, load,
    node::{Node, Scratch},
    subject::Subject,
    types::{Type, TypeSet},
};
use crate::resolve::{Depth, State, Version, may_outlive_its_process};
use hashbrown::HashMap;
use trace_format::{Event, EventHead, columns};

/// Actors whose verdict is remembered: twice the kernel's default `pid_max`, 24 bytes each.
const VERDICTS_MAX: usize = 65_536;

#[derive(Clone)]
pub struct Filter {
    types: TypeSet,
    /// All types.
    whole: bool,
    /// The part about who acted.
    actor: Node,
    /// The part that needs the event.
    rest: Node,
    verdicts: Verdicts,
    scratch: Scratch,
}

/// All that [`Node::is_about_actor`] fields take from an event.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Actor {
    pid: u32,
    /// A socket's event belongs to the last process with the id, living or not.
    of_socket: bool,
    cgroup_id: u64,
}

#[derive(Clone, Default)]
struct Verdicts {
    /// Of the state when they were given.
    given_at: Version,
    of: HashMap<Actor, bool>,
    /// Threads run for a while: the next event is mostly of the same one.
    last: Option<(Actor, bool)>,
}

impl Filter {
    /// Compiles a condition. It may use the macros and lists of the shipped rules. Positions in the
    /// error are in the text given; its file is `filter`.
    pub fn compile(condition: &str) -> Result<Filter, LoadError> {
        let condition = load::filter(condition, SHIPPED)?;
        let types = condition.event_types();
        let (actor, rest) = condition.split_actor();
        Ok(Filter {
            whole: types.complement().is_empty(),
            types,
            actor,
            rest,
            verdicts: Verdicts::default(),
            scratch: Scratch::default(),
        })
    }

    /// Between [`State::before`] and [`State::after`] of the event.
    pub fn matches(&mut self, event: &Event, state: &State) -> bool {
        let kind = Type::of(event, state.arch());
        if !self.types.contains(kind) || !self.actor_fits(event, state, kind) {
            return false;
        }
        match self.rest {
            Node::Always => true,
            Node::Never => false,
            _ => self
                .rest
                .holds(&Subject::new(event, state, kind), &mut self.scratch),
        }
    }

    /// How much of the state the answer depends on.
    pub fn looks_at(&self) -> Depth {
        self.actor.looks_at().max(self.rest.looks_at())
    }

    /// What is known of an event before it is put together: that it cannot match, that it does, or
    /// `None`.
    pub(crate) fn foresee(&mut self, head: &EventHead<'_>, state: &State) -> Option<bool> {
        let actor = Actor {
            pid: head.pid,
            of_socket: head.family == columns::TCP_STATE,
            cgroup_id: head.cgroup_id,
        };
        let fits = match self.actor {
            Node::Always => true,
            _ => self.verdicts.given(actor, state)?,
        };
        (!fits || self.is_about_actor()).then_some(fits)
    }

    /// Whether nothing but who acted decides.
    pub(crate) fn is_about_actor(&self) -> bool {
        self.whole && matches!(self.rest, Node::Always)
    }

    /// Whether a block of this name, or the event it completes, can match.
    pub(crate) fn wants_block(&self, name: &str) -> bool {
        self.whole
            || Type::of_block(name)
                .into_iter()
                .any(|ty| self.types.contains(ty))
    }

    /// Whether a system call of this number can match.
    pub(crate) fn wants_call(&self, nr: u32, state: &State) -> bool {
        self.whole || self.types.contains(Type::of_call(nr, state.arch()))
    }

    fn actor_fits(&mut self, event: &Event, state: &State, kind: Type) -> bool {
        if matches!(self.actor, Node::Always) {
            return true;
        }
        let actor = Actor {
            pid: event.pid,
            of_socket: may_outlive_its_process(&event.data),
            cgroup_id: event.cgroup_id,
        };
        if let Some(fits) = self.verdicts.given(actor, state) {
            return fits;
        }
        let subject = Subject::new(event, state, kind);
        let fits = self.actor.holds(&subject, &mut self.scratch);
        self.verdicts.give(actor, fits);
        fits
    }
}

impl Verdicts {
    /// The one about this actor, if nothing changed since.
    #[inline]
    fn given(&mut self, actor: Actor, state: &State) -> Option<bool> {
        let version = state.version();
        if self.given_at != version {
            self.of.clear();
            self.last = None;
            self.given_at = version;
        }
        match self.last {
            Some((last, fits)) if last == actor => Some(fits),
            _ => {
                let fits = *self.of.get(&actor)?;
                self.last = Some((actor, fits));
                Some(fits)
            }
        }
    }

    /// Right after [`Verdicts::given`] had none.
    fn give(&mut self, actor: Actor, fits: bool) {
        if self.of.len() >= VERDICTS_MAX {
            self.of.clear();
        }
        self.of.insert(actor, fits);
        self.last = Some((actor, fits));
    }
}
