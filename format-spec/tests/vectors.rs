//! `vectors/`: the format in files, each with a twin of JSON lines that says what is in it, for anyone
//! who writes a reader. The tests read every file and compare; a file without a twin, a twin without a
//! file, or a file that no line below makes, fails.
//!
//! After a change of the format: `TRACE_VECTORS=write cargo test -p trace-format --test vectors`,
//! and look at what changed.

mod support;

use std::{collections::BTreeMap, fs, path::PathBuf};

use support::{forge::*, stored::stored_lines, *};
use trace_format::*;

fn directory() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/vectors"))
}

/// Signs the signed vector.
const KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEIFirFzlBlk8frY2fQXHWVRkUbTJB+CKX4DBAVpTRv4xW\n\
    -----END PRIVATE KEY-----\n";

/// Name without extension → bytes. The names list what a vector exercises.
fn vectors() -> BTreeMap<&'static str, Vec<u8>> {
    let mut all = BTreeMap::new();
    let three = small_chunks(3, 5);
    let whole = trace_of(&three);
    let chunk = |builder: ChunkBuilder| trace_of(&[{ builder }.seal(10_000)]);
    let build = |fill: &dyn Fn(&mut ChunkBuilder)| {
        let mut builder = support::builder();
        fill(&mut builder);
        chunk(builder)
    };
    let forged = |change: &dyn Fn(&mut Forge)| {
        let mut forge = Forge::open(&three[0].bytes);
        change(&mut forge);
        forge.close()
    };

    all.insert(
        "valid/three-chunks_three-threads_summary_seek-table",
        whole.clone(),
    );
    all.insert(
        "valid/every-family_negative-numbers_extreme-values",
        build(&|builder| {
            for (row, data) in support::sample::one_of_each().into_iter().enumerate() {
                builder.push(Event {
                    data,
                    ..read_call(5_000 - row as u64, 1, row as u64)
                });
            }
        }),
    );
    all.insert(
        "valid/every-context-record_checkpoint_loss",
        build(&|builder| {
            support::sample::one_of_each_context()
                .into_iter()
                .for_each(|record| builder.context(record).unwrap());
        }),
    );
    all.insert(
        "valid/dictionary_not-utf8_empty-text_backslash",
        build(&|builder| {
            for (row, text) in [
                &b"/etc/passwd"[..],
                b"",
                b"\xff\xfe/x",
                b"a\\b",
                b"/etc/passwd",
            ]
            .into_iter()
            .enumerate()
            {
                let data = EventData::Cgroup(CgroupChange {
                    id: row as u64,
                    path: Text::new(text),
                    removed: row % 2 == 1,
                });
                builder.push(Event {
                    data,
                    ..read_call(row as u64, 1, row as u64)
                });
            }
        }),
    );
    all.insert(
        "valid/sequence-hole_two-cpus_probe-zero",
        build(&|builder| {
            for (row, (cpu, probe, seq)) in [(0, 1, 4), (1, 1, 0), (0, 1, 7), (0, 0, 0), (1, 1, 1)]
                .into_iter()
                .enumerate()
            {
                builder.push(Event {
                    cpu,
                    probe,
                    ..read_call(row as u64, 1, seq)
                });
            }
        }),
    );
    all.insert("valid/late-rows_equal-times", {
        let mut builder = ChunkBuilder::new(UUID, Limits::default());
        builder.push(read_call(100, 1, 0));
        let first = builder.seal(90);
        for (seq, boot_ns, tid) in [(1, 80, 2), (2, 100, 1), (3, 100, 2), (4, 100, 1)] {
            builder.push(read_call(boot_ns, tid, seq));
        }
        trace_of(&[first, builder.seal(101)])
    });
    all.insert("valid/signed_second-chunk_summary", {
        let key = std::sync::Arc::new(SigningKey::from_pem(KEY).unwrap());
        let mut builder = ChunkBuilder::new(UUID, Limits::default());
        builder.sign_with(key.clone());
        let mut writer = TraceWriter::new(Vec::new());
        writer.sign_with(key);
        for row in 0..3 {
            builder.push(read_call(row * 1000, 1, row));
            writer.write(&builder.seal(row * 1000)).unwrap();
        }
        writer.finish().unwrap()
    });
    all.insert(
        "valid/no-events_no-context",
        chunk(ChunkBuilder::new(UUID, Limits::default())),
    );
    all.insert(
        "valid/unfinished_no-summary",
        three
            .iter()
            .flat_map(|chunk| chunk.bytes.to_vec())
            .collect(),
    );
    all.insert(
        "valid/newer_unknown-column_section_part_minor",
        forged(&|forge| {
            forge.fixed[18] = 9;
            forge.parts.push((999, vec![1, 2, 3]));
            forge.sections.push(Section {
                kind: 1,
                encoding: 200,
                family: 1,
                column: 500,
                rows: 5,
                payload: vec![9; 7],
            });
            forge.sections.push(Section {
                kind: 99,
                encoding: 0,
                family: 0,
                column: 0,
                rows: 0,
                payload: vec![8; 3],
            });
        }),
    );
    all.insert("valid/newer_unknown-record_appended-field", {
        let mut builder = ChunkBuilder::new(UUID, Limits::default());
        builder
            .context(ContextRecord {
                boot_ns: 1,
                body: Context::User(User {
                    uid: 5,
                    name: "u".into(),
                }),
            })
            .unwrap();
        builder
            .context(ContextRecord {
                boot_ns: 2,
                body: Context::Unknown {
                    kind: 700,
                    payload: vec![1, 2],
                },
            })
            .unwrap();
        let mut forge = Forge::open(&builder.seal(3).bytes);
        let context = forge.section(3);
        let len = u32::from_le_bytes(context.payload[2..6].try_into().unwrap());
        context.payload[2..6].copy_from_slice(&(len + 2).to_le_bytes());
        let end = 14 + len as usize;
        context.payload.splice(end..end, [7, 7]);
        forge.close()
    });
    all.insert(
        "valid/newer_unknown-family",
        forged(&|forge| {
            forge
                .sections
                .iter_mut()
                .filter(|section| section.family == 1)
                .for_each(|section| section.family = 321);
            forge.column(0, 8).payload = [&[2], [65; 5].as_slice(), &[1; 5]].concat();
            forge.parts[0].1[8..10].copy_from_slice(&321u16.to_le_bytes());
        }),
    );
    all.insert("valid/newer_declared-family_unknown-encoding", {
        let mut builder = support::builder();
        builder.push(read_call(1, 1, 0));
        builder.push(Event {
            data: support::sample::declared(1, []),
            ..read_call(2, 1, 1)
        });
        builder.push(Event {
            data: support::sample::first_declared(),
            ..read_call(3, 1, 2)
        });
        let mut forge = Forge::open(&builder.seal(4).bytes);
        // The first field's encoding: behind the type's name, the number of fields, its name and type.
        let record = &mut forge.section(3).payload;
        let name = record
            .windows(4)
            .position(|bytes| bytes == b"size")
            .unwrap();
        record[name + 5] = 77;
        forge.close()
    });
    all.insert("valid/newer_unknown-frame-kind", {
        let unknown = forged(&|forge| forge.fixed[20] = 9);
        [&three[0].bytes[..], &unknown, &three[1].bytes].concat()
    });

    let second = three[0].bytes.len();
    let third = second + three[1].bytes.len();
    all.insert("damaged/cut-in-last-chunk", whole[..third + 200].to_vec());
    all.insert("damaged/bit-flipped-in-second-body", {
        let mut bytes = whole.clone();
        bytes[third - 5] ^= 4;
        bytes
    });
    all.insert("damaged/first-chunk-zeroed", {
        let mut bytes = whole.clone();
        bytes[..second].fill(0);
        bytes
    });
    all.insert(
        "damaged/second-chunk-missing",
        [&whole[..second], &whole[third..]].concat(),
    );
    all.insert(
        "damaged/second-chunk-twice",
        [&whole[..third], &whole[second..]].concat(),
    );
    all.insert("damaged/chunk-of-another-trace", {
        let mut other = ChunkBuilder::new([9; 16], Limits::default());
        other.push(read_call(1, 1, 0));
        [&whole[..second], &other.seal(2).bytes, &whole[second..]].concat()
    });
    all.insert("damaged/first-chunk-rewritten_chain-broken", {
        let changed = forged(&|forge| forge.fixed[80] ^= 1);
        [&changed, &whole[second..]].concat()
    });
    all.insert("damaged/seek-table-cut", whole[..whole.len() - 3].to_vec());

    all.insert("invalid/empty", Vec::new());
    all.insert("invalid/text", b"This is not a trace.\n".to_vec());
    all.insert(
        "invalid/other-zstd-file",
        zstd::encode_all(&b"not ours"[..], 3).unwrap(),
    );
    all.insert("invalid/future-major", forged(&|forge| forge.fixed[16] = 2));
    all
}

