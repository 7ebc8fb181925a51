//! What the recorder observed about the world, written so that replay needs no other source.
//!
//! A context record applies from its own time forward, never back. At the same nanosecond it
//! applies before the events. Payloads are bincode (pinned configuration, SPEC.md §bincode);
//! fields are only ever appended.

use std::sync::Arc;

use bincode::{Decode, Encode};
use serde::{Serialize, Serializer};

use crate::{
    Details, Error,
    declared::EventType,
    event::ExecFlags,
    provenance::{Discard, Origin, Provenance},
    text::{as_hex, as_text},
    wire,
};

/// One observation and the moment it holds from (`CLOCK_BOOTTIME`, nanoseconds).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextRecord {
    pub boot_ns: u64,
    pub body: Context,
}

/// What was observed. The number of each kind is in SPEC.md §Context and [`Context::kind`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Context {
    Host(Host),
    Clock(Clock),
    Process(Process),
    Container(Container),
    Probes(Probes),
    Loss(Loss),
    Mark(Mark),
    /// Nothing but time: once a second, also when idle, so that windows close.
    Tick,
    /// Everything a reader needs to start here follows, up to `CheckpointEnd`.
    CheckpointBegin,
    CheckpointEnd,
    User(User),
    Provenance(Provenance),
    Discard(Discard),
    Continues(Continues),
    /// Describes a family of this chunk, whatever the record's time. The builder writes it.
    EventType(Arc<EventType>),
    Origin(Origin),
    Continued(Continued),
    Drops(Drops),
    /// A kind that this version does not know: kept, not understood.
    Unknown {
        kind: u16,
        payload: Vec<u8>,
    },
}

/// The recording host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Host {
    /// Random, kept by the host (machine-id where there is one).
    #[serde(serialize_with = "as_hex")]
    pub host_uuid: [u8; 16],
    pub hostname: String,
    pub kernel_release: String,
    /// `x86_64` or `aarch64`: selects the system-call table.
    pub arch: String,
    pub cpus: u32,
    pub memory_bytes: u64,
    /// Of this boot (`/proc/sys/kernel/random/boot_id`).
    #[serde(serialize_with = "as_hex")]
    pub boot_id: [u8; 16],
    pub recorder_version: String,
}

/// Both clocks, read together. Wall time of an event = its boot time + (wall_ns − boot_ns) of the last pair before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Clock {
    pub boot_ns: u64,
    /// `CLOCK_REALTIME`, nanoseconds since the Unix epoch.
    pub wall_ns: u64,
}

/// A process that ran when it was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Process {
    pub pid: u32,
    pub ppid: u32,
    pub start_ns: u64,
    pub uid: u32,
    pub gid: u32,
    pub cgroup_id: u64,
    #[serde(serialize_with = "as_text")]
    pub comm: Vec<u8>,
    /// Path of the executable in the process's root; empty for kernel threads.
    #[serde(serialize_with = "as_text")]
    pub exe: Vec<u8>,
    /// argv joined with NUL.
    #[serde(serialize_with = "as_text")]
    pub args: Vec<u8>,
    #[serde(serialize_with = "as_text")]
    pub cwd: Vec<u8>,
    /// Start of the container's view: its pid in its own namespace.
    pub ns_pid: u32,
    /// What an older writer did not say.
    #[serde(serialize_with = "or_zeros")]
    pub details: Option<Box<SnapshotDetails>>,
}

/// What was appended to [`Process`] (SPEC.md, how a record grows).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct SnapshotDetails {
    pub process: Details,
    /// Of the executable file, as in an exec event.
    pub dev: u64,
    pub ino: u64,
    pub flags: ExecFlags,
}

/// Absent fields read as zeros.
fn or_zeros<S: Serializer>(
    details: &Option<Box<SnapshotDetails>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    details
        .as_deref()
        .copied()
        .unwrap_or_default()
        .serialize(serializer)
}

/// [`Process`] as its first version was.
#[derive(Decode)]
struct FirstProcess {
    pid: u32,
    ppid: u32,
    start_ns: u64,
    uid: u32,
    gid: u32,
    cgroup_id: u64,
    comm: Vec<u8>,
    exe: Vec<u8>,
    args: Vec<u8>,
    cwd: Vec<u8>,
    ns_pid: u32,
}

impl Process {
    pub(crate) fn get(payload: &[u8]) -> Result<Process, Error> {
        let (first, details): (FirstProcess, _) = wire::get_grown("process record", payload)?;
        Ok(Process {
            pid: first.pid,
            ppid: first.ppid,
            start_ns: first.start_ns,
            uid: first.uid,
            gid: first.gid,
            cgroup_id: first.cgroup_id,
            comm: first.comm,
            exe: first.exe,
            args: first.args,
            cwd: first.cwd,
            ns_pid: first.ns_pid,
            details: details.map(Box::new),
        })
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        wire::put(
            &(
                self.pid,
                self.ppid,
                self.start_ns,
                self.uid,
                self.gid,
                self.cgroup_id,
            ),
            out,
        );
        wire::put(
            &(&self.comm, &self.exe, &self.args, &self.cwd, self.ns_pid),
            out,
        );
        if let Some(details) = self.details.as_deref() {
            wire::put(details, out);
        }
    }
}

