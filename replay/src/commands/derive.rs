//! What the commands that make a trace from others have in common: inputs that can be read several
//! times, and an output that is there whole or not at all.

use anyhow::{Context, bail};
use replay::{findings::uuid_text, source::Input};
use serde::Serialize;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Read, Write},
    os::{
        fd::AsRawFd,
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};
use trace_format::{Discard, TraceReader};

use crate::trace;

/// What the provenance of a derived trace calls this program.
pub const TOOL: &str = concat!("replay ", env!("CARGO_PKG_VERSION"));

/// Standard input is kept in a file while it is read several times; not more than this of it.
const SPOOL_BYTES_MAX: u64 = 1 << 40;

/// Where the result goes.
#[derive(clap::Args, Clone, Debug)]
pub struct OutputArguments {
    /// Write the new trace here; readable by you alone
    #[arg(short, long, value_name = "OUT")]
    pub output: PathBuf,
    /// Replace OUT if it exists
    #[arg(long)]
    pub force: bool,
}

/// An input that can be opened again and again.
pub struct Reopen {
    input: Input,
    path: PathBuf,
    /// Standard input, in a file without a name: `path` leads there while this is open.
    _spool: Option<File>,
}

impl Reopen {
    /// `beside`: where there is room for what comes from standard input.
    pub fn new(input: &Input, beside: &Path) -> anyhow::Result<Reopen> {
        let (path, spool) = match input {
            Input::File(path) => {
                let regular = fs::metadata(path)
                    .map_or(true, |metadata| metadata.is_file() || metadata.is_dir());
                if regular {
                    (path.clone(), None)
                } else {
                    let file = File::open(path)
                        .with_context(|| format!("cannot open {}", path.display()))?;
                    spooled(file, beside)?
                }
            }
            Input::Stdin => spooled(io::stdin().lock(), beside)?,
            Input::Live(url) => {
                bail!("{url}: a live stream cannot be read twice; save it with replay live --save")
            }
        };
        Ok(Reopen {
            input: input.clone(),
            path,
            _spool: spool,
        })
    }

    pub fn open(&self) -> Result<TraceReader, trace_format::Error> {
        TraceReader::open(&self.path)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Of the file, without its directory: where it lies is nobody's business.
    pub fn name(&self) -> String {
        match &self.input {
            Input::File(path) => path.file_name().map_or_else(
                || path.display().to_string(),
                |name| name.to_string_lossy().into_owned(),
            ),
            other => other.to_string(),
        }
    }
}

/// Copies a stream into a file that has no name: it is gone when this program is.
fn spooled(stream: impl Read, beside: &Path) -> anyhow::Result<(PathBuf, Option<File>)> {
    let directory = directory_of(beside);
    let path = directory.join(format!(".replay-input-{}", std::process::id()));
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("cannot keep the input in {}", directory.display()))?;
    fs::remove_file(&path)
        .with_context(|| format!("cannot remove the name of {}", path.display()))?;
    let copied = io::copy(&mut stream.take(SPOOL_BYTES_MAX + 1), &mut file)
        .with_context(|| format!("cannot keep the input in {}", directory.display()))?;
    if copied > SPOOL_BYTES_MAX {
        bail!("standard input has more than {SPOOL_BYTES_MAX} bytes: name a file instead");
    }
    Ok((
        format!("/proc/self/fd/{}", file.as_raw_fd()).into(),
        Some(file),
    ))
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// The one trace that a command takes.
pub fn one_input(argument: &str, beside: &Path) -> anyhow::Result<Reopen> {
    let inputs = trace::inputs(&[argument.to_owned()])?;
    match inputs.as_slice() {
        [input] => Reopen::new(input, beside),
        several => Err(crate::Usage(format!(
            "{argument} holds {} traces: name one of them",
            several.len()
        ))
        .into()),
    }
}

/// The output while it is written: under another name, until it is whole.
pub struct NewTrace {
    path: PathBuf,
    partial: PathBuf,
    force: bool,
}

impl NewTrace {
    /// Refuses what must not be written over, before any work is done.
    pub fn new(arguments: &OutputArguments, inputs: &[&Reopen]) -> anyhow::Result<NewTrace> {
        let path = arguments.output.clone();
        if let Ok(metadata) = fs::metadata(&path) {
            if metadata.is_dir() {
                bail!(
                    "cannot write to {}: it is a directory; name a file in it",
                    path.display()
                );
            }
            for input in inputs {
                if fs::metadata(input.path()).is_ok_and(|other| {
                    (other.dev(), other.ino()) == (metadata.dev(), metadata.ino())
                }) {
                    bail!(
                        "{} is the input: a trace is never changed, choose another name",
                        path.display()
                    );
                }
            }
            if !arguments.force {
                bail!(
                    "{} exists and is not overwritten; choose another name or pass --force",
                    path.display()
                );
            }
            if !metadata.is_file() {
                bail!("cannot write to {}: it is no regular file", path.display());
            }
        }
        let name = path
            .file_name()
            .with_context(|| format!("{} names no file", path.display()))?;
        let partial = directory_of(&path).join(format!(
            ".{}.{}.partial",
            name.to_string_lossy(),
            std::process::id()
        ));
        Ok(NewTrace {
            path,
            partial,
            force: arguments.force,
        })
    }

