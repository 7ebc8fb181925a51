//! The rows of the open chunk: columns in order of arrival, and their way into sections.
//!
//! All rows stand in one table with the common columns; each family keeps its own columns beside
//! it. Sealing puts the table into stored order (by thread, then time) once, for all of them.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::{
    Error, Event, EventType,
    body::Writer,
    columns::{self, COMMON, Column, Encoding, FAMILIES, position},
    event::EventData,
    header::KindCount,
    limits::{KINDS_MAX, SECTIONS_MAX},
    order,
    rows::{self, Dictionary},
};

/// Rows that a column always keeps room for, so that a quiet second frees nothing.
const KEPT_ROWS: usize = 1_024;

/// A family's own columns.
struct Family {
    id: u16,
    declared: Option<Arc<EventType>>,
    fields: Vec<Vec<u64>>,
    rows: u32,
}

impl Family {
    fn columns(&self) -> &[Column] {
        match &self.declared {
            Some(ty) => ty.columns(),
            None => FAMILIES[usize::from(self.id) - 1].fields,
        }
    }
}

/// Where a row's own values are.
#[derive(Clone, Copy)]
struct Place {
    /// Index in [`Table::families`].
    family: u32,
    row: u32,
}

pub struct Table {
    common: [Vec<u64>; COMMON.len()],
    places: Vec<Place>,
    /// Those of the column table, then the declared ones.
    families: Vec<Family>,
    /// Index of a declared family.
    declared: HashMap<u16, u32>,
    /// Of all columns, 8 bytes each.
    bytes: usize,
}

/// The table in stored order, as far as more than one section needs it.
#[derive(Default)]
pub struct Stored {
    /// Index of arrival of each row.
    rows: Vec<u32>,
    values: Vec<u64>,
    keys: Vec<u64>,
}

impl Table {
    pub fn new() -> Self {
        Table {
            common: Default::default(),
            places: Vec::new(),
            families: FAMILIES
                .iter()
                .map(|family| Family {
                    id: family.id,
                    declared: None,
                    fields: vec![Vec::new(); family.fields.len()],
                    rows: 0,
                })
                .collect(),
            declared: HashMap::new(),
            bytes: 0,
        }
    }

    pub fn rows(&self) -> u32 {
        self.places.len() as u32
    }
    pub fn bytes(&self) -> usize {
        self.bytes
    }
    fn common(&self, id: u16) -> &[u64] {
        &self.common[position(id)]
    }

    /// Makes a family known. Refused when the id has another type, and when all families together
    /// could exceed [`KINDS_MAX`] or need more than [`SECTIONS_MAX`] sections.
    pub fn declare(&mut self, ty: &Arc<EventType>) -> Result<(), Error> {
        if let Some(known) = self.declared.get(&ty.family()) {
            let known = self.families[*known as usize].declared.as_ref();
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
        let sections = self.families.iter().map(|family| family.fields.len());
        Error::limit(
            "columns of all families",
            (COMMON.len() + sections.sum::<usize>() + ty.fields().len()) as u64,
            // Dictionary, context.
            u64::from(SECTIONS_MAX) - 2,
        )?;
        self.declared
            .insert(ty.family(), self.families.len() as u32);
        self.families.push(Family {
            id: ty.family(),
            declared: Some(ty.clone()),
            fields: vec![Vec::new(); ty.fields().len()],
            rows: 0,
        });
        Ok(())
    }

    /// Adds a row. Returns the event's type when it is the chunk's first of a declared family.
    ///
    /// # Panics
    /// When the event's type was not declared.
    pub fn push(&mut self, event: &Event, dictionary: &mut Dictionary) -> Option<Arc<EventType>> {
        let id = rows::family_of(&event.data);
        let mut first = None;
        let index = match &event.data {
            EventData::Declared(declared) => {
                let index = self.declared.get(&id).copied();
                let known = index.map(|index| &self.families[index as usize]);
                assert!(
                    known.is_some_and(|family| family.declared.as_ref() == Some(declared.ty())),
                    "declare {} before its events",
                    declared.ty().name()
                );
                if known.is_some_and(|family| family.rows == 0) {
                    first = Some(declared.ty().clone());
                }
                index.expect("it is known")
            }
            _ => u32::from(id) - 1,
        };
        let mut common = self.common.iter_mut();
        rows::put_common(event, |value| {
            common.next().expect("one for each").push(value)
        });
        let family = &mut self.families[index as usize];
        self.places.push(Place {
            family: index,
            row: family.rows,
        });
        family.rows += 1;
        self.bytes += 8 * (COMMON.len() + family.fields.len());
        let mut fields = family.fields.iter_mut();
        rows::put_fields(&event.data, dictionary, |value| {
            fields.next().expect("one for each").push(value)
        });
        first
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

    /// The distinct values of a common column, ascending.
    pub fn distinct(&self, column: u16) -> Vec<u64> {
        let mut list = Vec::new();
        let mut last = None;
        // Rows come in runs of one value.
        for value in self.common(column) {
            if last == Some(value) {
                continue;
            }
            last = Some(value);
            if let Err(place) = list.binary_search(value) {
                list.insert(place, *value);
            }
        }
        list
    }

    /// Determines the stored order.
    pub fn store(&self, stored: &mut Stored) {
        stored.rows = order::by_thread(self.common(columns::TIME), self.common(columns::TID));
    }

    /// A common column's values in stored order.
    pub fn stored_common<'a>(&self, id: u16, stored: &'a mut Stored) -> &'a mut [u64] {
        gather(self.common(id), &stored.rows, &mut stored.values);
        &mut stored.values
    }

