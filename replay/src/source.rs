//! What a command is given to read: files, directories, standard input.
//!
//! Several files may be parts of one trace (same UUID, numbers that go on) or different traces; the
//! caller sees which from each chunk's header.

use std::{
    fs, io,
    path::{Path, PathBuf},
};
use trace_format::{
    ChunkSource, Context, ContextRecord, IndexEntry, Issue, SealedChunk, Summary, TraceReader,
};

/// Files taken from one directory: a year of hourly files.
pub const DIRECTORY_FILES_MAX: usize = 10_000;

/// One thing to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    File(PathBuf),
    Stdin,
    /// `unix://`, `http://` or `https://`: a recorder that serves live.
    Live(String),
}

impl std::fmt::Display for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Input::File(path) => write!(f, "{}", path.display()),
            Input::Stdin => f.write_str("standard input"),
            Input::Live(url) => f.write_str(url),
        }
    }
}

/// What cannot be read, and why.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{} does not exist", .0.display())]
    Missing(PathBuf),
    #[error("{} is a directory without traces: no file in it ends in .zst", .0.display())]
    NoTraces(PathBuf),
    #[error("{} has more than {max} traces: name the ones to read", path.display(), max = DIRECTORY_FILES_MAX)]
    TooMany { path: PathBuf },
    #[error("cannot read the directory {}: {source}", path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error(
        "{url} is not a live address; expected unix:///path, http://host:port or https://host:port"
    )]
    Address { url: String },
    #[error(transparent)]
    Trace(#[from] trace_format::Error),
}

impl Input {
    /// What one argument of a command names. A directory names its traces, sorted by name.
    pub fn parse(argument: &str) -> Result<Vec<Input>, Error> {
        if argument == "-" {
            return Ok(vec![Input::Stdin]);
        }
        if let Some((scheme, _)) = argument.split_once("://") {
            return match scheme {
                "unix" | "http" | "https" => Ok(vec![Input::Live(argument.to_owned())]),
                _ => Err(Error::Address {
                    url: argument.to_owned(),
                }),
            };
        }
        let path = Path::new(argument);
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => traces_in(path),
            Ok(_) => Ok(vec![Input::File(path.to_owned())]),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Error::Missing(path.to_owned()))
            }
            // The reader says what is wrong with it.
            Err(_) => Ok(vec![Input::File(path.to_owned())]),
        }
    }
}

fn traces_in(directory: &Path) -> Result<Vec<Input>, Error> {
    let failed = |source| Error::Directory {
        path: directory.to_owned(),
        source,
    };
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "zst") && path.is_file() {
            paths.push(path);
        }
        if paths.len() > DIRECTORY_FILES_MAX {
            return Err(Error::TooMany {
                path: directory.to_owned(),
            });
        }
    }
    if paths.is_empty() {
        return Err(Error::NoTraces(directory.to_owned()));
    }
    // Parts of a capture count on: 10 comes after 9, however many digits there are.
    paths.sort_by_cached_key(|path| (counted(&path.to_string_lossy()), path.clone()));
    Ok(paths.into_iter().map(Input::File).collect())
}

/// A name whose order as text is that of the numbers in it.
fn counted(name: &str) -> String {
    let mut key = String::new();
    let mut digits = String::new();
    for c in name.chars().chain(['\0']) {
        if c.is_ascii_digit() {
            digits.push(c);
        } else {
            if !digits.is_empty() {
                key.push_str(&format!("{:0>20}", digits.trim_start_matches('0')));
                digits.clear();
            }
            key.push(c);
        }
    }
    key
}

/// A file or standard input, open.
pub struct Recorded(TraceReader);

/// What a look at a file's two ends says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance {
    uuid: [u8; 16],
    /// Of the summary, where there is one.
    last_uuid: [u8; 16],
    /// It is the next part of a capture.
    continues: bool,
}

impl Glance {
    /// Whether it has nothing to do with the file before it: another trace, and no part of its capture.
    pub fn is_apart_from(&self, before: &Glance) -> bool {
        !self.continues && self.uuid != before.uuid && self.uuid != before.last_uuid
    }
}

impl Recorded {
    pub fn file(path: &Path) -> Result<Recorded, Error> {
        Ok(Recorded(TraceReader::open(path)?))
    }

