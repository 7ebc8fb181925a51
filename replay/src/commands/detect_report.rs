//! What detection found, as it is told: lines on standard output, sinks, and the summary at the end.

use replay::{
    findings::{Finding, Severity},
    pipeline::Totals,
};
use serde::Serialize;

use super::{
    detect::Detection,
    detect_fold::Said,
    sinks::{SinkSummary, Sinks},
};
use crate::{Global, Outcome, output::Output, trace::Condition};

/// Tells what folds say.
pub struct Report {
    fail_on: Option<Severity>,
    json: bool,
    incidents: bool,
    out: Output,
    sinks: Sinks,
    summary: Summary,
    /// Since the last flush.
    printed: bool,
}

/// The last line: on standard error, as text or JSON.
#[derive(Clone, Debug, Default, Serialize)]
struct Summary {
    chunks: u64,
    events: u64,
    findings: u64,
    /// Findings left out because an identical one had just been reported.
    suppressed: u64,
    /// Findings left out because their container had too many of that severity.
    rate_limited: u64,
    /// Stories that the findings make.
    incidents: u64,
    /// By severity, worst first; severities without findings are left out.
    #[serde(serialize_with = "as_object")]
    by_severity: Vec<(&'static str, u64)>,
    /// Events lost in holes that the trace shows, whatever the recorder counted.
    events_lost: u64,
    chunks_missing: u64,
    /// Chunks given twice, folded once.
    chunks_repeated: u64,
    /// What became of the findings, one for each --sink.
    sinks: Vec<SinkSummary>,
    /// Exit code 3 is due.
    loss: bool,
    /// Exit code 4 is due.
    fail_on: bool,
}

/// `{"critical": 2, "notice": 5}`, in the order of the list.
fn as_object<S: serde::Serializer>(
    counts: &[(&'static str, u64)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(counts.iter().copied())
}

impl Report {
    pub fn new(detection: &Detection, global: Global) -> anyhow::Result<Report> {
        Ok(Report {
            fail_on: detection.fail_on,
            json: global.json,
            incidents: detection.incidents,
            out: Output::new(),
            sinks: Sinks::open(detection)?,
            summary: Summary::default(),
            printed: false,
        })
    }

    pub fn say(&mut self, said: Said) -> anyhow::Result<()> {
        match said {
            Said::Finding(finding) => {
                self.summary.count(&finding);
                self.summary.fail_on |= self.fail_on.is_some_and(|least| finding.severity >= least);
                self.sinks.finding(&finding)?;
                if self.incidents {
                    return Ok(());
                }
                self.line(match self.json {
                    true => finding.to_json(),
                    false => finding.to_text(),
                })
            }
            Said::Incident(incident) => {
                self.summary.incidents += 1;
                if !self.incidents {
                    return Ok(());
                }
                self.line(match self.json {
                    true => incident.to_json(),
                    false => incident.to_text(),
                })
            }
            Said::Pause => {
                self.sinks.flush()?;
                match std::mem::take(&mut self.printed) {
                    true => self.out.flush(),
                    false => Ok(()),
                }
            }
            Said::End(totals) => {
                self.summary.add(&totals);
                Ok(())
            }
        }
    }

    fn line(&mut self, line: String) -> anyhow::Result<()> {
        self.printed = true;
        self.out.line(&line)
    }

    /// Nothing follows: says how it went.
    pub fn finish(mut self, condition: &Condition, global: Global) -> anyhow::Result<Outcome> {
        self.out.flush()?;
        condition.report(global);
        let mut outcome = condition.outcome();
        (self.summary.sinks, outcome.loss) = {
            let (sinks, lost) = self.sinks.finish(global)?;
            (sinks, outcome.loss | lost)
        };
        outcome.loss |= self.summary.chunks_missing > 0
            || self.summary.chunks_repeated > 0
            || self.summary.events_lost > 0;
        outcome.found = self.summary.fail_on;
        self.summary.loss = outcome.loss;
        if global.json {
            eprintln!("{}", serde_json::to_string(&self.summary)?);
        } else if !global.quiet {
            eprintln!("{}", self.summary.to_text());
        }
        Ok(outcome)
    }
}

impl Summary {
    fn count(&mut self, finding: &Finding) {
        self.findings += 1;
        let name = finding.severity.name();
        match self
            .by_severity
            .iter_mut()
            .find(|(severity, _)| *severity == name)
        {
            Some((_, count)) => *count += 1,
            None => {
                self.by_severity.push((name, 1));
                let rank = |name: &str| {
                    Severity::ALL
                        .iter()
                        .rposition(|severity| severity.name() == name)
                };
                self.by_severity
                    .sort_by_key(|(name, _)| std::cmp::Reverse(rank(name)));
            }
        }
    }

    fn add(&mut self, totals: &Totals) {
        self.chunks += totals.chunks;
        self.events += totals.events;
        self.suppressed += totals.suppressed;
        self.rate_limited += totals.rate_limited;
        self.events_lost += totals.lost;
        self.chunks_missing += totals.chunks_missing;
        self.chunks_repeated += totals.chunks_repeated;
    }

    fn to_text(&self) -> String {
        let mut text = format!(
            "{} events in {} chunks: {} findings",
            self.events, self.chunks, self.findings
        );
        if !self.by_severity.is_empty() {
            let counts: Vec<String> = self
                .by_severity
                .iter()
                .map(|(name, count)| format!("{count} {name}"))
                .collect();
            text.push_str(&format!(" ({})", counts.join(", ")));
        }
        if self.incidents > 0 {
            text.push_str(&format!(" in {} incidents", self.incidents));
        }
        if self.suppressed > 0 {
            text.push_str(&format!(", {} repetitions left out", self.suppressed));
        }
        if self.rate_limited > 0 {
            text.push_str(&format!(
                ", {} over the limit of a container left out",
                self.rate_limited
            ));
        }
        if self.chunks_repeated > 0 {
            text.push_str(&format!(
                "; {} chunks were given twice and read once",
                self.chunks_repeated
            ));
        }
        if self.chunks_missing > 0 {
            text.push_str(&format!("; {} chunks are missing", self.chunks_missing));
        }
        if self.events_lost > 0 {
            text.push_str(&format!("; {} events were lost", self.events_lost));
        }
        text
    }
}
