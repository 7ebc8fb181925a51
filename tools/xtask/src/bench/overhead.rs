//! How much throughput does being observed cost? Each observer's slice lies between two slices with
//! nothing attached and is compared with their mean, so that drift of the machine cancels; the answer is
//! the median over the rounds.

use std::path::Path;

use anyhow::Result;

use super::load::Nginx;
use super::observers::{EmptyProgram, Recorder};
use super::report;
use super::statistics::{Median, median};

#[derive(clap::Args)]
pub struct Args {
    /// Rounds; each has one slice of every observer
    #[arg(long, default_value_t = 10)]
    rounds: u32,
    /// Seconds of load in a slice
    #[arg(long, default_value_t = 3)]
    slice: u32,
}

#[derive(Clone, Copy, PartialEq)]
enum Observer {
    Empty,
    RecEmpty,
    Rec,
    Perf,
}
const OBSERVERS: [Observer; 4] = [
    Observer::Empty,
    Observer::RecEmpty,
    Observer::Rec,
    Observer::Perf,
];

impl Observer {
    fn title(self) -> &'static str {
        match self {
            Observer::Empty => "an empty program on `sys_exit`",
            Observer::RecEmpty => "all probes of `rec` attached, each returning at once",
            Observer::Rec => "`rec capture --profile full`",
            Observer::Perf => "`perf record -e raw_syscalls:*`",
        }
    }
}

pub fn run(args: &Args, rec: &Path, work: &Path) -> Result<String> {
    let nginx = Nginx::start(&work.join("nginx"))?;
    nginx.requests_per_second(args.slice)?; // warm caches, connections, the CPU's clock
    let mut bare_rates = vec![nginx.requests_per_second(args.slice)?];
    let mut losses = OBSERVERS.map(|_| Vec::new());
    for round in 1..=args.rounds {
        for (observer, losses) in OBSERVERS.iter().zip(&mut losses) {
            let observed = observed_rate(*observer, &nginx, args.slice, rec, work)?;
            let before = bare_rates.last().copied().unwrap_or(f64::NAN);
            let after = nginx.requests_per_second(args.slice)?;
            bare_rates.push(after);
            losses.push(1.0 - observed / ((before + after) / 2.0));
        }
        let so_far: Vec<String> = losses
            .iter()
            .map(|l| median(l).map_or_else(String::new, |m| percent(m.value)))
            .collect();
        eprintln!(
            "round {round}/{}: losses so far {}",
            args.rounds,
            so_far.join(", ")
        );
    }
    table(args, &bare_rates, &losses)
}

fn observed_rate(
    observer: Observer,
    nginx: &Nginx,
    slice: u32,
    rec: &Path,
    work: &Path,
) -> Result<f64> {
    let log = work.join("observer.log");
    match observer {
        Observer::Empty => {
            let _attached = EmptyProgram::attach(c"sys_exit")?;
            nginx.requests_per_second(slice)
        }
        _ => {
            let trace = work.join("overhead.zst");
            let recorder = match observer {
                Observer::Perf => Recorder::perf(&work.join("perf.data"), &log)?,
                Observer::RecEmpty => Recorder::rec(rec, &["--empty"], &trace, &log)?,
                _ => Recorder::rec(rec, &["--profile", "full"], &trace, &log)?,
            };
            let rate = nginx.requests_per_second(slice)?;
            recorder.stop()?;
            Ok(rate)
        }
    }
}

fn table(args: &Args, bare: &[f64], losses: &[Vec<f64>]) -> Result<String> {
    let bare = median(bare).unwrap_or(Median {
        value: 0.0,
        low: 0.0,
        high: 0.0,
    });
    let mut text = format!(
        "{}\n\nnginx (1 worker, CPU 0) and wrk (1 thread, 32 connections, CPU 1) over loopback; {} rounds of \
         {} s slices, each observer between two slices with nothing attached. Nothing attached: {:.0} requests/s \
         ({:.0} to {:.0}). Median and 95 % interval:\n\n| observer | throughput loss | interval |\n|---|---|---|\n",
        report::machine()?,
        args.rounds,
        args.slice,
        bare.value,
        bare.low,
        bare.high
    );
    for (observer, losses) in OBSERVERS.iter().zip(losses) {
        if let Some(m) = median(losses) {
            let (low, high) = (percent(m.low), percent(m.high));
            text += &format!(
                "| {} | {} | {low} to {high} |\n",
                observer.title(),
                percent(m.value)
            );
        }
    }
    Ok(text)
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}
