//! What a cgroup uses, from the files of v2 or of v1's controllers: which files there are is decided once
//! ([`Plan`]), for the hierarchies that are mounted.

use std::{fs::File, path::PathBuf};

use trace_format::event::{Sample, SampleKnown};

use super::reading::{Text, stalls, values};
use crate::observe::cgroups::Cgroups;

/// v1 reports "no limit" as a number near 2^63.
const NO_LIMIT: u64 = 1 << 62;
/// A file that is not there (an older kernel, a controller that is off) is looked for again after so many
/// rounds.
const ROUNDS_WITHOUT: u8 = 30;

/// A file, and what it tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// v2: used, and held back where the controller is on.
    CpuStat,
    CpuUsageV1,
    CpuStatV1,
    Memory,
    MemoryLimit,
    MemoryPeak,
    MemoryStat,
    MemoryStatV1,
    Pids,
    IoStat,
    IoBytesV1,
    IoOperationsV1,
    CpuPressure,
    MemoryPressure,
    IoPressure,
}

use What::*;

/// Controller, file of v2, files of v1. Without a controller: in every cgroup of v2.
const V2: &[(&str, &str, What)] = &[
    ("cpu", "cpu.stat", CpuStat),
    ("memory", "memory.current", Memory),
    ("memory", "memory.max", MemoryLimit),
    ("memory", "memory.peak", MemoryPeak),
    ("memory", "memory.stat", MemoryStat),
    ("pids", "pids.current", Pids),
    ("blkio", "io.stat", IoStat),
    ("", "cpu.pressure", CpuPressure),
    ("", "memory.pressure", MemoryPressure),
    ("", "io.pressure", IoPressure),
];
const V1: &[(&str, &str, What)] = &[
    ("cpuacct", "cpuacct.usage", CpuUsageV1),
    ("cpu", "cpu.stat", CpuStatV1),
    ("memory", "memory.usage_in_bytes", Memory),
    ("memory", "memory.limit_in_bytes", MemoryLimit),
    ("memory", "memory.max_usage_in_bytes", MemoryPeak),
    ("memory", "memory.stat", MemoryStatV1),
    ("pids", "pids.current", Pids),
    ("blkio", "blkio.throttle.io_service_bytes", IoBytesV1),
    ("blkio", "blkio.throttle.io_serviced", IoOperationsV1),
];

/// Which files are read of each cgroup.
pub struct Plan(Vec<Planned>);

struct Planned {
    mount: PathBuf,
    name: &'static str,
    what: What,
}

/// The files of one cgroup, in the plan's order.
pub struct Files(Vec<Place>);

enum Place {
    Open(File),
    /// Not to be looked for in so many rounds.
    Missing(u8),
}

impl Plan {
    pub fn of(cgroups: &Cgroups) -> Self {
        let mut planned = Vec::new();
        let mut plan = |mount: &PathBuf, name, what| {
            planned.push(Planned {
                mount: mount.clone(),
                name,
                what,
            });
        };
        for (controller, name, what) in V1 {
            if let Some(mount) = cgroups.v1_mount(controller) {
                plan(mount, *name, *what);
            }
        }
        if let Some(mount) = cgroups.v2_mount() {
            for (controller, name, what) in V2 {
                if !cgroups.is_v1(controller) {
                    plan(mount, *name, *what);
                }
            }
        }
        Plan(planned)
    }

    /// Files of each cgroup.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// To be kept for a cgroup; none is open yet.
    pub fn files(&self) -> Files {
        Files(self.0.iter().map(|_| Place::Missing(0)).collect())
    }

    /// What the cgroup at `path` uses now; None when it is gone. Without `files` all are opened for this.
    pub fn sample(
        &self,
        path: &str,
        mut files: Option<&mut Files>,
        text: &mut Text,
    ) -> Option<Sample> {
        let mut told = Told::default();
        for (at, planned) in self.0.iter().enumerate() {
            let opened;
            let file = match &mut files {
                Some(files) => files.0[at].file(planned, path),
                None => {
                    opened = planned.open(path);
                    opened.as_ref()
                }
            };
            let Some(text) = file.and_then(|file| text.of_cgroup(file)) else {
                told.lacks(planned.what);
                continue;
            };
            told.read(planned.what, text);
        }
        told.sample()
    }
}

impl Planned {
    fn open(&self, path: &str) -> Option<File> {
        let mut whole = self.mount.join(path.trim_start_matches('/'));
        whole.push(self.name);
        File::open(whole).ok()
    }
}

