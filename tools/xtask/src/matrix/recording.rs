//! A whole trace in memory, for questions about everything in it. Test recordings are short.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use trace_format::{ChunkSource, Container, Context, Event, Loss, Probe, TraceReader};

/// A test recording has some thousands of events; one that has this many recorded something else.
const EVENTS_MAX: usize = 4_000_000;

#[derive(Default)]
pub struct Recording {
    /// By time.
    pub events: Vec<Event>,
    /// The last state of each cgroup.
    pub containers: BTreeMap<u64, Container>,
    pub probes: Vec<Probe>,
    pub loss: Option<Loss>,
    /// A summary ends it.
    pub complete: bool,
    /// What the reader found missing or damaged.
    pub issues: Vec<String>,
}

impl Recording {
    pub fn read(path: &Path) -> Result<Self> {
        let mut reader = TraceReader::open(path).with_context(|| format!("{}", path.display()))?;
        let mut recording = Self::default();
        while let Some(chunk) = reader.next_chunk()? {
            let chunk = chunk.decode()?;
            for record in chunk.context {
                recording.context(record.body);
            }
            recording.events.extend(chunk.events);
            if recording.events.len() > EVENTS_MAX {
                bail!("{}: more than {EVENTS_MAX} events", path.display());
            }
        }
        recording.complete = reader.summary().is_some();
        recording.issues = reader
            .issues()
            .iter()
            .map(|issue| format!("{issue:?}"))
            .collect();
        recording.events.sort_by_key(|event| event.boot_ns);
        Ok(recording)
    }

    fn context(&mut self, body: Context) {
        match body {
            Context::Container(container) => {
                self.containers.insert(container.cgroup_id, container);
            }
            Context::Probes(probes) => self.probes = probes.probes,
            Context::Loss(loss) => self.loss = Some(loss),
            _ => {}
        }
    }
}
