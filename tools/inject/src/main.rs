//! `inject`: the command line. Parses, decides, and leaves the doing to the library.

use std::{
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use inject::{
    act,
    campaign::config::Config,
    cgroup::Limits,
    entropy, image,
    inside::workload::Workload,
    interrupt, label,
    payload::{self, Payload},
    plan::{self, Arrangement, Plan, Request},
    record,
    run::{self, Outcome, Recording, Step},
    runtime::{Runtime, docker::Docker, guest::Guests, sandbox::Sandbox},
    span, summary, verify,
};

/// Exit codes: 0 every act was done, 1 one was not, 2 usage, 3 the trace has loss.
const FAILED: u8 = 1;
const LOSS: u8 = 3;

#[derive(Parser)]
#[command(
    name = "inject",
    version,
    about = "Labelled anomalies, safely, in containers that already do normal work"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// One JSON document on stdout instead of tables
    #[arg(long, global = true)]
    json: bool,
    /// Say what containers say
    #[arg(short, long, global = true)]
    verbose: bool,
    /// Say nothing but results and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
}

#[derive(Subcommand)]
enum Command {
    /// The classes: ATT&CK id, signals, needs
    List,
    /// Start containers that do normal work, let classes act in them, write labels
    Run(Box<RunArgs>),
    /// Many containers with normal work of every kind, some of which act: labelled data
    Campaign(Box<CampaignArgs>),
    /// Check that what the labels of a recorded run promise shows in its trace
    Verify {
        /// A directory that --record has made
        directory: PathBuf,
    },
}

/// Where and with what, for every command that starts containers.
#[derive(Args)]
struct Means {
    #[command(flatten)]
    place: Place,
    /// Record around it: DIR gets trace.zst, labels.csv, labels.jsonl, plan.json, report.md
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// What is recorded: light, standard or full
    #[arg(long, requires = "record")]
    profile: Option<String>,
    /// The recorder, if not beside this program or in PATH
    #[arg(long, value_name = "PATH", requires = "record")]
    rec: Option<PathBuf>,
    /// The static program of the containers, if not beside this one
    #[arg(long, value_name = "PATH")]
    payload: Option<PathBuf>,
    /// Same seed, same plan; random if not given
    #[arg(long)]
    seed: Option<u64>,
    /// Print the plan and stop
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
struct CampaignArgs {
    /// What the campaign consists of; what it leaves out is as shipped
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Containers in all, instead of the configuration's
    #[arg(long, value_name = "N", value_parser = containers)]
    containers: Option<usize>,
    /// Share of them that act, from 0 to 1
    #[arg(long, value_name = "SHARE", value_parser = share)]
    anomaly_ratio: Option<f64>,
    /// From the end of the warm-up to the end of the last act
    #[arg(long, value_parser = span::parse)]
    duration: Option<Duration>,
    /// Normal work before the first act
    #[arg(long, value_parser = span::parse)]
    warmup: Option<Duration>,
    #[command(flatten)]
    means: Means,
}

#[derive(Args)]
struct RunArgs {
    /// One class or several, separated by commas: see `inject list`
    #[arg(required = true, value_delimiter = ',', value_name = "CLASS")]
    classes: Vec<String>,
    /// How hard, from 0.1 to 1
    #[arg(long, default_value_t = 0.5, value_parser = intensity)]
    intensity: f64,
    /// How long each act lasts
    #[arg(long, default_value = "30s", value_parser = span::parse)]
    duration: Duration,
    /// Normal work before the first act
    #[arg(long, default_value = "10s", value_parser = span::parse)]
    warmup: Duration,
    /// Normal work between acts in turn
    #[arg(long, default_value = "2s", value_parser = span::parse)]
    gap: Duration,
    /// Normal work after the last act
    #[arg(long, default_value = "2s", value_parser = span::parse)]
    cooldown: Duration,
    /// Containers in which nothing is injected
    #[arg(long, default_value_t = 1, value_name = "N")]
    background: usize,
    /// All classes at the same time, each in its container
    #[arg(long)]
    together: bool,
    /// All classes in one container, one after another
    #[arg(long, conflicts_with = "together")]
    one_container: bool,
    /// Normal work of the containers, one after another: see `inject list`
    #[arg(long, value_delimiter = ',', default_value = "web", value_name = "WORKLOAD", value_parser = workload)]
    workload: Vec<Workload>,
    #[command(flatten)]
    means: Means,
    /// Memory limit of a container in MiB; swap is off
    #[arg(long, default_value_t = 96, value_name = "MIB", value_parser = clap::value_parser!(u64).range(32..=4096))]
    memory: u64,
    /// CPU limit of a container
    #[arg(long, default_value_t = 0.5, value_parser = cpus)]
    cpus: f64,
    /// Limit of processes and threads in a container
    #[arg(long, default_value_t = 640, value_parser = clap::value_parser!(u64).range(16..=4096))]
    pids: u64,
}

#[derive(Args)]
#[group(multiple = false)]
struct Place {
    /// Act in this running container, which must be limited and apart from the host
    #[arg(long, value_name = "ID")]
    container: Option<String>,
    /// Namespaces and cgroups of our own, without an engine (needs root)
    #[arg(long)]
    sandbox: bool,
    /// A Docker engine, at DOCKER_HOST or the usual socket
    #[arg(long)]
    docker: bool,
}

fn intensity(text: &str) -> Result<f64, String> {
    between(text, 0.1, 1.0)
}

fn share(text: &str) -> Result<f64, String> {
    between(text, 0.0, 1.0)
}

fn containers(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=plan::CONTAINERS_MAX).contains(&count) => Ok(count),
        _ => Err(format!(
            "{text:?} is not a number from 1 to {}",
            plan::CONTAINERS_MAX
        )),
    }
}

