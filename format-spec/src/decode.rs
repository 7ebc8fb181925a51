//! From a body to events and context: the reading end of the format.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    Context, ContextRecord, Error, Event, EventType, Text,
    body::{Body, Entry},
    columns::{self, COMMON, Column, Encoding, position},
    encoding,
    header::{ChunkHeader, KindCount},
    limits::VALUES_MAX,
    order, record,
    rows::{self, check_values, take_declared, take_fields},
    sequence,
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

/// Who knows a family's columns.
enum Layout {
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

/// A family that has rows. An empty column is an absent one, all 0.
struct Family {
    id: u16,
    layout: Layout,
    /// Its rows in the table.
    rows: Vec<u32>,
    fields: Vec<Vec<u64>>,
}

pub fn decode(header: ChunkHeader, body: &[u8]) -> Result<DecodedChunk, Error> {
    let body = Body::open(body)?;
    let texts = match body.dictionary {
        Some((section, bytes)) => rows::read_dictionary(bytes, section.rows)?,
        None => vec![Text::default()],
    };
    let context = match body.context {
        Some((section, bytes)) => record::read_all(bytes, section.rows)?,
        None => Vec::new(),
    };
    let common = decode_common(&header, &body)?;
    let at = |id: u16, row: usize| common[position(id)].get(row).copied().unwrap_or(0);
    let total = header.rows as usize;
    check_times(&header, &common[position(columns::TIME)], &context)?;
    // Place of each row: its family, and its row there.
    let mut places: Vec<(u16, u32)> = Vec::with_capacity(total);
    let families = decode_families(&header, &body, &common, &context, texts.len(), &mut places)?;

    let in_time = order::by_time(&common[position(columns::TIME)]);
    let pairs: Vec<u32> = (0..total)
        .map(|row| sequence::pair(at(columns::CPU, row), at(columns::PROBE, row)))
        .collect();
    let seqs = match body.sequences {
        Some((section, bytes)) if section.rows as usize == total => {
            sequence::read(bytes, &pairs, &in_time)?
        }
        Some((section, _)) => {
            return Err(Error::malformed(
                "sequence section",
                0,
                format_args!("{total} rows"),
                section.rows,
            ));
        }
        None => vec![0; total],
    };

    let mut events = Vec::with_capacity(total);
    let mut refs = Vec::with_capacity(total);
    for (table_row, seq) in in_time.iter().zip(seqs) {
        let row = *table_row as usize;
        let (family, family_row) = places[row];
        let family = &families[usize::from(family)];
        let data = match &family.layout {
            Layout::Native(_) => {
                take_fields(family.id, &family.fields, &texts, family_row as usize)
            }
            Layout::Declared(ty) => take_declared(ty, &family.fields, &texts, family_row as usize),
            Layout::Unknown => continue,
        };
        events.push(Event {
            boot_ns: at(columns::TIME, row),
            cpu: at(columns::CPU, row) as u16,
            probe: at(columns::PROBE, row) as u8,
            seq,
            tid: at(columns::TID, row) as u32,
            pid: at(columns::PID, row) as u32,
            cgroup_id: at(columns::CGROUP_ID, row),
            data,
        });
        refs.push(RowRef {
            family: family.id,
            row: *table_row,
        });
    }
    Ok(DecodedChunk {
        header,
        context,
        events,
        rows: refs,
    })
}

/// The columns of the table, in the order of [`COMMON`]. That of time has as many rows as the
/// header says.
fn decode_common(header: &ChunkHeader, body: &Body<'_>) -> Result<Vec<Vec<u64>>, Error> {
    let stored = |id: u16| body.columns.get(&(columns::COMMON_FAMILY, id));
    let rows = stored(columns::TIME).map_or(0, |(section, _)| section.rows);
    if rows != header.rows {
        return Err(Error::malformed(
            "rows of a chunk",
            36,
            format_args!("{rows} as in the time column"),
            header.rows,
        ));
    }
    COMMON
        .iter()
        .map(|column| match stored(column.id) {
            Some(entry) if column.encoding != Encoding::Sequence => {
                decode_column(column, entry, rows as usize, &[], 0)
            }
            _ => Ok(Vec::new()),
        })
        .collect()
}

/// Readers skip chunks by the header's range: it must hold.
fn check_times(
    header: &ChunkHeader,
    times: &[u64],
    context: &[ContextRecord],
) -> Result<(), Error> {
    let range = header.first_ns..=header.last_ns;
    let written = context.iter().map(|record| &record.boot_ns);
    match times
        .iter()
        .chain(written)
        .find(|time| !range.contains(time))
    {
        Some(time) => Err(Error::malformed(
            "time range of a chunk",
            64,
            format_args!("{range:?}"),
            time,
        )),
        None => Ok(()),
    }
}

/// Every family with rows, ascending, with the columns that are known of it.
fn decode_families(
    header: &ChunkHeader,
    body: &Body<'_>,
    common: &[Vec<u64>],
    context: &[ContextRecord],
    texts: usize,
    places: &mut Vec<(u16, u32)>,
) -> Result<Vec<Family>, Error> {
    let types = event_types(context)?;
    let known = |id: u16| match (columns::family(id), types.get(&id)) {
        (Some(family), _) => Layout::Native(family.fields),
        (None, Some(ty)) => Layout::Declared((*ty).clone()),
        (None, None) => Layout::Unknown,
    };
    let mut families: Vec<Family> = header
        .kinds
        .iter()
        .map(|count| Family {
            id: count.kind,
            layout: known(count.kind),
            rows: Vec::new(),
            fields: Vec::new(),
        })
        .collect();
    let miscounted = || {
        Error::malformed(
            "kinds of a chunk",
            0,
            "the families of the body and their rows",
            format_args!("{:?}", header.kinds),
        )
    };
    if !families.is_sorted_by(|a, b| a.id < b.id) {
        return Err(miscounted());
    }
    let family_ids = &common[position(columns::FAMILY)];
    let mut last = None;
    for row in 0..header.rows {
        let id = family_ids.get(row as usize).copied().unwrap_or(0) as u16;
        let index = match last {
            Some((last_id, index)) if last_id == id => index,
            _ => families
                .binary_search_by_key(&id, |family| family.id)
                .map_err(|_| miscounted())?,
        };
        last = Some((id, index));
        let rows = &mut families[index].rows;
        places.push((index as u16, rows.len() as u32));
        rows.push(row);
    }
    let counted = families.iter().map(|family| KindCount {
        kind: family.id,
        rows: family.rows.len() as u32,
    });
    let none_empty = families
        .iter()
        .all(|family| !family.rows.is_empty() && family.id != 0);
    if !none_empty || !counted.eq(header.kinds.iter().copied()) {
        return Err(miscounted());
    }
    let values = families
        .iter()
        .map(|family| family.rows.len() * (COMMON.len() + family.layout.columns().len()));
    Error::limit(
        "values of a chunk",
        values.sum::<usize>() as u64,
        VALUES_MAX,
    )?;
    // A column of a known family without rows, or with others than the family's.
    for ((id, column), (section, _)) in &body.columns {
        let columns = match known(*id) {
            _ if *id == columns::COMMON_FAMILY => continue,
            Layout::Native(columns) => columns.len(),
            Layout::Declared(ty) => ty.columns().len(),
            Layout::Unknown => continue,
        };
        let rows = families
            .binary_search_by_key(id, |family| family.id)
            .map_or(0, |index| families[index].rows.len());
        let ours = (columns::FIELDS..columns::FIELDS + columns as u16).contains(column);
        if ours && section.rows as usize != rows {
            return Err(Error::malformed(
                "column",
                (*column).into(),
                format_args!("{rows} rows of family {id}"),
                section.rows,
            ));
        }
    }
    for family in &mut families {
        family.fields = decode_fields(family, body, common, texts)?;
    }
    Ok(families)
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

fn decode_fields(
    family: &Family,
    body: &Body<'_>,
    common: &[Vec<u64>],
    texts: usize,
) -> Result<Vec<Vec<u64>>, Error> {
    let columns = family.layout.columns();
    let rows = family.rows.len();
    let mut fields = vec![Vec::new(); columns.len()];
    // Key columns first: columns that are keyed need them.
    for keyed in [false, true] {
        for (at, column) in columns.iter().enumerate() {
            let entry = match body.columns.get(&(family.id, column.id)) {
                Some(entry) if matches!(column.encoding, Encoding::DeltaBy(_)) == keyed => entry,
                _ => continue,
            };
            let keys: Vec<u64> = match column.encoding {
                Encoding::DeltaBy(key) => {
                    let of = |values: &Vec<u64>, row: usize| values.get(row).copied().unwrap_or(0);
                    if key < columns::FIELDS {
                        let values = &common[position(key)];
                        family
                            .rows
                            .iter()
                            .map(|row| of(values, *row as usize))
                            .collect()
                    } else {
                        let values: &Vec<u64> = &fields[position(key)];
                        (0..rows).map(|row| of(values, row)).collect()
                    }
                }
                _ => Vec::new(),
            };
            fields[at] = decode_column(column, entry, rows, &keys, texts)?;
        }
    }
    Ok(fields)
}

/// A present column's values.
fn decode_column(
    column: &Column,
    (section, bytes): &Entry<'_>,
    rows: usize,
    keys: &[u64],
    texts: usize,
) -> Result<Vec<u64>, Error> {
    const WHAT: &str = "column";
    if section.rows as usize != rows {
        return Err(Error::malformed(
            WHAT,
            column.id.into(),
            format_args!("{rows} rows"),
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
    let values = encoding::decode(column.encoding, bytes, rows, keys)?;
    check_values(column, &values, texts)?;
    Ok(values)
}
