//! The chunks of the last minutes, bounded in bytes and in time.
//!
//! What is let go of is a span: a chunk with a checkpoint and those up to the next one. So the ring
//! always begins where a reader can begin. A ring that could not keep its beginning (a full disk, a
//! span larger than the whole ring) begins again at the next checkpoint.

use std::{collections::VecDeque, fs::File, sync::Arc};

use trace_format::{Error, SealedChunk};

use super::{Place, Settings, segments::Segments};
use crate::notice::say;

/// A chunk of the ring.
#[derive(Clone)]
pub struct Kept {
    pub first_ns: u64,
    begins: bool,
    len: u64,
    at: At,
}

#[derive(Clone)]
enum At {
    Memory(Box<SealedChunk>),
    /// The file lives as long as a dump still reads from it, also when the ring has let go of it.
    Disk {
        file: Arc<File>,
        offset: u64,
    },
}

impl Kept {
    pub fn in_memory(chunk: &SealedChunk) -> Kept {
        Kept {
            first_ns: chunk.header.first_ns,
            // The recording's very first chunks tell of the world, too.
            begins: chunk.header.has_checkpoint || chunk.header.number == 0,
            len: chunk.bytes.len() as u64,
            at: At::Memory(Box::new(chunk.clone())),
        }
    }

    pub fn bytes(&self) -> u64 {
        self.len
    }

    /// The chunk, its hash checked.
    pub fn load(&self) -> Result<SealedChunk, Error> {
        match &self.at {
            At::Memory(chunk) => Ok((**chunk).clone()),
            At::Disk { file, offset } => {
                let mut bytes = vec![0; self.len as usize];
                std::os::unix::fs::FileExt::read_exact_at(&**file, &mut bytes, *offset).map_err(
                    |source| Error::Io {
                        path: "a segment of the ring".into(),
                        action: "read",
                        source,
                    },
                )?;
                SealedChunk::from_bytes(bytes)
            }
        }
    }
}

pub struct Ring {
    kept: VecDeque<Kept>,
    bytes: u64,
    bytes_max: u64,
    keep_ns: u64,
    newest_ns: u64,
    segments: Option<Segments>,
    /// Nothing can begin here: chunks are passed over up to the next checkpoint.
    headless: bool,
    /// The disk has less room than the ring may take; said once.
    squeezed: bool,
}

impl Ring {
    pub fn new(settings: &Settings, trace_uuid: [u8; 16]) -> anyhow::Result<Ring> {
        let segments = match &settings.place {
            Place::Memory => None,
            Place::Directory(path) => Some(Segments::open(path, trace_uuid)?),
        };
        Ok(Ring {
            kept: VecDeque::new(),
            bytes: 0,
            bytes_max: settings.bytes_max,
            keep_ns: u64::try_from(settings.keep.as_nanos()).unwrap_or(u64::MAX),
            newest_ns: 0,
            segments,
            headless: true,
            squeezed: false,
        })
    }

    /// Keeps a chunk, and lets go of what is too old or too much.
    pub fn push(&mut self, chunk: &SealedChunk) {
        let mut kept = Kept::in_memory(chunk);
        if self.headless && !kept.begins {
            return;
        }
        self.newest_ns = self.newest_ns.max(chunk.header.last_ns);
        while self.bytes + self.left_over() + kept.len > self.bytes_max {
            if !self.let_go() {
                break;
            }
        }
        if kept.len > self.bytes_max || (self.kept.is_empty() && !kept.begins) {
            self.headless = true;
            return;
        }
        if !self.store(chunk, &mut kept) {
            return;
        }
        self.headless = false;
        self.bytes += kept.len;
        self.kept.push_back(kept);
        // The span behind the first reaches back far enough: the first is not needed any more.
        while self
            .second()
            .is_some_and(|at| self.kept[at].first_ns.saturating_add(self.keep_ns) <= self.newest_ns)
        {
            if let Some(segments) = &mut self.segments {
                segments.let_go_of_left_over();
            }
            self.let_go_of_first();
            self.squeezed = false;
        }
    }

