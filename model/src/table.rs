//! Windows as a table: CSV and Parquet, one row per container and window.
//!
//! Columns before the features say where the row comes from and what the labels say; `label` is 0
//! (normal), 1 (anomalous) or empty (unclear), `class` is empty where nothing was ordered. An unknown
//! feature is empty. Columns are only ever appended.

use std::{io::Write, sync::Arc};

use arrow::{
    array::{
        ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, UInt8Array, UInt64Array,
    },
    datatypes::{DataType, Field, Schema},
};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};
use replay::features::schema;

use crate::{
    Error,
    dataset::{LabeledRow, LabeledRun},
    labels::{Label, Truth},
};

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Csv,
    Parquet,
}

/// The columns before the features.
pub const COLUMNS: [&str; 11] = [
    "run",
    "container_id",
    "container_name",
    "image",
    "cgroup_id",
    "start_boot_ns",
    "end_boot_ns",
    "warm_up",
    "label",
    "class",
    "intensity",
];

/// Rows of one Parquet row group: bounds the memory of writing.
const GROUP_ROWS: usize = 65_536;

/// Writes all rows.
pub fn write(
    format: Format,
    runs: &[LabeledRun],
    rows: &[LabeledRow],
    out: &mut (dyn Write + Send),
) -> Result<(), Error> {
    match format {
        Format::Csv => csv(runs, rows, out).map_err(|source| Error::Write {
            path: "the table".into(),
            source,
        }),
        Format::Parquet => parquet(runs, rows, out),
    }
}

fn csv(
    runs: &[LabeledRun],
    rows: &[LabeledRow],
    out: &mut (dyn Write + Send),
) -> std::io::Result<()> {
    let head: Vec<&str> = COLUMNS.into_iter().chain(schema::names()).collect();
    writeln!(out, "{}", head.join(","))?;
    for row in rows {
        let label = label_of(row, runs);
        let of = &row.row;
        let mut fields = vec![
            quoted(&runs[row.run].name),
            quoted(&of.container_id),
            quoted(&of.container_name),
            quoted(&of.image),
            of.cgroup_id.to_string(),
            of.start_ns.to_string(),
            of.end_ns.to_string(),
            u8::from(of.warm_up).to_string(),
            truth(row).map_or(String::new(), |truth| truth.to_string()),
            label.map_or(String::new(), |label| quoted(&label.class)),
            label.map_or(String::new(), |label| label.intensity.to_string()),
        ];
        fields.extend(of.values.iter().map(|value| {
            if value.is_nan() {
                String::new()
            } else {
                value.to_string()
            }
        }));
        writeln!(out, "{}", fields.join(","))?;
    }
    out.flush()
}

fn parquet(
    runs: &[LabeledRun],
    rows: &[LabeledRow],
    out: &mut (dyn Write + Send),
) -> Result<(), Error> {
    let types = [
        DataType::Utf8,
        DataType::Utf8,
        DataType::Utf8,
        DataType::Utf8,
        DataType::UInt64,
        DataType::UInt64,
        DataType::UInt64,
        DataType::Boolean,
        DataType::UInt8,
        DataType::Utf8,
        DataType::Float64,
    ];
    let mut fields: Vec<Field> = COLUMNS
        .into_iter()
        .zip(types)
        .map(|(name, ty)| Field::new(name, ty, matches!(name, "label" | "class" | "intensity")))
        .collect();
    fields.extend(schema::names().map(|name| Field::new(name, DataType::Float64, true)));
    let table = Arc::new(Schema::new(fields));
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .build();
    let mut writer = ArrowWriter::try_new(out, table.clone(), Some(properties))?;
    for rows in rows.chunks(GROUP_ROWS) {
        writer.write(&batch(&table, runs, rows)?)?;
        writer.flush()?;
    }
    writer.close()?;
    Ok(())
}

fn batch(
    table: &Arc<Schema>,
    runs: &[LabeledRun],
    rows: &[LabeledRow],
) -> Result<RecordBatch, Error> {
    let text = |of: fn(&LabeledRow) -> &str| {
        Arc::new(StringArray::from_iter_values(rows.iter().map(of))) as ArrayRef
    };
    let number = |of: fn(&LabeledRow) -> u64| {
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(of))) as ArrayRef
    };
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(
            rows.iter().map(|row| &runs[row.run].name),
        )),
        text(|row| &row.row.container_id),
        text(|row| &row.row.container_name),
        text(|row| &row.row.image),
        number(|row| row.row.cgroup_id),
        number(|row| row.row.start_ns),
        number(|row| row.row.end_ns),
        Arc::new(BooleanArray::from_iter(
            rows.iter().map(|row| Some(row.row.warm_up)),
        )),
        Arc::new(UInt8Array::from_iter(rows.iter().map(truth))),
        Arc::new(StringArray::from_iter(rows.iter().map(|row| {
            label_of(row, runs).map(|label| label.class.as_str())
        }))),
        Arc::new(Float64Array::from_iter(
            rows.iter()
                .map(|row| label_of(row, runs).map(|label| label.intensity)),
        )),
    ];
    for feature in 0..schema::COUNT {
        let values = rows
            .iter()
            .map(|row| Some(row.row.values[feature]).filter(|value| !value.is_nan()));
        columns.push(Arc::new(Float64Array::from_iter(values)));
    }
    Ok(RecordBatch::try_new(table.clone(), columns)?)
}

fn label_of<'a>(row: &LabeledRow, runs: &'a [LabeledRun]) -> Option<&'a Label> {
    row.judged.label.map(|at| &runs[row.run].labels[at])
}

fn truth(row: &LabeledRow) -> Option<u8> {
    match row.judged.truth {
        Truth::Normal => Some(0),
        Truth::Anomalous => Some(1),
        Truth::Unclear => None,
    }
}

/// RFC 4180.
fn quoted(value: &str) -> String {
    if value.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", value.replace('"', "\"\""))
    } else {
        value.to_owned()
    }
}
