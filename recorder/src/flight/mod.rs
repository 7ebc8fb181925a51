//! The flight recorder: the last minutes of a recording, kept, and written down when somebody asks.
//!
//! Sealed chunks go into a bounded ring on disk or in memory ([`ring`]). A trigger (the control socket,
//! SIGUSR1, a finding) begins a dump ([`dump`]): what the ring holds, then every chunk up to `post`
//! after the trigger, as a trace of its own. A trigger that comes while a dump is open is its reason
//! too and makes it longer, up to a bound. Time here is that of the newest data, never the clock: a
//! host that sleeps, or a disk that holds the chunks up, changes nothing about what is kept.

pub mod dump;
pub mod name;
pub mod ring;
mod segments;

use std::{path::PathBuf, sync::Arc, time::Duration};

use crossbeam_channel::{Receiver, Sender, bounded};
use trace_format::{SealedChunk, SigningKey};

use crate::{
    notice::say,
    sinks::{Ending, Sink},
};
use dump::{Dump, Written};
use name::Pattern;
use ring::Ring;

/// The ring has room for the largest chunk and a checkpoint several times over.
pub const RING_BYTES_MIN: u64 = 32 << 20;
/// A checkpoint stands in the ring at least this often: what is let go of at once is no more than that.
const SPANS: u64 = 8;
/// A dump that triggers keep open goes on for so many times `post` after the first one …
const POSTS_MAX: u32 = 10;
/// … or until it is as large as so many rings: then it ends, and the next trigger begins another one.
const RINGS_MAX: u64 = 2;
/// Dumps that are still being written, the open one included: each has a thread and a queue.
const DUMPS_MAX: usize = 3;
/// Triggers that wait for the next chunk; one more joins those anyway.
const TRIGGERS_MAX: usize = 16;

/// Where the ring is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Memory,
    Directory(PathBuf),
}

#[derive(Clone, Debug)]
pub struct Settings {
    pub keep: Duration,
    pub bytes_max: u64,
    pub place: Place,
    pub post: Duration,
    pub pattern: Pattern,
    pub key: Option<Arc<SigningKey>>,
}

impl Settings {
    /// Chunks between two checkpoints, in bytes and in time: what the ring lets go of at once.
    pub fn span(&self) -> (u64, Duration) {
        let age = (self.keep / SPANS as u32).clamp(Duration::from_secs(1), Duration::from_secs(60));
        (self.bytes_max / SPANS, age)
    }
}

/// Somebody wants a dump.
#[derive(Debug)]
pub struct Trigger {
    pub reason: String,
    /// Takes what became of it, once.
    pub answer: Sender<Result<Begun, String>>,
}

/// The dump that a trigger began or joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    pub path: PathBuf,
    /// It was open already.
    pub joined: bool,
    /// Of the trace's clock: what it holds, as far as known now.
    pub from_ns: u64,
    pub until_ns: u64,
}

/// Where triggers go in.
#[derive(Clone, Debug)]
pub struct Triggers(Sender<Trigger>);

impl Triggers {
    pub fn channel() -> (Triggers, Receiver<Trigger>) {
        let (sender, receiver) = bounded(TRIGGERS_MAX);
        (Triggers(sender), receiver)
    }

    /// Asks for a dump; the answer comes out of the receiver when the next chunk is sealed. `None`: so
    /// many have asked already that this one changes nothing, or the recording has ended.
    pub fn pull(&self, reason: &str) -> Option<Receiver<Result<Begun, String>>> {
        let (answer, answered) = bounded(1);
        let reason = reason.to_owned();
        let pulled = self.0.try_send(Trigger { reason, answer }).is_ok();
        pulled.then_some(answered)
    }
}

/// The ring as a sink of the capture. What goes wrong with the ring or a dump is said, and the
/// recording goes on.
pub struct FlightSink {
    settings: Settings,
    ring: Ring,
    triggers: Receiver<Trigger>,
    /// Takes every dump when it is written.
    written: Sender<Written>,
    open: Option<Dump>,
    /// No longer open, still being written.
    closing: Vec<Dump>,
    /// The newest time and promise of the recording.
    newest_ns: u64,
    newest: Option<([u8; 16], [u8; 32], u64)>,
}

