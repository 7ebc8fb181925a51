//! Parquet: times as `timestamp[ns, UTC]`, texts dictionary-encoded, zstd. Written batch by batch, so
//! that memory does not grow with the trace.

use arrow::{
    array::{
        ArrayRef, BooleanBuilder, Int64Builder, RecordBatch, StringDictionaryBuilder,
        TimestampNanosecondBuilder, UInt64Builder,
    },
    datatypes::{DataType, Field, Int32Type, Schema, TimeUnit},
};
use arrow_ipc::writer::FileWriter;
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
    schema::types::ColumnPath,
};
use std::{io::Write, sync::Arc};

use super::{Error, Row, RowWriter, Table, table::Head};
use crate::{
    event_json::fields_text,
    event_view::{Cell, ColumnType},
};

/// Rows in a batch: some 60 columns of 8 bytes, 8 MB.
const BATCH_ROWS: usize = 16_384;
/// Rows in a row group, the unit that readers skip and that the writer keeps encoded in memory.
const GROUP_ROWS: usize = 262_144;
/// Columns that people look one value up in, and whose values lie anywhere in a row group: there, minimum
/// and maximum exclude nothing.
const BLOOM: &[&str] = &["path", "exe", "args", "remote_addr", "container_id", "pid"];
/// Distinct values that a bloom filter is made for.
const BLOOM_VALUES: u64 = 4_096;

/// Collects rows into batches.
struct Batches {
    schema: Arc<Schema>,
    builders: Vec<Builder>,
    heads: Vec<Head>,
    rows: usize,
}

/// A column that is being made. Nulls are appended when the next value comes: most columns of most rows
/// have none.
struct Builder {
    of: Values,
    len: usize,
}

enum Values {
    Time(TimestampNanosecondBuilder),
    Unsigned(UInt64Builder),
    Signed(Int64Builder),
    Flag(BooleanBuilder),
    Text(StringDictionaryBuilder<Int32Type>),
}

impl Batches {
    fn new(table: &Table) -> Batches {
        let fields: Vec<Field> = table
            .heads
            .iter()
            .map(|head| Field::new(head.name, data_type(head.ty), true))
            .collect();
        Batches {
            schema: Arc::new(Schema::new(fields)),
            builders: table.heads.iter().map(Builder::new).collect(),
            heads: table.heads.clone(),
            rows: 0,
        }
    }

    /// Adds a row; the batch when it is full.
    fn add(&mut self, row: &dyn Row) -> Result<Option<RecordBatch>, Error> {
        let (builders, heads, rows) = (&mut self.builders, &self.heads, self.rows);
        row.cells(&mut |at, cell| builders[at].append(&heads[at], rows, cell))?;
        self.rows += 1;
        match self.rows {
            BATCH_ROWS => self.take(),
            _ => Ok(None),
        }
    }

    /// What is there.
    fn take(&mut self) -> Result<Option<RecordBatch>, Error> {
        let rows = std::mem::take(&mut self.rows);
        if rows == 0 {
            return Ok(None);
        }
        let arrays: Vec<ArrayRef> = self
            .builders
            .iter_mut()
            .map(|builder| builder.finish(rows))
            .collect();
        Ok(Some(RecordBatch::try_new(self.schema.clone(), arrays)?))
    }
}

/// Parquet.
pub struct ParquetWriter<W: Write + Send> {
    writer: ArrowWriter<W>,
    batches: Batches,
}

impl<W: Write + Send> ParquetWriter<W> {
    pub fn new(out: W, table: &Table) -> Result<Self, Error> {
        let batches = Batches::new(table);
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .set_created_by(concat!("trailcam ", env!("CARGO_PKG_VERSION")).to_owned());
        for head in &table.heads {
            if BLOOM.contains(&head.name) {
                let path = ColumnPath::from(head.name);
                properties = properties
                    .set_column_bloom_filter_enabled(path.clone(), true)
                    .set_column_bloom_filter_max_ndv(path, BLOOM_VALUES);
            }
        }
        let properties = properties.build();
        let writer = ArrowWriter::try_new(out, batches.schema.clone(), Some(properties))?;
        Ok(ParquetWriter { writer, batches })
    }
}

