//! The table of findings: `docs/findings.md` says what its columns mean, `docs/export.md` their types.

use super::table::{Of, Table, of};
use crate::{
    event_view::{
        Cell,
        ColumnType::{Flag, Text, Time, Unsigned},
        family_name,
    },
    findings::{Finding, hex_id, uuid_text},
};

/// An empty text says nothing.
fn text(text: &str) -> Cell<'_> {
    match text.is_empty() {
        true => Cell::Null,
        false => Cell::Text(text.as_bytes()),
    }
}

fn json(value: &impl serde::Serialize) -> Cell<'static> {
    match serde_json::to_string(value) {
        Ok(text) => Cell::Made(text),
        Err(error) => unreachable!("strings, numbers and flags are JSON: {error}"),
    }
}

/// In order.
#[rustfmt::skip]
pub const COLUMNS: &[Of<Finding>] = &[
    Of { name: "time", ty: Time, get: |it| it.wall_ns.map_or(Cell::Null, Cell::Time) },
    Of { name: "boot_ns", ty: Unsigned, get: |it| Cell::Unsigned(it.boot_ns) },
    Of { name: "severity", ty: Text, get: |it| text(it.severity.name()) },
    Of { name: "engine", ty: Text, get: |it| text(it.engine.name()) },
    Of { name: "rule", ty: Text, get: |it| text(&it.rule) },
    Of { name: "message", ty: Text, get: |it| text(&it.message) },
    Of { name: "cgroup_id", ty: Unsigned, get: |it| match it.cgroup_id { 0 => Cell::Null, id => Cell::Unsigned(id) } },
    Of { name: "container_id", ty: Text, get: |it| text(&it.container.id) },
    Of { name: "container_name", ty: Text, get: |it| text(&it.container.name) },
    Of { name: "image", ty: Text, get: |it| text(&it.container.image) },
    Of { name: "runtime", ty: Text, get: |it| text(&it.container.runtime) },
    Of { name: "pid", ty: Unsigned, get: |it| match it.pid { 0 => Cell::Null, pid => Cell::Unsigned(pid.into()) } },
    Of { name: "start_ns", ty: Unsigned, get: |it| it.lineage.first().map_or(Cell::Null, |process| Cell::Unsigned(process.start_ns)) },
    Of { name: "comm", ty: Text, get: |it| it.lineage.first().map_or(Cell::Null, |process| text(&process.comm)) },
    Of { name: "exe", ty: Text, get: |it| it.lineage.first().map_or(Cell::Null, |process| text(&process.exe)) },
    Of { name: "lineage", ty: Text, get: |it| if it.lineage.is_empty() { Cell::Null } else { json(&it.lineage_json()) } },
    Of { name: "fields", ty: Text, get: |it| if it.fields.is_empty() { Cell::Null } else { json(&it.fields_json()) } },
    Of { name: "tags", ty: Text, get: |it| if it.tags.is_empty() { Cell::Null } else { json(&it.tags) } },
    Of { name: "trace", ty: Text, get: |it| Cell::Made(uuid_text(it.trace_uuid)) },
    Of { name: "chunk", ty: Unsigned, get: |it| it.evidence.map_or(Cell::Null, |at| Cell::Unsigned(at.chunk)) },
    Of { name: "family", ty: Text, get: |it| it.evidence.map_or(Cell::Null, |at| text(family_name(at.family))) },
    Of { name: "row", ty: Unsigned, get: |it| it.evidence.map_or(Cell::Null, |at| Cell::Unsigned(at.row.into())) },
    Of { name: "degraded", ty: Flag, get: |it| Cell::Flag(it.degraded.is_some()) },
    Of { name: "degraded_reason", ty: Text, get: |it| it.degraded.as_deref().map_or(Cell::Null, text) },
    Of { name: "suppressed", ty: Unsigned, get: |it| Cell::Unsigned(it.suppressed) },
    Of { name: "rate_limited", ty: Unsigned, get: |it| Cell::Unsigned(it.rate_limited) },
    Of { name: "incident", ty: Text, get: |it| Cell::Made(hex_id(it.incident)) },
];

/// The table of findings.
pub fn findings() -> Table {
    of("findings", COLUMNS)
}
