//! What the host as a whole uses, from /proc.

use std::{fs::File, os::unix::fs::MetadataExt, path::Path};

use hashbrown::HashMap;
use trace_format::event::{Sample, SampleKnown};

use super::{
    network::Counts,
    reading::{Text, stalls, values},
};

/// /proc/stat counts ticks of 10 ms (`USER_HZ`).
const TICK_NS: u64 = 10_000_000;
/// /proc/diskstats counts sectors of 512 bytes, whatever the disk's are.
const SECTOR: u64 = 512;
/// Names of block devices and interfaces of which is known whether they are hardware; then all are asked
/// about again. A host has some tens.
const NAMES_MAX: usize = 4_096;

/// Files of /proc that stay open, and what is known of devices.
#[derive(Default)]
pub struct Host {
    files: HashMap<&'static str, Option<File>>,
    disks: Devices,
    interfaces: Devices,
    network_namespace: Option<u64>,
}

/// Which of the devices with these names are hardware: what lies on them (partitions, volumes, loops,
/// bridges, the near ends of containers' interfaces) moves the same bytes again.
#[derive(Default)]
struct Devices(HashMap<String, bool>);

impl Devices {
    fn has_hardware(&mut self, class: &str, name: &str) -> bool {
        if let Some(known) = self.0.get(name) {
            return *known;
        }
        if self.0.len() >= NAMES_MAX {
            self.0.clear();
        }
        let hardware = Path::new(class).join(name).join("device").exists();
        self.0.insert(name.to_owned(), hardware);
        hardware
    }
}

impl Host {
    /// None where /proc is not readable.
    pub fn sample(&mut self, text: &mut Text) -> Option<Sample> {
        let mut sample = Sample {
            cpu_ns: busy_ns(self.text("/proc/stat", text)?)?,
            ..Sample::default()
        };
        let mut known = 0;
        let mut tell = |bit: u32, told: Option<()>| known |= if told.is_some() { bit } else { 0 };
        let memory = self.text("/proc/meminfo", text);
        let kinds = memory.and_then(|text| memory_of(text, &mut sample));
        tell(SampleKnown::MEMORY | SampleKnown::MEMORY_KINDS, kinds);
        let load = self.text("/proc/loadavg", text);
        tell(
            SampleKnown::LOAD | SampleKnown::PIDS,
            load.and_then(|text| load_of(text, &mut sample)),
        );
        let faults = self.text("/proc/vmstat", text);
        tell(
            SampleKnown::FAULTS,
            faults.and_then(|text| faults_of(text, &mut sample)),
        );
        let pressure = self.pressure(text, &mut sample);
        tell(SampleKnown::PRESSURE, pressure);
        let disks = self.disks(text, &mut sample);
        tell(SampleKnown::IO, disks);
        let network = self.network(text, &mut sample);
        tell(SampleKnown::NETWORK, network);
        sample.known = SampleKnown(known);
        Some(sample)
    }

    /// What tells the host's network namespace from others.
    pub fn network_namespace(&self) -> Option<u64> {
        self.network_namespace
    }

    fn text<'a>(&mut self, path: &'static str, text: &'a mut Text) -> Option<&'a str> {
        let file = self
            .files
            .entry(path)
            .or_insert_with(|| File::open(path).ok());
        text.of_file(file.as_ref()?)
    }

    fn pressure(&mut self, text: &mut Text, sample: &mut Sample) -> Option<()> {
        sample.cpu_stall_ns = stalls(self.text("/proc/pressure/cpu", text)?).0?;
        let (some, full) = stalls(self.text("/proc/pressure/memory", text)?);
        (sample.memory_stall_ns, sample.memory_full_stall_ns) = (some?, full?);
        let (some, full) = stalls(self.text("/proc/pressure/io", text)?);
        (sample.io_stall_ns, sample.io_full_stall_ns) = (some?, full?);
        Some(())
    }

    fn disks(&mut self, text: &mut Text, sample: &mut Sample) -> Option<()> {
        let text = self.text("/proc/diskstats", text)?;
        let devices = &mut self.disks;
        let [reads, read, writes, written] =
            disks_of(text, |name| devices.has_hardware("/sys/block", name));
        sample.io_reads = reads;
        sample.io_writes = writes;
        sample.io_read_bytes = read.saturating_mul(SECTOR);
        sample.io_write_bytes = written.saturating_mul(SECTOR);
        Some(())
    }

    /// Of the host's network namespace, which is that of process 1.
    fn network(&mut self, text: &mut Text, sample: &mut Sample) -> Option<()> {
        const PATH: &str = "/proc/1/net/dev";
        let text = self.text(PATH, text)?;
        let file = self.files.get(PATH)?.as_ref()?;
        self.network_namespace = Some(file.metadata().ok()?.ino());
        let devices = &mut self.interfaces;
        let hardware = Counts::of(text, |name| devices.has_hardware("/sys/class/net", name));
        // A machine in a container has none.
        let counts = hardware.or_else(|| Counts::of(text, |name| name != "lo"));
        counts.unwrap_or_default().put(sample);
        Some(())
    }
}

