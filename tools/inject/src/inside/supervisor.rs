//! `appd`: the first process of a container. Starts the normal workload, then does as ordered.
//!
//! Jobs of the normal workload and acts are started alike: [`Supervisor::start`] forks a task into
//! a process group of its own, without exec. The supervisor has one thread, so that a forked task
//! can use everything. It ends, and with it every process of its pid namespace, when its stdin
//! closes (the injector is gone), when it is told to, or when its lifetime is over.

use std::{
    collections::HashMap,
    io::{self, Read, Write},
    net::Ipv4Addr,
    os::{
        fd::{AsFd, IntoRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::OFlag,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal, killpg},
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{ForkResult, Pid, fork, pipe2, setpgid},
};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{guard, job, workload};
use crate::{
    act::{self, Ctx, Shared, Surroundings},
    frame::{Ending, FRAME_BYTES, LINE_BYTES_MAX, Moment, Order, Said, cut},
};

/// Tasks at once: far below the container's pids limit; more than a campaign gives one container.
const TASKS_MAX: usize = 8;
/// A storm that has ended holds the container's pids until its last process is reaped: a task waits that
/// long for room.
const ROOM_WAIT: Duration = Duration::from_secs(2);
const ROOM_PAUSE: Duration = Duration::from_millis(20);

/// How long the first order may take to come.
const FIRST_ORDER_MAX: Duration = Duration::from_secs(60);

/// A task that is still there this long after its time is killed.
const TASK_GRACE: Duration = Duration::from_secs(8);

/// A job that takes longer is killed: it reads one small table.
const JOB_TIME: Duration = Duration::from_secs(5);

/// Pause between two jobs, in milliseconds.
const JOB_PAUSE_MS: std::ops::Range<u64> = 1500..4500;

/// A part of the workload that dies more often than this is left dead (it is then out of memory).
const RESTARTS_MAX: u32 = 10;

/// What a task may report. Fits a pipe's buffer, so that the write never blocks.
const DETAIL_BYTES_MAX: usize = 256;

enum Work {
    Job {
        seed: u64,
    },
    Act {
        task: u64,
        class: u64,
        intensity: f64,
        duration: Duration,
        seed: u64,
    },
}

struct Task {
    /// The order's number; a job has none.
    task: Option<u64>,
    detail: OwnedFd,
    deadline: Instant,
    overran: bool,
}

struct Part {
    name: &'static str,
    args: Vec<String>,
    child: Option<Child>,
    restarts: u32,
}

struct Supervisor {
    signals: SignalFd,
    tasks: HashMap<i32, Task>,
    parts: Vec<Part>,
    rng: StdRng,
    next_job: Option<Instant>,
    ends_at: Instant,
    surroundings: Surroundings,
}

pub fn main() -> i32 {
    match supervise() {
        Ok(()) => 0,
        Err(error) => {
            say(&Said::Fatal(error.to_string()));
            1
        }
    }
}

fn say(said: &Said) {
    let mut line = format!("{said}\n");
    if line.len() > LINE_BYTES_MAX {
        line.truncate(cut(&line, LINE_BYTES_MAX - 1).len());
        line.push('\n');
    }
    // Nobody listens any more: the closed stdin ends the supervisor.
    let _ = io::stdout().write_all(line.as_bytes());
}

fn supervise() -> io::Result<()> {
    let mut mask = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT] {
        mask.add(signal);
    }
    mask.thread_block()?;
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let namespaces = guard::namespaces("self").map_err(io::Error::other)?;
    say(&Said::Hello { namespaces });
    let waits_until = Instant::now() + FIRST_ORDER_MAX;
    while !readable(waits_until)? {
        if Instant::now() >= waits_until {
            return Err(io::Error::other(format!(
                "no order came within {FIRST_ORDER_MAX:?}"
            )));
        }
    }
    let Some(Order::Begin {
        seed,
        lifetime_ms,
        workload,
        pace_milli,
        memory_bytes,
        network,
        shared,
    }) = next_order()?
    else {
        return Ok(());
    };
    let now = Instant::now();
    let mut supervisor = Supervisor {
        signals,
        tasks: HashMap::new(),
        parts: Vec::new(),
        rng: StdRng::seed_from_u64(seed),
        next_job: Some(now),
        ends_at: now + Duration::from_millis(lifetime_ms),
        surroundings: Surroundings {
            memory_bytes,
            network: u32::try_from(network)
                .ok()
                .filter(|&network| network != 0)
                .map(Ipv4Addr::from_bits),
            shared: Shared::from_number(shared),
        },
    };
    let guest = workload == 0;
    if guest {
        // The container has a workload of its own, and this program is a stranger in it.
        supervisor.next_job = None;
    } else {
        let parts = workload::parts(workload, pace_milli, seed, supervisor.surroundings.shared)
            .ok_or_else(|| io::Error::other(format!("workload number {workload} is unknown")))?;
        supervisor.parts = parts
            .into_iter()
            .map(|(name, args)| Part {
                name,
                args,
                child: None,
                restarts: 0,
            })
            .collect();
    }
    supervisor.parts.iter_mut().try_for_each(Part::start)?;
    say(&Said::Ready);
    let result = supervisor.attend();
    supervisor.end();
    if guest && let Ok(own) = std::fs::read_link("/proc/self/exe") {
        let _ = std::fs::remove_file(own);
    }
    result
}

