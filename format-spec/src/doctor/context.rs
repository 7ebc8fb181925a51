//! Context records: what they say one after the other must fit together.

use std::collections::{HashMap, HashSet};

use super::{Place, checks};
use crate::{Clock, Context, DecodedChunk, EventData, Host, Provenance};

/// A pair of clocks is read within microseconds; a record that stands further from it is wrong.
const CLOCK_DISTANCE_NS: u64 = 10_000_000_000;
/// NTP slews by at most 500 ppm; pairs are a second apart, so a larger step was a setting of the clock.
const CLOCK_STEP_NS: u64 = 500_000_000;
/// Cgroups remembered; a trace with more is checked for the first ones only.
const CGROUPS_REMEMBERED_MAX: usize = 262_144;

#[derive(Default)]
pub(super) struct Records {
    pub provenance: Option<Provenance>,
    first_record_seen: bool,
    first_event_seen: bool,
    host: Option<Host>,
    clock: Option<Clock>,
    watermark_ns: u64,
    probes: HashSet<u8>,
    /// Probes without a name that were reported.
    nameless: HashSet<u8>,
    /// Cgroup → path, as records and events say.
    paths: HashMap<u64, Vec<u8>>,
    /// Cgroups of events.
    seen: HashSet<u64>,
}

impl Records {
    pub fn chunk(&mut self, decoded: &DecodedChunk, place: &mut Place<'_>) {
        // A Loss record may stand before the names in the same chunk.
        for record in &decoded.context {
            if let Context::Probes(probes) = &record.body {
                self.probes
                    .extend(probes.probes.iter().map(|probe| probe.id));
            }
        }
        let mut open: Option<[bool; 3]> = None;
        let mut older = 0;
        for record in &decoded.context {
            older += u64::from(record.boot_ns < self.watermark_ns);
            if let Some(kinds) = &mut open {
                kinds[0] |= matches!(record.body, Context::Host(_));
                kinds[1] |= matches!(record.body, Context::Clock(_));
                kinds[2] |= matches!(record.body, Context::Probes(_));
            }
            match &record.body {
                Context::CheckpointBegin => {
                    let again = open.replace([false; 3]).is_some();
                    if again {
                        place.found(
                            &checks::CHECKPOINT,
                            "CheckpointEnd",
                            "another CheckpointBegin",
                        );
                    }
                }
                Context::CheckpointEnd => match open.take() {
                    Some([true, true, true]) => {}
                    Some(kinds) => place.found(
                        &checks::CHECKPOINT,
                        "Host, Clock and Probes in it",
                        format_args!("Host {}, Clock {}, Probes {}", kinds[0], kinds[1], kinds[2]),
                    ),
                    None => place.found(
                        &checks::CHECKPOINT,
                        "CheckpointBegin before it",
                        "none in this chunk",
                    ),
                },
                Context::Host(host) => self.host(host, place),
                Context::Clock(clock) => self.clock(*clock, record.boot_ns, place),
                Context::Container(container) => {
                    let path = container.cgroup_path.as_bytes();
                    self.path(container.cgroup_id, path, place);
                }
                Context::Loss(loss) => {
                    for count in &loss.counts {
                        self.probe(count.probe, place);
                    }
                }
                Context::Provenance(provenance) => {
                    if self.first_record_seen {
                        place.found(&checks::PROVENANCE, "the first record", "one after others");
                    } else if provenance.trace_uuid() != decoded.header.trace_uuid {
                        place.found(
                            &checks::PROVENANCE,
                            format_args!("trace {}", crate::hex(&provenance.trace_uuid())),
                            format_args!("trace {}", crate::hex(&decoded.header.trace_uuid)),
                        );
                    }
                    self.provenance.get_or_insert_with(|| provenance.clone());
                }
                Context::Discard(discard) => {
                    let sources = self.provenance.as_ref().map_or(0, |it| it.sources.len());
                    if discard.source as usize >= sources {
                        place.found(
                            &checks::PROVENANCE,
                            format_args!("one of {sources} sources"),
                            format_args!("source {}", discard.source),
                        );
                    }
                    place.found(
                        &checks::DISCARD,
                        "nothing left out",
                        format_args!(
                            "{}: {} bytes at byte {} and {} chunks of source {}",
                            discard.reason,
                            discard.bytes,
                            discard.offset,
                            discard.chunks,
                            discard.source
                        ),
                    );
                }
                _ => {}
            }
            self.first_record_seen = true;
        }
        if open.is_some() {
            place.found(
                &checks::CHECKPOINT,
                "CheckpointEnd in the same chunk",
                "none",
            );
        }
        if older > 0 {
            place.found(
                &checks::CONTEXT_ORDER,
                format_args!("no record before {}", self.watermark_ns),
                format_args!("{older} older ones"),
            );
        }
        self.events(decoded, place);
        self.watermark_ns = self.watermark_ns.max(decoded.header.watermark_ns);
    }

