//! The trace file: appended chunk by chunk, synced once a second, complete at every moment up to the last chunk.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use trace_format::{SealedChunk, SigningKey, TraceWriter};

use super::{Ending, Sink};

const SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// Room kept behind the last chunk for the summary and the seek table, so that a full disk still
/// ends in a complete trace. 128 bytes a chunk is more than both take.
const RESERVE_BYTES_MIN: u64 = 256 << 10;
const RESERVE_BYTES_PER_CHUNK: u64 = 128;

/// Writes one trace file.
pub struct FileSink {
    path: PathBuf,
    writer: TraceWriter<Tail>,
    synced: Instant,
    chunks: u64,
    reserved_to: u64,
}

/// The file, which after a failed write is cut back to the last complete chunk.
struct Tail {
    file: File,
    /// End of what has been written whole.
    end: u64,
}

impl Write for Tail {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl FileSink {
    /// Creates the file, readable by its owner only. An existing one is an error without `force`.
    pub fn create(path: &Path, force: bool) -> anyhow::Result<Self> {
        if path.is_dir() {
            bail!(
                "cannot write the trace to {}: it is a directory; name a file, for example {}",
                path.display(),
                path.join("trace.zst").display()
            );
        }
        if fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
            bail!(
                "cannot write the trace to {}: it is no regular file",
                path.display()
            );
        }
        let mut options = OpenOptions::new();
        options.write(true).mode(0o600);
        if force {
            // Emptied only when the first chunk is there to replace what it holds.
            options.create(true).truncate(false);
        } else {
            options.create_new(true);
        }
        let file = options.open(path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                anyhow::anyhow!(
                    "{} exists and is not overwritten; choose another name or pass --force",
                    path.display()
                )
            }
            _ => anyhow::Error::new(error)
                .context(format!("cannot create the trace {}", path.display())),
        })?;
        if force {
            // The mode above is only for a new file.
            let mode = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o600);
            file.set_permissions(mode)
                .with_context(|| format!("cannot make {} private", path.display()))?;
        }
        Ok(FileSink {
            path: path.into(),
            writer: TraceWriter::new(Tail { file, end: 0 }),
            synced: Instant::now(),
            chunks: 0,
            reserved_to: 0,
        })
    }

    /// Has the end of the trace signed.
    pub fn sign_with(&mut self, key: Arc<SigningKey>) {
        self.writer.sign_with(key);
    }

    fn sync(&mut self) -> anyhow::Result<()> {
        self.synced = Instant::now();
        let tail = self.writer.get_ref();
        tail.file
            .sync_data()
            .with_context(|| format!("cannot sync {}", self.path.display()))
    }

    /// Keeps blocks behind the end for what `finish` writes.
    fn reserve(&mut self) {
        let end = self.writer.get_ref().end;
        let wanted = end + RESERVE_BYTES_MIN + RESERVE_BYTES_PER_CHUNK * self.chunks;
        if wanted <= self.reserved_to {
            return;
        }
        let step = wanted + RESERVE_BYTES_MIN;
        // Not every file system can; without it a full disk ends in a trace without a summary, which still reads.
        let flags = nix::fcntl::FallocateFlags::FALLOC_FL_KEEP_SIZE;
        if nix::fcntl::fallocate(
            &self.writer.get_ref().file,
            flags,
            end as i64,
            (step - end) as i64,
        )
        .is_ok()
        {
            self.reserved_to = step;
        }
    }
}

impl Sink for FileSink {
    fn chunk(&mut self, chunk: &SealedChunk) -> anyhow::Result<()> {
        if self.chunks == 0 {
            let file = &self.writer.get_ref().file;
            file.set_len(0)
                .with_context(|| format!("cannot empty {}", self.path.display()))?;
        }
        self.reserve();
        if let Err(error) = self.writer.write(chunk) {
            let tail = self.writer.get_mut();
            let end = tail.end;
            // Half a chunk is worth nothing: without it the file is complete up to here.
            let cut = tail
                .file
                .set_len(end)
                .and_then(|()| tail.file.seek(SeekFrom::Start(end)));
            let kept = if cut.is_ok() {
                "kept"
            } else {
                "kept, with an incomplete chunk behind it"
            };
            return Err(anyhow::Error::new(error).context(format!(
                "cannot write to {}: recording stopped; what was recorded before ({end} bytes, {} chunks) is {kept}",
                self.path.display(),
                self.chunks
            )));
        }
        let end = self.writer.bytes();
        self.writer.get_mut().end = end;
        self.chunks += 1;
        if self.synced.elapsed() >= SYNC_INTERVAL {
            self.sync()?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>, _: &Ending) -> anyhow::Result<u64> {
        let end = self.writer.get_ref().end;
        let path = self.path.clone();
        self.sync()?;
        let finished = self.writer.finish();
        let mut tail = match finished {
            Ok(tail) => tail,
            Err(error) => {
                // The half-written summary is left to the reader, which takes the file as incomplete.
                return Err(anyhow::Error::new(error).context(format!(
                    "cannot write the summary of {}: the trace is incomplete but readable ({end} bytes of chunks)",
                    path.display()
                )));
            }
        };
        let bytes = tail.file.stream_position().and_then(|position| {
            // Gives back what was reserved and not used.
            tail.file.set_len(position)?;
            tail.file.sync_all()?;
            Ok(position)
        });
        bytes.with_context(|| format!("cannot complete {}", path.display()))
    }
}
