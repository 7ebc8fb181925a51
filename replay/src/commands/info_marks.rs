//! The marks of a trace: `replay info --marks`.

use replay::{findings::one_line, resolve::State, time};
use serde::Serialize;
use trace_format::{Context, SealedChunk};

use crate::output::Output;

/// Marks that are listed: the first, for an overview. `replay cat` has all.
const LISTED_MAX: usize = 20;

#[derive(Debug, Serialize)]
pub struct Marks {
    count: u64,
    /// The first of them.
    listed: Vec<Listed>,
    /// Chunks that could not be read, whose marks are not counted.
    unread_chunks: u64,
}

#[derive(Debug, Serialize)]
struct Listed {
    boot_ns: u64,
    /// `null` where no pair of clocks came before it.
    time: Option<String>,
    label: String,
    text: String,
}

/// Adds chunk to chunk.
#[derive(Default)]
pub struct Listing {
    /// For the clocks.
    state: State,
    count: u64,
    listed: Vec<Listed>,
    unread_chunks: u64,
}

impl Listing {
    pub fn add(&mut self, chunk: &SealedChunk) {
        if chunk.header.records == 0 {
            return;
        }
        let Ok(decoded) = chunk.decode() else {
            self.unread_chunks += 1;
            return;
        };
        for record in &decoded.context {
            let mark = match &record.body {
                Context::Mark(mark) => mark,
                Context::Clock(_) => {
                    self.state.context(record);
                    continue;
                }
                _ => continue,
            };
            self.count += 1;
            if self.listed.len() < LISTED_MAX {
                self.listed.push(Listed {
                    boot_ns: record.boot_ns,
                    time: self.state.wall_ns(record.boot_ns).map(time::rfc3339),
                    label: mark.label.clone(),
                    text: mark.text.clone(),
                });
            }
        }
    }

    pub fn finish(self) -> Marks {
        Marks {
            count: self.count,
            listed: self.listed,
            unread_chunks: self.unread_chunks,
        }
    }
}

pub fn print(marks: &Marks, out: &mut Output) -> anyhow::Result<()> {
    let more = match marks.count as usize > marks.listed.len() {
        true => format!(", the first {}:", marks.listed.len()),
        false => String::new(),
    };
    out.line(&format!("{:<10} {}{more}", "marks", marks.count))?;
    for mark in &marks.listed {
        let at = match &mark.time {
            Some(time) => time.clone(),
            None => time::show(None, mark.boot_ns),
        };
        let (label, text) = (one_line(&mark.label), one_line(&mark.text));
        out.line(&format!("{:<10} {at}  {label}: {text}", ""))?;
    }
    if marks.unread_chunks > 0 {
        out.line(&format!(
            "{:<10} {} chunks could not be read",
            "", marks.unread_chunks
        ))?;
    }
    Ok(())
}
