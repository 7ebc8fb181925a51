//! The sinks of a command that detects: what `--sink` names, and what is said about them at the end.

use serde::Serialize;

use crate::Global;
#[cfg(feature = "sinks")]
use crate::Usage;
use replay::findings::Finding;

use super::detect::Detection;

/// What became of the findings that a sink was given.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SinkSummary {
    sink: String,
    delivered: u64,
    /// In a spool on disk.
    kept: u64,
    dropped: u64,
    reasons: Vec<String>,
}

/// The sinks, in the order of the arguments.
#[derive(Default)]
pub struct Sinks {
    #[cfg(feature = "sinks")]
    open: Vec<(String, Box<dyn replay::sinks::Sink>)>,
}

#[cfg(not(feature = "sinks"))]
impl Sinks {
    pub fn open(_: &Detection) -> anyhow::Result<Sinks> {
        Ok(Sinks::default())
    }

    pub fn finding(&mut self, _: &Finding) -> anyhow::Result<()> {
        Ok(())
    }

    pub fn flush(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    pub fn finish(self, _: Global) -> anyhow::Result<(Vec<SinkSummary>, bool)> {
        Ok((Vec::new(), false))
    }
}

#[cfg(feature = "sinks")]
impl Sinks {
    pub fn open(detection: &Detection) -> anyhow::Result<Sinks> {
        let mut sinks = Sinks::default();
        for spec in &detection.sink {
            let name = format!("{}={}", spec.kind.name(), spec.target);
            let sink = replay::sinks::open(spec).map_err(|error| match error {
                replay::sinks::Error::Spec(_) | replay::sinks::Error::Template { .. } => {
                    anyhow::Error::new(Usage(error.to_string()))
                }
                error => anyhow::Error::new(error).context(format!("cannot open the sink {name}")),
            })?;
            sinks.open.push((name, sink));
        }
        Ok(sinks)
    }

    pub fn finding(&mut self, finding: &Finding) -> anyhow::Result<()> {
        for (name, sink) in &mut self.open {
            sink.finding(finding).map_err(|error| failed(name, error))?;
        }
        Ok(())
    }

    pub fn flush(&mut self) -> anyhow::Result<()> {
        for (name, sink) in &mut self.open {
            sink.flush().map_err(|error| failed(name, error))?;
        }
        Ok(())
    }

    /// Waits for what is on its way. True: something was lost.
    pub fn finish(self, global: Global) -> anyhow::Result<(Vec<SinkSummary>, bool)> {
        let mut summaries = Vec::new();
        let mut lost = false;
        for (name, sink) in self.open {
            let report = sink.finish().map_err(|error| failed(&name, error))?;
            lost |= report.dropped > 0;
            if !global.quiet && (report.dropped > 0 || report.kept > 0) {
                eprintln!(
                    "replay: {name}: {} delivered, {} kept in the spool, {} dropped",
                    report.delivered, report.kept, report.dropped
                );
                for reason in &report.reasons {
                    eprintln!("replay: {name}: {reason}");
                }
            }
            summaries.push(SinkSummary {
                sink: name,
                delivered: report.delivered,
                kept: report.kept,
                dropped: report.dropped,
                reasons: report.reasons,
            });
        }
        Ok((summaries, lost))
    }
}

#[cfg(feature = "sinks")]
fn failed(name: &str, error: replay::sinks::Error) -> anyhow::Error {
    anyhow::Error::new(error).context(format!("the sink {name} failed"))
}