    fn events(&mut self, decoded: &DecodedChunk, place: &mut Place<'_>) {
        let Some(first) = decoded.events.first() else {
            return;
        };
        if !std::mem::replace(&mut self.first_event_seen, true) {
            let before = decoded.context.iter().any(|record| {
                matches!(record.body, Context::Host(_)) && record.boot_ns <= first.boot_ns
            });
            if !before && self.host.is_none() {
                place.found(
                    &checks::HOST,
                    "a Host record before the first event",
                    "none",
                );
            }
        }
        let mut last = None;
        for event in &decoded.events {
            if event.probe != 0 {
                self.probe(event.probe, place);
            }
            if let EventData::Cgroup(change) = &event.data {
                self.path(change.id, &change.path, place);
            }
            if last != Some(event.cgroup_id) {
                last = Some(event.cgroup_id);
                if self.seen.len() < CGROUPS_REMEMBERED_MAX {
                    self.seen.insert(event.cgroup_id);
                }
            }
        }
    }

    fn host(&mut self, host: &Host, place: &mut Place<'_>) {
        if let Some(before) = &self.host
            && (before.host_uuid, before.boot_id) != (host.host_uuid, host.boot_id)
        {
            let name = |host: &Host| {
                format!(
                    "host {} boot {}",
                    crate::hex(&host.host_uuid),
                    crate::hex(&host.boot_id)
                )
            };
            place.found(&checks::HOST, name(before), name(host));
        }
        self.host = Some(host.clone());
    }

    fn clock(&mut self, clock: Clock, boot_ns: u64, place: &mut Place<'_>) {
        // A derived trace says an older pair again; a merged one has (0, 0), its times being wall times.
        let said_again = self.provenance.is_some() && clock.boot_ns <= boot_ns;
        if !said_again && clock.boot_ns.abs_diff(boot_ns) > CLOCK_DISTANCE_NS {
            place.found(
                &checks::CLOCK,
                format_args!("a pair read at {boot_ns}, when the record was made"),
                format_args!("read at {}", clock.boot_ns),
            );
        }
        if let Some(before) = self.clock.replace(clock) {
            if clock.boot_ns < before.boot_ns {
                place.found(
                    &checks::CLOCK,
                    format_args!("a pair not before {}", before.boot_ns),
                    clock.boot_ns,
                );
            }
            let offset = |clock: Clock| i128::from(clock.wall_ns) - i128::from(clock.boot_ns);
            let step = offset(clock) - offset(before);
            if step.unsigned_abs() > CLOCK_STEP_NS.into() {
                place.found(
                    &checks::CLOCK_STEP,
                    "wall and boot clock going alike",
                    format_args!("the wall clock moved by {step} ns against the boot clock"),
                );
            }
        }
    }

    fn probe(&mut self, probe: u8, place: &mut Place<'_>) {
        if probe != 0 && !self.probes.contains(&probe) && self.nameless.insert(probe) {
            place.found(
                &checks::PROBES,
                format_args!("probe {probe} in a Probes record, in this chunk or before"),
                "not named",
            );
        }
    }

    fn path(&mut self, cgroup_id: u64, path: &[u8], place: &mut Place<'_>) {
        match self.paths.get(&cgroup_id) {
            Some(before) if before != path && !before.is_empty() && !path.is_empty() => place
                .found(
                    &checks::CONTAINER,
                    format_args!("cgroup {cgroup_id} at {}", String::from_utf8_lossy(before)),
                    String::from_utf8_lossy(path),
                ),
            Some(_) => {}
            None if self.paths.len() < CGROUPS_REMEMBERED_MAX => {
                self.paths.insert(cgroup_id, path.to_vec());
            }
            None => {}
        }
    }

    pub fn finish(&mut self, place: &mut Place<'_>) {
        let mut unknown: Vec<u64> = self
            .seen
            .iter()
            .copied()
            .filter(|cgroup_id| *cgroup_id != 0 && !self.paths.contains_key(cgroup_id))
            .collect();
        unknown.sort_unstable();
        if let Some(first) = unknown.first() {
            place.found(
                &checks::CGROUP_UNKNOWN,
                "a Container record or a cgroup event for every cgroup with events",
                format_args!("{} without, the first is {first}", unknown.len()),
            );
        }
    }
}
