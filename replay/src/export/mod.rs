//! Traces as tables: Parquet, Arrow, CSV, JSON lines and SQLite, all from the same columns.
//!
//! Rows are written as they come; a writer holds at most one batch, that of Parquet two row groups. `docs/export.md` describes the
//! tables.

mod arrow;
mod batches;
mod csv;
mod findings;
mod group;
mod jsonl;
mod parquet;
#[cfg(feature = "sqlite")]
mod sqlite;
pub mod table;
pub mod tables;
mod texts;

use std::io::{self, Write};

#[cfg(feature = "sqlite")]
pub use self::sqlite::SqliteWriter;
pub use self::{
    arrow::ArrowFileWriter,
    csv::CsvWriter,
    findings::{COLUMNS as FINDING_COLUMNS, findings},
    jsonl::JsonLinesWriter,
    parquet::ParquetWriter,
    table::{Row, RowOf, Table},
};

/// Why a table could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("Parquet: {0}")]
    Parquet(#[from] ::parquet::errors::ParquetError),
    #[error("Arrow: {0}")]
    Arrow(#[from] ::arrow::error::ArrowError),
    #[cfg(feature = "sqlite")]
    #[error("SQLite: {0}")]
    Sqlite(#[from] rusqlite::Error),
}

impl Error {
    /// The failure to write that is behind it, if there is one.
    pub fn io(&self) -> Option<&io::Error> {
        match self {
            Error::Io(error) => Some(error),
            Error::Parquet(::parquet::errors::ParquetError::External(source)) => {
                source.downcast_ref()
            }
            Error::Arrow(::arrow::error::ArrowError::IoError(_, error)) => Some(error),
            _ => None,
        }
    }
}

/// A table that takes rows.
pub trait RowWriter {
    fn row(&mut self, row: &dyn Row) -> Result<(), Error>;
    /// What came so far can be read, where the format allows that before the end.
    fn flush(&mut self) -> Result<(), Error> {
        Ok(())
    }
    /// Writes what is held back and closes the table.
    fn finish(&mut self) -> Result<(), Error>;
}

/// The formats that are a stream of bytes, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Parquet,
    Arrow,
    Csv,
    JsonLines,
}

/// A writer of that format, which may use so many threads, the caller's among them.
pub fn writer<'a, W: Write + Send + 'a>(
    format: Format,
    table: &Table,
    out: W,
    threads: usize,
) -> Result<Box<dyn RowWriter + Send + 'a>, Error> {
    Ok(match format {
        Format::Parquet => Box::new(ParquetWriter::new(out, table, threads)?),
        Format::Arrow => Box::new(ArrowFileWriter::new(out, table)?),
        Format::Csv => Box::new(CsvWriter::new(out, table)?),
        Format::JsonLines => Box::new(JsonLinesWriter::new(out, table)),
    })
}
