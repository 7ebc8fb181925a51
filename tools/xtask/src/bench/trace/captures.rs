//! The recordings that the trace is measured on, made by the recorder of today.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::super::{load::Nginx, observers::Recorder};
use crate::repo;

const NGINX_SECONDS: u32 = 10;
/// Of each part of the mixed load.
const PART_SECONDS: u32 = 6;
const SCRIPT: &str = include_str!("mixed.sh");

pub struct Recordings {
    pub nginx: PathBuf,
    pub mixed: PathBuf,
    /// What the mixed load was: programs that are not installed are left out.
    pub parts: Vec<String>,
}

/// Records both loads, or finds what an earlier run recorded.
pub fn record(keep: bool, rec: &Path, work: &Path) -> Result<Recordings> {
    let (nginx, mixed) = (work.join("nginx-full.zst"), work.join("mixed-full.zst"));
    let parts = work.join("mixed-full.txt");
    if !(keep && nginx.exists() && mixed.exists() && parts.exists()) {
        eprintln!("recording nginx and wrk …");
        record_nginx(rec, work, &nginx)?;
        eprintln!("recording the mixed load …");
        let ran = record_mixed(rec, work, &mixed)?;
        fs::write(&parts, ran).with_context(|| format!("cannot write {}", parts.display()))?;
    }
    let ran =
        fs::read_to_string(&parts).with_context(|| format!("cannot read {}", parts.display()))?;
    let parts: Vec<String> = ran.lines().map(str::to_owned).collect();
    ensure!(!parts.is_empty(), "no part of the mixed load ran");
    Ok(Recordings {
        nginx,
        mixed,
        parts,
    })
}

fn record_nginx(rec: &Path, work: &Path, trace: &Path) -> Result<()> {
    let nginx = Nginx::start(&work.join("nginx"))?;
    nginx.requests_per_second(1)?;
    let recorder = recorder(rec, work, trace)?;
    nginx.requests_per_second(NGINX_SECONDS)?;
    recorder.stop()
}

/// What ran, one part a line.
fn record_mixed(rec: &Path, work: &Path, trace: &Path) -> Result<String> {
    // Below the directory for temporary files: PostgreSQL refuses to be root, and others may not enter root's home.
    let dir = std::env::temp_dir().join(format!("trailcam-bench-{}", std::process::id()));
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let script = dir.join("mixed.sh");
    fs::write(&script, SCRIPT).with_context(|| format!("cannot write {}", script.display()))?;
    let recorder = recorder(rec, work, trace)?;
    let said = repo::output(
        repo::command("bash")
            .arg(&script)
            .arg(dir.join("work"))
            .arg(PART_SECONDS.to_string()),
    );
    recorder.stop()?;
    fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    said
}

fn recorder(rec: &Path, work: &Path, trace: &Path) -> Result<Recorder> {
    Recorder::rec(
        rec,
        &["--profile", "full"],
        trace,
        &work.join("observer.log"),
    )
}
