//! A chunk as columns: what a scan reads without making events. [`crate::DecodedChunk`] is built on it.
//!
//! Everything is decoded when it is asked for. What a method returns has been checked: the number
//! of rows, the range of times, each value against its type.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use crate::{
    Context, ContextRecord, Error, EventType, Text,
    body::{Directory, Entry},
    columns::{self, COMMON, Column, position},
    encoding::{self, Encoding},
    header::{ChunkHeader, KindCount},
    limits::{self, CONTEXT_BYTES_MAX, VALUES_MAX, WEIGHT_MAX},
    order, record, rows, sequence, unpack,
};

/// The body of a chunk whose hash held, and where its columns are.
pub struct ColumnChunk {
    header: ChunkHeader,
    body: Vec<u8>,
    directory: Directory,
}

/// Who knows a family's columns.
#[derive(Clone, Debug)]
pub(crate) enum Layout {
    Native(&'static [Column]),
    Declared(Arc<EventType>),
    /// A newer writer: its rows count in the order and in the sequence numbers.
    Unknown,
}

impl Layout {
    fn columns(&self) -> &[Column] {
        match self {
            Layout::Native(columns) => columns,
            Layout::Declared(ty) => ty.columns(),
            Layout::Unknown => &[],
        }
    }
}

/// A family that has rows in the chunk.
#[derive(Clone, Debug)]
pub struct FamilyRows {
    pub id: u16,
    /// Its rows in the table, ascending: row i of the family's columns is row `rows[i]` there.
    pub rows: Vec<u32>,
    pub(crate) layout: Layout,
    /// Of each row in the column that others of the family are coded by, once one was asked for.
    slots: OnceLock<Arc<[u16]>>,
}

impl ColumnChunk {
    pub(crate) fn new(header: ChunkHeader, body: Vec<u8>) -> Result<Self, Error> {
        let directory = Directory::read(&body)?;
        if directory.len != body.len() {
            return Err(Error::malformed(
                "body",
                0,
                format_args!("{} bytes as in its directory", directory.len),
                body.len(),
            ));
        }
        let chunk = ColumnChunk {
            header,
            body,
            directory,
        };
        chunk.check_weight(0)?;
        Ok(chunk)
    }

    /// Refuses a chunk that takes too much of too many limits at once, with so many values.
    fn check_weight(&self, values: u64) -> Result<(), Error> {
        let of = |entry: &Option<Entry>, count: fn(&Entry) -> u32| {
            entry.as_ref().map_or(0, |entry| count(entry).into())
        };
        let weight = limits::weight(
            self.header.body_compressed_len.into(),
            self.header.body_len.into(),
            of(&self.directory.context, |entry| entry.section.len),
            of(&self.directory.context, |entry| entry.section.rows),
            of(&self.directory.dictionary, |entry| entry.section.rows),
            values,
        );
        Error::limit("weight of a chunk", weight, WEIGHT_MAX)
    }

    pub fn header(&self) -> &ChunkHeader {
        &self.header
    }

    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    pub fn rows(&self) -> usize {
        self.header.rows as usize
    }

    /// The chunk's strings; index 0 is the empty one.
    pub fn texts(&self) -> Result<Vec<Text>, Error> {
        match &self.directory.dictionary {
            Some(entry) => rows::read_dictionary(self.payload(entry), entry.section.rows),
            None => Ok(vec![Text::default()]),
        }
    }

    pub fn context(&self) -> Result<Vec<ContextRecord>, Error> {
        let Some(entry) = &self.directory.context else {
            return Ok(Vec::new());
        };
        Error::limit(
            "context of a chunk",
            entry.section.len.into(),
            CONTEXT_BYTES_MAX.into(),
        )?;
        let context = record::read_all(self.payload(entry), entry.section.rows)?;
        check_range(&self.header, context.iter().map(|record| record.boot_ns))?;
        Ok(context)
    }

    /// Time of each row.
    pub fn times(&self) -> Result<Vec<u64>, Error> {
        let mut times = Vec::new();
        self.times_into(&mut times)?;
        Ok(times)
    }

    /// [`ColumnChunk::times`] put in the place of what `times` holds: who reads chunk after chunk need
    /// not take new memory for each column.
    pub fn times_into(&self, times: &mut Vec<u64>) -> Result<(), Error> {
        let entry = self
            .directory
            .columns
            .get(&(columns::COMMON_FAMILY, columns::TIME));
        let payload = entry.map_or(&[][..], |entry| self.payload(entry));
        decode_times(&self.header, entry.map(|entry| (entry, payload)), times)
    }

