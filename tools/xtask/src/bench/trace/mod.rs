//! What the trace costs and how fast it is read: bytes per event against plain rows, sealing and
//! scanning, `replay` against sysdig on the same events, and a trace of a gigabyte.

mod captures;
pub(super) mod codec;
mod large;
pub(super) mod peer;
mod repeat;
pub(super) mod table;
pub(super) mod timing;

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::report;
use table::{answered, print};

#[derive(clap::Args)]
pub struct Args {
    /// Times that each program is run
    #[arg(long, default_value_t = 7)]
    runs: u32,
    /// Measure recordings that an earlier run left, instead of recording anew
    #[arg(long)]
    keep: bool,
    /// Size of the large trace
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    large: u64,
}

/// The programs of the workspace that this runs.
pub struct Programs {
    pub rec: PathBuf,
    pub replay: PathBuf,
    pub measure: PathBuf,
}

pub fn run(args: &Args, programs: &Programs, work: &Path) -> Result<String> {
    let recordings = captures::record(args.keep, &programs.rec, work)?;
    let sizes = codec::sizes(&programs.measure, &recordings)?;
    let mut rows = sizes.rows;
    rows.extend(answered(
        "codec",
        codec::speed(&programs.measure, &recordings, args.runs),
    ));
    rows.extend(answered(
        "shared .scap files",
        peer::sizes(&programs.replay, work),
    ));
    rows.extend(answered(
        "against sysdig",
        peer::speed(&programs.replay, work, args.runs),
    ));
    rows.extend(answered(
        "large trace",
        large::measure(programs, &recordings.mixed, work, args),
    ));
    Ok(format!(
        "{}\n\nOne core, medians of {} runs, the compared ones in turns, 95 % interval in parentheses. Recordings with \
         `rec capture --profile full`: nginx and wrk for 10 s, and a mixed load ({}). Rows: the same events as \
         bincode structs (variable-length integers), 65,536 compressed together at the level of the trace.\n\n{}\n\
         The mixed load by kind of event, each kind's events sealed alone:\n\n{}",
        report::machine()?,
        args.runs,
        recordings.parts.join(", "),
        print(&rows),
        sizes.kinds,
    ))
}