fn workload(text: &str) -> Result<Workload, String> {
    Workload::by_name(text).ok_or_else(|| {
        let names: Vec<&str> = Workload::ALL.iter().map(|known| known.name()).collect();
        format!("{text:?} is none of {}", names.join(", "))
    })
}

fn cpus(text: &str) -> Result<f64, String> {
    between(text, 0.05, 8.0)
}

fn between(text: &str, least: f64, most: f64) -> Result<f64, String> {
    let value: f64 = text
        .parse()
        .map_err(|_| format!("{text:?} is not a number"))?;
    match (least..=most).contains(&value) {
        true => Ok(value),
        false => Err(format!("{text} is not between {least} and {most}")),
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        Command::List => list(&cli),
        Command::Run(args) => run(&cli, args),
        Command::Campaign(args) => campaign(&cli, args),
        Command::Verify { directory } => verify(&cli, directory),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

/// Results go to stdout; nobody reading them is no failure.
fn print(text: &str) -> Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to stdout"),
    }
}

fn print_json(value: &impl serde::Serialize) -> Result<()> {
    print(&(serde_json::to_string_pretty(value)? + "\n"))
}

fn list(cli: &Cli) -> Result<u8> {
    match cli.json {
        true => {
            let classes: Vec<_> = act::all().collect();
            let workloads: Vec<_> = Workload::ALL
                .iter()
                .map(|known| serde_json::json!({ "name": known.name(), "about": known.about() }))
                .collect();
            print_json(&serde_json::json!({
                "attack_version": act::ATTACK_VERSION,
                "classes": classes,
                "workloads": workloads,
            }))?;
        }
        false => print(&format!(
            "{}ATT&CK matrix v{}\n\n{}",
            summary::classes(act::all()),
            act::ATTACK_VERSION,
            summary::workloads()
        ))?,
    }
    Ok(0)
}

fn run(cli: &Cli, args: &RunArgs) -> Result<u8> {
    let limits = Limits {
        memory_bytes: args.memory << 20,
        cpu_milli: (args.cpus * 1000.0).round() as u64,
        pids: args.pids,
    };
    carry_out(cli, &make_plan(args)?, &args.means, &limits)
}

fn campaign(cli: &Cli, args: &CampaignArgs) -> Result<u8> {
    if args.means.place.container.is_some() {
        bail!("a campaign starts its own containers: leave out --container");
    }
    let mut config = match &args.config {
        Some(path) => Config::read(path)?,
        None => Config::shipped()?,
    };
    config.containers = args.containers.unwrap_or(config.containers);
    config.anomaly_ratio = args.anomaly_ratio.unwrap_or(config.anomaly_ratio);
    config.duration = args.duration.unwrap_or(config.duration);
    config.warmup = args.warmup.unwrap_or(config.warmup);
    let seed = seed(args.means.seed.or(config.seed))?;
    let plan = inject::campaign::plan(&config, seed);
    carry_out(cli, &plan, &args.means, &config.limits)
}

fn seed(given: Option<u64>) -> Result<u64> {
    match given {
        Some(seed) => Ok(seed),
        None => Ok(u64::from(u32::from_le_bytes(entropy::bytes()?))),
    }
}

