//! `rec top`: live tables, a pure fold over the same sealed chunks that every other reader gets.
//!
//! An interval ends when trace time passes it, not when a clock does: the same chunks give the same
//! tables. Names, containers and descriptors come from the replay library's state.

mod count;
pub mod show;
pub mod table;

use std::time::Duration;

use replay::{
    order::{EventRef, Fold, Order},
    resolve::State,
};
use trace_format::{Context, ContextRecord, Event, SealedChunk};

use crate::sinks::{Ending, Sink};
use count::Counting;
pub use table::{Snapshot, Table};

/// Takes the table at the end of each interval; false: nobody wants more.
pub type Shown = Box<dyn FnMut(&Snapshot) -> bool + Send>;

/// Chunks in, a table every interval out.
pub struct TopSink {
    order: Order,
    fold: TopFold,
}

struct TopFold {
    state: State,
    counting: Counting,
    interval_ns: u64,
    /// Start of the interval, and its end; 0 before the first record.
    start_ns: u64,
    next_ns: u64,
    dropped: u64,
    shown: Shown,
    wanted: bool,
}

/// Whoever looked has seen enough: the end of the capture, and no failure.
#[derive(Debug, thiserror::Error)]
#[error("enough tables were shown")]
pub struct Enough;

impl TopSink {
    pub fn new(table: Table, interval: Duration, shown: Shown) -> Self {
        TopSink {
            order: Order::default(),
            fold: TopFold {
                state: State::new(),
                counting: Counting::new(table),
                interval_ns: u64::try_from(interval.as_nanos())
                    .unwrap_or(u64::MAX)
                    .max(1),
                start_ns: 0,
                next_ns: 0,
                dropped: 0,
                shown,
                wanted: true,
            },
        }
    }
}

impl TopFold {
    /// Trace time has come to `now_ns`: ends the intervals before it. Idle ones are one.
    fn advance(&mut self, now_ns: u64) {
        if self.next_ns == 0 {
            self.start_ns = now_ns;
            self.next_ns = now_ns.saturating_add(self.interval_ns);
        }
        if now_ns < self.next_ns {
            return;
        }
        self.end(now_ns);
        self.start_ns = now_ns;
        self.next_ns = now_ns.saturating_add(self.interval_ns);
    }

    fn end(&mut self, now_ns: u64) {
        if !self.wanted {
            return;
        }
        let mut snapshot = self
            .counting
            .take(&self.state, now_ns.saturating_sub(self.start_ns));
        snapshot.boot_ns = now_ns;
        snapshot.wall_ns = self.state.wall_ns(now_ns);
        snapshot.dropped = self.dropped;
        self.wanted = (self.shown)(&snapshot);
    }
}

impl Fold for TopFold {
    fn context(&mut self, record: &ContextRecord) {
        // What is older than the recording (a process's start) is no moment of it; ticks are.
        if matches!(record.body, Context::Tick) {
            self.advance(record.boot_ns);
        }
        if let Context::Loss(loss) = &record.body {
            self.dropped = loss.counts.iter().map(|count| count.dropped).sum();
        }
        self.state.context(record);
    }

    fn event(&mut self, event: &Event, _: EventRef) {
        self.advance(event.boot_ns);
        self.state.before(event);
        self.counting.event(event, &self.state);
        self.state.after(event);
    }
}

impl Sink for TopSink {
    fn chunk(&mut self, chunk: &SealedChunk) -> anyhow::Result<()> {
        self.order.push(chunk.events()?, &mut self.fold);
        match self.fold.wanted {
            true => Ok(()),
            false => Err(Enough.into()),
        }
    }

    fn finish(mut self: Box<Self>, _: &Ending) -> anyhow::Result<u64> {
        self.order.finish(&mut self.fold);
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    fn tables(table: Table) -> Vec<Snapshot> {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let out = seen.clone();
        let shown: Shown = Box::new(move |snapshot| {
            out.lock().unwrap().push(snapshot.clone());
            true
        });
        let mut sink = Box::new(TopSink::new(table, Duration::from_secs(3), shown));
        for chunk in &fixtures::golden().chunks {
            sink.chunk(chunk).unwrap();
        }
        sink.finish(&Ending::Clean).unwrap();
        Arc::try_unwrap(seen).unwrap().into_inner().unwrap()
    }

    #[test]
    fn every_table_says_something_about_an_incident_and_the_same_thing_twice() {
        for table in Table::ALL {
            let shown = tables(table);
            assert!(shown.len() > 10, "{}", table.name());
            // No single read or write, and nothing between processes, is in the incident.
            assert!(
                matches!(table, Table::File | Table::Ipc)
                    || shown.iter().any(|snapshot| !snapshot.rows.is_empty()),
                "{}",
                table.name()
            );
            for snapshot in &shown {
                for row in &snapshot.rows {
                    assert_eq!(row.len(), table.columns().len());
                }
            }
            assert_eq!(shown, tables(table), "{}", table.name());
        }
    }

    /// What leaves a process table unexplained: a row without the container it is in.
    #[test]
    fn containers_are_named_and_their_work_is_counted() {
        let shown = tables(Table::Container);
        let names: Vec<String> = shown
            .iter()
            .flat_map(|snapshot| snapshot.rows.iter().map(|row| row[0].to_string()))
            .collect();
        assert!(names.iter().any(|name| name.contains("web")), "{names:?}");
        assert!(!names.iter().any(String::is_empty));
    }

    #[test]
    fn enough_ends_the_sink() {
        let mut left = 2;
        let shown: Shown = Box::new(move |_| {
            left -= 1;
            left > 0
        });
        let mut sink = TopSink::new(Table::Process, Duration::from_secs(1), shown);
        let ended = fixtures::golden()
            .chunks
            .iter()
            .find_map(|chunk| sink.chunk(chunk).err());
        assert!(ended.unwrap().is::<Enough>());
    }
}
