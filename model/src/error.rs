//! What can go wrong, with file, place and value.

use std::{io, path::PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{} is not labelled data: it has no labels.csv, and no directory in it has one", path.display())]
    NoLabels { path: PathBuf },
    #[error("{} has labels.csv but no trace (a file whose name ends in .zst)", path.display())]
    NoTrace { path: PathBuf },
    #[error("{} holds more than {max} {what}", path.display())]
    TooMany {
        path: PathBuf,
        max: usize,
        what: &'static str,
    },
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{} exists; choose another name or say --force", path.display())]
    Exists { path: PathBuf },
    #[error("{} line {line}: {what}", path.display())]
    BadLabels {
        path: PathBuf,
        line: usize,
        what: String,
    },
    #[error("{}: {source}", path.display())]
    Trace {
        path: PathBuf,
        source: replay::source::Error,
    },
    #[error(
        "only {found} windows are labelled normal and are past their container's warm-up, at least {needed} are needed to fit a forest: \
         record longer, with more containers, or use a shorter --window"
    )]
    TooFewWindows { found: usize, needed: usize },
    #[error("no trace has a window of a container: record containers for at least two windows")]
    NoWindows,
    #[error(transparent)]
    Forest(#[from] forest::Error),
    #[error(transparent)]
    Model(#[from] replay::artifact::Error),
    #[error("cannot write the table: {0}")]
    Parquet(#[from] parquet::errors::ParquetError),
    #[error("cannot make the table: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
}
