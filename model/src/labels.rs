//! `labels.csv`: what was done to which container, and when.
//!
//! The columns are those that `inject` writes, found by name; further columns are ignored, so that an
//! older program reads newer labels. Missing ones that the join needs are an error.

use std::path::Path;

use replay::features::Row;

use crate::Error;

/// The class that takes an anomaly's start path and does nothing.
pub const NOOP: &str = "noop";

/// The kind of what is out of the ordinary and still normal: a backup, a package's installation.
const HARD_NEGATIVE: &str = "hard_negative";

/// Rows of one labels.csv: a year of an act a minute.
pub const LABELS_MAX: usize = 1 << 20;
/// A labels.csv: [`LABELS_MAX`] rows of 512 bytes.
const FILE_BYTES_MAX: u64 = 512 << 20;

/// One act that was ordered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Label {
    pub container_id: String,
    pub cgroup_id: u64,
    pub class: String,
    pub intensity: f64,
    /// Boot clock; 0: it never started.
    pub start_ns: u64,
    /// 0: nobody saw it end.
    pub end_ns: u64,
    pub outcome: String,
    /// Empty where the labels have no such column: they are older than it.
    pub kind: String,
}

/// What the labels say about a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    Normal,
    Anomalous,
    /// Partly within an act, or of an act that did not go as ordered: neither side learns from it.
    Unclear,
}

/// A window's truth and where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    pub truth: Truth,
    /// Position of the deciding label, `None` without one.
    pub label: Option<usize>,
}

impl Label {
    fn is_of(&self, row: &Row) -> bool {
        if self.container_id.is_empty() {
            self.cgroup_id == row.cgroup_id
        } else {
            self.container_id == row.container_id
        }
    }

    /// Time that the act and the window share, and the act's length.
    fn overlap(&self, row: &Row) -> (u64, u64) {
        // An act whose end nobody saw may have gone on to the end of the trace.
        let end_ns = if self.end_ns == 0 {
            u64::MAX
        } else {
            self.end_ns.max(self.start_ns.saturating_add(1))
        };
        let shared_ns = end_ns
            .min(row.end_ns)
            .saturating_sub(self.start_ns.max(row.start_ns));
        (shared_ns, end_ns - self.start_ns)
    }

    /// Nothing that a detector should find, whatever it looks like.
    fn is_normal(&self) -> bool {
        self.class == NOOP || self.kind == HARD_NEGATIVE
    }

    /// Whether the act was carried out as far as anybody knows.
    fn happened(&self) -> bool {
        let word = self.outcome.split(':').next().unwrap_or_default();
        self.end_ns != 0 && matches!(word, "done" | "interrupted" | "killed" | "overran" | "")
    }
}

/// Joins a window with the labels of its run: by container id, or by cgroup where a label has no id.
/// The act that shares the most time with the window decides. The window is anomalous when it shares at
/// least half of its own length, or half of the act's, with the act; with less, it is unclear.
pub fn judge(row: &Row, labels: &[Label]) -> Judged {
    let deciding = labels
        .iter()
        .enumerate()
        .filter(|(_, label)| label.start_ns != 0 && label.is_of(row))
        .map(|(at, label)| (at, label.overlap(row)))
        .filter(|(_, (shared_ns, _))| *shared_ns > 0)
        // An anomaly decides over what is normal beside it; the first of equals.
        .max_by_key(|(at, (shared_ns, _))| {
            (!labels[*at].is_normal(), *shared_ns, std::cmp::Reverse(*at))
        });
    let Some((at, (shared_ns, act_ns))) = deciding else {
        return Judged {
            truth: Truth::Normal,
            label: None,
        };
    };
    let label = &labels[at];
    let half_ns = (row.end_ns.saturating_sub(row.start_ns))
        .min(act_ns)
        .div_ceil(2);
    let truth = if label.is_normal() {
        Truth::Normal
    } else if label.happened() && shared_ns >= half_ns {
        Truth::Anomalous
    } else {
        Truth::Unclear
    };
    Judged {
        truth,
        label: Some(at),
    }
}

/// Reads a labels.csv.
pub fn read(path: &Path) -> Result<Vec<Label>, Error> {
    let failed = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > FILE_BYTES_MAX {
        return Err(Error::TooMany {
            path: path.to_owned(),
            max: LABELS_MAX,
            what: "labels",
        });
    }
    parse(&std::fs::read_to_string(path).map_err(failed)?, path)
}

/// Columns the join needs, in the order of [`Columns`].
const NEEDED: [&str; 7] = [
    "container_id",
    "cgroup_id",
    "class",
    "intensity",
    "start_boot_ns",
    "end_boot_ns",
    "outcome",
];

