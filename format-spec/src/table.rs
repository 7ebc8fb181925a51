//! The rows of the open chunk in order of arrival, and their way into sections.
//!
//! All rows stand in one table; the values of a family's own columns stand beside it, row after
//! row. Sealing puts the table into stored order (by thread, then time) once, for all of them, and
//! turns rows into columns block by block, so that each row is fetched once.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::{
    Error, Event, EventType, SequenceRange,
    body::Writer,
    columns::{self, COMMON, Column, FAMILIES, position},
    encoding::{Encoder, slot},
    event::EventData,
    header::KindCount,
    limits::{KINDS_MAX, SECTIONS_MAX},
    order::Orders,
    planes::BLOCK,
    rows::{self, Dictionary},
    sequence,
};

/// Rows that a buffer always keeps room for, so that a quiet second frees nothing.
const KEPT_ROWS: usize = 1_024;

/// A family's own columns.
struct Family {
    id: u16,
    declared: Option<Arc<EventType>>,
    /// The values of one row after the other.
    values: Vec<u64>,
    rows: u32,
}

impl Family {
    fn columns(&self) -> &[Column] {
        match &self.declared {
            Some(ty) => ty.columns(),
            None => {
                columns::family(self.id)
                    .expect("a family of the table")
                    .fields
            }
        }
    }
}

/// What every row has.
#[derive(Clone, Copy)]
struct Row {
    time: u64,
    cgroup_id: u64,
    seq: u64,
    tid: u32,
    pid: u32,
    /// Among the rows of its family.
    place: u32,
    /// Index in [`Table::families`].
    family: u16,
    cpu: u16,
    probe: u8,
}

pub struct Table {
    rows: Vec<Row>,
    /// Those of the column table, then the declared ones.
    families: Vec<Family>,
    /// Index of a declared family.
    declared: HashMap<u16, u16>,
    /// Of all columns, 8 bytes a value.
    bytes: usize,
}

/// The table in stored order, and the columns made of it. Kept from chunk to chunk for its buffers:
/// no more than the largest body of each encoder's column.
#[derive(Default)]
pub struct Stored {
    times: Vec<u64>,
    tids: Vec<u32>,
    orders: Orders,
    common: [Encoder; COMMON.len()],
    fields: Vec<Encoder>,
    /// Per family, in stored order: row of the table, and place in the family.
    rows: Vec<(u32, u32)>,
    /// The distinct values, ascending.
    pub cgroup_ids: Vec<u64>,
    pub pids: Vec<u64>,
}

impl Table {
    pub fn new() -> Self {
        Table {
            rows: Vec::new(),
            families: FAMILIES
                .iter()
                .map(|family| Family {
                    id: family.id,
                    declared: None,
                    values: Vec::new(),
                    rows: 0,
                })
                .collect(),
            declared: HashMap::new(),
            bytes: 0,
        }
    }

    pub fn rows(&self) -> u32 {
        self.rows.len() as u32
    }
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes a family known. Refused when the id has another type, and when all families together
    /// could exceed [`KINDS_MAX`] or need more than [`SECTIONS_MAX`] sections.
    pub fn declare(&mut self, ty: &Arc<EventType>) -> Result<(), Error> {
        if let Some(known) = self.declared.get(&ty.family()) {
            let known = self.families[usize::from(*known)].declared.as_ref();
            if known == Some(ty) {
                return Ok(());
            }
            return Err(Error::malformed(
                "event type",
                ty.family().into(),
                format_args!("family {} as it was declared before", ty.family()),
                format_args!("{} with {} fields", ty.name(), ty.fields().len()),
            ));
        }
        Error::limit(
            "families of a chunk",
            self.families.len() as u64 + 1,
            KINDS_MAX as u64,
        )?;
        let sections = self.families.iter().map(|family| family.columns().len());
        Error::limit(
            "columns of all families",
            (COMMON.len() + sections.sum::<usize>() + ty.fields().len()) as u64,
            // Dictionary, context.
            u64::from(SECTIONS_MAX) - 2,
        )?;
        self.declared
            .insert(ty.family(), self.families.len() as u16);
        self.families.push(Family {
            id: ty.family(),
            declared: Some(ty.clone()),
            values: Vec::new(),
            rows: 0,
        });
        Ok(())
    }

