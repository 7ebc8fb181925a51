//! The sequence section: numbers that each (CPU, probe) hands out, predicted over all families.
//!
//! One probe feeds several families (an exit-side program writes Syscall, Open and SockCall rows), so
//! a column per family would never be dense. In (time, family, row) order a capture without loss
//! continues every pair by one: what is stored is the difference to that, all zeros. SPEC.md §Sequences.

use hashbrown::HashMap;

use crate::{
    Error,
    encoding::{get_planes, put_planes, unzigzag, zigzag},
    header::SequenceRange,
    limits::ROWS_MAX,
    wire::Cursor,
};

/// Who numbered a row: CPU and probe in one word. Probe 0 does not number: its rows are predicted as 0.
pub fn pair(cpu: u64, probe: u64) -> u32 {
    (cpu as u32) << 8 | probe as u32
}
fn numbers(pair: u32) -> bool {
    pair & 0xff != 0
}

/// The next expected number per pair, with the last pair at hand: rows come in runs.
struct Expected {
    slots: HashMap<u32, u32>,
    next: Vec<u64>,
    last: Option<(u32, u32)>,
}

impl Expected {
    fn slot(&mut self, pair: u32) -> Option<u32> {
        match self.last {
            Some((last, slot)) if last == pair => Some(slot),
            _ => {
                let slot = *self.slots.get(&pair)?;
                self.last = Some((pair, slot));
                Some(slot)
            }
        }
    }
}

/// Appends the section for rows given in stored order; `in_time` lists their indices in time order.
/// Returns the ranges for the header, ascending, and whether anything was written.
pub fn write(
    pairs: &[u32],
    seqs: &[u64],
    in_time: &[u32],
    out: &mut Vec<u8>,
) -> (Vec<SequenceRange>, bool) {
    let mut ranges: Vec<SequenceRange> = Vec::new();
    let mut expected = Expected {
        slots: HashMap::new(),
        next: Vec::new(),
        last: None,
    };
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    let mut differences = Vec::with_capacity(seqs.len());
    for row in in_time {
        let (pair, seq) = (pairs[*row as usize], seqs[*row as usize]);
        if !numbers(pair) {
            differences.push(zigzag(seq));
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
                expected.last = Some((pair, slot));
                out.extend_from_slice(&cpu.to_le_bytes());
                out.push(probe);
                out.extend_from_slice(&seq.to_le_bytes());
                slot
            }
        } as usize;
        differences.push(zigzag(seq.wrapping_sub(expected.next[slot])));
        expected.next[slot] = seq.wrapping_add(1);
        let range = &mut ranges[slot];
        range.first = range.first.min(seq);
        range.last = range.last.max(seq);
        range.rows += 1;
    }
    let any = !ranges.is_empty() || differences.iter().any(|difference| *difference != 0);
    if any {
        out[start..start + 4].copy_from_slice(&(ranges.len() as u32).to_le_bytes());
        put_planes(&differences, out);
    } else {
        out.truncate(start);
    }
    ranges.sort_unstable_by_key(|range| (range.cpu, range.probe));
    (ranges, any)
}

/// The reverse: the sequence number of each row of `in_time`, in that order.
pub fn read(bytes: &[u8], pairs: &[u32], in_time: &[u32]) -> Result<Vec<u64>, Error> {
    const WHAT: &str = "sequence section";
    let mut cursor = Cursor::new(WHAT, bytes);
    let count = cursor.u32()?;
    Error::limit("pairs of a sequence section", count.into(), ROWS_MAX.into())?;
    let mut starts = Cursor::new(WHAT, cursor.take(count as usize * 11)?);
    let mut expected = Expected {
        slots: HashMap::with_capacity(count as usize),
        next: Vec::with_capacity(count as usize),
        last: None,
    };
    for slot in 0..count {
        let (cpu, probe, first) = (starts.u16()?, starts.u8()?, starts.u64()?);
        expected.slots.insert(pair(cpu.into(), probe.into()), slot);
        expected.next.push(first);
    }
    let mut seqs = get_planes(cursor.take(cursor.left())?, in_time.len())?;
    for (seq, row) in seqs.iter_mut().zip(in_time) {
        let pair = pairs[*row as usize];
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
    Ok(seqs)
}