fn parse(text: &str, path: &Path) -> Result<Vec<Label>, Error> {
    let bad = |line: usize, what: String| Error::BadLabels {
        path: path.to_owned(),
        line,
        what,
    };
    let mut records = Records {
        rest: text,
        line: 1,
    };
    let Some(head) = records
        .next()
        .transpose()
        .map_err(|(line, what)| bad(line, what))?
    else {
        return Err(bad(1, "the head line is missing".to_owned()));
    };
    let mut columns = [0; NEEDED.len()];
    for (column, name) in columns.iter_mut().zip(NEEDED) {
        *column = head
            .1
            .iter()
            .position(|field| field == name)
            .ok_or_else(|| bad(1, format!("the column {name} is missing")))?;
    }
    let mut labels = Vec::new();
    let kind = head.1.iter().position(|field| field == "kind");
    for record in records {
        let (line, fields) = record.map_err(|(line, what)| bad(line, what))?;
        // A line cut short by a killed writer is not a label; any other is a mistake.
        if fields.len() != head.1.len() {
            return Err(bad(
                line,
                format!("{} fields, the head has {}", fields.len(), head.1.len()),
            ));
        }
        if labels.len() == LABELS_MAX {
            return Err(Error::TooMany {
                path: path.to_owned(),
                max: LABELS_MAX,
                what: "labels",
            });
        }
        let field = |at: usize| fields[columns[at]].as_str();
        let number = |at: usize| {
            field(at).parse::<u64>().map_err(|_| {
                bad(
                    line,
                    format!("{} is {:?}, expected a whole number", NEEDED[at], field(at)),
                )
            })
        };
        labels.push(Label {
            container_id: field(0).to_owned(),
            cgroup_id: number(1)?,
            class: field(2).to_owned(),
            intensity: field(3).parse().map_err(|_| {
                bad(
                    line,
                    format!("intensity is {:?}, expected a number", field(3)),
                )
            })?,
            start_ns: number(4)?,
            end_ns: number(5)?,
            outcome: field(6).to_owned(),
            kind: kind.map_or(String::new(), |column| fields[column].clone()),
        });
    }
    Ok(labels)
}

/// The records of a CSV text (RFC 4180), with the line each begins on.
struct Records<'a> {
    rest: &'a str,
    line: usize,
}

