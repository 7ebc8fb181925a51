//! The command line of `rec`: parsing and validation only.

mod filter;

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
use recorder::{
    control,
    flight::{self, name::Pattern},
    io_calls::PAYLOAD_CALLS,
    policy::Profile,
    probes::PROBES,
    rotation::Rotate,
};
use recorder_ebpf::PAYLOAD_BYTES_MAX;

#[cfg(feature = "live")]
use recorder::live::server::Address;
#[cfg(feature = "detect")]
use recorder::top::Table;

use filter::FilterArgs;

/// Where `rec live` listens unless told otherwise.
#[cfg(feature = "live")]
const DEFAULT_LISTEN: &str = "unix:///run/trailcam/live.sock";

/// Where `rec flight` keeps its ring.
const DEFAULT_RING: &str = "/var/lib/trailcam/ring";

/// Record what containers do, with eBPF, into a trace.
#[derive(Parser)]
#[command(name = "rec", version, disable_help_subcommand = true)]
pub struct Cli {
    /// Machine-readable output on stdout
    #[arg(long, global = true)]
    pub json: bool,
    /// Only errors on stderr
    #[arg(short, long, global = true)]
    pub quiet: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Say what this kernel offers, probe by probe, and why something is missing
    Check(CheckArgs),
    /// Record into a trace file until Ctrl-C, SIGTERM or the end of --duration
    Capture(CaptureArgs),
    /// Detect while recording, and stream what is recorded to remote readers (`replay live URL`)
    #[cfg(feature = "live")]
    Live(LiveArgs),
    /// Keep the last minutes in a ring, and write a trace of them on `rec dump`, SIGUSR1 or a finding
    Flight(FlightArgs),
    /// Live tables of processes, files, connections, system calls, IPC or containers
    #[cfg(feature = "detect")]
    Top(TopArgs),
    /// Have a running `rec flight` write down what its ring holds; prints the trace's path
    Dump(DumpArgs),
    /// Talk to a running capture that was started with --control
    Ctl(CtlArgs),
}

#[derive(Args)]
pub struct CtlArgs {
    /// Its control socket
    #[arg(long, global = true, value_name = "PATH", default_value = control::DEFAULT_PATH)]
    pub control: PathBuf,
    #[command(subcommand)]
    pub wish: Wish,
}

#[derive(Subcommand)]
pub enum Wish {
    /// Write a note into the trace; says at which boot time (ns) it stands there
    Mark {
        /// What there is to say, 4096 bytes at most
        text: String,
        /// What kind of note it is, in a word
        #[arg(long, default_value = "note")]
        label: String,
    },
    /// Change how much is recorded, from now on; without a name: what is in force
    Profile {
        /// light, standard or full
        name: Option<String>,
    },
    /// Switch probes on and off, by family or name; without any: what is on, and what each needs
    Probes {
        #[arg(long, value_name = "LIST", value_delimiter = ',')]
        on: Vec<String>,
        #[arg(long, value_name = "LIST", value_delimiter = ',')]
        off: Vec<String>,
    },
    /// What `rec dump` does
    Dump {
        /// Why: it stands in the trace
        #[arg(long, default_value = "asked for")]
        reason: String,
    },
    /// How the capture goes
    Status,
}

#[derive(Args)]
pub struct DumpArgs {
    /// The control socket of `rec flight`
    #[arg(long, value_name = "PATH", default_value = control::DEFAULT_PATH)]
    pub control: PathBuf,
    /// Why: it stands in the trace
    #[arg(long, default_value = "asked for")]
    pub reason: String,
}

#[derive(Args)]
pub struct FlightArgs {
    /// How far back the ring reaches: 30s, 10m, 2h
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub keep: Duration,
    /// What the ring takes at most: 500MiB, 2GiB
    #[arg(long, value_name = "SIZE", default_value = "2GiB", value_parser = ring_size)]
    pub max_bytes: u64,
    /// Where the ring is kept
    #[arg(long, value_name = "DIR", default_value = DEFAULT_RING)]
    pub dir: PathBuf,
    /// Keep the ring in memory instead
    #[arg(long, conflicts_with = "dir")]
    pub memory: bool,
    /// Names of the traces: {n} counts, {time} is the time of the dump
    #[arg(short, long, value_name = "PATTERN", default_value = "flight-{n}.zst")]
    pub output: Pattern,
    /// How long a dump goes on after its trigger
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub post: Duration,
    /// Detect while recording, and dump at a finding of this severity or a worse one
    #[arg(long, value_name = "SEVERITY")]
    pub on_finding: Option<String>,
    /// Further rule files for --on-finding; may be repeated
    #[arg(long, value_name = "FILE", requires = "on_finding")]
    pub rules: Vec<PathBuf>,
    /// A model of `model train` for --on-finding
    #[arg(long, value_name = "FILE", requires = "on_finding")]
    pub model: Option<PathBuf>,
    /// How long: 30s, 10m, 2h
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,
    #[command(flatten)]
    pub what: WhatArgs,
}

