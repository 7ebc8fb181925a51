//! What runs inside a container: one static program under several names.
//!
//! The name it was started by says what it is, as in busybox. Every part refuses to run outside a
//! container, except [`cage`], which builds one.

mod cage;
mod filter;
pub mod guard;
mod job;
mod pace;
pub mod resolver;
mod shell;
mod stray;
mod supervisor;
pub mod web;
pub mod workload;

use std::{fs::File, mem::ManuallyDrop, os::fd::FromRawFd, path::Path};

/// Runs the part that the program's name asks for; the result is the exit code.
pub fn main() -> i32 {
    let mut args = std::env::args();
    let called = args.next().unwrap_or_default();
    let name = Path::new(&called).file_name().unwrap_or_default();
    let args: Vec<String> = args.collect();
    let part = name.to_string_lossy();
    if part == "workload" {
        return cage::main(&args);
    }
    if let Err(refusal) = guard::check() {
        // The supervisor's reader listens on stdout; a person at a terminal on stderr.
        println!("{}", crate::frame::Said::Fatal(refusal.to_string()));
        eprintln!("error: {part}: {refusal}");
        return 1;
    }
    match &*part {
        "appd" => supervisor::main(),
        "webd" if args.first().is_some_and(|arg| arg == "pool") => shell::pool(),
        "webd" => web::serve(),
        "fetchd" => web::fetch(&args),
        "compactd" => job::compact(&args),
        "kvd" => workload::key_value::serve(),
        "kvc" => workload::key_value::ask(&args),
        "dbd" => workload::database::main(&args),
        "batchd" => workload::batch::main(&args),
        "brokerd" => workload::messages::broker(),
        "feedd" => workload::messages::feed(&args),
        "workd" => workload::messages::work(),
        "stated" => workload::shared_state::main(&args),
        "idled" => workload::idle::main(&args),
        "named" => resolver::serve(),
        "sh" => shell::main(&args),
        _ => stray::main(),
    }
}

/// Stdin without a buffer: a reader that looks ahead would take what belongs to the next.
fn raw_stdin() -> ManuallyDrop<File> {
    // SAFETY: descriptor 0 is open for the life of the process, and the file is never dropped.
    ManuallyDrop::new(unsafe { File::from_raw_fd(0) })
}