impl FlightSink {
    pub fn new(
        settings: Settings,
        trace_uuid: [u8; 16],
        triggers: Receiver<Trigger>,
        written: Sender<Written>,
    ) -> anyhow::Result<FlightSink> {
        let ring = Ring::new(&settings, trace_uuid)?;
        Ok(FlightSink {
            settings,
            ring,
            triggers,
            written,
            open: None,
            closing: Vec::new(),
            newest_ns: 0,
            newest: None,
        })
    }

    fn trigger(&mut self, trigger: Trigger) {
        let answer = self.begin_or_join(&trigger.reason);
        if let Err(error) = &answer {
            say(format_args!("rec: no dump ({}): {error}", trigger.reason));
        }
        // Whoever asked may have gone.
        let _ = trigger.answer.try_send(answer);
    }

    fn begin_or_join(&mut self, reason: &str) -> Result<Begun, String> {
        let post_ns = u64::try_from(self.settings.post.as_nanos()).unwrap_or(u64::MAX);
        let until_ns = self.newest_ns.saturating_add(post_ns);
        if let Some(open) = &mut self.open {
            open.extend(until_ns);
            return Ok(open.begun(true));
        }
        self.closing.retain(|dump| !dump.is_written());
        if self.closing.len() + 1 >= DUMPS_MAX {
            return Err(format!(
                "{} dumps are still being written",
                self.closing.len()
            ));
        }
        let Some((uuid, head, chunks)) = self.newest else {
            return Err("nothing has been recorded yet".to_owned());
        };
        let source = trace_format::ProvenanceSource {
            trace_uuid: uuid,
            chain_head: head,
            chunks,
            ..Default::default()
        };
        let bounds = dump::Bounds {
            until_ns,
            latest_ns: self
                .newest_ns
                .saturating_add(post_ns.saturating_mul(u64::from(POSTS_MAX))),
            bytes_max: self.settings.bytes_max.saturating_mul(RINGS_MAX),
        };
        let dump = Dump::begin(
            &self.settings,
            reason,
            source,
            self.ring.kept(),
            bounds,
            self.written.clone(),
        )
        .map_err(|error| format!("{error:#}"))?;
        let begun = dump.begun(false);
        say(format_args!(
            "dump {} begins with the last {:.1} s ({reason})",
            begun.path.display(),
            self.newest_ns.saturating_sub(begun.from_ns) as f64 / 1e9
        ));
        self.open = Some(dump);
        self.close_if_due(0);
        Ok(begun)
    }

    /// Ends the open dump when nothing that belongs in it can come any more.
    fn close_if_due(&mut self, watermark_ns: u64) {
        if self
            .open
            .as_ref()
            .is_some_and(|dump| dump.is_due(watermark_ns))
            && let Some(mut dump) = self.open.take()
        {
            dump.close();
            self.closing.push(dump);
        }
    }
}

impl Sink for FlightSink {
    fn chunk(&mut self, chunk: &SealedChunk) -> anyhow::Result<()> {
        let header = &chunk.header;
        self.newest_ns = self.newest_ns.max(header.last_ns);
        self.newest = Some((header.trace_uuid, header.hash, header.number + 1));
        self.ring.push(chunk);
        if let Some(open) = &mut self.open {
            open.add(chunk);
        }
        self.close_if_due(header.watermark_ns);
        // The chunk is in the ring: a dump that begins now begins with it.
        while let Ok(trigger) = self.triggers.try_recv() {
            self.trigger(trigger);
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>, _: &Ending) -> anyhow::Result<u64> {
        while let Ok(trigger) = self.triggers.try_recv() {
            self.trigger(trigger);
        }
        self.closing.extend(self.open.take());
        let mut bytes = 0;
        for mut dump in self.closing.drain(..) {
            dump.close();
            bytes += dump.wait();
        }
        // A clean end leaves nothing behind but what somebody asked for.
        self.ring.clear();
        Ok(bytes)
    }
}
