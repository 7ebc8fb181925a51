//! The argument that names a sink: `KIND=TARGET[,OPTION=VALUE…]`.

use std::{path::PathBuf, str::FromStr, time::Duration};

/// What kinds there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Jsonl,
    Csv,
    Parquet,
    Sqlite,
    Webhook,
    Alertmanager,
    Syslog,
}

impl Kind {
    const ALL: [(Kind, &'static str, &'static [&'static str]); 8] = [
        (Kind::Text, "text", &["force"]),
        (Kind::Jsonl, "jsonl", &["force"]),
        (Kind::Csv, "csv", &["force"]),
        (Kind::Parquet, "parquet", &["force"]),
        (Kind::Sqlite, "sqlite", &[]),
        (
            Kind::Webhook,
            "webhook",
            &["template", "type", "ca", "spool", "spool-bytes", "wait"],
        ),
        (
            Kind::Alertmanager,
            "alertmanager",
            &["hold", "ca", "spool", "spool-bytes", "wait"],
        ),
        (Kind::Syslog, "syslog", &["spool", "spool-bytes", "wait"]),
    ];

    pub fn name(self) -> &'static str {
        Kind::ALL
            .iter()
            .find(|(kind, ..)| *kind == self)
            .map_or("", |(_, name, _)| name)
    }
}

/// Bytes that wait for a receiver, unless told.
pub const SPOOL_BYTES: u64 = 16 << 20;
/// How long the end of the command waits for a receiver, unless told.
pub const WAIT: Duration = Duration::from_secs(10);
/// How long an alert lasts after it was sent, unless told: Alertmanager's own default.
pub const HOLD: Duration = Duration::from_secs(300);

/// A parsed argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    pub kind: Kind,
    /// A path or an address.
    pub target: String,
    /// Replace an existing file.
    pub force: bool,
    pub template: Option<PathBuf>,
    /// Content type of a templated body.
    pub content_type: Option<String>,
    /// Certificates (PEM) that are trusted instead of the system's.
    pub ca: Option<PathBuf>,
    /// Directory; `None`: what waits is in memory.
    pub spool: Option<PathBuf>,
    pub spool_bytes: u64,
    pub wait: Duration,
    pub hold: Duration,
}

/// What is wrong with an argument.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    #[error("{0:?} names no sink; expected KIND=TARGET, such as sqlite=findings.db")]
    Shape(String),
    #[error(
        "{0:?} is no kind of sink; expected text, jsonl, csv, parquet, sqlite, webhook, alertmanager or syslog"
    )]
    Kind(String),
    #[error("the sink {0} has no target")]
    Target(&'static str),
    #[error("{option:?} is no option of the sink {kind}; expected one of: {expected}")]
    Option {
        kind: &'static str,
        option: String,
        expected: String,
    },
    #[error("{value:?} is no value of {option}; expected {expected}")]
    Value {
        option: &'static str,
        value: String,
        expected: &'static str,
    },
    #[error("{target:?} is no address of the sink {kind}; expected {expected}")]
    Address {
        kind: &'static str,
        target: String,
        expected: &'static str,
    },
}

impl FromStr for Spec {
    type Err = SpecError;

    fn from_str(argument: &str) -> Result<Spec, SpecError> {
        let (kind, rest) = argument
            .split_once('=')
            .ok_or_else(|| SpecError::Shape(argument.to_owned()))?;
        let Some(&(kind, name, options)) = Kind::ALL.iter().find(|(_, name, _)| *name == kind)
        else {
            return Err(SpecError::Kind(kind.to_owned()));
        };
        let mut parts = rest.split(',');
        let target = parts.next().unwrap_or_default().to_owned();
        if target.is_empty() {
            return Err(SpecError::Target(name));
        }
        let mut spec = Spec {
            kind,
            target,
            force: false,
            template: None,
            content_type: None,
            ca: None,
            spool: None,
            spool_bytes: SPOOL_BYTES,
            wait: WAIT,
            hold: HOLD,
        };
        for part in parts {
            let (option, value) = part.split_once('=').unwrap_or((part, ""));
            if !options.contains(&option) {
                return Err(SpecError::Option {
                    kind: name,
                    option: option.to_owned(),
                    expected: options.join(", "),
                });
            }
            spec.set(option, value)?;
        }
        Ok(spec)
    }
}

impl Spec {
    fn set(&mut self, option: &str, value: &str) -> Result<(), SpecError> {
        let path = || PathBuf::from(value);
        match option {
            "force" => self.force = true,
            "template" => self.template = Some(path()),
            "type" => self.content_type = Some(value.to_owned()),
            "ca" => self.ca = Some(path()),
            "spool" => self.spool = Some(path()),
            "spool-bytes" => self.spool_bytes = bytes("spool-bytes", value)?,
            "wait" => self.wait = duration("wait", value)?,
            "hold" => self.hold = duration("hold", value)?,
            _ => unreachable!("{option} is in the list of options and not known here"),
        }
        Ok(())
    }
}

fn bytes(option: &'static str, value: &str) -> Result<u64, SpecError> {
    let units = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("", 1),
    ];
    units
        .iter()
        .find_map(|(unit, factor)| {
            let number: u64 = value.strip_suffix(unit)?.parse().ok()?;
            number.checked_mul(*factor)
        })
        .ok_or_else(|| SpecError::Value {
            option,
            value: value.to_owned(),
            expected: "a number of bytes, such as 64MiB",
        })
}

fn duration(option: &'static str, value: &str) -> Result<Duration, SpecError> {
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
    units
        .iter()
        .find_map(|(unit, factor)| {
            let number: u64 = value.strip_suffix(unit)?.parse().ok()?;
            Some(Duration::from_millis(number.checked_mul(*factor)?))
        })
        .ok_or_else(|| SpecError::Value {
            option,
            value: value.to_owned(),
            expected: "a time, such as 10s or 5m",
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_names_kind_target_and_options() {
        let spec: Spec = "webhook=https://x:1/a?b=c,spool=/var/s,spool-bytes=2MiB,wait=5m"
            .parse()
            .unwrap();
        assert_eq!(spec.target, "https://x:1/a?b=c");
        assert_eq!(spec.spool, Some("/var/s".into()));
        assert_eq!((spec.spool_bytes, spec.wait.as_secs()), (2 << 20, 300));
        assert_eq!("text=f,force".parse::<Spec>().unwrap().kind, Kind::Text);
    }

    #[test]
    fn a_mistake_says_what_was_expected() {
        for (argument, word) in [
            ("x", "KIND=TARGET"),
            ("mail=x", "alertmanager"),
            ("csv=", "no target"),
            ("csv=f,wait=1s", "expected one of: force"),
            ("webhook=http://x,wait=soon", "10s"),
            ("webhook=http://x,spool-bytes=99999999999GiB", "64MiB"),
        ] {
            let said = argument.parse::<Spec>().unwrap_err().to_string();
            assert!(said.contains(word), "{said}");
        }
    }
}
