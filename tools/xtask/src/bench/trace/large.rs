//! A trace of a gigabyte: what `info` and a start in its middle cost.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use trace_format::read_info;

use super::codec::{ask, path};
use super::table::{Row, milliseconds};
use super::timing::{in_turns, pinned, seconds, seconds_to_first_line};
use super::{Args, Programs};

/// The mixed recording repeated until it is large enough, then asked in turns.
pub fn measure(
    programs: &Programs,
    recording: &Path,
    work: &Path,
    args: &Args,
) -> Result<Vec<Row>> {
    let trace = work.join("large.zst");
    let bytes = args.large << 20;
    if !(args.keep && fs::metadata(&trace).is_ok_and(|meta| meta.len() >= bytes)) {
        eprintln!("making a trace of {} MiB …", args.large);
        let bytes = bytes.to_string();
        ask(
            &programs.measure,
            &["grow", path(recording)?, path(&trace)?, &bytes],
        )?;
    }
    let info = read_info(&trace).with_context(|| format!("{}", trace.display()))?;
    let summary = info.summary;
    let middle_ns = summary.first_ns + (summary.last_ns - summary.first_ns) / 2;
    let middle = format!(
        "boot+{}.{:09}",
        middle_ns / 1_000_000_000,
        middle_ns % 1_000_000_000
    );
    let file = path(&trace)?;
    let replay = |arguments: &[&str]| pinned(&programs.replay, arguments);
    let [told, found] = in_turns(
        args.runs,
        [&|| seconds(&mut replay(&["info", file])), &|| {
            seconds_to_first_line(&mut replay(&["cat", file, "--from", &middle]))
        }],
    )?;
    let size = format!(
        "{:.2} GiB, {:.0} M events in {} chunks",
        info.file_bytes as f64 / f64::from(1 << 30),
        summary.rows as f64 / 1e6,
        summary.chunks
    );
    Ok(vec![
        Row::new(format!("`info` of {size}"), "≤ 20 ms", milliseconds(told)),
        Row::new(
            "first event after `--from` in its middle",
            "≤ 100 ms",
            milliseconds(found),
        ),
    ])
}
