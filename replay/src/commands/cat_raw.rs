//! `replay cat --raw`: what a trace stores, chunk by chunk, nothing derived: SPEC.md §JSON.
//!
//! The other commands show what events mean; this one shows what was written, so that another reader
//! can be compared with ours byte for byte.

use anyhow::Context;
use replay::source::{Input, Recorded};
use trace_format::{ChunkSource, Stored};

use crate::{
    Global, Outcome,
    output::{self, Output},
    trace::{self, TraceArguments},
};

pub fn run(traces: &TraceArguments, global: Global) -> anyhow::Result<Outcome> {
    let mut lines = Lines(Output::new(), Vec::new());
    let mut outcome = Outcome::default();
    for input in trace::inputs(&traces.traces)? {
        match &input {
            Input::File(path) => {
                let mut source = Recorded::file(path)?;
                outcome.loss |= lines.of(&input, &mut source, global)?;
                lines.end(source.reached_summary(), source.issues())?;
            }
            Input::Stdin => {
                let mut source = Recorded::stdin();
                outcome.loss |= lines.of(&input, &mut source, global)?;
                lines.end(source.reached_summary(), source.issues())?;
            }
            Input::Live(url) => {
                let mut source = trace::connect(url, &traces.connection)?;
                outcome.loss |= lines.of(&input, &mut *source, global)?;
                lines.end(None, source.issues())?;
            }
        }
    }
    lines.0.flush()?;
    Ok(outcome)
}

/// Lines of JSON, and the buffer that each is made in.
struct Lines(Output, Vec<u8>);

impl Lines {
    fn put(&mut self, line: &Stored<'_>) -> anyhow::Result<()> {
        self.1.clear();
        serde_json::to_writer(&mut self.1, line)
            .map_err(std::io::Error::from)
            .map_err(output::failed)?;
        self.1.push(b'\n');
        self.0.bytes(&self.1)
    }

    /// Every chunk of a source; true when something is missing or wrong.
    fn of(
        &mut self,
        input: &Input,
        source: &mut dyn ChunkSource,
        global: Global,
    ) -> anyhow::Result<bool> {
        let mut malformed = false;
        let mut dropped = 0;
        while let Some(chunk) = source.next_chunk()? {
            dropped = chunk.header.loss.dropped;
            let number = chunk.header.number;
            let decoded = chunk
                .decode()
                .with_context(|| format!("{input}: chunk {number} is left out"));
            match decoded {
                Ok(decoded) => {
                    for line in decoded.stored() {
                        self.put(&line)?;
                    }
                }
                Err(error) => {
                    malformed = true;
                    self.put(&Stored::Malformed { number })?;
                    eprintln!("replay: {error:#}");
                }
            }
        }
        if !global.quiet {
            for issue in source.issues() {
                eprintln!("replay: {input}: {issue}");
            }
        }
        Ok(malformed || dropped > 0 || !source.issues().is_empty())
    }

    fn end(
        &mut self,
        summary: Option<&trace_format::Summary>,
        issues: &[trace_format::Issue],
    ) -> anyhow::Result<()> {
        if let Some(summary) = summary {
            self.put(&Stored::Summary(summary))?;
        }
        for issue in issues {
            self.put(&Stored::Issue(issue))?;
        }
        Ok(())
    }
}
