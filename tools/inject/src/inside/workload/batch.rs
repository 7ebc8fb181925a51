//! `batchd`: reads the image's tables, sorts them by value, writes the result beside the old one.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
};

use rand::Rng;

use crate::{image, inside::pace::Pace};

/// `batchd PACE_MILLI SEED`
pub fn main(args: &[String]) -> i32 {
    let Some(pace) = Pace::from_args(args) else {
        eprintln!("usage: batchd PACE_MILLI SEED");
        return 2;
    };
    let mut pace = pace.slower(8.0);
    loop {
        let table = pace.rng.random_range(0..image::TABLES);
        if let Err(error) = sort(table) {
            // A full file system may have room again later.
            eprintln!("error: batchd: table {table}: {error}");
        }
        pace.sleep();
    }
}

fn sort(table: u32) -> io::Result<()> {
    let text = fs::read_to_string(image::table_path(table))?;
    let mut rows: Vec<(&str, u64)> = text
        .lines()
        .filter_map(|line| {
            let (key, value) = line.split_once(',')?;
            Some((key, value.parse().ok()?))
        })
        .collect();
    rows.sort_by_key(|(key, value)| (*value, *key));
    let result = format!("{}/sorted{table}.csv", image::SCRATCH);
    let new = format!("{result}.new");
    let mut out = BufWriter::new(File::create(&new)?);
    for (key, value) in rows {
        writeln!(out, "{value},{key}")?;
    }
    out.into_inner()?.sync_all()?;
    fs::rename(new, result)
}