#[test]
fn every_vector_reads_as_its_twin_says() {
    let made = vectors();
    let path = |name: &str, extension: &str| directory().join(format!("{name}.{extension}"));
    if std::env::var("TRACE_VECTORS").is_ok_and(|value| value == "write") {
        for (name, bytes) in &made {
            fs::create_dir_all(path(name, "zst").parent().unwrap()).unwrap();
            fs::write(path(name, "zst"), bytes).unwrap();
            fs::write(path(name, "jsonl"), stored_lines(bytes)).unwrap();
        }
    }
    for (name, made) in &made {
        let read = |extension| {
            fs::read(path(name, extension))
                .unwrap_or_else(|error| panic!("{name}.{extension}: {error}"))
        };
        let twin = String::from_utf8(read("jsonl")).unwrap();
        assert_eq!(
            stored_lines(&read("zst")),
            twin,
            "{name}: what is read from the file"
        );
        assert_eq!(
            stored_lines(made),
            twin,
            "{name}: what today's writer would make of it"
        );
    }
}

#[test]
fn no_vector_is_without_a_line_that_makes_it() {
    let made = vectors();
    let mut files = 0;
    for group in ["valid", "damaged", "invalid"] {
        for entry in fs::read_dir(directory().join(group)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let stem = name.rsplit_once('.').map_or(&name[..], |(stem, _)| stem);
            assert!(
                made.contains_key(format!("{group}/{stem}").as_str()),
                "vectors/{group}/{name} is in no test"
            );
            files += 1;
        }
    }
    assert_eq!(files, 2 * made.len(), "a trace and its twin each");
}
