//! Writes a capture as a trace, one chunk after the other.
//!
//! Every event block becomes a row of its type's family, with sequence number = its place in the
//! capture, so that a block that could not be read leaves a hole like any lost event. State lists
//! become rows of their own families; host, clocks and containers context records besides, because
//! that is how every trace names them.

use std::io::Write;

use trace_format::{
    ChunkBuilder, Clock, Container, Context, ContextRecord, Event, EventData, Host, Limits, Probe,
    Probes, Provenance, Resolution, TraceWriter,
};

use super::{
    Block, Capture, Error, Issue, Reason,
    block::Kind,
    event::{self, EventBlock},
    families::{Families, Row},
    lists::{List, Record, Records, Value},
    schema,
    timeline::Timeline,
    whose::{HOST, Owners},
};

/// Events of the capture carry this probe; rows of state lists carry none.
pub const PROBE: u8 = 1;

/// What was read and written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    pub sections: u64,
    pub events: u64,
    /// Event blocks that contradict themselves: left out, reported.
    pub damaged: u64,
    /// Blocks of a kind that this reader does not know: left out, as the format asks.
    pub unknown_blocks: u64,
    pub state_records: u64,
    pub chunks: u64,
    pub trace_bytes: u64,
    pub issues: Vec<Issue>,
    pub issues_not_kept: u64,
}

pub struct Importer<W> {
    builder: ChunkBuilder,
    writer: TraceWriter<W>,
    families: Families,
    timeline: Timeline,
    owners: Owners,
    imported: Imported,
    /// Number of the next event block.
    number: u64,
    /// Nothing was written to the open chunk yet.
    fresh: bool,
}

/// Reads the whole capture into a trace, which begins with its provenance.
pub fn import<W: Write>(
    capture: &mut Capture,
    provenance: Provenance,
    level: i32,
    out: W,
) -> Result<(Imported, W), Error> {
    let limits = Limits {
        level,
        ..Limits::default()
    };
    let mut importer = Importer {
        builder: ChunkBuilder::new(provenance.trace_uuid(), limits),
        writer: TraceWriter::new(out),
        families: Families::default(),
        timeline: Timeline::default(),
        owners: Owners::default(),
        imported: Imported::default(),
        number: 0,
        fresh: true,
    };
    importer.put(Context::Provenance(provenance))?;
    let mut issues = Vec::new();
    while let Some(block) = capture.next_block()? {
        importer.block(block, &mut issues)?;
        for issue in issues.drain(..) {
            capture.issue(issue);
        }
    }
    importer.seal()?;
    let Importer {
        writer,
        mut imported,
        ..
    } = importer;
    imported.trace_bytes = writer.bytes() + writer.finish_bytes();
    imported.issues = capture.issues().to_vec();
    imported.issues_not_kept = capture.issues_not_kept();
    Ok((imported, writer.finish()?))
}

impl<W: Write> Importer<W> {
    fn block(&mut self, block: Block<'_>, issues: &mut Vec<Issue>) -> Result<(), Error> {
        let mut found = |reason: Reason| {
            issues.push(Issue {
                offset: block.offset,
                reason,
            });
        };
        match block.kind {
            Kind::Event(form) => {
                match event::parse(form, block.body) {
                    Ok(event) => self.event(&event)?,
                    Err(reason) => {
                        self.imported.damaged += 1;
                        found(reason);
                    }
                }
                self.number += 1;
            }
            Kind::Unknown(_) => self.imported.unknown_blocks += 1,
            kind => {
                if kind == Kind::Section {
                    self.imported.sections += 1;
                    self.timeline.section();
                }
                for record in Records::new(kind, block.body) {
                    match record {
                        Ok(record) => self.record(&record)?,
                        Err(reason) => found(reason),
                    }
                }
            }
        }
        Ok(())
    }

    fn event(&mut self, block: &EventBlock<'_>) -> Result<(), Error> {
        let place = self.timeline.place(block.wall_ns);
        if let Some(clock) = place.clock {
            self.context(Context::Clock(clock))?;
        }
        self.imported.events += 1;
        self.learn(block)?;
        let row = self.families.event(block, place.ahead_ns);
        self.row(row, place.boot_ns, block.tid, Some(self.number))?;
        // Seen with its last event, not before.
        if matches!(block.number, 16 | 186) {
            self.owners.exit(block.tid);
        }
        Ok(())
    }

