//! What a table is to its writers: named, typed columns, and rows that put their cells.
//!
//! The events' columns are [`crate::event_view::COLUMNS`]; the other tables describe theirs the same way.
//! `docs/export.md` lists all.

use std::sync::LazyLock;

use trace_format::EventData;

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

/// Of the columns that only some kinds of events have, those of a plain system call: the first and the last.
const OF_A_CALL: [&str; 2] = ["syscall", "arg5"];
/// The first and the last that are in the same way every kind's.
const OF_ALL: [[&str; 2]; 2] = [["time", "image"], ["chunk", "row"]];

/// The columns in which a plain system call can have something. Most events of a full recording are such
/// calls, and three quarters of the columns nothing to them.
static PLAIN: LazyLock<Vec<usize>> = LazyLock::new(|| {
    let place = |name: &str| COLUMNS.iter().position(|column| column.name == name);
    let [general, stored] = OF_ALL;
    let spans = [general, OF_A_CALL, stored].map(|[first, last]| (place(first), place(last)));
    let columns = spans.into_iter().flat_map(|span| match span {
        (Some(first), Some(last)) => first..=last,
        _ => unreachable!("columns are never taken away"),
    });
    columns.collect()
});

impl Row for EventView<'_> {
    fn cells(&self, put: &mut Put<'_>) -> Result<(), Error> {
        let mut cell = |at: usize| match (COLUMNS[at].get)(self) {
            Cell::Null => Ok(()),
            cell => put(at, cell),
        };
        match self.event.data {
            EventData::Syscall(_) => PLAIN.iter().copied().try_for_each(&mut cell),
            _ => (0..COLUMNS.len()).try_for_each(&mut cell),
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{order::EventRef, resolve::State};
    use trace_format::{Event, Syscall};

    #[test]
    fn a_plain_call_has_nothing_in_the_columns_that_are_not_asked() {
        let event = Event {
            boot_ns: 1,
            cpu: 2,
            probe: 3,
            seq: 4,
            tid: 5,
            pid: 6,
            cgroup_id: 7,
            data: EventData::Syscall(Syscall {
                nr: 8,
                ret: 9,
                args: [10, 11, 12, 13, 14, 15],
                duration_ns: 0,
            }),
        };
        let state = State::new();
        let view = EventView::new(&event, EventRef::default(), &state);
        let asked: Vec<usize> = COLUMNS
            .iter()
            .enumerate()
            .filter(|(_, column)| (column.get)(&view) != Cell::Null)
            .map(|(at, _)| at)
            .collect();
        let mut put = Vec::new();
        view.cells(&mut |at, _| {
            put.push(at);
            Ok(())
        })
        .unwrap();
        assert_eq!(put, asked);
        assert!(put.len() > 15, "{put:?}");
    }
}
