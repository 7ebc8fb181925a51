//! The native view of an imported capture: enter and exit blocks become one event each, as our own
//! probes would have reported it, and state lists become what the state learns from.
//!
//! A fold over a trace's rows and the state at hand, nothing else. Rules, statistics, features and
//! exports see what comes out of it; `replay cat` shows the blocks that went in.
//!
//! A thread is in one call at a time: its last enter is kept, and one whose exit never came is
//! discarded when the next begins. Entering open, creat and connect is an event of its own besides,
//! as it is for Falco, which judges them before they are done.

mod calls;
mod details;
mod lists;
mod outlook;
pub(crate) mod values;

use hashbrown::HashMap;
use trace_format::{ContextRecord, Declared, Event, EventData, Payload};

pub(crate) use calls::kernel_name;
pub(crate) use outlook::outlook;

use super::scap::{
    kinds::Kinds,
    stored::{Kind, StoredBlock},
};
use crate::resolve::{Descriptor, State};

/// Threads inside a call: twice the kernel's default `pid_max`. Further ones lose what they entered with.
const ENTERED_MAX: usize = 65_536;

/// Calls whose entering is an event of its own.
const JUDGED_EARLY: [&str; 5] = ["open", "openat", "openat2", "creat", "connect"];

/// What a row of a capture tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// For everybody.
    Event(Event),
    /// For everybody, but only that it was: what it did to the state is not known.
    Bare(Event),
    /// For the state only: the capture hides it from people.
    Silent(Event),
    Context(ContextRecord),
    /// A process has this descriptor since before the capture.
    Descriptor {
        pid: u32,
        fd: i32,
        descriptor: Box<Descriptor>,
    },
}

/// The fold.
#[derive(Default)]
pub struct Native {
    kinds: Kinds,
    /// By thread: the call it is in, and since when.
    entered: HashMap<u32, (u64, Declared)>,
}

impl Native {
    /// Appends what a row tells; false where the row is none of a capture's: then it is an event as it is.
    #[inline]
    pub fn fold(&mut self, event: &Event, state: &State, told: &mut Vec<Told>) -> bool {
        match &event.data {
            EventData::Declared(data) => self.row(event, data, state, told),
            _ => false,
        }
    }

    fn row(&mut self, event: &Event, data: &Declared, state: &State, told: &mut Vec<Told>) -> bool {
        let Some(kind) = self.kinds.of(data.ty()) else {
            return false;
        };
        match kind {
            Kind::Part | Kind::Opaque => {}
            Kind::List(_) => lists::fold(event, data, told),
            Kind::Event(schema) => {
                let Some(block) = StoredBlock::of_kind(data, kind) else {
                    return true;
                };
                let (cpu, hidden) = (block.cpu, block.flags & 1 != 0);
                let from = told.len();
                let mut duration_ns = 0;
                if schema.has_exit() {
                    if self.entered.len() < ENTERED_MAX || self.entered.contains_key(&event.tid) {
                        self.entered
                            .insert(event.tid, (event.boot_ns, data.clone()));
                    }
                    if JUDGED_EARLY.contains(&schema.name) {
                        told.push(Told::Event(event.clone()));
                    }
                } else {
                    let entered = match schema.enter {
                        true => None,
                        false => self.entered.remove(&event.tid),
                    };
                    let entered_ns = entered.as_ref().map(|entered| entered.0);
                    let entered = entered.as_ref().and_then(|(_, entered)| {
                        StoredBlock::of_kind(entered, self.kinds.of(entered.ty())?)
                    });
                    let entered = entered.filter(|entered| entered.number == block.number & !1);
                    if let (Some(_), Some(ns)) = (&entered, entered_ns) {
                        duration_ns = event.boot_ns.saturating_sub(ns);
                    }
                    let call = values::Call {
                        name: schema.name,
                        event,
                        exit: block,
                        entered,
                    };
                    calls::fold(&call, state, told);
                }
                for one in &mut told[from..] {
                    finish(one, cpu, duration_ns, hidden);
                }
            }
        }
        true
    }

    /// Takes notice of a block that is left out, where its kind is [`outlook::Outlook::is_call`]: whatever
    /// its thread was in is over.
    #[inline]
    pub(crate) fn left_out(&mut self, tid: u32) {
        if !self.entered.is_empty() {
            self.entered.remove(&tid);
        }
    }
}

/// The block's CPU, how long the call took that it ends, and whether it is hidden. Numbers of blocks stay with the blocks: the folded
/// events leave them out on purpose, which is no loss.
fn finish(told: &mut Told, cpu: u16, duration_ns: u64, hidden: bool) {
    let (Told::Event(event) | Told::Bare(event)) = told else {
        return;
    };
    event.probe = 0;
    event.seq = 0;
    event.cpu = cpu;
    match &mut event.data {
        EventData::Syscall(call) | EventData::Payload(Payload { call, .. }) => {
            call.duration_ns = duration_ns;
        }
        EventData::Open(call) => call.duration_ns = duration_ns,
        EventData::PathCall(call) => call.duration_ns = duration_ns,
        EventData::SockCall(call) => call.duration_ns = duration_ns,
        _ => {}
    }
    if hidden {
        *told = Told::Silent(event.clone());
    }
}
