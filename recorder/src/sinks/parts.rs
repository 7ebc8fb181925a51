//! A capture in several files: `trace.0000.zst`, `trace.0001.zst` … A chunk of another trace begins the
//! next file, which [`Sink::prepare`] has created before, so that a full disk or a file in the way
//! shows while the file before is still open.
//!
//! When the disk is full in the middle of a part, that part ends there, complete, and the sink asks for
//! the next one ([`Sink::ended_part`]), which begins when there is room again. The chunks until then are
//! lost, and their events are counted as the rings' are ([`Sink::lost`]): what is missing is known exactly.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, bail};
use trace_format::{SealedChunk, SigningKey};

use super::{Ending, Lost, Sink, file::FileSink};
use crate::notice::say;

/// Free bytes with which a part begins after the disk was full: a checkpoint, and some minutes.
const ROOM_BYTES_MIN: u64 = 8 << 20;

/// Writes one file a part.
pub struct PartsSink {
    base: PathBuf,
    force: bool,
    key: Option<Arc<SigningKey>>,
    /// Parts of the capture that this one replaces, until its first chunk is there.
    stale: Vec<PathBuf>,
    /// The number of the current one.
    part: u32,
    /// `None`: the disk is full, and this part has ended.
    current: Option<FileSink>,
    /// Why.
    full: Option<anyhow::Error>,
    /// In chunks since then, all in all.
    lost: Lost,
    trace_uuid: Option<[u8; 16]>,
    next: Option<(PathBuf, FileSink)>,
    /// In files that are finished.
    bytes: u64,
    /// The first file that could not be finished; those after it go on.
    failure: Option<anyhow::Error>,
}

/// The file of a part: the number goes before the extension.
pub fn part_path(base: &Path, part: u32) -> PathBuf {
    let mut name: OsString = base.file_stem().unwrap_or_default().to_owned();
    name.push(format!(".{part:04}"));
    if let Some(extension) = base.extension() {
        name.push(".");
        name.push(extension);
    }
    base.with_file_name(name)
}

/// The number in the name of one of `base`'s parts.
fn part_of(base: &Path, name: &str) -> Option<u32> {
    let stem = base.file_stem()?.to_str()?;
    let rest = name.strip_prefix(stem)?.strip_prefix('.')?;
    let digits = match base.extension() {
        Some(extension) => rest.strip_suffix(extension.to_str()?)?.strip_suffix('.')?,
        None => rest,
    };
    let number = digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.len() >= 4;
    number.then(|| digits.parse().ok())?
}

impl PartsSink {
    /// Creates the first file. Parts of an earlier capture are an error without `force`; with it they
    /// go when this one has begun, because a reader would take what is left of them for parts of it.
    pub fn create(base: &Path, force: bool, key: Option<Arc<SigningKey>>) -> anyhow::Result<Self> {
        let old = existing(base)?;
        if let (Some(path), false) = (old.first(), force) {
            bail!(
                "{} exists and is not overwritten; choose another name or pass --force",
                path.display()
            );
        }
        let first = part_path(base, 0);
        let current = file(&first, force, key.as_ref())?;
        let stale = old.into_iter().filter(|path| *path != first).collect();
        Ok(PartsSink {
            stale,
            base: base.to_owned(),
            force,
            key,
            part: 0,
            current: Some(current),
            full: None,
            lost: Lost::default(),
            trace_uuid: None,
            next: None,
            bytes: 0,
            failure: None,
        })
    }

    fn end(&mut self, ended: FileSink) {
        match Box::new(ended).finish(&Ending::Clean) {
            Ok(bytes) => self.bytes += bytes,
            // It reads up to its last chunk; what follows is recorded all the same.
            Err(error) => {
                say(format_args!("rec: {error:#}"));
                self.failure.get_or_insert(error);
            }
        }
    }

    /// The chunk finds no room anywhere.
    fn lose(&mut self, chunk: &SealedChunk) -> anyhow::Result<()> {
        let decoded = chunk.decode().context("a chunk of our own")?;
        for event in decoded.events.iter().filter(|event| event.probe != 0) {
            *self.lost.entry((event.cpu, event.probe)).or_default() += 1;
        }
        Ok(())
    }
}

