//! What the detectors found: one schema for every engine, and its two texts (a line for people, a
//! JSON object for programs). `docs/findings.md` describes the JSON; [`SCHEMA`] is its version.
//!
//! A detector fills in what it knows ([`Finding::new`] and the fields after it); the pipeline adds
//! wall time, container, lineage, trace and loss ([`crate::pipeline`]).

use serde::ser::{Serialize, SerializeMap, SerializeStruct, Serializer};
use std::{fmt, str::FromStr, sync::Arc};

use crate::{order::EventRef, time};

/// Version of the JSON object. Fields are only added within a version.
pub const SCHEMA: u32 = 1;

/// How bad it is: the rule language's priorities. A later variant is worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    Debug,
    Informational,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
}

impl Severity {
    pub const ALL: [Severity; 8] = [
        Severity::Debug,
        Severity::Informational,
        Severity::Notice,
        Severity::Warning,
        Severity::Error,
        Severity::Critical,
        Severity::Alert,
        Severity::Emergency,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Severity::Debug => "debug",
            Severity::Informational => "informational",
            Severity::Notice => "notice",
            Severity::Warning => "warning",
            Severity::Error => "error",
            Severity::Critical => "critical",
            Severity::Alert => "alert",
            Severity::Emergency => "emergency",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A word that names no severity.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a severity; expected debug, informational, notice, warning, error, critical, alert or emergency"
)]
pub struct UnknownSeverity(pub String);

impl FromStr for Severity {
    type Err = UnknownSeverity;
    fn from_str(word: &str) -> Result<Self, UnknownSeverity> {
        let lower = word.to_ascii_lowercase();
        // Falco's rule files use both forms.
        if lower == "info" {
            return Ok(Severity::Informational);
        }
        Severity::ALL
            .into_iter()
            .find(|severity| severity.name() == lower)
            .ok_or_else(|| UnknownSeverity(word.to_owned()))
    }
}

/// Which engine found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EngineKind {
    Rules,
    Statistics,
    Forest,
}

impl EngineKind {
    pub fn name(self) -> &'static str {
        match self {
            EngineKind::Rules => "rules",
            EngineKind::Statistics => "statistics",
            EngineKind::Forest => "forest",
        }
    }
}

/// A value among a finding's fields.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// The trace does not say.
    Missing,
    Unsigned(u64),
    Signed(i64),
    /// Written with at most four decimals: a float's last digits are not evidence.
    Number(f64),
    Text(String),
    Flag(bool),
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Missing => serializer.serialize_none(),
            Value::Unsigned(value) => serializer.serialize_u64(*value),
            Value::Signed(value) => serializer.serialize_i64(*value),
            Value::Number(value) => serializer.serialize_f64(rounded(*value)),
            Value::Text(value) => serializer.serialize_str(value),
            Value::Flag(value) => serializer.serialize_bool(*value),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Missing => f.write_str("<NA>"),
            Value::Unsigned(value) => write!(f, "{value}"),
            Value::Signed(value) => write!(f, "{value}"),
            Value::Number(value) => write!(f, "{}", rounded(*value)),
            Value::Text(value) => f.write_str(value),
            Value::Flag(value) => write!(f, "{value}"),
        }
    }
}

/// Four decimals; no negative zero.
fn rounded(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0 + 0.0
}

/// Where it happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundContainer {
    /// Empty: not a container, or not known to be one.
    pub id: String,
    pub name: String,
    pub image: String,
    pub runtime: String,
    pub cgroup_id: u64,
}

/// One process of the lineage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundProcess {
    pub pid: u32,
    pub start_ns: u64,
    pub comm: String,
    pub exe: String,
    /// In the container of the finding; true for all where that is the host. Not part of the schema.
    pub inside: bool,
}

/// What a detector found.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// When: of the event, or of the end of the window.
    pub boot_ns: u64,
    /// The same by the wall clock; the pipeline knows it. `None`: the trace names no clock pair before.
    pub wall_ns: Option<u64>,
    pub severity: Severity,
    pub engine: EngineKind,
    /// Name of the rule, the metric or the model.
    pub rule: Arc<str>,
    /// One line for people.
    pub message: String,
    /// The kernel's id of the cgroup; 0: the host.
    pub cgroup_id: u64,
    pub container: FoundContainer,
    /// The process itself and then its ancestors. A detector gives `pid`; the pipeline the rest.
    pub pid: u32,
    pub lineage: Vec<FoundProcess>,
    pub fields: Vec<(String, Value)>,
    /// ATT&CK ids and the rule's own tags.
    pub tags: Vec<String>,
    pub trace_uuid: [u8; 16],
    /// The event that completed the finding; `None` where no single event did.
    pub evidence: Option<EventRef>,
    /// How far back the finding looked, for the question whether a loss touches it.
    pub window_ns: u64,
    /// Made by a rule over findings, which no such rule sees again.
    pub over_findings: bool,
    /// Its detector tells each thing once: it repeats no other of its rule and process.
    pub told_once: bool,
    /// Why the evidence may be incomplete; `None`: nothing was lost in the window.
    pub degraded: Option<String>,
    /// Identical findings left out since the previous one of this kind.
    pub suppressed: u64,
    /// Findings of this container and severity left out since the previous one, because there were too many.
    pub rate_limited: u64,
    /// The story it belongs to: [`crate::incidents`].
    pub incident: u64,
}

