//! A capture as a stream: gzip or raw, cut into blocks.

use flate2::read::MultiGzDecoder;
use std::{
    cell::RefCell,
    io::{self, Read},
    path::{Path, PathBuf},
    rc::Rc,
};

use super::{
    Block, Error, Framer, Issue, Reason, Step,
    block::Kind,
    limits::{EXPANSION_FREE_BYTES, EXPANSION_MAX, ISSUES_MAX},
    lists::check_section,
};

/// Bytes read at a time.
const PIECE_BYTES: usize = 64 << 10;

/// What tells a capture from something else: a block's head and the section header's magic.
const HEAD_BYTES: usize = 12;

/// Reads a capture block by block.
pub struct Capture {
    path: PathBuf,
    source: Source,
    framer: Framer,
    piece: Vec<u8>,
    unpacked: u64,
    issues: Vec<Issue>,
    issues_not_kept: u64,
    /// The first bytes, for whoever wants to know what this is instead of a capture.
    head: Vec<u8>,
    /// A first section header was seen.
    started: bool,
}

enum Source {
    Raw(Counted),
    Gzip(Box<MultiGzDecoder<Counted>>, Rc<RefCell<Reading>>),
    Ended,
}

/// What the packed side of a decoder has gone through.
#[derive(Default)]
struct Reading {
    bytes: u64,
    failed: Option<io::Error>,
}

/// Counts what is read and keeps a failure, so that it is not taken for bad gzip.
struct Counted {
    from: Box<dyn Read>,
    reading: Rc<RefCell<Reading>>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let result = self.from.read(buffer);
            let mut reading = self.reading.borrow_mut();
            match result {
                Ok(count) => {
                    reading.bytes += count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let kind = error.kind();
                    reading.failed = Some(error);
                    return Err(kind.into());
                }
            }
        }
    }
}

impl Capture {
    /// `-` is standard input.
    pub fn open(path: &Path) -> Result<Capture, Error> {
        if path == Path::new("-") {
            return Capture::read(Path::new("standard input"), io::stdin());
        }
        let file = std::fs::File::open(path).map_err(|source| Error::Io {
            path: path.to_owned(),
            action: "open",
            source,
        })?;
        Capture::read(path, file)
    }

    /// Reads a stream; `path` names it in errors.
    pub fn read(path: &Path, from: impl Read + 'static) -> Result<Capture, Error> {
        let reading = Rc::new(RefCell::new(Reading::default()));
        let mut head = Vec::new();
        let mut from: Box<dyn Read> = Box::new(from);
        (&mut from)
            .take(2)
            .read_to_end(&mut head)
            .map_err(|source| Error::Io {
                path: path.to_owned(),
                action: "read",
                source,
            })?;
        let gzip = head == [0x1f, 0x8b];
        let from = Box::new(io::Cursor::new(head).chain(from));
        let counted = Counted {
            from,
            reading: Rc::clone(&reading),
        };
        Ok(Capture {
            path: path.to_owned(),
            source: match gzip {
                true => Source::Gzip(Box::new(MultiGzDecoder::new(counted)), reading),
                false => Source::Raw(counted),
            },
            framer: Framer::default(),
            piece: vec![0; PIECE_BYTES],
            unpacked: 0,
            issues: Vec::new(),
            issues_not_kept: 0,
            head: Vec::new(),
            started: false,
        })
    }

    /// The next block; `None` at the end. What was wrong before it is in [`Capture::issues`].
    pub fn next_block(&mut self) -> Result<Option<Block<'_>>, Error> {
        loop {
            match self.framer.next() {
                Step::End => {
                    self.check_start(None)?;
                    return Ok(None);
                }
                Step::Issue(issue) => {
                    self.check_start(None)?;
                    self.issue(issue);
                }
                Step::More => self.feed()?,
                // Borrowed again below: a borrow may not be returned from one arm only.
                Step::Block(Block { kind, body, .. }) => {
                    if kind == Kind::Section {
                        check_section(body)?;
                    }
                    self.check_start(Some(kind))?;
                    break;
                }
            }
        }
        Ok(Some(self.framer.last()))
    }

    /// What was wrong so far. Empty: every byte belongs to a whole block.
    pub fn issues(&self) -> &[Issue] {
        &self.issues
    }

    pub fn issues_not_kept(&self) -> u64 {
        self.issues_not_kept
    }

    /// Adds what the reader of the blocks found wrong inside one.
    pub fn issue(&mut self, issue: Issue) {
        match self.issues.len() {
            0..ISSUES_MAX => self.issues.push(issue),
            _ => self.issues_not_kept += 1,
        }
    }

    /// A capture starts with a section header.
    fn check_start(&mut self, kind: Option<Kind>) -> Result<(), Error> {
        if !self.started && kind != Some(Kind::Section) {
            let found = match self.head.as_slice() {
                [] => "nothing".to_owned(),
                [0x0a, 0x0d, 0x0d, 0x0a, _, _, _, _, 0x1a, 0x2b, 0x3c, 0x4d] => {
                    return Err(Error::BigEndian);
                }
                head => format!("{:02x?}", &head[..head.len().min(4)]),
            };
            return Err(Error::NotScap { found });
        }
        self.started = true;
        Ok(())
    }

    fn feed(&mut self) -> Result<(), Error> {
        let (result, packed, failed) = match &mut self.source {
            Source::Raw(from) => {
                let result = from.read(&mut self.piece);
                (result, None, from.reading.borrow_mut().failed.take())
            }
            Source::Gzip(from, reading) => {
                let result = from.read(&mut self.piece);
                let mut reading = reading.borrow_mut();
                (result, Some(reading.bytes), reading.failed.take())
            }
            Source::Ended => (Ok(0), None, None),
        };
        if let Some(source) = failed {
            return Err(Error::Io {
                path: self.path.clone(),
                action: "read",
                source,
            });
        }
        match result {
            Ok(0) => self.end(None),
            Ok(count) => {
                self.unpacked += count as u64;
                let missing = HEAD_BYTES.saturating_sub(self.head.len()).min(count);
                self.head.extend_from_slice(&self.piece[..missing]);
                self.framer.feed(&self.piece[..count]);
                let limit = packed.map(|packed| packed.saturating_mul(EXPANSION_MAX));
                if self.unpacked > EXPANSION_FREE_BYTES
                    && limit.is_some_and(|limit| self.unpacked > limit)
                {
                    self.end(Some(Reason::Expansion));
                }
            }
            Err(error) => self.end(Some(Reason::Gzip(error.to_string()))),
        }
        Ok(())
    }

    fn end(&mut self, reason: Option<Reason>) {
        self.source = Source::Ended;
        self.framer.end();
        if let Some(reason) = reason {
            let offset = self.unpacked;
            self.issue(Issue { offset, reason });
        }
    }
}
