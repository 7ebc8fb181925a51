//! Names for what the kernel counts: calls, errors, flags; what each call does to the state, and which move
//! bytes.
//!
//! The table of calls is the format's ([`trace_format::syscalls`]), so that recorder and replay
//! agree. The rest is only for people and rules, and lives here.

mod effects;
pub mod errno;
pub mod flags;
mod transfers;

pub use effects::{Effect, Effects};
pub use flags::{O_ACCMODE, O_RDONLY, o_directory};
pub use trace_format::syscalls::{
    Arch, I386, IO_URING, NUMBERS, ROWS, Row, X32, arity, name, number, row, row_named,
};
pub use transfers::{Transfer, Transfers};
