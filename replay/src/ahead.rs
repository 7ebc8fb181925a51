//! What is known of a row before it is an event: whether a walk can leave it out, or show it without
//! folding it into the state. [`crate::walk`] asks for every row; most rows of a filtered walk then
//! cost a look at their kind and their actor's verdict.
//!
//! The promise: what a walk shows is the same as if every row had been folded. A row is left to the
//! fold whenever its kind may change something that the filter or the visitor looks at.

use std::sync::Arc;

use trace_format::{Event, EventHead, EventType, columns};

use crate::{
    import::native::outlook,
    resolve::{Depth, State},
    rules::Filter,
    syscalls::Arch,
};

/// What a row's kind says about it.
#[derive(Clone, Copy, Debug)]
pub struct Ahead {
    /// What it can change.
    pub depth: Depth,
    /// A capture's row: the event that people and rules see is folded from it.
    pub of_capture: bool,
    /// A block that begins or ends a call.
    pub is_call: bool,
    /// What it says is told with a later row of the same kind.
    pub has_exit: bool,
    /// The filter wants no event of the kind.
    pub unwanted: bool,
}

/// The kinds of rows seen so far.
#[derive(Default)]
pub struct Kinds {
    /// Which host's calls the kinds were learnt for.
    arch: Arch,
    /// By number from [`columns::DECLARED`] on, at most 64,512: what was learnt, and of which declaration.
    declared: Vec<Option<(Arc<EventType>, Ahead)>>,
    /// The last row of each that was put together: the next one uses its memory.
    rows: Vec<Option<Event>>,
}

impl Kinds {
    /// `nr` is the row's system call, asked for where its family is one, if it can be read.
    #[inline]
    pub fn of(
        &mut self,
        head: &EventHead<'_>,
        nr: impl Fn() -> Option<u32>,
        state: &State,
        filter: Option<&Filter>,
    ) -> Ahead {
        if self.arch != state.arch() {
            self.declared.clear();
            self.arch = state.arch();
        }
        let Some(ty) = head.ty else {
            return Ahead {
                depth: Depth::of_family(head.family, &nr, state.effects()),
                of_capture: false,
                is_call: false,
                has_exit: false,
                unwanted: filter
                    .filter(|_| is_call(head.family))
                    .is_some_and(|filter| nr().is_some_and(|nr| !filter.wants_call(nr, state))),
            };
        };
        match self.declared.get(place(head.family)) {
            Some(Some((known, ahead))) if Arc::ptr_eq(known, ty) => *ahead,
            _ => self.learn(ty, state, filter),
        }
    }

    /// Where rows of a declared family are put together.
    pub fn row(&mut self, family: u16) -> &mut Option<Event> {
        let at = place(family);
        if self.rows.len() <= at {
            self.rows.resize_with(at + 1, || None);
        }
        &mut self.rows[at]
    }

    #[cold]
    fn learn(&mut self, ty: &Arc<EventType>, state: &State, filter: Option<&Filter>) -> Ahead {
        let ahead = match outlook(ty, state.effects()) {
            Some(outlook) => Ahead {
                depth: outlook.depth,
                of_capture: true,
                is_call: outlook.is_call,
                has_exit: outlook.has_exit,
                unwanted: filter
                    .zip(outlook.name)
                    .is_some_and(|(filter, name)| !filter.wants_block(name)),
            },
            None => Ahead {
                depth: Depth::Nothing,
                of_capture: false,
                is_call: false,
                has_exit: false,
                unwanted: false,
            },
        };
        let at = place(ty.family());
        if self.declared.len() <= at {
            self.declared.resize_with(at + 1, || None);
        }
        self.declared[at] = Some((Arc::clone(ty), ahead));
        ahead
    }
}

/// Of a declared family in the lists; families of our own share the first place.
fn place(family: u16) -> usize {
    usize::from(family.saturating_sub(columns::DECLARED))
}

fn is_call(family: u16) -> bool {
    matches!(
        family,
        columns::SYSCALL
            | columns::TIMED_SYSCALL
            | columns::PAYLOAD
            | columns::OPEN
            | columns::PATH_CALL
            | columns::SOCK_CALL
    )
}
