//! `injection_config.ini`: what a campaign consists of. The shipped file is the default; a given one
//! replaces what it names.

use std::{
    fs,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Serialize;

use super::ini::{self, Sections};
use crate::{
    act::{self, Kind},
    cgroup::Limits,
    inside::workload::Workload,
    plan::CONTAINERS_MAX,
    span,
};

/// The shipped file.
pub const DEFAULT: &str = include_str!("../../injection_config.ini");

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {path:?}: {source}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path:?} line {line}: {what}")]
    Bad {
        path: PathBuf,
        line: usize,
        what: String,
    },
    #[error("{path:?}: {what}")]
    Whole { path: PathBuf, what: String },
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Config {
    pub containers: usize,
    pub anomaly_ratio: f64,
    pub noop_ratio: f64,
    pub hard_negative_ratio: f64,
    pub duration: Duration,
    pub warmup: Duration,
    pub cooldown: Duration,
    pub seed: Option<u64>,
    #[serde(skip)]
    pub limits: Limits,
    /// With their weights; none is 0.
    pub workloads: Vec<(Workload, f64)>,
    pub hard_negatives: Vec<Choice>,
    pub classes: Vec<Choice>,
}

/// A class that may be drawn.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Choice {
    pub class: &'static str,
    pub weight: f64,
    pub intensity: (f64, f64),
    pub duration: (Duration, Duration),
}

impl Config {
    pub fn shipped() -> Result<Config, ConfigError> {
        Builder::new(Path::new("injection_config.ini"), DEFAULT)?.build()
    }

    /// The shipped file, with what this one names in its place.
    pub fn read(path: &Path) -> Result<Config, ConfigError> {
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        Config::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Config, ConfigError> {
        let mut builder = Builder::new(Path::new("injection_config.ini"), DEFAULT)?;
        let given = Builder::new(path, text)?;
        builder.path = given.path;
        for (section, keys) in given.sections {
            builder.sections.entry(section).or_default().extend(keys);
        }
        builder.build()
    }
}

struct Builder {
    path: PathBuf,
    sections: Sections,
}

/// Sections that are no class.
const GENERAL: &str = "general";
const WORKLOADS: &str = "workloads";
const HARD_NEGATIVES: &str = "hard_negatives";
const CLASS: &str = "class";

const GENERAL_KEYS: [&str; 11] = [
    "containers",
    "anomaly_ratio",
    "duration",
    "warmup",
    "cooldown",
    "seed",
    "noop_ratio",
    "hard_negative_ratio",
    "cpu_count",
    "mem_limit",
    "pids_limit",
];
const CLASS_KEYS: [&str; 4] = ["enabled", "weight", "intensity", "duration"];

impl Builder {
    fn new(path: &Path, text: &str) -> Result<Builder, ConfigError> {
        let sections = ini::parse(text).map_err(|(line, what)| ConfigError::Bad {
            path: path.to_owned(),
            line,
            what,
        })?;
        let builder = Builder {
            path: path.to_owned(),
            sections,
        };
        builder.check_names()?;
        Ok(builder)
    }

    /// A slip of the pen must not be taken for a wish to have the default.
    fn check_names(&self) -> Result<(), ConfigError> {
        let of_kind =
            |name: &str, kind: Kind| act::by_name(name).is_some_and(|(_, info)| info.kind == kind);
        for (section, keys) in &self.sections {
            let known = |key: &str| match section.as_str() {
                GENERAL => GENERAL_KEYS.contains(&key),
                WORKLOADS => Workload::by_name(key).is_some(),
                HARD_NEGATIVES => {
                    ["intensity", "duration"].contains(&key) || of_kind(key, Kind::HardNegative)
                }
                _ => CLASS_KEYS.contains(&key),
            };
            let is_section = [GENERAL, WORKLOADS, HARD_NEGATIVES, CLASS]
                .contains(&section.as_str())
                || of_kind(section, Kind::Anomaly);
            if !is_section {
                return Err(ConfigError::Whole {
                    path: self.path.clone(),
                    what: format!("[{section}] is no class: `inject list` names them all"),
                });
            }
            if let Some((key, (_, line))) = keys.iter().find(|(key, _)| !known(key)) {
                return Err(self.bad(*line, format!("[{section}] knows no {key:?}")));
            }
        }
        Ok(())
    }

