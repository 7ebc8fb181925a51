//! Promise: what a container uses is sampled as its cgroup counts it, v2 or v1, and what a process used
//! stands in its last exit event as the kernel tells its parent.
//!
//! A container with limits runs this program again ([`work`]), which burns CPU and touches a known amount
//! of memory. A recorder that reads a wrong file or key, or forgets threads that ended before, fails.

mod support;

use std::{
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use support::{Recording, read};
use trace_format::{
    Event, EventData,
    event::{Sample, SampleKnown, Usage},
};

const MIB: u64 = 1 << 20;
const PAGE: u64 = 4_096;
/// What the workload touches, page by page, and writes to a file.
const TOUCHED: u64 = 48 * MIB;
const WRITTEN: u64 = 8 * MIB;
/// Of the container.
const LIMIT: u64 = 256 * MIB;
const QUOTA_US: u64 = 20_000;
const PERIOD_US: u64 = 100_000;
/// Set in the workload: a directory, and what to do.
const WORK: &str = "TRAILCAM_TEST_WORK";

/// Two recordings of the whole machine at once would have each other's events.
static MACHINE: Mutex<()> = Mutex::new(());

/// No test: the workload, in a process of its own.
#[test]
fn work() {
    let Some(dir) = std::env::var_os(WORK) else {
        return;
    };
    touch();
    if Path::new(&dir) == Path::new("threads") {
        touch();
        // One that is long gone at the end, with memory of its own, …
        thread::spawn(|| {
            burn(Duration::from_millis(200));
            touch();
        })
        .join()
        .unwrap();
        // … and those that run when the process ends.
        for _ in 0..3 {
            thread::spawn(|| burn(Duration::from_secs(60)));
        }
        burn(Duration::from_millis(300));
    } else {
        let file = Path::new(&dir).join("written");
        fs::write(file, vec![7u8; WRITTEN as usize]).unwrap();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(3_500) {
            burn(Duration::from_millis(1));
        }
    }
    std::process::exit(0);
}

/// Pages of 4 KiB, each touched once.
fn touch() {
    // SAFETY: memory of our own, as long as said; it stays until the process ends.
    unsafe {
        let at = libc::mmap(
            std::ptr::null_mut(),
            TOUCHED as usize,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        assert_ne!(at, libc::MAP_FAILED);
        libc::madvise(at, TOUCHED as usize, libc::MADV_NOHUGEPAGE);
        for page in (0..TOUCHED).step_by(PAGE as usize) {
            at.cast::<u8>().add(page as usize).write_volatile(1);
        }
    }
}

/// CPU time of this thread.
fn burn(time: Duration) {
    let used = || nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
    let end = Duration::from(used()) + time;
    while Duration::from(used()) < end {}
}

fn workload(what: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "work", "--nocapture"])
        .env(WORK, what)
        .stdout(Stdio::null());
    command
}

/// A container's cgroup, in each hierarchy that has a controller of resources.
struct Limited {
    dirs: Vec<PathBuf>,
    /// The one whose ids are told.
    told: PathBuf,
    throttles: bool,
}

impl Limited {
    fn make() -> Option<Limited> {
        const CONTROLLERS: [&str; 5] = ["cpu", "cpuacct", "memory", "pids", "blkio"];
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let id = format!("7e{:062x}", std::process::id());
        let parent = format!("trailcam-limited-{}", std::process::id());
        let (mut dirs, mut told) = (Vec::new(), None);
        for line in mounts.lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let root = PathBuf::from(fields[1]);
            let second = fields[2] == "cgroup2";
            let first = fields[2] == "cgroup"
                && fields[3].split(',').any(|name| CONTROLLERS.contains(&name));
            if !first && !second {
                continue;
            }
            let dir = root.join(&parent).join(&id);
            fs::create_dir_all(&dir).unwrap();
            if second {
                for controller in ["+cpu", "+memory", "+pids", "+io"] {
                    for above in [root.clone(), root.join(&parent)] {
                        // One that v1 has cannot be switched on here.
                        let _ = fs::write(above.join("cgroup.subtree_control"), controller);
                    }
                }
            }
            // Ids are v2's, and where there is none those of the pids controller's hierarchy.
            if second || told.is_none() && fields[3].split(',').any(|name| name == "pids") {
                told = Some(dir.clone());
            }
            dirs.push(dir);
        }
        let told = told?;
        let limit = |file: &str, value: String| {
            dirs.iter()
                .any(|dir| fs::write(dir.join(file), &value).is_ok())
        };
        let limited = limit("memory.max", LIMIT.to_string())
            || limit("memory.limit_in_bytes", LIMIT.to_string());
        let throttles = limit("cpu.max", format!("{QUOTA_US} {PERIOD_US}"))
            || limit("cpu.cfs_quota_us", QUOTA_US.to_string());
        let made = Limited {
            dirs,
            told,
            throttles,
        };
        limited.then_some(made)
    }

    fn id(&self) -> u64 {
        std::os::unix::fs::MetadataExt::ino(&fs::metadata(&self.told).unwrap())
    }

    /// Runs in it, and in a network of its own.
    fn run(&self, mut command: Command) -> Child {
        let dirs = self.dirs.clone();
        // SAFETY: the child writes to files and makes a system call; the names are made before the fork.
        unsafe {
            command.pre_exec(move || {
                for dir in &dirs {
                    fs::write(dir.join("cgroup.procs"), "0")?;
                }
                match libc::unshare(libc::CLONE_NEWNET) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            });
        }
        command.spawn().unwrap()
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        for dir in &self.dirs {
            for _ in 0..100 {
                if fs::remove_dir(dir).is_ok() {
                    break;
                }
                thread::sleep(Duration::from_millis(20));
            }
            let _ = fs::remove_dir(dir.parent().unwrap());
        }
    }
}

