//! What slicing promises: exactly the events that were asked for, as a sound trace that begins with
//! the state they need, and without anything that was not asked for.

mod support;

use std::{fs, path::PathBuf};

use support::{town::*, *};
use tempfile::TempDir;
use trace_format::{doctor::diagnose, *};

struct Bench {
    directory: TempDir,
}

impl Bench {
    fn new(trace: &[u8]) -> Bench {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("t.zst"), trace).unwrap();
        Bench { directory }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("t.zst")
    }

    fn slice(&self, options: SliceOptions) -> Result<(Sliced, Vec<u8>), Error> {
        slice(&|| TraceReader::open(self.path()), &options, Vec::new())
    }
}

fn cut(from: u64, to: u64) -> SliceOptions {
    SliceOptions {
        from: Some(SlicePoint::Boot(from)),
        to: Some(SlicePoint::Boot(to)),
        ..SliceOptions::default()
    }
}

/// All chunks of a trace that must be sound.
fn chunks(bytes: &[u8]) -> Vec<DecodedChunk> {
    let (chunks, issues) = read_all(bytes).unwrap();
    assert_eq!(issues, []);
    chunks.iter().map(|chunk| chunk.decode().unwrap()).collect()
}

fn events(bytes: &[u8]) -> Vec<Event> {
    chunks(bytes)
        .into_iter()
        .flat_map(|chunk| chunk.events)
        .collect()
}

fn context(bytes: &[u8]) -> Vec<Context> {
    let all = chunks(bytes).into_iter().flat_map(|chunk| chunk.context);
    all.map(|record| record.body).collect()
}

fn processes(context: &[Context], pid: u32) -> Vec<&Process> {
    context
        .iter()
        .filter_map(|body| match body {
            Context::Process(process) if process.pid == pid => Some(process),
            _ => None,
        })
        .collect()
}

#[test]
fn a_time_range_holds_its_events_and_starts_with_the_state_at_its_start() {
    let town = Town::default();
    let bench = Bench::new(&town.trace());
    let (from, to) = (town.at(26, 500), town.at(35, 2_000));
    let (sliced, out) = bench.slice(cut(from, to)).unwrap();
    let expected: Vec<Event> = events(&fs::read(bench.path()).unwrap())
        .into_iter()
        .filter(|event| (from..to).contains(&event.boot_ns))
        .collect();
    assert_eq!(events(&out), expected);
    assert_eq!(sliced.events, expected.len() as u64);
    assert_eq!(sliced.discards, []);

    let chunks = chunks(&out);
    let first = &chunks[0];
    assert_eq!(first.header.trace_uuid, sliced.provenance.trace_uuid());
    assert!(first.header.has_checkpoint, "a reader can start there");
    assert!(
        !sliced.provenance.selected,
        "inside the range nothing is left out"
    );
    let opening: Vec<&Context> = first.context.iter().map(|record| &record.body).collect();
    assert_eq!(opening[0], &Context::Provenance(sliced.provenance.clone()));
    assert_eq!(first.context[0].boot_ns, from);
    for kind in ["host", "clock", "probes", "user", "container"] {
        assert!(opening.iter().any(|body| body.name() == kind), "{kind}");
    }
    // Forked and executed after the checkpoint before: the events say who it is.
    let bodies = context(&out);
    let child = processes(&bodies, CHILD)[0];
    assert_eq!((child.comm.as_slice(), child.ppid), (&b"sh"[..], WEB_PID));
    assert_eq!(child.args, b"sh\0-c\0id");
    // The loss so far, as of the last record before the range.
    let loss = opening.iter().find_map(|body| match body {
        Context::Loss(loss) => Some(loss.counts[0]),
        _ => None,
    });
    assert_eq!(loss.map(|count| count.dropped), Some(1));

    // From two checkpoints before the range to its end, not all of the trace.
    assert_eq!(sliced.source_chunks, 60);
    assert!(sliced.chunks_read < 40, "{}", sliced.chunks_read);
    let diagnosis = diagnose(TraceReader::from_read(std::io::Cursor::new(out))).unwrap();
    assert_eq!(diagnosis.worst(), None, "{:#?}", diagnosis.findings);
}

/// Whatever the point, the two sides of it are the whole.
#[test]
fn the_parts_of_a_trace_are_the_trace() {
    let town = Town::default();
    let bench = Bench::new(&town.trace());
    let all = events(&fs::read(bench.path()).unwrap());
    for at in [
        town.at(0, 1),
        town.at(9, 0),
        town.at(24, 20_000),
        town.at(24, 20_001),
        town.at(59, 950_000_000),
    ] {
        let before = SliceOptions {
            to: Some(SlicePoint::Boot(at)),
            ..SliceOptions::default()
        };
        let after = SliceOptions {
            from: Some(SlicePoint::Boot(at)),
            ..SliceOptions::default()
        };
        let mut both = events(&bench.slice(before).unwrap().1);
        both.extend(events(&bench.slice(after).unwrap().1));
        assert_eq!(both, all, "{at}");
    }
}

