//! From columns to events in order of time.

use std::sync::{Arc, OnceLock};

use crate::{
    ContextRecord, Error, Event, EventData, EventType, Text,
    column_chunk::{ColumnChunk, FamilyRows, Layout, at, time_order},
    columns,
    header::ChunkHeader,
    rows::{retake_declared, take_declared, take_fields},
};

/// Where an event is stored, for evidence: its row in the chunk's table, and its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowRef {
    pub family: u16,
    pub row: u32,
}

/// What every event has, before its own fields are put together.
#[derive(Clone, Copy, Debug)]
pub struct EventHead<'a> {
    pub boot_ns: u64,
    pub cpu: u16,
    pub probe: u8,
    pub seq: u64,
    pub tid: u32,
    pub pid: u32,
    pub cgroup_id: u64,
    pub family: u16,
    /// Of a declared family.
    pub ty: Option<&'a Arc<EventType>>,
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

/// A chunk's content, each event put together only when it is asked for: whoever reads events once, one
/// after the other, need not hold them all. Every check has been made, unless the fields of events were
/// left until an event is asked for: then those of its family are checked before it is handed out.
pub struct ChunkEvents {
    pub header: ChunkHeader,
    /// In the order they were written.
    pub context: Vec<ContextRecord>,
    texts: Vec<Text>,
    /// What is left to read, if anything.
    columns: Option<ColumnChunk>,
    families: Vec<Fields>,
    /// In (time, row) order, without those of unknown families.
    stored: Vec<Stored>,
}

/// What every event has, and where its own fields are. Side by side, because who goes through a chunk looks
/// at most of it for each event.
struct Stored {
    boot_ns: u64,
    seq: u64,
    cgroup_id: u64,
    tid: u32,
    pid: u32,
    /// Of the table.
    row: u32,
    /// Of its family.
    family_row: u32,
    /// Which one, by its number and by its place in the chunk.
    family: u16,
    family_place: u16,
    cpu: u16,
    probe: u8,
}

/// A family's own columns. An empty one is absent, all 0.
struct Fields {
    family: FamilyRows,
    values: OnceLock<Result<Vec<Vec<u64>>, Error>>,
}

impl EventHead<'_> {
    fn with(self, data: EventData) -> Event {
        Event {
            boot_ns: self.boot_ns,
            cpu: self.cpu,
            probe: self.probe,
            seq: self.seq,
            tid: self.tid,
            pid: self.pid,
            cgroup_id: self.cgroup_id,
            data,
        }
    }
}