impl Finding {
    /// A finding with everything that the pipeline adds still empty.
    pub fn new(engine: EngineKind, rule: Arc<str>, severity: Severity, boot_ns: u64) -> Finding {
        Finding {
            boot_ns,
            wall_ns: None,
            severity,
            engine,
            rule,
            message: String::new(),
            cgroup_id: 0,
            container: FoundContainer::default(),
            pid: 0,
            lineage: Vec::new(),
            fields: Vec::new(),
            tags: Vec::new(),
            trace_uuid: [0; 16],
            evidence: None,
            window_ns: 0,
            over_findings: false,
            told_once: false,
            degraded: None,
            suppressed: 0,
            rate_limited: 0,
            incident: 0,
        }
    }

    /// The finding as one JSON line, without the newline.
    pub fn to_json(&self) -> String {
        match serde_json::to_string(self) {
            Ok(line) => line,
            Err(error) => unreachable!(
                "a finding holds only strings, numbers and flags, all of which JSON can say: {error}"
            ),
        }
    }

    /// Its lineage as in the JSON object.
    #[cfg(feature = "export")]
    pub(crate) fn lineage_json(&self) -> impl Serialize + '_ {
        LineageJson(&self.lineage)
    }

    /// Its fields as in the JSON object.
    #[cfg(feature = "export")]
    pub(crate) fn fields_json(&self) -> impl Serialize + '_ {
        FieldsJson(&self.fields)
    }

    /// The finding for people: one line, then indented lines for what it rests on.
    pub fn to_text(&self) -> String {
        use fmt::Write;
        let mut text = format!(
            "{}  {:<8} {}",
            time::show(self.wall_ns, self.boot_ns),
            self.severity,
            self.rule
        );
        let container = match (&self.container, self.cgroup_id) {
            (FoundContainer { id, name, .. }, _) if !id.is_empty() => {
                format!("  [{}]", if name.is_empty() { short_id(id) } else { name })
            }
            (_, 0) => "  [host]".to_owned(),
            (_, cgroup_id) => format!("  [cgroup {cgroup_id}]"),
        };
        text.push_str(&container);
        if !self.message.is_empty() {
            let _ = write!(text, "\n    {}", one_line(&self.message));
        }
        if !self.lineage.is_empty() {
            let names: Vec<String> = self
                .lineage
                .iter()
                .map(|process| format!("{}({})", one_line(&process.comm), process.pid))
                .collect();
            let _ = write!(text, "\n    process  {}", names.join(" ← "));
        }
        if !self.container.image.is_empty() {
            let _ = write!(text, "\n    image    {}", one_line(&self.container.image));
        }
        let _ = write!(text, "\n    evidence {}", self.engine.name());
        if let Some(at) = self.evidence {
            let _ = write!(
                text,
                ", chunk {} {} row {}",
                at.chunk,
                crate::event_view::family_name(at.family),
                at.row
            );
        }
        if !self.tags.is_empty() {
            let _ = write!(text, "  {}", self.tags.join(" "));
        }
        if let Some(reason) = &self.degraded {
            let _ = write!(text, "\n    degraded {reason}");
        }
        if self.suppressed > 0 {
            let _ = write!(
                text,
                "\n    {} identical before this one were left out",
                self.suppressed
            );
        }
        if self.rate_limited > 0 {
            let _ = write!(
                text,
                "\n    {} of this container and severity before this one were left out: too many",
                self.rate_limited
            );
        }
        text
    }
}

/// Text from a trace is data: it must not move the terminal's cursor.
pub fn one_line(text: &str) -> String {
    if text.chars().any(char::is_control) {
        text.chars()
            .flat_map(|c| {
                if c.is_control() {
                    c.escape_default().collect::<Vec<_>>()
                } else {
                    vec![c]
                }
            })
            .collect()
    } else {
        text.to_owned()
    }
}

