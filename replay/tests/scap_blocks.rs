//! The parser of scap captures against real ones: every event of every shared capture, and what is
//! left of a capture that was cut or damaged.
//!
//! The captures are inputs that stand beside the repository (`../shared/data/scap`), not in it: where
//! they are absent these tests say so and pass, unless `TRAILCAM_NO_SKIP=1`.

#![cfg(feature = "import")]

mod captures;

use captures::{captures, read_content};
use replay::import::scap::{
    Capture, Issue,
    block::Kind,
    event,
    lists::{List, Records, Value},
};
use std::{collections::BTreeMap, io::Cursor, path::Path};

/// What a capture held.
#[derive(Debug, Default, PartialEq)]
struct Found {
    events: u64,
    lists: BTreeMap<List, u64>,
    issues: Vec<Issue>,
}

fn read(bytes: Vec<u8>) -> Found {
    let mut capture = Capture::read(Path::new("test"), Cursor::new(bytes)).unwrap();
    let mut found = Found::default();
    loop {
        let block = match capture.next_block() {
            Ok(Some(block)) => block,
            Ok(None) => break,
            Err(error) => panic!("{error}"),
        };
        let mut issues = Vec::new();
        match block.kind {
            Kind::Event(form) => match event::parse(form, block.body) {
                Ok(event) => {
                    found.events += 1;
                    assert_eq!(event.parameters.iter().count(), event.parameters.len());
                }
                Err(reason) => issues.push(Issue {
                    offset: block.offset,
                    reason,
                }),
            },
            kind => {
                for record in Records::new(kind, block.body) {
                    match record {
                        Ok(record) => {
                            assert_eq!(record.values.len(), record.list.fields().len());
                            *found.lists.entry(record.list).or_default() += 1;
                        }
                        Err(reason) => issues.push(Issue {
                            offset: block.offset,
                            reason,
                        }),
                    }
                }
            }
        }
        found.issues.extend(issues);
    }
    found.issues.extend(capture.issues().iter().cloned());
    found
}

#[test]
fn every_capture_has_the_events_and_processes_of_its_manifest_row() {
    for capture in captures() {
        let found = read(std::fs::read(&capture.path).unwrap());
        let name = &capture.name;
        assert_eq!(found.issues, [], "{name}");
        assert_eq!(found.events, capture.events, "{name}");
        let processes = found.lists[&List::Process];
        if let Some(expected) = capture.processes {
            assert_eq!(processes, expected, "{name}");
        }
        assert!(processes > 10, "{name}: {processes} processes");
        assert_eq!(found.lists[&List::Section], 1, "{name}");
        assert_eq!(found.lists[&List::Machine], 1, "{name}");
        assert!(found.lists[&List::Descriptor] > processes, "{name}");
        assert!(found.lists[&List::Interface] > 0, "{name}");
        assert!(found.lists[&List::User] > 10, "{name}");
        assert!(found.lists[&List::Group] > 10, "{name}");
    }
}

#[test]
fn concatenated_captures_are_one_stream_of_sections() {
    let small: Vec<_> = captures().into_iter().take(2).collect();
    if small.is_empty() {
        return;
    }
    let both = small
        .iter()
        .flat_map(|capture| read_content(&capture.path))
        .collect();
    let found = read(both);
    assert_eq!(found.issues, []);
    assert_eq!(found.lists[&List::Section], 2);
    assert_eq!(
        found.events,
        small.iter().map(|one| one.events).sum::<u64>()
    );
}

/// A small capture: state, then 345 events.
fn sample() -> Option<Vec<u8>> {
    let all = captures();
    let capture = all
        .iter()
        .find(|one| one.name.ends_with("cat_write.scap"))?;
    Some(read_content(&capture.path))
}

#[test]
fn a_cut_capture_gives_every_whole_block_and_says_so() {
    let Some(whole) = sample() else { return };
    let mut events_before = 0;
    for cut in (29..whole.len()).step_by(997) {
        let found = read(whole[..cut].to_vec());
        assert_eq!(found.issues.len(), 1, "cut at {cut}");
        assert!(found.events >= events_before, "cut at {cut}");
        events_before = found.events;
    }
    assert!(events_before > 300);
}

#[test]
fn a_cut_gzip_gives_what_could_be_unpacked_and_says_so() {
    use std::io::Write;
    let Some(whole) = sample() else { return };
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(&whole).unwrap();
    let packed = packer.finish().unwrap();
    assert_eq!(read(packed.clone()), read(whole));
    let found = read(packed[..packed.len() - 4].to_vec());
    assert_eq!((found.events, found.issues.len()), (345, 1));
    let found = read(packed[..packed.len() * 95 / 100].to_vec());
    assert!(found.events > 50 && found.events < 345, "{}", found.events);
    assert!(!found.issues.is_empty());
}

#[test]
fn damage_costs_only_the_blocks_it_touches() {
    let Some(whole) = sample() else { return };
    let all = read(whole.clone());
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..400 {
        // xorshift: the same places every time.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let place = 28 + (state % (whole.len() as u64 - 28)) as usize;
        let mut bytes = whole.clone();
        bytes[place] ^= 1 << (state >> 60 & 7);
        let found = read(bytes);
        assert!(
            found.events + 2 >= all.events,
            "flip at {place}: {}",
            found.events
        );
    }
}

#[test]
fn values_that_a_version_lacks_are_absent() {
    for capture in captures() {
        let bytes = std::fs::read(&capture.path).unwrap();
        let mut reader = Capture::read(Path::new("test"), Cursor::new(bytes)).unwrap();
        while let Some(block) = reader.next_block().unwrap() {
            let Kind::Processes(version) = block.kind else {
                continue;
            };
            for record in Records::new(block.kind, block.body) {
                let values = record.unwrap().values;
                let of = |name: &str| {
                    let fields = List::Process.fields();
                    values[fields.iter().position(|field| field.0 == name).unwrap()]
                };
                assert_eq!(of("vpgid") == Value::Absent, version < 8);
                assert_eq!(of("exepath") == Value::Absent, version < 7);
                assert_eq!(of("sid") == Value::Absent, version < 6);
                assert_ne!(of("root"), Value::Absent);
                // Every tail here is one of the five lengths that writers had.
                let tail = values[24..].iter().filter(|value| **value != Value::Absent);
                assert!(
                    matches!(tail.count(), 0 | 1 | 5 | 11 | 12 | 13 | 14),
                    "{}",
                    capture.name
                );
            }
        }
    }
}
