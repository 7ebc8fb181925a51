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
use crate::resolve::State;
use hashbrown::HashMap;
use trace_format::{Event, EventData};

/// Actors whose verdict is remembered: twice the kernel's default `pid_max`, 24 bytes each.
const VERDICTS_MAX: usize = 65_536;

pub struct Filter {
    types: TypeSet,
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

#[derive(Default)]
struct Verdicts {
    /// [`State::actors_changed`] when they were given.
    given_at: u64,
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

    fn actor_fits(&mut self, event: &Event, state: &State, kind: Type) -> bool {
        if matches!(self.actor, Node::Always) {
            return true;
        }
        let actor = Actor {
            pid: event.pid,
            of_socket: matches!(event.data, EventData::TcpState(_)),
            cgroup_id: event.cgroup_id,
        };
        let verdicts = &mut self.verdicts;
        let changed = state.actors_changed();
        if verdicts.given_at != changed {
            verdicts.of.clear();
            verdicts.last = None;
            verdicts.given_at = changed;
        }
        if let Some((last, fits)) = verdicts.last
            && last == actor
        {
            return fits;
        }
        let fits = match verdicts.of.get(&actor) {
            Some(fits) => *fits,
            None => {
                let subject = Subject::new(event, state, kind);
                let fits = self.actor.holds(&subject, &mut self.scratch);
                if verdicts.of.len() >= VERDICTS_MAX {
                    verdicts.of.clear();
                }
                verdicts.of.insert(actor, fits);
                fits
            }
        };
        verdicts.last = Some((actor, fits));
        fits
    }
}
