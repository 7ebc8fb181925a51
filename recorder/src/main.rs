//! `rec`: parse, decide, act. Exit codes: 0 ok, 1 failed, 2 usage, 3 finished with loss.

mod cli;
mod commands;
mod config;

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use cli::{CaptureArgs, Cli, Command, WhatArgs};
use recorder::{
    capture::{self, Options, Progress, Report, SNAPLEN},
    check,
    control::{self, About, Server},
    key,
    notice::say,
    policy::Profile,
    privileges, probes,
    redact::{PATTERNS_MAX, Redact},
    sinks::{
        Sink,
        file::FileSink,
        parts::{PartsSink, part_path},
        pipe::{Closed, PipeSink},
    },
};

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const LOSS: u8 = 3;

/// Memory in blocks of this size and more goes back to the kernel when it is freed.
#[cfg(target_env = "gnu")]
const MAPPED_BYTES_MIN: libc::c_int = 256 << 10;

/// The C library raises that size to the largest block that was ever freed, and what chunks are made in would
/// stay in its heap in pieces: some 20 MiB more.
fn keep_memory_small() {
    #[cfg(target_env = "gnu")]
    // SAFETY: plain numbers; no other thread runs yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BYTES_MIN);
    }
}

fn main() -> ExitCode {
    keep_memory_small();
    let cli = match config::parse(std::env::args_os().collect()) {
        Ok(cli) => cli,
        Err(error) => {
            say(format_args!("rec: {error}"));
            return ExitCode::from(USAGE);
        }
    };
    let done = match &cli.command {
        Command::Check(args) => Ok(run_check(&cli, args)),
        Command::Capture(args) => run_capture(&cli, args),
        #[cfg(feature = "live")]
        Command::Live(args) => commands::live::run(&cli, args),
        #[cfg(feature = "detect")]
        Command::Top(args) => commands::top::run(&cli, args),
        Command::Flight(args) => commands::flight::run(&cli, args),
        Command::Dump(args) => commands::ctl::dump(&cli, args),
        Command::Ctl(args) => commands::ctl::run(&cli, args),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            say(format_args!("rec: {error:#}"));
            ExitCode::from(FAILED)
        }
    }
}

fn run_check(cli: &Cli, args: &cli::CheckArgs) -> u8 {
    if let Some(path) = &args.config {
        return match config::check(path) {
            Ok(options) => {
                print(&match cli.json {
                    true => format!(
                        "{}\n",
                        serde_json::json!({ "ok": true, "options": options })
                    ),
                    false => format!("{}: {options} options, nothing wrong\n", path.display()),
                });
                0
            }
            Err(error) => {
                say(format_args!("rec: {error}"));
                FAILED
            }
        };
    }
    let findings = check::check(args.btf.as_deref());
    if cli.json {
        print(&format!("{}\n", serde_json::json!(findings)));
    } else {
        print(&findings.text());
    }
    if findings.ok { 0 } else { FAILED }
}

