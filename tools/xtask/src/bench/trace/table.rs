//! The table of answers: what was asked, what is to be reached, what was measured.

use anyhow::{Context, Result};
use serde_json::Value;

use super::super::statistics::{Median, median};

pub struct Row {
    pub what: String,
    pub goal: &'static str,
    pub measured: String,
}

impl Row {
    pub fn new(what: impl Into<String>, goal: &'static str, measured: impl Into<String>) -> Row {
        Row {
            what: what.into(),
            goal,
            measured: measured.into(),
        }
    }
}

/// The rows of one question. One that cannot be answered here says why, and the others go on.
pub fn answered(what: &str, rows: Result<Vec<Row>>) -> Vec<Row> {
    rows.unwrap_or_else(|error| {
        eprintln!("{what}: not measured: {error:#}");
        let reason = format!("{error:#}").replace('\n', " ");
        vec![Row::new(what, "", format!("not measured: {reason}"))]
    })
}

pub fn print(rows: &[Row]) -> String {
    let mut text = "| what | to reach | measured |\n|---|---|---|\n".to_owned();
    for row in rows {
        text += &format!("| {} | {} | {} |\n", row.what, row.goal, row.measured);
    }
    text
}

/// `12.34 M (11.00 to 13.00)`.
pub fn millions(rate: Median) -> String {
    format!(
        "{:.2} M ({:.2} to {:.2})",
        rate.value / 1e6,
        rate.low / 1e6,
        rate.high / 1e6
    )
}

pub fn milliseconds(time: Median) -> String {
    format!(
        "{:.1} ms ({:.1} to {:.1})",
        time.value * 1e3,
        time.low * 1e3,
        time.high * 1e3
    )
}

/// The median of a list in an answer of `measure-trace`.
pub fn median_of(answer: &Value, name: &str) -> Result<Median> {
    let values: Vec<f64> = answer[name]
        .as_array()
        .with_context(|| format!("`{name}` in {answer}"))?
        .iter()
        .filter_map(Value::as_f64)
        .collect();
    median(&values).with_context(|| format!("values of `{name}`"))
}

pub fn number(answer: &Value, name: &str) -> Result<f64> {
    answer[name]
        .as_f64()
        .with_context(|| format!("`{name}` in {answer}"))
}
