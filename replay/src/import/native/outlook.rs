//! What a block's kind says about it before it is read: how deep into the state it goes, whether it
//! begins or ends a call, and what rules will call it.

use trace_format::{EventType, columns::Type};

use super::calls;
use crate::{
    import::scap::stored::Kind,
    resolve::Depth,
    syscalls::{Effects, row_named},
};

/// About every row of a capture's family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outlook {
    pub depth: Depth,
    /// The thread enters a call with it or comes back from one.
    pub is_call: bool,
    /// It is the first half of a call: what it says is told with the second.
    pub has_exit: bool,
    /// The system call that it and the event it makes are named after; `None`: any.
    pub name: Option<&'static str>,
    /// The event that it makes, if it makes one, is a plain system call.
    pub is_plain: bool,
    /// Of a plain call, where the kernel has one of that name: without it nothing is told.
    pub nr: Option<u32>,
}

/// `None`: the family is none of a capture's.
pub(crate) fn outlook(ty: &EventType, effects: &Effects) -> Option<Outlook> {
    let quiet = Outlook {
        depth: Depth::Nothing,
        is_call: false,
        has_exit: false,
        name: None,
        is_plain: false,
        nr: None,
    };
    Some(match Kind::of(ty)? {
        Kind::Part | Kind::Opaque => quiet,
        Kind::List(_) => Outlook {
            depth: Depth::Who,
            ..quiet
        },
        // Under the name of a capture's, but with fields of its own: nobody reads it.
        Kind::Event(_) if !has_fields_of_a_block(ty) => quiet,
        Kind::Event(schema) => Outlook {
            depth: of_call(schema.name, effects),
            is_call: schema.has_exit() || !schema.enter,
            has_exit: schema.has_exit(),
            name: (schema.name != "syscall").then_some(schema.name),
            is_plain: calls::is_plain(schema.name),
            nr: calls::named(schema.name, effects.arch()),
        },
    })
}

/// As [`crate::import::scap::stored::StoredBlock::of`] wants them.
fn has_fields_of_a_block(ty: &EventType) -> bool {
    let field = |at: usize| ty.fields().get(at).map(|field| field.ty);
    let number = matches!(field(0), Some(Type::U8 | Type::U16 | Type::U32 | Type::U64));
    number && field(1) == Some(Type::Text)
}

/// What [`calls::fold`] makes of a call of this name can change no more than that.
fn of_call(name: &str, effects: &Effects) -> Depth {
    match name {
        "execve" | "execveat" | "clone" | "clone3" | "fork" | "vfork" | "procexit" => Depth::Who,
        "open" | "openat" | "openat2" | "creat" | "open_by_handle_at" | "socket" | "bind"
        | "connect" | "listen" | "accept" | "accept4" | "rename" | "renameat" | "renameat2"
        | "link" | "linkat" | "chdir" | "chroot" | "pivot_root" => Depth::All,
        name => {
            let number =
                row_named(calls::kernel_name(name)).and_then(|row| row.number(effects.arch()));
            number.map_or(Depth::Nothing, |number| {
                Depth::of_effect(effects.of(number))
            })
        }
    }
}
