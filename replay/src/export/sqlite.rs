//! SQLite: a table in a database file. A time is RFC 3339 text (which sorts), an unsigned number is an
//! integer where SQLite's fits (63 bits) and its decimal text beyond, a flag is 0 or 1.

use std::path::Path;

use rusqlite::{Connection, types::Value};

use super::{Error, Row, RowWriter, Table};
use crate::{
    event_json::fields_text,
    event_view::{Cell, ColumnType},
    time,
};

/// Rows that are kept until they are inserted together: preparing the statement and syncing the file cost
/// as much as thousands of rows.
const TRANSACTION_ROWS: usize = 8_192;

/// How long to wait for somebody else who writes to the database.
const BUSY: std::time::Duration = std::time::Duration::from_secs(10);

/// Adds rows to a table, which it makes if it is not there.
pub struct SqliteWriter {
    connection: Connection,
    insert: String,
    columns: usize,
    rows: usize,
    /// The values of the rows, one after the other.
    values: Vec<Value>,
}

impl SqliteWriter {
    pub fn open(path: &Path, table: &Table) -> Result<Self, Error> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY)?;
        let columns: Vec<String> = table
            .heads
            .iter()
            .map(|head| format!("\"{}\" {}", head.name, sql_type(head.ty)))
            .collect();
        connection.execute_batch(&format!(
            "CREATE TABLE IF NOT EXISTS \"{}\" ({})",
            table.name,
            columns.join(", ")
        ))?;
        add_columns(&connection, table)?;
        let names: Vec<String> = table
            .heads
            .iter()
            .map(|head| format!("\"{}\"", head.name))
            .collect();
        let places = vec!["?"; names.len()].join(",");
        Ok(SqliteWriter {
            connection,
            insert: format!(
                "INSERT INTO \"{}\" ({}) VALUES ({places})",
                table.name,
                names.join(",")
            ),
            columns: names.len(),
            rows: 0,
            values: Vec::new(),
        })
    }

    fn commit(&mut self) -> Result<(), Error> {
        if std::mem::take(&mut self.rows) == 0 {
            return Ok(());
        }
        let transaction = self.connection.transaction()?;
        let mut insert = transaction.prepare(&self.insert)?;
        for row in self.values.chunks(self.columns) {
            insert.execute(rusqlite::params_from_iter(row))?;
        }
        drop(insert);
        transaction.commit()?;
        self.values.clear();
        Ok(())
    }
}

/// A table that an earlier version made lacks the columns that came since.
fn add_columns(connection: &Connection, table: &Table) -> Result<(), Error> {
    let mut known = connection.prepare(&format!("PRAGMA table_info(\"{}\")", table.name))?;
    let known: Vec<String> = known
        .query_map([], |row| row.get::<_, String>(1))?
        .collect::<Result<_, _>>()?;
    for head in &table.heads {
        if !known.iter().any(|name| name == head.name) {
            connection.execute_batch(&format!(
                "ALTER TABLE \"{}\" ADD COLUMN \"{}\" {}",
                table.name,
                head.name,
                sql_type(head.ty)
            ))?;
        }
    }
    Ok(())
}

fn sql_type(ty: ColumnType) -> &'static str {
    match ty {
        ColumnType::Time | ColumnType::Text => "TEXT",
        ColumnType::Unsigned | ColumnType::Signed | ColumnType::Flag => "INTEGER",
    }
}

impl RowWriter for SqliteWriter {
    fn row(&mut self, row: &dyn Row) -> Result<(), Error> {
        let start = self.values.len();
        self.values.resize(start + self.columns, Value::Null);
        let values = &mut self.values[start..];
        row.cells(&mut |at, cell| {
            values[at] = value(cell);
            Ok(())
        })?;
        self.rows += 1;
        match self.rows {
            TRANSACTION_ROWS => self.commit(),
            _ => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.commit()
    }

    fn finish(&mut self) -> Result<(), Error> {
        self.commit()
    }
}

fn value(cell: Cell<'_>) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Time(wall_ns) => Value::Text(time::rfc3339(wall_ns)),
        Cell::Unsigned(value) => match i64::try_from(value) {
            Ok(value) => Value::Integer(value),
            Err(_) => Value::Text(value.to_string()),
        },
        Cell::Signed(value) => Value::Integer(value),
        Cell::Flag(value) => Value::Integer(value.into()),
        Cell::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        Cell::Made(text) => Value::Text(text),
        Cell::Fields(declared) => Value::Text(fields_text(declared)),
    }
}