    /// Adds a row. Returns the event's type when it is the chunk's first of a declared family.
    ///
    /// # Panics
    /// When the event's type was not declared.
    #[inline]
    pub fn push(&mut self, event: &Event, dictionary: &mut Dictionary) -> Option<Arc<EventType>> {
        let index = match &event.data {
            EventData::Declared(declared) => self.index_of(declared.ty()),
            data => columns::place(rows::family_of(data)).expect("a family of the table"),
        };
        let family = &mut self.families[usize::from(index)];
        self.rows.push(Row {
            time: event.boot_ns,
            cgroup_id: event.cgroup_id,
            seq: event.seq,
            tid: event.tid,
            pid: event.pid,
            place: family.rows,
            family: index,
            cpu: event.cpu,
            probe: event.probe,
        });
        family.rows += 1;
        let before = family.values.len();
        dictionary.begin_row();
        rows::put_fields(&event.data, dictionary, &mut family.values);
        self.bytes += 8 * (COMMON.len() + family.values.len() - before);
        match &family.declared {
            Some(ty) if family.rows == 1 => Some(ty.clone()),
            _ => None,
        }
    }

    fn index_of(&self, ty: &Arc<EventType>) -> u16 {
        let index = self.declared.get(&ty.family()).copied();
        let known = index.and_then(|index| self.families[usize::from(index)].declared.as_ref());
        assert!(known == Some(ty), "declare {} before its events", ty.name());
        index.expect("it is known")
    }

    /// Rows of each family present, ascending by id.
    pub fn kinds(&self) -> Vec<KindCount> {
        let mut kinds: Vec<KindCount> = self
            .families
            .iter()
            .filter(|family| family.rows > 0)
            .map(|family| KindCount {
                kind: family.id,
                rows: family.rows,
            })
            .collect();
        kinds.sort_unstable_by_key(|count| count.kind);
        kinds
    }

    /// Determines the stored order and makes the common columns.
    pub fn store(&self, stored: &mut Stored) {
        stored.times.clear();
        stored.times.extend(self.rows.iter().map(|row| row.time));
        stored.tids.clear();
        stored.tids.extend(self.rows.iter().map(|row| row.tid));
        stored.orders.find(&stored.times, &stored.tids);
        for (encoder, column) in stored.common.iter_mut().zip(&COMMON) {
            encoder.begin(column.encoding);
        }
        stored.cgroup_ids.clear();
        stored.pids.clear();
        let mut block = [[0u64; BLOCK]; COMMON.len()];
        for indices in stored.orders.stored.chunks(BLOCK) {
            let [time, tid, pid, cgroup_id, cpu, probe, _, family] = &mut block;
            for (at, index) in indices.iter().enumerate() {
                let row = &self.rows[*index as usize];
                time[at] = row.time;
                tid[at] = row.tid.into();
                pid[at] = row.pid.into();
                cgroup_id[at] = row.cgroup_id;
                cpu[at] = row.cpu.into();
                probe[at] = row.probe.into();
                family[at] = self.families[usize::from(row.family)].id.into();
            }
            add_runs(&cgroup_id[..indices.len()], &mut stored.cgroup_ids);
            add_runs(&pid[..indices.len()], &mut stored.pids);
            for ((encoder, column), values) in stored.common.iter_mut().zip(&COMMON).zip(&mut block)
            {
                if column.id != columns::SEQ {
                    encoder.push(&mut values[..indices.len()], &[]);
                }
            }
        }
        for distinct in [&mut stored.cgroup_ids, &mut stored.pids] {
            distinct.sort_unstable();
            distinct.dedup();
        }
    }

    /// Writes a common column that [`Table::store`] made.
    pub fn write_common(&self, id: u16, stored: &Stored, body: &mut Writer) {
        let place = position(id);
        body.column(
            columns::COMMON_FAMILY,
            &COMMON[place],
            self.rows(),
            &stored.common[place],
        );
    }

