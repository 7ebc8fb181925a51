//! `replay export`: the events of a trace as a table.

use anyhow::Context;
use replay::{
    event_view::EventView,
    export::{self, Format},
    resolve::Depth,
    source::Input,
};
use std::{
    fs::{self, OpenOptions},
    io::{self, BufWriter, IsTerminal, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::cat::{Select, Shown, walk};
use crate::{Global, Outcome, Usage, output, trace::TraceArguments};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pub traces: TraceArguments,
    #[command(flatten)]
    pub select: Select,
    /// Form of the table
    #[arg(long, value_enum)]
    pub format: TableFormat,
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
    Csv,
    Jsonl,
}

pub fn run(arguments: &Arguments, global: Global) -> anyhow::Result<Outcome> {
    // A mistake in it is found before there is a file.
    arguments.select.compile()?;
    let to_stdout = arguments.output.as_os_str() == "-";
    if to_stdout && arguments.format == TableFormat::Parquet && io::stdout().is_terminal() {
        return Err(Usage(
            "Parquet is binary: give a file with -o, or redirect standard output".into(),
        )
        .into());
    }
    // What is there stays until the new table is whole.
    let mut part = arguments.output.clone().into_os_string();
    part.push(".part");
    let part = PathBuf::from(part);
    let out: Box<dyn Write + Send> = if to_stdout {
        Box::new(BufWriter::with_capacity(1 << 16, io::stdout()))
    } else {
        replaceable(&arguments.output, arguments.force)?;
        not_an_input(arguments)?;
        Box::new(BufWriter::with_capacity(1 << 16, create(&part, true)?))
    };
    let format = match arguments.format {
        TableFormat::Parquet => Format::Parquet,
        TableFormat::Csv => Format::Csv,
        TableFormat::Jsonl => Format::JsonLines,
    };
    let written = || -> anyhow::Result<(u64, crate::trace::Condition)> {
        let mut writer =
            export::writer(format, &export::table::events(), out).map_err(write_failed)?;
        let mut rows = 0u64;
        let mut write = |view: &EventView<'_>| -> anyhow::Result<()> {
            writer.row(view).map_err(write_failed)?;
            rows += 1;
            Ok(())
        };
        let condition = walk(
            &arguments.traces,
            &arguments.select,
            Shown::Events,
            Depth::All,
            to_stdout,
            global,
            &mut write,
        )?;
        writer.finish().map_err(write_failed)?;
        Ok((rows, condition))
    };
    let (rows, condition) = match written() {
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
        eprintln!(
            "replay: {rows} events written to {}",
            arguments.output.display()
        );
    }
    Ok(condition.outcome())
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

fn write_failed(error: export::Error) -> anyhow::Error {
    if error
        .io()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    {
        return output::Closed.into();
    }
    anyhow::Error::new(error)
}
