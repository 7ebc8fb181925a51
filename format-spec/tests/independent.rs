//! A second reader that shares nothing with this crate but SPEC.md says the same, line by line, of every
//! vector, of damaged traces and of chunks whose hash is right and whose content is a lie. Where the two
//! differ, the page left something to guess.
//!
//! Needs python3 (or `PYTHON`) with the package zstandard; skips by name without, unless
//! `TRAILCAM_NO_SKIP` is set.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use support::{forge::Forge, sample, stored::stored_lines, *};
use trace_format::*;

const READER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/reader.py");
const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors");

fn python() -> Option<String> {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let found = Command::new(&python)
        .args(["-c", "import zstandard"])
        .output()
        .is_ok_and(|output| output.status.success());
    if found {
        return Some(python);
    }
    assert!(
        std::env::var_os("TRAILCAM_NO_SKIP").is_none(),
        "{python} has no zstandard, and nothing may be skipped"
    );
    println!("skipped: no zstandard for {python} (set PYTHON to one that has it)");
    None
}

/// One run of the other reader over all of `traces`, its lines compared with ours.
fn compare(traces: &[(String, Vec<u8>)]) {
    let Some(python) = python() else { return };
    let directory = tempfile::tempdir().unwrap();
    let paths: Vec<PathBuf> = (0..traces.len())
        .map(|index| directory.path().join(index.to_string()))
        .collect();
    for (path, (_, bytes)) in paths.iter().zip(traces) {
        fs::write(path, bytes).unwrap();
    }
    let output = Command::new(&python)
        .arg(READER)
        .args(&paths)
        .output()
        .unwrap();
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let theirs = String::from_utf8(output.stdout).unwrap();
    let mut theirs = theirs.lines();
    for (name, bytes) in traces {
        for (number, ours) in stored_lines(bytes).lines().enumerate() {
            assert_eq!(
                Some(ours),
                theirs.next(),
                "{name}, line {}: ours, reader.py's",
                number + 1
            );
        }
    }
    assert_eq!(theirs.next(), None, "reader.py has more to say");
}

/// Numbers that look random and are the same every time (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

#[test]
fn another_reader_agrees_on_every_vector() {
    let mut traces = Vec::new();
    for group in ["valid", "damaged", "invalid"] {
        for entry in fs::read_dir(Path::new(VECTORS).join(group)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "zst") {
                traces.push((path.display().to_string(), fs::read(&path).unwrap()));
            }
        }
    }
    assert!(traces.len() > 20, "{} vectors", traces.len());
    compare(&traces);
}

#[test]
fn another_reader_agrees_on_random_damage() {
    let whole = trace_of(&small_chunks(4, 6));
    let mut random = Numbers(20);
    let traces: Vec<_> = (0..200)
        .map(|round| {
            let mut bytes = whole.clone();
            for _ in 0..1 + random.below(3) {
                if bytes.is_empty() {
                    break;
                }
                let from = random.below(bytes.len());
                let to = (from + 1 + random.below(600)).min(bytes.len());
                match random.below(6) {
                    0 => bytes[from] ^= 1 << random.below(8),
                    1 => bytes.truncate(to),
                    2 => bytes[from..to].fill(0),
                    3 => drop(bytes.drain(from..to)),
                    4 => {
                        let piece = bytes[from..to].to_vec();
                        let at = random.below(bytes.len() + 1);
                        bytes.splice(at..at, piece);
                    }
                    _ => bytes.extend_from_within(from..to),
                }
            }
            (format!("damage {round}"), bytes)
        })
        .collect();
    compare(&traces);
}

/// Whole chunks dropped, repeated, in another order, of another trace; summaries where none belongs.
#[test]
fn another_reader_agrees_on_chunks_out_of_place() {
    let chunks = small_chunks(4, 3);
    let mut other = ChunkBuilder::new([9; 16], Limits::default());
    other.push(read_call(1, 1, 0));
    let whole = trace_of(&chunks);
    let end = chunks.iter().map(|chunk| chunk.bytes.len()).sum::<usize>();
    let foreign = trace_of(&[other.seal(2)]);
    let mut pieces: Vec<&[u8]> = chunks.iter().map(|chunk| &chunk.bytes[..]).collect();
    pieces.extend([&whole[end..], &foreign, &[0; 50][..], b"\xff"]);
    let mut random = Numbers(7);
    let traces: Vec<_> = (0..200)
        .map(|round| {
            let order: Vec<usize> = (0..1 + random.below(7))
                .map(|_| random.below(pieces.len()))
                .collect();
            let bytes: Vec<u8> = order
                .iter()
                .flat_map(|piece| pieces[*piece].iter().copied())
                .collect();
            (format!("round {round}, pieces {order:?}"), bytes)
        })
        .collect();
    compare(&traces);
}

/// Bytes of the body or of the header's parts changed, the hash computed anew.
#[test]
fn another_reader_agrees_on_lies_under_a_right_hash() {
    let mut builder = support::builder();
    for record in sample::one_of_each_context() {
        builder.context(record).unwrap();
    }
    for (row, data) in (0..).zip(sample::one_of_each()) {
        builder.push(Event {
            data,
            ..read_call(50 - row, 1 + row as u32 % 3, row)
        });
    }
    let forge = Forge::open(&builder.seal(60).bytes);
    let (body, meta) = (forge.body(), forge.meta());
    let mut random = Numbers(99);
    let mut traces = Vec::new();
    let mut lied = 0;
    for round in 0..400 {
        let (mut body, mut meta, mut forge) = (body.clone(), meta.clone(), forge.clone());
        let lie = |bytes: &mut Vec<u8>, random: &mut Numbers| {
            let at = random.below(bytes.len());
            match random.below(4) {
                0 => bytes[at] = random.below(256) as u8,
                1 => bytes[at] = bytes[at].wrapping_add(1),
                2 => bytes[at] ^= 1 << random.below(8),
                _ => drop(bytes.remove(at)),
            }
        };
        match random.below(8) {
            0 => lie(&mut meta, &mut random),
            1 => lie(&mut forge.fixed[64..80].to_vec(), &mut random),
            2 => {
                // Rows, and the times that a chunk claims.
                let at = 36 + random.below(4);
                forge.fixed[at] = forge.fixed[at].wrapping_add(1);
            }
            // The directory has most of what can be lied about.
            3..=5 => {
                let at = random.below(2 + 14 * forge.sections.len());
                body[at] = body[at].wrapping_add(random.below(256) as u8);
            }
            _ => lie(&mut body, &mut random),
        }
        let frame = zstd::bulk::compress(&body, 1).unwrap();
        let bytes = forge.close_meta(&meta, &frame, body.len() as u32);
        lied += usize::from(stored_lines(&bytes).contains("malformed"));
        traces.push((format!("lie {round}"), bytes));
    }
    assert!(lied > 100, "only {lied} lies were noticed");
    compare(&traces);
}