    /// A common column other than time and seq: a value for each row.
    pub fn common(&self, id: u16) -> Result<Vec<u64>, Error> {
        let mut values = Vec::new();
        self.common_into(id, &mut values)?;
        Ok(values)
    }

    /// [`ColumnChunk::common`] put in the place of what `values` holds.
    pub fn common_into(&self, id: u16, values: &mut Vec<u64>) -> Result<(), Error> {
        self.stored_common_into(id, values)?;
        values.resize(self.rows(), 0);
        Ok(())
    }

    /// As [`ColumnChunk::common`]; empty when the column is absent, so that all values are 0.
    pub(crate) fn stored_common(&self, id: u16) -> Result<Vec<u64>, Error> {
        let mut values = Vec::new();
        self.stored_common_into(id, &mut values)?;
        Ok(values)
    }

    fn stored_common_into(&self, id: u16, values: &mut Vec<u64>) -> Result<(), Error> {
        let column = &COMMON[position(id)];
        match self.directory.columns.get(&(columns::COMMON_FAMILY, id)) {
            Some(entry) => {
                let payload = self.payload(entry);
                decode_column(column, entry, payload, self.rows(), &[], 0, values)
            }
            None => {
                values.clear();
                Ok(())
            }
        }
    }

    /// Sequence number of each row, in the order of `in_time` ([`time_order`]).
    pub fn sequences(&self, in_time: &[u32]) -> Result<Vec<u64>, Error> {
        let mut seqs = Vec::new();
        self.sequences_into(in_time, &mut seqs)?;
        Ok(seqs)
    }

    /// [`ColumnChunk::sequences`] put in the place of what `seqs` holds.
    pub fn sequences_into(&self, in_time: &[u32], seqs: &mut Vec<u64>) -> Result<(), Error> {
        let cpus = self.stored_common(columns::CPU)?;
        let probes = self.stored_common(columns::PROBE)?;
        self.sequences_of(in_time, &cpus, &probes, seqs)
    }

    pub(crate) fn sequences_of(
        &self,
        in_time: &[u32],
        cpus: &[u64],
        probes: &[u64],
        seqs: &mut Vec<u64>,
    ) -> Result<(), Error> {
        let Some(entry) = &self.directory.sequences else {
            seqs.clear();
            seqs.resize(self.rows(), 0);
            return Ok(());
        };
        if entry.section.rows != self.header.rows {
            return Err(Error::malformed(
                "sequence section",
                0,
                format_args!("{} rows", self.header.rows),
                entry.section.rows,
            ));
        }
        let (expected, encoding) = (Encoding::Sequence.number(), entry.section.encoding);
        if encoding != expected {
            return Err(Error::malformed(
                "sequence section",
                0,
                format_args!("encoding {expected}"),
                encoding,
            ));
        }
        let pair = |row: u32| {
            let row = row as usize;
            sequence::pair(at(cpus, row), at(probes, row))
        };
        sequence::read(self.payload(entry), in_time, pair, seqs)
    }

    /// Every family with rows, ascending. `context` is the chunk's: it declares families.
    pub fn families(&self, context: &[ContextRecord]) -> Result<Vec<FamilyRows>, Error> {
        let types = event_types(context)?;
        let known = |id: u16| match (columns::family(id), types.get(&id)) {
            (Some(family), _) => Layout::Native(family.fields),
            (None, Some(ty)) => Layout::Declared((*ty).clone()),
            (None, None) => Layout::Unknown,
        };
        let families = self.group_rows(known)?;
        let values = families
            .iter()
            .map(|family| family.rows.len() * (COMMON.len() + family.layout.columns().len()));
        let values = values.sum::<usize>() as u64;
        Error::limit("values of a chunk", values, VALUES_MAX)?;
        self.check_weight(values)?;
        // A column of a known family without rows, or with others than the family's.
        for ((id, column), entry) in &self.directory.columns {
            if *id == columns::COMMON_FAMILY {
                continue;
            }
            let rows = families
                .binary_search_by_key(id, |family| family.id)
                .map_or(0, |index| families[index].rows.len());
            let ours = known(*id).columns().iter().any(|known| known.id == *column);
            if ours && entry.section.rows as usize != rows {
                return Err(Error::malformed(
                    "column",
                    (*column).into(),
                    format_args!("{rows} rows of family {id}"),
                    entry.section.rows,
                ));
            }
        }
        Ok(families)
    }

