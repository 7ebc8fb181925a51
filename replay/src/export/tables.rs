//! The tables of processes, containers and connections. `docs/export.md` lists their columns.

use super::table::{Of, Table, of};
use crate::{
    event_view::{
        COLUMNS, Cell,
        ColumnType::{Flag, Signed, Text, Time, Unsigned},
    },
    lives::{Connection, Place, ProcessLife},
    resolve::{Container, Role},
};

fn text(text: &str) -> Cell<'_> {
    match text.is_empty() {
        true => Cell::Null,
        false => Cell::Text(text.as_bytes()),
    }
}

fn some(value: Option<u64>) -> Cell<'static> {
    value.map_or(Cell::Null, Cell::Unsigned)
}

fn nonzero(value: u64) -> Cell<'static> {
    some((value != 0).then_some(value))
}

fn time(wall_ns: Option<u64>) -> Cell<'static> {
    wall_ns.map_or(Cell::Null, Cell::Time)
}

fn cgroup(place: &Place) -> Cell<'static> {
    nonzero(place.cgroup_id)
}

/// In order.
#[rustfmt::skip]
pub const PROCESS_COLUMNS: &[Of<ProcessLife>] = &[
    Of { name: "time", ty: Time, get: |it| time(it.start_wall_ns) },
    Of { name: "boot_ns", ty: Unsigned, get: |it| nonzero(it.start_ns) },
    Of { name: "pid", ty: Unsigned, get: |it| Cell::Unsigned(it.pid.into()) },
    Of { name: "ppid", ty: Unsigned, get: |it| nonzero(it.ppid.into()) },
    Of { name: "parent_start_ns", ty: Unsigned, get: |it| nonzero(it.parent_start_ns) },
    Of { name: "comm", ty: Text, get: |it| text(&it.comm) },
    Of { name: "exe", ty: Text, get: |it| text(&it.exe) },
    Of { name: "command_line", ty: Text, get: |it| text(&it.command_line) },
    Of { name: "uid", ty: Unsigned, get: |it| some(it.uid.map(u64::from)) },
    Of { name: "cgroup_id", ty: Unsigned, get: |it| cgroup(&it.place) },
    Of { name: "container_id", ty: Text, get: |it| text(&it.place.container_id) },
    Of { name: "container_name", ty: Text, get: |it| text(&it.place.container_name) },
    Of { name: "image", ty: Text, get: |it| text(&it.place.image) },
    Of { name: "exec_ns", ty: Unsigned, get: |it| some(it.exec_ns) },
    Of { name: "exit_ns", ty: Unsigned, get: |it| some(it.exit_ns) },
    Of { name: "exit_code", ty: Unsigned, get: |it| some(it.exit_code.map(u64::from)) },
    Of { name: "exit_signal", ty: Unsigned, get: |it| some(it.exit_signal.map(u64::from)) },
    Of { name: "user_ns", ty: Unsigned, get: |it| some(it.usage.map(|used| used.user_ns)) },
    Of { name: "system_ns", ty: Unsigned, get: |it| some(it.usage.map(|used| used.system_ns)) },
    Of { name: "max_rss_bytes", ty: Unsigned, get: |it| some(it.usage.map(|used| used.max_rss_bytes)) },
    Of { name: "minor_faults", ty: Unsigned, get: |it| some(it.usage.map(|used| used.minor_faults)) },
    Of { name: "major_faults", ty: Unsigned, get: |it| some(it.usage.map(|used| used.major_faults)) },
];

/// In order.
#[rustfmt::skip]
pub const CONNECTION_COLUMNS: &[Of<Connection>] = &[
    Of { name: "time", ty: Time, get: |it| time(it.wall_ns) },
    Of { name: "boot_ns", ty: Unsigned, get: |it| Cell::Unsigned(it.boot_ns) },
    Of { name: "protocol", ty: Text, get: |it| text(&it.protocol) },
    Of { name: "role", ty: Text, get: |it| it.role.map_or(Cell::Null, |role| text(match role { Role::Client => "client", Role::Server => "server" })) },
    Of { name: "pid", ty: Unsigned, get: |it| nonzero(it.pid.into()) },
    Of { name: "start_ns", ty: Unsigned, get: |it| nonzero(it.start_ns) },
    Of { name: "comm", ty: Text, get: |it| text(&it.comm) },
    Of { name: "cgroup_id", ty: Unsigned, get: |it| cgroup(&it.place) },
    Of { name: "container_id", ty: Text, get: |it| text(&it.place.container_id) },
    Of { name: "container_name", ty: Text, get: |it| text(&it.place.container_name) },
    Of { name: "image", ty: Text, get: |it| text(&it.place.image) },
    Of { name: "local_addr", ty: Text, get: |it| it.local_addr.as_deref().map_or(Cell::Null, text) },
    Of { name: "local_port", ty: Unsigned, get: |it| nonzero(it.local_port.into()) },
    Of { name: "remote_addr", ty: Text, get: |it| it.remote_addr.as_deref().map_or(Cell::Null, text) },
    Of { name: "remote_port", ty: Unsigned, get: |it| nonzero(it.remote_port.into()) },
    Of { name: "latency_ns", ty: Unsigned, get: |it| nonzero(it.latency_ns) },
    Of { name: "established_ns", ty: Unsigned, get: |it| some(it.established_ns) },
    Of { name: "end_ns", ty: Unsigned, get: |it| some(it.end_ns) },
    Of { name: "went", ty: Text, get: |it| text(it.went.name()) },
    Of { name: "ret", ty: Signed, get: |it| it.ret.map_or(Cell::Null, Cell::Signed) },
];