/// A disk, or somebody's share of it, that has no room.
fn is_full(error: &anyhow::Error) -> bool {
    let kind = |cause: &(dyn std::error::Error + 'static)| {
        let error = cause.downcast_ref::<io::Error>()?;
        Some(error.kind())
    };
    error.chain().any(|cause| {
        matches!(
            kind(cause),
            Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        )
    })
}

/// Beginning a part on a disk that is full again after a chunk would only make many of them.
fn has_room(path: &Path) -> anyhow::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let stat = nix::sys::statvfs::statvfs(directory)
        .with_context(|| format!("cannot ask {} for its room", directory.display()))?;
    let free = u128::from(stat.blocks_available()) * u128::from(stat.fragment_size());
    if free < u128::from(ROOM_BYTES_MIN) {
        bail!(
            "{} has {free} bytes free; a part begins with {ROOM_BYTES_MIN}",
            directory.display()
        );
    }
    Ok(())
}

fn file(path: &Path, force: bool, key: Option<&Arc<SigningKey>>) -> anyhow::Result<FileSink> {
    let mut file = FileSink::create(path, force)?;
    if let Some(key) = key {
        file.sign_with(key.clone());
    }
    Ok(file)
}

fn existing(base: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let directory = match base.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let entries = fs::read_dir(directory)
        .with_context(|| format!("cannot write parts to {}", directory.display()))?;
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            name.to_str()
                .is_some_and(|name| part_of(base, name).is_some())
        })
        .map(|entry| base.with_file_name(entry.file_name()))
        .collect();
    found.sort();
    Ok(found)
}

impl Sink for PartsSink {
    fn chunk(&mut self, chunk: &SealedChunk) -> anyhow::Result<()> {
        let uuid = chunk.header.trace_uuid;
        if self.trace_uuid.is_some_and(|current| current != uuid) {
            let Some((_, next)) = self.next.take() else {
                bail!("a chunk of another trace came before a file was prepared for it");
            };
            match self.current.replace(next) {
                Some(ended) => self.end(ended),
                None => say(format_args!(
                    "rec: there is room again: recording goes on in the next part; {} events were lost",
                    self.lost.values().sum::<u64>()
                )),
            }
            self.full = None;
            self.part += 1;
        }
        for path in self.stale.drain(..) {
            fs::remove_file(&path)
                .with_context(|| format!("cannot remove {} (--force)", path.display()))?;
        }
        self.trace_uuid = Some(uuid);
        let Some(current) = &mut self.current else {
            return self.lose(chunk);
        };
        let Err(error) = current.chunk(chunk) else {
            return Ok(());
        };
        if !is_full(&error) {
            return Err(error);
        }
        if let Some(ended) = self.current.take() {
            self.end(ended);
        }
        say(format_args!(
            "rec: {error:#}; it goes on in another part when there is room again"
        ));
        self.full = Some(error);
        self.lose(chunk)
    }

    fn ended_part(&self) -> Option<u32> {
        self.current.is_none().then_some(self.part)
    }

    fn lost(&self) -> Option<&Lost> {
        (!self.lost.is_empty()).then_some(&self.lost)
    }

    fn prepare(&mut self, part: u32) -> anyhow::Result<()> {
        let path = part_path(&self.base, part);
        if self.current.is_none() {
            has_room(&path)?;
        }
        match &self.next {
            Some((prepared, _)) if *prepared == path => return Ok(()),
            // Its chunks are still to come: they would go into the file of the part after.
            Some((prepared, _)) => bail!("{} has not begun yet", prepared.display()),
            None => {}
        }
        let next = file(&path, self.force, self.key.as_ref())?;
        self.next = Some((path, next));
        Ok(())
    }

