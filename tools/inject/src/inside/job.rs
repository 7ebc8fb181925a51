//! The normal workload's small jobs: what the supervisor forks now and then, as it forks an act.

use std::{
    fs,
    io::{self, Write},
    process::{Command, Stdio},
};

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::web;
use crate::image;

/// The server's log is started anew beyond this: the file system that holds it is small.
const LOG_BYTES_MAX: u64 = 64 << 10;

/// In the job's own process: half of the jobs do their work themselves, half start a program for it.
pub fn run(seed: u64) -> Result<String, io::Error> {
    let mut rng = StdRng::seed_from_u64(seed);
    let table = rng.random_range(0..image::TABLES);
    if rng.random_bool(0.5) {
        return sum(table);
    }
    let status = Command::new(image::COMPACT)
        .arg(table.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()?;
    Ok(status.to_string())
}

/// `compactd TABLE`
pub fn compact(args: &[String]) -> i32 {
    let Some(table) = args.first().and_then(|arg| arg.parse().ok()) else {
        eprintln!("usage: compactd TABLE");
        return 2;
    };
    match sum(table) {
        Ok(_) => 0,
        Err(error) => {
            eprintln!("error: compactd: {error}");
            1
        }
    }
}

/// Adds up a table, writes the result beside the old one, renames it over, and turns the log.
fn sum(table: u32) -> Result<String, io::Error> {
    let text = fs::read_to_string(image::table_path(table))?;
    let _users = fs::read("/etc/passwd")?;
    let total: u64 = text
        .lines()
        .filter_map(|line| line.split_once(',')?.1.parse::<u64>().ok())
        .sum();
    let result = format!("{}/sum{table}", image::SCRATCH);
    let new = format!("{result}.new");
    let mut file = fs::File::create(&new)?;
    writeln!(file, "{total}")?;
    file.sync_all()?;
    fs::rename(&new, &result)?;
    let log = web::access_log();
    if fs::metadata(&log).is_ok_and(|meta| meta.len() > LOG_BYTES_MAX) {
        fs::rename(&log, format!("{log}.1"))?;
    }
    Ok(format!("{total}"))
}