    /// Which rows are whose: by the family column, which must agree with the header.
    fn group_rows(&self, known: impl Fn(u16) -> Layout) -> Result<Vec<FamilyRows>, Error> {
        let kinds = &self.header.kinds;
        let miscounted = || {
            Error::malformed(
                "kinds of a chunk",
                0,
                "the families of the body and their rows",
                format_args!("{kinds:?}"),
            )
        };
        let mut families: Vec<FamilyRows> = kinds
            .iter()
            .map(|count| FamilyRows {
                id: count.kind,
                rows: Vec::with_capacity(count.rows.min(self.header.rows) as usize),
                layout: known(count.kind),
                slots: OnceLock::new(),
            })
            .collect();
        let listed: u64 = kinds.iter().map(|count| u64::from(count.rows)).sum();
        if listed != u64::from(self.header.rows) || !families.is_sorted_by(|a, b| a.id < b.id) {
            return Err(miscounted());
        }
        // Where each id is in the list, and past its end for those that are not.
        let ids_end = kinds.last().map_or(0, |count| usize::from(count.kind) + 1);
        let mut places = vec![u16::MAX; ids_end];
        for (place, count) in (0..).zip(kinds) {
            places[usize::from(count.kind)] = place;
        }
        let ids = self.stored_common(columns::FAMILY)?;
        for row in 0..self.header.rows {
            let place = places.get(at(&ids, row as usize) as usize);
            place
                .and_then(|place| families.get_mut(usize::from(*place)))
                .ok_or_else(miscounted)?
                .rows
                .push(row);
        }
        let counted = families.iter().map(|family| KindCount {
            kind: family.id,
            rows: family.rows.len() as u32,
        });
        let sound = |family: &FamilyRows| !family.rows.is_empty() && family.id != 0;
        if !families.iter().all(sound) || !counted.eq(kinds.iter().copied()) {
            return Err(miscounted());
        }
        Ok(families)
    }

    /// One column of a family: a value for each of its rows. `None`: nobody knows the column.
    pub fn field(&self, family: &FamilyRows, id: u16) -> Result<Option<Vec<u64>>, Error> {
        let mut values = Vec::new();
        let known = self.field_into(family, id, &mut values)?;
        Ok(known.then_some(values))
    }

    /// [`ColumnChunk::field`] put in the place of what `values` holds. False: nobody knows the column.
    pub fn field_into(
        &self,
        family: &FamilyRows,
        id: u16,
        values: &mut Vec<u64>,
    ) -> Result<bool, Error> {
        let columns = family.layout.columns();
        let Some(column) = columns.iter().find(|column| column.id == id) else {
            return Ok(false);
        };
        self.stored_field(family, column, self.text_count(), values)?;
        values.resize(family.rows.len(), 0);
        Ok(true)
    }

    /// Every column of a family, in the order of its fields; an empty one is absent, all 0.
    pub(crate) fn fields(&self, family: &FamilyRows, texts: usize) -> Result<Vec<Vec<u64>>, Error> {
        let columns = family.layout.columns();
        let mut fields = vec![Vec::new(); columns.len()];
        for (values, column) in fields.iter_mut().zip(columns) {
            self.stored_field(family, column, texts, values)?;
        }
        Ok(fields)
    }

    /// The slots of a family's rows in the column that others are coded by.
    fn slots(&self, family: &FamilyRows, key: u16) -> Result<Arc<[u16]>, Error> {
        if let Some(slots) = family.slots.get() {
            return Ok(slots.clone());
        }
        let slots: Arc<[u16]> = if key < columns::FIELDS {
            let keys = self.stored_common(key)?;
            let of = |row: &u32| encoding::slot(at(&keys, *row as usize));
            family.rows.iter().map(of).collect()
        } else {
            let mut keys = Vec::new();
            self.field_into(family, key, &mut keys)?;
            keys.into_iter().map(encoding::slot).collect()
        };
        Ok(family.slots.get_or_init(|| slots).clone())
    }

