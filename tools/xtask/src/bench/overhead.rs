//! How much throughput does being observed cost? Each observer's slice lies between two slices with
//! nothing attached and is compared with their mean, so that drift of the machine cancels; the answer is
//! the median over the rounds. Instructions per request stand beside it: they hardly vary.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::load::{Load, Nginx, Redis, Slice};
use super::observers::{EmptyProgram, Recorder};
use super::report;
use super::run_time::{self, Measuring};
use super::statistics::median;

#[derive(clap::Args)]
pub struct Args {
    /// Rounds; each has one slice of every observer
    #[arg(long, default_value_t = 30)]
    rounds: u32,
    /// Seconds of load in a slice
    #[arg(long, default_value_t = 1)]
    slice: u32,
    /// Only this load: nginx or redis
    #[arg(long)]
    load: Option<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum Observer {
    Empty,
    Light,
    Standard,
    Full,
    Bpftrace,
    Perf,
}
use Observer::{Bpftrace, Empty, Full, Light, Perf, Standard};

impl Observer {
    fn title(self) -> &'static str {
        match self {
            Empty => "an empty program on `sys_exit`",
            Light => "`rec capture --profile light`",
            Standard => "`rec capture`",
            Full => "`rec capture --profile full`",
            Bpftrace => "`bpftrace`, counting calls by number",
            Perf => "`perf record -e raw_syscalls:*`",
        }
    }
}

pub fn run(args: &Args, rec: &Path, work: &Path) -> Result<String> {
    let wanted = |name: &str| args.load.as_deref().is_none_or(|load| load == name);
    let mut text = format!(
        "{}\n\n{} rounds of {} s slices, each observer between two slices with nothing attached; what an \
         observer's start and end cost is not in it. Median and its 95 % interval. Instructions are those of \
         the whole machine, observer included.\n",
        report::machine()?,
        args.rounds,
        args.slice,
    );
    if wanted("nginx") {
        let nginx = Nginx::start(&work.join("nginx"))?;
        let observers = [Empty, Light, Standard, Full, Bpftrace, Perf];
        text += "\nnginx (1 worker, CPU 0) and wrk (1 thread, 32 connections, CPU 1):\n\n";
        text += &compare(args, &nginx, &observers, rec, work)?;
    }
    if wanted("redis") {
        let redis = Redis::start(&work.join("redis"))?;
        text += "\nredis (CPU 0) and redis-benchmark (`GET`, 32 connections, CPU 1):\n\n";
        text += &compare(args, &redis, &[Empty, Standard, Full], rec, work)?;
    }
    Ok(text)
}

/// One observer's slices against their neighbours.
#[derive(Default)]
struct Found {
    losses: Vec<f64>,
    instructions: Vec<f64>,
}

fn compare(
    args: &Args,
    load: &impl Load,
    observers: &[Observer],
    rec: &Path,
    work: &Path,
) -> Result<String> {
    load.slice(args.slice)?; // warm caches, connections, the CPU's clock
    let mut bare = vec![load.slice(args.slice)?];
    let mut found: Vec<Found> = observers.iter().map(|_| Found::default()).collect();
    for round in 1..=args.rounds {
        for (observer, found) in observers.iter().zip(&mut found) {
            let observed = observed(*observer, load, args.slice, rec, work)?;
            let before = bare[bare.len() - 1];
            let after = load.slice(args.slice)?;
            bare.push(after);
            found
                .losses
                .push(1.0 - observed.rate / ((before.rate + after.rate) / 2.0));
            if let (Some(observed), Some(before), Some(after)) = (
                observed.instructions,
                before.instructions,
                after.instructions,
            ) {
                found
                    .instructions
                    .push(observed / ((before + after) / 2.0) - 1.0);
            }
        }
        let so_far: Vec<String> = found
            .iter()
            .map(|found| median(&found.losses).map_or_else(String::new, |m| percent(m.value)))
            .collect();
        eprintln!(
            "round {round}/{}: losses so far {}",
            args.rounds,
            so_far.join(", ")
        );
    }
    Ok(table(&bare, observers, &found) + &shares(args, load, observers, rec, work)?)
}

/// Rounds of [`shares`] at most: they vary less than throughput does.
const SHARES_ROUNDS_MAX: u32 = 8;