/// How far the recorder got with a container's metadata.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// Asked, no answer so far. A finding waits up to 500 ms of trace time for what follows.
    #[default]
    Pending,
    Resolved,
    /// Nobody knows more: the id from the cgroup path is all there is.
    GaveUp,
}

/// What a cgroup is. Every cgroup that is not a container is described too, with an empty `id`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Container {
    pub cgroup_id: u64,
    pub cgroup_path: String,
    /// Full container id (64 hex digits for Docker); empty: not a container.
    pub id: String,
    /// `docker`, `containerd`, `cri-o`, `podman`, `sandbox`, or empty.
    pub runtime: String,
    pub name: String,
    pub image: String,
    pub privileged: bool,
    pub pod: String,
    pub namespace: String,
    pub labels: Vec<(String, String)>,
    pub resolution: Resolution,
}

/// The probes that were attached and what they recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Probes {
    pub profile: String,
    pub probes: Vec<Probe>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Probe {
    /// [`crate::Event::probe`] of its events.
    pub id: u8,
    pub name: String,
    /// For example `tp_btf/sys_exit`; empty with a reason when it could not be attached.
    pub attached: String,
    pub reason: String,
}

/// Cumulative since the start of the capture, per CPU and probe: `seen = events in the trace + dropped`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Loss {
    pub counts: Vec<LossCount>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct LossCount {
    pub cpu: u16,
    pub probe: u8,
    /// Sequence numbers handed out.
    pub seen: u64,
    /// Of those: the ring was full.
    pub dropped: u64,
    /// Rejected by a filter before a sequence number was taken.
    pub filtered: u64,
}

/// Of whom events were dropped, cumulative since the start of the capture. What [`Loss`] counts beyond
/// the sum is of cgroups that are not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Drops {
    pub counts: Vec<DropCount>,
}

impl Drops {
    /// Those of cgroups that are wanted; None: there is none.
    pub fn of(mut self, wanted: impl Fn(u64) -> bool) -> Option<Drops> {
        self.counts.retain(|count| wanted(count.cgroup_id));
        (!self.counts.is_empty()).then_some(self)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct DropCount {
    pub cgroup_id: u64,
    pub dropped: u64,
}

/// A note in the trace (`rec ctl mark`): never a feature, never evidence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Mark {
    pub label: String,
    pub text: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct User {
    pub uid: u32,
    pub name: String,
}

/// In the first chunk of a rotated capture's later parts: which trace this one continues. The first
/// part has none; its UUID is the capture's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Continues {
    #[serde(serialize_with = "as_hex")]
    pub capture_uuid: [u8; 16],
    /// Number of this part, from 1.
    pub part: u32,
    /// The part before: its trace, its last chunk's hash, and how many chunks it has.
    #[serde(serialize_with = "as_hex")]
    pub previous_uuid: [u8; 16],
    #[serde(serialize_with = "as_hex")]
    pub previous_head: [u8; 32],
    pub previous_chunks: u64,
}

/// In the last chunk of a part that another one follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Continued {
    #[serde(serialize_with = "as_hex")]
    pub next_uuid: [u8; 16],
}

impl Context {
    /// The kind's number on disk.
    pub fn kind(&self) -> u16 {
        match self {
            Context::Host(_) => 1,
            Context::Clock(_) => 2,
            Context::Process(_) => 3,
            Context::Container(_) => 4,
            Context::Probes(_) => 5,
            Context::Loss(_) => 6,
            Context::Mark(_) => 7,
            Context::Tick => 8,
            Context::CheckpointBegin => 9,
            Context::CheckpointEnd => 10,
            Context::User(_) => 11,
            Context::Provenance(_) => 12,
            Context::Discard(_) => 13,
            Context::Continues(_) => 14,
            Context::EventType(_) => 15,
            Context::Origin(_) => 19,
            Context::Continued(_) => 20,
            Context::Drops(_) => 21,
            Context::Unknown { kind, .. } => *kind,
        }
    }

    /// The kind's name in SPEC.md, in lower case.
    pub fn name(&self) -> &'static str {
        match self {
            Context::Host(_) => "host",
            Context::Clock(_) => "clock",
            Context::Process(_) => "process",
            Context::Container(_) => "container",
            Context::Probes(_) => "probes",
            Context::Loss(_) => "loss",
            Context::Mark(_) => "mark",
            Context::Tick => "tick",
            Context::CheckpointBegin => "checkpoint_begin",
            Context::CheckpointEnd => "checkpoint_end",
            Context::User(_) => "user",
            Context::Provenance(_) => "provenance",
            Context::Discard(_) => "discard",
            Context::Continues(_) => "continues",
            Context::EventType(_) => "event_type",
            Context::Origin(_) => "origin",
            Context::Continued(_) => "continued",
            Context::Drops(_) => "drops",
            Context::Unknown { .. } => "unknown",
        }
    }
}
