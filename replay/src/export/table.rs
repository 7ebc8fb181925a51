//! What a table is to its writers: named, typed columns, and rows that put their cells.
//!
//! The events' columns are [`crate::event_view::COLUMNS`]; the other tables describe theirs the same way.
//! `docs/export.md` lists all.

use super::Error;
use crate::event_view::{COLUMNS, Cell, ColumnType, EventView};

/// Name and type of a column. Names are for ever, new columns are appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub name: &'static str,
    pub ty: ColumnType,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub name: &'static str,
    pub heads: Vec<Head>,
}

/// Takes the cells of a row.
pub type Put<'a> = dyn FnMut(usize, Cell<'_>) -> Result<(), Error> + 'a;

/// A row: puts its cells with the numbers of their columns, ascending; a column left out is null.
pub trait Row {
    fn cells(&self, put: &mut Put<'_>) -> Result<(), Error>;
}

/// The events.
pub fn events() -> Table {
    let head = |column: &crate::event_view::Column| Head {
        name: column.name,
        ty: column.ty,
    };
    Table {
        name: "events",
        heads: COLUMNS.iter().map(head).collect(),
    }
}

impl Row for EventView<'_> {
    fn cells(&self, put: &mut Put<'_>) -> Result<(), Error> {
        for (at, column) in COLUMNS.iter().enumerate() {
            match (column.get)(self) {
                Cell::Null => {}
                cell => put(at, cell)?,
            }
        }
        Ok(())
    }
}

/// One column of a table of `T`.
pub struct Of<T> {
    pub name: &'static str,
    pub ty: ColumnType,
    pub get: for<'a> fn(&'a T) -> Cell<'a>,
}

/// A row of a table that lists its columns.
pub struct RowOf<'a, T: 'static>(pub &'a T, pub &'static [Of<T>]);

impl<T> Row for RowOf<'_, T> {
    fn cells(&self, put: &mut Put<'_>) -> Result<(), Error> {
        for (at, column) in self.1.iter().enumerate() {
            match (column.get)(self.0) {
                Cell::Null => {}
                cell => put(at, cell)?,
            }
        }
        Ok(())
    }
}

/// The table with these columns.
pub fn of<T>(name: &'static str, columns: &[Of<T>]) -> Table {
    let head = |column: &Of<T>| Head {
        name: column.name,
        ty: column.ty,
    };
    Table {
        name,
        heads: columns.iter().map(head).collect(),
    }
}
