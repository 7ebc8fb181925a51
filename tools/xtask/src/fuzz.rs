//! Builds and runs the fuzz targets, each from a corpus of its own: the vectors seed those of the trace,
//! captures and streams made here those of the importer and of the live client.
//!
//! `cargo fuzz` needs compiler switches that stable Rust hides: `RUSTC_BOOTSTRAP=1` shows them. Corpora
//! and what was found live below the target directory, not in the repository.

mod live;
mod scap;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use trace_format::{ChunkSource, TraceReader};

use crate::{repo, spec_check::forge::Forge};

/// Where the crates with targets are.
const CRATES: [&str; 2] = ["format-spec/fuzz", "replay/fuzz"];
/// Beyond the 64 MiB that any reader may take there is the fuzzer itself and what it remembers.
const MEMORY_MIB_MAX: u32 = 1024;
/// A single input that takes longer is a finding.
const INPUT_SECONDS_MAX: u32 = 20;

#[derive(clap::Args)]
pub struct Args {
    /// Only this target; all by default
    target: Option<String>,
    /// How long each target runs
    #[arg(long, default_value_t = 20, value_name = "N")]
    seconds: u32,
    /// Write the corpora and stop
    #[arg(long)]
    seeds_only: bool,
}

pub fn main(args: &Args) -> Result<()> {
    let root = repo::root()?;
    let target_dir = repo::target_dir()?.join("fuzz");
    let mut known = Vec::new();
    for crate_dir in CRATES {
        for target in targets(&root.join(crate_dir))? {
            if args.target.as_ref().is_none_or(|wanted| *wanted == target) {
                run(args, &root, crate_dir, &target, &target_dir)?;
            }
            known.push(target);
        }
    }
    match &args.target {
        Some(wanted) if !known.contains(wanted) => {
            bail!("no target {wanted}: there are {}", known.join(", "))
        }
        _ => Ok(()),
    }
}

