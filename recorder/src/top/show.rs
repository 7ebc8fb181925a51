//! A table as text, as CSV lines, as a JSON line.

use std::fmt::Write;

use replay::time;
use serde_json::{Map, Value};

use super::table::Snapshot;

/// A column of text is cut at this width on a terminal; the last one at the terminal's end.
const TEXT_WIDTH_MAX: usize = 24;

/// One line, with the columns' names as keys.
pub fn json(snapshot: &Snapshot, rows_max: usize) -> String {
    let columns = snapshot.table.columns();
    let rows: Vec<Value> = snapshot
        .rows
        .iter()
        .take(rows_max)
        .map(|row| {
            let cells = columns.iter().zip(row);
            Value::Object(Map::from_iter(
                cells.map(|(name, cell)| ((*name).to_owned(), cell.json())),
            ))
        })
        .collect();
    serde_json::json!({
        "table": snapshot.table.name(),
        "time": time::show(snapshot.wall_ns, snapshot.boot_ns),
        "boot_ns": snapshot.boot_ns,
        "interval_s": snapshot.interval_ns as f64 / 1e9,
        "rows": rows,
        "rows_in_all": snapshot.rows.len(),
        "left_out": snapshot.left_out,
        "dropped": snapshot.dropped,
    })
    .to_string()
}

/// The line with the columns' names.
pub fn csv_header(snapshot: &Snapshot) -> String {
    format!("time,{}", snapshot.table.columns().join(","))
}

pub fn csv(snapshot: &Snapshot, rows_max: usize) -> String {
    let time = time::show(snapshot.wall_ns, snapshot.boot_ns);
    let mut text = String::new();
    for row in snapshot.rows.iter().take(rows_max) {
        text.push_str(&time);
        for cell in row {
            text.push(',');
            text.push_str(&quoted(&cell.to_string()));
        }
        text.push('\n');
    }
    text
}

/// RFC 4180; control characters are shown as such, so that a row stays a line.
fn quoted(text: &str) -> String {
    let text = plain(text);
    match text.contains([',', '"']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

/// What a program calls itself or a file must not steer the terminal.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// A block of lines, at most `width` wide.
pub fn text(snapshot: &Snapshot, rows_max: usize, width: Option<usize>) -> String {
    let columns = snapshot.table.columns();
    let rows: Vec<Vec<String>> = snapshot
        .rows
        .iter()
        .take(rows_max)
        .map(|row| row.iter().map(|cell| plain(&cell.to_string())).collect())
        .collect();
    let last = columns.len() - 1;
    let head = format!(
        "{}  {} in {:.1} s{}{}",
        time::show(snapshot.wall_ns, snapshot.boot_ns),
        snapshot.table.name(),
        snapshot.interval_ns as f64 / 1e9,
        match snapshot.dropped {
            0 => String::new(),
            dropped => format!(", {dropped} events dropped so far"),
        },
        match snapshot.left_out {
            0 => String::new(),
            events => format!(", {events} events of further rows left out"),
        },
    );
    let cut = |line: &str| -> String {
        match width {
            Some(width) => line.chars().take(width).collect(),
            None => line.to_owned(),
        }
    };
    let mut out = cut(&head) + "\n";
    let widths: Vec<usize> = (0..columns.len())
        .map(|at| {
            let widest = rows.iter().map(|row| row[at].chars().count()).max();
            let cut = widest.unwrap_or(0).min(TEXT_WIDTH_MAX);
            cut.max(columns[at].len())
        })
        .collect();
    let head: Vec<String> = columns.iter().map(|name| name.to_uppercase()).collect();
    for row in std::iter::once(&head).chain(&rows) {
        let mut line = String::new();
        for (at, cell) in row.iter().enumerate() {
            let is_text = snapshot
                .rows
                .first()
                .is_none_or(|first| first[at].is_text());
            let cut: String = match at == last {
                true => cell.clone(),
                false => cell.chars().take(widths[at]).collect(),
            };
            let width = widths[at];
            // Writing into a string cannot fail.
            let _ = match (at == last, is_text) {
                (true, _) => write!(line, "{cut}"),
                (false, true) => write!(line, "{cut:<width$}  "),
                (false, false) => write!(line, "{cut:>width$}  "),
            };
        }
        out.push_str(&cut(line.trim_end()));
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::table::{Cell, Table};

    fn snapshot() -> Snapshot {
        let row = |name: &str, calls: u64| {
            vec![
                Cell::Text(name.into()),
                Cell::Text("openat".into()),
                Cell::Count(calls),
                Cell::Count(0),
            ]
        };
        let mut snapshot = Snapshot {
            table: Table::Syscall,
            boot_ns: 1,
            wall_ns: Some(1_795_401_900_000_000_000),
            interval_ns: 3_000_000_000,
            rows: vec![row("b,\"\u{1b}[2J", 3), row("a", 20), row("c", 3)],
            left_out: 0,
            dropped: 7,
        };
        snapshot.sort(2);
        snapshot
    }

    #[test]
    fn rows_are_sorted_cut_and_harmless_to_a_terminal() {
        let shown = text(&snapshot(), 2, Some(70));
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines.len(), 4, "{shown}");
        assert!(lines[0].contains("syscall in 3.0 s, 7 events dropped"));
        assert!(lines[1].starts_with("CONTAINER_NAME  SYSCALL  CALLS  FAILED"));
        assert!(lines[2].starts_with("a ") && lines[2].contains("20"));
        assert!(!shown.contains('\u{1b}'));
        assert!(lines.iter().all(|line| line.chars().count() <= 70));
    }

    #[test]
    fn csv_and_json_have_one_shape() {
        let snapshot = snapshot();
        assert_eq!(
            csv_header(&snapshot),
            "time,container_name,syscall,calls,failed"
        );
        let lines = csv(&snapshot, 10);
        assert_eq!(lines.lines().count(), 3);
        assert!(
            lines
                .lines()
                .nth(1)
                .unwrap()
                .contains(",\"b,\"\"\u{fffd}[2J\",openat,3,0")
        );
        let value: Value = serde_json::from_str(&json(&snapshot, 1)).unwrap();
        assert_eq!(value["rows"][0]["calls"], 20);
        assert_eq!(value["rows_in_all"], 3);
    }
}