    fn stored_field(
        &self,
        family: &FamilyRows,
        column: &Column,
        texts: usize,
        values: &mut Vec<u64>,
    ) -> Result<(), Error> {
        let Some(entry) = self.directory.columns.get(&(family.id, column.id)) else {
            values.clear();
            return Ok(());
        };
        let slots = match column.encoding.key() {
            Some(key) => Some(self.slots(family, key)?),
            None => None,
        };
        decode_column(
            column,
            entry,
            self.payload(entry),
            family.rows.len(),
            slots.as_deref().unwrap_or_default(),
            texts,
            values,
        )
    }

    /// Strings of the dictionary, the empty one included.
    fn text_count(&self) -> usize {
        let entry = self.directory.dictionary.as_ref();
        entry.map_or(0, |entry| entry.section.rows as usize) + 1
    }

    fn payload(&self, entry: &Entry) -> &[u8] {
        &self.body[entry.at..entry.at + entry.section.len as usize]
    }
}

impl Drop for ColumnChunk {
    fn drop(&mut self) {
        unpack::keep(std::mem::take(&mut self.body));
    }
}

/// A stored column's value; an empty column is all 0.
#[inline]
pub(crate) fn at(values: &[u64], row: usize) -> u64 {
    values.get(row).copied().unwrap_or(0)
}

/// Indices of rows in the order in which events are handed out: by time, then row.
pub fn time_order(times: &[u64]) -> Vec<u32> {
    order::by_time(times)
}

/// The time column, with its entry and payload if there is one; its number of rows and its range are
/// checked against the header. Readers skip chunks by this range: it must hold.
pub(crate) fn decode_times(
    header: &ChunkHeader,
    stored: Option<(&Entry, &[u8])>,
    times: &mut Vec<u64>,
) -> Result<(), Error> {
    let rows = stored.map_or(0, |(entry, _)| entry.section.rows);
    if rows != header.rows {
        return Err(Error::malformed(
            "rows of a chunk",
            36,
            format_args!("{rows} as in the time column"),
            header.rows,
        ));
    }
    let Some((entry, payload)) = stored else {
        times.clear();
        return Ok(());
    };
    let column = &COMMON[position(columns::TIME)];
    decode_column(column, entry, payload, rows as usize, &[], 0, times)?;
    let span = header.last_ns.wrapping_sub(header.first_ns);
    let outside = |time: &u64| time.wrapping_sub(header.first_ns) > span;
    if header.first_ns > header.last_ns || times.iter().fold(false, |any, time| any | outside(time))
    {
        check_range(header, times.iter().copied())?;
    }
    Ok(())
}

fn check_range(header: &ChunkHeader, mut times: impl Iterator<Item = u64>) -> Result<(), Error> {
    let range = header.first_ns..=header.last_ns;
    match times.find(|time| !range.contains(time)) {
        Some(time) => Err(Error::malformed(
            "time range of a chunk",
            64,
            format_args!("{range:?}"),
            time,
        )),
        None => Ok(()),
    }
}

/// The types that the chunk declares, at most one a family.
fn event_types(context: &[ContextRecord]) -> Result<BTreeMap<u16, &Arc<EventType>>, Error> {
    let mut types = BTreeMap::new();
    for record in context {
        if let Context::EventType(ty) = &record.body
            && types.insert(ty.family(), ty).is_some()
        {
            return Err(Error::malformed(
                "context",
                ty.family().into(),
                format_args!("one type for family {}", ty.family()),
                "several",
            ));
        }
    }
    Ok(types)
}

/// A present column's values, put in the place of what `values` holds.
pub(crate) fn decode_column(
    column: &Column,
    entry: &Entry,
    payload: &[u8],
    row_count: usize,
    slots: &[u16],
    texts: usize,
    values: &mut Vec<u64>,
) -> Result<(), Error> {
    const WHAT: &str = "column";
    let section = &entry.section;
    if section.rows as usize != row_count {
        return Err(Error::malformed(
            WHAT,
            column.id.into(),
            format_args!("{row_count} rows"),
            section.rows,
        ));
    }
    if section.encoding != column.encoding.number() {
        return Err(Error::malformed(
            WHAT,
            column.id.into(),
            format_args!("encoding {}", column.encoding.number()),
            section.encoding,
        ));
    }
    let fits = |values: &[u64]| rows::fits(column.ty, values, texts);
    if encoding::decode(column.encoding, payload, row_count, slots, values, fits)? {
        Ok(())
    } else {
        Err(rows::misfit(column, values, texts))
    }
}
