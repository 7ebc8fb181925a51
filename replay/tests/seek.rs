//! `--from` begins at a checkpoint: what is printed is what reading everything prints, and nothing
//! that lies before is looked at.

mod program;

use program::replay;
use std::{fs, ops::Range, path::PathBuf};
use tempfile::TempDir;
use trace_format::SealedChunk;

const SECOND_NS: u64 = 1_000_000_000;

/// The golden trace: a chunk a second, a checkpoint every thirty.
struct Golden {
    directory: TempDir,
    chunks: Vec<SealedChunk>,
    places: Vec<Range<usize>>,
    bytes: Vec<u8>,
}

impl Golden {
    fn new() -> Golden {
        let built = fixtures::golden();
        let bytes = built.bytes();
        let golden = Golden {
            directory: tempfile::tempdir().unwrap(),
            places: fixtures::damage::chunk_ranges(&bytes),
            chunks: built.chunks,
            bytes,
        };
        assert_eq!(golden.places.len(), golden.chunks.len());
        golden
    }

    fn write(&self, name: &str, bytes: &[u8]) -> String {
        let path: PathBuf = self.directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Numbers of the later chunks with a checkpoint.
    fn checkpoints(&self) -> Vec<usize> {
        (1..self.chunks.len())
            .filter(|&number| self.chunks[number].header.has_checkpoint)
            .collect()
    }

    /// Newest record of everything up to this chunk.
    fn last_ns(&self, number: usize) -> u64 {
        let headers = self.chunks[..=number].iter().map(|chunk| &chunk.header);
        headers.map(|header| header.last_ns).max().unwrap()
    }

    /// The file with zeros for these chunks.
    fn without(&self, numbers: Range<usize>) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for place in &self.places[numbers] {
            bytes[place.clone()].fill(0);
        }
        bytes
    }

    /// Ways to say where to begin: before, at and after everything that decides.
    fn points(&self) -> Vec<String> {
        let start_ns = self.chunks[0].header.first_ns;
        let end_ns = self.last_ns(self.chunks.len() - 1);
        let mut points: Vec<u64> = (0..5)
            .map(|step| start_ns + (end_ns - start_ns) * step / 4)
            .collect();
        for number in self.checkpoints() {
            let last_ns = self.last_ns(number);
            points.extend([last_ns - SECOND_NS, last_ns, last_ns + 1]);
        }
        points.push(end_ns + 60 * SECOND_NS);
        let ways = points
            .iter()
            .enumerate()
            .map(|(index, &boot_ns)| match index % 3 {
                0 => replay::time::show(None, boot_ns),
                1 => format!("{}ns", boot_ns - start_ns),
                _ => replay::time::rfc3339(
                    fixtures::START_WALL_NS + boot_ns - fixtures::START_BOOT_NS,
                ),
            });
        ways.collect()
    }
}

