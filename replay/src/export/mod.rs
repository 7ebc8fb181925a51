//! Events as tables: Parquet, CSV and JSON lines, all from [`crate::event_view::COLUMNS`].
//!
//! Rows are written as they come; a writer holds at most one batch. `docs/export.md` describes the
//! columns.

mod csv;
mod jsonl;
mod parquet;

use std::io::{self, Write};

pub use self::{csv::CsvWriter, jsonl::JsonLinesWriter, parquet::ParquetWriter};
use crate::event_view::EventView;

/// Why a table could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("Parquet: {0}")]
    Parquet(#[from] ::parquet::errors::ParquetError),
    #[error("Arrow: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
}

impl Error {
    /// The failure to write that is behind it, if there is one.
    pub fn io(&self) -> Option<&io::Error> {
        match self {
            Error::Io(error) => Some(error),
            Error::Parquet(::parquet::errors::ParquetError::External(source)) => {
                source.downcast_ref()
            }
            _ => None,
        }
    }
}

/// A table that takes rows.
pub trait RowWriter {
    fn row(&mut self, view: &EventView<'_>) -> Result<(), Error>;
    /// Writes what is held back and closes the table.
    fn finish(&mut self) -> Result<(), Error>;
}

/// The formats by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Parquet,
    Csv,
    JsonLines,
}

/// A writer of that format.
pub fn writer<'a, W: Write + Send + 'a>(
    format: Format,
    out: W,
) -> Result<Box<dyn RowWriter + 'a>, Error> {
    Ok(match format {
        Format::Parquet => Box::new(ParquetWriter::new(out)?),
        Format::Csv => Box::new(CsvWriter::new(out)?),
        Format::JsonLines => Box::new(JsonLinesWriter::new(out)),
    })
}
