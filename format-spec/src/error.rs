//! Everything that can be wrong with a trace or with reading it, with the values that say where.

use std::{io, path::PathBuf};

/// `offset`s count from the start of the structure that `what` names, unless a variant says otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        path: PathBuf,
        /// "open", "read", "write" …
        action: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("{} is a directory, not a trace: name a file in it", path.display())]
    Directory { path: PathBuf },
    #[error("{} is empty: the capture wrote nothing, or was stopped before its first chunk", path.display())]
    Empty { path: PathBuf },
    #[error("{} is not a Trailcam trace: it starts with {found:02x?} and no sync marker follows", path.display())]
    NotATrace { path: PathBuf, found: Vec<u8> },
    #[error("the trace has no clock pair: times of day are not known, use boot+SECONDS")]
    NoClock,
    #[error("nothing can be between {from_ns} and {to_ns} ns: the range ends before it begins")]
    EmptyRange { from_ns: u64, to_ns: u64 },
    #[error("{name} cannot be merged: {reason}")]
    CannotMerge { name: String, reason: String },
    #[error("no chunk of {} holds: there is nothing to recover", path.display())]
    NothingLeft { path: PathBuf },
    #[error(
        "{} was written in trace format {found_major}.{found_minor}, this program reads up to {supported_major}.x: use a newer replay (frame at byte {offset})",
        path.display()
    )]
    FutureVersion {
        path: PathBuf,
        /// In the file.
        offset: u64,
        found_major: u16,
        found_minor: u16,
        supported_major: u16,
    },
    #[error(
        "{what} has the hash {found}, but its bytes hash to {expected}: it was damaged or changed"
    )]
    Hash {
        what: &'static str,
        expected: String,
        found: String,
    },
    #[error("{what} is {found}, the limit is {max}")]
    Limit {
        what: &'static str,
        found: u64,
        max: u64,
    },
    #[error("{what} ends early: {needed} bytes wanted at {offset}, {available} there")]
    Short {
        what: &'static str,
        offset: u64,
        needed: u64,
        available: u64,
    },
    #[error("{what} is wrong at {offset}: expected {expected}, found {found}")]
    Malformed {
        what: &'static str,
        offset: u64,
        expected: String,
        found: String,
    },
    #[error("{what} does not decode at {offset}: {reason}")]
    Decode {
        what: &'static str,
        offset: u64,
        reason: String,
    },
    #[error("expected {expected}; found {found}")]
    Key {
        expected: &'static str,
        found: String,
    },
    #[error("zstd cannot {action}: {source}")]
    Zstd {
        action: &'static str,
        #[source]
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn malformed(
        what: &'static str,
        offset: usize,
        expected: impl std::fmt::Display,
        found: impl std::fmt::Display,
    ) -> Self {
        Error::Malformed {
            what,
            offset: offset as u64,
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }

    /// A limit is checked before anything is allocated for the value.
    pub(crate) fn limit(what: &'static str, found: u64, max: u64) -> Result<(), Self> {
        if found > max {
            return Err(Error::Limit { what, found, max });
        }
        Ok(())
    }
}

/// Lower-case hexadecimal, for hashes and UUIDs in messages.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing into a String cannot fail");
            text
        })
}
