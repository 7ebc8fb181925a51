//! Whatever happens to the bytes: no panic, no wrong event, at most the touched chunks lost, and
//! the reader says so. Each test damages a small real trace in one way, everywhere.

mod support;

use support::{forge::Forge, *};
use trace_format::*;

/// Chunks that come out must be original ones, in order; returns which.
fn survivors(damaged: &[u8], chunks: &[SealedChunk]) -> (Vec<u64>, Vec<Issue>) {
    let (read, issues) = match read_all(damaged) {
        Ok(read) => read,
        Err(Error::Empty { .. } | Error::NotATrace { .. }) => return (Vec::new(), Vec::new()),
        Err(error) => panic!("reading ends with an error only where there is no trace: {error}"),
    };
    let numbers = read
        .iter()
        .map(|chunk| {
            let number = chunk.header.number;
            assert_eq!(
                chunk, &chunks[number as usize],
                "a chunk that was never written"
            );
            chunk.decode().expect("an original chunk decodes");
            number
        })
        .collect::<Vec<_>>();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    (numbers, issues)
}

fn missing(issues: &[Issue]) -> Vec<u64> {
    issues
        .iter()
        .filter_map(|issue| issue.missing.clone())
        .flatten()
        .collect()
}

#[test]
fn truncate_at_every_byte() {
    let chunks = small_chunks(3, 6);
    let bytes = trace_of(&chunks);
    let ends: Vec<usize> = chunks
        .iter()
        .scan(0, |end, chunk| {
            *end += chunk.bytes.len();
            Some(*end)
        })
        .collect();
    for len in 0..bytes.len() {
        let (read, issues) = survivors(&bytes[..len], &chunks);
        let whole = ends.iter().filter(|end| **end <= len).count() as u64;
        assert_eq!(read, (0..whole).collect::<Vec<_>>(), "cut at {len}");
        // Below the first marker's end there is nothing to tell a trace by: an error says so.
        assert!(
            len < 24 || !issues.is_empty(),
            "cut at {len} without an issue"
        );
        let in_chunk = len >= 24 && len < ends[2] && !ends.contains(&len);
        let told = issues
            .iter()
            .any(|issue| matches!(issue.what, IssueKind::Truncated { .. }));
        // Just behind the last chunk nobody can tell what kind of frame began.
        let unclear = (ends[2] + 1..ends[2] + 128).contains(&len);
        assert!(told == in_chunk || unclear, "cut at {len}: {issues:?}");
    }
}

#[test]
fn flip_every_bit() {
    let chunks = small_chunks(3, 6);
    let bytes = trace_of(&chunks);
    let mut place = 0;
    for (number, frame) in chunks
        .iter()
        .map(|chunk| chunk.bytes.len())
        .chain([bytes.len() - chunks.iter().map(|chunk| chunk.bytes.len()).sum::<usize>()])
        .enumerate()
    {
        for at in place..place + frame {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                let (read, issues) = survivors(&damaged, &chunks);
                let lost: Vec<u64> = (0..3).filter(|number| !read.contains(number)).collect();
                let touched = if number < 3 {
                    vec![number as u64]
                } else {
                    vec![]
                };
                assert_eq!(lost, touched, "bit {bit} of byte {at}");
                assert!(
                    !issues.is_empty(),
                    "bit {bit} of byte {at} passed unnoticed"
                );
                assert_eq!(missing(&issues), lost, "bit {bit} of byte {at}: {issues:?}");
                // Headers alone carry no hash of their own: only a panic would be wrong.
                let mut reader = TraceReader::from_read(std::io::Cursor::new(damaged));
                while let Ok(Some(_)) = reader.next_header() {}
            }
        }
        place += frame;
    }
}

