//! The kernels Trailcam promises to run on, each booted for real: every probe loads, and a program whose
//! acts are known is recorded exactly.

mod expectation;
mod guest;
mod kernels;
mod recording;
mod resources;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::repo;
use expectation::Known;
use recording::Recording;

#[derive(clap::Args)]
pub struct Args {
    /// Kernel series to boot; `-v1`: with cgroup v1 only
    #[arg(long, value_delimiter = ',', default_value = "5.10,5.10-v1,6.1,6.12")]
    kernels: Vec<String>,
    /// Probe object to load instead of the one built into rec
    #[arg(long)]
    probes: Option<PathBuf>,
    /// Take the programs as they were last built
    #[arg(long)]
    no_build: bool,
}

/// Names the cgroup in which the sequence runs, as Docker would.
const CONTAINER_ID: &str = "5ca1ab1e5ca1ab1e5ca1ab1e5ca1ab1e5ca1ab1e5ca1ab1e5ca1ab1e5ca1ab1e";

/// Every option of the filter, wanted and left out: each is code that the verifier has not seen otherwise.
const FILTER: &str = "--container $CONTAINER --tree 1 --uid 0 --comm sh --kind open,tcp_state --syscall connect \
    --result failed --path /etc --address [::1]:53 --min-duration 1ms --exclude uid=7 --exclude comm=init \
    --exclude kind=signal --exclude syscall=futex --exclude result=EAGAIN --exclude path=/etc/ssl \
    --exclude address=10.0.0.0/8";

/// What happens in the guest. The recorder counts as started when its first chunk is in the file.
const SCRIPT: &str = r#"
for hierarchy in $CGROUPS; do
  mkdir -p $hierarchy/docker/$CONTAINER
done
[ -e /recorder.bpf.o ] && export TRAILCAM_PROBES=/recorder.bpf.o
rec check --json > /out/check.json 2> /out/check.log
echo $? > /out/check.status
rec capture --profile full --durations --payload write,writev,sendmsg --snaplen 7 --duration 120s -o /out/trace.zst > /out/rec.out 2> /out/rec.log &
rec=$!
tries=0
while [ ! -s /out/trace.zst ] && [ $tries -lt 600 ] && kill -0 $rec; do
  sleep 0.1
  tries=$((tries + 1))
done
sh -c "for hierarchy in \$CGROUPS; do echo \$\$ > \$hierarchy/docker/$CONTAINER/cgroup.procs; done; exec dd if=/dev/zero of=/tmp/cached bs=1048576 count=$CACHED_MIB"
sh -c "for hierarchy in \$CGROUPS; do echo \$\$ > \$hierarchy/docker/$CONTAINER/cgroup.procs; done; exec known-sequence --threads 2 --refused 2 --i386 2" > /out/known.json
sleep 2
[ -e /proc/pressure/cpu ] && cat /proc/pressure/cpu > /out/pressure
for hierarchy in $CGROUPS; do
  ls $hierarchy/docker/$CONTAINER >> /out/cgroup.files
done
sleep 1
kill -INT $rec
wait $rec
echo $? > /out/rec.status
rec capture --profile full --payload read,recvmsg --snaplen 4096 --duration 2s -o /tmp/filtered.zst $FILTER > /out/filter.out 2> /out/filter.log
echo $? > /out/filter.status
"#;

pub fn main(args: &Args) -> Result<()> {
    let work = repo::target_dir()?.join("matrix");
    fs::create_dir_all(&work)?;
    let cache = cache()?;
    let initramfs = pack(args, &work)?;
    let mut failed = Vec::new();
    for series in &args.kernels {
        let (number, v1) = match series.strip_suffix("-v1") {
            Some(number) => (number, true),
            None => (series.as_str(), false),
        };
        let result = kernels::fetch(number, &cache).and_then(|kernel| {
            eprintln!("kernel {series}: booting {}", kernel.package);
            judge(&guest::boot(&kernel, v1, &initramfs, &work)?, v1)
        });
        match result {
            Ok(summary) => println!("kernel {series}: ok ({summary})"),
            Err(error) => {
                println!("kernel {series}: FAILED\n{error:#}");
                failed.push(series.as_str());
            }
        }
    }
    if !failed.is_empty() {
        bail!(
            "failed on kernel {} (what each guest left is in {})",
            failed.join(", "),
            work.display()
        );
    }
    Ok(())
}