#[cfg(feature = "detect")]
#[derive(Args)]
pub struct TopArgs {
    /// What to list
    #[arg(value_enum, default_value = "process")]
    pub table: Table,
    /// Instead: what recording itself costs and loses here: CPU, memory, rings, run time of each probe
    #[arg(long = "self", conflicts_with_all = ["table", "sort", "rows", "csv"])]
    pub own: bool,
    /// Time between two tables: 500ms, 3s, 1m
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = interval)]
    pub interval: Duration,
    /// End after so many tables
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// The column whose largest values come first
    #[arg(long, value_name = "COLUMN")]
    pub sort: Option<String>,
    /// Rows of a table at most
    #[arg(long, value_name = "N")]
    pub rows: Option<usize>,
    /// Comma-separated values, with a line of column names first
    #[arg(long, conflicts_with = "json")]
    pub csv: bool,
    #[command(flatten)]
    pub what: WhatArgs,
}

#[derive(Args, Default)]
pub struct CheckArgs {
    /// Check this configuration of `--config` instead of the kernel
    #[arg(long, value_name = "FILE", conflicts_with = "btf")]
    pub config: Option<PathBuf>,
    /// Kernel type information to use instead of /sys/kernel/btf/vmlinux
    #[arg(long, value_name = "FILE")]
    pub btf: Option<PathBuf>,
}

#[derive(Args)]
pub struct CaptureArgs {
    /// How long: 30s, 10m, 2h
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,
    /// The trace to write; - for standard output
    #[arg(short, long, value_name = "FILE", default_value = "trace.zst")]
    pub output: PathBuf,
    /// Overwrite an existing trace
    #[arg(long)]
    pub force: bool,
    /// Go on in another file after this size or time (100MiB, 10m): trace.0000.zst, trace.0001.zst …
    #[arg(long, value_name = "SIZE|TIME")]
    pub rotate: Option<Rotate>,
    #[command(flatten)]
    pub what: WhatArgs,
}

#[cfg(feature = "live")]
#[derive(Args)]
pub struct LiveArgs {
    /// Where readers connect: unix:///path, or IP:PORT with mutual TLS or --insecure
    #[arg(long, value_name = "ADDR", default_value = DEFAULT_LISTEN, value_parser = Address::parse)]
    pub listen: Address,
    /// How long: 30s, 10m, 2h
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,
    /// Also write a trace file
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Overwrite an existing trace
    #[arg(long, requires = "output")]
    pub force: bool,
    /// Further rule files, in Falco's language; may be repeated
    #[arg(long, value_name = "FILE")]
    pub rules: Vec<PathBuf>,
    /// A model of `model train`
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// Only stream: no detection here
    #[arg(long, conflicts_with_all = ["rules", "model"])]
    pub no_detect: bool,
    /// Own certificate (PEM) for TCP
    #[arg(long, value_name = "FILE", requires_all = ["tls_key", "tls_client_ca"])]
    pub tls_cert: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// The authority that signed the readers' certificates (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_client_ca: Option<PathBuf>,
    /// TCP without encryption or authentication: whoever reaches the port reads everything recorded
    #[arg(long, conflicts_with = "tls_cert")]
    pub insecure: bool,
    #[command(flatten)]
    pub what: WhatArgs,
}