impl Place {
    fn file(&mut self, planned: &Planned, path: &str) -> Option<&File> {
        if let Place::Missing(rounds) = self {
            *self = match rounds.checked_sub(1) {
                Some(left) => Place::Missing(left),
                None => planned
                    .open(path)
                    .map_or(Place::Missing(ROUNDS_WITHOUT), Place::Open),
            };
        }
        match self {
            Place::Open(file) => Some(file),
            Place::Missing(_) => None,
        }
    }
}

/// A sample while its files are read.
#[derive(Default)]
struct Told {
    sample: Sample,
    cpu: bool,
    /// [`SampleKnown`] of what was read, and of what was not: one file that is missing makes a group unknown.
    read: u32,
    missing: u32,
}

impl Told {
    fn lacks(&mut self, what: What) {
        self.missing |= what.known();
    }

    fn read(&mut self, what: What, text: &str) {
        match self.put(what, text) {
            Some(()) => self.read |= what.known(),
            None => self.missing |= what.known(),
        }
    }

    fn put(&mut self, what: What, text: &str) -> Option<()> {
        let number = || text.trim().parse::<u64>().ok();
        let sample = &mut self.sample;
        match what {
            CpuStat => {
                let [used, throttled] = values(text, ["usage_usec", "throttled_usec"]);
                // Where v1 has a part, it is that which counts.
                if !self.cpu {
                    sample.cpu_ns = used?.checked_mul(1_000)?;
                    self.cpu = true;
                }
                sample.throttled_ns = throttled?.checked_mul(1_000)?;
            }
            CpuUsageV1 => {
                sample.cpu_ns = number()?;
                self.cpu = true;
            }
            CpuStatV1 => [sample.throttled_ns] = all(values(text, ["throttled_time"]))?,
            Memory => sample.memory_bytes = number()?,
            MemoryLimit => {
                let limit = match text.trim() {
                    "max" => 0,
                    text => text.parse().ok()?,
                };
                sample.memory_limit_bytes = if limit < NO_LIMIT { limit } else { 0 };
            }
            MemoryPeak => sample.memory_peak_bytes = number()?,
            MemoryStat => {
                let keys = ["anon", "file", "pgfault", "pgmajfault"];
                memory_kinds(sample, all(values(text, keys))?);
            }
            MemoryStatV1 => {
                let keys = [
                    "total_rss",
                    "total_cache",
                    "total_pgfault",
                    "total_pgmajfault",
                ];
                memory_kinds(sample, all(values(text, keys))?);
            }
            Pids => sample.pids = number()?,
            IoStat => {
                sample.io_read_bytes = sum(text, "rbytes");
                sample.io_write_bytes = sum(text, "wbytes");
                sample.io_reads = sum(text, "rios");
                sample.io_writes = sum(text, "wios");
            }
            IoBytesV1 => {
                sample.io_read_bytes = sum(text, "Read");
                sample.io_write_bytes = sum(text, "Write");
            }
            IoOperationsV1 => {
                sample.io_reads = sum(text, "Read");
                sample.io_writes = sum(text, "Write");
            }
            // Before 5.13 nobody counts threads that all wait for a CPU.
            CpuPressure => sample.cpu_stall_ns = stalls(text).0?,
            MemoryPressure => {
                let (some, full) = stalls(text);
                (sample.memory_stall_ns, sample.memory_full_stall_ns) = (some?, full?);
            }
            IoPressure => {
                let (some, full) = stalls(text);
                (sample.io_stall_ns, sample.io_full_stall_ns) = (some?, full?);
            }
        }
        Some(())
    }

    fn sample(mut self) -> Option<Sample> {
        self.sample.known = SampleKnown(self.read & !self.missing);
        self.cpu.then_some(self.sample)
    }
}

impl What {
    fn known(self) -> u32 {
        match self {
            CpuUsageV1 => 0,
            CpuStat | CpuStatV1 => SampleKnown::THROTTLED,
            Memory | MemoryLimit => SampleKnown::MEMORY,
            MemoryPeak => SampleKnown::MEMORY_PEAK,
            MemoryStat | MemoryStatV1 => SampleKnown::MEMORY_KINDS | SampleKnown::FAULTS,
            Pids => SampleKnown::PIDS,
            IoStat | IoBytesV1 | IoOperationsV1 => SampleKnown::IO,
            CpuPressure | MemoryPressure | IoPressure => SampleKnown::PRESSURE,
        }
    }
}

/// From memory without a file, with one, all faults, those with I/O.
fn memory_kinds(sample: &mut Sample, [anon, file, faults, major]: [u64; 4]) {
    sample.anon_bytes = anon;
    sample.file_bytes = file;
    sample.minor_faults = faults.saturating_sub(major);
    sample.major_faults = major;
}

fn all<const N: usize>(found: [Option<u64>; N]) -> Option<[u64; N]> {
    found
        .iter()
        .all(Option::is_some)
        .then(|| found.map(Option::unwrap_or_default))
}

