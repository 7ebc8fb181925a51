//! `replay doctor`: everything a trace says about itself, checked against everything else it says.

use replay::{findings::uuid_text, source::Input};
use serde::Serialize;
use trace_format::{
    TraceReader,
    doctor::{Diagnosis, Severity, checks, diagnose},
};

use crate::{Global, Outcome, output::Output, trace};

#[derive(clap::Args)]
pub struct Arguments {
    /// Trace: a file, a directory of .zst files, or - for standard input
    #[arg(value_name = "TRACE", required_unless_present = "list")]
    pub traces: Vec<String>,
    /// List the checks and what each is about
    #[arg(long)]
    pub list: bool,
}

#[derive(Serialize)]
struct Report {
    trace: String,
    uuid: Option<String>,
    chunks: u64,
    events: u64,
    records: u64,
    /// The worst that was found; `null`: nothing.
    worst: Option<Severity>,
    findings: Vec<Found>,
    not_listed: u64,
}

#[derive(Serialize)]
struct Found {
    severity: Severity,
    check: &'static str,
    offset: u64,
    chunk: Option<u64>,
    expected: String,
    found: String,
}

#[derive(Serialize)]
struct Listed {
    check: &'static str,
    severity: Severity,
    promise: &'static str,
}

pub fn run(arguments: &Arguments, global: Global) -> anyhow::Result<Outcome> {
    let mut out = Output::new();
    if arguments.list {
        list(&mut out, global)?;
    }
    let mut outcome = Outcome::default();
    for input in trace::inputs(&arguments.traces)? {
        let reader = match &input {
            Input::File(path) => TraceReader::open(path)?,
            Input::Stdin => TraceReader::from_read(std::io::stdin()),
            Input::Live(url) => anyhow::bail!(
                "{url}: a live stream has no end to check; save it with replay live --save"
            ),
        };
        let diagnosis = diagnose(reader)?;
        outcome.loss |= diagnosis
            .worst()
            .is_some_and(|worst| worst >= Severity::Warning);
        print(&input, &diagnosis, global, &mut out)?;
    }
    out.flush()?;
    Ok(outcome)
}

fn list(out: &mut Output, global: Global) -> anyhow::Result<()> {
    for check in checks::ALL {
        if global.json {
            out.line(&serde_json::to_string(&Listed {
                check: check.name,
                severity: check.severity,
                promise: check.promise,
            })?)?;
        } else {
            out.line(&format!(
                "{:<8} {:<21} {}",
                word(check.severity),
                check.name,
                check.promise
            ))?;
        }
    }
    Ok(())
}

fn print(
    input: &Input,
    diagnosis: &Diagnosis,
    global: Global,
    out: &mut Output,
) -> anyhow::Result<()> {
    let not_listed = diagnosis.not_listed.iter().map(|(_, more)| more).sum();
    if global.json {
        let report = Report {
            trace: input.to_string(),
            uuid: diagnosis.trace_uuid.map(uuid_text),
            chunks: diagnosis.chunks,
            events: diagnosis.events,
            records: diagnosis.records,
            worst: diagnosis.worst(),
            findings: diagnosis
                .findings
                .iter()
                .map(|finding| Found {
                    severity: finding.check.severity,
                    check: finding.check.name,
                    offset: finding.offset,
                    chunk: finding.chunk,
                    expected: finding.expected.clone(),
                    found: finding.found.clone(),
                })
                .collect(),
            not_listed,
        };
        return out.line(&serde_json::to_string(&report)?);
    }
    let verdict = match diagnosis.worst() {
        None => "sound",
        Some(Severity::Note) => "sound, with notes",
        Some(Severity::Warning) => "not complete",
        Some(Severity::Error) => "NOT sound",
    };
    out.line(&format!(
        "{input}: {verdict}; {} chunks, {} events, {} records",
        diagnosis.chunks, diagnosis.events, diagnosis.records
    ))?;
    for finding in &diagnosis.findings {
        let place = match finding.chunk {
            Some(chunk) => format!("chunk {chunk} at byte {}", finding.offset),
            None => format!("at byte {}", finding.offset),
        };
        out.line(&format!(
            "  {:<8} {:<18} {place}: expected {}, found {}",
            word(finding.check.severity),
            finding.check.name,
            finding.expected,
            finding.found
        ))?;
    }
    for (check, more) in &diagnosis.not_listed {
        out.line(&format!("  and {more} more of {check}"))?;
    }
    Ok(())
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}