/// A hundred thousand places in a trace of two hundred chunks. A chunk stands for itself, so each is read
/// with its neighbours only, and every five hundredth with the whole file.
#[test]
fn flip_a_hundred_thousand_random_bits_of_a_large_trace() {
    let chunks = small_chunks(200, 60);
    let whole = trace_of(&chunks);
    let starts: Vec<usize> = chunks
        .iter()
        .scan(0, |end, chunk| {
            *end += chunk.bytes.len();
            Some(*end - chunk.bytes.len())
        })
        .collect();
    let end = starts[199] + chunks[199].bytes.len();
    let mut random = 1u64;
    for round in 0..100_000u32 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let at = (random >> 33) as usize % end;
        let bit = (random >> 30) % 8;
        let hit = starts.partition_point(|start| *start <= at) - 1;
        let (first, last) = if round % 500 == 0 {
            (0, 199)
        } else {
            (hit.saturating_sub(1), (hit + 1).min(199))
        };
        let until = if last == 199 {
            whole.len()
        } else {
            starts[last + 1]
        };
        let mut damaged = whole[starts[first]..until].to_vec();
        damaged[at - starts[first]] ^= 1 << bit;
        let (read, issues) = survivors(&damaged, &chunks);
        let left: Vec<u64> = (first..=last)
            .filter(|number| *number != hit)
            .map(|number| number as u64)
            .collect();
        assert_eq!(read, left, "bit {bit} of byte {at}");
        let hole = issues
            .iter()
            .find(|issue| {
                issue
                    .missing
                    .as_ref()
                    .is_some_and(|missing| missing.contains(&(hit as u64)))
            })
            .unwrap_or_else(|| panic!("bit {bit} of byte {at}: nothing says that {hit} is lost"));
        let time = |number: usize| &chunks[number].header;
        assert_eq!(hole.after_ns, (hit > first).then(|| time(hit - 1).last_ns));
        assert_eq!(hole.before_ns, (hit < last).then(|| time(hit + 1).first_ns));
    }
}

/// A power cut leaves zeros where bytes were on their way: as cut where they begin.
#[test]
fn a_tail_of_zeros_is_as_good_as_a_cut() {
    let chunks = small_chunks(3, 6);
    let bytes = trace_of(&chunks);
    for cut in 0..bytes.len() {
        for zeros in [1, 8, 40, 4096] {
            let mut damaged = bytes[..cut].to_vec();
            damaged.resize(cut + zeros, 0);
            // Zeros that were there anyway are no damage.
            let same = bytes
                .iter()
                .zip(&damaged)
                .take_while(|(a, b)| a == b)
                .count();
            let (read, issues) = survivors(&damaged, &chunks);
            let mut end = 0;
            let whole = chunks
                .iter()
                .filter(|chunk| {
                    end += chunk.bytes.len();
                    end <= same
                })
                .count() as u64;
            assert_eq!(
                read,
                (0..whole).collect::<Vec<_>>(),
                "cut at {cut}, {zeros} zeros"
            );
            assert!(
                same < 24 || damaged == bytes || !issues.is_empty(),
                "cut at {cut}, {zeros} zeros, without an issue"
            );
        }
    }
}

/// The beginning of one chunk before the end of another, at every byte of both.
#[test]
fn spliced_chunks_give_no_chunk_that_was_not_there() {
    let chunks = small_chunks(3, 4);
    let [a, b, c] = [0, 1, 2].map(|number| &chunks[number].bytes[..]);
    for at in 1..a.len().min(b.len()) {
        let spliced = [&a[..at], &b[at..], c].concat();
        let (read, issues) = survivors(&spliced, &chunks);
        // Where the two begin alike, it is the second chunk and nothing else.
        let left: &[u64] = if a[..at] == b[..at] { &[1, 2] } else { &[2] };
        assert_eq!(read, left, "spliced at {at}");
        let lost: Vec<u64> = (0..2).filter(|number| !left.contains(number)).collect();
        assert_eq!(missing(&issues), lost, "spliced at {at}");
    }
    // One chunk inside another: the inner one is whole.
    for at in 1..a.len() {
        let nested = [&a[..at], b, &a[at..], c].concat();
        let (read, _) = survivors(&nested, &chunks);
        assert_eq!(read, [1, 2], "nested at {at}");
    }
}

/// Every order of four chunks: only what still stands in order comes out, nothing twice.
#[test]
fn every_order_of_chunks_reads_as_what_is_in_order() {
    let chunks = small_chunks(4, 3);
    for code in 0..256usize {
        let order = [code % 4, code / 4 % 4, code / 16 % 4, code / 64];
        let bytes: Vec<u8> = order
            .iter()
            .flat_map(|number| chunks[*number].bytes.to_vec())
            .collect();
        let (read, issues) = survivors(&bytes, &chunks);
        let mut rising: Vec<u64> = Vec::new();
        for number in order {
            if rising.last().is_none_or(|last| *last < number as u64) {
                rising.push(number as u64);
            }
        }
        assert_eq!(read, rising, "{order:?}");
        let lost: Vec<u64> = (0..*rising.last().unwrap())
            .filter(|number| !rising.contains(number))
            .collect();
        assert_eq!(missing(&issues), lost, "{order:?}");
        let repeated = issues
            .iter()
            .filter(|issue| matches!(issue.what, IssueKind::Repeated { .. }))
            .count();
        assert_eq!(repeated, 4 - rising.len(), "{order:?}");
    }
}

