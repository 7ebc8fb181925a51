//! A progress bar on standard error: bytes of the traces read, only for a person at a terminal.

use std::{
    fs,
    io::{self, IsTerminal},
    path::{Path, PathBuf},
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::Global;

/// A bar, or nothing.
pub struct Progress {
    bar: Option<ProgressBar>,
    file: PathBuf,
    /// Bytes of the files before this one.
    before: u64,
    last: u64,
}

impl Progress {
    /// `passes`: how often the files are read.
    pub fn new<'a>(
        files: impl Iterator<Item = &'a PathBuf>,
        passes: u64,
        global: Global,
    ) -> Progress {
        let wanted = !global.quiet && io::stderr().is_terminal();
        let bytes: u64 = files
            .filter_map(|path| fs::metadata(path).ok())
            .map(|metadata| metadata.len())
            .sum();
        let bar = wanted.then(|| {
            let bar = ProgressBar::new(bytes * passes);
            let style = ProgressStyle::with_template(
                "{bar:32} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left",
            );
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Progress {
            bar,
            file: PathBuf::new(),
            before: 0,
            last: 0,
        }
    }

    pub fn at(&mut self, file: &Path, bytes: u64) {
        let Some(bar) = &self.bar else { return };
        // A file that is read again starts over, too.
        if file != self.file || bytes < self.last {
            self.before += self.last;
            self.file = file.to_owned();
        }
        self.last = bytes;
        bar.set_position(self.before + bytes);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
