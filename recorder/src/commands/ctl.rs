//! `rec ctl`: asks a running capture for a mark or for its figures.

use std::path::Path;

use recorder::{
    control::{Dumping, Reply, Request, Status, ask},
    notice::say,
    switch::{InForce, NEEDS, ProbeState},
};

use crate::{
    cli::{Cli, CtlArgs, DumpArgs, Wish},
    print,
};

/// `rec dump`: what `rec ctl dump` does.
pub fn dump(cli: &Cli, args: &DumpArgs) -> anyhow::Result<u8> {
    let request = Request::Dump {
        reason: args.reason.clone(),
    };
    send(cli, &args.control, &request)
}

pub fn run(cli: &Cli, args: &CtlArgs) -> anyhow::Result<u8> {
    let request = match &args.wish {
        Wish::Mark { text, label } => Request::Mark {
            label: label.clone(),
            text: text.clone(),
        },
        Wish::Profile { name } => Request::Switch {
            profile: name.clone(),
            on: Vec::new(),
            off: Vec::new(),
        },
        Wish::Probes { on, off } => Request::Switch {
            profile: None,
            on: on.clone(),
            off: off.clone(),
        },
        Wish::Dump { reason } => Request::Dump {
            reason: reason.clone(),
        },
        Wish::Status => Request::Status,
    };
    send(cli, &args.control, &request)
}

fn send(cli: &Cli, control: &Path, request: &Request) -> anyhow::Result<u8> {
    let text = match ask(control, request)? {
        Reply::InForce(in_force) if cli.json => serde_json::to_string(&in_force)?,
        Reply::InForce(in_force) => probes(&in_force),
        Reply::Dumping(dumping) if cli.json => serde_json::to_string(&dumping)?,
        Reply::Dumping(dumping) => began(cli, &dumping),
        Reply::Marked { boot_ns } if cli.json => {
            serde_json::json!({ "boot_ns": boot_ns }).to_string()
        }
        Reply::Marked { boot_ns } => boot_ns.to_string(),
        Reply::Status(status) if cli.json => serde_json::to_string(&status)?,
        Reply::Status(status) => text(&status),
        Reply::Refused(reason) => anyhow::bail!("refused: {reason}"),
    };
    print(&(text + "\n"));
    Ok(0)
}

/// The path on stdout; the rest is for people.
fn began(cli: &Cli, dumping: &Dumping) -> String {
    if !cli.quiet {
        let kept = |ns: u64| ns as f64 / 1e9;
        say(format_args!(
            "{} at {:.1} s after boot, complete at {:.1} s",
            match dumping.joined {
                true => "this dump is open already; it began",
                false => "a dump was begun; it begins",
            },
            kept(dumping.from_boot_ns),
            kept(dumping.until_boot_ns),
        ));
    }
    dumping.path.display().to_string()
}

fn probes(in_force: &InForce) -> String {
    let mut text = format!(
        "profile {} since {:.1} s after boot",
        in_force.profile,
        in_force.boot_ns as f64 / 1e9
    );
    if !in_force.filter.is_empty() {
        text += &format!("\nfilter {}", in_force.filter);
    }
    for probe in &in_force.probes {
        let ProbeState { name, family, .. } = probe;
        text += &match probe.attached.is_empty() {
            false => format!("\non   {family:<10} {name} ({})", probe.attached),
            true => format!("\noff  {family:<10} {name}: {}", probe.reason),
        };
    }
    text + "\nto switch one on: " + NEEDS
}

fn text(status: &Status) -> String {
    let seconds = status.now_boot_ns.saturating_sub(status.started_boot_ns) as f64 / 1e9;
    let filter = match status.in_force.filter.as_str() {
        "" => String::new(),
        text => format!("filter {text}\n"),
    };
    format!(
        "trace {}\n{}, profile {}, {} probes on, for {seconds:.1} s\n{filter}{} events in {} chunks, {} bytes, {} dropped, {} marks",
        status.trace_uuid,
        match status.recording {
            true => "recording",
            false => "starting",
        },
        status.profile,
        status
            .in_force
            .probes
            .iter()
            .filter(|probe| !probe.attached.is_empty())
            .count(),
        status.events,
        status.chunks,
        status.bytes,
        status.dropped,
        status.marks,
    )
}