    /// Writes the trace with `write` and gives it its name.
    pub fn write<R>(
        self,
        write: impl FnOnce(&mut BufWriter<File>) -> anyhow::Result<R>,
    ) -> anyhow::Result<R> {
        let done = self.try_write(write);
        if done.is_err() {
            // Half a trace under a strange name helps nobody.
            let _ = fs::remove_file(&self.partial);
        }
        done
    }

    fn try_write<R>(
        &self,
        write: impl FnOnce(&mut BufWriter<File>) -> anyhow::Result<R>,
    ) -> anyhow::Result<R> {
        let action = || format!("cannot write {}", self.path.display());
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.partial)
            .with_context(action)?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        let result = write(&mut out)?;
        out.flush().with_context(action)?;
        out.get_ref().sync_all().with_context(action)?;
        if self.force {
            fs::rename(&self.partial, &self.path).with_context(action)?;
        } else {
            // A link does not replace what came there in the meantime.
            fs::hard_link(&self.partial, &self.path).with_context(action)?;
            fs::remove_file(&self.partial).with_context(action)?;
        }
        Ok(result)
    }
}

/// A loss, as `--json` shows it.
#[derive(Serialize)]
pub struct Lost {
    pub source: String,
    pub offset: u64,
    pub bytes: u64,
    pub first_chunk: u64,
    pub chunks: u64,
    /// `null`: nothing came before, or after.
    pub after_boot_ns: Option<u64>,
    pub before_boot_ns: Option<u64>,
    pub reason: String,
}

impl Lost {
    pub fn new(discard: &Discard, names: &[String]) -> Lost {
        Lost {
            source: names
                .get(discard.source as usize)
                .cloned()
                .unwrap_or_default(),
            offset: discard.offset,
            bytes: discard.bytes,
            first_chunk: discard.first_number,
            chunks: discard.chunks,
            after_boot_ns: (discard.after_ns != 0).then_some(discard.after_ns),
            before_boot_ns: (discard.before_ns != u64::MAX).then_some(discard.before_ns),
            reason: discard.reason.clone(),
        }
    }

    /// One line for people.
    pub fn line(&self) -> String {
        let mut line = format!("  lost     at byte {}", self.offset);
        if self.bytes > 0 {
            line += &format!(", {} bytes", self.bytes);
        }
        match self.chunks {
            0 => {}
            1 => line += &format!(", chunk {}", self.first_chunk),
            chunks => {
                line += &format!(
                    ", chunks {}..={}",
                    self.first_chunk,
                    self.first_chunk.saturating_add(chunks - 1)
                )
            }
        }
        let time = |ns| replay::time::show(None, ns);
        match (self.after_boot_ns, self.before_boot_ns) {
            (Some(after), Some(before)) => {
                line += &format!(", between {} and {}", time(after), time(before))
            }
            (Some(after), None) => line += &format!(", after {}", time(after)),
            (None, Some(before)) => line += &format!(", before {}", time(before)),
            (None, None) => {}
        }
        format!("{line}: {}", self.reason)
    }
}

/// The line that every derived trace gets.
pub fn headline(output: &Path, uuid: [u8; 16], chunks: u64, events: u64, bytes: u64) -> String {
    format!(
        "{}: trace {}, {chunks} chunks, {events} events, {bytes} bytes",
        output.display(),
        uuid_text(uuid)
    )
}