#[test]
fn the_three_ways_to_name_a_time_agree() {
    let town = Town::default();
    let bench = Bench::new(&town.trace());
    let slice = |from, to| {
        let options = SliceOptions {
            from: Some(from),
            to: Some(to),
            ..SliceOptions::default()
        };
        events(&bench.slice(options).unwrap().1)
    };
    let boot = slice(
        SlicePoint::Boot(town.at(20, 0)),
        SlicePoint::Boot(town.at(21, 0)),
    );
    assert_eq!(boot.len(), 8);
    assert_eq!(
        slice(
            SlicePoint::Offset(20 * SECOND),
            SlicePoint::Offset(21 * SECOND)
        ),
        boot
    );
    let wall = |second| SlicePoint::Wall(WALL + second * SECOND);
    assert_eq!(slice(wall(20), wall(21)), boot);
}

#[test]
fn a_container_alone_has_its_events_and_its_ancestors_and_no_secrets_of_others() {
    let town = Town::default();
    let bench = Bench::new(&town.trace());
    for named in ["web", "aaaaaaaaaaaaaaaa", "aaaaaaaaaaaa"] {
        let (sliced, out) = bench
            .slice(SliceOptions {
                containers: vec![named.into()],
                ..cut(town.at(26, 0), town.at(45, 0))
            })
            .unwrap();
        assert_eq!(sliced.cgroups, [WEB]);
        assert!(sliced.provenance.selected);
        let events = events(&out);
        assert!(!events.is_empty());
        assert!(events.iter().all(|event| event.cgroup_id == WEB));
        // The daemon that started it is no part of it, but of its lineage.
        let bodies = context(&out);
        assert!(!processes(&bodies, SHIM).is_empty());
        assert!(processes(&bodies, DB_PID).is_empty());
        let text = zstd::decode_all(&out[..]).unwrap();
        assert!(
            !text
                .windows(SECRET.len())
                .any(|window| window == SECRET.as_bytes())
        );
        let diagnosis = diagnose(TraceReader::from_read(std::io::Cursor::new(out))).unwrap();
        assert_eq!(diagnosis.worst(), None, "{:#?}", diagnosis.findings);
    }
    let (sliced, _) = bench
        .slice(SliceOptions {
            containers: vec!["nobody".into()],
            ..SliceOptions::default()
        })
        .unwrap();
    assert_eq!((sliced.cgroups, sliced.events), (vec![], 0));
}

/// The exec is left out, so a record has to say what the process became.
#[test]
fn a_family_alone_comes_with_the_processes_that_its_events_need() {
    let town = Town::default();
    let bench = Bench::new(&town.trace());
    let (_, out) = bench
        .slice(SliceOptions {
            families: vec![columns::OPEN],
            to: Some(SlicePoint::Boot(town.at(30, 0))),
            ..SliceOptions::default()
        })
        .unwrap();
    let mut seen = false;
    for chunk in chunks(&out) {
        for event in &chunk.events {
            assert_eq!(family_of(&event.data), columns::OPEN);
            if event.pid == CHILD {
                seen = true;
            }
        }
    }
    assert!(seen);
    let bodies = context(&out);
    let child = processes(&bodies, CHILD)[0];
    assert_eq!(child.comm, b"sh");
    let sequences: Vec<u64> = events(&out).iter().map(|event| event.seq).collect();
    let source: Vec<u64> = events(&fs::read(bench.path()).unwrap())
        .iter()
        .filter(|event| family_of(&event.data) == columns::OPEN && event.boot_ns < town.at(30, 0))
        .map(|event| event.seq)
        .collect();
    assert_eq!(sequences, source, "numbers are those of the source");
}

#[test]
fn what_the_source_lost_in_the_range_is_said_and_nothing_else() {
    let town = Town::default();
    let chunks = town.chunks();
    let mut bytes = trace_of(&chunks);
    let start: usize = chunks[..30].iter().map(|chunk| chunk.bytes.len()).sum();
    bytes[start + chunks[30].bytes.len() - 4] ^= 8;
    let bench = Bench::new(&bytes);
    let (sliced, out) = bench.slice(cut(town.at(28, 0), town.at(33, 0))).unwrap();
    let [discard] = sliced.discards.as_slice() else {
        panic!("{:?}", sliced.discards)
    };
    assert_eq!(
        (discard.first_number, discard.chunks, discard.offset),
        (30, 1, start as u64)
    );
    assert!(context(&out).contains(&Context::Discard(discard.clone())));
    for (from, to) in [(5, 10), (55, 58)] {
        let (sliced, _) = bench.slice(cut(town.at(from, 0), town.at(to, 0))).unwrap();
        assert_eq!(sliced.discards, []);
    }
}

#[test]
fn a_range_that_cannot_be_is_refused() {
    let town = Town::default();
    let bench = Bench::new(&town.trace());
    let backwards = bench.slice(cut(town.at(9, 0), town.at(8, 0)));
    assert!(matches!(backwards, Err(Error::EmptyRange { .. })));
    let bench = Bench::new(&trace_of(&small_chunks(2, 3)));
    let wall = SliceOptions {
        from: Some(SlicePoint::Wall(5)),
        ..SliceOptions::default()
    };
    assert!(matches!(bench.slice(wall), Err(Error::NoClock)));
}