    /// To the disk, if that is where the ring is. False: there is no room, and the ring is empty.
    fn store(&mut self, chunk: &SealedChunk, kept: &mut Kept) -> bool {
        loop {
            let Some(segments) = &mut self.segments else {
                return true;
            };
            let error = match segments.append(chunk, kept.begins) {
                Ok((file, offset)) => {
                    kept.at = At::Disk { file, offset };
                    return true;
                }
                Err(error) => error,
            };
            let gone = self.let_go();
            let empty = !gone || (self.kept.is_empty() && !kept.begins);
            if empty || !self.squeezed {
                say(format_args!(
                    "rec: the ring cannot be written: {error:#}; {}",
                    match empty {
                        true => "it begins again at the next checkpoint",
                        false => "it keeps less than it should",
                    }
                ));
            }
            self.squeezed = true;
            if empty {
                self.headless = true;
                return false;
            }
        }
    }

    /// Everything that is kept, oldest first.
    pub fn kept(&self) -> Vec<Kept> {
        self.kept.iter().cloned().collect()
    }

    pub fn clear(&mut self) {
        self.kept.clear();
        self.bytes = 0;
        self.headless = true;
        if let Some(segments) = &mut self.segments {
            segments.clear();
        }
    }

    fn left_over(&self) -> u64 {
        self.segments.as_ref().map_or(0, Segments::left_over)
    }

    /// Where the second span begins.
    fn second(&self) -> Option<usize> {
        (1..self.kept.len()).find(|at| self.kept[*at].begins)
    }

    /// What is oldest goes; false: there is nothing.
    fn let_go(&mut self) -> bool {
        if let Some(segments) = &mut self.segments
            && segments.let_go_of_left_over()
        {
            return true;
        }
        if self.kept.is_empty() {
            return false;
        }
        self.let_go_of_first();
        true
    }

    fn let_go_of_first(&mut self) {
        let end = self.second().unwrap_or(self.kept.len());
        self.bytes -= self.kept.drain(..end).map(|kept| kept.len).sum::<u64>();
        if let Some(segments) = &mut self.segments {
            segments.let_go_of_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flight::name::Pattern;
    use std::{path::Path, time::Duration};
    use trace_format::{ChunkBuilder, Context, ContextRecord, Limits, Mark};

    const SECOND: u64 = 1_000_000_000;

    fn settings(place: Place, keep_s: u64, bytes_max: u64) -> Settings {
        Settings {
            keep: Duration::from_secs(keep_s),
            bytes_max,
            place,
            post: Duration::ZERO,
            pattern: "x-{n}.zst".parse::<Pattern>().unwrap(),
            key: None,
        }
    }

    /// One chunk a second, all of one size; a checkpoint in every `every`th.
    fn chunks(count: u64, every: u64) -> Vec<SealedChunk> {
        let mut builder = ChunkBuilder::new([1; 16], Limits::default());
        (0..count)
            .map(|number| {
                let boot_ns = number * SECOND;
                let begins = number.is_multiple_of(every);
                let label = if begins { "x" } else { "with no checkpoint" };
                let mut add = |body| builder.context(ContextRecord { boot_ns, body }).unwrap();
                if begins {
                    add(Context::CheckpointBegin);
                    add(Context::CheckpointEnd);
                }
                add(Context::Mark(Mark {
                    label: label.to_owned(),
                    text: String::new(),
                }));
                builder.seal(boot_ns)
            })
            .collect()
    }

    fn numbers(ring: &Ring) -> Vec<u64> {
        ring.kept
            .iter()
            .map(|kept| kept.load().unwrap().header.number)
            .collect()
    }

    fn on_disk(path: &Path) -> u64 {
        std::fs::read_dir(path)
            .unwrap()
            .filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()))
            .sum()
    }

