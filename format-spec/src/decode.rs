//! From columns to events in order of time.

use crate::{
    ContextRecord, Error, Event,
    column_chunk::{ColumnChunk, Layout, at, time_order},
    columns,
    header::ChunkHeader,
    rows::{take_declared, take_fields},
};

/// Where an event is stored, for evidence: its row in the chunk's table, and its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowRef {
    pub family: u16,
    pub row: u32,
}

/// A chunk's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedChunk {
    pub header: ChunkHeader,
    /// In the order they were written.
    pub context: Vec<ContextRecord>,
    /// In (time, row) order.
    pub events: Vec<Event>,
    /// Of the event at the same index.
    pub rows: Vec<RowRef>,
}

pub fn decode(chunk: ColumnChunk) -> Result<DecodedChunk, Error> {
    let texts = chunk.texts()?;
    let context = chunk.context()?;
    let times = chunk.times()?;
    let common = columns::COMMON
        .iter()
        .map(|column| match column.id {
            columns::TIME | columns::SEQ | columns::FAMILY => Ok(Vec::new()),
            id => chunk.stored_common(id),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let common_at = |id: u16, row: usize| at(&common[columns::position(id)], row);
    let families = chunk.families(&context)?;
    let mut fields = Vec::with_capacity(families.len());
    // Place of each row: its family, and its row there.
    let mut places = vec![(0u16, 0u32); chunk.rows()];
    for (index, family) in families.iter().enumerate() {
        for (family_row, row) in (0..).zip(&family.rows) {
            places[*row as usize] = (index as u16, family_row);
        }
        fields.push(chunk.fields(family, &common, texts.len())?);
    }
    let in_time = time_order(&times);
    let [cpus, probes] = [columns::CPU, columns::PROBE].map(|id| &common[columns::position(id)]);
    let seqs = chunk.sequences_of(&in_time, cpus, probes)?;

    let mut events = Vec::with_capacity(times.len());
    let mut refs = Vec::with_capacity(times.len());
    for (table_row, seq) in in_time.iter().zip(seqs) {
        let row = *table_row as usize;
        let (index, family_row) = places[row];
        let (family, fields) = (&families[index as usize], &fields[index as usize]);
        let data = match &family.layout {
            Layout::Native(_) => take_fields(family.id, fields, &texts, family_row as usize),
            Layout::Declared(ty) => take_declared(ty, fields, &texts, family_row as usize),
            Layout::Unknown => continue,
        };
        events.push(Event {
            boot_ns: times[row],
            cpu: common_at(columns::CPU, row) as u16,
            probe: common_at(columns::PROBE, row) as u8,
            seq,
            tid: common_at(columns::TID, row) as u32,
            pid: common_at(columns::PID, row) as u32,
            cgroup_id: common_at(columns::CGROUP_ID, row),
            data,
        });
        refs.push(RowRef {
            family: family.id,
            row: *table_row,
        });
    }
    Ok(DecodedChunk {
        header: chunk.into_header(),
        context,
        events,
        rows: refs,
    })
}