/// What to record; shared by all recording commands.
#[derive(Args)]
pub struct WhatArgs {
    /// How much is recorded (default: standard)
    #[arg(long, value_enum)]
    pub profile: Option<Profile>,
    /// Look for HTTP/1 in what goes through TCP sockets: request lines and statuses become events (default: with
    /// --profile full). Costs a look at each payload that may begin a message
    #[arg(long, value_name = "on|off", value_parser = on_off, num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    pub http: Option<bool>,
    /// Measure how long each recorded system call takes. Costs every call a second probe, at its beginning
    #[arg(long)]
    pub durations: bool,
    /// Record these calls, where they succeed, with the first bytes of what they read or write: read,
    /// pread64, readv, recvfrom, recvmsg, write, pwrite64, writev, sendto, sendmsg
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = payload_call)]
    pub payload: Vec<&'static str>,
    /// Bytes of each that are kept (default: 80, at most 4096)
    #[arg(long, value_name = "BYTES", requires = "payload", value_parser = snaplen)]
    pub snaplen: Option<u32>,
    /// Options from this TOML file; those of the command line win
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Take what matches out of program arguments, HTTP requests, DNS questions and payloads before
    /// anything is written; may be repeated
    #[arg(long, value_name = "REGEX", allow_hyphen_values = true)]
    pub redact: Vec<regex::bytes::Regex>,
    /// Only these families: process, syscall, network, container
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = family)]
    pub probes: Vec<&'static str>,
    /// Sign the trace with this key: Ed25519 in PEM, as openssl genpkey -algorithm ed25519 writes it,
    /// readable by its owner only
    #[arg(long, value_name = "KEY")]
    pub sign: Option<PathBuf>,
    /// Listen for `rec ctl` at this unix socket (/run/trailcam/control.sock if no path is given); without
    /// this there is no socket
    #[arg(long, value_name = "PATH", num_args = 0..=1, require_equals = true, default_missing_value = control::DEFAULT_PATH)]
    pub control: Option<PathBuf>,
    /// Size of the rings for system calls, all CPUs together, a power of two (default: 8388608, but
    /// 524288 per CPU at least)
    #[arg(long, value_name = "BYTES", value_parser = ring_bytes)]
    pub ring: Option<u32>,
    /// Kernel type information to use instead of /sys/kernel/btf/vmlinux
    #[arg(long, value_name = "FILE")]
    pub btf: Option<PathBuf>,
    /// A probe object to load instead of the built-in one
    #[arg(long, value_name = "FILE", env = "TRAILCAM_PROBES", hide = true)]
    pub object: Option<PathBuf>,
    /// Attach the probes but record nothing: measures what the hooks alone cost
    #[arg(long, hide = true)]
    pub empty: bool,
    #[command(flatten)]
    pub filter: FilterArgs,
}

fn on_off(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("{text:?} is neither on nor off")),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.len()
        - text
            .trim_start_matches(|c: char| c.is_ascii_digit() || c == '.')
            .len();
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("{text:?} is no time; write 30s, 10m or 2h")),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| format!("{text:?} is no time; write 30s, 10m or 2h"))?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| format!("{text:?} is too long"))
}

#[cfg(feature = "detect")]
fn interval(text: &str) -> Result<Duration, String> {
    /// Chunks are sealed four times in it; shorter ones would be nothing but headers.
    const INTERVAL_MIN: Duration = Duration::from_millis(200);
    match duration(text)? {
        interval if interval < INTERVAL_MIN => {
            Err(format!("{text:?} is too short; the least is 200ms"))
        }
        interval => Ok(interval),
    }
}

fn ring_size(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(Rotate::Bytes(bytes)) if bytes >= flight::RING_BYTES_MIN => Ok(bytes),
        Ok(Rotate::Bytes(_)) => Err(format!("a ring of {text} is too small; the least is 32MiB")),
        _ => Err(format!("{text:?} is no size; write 500MiB or 2GiB")),
    }
}

fn family(text: &str) -> Result<&'static str, String> {
    let mut families: Vec<_> = PROBES.iter().map(|probe| probe.family).collect();
    families.dedup();
    families
        .iter()
        .find(|family| **family == text)
        .copied()
        .ok_or_else(|| {
            format!(
                "there is no probe family {text:?}; there are {}",
                families.join(", ")
            )
        })
}

fn payload_call(text: &str) -> Result<&'static str, String> {
    PAYLOAD_CALLS
        .iter()
        .find(|name| **name == text)
        .copied()
        .ok_or_else(|| {
            format!(
                "of {text:?} no payload can be recorded; it can be of {}",
                PAYLOAD_CALLS.join(", ")
            )
        })
}

fn snaplen(text: &str) -> Result<u32, String> {
    const MAX: u32 = PAYLOAD_BYTES_MAX as u32;
    match text.parse() {
        Ok(bytes @ 1..=MAX) => Ok(bytes),
        _ => Err(format!("{text:?} is no number of bytes from 1 to {MAX}")),
    }
}

fn ring_bytes(text: &str) -> Result<u32, String> {
    const PAGE: u32 = 4096;
    const RING_MAX: u32 = 1 << 30;
    let bytes: u32 = text
        .parse()
        .map_err(|_| format!("{text:?} is no number of bytes"))?;
    if !bytes.is_power_of_two() || !(PAGE..=RING_MAX).contains(&bytes) {
        return Err(format!(
            "a ring of {bytes} bytes cannot be made; use a power of two from {PAGE} to {RING_MAX}"
        ));
    }
    Ok(bytes)
}
