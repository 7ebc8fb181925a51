//! One chunk: what its header says against what is in it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::{Place, checks};
use crate::{ChunkHeader, Context, DecodedChunk, SealedChunk, SequenceRange, Value, header::MINOR};

/// What the header promises by itself.
pub(super) fn promises(header: &ChunkHeader, watermark_before_ns: u64, place: &mut Place<'_>) {
    if header.watermark_ns < watermark_before_ns {
        place.found(
            &checks::WATERMARK,
            format_args!("at least {watermark_before_ns}"),
            header.watermark_ns,
        );
    }
}

/// Header against body.
pub(super) fn contents(
    chunk: &SealedChunk,
    decoded: &DecodedChunk,
    watermark_before_ns: u64,
    place: &mut Place<'_>,
) {
    let header = &chunk.header;
    let minor = u16::from_le_bytes([chunk.bytes[26], chunk.bytes[27]]);
    let unknown_rows = header.rows as usize - decoded.events.len().min(header.rows as usize);
    let unknown_records = decoded
        .context
        .iter()
        .filter(|record| matches!(record.body, Context::Unknown { .. }))
        .count();
    if minor > MINOR || unknown_rows > 0 || unknown_records > 0 {
        place.found(
            &checks::FAMILIES,
            format_args!("version 1.{MINOR}, known families and records"),
            format_args!(
                "version 1.{minor}, {unknown_rows} events and {unknown_records} records unknown"
            ),
        );
    }
    place.equal(
        &checks::RECORDS,
        decoded.context.len(),
        header.records as usize,
    );
    times(decoded, place);
    checkpoint_flag(decoded, place);
    // The rest is about all rows: those of unknown families are not at hand.
    if unknown_rows == 0 {
        cgroups(decoded, place);
        processes(decoded, place);
        sequences(decoded, place);
        let late = decoded
            .events
            .iter()
            .filter(|event| event.boot_ns < watermark_before_ns)
            .count();
        place.equal(&checks::LATE_ROWS, late, header.late_rows as usize);
        if late > 0 {
            place.found(
                &checks::LATE,
                format_args!("no event before {watermark_before_ns}"),
                format_args!("{late} older ones"),
            );
        }
        dictionary(chunk, decoded, place);
    }
}

fn times(decoded: &DecodedChunk, place: &mut Place<'_>) {
    let header = &decoded.header;
    if (decoded.events.len() as u32) < header.rows {
        return;
    }
    let events = decoded.events.iter().map(|event| event.boot_ns);
    let context = decoded.context.iter().map(|record| record.boot_ns);
    let (mut first, mut last) = (u64::MAX, 0);
    for time in events.chain(context) {
        (first, last) = (first.min(time), last.max(time));
    }
    if first > last {
        (first, last) = (header.watermark_ns, header.watermark_ns);
    }
    place.equal(
        &checks::TIME_RANGE,
        (first, last),
        (header.first_ns, header.last_ns),
    );
}

fn checkpoint_flag(decoded: &DecodedChunk, place: &mut Place<'_>) {
    let mut open = false;
    let mut whole = false;
    for record in &decoded.context {
        match record.body {
            Context::CheckpointBegin => open = true,
            Context::CheckpointEnd => whole |= std::mem::take(&mut open),
            _ => {}
        }
    }
    place.equal(
        &checks::CHECKPOINT_FLAG,
        whole,
        decoded.header.has_checkpoint,
    );
}

fn cgroups(decoded: &DecodedChunk, place: &mut Place<'_>) {
    if decoded.header.cgroups_listed {
        let there: BTreeSet<u64> = decoded.events.iter().map(|event| event.cgroup_id).collect();
        let there: Vec<u64> = there.into_iter().collect();
        if there != decoded.header.cgroups {
            place.found(
                &checks::CGROUPS,
                short(&there),
                short(&decoded.header.cgroups),
            );
        }
    }
}

fn processes(decoded: &DecodedChunk, place: &mut Place<'_>) {
    if decoded.header.processes_listed {
        let there: BTreeSet<u64> = decoded
            .events
            .iter()
            .map(|event| event.pid.into())
            .collect();
        let there: Vec<u64> = there.into_iter().collect();
        let listed: Vec<u64> = decoded
            .header
            .processes
            .iter()
            .map(|pid| (*pid).into())
            .collect();
        if there != listed {
            place.found(&checks::PROCESSES, short(&there), short(&listed));
        }
    }
}

fn sequences(decoded: &DecodedChunk, place: &mut Place<'_>) {
    if !decoded.header.sequences_listed {
        return;
    }
    let mut ranges: BTreeMap<(u16, u8), SequenceRange> = BTreeMap::new();
    for event in decoded.events.iter().filter(|event| event.probe != 0) {
        let range = ranges
            .entry((event.cpu, event.probe))
            .or_insert(SequenceRange {
                cpu: event.cpu,
                probe: event.probe,
                first: event.seq,
                last: event.seq,
                rows: 0,
            });
        range.first = range.first.min(event.seq);
        range.last = range.last.max(event.seq);
        range.rows += 1;
    }
    let there: Vec<SequenceRange> = ranges.into_values().collect();
    let listed = &decoded.header.sequences;
    if there != *listed {
        // The first pair that differs says more than both lists.
        let differs = there.iter().zip(listed).position(|(a, b)| a != b);
        let at = differs.unwrap_or(there.len().min(listed.len()));
        let show = |list: &[SequenceRange]| match list.get(at) {
            Some(range) => format!("{range:?}"),
            None => format!("{} pairs", list.len()),
        };
        place.found(&checks::SEQUENCES, show(&there), show(listed));
    }
}

fn dictionary(chunk: &SealedChunk, decoded: &DecodedChunk, place: &mut Place<'_>) {
    // It has been decoded once: what fails here has been reported.
    let Ok(texts) = chunk.columns().and_then(|columns| columns.texts()) else {
        return;
    };
    // The first is the empty text, which is not stored.
    let mut stored = HashSet::new();
    let duplicates = texts[1..]
        .iter()
        .filter(|text| text.is_empty() || !stored.insert(&text[..]))
        .count();
    if duplicates > 0 {
        place.found(
            &checks::DICTIONARY_DUPLICATE,
            "every string once, none empty",
            format_args!("{duplicates} of {} again or empty", texts.len() - 1),
        );
    }
    let mut used = HashSet::new();
    for event in &decoded.events {
        for (_, value) in event.columns() {
            if let Value::Text(text) = value
                && !text.is_empty()
            {
                used.insert(text);
            }
        }
    }
    let unused = stored.iter().filter(|text| !used.contains(**text)).count();
    if unused > 0 {
        place.found(
            &checks::DICTIONARY_UNUSED,
            "every string used",
            format_args!("{unused} of {} not used", texts.len() - 1),
        );
    }
}

/// The beginning of a list of ids.
fn short(list: &[u64]) -> String {
    const SHOWN: usize = 8;
    let more = list.len().saturating_sub(SHOWN);
    let shown = &list[..list.len() - more];
    match more {
        0 => format!("{shown:?}"),
        _ => format!("{shown:?} and {more} more"),
    }
}
