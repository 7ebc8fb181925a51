//! The sequence section: numbers that each (CPU, probe) hands out, predicted over all families.
//!
//! One probe feeds several families (an exit-side program writes Syscall, Open and SockCall rows), so
//! a column per family would never be dense. In (time, row) order a capture without loss
//! continues every pair by one: what is stored is the difference to that, all zeros. SPEC.md §Sequences.

use hashbrown::HashMap;

use crate::{
    Error,
    encoding::{Encoder, Encoding, unzigzag, zigzag},
    header::SequenceRange,
    limits::ROWS_MAX,
    planes::{BLOCK, Planes},
    wire::Cursor,
};

/// Who numbered a row: CPU and probe in one word. Probe 0 does not number: its rows are predicted as 0.
pub fn pair(cpu: u64, probe: u64) -> u32 {
    (cpu as u32) << 8 | probe as u32
}
fn numbers(pair: u32) -> bool {
    pair & 0xff != 0
}

/// Pairs that are at hand without a search: those of a few CPUs alternate.
const CACHED: usize = 64;

/// The next expected number per pair.
struct Expected {
    slots: HashMap<u32, u32>,
    cached: [Option<(u32, u32)>; CACHED],
    next: Vec<u64>,
}

impl Expected {
    fn new() -> Self {
        Expected {
            slots: HashMap::new(),
            cached: [None; CACHED],
            next: Vec::new(),
        }
    }

    #[inline]
    fn slot(&mut self, pair: u32) -> Option<u32> {
        // Low bits of probe and CPU.
        let cached = &mut self.cached[(pair ^ pair >> 5) as usize % CACHED];
        match *cached {
            Some((known, slot)) if known == pair => Some(slot),
            _ => {
                let slot = *self.slots.get(&pair)?;
                *cached = Some((pair, slot));
                Some(slot)
            }
        }
    }
}

/// Appends the section for rows in order of time: their pairs and numbers. Returns the ranges for
/// the header, ascending, and whether anything was written.
pub fn write(
    rows: impl Iterator<Item = (u32, u64)>,
    encoder: &mut Encoder,
    out: &mut Vec<u8>,
) -> (Vec<SequenceRange>, bool) {
    let mut ranges: Vec<SequenceRange> = Vec::new();
    let mut expected = Expected::new();
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    encoder.begin(Encoding::Sequence);
    let (mut differences, mut filled) = ([0; BLOCK], 0);
    for (pair, seq) in rows {
        if filled == BLOCK {
            encoder.push(&mut differences, &[]);
            filled = 0;
        }
        let difference = &mut differences[filled];
        filled += 1;
        if !numbers(pair) {
            *difference = zigzag(seq);
            continue;
        }
        let slot = match expected.slot(pair) {
            Some(slot) => slot,
            None => {
                let slot = ranges.len() as u32;
                let (cpu, probe) = ((pair >> 8) as u16, pair as u8);
                ranges.push(SequenceRange {
                    cpu,
                    probe,
                    first: seq,
                    last: seq,
                    rows: 0,
                });
                expected.slots.insert(pair, slot);
                expected.next.push(seq);
                out.extend_from_slice(&cpu.to_le_bytes());
                out.push(probe);
                out.extend_from_slice(&seq.to_le_bytes());
                slot
            }
        } as usize;
        *difference = zigzag(seq.wrapping_sub(expected.next[slot]));
        expected.next[slot] = seq.wrapping_add(1);
        let range = &mut ranges[slot];
        range.first = range.first.min(seq);
        range.last = range.last.max(seq);
        range.rows += 1;
    }
    encoder.push(&mut differences[..filled], &[]);
    let any = if ranges.is_empty() {
        encoder.write(out)
    } else {
        out[start..start + 4].copy_from_slice(&(ranges.len() as u32).to_le_bytes());
        encoder.write_always(out);
        true
    };
    if !any {
        out.truncate(start);
    }
    ranges.sort_unstable_by_key(|range| (range.cpu, range.probe));
    (ranges, any)
}

/// The reverse: the sequence number of each row of `in_time`, in that order, put into `seqs`. `pair`
/// is that of a row.
pub fn read(
    bytes: &[u8],
    in_time: &[u32],
    pair_of: impl Fn(u32) -> u32,
    seqs: &mut Vec<u64>,
) -> Result<(), Error> {
    const WHAT: &str = "sequence section";
    let mut cursor = Cursor::new(WHAT, bytes);
    let count = cursor.u32()?;
    Error::limit("pairs of a sequence section", count.into(), ROWS_MAX.into())?;
    let mut starts = Cursor::new(WHAT, cursor.take(count as usize * 11)?);
    let mut expected = Expected::new();
    for slot in 0..count {
        let (cpu, probe, first) = (starts.u16()?, starts.u8()?, starts.u64()?);
        expected.slots.insert(pair(cpu.into(), probe.into()), slot);
        expected.next.push(first);
    }
    let planes = Planes::read(cursor.take(cursor.left())?, in_time.len())?;
    seqs.resize(in_time.len(), 0);
    for (number, (block, rows)) in seqs
        .chunks_mut(BLOCK)
        .zip(in_time.chunks(BLOCK))
        .enumerate()
    {
        planes.block(number * BLOCK, block);
        for (seq, row) in block.iter_mut().zip(rows) {
            let pair = pair_of(*row);
            if !numbers(pair) {
                *seq = unzigzag(*seq);
                continue;
            }
            let Some(slot) = expected.slot(pair) else {
                return Err(Error::malformed(
                    WHAT,
                    *row as usize,
                    "a start for every CPU and probe",
                    format_args!("none for CPU {} probe {}", pair >> 8, pair as u8),
                ));
            };
            let next = &mut expected.next[slot as usize];
            *seq = next.wrapping_add(unzigzag(*seq));
            *next = seq.wrapping_add(1);
        }
    }
    Ok(())
}