/// Over all devices. v1: `8:0 Read 4096`; v2: `8:0 rbytes=4096 wbytes=0 rios=1 wios=0`.
fn sum(text: &str, key: &str) -> u64 {
    let mut sum = 0u64;
    let mut words = text.split([' ', '=', '\n']);
    while let Some(word) = words.next() {
        if word == key {
            let value = words.next().and_then(|value| value.parse().ok());
            sum = sum.saturating_add(value.unwrap_or(0));
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(files: &[(What, &str)]) -> Option<Sample> {
        let mut told = Told::default();
        for (what, text) in files {
            told.read(*what, text);
        }
        told.sample()
    }

    #[test]
    fn v2_is_read() {
        let psi = "some avg10=0.00 avg60=0.00 avg300=0.00 total=2\n\
                   full avg10=0.00 avg60=0.00 avg300=0.00 total=1\n";
        let sample = told(&[
            (CpuStat, "usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_periods 1\nnr_throttled 1\nthrottled_usec 4\n"),
            (Memory, "8192\n"),
            (MemoryLimit, "max\n"),
            (MemoryPeak, "12288\n"),
            (MemoryStat, "anon 4096\nfile 1024\nkernel 5\npgfault 9\npgmajfault 2\n"),
            (Pids, "3\n"),
            (IoStat, "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n8:16 rbytes=5 wbytes=0 rios=1 wios=0\n"),
            (CpuPressure, psi),
            (MemoryPressure, psi),
            (IoPressure, psi),
        ])
        .unwrap();
        let everything = SampleKnown::THROTTLED
            | SampleKnown::MEMORY
            | SampleKnown::MEMORY_PEAK
            | SampleKnown::MEMORY_KINDS
            | SampleKnown::FAULTS
            | SampleKnown::PIDS
            | SampleKnown::IO
            | SampleKnown::PRESSURE;
        assert_eq!(
            sample,
            Sample {
                cpu_ns: 5_000,
                throttled_ns: 4_000,
                memory_bytes: 8192,
                memory_limit_bytes: 0,
                pids: 3,
                io_read_bytes: 15,
                io_write_bytes: 20,
                known: SampleKnown(everything),
                memory_peak_bytes: 12_288,
                anon_bytes: 4096,
                file_bytes: 1024,
                minor_faults: 7,
                major_faults: 2,
                cpu_stall_ns: 2_000,
                memory_stall_ns: 2_000,
                memory_full_stall_ns: 1_000,
                io_stall_ns: 2_000,
                io_full_stall_ns: 1_000,
                io_reads: 2,
                io_writes: 2,
                ..Sample::default()
            }
        );
    }

    #[test]
    fn v1_is_read() {
        let sample = told(&[
            (CpuUsageV1, "5\n"),
            (CpuStatV1, "nr_periods 1\nnr_throttled 1\nthrottled_time 4\n"),
            (MemoryLimit, "9223372036854771712\n"),
            (MemoryStatV1, "cache 1\nrss 1\ntotal_cache 1024\ntotal_rss 4096\ntotal_pgfault 9\ntotal_pgmajfault 2\n"),
            (IoBytesV1, "8:0 Read 10\n8:0 Write 20\n8:0 Total 30\n8:16 Read 5\nTotal 35\n"),
            (IoOperationsV1, "8:0 Read 1\n8:0 Write 2\n8:0 Total 3\nTotal 3\n"),
        ])
        .unwrap();
        assert_eq!((sample.cpu_ns, sample.throttled_ns), (5, 4));
        assert_eq!((sample.anon_bytes, sample.file_bytes), (4096, 1024));
        assert_eq!((sample.minor_faults, sample.major_faults), (7, 2));
        assert_eq!((sample.io_read_bytes, sample.io_write_bytes), (15, 20));
        assert_eq!((sample.io_reads, sample.io_writes), (1, 2));
        assert_eq!(sample.memory_limit_bytes, 0);
    }

    #[test]
    fn what_is_missing_is_not_known() {
        // A controller that is off: the time is there, what the limit held back is not.
        let sample = told(&[(CpuStat, "usage_usec 5\n"), (Memory, "1\n")]).unwrap();
        assert_eq!(sample.cpu_ns, 5_000);
        assert_eq!(sample.known, SampleKnown(SampleKnown::MEMORY));
        // One of a group's files.
        let mut half = Told::default();
        half.read(CpuUsageV1, "1");
        half.read(Memory, "1");
        half.lacks(MemoryLimit);
        assert_eq!(half.sample().unwrap().known, SampleKnown(0));
        // Nothing of the CPU: the cgroup is gone.
        assert_eq!(told(&[(Memory, "1\n")]), None);
    }
}