/// A cgroup of a container.
pub struct ContainerRow {
    pub cgroup_id: u64,
    pub container: Container,
}

/// In order.
#[rustfmt::skip]
pub const CONTAINER_COLUMNS: &[Of<ContainerRow>] = &[
    Of { name: "cgroup_id", ty: Unsigned, get: |it| Cell::Unsigned(it.cgroup_id) },
    Of { name: "container_id", ty: Text, get: |it| text(&it.container.id) },
    Of { name: "container_name", ty: Text, get: |it| text(&it.container.name) },
    Of { name: "image", ty: Text, get: |it| text(&it.container.image) },
    Of { name: "runtime", ty: Text, get: |it| text(&it.container.runtime) },
    Of { name: "pod", ty: Text, get: |it| text(&it.container.pod) },
    Of { name: "namespace", ty: Text, get: |it| text(&it.container.namespace) },
    Of { name: "cgroup_path", ty: Text, get: |it| text(&it.container.cgroup_path) },
    Of { name: "privileged", ty: Flag, get: |it| it.container.privileged.map_or(Cell::Null, Cell::Flag) },
    Of { name: "labels", ty: Text, get: |it| labels(&it.container.labels) },
];

fn labels(labels: &[(String, String)]) -> Cell<'static> {
    if labels.is_empty() {
        return Cell::Null;
    }
    let object: serde_json::Map<String, serde_json::Value> = labels
        .iter()
        .map(|(name, value)| (name.clone(), value.clone().into()))
        .collect();
    Cell::Made(serde_json::Value::from(object).to_string())
}

pub fn processes() -> Table {
    of("processes", PROCESS_COLUMNS)
}

pub fn connections() -> Table {
    of("connections", CONNECTION_COLUMNS)
}

pub fn containers() -> Table {
    of("containers", CONTAINER_COLUMNS)
}

/// The columns of events that samples have: what is said of every event and of its container, and what was
/// sampled.
const OF_SAMPLES: &[&str] = &[
    "time",
    "boot_ns",
    "cgroup_id",
    "container_id",
    "container_name",
    "image",
    "cpu_ns",
    "throttled_ns",
    "memory_bytes",
    "memory_limit_bytes",
    "pids",
    "io_read_bytes",
    "io_write_bytes",
    "chunk",
    "row",
    "minor_faults",
    "major_faults",
    "memory_peak_bytes",
    "anon_bytes",
    "file_bytes",
    "cpu_stall_ns",
    "memory_stall_ns",
    "memory_full_stall_ns",
    "io_stall_ns",
    "io_full_stall_ns",
    "io_reads",
    "io_writes",
    "net_received_bytes",
    "net_received_packets",
    "net_sent_bytes",
    "net_sent_packets",
    "load_hundredths",
];

/// The events' columns that samples have, and the place of each in the table of samples.
pub fn samples() -> (Table, Vec<Option<usize>>) {
    let mut table = super::table::events();
    table.name = "samples";
    let mut places = Vec::new();
    let mut kept = 0;
    for column in COLUMNS {
        let keep = OF_SAMPLES.contains(&column.name);
        places.push(keep.then_some(kept));
        kept += usize::from(keep);
    }
    table.heads.retain(|head| OF_SAMPLES.contains(&head.name));
    (table, places)
}

/// A row with other numbers for its columns; those without a number are left out.
pub struct Placed<'a>(pub &'a dyn super::Row, pub &'a [Option<usize>]);

impl super::Row for Placed<'_> {
    fn cells(&self, put: &mut super::table::Put<'_>) -> Result<(), super::Error> {
        self.0.cells(&mut |at, cell| match self.1.get(at) {
            Some(Some(place)) => put(*place, cell),
            _ => Ok(()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_lists_every_column_in_order() {
        let documentation = include_str!("../../../docs/export.md");
        for (heading, table) in [
            ("Processes", processes()),
            ("Connections", connections()),
            ("Containers", containers()),
            ("Findings", super::super::findings()),
        ] {
            let (_, part) = documentation
                .split_once(&format!("\n## {heading}\n"))
                .unwrap();
            let documented: Vec<&str> = part
                .lines()
                .take_while(|line| !line.starts_with("## "))
                .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
                .collect();
            let columns: Vec<&str> = table.heads.iter().map(|head| head.name).collect();
            assert_eq!(documented, columns, "{heading}");
        }
    }

    #[test]
    fn samples_have_these_columns_and_no_others() {
        let (table, places) = samples();
        let names: Vec<&str> = table.heads.iter().map(|head| head.name).collect();
        assert_eq!(names, OF_SAMPLES);
        let last = places.iter().flatten().max().copied();
        assert_eq!(last, Some(table.heads.len() - 1));
    }
}