/// The names of a crate's targets: one file each.
fn targets(crate_dir: &Path) -> Result<Vec<String>> {
    let directory = crate_dir.join("targets");
    let mut names = Vec::new();
    for entry in
        fs::read_dir(&directory).with_context(|| format!("cannot list {}", directory.display()))?
    {
        let path = entry?.path();
        if let Some(name) = path.file_stem() {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn run(args: &Args, root: &Path, crate_dir: &str, target: &str, target_dir: &Path) -> Result<()> {
    let corpus = directory(target_dir, "corpus", target)?;
    let found = directory(target_dir, "found", target)?;
    let seeds = seed(root, target, &corpus)?;
    eprintln!("── {target}: {seeds} seeds, {} s", args.seconds);
    if args.seeds_only {
        return Ok(());
    }
    let mut command = repo::command(repo::cargo());
    command
        .current_dir(root.join(crate_dir))
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", target_dir)
        .args(["fuzz", "run", "--fuzz-dir", ".", "--sanitizer", "none"])
        .arg(target)
        .arg(&corpus)
        .arg("--")
        .arg(format!("-max_total_time={}", args.seconds))
        .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
        .arg(format!("-artifact_prefix={}/", found.display()))
        .args(["-max_len=65536", "-print_final_stats=1", "-verbosity=0"]);
    repo::run(&mut command).with_context(|| {
        format!(
            "target {target} found something (in {}) or could not run; `cargo install cargo-fuzz --locked` \
             if that is what is missing",
            found.display()
        )
    })
}

fn directory(target_dir: &Path, kind: &str, target: &str) -> Result<PathBuf> {
    let path = target_dir.join(kind).join(target);
    fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    Ok(path)
}

/// Writes what a target starts from; returns how many.
fn seed(root: &Path, target: &str, corpus: &Path) -> Result<usize> {
    let seeds = match target {
        "scap_import" => scap::seeds(root)?,
        // Behind the size of the pieces that the capture comes in.
        "scap_blocks" => scap::seeds(root)?
            .into_iter()
            .map(|capture| [&[6], &capture[..]].concat())
            .collect(),
        "rule_files" => rule_files(root)?,
        "live_stream" => {
            let mut traces = Vec::new();
            for path in vectors(root)? {
                let bytes =
                    fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
                let mut reader = TraceReader::from_read(std::io::Cursor::new(bytes));
                let mut chunks = Vec::new();
                while let Ok(Some(chunk)) = reader.next_chunk() {
                    chunks.push(chunk.bytes.to_vec());
                }
                traces.push(chunks);
            }
            live::seeds(&traces)
        }
        _ => from_vectors(root, target)?,
    };
    for seed in &seeds {
        let name = corpus.join(format!("seed-{}", &blake3::hash(seed).to_hex()[..16]));
        fs::write(&name, seed).with_context(|| format!("cannot write {}", name.display()))?;
    }
    Ok(seeds.len())
}

/// What the vectors give a target of the trace format.
fn from_vectors(root: &Path, target: &str) -> Result<Vec<Vec<u8>>> {
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for path in vectors(root)? {
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        if target == "reader" {
            seeds.push(bytes);
            continue;
        }
        let mut reader = TraceReader::from_read(std::io::Cursor::new(bytes.clone()));
        let mut end = 0;
        while let Ok(Some(chunk)) = reader.next_chunk() {
            end += chunk.bytes.len();
            let mut opened = Forge::open(&chunk.bytes);
            match target {
                "frame" => seeds.push([&[1][..], &opened.fixed[36..], &opened.meta()].concat()),
                "chunk_body" => {
                    let kinds = opened
                        .parts
                        .iter()
                        .find(|(tag, _)| *tag == 1)
                        .map_or(&[][..], |(_, payload)| &payload[8..]);
                    let families = (kinds.len() / 6) as u8;
                    seeds.push([&[families], kinds, &opened.body()].concat());
                }
                "context" => {
                    opened.sections.retain(|section| section.kind == 3);
                    seeds.extend(opened.sections.pop().map(|section| section.payload));
                }
                _ => {}
            }
        }
        if target == "frame" && reader.reached_summary().is_some() {
            seeds.extend(summary_fields(&bytes[end..]));
        }
    }
    if target == "resync" {
        // One of each operation: what, from, bytes, to.
        seeds.extend((0..6).map(|what| vec![what, 100, 1, 200, 0, 44, 3]));
    }
    Ok(seeds)
}

/// A summary's frame as the target `frame` takes it: kind, fixed fields, parts.
fn summary_fields(frame: &[u8]) -> Option<Vec<u8>> {
    let len = u32::from_le_bytes(frame.get(4..8)?.try_into().ok()?) as usize;
    let payload = frame.get(8..8 + len)?;
    let fields = payload.get(36..len.checked_sub(32)?)?;
    Some([&[2], fields].concat())
}

fn vectors(root: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for group in ["valid", "damaged", "invalid"] {
        let directory = root.join("format-spec/vectors").join(group);
        for entry in fs::read_dir(&directory)
            .with_context(|| format!("cannot list {}", directory.display()))?
        {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "zst") {
                paths.push(path);
            }
        }
    }
    Ok(paths)
}

/// The shipped rules, each item of them, and conditions in every notation behind an empty file.
fn rule_files(root: &Path) -> Result<Vec<Vec<u8>>> {
    let path = root.join("replay/rules/trailcam_rules.yaml");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let items = text.split("\n- ").map(|item| format!("- {item}"));
    let conditions = [
        "evt.type in (open, openat) and not (proc.name = \"x\\x41\" or fd.name pmatch (/etc, '/u*'))",
        "len(concat(proc.name, 'a')) > 3 and join('-', proc.aname) regex '(a|b)*[[:digit:]]{1,3}'",
        "getopt(proc.args, \"f:v\")[f] contains anyof (a, b) and tolower(proc.exe) = val(proc.name)",
        "fd.name bcontains 2f65 and container.label[\"a.b\"] exists or evt.rawres < 0x10",
    ];
    let conditions = conditions.map(|condition| [&[0xff], condition.as_bytes()].concat());
    Ok(items
        .map(String::into_bytes)
        .chain(conditions)
        .chain([text.clone().into_bytes()])
        .collect())
}
