//! Where a derived trace comes from: what recovering, slicing, merging, importing and a flight recorder's
//! dump write into their
//! output, so that it never passes for the original. SPEC.md §Derived traces.

use bincode::{Decode, Encode};
use serde::Serialize;

use crate::{Clock, Host, Issue, text::as_hex, wire};

/// The first record of a derived trace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Provenance {
    /// `recover`, `slice`, `merge`, `import` or `flight`.
    pub action: String,
    /// Program and version.
    pub tool_version: String,
    /// What was asked for, as far as it changes the result.
    pub arguments: String,
    /// Events were left out because nobody asked for them: holes in the sequence numbers are no loss
    /// then, and only Loss and Discard records say what was lost.
    pub selected: bool,
    /// In the order in which they were named.
    pub sources: Vec<ProvenanceSource>,
}

/// A trace that a derived one was made from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct ProvenanceSource {
    /// Zeros when it was no Trailcam trace.
    #[serde(serialize_with = "as_hex")]
    pub trace_uuid: [u8; 16],
    /// Hash of the last chunk that was read.
    #[serde(serialize_with = "as_hex")]
    pub chain_head: [u8; 32],
    /// Chunks that were read.
    pub chunks: u64,
    /// Of the file, without its directory.
    pub name: String,
    /// It ended with a summary that fits, and nothing was missing or damaged.
    pub complete: bool,
}

/// What is missing in a derived trace because it was missing in a source. It stands where the hole
/// is: in the first chunk behind it, or at the end in a chunk of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Discard {
    /// Index in [`Provenance::sources`].
    pub source: u32,
    /// In the source.
    pub offset: u64,
    /// That were passed over; 0: they are not in the source at all.
    pub bytes: u64,
    /// Number of the first missing chunk in the source, and how many there are; both 0 when the
    /// neighbours' numbers leave no room.
    pub first_number: u64,
    pub chunks: u64,
    /// What is missing happened after this (0: nothing came before) and before this (the largest
    /// number there is: nothing came after).
    pub after_ns: u64,
    pub before_ns: u64,
    pub reason: String,
}

/// How the ids of a merged trace come from those of one source: subtract the bases.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Origin {
    /// Index in [`Provenance::sources`]; parts of one capture name the first.
    pub source: u32,
    pub host: Host,
    /// As last read by that host, in its own times.
    pub clock: Clock,
    /// Added to its times.
    pub time_base: u64,
    /// Added to its pids and tids, 0 aside.
    pub pid_base: u32,
    /// Added to its cgroup ids, 0 aside, and to its socket ids.
    pub cgroup_base: u64,
    /// Added to its CPU numbers.
    pub cpu_base: u16,
    /// Its probes' ids and those they have here, ascending; others are the same.
    pub probes: Vec<(u8, u8)>,
}

impl Discard {
    /// What a reader found missing in a source.
    pub(crate) fn of_issue(source: u32, issue: &Issue) -> Discard {
        let missing = issue.missing.clone();
        Discard {
            source,
            offset: issue.offset,
            bytes: issue.bytes,
            first_number: missing.as_ref().map_or(0, |range| *range.start()),
            chunks: missing.map_or(0, |range| (range.end() - range.start()).saturating_add(1)),
            after_ns: issue.after_ns.unwrap_or(0),
            before_ns: issue.before_ns.unwrap_or(u64::MAX),
            reason: issue.reason(),
        }
    }
}

impl Provenance {
    /// UUID of the derived trace: the same sources and arguments give the same trace, and no other
    /// trace has its UUID. Version 8 of RFC 9562 (bits made by the application).
    pub fn trace_uuid(&self) -> [u8; 16] {
        let mut payload = b"trailcam-derived-v1".to_vec();
        wire::put(self, &mut payload);
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&blake3::hash(&payload).as_bytes()[..16]);
        uuid[6] = uuid[6] & 0x0f | 0x80;
        uuid[8] = uuid[8] & 0x3f | 0x80;
        uuid
    }
}
