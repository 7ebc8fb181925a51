//! Every check of the doctor finds what it is for. The table holds, for each check, a trace that is
//! wrong in that way although its hashes hold (where the check is about content); a check without a
//! row fails, and so does a row for no check. A sound trace has no finding at all.

mod support;

use std::io::Cursor;

use support::{forge::*, town::*, *};
use trace_format::{doctor::*, *};

fn examined(bytes: Vec<u8>) -> Diagnosis {
    diagnose(TraceReader::from_read(Cursor::new(bytes))).unwrap()
}

fn short() -> Town {
    Town {
        seconds: 12,
        ..Town::default()
    }
}

/// The trace with chunk `number` taken apart, changed and closed again; the chain and the summary
/// are then made to fit, so that nothing but the change is wrong.
fn with(number: usize, change: impl Fn(&mut Forge)) -> Vec<u8> {
    let mut chunks: Vec<Vec<u8>> = short()
        .chunks()
        .iter()
        .map(|chunk| chunk.bytes.to_vec())
        .collect();
    let mut prev_hash = [0; 32];
    for (index, chunk) in chunks.iter_mut().enumerate() {
        let mut forge = Forge::open(chunk);
        if index == number {
            change(&mut forge);
        }
        forge.fixed[88..120].copy_from_slice(&prev_hash);
        *chunk = forge.close();
        prev_hash = SealedChunk::from_bytes(chunk.clone()).unwrap().header.hash;
    }
    let sealed: Vec<SealedChunk> = chunks
        .into_iter()
        .map(|chunk| SealedChunk::from_bytes(chunk).unwrap())
        .collect();
    trace_of(&sealed)
}

/// The trace with more in its last chunk than a recorder would write.
fn and(more: impl Fn(&mut ChunkBuilder, &mut u64)) -> Vec<u8> {
    let town = short();
    let mut builder = ChunkBuilder::new(UUID, Limits::default());
    let mut seq = 0;
    let mut chunks = Vec::new();
    for second in 0..town.seconds {
        if second + 1 == town.seconds {
            more(&mut builder, &mut seq);
        }
        town.second(second, &mut builder, &mut seq);
        chunks.push(builder.seal(town.at(second + 1, 0)));
    }
    trace_of(&chunks)
}

/// The trace with its summary changed and hashed again.
fn summary(change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let chunks = short().chunks();
    let whole = trace_of(&chunks);
    let start: usize = chunks.iter().map(|chunk| chunk.bytes.len()).sum();
    let len = 8 + u32::from_le_bytes(whole[start + 4..start + 8].try_into().unwrap()) as usize;
    let mut frame = whole[start..start + len].to_vec();
    change(&mut frame);
    let hash = blake3::hash(&frame[8..len - 32]);
    frame[len - 32..].copy_from_slice(hash.as_bytes());
    [&whole[..start], &frame, &whole[start + len..]].concat()
}

/// Where the payload of a part begins in a frame.
fn part(frame: &[u8], wanted: u16) -> usize {
    let mut at = 8 + 120;
    loop {
        let tag = u16::from_le_bytes(frame[at..at + 2].try_into().unwrap());
        let len = u32::from_le_bytes(frame[at + 2..at + 6].try_into().unwrap()) as usize;
        if tag == wanted {
            return at + 6;
        }
        at += 6 + len;
    }
}

fn counts(forge: &mut Forge) -> &mut Vec<u8> {
    &mut forge.parts.iter_mut().find(|(tag, _)| *tag == 4).unwrap().1
}

fn last_second() -> u64 {
    short().at(11, 0)
}

fn provenance() -> Provenance {
    Provenance {
        action: "recover".into(),
        sources: vec![ProvenanceSource::default()],
        ..Provenance::default()
    }
}

type Wrong = fn() -> Vec<u8>;