impl ChunkEvents {
    /// `whole`: every column is read now.
    pub(crate) fn new(chunk: ColumnChunk, whole: bool) -> Result<Self, Error> {
        let texts = chunk.texts()?;
        let context = chunk.context()?;
        let times = chunk.times()?;
        let mut common = columns::COMMON
            .iter()
            .map(|column| match column.id {
                columns::TIME | columns::SEQ | columns::FAMILY => Ok(Vec::new()),
                id => chunk.stored_common(id),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let mut families = Vec::new();
        let mut places = vec![(0u16, 0u32); chunk.rows()];
        for (index, family) in chunk.families(&context)?.into_iter().enumerate() {
            for (family_row, row) in (0..).zip(&family.rows) {
                places[*row as usize] = (index as u16, family_row);
            }
            families.push(Fields {
                family,
                values: OnceLock::new(),
            });
        }
        let mut column = |id: u16| std::mem::take(&mut common[columns::position(id)]);
        let (cpus, probes) = (column(columns::CPU), column(columns::PROBE));
        let (tids, pids) = (column(columns::TID), column(columns::PID));
        let cgroup_ids = column(columns::CGROUP_ID);
        let in_time = time_order(&times);
        let mut seqs = Vec::new();
        chunk.sequences_of(&in_time, &cpus, &probes, &mut seqs)?;
        let stored = in_time.iter().zip(seqs).filter_map(|(&row, seq)| {
            let table_row = row as usize;
            let (family_place, family_row) = places[table_row];
            let family = &families[usize::from(family_place)].family;
            // What a newer writer wrote took part in order and sequence numbers, and is nothing to hand out.
            (!matches!(family.layout, Layout::Unknown)).then(|| Stored {
                boot_ns: times[table_row],
                seq,
                cgroup_id: at(&cgroup_ids, table_row),
                tid: at(&tids, table_row) as u32,
                pid: at(&pids, table_row) as u32,
                row,
                family_row,
                family: family.id,
                family_place,
                cpu: at(&cpus, table_row) as u16,
                probe: at(&probes, table_row) as u8,
            })
        });
        let mut all = Vec::with_capacity(in_time.len());
        all.extend(stored);
        drop((times, common, cpus, probes, tids, pids, cgroup_ids));
        drop((places, in_time));
        if whole {
            for Fields { family, values } in &mut families {
                let _ = values.set(Ok(chunk.fields(family, texts.len())?));
                family.rows = Vec::new();
            }
        }
        Ok(ChunkEvents {
            texts,
            context,
            families,
            stored: all,
            header: chunk.header().clone(),
            columns: (!whole).then_some(chunk),
        })
    }

    /// Events in it.
    pub fn len(&self) -> usize {
        self.stored.len()
    }

    pub fn is_empty(&self) -> bool {
        self.stored.is_empty()
    }

    /// Time of the event at `index` in (time, row) order.
    ///
    /// # Panics
    /// As every function that takes an index, when it is not below [`ChunkEvents::len`].
    #[inline]
    pub fn boot_ns(&self, index: usize) -> u64 {
        self.stored[index].boot_ns
    }

    /// Where that event is stored.
    #[inline]
    pub fn row(&self, index: usize) -> RowRef {
        let Stored { family, row, .. } = self.stored[index];
        RowRef { family, row }
    }

    /// CPU, probe and sequence number of that event: its identity.
    #[inline]
    pub fn identity(&self, index: usize) -> (u16, u8, u64) {
        let Stored {
            cpu, probe, seq, ..
        } = self.stored[index];
        (cpu, probe, seq)
    }

    /// What that event has in common with all others.
    #[inline]
    pub fn head(&self, index: usize) -> EventHead<'_> {
        let stored = &self.stored[index];
        // Most are of the format's own families: no look at which one.
        let ty = match stored.family {
            columns::DECLARED.. => self.declared(stored),
            _ => None,
        };
        EventHead {
            boot_ns: stored.boot_ns,
            cpu: stored.cpu,
            probe: stored.probe,
            seq: stored.seq,
            tid: stored.tid,
            pid: stored.pid,
            cgroup_id: stored.cgroup_id,
            family: stored.family,
            ty,
        }
    }

    /// The first of that event's own fields, as a number: of a system call, which one it was.
    #[inline]
    pub fn first_field(&self, index: usize) -> Result<u64, &Error> {
        self.field(index, 0)
    }

    /// That event's own field at a place, as a number: of a text 0 where it is empty, and only there.
    #[inline]
    pub fn field(&self, index: usize, field: usize) -> Result<u64, &Error> {
        let stored = &self.stored[index];
        let values = self.values(self.family(stored))?.get(field);
        Ok(values.map_or(0, |values| at(values, stored.family_row as usize)))
    }

    /// That event. Fails where its family's columns were left until now and are malformed.
    #[inline]
    pub fn event(&self, index: usize) -> Result<Event, &Error> {
        let stored = &self.stored[index];
        let family = self.family(stored);
        let values = self.values(family)?;
        let row = stored.family_row as usize;
        let data = match &family.family.layout {
            Layout::Declared(ty) => take_declared(ty, values, &self.texts, row),
            // Rows of an unknown family are not in the order.
            Layout::Native(_) | Layout::Unknown => {
                take_fields(stored.family, values, &self.texts, row)
            }
        };
        Ok(self.head(index).with(data))
    }

    /// [`ChunkEvents::event`] where another event was: one of the same declared type gives its memory.
    #[inline]
    pub fn event_into(&self, index: usize, event: &mut Event) -> Result<(), &Error> {
        let stored = &self.stored[index];
        let family = self.family(stored);
        match (&family.family.layout, &mut event.data) {
            (Layout::Declared(ty), EventData::Declared(data)) if Arc::ptr_eq(ty, data.ty()) => {
                let row = stored.family_row as usize;
                retake_declared(data, self.values(family)?, &self.texts, row);
                let head = self.head(index);
                event.boot_ns = head.boot_ns;
                event.cpu = head.cpu;
                event.probe = head.probe;
                event.seq = head.seq;
                event.tid = head.tid;
                event.pid = head.pid;
                event.cgroup_id = head.cgroup_id;
            }
            _ => *event = self.event(index)?,
        }
        Ok(())
    }

    #[inline]
    fn family(&self, stored: &Stored) -> &Fields {
        &self.families[usize::from(stored.family_place)]
    }

    fn declared(&self, stored: &Stored) -> Option<&Arc<EventType>> {
        match &self.family(stored).family.layout {
            Layout::Declared(ty) => Some(ty),
            Layout::Native(_) | Layout::Unknown => None,
        }
    }

    /// A family's columns, read when they are first asked for.
    #[inline]
    fn values<'a>(&'a self, fields: &'a Fields) -> Result<&'a [Vec<u64>], &'a Error> {
        let read = || match &self.columns {
            Some(columns) => columns.fields(&fields.family, self.texts.len()),
            // Read with the chunk.
            None => Ok(Vec::new()),
        };
        fields.values.get_or_init(read).as_deref()
    }

    /// Every event put together, of a chunk that was read as a whole.
    pub(crate) fn into_decoded(self) -> DecodedChunk {
        DecodedChunk {
            // None fails: every column has been read.
            events: (0..self.len())
                .filter_map(|index| self.event(index).ok())
                .collect(),
            rows: (0..self.len()).map(|index| self.row(index)).collect(),
            header: self.header,
            context: self.context,
        }
    }
}