#[test]
fn a_hole_is_reported_with_its_chunks_and_its_time_range() {
    let chunks = small_chunks(5, 10);
    let mut bytes = trace_of(&chunks);
    let start = chunks[0].bytes.len();
    let len = chunks[1].bytes.len() + chunks[2].bytes.len();
    bytes[start..start + len].fill(0);
    let (read, issues) = survivors(&bytes, &chunks);
    assert_eq!(read, [0, 3, 4]);
    let [issue] = issues.as_slice() else {
        panic!("one hole, one issue: {issues:?}")
    };
    assert_eq!((issue.offset, issue.bytes), (start as u64, len as u64));
    assert_eq!(issue.missing, Some(1..=2));
    assert_eq!(issue.after_ns, Some(chunks[0].header.last_ns));
    assert_eq!(issue.before_ns, Some(chunks[3].header.first_ns));
    assert!(issue.is_loss());
}

#[test]
fn dropped_repeated_reordered_and_foreign_chunks_are_noticed() {
    let chunks = small_chunks(4, 5);
    let mut other = ChunkBuilder::new([9; 16], Limits::default());
    other.push(read_call(1, 1, 0));
    let foreign = other.seal(2);
    let read = |order: &[&SealedChunk]| {
        let bytes: Vec<u8> = order
            .iter()
            .flat_map(|chunk| chunk.bytes.iter().copied())
            .collect();
        let (read, issues) = read_all(&bytes).unwrap();
        let kinds: Vec<IssueKind> = issues.into_iter().map(|issue| issue.what).collect();
        assert_eq!(kinds.last(), Some(&IssueKind::NoSummary));
        (
            read.iter()
                .map(|chunk| chunk.header.number)
                .collect::<Vec<_>>(),
            kinds[..kinds.len() - 1].to_vec(),
        )
    };
    let [a, b, c, d] = [&chunks[0], &chunks[1], &chunks[2], &chunks[3]];
    assert_eq!(read(&[a, b, c, d]), (vec![0, 1, 2, 3], vec![]));
    assert_eq!(
        read(&[a, c, d]),
        (vec![0, 2, 3], vec![IssueKind::ChunksMissing])
    );
    assert_eq!(
        read(&[b, c, d]),
        (vec![1, 2, 3], vec![IssueKind::ChunksMissing])
    );
    assert_eq!(
        read(&[a, b, b, c]),
        (vec![0, 1, 2], vec![IssueKind::Repeated { number: 1 }])
    );
    assert_eq!(
        read(&[a, c, b]),
        (
            vec![0, 2],
            vec![IssueKind::ChunksMissing, IssueKind::Repeated { number: 1 }]
        )
    );
    assert_eq!(
        read(&[a, &foreign, b]),
        (vec![0, 1], vec![IssueKind::OtherTrace { uuid: [9; 16] }])
    );
}

/// Somebody changes a chunk and computes its hash anew: the next chunk's link gives it away.
#[test]
fn a_rewritten_chunk_breaks_the_chain() {
    let chunks = small_chunks(3, 5);
    let mut forged = ChunkBuilder::new(UUID, Limits::default());
    forged.push(read_call(0, 1, 0));
    let forged = forged.seal(chunks[0].header.watermark_ns);
    let bytes = [&forged.bytes[..], &chunks[1].bytes, &chunks[2].bytes].concat();
    let (read, issues) = read_all(&bytes).unwrap();
    assert_eq!(read.len(), 3);
    assert_eq!(issues[0].what, IssueKind::ChainBroken { number: 1 });
    assert!(issues[0].is_loss());
}

#[test]
fn a_lost_last_chunk_is_known_from_the_summary() {
    let chunks = small_chunks(3, 5);
    let bytes = trace_of(&chunks);
    let (start, end) = (
        chunks[0].bytes.len() + chunks[1].bytes.len(),
        chunks[2].bytes.len(),
    );
    let removed = [&bytes[..start], &bytes[start + end..]].concat();
    let (read, issues) = survivors(&removed, &chunks);
    assert_eq!((read, missing(&issues)), (vec![0, 1], vec![2]));
    assert!(
        matches!(&issues[0].what, IssueKind::SummaryDisagrees { reason } if reason.contains("3 chunks, 2"))
    );
}

