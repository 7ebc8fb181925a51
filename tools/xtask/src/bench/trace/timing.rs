//! Programs timed on one core, the compared ones in turns.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::super::statistics::{Median, median};
use crate::repo;

/// The core that nothing else of the benchmark uses.
const CORE: &str = "1";
const OTHER_CORE: &str = "0";
/// Two cores.
const CORES: &str = "0,1";

/// A program and its arguments, pinned to one core.
pub fn pinned(program: &Path, arguments: &[&str]) -> Command {
    pinned_to(CORE, program, arguments)
}

/// The same with two cores.
pub fn pinned_to_two(program: &Path, arguments: &[&str]) -> Command {
    pinned_to(CORES, program, arguments)
}

/// One program twice, each on a core of its own with its own arguments.
pub fn pinned_beside(program: &Path, arguments: [&[&str]; 2]) -> [Command; 2] {
    let [first, second] = arguments;
    [
        pinned_to(CORE, program, first),
        pinned_to(OTHER_CORE, program, second),
    ]
}

fn pinned_to(cores: &str, program: &Path, arguments: &[&str]) -> Command {
    let mut command = repo::command("taskset");
    command.args(["-c", cores]).arg(program).args(arguments);
    command
}

/// Most memory that a run of it takes, in bytes, its output thrown away.
pub fn peak_memory(command: &mut Command) -> Result<u64> {
    let child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    let pid = i32::try_from(child.id())?;
    let mut status = 0;
    // SAFETY: a rusage of zeroes is one; nobody else waits for this child, and both places outlive the call.
    let (waited, usage) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        let waited = libc::wait4(pid, &mut status, 0, &mut usage);
        (waited, usage)
    };
    if waited != pid || !libc::WIFEXITED(status) || !matches!(libc::WEXITSTATUS(status), 0 | 3) {
        bail!("{command:?} ended with {status}");
    }
    // getrusage(2): in kilobytes.
    Ok(u64::try_from(usage.ru_maxrss)? * 1024)
}

/// Seconds from its start to its end, its output thrown away. 3 says that a trace has gaps.
pub fn seconds(command: &mut Command) -> Result<f64> {
    seconds_of_all(std::slice::from_mut(command))
}

/// The same of several that run beside each other, to the end of the last.
pub fn seconds_of_all(commands: &mut [Command]) -> Result<f64> {
    let begun = Instant::now();
    let mut children = Vec::new();
    for command in &mut *commands {
        let started = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        children.push(started);
    }
    let mut ends = Vec::new();
    for child in &mut children {
        ends.push(child.wait()?);
    }
    let seconds = begun.elapsed().as_secs_f64();
    for (command, status) in commands.iter().zip(ends) {
        if !matches!(status.code(), Some(0 | 3)) {
            bail!("{command:?} ended with {status}");
        }
    }
    Ok(seconds)
}

/// Seconds to its first line of output; then it is stopped.
pub fn seconds_to_first_line(command: &mut Command) -> Result<f64> {
    let begun = Instant::now();
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    let mut line = Vec::new();
    let out = child.stdout.take().context("its output is a pipe")?;
    let read = BufReader::new(out).read_until(b'\n', &mut line);
    let seconds = begun.elapsed().as_secs_f64();
    let _ = child.kill();
    child.wait()?;
    if read? == 0 {
        bail!("{command:?} printed nothing");
    }
    Ok(seconds)
}

/// Lines that a command prints.
pub fn lines(command: &mut Command) -> Result<u64> {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    let mut out = BufReader::with_capacity(1 << 20, child.stdout.take().context("a pipe")?);
    let mut lines = 0;
    loop {
        let bytes = out.fill_buf()?;
        if bytes.is_empty() {
            break;
        }
        lines += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        let taken = bytes.len();
        out.consume(taken);
    }
    child.wait()?;
    Ok(lines)
}

/// Medians of several measurements, taken in turns: what disturbs one disturbs its neighbour.
pub fn in_turns<const N: usize>(
    runs: u32,
    measure: [&dyn Fn() -> Result<f64>; N],
) -> Result<[Median; N]> {
    let mut taken = measure.map(|_| Vec::new());
    for _ in 0..runs {
        for (measure, taken) in measure.iter().zip(&mut taken) {
            taken.push(measure()?);
        }
    }
    let mut medians = Vec::new();
    for taken in &taken {
        medians.push(median(taken).context("at least one run")?);
    }
    medians
        .try_into()
        .map_err(|_| anyhow::anyhow!("as many medians as measurements"))
}
