//! Captures that the targets of the scap importer start from: one of every list and every event type,
//! and, where the shared captures are there, small slices of real ones.

use std::{collections::HashSet, fs, path::Path};

use anyhow::{Context, Result};

const SECTION: u32 = 0x0a0d_0d0a;
/// Event blocks of version 2: of any type, and of those whose lengths have 32 bits.
const EVENTS: [u32; 2] = [0x216, 0x221];
const LARGE_TYPES: [u16; 3] = [322, 324, 402];
/// Event types in one made capture: enter and exit side by side.
const TYPES_EACH: usize = 16;
/// Bytes of a real list that are kept: some records, the last one cut.
const LIST_BYTES: usize = 2_048;
/// Bytes of a slice: what the fuzzer takes.
const SLICE_BYTES_MAX: usize = 48 << 10;

pub fn seeds(root: &Path) -> Result<Vec<Vec<u8>>> {
    let table = root.join("replay/src/import/scap/events.txt");
    let table =
        fs::read_to_string(&table).with_context(|| format!("cannot read {}", table.display()))?;
    let mut seeds = vec![[start(), lists()].concat()];
    let types: Vec<&str> = table
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    for some in types.chunks(TYPES_EACH) {
        let events = some.iter().filter_map(|line| event(line));
        seeds.push([start(), events.collect::<Vec<_>>().concat()].concat());
    }
    let mut real = Vec::new();
    captures(&root.join("../shared/data/scap"), &mut real);
    real.sort();
    for path in real {
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        // Packed ones hold nothing that these do not.
        if bytes.starts_with(&SECTION.to_le_bytes()) {
            seeds.push(slice(&bytes));
        }
    }
    Ok(seeds)
}

fn captures(directory: &Path, found: &mut Vec<std::path::PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            captures(&path, found);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "scap")
        {
            found.push(path);
        }
    }
}

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let total = (12 + body.len().next_multiple_of(4)) as u32;
    let mut bytes = [kind.to_le_bytes(), total.to_le_bytes()].concat();
    bytes.extend(body);
    bytes.resize(total as usize - 4, 0);
    bytes.extend(total.to_le_bytes());
    bytes
}

/// Section header and machine.
fn start() -> Vec<u8> {
    let section = [
        &0x1a2b_3c4d_u32.to_le_bytes()[..],
        &[1, 0, 2, 0],
        &[0xff; 8],
    ];
    let mut machine = [2u32.to_le_bytes().to_vec(), vec![1; 16]].concat();
    machine.extend(b"host");
    machine.resize(180, 0);
    [block(SECTION, &section.concat()), block(0x201, &machine)].concat()
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_le_bytes()[..], text.as_bytes()].concat()
}

/// With its length in front, which counts itself.
fn sized(record: Vec<u8>) -> Vec<u8> {
    [&(record.len() as u32 + 4).to_le_bytes()[..], &record].concat()
}

/// One of each state list, in its newest version and, for processes, in the first.
fn lists() -> Vec<u8> {
    const THREAD: u64 = 7;
    let numbers = |count: usize| THREAD.to_le_bytes().repeat(count);
    let newest = sized(
        [
            numbers(5),
            text("sh"),
            text("sh"),
            text("/bin/sh"),
            text("-c\0ls\0"),
            text("/"),
            numbers(1),
            vec![0; 24],
            numbers(2),
            text("A=b\0"),
            numbers(2),
            text(&format!("cpu=/docker/{}\0", "5e".repeat(32))),
            text("/"),
            vec![0; 76],
        ]
        .concat(),
    );
    let first = [
        numbers(3),
        text("sh"),
        text("/bin/sh"),
        text(""),
        text("/"),
        numbers(1),
        vec![0; 12],
    ]
    .concat();
    let descriptor = |ty: u8, payload: &[u8]| {
        let head = [&3i64.to_le_bytes()[..], &9u64.to_le_bytes(), &[ty]].concat();
        sized([&head[..], payload].concat())
    };
    let descriptors = [
        THREAD.to_le_bytes().to_vec(),
        descriptor(3, &[1; 13]),
        descriptor(4, &[1; 37]),
        descriptor(5, &[1; 7]),
        descriptor(6, &[1; 19]),
        descriptor(7, &text("pipe")),
        descriptor(8, &[numbers(2), text("/run/s")].concat()),
        descriptor(16, &[vec![1; 4], text("/etc/passwd"), vec![1; 4]].concat()),
    ];
    let address = [text("eth0"), vec![1; 4 * 3 + 8]].concat();
    let interface = [&1u16.to_le_bytes()[..], &address].concat();
    let interface = [&(interface.len() as u32).to_le_bytes()[..], &interface].concat();
    let users = [
        sized([vec![0; 9], text("root"), text("/root"), text("/bin/sh")].concat()),
        sized([vec![1; 5], text("daemon")].concat()),
    ];
    [
        block(0x219, &interface),
        block(0x220, &users.concat()),
        block(0x215, &newest),
        block(0x202, &first),
        block(0x218, &descriptors.concat()),
    ]
    .concat()
}

