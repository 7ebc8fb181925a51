//! What a window is described by: one table, [`FEATURES`], and its version.
//!
//! Rates and levels differ by orders of magnitude between workloads, so a window says how far the
//! container is from its own past: a logarithm of the ratio, a difference of shares, or a count of
//! things never seen before. What those mean is in [`Kind`]. `docs/labeled-data.md` has the table
//! for readers.
//!
//! A model stores [`hash`] and the names: it is refused where they differ. Whoever changes what a
//! value means, not only its name, raises [`VERSION`].

/// Raised when the meaning of a feature changes under the same name.
pub const VERSION: u32 = 1;

/// How a feature's value reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Natural logarithm of (now + floor) ÷ (usual + floor): 0 as usual, 0.7 twice as much.
    Ratio,
    /// A share of 0 to 1, minus its usual value.
    Difference,
    /// Distance of two distributions, 0 to 1.
    Distance,
    /// ln(1 + count).
    Count,
}

/// What a feature is about. The forest sees the greatest surprise of each group, see [`super::inputs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Group {
    /// Calls and files: how much is done, and in which mix.
    Activity,
    Processes,
    Network,
    Resources,
    /// Things never done before.
    Novelty,
}
pub const GROUPS: usize = Group::Novelty as usize + 1;

/// One column of a window.
#[derive(Clone, Copy, Debug)]
pub struct Feature {
    pub name: &'static str,
    pub kind: Kind,
    pub group: Group,
    /// For people: "new child programs".
    pub title: &'static str,
    /// In the unit of the rate or level; keeps small numbers from looking like large changes.
    pub floor: f64,
    /// A surprise of this size (in the feature's own unit) happens now and then in any container.
    /// Training spreads its rows by it: a forest cannot split on a column that never varied.
    pub scale: f64,
}

pub const SYSCALLS: usize = 0;
pub const EXECS: usize = 1;
pub const FORKS: usize = 2;
pub const FAILED_EXITS: usize = 3;
pub const OPENS: usize = 4;
pub const WRITES: usize = 5;
pub const CONNECTS: usize = 6;
pub const PORTS: usize = 7;
pub const CPU: usize = 8;
pub const MEMORY: usize = 9;
pub const PIDS: usize = 10;
pub const IO: usize = 11;
/// Features before this one compare with the container's usual level.
pub const RATIOS: usize = 12;
pub const FAILURES: usize = 12;
pub const REFUSED: usize = 13;
pub const THROTTLED: usize = 14;
pub const MEMORY_SLOPE: usize = 15;
/// Features before this one are compared with a mean of earlier windows.
pub const COMPARED: usize = 16;
pub const MIX: usize = 16;
pub const NEW_EDGES: usize = 17;
pub const NEW_PATHS: usize = 18;
pub const NEW_PORTS: usize = 19;
pub const NEW_CALLS: usize = 20;
pub const BORN_EXECS: usize = 21;
pub const COUNT: usize = 22;

use Group::{Activity, Network, Novelty, Processes, Resources};

const MIB: f64 = 1024.0 * 1024.0;

#[rustfmt::skip]
pub const FEATURES: [Feature; COUNT] = [
    // A shell one-liner makes a few hundred calls: ten seconds of an idle container hold that many.
    ratio("syscalls", Activity, "system calls a second", 20.0, 0.3),
    ratio("execs", Processes, "program starts a second", 0.2, 0.3),
    ratio("forks", Processes, "new processes and threads a second", 0.2, 0.3),
    ratio("failed_exits", Processes, "failed exits a second", 0.2, 0.3),
    ratio("opens", Activity, "file opens a second", 2.0, 0.3),
    ratio("writes", Activity, "files written, removed or renamed a second", 0.5, 0.3),
    ratio("connects", Network, "connection attempts a second", 0.5, 0.3),
    // A window's distinct ports, not a rate.
    ratio("ports", Network, "distinct ports connected to", 2.0, 0.2),
    ratio("cpu", Resources, "CPU cores used", 0.05, 0.2),
    ratio("memory", Resources, "memory", 8.0 * MIB, 0.1),
    ratio("pids", Processes, "processes and threads alive", 3.0, 0.1),
    ratio("io", Activity, "bytes to and from block devices a second", 64.0 * 1024.0, 0.3),
    difference("failures", Activity, "share of failed calls", 0.0, 0.02),
    difference("refused", Network, "share of refused connections", 0.0, 0.05),
    difference("throttled", Resources, "share of time throttled", 0.0, 0.05),
    difference("memory_slope", Resources, "growth of memory", 8.0 * MIB, 0.05),
    feature("mix", Kind::Distance, Activity, "change of the mix of system calls", 0.0, 0.05),
    count("new_edges", Novelty, "new child programs"),
    count("new_paths", Novelty, "new directories"),
    count("new_ports", Network, "new ports"),
    count("new_calls", Novelty, "new system calls and pairs of them"),
    count("born_execs", Novelty, "started programs that were written here or lie in memory"),
];

