//! What recovering promises: everything that holds comes back, nothing that does not, and the output
//! says itself what is missing. Each test breaks a trace in one way and looks at what came out.

mod support;

use std::{fs, path::PathBuf};

use support::{forge::Forge, *};
use tempfile::TempDir;
use trace_format::*;

struct Bench {
    directory: TempDir,
}

impl Bench {
    fn new() -> Bench {
        Bench {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("broken.zst")
    }

    fn recover(&self, bytes: &[u8]) -> Result<(Recovered, Vec<u8>), Error> {
        fs::write(self.path(), bytes).unwrap();
        let options = RecoverOptions {
            name: "broken.zst".into(),
            tool_version: "test".into(),
        };
        let recovered = recover(&|| TraceReader::open(self.path()), &options, Vec::new());
        assert_eq!(
            fs::read(self.path()).unwrap(),
            bytes,
            "the input was touched"
        );
        recovered
    }
}

fn recovered(bytes: &[u8]) -> (Recovered, Vec<u8>) {
    Bench::new().recover(bytes).unwrap()
}

/// What is in a trace that must be sound: events, context without what recovering adds, discards.
fn content(bytes: &[u8]) -> (Vec<Event>, Vec<ContextRecord>, Vec<Discard>) {
    let (chunks, issues) = read_all(bytes).unwrap();
    assert_eq!(issues, [], "the output is sound");
    let (mut events, mut context, mut discards) = (Vec::new(), Vec::new(), Vec::new());
    let mut first = true;
    for chunk in chunks {
        let decoded = chunk.decode().unwrap();
        events.extend(decoded.events);
        for record in decoded.context {
            match record.body {
                Context::Provenance(_) => assert!(first, "provenance comes first, once"),
                Context::Discard(discard) => discards.push(discard),
                _ => context.push(record),
            }
            first = false;
        }
    }
    assert!(!first);
    (events, context, discards)
}

fn events_of(chunks: &[SealedChunk]) -> Vec<Event> {
    chunks
        .iter()
        .flat_map(|chunk| chunk.decode().unwrap().events)
        .collect()
}

#[test]
fn a_whole_trace_comes_back_as_a_trace_of_its_own() {
    let chunks = small_chunks(3, 10);
    let bytes = trace_of(&chunks);
    let (report, out) = recovered(&bytes);
    assert_eq!(report.discards, []);
    assert_eq!(report.remarks, [""; 0]);
    assert_eq!(report.left_out, []);
    assert_eq!((report.chunks, report.events), (3, 30));
    assert_eq!(report.bytes, out.len() as u64);
    let source = &report.provenance.sources[0];
    assert!(source.complete);
    assert_eq!(source.trace_uuid, UUID);
    assert_eq!(
        (source.chunks, source.chain_head),
        (3, chunks[2].header.hash)
    );
    let (events, context, discards) = content(&out);
    assert_eq!(events, events_of(&chunks));
    assert_eq!(context, [tick(0), tick(10_000), tick(20_000)]);
    assert_eq!(discards, []);
    let (read, _) = read_all(&out).unwrap();
    assert_eq!(read[0].header.trace_uuid, report.provenance.trace_uuid());
    assert_ne!(read[0].header.trace_uuid, UUID, "it is not the original");
    for (made, source) in read.iter().zip(&chunks) {
        assert_eq!(made.header.watermark_ns, source.header.watermark_ns);
        assert_eq!(made.header.sequences, source.header.sequences);
    }
    assert_eq!(recovered(&bytes).1, out, "the same input, the same output");
}

/// Only the overview is missing: nothing is lost, and recovering writes a new one.
#[test]
fn a_missing_end_costs_nothing() {
    let chunks = small_chunks(3, 10);
    let whole = trace_of(&chunks);
    let end: usize = chunks.iter().map(|chunk| chunk.bytes.len()).sum();
    // From behind the fixed fields of the summary on it is clear what was cut.
    for len in [end].into_iter().chain(end + 128..whole.len()) {
        let (report, out) = recovered(&whole[..len]);
        assert_eq!(report.discards, [], "cut at {len}");
        assert_eq!(
            report.remarks.is_empty(),
            len == whole.len(),
            "cut at {len}"
        );
        assert_eq!(content(&out).0, events_of(&chunks));
    }
}

/// Where and what is missing, for every way a chunk can get lost.
#[test]
fn a_lost_chunk_is_told_with_place_number_and_time() {
    let chunks = small_chunks(4, 10);
    let whole = trace_of(&chunks);
    let ends: Vec<usize> = chunks
        .iter()
        .scan(0, |end, chunk| {
            *end += chunk.bytes.len();
            Some(*end)
        })
        .collect();
    let zeroed = {
        let mut bytes = whole.clone();
        bytes[ends[0]..ends[1]].fill(0);
        bytes
    };
    let flipped = {
        let mut bytes = whole.clone();
        bytes[ends[1] - 3] ^= 1;
        bytes
    };
    let nonsense = {
        let mut forge = Forge::open(&chunks[1].bytes);
        forge.sections.clear();
        [&whole[..ends[0]], &forge.close(), &whole[ends[1]..]].concat()
    };
    let left_away = [&whole[..ends[0]], &whole[ends[1]..]].concat();
    for (name, bytes, reason) in [
        ("zeroed", &zeroed, "a frame starts with"),
        ("flipped", &flipped, "hash"),
        ("nonsense", &nonsense, "does not decode"),
        ("left away", &left_away, "missing"),
    ] {
        let (report, out) = recovered(bytes);
        let [discard] = report.discards.as_slice() else {
            panic!("{name}: one loss: {:?}", report.discards)
        };
        assert_eq!((discard.first_number, discard.chunks), (1, 1), "{name}");
        assert_eq!(
            (discard.after_ns, discard.before_ns),
            (9_000, 20_000),
            "{name}"
        );
        assert_eq!(discard.offset, ends[0] as u64, "{name}");
        assert!(
            discard.reason.contains(reason),
            "{name}: {}",
            discard.reason
        );
        let region = (discard.offset, discard.bytes);
        assert_eq!(
            report.left_out,
            [region]
                .iter()
                .filter(|_| region.1 > 0)
                .copied()
                .collect::<Vec<_>>(),
            "{name}"
        );
        assert!(!report.provenance.sources[0].complete, "{name}");
        let (events, _, discards) = content(&out);
        let kept: Vec<SealedChunk> = [&chunks[..1], &chunks[2..]].concat();
        assert_eq!(events, events_of(&kept), "{name}");
        assert_eq!(discards, report.discards, "{name}: the output says it too");
    }
}

#[test]
fn what_is_missing_at_the_end_is_told_behind_the_last_chunk() {
    let chunks = small_chunks(3, 10);
    let whole = trace_of(&chunks);
    let cut = chunks[0].bytes.len() + chunks[1].bytes.len() + 150;
    let (report, out) = recovered(&whole[..cut]);
    let [discard] = report.discards.as_slice() else {
        panic!("{:?}", report.discards)
    };
    assert_eq!(discard.bytes, 150);
    assert_eq!((discard.after_ns, discard.before_ns), (19_000, u64::MAX));
    assert!(discard.reason.contains("cut short"), "{}", discard.reason);
    let (events, _, discards) = content(&out);
    assert_eq!(events, events_of(&chunks[..2]));
    assert_eq!(discards, report.discards);

    // The summary is there and counts three: then the number is known.
    let end: usize = chunks.iter().map(|chunk| chunk.bytes.len()).sum();
    let third = chunks[0].bytes.len() + chunks[1].bytes.len();
    let (report, _) = recovered(&[&whole[..third], &whole[end..]].concat());
    let [discard] = report.discards.as_slice() else {
        panic!("{:?}", report.discards)
    };
    assert_eq!((discard.first_number, discard.chunks), (2, 1));
}

#[test]
fn chunks_out_of_their_place_are_put_back() {
    let chunks = small_chunks(5, 10);
    let end: usize = chunks.iter().map(|chunk| chunk.bytes.len()).sum();
    let summary = trace_of(&chunks)[end..].to_vec();
    for order in [[0, 2, 1, 3, 4], [4, 3, 2, 1, 0], [1, 0, 4, 2, 3]] {
        let mut bytes: Vec<u8> = order
            .iter()
            .flat_map(|number| chunks[*number].bytes.to_vec())
            .collect();
        bytes.extend(&summary);
        let (report, out) = recovered(&bytes);
        assert_eq!(report.discards, [], "{order:?}");
        assert!(report.displaced > 0, "{order:?}");
        assert_eq!(content(&out).0, events_of(&chunks), "{order:?}");
    }
}

#[test]
fn chunks_that_do_not_belong_are_left_out() {
    let chunks = small_chunks(3, 10);
    let whole = trace_of(&chunks);
    let second = chunks[0].bytes.len();
    let third = second + chunks[1].bytes.len();
    let stranger = {
        let mut other = ChunkBuilder::new([9; 16], Limits::default());
        other.push(read_call(1, 1, 0));
        other.seal(2).bytes.to_vec()
    };
    // The stranger comes first and still is the stranger: most chunks decide.
    for at in [0, second, third] {
        let (report, out) = recovered(&[&whole[..at], &stranger, &whole[at..]].concat());
        assert_eq!(
            report.discards,
            [],
            "the chain shows that nothing is missing"
        );
        assert_eq!(report.left_out, [(at as u64, stranger.len() as u64)]);
        assert_eq!(report.remarks.len(), 1);
        assert_eq!(content(&out).0, events_of(&chunks));
    }
    let (report, out) = recovered(&[&whole[..third], &whole[second..]].concat());
    assert!(report.discards[0].reason.contains("chunk 1 is there again"));
    assert_eq!(report.discards[0].chunks, 0);
    assert_eq!(content(&out).0, events_of(&chunks));

    // One chunk was replaced by another good one: it is kept, and told.
    let mut forge = Forge::open(&chunks[1].bytes);
    forge.fixed[80] ^= 1;
    let (report, out) = recovered(&[&whole[..second], &forge.close(), &whole[third..]].concat());
    assert_eq!(content(&out).0.len(), 30);
    assert!(
        report
            .discards
            .iter()
            .all(|discard| discard.reason.contains("hash chain"))
    );
    assert_eq!(report.discards.len(), 1);
}

/// An older program cannot carry over what it does not know, and must not be silent about it.
#[test]
fn what_a_newer_writer_added_is_told_as_lost() {
    let chunks = small_chunks(2, 10);
    let mut forge = Forge::open(&chunks[0].bytes);
    forge.fixed[18] = 7;
    let first = forge.close();
    let frame = {
        let mut forge = Forge::open(&chunks[0].bytes);
        forge.fixed[20] = 9;
        forge.close()
    };
    let (report, out) = recovered(&[first, frame, chunks[1].bytes.to_vec()].concat());
    let reasons: Vec<&str> = report
        .discards
        .iter()
        .map(|discard| &discard.reason[..])
        .collect();
    assert!(reasons[0].contains("minor version 7"), "{reasons:?}");
    assert!(reasons[1].contains("frame of a kind"), "{reasons:?}");
    assert_eq!(content(&out).0.len(), 20);
}

#[test]
fn nothing_to_recover_is_an_error_that_says_so() {
    let bench = Bench::new();
    assert!(matches!(
        bench.recover(b"no trace at all, not even a bit"),
        Err(Error::NotATrace { .. })
    ));
    assert!(matches!(bench.recover(b""), Err(Error::Empty { .. })));
    let chunk = &small_chunks(1, 10)[0].bytes;
    let cut = bench.recover(&chunk[..chunk.len() - 1]);
    assert!(matches!(cut, Err(Error::NothingLeft { .. })));
}

/// Every place, every few bits: what comes out was there, what is missing is told.
#[test]
fn no_damage_gets_into_the_output() {
    let chunks = small_chunks(3, 4);
    let whole = trace_of(&chunks);
    let all = events_of(&chunks);
    let bench = Bench::new();
    for at in (0..whole.len()).step_by(3) {
        let flipped = {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            bytes
        };
        for bytes in [&flipped, &whole[..at].to_vec()] {
            let Ok((report, out)) = bench.recover(bytes) else {
                assert!(at <= chunks[0].bytes.len(), "{at}");
                continue;
            };
            let (events, _, discards) = content(&out);
            assert!(events.iter().all(|event| all.contains(event)), "{at}");
            let lost = events.len() < all.len();
            // A trace that was not finished cannot say what it never had.
            let cut_clean = bytes.len() < whole.len() && report.left_out.is_empty();
            assert!(
                !lost || !discards.is_empty() || cut_clean,
                "{at}: silent loss"
            );
        }
    }
}
