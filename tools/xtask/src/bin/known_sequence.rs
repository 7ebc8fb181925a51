//! A program whose acts are known in advance: so many execs, opens, unlinks and connects, each under a
//! name that nothing else uses. It prints what it did as one JSON object; whoever recorded it compares.
//!
//! Each thread acts in this order: opens, unlinks, connects (to a listener of its own, accepted),
//! refused connects, calls of getpid through the 32-bit entry (where the kernel has it), execs. Only the standard library, so that a static build boots in any initramfs
//! and the system calls between the known ones stay few.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

const USAGE: &str = "known-sequence [--execs N] [--opens N] [--connects N] [--refused N] [--i386 N] \
                     [--threads N] [--dir DIR]";

/// More than any test needs; keeps exit codes (the index) distinct and the output short.
const ACTS_MAX: u32 = 250;
const THREADS_MAX: u32 = 16;
/// tcpmux, which nobody runs. Not a port that was just closed: the kernel may pick the same one as the
/// source, and a socket can connect to itself.
const REFUSING_PORT: u16 = 1;

struct Plan {
    execs: u32,
    opens: u32,
    connects: u32,
    refused: u32,
    i386: u32,
    threads: u32,
    dir: PathBuf,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    if let [_, only] = &args[..]
        && let Some(index) = only.strip_prefix("noop-")
    {
        // The whole life of an executed child: its exit code says which one it was.
        let last = index.rsplit('-').next().unwrap_or_default();
        return ExitCode::from(last.parse().unwrap_or(255));
    }
    let plan = match plan(&args[1..]) {
        Ok(plan) => plan,
        Err(message) => {
            eprintln!("known-sequence: {message}\nusage: {USAGE}");
            return ExitCode::from(2);
        }
    };
    match act(&plan) {
        Ok(json) => {
            println!("{json}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("known-sequence: {error}");
            ExitCode::FAILURE
        }
    }
}

fn plan(args: &[String]) -> Result<Plan, String> {
    let dir = PathBuf::from("/tmp");
    let mut plan = Plan {
        execs: 10,
        opens: 10,
        connects: 10,
        refused: 0,
        i386: 0,
        threads: 1,
        dir,
    };
    let mut args = args.iter();
    while let Some(name) = args.next() {
        let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
        let number = |max: u32| match value.parse::<u32>() {
            Ok(n) if n <= max => Ok(n),
            _ => Err(format!("{name} {value}: expected a number up to {max}")),
        };
        match name.as_str() {
            "--execs" => plan.execs = number(ACTS_MAX)?,
            "--opens" => plan.opens = number(ACTS_MAX)?,
            "--connects" => plan.connects = number(ACTS_MAX)?,
            "--refused" => plan.refused = number(ACTS_MAX)?,
            "--i386" => plan.i386 = number(ACTS_MAX)?,
            "--threads" => plan.threads = number(THREADS_MAX)?.max(1),
            "--dir" => plan.dir = PathBuf::from(value),
            _ => return Err(format!("unknown argument {name}")),
        }
    }
    Ok(plan)
}

/// The first thread is the main one: its tid is the pid.
fn act(plan: &Plan) -> std::io::Result<String> {
    let mut threads = Vec::new();
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..plan.threads)
            .map(|thread| scope.spawn(move || one_thread(plan, thread)))
            .collect();
        threads.push(one_thread(plan, 0));
        threads.extend(
            others
                .into_iter()
                .map(|other| other.join().expect("no act panics")),
        );
    });
    let threads = threads.into_iter().collect::<std::io::Result<Vec<_>>>()?;
    Ok(format!(
        "{{\"pid\":{},\"threads\":[{}]}}",
        std::process::id(),
        threads.join(",")
    ))
}

fn one_thread(plan: &Plan, thread: u32) -> std::io::Result<String> {
    // Thread 0 has the plain names; the others say which they are.
    let mark = if thread == 0 {
        String::new()
    } else {
        format!("t{thread}-")
    };
    // SAFETY: gettid has no preconditions and cannot fail.
    let tid = unsafe { libc::gettid() };
    let mut json = format!("{{\"tid\":{tid},\"opens\":[");

    let paths: Vec<PathBuf> = (0..plan.opens)
        .map(|i| plan.dir.join(format!("ks-open-{mark}{i}")))
        .collect();
    for (i, path) in paths.iter().enumerate() {
        std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o640)
            .open(path)?;
        separate(&mut json, i);
        let _ = write!(json, "\"{}\"", path.display());
    }
    json.push_str("],\"unlinks\":[");
    for (i, path) in paths.iter().enumerate() {
        std::fs::remove_file(path)?;
        separate(&mut json, i);
        let _ = write!(json, "\"{}\"", path.display());
    }

    json.push_str("],\"connects\":[");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let to = listener.local_addr()?;
    for i in 0..plan.connects as usize {
        let stream = TcpStream::connect(to)?;
        let from = stream.local_addr()?;
        let (accepted, peer) = listener.accept()?;
        assert_eq!(from, peer, "nobody else knows this listener");
        drop((accepted, stream));
        separate(&mut json, i);
        let _ = write!(
            json,
            "{{\"to_port\":{},\"from_port\":{}}}",
            to.port(),
            from.port()
        );
    }

    json.push_str("],\"refused\":[");
    drop(listener);
    for i in 0..plan.refused as usize {
        if TcpStream::connect((Ipv4Addr::LOCALHOST, REFUSING_PORT)).is_ok() {
            return Err(std::io::Error::other(format!(
                "port {REFUSING_PORT} accepted"
            )));
        }
        separate(&mut json, i);
        let _ = write!(json, "{{\"to_port\":{REFUSING_PORT}}}");
    }

    json.push_str("],\"i386\":[");
    for i in 0..plan.i386 as usize {
        separate(&mut json, i);
        let _ = write!(json, "{{\"arg\":{i},\"ret\":{}}}", getpid_i386(i as u32)?);
    }

    json.push_str("],\"execs\":[");
    let program = std::env::current_exe()?;
    for i in 0..plan.execs {
        let arg = format!("noop-{mark}{i}");
        let mut child = Command::new(&program).arg(OsStr::new(&arg)).spawn()?;
        let pid = child.id();
        let code = child.wait()?.code().unwrap_or(-1);
        separate(&mut json, i as usize);
        let path = program.display();
        let _ = write!(
            json,
            "{{\"pid\":{pid},\"path\":\"{path}\",\"arg\":\"{arg}\",\"code\":{code}}}"
        );
    }
    json.push_str("]}");
    Ok(json)
}

/// getpid of the 32-bit table, where it has number 20, with an argument that it does not read.
#[cfg(target_arch = "x86_64")]
fn getpid_i386(argument: u32) -> std::io::Result<i64> {
    let result: i64;
    // SAFETY: the call changes nothing but its result; rbx is the compiler's and is put back.
    unsafe {
        std::arch::asm!(
            "push rbx", "mov ebx, {argument:e}", "int 0x80", "pop rbx",
            argument = in(reg) argument, inlateout("rax") 20_i64 => result,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    Ok(result)
}

#[cfg(not(target_arch = "x86_64"))]
fn getpid_i386(_: u32) -> std::io::Result<i64> {
    Err(std::io::ErrorKind::Unsupported.into())
}

fn separate(json: &mut String, index: usize) {
    if index > 0 {
        json.push(',');
    }
}
