//! Arrow's file format (Feather version 2).

use arrow::{
    array::{ArrayRef, RecordBatch},
    datatypes::{DataType, Field, Schema},
};
use arrow_ipc::writer::FileWriter;
use std::{io::Write, sync::Arc};

use super::{Error, Row, RowWriter, Table, batches::Batches};

/// Every batch has dictionaries of its own, which the file format cannot say: texts are plain in it.
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
