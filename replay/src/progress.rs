//! A progress bar on standard error: only for a person at a terminal, and only for input whose size is known.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal};

use crate::Global;

/// A bar, or nothing.
pub struct Progress(Option<ProgressBar>);

impl Progress {
    /// `results_too`: results go to standard output while the bar stands, which only works when that
    /// is not the same terminal.
    pub fn new(bytes: Option<u64>, results_too: bool, global: Global) -> Progress {
        let wanted = !global.quiet
            && io::stderr().is_terminal()
            && !(results_too && io::stdout().is_terminal());
        let bar = bytes.filter(|_| wanted).map(|bytes| {
            let bar = ProgressBar::new(bytes);
            let style = ProgressStyle::with_template(
                "{bar:32} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left",
            );
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Progress(bar)
    }

    pub fn at(&self, bytes: u64) {
        if let Some(bar) = &self.0 {
            bar.set_position(bytes);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