impl<W: Write + Send> RowWriter for ParquetWriter<W> {
    fn row(&mut self, row: &dyn Row) -> Result<(), Error> {
        if let Some(batch) = self.batches.add(row)? {
            self.writer.write(&batch)?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Error> {
        if let Some(batch) = self.batches.take()? {
            self.writer.write(&batch)?;
        }
        self.writer.finish()?;
        Ok(())
    }
}

/// Arrow's file format (Feather version 2). Every batch has dictionaries of its own, which the file
/// format cannot say: texts are plain in it.
pub struct ArrowFileWriter<W: Write> {
    writer: FileWriter<W>,
    batches: Batches,
    schema: Arc<Schema>,
}

impl<W: Write> ArrowFileWriter<W> {
    pub fn new(out: W, table: &Table) -> Result<Self, Error> {
        let batches = Batches::new(table);
        let plain = |field: &Arc<Field>| match field.data_type() {
            DataType::Dictionary(_, values) => Field::new(field.name(), (**values).clone(), true),
            ty => Field::new(field.name(), ty.clone(), true),
        };
        let fields: Vec<Field> = batches.schema.fields().iter().map(plain).collect();
        let schema = Arc::new(Schema::new(fields));
        Ok(ArrowFileWriter {
            writer: FileWriter::try_new(out, &schema)?,
            batches,
            schema,
        })
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        let columns: Vec<ArrayRef> = batch
            .columns()
            .iter()
            .zip(self.schema.fields())
            .map(|(column, field)| arrow::compute::cast(column, field.data_type()))
            .collect::<Result<_, _>>()?;
        let batch = RecordBatch::try_new(self.schema.clone(), columns)?;
        Ok(self.writer.write(&batch)?)
    }
}

impl<W: Write> RowWriter for ArrowFileWriter<W> {
    fn row(&mut self, row: &dyn Row) -> Result<(), Error> {
        match self.batches.add(row)? {
            Some(batch) => self.write(&batch),
            None => Ok(()),
        }
    }

    fn finish(&mut self) -> Result<(), Error> {
        if let Some(batch) = self.batches.take()? {
            self.write(&batch)?;
        }
        Ok(self.writer.finish()?)
    }
}

fn data_type(ty: ColumnType) -> DataType {
    match ty {
        ColumnType::Time => DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
        ColumnType::Unsigned => DataType::UInt64,
        ColumnType::Signed => DataType::Int64,
        ColumnType::Flag => DataType::Boolean,
        ColumnType::Text => {
            DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
        }
    }
}

impl Builder {
    fn new(head: &Head) -> Builder {
        let of = match head.ty {
            ColumnType::Time => {
                Values::Time(TimestampNanosecondBuilder::new().with_timezone("UTC"))
            }
            ColumnType::Unsigned => Values::Unsigned(UInt64Builder::new()),
            ColumnType::Signed => Values::Signed(Int64Builder::new()),
            ColumnType::Flag => Values::Flag(BooleanBuilder::new()),
            ColumnType::Text => Values::Text(StringDictionaryBuilder::new()),
        };
        Builder { of, len: 0 }
    }

    /// Nulls up to this row.
    fn pad(&mut self, row: usize) {
        let nulls = row - self.len;
        if nulls > 0 {
            match &mut self.of {
                Values::Time(builder) => builder.append_nulls(nulls),
                Values::Unsigned(builder) => builder.append_nulls(nulls),
                Values::Signed(builder) => builder.append_nulls(nulls),
                Values::Flag(builder) => builder.append_nulls(nulls),
                Values::Text(builder) => builder.append_nulls(nulls),
            }
        }
        self.len = row;
    }

    fn append(&mut self, head: &Head, row: usize, cell: Cell<'_>) -> Result<(), Error> {
        if cell == Cell::Null {
            return Ok(());
        }
        self.pad(row);
        match (&mut self.of, cell) {
            // Times after 2262 do not fit a signed nanosecond count.
            (Values::Time(builder), Cell::Time(wall_ns)) => {
                builder.append_option(i64::try_from(wall_ns).ok())
            }
            (Values::Unsigned(builder), Cell::Unsigned(value)) => builder.append_value(value),
            (Values::Signed(builder), Cell::Signed(value)) => builder.append_value(value),
            (Values::Flag(builder), Cell::Flag(value)) => builder.append_value(value),
            (Values::Text(builder), Cell::Text(text)) => {
                builder.append(String::from_utf8_lossy(text))?;
            }
            (Values::Text(builder), Cell::Made(text)) => {
                builder.append(text)?;
            }
            (Values::Text(builder), Cell::Fields(declared)) => {
                builder.append(fields_text(declared))?;
            }
            (_, cell) => unreachable!("column {} is {:?} and gave {cell:?}", head.name, head.ty),
        }
        self.len = row + 1;
        Ok(())
    }

    fn finish(&mut self, rows: usize) -> ArrayRef {
        self.pad(rows);
        self.len = 0;
        match &mut self.of {
            Values::Time(builder) => Arc::new(builder.finish()),
            Values::Unsigned(builder) => Arc::new(builder.finish()),
            Values::Signed(builder) => Arc::new(builder.finish()),
            Values::Flag(builder) => Arc::new(builder.finish()),
            Values::Text(builder) => Arc::new(builder.finish()),
        }
    }
}