    fn finish(self: Box<Self>, ending: &Ending) -> anyhow::Result<u64> {
        let PartsSink {
            current,
            full,
            next,
            bytes,
            failure,
            ..
        } = *self;
        let finished = match (current, full) {
            (Some(current), _) => Box::new(current).finish(ending),
            (None, Some(full)) => Err(full),
            (None, None) => Ok(0),
        };
        if let Some((path, unused)) = next {
            drop(unused);
            // Nothing was written to it: it would only be taken for a damaged part.
            let _ = fs::remove_file(path);
        }
        match (failure, finished) {
            (Some(error), _) | (None, Err(error)) => Err(error),
            (None, Ok(last)) => Ok(bytes + last),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trace_format::{ChunkBuilder, ChunkSource, Context, ContextRecord, Limits, TraceReader};

    fn chunk(builder: &mut ChunkBuilder, boot_ns: u64) -> SealedChunk {
        let body = Context::Tick;
        builder.context(ContextRecord { boot_ns, body }).unwrap();
        builder.seal(boot_ns)
    }

    fn ticks(path: &Path) -> Vec<u64> {
        let mut reader = TraceReader::open(path).unwrap();
        let mut ticks = Vec::new();
        while let Some(chunk) = reader.next_chunk().unwrap() {
            ticks.extend(
                chunk
                    .decode()
                    .unwrap()
                    .context
                    .iter()
                    .map(|record| record.boot_ns),
            );
        }
        assert_eq!(reader.issues(), [], "{}", path.display());
        ticks
    }

    #[test]
    fn numbers_go_before_the_extension_and_are_read_back() {
        for base in ["/x/trace.zst", "trace", "a.b.zst"] {
            let base = Path::new(base);
            for part in [0, 7, 9_999, 10_000, u32::MAX] {
                let path = part_path(base, part);
                let name = path.file_name().unwrap().to_str().unwrap();
                assert_eq!(part_of(base, name), Some(part), "{name}");
            }
        }
        assert_eq!(
            part_path(Path::new("d/t.zst"), 3),
            Path::new("d/t.0003.zst")
        );
        for other in [
            "t.zst",
            "t.12.zst",
            "t.0001.json",
            "u.0001.zst",
            "t.00x1.zst",
        ] {
            assert_eq!(part_of(Path::new("t.zst"), other), None, "{other}");
        }
    }

    /// A file in the way of the next part: the sink says so and the part before goes on.
    #[test]
    fn a_failed_switch_loses_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().join("t.zst");
        let mut sink = Box::new(PartsSink::create(&base, false, None).unwrap());
        let mut builder = ChunkBuilder::new([1; 16], Limits::default());
        sink.chunk(&chunk(&mut builder, 1)).unwrap();
        let in_the_way = part_path(&base, 1);
        fs::create_dir(&in_the_way).unwrap();
        assert!(sink.prepare(1).is_err());
        sink.chunk(&chunk(&mut builder, 2)).unwrap();
        fs::remove_dir(&in_the_way).unwrap();
        sink.prepare(1).unwrap();
        sink.chunk(&chunk(&mut builder, 3)).unwrap();
        assert!(sink.prepare(2).is_err(), "part 1 is still to come");
        builder.start_part([2; 16]);
        sink.chunk(&chunk(&mut builder, 4)).unwrap();
        // A third file was prepared, and the capture ended before it began.
        sink.prepare(2).unwrap();
        sink.finish(&Ending::Clean).unwrap();
        assert_eq!(ticks(&part_path(&base, 0)), [1, 2, 3]);
        assert_eq!(ticks(&part_path(&base, 1)), [4]);
        assert!(!part_path(&base, 2).exists());
    }

    #[test]
    fn parts_of_an_earlier_capture_are_not_mixed_with_new_ones() {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().join("t.zst");
        fs::write(part_path(&base, 3), b"old").unwrap();
        fs::write(directory.path().join("t.zst"), b"other").unwrap();
        let error = PartsSink::create(&base, false, None).err().unwrap();
        assert!(format!("{error:#}").contains("t.0003.zst"), "{error:#}");
        let mut sink = PartsSink::create(&base, true, None).unwrap();
        assert!(
            part_path(&base, 3).exists(),
            "not before there is a new one"
        );
        let mut builder = ChunkBuilder::new([1; 16], Limits::default());
        sink.chunk(&chunk(&mut builder, 1)).unwrap();
        assert!(!part_path(&base, 3).exists());
        assert!(base.exists(), "a file of another name is left alone");
    }
}
