//! `rec ctl`: asks a running capture for a mark or for its figures.

use recorder::control::{Reply, Request, Status, ask};

use crate::{
    cli::{Cli, CtlArgs, Wish},
    print,
};

pub fn run(cli: &Cli, args: &CtlArgs) -> anyhow::Result<u8> {
    let request = match &args.wish {
        Wish::Mark { text, label } => Request::Mark {
            label: label.clone(),
            text: text.clone(),
        },
        Wish::Status => Request::Status,
    };
    let text = match ask(&args.control, &request)? {
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

fn text(status: &Status) -> String {
    let seconds = status.now_boot_ns.saturating_sub(status.started_boot_ns) as f64 / 1e9;
    format!(
        "trace {}\n{}, profile {}, for {seconds:.1} s\n{} events in {} chunks, {} bytes, {} dropped, {} marks",
        status.trace_uuid,
        match status.recording {
            true => "recording",
            false => "starting",
        },
        status.profile,
        status.events,
        status.chunks,
        status.bytes,
        status.dropped,
        status.marks,
    )
}
