//! A window over a file or stream: look ahead without consuming, so that damage can be looked at again.

use std::{
    fs::File,
    io::{ErrorKind, Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use crate::Error;

/// One read. Large enough that a system call a read does not show.
const READ_BYTES: usize = 256 << 10;

/// The window's room between frames; chunks of the usual size fit.
const KEPT_BYTES: usize = 16 * READ_BYTES;

enum Origin {
    File(File),
    Stream(Box<dyn Read + Send>),
}

pub struct Input {
    pub path: PathBuf,
    origin: Origin,
    buffer: Vec<u8>,
    /// Start of what is not consumed yet in `buffer`.
    start: usize,
    /// Position of `start` in the file or stream.
    offset: u64,
    ended: bool,
}

impl Input {
    pub fn open(path: &Path) -> Result<Self, Error> {
        let io = |action| {
            let path = path.to_owned();
            move |source| Error::Io {
                path,
                action,
                source,
            }
        };
        let file = File::open(path).map_err(io("open"))?;
        let metadata = file.metadata().map_err(io("inspect"))?;
        if metadata.is_dir() {
            return Err(Error::Directory {
                path: path.to_owned(),
            });
        }
        if metadata.is_file() && metadata.len() == 0 {
            return Err(Error::Empty {
                path: path.to_owned(),
            });
        }
        // A pipe or a device has a path but no positions.
        let origin = if metadata.is_file() {
            Origin::File(file)
        } else {
            Origin::Stream(Box::new(file))
        };
        Ok(Input::new(path.to_owned(), origin))
    }

    pub fn stream(read: Box<dyn Read + Send>) -> Self {
        Input::new(PathBuf::from("<stream>"), Origin::Stream(read))
    }

    fn new(path: PathBuf, origin: Origin) -> Self {
        Input {
            path,
            origin,
            buffer: Vec::new(),
            start: 0,
            offset: 0,
            ended: false,
        }
    }

    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// What is at hand and not consumed.
    pub fn window(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Reads until at least `len` bytes are at hand or the input ends; returns how many are.
    /// Memory grows with what is really there, never with a length somebody claims.
    pub fn fill(&mut self, len: usize) -> Result<usize, Error> {
        while self.window().len() < len && !self.ended {
            if self.start > 0 && self.start >= self.buffer.len() / 2 {
                self.buffer.drain(..self.start);
                self.start = 0;
            }
            let old = self.buffer.len();
            // Exactly: a window that doubles would take twice what is at hand.
            let want = READ_BYTES
                .max(len - self.window().len())
                .min(4 * READ_BYTES);
            self.buffer.reserve_exact(want);
            self.buffer.resize(old + want, 0);
            let read = loop {
                let read = match &mut self.origin {
                    Origin::File(file) => file.read(&mut self.buffer[old..]),
                    Origin::Stream(stream) => stream.read(&mut self.buffer[old..]),
                };
                match read {
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    other => break other,
                }
            };
            match read {
                Ok(read) => {
                    self.buffer.truncate(old + read);
                    self.ended = read == 0;
                }
                Err(source) => {
                    self.buffer.truncate(old);
                    return Err(Error::Io {
                        path: self.path.clone(),
                        action: "read",
                        source,
                    });
                }
            }
        }
        Ok(self.window().len())
    }

    /// Moves past `len` bytes that are at hand.
    pub fn consume(&mut self, len: usize) {
        assert!(
            len <= self.window().len(),
            "only what is at hand can be consumed"
        );
        self.start += len;
        self.offset += len as u64;
        if self.buffer.capacity() > KEPT_BYTES && self.window().len() < KEPT_BYTES / 2 {
            // A large frame went by: its room is the decoder's now.
            self.buffer = self.window().to_vec();
            self.start = 0;
        }
    }

    /// Moves past `len` bytes, without reading them where the input can seek. Returns how many there were.
    pub fn skip(&mut self, len: u64) -> Result<u64, Error> {
        let at_hand = len.min(self.window().len() as u64);
        self.consume(at_hand as usize);
        let mut left = len - at_hand;
        if left > 0
            && let Origin::File(file) = &mut self.origin
        {
            let path = &self.path;
            let io = |source| Error::Io {
                path: path.clone(),
                action: "seek in",
                source,
            };
            let size = file.metadata().map_err(io)?.len();
            let skipped = left.min(size.saturating_sub(self.offset));
            file.seek(SeekFrom::Start(self.offset + skipped))
                .map_err(io)?;
            self.buffer.clear();
            self.start = 0;
            self.offset += skipped;
            return Ok(at_hand + skipped);
        }
        while left > 0 {
            let step = self
                .fill(READ_BYTES)?
                .min(usize::try_from(left).unwrap_or(usize::MAX));
            if step == 0 {
                break;
            }
            self.consume(step);
            left -= step as u64;
        }
        Ok(len - left)
    }

    /// Size, if this is a regular file.
    pub fn size(&self) -> Option<u64> {
        match &self.origin {
            Origin::File(file) => file.metadata().ok().map(|metadata| metadata.len()),
            Origin::Stream(_) => None,
        }
    }

    /// Reads elsewhere in a regular file, without moving.
    pub fn read_at(&self, offset: u64, len: usize) -> Result<Vec<u8>, Error> {
        let Origin::File(file) = &self.origin else {
            return Err(Error::Io {
                path: self.path.clone(),
                action: "seek in",
                source: ErrorKind::NotSeekable.into(),
            });
        };
        let available = self.size().unwrap_or(0).saturating_sub(offset);
        if (len as u64) > available {
            return Err(Error::Short {
                what: "trace",
                offset,
                needed: len as u64,
                available,
            });
        }
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, offset)
            .map_err(|source| Error::Io {
                path: self.path.clone(),
                action: "read",
                source,
            })?;
        Ok(bytes)
    }
}
