//! Runs detectors of a command's own over the traces that its arguments name: one pipeline per trace, the
//! parts of a capture in one.

use replay::pipeline::{Pipeline, Settings, Totals};

use crate::{
    Global,
    trace::{self, Condition, TraceArguments},
};

/// Makes a pipeline for each trace with `settings`, and hands it to `drain` after every chunk, and with true
/// when its trace has ended.
pub fn fold(
    traces: &TraceArguments,
    results_too: bool,
    global: Global,
    mut settings: impl FnMut() -> Settings,
    mut drain: impl FnMut(&mut Pipeline, bool) -> anyhow::Result<()>,
) -> anyhow::Result<(Condition, Totals)> {
    let mut current: Option<Pipeline> = None;
    let mut totals = Totals::default();
    let mut end = |pipeline: &mut Pipeline,
                   drain: &mut dyn FnMut(&mut Pipeline, bool) -> anyhow::Result<()>|
     -> anyhow::Result<()> {
        pipeline.finish();
        drain(pipeline, true)?;
        let of_trace = pipeline.totals();
        totals.events += of_trace.events;
        totals.lost += of_trace.lost;
        totals.chunks_missing += of_trace.chunks_missing;
        Ok(())
    };
    let condition = trace::read_all(traces, None, results_too, global, |_, chunk, condition| {
        if !condition.goes_on
            && let Some(mut ended) = current.take()
        {
            end(&mut ended, &mut drain)?;
        }
        let pipeline = current.get_or_insert_with(|| Pipeline::new(settings()));
        condition.decoded += 1;
        if let Err(error) = pipeline.push(chunk) {
            condition.incomplete = true;
            condition.issues.push(format!(
                "chunk {} is left out: {error}",
                chunk.header.number
            ));
        }
        drain(pipeline, false)?;
        Ok(true)
    })?;
    if let Some(mut last) = current {
        end(&mut last, &mut drain)?;
    }
    Ok((condition, totals))
}
