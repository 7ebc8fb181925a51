//! Parquet: times as `timestamp[ns, UTC]`, texts dictionary-encoded, zstd. Written batch by batch, so
//! that memory does not grow with the trace.

use arrow::{
    array::{
        ArrayRef, BooleanBuilder, Int64Builder, RecordBatch, StringDictionaryBuilder,
        TimestampNanosecondBuilder, UInt64Builder,
    },
    datatypes::{DataType, Field, Int32Type, Schema, TimeUnit},
};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};
use std::{io::Write, sync::Arc};

use super::{Error, RowWriter};
use crate::{
    event_json::fields_text,
    event_view::{COLUMNS, Cell, Column, ColumnType, EventView},
};

/// Rows in a batch: some 60 columns of 8 bytes, 8 MB.
const BATCH_ROWS: usize = 16_384;
/// Rows in a row group, the unit that readers skip and that the writer keeps encoded in memory.
const GROUP_ROWS: usize = 262_144;

/// Collects rows into batches.
pub struct ParquetWriter<W: Write + Send> {
    writer: ArrowWriter<W>,
    schema: Arc<Schema>,
    builders: Vec<Builder>,
    rows: usize,
}

enum Builder {
    Time(TimestampNanosecondBuilder),
    Unsigned(UInt64Builder),
    Signed(Int64Builder),
    Flag(BooleanBuilder),
    Text(StringDictionaryBuilder<Int32Type>),
}

impl<W: Write + Send> ParquetWriter<W> {
    pub fn new(out: W) -> Result<Self, Error> {
        let fields: Vec<Field> = COLUMNS
            .iter()
            .map(|column| Field::new(column.name, data_type(column.ty), true))
            .collect();
        let schema = Arc::new(Schema::new(fields));
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .set_created_by(concat!("trailcam ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let writer = ArrowWriter::try_new(out, schema.clone(), Some(properties))?;
        Ok(ParquetWriter {
            writer,
            schema,
            builders: COLUMNS.iter().map(Builder::new).collect(),
            rows: 0,
        })
    }

    fn write_batch(&mut self) -> Result<(), Error> {
        if self.rows == 0 {
            return Ok(());
        }
        let arrays: Vec<ArrayRef> = self.builders.iter_mut().map(Builder::finish).collect();
        self.rows = 0;
        self.writer
            .write(&RecordBatch::try_new(self.schema.clone(), arrays)?)?;
        Ok(())
    }
}

impl<W: Write + Send> RowWriter for ParquetWriter<W> {
    fn row(&mut self, view: &EventView<'_>) -> Result<(), Error> {
        for (column, builder) in COLUMNS.iter().zip(&mut self.builders) {
            builder.append(column, (column.get)(view))?;
        }
        self.rows += 1;
        if self.rows == BATCH_ROWS {
            self.write_batch()?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Error> {
        self.write_batch()?;
        self.writer.finish()?;
        Ok(())
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
    fn new(column: &Column) -> Builder {
        match column.ty {
            ColumnType::Time => {
                Builder::Time(TimestampNanosecondBuilder::new().with_timezone("UTC"))
            }
            ColumnType::Unsigned => Builder::Unsigned(UInt64Builder::new()),
            ColumnType::Signed => Builder::Signed(Int64Builder::new()),
            ColumnType::Flag => Builder::Flag(BooleanBuilder::new()),
            ColumnType::Text => Builder::Text(StringDictionaryBuilder::new()),
        }
    }

    fn append(&mut self, column: &Column, cell: Cell<'_>) -> Result<(), Error> {
        match (self, cell) {
            (Builder::Time(builder), Cell::Null) => builder.append_null(),
            // Times after 2262 do not fit a signed nanosecond count.
            (Builder::Time(builder), Cell::Time(wall_ns)) => {
                builder.append_option(i64::try_from(wall_ns).ok())
            }
            (Builder::Unsigned(builder), Cell::Null) => builder.append_null(),
            (Builder::Unsigned(builder), Cell::Unsigned(value)) => builder.append_value(value),
            (Builder::Signed(builder), Cell::Null) => builder.append_null(),
            (Builder::Signed(builder), Cell::Signed(value)) => builder.append_value(value),
            (Builder::Flag(builder), Cell::Null) => builder.append_null(),
            (Builder::Flag(builder), Cell::Flag(value)) => builder.append_value(value),
            (Builder::Text(builder), Cell::Null) => builder.append_null(),
            (Builder::Text(builder), Cell::Text(text)) => {
                builder.append(String::from_utf8_lossy(text))?;
            }
            (Builder::Text(builder), Cell::Made(text)) => {
                builder.append(text)?;
            }
            (Builder::Text(builder), Cell::Fields(declared)) => {
                builder.append(fields_text(declared))?;
            }
            (_, cell) => unreachable!(
                "column {} is {:?} and gave {cell:?}",
                column.name, column.ty
            ),
        }
        Ok(())
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Builder::Time(builder) => Arc::new(builder.finish()),
            Builder::Unsigned(builder) => Arc::new(builder.finish()),
            Builder::Signed(builder) => Arc::new(builder.finish()),
            Builder::Flag(builder) => Arc::new(builder.finish()),
            Builder::Text(builder) => Arc::new(builder.finish()),
        }
    }
}