fn samples(events: &[Event], cgroup_id: u64) -> Vec<Sample> {
    events
        .iter()
        .filter_map(|event| match &event.data {
            EventData::Sample(sample) if event.cgroup_id == cgroup_id => Some(**sample),
            _ => None,
        })
        .collect()
}

#[test]
fn a_container_is_sampled_as_its_cgroup_counts_it() {
    needs_kernel!();
    let _machine = MACHINE.lock();
    let dir = tempfile::tempdir().unwrap();
    let recording = Recording::start(&dir.path().join("trace.zst"), &["--profile", "light"]);
    let Some(limited) = Limited::make() else {
        support::skip("no hierarchy of cgroups here can limit memory");
        return;
    };
    let id = limited.id();
    let mut child = limited.run(workload(dir.path().to_str().unwrap()));
    assert!(child.wait().unwrap().success());
    let path = recording.trace.clone();
    recording.stop();
    let trace = read(&path);
    let all = samples(&trace.events, id);
    assert!(all.len() >= 2, "{all:?}");
    for sample in &all {
        assert_eq!(sample.memory_limit_bytes, LIMIT, "{sample:?}");
        assert!(
            sample.anon_bytes + sample.file_bytes <= sample.memory_bytes + 4 * MIB,
            "{sample:?}"
        );
    }
    for pair in all.windows(2) {
        assert!(
            pair[0].cpu_ns <= pair[1].cpu_ns && pair[0].minor_faults <= pair[1].minor_faults,
            "cumulative: {pair:?}"
        );
    }
    // While it burned.
    let sample = all.iter().max_by_key(|sample| sample.anon_bytes).unwrap();
    for bit in [
        SampleKnown::MEMORY,
        SampleKnown::PIDS,
        SampleKnown::MEMORY_KINDS,
        SampleKnown::FAULTS,
        SampleKnown::NETWORK,
    ] {
        assert!(sample.known.has(bit), "{bit}: {sample:?}");
    }
    let pages = TOUCHED / PAGE;
    assert!(
        (TOUCHED - MIB..TOUCHED + 16 * MIB).contains(&sample.anon_bytes),
        "{sample:?}"
    );
    assert!(
        (pages - 256..2 * pages).contains(&sample.minor_faults),
        "{sample:?}"
    );
    let last = all.last().unwrap();
    assert!(last.file_bytes >= WRITTEN - MIB, "{last:?}");
    assert!(last.cpu_ns > 100_000_000 && sample.pids >= 1, "{all:?}");
    // Its network has nothing but a loopback interface.
    assert_eq!((last.net_received_bytes, last.net_sent_bytes), (0, 0));
    let has = |file: &str| limited.dirs.iter().any(|dir| dir.join(file).exists());
    if limited.throttles {
        assert!(last.known.has(SampleKnown::THROTTLED), "{last:?}");
        assert!(last.throttled_ns > 300_000_000, "{last:?}");
    }
    let peak = has("memory.peak") || has("memory.max_usage_in_bytes");
    assert_eq!(last.known.has(SampleKnown::MEMORY_PEAK), peak, "{last:?}");
    for sample in all.iter().filter(|_| peak) {
        // Read one after the other.
        assert!(
            sample.memory_peak_bytes + MIB >= sample.memory_bytes,
            "{sample:?}"
        );
    }
    assert_eq!(
        last.known.has(SampleKnown::PRESSURE),
        fs::read(limited.told.join("cpu.pressure")).is_ok(),
        "{last:?}"
    );
    host(&samples(&trace.events, 0));
}

