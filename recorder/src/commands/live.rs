//! `rec live`: record, detect in process, and serve the same chunks to remote readers.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use recorder::{
    capture::Progress,
    live::{
        hub::{HELD_BYTES_MAX, Hub, HubSink},
        server::{About, Security, Service},
    },
    notice::say,
    observe::host,
    sinks::{Sink, file::FileSink},
};

use crate::{
    cli::{Cli, LiveArgs},
    exit_code, listen, options, record, remove_empty, stop_on_signal, summary,
};

/// How long a chunk stays open: what a remote reader waits for an event.
const CHUNK_AGE: Duration = Duration::from_millis(50);
/// How far back a late reader has to go for host, processes and containers.
const CHECKPOINT_INTERVAL_NS: u64 = 10_000_000_000;

pub fn run(cli: &Cli, args: &LiveArgs) -> anyhow::Result<u8> {
    let stop = stop_on_signal()?;
    let mut options = options(&args.what)?;
    options.duration = args.duration;
    options.chunk_age = CHUNK_AGE;
    options.checkpoint_interval_ns = CHECKPOINT_INTERVAL_NS;
    let trace_uuid = *uuid::Uuid::new_v4().as_bytes();
    let progress = Arc::new(Progress::default());
    let hub = Hub::new(HELD_BYTES_MAX);

    // What can be refused is refused before anything is created.
    let detect = detect_sink(cli, args)?;
    let about = About {
        trace_uuid,
        hostname: host::host().hostname,
        profile: options.profile.name().to_owned(),
        progress: progress.clone(),
    };
    let service = Service::start(&args.listen, security(args)?, hub.clone(), about)?;
    let mut sinks: Vec<Box<dyn Sink>> = vec![Box::new(HubSink(hub))];
    if let Some(path) = &args.output {
        let mut sink = FileSink::create(path, args.force)?;
        if let Some(key) = &options.key {
            sink.sign_with(key.clone());
        }
        sinks.push(Box::new(sink));
    }
    sinks.extend(detect);
    if !cli.quiet {
        say(format_args!("listening on {}", service.url));
    }

    let control = listen(&args.what, trace_uuid, &progress, &mut options);
    let result =
        control.and_then(|_control| record(cli, &options, trace_uuid, sinks, progress, &stop));
    service.stop();
    if let (Err(_), Some(path)) = (&result, &args.output) {
        remove_empty(path);
    }
    let (report, failures) = result?;
    if !cli.quiet {
        say(summary(&report));
    }
    Ok(exit_code(&report, &failures))
}

fn security(args: &LiveArgs) -> anyhow::Result<Option<Security>> {
    let read = |path: &Path| {
        std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
    };
    Ok(match (&args.tls_cert, &args.tls_key, &args.tls_client_ca) {
        (Some(certificate), Some(key), Some(client_ca)) => Some(Security::MutualTls {
            certificate: read(certificate)?,
            key: read(key)?,
            client_ca: read(client_ca)?,
        }),
        _ => args.insecure.then_some(Security::Insecure),
    })
}

#[cfg(feature = "detect")]
fn detect_sink(cli: &Cli, args: &LiveArgs) -> anyhow::Result<Option<Box<dyn Sink>>> {
    if args.no_detect {
        return Ok(None);
    }
    let sink = super::detection::sink(cli, &args.rules, args.model.as_deref())?;
    Ok(Some(Box::new(sink)))
}

#[cfg(not(feature = "detect"))]
fn detect_sink(_: &Cli, args: &LiveArgs) -> anyhow::Result<Option<Box<dyn Sink>>> {
    if !args.rules.is_empty() || args.model.is_some() {
        anyhow::bail!(
            "this rec was built without detection; run `replay live` on the stream instead"
        );
    }
    Ok(None)
}
