//! How good is the statistics' sense of what is new, on labelled series? The Numenta Anomaly Benchmark's
//! score, standard profile, of `replay`'s own code and of a windowed Gaussian beside it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::nab_score::{Point, Scored, points, score};
use super::report;
use crate::repo;

#[derive(clap::Args)]
pub struct Args {
    /// A copy of the benchmark: data/*/*.csv and labels/combined_windows.json
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

/// What is asked for: a score, and how much better than the control.
const SCORE_MIN: f64 = 55.0;
const RATIO_MIN: f64 = 1.2;

/// Values that the control's mean and deviation are taken from, as published.
const GAUSSIAN_WINDOW: usize = 1000;

struct Series {
    name: String,
    values: Vec<f64>,
    points: Vec<Point>,
}

pub fn run(args: &Args, novelty: &Path) -> Result<String> {
    let corpus = read(&args.data)?;
    let ours = judge(&corpus, |values| ask(novelty, values))?;
    let control = judge(&corpus, |values| Ok(gaussian(values)))?;
    let windows: usize = corpus.iter().map(|series| windows(&series.points)).sum();
    let holds = ours.score >= SCORE_MIN && ours.score >= RATIO_MIN * control.score;
    let row = |name: &str, scored: &Scored| {
        format!(
            "| {name} | {:.1} | {} of {windows} | {} | {:.3} |\n",
            scored.score, scored.found, scored.false_alarms, scored.threshold
        )
    };
    Ok(format!(
        "{} series of the Numenta Anomaly Benchmark, {} values, {windows} labelled windows; standard profile, \
         published scoring, one threshold for all series. False alarms are values. Nothing is set for any one \
         series.\n\n\
         | detector | score | windows found | false alarms | threshold |\n|---|---|---|---|---|\n{}{}\n\
         Asked for are at least {SCORE_MIN:.0}, and {RATIO_MIN} times the control ({:.1} times): {}.\n",
        corpus.len(),
        corpus
            .iter()
            .map(|series| series.values.len())
            .sum::<usize>(),
        row("`statistics::novelty`", &ours),
        row("windowed Gaussian (control)", &control),
        ours.score / control.score,
        if holds { "held" } else { "NOT HELD" },
    ))
}

fn windows(points: &[Point]) -> usize {
    let mut seen: Vec<usize> = points.iter().filter_map(|point| point.window).collect();
    seen.dedup();
    seen.len()
}

fn judge(corpus: &[Series], detect: impl Fn(&[f64]) -> Result<Vec<f64>>) -> Result<Scored> {
    let mut judged = Vec::new();
    for series in corpus {
        let scores = detect(&series.values).with_context(|| series.name.clone())?;
        if scores.len() != series.values.len() {
            bail!(
                "{}: {} scores for {} values",
                series.name,
                scores.len(),
                series.values.len()
            );
        }
        judged.push((scores, series.points.as_slice()));
    }
    Ok(score(&judged))
}

/// The product's own code, as a program.
fn ask(novelty: &Path, values: &[f64]) -> Result<Vec<f64>> {
    let mut command = repo::command(novelty);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {}", novelty.display()))?;
    let mut stdin = child.stdin.take().context("it has no stdin")?;
    let lines: String = values.iter().map(|value| format!("{value}\n")).collect();
    // It answers as it reads: written from beside, lest both wait.
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = child.wait_with_output().context("cannot wait for it")?;
    match writer.join() {
        Ok(written) => written.context("cannot give it the series")?,
        Err(_) => bail!("the writer panicked"),
    }
    if !output.status.success() {
        bail!("{} ended with {}", novelty.display(), output.status);
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| line.parse().with_context(|| format!("it said {line:?}")))
        .collect()
}

/// The distance from the mean of the last values, in their standard deviations.
fn gaussian(values: &[f64]) -> Vec<f64> {
    (0..values.len())
        .map(|at| {
            let window = &values[at.saturating_sub(GAUSSIAN_WINDOW)..at];
            let count = window.len().max(1) as f64;
            let mean = window.iter().sum::<f64>() / count;
            let variance = window
                .iter()
                .map(|value| (value - mean).powi(2))
                .sum::<f64>()
                / count;
            match window {
                [] => 0.0,
                // The published control's least deviation.
                _ => (values[at] - mean).abs() / variance.sqrt().max(1e-6),
            }
        })
        .collect()
}

fn read(directory: &Path) -> Result<Vec<Series>> {
    let labels = directory.join("labels/combined_windows.json");
    let text =
        fs::read_to_string(&labels).with_context(|| format!("cannot read {}", labels.display()))?;
    let labels: Value =
        serde_json::from_str(&text).with_context(|| format!("{} is not JSON", labels.display()))?;
    let labels = labels.as_object().context("the labels are no object")?;
    let mut corpus = Vec::new();
    for (name, windows) in labels {
        let path = directory.join("data").join(name);
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let rows: Vec<(&str, f64)> = text
            .lines()
            .skip(1)
            .map(|line| {
                let (time, value) = line.split_once(',').context("a line without a comma")?;
                Ok((time, value.trim().parse().context(line.to_owned())?))
            })
            .collect::<Result<_>>()
            .with_context(|| path.display().to_string())?;
        // Times of windows have fractions of a second that those of values lack.
        let place = |time: &Value| {
            let time = time.as_str()?.split('.').next()?;
            rows.iter().position(|(known, _)| *known == time)
        };
        let windows: Vec<(usize, usize)> = windows
            .as_array()
            .into_iter()
            .flatten()
            .map(|window| Some((place(&window[0])?, place(&window[1])?)))
            .collect::<Option<_>>()
            .with_context(|| format!("a window of {name} begins or ends at no value"))?;
        corpus.push(Series {
            name: name.clone(),
            points: points(rows.len(), &windows),
            values: rows.into_iter().map(|(_, value)| value).collect(),
        });
    }
    if corpus.is_empty() {
        bail!("{} names no series", directory.display());
    }
    Ok(corpus)
}

/// Where the section begins, for the reader of docs/benchmarks.md.
pub fn section(found: &str) -> Result<String> {
    Ok(format!("{}\n\n{found}", report::machine()?))
}