/// What the loss consists of: what the programs and the recorder's own threads take a request.
fn shares(
    args: &Args,
    load: &impl Load,
    observers: &[Observer],
    rec: &Path,
    work: &Path,
) -> Result<String> {
    let (log, trace) = (work.join("observer.log"), work.join("overhead.zst"));
    let own: Vec<(&str, &[&str])> = observers
        .iter()
        .filter_map(|observer| match observer {
            Empty => Some(("programs that return at once", &["--empty"][..])),
            Light => Some((Light.title(), &["--profile", "light"])),
            Standard => Some((Standard.title(), &["--profile", "standard"])),
            Full => Some((Full.title(), &["--profile", "full"])),
            Bpftrace | Perf => None,
        })
        .collect();
    // Runs, nanoseconds in programs, nanoseconds of the recorder.
    let mut found = vec![[const { Vec::new() }; 3]; own.len()];
    let _measuring = Measuring::start()?;
    for _ in 0..args.rounds.min(SHARES_ROUNDS_MAX) {
        for ((_, switches), found) in own.iter().zip(&mut found) {
            let recorder = Recorder::rec(rec, switches, &trace, &log)?;
            thread::sleep(SETTLES);
            let before = (run_time::total(recorder.pid())?, recorder.cpu_ns()?);
            let requests = load.slice(args.slice)?.rate * f64::from(args.slice);
            let after = (run_time::total(recorder.pid())?, recorder.cpu_ns()?);
            recorder.stop()?;
            for (values, taken) in found.iter_mut().zip([
                after.0.count - before.0.count,
                after.0.ns - before.0.ns,
                after.1 - before.1,
            ]) {
                values.push(taken / requests);
            }
        }
    }
    let mut text = "\nOf each request, with the kernel's clock around every run of a program, which itself \
                    takes time:\n\n\
                    | | runs of programs | ns in programs | ns of the recorder |\n|---|---|---|---|\n"
        .to_owned();
    for ((title, _), found) in own.iter().zip(&found) {
        let value = |at: usize| median(&found[at]).map_or(f64::NAN, |m| m.value);
        text += &format!(
            "| {title} | {:.1} | {:.0} | {:.0} |\n",
            value(0),
            value(1),
            value(2)
        );
    }
    Ok(text)
}

/// What an observer does once, when it begins, is over by then.
const SETTLES: Duration = Duration::from_secs(1);

fn observed(
    observer: Observer,
    load: &impl Load,
    slice: u32,
    rec: &Path,
    work: &Path,
) -> Result<Slice> {
    let log = work.join("observer.log");
    let trace = work.join("overhead.zst");
    let profile = |name| Recorder::rec(rec, &["--profile", name], &trace, &log);
    let recorder = match observer {
        Empty => {
            let _attached = EmptyProgram::attach(c"sys_exit")?;
            thread::sleep(SETTLES);
            return load.slice(slice);
        }
        Light => profile("light")?,
        Standard => profile("standard")?,
        Full => profile("full")?,
        Bpftrace => Recorder::bpftrace(&log)?,
        Perf => Recorder::perf(&work.join("perf.data"), &log)?,
    };
    thread::sleep(SETTLES);
    let slice = load.slice(slice)?;
    recorder.stop()?;
    Ok(slice)
}

fn table(bare: &[Slice], observers: &[Observer], found: &[Found]) -> String {
    let rates: Vec<f64> = bare.iter().map(|slice| slice.rate).collect();
    let instructions: Vec<f64> = bare.iter().filter_map(|slice| slice.instructions).collect();
    let mut text = String::new();
    if let Some(rate) = median(&rates) {
        text += &format!(
            "Nothing attached: {:.0} requests/s ({:.0} to {:.0}), {}.\n\n",
            rate.value,
            rate.low,
            rate.high,
            median(&instructions).map_or_else(
                || "this machine counts no instructions".to_owned(),
                |m| format!("{:.0} instructions a request", m.value)
            ),
        );
    }
    text +=
        "| observer | throughput loss | interval | instructions a request |\n|---|---|---|---|\n";
    for (observer, found) in observers.iter().zip(found) {
        if let Some(loss) = median(&found.losses) {
            text += &format!(
                "| {} | {} | {} to {} | {} |\n",
                observer.title(),
                percent(loss.value),
                percent(loss.low),
                percent(loss.high),
                median(&found.instructions).map_or_else(
                    || "–".to_owned(),
                    |m| format!(
                        "+{} (+{} to +{})",
                        percent(m.value),
                        percent(m.low),
                        percent(m.high)
                    )
                ),
            );
        }
    }
    text
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}
