//! The ring on disk: a file for each span, appended to and removed whole.
//!
//! What may be found there: files `ring-TRACE-NUMBER.zst`, each with whole chunks of one recording from
//! a checkpoint on, in order; a recorder that was killed leaves them, and `replay` reads the directory
//! as it reads any trace whose beginning and end are missing. The next recorder in the same directory
//! lets them stand until it needs the room, or until its own ring reaches back as far as asked.

use std::{
    collections::VecDeque,
    fs::{self, DirBuilder, File, OpenOptions},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, bail};
use nix::fcntl::{Flock, FlockArg};
use trace_format::SealedChunk;

const PREFIX: &str = "ring-";
const LOCK: &str = "lock";

struct Segment {
    path: PathBuf,
    file: Arc<File>,
    len: u64,
}

pub struct Segments {
    directory: PathBuf,
    trace: String,
    own: VecDeque<Segment>,
    /// Of earlier recorders, oldest first, with their sizes.
    left: VecDeque<(PathBuf, u64)>,
    left_bytes: u64,
    /// Held while this recorder lives.
    _lock: Flock<File>,
}

impl Segments {
    pub fn open(directory: &Path, trace_uuid: [u8; 16]) -> anyhow::Result<Segments> {
        let show = directory.display();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .with_context(|| format!("cannot make the ring's directory {show}"))?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(directory.join(LOCK))
            .with_context(|| format!("cannot write in the ring's directory {show}"))?;
        let Ok(lock) = Flock::lock(lock, FlockArg::LockExclusiveNonblock) else {
            bail!("another recorder keeps its ring in {show}; give --dir another directory");
        };
        let mut left = Vec::new();
        let entries = fs::read_dir(directory).with_context(|| format!("cannot read {show}"))?;
        for entry in entries.flatten() {
            let name = entry.file_name();
            if name.to_str().is_some_and(|name| name.starts_with(PREFIX))
                && let Ok(metadata) = entry.metadata()
                && metadata.is_file()
            {
                left.push((metadata.modified().ok(), entry.path(), metadata.len()));
            }
        }
        left.sort();
        Ok(Segments {
            directory: directory.to_owned(),
            trace: uuid::Uuid::from_bytes(trace_uuid).simple().to_string()[..8].to_owned(),
            own: VecDeque::new(),
            left_bytes: left.iter().map(|(_, _, len)| len).sum(),
            left: left.into_iter().map(|(_, path, len)| (path, len)).collect(),
            _lock: lock,
        })
    }

    /// Writes a chunk behind the others, or at the start of a new file; where it stands.
    pub fn append(
        &mut self,
        chunk: &SealedChunk,
        begins: bool,
    ) -> anyhow::Result<(Arc<File>, u64)> {
        if begins || self.own.is_empty() {
            let name = format!("{PREFIX}{}-{:010}.zst", self.trace, chunk.header.number);
            let path = self.directory.join(name);
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&path)
                .with_context(|| format!("cannot create {}", path.display()))?;
            let file = Arc::new(file);
            self.own.push_back(Segment { path, file, len: 0 });
        }
        let segment = self.own.back_mut().expect("pushed above if there was none");
        let offset = segment.len;
        if let Err(error) = segment.file.write_all_at(&chunk.bytes, offset) {
            // Half a chunk is worth nothing, and takes room.
            let _ = segment.file.set_len(offset);
            let context = format!("cannot write to {}", segment.path.display());
            if offset == 0 {
                self.remove_last();
            }
            return Err(anyhow::Error::new(error).context(context));
        }
        segment.len += chunk.bytes.len() as u64;
        Ok((segment.file.clone(), offset))
    }

    /// Bytes that earlier recorders left.
    pub fn left_over(&self) -> u64 {
        self.left_bytes
    }

    /// The oldest file of an earlier recorder goes; false: there is none.
    pub fn let_go_of_left_over(&mut self) -> bool {
        let Some((path, len)) = self.left.pop_front() else {
            return false;
        };
        // Somebody else may have taken it away.
        let _ = fs::remove_file(path);
        self.left_bytes -= len;
        true
    }

    pub fn let_go_of_first(&mut self) {
        if let Some(segment) = self.own.pop_front() {
            let _ = fs::remove_file(segment.path);
        }
    }

    fn remove_last(&mut self) {
        if let Some(segment) = self.own.pop_back() {
            let _ = fs::remove_file(segment.path);
        }
    }

    /// Nothing of this recording stays.
    pub fn clear(&mut self) {
        while !self.own.is_empty() {
            self.let_go_of_first();
        }
    }
}
