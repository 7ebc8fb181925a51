//! A .scap of as many events as wanted: a capture whose events are repeated, each time later.
//!
//! Only what that needs is known of the format: blocks of type and length, of which the event blocks
//! carry their time at a fixed place. State stands before the first event and is kept once.

use anyhow::{Context, Result, ensure};

/// Type and length before a block's body, the length again after it.
const BLOCK_HEAD: usize = 8;
const BLOCK_MIN: usize = 12;
/// Event blocks, and where their time is in the block: after the CPU's number, and after flags where
/// the kind has them.
const EVENTS: [(u32, usize); 6] = [
    (0x204, BLOCK_HEAD + 2),
    (0x208, BLOCK_HEAD + 6),
    (0x216, BLOCK_HEAD + 2),
    (0x217, BLOCK_HEAD + 6),
    (0x221, BLOCK_HEAD + 2),
    (0x222, BLOCK_HEAD + 6),
];

/// The capture's bytes with its events as often as it takes, and how many there are.
pub fn repeated(capture: &[u8], events_wanted: u64) -> Result<(Vec<u8>, u64)> {
    let mut state_end = None;
    let mut times: Vec<(usize, u64)> = Vec::new();
    let mut at = 0;
    while at < capture.len() {
        let number = |at: usize| {
            let bytes = capture.get(at..at + 4).context("a cut block")?;
            Ok::<_, anyhow::Error>(u32::from_le_bytes(bytes.try_into()?))
        };
        let (kind, len) = (number(at)?, number(at + 4)? as usize);
        ensure!(
            len >= BLOCK_MIN && at + len <= capture.len(),
            "a block of {len} bytes at {at} of {}",
            capture.len()
        );
        if let Some((_, time_at)) = EVENTS.iter().find(|(event, _)| *event == kind) {
            state_end.get_or_insert(at);
            let time_at = at + time_at;
            let bytes = capture
                .get(time_at..time_at + 8)
                .context("an event without a time")?;
            times.push((time_at, u64::from_le_bytes(bytes.try_into()?)));
        } else {
            ensure!(
                state_end.is_none(),
                "state after the first event, at {at}: a capture of several sections"
            );
        }
        at += len;
    }
    let state_end = state_end.context("a capture without events")?;
    let first = times
        .iter()
        .map(|(_, time)| *time)
        .filter(|time| *time > 0)
        .min();
    let last = times.iter().map(|(_, time)| *time).max();
    let span = last.unwrap_or(0) - first.unwrap_or(0) + 1;

    let turns = events_wanted.div_ceil(times.len() as u64);
    let mut out = Vec::with_capacity(state_end + (capture.len() - state_end) * turns as usize);
    out.extend_from_slice(&capture[..state_end]);
    for turn in 0..turns {
        let start = out.len();
        out.extend_from_slice(&capture[state_end..]);
        for (at, time) in times.iter().filter(|(_, time)| *time > 0) {
            let place = start + at - state_end;
            out[place..place + 8].copy_from_slice(&(time + turn * span).to_le_bytes());
        }
    }
    Ok((out, turns * times.len() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(kind: u32, body: &[u8]) -> Vec<u8> {
        let len = (BLOCK_MIN + body.len()) as u32;
        [
            &kind.to_le_bytes()[..],
            &len.to_le_bytes(),
            body,
            &len.to_le_bytes(),
        ]
        .concat()
    }

    fn event(time: u64) -> Vec<u8> {
        block(0x216, &[&[0, 0][..], &time.to_le_bytes()].concat())
    }

    #[test]
    fn events_repeat_later_and_the_state_stays_once() {
        let state = block(0x0a0d_0d0a, b"stat");
        let capture = [state.clone(), event(0), event(100), event(103)].concat();
        let (out, events) = repeated(&capture, 5).expect("it is sound");
        assert_eq!(events, 6);
        let expected = [
            state,
            [event(0), event(100), event(103)].concat(),
            [event(0), event(104), event(107)].concat(),
        ];
        assert_eq!(out, expected.concat());
    }

    #[test]
    fn what_is_cut_or_has_no_events_is_refused() {
        let capture = event(1);
        assert!(repeated(&capture[..capture.len() - 1], 1).is_err());
        assert!(repeated(&block(0x201, b""), 1).is_err());
        assert!(repeated(&[event(1), block(0x201, b"")].concat(), 1).is_err());
    }
}