/// Results go to stdout; a reader that went away wanted no more.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn run_capture(cli: &Cli, args: &CaptureArgs) -> anyhow::Result<u8> {
    let stop = stop_on_signal()?;
    let mut options = options(&args.what)?;
    options.duration = args.duration;
    options.rotate = args.rotate;
    let to_stdout = args.output.as_os_str() == "-";
    if to_stdout && std::io::stdout().is_terminal() {
        say(
            "rec: a trace is binary and standard output is a terminal: pipe it, or name a file with -o",
        );
        return Ok(USAGE);
    }
    if to_stdout && options.rotate.is_some() {
        say("rec: --rotate needs files: name one with -o");
        return Ok(USAGE);
    }
    let key = options.key.clone();
    // The file that is there before the first event.
    let mut first = args.output.clone();
    let sink: Box<dyn Sink> = if to_stdout {
        Box::new(PipeSink::create(key)?)
    } else if options.rotate.is_some() {
        first = part_path(&args.output, 0);
        Box::new(PartsSink::create(&args.output, args.force, key)?)
    } else {
        let mut sink = FileSink::create(&args.output, args.force)?;
        if let Some(key) = key {
            sink.sign_with(key);
        }
        Box::new(sink)
    };
    let sinks = vec![sink];
    let uuid = *uuid::Uuid::new_v4().as_bytes();
    let progress = Arc::new(Progress::default());
    let control = listen(&args.what, uuid, &progress, &mut options);
    let result = control.and_then(|_control| record(cli, &options, uuid, sinks, progress, &stop));
    if result.is_err() && !to_stdout {
        remove_empty(&first);
    }
    let (report, mut failures) = result?;
    // Whoever read the trace has seen enough.
    failures.retain(|failure| failure.downcast_ref::<Closed>().is_none());
    let files: Vec<String> = match options.rotate {
        Some(_) => (0..report.parts)
            .map(|part| part_path(&args.output, part).display().to_string())
            .collect(),
        None => vec![args.output.display().to_string()],
    };
    if cli.json {
        let mut value = serde_json::to_value(&report)?;
        value["trace"] = args.output.display().to_string().into();
        value["files"] = files.into();
        value["public_key"] = options
            .key
            .as_ref()
            .map(|key| key.public_key().to_string())
            .into();
        if to_stdout {
            say(value);
        } else {
            print(&format!("{value}\n"));
        }
    } else if !cli.quiet {
        say(summary(&report));
        if let Some(key) = &options.key {
            say(format_args!("signed by the key {}", key.public_key()));
        }
        if !to_stdout {
            print(&(files.join("\n") + "\n"));
        }
    }
    Ok(exit_code(&report, &failures))
}

/// Nothing was recorded: an empty file would only be in the way of the next try.
fn remove_empty(path: &std::path::Path) {
    if std::fs::metadata(path).is_ok_and(|meta| meta.len() == 0) {
        let _ = std::fs::remove_file(path);
    }
}

/// Says what failed; the exit code of a capture that ended.
fn exit_code(report: &Report, failures: &[anyhow::Error]) -> u8 {
    for failure in failures {
        say(format_args!("rec: {failure:#}"));
    }
    match report {
        _ if !failures.is_empty() => FAILED,
        Report { dropped: 1.., .. } | Report { refused: 1.., .. } => LOSS,
        // What a probe that is not there would have seen is lost, too.
        Report { missing_probes, .. } if !missing_probes.is_empty() => LOSS,
        _ => 0,
    }
}

fn summary(report: &Report) -> String {
    let per_event = report.bytes as f64 / report.events.max(1) as f64;
    let mut text = format!(
        "{} events in {:.1} s, {} chunks, {} bytes ({per_event:.2} bytes an event), {} dropped",
        report.events, report.duration_s, report.chunks, report.bytes, report.dropped
    );
    if report.filtered > 0 {
        text += &format!(", {} filtered", report.filtered);
    }
    if report.refused > 0 {
        text += &format!(
            "\n{} records could not be decoded: the probe object is of another version than rec",
            report.refused
        );
    }
    for (name, reason) in &report.missing_probes {
        text += &format!("\nprobe {name} is not attached: {reason}");
    }
    text
}

fn options(what: &WhatArgs) -> anyhow::Result<Options> {
    let mut options = Options {
        profile: what.profile.unwrap_or(Profile::Standard),
        http: what.http,
        durations: what.durations,
        payload: what.payload.clone(),
        snaplen: what.snaplen.unwrap_or(SNAPLEN),
        redact: redact(what)?,
        ring_bytes: what.ring,
        btf: what.btf.clone(),
        object: what.object.clone(),
        empty: what.empty,
        ..Options::default()
    };
    if !what.probes.is_empty() {
        let wanted = probes::PROBES
            .iter()
            .filter(|probe| what.probes.contains(&probe.family));
        options.probes = wanted.map(|probe| probe.id).collect();
    }
    if let Some(path) = &what.sign {
        options.key = Some(Arc::new(key::read(path)?));
    }
    options.filter = what.filter.filter().resolve()?;
    Ok(options)
}

fn redact(what: &WhatArgs) -> anyhow::Result<Redact> {
    if what.redact.len() > PATTERNS_MAX {
        anyhow::bail!(
            "--redact is given {} times, at most {PATTERNS_MAX} patterns are looked for; join some with |",
            what.redact.len()
        );
    }
    Ok(Redact::new(what.redact.clone()))
}