/// All but idle and iowait of `cpu  user nice system idle iowait irq softirq steal …`.
fn busy_ns(stat: &str) -> Option<u64> {
    let ticks = stat
        .lines()
        .next()?
        .split_whitespace()
        .skip(1)
        .take(8)
        .enumerate();
    let mut busy = 0u64;
    for (place, ticks) in ticks {
        if !matches!(place, 3 | 4) {
            busy = busy.saturating_add(ticks.parse().ok()?);
        }
    }
    busy.checked_mul(TICK_NS)
}

fn memory_of(meminfo: &str, sample: &mut Sample) -> Option<()> {
    let keys = ["MemTotal", "MemAvailable", "AnonPages", "Cached", "Buffers"];
    let bytes = values(meminfo, keys).map(|kib| kib?.checked_mul(1024));
    let [total, available, anon, cached, buffers] = bytes;
    sample.memory_limit_bytes = total?;
    sample.memory_bytes = total?.saturating_sub(available?);
    sample.anon_bytes = anon?;
    sample.file_bytes = cached?.checked_add(buffers?)?;
    Some(())
}

/// `0.57 0.61 0.70 2/318 5230`: load, threads that run and all threads.
fn load_of(loadavg: &str, sample: &mut Sample) -> Option<()> {
    let mut words = loadavg.split_whitespace();
    let (whole, hundredths) = words.next()?.split_once('.')?;
    let (whole, hundredths): (u64, u64) = (whole.parse().ok()?, hundredths.parse().ok()?);
    sample.load_hundredths = whole.checked_mul(100)?.checked_add(hundredths)?;
    let (_, threads) = words.nth(2)?.split_once('/')?;
    sample.pids = threads.parse().ok()?;
    Some(())
}

/// Reads, sectors read, writes, sectors written, of the disks that are wanted.
///
/// `254 0 vda reads merged sectors ms writes merged sectors …` (Documentation/admin-guide/iostats.rst)
fn disks_of(diskstats: &str, mut wanted: impl FnMut(&str) -> bool) -> [u64; 4] {
    let mut sum = [0u64; 4];
    for line in diskstats.lines() {
        let mut words = line.split_whitespace().skip(2);
        if !words.next().is_some_and(&mut wanted) {
            continue;
        }
        let mut next = |skipped: usize| words.nth(skipped)?.parse::<u64>().ok();
        for (sum, more) in sum.iter_mut().zip([next(0), next(1), next(1), next(1)]) {
            *sum = sum.saturating_add(more.unwrap_or(0));
        }
    }
    sum
}

fn faults_of(vmstat: &str, sample: &mut Sample) -> Option<()> {
    let [all, major] = values(vmstat, ["pgfault", "pgmajfault"]);
    sample.minor_faults = all?.saturating_sub(major?);
    sample.major_faults = major?;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_sampled() {
        let (mut host, mut text) = (Host::default(), Text::default());
        let first = host.sample(&mut text).unwrap();
        assert!(first.memory_bytes > 0 && first.memory_bytes < first.memory_limit_bytes);
        assert!(first.cpu_ns > 0 && first.pids > 0);
        for (bit, value) in [
            (
                SampleKnown::MEMORY_KINDS,
                first.anon_bytes.min(first.file_bytes),
            ),
            (SampleKnown::FAULTS, first.minor_faults),
        ] {
            assert!(first.known.has(bit) && value > 0, "{first:?}");
        }
        assert!(first.known.has(SampleKnown::LOAD), "{first:?}");
        // The files stay open, and what is read of them is of now.
        let page = std::hint::black_box(vec![1u8; 16 << 20]);
        let second = host.sample(&mut text).unwrap();
        assert!(second.minor_faults > first.minor_faults, "{}", page.len());
    }

    #[test]
    fn load_is_told_in_hundredths() {
        let mut sample = Sample::default();
        load_of("10.07 0.61 0.70 2/318 5230\n", &mut sample).unwrap();
        assert_eq!((sample.load_hundredths, sample.pids), (1_007, 318));
        assert_eq!(load_of("", &mut sample), None);
    }

    #[test]
    fn disks_are_summed() {
        let text = " 254 0 vda 1 9 2 9 3 9 4 9 0 0 0\n 254 1 vda1 1 9 2 9 3 9 4 9 0 0 0\n \
                    254 16 vdb 10 9 20 9 30 9 40 9 0 0 0\n 7 0 loop0 5\n";
        let disks = disks_of(text, |name| ["vda", "vdb"].contains(&name));
        assert_eq!(disks, [11, 22, 33, 44]);
    }

    #[test]
    fn idle_and_waiting_for_disks_is_no_use() {
        let stat = "cpu  1 2 3 1000 2000 4 5 6 7 8\ncpu0 1 2 3\n";
        assert_eq!(busy_ns(stat), Some(21 * TICK_NS));
        assert_eq!(busy_ns("cpu a b\n"), None);
    }
}