    fn build(&self) -> Result<Config, ConfigError> {
        let workloads = Workload::ALL
            .into_iter()
            .map(|workload| {
                let weight = self.number(WORKLOADS, workload.name(), 0.0..=1000.0)?;
                Ok((workload, weight))
            })
            .collect::<Result<Vec<_>, ConfigError>>()?;
        let workloads: Vec<_> = workloads
            .into_iter()
            .filter(|(_, weight)| *weight > 0.0)
            .collect();
        let of_kind = |kind| act::all().filter(move |info| info.kind == kind);
        let mut hard_negatives = Vec::new();
        for info in of_kind(Kind::HardNegative) {
            hard_negatives.push(Choice {
                class: info.name,
                weight: self.number(HARD_NEGATIVES, info.name, 0.0..=1000.0)?,
                intensity: self.intensity(HARD_NEGATIVES)?,
                duration: self.durations(HARD_NEGATIVES)?,
            });
        }
        let mut classes = Vec::new();
        for info in of_kind(Kind::Anomaly) {
            if self.flag(info.name, "enabled")? {
                classes.push(Choice {
                    class: info.name,
                    weight: self.number(info.name, "weight", 0.0..=1000.0)?,
                    intensity: self.intensity(info.name)?,
                    duration: self.durations(info.name)?,
                });
            }
        }
        classes.retain(|choice| choice.weight > 0.0);
        hard_negatives.retain(|choice| choice.weight > 0.0);
        let config = Config {
            containers: self.number(GENERAL, "containers", 1.0..=CONTAINERS_MAX as f64)? as usize,
            anomaly_ratio: self.number(GENERAL, "anomaly_ratio", 0.0..=1.0)?,
            noop_ratio: self.number(GENERAL, "noop_ratio", 0.0..=1.0)?,
            hard_negative_ratio: self.number(GENERAL, "hard_negative_ratio", 0.0..=1.0)?,
            duration: self.duration(GENERAL, "duration")?,
            warmup: self.duration(GENERAL, "warmup")?,
            cooldown: self.duration(GENERAL, "cooldown")?,
            seed: self.seed()?,
            limits: Limits {
                memory_bytes: (self.number(GENERAL, "mem_limit", 32.0..=4096.0)? as u64) << 20,
                cpu_milli: (self.number(GENERAL, "cpu_count", 0.05..=8.0)? * 1000.0).round() as u64,
                pids: self.number(GENERAL, "pids_limit", 16.0..=4096.0)? as u64,
            },
            workloads,
            hard_negatives,
            classes,
        };
        let nothing = match () {
            () if config.workloads.is_empty() => "no workload has a weight",
            () if config.classes.is_empty() && config.anomaly_ratio > 0.0 => {
                "no class is enabled, but anomaly_ratio is not 0"
            }
            () if config.hard_negatives.is_empty() && config.hard_negative_ratio > 0.0 => {
                "no hard negative has a weight, but hard_negative_ratio is not 0"
            }
            () => return Ok(config),
        };
        Err(ConfigError::Whole {
            path: self.path.clone(),
            what: nothing.into(),
        })
    }

    fn bad(&self, line: usize, what: impl Into<String>) -> ConfigError {
        ConfigError::Bad {
            path: self.path.clone(),
            line,
            what: what.into(),
        }
    }

    /// The section's own value, or that of [class].
    fn value(&self, section: &str, key: &str) -> Option<(&str, usize)> {
        let of = |section: &str| self.sections.get(section)?.get(key);
        of(section)
            .or_else(|| of(CLASS))
            .map(|(value, line)| (value.as_str(), *line))
    }

    fn wanted(&self, section: &str, key: &str) -> Result<(&str, usize), ConfigError> {
        self.value(section, key).ok_or_else(|| ConfigError::Whole {
            path: self.path.clone(),
            what: format!("[{section}] has no {key}"),
        })
    }

    fn number(
        &self,
        section: &str,
        key: &str,
        range: RangeInclusive<f64>,
    ) -> Result<f64, ConfigError> {
        let (value, line) = self.wanted(section, key)?;
        match value.parse::<f64>() {
            Ok(number) if range.contains(&number) => Ok(number),
            _ => Err(self.bad(
                line,
                format!(
                    "{key} is {value:?}, expected a number from {} to {}",
                    range.start(),
                    range.end()
                ),
            )),
        }
    }

    fn seed(&self) -> Result<Option<u64>, ConfigError> {
        let Some((value, line)) = self.value(GENERAL, "seed") else {
            return Ok(None);
        };
        let seed = value
            .parse()
            .map_err(|_| self.bad(line, format!("seed is {value:?}, expected a whole number")))?;
        Ok(Some(seed))
    }

    fn flag(&self, section: &str, key: &str) -> Result<bool, ConfigError> {
        let (value, line) = self.wanted(section, key)?;
        value
            .parse()
            .map_err(|_| self.bad(line, format!("{key} is {value:?}, expected true or false")))
    }

