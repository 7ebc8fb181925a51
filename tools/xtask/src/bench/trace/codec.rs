//! The codec on both recordings: what an event weighs, and how many a second are sealed and read.
//! `measure-trace` calls the codec; this words its answers.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::captures::Recordings;
use super::table::{Row, median_of, millions, number};
use super::timing::pinned;
use crate::repo;

pub struct Sizes {
    pub rows: Vec<Row>,
    /// A table of its own: the mixed recording by kind of event.
    pub kinds: String,
}

pub fn sizes(measure: &Path, recordings: &Recordings) -> Result<Sizes> {
    eprintln!("weighing …");
    let nginx = ask(measure, &["sizes", path(&recordings.nginx)?])?;
    let mixed = ask(measure, &["sizes", path(&recordings.mixed)?])?;
    let nginx_goal = "≤ 2.0 bytes an event, ≤ 50 % of rows";
    let rows = vec![
        Row::new("nginx and wrk, whole file", nginx_goal, weighed(&nginx)?),
        Row::new("mixed load, whole file", "≤ 60 % of rows", weighed(&mixed)?),
    ];
    let mut kinds =
        "| kind | events | bytes an event | as rows | share |\n|---|---|---|---|---|\n".to_owned();
    for kind in mixed["kinds"].as_array().context("`kinds`")? {
        let (events, trace, rows) = weights(kind)?;
        kinds += &format!(
            "| {} | {events:.0} | {:.2} | {:.2} | {:.0} % |\n",
            kind["kind"].as_str().unwrap_or("unknown"),
            trace / events,
            rows / events,
            trace / rows * 100.0,
        );
    }
    Ok(Sizes { rows, kinds })
}

fn weighed(answer: &Value) -> Result<String> {
    let (events, trace, rows) = weights(answer)?;
    Ok(format!(
        "{:.2} bytes an event, {:.0} % of rows ({:.2}); {:.1} M events",
        trace / events,
        trace / rows * 100.0,
        rows / events,
        events / 1e6,
    ))
}

fn weights(answer: &Value) -> Result<(f64, f64, f64)> {
    Ok((
        number(answer, "events")?,
        number(answer, "trace_bytes")?,
        number(answer, "row_bytes")?,
    ))
}

pub fn speed(measure: &Path, recordings: &Recordings, runs: u32) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let loads = [
        ("nginx and wrk", &recordings.nginx),
        ("mixed load", &recordings.mixed),
    ];
    for (load, trace) in loads {
        eprintln!("sealing and reading {load} …");
        let runs = runs.to_string();
        let answer = ask(measure, &["speed", path(trace)?, "--rounds", &runs])?;
        let rate = |name| Ok::<_, anyhow::Error>(millions(median_of(&answer, name)?));
        rows.extend([
            Row::new(
                format!("sealing, {load}, events/s (columns, zstd, hash)"),
                "≥ 6 M",
                format!("{}; rows: {}", rate("seal")?, rate("rows")?),
            ),
            Row::new(
                format!("scanning all columns, {load}, events/s (hash checked, in memory)"),
                "≥ 20 M",
                rate("columns")?,
            ),
            Row::new(
                format!("scanning times only, {load}, events/s (hash checked, in memory)"),
                "≥ 100 M",
                rate("times")?,
            ),
            Row::new(
                format!("every event put together, {load}, events/s"),
                "",
                rate("decode")?,
            ),
        ]);
    }
    Ok(rows)
}

/// One object of JSON from `measure-trace`, pinned to one core.
pub fn ask(measure: &Path, arguments: &[&str]) -> Result<Value> {
    let said = repo::output(&mut pinned(measure, arguments))?;
    serde_json::from_str(&said).with_context(|| format!("measure-trace said {said}"))
}

pub fn path(path: &Path) -> Result<&str> {
    path.to_str()
        .with_context(|| format!("{} is not UTF-8", path.display()))
}