    pub fn write_common(&self, id: u16, stored: &mut Stored, body: &mut Writer) {
        let values = self.stored_common(id, stored);
        body.column(columns::COMMON_FAMILY, &COMMON[position(id)], values, &[]);
    }

    /// The families' own columns, ascending by family.
    pub fn write_fields(&self, stored: &mut Stored, body: &mut Writer) {
        // Per family: its rows in stored order, by index in the table and in the family.
        let mut all: Vec<(Vec<u32>, Vec<u32>)> = self
            .families
            .iter()
            .map(|family| {
                let rows = family.rows as usize;
                (Vec::with_capacity(rows), Vec::with_capacity(rows))
            })
            .collect();
        for row in &stored.rows {
            let place = self.places[*row as usize];
            let (table_rows, family_rows) = &mut all[place.family as usize];
            table_rows.push(*row);
            family_rows.push(place.row);
        }
        let mut families: Vec<_> = self.families.iter().zip(all).collect();
        families.sort_unstable_by_key(|(family, _)| family.id);
        for (family, (table_rows, family_rows)) in families {
            if family.rows == 0 {
                continue;
            }
            for (column, values) in family.columns().iter().zip(&family.fields) {
                if let Encoding::DeltaBy(key) = column.encoding {
                    if key < columns::FIELDS {
                        gather(self.common(key), &table_rows, &mut stored.keys);
                    } else {
                        gather(
                            &family.fields[position(key)],
                            &family_rows,
                            &mut stored.keys,
                        );
                    }
                }
                gather(values, &family_rows, &mut stored.values);
                body.column(family.id, column, &mut stored.values, &stored.keys);
            }
        }
    }

    /// Empties the table. Buffers follow the load down as well: a burst of one family after that
    /// of another must not leave both at their largest.
    pub fn clear(&mut self) {
        let follow = |column: &mut Vec<u64>, rows: usize| {
            let keep = 2 * rows.max(KEPT_ROWS);
            column.clear();
            if column.capacity() > 2 * keep {
                column.shrink_to(keep);
            }
        };
        for column in &mut self.common {
            follow(column, self.places.len());
        }
        for family in &mut self.families {
            for column in &mut family.fields {
                follow(column, family.rows as usize);
            }
            family.rows = 0;
        }
        self.places.clear();
        self.bytes = 0;
    }
}

fn gather(values: &[u64], order: &[u32], out: &mut Vec<u64>) {
    out.clear();
    out.extend(order.iter().map(|row| values[*row as usize]));
}