const TABLE: &[(&str, Wrong)] = &[
    ("damaged", || {
        let chunks = short().chunks();
        let mut bytes = trace_of(&chunks);
        bytes[chunks[0].bytes.len() + 300] ^= 1;
        bytes
    }),
    ("truncated", || {
        let chunks = short().chunks();
        let end: usize = chunks.iter().map(|chunk| chunk.bytes.len()).sum();
        trace_of(&chunks)[..end - 9].to_vec()
    }),
    ("numbers", || {
        let mut chunks = short().chunks();
        let whole = trace_of(&chunks);
        let gone = chunks.remove(3);
        let start: usize = chunks[..3].iter().map(|chunk| chunk.bytes.len()).sum();
        [&whole[..start], &whole[start + gone.bytes.len()..]].concat()
    }),
    ("repeated", || {
        let chunks = short().chunks();
        let whole = trace_of(&chunks);
        let first = chunks[0].bytes.len();
        [&whole[..first], &whole[..]].concat()
    }),
    ("one-trace", || {
        let mut other = ChunkBuilder::new([9; 16], Limits::default());
        let chunks = short().chunks();
        let whole = trace_of(&chunks);
        let first = chunks[0].bytes.len();
        [&whole[..first], &other.seal(1).bytes[..], &whole[first..]].concat()
    }),
    ("chain", || {
        let chunks = short().chunks();
        let whole = trace_of(&chunks);
        let first = chunks[0].bytes.len();
        let mut forge = Forge::open(&chunks[0].bytes);
        forge.fixed[18] = 1;
        [&forge.close()[..], &whole[first..]].concat()
    }),
    ("decodes", || with(2, |forge| forge.sections.clear())),
    ("families", || {
        and(|builder, _| {
            let body = Context::Unknown {
                kind: 900,
                payload: vec![1],
            };
            put(builder, last_second(), body);
        })
    }),
    ("cgroups", || with(2, |forge| forge.parts[1].1[8] ^= 1)),
    ("processes", || {
        with(2, |forge| {
            let part = forge.parts.iter_mut().find(|(tag, _)| *tag == 6);
            part.unwrap().1[8] ^= 1;
        })
    }),
    ("sequences", || with(2, |forge| forge.parts[2].1[11] ^= 1)),
    ("records", || with(2, |forge| counts(forge)[20] ^= 1)),
    ("late-rows", || with(2, |forge| counts(forge)[16] ^= 1)),
    ("checkpoint-flag", || {
        with(2, |forge| counts(forge)[28] ^= 1)
    }),
    ("loss-total", || with(2, |forge| counts(forge)[0] ^= 1)),
    ("time-range", || {
        with(2, |forge| {
            forge.fixed[64..72].copy_from_slice(&START.to_le_bytes())
        })
    }),
    ("watermark", || {
        with(2, |forge| {
            forge.fixed[80..88].copy_from_slice(&7u64.to_le_bytes())
        })
    }),
    ("late", || {
        and(|builder, seq| push(builder, seq, START, WEB_PID, WEB, town::read()))
    }),
    ("dictionary-duplicate", || {
        with(2, |forge| {
            let section = forge.section(2);
            let count = section.rows as usize;
            let first = u32::from_le_bytes(section.payload[..4].try_into().unwrap()) as usize;
            let text = section.payload[4 * count..4 * count + first].to_vec();
            section
                .payload
                .splice(4 * count..4 * count, (first as u32).to_le_bytes());
            section.payload.extend(text);
            section.rows += 1;
        })
    }),
    ("dictionary-unused", || {
        with(2, |forge| {
            let section = forge.section(2);
            let count = section.rows as usize;
            section
                .payload
                .splice(4 * count..4 * count, 3u32.to_le_bytes());
            section.payload.extend(b"who");
            section.rows += 1;
        })
    }),
    ("checkpoint", || {
        and(|builder, _| {
            for body in [
                Context::CheckpointBegin,
                Context::Tick,
                Context::CheckpointEnd,
            ] {
                put(builder, last_second(), body);
            }
        })
    }),
    ("context-order", || {
        and(|builder, _| put(builder, START, Context::Tick))
    }),
    ("clock", || {
        and(|builder, _| put(builder, last_second(), Context::Clock(short().clock(9_000))))
    }),
    ("clock-step", || {
        and(|builder, _| {
            let mut clock = short().clock(11);
            clock.wall_ns += 3 * SECOND;
            put(builder, last_second(), Context::Clock(clock));
        })
    }),
    ("host", || {
        and(|builder, _| put(builder, last_second(), Context::Host(Host::default())))
    }),
    ("probes", || {
        and(|builder, _| {
            builder.push(Event {
                probe: 77,
                ..event_at(last_second(), WEB_PID, WEB, town::read())
            });
        })
    }),
    ("container", || {
        and(|builder, _| {
            let container = Container {
                cgroup_id: WEB,
                cgroup_path: "/elsewhere".into(),
                ..Container::default()
            };
            put(builder, last_second(), Context::Container(container));
        })
    }),
    ("cgroup-unknown", || {
        and(|builder, seq| push(builder, seq, last_second(), 5, 4_242, town::read()))
    }),
    ("provenance", || {
        and(|builder, _| put(builder, last_second(), Context::Provenance(provenance())))
    }),
    ("discard", || {
        let mut builder = ChunkBuilder::new(provenance().trace_uuid(), Limits::default());
        put(&mut builder, 5, Context::Provenance(provenance()));
        put(&mut builder, 5, Context::Discard(Discard::default()));
        trace_of(&[builder.seal(5)])
    }),
    ("loss-back", || {
        and(|builder, _| {
            let loss = Loss {
                counts: vec![LossCount {
                    cpu: 1,
                    probe: 2,
                    seen: 3,
                    dropped: 0,
                    filtered: 0,
                }],
            };
            put(builder, last_second(), Context::Loss(loss));
        })
    }),
    ("duplicate-event", || {
        and(|builder, _| {
            for _ in 0..3 {
                builder.push(Event {
                    cpu: 3,
                    seq: 5,
                    ..event_at(last_second(), WEB_PID, WEB, town::read())
                });
            }
        })
    }),
    ("loss-account", || {
        // One number is passed over, and no counter says that an event was dropped.
        and(|_, seq| *seq += 1)
    }),
    ("summary", || {
        let chunks = short().chunks();
        chunks
            .iter()
            .flat_map(|chunk| chunk.bytes.to_vec())
            .collect()
    }),
    ("summary-chunks", || summary(|frame| frame[64] ^= 1)),
    ("summary-totals", || {
        summary(|frame| {
            let at = part(frame, 3);
            frame[at] ^= 1;
        })
    }),
    ("summary-index", || {
        summary(|frame| {
            // First entry: after the count, the offset.
            let at = part(frame, 4) + 8;
            frame[at] ^= 1;
        })
    }),
    ("seek-table", || {
        let mut bytes = short().trace();
        let end = bytes.len();
        bytes[end - 20] ^= 1;
        bytes
    }),
];

