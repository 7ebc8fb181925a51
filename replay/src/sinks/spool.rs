//! What waits for a receiver, in the order in which it came: in memory, or as files in a directory, where
//! it outlives the program. Bounded in bytes and in messages; what does not fit is not taken, so that the
//! beginning of an attack stays.
//!
//! On disk a message is one file, named by its number, written under another name first. A reader finds
//! whole messages only. `lock` says that a program uses the directory.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Messages that may wait, whatever they weigh: each costs a file, or its place in memory.
pub const MESSAGES_MAX: usize = 100_000;

const ENDING: &str = "message";

/// The queue.
pub struct Spool {
    waiting: VecDeque<Message>,
    bytes: u64,
    bytes_max: u64,
    next: u64,
    directory: Option<PathBuf>,
    /// Held as long as the directory is used.
    _lock: Option<File>,
}

struct Message {
    number: u64,
    bytes: u64,
    /// `None`: in its file.
    body: Option<Vec<u8>>,
}

impl Spool {
    /// What waits is lost with the program.
    pub fn in_memory(bytes_max: u64) -> Spool {
        Spool {
            waiting: VecDeque::new(),
            bytes: 0,
            bytes_max,
            next: 0,
            directory: None,
            _lock: None,
        }
    }

    /// Takes up what an earlier program left in the directory.
    pub fn open(directory: &Path, bytes_max: u64) -> io::Result<Spool> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
        let lock = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(directory.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => {
                io::Error::other("another program uses this spool: give each its own")
            }
            fs::TryLockError::Error(error) => error,
        })?;
        let mut left: Vec<(u64, u64)> = Vec::new();
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|it| it == ENDING)
                && let Some(number) = path.file_stem().and_then(|it| it.to_str()?.parse().ok())
                && left.len() < MESSAGES_MAX
            {
                left.push((number, fs::metadata(&path)?.len()));
            }
        }
        left.sort_unstable();
        Ok(Spool {
            bytes: left.iter().map(|(_, bytes)| bytes).sum(),
            next: left
                .last()
                .map_or(0, |(number, _)| number.saturating_add(1)),
            waiting: left
                .into_iter()
                .map(|(number, bytes)| Message {
                    number,
                    bytes,
                    body: None,
                })
                .collect(),
            bytes_max,
            directory: Some(directory.to_owned()),
            _lock: Some(lock),
        })
    }

    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub fn on_disk(&self) -> bool {
        self.directory.is_some()
    }

    /// Whether the message was taken: false when it has no room.
    pub fn push(&mut self, body: Vec<u8>) -> io::Result<bool> {
        let bytes = body.len() as u64;
        if self.bytes.saturating_add(bytes) > self.bytes_max || self.waiting.len() >= MESSAGES_MAX {
            return Ok(false);
        }
        let number = self.next;
        let body = match &self.directory {
            None => Some(body),
            Some(directory) => {
                let part = directory.join("part");
                let mut file = OpenOptions::new()
                    .write(true)
                    .create(true)
                    .truncate(true)
                    .mode(0o600)
                    .open(&part)?;
                file.write_all(&body)?;
                fs::rename(&part, path_of(directory, number))?;
                None
            }
        };
        self.next += 1;
        self.bytes += bytes;
        self.waiting.push_back(Message {
            number,
            bytes,
            body,
        });
        Ok(true)
    }

    /// The first messages, at most so many. One whose file is gone is left out of the queue.
    pub fn first(&mut self, most: usize) -> Vec<Vec<u8>> {
        let mut bodies = Vec::new();
        while bodies.len() < most
            && let Some(message) = self.waiting.get(bodies.len())
        {
            let body = match (&message.body, &self.directory) {
                (Some(body), _) => Some(body.clone()),
                (None, Some(directory)) => fs::read(path_of(directory, message.number)).ok(),
                (None, None) => None,
            };
            match body {
                Some(body) => bodies.push(body),
                None => self.remove(bodies.len()),
            }
        }
        bodies
    }

    /// The first messages have arrived, or never will.
    pub fn pop(&mut self, count: usize) {
        for _ in 0..count.min(self.waiting.len()) {
            self.remove(0);
        }
    }

    fn remove(&mut self, at: usize) {
        let Some(message) = self.waiting.remove(at) else {
            return;
        };
        self.bytes -= message.bytes;
        if let Some(directory) = &self.directory {
            // A file that stays is sent once more by the next program: better than not at all.
            let _ = fs::remove_file(path_of(directory, message.number));
        }
    }
}

fn path_of(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:020}.{ENDING}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_spool_takes_no_more_and_keeps_the_first() {
        let mut spool = Spool::in_memory(10);
        assert!(spool.push(b"12345".to_vec()).unwrap());
        assert!(spool.push(b"67890".to_vec()).unwrap());
        assert!(!spool.push(b"x".to_vec()).unwrap());
        assert_eq!(spool.first(1), [b"12345"]);
        spool.pop(1);
        assert!(spool.push(b"x".to_vec()).unwrap());
        assert_eq!(spool.first(9), [b"67890".to_vec(), b"x".to_vec()]);
    }

    #[test]
    fn messages_are_bounded_whatever_they_weigh() {
        let mut spool = Spool::in_memory(u64::MAX);
        for _ in 0..MESSAGES_MAX {
            assert!(spool.push(Vec::new()).unwrap());
        }
        assert!(!spool.push(Vec::new()).unwrap());
    }

    #[test]
    fn what_is_on_disk_outlives_the_program() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("spool");
        let mut spool = Spool::open(&path, 100).unwrap();
        for body in ["one", "two", "three"] {
            assert!(spool.push(body.into()).unwrap());
        }
        assert!(Spool::open(&path, 100).is_err(), "one program at a time");
        spool.pop(1);
        drop(spool);
        let mut spool = Spool::open(&path, 9).unwrap();
        assert_eq!((spool.len(), spool.bytes), (2, 8));
        assert!(!spool.push(b"four".to_vec()).unwrap());
        assert_eq!(spool.first(5), [b"two".to_vec(), b"three".to_vec()]);
        spool.pop(2);
        assert!(spool.is_empty());
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1, "only the lock");
    }
}
