//! `rec flight`: record into a ring, and write traces of it when somebody asks.

use std::{sync::Arc, thread};

use anyhow::Context as _;
use crossbeam_channel::{Receiver, Sender, bounded};
use nix::sys::signal::{SigSet, Signal};
use recorder::{
    capture::Progress,
    control::{self, About, Asked, Server, mark_dump},
    flight::{FlightSink, Place, Settings, Triggers, dump::Written},
    notice::say,
    privileges,
    sinks::Sink,
};

use crate::{
    cli::{Cli, FlightArgs},
    exit_code, options, print, record, stop_on_signal,
};

/// Written dumps that wait to be printed.
const WRITTEN_MAX: usize = 64;

pub fn run(cli: &Cli, args: &FlightArgs) -> anyhow::Result<u8> {
    // Before any thread: it is blocked in all of them, and taken by one.
    let mut signal = SigSet::empty();
    signal.add(Signal::SIGUSR1);
    signal.thread_block()?;
    let stop = stop_on_signal()?;
    let mut options = options(&args.what)?;
    options.duration = args.duration;
    options.writes_later = true;
    let settings = Settings {
        keep: args.keep,
        bytes_max: args.max_bytes,
        place: match args.memory {
            true => Place::Memory,
            false => Place::Directory(args.dir.clone()),
        },
        post: args.post,
        pattern: args.output.clone(),
        key: options.key.clone(),
    };
    let (bytes, age) = settings.span();
    options.checkpoint_bytes = bytes;
    options.checkpoint_interval_ns = age.as_nanos() as u64;
    let trace_uuid = *uuid::Uuid::new_v4().as_bytes();
    let progress = Arc::new(Progress::default());
    let (triggers, pulled) = Triggers::channel();
    let (written, dumps) = bounded(WRITTEN_MAX);
    let (asked, marks) = control::marks();
    options.marks = marks;

    let mut sinks: Vec<Box<dyn Sink>> = detect_sink(args, cli, &triggers, &asked)?
        .into_iter()
        .collect();
    sinks.push(Box::new(FlightSink::new(
        settings, trace_uuid, pulled, written,
    )?));
    let socket = args.what.control.as_deref();
    let about = About {
        trace_uuid,
        profile: options.profile.name().to_owned(),
        progress: progress.clone(),
        triggers: Some(triggers.clone()),
        switches: crate::switches(&mut options),
    };
    let socket = socket.unwrap_or(std::path::Path::new(control::DEFAULT_PATH));
    let server = Server::start(socket, about, asked.clone())?;
    listen(signal, triggers, asked)?;
    let json = cli.json;
    let printer = thread::Builder::new()
        .name("rec-dumps".into())
        .spawn(move || {
            privileges::none();
            show(&dumps, json)
        })
        .context("cannot start a thread for the dumps' names")?;

    let (report, failures) = record(cli, &options, trace_uuid, sinks, progress, &stop)?;
    drop(server);
    // The sink has ended, and with it the senders of dumps.
    let failed = printer.join().unwrap_or(true);
    if !cli.quiet {
        say(crate::summary(&report));
    }
    let code = exit_code(&report, &failures);
    Ok(if failed { crate::FAILED } else { code })
}

/// SIGUSR1 is a trigger.
fn listen(signal: SigSet, triggers: Triggers, asked: Sender<Asked>) -> anyhow::Result<()> {
    thread::Builder::new()
        .name("rec-usr1".into())
        .spawn(move || {
            privileges::none();
            loop {
                // An interrupted wait waits again.
                if signal.wait().is_ok() {
                    mark_dump(&asked, "SIGUSR1");
                    triggers.pull("SIGUSR1");
                }
            }
        })
        .context("cannot start a thread for SIGUSR1")?;
    Ok(())
}

/// Each dump when it is complete: its path on stdout. True: one was not.
fn show(dumps: &Receiver<Written>, json: bool) -> bool {
    let mut failed = false;
    for dump in dumps {
        if let Some(error) = &dump.failed {
            failed = true;
            say(format_args!(
                "rec: the dump {} ends early: {error}",
                dump.path.display()
            ));
        }
        if json {
            print(&format!("{}\n", serde_json::json!(dump)));
            continue;
        }
        say(format_args!(
            "{} events in {} chunks, {} bytes, {:.1} s ({})",
            dump.events,
            dump.chunks,
            dump.bytes,
            dump.to_boot_ns.saturating_sub(dump.from_boot_ns) as f64 / 1e9,
            dump.reason
        ));
        print(&format!("{}\n", dump.path.display()));
    }
    failed
}

#[cfg(feature = "detect")]
fn detect_sink(
    args: &FlightArgs,
    cli: &Cli,
    triggers: &Triggers,
    asked: &Sender<Asked>,
) -> anyhow::Result<Option<Box<dyn Sink>>> {
    use replay::findings::Severity;

    let Some(severity) = &args.on_finding else {
        return Ok(None);
    };
    let least: Severity = severity.parse()?;
    let sink = super::detection::sink(cli, &args.rules, args.model.as_deref())?;
    let (triggers, asked) = (triggers.clone(), asked.clone());
    let sink = sink.hook(Box::new(move |finding| {
        if finding.severity >= least {
            let reason = format!("finding: {}", finding.rule);
            mark_dump(&asked, &reason);
            triggers.pull(&reason);
        }
    }));
    Ok(Some(Box::new(sink)))
}

#[cfg(not(feature = "detect"))]
fn detect_sink(
    args: &FlightArgs,
    _: &Cli,
    _: &Triggers,
    _: &Sender<Asked>,
) -> anyhow::Result<Option<Box<dyn Sink>>> {
    if args.on_finding.is_some() {
        anyhow::bail!("--on-finding needs detection, and this rec was built without it");
    }
    Ok(None)
}
