//! What goes in comes out: every family, every context record, every extreme value.

mod support;

use proptest::{collection::vec, prelude::*};
use support::*;
use trace_format::*;

/// The promised order: by time, then family, then stored row, which for equal times is the order of
/// arrival per thread; threads by first appearance. So sort what went in the same way.
fn promised_order(mut events: Vec<Event>) -> Vec<Event> {
    let family = |event: &Event| family_of(&event.data);
    // Rank of each (family, thread): by its first event in time, earlier arrival first.
    let mut by_time: Vec<&Event> = events.iter().collect();
    by_time.sort_by_key(|event| event.boot_ns);
    let mut ranks = std::collections::HashMap::new();
    for event in by_time {
        let next = ranks.len();
        ranks.entry((family(event), event.tid)).or_insert(next);
    }
    events.sort_by_key(|event| {
        (
            event.boot_ns,
            family(event),
            ranks[&(family(event), event.tid)],
        )
    });
    events
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_event_comes_back_in_time_order(events in vec(event(), 0..120)) {
        let mut builder = ChunkBuilder::new(UUID, Limits::default());
        for event in &events {
            builder.push(event.clone());
        }
        let chunk = builder.seal(5);
        let decoded = SealedChunk::from_bytes(chunk.bytes.clone()).unwrap().decode().unwrap();
        prop_assert_eq!(&decoded.header, &chunk.header);
        prop_assert_eq!(decoded.events.len(), decoded.rows.len());
        prop_assert_eq!(decoded.events, promised_order(events));
    }
}
