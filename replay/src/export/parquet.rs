//! Parquet: times as `timestamp[ns, UTC]`, texts dictionary-encoded, zstd. Written batch by batch, so
//! that memory does not grow with the trace.
//!
//! Row groups follow each other in time; what order rows have in one is [`super::group`]'s. Columns are
//! encoded and compressed on other threads where there are any. Which thread has which column changes
//! nothing: the file is the same bytes for any number of them.

use arrow::datatypes::Schema;
use parquet::{
    arrow::{
        ArrowWriter,
        arrow_writer::{
            ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves,
        },
    },
    basic::{Compression, Encoding, ZstdLevel},
    errors::ParquetError,
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::types::ColumnPath,
};
use std::{
    io::Write,
    sync::{
        Arc, Mutex,
        mpsc::{self, Receiver, Sender},
    },
    thread,
};

use super::{
    Error, Row, RowWriter, Table,
    batches::schema,
    group::{Column, Group, Order, ROWS_MAX},
};

/// Columns that people look one value up in, and whose values lie anywhere in a row group: there, minimum
/// and maximum exclude nothing.
const BLOOM: &[&str] = &["path", "exe", "args", "remote_addr", "container_id", "pid"];
/// Distinct values that a bloom filter is made for.
const BLOOM_VALUES: u64 = 4_096;
/// Columns that grow by little from row to row: a dictionary of them would be as long as they are, and their
/// differences are a third of them.
const GROWING: &[&str] = &["time", "boot_ns", "seq", "row"];
/// Threads that encode: there are some 25 columns with values in them.
const THREADS_MAX: usize = 8;

/// Parquet.
pub struct ParquetWriter<W: Write + Send> {
    file: SerializedFileWriter<W>,
    columns: ArrowRowGroupWriterFactory,
    group: Group,
    /// Groups that were full.
    groups: usize,
    encoders: Encoders,
    /// The group that is being encoded, and is not in the file yet.
    encoding: Option<(usize, Receiver<Encoded>)>,
}

impl<W: Write + Send> ParquetWriter<W> {
    /// `threads`: those there are, this one among them.
    pub fn new(out: W, table: &Table, threads: usize) -> Result<Self, Error> {
        let schema = schema(table);
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(ROWS_MAX))
            .set_created_by(concat!("trailcam ", env!("CARGO_PKG_VERSION")).to_owned());
        for head in &table.heads {
            let path = ColumnPath::from(head.name);
            if BLOOM.contains(&head.name) {
                properties = properties
                    .set_column_bloom_filter_enabled(path.clone(), true)
                    .set_column_bloom_filter_max_ndv(path.clone(), BLOOM_VALUES);
            }
            if GROWING.contains(&head.name) {
                properties = properties
                    .set_column_dictionary_enabled(path.clone(), false)
                    .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
            }
        }
        let writer = ArrowWriter::try_new(out, schema.clone(), Some(properties.build()))?;
        let (file, columns) = writer.into_serialized_writer()?;
        Ok(ParquetWriter {
            file,
            columns,
            encoders: Encoders::start(threads, &schema),
            group: Group::new(table),
            groups: 0,
            encoding: None,
        })
    }

    /// Hands the open group in, and writes the one before it.
    fn close_group(&mut self) -> Result<(), Error> {
        let full = self.group.take();
        self.store()?;
        let Some(full) = full else { return Ok(()) };
        let (sender, receiver) = mpsc::channel();
        let writers = self.columns.create_column_writers(self.groups)?;
        self.groups += 1;
        self.encoding = Some((writers.len(), receiver));
        for (at, (writer, column)) in writers.into_iter().zip(full.columns).enumerate() {
            self.encoders.give(Job {
                at,
                column,
                order: Arc::clone(&full.order),
                writer,
                answer: sender.clone(),
            });
        }
        Ok(())
    }

    /// Writes the group that was handed in.
    fn store(&mut self) -> Result<(), Error> {
        let Some((columns, receiver)) = self.encoding.take() else {
            return Ok(());
        };
        let mut chunks = receiver.iter().collect::<Result<Vec<_>, _>>()?;
        if chunks.len() != columns {
            let lost = "a thread that encodes has ended".to_owned();
            return Err(ParquetError::General(lost).into());
        }
        chunks.sort_by_key(|(at, _)| *at);
        let mut group = self.file.next_row_group()?;
        for (_, chunk) in chunks {
            chunk.append_to_row_group(&mut group)?;
        }
        group.close()?;
        Ok(())
    }
}

impl<W: Write + Send> RowWriter for ParquetWriter<W> {
    fn row(&mut self, row: &dyn Row) -> Result<(), Error> {
        self.group.add(row)?;
        match self.group.is_full() {
            true => self.close_group(),
            false => Ok(()),
        }
    }

    fn finish(&mut self) -> Result<(), Error> {
        self.close_group()?;
        self.store()?;
        self.file.finish()?;
        Ok(())
    }
}

/// An encoded column, with its number.
type Encoded = Result<(usize, ArrowColumnChunk), ParquetError>;

/// A column to encode.
struct Job {
    at: usize,
    column: Column,
    order: Arc<Order>,
    writer: ArrowColumnWriter,
    answer: Sender<Encoded>,
}

impl Job {
    fn run(self, schema: &Schema) {
        let Job {
            at,
            column,
            order,
            mut writer,
            answer,
        } = self;
        let encode = || {
            let array = column.array(&order)?;
            for leaf in compute_leaves(schema.field(at), &array)? {
                writer.write(&leaf)?;
            }
            Ok((at, writer.close()?))
        };
        // Whoever asked may have gone.
        let _ = answer.send(encode());
    }
}

/// Who encodes columns.
struct Encoders {
    schema: Arc<Schema>,
    /// To the threads, if there are any: whoever is free takes the next.
    jobs: Option<Sender<Job>>,
}

impl Encoders {
    fn start(threads: usize, schema: &Arc<Schema>) -> Encoders {
        let wanted = match threads {
            0 | 1 => 0,
            threads => threads.min(THREADS_MAX),
        };
        let (jobs, receiver) = mpsc::channel::<Job>();
        let receiver = Arc::new(Mutex::new(receiver));
        let started = (0..wanted).filter(|number| {
            let (receiver, schema) = (Arc::clone(&receiver), Arc::clone(schema));
            let named = thread::Builder::new().name(format!("encode-{number}"));
            named.spawn(move || work(&receiver, &schema)).is_ok()
        });
        Encoders {
            jobs: (started.count() > 0).then_some(jobs),
            schema: Arc::clone(schema),
        }
    }

    fn give(&self, job: Job) {
        match &self.jobs {
            None => job.run(&self.schema),
            // A column whose threads have all ended is missed when the group is stored.
            Some(jobs) => drop(jobs.send(job)),
        }
    }
}

/// Until nobody gives any more.
fn work(jobs: &Mutex<Receiver<Job>>, schema: &Schema) {
    loop {
        let job = {
            let jobs = jobs.lock().unwrap_or_else(|error| error.into_inner());
            jobs.recv()
        };
        let Ok(job) = job else { return };
        job.run(schema);
    }
}
