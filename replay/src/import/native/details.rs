//! What a capture says of a process beyond who it is, in the words of our own probes.

use trace_format::{Details, ExecFlags, Known, context::SnapshotDetails};

use super::values::Call;
use crate::{import::scap::stored::StoredRecord, resolve::Process};

/// Of an exec: what it says, on top of what was known of the process.
pub(super) fn of_exec(call: &Call<'_>, known: Option<&Process>) -> Details {
    let before = known.map(|process| process.details).unwrap_or_default();
    let mut details = fill(before, |name| call.number(name));
    if call.number("flags").is_some() {
        details.known.0 |= Known::LAYER;
    }
    details
}

/// Of a process of the list at the beginning.
pub(super) fn of_process(record: &StoredRecord<'_>) -> SnapshotDetails {
    let number = |name: &str| record.number(name).map(|number| number as i64);
    let mut details = fill(Details::default(), number);
    if let Some(sid) = number("sid") {
        details.sid = sid as u32;
    }
    if number("exe_upper_layer").is_some() {
        details.known.0 |= Known::LAYER;
    }
    let is_set = |name: &str| number(name).is_some_and(|flag| flag != 0);
    let mut flags = 0;
    if is_set("exe_upper_layer") {
        flags |= ExecFlags::UPPER_LAYER;
    }
    if is_set("exe_from_memfd") {
        flags |= ExecFlags::MEMFD;
    }
    SnapshotDetails {
        process: details,
        dev: 0,
        ino: number("exe_ino").unwrap_or(0) as u64,
        flags: ExecFlags(flags),
    }
}

fn fill(mut details: Details, number: impl Fn(&str) -> Option<i64>) -> Details {
    let mut known = details.known.0;
    if let Some(group) = number("vpgid") {
        details.ns_pgid = group as u32;
        known |= Known::GROUPS;
    }
    if let Some(group) = number("pgid") {
        details.pgid = group as u32;
    }
    if let Some(tty) = number("tty") {
        details.tty = tty as u32;
        known |= Known::TTY;
    }
    if let Some(uid) = number("loginuid") {
        details.login_uid = uid as u32;
        known |= Known::LOGIN;
    }
    if let (Some(effective), Some(permitted), Some(inheritable)) = (
        number("cap_effective"),
        number("cap_permitted"),
        number("cap_inheritable"),
    ) {
        details.cap_effective = effective as u64;
        details.cap_permitted = permitted as u64;
        details.cap_inheritable = inheritable as u64;
        known |= Known::CAPABILITIES;
    }
    if let (Some(changed), Some(modified)) = (number("exe_ino_ctime"), number("exe_ino_mtime")) {
        details.exe_ctime_ns = changed as u64;
        details.exe_mtime_ns = modified as u64;
        known |= Known::FILE_TIMES;
    }
    details.known = Known(known);
    details
}
