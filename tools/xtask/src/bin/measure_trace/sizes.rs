//! What events weigh, as a trace and as rows, in all and for each kind alone.

use std::collections::btree_map::{BTreeMap, Entry};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use trace_format::{ChunkBuilder, ChunkSource, Limits, TraceReader, columns, family_of};

use crate::rows::Rows;

/// One kind's events, sealed as a trace of their own.
struct Kind {
    builder: ChunkBuilder,
    bytes: u64,
    rows: Rows,
}

impl Kind {
    fn new(level: i32) -> Result<Kind> {
        Ok(Kind {
            builder: ChunkBuilder::new([1; 16], Limits::default()),
            bytes: 0,
            rows: Rows::new(level)?,
        })
    }

    fn seal(&mut self) -> Result<()> {
        self.bytes += self.builder.seal(0).bytes.len() as u64;
        self.rows.seal()
    }
}

/// Reads the trace once; context records weigh in the file only.
pub fn sizes(trace: &Path) -> Result<Value> {
    let level = Limits::default().level;
    let mut all = Rows::new(level)?;
    let mut kinds: BTreeMap<u16, Kind> = BTreeMap::new();
    let mut reader = TraceReader::open(trace)?;
    while let Some(chunk) = reader.next_chunk()? {
        for event in chunk.decode()?.events {
            all.push(&event)?;
            let family = family_of(&event.data);
            if columns::family(family).is_none() {
                continue; // Declared by the trace: a builder would have to know its description.
            }
            let kind = match kinds.entry(family) {
                Entry::Occupied(kind) => kind.into_mut(),
                Entry::Vacant(place) => place.insert(Kind::new(level)?),
            };
            kind.rows.push(&event)?;
            kind.builder.push(event);
            if kind.builder.is_full() {
                kind.seal()?;
            }
        }
    }
    all.seal()?;
    let mut listed = Vec::new();
    for (family, mut kind) in kinds {
        kind.seal()?;
        listed.push(json!({
            "kind": columns::family(family).map(|family| family.name),
            "events": kind.rows.events,
            "trace_bytes": kind.bytes,
            "row_bytes": kind.rows.bytes,
        }));
    }
    let file_bytes = std::fs::metadata(trace)
        .with_context(|| format!("{}", trace.display()))?
        .len();
    Ok(json!({
        "events": all.events,
        "trace_bytes": file_bytes,
        "row_bytes": all.bytes,
        "kinds": listed,
    }))
}