/// Waits for an order until then; a signal or a closed stdin count as one.
fn readable(until: Instant) -> io::Result<bool> {
    let stdin = io::stdin();
    let mut fds = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    Ok(poll(&mut fds, timeout(until))? > 0)
}

fn timeout(until: Instant) -> PollTimeout {
    // Rounded up: waking a little early would spin.
    let left = until.saturating_duration_since(Instant::now()).as_millis() + 1;
    PollTimeout::try_from(left.min(60_000) as u32).unwrap_or(PollTimeout::MAX)
}

/// `None`: stdin is closed, or the order is to stop.
fn next_order() -> io::Result<Option<Order>> {
    let mut frame = [0; FRAME_BYTES];
    // Unbuffered, so that poll tells the truth about what is left.
    let mut stdin = super::raw_stdin();
    match stdin.read_exact(&mut frame) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    match Order::decode(&frame).map_err(io::Error::other)? {
        Order::Stop => Ok(None),
        order => Ok(Some(order)),
    }
}

impl Part {
    fn start(&mut self) -> io::Result<()> {
        let child = Command::new(format!("/usr/bin/{}", self.name))
            // Seen under its short name, as a program that was found in PATH.
            .arg0(self.name)
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| io::Error::other(format!("cannot start {}: {error}", self.name)))?;
        self.child = Some(child);
        Ok(())
    }
}

/// Why a task could not be started.
struct Refused {
    errno: Option<Errno>,
    reason: String,
}

impl Supervisor {
    fn attend(&mut self) -> io::Result<()> {
        loop {
            let now = Instant::now();
            if now >= self.ends_at {
                return Ok(());
            }
            if self.next_job.is_some_and(|at| now >= at) {
                let seed = self.rng.random();
                self.start(Work::Job { seed });
                self.next_job =
                    Some(now + Duration::from_millis(self.rng.random_range(JOB_PAUSE_MS)));
            }
            self.kill_overdue(now);
            let until = self
                .tasks
                .values()
                .filter(|task| !task.overran)
                .map(|task| task.deadline)
                .chain(self.next_job)
                .chain([self.ends_at])
                .min()
                .unwrap_or(now);
            let (ordered, signalled) = self.wait(until)?;
            if signalled && !self.heed_signals()? {
                return Ok(());
            }
            if ordered {
                match next_order()? {
                    None => return Ok(()),
                    Some(Order::Act {
                        task,
                        class,
                        intensity_milli,
                        duration_ms,
                        seed,
                    }) => {
                        self.start(Work::Act {
                            task,
                            class,
                            intensity: intensity_milli as f64 / 1000.0,
                            duration: Duration::from_millis(duration_ms),
                            seed,
                        });
                    }
                    Some(_) => return Err(io::Error::other("told to begin twice")),
                }
            }
        }
    }

