//! `replay export`: the events of a trace as a table, or another table that they tell.

use anyhow::Context;
use replay::{
    export::{self, Format, RowWriter, Table, tables},
    resolve::Depth,
    source::Input,
};
use std::{
    fs::{self, OpenOptions},
    io::{self, BufWriter, IsTerminal, Write},
    num::NonZeroUsize,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    thread,
};

use super::{
    cat::Select,
    export_tables,
    visit::{Look, Seen, Shown, visit},
};
use crate::{
    Global, Outcome, Usage, output,
    trace::{self, TraceArguments},
};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pub traces: TraceArguments,
    #[command(flatten)]
    pub select: Select,
    /// Form of the table
    #[arg(long, value_enum)]
    pub format: TableFormat,
    /// Which table. With sqlite, several go into one database
    #[arg(long, value_enum, value_name = "TABLE", default_value = "events")]
    pub table: Vec<TableName>,
    /// File to write; - for standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    pub force: bool,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFormat {
    Parquet,
    Arrow,
    Csv,
    Jsonl,
    Sqlite,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableName {
    Events,
    Processes,
    Containers,
    Connections,
    Samples,
    /// Of the shipped rules and the statistics
    Findings,
}

impl TableName {
    fn table(self) -> Table {
        match self {
            TableName::Events => export::table::events(),
            TableName::Processes => tables::processes(),
            TableName::Containers => tables::containers(),
            TableName::Connections => tables::connections(),
            TableName::Samples => tables::samples().0,
            TableName::Findings => export::findings(),
        }
    }
}

pub fn run(arguments: &Arguments, global: Global) -> anyhow::Result<Outcome> {
    // A mistake in it is found before there is a file.
    let filter = arguments.select.compile()?;
    usable(arguments, filter.is_some())?;
    let to_stdout = arguments.output.as_os_str() == "-";
    // What is there stays until the new table is whole.
    let mut part = arguments.output.clone().into_os_string();
    part.push(".part");
    let part = PathBuf::from(part);
    if !to_stdout {
        replaceable(&arguments.output, arguments.force)?;
        not_an_input(arguments)?;
    }
    let written = || -> anyhow::Result<(Vec<(Table, u64)>, trace::Condition)> {
        let mut done = Vec::new();
        let mut last = trace::Condition::default();
        for name in &arguments.table {
            let table = name.table();
            let mut writer = open(arguments, &table, &part, done.is_empty())?;
            let (rows, condition) = write(*name, arguments, &mut *writer, to_stdout, global)?;
            writer.finish().map_err(write_failed)?;
            done.push((table, rows));
            last = condition;
        }
        Ok((done, last))
    };
    let (done, condition) = match written() {
        Ok(written) => written,
        Err(error) => {
            // Half a table is worse than none: a reader would take it for the whole.
            if !to_stdout {
                let _ = fs::remove_file(&part);
            }
            return Err(error.context(format!("cannot export to {}", arguments.output.display())));
        }
    };
    if !to_stdout {
        fs::rename(&part, &arguments.output)
            .with_context(|| format!("cannot complete {}", arguments.output.display()))?;
    }
    condition.report(global);
    if !global.quiet {
        for (table, rows) in done {
            eprintln!(
                "replay: {rows} {} written to {}",
                table.name,
                arguments.output.display()
            );
        }
    }
    Ok(condition.outcome())
}

/// Whether these arguments go together.
fn usable(arguments: &Arguments, filtered: bool) -> anyhow::Result<()> {
    let to_stdout = arguments.output.as_os_str() == "-";
    let format = arguments.format;
    let binary = matches!(format, TableFormat::Parquet | TableFormat::Arrow);
    let usage = |text: &str| Err(Usage(text.to_owned()).into());
    if to_stdout && binary && io::stdout().is_terminal() {
        return usage(match format {
            TableFormat::Arrow => {
                "Arrow is binary: give a file with -o, or redirect standard output"
            }
            _ => "Parquet is binary: give a file with -o, or redirect standard output",
        });
    }
    if to_stdout && format == TableFormat::Sqlite {
        return usage("a database needs a file: give one with -o");
    }
    if arguments.table.len() > 1 && format != TableFormat::Sqlite {
        return usage("several tables go into one file only with --format sqlite");
    }
    if arguments.table.len() > 1 && arguments.traces.traces.iter().any(|trace| trace == "-") {
        return usage("standard input can be read once: give one --table, or a file");
    }
    let select = &arguments.select;
    let selects = filtered
        || select.from.is_some()
        || select.to.is_some()
        || !select.container.is_empty()
        || !select.kind.is_empty()
        || !select.pid.is_empty();
    let of_events = |table: &TableName| matches!(table, TableName::Events | TableName::Samples);
    if selects && !arguments.table.iter().all(of_events) {
        return usage(
            "--filter, --from, --to, --container, --kind and --pid select events: this table has none",
        );
    }
    if !select.kind.is_empty() && arguments.table.contains(&TableName::Samples) {
        return usage("the table of samples has events of one kind: leave --kind out");
    }
    Ok(())
}

