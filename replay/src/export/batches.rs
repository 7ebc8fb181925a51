//! Rows into columns: batches of Arrow arrays, for the formats that store columns.

use arrow::{
    array::{
        ArrayRef, BooleanBuilder, DictionaryArray, Int32Builder, Int64Builder, RecordBatch,
        TimestampNanosecondBuilder, UInt64Builder,
    },
    datatypes::{DataType, Field, Int32Type, Schema, TimeUnit},
    error::ArrowError,
};
use std::sync::Arc;

use super::{Error, Row, Table, table::Head, texts::Texts};
use crate::{
    event_json::fields_text,
    event_view::{Cell, ColumnType},
};

/// Rows in a batch: some 60 columns of 8 bytes, 8 MB.
const BATCH_ROWS: usize = 16_384;

/// Collects rows into batches.
pub struct Batches {
    pub schema: Arc<Schema>,
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
    Text(Box<Keyed>),
}

impl Batches {
    pub fn new(table: &Table) -> Batches {
        Batches {
            schema: schema(table),
            builders: table.heads.iter().map(Builder::new).collect(),
            heads: table.heads.clone(),
            rows: 0,
        }
    }

    /// Adds a row; the batch when it is full.
    pub fn add(&mut self, row: &dyn Row) -> Result<Option<RecordBatch>, Error> {
        let (builders, heads, rows) = (&mut self.builders, &self.heads, self.rows);
        row.cells(&mut |at, cell| {
            builders[at].append(&heads[at], rows, cell);
            Ok(())
        })?;
        self.rows += 1;
        match self.rows {
            BATCH_ROWS => self.take(),
            _ => Ok(None),
        }
    }

    /// What is there.
    pub fn take(&mut self) -> Result<Option<RecordBatch>, Error> {
        let rows = std::mem::take(&mut self.rows);
        if rows == 0 {
            return Ok(None);
        }
        let arrays: Vec<ArrayRef> = self
            .builders
            .iter_mut()
            .map(|builder| builder.finish(rows))
            .collect::<Result<_, _>>()?;
        Ok(Some(RecordBatch::try_new(self.schema.clone(), arrays)?))
    }
}

/// What is said of a table's columns.
pub fn schema(table: &Table) -> Arc<Schema> {
    let field = |head: &Head| Field::new(head.name, data_type(head.ty), true);
    let fields: Vec<Field> = table.heads.iter().map(field).collect();
    Arc::new(Schema::new(fields))
}

pub fn data_type(ty: ColumnType) -> DataType {
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
            ColumnType::Text => Values::Text(Box::default()),
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
                Values::Text(texts) => texts.keys.append_nulls(nulls),
            }
        }
        self.len = row;
    }

    #[inline]
    fn append(&mut self, head: &Head, row: usize, cell: Cell<'_>) {
        if matches!(cell, Cell::Null) {
            return;
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
            (Values::Text(texts), Cell::Text(text)) => texts.append(text),
            (Values::Text(texts), Cell::Made(text)) => texts.append(text.as_bytes()),
            (Values::Text(texts), Cell::Fields(declared)) => {
                texts.append(fields_text(declared).as_bytes());
            }
            (_, cell) => unreachable!("column {} is {:?} and gave {cell:?}", head.name, head.ty),
        }
        self.len = row + 1;
    }

    fn finish(&mut self, rows: usize) -> Result<ArrayRef, ArrowError> {
        self.pad(rows);
        self.len = 0;
        Ok(match &mut self.of {
            Values::Time(builder) => Arc::new(builder.finish()),
            Values::Unsigned(builder) => Arc::new(builder.finish()),
            Values::Signed(builder) => Arc::new(builder.finish()),
            Values::Flag(builder) => Arc::new(builder.finish()),
            Values::Text(texts) => Arc::new(texts.finish()?),
        })
    }
}

/// A column of texts: each one once, and its number in every row.
#[derive(Default)]
struct Keyed {
    keys: Int32Builder,
    texts: Texts,
}

impl Keyed {
    #[inline]
    fn append(&mut self, text: &[u8]) {
        self.keys.append_value(self.texts.number(text));
    }

    fn finish(&mut self) -> Result<DictionaryArray<Int32Type>, ArrowError> {
        let texts = Arc::new(self.texts.take());
        DictionaryArray::try_new(self.keys.finish(), texts)
    }
}