impl Iterator for Records<'_> {
    type Item = Result<(usize, Vec<String>), (usize, String)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let start = self.line;
        let mut fields = vec![String::new()];
        let mut quoted = false;
        let mut characters = self.rest.char_indices().peekable();
        while let Some((_, character)) = characters.next() {
            let field = fields.last_mut().expect("there is always a field");
            match character {
                '"' if quoted && characters.peek().is_some_and(|(_, next)| *next == '"') => {
                    characters.next();
                    field.push('"');
                }
                '"' if quoted => quoted = false,
                '"' if field.is_empty() => quoted = true,
                ',' if !quoted => fields.push(String::new()),
                '\r' if !quoted => {}
                '\n' => {
                    self.line += 1;
                    if !quoted {
                        break;
                    }
                    field.push('\n');
                }
                character => field.push(character),
            }
        }
        self.rest = characters.peek().map_or("", |(at, _)| &self.rest[*at..]);
        if quoted {
            Some(Err((start, "a quote is not closed".to_owned())))
        } else {
            Some(Ok((start, fields)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "run,container_id,container_name,image,cgroup_id,class,attack_id,attack_version,intensity,start_boot_ns,end_boot_ns,start_wall_ns,end_wall_ns,pids,seed,expected_signals,outcome\n";

    fn row(start_ns: u64, end_ns: u64) -> Row {
        Row {
            start_ns,
            end_ns,
            cgroup_id: 42,
            container_id: "c1".into(),
            container_name: String::new(),
            image: String::new(),
            repository: String::new(),
            warm_up: false,
            values: [0.0; replay::features::schema::COUNT],
            witnesses: [None; replay::features::schema::COUNT],
            items: Vec::new(),
        }
    }

    fn act(start_ns: u64, end_ns: u64) -> Label {
        Label {
            container_id: "c1".into(),
            class: "port_scan".into(),
            start_ns,
            end_ns,
            outcome: "done".into(),
            ..Label::default()
        }
    }

    #[test]
    fn half_of_the_window_or_half_of_the_act_makes_it_anomalous() {
        let truth = |start, end, label: Label| judge(&row(start, end), &[label]).truth;
        assert_eq!(
            truth(100, 200, act(150, 1000)),
            Truth::Anomalous,
            "half of the window"
        );
        assert_eq!(
            truth(100, 200, act(151, 1000)),
            Truth::Unclear,
            "less than half"
        );
        assert_eq!(
            truth(100, 200, act(120, 122)),
            Truth::Anomalous,
            "a short act lies within"
        );
        assert_eq!(
            truth(100, 200, act(199, 201)),
            Truth::Anomalous,
            "half of a short act"
        );
        assert_eq!(
            truth(100, 200, act(199, 209)),
            Truth::Unclear,
            "the tip of an act"
        );
        assert_eq!(
            truth(100, 200, act(200, 300)),
            Truth::Normal,
            "it begins where the window ends"
        );
        assert_eq!(
            truth(100, 200, act(150, 150)),
            Truth::Anomalous,
            "an act of no length still happened"
        );
    }

    #[test]
    fn other_containers_noop_and_failed_acts() {
        let window = row(100, 200);
        let of = |change: &dyn Fn(&mut Label)| {
            let mut label = act(100, 200);
            change(&mut label);
            judge(&window, &[label]).truth
        };
        assert_eq!(of(&|label| label.container_id = "c2".into()), Truth::Normal);
        assert_eq!(of(&|label| label.class = NOOP.into()), Truth::Normal);
        assert_eq!(
            of(&|label| label.kind = HARD_NEGATIVE.into()),
            Truth::Normal
        );
        assert_eq!(
            of(&|label| label.start_ns = 0),
            Truth::Normal,
            "never started"
        );
        assert_eq!(
            of(&|label| label.outcome = "failed: no".into()),
            Truth::Unclear
        );
        assert_eq!(
            of(&|label| label.end_ns = 0),
            Truth::Unclear,
            "nobody saw it end"
        );
        let by_cgroup = |cgroup_id| {
            of(&move |label| (label.container_id, label.cgroup_id) = (String::new(), cgroup_id))
        };
        assert_eq!(by_cgroup(42), Truth::Anomalous);
        assert_eq!(by_cgroup(43), Truth::Normal);
    }

    #[test]
    fn an_act_decides_over_a_noop_beside_it() {
        let mut noop = act(100, 200);
        noop.class = NOOP.into();
        assert_eq!(
            judge(&row(100, 200), &[noop, act(100, 160)]),
            Judged {
                truth: Truth::Anomalous,
                label: Some(1)
            }
        );
    }

    #[test]
    fn quoted_fields_and_unknown_columns_are_read() {
        let text = format!(
            "{}{}",
            HEAD.replace("outcome", "outcome,later"),
            "r,c1,n,i,7,cred_read,T1,16,0.5,10,20,1,2,\"4 5\",18446744073709551615,s,\"failed: \"\"x\"\", a\nb\",?\r\n"
        );
        let labels = parse(&text, Path::new("labels.csv")).unwrap();
        assert_eq!(labels.len(), 1);
        assert_eq!(
            (
                labels[0].cgroup_id,
                labels[0].intensity,
                labels[0].outcome.as_str()
            ),
            (7, 0.5, "failed: \"x\", a\nb")
        );
        assert_eq!(labels[0].kind, "", "older labels have no kind");
        let text = format!(
            "{}{}",
            HEAD.replace("outcome", "outcome,kind"),
            "r,c1,n,i,7,tar_backup,,16,0.5,10,20,1,2,4,6,s,done,hard_negative\n"
        );
        let labels = parse(&text, Path::new("labels.csv")).unwrap();
        assert!(labels[0].is_normal());
        assert_eq!(parse(HEAD, Path::new("labels.csv")).unwrap(), []);
    }

    #[test]
    fn bad_labels_name_file_line_and_value() {
        let error = |text: &str| {
            parse(text, Path::new("d/labels.csv"))
                .unwrap_err()
                .to_string()
        };
        assert_eq!(error(""), "d/labels.csv line 1: the head line is missing");
        assert_eq!(
            error("a,b\n"),
            "d/labels.csv line 1: the column container_id is missing"
        );
        assert_eq!(
            error(&format!("{HEAD}r,c1\n")),
            "d/labels.csv line 2: 2 fields, the head has 17"
        );
        let bad = format!("{HEAD}r,c1,n,i,seven,c,T,16,1,1,2,3,4,5,6,s,done\n");
        assert_eq!(
            error(&bad),
            "d/labels.csv line 2: cgroup_id is \"seven\", expected a whole number"
        );
        assert_eq!(
            error(&format!("{HEAD}\"open")),
            "d/labels.csv line 2: a quote is not closed"
        );
    }
}
