//! The labels beside a trace: `labels.csv` and `labels.jsonl`, one row for each act that was ordered.
//!
//! Columns are for ever: appended to, never renamed or reordered. Containers in which nothing was
//! ordered have no row; `noop` has one. Rows are written as acts end, so a killed run keeps what was done.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::Path,
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

pub const COLUMNS: [&str; 18] = [
    "run",
    "container_id",
    "container_name",
    "image",
    "cgroup_id",
    "class",
    "attack_id",
    "attack_version",
    "intensity",
    "start_boot_ns",
    "end_boot_ns",
    "start_wall_ns",
    "end_wall_ns",
    "pids",
    "seed",
    "expected_signals",
    "outcome",
    "kind",
];

/// One row. The order of the fields is that of [`COLUMNS`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Label {
    pub run: String,
    /// 64 hex digits.
    pub container_id: String,
    pub container_name: String,
    pub image: String,
    /// Inode number of the container's directory in the cgroup2 hierarchy.
    pub cgroup_id: u64,
    pub class: String,
    /// Several are separated by a space; empty for `noop`.
    pub attack_id: String,
    pub attack_version: String,
    pub intensity: f64,
    /// `CLOCK_BOOTTIME`, the capture's clock. 0 when the act was never started.
    pub start_boot_ns: u64,
    pub end_boot_ns: u64,
    /// `CLOCK_REALTIME`.
    pub start_wall_ns: u64,
    pub end_wall_ns: u64,
    /// Host pids that were seen, separated by spaces.
    pub pids: String,
    pub seed: u64,
    /// Separated by spaces.
    pub expected_signals: String,
    /// `done`, `interrupted`, or `failed`, `killed`, `overran`, `refused`, `lost` with a reason after a colon.
    pub outcome: String,
    /// `anomaly`, `noop` or `hard_negative`: the last two are normal.
    #[serde(default)]
    pub kind: String,
}

impl Label {
    fn values(&self) -> [String; 18] {
        [
            self.run.clone(),
            self.container_id.clone(),
            self.container_name.clone(),
            self.image.clone(),
            self.cgroup_id.to_string(),
            self.class.clone(),
            self.attack_id.clone(),
            self.attack_version.clone(),
            self.intensity.to_string(),
            self.start_boot_ns.to_string(),
            self.end_boot_ns.to_string(),
            self.start_wall_ns.to_string(),
            self.end_wall_ns.to_string(),
            self.pids.clone(),
            self.seed.to_string(),
            self.expected_signals.clone(),
            self.outcome.clone(),
            self.kind.clone(),
        ]
    }

    fn csv_line(&self) -> String {
        self.values().map(|value| quoted(&value)).join(",") + "\n"
    }
}

/// RFC 4180.
fn quoted(value: &str) -> String {
    match value.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", value.replace('"', "\"\"")),
        false => value.to_owned(),
    }
}

/// Both files of a directory, open for appending.
pub struct LabelWriter {
    csv: File,
    jsonl: File,
}

pub const CSV: &str = "labels.csv";
pub const JSONL: &str = "labels.jsonl";

impl LabelWriter {
    /// Refuses to add to the labels of another run.
    pub fn create(directory: &Path) -> Result<LabelWriter> {
        let new = |name: &str| {
            let path = directory.join(name);
            OpenOptions::new()
                .append(true)
                .create_new(true)
                .open(&path)
                .with_context(|| format!("cannot create {path:?} (labels of another run are kept: choose a new directory)"))
        };
        let mut writer = LabelWriter {
            csv: new(CSV)?,
            jsonl: new(JSONL)?,
        };
        writer
            .csv
            .write_all((COLUMNS.join(",") + "\n").as_bytes())
            .context("cannot write the head of labels.csv")?;
        Ok(writer)
    }

    pub fn write(&mut self, label: &Label) -> Result<()> {
        self.csv
            .write_all(label.csv_line().as_bytes())
            .context("cannot write to labels.csv")?;
        let json = serde_json::to_string(label).context("cannot encode a label")? + "\n";
        self.jsonl
            .write_all(json.as_bytes())
            .context("cannot write to labels.jsonl")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub fn sample() -> Label {
        Label {
            run: "5f2a90c1d4e7b386".into(),
            container_id: "ab".repeat(32),
            container_name: "app-3f9a2c".into(),
            image: "appd:0123456789ab".into(),
            cgroup_id: 4242,
            class: "cred_read".into(),
            attack_id: "T1003.008 T1552.001".into(),
            attack_version: crate::act::ATTACK_VERSION.into(),
            intensity: 0.5,
            start_boot_ns: 1_000_000_001,
            end_boot_ns: 31_000_000_002,
            start_wall_ns: 1_790_000_000_000_000_003,
            end_wall_ns: 1_790_000_030_000_000_004,
            pids: "4711 4712".into(),
            seed: u64::MAX,
            expected_signals: "sensitive_open".into(),
            outcome: "failed: cannot read \"/etc/shadow\", gone".into(),
            kind: "anomaly".into(),
        }
    }

    #[test]
    fn the_files_are_the_golden_files() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = LabelWriter::create(directory.path()).unwrap();
        let mut second = sample();
        second.class = "noop".into();
        second.attack_id = String::new();
        second.expected_signals = String::new();
        second.intensity = 1.0;
        second.outcome = "done".into();
        second.kind = "noop".into();
        writer.write(&sample()).unwrap();
        writer.write(&second).unwrap();
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        for name in [CSV, JSONL] {
            let made = std::fs::read_to_string(directory.path().join(name)).unwrap();
            let expected = std::fs::read_to_string(golden.join(name)).unwrap();
            assert_eq!(made, expected, "{name}");
        }
    }

    #[test]
    fn columns_are_the_fields_in_order() {
        let json = serde_json::to_string(&sample()).unwrap();
        let mut last = 0;
        for column in COLUMNS {
            let at = json.find(&format!("\"{column}\":")).expect(column);
            assert!(at >= last, "{column} is out of order");
            last = at;
        }
        assert_eq!(sample().values().len(), COLUMNS.len());
    }

    #[test]
    fn labels_of_another_run_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        LabelWriter::create(directory.path()).unwrap();
        let error = format!("{:#}", LabelWriter::create(directory.path()).err().unwrap());
        assert!(error.contains("labels of another run"), "{error}");
    }
}
