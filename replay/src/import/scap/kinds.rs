//! What the families of a trace stand for, looked up once for each.

use std::sync::Arc;

use trace_format::{EventType, columns::DECLARED};

use super::stored::Kind;

/// Remembers what [`Kind::of`] said of each type.
#[derive(Default)]
pub struct Kinds {
    /// By number from [`DECLARED`] on, with the declaration that it was said of.
    of: Vec<Option<(Arc<EventType>, Option<Kind>)>>,
}

impl Kinds {
    #[inline]
    pub fn of(&mut self, ty: &Arc<EventType>) -> Option<Kind> {
        let at = usize::from(ty.family() - DECLARED);
        match self.of.get(at) {
            Some(Some((known, kind))) if Arc::ptr_eq(known, ty) => *kind,
            _ => {
                let kind = Kind::of(ty);
                if self.of.len() <= at {
                    self.of.resize(at + 1, None);
                }
                self.of[at] = Some((Arc::clone(ty), kind));
                kind
            }
        }
    }
}
