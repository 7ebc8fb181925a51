//! Detection while recording: the pipeline of `replay` on the sealed chunks, in process.

use std::io::Write;

use replay::{
    findings::Finding,
    pipeline::{Pipeline, Settings},
};
use trace_format::SealedChunk;

use super::{Ending, Sink};

/// Runs detection and prints findings on stdout as soon as they are certain.
pub struct DetectSink {
    pipeline: Pipeline,
    json: bool,
    hook: Option<Hook>,
}

/// Told of every finding.
pub type Hook = Box<dyn FnMut(&Finding) + Send>;

impl DetectSink {
    pub fn new(settings: Settings, json: bool) -> Self {
        DetectSink {
            pipeline: Pipeline::new(settings),
            json,
            hook: None,
        }
    }

    /// Has `hook` told of every finding, before it is printed.
    pub fn hook(mut self, hook: Hook) -> Self {
        self.hook = Some(hook);
        self
    }

    fn print(&mut self) {
        let mut out = std::io::stdout().lock();
        for finding in self.pipeline.findings() {
            if let Some(hook) = &mut self.hook {
                hook(&finding);
            }
            let line = if self.json {
                finding.to_json()
            } else {
                finding.to_text()
            };
            // Whoever reads the findings may go; the recording does not end with them.
            let _ = writeln!(out, "{}", line.trim_end());
        }
        let _ = out.flush();
    }
}

impl Sink for DetectSink {
    fn chunk(&mut self, chunk: &SealedChunk) -> anyhow::Result<()> {
        self.pipeline.push(chunk)?;
        self.print();
        Ok(())
    }

    fn finish(mut self: Box<Self>, _: &Ending) -> anyhow::Result<u64> {
        self.pipeline.finish();
        self.print();
        Ok(0)
    }
}
