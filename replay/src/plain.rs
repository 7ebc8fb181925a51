//! Which events are told to no detector but by their heads: system calls that change no state, or close a
//! descriptor, and families that nobody asks for. That is most of what a busy server does.
//! [`crate::pipeline`] asks about every row, and never puts them together.
//!
//! The promise: whatever is found is the same as if each had been.

use std::sync::Arc;

use trace_format::{EventType, columns};

use crate::{
    import::native::outlook,
    pipeline::Detector,
    resolve::{Depth, State},
    syscalls::{Arch, Effect, Effects, Transfer, Transfers},
};

/// System calls have numbers below this, but for those of foreign tables.
const CALLS_MAX: u32 = 1_024;

fn wants(detectors: &[Box<dyn Detector>], nr: u32, arch: Arch) -> bool {
    detectors
        .iter()
        .any(|detector| detector.wants_call(nr, arch))
}

/// What such a call does to the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plain {
    Nothing,
    /// Forgets the descriptor that is its first argument, where it succeeds.
    Closes,
}

/// Of recordings of our own.
#[derive(Default)]
pub struct PlainCalls {
    arch: Arch,
    /// By number, as far as it was asked for.
    known: Vec<Option<Option<Plain>>>,
    transfers: Transfers,
}

impl PlainCalls {
    #[inline]
    pub fn of(&mut self, nr: u32, state: &State, detectors: &[Box<dyn Detector>]) -> Option<Plain> {
        if self.arch == state.arch()
            && let Some(Some(plain)) = self.known.get(nr as usize)
        {
            return *plain;
        }
        self.learn(nr, state, detectors)
    }

    /// Of a call that is plain.
    #[inline]
    pub fn transfer(&self, nr: u32) -> Option<Transfer> {
        self.transfers.of(nr)
    }

    #[cold]
    fn learn(&mut self, nr: u32, state: &State, detectors: &[Box<dyn Detector>]) -> Option<Plain> {
        if nr >= CALLS_MAX {
            return None;
        }
        let arch = state.arch();
        if self.arch != arch {
            self.arch = arch;
            self.known.clear();
            self.transfers = Transfers::new(arch);
        }
        if self.known.len() <= nr as usize {
            self.known.resize(nr as usize + 1, None);
        }
        let plain = match state.effects().of(nr) {
            Effect::None => Some(Plain::Nothing),
            Effect::Close => Some(Plain::Closes),
            _ => None,
        };
        let plain = plain.filter(|_| !wants(detectors, nr, arch));
        self.known[nr as usize] = Some(plain);
        plain
    }
}

/// Families that change no state and that no detector wants, as bits: asked about every event that is no
/// system call.
pub struct PlainFamilies(u64);

impl PlainFamilies {
    pub fn new(detectors: &[Box<dyn Detector>]) -> PlainFamilies {
        // Of families that are system calls alone it matters which host's they are.
        let effects = Effects::new(Arch::default());
        let plain = |family: &u16| {
            let mut detectors = detectors.iter();
            Depth::of_family(*family, || None, &effects) == Depth::Nothing
                && !detectors.any(|detector| detector.wants_family(*family))
        };
        let bits = (0..64).filter(plain).map(|family| 1 << family);
        PlainFamilies(bits.fold(0, |all, bit: u64| all | bit))
    }

    #[inline]
    pub fn has(&self, family: u16) -> bool {
        family < 64 && self.0 >> family & 1 != 0
    }
}

/// A capture's block of such a call.
#[derive(Clone, Copy, Debug)]
pub struct PlainBlock {
    /// It ends the call, or is all of it: the call is counted. Otherwise nothing is told with it.
    pub tells: bool,
    /// Its thread enters a call with it or comes back from one.
    pub is_call: bool,
}

/// A declaration, and what was learnt of it.
type Known = (Arc<EventType>, Option<PlainBlock>);

/// Of imported captures.
#[derive(Default)]
pub struct PlainBlocks {
    arch: Arch,
    /// By number from [`columns::DECLARED`] on, at most 64,512.
    known: Vec<Option<Known>>,
}

impl PlainBlocks {
    #[inline]
    pub fn of(
        &mut self,
        ty: &Arc<EventType>,
        state: &State,
        detectors: &[Box<dyn Detector>],
    ) -> Option<PlainBlock> {
        let at = usize::from(ty.family().saturating_sub(columns::DECLARED));
        if self.arch == state.arch()
            && let Some(Some((known, block))) = self.known.get(at)
            && Arc::ptr_eq(known, ty)
        {
            return *block;
        }
        self.learn(at, ty, state, detectors)
    }

    #[cold]
    fn learn(
        &mut self,
        at: usize,
        ty: &Arc<EventType>,
        state: &State,
        detectors: &[Box<dyn Detector>],
    ) -> Option<PlainBlock> {
        let arch = state.arch();
        if self.arch != arch {
            self.arch = arch;
            self.known.clear();
        }
        if self.known.len() <= at {
            self.known.resize(at + 1, None);
        }
        // What a call wrote stands in two blocks.
        let transfers = Transfers::new(arch);
        let writes = |nr| transfers.of(nr).is_some_and(|it: Transfer| it.to.is_some());
        let wants_writes = detectors.iter().any(|detector| detector.wants_writes());
        let block = outlook(ty, state.effects())
            .filter(|outlook| outlook.is_plain && outlook.depth == Depth::Nothing)
            .filter(|outlook| outlook.nr.is_none_or(|nr| !wants(detectors, nr, arch)))
            .filter(|outlook| !wants_writes || outlook.nr.is_none_or(|nr| !writes(nr)))
            .map(|outlook| PlainBlock {
                tells: !outlook.has_exit && outlook.nr.is_some(),
                is_call: outlook.is_call,
            });
        self.known[at] = Some((Arc::clone(ty), block));
        block
    }
}