/// Where fetched kernels stay: `TRAILCAM_KERNEL_CACHE`, or beside the target directory, which a clean
/// build empties.
fn cache() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("TRAILCAM_KERNEL_CACHE") {
        return Ok(PathBuf::from(dir));
    }
    let target = repo::target_dir()?;
    Ok(target
        .parent()
        .context("the target directory has a parent")?
        .join("kernels"))
}

/// `--workspace`: with the same features as everybody's `cargo test --workspace`, so nothing heavy is
/// built again.
fn pack(args: &Args, work: &Path) -> Result<PathBuf> {
    if !args.no_build {
        let mut cargo = repo::command(repo::cargo());
        cargo
            .args(["build", "--quiet", "--workspace", "--bins"])
            .current_dir(repo::root()?);
        repo::run(&mut cargo)?;
    }
    let programs = repo::target_dir()?.join("debug");
    let (rec, known) = (programs.join("rec"), programs.join("known-sequence"));
    let script = SCRIPT
        .replace("$FILTER", FILTER)
        .replace("$CACHED_MIB", &resources::CACHED_MIB.to_string())
        .replace("$CONTAINER", CONTAINER_ID);
    let files = args
        .probes
        .as_deref()
        .map(|object| (object, "/recorder.bpf.o"));
    let payload = guest::Payload {
        programs: vec![&rec, &known],
        files: files.into_iter().collect(),
        script: &script,
    };
    guest::initramfs(&payload, work)
}

/// What the guest left, against what must be true; the error lists every difference.
fn judge(out: &Path, v1: bool) -> Result<String> {
    let read = |name: &str| fs::read_to_string(out.join(name)).unwrap_or_default();
    let mut wrong = Vec::new();
    for (what, log) in [
        ("check", "check.log"),
        ("rec", "rec.log"),
        ("filter", "filter.log"),
    ] {
        let status = read(&format!("{what}.status"));
        if status.trim() != "0" {
            wrong.push(format!(
                "`rec` ({what}) ended with {:?}: {}",
                status.trim(),
                read(log)
            ));
        }
    }
    wrong.extend(not_offered(&read("check.json")));
    let trace = out.join("trace.zst");
    if !trace.exists() {
        wrong.push(format!(
            "no trace; the guest said: {}{}",
            read("script.log"),
            read("console.log")
        ));
        bail!("{}", report(&wrong));
    }
    let known = Known::parse(&read("known.json"))?;
    let recording = Recording::read(&trace)?;
    wrong.extend(expectation::differences(&known, &recording, CONTAINER_ID));
    let guest = resources::Guest {
        v1,
        files: read("cgroup.files"),
        pressure: !read("pressure").is_empty(),
    };
    wrong.extend(resources::differences(&guest, &recording, CONTAINER_ID));
    wrong.extend(expectation::unheard(
        &known,
        &read("known.json"),
        &recording,
    ));
    if !wrong.is_empty() {
        bail!("{}", report(&wrong));
    }
    Ok(format!(
        "{}: {} probes attached, {} events, the known sequence exactly",
        read("uname").trim(),
        recording.probes.len(),
        recording.events.len()
    ))
}

/// Probes that `rec check` says this kernel does not offer: here, every one must load.
fn not_offered(check: &str) -> Vec<String> {
    let check: Value = match serde_json::from_str(check) {
        Ok(check) => check,
        Err(error) => {
            return vec![format!(
                "`rec check --json` printed no JSON ({error}): {check:?}"
            )];
        }
    };
    let probes = check["probes"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if probes.is_empty() {
        return vec!["`rec check` names no probes".into()];
    }
    let missing = probes
        .iter()
        .filter(|probe| probe["attached"].as_str().is_none_or(str::is_empty));
    missing
        .map(|probe| {
            format!(
                "`rec check`: {} is not offered: {}",
                probe["name"], probe["reason"]
            )
        })
        .collect()
}

/// The first differences, each short: a verifier's log alone has megabytes, and the files hold all of it.
fn report(wrong: &[String]) -> String {
    const LINES_MAX: usize = 12;
    const HEAD: usize = 300;
    const TAIL: usize = 300;
    let mut lines: Vec<String> = Vec::new();
    for difference in wrong.iter().take(LINES_MAX) {
        let characters: Vec<char> = difference.chars().collect();
        if characters.len() <= HEAD + TAIL {
            lines.push(difference.clone());
            continue;
        }
        let head: String = characters[..HEAD].iter().collect();
        let tail: String = characters[characters.len() - TAIL..].iter().collect();
        lines.push(format!("{head} […] {tail}"));
    }
    if wrong.len() > LINES_MAX {
        lines.push(format!("… and {} more", wrong.len() - LINES_MAX));
    }
    lines.join("\n")
}