    pub fn stdin() -> Recorded {
        Recorded(TraceReader::from_read(io::stdin()))
    }

    /// Bytes read so far and in all, for a progress bar.
    pub fn progress(&self) -> (u64, Option<u64>) {
        (self.0.offset(), self.0.size())
    }

    /// Of a file with a summary: its first chunk and the index, for [`Recorded::begin_at`].
    pub fn index(&mut self) -> Option<(SealedChunk, Vec<IndexEntry>)> {
        self.0.size()?;
        let summary = self.0.summary()?;
        let (uuid, index) = (summary.trace_uuid, summary.index.clone());
        let first = self.read_chunk(index.first()?)?;
        (first.header.number == 0 && first.header.trace_uuid == uuid).then_some((first, index))
    }

    /// Which trace is in it; `None`: it does not begin with a trace's first chunk.
    pub fn glance(mut self) -> Option<Glance> {
        let closed_uuid = self.0.summary().map(|summary| summary.trace_uuid);
        let first = self.0.next_chunk().ok()??;
        let context = first.columns().and_then(|columns| columns.context()).ok()?;
        let continues = |record: &ContextRecord| matches!(record.body, Context::Continues(_));
        let uuid = first.header.trace_uuid;
        (first.header.number == 0).then(|| Glance {
            uuid,
            last_uuid: closed_uuid.unwrap_or(uuid),
            continues: context.iter().any(continues),
        })
    }

    /// The chunk that an entry of the index names, if it is there and whole.
    pub fn read_chunk(&self, entry: &IndexEntry) -> Option<SealedChunk> {
        let chunk = self.0.read_chunk(entry).ok()?;
        let header = &chunk.header;
        (header.number == entry.number && header.last_ns == entry.last_ns).then_some(chunk)
    }

    /// Leaves out what stands before this chunk, see [`TraceReader::begin_at`].
    pub fn begin_at(&mut self, entry: &IndexEntry) -> Result<(), Error> {
        Ok(self.0.begin_at(entry)?)
    }

    /// The summary, once reading came to it.
    pub fn reached_summary(&self) -> Option<&Summary> {
        self.0.reached_summary()
    }

    pub fn issues_not_kept(&self) -> u64 {
        self.0.issues_not_kept()
    }
}

impl ChunkSource for Recorded {
    fn next_chunk(&mut self) -> Result<Option<SealedChunk>, trace_format::Error> {
        self.0.next_chunk()
    }
    fn issues(&self) -> &[Issue] {
        self.0.issues()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_in_the_order_of_their_numbers() {
        let directory = tempfile::tempdir().unwrap();
        for part in [9_999, 0, 10_000, 2, 10] {
            fs::write(directory.path().join(format!("t.{part:04}.zst")), b"").unwrap();
        }
        let inputs = Input::parse(directory.path().to_str().unwrap()).unwrap();
        let expected = [0, 2, 10, 9_999, 10_000]
            .map(|part| Input::File(directory.path().join(format!("t.{part:04}.zst"))));
        assert_eq!(inputs, expected);
    }

    #[test]
    fn an_argument_names_a_file_a_directory_stdin_or_an_address() {
        let directory = tempfile::tempdir().unwrap();
        let named = |name: &str| directory.path().join(name);
        for name in ["b.zst", "a.zst", "notes.txt"] {
            fs::write(named(name), b"").unwrap();
        }
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        assert_eq!(Input::parse("-").unwrap(), [Input::Stdin]);
        assert_eq!(
            Input::parse("unix:///run/x").unwrap(),
            [Input::Live("unix:///run/x".into())]
        );
        assert!(matches!(
            Input::parse("ftp://x"),
            Err(Error::Address { .. })
        ));
        assert_eq!(
            Input::parse(&text(directory.path())).unwrap(),
            [Input::File(named("a.zst")), Input::File(named("b.zst"))]
        );
        assert!(matches!(
            Input::parse(&text(&named("c.zst"))),
            Err(Error::Missing(_))
        ));
        let empty = tempfile::tempdir().unwrap();
        assert!(matches!(
            Input::parse(&text(empty.path())),
            Err(Error::NoTraces(_))
        ));
    }
}
