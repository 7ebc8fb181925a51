//! Parquet: times as `timestamp[ns, UTC]`, texts dictionary-encoded, zstd. Written batch by batch, so
//! that memory does not grow with the trace.
//!
//! Columns are encoded and compressed on other threads where there are any. Which thread has which column
//! changes nothing: the file is the same bytes for any number of them.

use arrow::{array::RecordBatch, datatypes::Schema};
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
        Arc,
        mpsc::{self, Receiver, SyncSender},
    },
    thread,
};

use super::{
    Error, Row, RowWriter, Table,
    batches::{BATCH_ROWS, Batches},
};

/// Batches in a row group, the unit that readers skip and that the writer keeps encoded in memory: 262,144
/// rows.
const GROUP_BATCHES: usize = 16;
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
/// Batches that wait for a thread.
const WAITING_MAX: usize = 2;

/// Parquet.
pub struct ParquetWriter<W: Write + Send> {
    file: SerializedFileWriter<W>,
    columns: ArrowRowGroupWriterFactory,
    batches: Batches,
    encoders: Vec<Encoder>,
    /// Of the row group that is open.
    group_batches: usize,
    groups: usize,
    /// A group that was handed in and is not in the file yet.
    closing: Vec<Receiver<Encoded>>,
}

impl<W: Write + Send> ParquetWriter<W> {
    /// `threads`: those there are, this one among them.
    pub fn new(out: W, table: &Table, threads: usize) -> Result<Self, Error> {
        let batches = Batches::new(table);
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(GROUP_BATCHES * BATCH_ROWS))
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
        let properties = properties.build();
        let writer = ArrowWriter::try_new(out, batches.schema.clone(), Some(properties))?;
        let (file, columns) = writer.into_serialized_writer()?;
        let encoders = match threads {
            0 | 1 => vec![Encoder::Here(Share::new(&batches.schema))],
            _ => (0..threads.min(THREADS_MAX))
                .map(|number| Encoder::start(number, &batches.schema))
                .collect(),
        };
        Ok(ParquetWriter {
            file,
            columns,
            batches,
            encoders,
            group_batches: 0,
            groups: 0,
            closing: Vec::new(),
        })
    }

    fn write(&mut self, batch: RecordBatch) -> Result<(), Error> {
        if self.group_batches == 0 {
            let mut shares: Vec<Vec<(usize, ArrowColumnWriter)>> = Vec::new();
            shares.resize_with(self.encoders.len(), Vec::new);
            let writers = self.columns.create_column_writers(self.groups)?;
            for (at, writer) in writers.into_iter().enumerate() {
                shares[at % self.encoders.len()].push((at, writer));
            }
            for (encoder, share) in self.encoders.iter_mut().zip(shares) {
                encoder.give(Job::Begin(share));
            }
            self.groups += 1;
        }
        for encoder in &mut self.encoders {
            encoder.give(Job::Batch(batch.clone()));
        }
        self.group_batches += 1;
        match self.group_batches {
            GROUP_BATCHES => self.close_group(),
            _ => Ok(()),
        }
    }

    /// Ends the open group, and writes the one before it.
    fn close_group(&mut self) -> Result<(), Error> {
        self.store()?;
        if std::mem::take(&mut self.group_batches) > 0 {
            for encoder in &mut self.encoders {
                let (sender, receiver) = mpsc::sync_channel(1);
                encoder.give(Job::End(sender));
                self.closing.push(receiver);
            }
        }
        Ok(())
    }

    /// Writes the group that was handed in.
    fn store(&mut self) -> Result<(), Error> {
        if self.closing.is_empty() {
            return Ok(());
        }
        let mut chunks = Vec::new();
        for receiver in self.closing.drain(..) {
            let lost = |_| ParquetError::General("a thread that encodes has ended".to_owned());
            chunks.extend(receiver.recv().map_err(lost)??);
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
        match self.batches.add(row)? {
            Some(batch) => self.write(batch),
            None => Ok(()),
        }
    }

    fn finish(&mut self) -> Result<(), Error> {
        if let Some(batch) = self.batches.take()? {
            self.write(batch)?;
        }
        self.close_group()?;
        self.store()?;
        self.file.finish()?;
        Ok(())
    }
}

/// The encoded columns of a group, with their numbers.
type Encoded = Result<Vec<(usize, ArrowColumnChunk)>, ParquetError>;

enum Job {
    /// Of a new group, these columns.
    Begin(Vec<(usize, ArrowColumnWriter)>),
    Batch(RecordBatch),
    /// The group is complete.
    End(SyncSender<Encoded>),
}

/// Who encodes a share of the columns.
enum Encoder {
    Here(Share),
    Thread(SyncSender<Job>),
}

impl Encoder {
    /// On a thread, if one can be started.
    fn start(number: usize, schema: &Arc<Schema>) -> Encoder {
        let (jobs, receiver) = mpsc::sync_channel::<Job>(WAITING_MAX);
        let mut share = Share::new(schema);
        let named = thread::Builder::new().name(format!("encode-{number}"));
        let started = named.spawn(move || receiver.iter().for_each(|job| share.take(job)));
        match started {
            Ok(_) => Encoder::Thread(jobs),
            Err(_) => Encoder::Here(Share::new(schema)),
        }
    }

    fn give(&mut self, job: Job) {
        match self {
            Encoder::Here(share) => share.take(job),
            // A thread that has ended is noticed when its columns do not come.
            Encoder::Thread(jobs) => drop(jobs.send(job)),
        }
    }
}

/// Some of the columns.
struct Share {
    schema: Arc<Schema>,
    columns: Vec<(usize, ArrowColumnWriter)>,
    /// The first failure of the group.
    failed: Option<ParquetError>,
}

impl Share {
    fn new(schema: &Arc<Schema>) -> Share {
        Share {
            schema: Arc::clone(schema),
            columns: Vec::new(),
            failed: None,
        }
    }

    fn take(&mut self, job: Job) {
        match job {
            Job::Begin(columns) => self.columns = columns,
            Job::Batch(batch) => {
                if self.failed.is_none() {
                    self.failed = self.encode(&batch).err();
                }
            }
            Job::End(sender) => {
                let columns = std::mem::take(&mut self.columns).into_iter();
                let encoded = match self.failed.take() {
                    Some(error) => Err(error),
                    None => columns
                        .map(|(at, writer)| Ok((at, writer.close()?)))
                        .collect(),
                };
                // Whoever asked may have gone.
                let _ = sender.send(encoded);
            }
        }
    }

    fn encode(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        for (at, writer) in &mut self.columns {
            for leaf in compute_leaves(self.schema.field(*at), batch.column(*at))? {
                writer.write(&leaf)?;
            }
        }
        Ok(())
    }
}
