//! Findings into a file: text, JSON lines, CSV, Parquet, or a table of a SQLite database.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use super::{Error, Kind, Report, Sink, Spec};
use crate::{
    export::{self, FINDING_COLUMNS, Format, RowOf, RowWriter},
    findings::Finding,
};

pub(super) fn open(spec: &Spec) -> Result<Box<dyn Sink>, Error> {
    let path = PathBuf::from(&spec.target);
    let table = export::findings();
    let failed = |source| Error::Table {
        path: path.clone(),
        source,
    };
    let format = match spec.kind {
        Kind::Text | Kind::Jsonl => {
            return Ok(Box::new(Lines {
                out: create(&path, spec.force)?,
                json: spec.kind == Kind::Jsonl,
                path,
                written: 0,
            }));
        }
        Kind::Sqlite => return sqlite(&path),
        Kind::Csv => Format::Csv,
        _ => Format::Parquet,
    };
    let writer = export::writer(format, &table, create(&path, spec.force)?, 1).map_err(failed)?;
    Ok(Box::new(Rows {
        path,
        writer,
        written: 0,
    }))
}

#[cfg(feature = "sqlite")]
fn sqlite(path: &Path) -> Result<Box<dyn Sink>, Error> {
    // Made first, so that only its owner can read it.
    let made = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path);
    made.map_err(|source| Error::File {
        path: path.to_owned(),
        source,
    })?;
    let writer =
        export::SqliteWriter::open(path, &export::findings()).map_err(|source| Error::Table {
            path: path.to_owned(),
            source,
        })?;
    Ok(Box::new(Rows {
        path: path.to_owned(),
        writer: Box::new(writer),
        written: 0,
    }))
}

#[cfg(not(feature = "sqlite"))]
fn sqlite(path: &Path) -> Result<Box<dyn Sink>, Error> {
    Err(Error::Setup {
        what: path.display().to_string(),
        reason: "this replay was built without SQLite (feature `sqlite`)".into(),
    })
}

/// Readable by its owner only: findings name what a host's processes did.
fn create(path: &Path, force: bool) -> Result<BufWriter<File>, Error> {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    match force {
        true => options.create(true).truncate(true),
        false => options.create_new(true),
    };
    let file = options.open(path).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => Error::Exists(path.to_owned()),
        _ => Error::File {
            path: path.to_owned(),
            source,
        },
    })?;
    Ok(BufWriter::new(file))
}

struct Lines {
    path: PathBuf,
    out: BufWriter<File>,
    json: bool,
    written: u64,
}

impl Lines {
    fn failed(&self, source: io::Error) -> Error {
        Error::File {
            path: self.path.clone(),
            source,
        }
    }
}

impl Sink for Lines {
    fn finding(&mut self, finding: &Finding) -> Result<(), Error> {
        let line = match self.json {
            true => finding.to_json(),
            false => finding.to_text(),
        };
        let written = writeln!(self.out, "{line}");
        self.written += 1;
        written.map_err(|error| self.failed(error))
    }

    fn flush(&mut self) -> Result<(), Error> {
        let flushed = self.out.flush();
        flushed.map_err(|error| self.failed(error))
    }

    fn finish(mut self: Box<Self>) -> Result<Report, Error> {
        self.flush()?;
        Ok(Report {
            delivered: self.written,
            ..Report::default()
        })
    }
}

struct Rows {
    path: PathBuf,
    writer: Box<dyn RowWriter + Send>,
    written: u64,
}

impl Rows {
    fn failed(&self, source: export::Error) -> Error {
        Error::Table {
            path: self.path.clone(),
            source,
        }
    }
}

impl Sink for Rows {
    fn finding(&mut self, finding: &Finding) -> Result<(), Error> {
        let written = self.writer.row(&RowOf(finding, FINDING_COLUMNS));
        self.written += 1;
        written.map_err(|error| self.failed(error))
    }

    fn flush(&mut self) -> Result<(), Error> {
        let flushed = self.writer.flush();
        flushed.map_err(|error| self.failed(error))
    }

    fn finish(mut self: Box<Self>) -> Result<Report, Error> {
        let finished = self.writer.finish();
        finished.map_err(|error| self.failed(error))?;
        Ok(Report {
            delivered: self.written,
            ..Report::default()
        })
    }
}
