//! What the container of the guest used, by the samples of the trace, against what happened in it; and
//! what its processes used, by their exits. Every difference is one line of text.
//!
//! Before the known sequence a program in the container writes [`CACHED_MIB`] to a file in memory, which
//! stays charged to it.

use trace_format::{
    EventData,
    event::{Sample, SampleKnown},
};

use super::recording::Recording;

/// Written in the container, to tmpfs.
pub const CACHED_MIB: u64 = 8;
const MIB: u64 = 1 << 20;

/// What the guest offers.
pub struct Guest {
    pub v1: bool,
    /// Names of the files in the container's cgroups.
    pub files: String,
    /// It counts pressure.
    pub pressure: bool,
}

pub fn differences(guest: &Guest, recording: &Recording, container_id: &str) -> Vec<String> {
    let mut found = Vec::new();
    let of_container = recording
        .containers
        .values()
        .find(|container| container.id == container_id);
    let Some(container) = of_container else {
        return vec![format!("no container {container_id} to have samples of")];
    };
    match last(recording, container.cgroup_id) {
        Some(sample) => check_container(guest, &sample, &mut found),
        None => found.push("the container has no sample".into()),
    }
    match last(recording, 0) {
        Some(sample) => check_host(guest, &sample, &mut found),
        None => found.push("the host has no sample".into()),
    }
    exits(recording, container.cgroup_id, &mut found);
    found
}

fn last(recording: &Recording, cgroup_id: u64) -> Option<Sample> {
    let mut backwards = recording.events.iter().rev();
    backwards.find_map(|event| match &event.data {
        EventData::Sample(sample) if event.cgroup_id == cgroup_id => Some(**sample),
        _ => None,
    })
}

/// Bits of [`SampleKnown`] that must be there, and those that must not.
fn known(whose: &str, sample: &Sample, expected: &[(u32, bool)], found: &mut Vec<String>) {
    let expected = expected
        .iter()
        .filter(|(_, there)| *there)
        .fold(0, |bits, (bit, _)| bits | bit);
    if sample.known != SampleKnown(expected) {
        found.push(format!(
            "sample of {whose}: known is {}, expected {expected}: {sample:?}",
            sample.known.0
        ));
    }
}

fn check_container(guest: &Guest, sample: &Sample, found: &mut Vec<String>) {
    let has = |file: &str| guest.files.lines().any(|line| line == file);
    let (io, peak) = match guest.v1 {
        true => ("blkio.throttle.io_serviced", "memory.max_usage_in_bytes"),
        false => ("io.stat", "memory.peak"),
    };
    let expected = [
        (SampleKnown::THROTTLED, true),
        (SampleKnown::MEMORY, true),
        (SampleKnown::PIDS, true),
        (SampleKnown::MEMORY_KINDS, true),
        (SampleKnown::FAULTS, true),
        (SampleKnown::IO, has(io)),
        (SampleKnown::MEMORY_PEAK, has(peak)),
        (SampleKnown::PRESSURE, guest.pressure && !guest.v1),
        // It is in the network of the host, and nobody is left in it.
        (SampleKnown::NETWORK, false),
        (SampleKnown::LOAD, false),
    ];
    known("the container", sample, &expected, found);
    let cached = CACHED_MIB * MIB;
    let mut must = |what: &str, holds: bool| {
        if !holds {
            found.push(format!("sample of the container: {what}: {sample:?}"));
        }
    };
    must("CPU time", sample.cpu_ns > 1_000_000);
    // Some of it may be charged to whoever else touched it.
    must(
        "what was written is there",
        sample.file_bytes >= cached - MIB && sample.file_bytes < cached + 8 * MIB,
    );
    must("it is in use", sample.memory_bytes >= sample.file_bytes / 2);
    must("page faults", sample.minor_faults >= 100);
    if has(peak) {
        must(
            "at most the peak",
            sample.memory_peak_bytes >= sample.memory_bytes && sample.memory_peak_bytes >= cached,
        );
    }
}

fn check_host(guest: &Guest, sample: &Sample, found: &mut Vec<String>) {
    let expected = [
        (SampleKnown::MEMORY, true),
        (SampleKnown::PIDS, true),
        (SampleKnown::IO, true),
        (SampleKnown::MEMORY_KINDS, true),
        (SampleKnown::FAULTS, true),
        (SampleKnown::PRESSURE, guest.pressure),
        (SampleKnown::NETWORK, true),
        (SampleKnown::LOAD, true),
    ];
    known("the host", sample, &expected, found);
    if sample.minor_faults == 0 || sample.anon_bytes == 0 || sample.file_bytes < CACHED_MIB * MIB {
        found.push(format!("sample of the host: {sample:?}"));
    }
}

/// Every process of the container that ended used something.
fn exits(recording: &Recording, cgroup_id: u64, found: &mut Vec<String>) {
    let mut ended = 0;
    for event in &recording.events {
        let EventData::Exit(exit) = &event.data else {
            continue;
        };
        if event.cgroup_id != cgroup_id || !exit.last_thread {
            continue;
        }
        ended += 1;
        match exit.usage {
            Some(used)
                if used.minor_faults > 0
                    && (64 << 10..256 * MIB).contains(&used.max_rss_bytes)
                    && used.user_ns + used.system_ns < 120_000_000_000 => {}
            usage => found.push(format!("process {} used {usage:?}", event.pid)),
        }
    }
    if ended == 0 {
        found.push("no process of the container ended".into());
    }
}