fn host(all: &[Sample]) {
    assert!(all.len() >= 2);
    let there = |path: &str| fs::read(path).is_ok();
    for sample in all {
        for (bit, expected) in [
            (SampleKnown::MEMORY, true),
            (SampleKnown::MEMORY_KINDS, true),
            (SampleKnown::PIDS, true),
            (SampleKnown::LOAD, true),
            (SampleKnown::IO, there("/proc/diskstats")),
            (SampleKnown::FAULTS, there("/proc/vmstat")),
            (SampleKnown::NETWORK, there("/proc/1/net/dev")),
            (SampleKnown::PRESSURE, there("/proc/pressure/io")),
            // Of a cgroup only.
            (SampleKnown::THROTTLED, false),
            (SampleKnown::MEMORY_PEAK, false),
        ] {
            assert_eq!(sample.known.has(bit), expected, "{bit}: {sample:?}");
        }
        assert!(sample.anon_bytes > 0 && sample.file_bytes > 0, "{sample:?}");
    }
    let (first, last) = (all[0], all[all.len() - 1]);
    assert!(
        last.minor_faults - first.minor_faults >= TOUCHED / PAGE / 2,
        "{first:?} {last:?}"
    );
}

/// What wait4 says of a child, and its pid.
fn waited(child: Child) -> (u32, Usage) {
    let pid = child.id();
    let mut status = 0;
    // SAFETY: all zeros is a value of it; the kernel fills it.
    let mut told: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: our own child, and room for what is told.
    let ended = unsafe { libc::wait4(pid as i32, &raw mut status, 0, &raw mut told) };
    assert_eq!((ended, status), (pid as i32, 0));
    let ns = |time: libc::timeval| time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1_000;
    let usage = Usage {
        user_ns: ns(told.ru_utime),
        system_ns: ns(told.ru_stime),
        max_rss_bytes: told.ru_maxrss as u64 * 1_024,
        minor_faults: told.ru_minflt as u64,
        major_faults: told.ru_majflt as u64,
    };
    (pid, usage)
}

#[test]
fn an_exit_tells_what_the_process_used_as_wait4_does() {
    needs_kernel!();
    let _machine = MACHINE.lock();
    let dir = tempfile::tempdir().unwrap();
    let recording = Recording::start(&dir.path().join("trace.zst"), &["--profile", "light"]);
    let mut told = Vec::new();
    for _ in 0..5 {
        told.push(waited(workload("threads").spawn().unwrap()));
    }
    let path = recording.trace.clone();
    recording.stop();
    let trace = read(&path);
    for (pid, waited) in told {
        let exits: Vec<_> = trace
            .events
            .iter()
            .filter(|event| event.pid == pid)
            .filter_map(|event| match event.data {
                EventData::Exit(exit) => Some((exit.last_thread, exit.usage.expect("is known"))),
                _ => None,
            })
            .collect();
        let whole: Vec<&Usage> = exits
            .iter()
            .filter(|(last, _)| *last)
            .map(|(_, used)| used)
            .collect();
        let [whole] = whole[..] else {
            panic!("{exits:?}");
        };
        let near = |a: u64, b: u64, by: u64| a.abs_diff(b) <= by;
        // Ticks of the threads that ended at the same time, and what it takes to free the memory.
        let cpu = |used: &Usage| used.user_ns + used.system_ns;
        assert!(
            near(cpu(whole), cpu(&waited), 80_000_000),
            "{whole:?} {waited:?}"
        );
        assert!(cpu(whole) >= 480_000_000, "{whole:?} {waited:?}");
        // The kernel counts resident pages per CPU, in batches.
        assert!(
            near(whole.max_rss_bytes, waited.max_rss_bytes, 4 * MIB),
            "{whole:?} {waited:?}"
        );
        assert!(whole.max_rss_bytes >= 3 * TOUCHED, "{whole:?}");
        assert!(
            near(whole.minor_faults, waited.minor_faults, 16)
                && near(whole.major_faults, waited.major_faults, 16),
            "{whole:?} {waited:?}"
        );
        assert!(whole.minor_faults >= 3 * TOUCHED / PAGE, "{whole:?}");
        // The thread that was long gone has what it used itself, and no more.
        let gone = exits.iter().filter(|(last, used)| {
            !last
                && used.max_rss_bytes == 0
                && (150_000_000..whole.user_ns + whole.system_ns).contains(&cpu(used))
                && (TOUCHED / PAGE..TOUCHED / PAGE + 2_000).contains(&used.minor_faults)
        });
        assert_eq!(gone.count(), 1, "{exits:?}");
    }
}