    fn duration(&self, section: &str, key: &str) -> Result<Duration, ConfigError> {
        let (value, line) = self.wanted(section, key)?;
        span::parse(value).map_err(|what| self.bad(line, what))
    }

    fn durations(&self, section: &str) -> Result<(Duration, Duration), ConfigError> {
        let (value, line) = self.wanted(section, "duration")?;
        let (least, most) = value.split_once("..").unwrap_or((value, value));
        let parse = |text: &str| span::parse(text.trim()).map_err(|what| self.bad(line, what));
        self.ordered((parse(least)?, parse(most)?), value, line)
    }

    fn intensity(&self, section: &str) -> Result<(f64, f64), ConfigError> {
        let (value, line) = self.wanted(section, "intensity")?;
        let (least, most) = value.split_once("..").unwrap_or((value, value));
        let parse = |text: &str| match text.trim().parse::<f64>() {
            Ok(number) if (0.1..=1.0).contains(&number) => Ok(number),
            _ => Err(self.bad(
                line,
                format!("intensity is {value:?}, expected A..B from 0.1 to 1"),
            )),
        };
        self.ordered((parse(least)?, parse(most)?), value, line)
    }

    fn ordered<T: PartialOrd>(
        &self,
        (least, most): (T, T),
        value: &str,
        line: usize,
    ) -> Result<(T, T), ConfigError> {
        match least <= most {
            true => Ok((least, most)),
            false => Err(self.bad(line, format!("{value:?} ends before it begins"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_file_names_every_class_and_has_the_known_shape() {
        let config = Config::shipped().unwrap();
        assert_eq!((config.containers, config.anomaly_ratio), (40, 0.2));
        assert_eq!(config.duration, Duration::from_secs(600));
        assert_eq!(
            (config.classes.len(), config.hard_negatives.len()),
            (32, 10)
        );
        assert_eq!(config.workloads.len(), Workload::ALL.len());
        let sections = ini::parse(DEFAULT).unwrap();
        for info in act::all().filter(|info| info.kind == Kind::Anomaly) {
            assert!(sections.contains_key(info.name), "{}", info.name);
        }
    }

    #[test]
    fn a_given_file_replaces_what_it_names() {
        let text = "[general]\ncontainers = 3\nseed = 9\n[cpu_hog]\nenabled = false\n[beacon]\nintensity = 0.5\n[workloads]\nidle = 0\n";
        let config = Config::parse(Path::new("my.ini"), text).unwrap();
        assert_eq!((config.containers, config.seed), (3, Some(9)));
        assert!(
            config
                .classes
                .iter()
                .all(|choice| choice.class != "cpu_hog")
        );
        let beacon = config
            .classes
            .iter()
            .find(|choice| choice.class == "beacon")
            .unwrap();
        assert_eq!(beacon.intensity, (0.5, 0.5));
        assert_eq!(
            beacon.duration.0,
            Duration::from_secs(60),
            "as shipped, for what is not named"
        );
        assert_eq!(config.workloads.len(), Workload::ALL.len() - 1);
    }

    #[test]
    fn mistakes_are_named_with_file_and_line() {
        for (text, expected) in [
            ("[cpu-hog]\n", "\"my.ini\": [cpu-hog] is no class"),
            ("[noop]\n", "[noop] is no class"),
            (
                "[general]\nspeed = 1\n",
                "line 2: [general] knows no \"speed\"",
            ),
            ("[general]\ncontainers = 0\n", "line 2: containers is \"0\""),
            ("[general]\nanomaly_ratio = 2\n", "line 2: anomaly_ratio"),
            ("[general]\nseed = x\n", "line 2: seed is \"x\""),
            ("[cpu_hog]\nintensity = 0.9..0.1\n", "ends before it begins"),
            ("[cpu_hog]\nintensity = 0.01..1\n", "from 0.1 to 1"),
            ("[cpu_hog]\nduration = 1d\n", "unknown unit"),
            ("[cpu_hog]\nenabled = yes\n", "true or false"),
            (
                "[class]\nweight = 0\n[cpu_hog]\nweight=0\n[mass_encrypt]\nweight=0\n[cred_read]\nweight=0\n[drop_exec]\nweight=0\n[shell_from_service]\nweight=0\n[reverse_shell]\nweight=0\n[port_scan]\nweight=0\n[miner_like]\nweight=0\n",
                "no class is enabled",
            ),
        ] {
            let error = Config::parse(Path::new("my.ini"), text)
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }
}
