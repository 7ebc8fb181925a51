//! What a table is to its writers: named, typed columns, and rows that put their cells.
//!
//! The events' columns are [`crate::event_view::COLUMNS`]; the other tables describe theirs the same way.
//! `docs/export.md` lists all.

use std::{ops::RangeInclusive, sync::LazyLock};

use trace_format::EventData;

use super::Error;
use crate::{
    event_view::{COLUMNS, Cell, ColumnType, EventView},
    resolve::{Version, may_outlive_its_process},
};

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

    /// Rows with the same answer have the same cells in [`Row::actor_cells`].
    fn actor(&self) -> Option<Actor> {
        None
    }

    /// Of a row that has an actor: the cells that follow from that.
    fn actor_cells(&self, _put: &mut Put<'_>) -> Result<(), Error> {
        Ok(())
    }

    /// Of a row that has an actor: the other cells.
    fn own_cells(&self, put: &mut Put<'_>) -> Result<(), Error> {
        self.cells(put)
    }
}

/// Who did something, as far as the state knew it then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Actor {
    pub pid: u32,
    pub cgroup_id: u64,
    may_have_ended: bool,
    version: Version,
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

/// The first and the last column of those that tell of the actor.
const OF_ACTOR: [&str; 2] = ["comm", "image"];

/// The columns in which an event of a kind can have something: all, and all but its actor's.
struct OfKind {
    all: Vec<usize>,
    own: Vec<usize>,
}

struct Asked {
    actor: RangeInclusive<usize>,
    call: OfKind,
    open: OfKind,
    http: OfKind,
    any: OfKind,
}

impl Asked {
    fn of(&self, data: &EventData) -> &OfKind {
        match data {
            EventData::Syscall(_) => &self.call,
            EventData::Open(_) => &self.open,
            EventData::Http(_) => &self.http,
            _ => &self.any,
        }
    }
}

static ASKED: LazyLock<Asked> = LazyLock::new(|| {
    let place = |name: &str| COLUMNS.iter().position(|column| column.name == name);
    let span = |[first, last]: &[&str; 2]| match (place(first), place(last)) {
        (Some(first), Some(last)) => first..=last,
        _ => unreachable!("columns are never taken away"),
    };
    let actor = span(&OF_ACTOR);
    let of_kind = |all: Vec<usize>| OfKind {
        own: all
            .iter()
            .copied()
            .filter(|at| !actor.contains(at))
            .collect(),
        all,
    };
    let columns = |only: &[[&str; 2]]| {
        let mut columns: Vec<usize> = OF_ALL.iter().chain(only).flat_map(span).collect();
        columns.sort_unstable();
        of_kind(columns)
    };
    Asked {
        call: columns(OF_A_CALL),
        open: columns(OF_AN_OPEN),
        http: columns(OF_HTTP),
        any: of_kind((0..COLUMNS.len()).collect()),
        actor,
    }
});

impl Row for EventView<'_> {
    fn cells(&self, put: &mut Put<'_>) -> Result<(), Error> {
        let columns = &ASKED.of(&self.event.data).all;
        columns.iter().try_for_each(|at| self.cell(*at, put))
    }

    fn actor(&self) -> Option<Actor> {
        Some(Actor {
            pid: self.event.pid,
            cgroup_id: self.event.cgroup_id,
            may_have_ended: may_outlive_its_process(&self.event.data),
            version: self.state.version(),
        })
    }

    fn actor_cells(&self, put: &mut Put<'_>) -> Result<(), Error> {
        ASKED.actor.clone().try_for_each(|at| self.cell(at, put))
    }

    fn own_cells(&self, put: &mut Put<'_>) -> Result<(), Error> {
        let columns = &ASKED.of(&self.event.data).own;
        columns.iter().try_for_each(|at| self.cell(*at, put))
    }
}

impl EventView<'_> {
    #[inline]
    fn cell(&self, at: usize, put: &mut Put<'_>) -> Result<(), Error> {
        match (COLUMNS[at].get)(self) {
            Cell::Null => Ok(()),
            cell => put(at, cell),
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
