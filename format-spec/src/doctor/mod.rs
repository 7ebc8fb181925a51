//! Cross-checks everything a trace says about itself: headers against bodies, counts against records,
//! promises against what came later, the summary against the chunks.
//!
//! [`crate::TraceReader`] says what is missing; this says what contradicts itself although every hash
//! holds, which is a writer's mistake or somebody's hand. Each check is a row of [`checks`], with the
//! promise it is about. A finding is an *error* when something is lost or contradicts itself, a
//! *warning* when a reader has to do without something, a *note* when it is only worth knowing.

mod accounts;
pub mod checks;
mod chunk;
mod context;
mod ending;

use serde::Serialize;

use crate::{ChunkSource, Error, Issue, IssueKind, Summary, TraceReader};
use accounts::Accounts;
use checks::Check;
use context::Records;

/// Findings of one check that are listed; the others are counted. The same mistake is made again and again.
pub const LISTED_MAX: usize = 100;

/// How much a finding means. `doctor` ends with exit code 3 from a warning on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Note,
    Warning,
    Error,
}

/// Something that is not as SPEC.md says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub check: &'static Check,
    /// Of the frame in the input.
    pub offset: u64,
    /// Number of the chunk; `None`: about the whole trace or its end.
    pub chunk: Option<u64>,
    pub expected: String,
    pub found: String,
}

/// What the doctor says about a trace.
#[derive(Clone, Debug, Default)]
pub struct Diagnosis {
    pub trace_uuid: Option<[u8; 16]>,
    pub chunks: u64,
    pub events: u64,
    pub records: u64,
    pub findings: Vec<Finding>,
    /// Per check with more than [`LISTED_MAX`]: how many more.
    pub not_listed: Vec<(&'static str, u64)>,
}

impl Diagnosis {
    /// The worst severity; `None`: nothing was found.
    pub fn worst(&self) -> Option<Severity> {
        self.findings
            .iter()
            .map(|finding| finding.check.severity)
            .max()
    }

    fn add(&mut self, finding: Finding) {
        let name = finding.check.name;
        let listed = self
            .findings
            .iter()
            .rev()
            .filter(|other| other.check.name == name)
            .count();
        if listed < LISTED_MAX {
            self.findings.push(finding);
        } else if let Some((_, more)) = self.not_listed.iter_mut().find(|(of, _)| *of == name) {
            *more += 1;
        } else {
            self.not_listed.push((name, 1));
        }
    }
}

/// Where the checks are, and the list they write to.
struct Place<'a> {
    diagnosis: &'a mut Diagnosis,
    offset: u64,
    chunk: Option<u64>,
}

impl Place<'_> {
    fn found(
        &mut self,
        check: &'static Check,
        expected: impl std::fmt::Display,
        found: impl std::fmt::Display,
    ) {
        self.diagnosis.add(Finding {
            check,
            offset: self.offset,
            chunk: self.chunk,
            expected: expected.to_string(),
            found: found.to_string(),
        });
    }

    fn equal<T: PartialEq + std::fmt::Debug>(
        &mut self,
        check: &'static Check,
        expected: T,
        found: T,
    ) {
        if expected != found {
            self.found(
                check,
                format_args!("{expected:?}"),
                format_args!("{found:?}"),
            );
        }
    }
}

/// Reads the trace to its end. An error is what ends reading, as with [`TraceReader`].
pub fn diagnose(mut reader: TraceReader) -> Result<Diagnosis, Error> {
    let mut diagnosis = Diagnosis::default();
    let mut records = Records::default();
    let mut accounts = Accounts::default();
    let mut counted: Option<Summary> = None;
    let mut watermark_ns = 0;
    let mut told = 0;
    while let Some(chunk) = reader.next_chunk()? {
        told = issues(&mut diagnosis, reader.issues(), told);
        let header = &chunk.header;
        let len = chunk.bytes.len() as u64;
        let mut place = Place {
            diagnosis: &mut diagnosis,
            offset: reader.offset() - len,
            chunk: Some(header.number),
        };
        place.diagnosis.trace_uuid.get_or_insert(header.trace_uuid);
        place.diagnosis.chunks += 1;
        place.diagnosis.events += u64::from(header.rows);
        place.diagnosis.records += u64::from(header.records);
        let header_len = len - u64::from(header.body_compressed_len);
        counted
            .get_or_insert_with(|| Summary::new(header.trace_uuid))
            .add(header, place.offset, header_len as u32);
        chunk::promises(header, watermark_ns, &mut place);
        match chunk.decode() {
            Err(error) => {
                accounts.incomplete = true;
                place.found(&checks::DECODES, "a body that decodes", error);
            }
            Ok(decoded) => {
                chunk::contents(&chunk, &decoded, watermark_ns, &mut place);
                records.chunk(&decoded, &mut place);
                accounts.chunk(&decoded, &mut place);
            }
        }
        watermark_ns = watermark_ns.max(header.watermark_ns);
    }
    issues(&mut diagnosis, reader.issues(), told);
    accounts.incomplete |=
        reader.issues().iter().any(Issue::is_loss) || reader.issues_not_kept() > 0;
    let offset = reader.offset();
    let mut place = Place {
        diagnosis: &mut diagnosis,
        offset,
        chunk: None,
    };
    records.finish(&mut place);
    accounts.finish(&records, &mut place);
    if let (Some(counted), Some(summary)) = (&counted, reader.summary()) {
        ending::summary(counted, summary, &mut place);
    }
    Ok(diagnosis)
}

/// Findings for the reader's issues from number `from` on; returns how many there are.
fn issues(diagnosis: &mut Diagnosis, issues: &[Issue], from: usize) -> usize {
    for issue in issues.iter().skip(from) {
        let (check, expected) = match &issue.what {
            IssueKind::Damaged { .. } => (&checks::DAMAGED, "a frame that holds"),
            IssueKind::Truncated { .. } => (&checks::TRUNCATED, "a whole frame"),
            IssueKind::ChunksMissing => (&checks::NUMBERS, "numbers without a hole"),
            IssueKind::Repeated { .. } => (&checks::REPEATED, "each number once, ascending"),
            IssueKind::OtherTrace { .. } => (&checks::ONE_TRACE, "chunks of one trace"),
            IssueKind::ChainBroken { .. } => (&checks::CHAIN, "the hash of the chunk before"),
            IssueKind::NoSummary => (&checks::SUMMARY, "a summary at the end"),
            IssueKind::SummaryDisagrees { .. } => {
                (&checks::SUMMARY_CHUNKS, "a summary of these chunks")
            }
            IssueKind::NoSeekTable => (&checks::SEEK_TABLE, "a seek table made from the index"),
            IssueKind::NotSent { .. } => (&checks::NUMBERS, "every chunk"),
        };
        diagnosis.add(Finding {
            check,
            offset: issue.offset,
            chunk: match issue.what {
                IssueKind::Repeated { number } | IssueKind::ChainBroken { number } => Some(number),
                _ => None,
            },
            expected: expected.to_owned(),
            found: match &issue.missing {
                Some(range) => format!(
                    "{}; chunks {}..={}",
                    issue.reason(),
                    range.start(),
                    range.end()
                ),
                None => issue.reason(),
            },
        });
    }
    issues.len()
}
