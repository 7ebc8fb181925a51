//! How new each value of a series is, by the same code that judges containers' metrics.
//!
//! Reads one number a line from standard input, prints one number a line: 0 where the series' memory is
//! too short to say. `cargo xtask bench nab` scores what this prints.

use std::io::{self, BufRead, Write};

use replay::statistics::novelty::Novelty;

fn main() -> io::Result<()> {
    let mut novelty = Novelty::default();
    let mut out = io::BufWriter::new(io::stdout().lock());
    for (place, line) in io::stdin().lock().lines().enumerate() {
        let line = line?;
        let value: f64 = line.trim().parse().map_err(|_| {
            let line_number = place + 1;
            io::Error::other(format!("line {line_number} is {line:?}, expected a number"))
        })?;
        // The series' unit is unknown, so a range has no least width.
        writeln!(out, "{}", novelty.observe(value, 0.0).unwrap_or(0.0))?;
    }
    out.flush()
}
