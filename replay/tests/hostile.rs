//! Traces that no recorder writes: the pipeline ends, stays bounded, and counts nothing twice.

use fixtures::situation;
use replay::{
    order::PENDING_CHUNKS_MAX,
    pipeline::{Pipeline, Settings, Totals},
    rules::RuleSet,
};
use trace_format::{ChunkBuilder, Context, ContextRecord, Limits, SealedChunk};

fn findings(chunks: &[SealedChunk]) -> (Vec<String>, Totals) {
    let mut pipeline = Pipeline::new(Settings {
        rules: Some(RuleSet::shipped()),
        statistics: true,
        ..Settings::default()
    });
    for chunk in chunks {
        pipeline.push(chunk).expect("the chunk decodes");
    }
    pipeline.finish();
    let found = pipeline
        .findings()
        .map(|finding| finding.to_json())
        .collect();
    (found, pipeline.totals())
}

/// Records at the largest time there is have no limit after them: once, the order looked for one for ever.
#[test]
fn records_at_the_end_of_time_do_not_wait_for_ever() {
    let mut builder = ChunkBuilder::new([9; 16], Limits::default());
    let chunks: Vec<_> = (0..PENDING_CHUNKS_MAX + 2)
        .map(|_| {
            let record = ContextRecord {
                boot_ns: u64::MAX,
                body: Context::Tick,
            };
            builder.context(record).expect("a tick is small");
            builder.seal(0)
        })
        .collect();
    let (found, totals) = findings(&chunks);
    assert!(found.is_empty());
    assert!(totals.disorder.forced > 0, "the bound was not reached");
}

/// The same trace twice is one trace: nothing is found twice, and no hole is filled by a repetition.
#[test]
fn a_chunk_that_was_folded_is_not_folded_again() {
    let built = (situation("port_scan").expect("a situation").build)().build();
    let (once, totals) = findings(&built.chunks);
    assert!(!once.is_empty());
    let twice: Vec<_> = built.chunks.iter().chain(&built.chunks).cloned().collect();
    let (found, repeated) = findings(&twice);
    assert_eq!(found, once);
    assert_eq!(repeated.events, totals.events);
    assert_eq!(repeated.chunks_repeated, built.chunks.len() as u64);
}
