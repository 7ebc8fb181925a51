//! What a trace stores, as JSON: one object for each header, record, event and issue, SPEC.md §JSON.
//!
//! Nothing is derived and nothing left out, so that two readers can be compared byte for byte: the
//! vectors' twins, `replay cat --raw` and the independent `reader.py` all print these objects. What
//! depends on zstd's version (sizes, offsets, hashes) is not in them.

use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::{
    ChunkHeader, Context, ContextRecord, DecodedChunk, Event, Issue, RowRef, Summary, Value,
    columns::COMMON,
};

/// One line. Serialises with its keys in SPEC.md's order.
pub enum Stored<'a> {
    Chunk(&'a ChunkHeader),
    Record(&'a ContextRecord),
    Event(&'a Event, RowRef),
    /// A chunk whose hash holds and whose content does not decode: none of it is handed out.
    Malformed {
        number: u64,
    },
    Summary(&'a Summary),
    Issue(&'a Issue),
}

impl DecodedChunk {
    /// The lines of a chunk: its header, its context records, its events in order.
    pub fn stored(&self) -> impl Iterator<Item = Stored<'_>> {
        std::iter::once(Stored::Chunk(&self.header))
            .chain(self.context.iter().map(Stored::Record))
            .chain(
                self.events
                    .iter()
                    .zip(&self.rows)
                    .map(|(event, row)| Stored::Event(event, *row)),
            )
    }
}

impl Serialize for Stored<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut line = serializer.serialize_map(None)?;
        match self {
            Stored::Chunk(header) => line.serialize_entry("chunk", &OfChunk(header))?,
            Stored::Record(record) => {
                line.serialize_entry("record", record.body.name())?;
                line.serialize_entry("at_ns", &record.boot_ns)?;
                line.serialize_entry("fields", &OfRecord(&record.body))?;
            }
            Stored::Event(event, row) => {
                line.serialize_entry("event", event.family_name())?;
                line.serialize_entry("row", &row.row)?;
                let columns = event.columns();
                // All common columns but the family, which is the event's name.
                let (common, fields) = columns.split_at(COMMON.len() - 1);
                for (name, value) in common {
                    line.serialize_entry(name, value)?;
                }
                line.serialize_entry("fields", &OfEvent(fields))?;
            }
            Stored::Malformed { number } => {
                line.serialize_entry("issue", &OfMalformed(*number))?;
            }
            Stored::Summary(summary) => line.serialize_entry("summary", &OfSummary(summary))?,
            Stored::Issue(issue) => line.serialize_entry("issue", &OfIssue(issue))?,
        }
        line.end()
    }
}

struct OfChunk<'a>(&'a ChunkHeader);

impl Serialize for OfChunk<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let header = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("number", &header.number)?;
        map.serialize_entry("first_ns", &header.first_ns)?;
        map.serialize_entry("last_ns", &header.last_ns)?;
        map.serialize_entry("watermark_ns", &header.watermark_ns)?;
        map.serialize_entry("rows", &header.rows)?;
        map.serialize_entry("records", &header.records)?;
        map.serialize_entry("late_rows", &header.late_rows)?;
        map.serialize_entry("texts_cut", &header.texts_cut)?;
        map.serialize_entry("has_checkpoint", &header.has_checkpoint)?;
        map.serialize_entry("seen", &header.loss.seen)?;
        map.serialize_entry("dropped", &header.loss.dropped)?;
        map.end()
    }
}

struct OfSummary<'a>(&'a Summary);

impl Serialize for OfSummary<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let summary = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("chunks", &summary.chunks)?;
        map.serialize_entry("first_ns", &summary.first_ns)?;
        map.serialize_entry("last_ns", &summary.last_ns)?;
        map.serialize_entry("watermark_ns", &summary.watermark_ns)?;
        map.serialize_entry("rows", &summary.rows)?;
        map.serialize_entry("records", &summary.records)?;
        map.serialize_entry("late_rows", &summary.late_rows)?;
        map.serialize_entry("texts_cut", &summary.texts_cut)?;
        map.serialize_entry("seen", &summary.loss.seen)?;
        map.serialize_entry("dropped", &summary.loss.dropped)?;
        let kinds: Vec<_> = summary
            .kinds
            .iter()
            .map(|total| (total.kind, total.rows))
            .collect();
        map.serialize_entry("kinds", &kinds)?;
        map.serialize_entry("cgroups", &summary.cgroups)?;
        map.serialize_entry("index", &summary.index.len())?;
        map.serialize_entry("index_complete", &summary.index_complete)?;
        map.serialize_entry("cgroups_complete", &summary.cgroups_complete)?;
        map.end()
    }
}

struct OfRecord<'a>(&'a Context);

impl Serialize for OfRecord<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Context::Host(body) => body.serialize(serializer),
            Context::Clock(body) => body.serialize(serializer),
            Context::Process(body) => body.serialize(serializer),
            Context::Container(body) => body.serialize(serializer),
            Context::Probes(body) => body.serialize(serializer),
            Context::Loss(body) => body.serialize(serializer),
            Context::Mark(body) => body.serialize(serializer),
            Context::User(body) => body.serialize(serializer),
            Context::Provenance(body) => body.serialize(serializer),
            Context::Discard(body) => body.serialize(serializer),
            Context::EventType(body) => body.serialize(serializer),
            Context::Origin(body) => body.serialize(serializer),
            Context::Continues(body) => body.serialize(serializer),
            Context::Continued(body) => body.serialize(serializer),
            Context::Drops(body) => body.serialize(serializer),
            Context::Tick | Context::CheckpointBegin | Context::CheckpointEnd => {
                serializer.serialize_map(Some(0))?.end()
            }
            Context::Unknown { kind, payload } => {
                let mut map = serializer.serialize_map(Some(2))?;
                map.serialize_entry("kind", kind)?;
                map.serialize_entry("payload", payload)?;
                map.end()
            }
        }
    }
}

struct OfEvent<'a>(&'a [(&'a str, Value)]);

impl Serialize for OfEvent<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Unsigned(number) => serializer.serialize_u64(*number),
            Value::Signed(number) => serializer.serialize_i64(*number),
            Value::Bool(flag) => serializer.serialize_bool(*flag),
            Value::Text(text) => text.serialize(serializer),
        }
    }
}

struct OfMalformed(u64);

impl Serialize for OfMalformed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("kind", "malformed")?;
        map.serialize_entry("number", &self.0)?;
        map.end()
    }
}

struct OfIssue<'a>(&'a Issue);

impl Serialize for OfIssue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let issue = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("kind", issue.what.name())?;
        if let Some(missing) = &issue.missing {
            map.serialize_entry("missing", &[missing.start(), missing.end()])?;
        }
        for (name, time) in [("after_ns", issue.after_ns), ("before_ns", issue.before_ns)] {
            if let Some(time) = time {
                map.serialize_entry(name, &time)?;
            }
        }
        map.end()
    }
}