/// The control socket, if one is asked for: what comes in there becomes marks of the capture.
fn listen(
    what: &WhatArgs,
    trace_uuid: [u8; 16],
    progress: &Arc<Progress>,
    options: &mut Options,
) -> anyhow::Result<Option<Server>> {
    let Some(path) = &what.control else {
        return Ok(None);
    };
    let about = About {
        trace_uuid,
        profile: options.profile.name().to_owned(),
        progress: progress.clone(),
        triggers: None,
        switches: switches(options),
    };
    let (asked, marks) = control::marks();
    options.marks = marks;
    Ok(Some(Server::start(path, about, asked)?))
}

/// Where changes of what is recorded go in.
fn switches(options: &mut Options) -> crossbeam_channel::Sender<recorder::switch::Asked> {
    let (switches, asked) = crossbeam_channel::bounded(control::SWITCHES_MAX);
    options.switches = asked;
    switches
}

/// Runs the capture with a progress line, until `stop`.
fn record(
    cli: &Cli,
    options: &Options,
    trace_uuid: [u8; 16],
    sinks: Vec<Box<dyn Sink>>,
    progress: Arc<Progress>,
    stop: &AtomicBool,
) -> anyhow::Result<(Report, Vec<anyhow::Error>)> {
    let ended = Arc::new(AtomicBool::new(false));
    let shown = {
        let (progress, ended) = (progress.clone(), ended.clone());
        let (quiet, duration) = (cli.quiet, options.duration);
        thread::spawn(move || {
            privileges::none();
            show(&progress, &ended, quiet, duration)
        })
    };
    let result = capture::run(options, trace_uuid, sinks, stop, &progress);
    ended.store(true, Ordering::Release);
    // The display cannot fail in a way that matters to the trace.
    let _ = shown.join();
    result
}

/// A flag that SIGINT and SIGTERM set. To be called before any other thread is started: the signals
/// are blocked in every thread that comes later and taken by one.
fn stop_on_signal() -> anyhow::Result<Arc<AtomicBool>> {
    use nix::sys::signal::{SigSet, Signal};
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block()?;
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    thread::spawn(move || {
        privileges::none();
        // An interrupted wait waits again.
        while signals.wait().is_err() {}
        flag.store(true, Ordering::Relaxed);
        while signals.wait().is_err() {}
        // Asked twice: at once, as a shell reports an interrupted program.
        std::process::exit(130);
    });
    Ok(stop)
}

/// The progress line (terminal only), and `recording` once the probes are attached.
fn show(progress: &Progress, ended: &AtomicBool, quiet: bool, duration: Option<Duration>) {
    let pause = Duration::from_millis(50);
    while !progress.recording.load(Ordering::Acquire) {
        if ended.load(Ordering::Acquire) {
            return;
        }
        thread::sleep(pause);
    }
    if quiet {
        return;
    }
    say("recording");
    if !std::io::stderr().is_terminal() {
        return;
    }
    let started = Instant::now();
    let bar = match duration {
        Some(duration) => indicatif::ProgressBar::new(duration.as_secs()).with_style(
            indicatif::ProgressStyle::with_template("{wide_bar} {pos}/{len} s  {msg}")
                .expect("a constant template"),
        ),
        None => indicatif::ProgressBar::new_spinner(),
    };
    let (mut before, mut rate) = ((0, Instant::now()), 0.0);
    while !ended.load(Ordering::Acquire) {
        thread::sleep(pause);
        let events = progress.events.load(Ordering::Relaxed);
        if before.1.elapsed() >= Duration::from_secs(1) {
            rate = (events - before.0) as f64 / before.1.elapsed().as_secs_f64();
            before = (events, Instant::now());
        }
        bar.set_position(started.elapsed().as_secs());
        bar.set_message(format!(
            "{events} events, {rate:.0}/s, {} bytes, {} dropped",
            indicatif::HumanBytes(progress.bytes.load(Ordering::Relaxed)),
            progress.dropped.load(Ordering::Relaxed)
        ));
    }
    bar.finish_and_clear();
}