    #[test]
    fn what_is_kept_reaches_back_as_far_as_asked_by_the_datas_own_time() {
        let directory = tempfile::tempdir().unwrap();
        for place in [Place::Memory, Place::Directory(directory.path().to_owned())] {
            let mut ring = Ring::new(&settings(place, 10, 1 << 30), [1; 16]).unwrap();
            for (chunk, now) in chunks(40, 4).iter().zip(0u64..) {
                ring.push(chunk);
                let numbers = numbers(&ring);
                let oldest = numbers[0];
                assert!(oldest.is_multiple_of(4), "begins with a checkpoint");
                assert!(oldest <= now.saturating_sub(10), "{now}: {oldest}");
                // No more than a span beyond; at the bound itself the span goes.
                assert!(
                    oldest + 4 > now.saturating_sub(10) || oldest == 0,
                    "{now}: {oldest}"
                );
                assert_eq!(numbers, (oldest..=now).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn the_bound_in_bytes_holds_in_memory_and_on_disk() {
        let all = chunks(60, 3);
        let nine: u64 = all[..9].iter().map(|chunk| chunk.bytes.len() as u64).sum();
        let directory = tempfile::tempdir().unwrap();
        for place in [Place::Memory, Place::Directory(directory.path().to_owned())] {
            let disk = matches!(place, Place::Directory(_));
            // Exactly the first nine chunks, and one byte less than that.
            for (bytes_max, oldest) in [(nine, 0), (nine - 1, 3)] {
                let mut ring =
                    Ring::new(&settings(place.clone(), 3600, bytes_max), [1; 16]).unwrap();
                for chunk in &all {
                    ring.push(chunk);
                    assert!(ring.bytes <= bytes_max);
                    assert!(!disk || on_disk(directory.path()) == ring.bytes);
                    assert!(numbers(&ring)[0].is_multiple_of(3));
                    if chunk.header.number == 8 {
                        assert_eq!(numbers(&ring), (oldest..9).collect::<Vec<_>>());
                    }
                }
                assert_eq!(*numbers(&ring).last().unwrap(), 59);
                ring.clear();
                assert_eq!(on_disk(directory.path()), 0);
            }
        }
    }

    #[test]
    fn a_ring_that_lost_its_beginning_begins_again_at_a_checkpoint() {
        let all = chunks(20, 8);
        let bytes_max = all[..5].iter().map(|chunk| chunk.bytes.len() as u64).sum();
        let mut ring = Ring::new(&settings(Place::Memory, 3600, bytes_max), [1; 16]).unwrap();
        for chunk in &all[..7] {
            ring.push(chunk);
        }
        assert!(
            ring.kept.is_empty(),
            "no room for the span, no checkpoint since"
        );
        for chunk in &all[7..10] {
            ring.push(chunk);
        }
        assert_eq!(numbers(&ring), [8, 9]);
    }

    /// What an earlier recorder left counts, and goes first.
    #[test]
    fn segments_of_a_killed_recorder_can_be_read_and_make_room() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::Directory(directory.path().to_owned());
        let all = chunks(12, 3);
        let bytes: u64 = all.iter().map(|chunk| chunk.bytes.len() as u64).sum();
        let mut killed = Ring::new(&settings(place.clone(), 3600, 2 * bytes), [1; 16]).unwrap();
        for chunk in &all {
            killed.push(chunk);
        }
        let busy = Ring::new(&settings(place.clone(), 3600, bytes), [2; 16]);
        let error = busy.err().unwrap().to_string();
        assert!(error.contains("another recorder"), "{error}");
        drop(killed);
        assert_eq!(on_disk(directory.path()), bytes);
        let mut ring = Ring::new(&settings(place, 3600, bytes), [2; 16]).unwrap();
        for chunk in &all[..6] {
            ring.push(chunk);
            assert!(on_disk(directory.path()) <= bytes);
        }
        assert_eq!(numbers(&ring), [0, 1, 2, 3, 4, 5]);
    }
}