/// The writer of a table; the file is new for the first one.
fn open<'a>(
    arguments: &Arguments,
    table: &Table,
    part: &Path,
    first: bool,
) -> anyhow::Result<Box<dyn RowWriter + Send + 'a>> {
    let to_stdout = arguments.output.as_os_str() == "-";
    let format = match arguments.format {
        TableFormat::Parquet => Format::Parquet,
        TableFormat::Arrow => Format::Arrow,
        TableFormat::Csv => Format::Csv,
        TableFormat::Jsonl => Format::JsonLines,
        TableFormat::Sqlite => {
            if first {
                drop(create(part, true)?);
            }
            return sqlite(part, table);
        }
    };
    let out: Box<dyn Write + Send> = match to_stdout {
        true => Box::new(BufWriter::with_capacity(1 << 16, io::stdout())),
        false => Box::new(BufWriter::with_capacity(1 << 16, create(part, true)?)),
    };
    export::writer(format, table, out, threads()).map_err(write_failed)
}

fn threads() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

#[cfg(feature = "sqlite")]
fn sqlite<'a>(part: &Path, table: &Table) -> anyhow::Result<Box<dyn RowWriter + Send + 'a>> {
    let writer = export::SqliteWriter::open(part, table).map_err(write_failed)?;
    Ok(Box::new(writer))
}

#[cfg(not(feature = "sqlite"))]
fn sqlite<'a>(_: &Path, _: &Table) -> anyhow::Result<Box<dyn RowWriter + Send + 'a>> {
    anyhow::bail!("this replay was built without SQLite (feature `sqlite`)")
}

/// Writes the rows of a table; how many.
fn write(
    name: TableName,
    arguments: &Arguments,
    writer: &mut dyn RowWriter,
    results_too: bool,
    global: Global,
) -> anyhow::Result<(u64, trace::Condition)> {
    let mut select = arguments.select.clone();
    let (_, places) = tables::samples();
    match name {
        TableName::Events => {}
        TableName::Samples => {
            select.kind = vec!["sample".to_owned()];
        }
        _ => return export_tables::write(name, &arguments.traces, writer, results_too, global),
    }
    let mut rows = 0u64;
    let mut row = |seen: Seen<'_, '_>| -> anyhow::Result<()> {
        let Seen::Event(view) = seen else {
            return Ok(());
        };
        rows += 1;
        let written = match name {
            TableName::Samples => writer.row(&tables::Placed(view, &places)),
            _ => writer.row(view),
        };
        written.map_err(write_failed)
    };
    let look = Look {
        shown: Shown::Events,
        looks_at: Depth::All,
        results_too,
        threads: threads(),
    };
    let condition = visit(&arguments.traces, &select, look, global, &mut row)?;
    Ok((rows, condition))
}

/// A table over the trace it was made of would be all that is left of the evidence.
fn not_an_input(arguments: &Arguments) -> anyhow::Result<()> {
    let identity = |path: &Path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
    let Some(output) = identity(&arguments.output) else {
        return Ok(());
    };
    for input in crate::trace::inputs(&arguments.traces.traces)? {
        if let Input::File(path) = &input
            && identity(path) == Some(output)
        {
            anyhow::bail!(
                "{} is the trace that is read: choose another -o",
                path.display()
            );
        }
    }
    Ok(())
}

/// Is this a place where a file may be put? An existing one only with `force`, and only a regular file.
fn replaceable(path: &Path, force: bool) -> anyhow::Result<()> {
    match fs::symlink_metadata(path) {
        Err(_) => Ok(()),
        Ok(meta) if !meta.is_file() => {
            anyhow::bail!("cannot create {}: it is no regular file", path.display())
        }
        Ok(_) if force => Ok(()),
        Ok(_) => anyhow::bail!("{} exists: --force replaces it", path.display()),
    }
}

/// A new file that only its owner can read: a trace holds what a host's processes did.
pub fn create(path: &Path, force: bool) -> anyhow::Result<fs::File> {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    if force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    options.open(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            anyhow::anyhow!("{} exists: --force replaces it", path.display())
        }
        _ => anyhow::Error::new(error).context(format!("cannot create {}", path.display())),
    })
}

pub fn write_failed(error: export::Error) -> anyhow::Error {
    if error
        .io()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    {
        return output::Closed.into();
    }
    anyhow::Error::new(error)
}
