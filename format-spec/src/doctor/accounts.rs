//! The recorder's own account: for each CPU and probe, seen = events in the trace + dropped.

use std::collections::BTreeMap;

use super::{Place, checks, context::Records};
use crate::{Context, DecodedChunk, LossCount, LossTotal};

/// Sequence numbers that are remembered because the Loss record that covers them has not come yet:
/// four seconds at a million events a second, 32 MiB.
const OPEN_MAX: usize = 4 << 20;
/// Pairs of CPU and probe: a large host's CPUs times every probe.
const PAIRS_MAX: usize = 65_536;

#[derive(Default)]
pub(super) struct Accounts {
    /// Chunks are missing: the account cannot come out.
    pub incomplete: bool,
    /// The first Loss record stands before the first event: the trace begins in the middle of a
    /// capture, and that record says what was counted before.
    begins_later: Option<bool>,
    first_event_ns: Option<u64>,
    pairs: BTreeMap<(u16, u8), Pair>,
    open: usize,
    total: LossTotal,
}

#[derive(Default)]
struct Pair {
    rows: u64,
    smallest: u64,
    largest: u64,
    /// As last counted.
    loss: Option<LossCount>,
    /// As counted before the trace began.
    start: Option<LossCount>,
    /// Events whose number is not below the last count.
    open: Vec<u64>,
}

impl Accounts {
    pub fn chunk(&mut self, decoded: &DecodedChunk, place: &mut Place<'_>) {
        for event in decoded.events.iter().filter(|event| event.probe != 0) {
            self.first_event_ns.get_or_insert(event.boot_ns);
            if self.pairs.len() >= PAIRS_MAX || self.open >= OPEN_MAX {
                self.incomplete = true;
                break;
            }
            let pair = self.pairs.entry((event.cpu, event.probe)).or_default();
            pair.smallest = if pair.rows == 0 {
                event.seq
            } else {
                pair.smallest.min(event.seq)
            };
            pair.largest = pair.largest.max(event.seq);
            pair.rows += 1;
            if pair.loss.is_none_or(|loss| event.seq >= loss.seen) {
                pair.open.push(event.seq);
                self.open += 1;
            }
        }
        for record in &decoded.context {
            let Context::Loss(loss) = &record.body else {
                continue;
            };
            let before = self
                .first_event_ns
                .is_none_or(|first_ns| record.boot_ns <= first_ns);
            let opening = self.begins_later.is_none() && *self.begins_later.get_or_insert(before);
            self.total = LossTotal::default();
            for count in &loss.counts {
                self.total.seen = self.total.seen.saturating_add(count.seen);
                self.total.dropped = self.total.dropped.saturating_add(count.dropped);
                self.count(count, opening, place);
            }
        }
        place.equal(&checks::LOSS_TOTAL, self.total, decoded.header.loss);
        // Said once: the next chunk starts from what this header says.
        self.total = decoded.header.loss;
    }

    fn count(&mut self, count: &LossCount, opening: bool, place: &mut Place<'_>) {
        let name = format!("CPU {} probe {}", count.cpu, count.probe);
        if count.dropped > count.seen {
            place.found(
                &checks::LOSS_BACK,
                format_args!("{name}: at most {} dropped", count.seen),
                count.dropped,
            );
        }
        if self.pairs.len() >= PAIRS_MAX {
            self.incomplete = true;
            return;
        }
        let pair = self.pairs.entry((count.cpu, count.probe)).or_default();
        if let Some(before) = pair.loss
            && (count.seen < before.seen || count.dropped < before.dropped)
        {
            place.found(
                &checks::LOSS_BACK,
                format_args!(
                    "{name}: at least {} seen, {} dropped",
                    before.seen, before.dropped
                ),
                format_args!("{} seen, {} dropped", count.seen, count.dropped),
            );
        }
        if opening {
            pair.start = Some(*count);
        }
        pair.loss = Some(*count);
        let open = pair.open.len();
        pair.open.retain(|seq| *seq >= count.seen);
        self.open -= open - pair.open.len();
    }

    pub fn finish(&mut self, records: &Records, place: &mut Place<'_>) {
        // A derived trace may be made from a part of a recording: it can hold less than was seen, and
        // what it lost stands in its Discard records, but never more.
        let derived = records.provenance.is_some();
        for ((cpu, probe), pair) in &self.pairs {
            let room = pair.largest.saturating_sub(pair.smallest).saturating_add(1);
            if pair.rows > room {
                place.found(
                    &checks::DUPLICATE_EVENT,
                    format_args!("CPU {cpu} probe {probe}: at most {room} events"),
                    pair.rows,
                );
            }
            let Some(loss) = pair.loss.filter(|_| !self.incomplete) else {
                continue;
            };
            let start = pair.start.unwrap_or_default();
            let seen = loss.seen.saturating_sub(start.seen);
            let dropped = loss.dropped.saturating_sub(start.dropped);
            let there = pair.rows - pair.open.len() as u64;
            let accounted = there.saturating_add(dropped);
            if accounted > seen || accounted < seen && !derived {
                place.found(
                    &checks::LOSS_ACCOUNT,
                    format_args!(
                        "CPU {cpu} probe {probe}: {} events, {seen} seen less {dropped} dropped",
                        seen.saturating_sub(dropped)
                    ),
                    there,
                );
            }
        }
    }
}
