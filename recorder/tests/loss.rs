//! Promise: what is lost is known exactly, ring by ring, however late user space comes.
//!
//! The recorder is stopped (SIGSTOP) while an actor of a container of its own makes a known number of
//! records on one CPU, and goes on afterwards: nothing is drained meanwhile, so what a ring holds and what
//! it loses follows from its size alone. Not vacuous: the numbers are predicted here, from the sizes, and
//! not taken from any counter.

#[path = "support/actor.rs"]
mod actor;
mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use actor::{Actor, Place};
use nix::{
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use recorder::{
    calls::RingSizes,
    control::{Reply, Request, ask},
};
use recorder_ebpf::{
    CALL_BYTES_MAX, CALL_PAGE_BYTES, CallRecord, PathCallRecord, SockCallRecord, probe,
};
use support::{Recording, Trace, read};
use trace_format::{Context, EventData};

/// The smallest rings for two CPUs.
const RING: u32 = 8192;
const CPU: u16 = 0;

/// A recorder with a control socket that can be held still.
struct Held {
    recording: Recording,
    socket: PathBuf,
}

impl Held {
    fn start(dir: &Path, places: &[&Place], args: &[&str]) -> Held {
        let socket = dir.join("control.sock");
        let control = format!("--control={}", socket.display());
        let mut all = vec![control.as_str()];
        for place in places {
            all.extend(["--container", &place.id]);
        }
        all.extend(args);
        let recording = Recording::start(&dir.join("trace.zst"), &all);
        Held { recording, socket }
    }

    /// When every ring was empty, with all in them that was there before. A mark is written after a round
    /// over the rings; the second one after a round that began when the first one was answered.
    fn drained(&self) -> u64 {
        let mark = || {
            let label = "drained".to_owned();
            let text = String::new();
            match ask(&self.socket, &Request::Mark { label, text }).unwrap() {
                Reply::Marked { boot_ns } => boot_ns,
                other => panic!("{other:?}"),
            }
        };
        mark();
        mark()
    }

    /// Nothing is drained while `act` runs.
    fn while_stopped(&self, act: impl FnOnce()) {
        let pid = Pid::from_raw(self.recording.pid() as i32);
        kill(pid, Signal::SIGSTOP).unwrap();
        let status = waitpid(pid, Some(WaitPidFlag::WUNTRACED)).unwrap();
        assert!(matches!(status, WaitStatus::Stopped(..)), "{status:?}");
        act();
        kill(pid, Signal::SIGCONT).unwrap();
    }
}

/// (CPU, probe) → numbers handed out = events + drops, and every number once.
fn exact(trace: &Trace) {
    let counted = trace.counted();
    let counters = trace.counters();
    drops(trace);
    for (pair, (seen, dropped)) in &counters {
        let events = counted.get(pair).copied().unwrap_or(0);
        assert_eq!(*seen, events + dropped, "CPU and probe {pair:?}");
    }
    assert!(counted.keys().all(|pair| counters.contains_key(pair)));
    let mut numbers = BTreeSet::new();
    for event in trace.events.iter().filter(|event| event.probe != 0) {
        let (seen, _) = counters[&(event.cpu, event.probe)];
        assert!(event.seq < seen, "{event:?} of {seen}");
        assert!(
            numbers.insert((event.cpu, event.probe, event.seq)),
            "twice: {event:?}"
        );
    }
}

/// How many events were dropped of each cgroup; together as many as in all.
fn drops(trace: &Trace) -> BTreeMap<u64, u64> {
    let drops = trace
        .context
        .iter()
        .rev()
        .find_map(|record| match &record.body {
            Context::Drops(drops) => Some(drops.counts.clone()),
            _ => None,
        });
    let drops: BTreeMap<u64, u64> = drops
        .unwrap_or_default()
        .iter()
        .map(|count| (count.cgroup_id, count.dropped))
        .collect();
    let dropped: u64 = trace.counters().values().map(|(_, dropped)| dropped).sum();
    assert_eq!(drops.values().sum::<u64>(), dropped);
    drops
}

/// Held by each test: a cgroup that another one makes is a record in every recorder's urgent ring.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `capacity` records fit into the ring that `act` fills.
fn loss_is_as_predicted(digit: u8, act: fn(), capacity: u64, is_it: fn(&EventData) -> bool) {
    let Some(place) = Place::make(digit) else {
        support::skip("no cgroup v2 hierarchy is mounted");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let mut actor = Actor::start(&place, CPU.into(), act);
    let args = ["--profile", "light", "--ring", &RING.to_string()];
    let held = Held::start(dir.path(), &[&place], &args);
    let times = [
        0,
        1,
        capacity / 2,
        capacity - 1,
        capacity,
        capacity + 1,
        8 * capacity,
    ];
    let mut spans = Vec::new();
    for times in times {
        let begin = held.drained();
        held.while_stopped(|| actor.act(times));
        spans.push((times, begin, held.drained()));
    }
    let path = held.recording.trace.clone();
    let (status, _) = held.recording.stop();
    assert_eq!(status.code(), Some(3), "it ends with loss");
    let trace = read(&path);
    exact(&trace);
    let (mut seen, mut dropped) = (0, 0);
    for (times, begin, end) in spans {
        let kept: Vec<u64> = trace
            .events
            .iter()
            .filter(|event| event.boot_ns > begin && event.boot_ns < end)
            .filter(|event| event.pid == actor.pid && is_it(&event.data))
            .map(|event| {
                assert_eq!((event.cpu, event.probe), (CPU, probe::SYS_EXIT));
                event.seq
            })
            .collect();
        // Those that came first; the numbers of the others are missing.
        let expected: Vec<u64> = (seen..seen + times.min(capacity)).collect();
        let differs = kept.iter().zip(&expected).find(|(a, b)| a != b);
        assert!(
            kept == expected,
            "{times} records into room for {capacity}: {} kept; the first other one than expected: {differs:?}",
            kept.len(),
        );
        seen += times;
        dropped += times.saturating_sub(capacity);
    }
    let of_calls: Vec<_> = trace
        .counters()
        .into_iter()
        .filter(|((_, id), counts)| *id == probe::SYS_EXIT && counts.0 > 0)
        .collect();
    assert_eq!(of_calls, [((CPU, probe::SYS_EXIT), (seen, dropped))]);
    // What the trace says on the way never says more.
    let told = trace
        .context
        .iter()
        .filter_map(|record| match &record.body {
            Context::Loss(loss) => Some(loss.counts.iter().map(|count| count.dropped).sum::<u64>()),
            _ => None,
        });
    let told: Vec<u64> = told.collect();
    assert!(
        told.is_sorted() && told.last() == Some(&dropped),
        "{told:?}"
    );
}

/// Records of `fixed` and `data` bytes in a ring buffer: each has a header of 8 bytes and ends at a
/// multiple of 8, and one byte stays free (kernel/bpf/ringbuf.c, __bpf_ringbuf_reserve).
fn fit(ring: u32, fixed: usize, data: usize) -> u64 {
    u64::from(ring - 1) / ((8 + fixed + data) as u64).next_multiple_of(8)
}

fn sizes() -> RingSizes {
    RingSizes::new(Some(RING)).unwrap()
}

#[test]
fn calls_that_find_no_room_are_counted() {
    needs_kernel!();
    let _alone = alone();
    const ARITY: usize = 1;
    let ring = u64::from(sizes().call_pages) * CALL_PAGE_BYTES as u64;
    let record = (size_of::<CallRecord>() + ARITY * 8) as u64;
    // There must be room for the largest, whatever the next one is.
    let capacity = (ring - CALL_BYTES_MAX as u64) / record + 1;
    fn act() {
        // SAFETY: flags that do not exist: refused.
        unsafe { libc::syscall(libc::SYS_userfaultfd, -1) };
    }
    loss_is_as_predicted(
        1,
        act,
        capacity,
        |data| matches!(data, EventData::Syscall(call) if call.nr == libc::SYS_userfaultfd as u32),
    );
}

const MISSING: &std::ffi::CStr = c"/no/such/directory/of-the-test-of-loss";

fn unlink_nothing() {
    // SAFETY: a string that ends.
    unsafe { libc::syscall(libc::SYS_unlink, MISSING.as_ptr()) };
}

#[test]
fn paths_that_find_no_room_are_counted() {
    needs_kernel!();
    let _alone = alone();
    let path = MISSING.to_bytes_with_nul().len();
    loss_is_as_predicted(
        2,
        unlink_nothing,
        fit(sizes().bulk_bytes, size_of::<PathCallRecord>(), path),
        |data| matches!(data, EventData::PathCall(call) if call.path.to_vec() == MISSING.to_bytes()),
    );
}

#[test]
fn urgent_records_that_find_no_room_are_counted() {
    needs_kernel!();
    let _alone = alone();
    fn act() {
        const NO_TYPE: i32 = 0xf;
        // SAFETY: a type that does not exist: refused.
        unsafe { libc::syscall(libc::SYS_socket, libc::AF_INET, NO_TYPE, 0) };
    }
    loss_is_as_predicted(
        3,
        act,
        fit(sizes().urgent_bytes, size_of::<SockCallRecord>(), 0),
        |data| matches!(data, EventData::SockCall(call) if call.nr == libc::SYS_socket as u32 && call.ret < 0),
    );
}

/// Promise: a container that floods the ring of files cannot silence what another one starts, connects to
/// or does to the sensitive files: they have a ring of their own.
#[test]
fn a_flood_of_paths_silences_no_other_container() {
    needs_kernel!();
    let _alone = alone();
    const TIMES: usize = 5;
    let (Some(loud), Some(quiet)) = (Place::make(4), Place::make(5)) else {
        support::skip("no cgroup v2 hierarchy is mounted");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let mut flood = Actor::start(&loud, 0, unlink_nothing);
    let mut other = Actor::start(&quiet, 0, touch_connect_and_exec);
    let args = ["--profile", "standard", "--ring", &RING.to_string()];
    let held = Held::start(dir.path(), &[&loud, &quiet], &args);
    held.drained();
    held.while_stopped(|| {
        flood.act(10_000);
        other.act(TIMES as u64);
        flood.act(10_000);
    });
    held.drained();
    let path = held.recording.trace.clone();
    held.recording.stop();
    let trace = read(&path);
    exact(&trace);
    let drops = drops(&trace);
    assert!(drops[&loud.cgroup_id()] > 10_000, "{drops:?}");
    // The libraries that its program opened.
    let of_quiet = drops.get(&quiet.cgroup_id()).copied().unwrap_or(0);
    assert!(of_quiet < 1_000, "{drops:?}");
    let named = trace.context.iter().any(|record| {
        matches!(&record.body, Context::Container(it) if it.cgroup_id == loud.cgroup_id() && it.id == loud.id)
    });
    assert!(named, "the trace says who that is");
    let of = |pid: u32| trace.events.iter().filter(move |event| event.pid == pid);
    let flooded = of(flood.pid).filter(|event| matches!(event.data, EventData::PathCall(_)));
    assert!(flooded.count() < 1_000, "the flood did not fill the ring");
    let opens = of(other.pid).filter(|event| {
        matches!(&event.data, EventData::Open(open) if open.path.to_string_lossy() == "/etc/passwd")
    });
    assert_eq!(opens.count(), TIMES);
    let unlinks = of(other.pid).filter(|event| {
        matches!(&event.data, EventData::PathCall(call) if call.path.to_string_lossy() == "/nowhere/.ssh/config")
    });
    assert_eq!(unlinks.count(), TIMES);
    let connects = of(other.pid).filter(|event| {
        matches!(&event.data, EventData::SockCall(call) if call.nr == libc::SYS_connect as u32)
    });
    assert_eq!(connects.count(), TIMES);
    let children: Vec<u32> = of(other.pid)
        .filter_map(|event| match &event.data {
            EventData::Fork(fork) => Some(fork.child_pid),
            _ => None,
        })
        .collect();
    assert_eq!(children.len(), TIMES);
    for child in children {
        let execs = of(child).filter(|event| matches!(event.data, EventData::Exec(_)));
        let exits = of(child).filter(|event| matches!(event.data, EventData::Exit(_)));
        assert_eq!((execs.count(), exits.count()), (1, 1));
    }
}

fn touch_connect_and_exec() {
    const PROGRAM: &std::ffi::CStr = c"/bin/true";
    // SAFETY: system calls on strings that end and memory of this process; the child only makes calls, too.
    unsafe {
        libc::close(libc::open(c"/etc/passwd".as_ptr(), libc::O_RDONLY));
        libc::unlink(c"/nowhere/.ssh/config".as_ptr());
        // tcpmux, which nobody runs.
        connect(1);
        let child = libc::fork();
        if child == 0 {
            let args = [PROGRAM.as_ptr(), std::ptr::null()];
            libc::execv(PROGRAM.as_ptr(), args.as_ptr());
            libc::_exit(1);
        }
        libc::waitpid(child, std::ptr::null_mut(), 0);
    }
}

/// To a port of this host, and closes again.
unsafe fn connect(port: u16) {
    // SAFETY: an address on the stack, as long as said.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0);
        let to = loopback(port);
        libc::connect(socket, (&raw const to).cast(), size_of_val(&to) as u32);
        libc::close(socket);
    }
}

fn loopback(port: u16) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes([127, 0, 0, 1]),
        },
        sin_zero: [0; 8],
    }
}