const fn feature(
    name: &'static str,
    kind: Kind,
    group: Group,
    title: &'static str,
    floor: f64,
    scale: f64,
) -> Feature {
    Feature {
        name,
        kind,
        group,
        title,
        floor,
        scale,
    }
}

const fn ratio(
    name: &'static str,
    group: Group,
    title: &'static str,
    floor: f64,
    scale: f64,
) -> Feature {
    feature(name, Kind::Ratio, group, title, floor, scale)
}

const fn difference(
    name: &'static str,
    group: Group,
    title: &'static str,
    floor: f64,
    scale: f64,
) -> Feature {
    feature(name, Kind::Difference, group, title, floor, scale)
}

const fn count(name: &'static str, group: Group, title: &'static str) -> Feature {
    // One new thing now and then: ln 2, less often two.
    feature(name, Kind::Count, group, title, 0.0, 0.35)
}

impl Feature {
    /// Feature and value in one phrase.
    pub fn describe(&self, value: f64) -> String {
        match self.kind {
            Kind::Count => format!("{} {}", self.show(value), self.title),
            _ => format!("{} {}", self.title, self.show(value)),
        }
    }

    /// A value for people: `×4.2`, `+12 %`, `3`.
    pub fn show(&self, value: f64) -> String {
        if value.is_nan() {
            return "unknown".to_owned();
        }
        match self.kind {
            Kind::Ratio => format!("×{}", digits(value.exp())),
            Kind::Difference => format!("{:+.0} %", value * 100.0),
            Kind::Distance => format!("{value:.2}"),
            Kind::Count => format!("{:.0}", value.exp_m1()),
        }
    }
}

/// Two significant digits.
fn digits(value: f64) -> String {
    match value {
        0.0..0.095 => format!("{value:.2}"),
        0.0..9.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

pub fn names() -> impl Iterator<Item = &'static str> {
    FEATURES.iter().map(|feature| feature.name)
}

/// Identity of the schema: its version and its names in order.
pub fn hash() -> u64 {
    let mut hash = super::novelty::Hash::default();
    hash.number(VERSION);
    for name in names() {
        hash.bytes(name.as_bytes());
        hash.byte(0);
    }
    hash.value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_names_its_row() {
        for (index, name) in [
            (SYSCALLS, "syscalls"),
            (FAILED_EXITS, "failed_exits"),
            (WRITES, "writes"),
            (PORTS, "ports"),
            (IO, "io"),
            (FAILURES, "failures"),
            (THROTTLED, "throttled"),
            (MEMORY_SLOPE, "memory_slope"),
            (MIX, "mix"),
            (NEW_EDGES, "new_edges"),
            (NEW_CALLS, "new_calls"),
            (BORN_EXECS, "born_execs"),
        ] {
            assert_eq!(FEATURES[index].name, name);
        }
        let compared = &FEATURES[..COMPARED];
        assert!(
            compared[..RATIOS]
                .iter()
                .all(|feature| feature.kind == Kind::Ratio && feature.floor > 0.0)
        );
        assert!(
            compared[RATIOS..]
                .iter()
                .all(|feature| feature.kind == Kind::Difference)
        );
    }

    /// Stored in every model: a change here makes all of them unreadable, so it must be meant.
    #[test]
    fn the_hash_is_pinned() {
        assert_eq!(hash(), PINNED, "{:#x}", hash());
    }
    const PINNED: u64 = 0x087d_7034_3dc1_e634;

    #[test]
    fn values_read_as_people_say_them() {
        assert_eq!(FEATURES[CPU].show(4f64.ln()), "×4.0");
        assert_eq!(FEATURES[CPU].show(-3.0), "×0.05");
        assert_eq!(FEATURES[REFUSED].show(0.253), "+25 %");
        assert_eq!(FEATURES[NEW_PATHS].show(4f64.ln()), "3");
        assert_eq!(FEATURES[CPU].show(f64::NAN), "unknown");
    }
}
