//! What does a call cost in the kernel that is recorded or counted? The kernel's own clock around each run of a program
//! (`kernel.bpf_stats_enabled`), for a known call many times over. An empty program on the same hook
//! runs beside the real one, so that both see the same moment of a noisy machine; the answer is the
//! difference.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::observers::Recorder;
use super::report;
use super::run_time::{self, Measuring, Runs, programs};
use super::statistics::median;

#[derive(clap::Args)]
pub struct Args {
    /// Repetitions of each measurement
    #[arg(long, default_value_t = 30)]
    rounds: u32,
    /// Calls in one repetition
    #[arg(long, default_value_t = 20_000)]
    calls: u32,
}

/// Mean nanoseconds of the program that ran most often between two looks: that of system calls.
fn mean_ns(before: &BTreeMap<u64, Runs>, after: &BTreeMap<u64, Runs>, calls: f64) -> Result<f64> {
    let busiest = after
        .iter()
        .map(|(id, now)| {
            let then = before.get(id).copied().unwrap_or_default();
            (now.count - then.count, now.ns - then.ns)
        })
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match busiest {
        Some((count, ns)) if count >= calls => Ok(ns / count),
        _ => bail!(
            "no program ran {calls} times: is something else switching off {}?",
            run_time::STATS
        ),
    }
}

pub fn run(args: &Args, rec: &Path, work: &Path) -> Result<String> {
    let path = work.join("opened");
    fs::write(&path, "opened").with_context(|| format!("cannot write {}", path.display()))?;
    let mut zero = File::open("/dev/zero")?;
    let components = fs::canonicalize(&path)?.components().count() - 1;

    let start = |name: &str, switches: &[&str]| {
        let (trace, log) = (
            work.join(format!("events-{name}.zst")),
            work.join(format!("events-{name}.log")),
        );
        Recorder::rec(rec, switches, &trace, &log)
    };
    let empty = start("empty", &["--empty"])?;
    let calls = args.calls;
    let mut plain = || {
        for _ in 0..calls {
            // SAFETY: it has no arguments and cannot fail.
            unsafe { libc::getppid() };
        }
        Ok(())
    };
    let mut read = || {
        let mut byte = [0];
        (0..calls).try_for_each(|_| zero.read_exact(&mut byte))
    };

    let measuring = Measuring::start()?;
    let full = start("full", &["--profile", "full"])?;
    let recorded = net(args, &empty, &full, 1.0, &mut plain)?;
    let recorded_read = net(args, &empty, &full, 1.0, &mut read)?;
    let open_and_close = net(args, &empty, &full, 2.0, &mut || {
        (0..calls / 2).try_for_each(|_| File::open(&path).map(drop))
    })?;
    full.stop()?;
    let standard = start("standard", &["--profile", "standard"])?;
    let counted = net(args, &empty, &standard, 1.0, &mut plain)?;
    let counted_read = net(args, &empty, &standard, 1.0, &mut read)?;
    let whole_file = net(args, &empty, &standard, 3.0, &mut || {
        (0..calls / 3).try_for_each(|_| File::open(&path)?.read_exact(&mut [0]))
    })?;
    standard.stop()?;
    let light = start("light", &["--profile", "light"])?;
    let looked_at = net(args, &empty, &light, 2.0, &mut || {
        (0..calls / 2).try_for_each(|_| File::open(&path).map(drop))
    })?;
    light.stop()?;
    drop(measuring);
    empty.stop()?;

    let plain_ns = median(&recorded_read).context("at least one round")?.value;
    // Each open comes with a close, which is a plain call.
    let open: Vec<f64> = open_and_close.iter().map(|pair| pair - plain_ns).collect();
    let mut text = format!(
        "{}\n\nTime in the kernel per call, net of an empty program on the same hook; {} repetitions of \
         {calls} calls. Median and its 95 % interval.\n\n\
         | call | profile | becomes | ns | interval |\n|---|---|---|---|---|\n",
        report::machine()?,
        args.rounds
    );
    let rows = [
        ("`getppid`", "full", "an event", recorded),
        (
            "`read`",
            "full",
            "an event with three arguments",
            recorded_read,
        ),
        (
            "`openat`",
            "full",
            &*format!("an event with a path of {components} components"),
            open,
        ),
        (
            "`getppid`",
            "light, standard",
            "a count of the container",
            counted,
        ),
        (
            "`read`",
            "standard",
            "a count of the descriptor",
            counted_read,
        ),
        (
            "`openat`, `read`, `close`",
            "standard",
            "an event with the path and one with the sum of the descriptor",
            whole_file,
        ),
        (
            "`openat`, `close`",
            "light",
            "counts of the container, after a look at the file's name",
            looked_at,
        ),
    ];
    for (call, profile, becomes, values) in rows {
        let ns = median(&values).context("at least one round")?;
        text += &format!(
            "| {call} | {profile} | {becomes} | {:.0} | {:.0} to {:.0} |\n",
            ns.value, ns.low, ns.high
        );
    }
    Ok(text)
}

/// What the recorder's program takes more than the empty one's, for `runs` runs, in each round.
fn net(
    args: &Args,
    empty: &Recorder,
    recorder: &Recorder,
    runs: f64,
    load: &mut dyn FnMut() -> std::io::Result<()>,
) -> Result<Vec<f64>> {
    // Half, because an uneven number of calls makes one pair less.
    let least = f64::from(args.calls) / 2.0;
    (0..args.rounds)
        .map(|_| {
            let before = (programs(empty.pid())?, programs(recorder.pid())?);
            load()?;
            let after = (programs(empty.pid())?, programs(recorder.pid())?);
            let empty_ns = mean_ns(&before.0, &after.0, least)?;
            let recorder_ns = mean_ns(&before.1, &after.1, least)?;
            Ok((recorder_ns - empty_ns) * runs)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_program_is_the_one_that_counts() {
        let look = |a: (f64, f64), b: (f64, f64)| {
            let runs = |(ns, count)| Runs { ns, count };
            BTreeMap::from([(1, runs(a)), (2, runs(b))])
        };
        let (before, after) = (
            look((0.0, 0.0), (500.0, 10.0)),
            look((9_000.0, 3.0), (20_500.0, 110.0)),
        );
        assert_eq!(mean_ns(&before, &after, 100.0).expect("it ran"), 200.0);
        assert!(mean_ns(&before, &after, 101.0).is_err());
    }
}