#[test]
fn every_check_finds_what_it_is_for() {
    for (name, wrong) in TABLE {
        let diagnosis = examined(wrong());
        let Some(finding) = diagnosis
            .findings
            .iter()
            .find(|finding| finding.check.name == *name)
        else {
            panic!("{name} finds nothing; found: {:#?}", diagnosis.findings)
        };
        assert!(
            !finding.expected.is_empty() && !finding.found.is_empty(),
            "{finding:?}"
        );
    }
}

#[test]
fn every_check_has_a_row_and_every_row_a_check() {
    for check in checks::ALL {
        assert!(
            TABLE.iter().any(|(name, _)| *name == check.name),
            "no row for {}",
            check.name
        );
    }
    for (name, _) in TABLE {
        assert!(
            checks::ALL.iter().any(|check| check.name == *name),
            "no check {name}"
        );
    }
    assert_eq!(TABLE.len(), checks::ALL.len());
}

#[test]
fn a_sound_trace_has_no_findings() {
    for town in [short(), Town::default()] {
        let diagnosis = examined(town.trace());
        assert_eq!(diagnosis.findings, []);
        assert_eq!(diagnosis.chunks, town.seconds);
    }
}

/// A rotated part: its first Loss record says what the parts before it held.
#[test]
fn the_account_of_a_trace_that_begins_later_begins_there() {
    let town = short();
    let mut before = ChunkBuilder::new(UUID, Limits::default());
    let mut seq = 0;
    town.second(0, &mut before, &mut seq);
    let made = |seen: u64| {
        let mut builder = ChunkBuilder::new(UUID, Limits::default());
        let mut seq = seq;
        let counts = vec![LossCount {
            cpu: 1,
            probe: 2,
            seen,
            dropped: 1,
            filtered: 0,
        }];
        put(&mut builder, town.at(10, 0), Context::Loss(Loss { counts }));
        let chunks: Vec<SealedChunk> = (10..12)
            .map(|second| {
                town.second(second, &mut builder, &mut seq);
                builder.seal(town.at(second + 1, 0))
            })
            .collect();
        examined(trace_of(&chunks))
    };
    assert_eq!(made(seq).findings, []);
    // The same, with a number too few: an event would be missing.
    let [finding] = &made(seq - 1).findings[..] else {
        panic!("one finding")
    };
    assert_eq!(finding.check, &checks::LOSS_ACCOUNT);
}

/// The forging above must not be what is found: taking a chunk apart and closing it changes nothing.
#[test]
fn a_chunk_that_is_only_closed_again_has_no_findings() {
    assert_eq!(examined(with(2, |_| {})).findings, []);
    assert_eq!(examined(and(|_, _| {})).findings, []);
    assert_eq!(examined(summary(|_| {})).findings, []);
}

#[test]
fn findings_of_one_check_are_bounded_and_the_rest_is_counted() {
    let diagnosis = examined(and(|builder, _| {
        for _ in 0..LISTED_MAX + 5 {
            put(builder, last_second(), Context::Clock(short().clock(9_000)));
        }
    }));
    let listed = diagnosis
        .findings
        .iter()
        .filter(|finding| finding.check.name == "clock")
        .count();
    assert_eq!(listed, LISTED_MAX);
    let more = diagnosis
        .not_listed
        .iter()
        .find(|(name, _)| *name == "clock")
        .unwrap()
        .1;
    assert!(more >= 5, "{more}");
}

/// Damage anywhere: an answer, never a panic.
#[test]
fn the_doctor_survives_every_patient() {
    let bytes = trace_of(&small_chunks(3, 5));
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x41;
        if let Ok(diagnosis) = diagnose(TraceReader::from_read(Cursor::new(damaged))) {
            assert!(diagnosis.worst().is_some(), "byte {at}");
        }
    }
}
