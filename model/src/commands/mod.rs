//! One file per command: its arguments, and what it does with them.

pub mod eval;
pub mod features;
pub mod info;
pub mod report;
pub mod score;
pub mod train;

use std::{
    fmt,
    io::{self, Write},
    path::PathBuf,
};

use model::dataset::{self, LabeledRun};
use replay::features::{WINDOW_NS_MAX, WINDOW_NS_MIN};

use crate::{Global, Usage};

/// Lines about damage that are printed without --verbose.
const ISSUES_SHOWN_MAX: usize = 5;

/// The argument that names labelled data.
#[derive(clap::Args, Clone, Debug)]
pub struct LabeledArguments {
    /// Directory with trace.zst and labels.csv, or one with several of these
    #[arg(value_name = "LABELED", required = true)]
    pub labeled: Vec<PathBuf>,
}

impl LabeledArguments {
    pub fn runs(&self) -> anyhow::Result<Vec<LabeledRun>> {
        Ok(dataset::find_runs(&self.labeled)?)
    }
}

/// `10s`, `500ms`, `1m`, or seconds.
pub fn window(text: &str) -> Result<u64, Usage> {
    let at = text
        .find(|character: char| !character.is_ascii_digit() && character != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let scale = match unit {
        "s" | "" => 1e9,
        "ms" => 1e6,
        "m" => 60e9,
        "h" => 3600e9,
        _ => {
            return Err(Usage(format!(
                "{text:?} is not a time; expected for example 10s or 1m"
            )));
        }
    };
    let ns = number.parse::<f64>().map_err(|_| {
        Usage(format!(
            "{text:?} is not a time; expected for example 10s or 1m"
        ))
    })? * scale;
    if !(WINDOW_NS_MIN as f64..=WINDOW_NS_MAX as f64).contains(&ns) {
        return Err(Usage(format!(
            "a window of {text} is not possible: choose 1s to 24h"
        )));
    }
    Ok(ns as u64)
}

/// A result, to standard output. That its reader went away comes back as an error, which `main` forgives.
pub fn print(line: fmt::Arguments) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_fmt(line)?;
    out.write_all(b"\n")
}

/// Says what was wrong with the traces.
pub fn report_issues(issues: &[String], global: Global) {
    let shown = if global.verbose {
        issues.len()
    } else {
        ISSUES_SHOWN_MAX
    };
    for issue in issues.iter().take(shown) {
        eprintln!("model: {issue}");
    }
    if issues.len() > shown {
        eprintln!(
            "model: … and {} more; replay verify lists them",
            issues.len() - shown
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_a_time_within_its_bounds() {
        assert_eq!(window("10s").unwrap(), 10_000_000_000);
        assert_eq!(window("2").unwrap(), 2_000_000_000);
        assert_eq!(window("1500ms").unwrap(), 1_500_000_000);
        assert_eq!(window("1.5m").unwrap(), 90_000_000_000);
        for bad in [
            "", "ten", "10 days", "0.5s", "25h", "-3s", "1e99h", "NaN", "1.2.3s",
        ] {
            assert!(window(bad).is_err(), "{bad:?}");
        }
    }
}
