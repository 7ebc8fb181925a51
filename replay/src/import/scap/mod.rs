//! Captures in the scap format of sysdig and Falco: read block by block, whatever bytes come in.
//!
//! The flow: [`Capture`] unpacks gzip where there is any and cuts the bytes into blocks with
//! [`Framer`]; [`event::parse`] and [`lists::Records`] take a block apart against the table of
//! [`schema`]. Parsing does no I/O and allocates nothing that the input has not paid for with bytes
//! of its own. What cannot be read becomes an [`Issue`] with its place; every whole block around it
//! is still handed out.

pub mod block;
mod bytes;
pub mod event;
pub mod families;
mod framing;
#[cfg(feature = "import")]
mod import;
#[cfg(feature = "import")]
mod input;
pub(crate) mod kinds;
pub mod limits;
pub mod lists;
mod more;
pub mod schema;
pub mod stored;
#[cfg(feature = "import")]
mod timeline;
#[cfg(feature = "import")]
mod whose;

pub use framing::{Block, Framer, Step};
#[cfg(feature = "import")]
pub use import::{Imported, PROBE, import};
#[cfg(feature = "import")]
pub use input::Capture;

use std::path::PathBuf;

/// Why a capture cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        path: PathBuf,
        action: &'static str,
        source: std::io::Error,
    },
    #[error(
        "not a scap capture: it starts with {found}, expected a section header (0a 0d 0d 0a) or gzip (1f 8b)"
    )]
    NotScap { found: String },
    #[error("a big-endian capture: scap is little endian, convert it on the host that wrote it")]
    BigEndian,
    #[error(transparent)]
    Trace(#[from] trace_format::Error),
    #[error("scap version {major}.{minor}: this reader knows version 1")]
    Version { major: u16, minor: u16 },
}

/// What was wrong inside a capture, and where (offset in the unpacked bytes).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    pub offset: u64,
    pub reason: Reason,
}

impl std::fmt::Display for Issue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "at byte {}: {}", self.offset, self.reason)
    }
}

/// One thing that is wrong with a block, or with the bytes between blocks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    #[error("cut short: a block of {expected} bytes has {found}")]
    Truncated { expected: u64, found: u64 },
    #[error("{bytes} bytes that belong to no block were skipped")]
    Skipped { bytes: u64 },
    #[error("gzip: {0}")]
    Gzip(String),
    #[error(
        "gzip unpacks to more than {max} times its size: refused",
        max = limits::EXPANSION_MAX
    )]
    Expansion,
    #[error("{what}: needs {needed} bytes, {left} are left")]
    Short {
        what: &'static str,
        needed: u64,
        left: u64,
    },
    #[error("{what} of {found} bytes, at most {max} are allowed")]
    TooLong {
        what: &'static str,
        found: u64,
        max: u64,
    },
    #[error("{what}: expected {expected}, found {found}")]
    Wrong {
        what: &'static str,
        expected: String,
        found: u64,
    },
}
