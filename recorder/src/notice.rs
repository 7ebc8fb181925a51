//! What `rec` says to people. A stderr that nobody reads any more is no reason to stop recording.

use std::{fmt::Display, io::Write};

/// A line on stderr.
pub fn say(line: impl Display) {
    // Nowhere to say it, and nothing to do about that.
    let _ = writeln!(std::io::stderr(), "{line}");
}
