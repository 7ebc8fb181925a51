//! What is watched per container, and when a change counts: one table, [`METRICS`].
//!
//! A value is compared with the median of its window, in units of the *scale*: the spread of the
//! window (1.4826 × MAD, which is the standard deviation of a normal distribution), but never less
//! than `floor` or `relative` × median, so that a flat series does not alarm on its first ripple.
//! A change must also be large in itself: at least `change` away from the median and `ratio` times
//! above or below it. Sizes come from idle and busy containers of the normal workloads; a finding
//! is worth a person's look, so a change that a deploy or a cron job makes every day is too small.

use crate::findings::Severity;

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Name in findings.
    pub name: &'static str,
    /// For messages: "CPU share rose".
    pub title: &'static str,
    pub unit: &'static str,
    /// Least scale, in the metric's unit.
    pub floor: f64,
    /// Least scale as a share of the median.
    pub relative: f64,
    /// Least distance from the median that counts.
    pub change: f64,
    /// Least factor between median and value that counts.
    pub ratio: f64,
    /// A single bin alarms from this score on, when it also exceeds all that the window has seen by half.
    /// Infinite: only persistence counts, because one busy second is normal.
    pub huge: f64,
    /// Least way that a slow change must go, of a metric that is a level. Infinite: slow changes of rates are
    /// what services do.
    pub trend: f64,
    pub severity: Severity,
    /// ATT&CK ids of what a rise may mean.
    pub tags: &'static [&'static str],
}

/// Index of each metric in [`METRICS`].
pub const SYSCALLS: usize = 0;
pub const EXECS: usize = 1;
pub const FORKS: usize = 2;
pub const FAILED_EXITS: usize = 3;
pub const CONNECTS: usize = 4;
pub const TARGETS: usize = 5;
pub const REFUSED: usize = 6;
pub const OPENS: usize = 7;
pub const REMOVALS: usize = 8;
pub const SYNCS: usize = 9;
pub const WRITTEN: usize = 10;
pub const SENT: usize = 11;
pub const CPU: usize = 12;
pub const MEMORY: usize = 13;
pub const PIDS: usize = 14;
/// Metrics before this one are counted from events per bin; the others are read from samples.
pub const COUNTED: usize = CPU;

const MIB: f64 = 1024.0 * 1024.0;
const NEVER: f64 = f64::INFINITY;

