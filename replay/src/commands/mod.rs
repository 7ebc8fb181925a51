//! One file per command: its arguments, and what it does with them.

pub mod cat;
pub mod cat_raw;
pub mod detect;
#[cfg(feature = "export")]
pub mod export;
#[cfg(feature = "import")]
pub mod import;
pub mod info;
#[cfg(feature = "live")]
pub mod live;
pub mod verify;
