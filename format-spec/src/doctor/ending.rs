//! The summary against the chunks that were read.

use super::{Place, checks};
use crate::Summary;

pub(super) fn summary(counted: &Summary, said: &Summary, place: &mut Place<'_>) {
    // That it counts other chunks has been said: nothing else can agree then.
    if counted.chunks != said.chunks || counted.trace_uuid != said.trace_uuid {
        return;
    }
    let totals = |of: &Summary| {
        [
            ("first_ns", of.first_ns),
            ("last_ns", of.last_ns),
            ("watermark_ns", of.watermark_ns),
            ("rows", of.rows),
            ("records", of.records),
            ("late_rows", of.late_rows),
            ("texts_cut", of.texts_cut),
            ("body_bytes", of.body_bytes),
            ("seen", of.loss.seen),
            ("dropped", of.loss.dropped),
            ("cgroups", of.cgroups.len() as u64),
            ("cgroups_complete", of.cgroups_complete.into()),
            ("families", of.kinds.len() as u64),
        ]
    };
    for ((name, expected), (_, found)) in totals(counted).into_iter().zip(totals(said)) {
        if expected != found {
            place.found(
                &checks::SUMMARY_TOTALS,
                format_args!("{name} {expected}"),
                format_args!("{name} {found}"),
            );
        }
    }
    for (expected, found) in counted.kinds.iter().zip(&said.kinds) {
        if expected != found {
            place.found(
                &checks::SUMMARY_TOTALS,
                format_args!("{} rows of family {}", expected.rows, expected.kind),
                format_args!("{} rows of family {}", found.rows, found.kind),
            );
        }
    }
    if let Some((expected, found)) = counted
        .cgroups
        .iter()
        .zip(&said.cgroups)
        .find(|(expected, found)| expected != found)
    {
        place.found(
            &checks::SUMMARY_TOTALS,
            format_args!("cgroup {expected}"),
            format_args!("cgroup {found}"),
        );
    }
    if counted.index.len() != said.index.len() || counted.index_complete != said.index_complete {
        place.found(
            &checks::SUMMARY_INDEX,
            format_args!("{} entries", counted.index.len()),
            format_args!("{} entries", said.index.len()),
        );
    }
    for (expected, found) in counted.index.iter().zip(&said.index) {
        if expected != found {
            place.chunk = Some(expected.number);
            place.found(
                &checks::SUMMARY_INDEX,
                format_args!("{expected:?}"),
                format_args!("{found:?}"),
            );
        }
    }
    place.chunk = None;
}