/// Standard output, exit code and standard error of a command that succeeds.
#[track_caller]
fn printed(arguments: &[&str], input: &[u8]) -> String {
    let output = replay(arguments, input);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_range_is_printed_as_reading_everything_prints_it() {
    let golden = Golden::new();
    assert!(golden.checkpoints().len() >= 2, "or nothing is left out");
    let whole = golden.write("whole.zst", &golden.bytes);
    let mut lines = 0;
    for from in golden.points() {
        let all = printed(
            &["cat", &whole, "--json", "--from", &from, "--history", "all"],
            &[],
        );
        lines += all.lines().count();
        let file = printed(&["cat", &whole, "--json", "--from", &from], &[]);
        assert!(file == all, "a file from {from}");
        let stream = printed(&["cat", "-", "--json", "--from", &from], &golden.bytes);
        assert!(stream == all, "a stream from {from}");
    }
    assert!(lines > 5_000, "{lines} lines compared");
}

/// Findings of the golden trace with their times, as reading without a range prints them.
fn findings(golden: &Golden) -> Vec<(u64, String)> {
    found(golden, &[])
}

fn found(golden: &Golden, options: &[&str]) -> Vec<(u64, String)> {
    let whole = golden.write("found.zst", &golden.bytes);
    let lines = printed(&[&["detect", "--json", &whole], options].concat(), &[]);
    let found: Vec<(u64, String)> = lines
        .lines()
        .map(|line| {
            let object: serde_json::Value = serde_json::from_str(line).unwrap();
            (object["boot_ns"].as_u64().unwrap(), line.to_owned())
        })
        .collect();
    assert!(found.len() > 5);
    found
}

#[test]
fn findings_of_a_range_are_those_of_the_whole_trace_in_it() {
    let golden = Golden::new();
    let found = findings(&golden);
    let whole = golden.write("whole.zst", &golden.bytes);
    let at = |boot_ns| replay::time::show(None, boot_ns);
    let edges: Vec<u64> = found.iter().map(|(boot_ns, _)| *boot_ns).collect();
    let (first, middle, last) = (edges[0], edges[edges.len() / 2], edges[edges.len() - 1]);
    for (from, to) in [
        (first, last),
        (first + 1, middle),
        (middle, middle + 1),
        (middle, last + 1),
    ] {
        let expected: Vec<&str> = found
            .iter()
            .filter(|(boot_ns, _)| (from..to).contains(boot_ns))
            .map(|(_, line)| line.as_str())
            .collect();
        let range = ["--from", &at(from), "--to", &at(to)];
        let run = |more: &[&str], input: &[u8]| {
            printed(&[&["detect", "--json"], &range[..], more].concat(), input)
        };
        assert_eq!(run(&[&whole], &[]).lines().collect::<Vec<_>>(), expected);
        // From a checkpoint on, a file and a stream know the same.
        let file = run(&[&whole, "--history", "checkpoint"], &[]);
        assert!(run(&["-", "--history", "checkpoint"], &golden.bytes) == file);
    }
}

#[test]
fn what_rests_on_a_single_moment_is_found_from_the_checkpoint_alone() {
    let golden = Golden::new();
    // Statistics need what came before, and so do rules that count their findings.
    let found = found(&golden, &["--no-statistics"]);
    let number = golden
        .checkpoints()
        .into_iter()
        .find(|&number| golden.last_ns(number) < found[0].0);
    let number = number.expect("a checkpoint before the first finding");
    let holed = golden.write("holed.zst", &golden.without(1..number));
    let from = replay::time::show(None, golden.last_ns(number) + 1);
    let lines = printed(
        &[
            "detect",
            "--json",
            "--no-statistics",
            "--from",
            &from,
            "--history",
            "checkpoint",
            &holed,
        ],
        &[],
    );
    let rules: Vec<&String> = found.iter().map(|(_, line)| line).collect();
    assert_eq!(lines.lines().collect::<Vec<_>>(), rules);
}

#[test]
fn nothing_before_the_checkpoint_is_read_and_nothing_long_after_the_end() {
    let golden = Golden::new();
    let whole = golden.write("whole.zst", &golden.bytes);
    for number in golden.checkpoints() {
        let from_ns = golden.last_ns(number) + 1;
        let from = replay::time::show(None, from_ns);
        let to = replay::time::show(None, from_ns + SECOND_NS);
        let expected = printed(&["cat", &whole, "--from", &from, "--to", &to], &[]);
        // A chunk that is looked at would be reported as damaged, with exit code 3.
        let mut bytes = golden.without(1..number);
        let beyond = number + 5;
        if let Some(place) = golden.places.get(beyond) {
            let end = golden.places.last().unwrap().end;
            bytes[place.start..end].fill(0);
        }
        let holed = golden.write("holed.zst", &bytes);
        let found = printed(&["cat", &holed, "--from", &from, "--to", &to], &[]);
        assert!(found == expected, "from checkpoint {number}");
        assert!(!found.is_empty());
        let code = |arguments: &[&str]| replay(arguments, &[]).status.code();
        let all = [
            "cat",
            &holed,
            "--from",
            &from,
            "--to",
            &to,
            "--history",
            "all",
        ];
        assert_eq!(code(&all), Some(3), "there is something to see");
    }
}

#[test]
fn a_broken_checkpoint_is_not_begun_with() {
    let golden = Golden::new();
    let last = *golden.checkpoints().last().unwrap();
    let broken = golden.without(last..last + 1);
    let path = golden.write("broken.zst", &broken);
    let from = replay::time::show(None, golden.last_ns(last) + 1);
    let run = |more: &[&str], input: &[u8]| {
        let output = replay(&[&["cat", "--json", "--from", &from], more].concat(), input);
        assert_eq!(
            output.status.code(),
            Some(3),
            "the damage is in what is read"
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let all = run(&[&path, "--history", "all"], &[]);
    assert!(!all.is_empty());
    assert!(run(&[&path], &[]) == all, "a file");
    assert!(run(&["-"], &broken) == all, "a stream");
}

#[test]
fn info_of_a_finished_trace_reads_no_chunk_but_the_first() {
    let golden = Golden::new();
    let whole = golden.write("trace.zst", &golden.bytes);
    let expected = printed(&["info", "--json", &whole], &[]);
    golden.write("trace.zst", &golden.without(1..golden.chunks.len()));
    assert_eq!(printed(&["info", "--json", &whole], &[]), expected);
}