pub const METRICS: [Metric; 15] = [
    Metric {
        name: "syscall_rate",
        title: "System-call rate",
        unit: "calls/s",
        // A shell one-liner makes a few hundred calls; a busy service ten thousands.
        floor: 300.0,
        relative: 0.12,
        change: 3000.0,
        ratio: 2.5,
        huge: NEVER,
        trend: NEVER,
        severity: Severity::Notice,
        tags: &["T1499"],
    },
    Metric {
        name: "exec_rate",
        title: "Program starts",
        unit: "execs/s",
        // Health checks and cron jobs start a handful of programs in a second.
        floor: 2.0,
        relative: 0.12,
        change: 20.0,
        ratio: 2.5,
        huge: 100.0,
        trend: NEVER,
        severity: Severity::Notice,
        tags: &["T1059"],
    },
    Metric {
        name: "fork_rate",
        title: "Process creation",
        unit: "forks/s",
        floor: 2.0,
        relative: 0.12,
        change: 30.0,
        ratio: 2.5,
        huge: 150.0,
        trend: NEVER,
        severity: Severity::Notice,
        tags: &["T1499.001"],
    },
    Metric {
        name: "failed_exits",
        title: "Failed exits",
        unit: "exits/s",
        // grep without a match fails too: a few a second mean nothing.
        floor: 1.0,
        relative: 0.12,
        change: 5.0,
        ratio: 2.5,
        huge: 50.0,
        trend: NEVER,
        severity: Severity::Notice,
        tags: &["T1499"],
    },
    Metric {
        name: "connect_rate",
        title: "Connection attempts",
        unit: "connects/s",
        floor: 5.0,
        relative: 0.12,
        change: 40.0,
        ratio: 2.5,
        huge: 100.0,
        trend: NEVER,
        severity: Severity::Notice,
        tags: &["T1498.001"],
    },
    Metric {
        name: "connect_targets",
        title: "Distinct connection targets",
        unit: "targets/s",
        // A client talks to a few services; a crawler is rare, and its baseline shows it.
        floor: 1.5,
        relative: 0.12,
        change: 15.0,
        ratio: 2.5,
        huge: 15.0,
        trend: NEVER,
        severity: Severity::Warning,
        tags: &["T1046", "T1018"],
    },
    Metric {
        name: "connect_refused",
        title: "Refused connections",
        unit: "refused/s",
        // A client that waits for its server retries a few times a second.
        floor: 1.0,
        relative: 0.12,
        change: 10.0,
        ratio: 2.5,
        huge: 20.0,
        trend: NEVER,
        severity: Severity::Warning,
        tags: &["T1046"],
    },
    Metric {
        name: "open_rate",
        title: "File opens",
        unit: "opens/s",
        // Starting one interpreter opens several hundred files.
        floor: 50.0,
        relative: 0.12,
        change: 500.0,
        ratio: 2.5,
        huge: NEVER,
        trend: NEVER,
        severity: Severity::Notice,
        tags: &["T1083"],
    },
    Metric {
        name: "removal_rate",
        title: "File removals and renames",
        unit: "calls/s",
        // Log rotation and package managers rename by the dozen, for a second.
        floor: 5.0,
        relative: 0.12,
        change: 50.0,
        ratio: 2.5,
        huge: 200.0,
        trend: NEVER,
        // Installing packages removes and renames as many files as destroying data does.
        severity: Severity::Notice,
        tags: &["T1485", "T1486"],
    },
    Metric {
        name: "sync_rate",
        title: "Calls that wait for the disk",
        unit: "calls/s",
        // A database commits a dozen transactions a second, and a checkpoint syncs some dozen times at once.
        floor: 5.0,
        relative: 0.12,
        change: 50.0,
        ratio: 2.5,
        huge: NEVER,
        trend: NEVER,
        severity: Severity::Notice,
        tags: &["T1499"],
    },
    Metric {
        name: "write_rate",
        title: "Bytes written to files",
        unit: "bytes/s",
        // Unpacking a package or an archive writes as much, for a second or two.
        floor: 0.25 * MIB,
        relative: 0.12,
        change: 1.0 * MIB,
        ratio: 2.5,
        huge: NEVER,
        trend: NEVER,
        severity: Severity::Notice,
        tags: &["T1499"],
    },
    Metric {
        name: "send_rate",
        title: "Bytes sent through sockets",
        unit: "bytes/s",
        floor: 0.125 * MIB,
        relative: 0.12,
        change: 0.5 * MIB,
        ratio: 2.5,
        huge: NEVER,
        trend: NEVER,
        severity: Severity::Notice,
        tags: &["T1048"],
    },
    Metric {
        name: "cpu_share",
        title: "CPU share",
        unit: "cores",
        floor: 0.025,
        relative: 0.12,
        change: 0.2,
        ratio: 1.6,
        huge: NEVER,
        trend: NEVER,
        // A job that computes for a while looks the same as one that nobody ordered.
        severity: Severity::Notice,
        tags: &["T1496"],
    },
    Metric {
        name: "memory",
        title: "Memory",
        unit: "bytes",
        // Page cache comes and goes by some megabytes.
        floor: 8.0 * MIB,
        relative: 0.1,
        change: 64.0 * MIB,
        ratio: 1.4,
        huge: NEVER,
        trend: 10.0 * MIB,
        severity: Severity::Notice,
        tags: &["T1499"],
    },
    Metric {
        name: "processes",
        title: "Processes and threads",
        unit: "tasks",
        floor: 2.0,
        relative: 0.1,
        change: 20.0,
        ratio: 1.5,
        huge: NEVER,
        trend: 10.0,
        severity: Severity::Notice,
        tags: &["T1499"],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_has_this_table() {
        let documentation = include_str!("../../../docs/findings.md");
        for metric in &METRICS {
            let row = documentation
                .lines()
                .find(|line| line.starts_with(&format!("| `{}` |", metric.name)))
                .unwrap_or_else(|| panic!("{} is not in docs/findings.md", metric.name));
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let number = |cell: &str| match cell.strip_suffix(" MiB") {
                Some(mebibytes) => mebibytes.parse::<f64>().unwrap() * MIB,
                None if cell == "–" => NEVER,
                None => cell.parse().unwrap(),
            };
            let documented = [cells[3], cells[4], cells[5], cells[6], cells[7]].map(number);
            assert_eq!(
                documented,
                [
                    metric.floor,
                    metric.change,
                    metric.ratio,
                    metric.huge,
                    metric.trend
                ],
                "{}",
                metric.name
            );
            assert_eq!(cells[8], metric.severity.name(), "{}", metric.name);
        }
    }
}
