//! How fast the codec is on real events: sealing, and reading back. The stages alternate, round by
//! round, so that a neighbour on the machine disturbs all of them alike.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use trace_format::{
    ChunkBuilder, ChunkSource, Event, Limits, SealedChunk, TraceReader, columns, time_order,
};

use crate::rows::Rows;

/// Enough for a second of work, little enough (200 MB) for the memory.
const EVENTS_MAX: usize = 1 << 20;

/// Events per second of every round.
#[derive(Default)]
struct Rates {
    seal: Vec<f64>,
    rows: Vec<f64>,
    decode: Vec<f64>,
    columns: Vec<f64>,
    times: Vec<f64>,
}

/// The first events of a trace, as many rounds as asked.
pub fn speed(trace: &Path, rounds: u32) -> Result<Value> {
    let mut events = Vec::new();
    let mut reader = TraceReader::open(trace)?;
    while events.len() < EVENTS_MAX
        && let Some(chunk) = reader.next_chunk()?
    {
        events.extend(chunk.decode()?.events);
    }
    ensure!(!events.is_empty(), "{} has no events", trace.display());
    let mut rates = Rates::default();
    let (mut times_of_chunk, mut column) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let rate = |begun: Instant| events.len() as f64 / begun.elapsed().as_secs_f64();

        let own = events.clone();
        let begun = Instant::now();
        let chunks = seal(own);
        rates.seal.push(rate(begun));

        let begun = Instant::now();
        let mut rows = Rows::new(Limits::default().level)?;
        events.iter().try_for_each(|event| rows.push(event))?;
        rows.seal()?;
        rates.rows.push(rate(begun));

        let begun = Instant::now();
        let mut decoded = 0;
        for chunk in &chunks {
            decoded += chunk.decode()?.events.len();
        }
        rates.decode.push(rate(begun));

        let begun = Instant::now();
        let mut values = 0;
        for chunk in &chunks {
            values += scan(chunk, &mut times_of_chunk, &mut column)?;
        }
        rates.columns.push(rate(begun));

        let begun = Instant::now();
        let mut times = 0;
        for chunk in &chunks {
            times += chunk.times()?.len();
        }
        rates.times.push(rate(begun));
        ensure!(
            values > times && times == events.len(),
            "{times} times of {} events, {values} values",
            events.len()
        );
        ensure!(
            decoded == events.len(),
            "{decoded} events of {}",
            events.len()
        );
    }
    Ok(json!({
        "events": events.len(),
        "seal": rates.seal,
        "rows": rates.rows,
        "decode": rates.decode,
        "columns": rates.columns,
        "times": rates.times,
    }))
}

/// Pushing is part of it: the columns are filled there.
fn seal(events: Vec<Event>) -> Vec<SealedChunk> {
    let mut builder = ChunkBuilder::new([1; 16], Limits::default());
    let mut chunks = Vec::new();
    for event in events {
        builder.push(event);
        if builder.is_full() {
            chunks.push(builder.seal(0));
        }
    }
    chunks.push(builder.seal(0));
    chunks
}

/// Every column of every row, strings and sequence numbers too, each put where the one before was.
/// How many values there were.
fn scan(chunk: &SealedChunk, times: &mut Vec<u64>, column: &mut Vec<u64>) -> Result<usize> {
    let chunk = chunk.columns()?;
    chunk.times_into(times)?;
    let mut values = times.len() + chunk.texts()?.len();
    for common in &columns::COMMON {
        match common.id {
            columns::TIME => continue,
            columns::SEQ => chunk.sequences_into(&time_order(times), column)?,
            id => chunk.common_into(id, column)?,
        }
        values += column.len();
    }
    for family in chunk.families(&chunk.context()?)? {
        let fields = columns::family(family.id).map_or(&[][..], |family| family.fields);
        for field in fields {
            if chunk.field_into(&family, field.id, column)? {
                values += column.len();
            }
        }
    }
    Ok(values)
}
