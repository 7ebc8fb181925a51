//! `rec top`: live tables on the terminal, as lines, CSV or JSON.

use std::{
    io::{IsTerminal, Write},
    sync::Arc,
};

use recorder::{
    capture::Progress,
    policy::Profile,
    sinks::Sink,
    top::{Enough, Shown, Snapshot, TopSink, show},
};

use crate::{
    USAGE,
    cli::{Cli, TopArgs},
    exit_code, listen, options, record, stop_on_signal,
};

/// Rows of a table where there is no terminal that says how many it has.
const ROWS: usize = 20;
/// Clears the screen and goes to its top: ECMA-48.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";

/// How tables are printed.
#[derive(Clone, Copy)]
enum Form {
    Redraw,
    Blocks,
    Csv,
    Json,
}

pub fn run(cli: &Cli, args: &TopArgs) -> anyhow::Result<u8> {
    if args.own {
        return super::own::run(cli, args);
    }
    let stop = stop_on_signal()?;
    let sort = args.sort.as_deref().unwrap_or(args.table.sorted_by());
    let column = match args.table.column(sort) {
        Ok(column) => column,
        Err(error) => {
            recorder::notice::say(format_args!("rec: --sort: {error}"));
            return Ok(USAGE);
        }
    };
    let mut options = options(&args.what)?;
    options.profile = args.what.profile.unwrap_or(Profile::Standard);
    options.chunk_age = args.interval / 4;
    let uuid = *uuid::Uuid::new_v4().as_bytes();
    let progress = Arc::new(Progress::default());
    let form = match (args.csv, cli.json) {
        (true, _) => Form::Csv,
        (_, true) => Form::Json,
        _ if std::io::stdout().is_terminal() => Form::Redraw,
        _ => Form::Blocks,
    };
    let shown = printer(form, column, args);
    let sink: Box<dyn Sink> = Box::new(TopSink::new(args.table, args.interval, shown));
    let control = listen(&args.what, uuid, &progress, &mut options);
    // A progress line would stand in the table's way.
    let quiet = Cli {
        json: cli.json,
        quiet: cli.quiet || matches!(form, Form::Redraw),
        command: crate::cli::Command::Check(crate::cli::CheckArgs::default()),
    };
    let result =
        control.and_then(|_control| record(&quiet, &options, uuid, vec![sink], progress, &stop));
    let (report, mut failures) = result?;
    failures.retain(|failure| failure.downcast_ref::<Enough>().is_none());
    Ok(exit_code(&report, &failures))
}

fn printer(form: Form, column: usize, args: &TopArgs) -> Shown {
    let mut left = args.count;
    let rows = args.rows;
    let mut headed = false;
    Box::new(move |snapshot: &Snapshot| {
        let mut snapshot = snapshot.clone();
        snapshot.sort(column);
        let text = match form {
            Form::Json => show::json(&snapshot, rows.unwrap_or(ROWS)) + "\n",
            Form::Csv => {
                let head = match std::mem::replace(&mut headed, true) {
                    true => String::new(),
                    false => show::csv_header(&snapshot) + "\n",
                };
                head + &show::csv(&snapshot, rows.unwrap_or(usize::MAX))
            }
            Form::Blocks => show::text(&snapshot, rows.unwrap_or(ROWS), None) + "\n",
            Form::Redraw => {
                let (height, width) = screen();
                // One line for the time, one for the columns, one where the cursor stays.
                let fits = height.saturating_sub(3).max(1);
                let rows = rows.unwrap_or(fits).min(fits);
                format!("{CLEAR}{}", show::text(&snapshot, rows, Some(width)))
            }
        };
        let mut out = std::io::stdout().lock();
        // Whoever read the tables has seen enough.
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        left = left.map(|left| left.saturating_sub(1));
        written.is_ok() && left != Some(0)
    })
}

/// Lines and columns of the terminal on stdout.
fn screen() -> (usize, usize) {
    let (lines, columns) = console::Term::stdout().size();
    (lines.into(), columns.into())
}