    fn record(&mut self, record: &Record<'_>) -> Result<(), Error> {
        self.imported.state_records += 1;
        let number = |name: &str| {
            let at = record
                .list
                .fields()
                .iter()
                .position(|field| field.0 == name);
            match at.map(|at| record.values[at]) {
                Some(Value::Number(number)) => number,
                _ => 0,
            }
        };
        let text = |name: &str| {
            let at = record
                .list
                .fields()
                .iter()
                .position(|field| field.0 == name);
            match at.map(|at| record.values[at]) {
                Some(Value::Bytes(bytes)) => bytes,
                _ => &[],
            }
        };
        let mut tid = 0;
        match record.list {
            List::Machine => self.host(Host {
                hostname: String::from_utf8_lossy(text("hostname")).into_owned(),
                arch: "x86_64".to_owned(),
                cpus: number("num_cpus") as u32,
                memory_bytes: number("memory_bytes"),
                recorder_version: "scap".to_owned(),
                ..Host::default()
            })?,
            List::Process => {
                tid = number("tid");
                let cgroups = Some(text("cgroups"));
                if let Some(new) = self.owners.thread(tid, number("pid"), cgroups) {
                    self.context(Context::Container(new))?;
                }
            }
            List::Descriptor => tid = number("tid"),
            List::Section | List::Interface | List::User | List::Group => {}
        }
        let row = self.families.record(record);
        self.row(row, self.timeline.now_ns(), tid, None)
    }

    /// Takes from an event what it says about threads and containers.
    fn learn(&mut self, block: &EventBlock<'_>) -> Result<(), Error> {
        let Some(schema) = schema::types().get(usize::from(block.number)) else {
            return Ok(());
        };
        let new = match schema.name {
            "clone" | "fork" | "vfork" | "clone3" | "execve" | "execveat" if !schema.enter => {
                let (mut tid, mut pid, mut cgroups) = (block.tid, None, None);
                for (parameter, bytes) in schema.parameters.iter().zip(block.parameters.iter()) {
                    match parameter.name {
                        "tid" => tid = super::bytes::unsigned(bytes.get(..8).unwrap_or_default()),
                        "pid" => pid = bytes.get(..8).map(super::bytes::unsigned),
                        "cgroups" => cgroups = Some(bytes),
                        _ => {}
                    }
                }
                let pid = pid.unwrap_or(self.owners.of(tid).pid.into());
                self.owners.thread(tid, pid, cgroups)
            }
            "container" if schema.enter => {
                let json = block.parameters.iter().next().unwrap_or_default();
                self.owners.described(json)
            }
            _ => None,
        };
        match new {
            Some(container) => self.context(Context::Container(container)),
            None => Ok(()),
        }
    }

    /// Adds a row, and those that must stand before it.
    fn row(&mut self, row: Row, boot_ns: u64, tid: u64, number: Option<u64>) -> Result<(), Error> {
        let owner = self.owners.of(tid);
        let parts = row.parts.into_iter().map(|data| (data, None));
        for (data, number) in parts.chain([(row.data, number)]) {
            if self.builder.is_full() {
                self.seal()?;
            }
            self.open()?;
            self.builder.declare(data.ty())?;
            self.builder.push(Event {
                boot_ns,
                cpu: 0,
                probe: number.map_or(0, |_| PROBE),
                seq: number.unwrap_or(0),
                tid: tid as u32,
                pid: owner.pid,
                cgroup_id: owner.cgroup_id,
                data: EventData::Declared(data),
            });
        }
        Ok(())
    }

    /// Writes what every chunk starts with: the clocks and containers known so far.
    fn open(&mut self) -> Result<(), Error> {
        if !std::mem::replace(&mut self.fresh, false) {
            return Ok(());
        }
        if self.builder.next_number() == 0 {
            self.put(Context::Probes(Probes {
                profile: "scap".to_owned(),
                probes: vec![Probe {
                    id: PROBE,
                    name: "scap".to_owned(),
                    attached: "import".to_owned(),
                    reason: String::new(),
                }],
            }))?;
            self.put(Context::Container(Container {
                cgroup_id: HOST,
                cgroup_path: "/".to_owned(),
                resolution: Resolution::GaveUp,
                ..Container::default()
            }))?;
        } else {
            if let Some(clock) = self.timeline.clock() {
                self.put(Context::Clock(clock))?;
            }
            for container in self.owners.containers() {
                // Each was written when it became known: what has no room here only costs a reader
                // that starts here.
                if self.builder.is_full() {
                    break;
                }
                self.put(Context::Container(container))?;
            }
        }
        Ok(())
    }

    fn host(&mut self, host: Host) -> Result<(), Error> {
        self.context(Context::Host(host))
    }

    fn context(&mut self, body: Context) -> Result<(), Error> {
        if self.builder.is_full() {
            self.seal()?;
        }
        self.open()?;
        self.put(body)
    }

    fn put(&mut self, body: Context) -> Result<(), Error> {
        let boot_ns = match &body {
            Context::Clock(Clock { boot_ns, .. }) => *boot_ns,
            _ => self.timeline.now_ns(),
        };
        match self.builder.context(ContextRecord { boot_ns, body }) {
            // A description beyond the format's limit stays in its event.
            Ok(()) | Err(trace_format::Error::Limit { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn seal(&mut self) -> Result<(), Error> {
        if self.builder.is_empty() {
            return Ok(());
        }
        let chunk = self.builder.seal(self.timeline.now_ns());
        self.writer.write(&chunk)?;
        self.imported.chunks += 1;
        self.fresh = true;
        Ok(())
    }
}
