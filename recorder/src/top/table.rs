//! The tables: their columns, and one of them at the end of an interval.

use std::fmt;

/// What is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Table {
    /// Programs: what they started, opened, called
    Process,
    /// Files by process: reads and writes
    File,
    /// Connections by process and peer
    Tcp,
    /// System calls by container
    Syscall,
    /// Signals, shared memory, queues, unix sockets, tracing
    Ipc,
    /// Containers: resources and activity
    Container,
}

/// Column names. Those of `File` are fixed: other programs read them.
#[rustfmt::skip]
const PROCESS: &[&str] = &["pid", "container_name", "user", "calls", "failed", "opens", "connects", "forks", "comm", "args"];
#[rustfmt::skip]
const FILE: &[&str] = &["pid", "container_name", "reads", "writes", "read_bytes", "write_bytes", "type", "comm", "filename"];
#[rustfmt::skip]
const TCP: &[&str] = &["pid", "container_name", "connects", "accepts", "failed", "closed", "latency_ms", "comm", "local", "remote"];
#[rustfmt::skip]
const SYSCALL: &[&str] = &["container_name", "syscall", "calls", "failed"];
#[rustfmt::skip]
const IPC: &[&str] = &["pid", "container_name", "calls", "failed", "comm", "kind", "target"];
#[rustfmt::skip]
const CONTAINER: &[&str] = &["container_name", "cpu_percent", "throttled_percent", "memory_bytes", "faults", "pids", "read_bytes", "write_bytes", "received_bytes", "sent_bytes", "execs", "opens", "connects", "calls", "image"];

impl Table {
    pub const ALL: [Table; 6] = [
        Table::Process,
        Table::File,
        Table::Tcp,
        Table::Syscall,
        Table::Ipc,
        Table::Container,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Table::Process => "process",
            Table::File => "file",
            Table::Tcp => "tcp",
            Table::Syscall => "syscall",
            Table::Ipc => "ipc",
            Table::Container => "container",
        }
    }

    pub fn columns(self) -> &'static [&'static str] {
        match self {
            Table::Process => PROCESS,
            Table::File => FILE,
            Table::Tcp => TCP,
            Table::Syscall => SYSCALL,
            Table::Ipc => IPC,
            Table::Container => CONTAINER,
        }
    }

    /// What the largest of comes first, unless another column is asked for.
    pub fn sorted_by(self) -> &'static str {
        match self {
            Table::Process | Table::Syscall | Table::Ipc => "calls",
            Table::File => "read_bytes",
            Table::Tcp => "connects",
            Table::Container => "cpu_percent",
        }
    }

    /// Position of a column.
    pub fn column(self, name: &str) -> Result<usize, String> {
        self.columns()
            .iter()
            .position(|column| *column == name)
            .ok_or_else(|| {
                format!(
                    "the table {} has no column {name:?}; it has {}",
                    self.name(),
                    self.columns().join(", ")
                )
            })
    }
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Text(String),
    Count(u64),
    /// With one decimal.
    Number(f64),
}

impl Cell {
    /// Larger first, and texts after numbers by the alphabet.
    pub fn order(&self, other: &Cell) -> std::cmp::Ordering {
        match (self, other) {
            (Cell::Count(a), Cell::Count(b)) => b.cmp(a),
            (Cell::Number(a), Cell::Number(b)) => b.total_cmp(a),
            _ => self.to_string().cmp(&other.to_string()),
        }
    }

    pub fn is_text(&self) -> bool {
        matches!(self, Cell::Text(_))
    }

    pub fn json(&self) -> serde_json::Value {
        match self {
            Cell::Text(text) => text.as_str().into(),
            Cell::Count(count) => (*count).into(),
            Cell::Number(number) => ((number * 10.0).round() / 10.0).into(),
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cell::Text(text) => f.write_str(text),
            Cell::Count(count) => write!(f, "{count}"),
            Cell::Number(number) => write!(f, "{number:.1}"),
        }
    }
}

/// A table at the end of an interval.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    pub table: Table,
    pub boot_ns: u64,
    pub wall_ns: Option<u64>,
    pub interval_ns: u64,
    /// In the order of their keys; [`Snapshot::sort`] puts them by a column.
    pub rows: Vec<Vec<Cell>>,
    /// Events of rows for which there was no room.
    pub left_out: u64,
    /// Dropped by the kernel since the recording began.
    pub dropped: u64,
}

impl Snapshot {
    /// By a column, largest first, then by the other cells: equal rows have a fixed order.
    pub fn sort(&mut self, column: usize) {
        self.rows.sort_by(|a, b| {
            let first = a[column].order(&b[column]);
            a.iter()
                .zip(b)
                .fold(first, |order, (a, b)| order.then_with(|| a.order(b)))
        });
    }
}