    fn wait(&self, until: Instant) -> io::Result<(bool, bool)> {
        let stdin = io::stdin();
        let mut fds = [
            PollFd::new(stdin.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, timeout(until)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let happened = |fd: &PollFd| fd.revents().is_some_and(|events| !events.is_empty());
        Ok((happened(&fds[0]), happened(&fds[1])))
    }

    /// False: told to end.
    fn heed_signals(&mut self) -> io::Result<bool> {
        while let Some(info) = self.signals.read_signal()? {
            if info.ssi_signo != Signal::SIGCHLD as u32 {
                return Ok(false);
            }
        }
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => self.ended(pid, Ending::Exit(code)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => {
                    self.ended(pid, Ending::Signal(signal as i32))
                }
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(true),
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn ended(&mut self, pid: Pid, how: Ending) {
        let at = Moment::now();
        if let Some(task) = self.tasks.remove(&pid.as_raw()) {
            // Whatever it left behind belongs to its group.
            let _ = killpg(pid, Signal::SIGKILL);
            let Some(number) = task.task else { return };
            let mut detail = [0; DETAIL_BYTES_MAX];
            let length = nix::unistd::read(&task.detail, &mut detail).unwrap_or(0);
            say(&Said::End {
                task: number,
                pid: pid.as_raw() as u32,
                at,
                how: if task.overran { Ending::Overran } else { how },
                detail: String::from_utf8_lossy(&detail[..length]).into_owned(),
            });
            return;
        }
        let of = |part: &&mut Part| {
            part.child
                .as_ref()
                .is_some_and(|child| child.id() as i32 == pid.as_raw())
        };
        if let Some(part) = self.parts.iter_mut().find(of) {
            part.child = None;
            part.restarts += 1;
            if part.restarts <= RESTARTS_MAX
                && let Err(error) = part.start()
            {
                say(&Said::Other(error.to_string()));
            }
        }
    }

    fn kill_overdue(&mut self, now: Instant) {
        for (&pid, task) in &mut self.tasks {
            if now >= task.deadline && !task.overran {
                task.overran = true;
                let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }

    /// The one way in which anything is started on behalf of somebody.
    fn start(&mut self, work: Work) {
        let (task, time) = match work {
            Work::Job { .. } => (None, JOB_TIME),
            Work::Act { task, duration, .. } => (Some(task), duration + TASK_GRACE),
        };
        let patience = Instant::now() + ROOM_WAIT;
        // Before the fork: nothing that the task does lies before its start, however late this process runs again.
        let mut at = Moment::now();
        let mut forked = self.fork(&work);
        while forked
            .as_ref()
            .is_err_and(|refused| refused.errno == Some(Errno::EAGAIN))
            && Instant::now() < patience
        {
            std::thread::sleep(ROOM_PAUSE);
            if !matches!(self.heed_signals(), Ok(true)) {
                self.ends_at = Instant::now();
                break;
            }
            at = Moment::now();
            forked = self.fork(&work);
        }
        match forked {
            Ok((pid, detail)) => {
                let deadline = Instant::now() + time;
                self.tasks.insert(
                    pid.as_raw(),
                    Task {
                        task,
                        detail,
                        deadline,
                        overran: false,
                    },
                );
                if let Some(task) = task {
                    say(&Said::Start {
                        task,
                        pid: pid.as_raw() as u32,
                        at,
                    });
                }
            }
            Err(refused) => {
                if let Some(task) = task {
                    say(&Said::End {
                        task,
                        pid: 0,
                        at,
                        how: Ending::Refused,
                        detail: refused.reason,
                    });
                }
            }
        }
    }

    fn fork(&self, work: &Work) -> Result<(Pid, OwnedFd), Refused> {
        if self.tasks.len() >= TASKS_MAX {
            return Err(Refused {
                errno: None,
                reason: format!("{TASKS_MAX} tasks run already"),
            });
        }
        let cannot = |what: &str, errno: Errno| Refused {
            errno: Some(errno),
            reason: format!("cannot {what}: {errno}"),
        };
        let (read, write) =
            pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).map_err(|e| cannot("make a pipe", e))?;
        // SAFETY: the supervisor has one thread, so the child may do whatever a process may.
        match unsafe { fork() }.map_err(|e| cannot("fork", e))? {
            ForkResult::Parent { child } => {
                // In both processes: whoever comes first.
                let _ = setpgid(child, child);
                Ok((child, read))
            }
            ForkResult::Child => {
                let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
                let _ = SigSet::all().thread_unblock();
                turn_from_orders();
                drop(read);
                let code = in_task(work, self.surroundings, &write);
                // SAFETY: ends the process at once, without the parent's buffers or destructors.
                unsafe { libc::_exit(code) }
            }
        }
    }

    fn end(&mut self) {
        for &pid in self.tasks.keys() {
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
        for part in &mut self.parts {
            if let Some(child) = &mut part.child {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

/// The orders and answers are none of a task's business.
fn turn_from_orders() {
    let Ok(null) = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")
    else {
        // SAFETY: ends the process at once, without the parent's buffers or destructors.
        unsafe { libc::_exit(1) }
    };
    let null = null.into_raw_fd();
    for fd in [0, 1] {
        // SAFETY: both descriptors belong to this process, which has one thread.
        unsafe { libc::dup2(null, fd) };
    }
}

fn in_task(work: &Work, surroundings: Surroundings, detail: &OwnedFd) -> i32 {
    let result = match *work {
        Work::Job { seed } => job::run(seed).map_err(|error| error.to_string()),
        Work::Act {
            class,
            intensity,
            duration,
            seed,
            ..
        } => match act::by_number(class) {
            Some(act) => {
                let mut ctx = Ctx::new(intensity, duration, seed, surroundings);
                act::perform(act, &mut ctx).map_err(|error| error.to_string())
            }
            None => Err(format!(
                "class number {class} is unknown: image and inject differ"
            )),
        },
    };
    let (code, text) = match result {
        Ok(text) => (0, text),
        Err(text) => (1, text),
    };
    let _ = nix::unistd::write(detail, cut(&text, DETAIL_BYTES_MAX).as_bytes());
    code
}
