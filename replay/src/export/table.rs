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

/// The first and the last column of those that are in the same way every kind's.
const OF_ALL: [[&str; 2]; 2] = [["time", "image"], ["chunk", "row"]];
/// The same of those that only some kinds have, for the kinds that a full recording is made of: three quarters
/// of the columns hold nothing of theirs.
const OF_A_CALL: &[[&str; 2]] = &[["syscall", "arg5"], ["call_ns", "call_ns"]];
const OF_AN_OPEN: &[[&str; 2]] = &[
    ["syscall", "ret"],
    ["path", "path"],
    ["flags", "marks"],
    ["call_ns", "call_ns"],
];
const OF_HTTP: &[[&str; 2]] = &[
    ["fd", "remote_port"],
    ["latency_ns", "latency_ns"],
    ["sent", "sent"],
    ["http_status", "http_host"],
];

/// The columns in which an event can have something, by kind.
struct Asked {
    call: Vec<usize>,
    open: Vec<usize>,
    http: Vec<usize>,
    any: Vec<usize>,
}

static ASKED: LazyLock<Asked> = LazyLock::new(|| {
    let place = |name: &str| COLUMNS.iter().position(|column| column.name == name);
    let columns = |of_kind: &[[&str; 2]]| {
        let spans = OF_ALL.iter().chain(of_kind);
        let spans = spans.map(|[first, last]| (place(first), place(last)));
        let mut columns: Vec<usize> = spans
            .flat_map(|span| match span {
                (Some(first), Some(last)) => first..=last,
                _ => unreachable!("columns are never taken away"),
            })
            .collect();
        columns.sort_unstable();
        columns
    };
    Asked {
        call: columns(OF_A_CALL),
        open: columns(OF_AN_OPEN),
        http: columns(OF_HTTP),
        any: (0..COLUMNS.len()).collect(),
    }
});

impl Row for EventView<'_> {
    fn cells(&self, put: &mut Put<'_>) -> Result<(), Error> {
        let columns = match self.event.data {
            EventData::Syscall(_) => &ASKED.call,
            EventData::Open(_) => &ASKED.open,
            EventData::Http(_) => &ASKED.http,
            _ => &ASKED.any,
        };
        for &at in columns {
            match (COLUMNS[at].get)(self) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{order::EventRef, resolve::State};
    use trace_format::{
        Event,
        event::{Endpoint, Http, Open, PathMarks, Syscall},
    };

    /// Whatever a kind can tell, told.
    fn full() -> [EventData; 3] {
        let end = |last: u8| Endpoint {
            addr: vec![10, 0, 0, last].into(),
            port: 80,
        };
        [
            EventData::Syscall(Syscall {
                nr: 8,
                ret: 9,
                args: [10, 11, 12, 13, 14, 15],
                duration_ns: 16,
            }),
            EventData::Open(Open {
                nr: 257,
                ret: 3,
                flags: 1,
                mode: 2,
                dev: 4,
                ino: 5,
                path: "/a".into(),
                marks: PathMarks(PathMarks::CREATED),
                duration_ns: 6,
            }),
            EventData::Http(Http {
                fd: 1,
                sent: true,
                family: 2,
                local: end(1),
                remote: end(2),
                status: 200,
                method: "GET".into(),
                path: "/".into(),
                host: "h".into(),
                latency_ns: 3,
            }),
        ]
    }

    #[test]
    fn a_kind_has_nothing_in_the_columns_that_are_not_asked() {
        let state = State::new();
        for data in full() {
            let event = Event {
                boot_ns: 1,
                cpu: 2,
                probe: 3,
                seq: 4,
                tid: 5,
                pid: 6,
                cgroup_id: 7,
                data,
            };
            let view = EventView::new(&event, EventRef::default(), &state);
            let have: Vec<usize> = (0..COLUMNS.len())
                .filter(|at| (COLUMNS[*at].get)(&view) != Cell::Null)
                .collect();
            let mut put = Vec::new();
            view.cells(&mut |at, _| {
                put.push(at);
                Ok(())
            })
            .unwrap();
            assert_eq!(put, have, "{event:?}");
            assert!(put.len() > 12, "{put:?}");
        }
    }
}