/// An event of the type that a line of the table describes, each parameter as wide as it has to be.
fn event(line: &str) -> Option<Vec<u8>> {
    const WALL_NS: u64 = 1_700_000_000_000_000_000;
    let mut words = line.split(' ');
    let number: u16 = words.next()?.parse().ok()?;
    let parameters: Vec<Vec<u8>> = words
        .skip(3)
        .filter_map(|word| {
            let ty = word.split_once(':')?.1;
            Some(match ty {
                "charbuf" | "fspath" | "fsrelpath" => b"/a\0".to_vec(),
                // A connection of IPv4; for everything else some bytes.
                "socktuple" => vec![2, 127, 0, 0, 1, 1, 0, 127, 0, 0, 1, 2, 0],
                "bytebuf" | "sockaddr" | "fdlist" | "dyn" => vec![1; 7],
                _ => match ty.trim_end_matches(|c: char| !c.is_ascii_digit()) {
                    wide if wide.ends_with('8') => vec![1],
                    wide if wide.ends_with("16") => vec![1; 2],
                    wide if wide.ends_with("32") => vec![1; 4],
                    _ => vec![1, 0, 0, 0, 0, 0, 0, 0],
                },
            })
        })
        .collect();
    let large = LARGE_TYPES.contains(&number);
    let width = if large { 4 } else { 2 };
    let lengths: Vec<u8> = parameters
        .iter()
        .flat_map(|bytes| (bytes.len() as u32).to_le_bytes()[..width].to_vec())
        .collect();
    let values = parameters.concat();
    let mut body = 1u16.to_le_bytes().to_vec();
    body.extend((WALL_NS + u64::from(number)).to_le_bytes());
    body.extend(7u64.to_le_bytes());
    body.extend((26 + lengths.len() as u32 + values.len() as u32).to_le_bytes());
    body.extend(number.to_le_bytes());
    body.extend((parameters.len() as u32).to_le_bytes());
    body.extend(lengths);
    body.extend(values);
    Some(block(EVENTS[usize::from(large)], &body))
}

/// A real capture made small: its lists cut short, and the first event of each type.
fn slice(mut bytes: &[u8]) -> Vec<u8> {
    let mut slice = Vec::new();
    let mut seen = HashSet::new();
    while let [a, b, c, d, e, f, g, h, ..] = *bytes {
        let kind = u32::from_le_bytes([a, b, c, d]);
        let total = u32::from_le_bytes([e, f, g, h]) as usize;
        if total < 12 || total > bytes.len() {
            break;
        }
        let body = &bytes[8..total - 4];
        bytes = &bytes[total..];
        let event = matches!(kind, 0x204 | 0x208 | 0x216 | 0x217 | 0x221 | 0x222);
        // The type stands behind CPU, time, thread and length.
        let wanted = !event || body.get(22..24).is_some_and(|ty| seen.insert(ty.to_vec()));
        let kept = if event {
            body
        } else {
            &body[..body.len().min(LIST_BYTES)]
        };
        if wanted && slice.len() + kept.len() + 16 <= SLICE_BYTES_MAX {
            slice.extend(block(kind, kept));
        }
    }
    slice
}