fn carry_out(cli: &Cli, plan: &Plan, means: &Means, limits: &Limits) -> Result<u8> {
    if means.dry_run {
        print_json(plan)?;
        return Ok(0);
    }
    let recording = recording(means)?;
    let payload = payload::find(means.payload.as_deref())?;
    let image = image::reference(&payload.program);
    let mut runtime = runtime(cli, &means.place, &payload, &image)?;
    interrupt::listen()?;
    let bar = bar(cli, plan);
    let outcome = run::run(
        plan,
        &mut *runtime,
        limits,
        recording.as_ref(),
        &mut |step| match step {
            Step::Note(text) if cli.verbose => bar.suspend(|| eprintln!("{text}")),
            Step::Note(_) => {}
            Step::Warning(_) if cli.quiet => {}
            Step::Warning(text) => bar.suspend(|| eprintln!("{text}")),
            Step::Progress { done, acting, .. } => {
                bar.set_position(done.as_millis() as u64);
                bar.set_message(match acting {
                    0 => "normal work".to_owned(),
                    1 => "1 act".to_owned(),
                    more => format!("{more} acts"),
                });
            }
        },
    );
    bar.finish_and_clear();
    let outcome = outcome?;
    match cli.json {
        true => print_json(&outcome)?,
        false => print(&summary::outcome(&outcome))?,
    }
    Ok(exit_code(&outcome))
}

/// Fails by name: each signal that did not move is a line on stderr.
fn verify(cli: &Cli, directory: &Path) -> Result<u8> {
    let verified = verify::verify(directory)?;
    match cli.json {
        true => print_json(&verified)?,
        false => print(&summary::verified(&verified))?,
    }
    let failures = verified.failures();
    for failure in &failures {
        eprintln!("not verified: {failure}");
    }
    match (failures.is_empty(), verified.dropped) {
        (false, _) => Ok(FAILED),
        (true, 0) => Ok(0),
        (true, _) => Ok(LOSS),
    }
}

fn make_plan(args: &RunArgs) -> Result<Plan> {
    if args.means.place.container.is_some() && args.classes.len() > 1 && !args.one_container {
        bail!(
            "--container names one container: give --one-container to let {} classes act in it in turn",
            args.classes.len()
        );
    }
    let request = Request {
        classes: args.classes.clone(),
        intensity: args.intensity,
        duration: args.duration,
        warmup: args.warmup,
        gap: args.gap,
        cooldown: args.cooldown,
        // Beside somebody else's container there is nothing that we would start.
        background: if args.means.place.container.is_some() {
            0
        } else {
            args.background
        },
        arrangement: match (args.together, args.one_container) {
            (true, _) => Arrangement::Together,
            (_, true) => Arrangement::OneContainer,
            _ => Arrangement::InTurn,
        },
        workloads: args.workload.clone(),
        seed: seed(args.means.seed)?,
    };
    Ok(plan::plan(&request)?)
}

fn recording(args: &Means) -> Result<Option<Recording>> {
    let Some(directory) = &args.record else {
        return Ok(None);
    };
    // Before anything is started; whoever comes in between is refused when the files are made.
    for name in [record::TRACE, label::CSV, label::JSONL] {
        let path = directory.join(name);
        if path.exists() {
            bail!("{path:?} of another run is there: choose a new directory");
        }
    }
    Ok(Some(Recording {
        program: record::find(args.rec.as_deref())?,
        profile: args.profile.clone(),
        directory: directory.clone(),
    }))
}

/// As asked; otherwise Docker, and where no engine answers the sandbox, and says so.
fn runtime(cli: &Cli, place: &Place, payload: &Payload, image: &str) -> Result<Box<dyn Runtime>> {
    if let Some(container) = &place.container {
        return Ok(Box::new(Guests::new(payload, image, container)?));
    }
    if place.sandbox {
        return Ok(Box::new(Sandbox::new(payload, image)?));
    }
    match Docker::connect(payload, image) {
        Ok(docker) => Ok(Box::new(docker)),
        Err(error) if place.docker => Err(error),
        Err(error) => {
            if !cli.quiet {
                eprintln!("{error:#}; using the sandbox");
            }
            Ok(Box::new(Sandbox::new(payload, image)?))
        }
    }
}

fn bar(cli: &Cli, plan: &Plan) -> ProgressBar {
    if cli.quiet || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {percent:>3}%  {eta} left  {msg}");
    let bar = ProgressBar::new(plan.total_ms);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn exit_code(outcome: &Outcome) -> u8 {
    let loss = outcome
        .recorded
        .as_ref()
        .is_some_and(|recorded| recorded.loss);
    match (outcome.all_done() && !outcome.interrupted, loss) {
        (false, _) => FAILED,
        (true, true) => LOSS,
        (true, false) => 0,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn values_out_of_range_are_usage_errors() {
        for bad in [
            &["run", "noop", "--intensity", "0"][..],
            &["run", "noop", "--intensity", "1.1"],
            &["run", "noop", "--duration", "3d"],
            &["run", "noop", "--sandbox", "--docker"],
            &["run", "noop", "--pids", "3"],
            &["run", "noop", "--rec", "x"],
            &["run"],
        ] {
            let args = [&["inject"][..], bad].concat();
            assert!(Cli::try_parse_from(&args).is_err(), "{args:?}");
        }
    }
}