/// Promise: programs that run in interrupts, over one that was just running for a system call, upset no
/// sequence. A timer fires every 100 µs and its signal is sent in its interrupt; connections change their
/// states in softirq; meanwhile the process calls without a pause, so most interrupts come while a call
/// is entered, runs, or is just recorded at its exit.
#[test]
fn probes_that_interrupt_each_other_upset_no_sequence() {
    needs_kernel!();
    let _alone = alone();
    let Some(place) = Place::make(6) else {
        support::skip("no cgroup v2 hierarchy is mounted");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let mut actor = Actor::start(&place, 0, call_and_be_interrupted);
    let held = Held::start(dir.path(), &[&place], &["--profile", "full"]);
    actor.act(20);
    held.drained();
    let path = held.recording.trace.clone();
    held.recording.stop();
    let trace = read(&path);
    exact(&trace);
    let times = |is_it: fn(&EventData) -> bool| {
        let of = trace.events.iter().filter(|event| is_it(&event.data));
        of.count()
    };
    let calls = times(|data| matches!(data, EventData::Syscall(_)));
    let alarms = times(
        |data| matches!(data, EventData::Signal(signal) if signal.signal == libc::SIGALRM as u32),
    );
    let states = times(|data| matches!(data, EventData::TcpState(_)));
    assert!(
        calls > 20_000 && alarms > 100 && states > 1_000,
        "{calls} {alarms} {states}"
    );
}

/// Some thousand calls and a hundred connections under a timer.
fn call_and_be_interrupted() {
    extern "C" fn handler(_: i32) {}
    const TIMER_US: i64 = 100;
    let every = libc::timeval {
        tv_sec: 0,
        tv_usec: TIMER_US,
    };
    let timer = libc::itimerval {
        it_interval: every,
        it_value: every,
    };
    // SAFETY: system calls on memory of this process; the handler does nothing.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut());
        libc::setitimer(0, &raw const timer, std::ptr::null_mut());
        let listener = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0);
        let mut at = loopback(0);
        let mut len = size_of_val(&at) as u32;
        libc::bind(listener, (&raw const at).cast(), len);
        libc::listen(listener, 100);
        libc::getsockname(listener, (&raw mut at).cast(), &raw mut len);
        for _ in 0..100 {
            connect(u16::from_be(at.sin_port));
            libc::close(libc::accept(
                listener,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
            ));
            for _ in 0..20 {
                libc::syscall(libc::SYS_getppid);
            }
        }
        libc::close(listener);
        libc::setitimer(0, &std::mem::zeroed(), std::ptr::null_mut());
    }
}