/// A path can contain anything, also bytes that look like the start of a chunk.
#[test]
fn a_marker_inside_a_body_misleads_nobody() {
    let mut builder = ChunkBuilder::new(
        UUID,
        Limits {
            level: 1,
            ..Limits::default()
        },
    );
    let mut bait = vec![0x54, 0x2a, 0x4d, 0x18, 200, 0, 0, 0];
    bait.extend(SYNC_MARKER);
    bait.extend((0..200u8).map(|byte| byte.wrapping_mul(37)));
    let mut open = |boot_ns| {
        builder.push(Event {
            data: EventData::PathCall(PathCall {
                nr: 87,
                ret: 0,
                arg: 0,
                path: Text::new(&bait),
                path2: Text::default(),
                marks: PathMarks(0),
                duration_ns: 0,
            }),
            ..read_call(boot_ns, 1, boot_ns)
        });
        builder.seal(boot_ns)
    };
    let chunks: Vec<SealedChunk> = (0..3).map(&mut open).collect();
    let bytes = trace_of(&chunks);
    assert!(
        bytes
            .windows(16)
            .filter(|window| *window == SYNC_MARKER)
            .count()
            > 4,
        "the bait is in the file as it is"
    );
    for at in (0..chunks[0].bytes.len()).step_by(3) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        assert_eq!(survivors(&damaged, &chunks).0, [1, 2], "byte {at}");
    }
}

#[test]
fn garbage_before_between_and_after_costs_nothing() {
    let chunks = small_chunks(2, 5);
    let garbage: Vec<u8> = (0..100_000u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let bytes = [
        &garbage[..],
        &chunks[0].bytes,
        &garbage,
        &chunks[1].bytes,
        &garbage,
    ]
    .concat();
    let (read, issues) = survivors(&bytes, &chunks);
    assert_eq!(read, [0, 1]);
    let skipped: Vec<u64> = issues.iter().map(|issue| issue.bytes).collect();
    assert_eq!(skipped, [100_000, 100_000, 100_000, 0]);
}

#[test]
fn a_future_major_version_is_refused_and_a_future_minor_is_read() {
    let chunks = small_chunks(1, 5);
    let mut forge = Forge::open(&chunks[0].bytes);
    forge.fixed[18] = 7;
    assert_eq!(
        SealedChunk::from_bytes(forge.close())
            .unwrap()
            .decode()
            .unwrap()
            .events
            .len(),
        5
    );

    forge.fixed[16] = 2;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("future.zst");
    std::fs::write(&path, forge.close()).unwrap();
    let error = TraceReader::open(&path).unwrap().next_chunk().unwrap_err();
    let Error::FutureVersion {
        offset: 0,
        found_major: 2,
        found_minor: 7,
        supported_major: 1,
        path: named,
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!(named, &path);
    assert!(error.to_string().contains("use a newer replay"), "{error}");
    assert!(matches!(read_info(&path), Err(Error::FutureVersion { .. })));
}

#[test]
fn what_is_no_trace_is_named_for_what_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    assert!(matches!(
        TraceReader::open(directory.path()),
        Err(Error::Directory { .. })
    ));
    assert!(matches!(
        TraceReader::open(file("empty", b"")),
        Err(Error::Empty { .. })
    ));
    assert!(matches!(
        TraceReader::open(directory.path().join("none")),
        Err(Error::Io { action: "open", .. })
    ));
    let text = file("notes.txt", b"This is not a trace.");
    match TraceReader::open(&text).unwrap().next_chunk() {
        Err(Error::NotATrace { path, found }) => {
            assert_eq!((path, found), (text, b"This is ".to_vec()))
        }
        other => panic!("{other:?}"),
    }
    let zst = file(
        "other.zst",
        &zstd::encode_all(&b"something else"[..], 3).unwrap(),
    );
    assert!(matches!(read_info(zst), Err(Error::NotATrace { .. })));
    assert!(matches!(read_all(b""), Err(Error::Empty { .. })));
}

#[test]
fn a_stream_reads_like_a_file() {
    /// Gives one byte at a time, and an interruption before each.
    struct Slow(Vec<u8>, usize, bool);
    impl std::io::Read for Slow {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.2 = !self.2;
            if self.2 {
                return Err(std::io::ErrorKind::Interrupted.into());
            }
            let Some(byte) = self.0.get(self.1) else {
                return Ok(0);
            };
            buffer[0] = *byte;
            self.1 += 1;
            Ok(1)
        }
    }
    let chunks = small_chunks(4, 10);
    let mut bytes = trace_of(&chunks);
    bytes[chunks[0].bytes.len() + 20] ^= 1;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("trace.zst");
    std::fs::write(&path, &bytes).unwrap();
    let drain = |mut reader: TraceReader| {
        let mut read = Vec::new();
        while let Some(chunk) = reader.next_chunk().unwrap() {
            read.push(chunk);
        }
        let summary = reader.summary().cloned();
        (read, reader.issues().to_vec(), summary)
    };
    let file = drain(TraceReader::open(&path).unwrap());
    assert_eq!(file, drain(TraceReader::from_read(Slow(bytes, 0, false))));
    assert_eq!(file.0.len(), 3);
    assert!(file.2.is_some());
}