    /// The families' own columns, ascending by family.
    pub fn write_fields(&self, stored: &mut Stored, body: &mut Writer) {
        let mut starts = Vec::with_capacity(self.families.len());
        let mut start = 0;
        for family in &self.families {
            starts.push(start);
            start += family.rows as usize;
        }
        let mut next = starts.clone();
        stored.rows.resize(self.rows.len(), (0, 0));
        for index in &stored.orders.stored {
            let row = &self.rows[*index as usize];
            let next = &mut next[usize::from(row.family)];
            stored.rows[*next] = (*index, row.place);
            *next += 1;
        }
        let mut families: Vec<_> = self.families.iter().zip(starts).collect();
        families.sort_unstable_by_key(|(family, _)| family.id);
        for (family, start) in families {
            if family.rows > 0 {
                let rows = &stored.rows[start..start + family.rows as usize];
                self.write_family(family, rows, &mut stored.fields, body);
            }
        }
    }

    fn write_family(
        &self,
        family: &Family,
        rows: &[(u32, u32)],
        encoders: &mut Vec<Encoder>,
        body: &mut Writer,
    ) {
        let columns = family.columns();
        let width = columns.len();
        if encoders.len() < width {
            encoders.resize_with(width, Encoder::default);
        }
        for (encoder, column) in encoders.iter_mut().zip(columns) {
            encoder.begin(column.encoding);
        }
        let key = columns.iter().find_map(|column| column.encoding.key());
        let (mut slots, mut values) = ([0u16; BLOCK], [0u64; BLOCK]);
        for rows in rows.chunks(BLOCK) {
            let values = &mut values[..rows.len()];
            let slots = &mut slots[..rows.len()];
            match key {
                None => {}
                Some(columns::CGROUP_ID) => {
                    for (out, (row, _)) in slots.iter_mut().zip(rows) {
                        *out = slot(self.rows[*row as usize].cgroup_id);
                    }
                }
                Some(key) => {
                    for (out, (_, place)) in slots.iter_mut().zip(rows) {
                        *out = slot(family.values[*place as usize * width + position(key)]);
                    }
                }
            }
            for (at, encoder) in encoders.iter_mut().take(width).enumerate() {
                for (out, (_, place)) in values.iter_mut().zip(rows) {
                    *out = family.values[*place as usize * width + at];
                }
                encoder.push(values, slots);
            }
        }
        for (encoder, column) in encoders.iter().zip(columns) {
            body.column(family.id, column, rows.len() as u32, encoder);
        }
    }

    /// The sequence section; the ranges for the header.
    pub fn write_sequences(&self, stored: &mut Stored, body: &mut Writer) -> Vec<SequenceRange> {
        let encoder = &mut stored.common[position(columns::SEQ)];
        let mut ranges = Vec::new();
        body.sequences(columns::SEQ, self.rows(), |out| {
            let numbered = stored.orders.in_time.iter().map(|index| {
                let row = &self.rows[*index as usize];
                (sequence::pair(row.cpu.into(), row.probe.into()), row.seq)
            });
            let written;
            (ranges, written) = sequence::write(numbered, encoder, out);
            written
        });
        ranges
    }

    /// Empties the table. Buffers follow the load down as well: a burst of one family after that
    /// of another must not leave both at their largest.
    pub fn clear(&mut self) {
        follow(&mut self.rows, 1);
        for family in &mut self.families {
            let width = family.columns().len();
            follow(&mut family.values, width);
            family.rows = 0;
        }
        self.bytes = 0;
    }
}

/// Values where they change.
fn add_runs(values: &[u64], list: &mut Vec<u64>) {
    for value in values {
        if list.last() != Some(value) {
            list.push(*value);
        }
    }
}

fn follow<T>(values: &mut Vec<T>, width: usize) {
    let keep = 2 * values.len().max(KEPT_ROWS * width);
    values.clear();
    if values.capacity() > 2 * keep {
        values.shrink_to(keep);
    }
}