/// The twelve digits that container tools show.
pub fn short_id(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// How an incident's id is written: 16 digits.
pub fn hex_id(id: u64) -> String {
    format!("{id:016x}")
}

/// Lower-case hexadecimal in the usual groups.
pub fn uuid_text(uuid: [u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (at, byte) in uuid.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Finding", 17)?;
        object.serialize_field("schema", &SCHEMA)?;
        object.serialize_field("time", &self.wall_ns.map(time::rfc3339))?;
        object.serialize_field("boot_ns", &self.boot_ns)?;
        object.serialize_field("severity", self.severity.name())?;
        object.serialize_field("engine", self.engine.name())?;
        object.serialize_field("rule", &*self.rule)?;
        object.serialize_field("message", &self.message)?;
        object.serialize_field("container", &ContainerJson(self))?;
        object.serialize_field("lineage", &LineageJson(&self.lineage))?;
        object.serialize_field("fields", &FieldsJson(&self.fields))?;
        object.serialize_field("tags", &self.tags)?;
        object.serialize_field("evidence", &EvidenceJson(self))?;
        object.serialize_field("degraded", &self.degraded.is_some())?;
        object.serialize_field("degraded_reason", &self.degraded)?;
        object.serialize_field("suppressed", &self.suppressed)?;
        object.serialize_field("rate_limited", &self.rate_limited)?;
        object.serialize_field("incident", &hex_id(self.incident))?;
        object.end()
    }
}

/// `null` for the host.
struct ContainerJson<'a>(&'a Finding);
impl Serialize for ContainerJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.cgroup_id == 0 {
            return serializer.serialize_none();
        }
        let container = &self.0.container;
        let mut object = serializer.serialize_struct("Container", 5)?;
        object.serialize_field("id", &container.id)?;
        object.serialize_field("name", &container.name)?;
        object.serialize_field("image", &container.image)?;
        object.serialize_field("runtime", &container.runtime)?;
        object.serialize_field("cgroup_id", &self.0.cgroup_id)?;
        object.end()
    }
}

struct LineageJson<'a>(&'a [FoundProcess]);
impl Serialize for LineageJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(ProcessJson))
    }
}

struct ProcessJson<'a>(&'a FoundProcess);
impl Serialize for ProcessJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Process", 4)?;
        object.serialize_field("pid", &self.0.pid)?;
        object.serialize_field("start_ns", &self.0.start_ns)?;
        object.serialize_field("comm", &self.0.comm)?;
        object.serialize_field("exe", &self.0.exe)?;
        object.end()
    }
}

/// A JSON object in the detector's order.
struct FieldsJson<'a>(&'a [(String, Value)]);
impl Serialize for FieldsJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

struct EvidenceJson<'a>(&'a Finding);
impl Serialize for EvidenceJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Evidence", 4)?;
        object.serialize_field("trace", &uuid_text(self.0.trace_uuid))?;
        object.serialize_field("chunk", &self.0.evidence.map(|at| at.chunk))?;
        object.serialize_field(
            "family",
            &self
                .0
                .evidence
                .map(|at| crate::event_view::family_name(at.family)),
        )?;
        object.serialize_field("row", &self.0.evidence.map(|at| at.row))?;
        object.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Finding {
        let mut finding = Finding::new(
            EngineKind::Rules,
            "Shell in a container".into(),
            Severity::Warning,
            5_000_000_000,
        );
        finding.wall_ns = Some(1_700_000_000_123_456_789);
        finding.message = "a shell\nstarted".into();
        finding.cgroup_id = 7;
        finding.container = FoundContainer {
            id: "0123456789abcdef".into(),
            name: "web".into(),
            cgroup_id: 7,
            ..Default::default()
        };
        finding.fields = vec![
            ("z".into(), Value::Unsigned(1)),
            ("a".into(), Value::Number(0.1 + 0.2)),
        ];
        finding
    }

    #[test]
    fn json_has_one_fixed_shape() {
        let json = sample().to_json();
        assert!(json.starts_with(r#"{"schema":1,"time":"2023-11-14T22:13:20.123456789Z","boot_ns":5000000000,"severity":"warning","#), "{json}");
        // Fields keep the detector's order, and floats do not carry binary noise.
        assert!(json.contains(r#""fields":{"z":1,"a":0.3}"#), "{json}");
        assert!(json.contains(r#""evidence":{"trace":"00000000-0000-0000-0000-000000000000","chunk":null,"family":null,"row":null}"#), "{json}");
        assert!(
            json.ends_with(r#""degraded":false,"degraded_reason":null,"suppressed":0,"rate_limited":0,"incident":"0000000000000000"}"#),
            "{json}"
        );
    }

    #[test]
    fn control_characters_of_a_trace_never_reach_the_terminal() {
        let mut finding = sample();
        finding.message = "\u{1b}[2Jgone".into();
        assert!(!finding.to_text().contains('\u{1b}'));
        assert!(finding.to_text().contains("\\u{1b}[2Jgone"));
    }

    #[test]
    fn severities_are_ordered_and_read_back() {
        assert!(Severity::ALL.is_sorted());
        for severity in Severity::ALL {
            assert_eq!(severity.name().to_uppercase().parse(), Ok(severity));
        }
        assert_eq!("INFO".parse(), Ok(Severity::Informational));
        assert!(
            "loud"
                .parse::<Severity>()
                .unwrap_err()
                .to_string()
                .contains("\"loud\"")
        );
    }
}
