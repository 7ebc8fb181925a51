//! Against sysdig, on its own captures: size of the import, and speed of reading it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::codec::path;
use super::repeat::repeated;
use super::table::{Row, millions};
use super::timing::{in_turns, lines, pinned, seconds};
use crate::bench::statistics::Median;
use crate::repo;

const EVENTS_WANTED: u64 = 1_000_000;
/// 36,000 events of a server's start and its answers, in one section.
const CAPTURE: &str = "sf-collector/mpm-event/full_capture.scap";
/// A process nobody has: every event is judged, none is printed.
pub const NOBODY: &str = "proc.pname=nobody-has-this-name";
/// Switches chunk skipping off, for comparison.
const NO_SKIP: [&str; 2] = ["--history", "all"];
/// Allows it, which a filter does not by itself. An imported capture is decoded whole either way.
const SKIP: [&str; 2] = ["--history", "checkpoint"];
const NO_CAPTURES: &str = "../shared/data/scap is not here";

/// The captures beside the repository.
fn captures() -> Result<PathBuf> {
    let dir = repo::root()?.join("../shared/data/scap");
    ensure!(dir.is_dir(), NO_CAPTURES);
    Ok(dir)
}

fn import(replay: &Path, capture: &Path, out: &Path, switches: &[&str]) -> Result<()> {
    let _ = fs::remove_file(out);
    let mut command = repo::command(replay);
    command
        .arg("import")
        .args(switches)
        .arg(capture)
        .arg("-o")
        .arg(out);
    let said = command.output().context("cannot start replay")?;
    // 3: the capture is cut short, everything before is there.
    match said.status.code() {
        Some(0 | 3) => Ok(()),
        _ => bail!(
            "replay import {} ended with {}: {}",
            capture.display(),
            said.status,
            String::from_utf8_lossy(&said.stderr).trim()
        ),
    }
}

/// All shared captures: our trace against the same content in gzip -6.
pub fn sizes(replay: &Path, work: &Path) -> Result<Vec<Row>> {
    let out = work.join("imported.zst");
    let mut found = Vec::new();
    find(&captures()?, &mut found)?;
    ensure!(!found.is_empty(), "no .scap below ../shared/data/scap");
    eprintln!("importing {} captures …", found.len());
    let (mut ours, mut gzip) = (0, 0);
    for capture in &found {
        import(replay, capture, &out, &[])?;
        ours += fs::metadata(&out)
            .with_context(|| format!("{}", out.display()))?
            .len();
        gzip += gzip_6(capture)?;
    }
    fs::remove_file(&out)?;
    Ok(vec![Row::new(
        format!("{} .scap files imported, against gzip -6", found.len()),
        "≤ 60 %",
        format!(
            "{:.1} % ({ours} of {gzip} bytes)",
            ours as f64 / gzip as f64 * 100.0
        ),
    )])
}

fn find(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, found)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "scap")
        {
            found.push(path);
        }
    }
    found.sort();
    Ok(())
}

/// Bytes of the content at gzip -6; some captures are gzip already, at another level.
fn gzip_6(capture: &Path) -> Result<u64> {
    const SCRIPT: &str = r#"set -o pipefail; gzip --force --decompress --stdout -- "$1" | gzip -6 --no-name | wc -c"#;
    let said = repo::output(
        repo::command("bash")
            .args(["-c", SCRIPT, "gzip"])
            .arg(capture),
    )?;
    said.trim()
        .parse()
        .with_context(|| format!("gzip of {} has {said} bytes", capture.display()))
}

/// A capture repeated to a million events, and what it is imported.
pub struct Repeated {
    pub capture: PathBuf,
    pub trace: PathBuf,
    pub events: u64,
}

pub fn repeated_capture(replay: &Path, work: &Path) -> Result<Repeated> {
    let original = captures()?.join(CAPTURE);
    let bytes =
        fs::read(&original).with_context(|| format!("cannot read {}", original.display()))?;
    let (bytes, events) = repeated(&bytes, EVENTS_WANTED)?;
    let (capture, trace) = (work.join("repeated.scap"), work.join("repeated.zst"));
    fs::write(&capture, bytes).with_context(|| format!("cannot write {}", capture.display()))?;
    // The recorder's level: the best one takes a minute for this.
    import(replay, &capture, &trace, &["--level", "3"])?;
    Ok(Repeated {
        capture,
        trace,
        events,
    })
}

/// That capture, filtered and printed by both.
pub fn speed(replay: &Path, work: &Path, runs: u32) -> Result<Vec<Row>> {
    let sysdig = repo::need_program("sysdig", "sysdig")?;
    let Repeated {
        capture,
        trace,
        events,
    } = repeated_capture(replay, work)?;
    let (capture, trace) = (path(&capture)?, path(&trace)?);

    eprintln!("filtering {events} events …");
    let ours = |arguments: &[&str]| pinned(replay, &[&["cat", trace][..], arguments].concat());
    let peer = |arguments: &[&str]| pinned(&sysdig, &[&["-r", capture][..], arguments].concat());
    let filter = |history: &[&str]| seconds(&mut ours(&[&["--filter", NOBODY], history].concat()));
    let [filtered, skipping, peer_filtered] = in_turns(
        runs,
        [&|| filter(&NO_SKIP), &|| filter(&SKIP), &|| {
            seconds(&mut peer(&[NOBODY]))
        }],
    )?;

    let printed = [lines(&mut ours(&[]))?, lines(&mut peer(&[]))?];
    eprintln!("printing {} and {} lines …", printed[0], printed[1]);
    let [print, peer_print] = in_turns(
        runs,
        [&|| seconds(&mut ours(&[])), &|| seconds(&mut peer(&[]))],
    )?;
    let against = |ours: Median, peer: Median| {
        let times = ours.value / peer.value;
        format!(
            "{times:.1} × ({}; sysdig: {})",
            millions(ours),
            millions(peer)
        )
    };
    let lines = |time: Median, lines: u64| rate(time, lines as f64);
    Ok(vec![
        Row::new(
            format!(
                "filter on the parent's name that matches nothing, {events} imported events, events/s"
            ),
            "≥ 5 × sysdig",
            against(
                rate(filtered, events as f64),
                rate(peer_filtered, events as f64),
            ),
        ),
        Row::new(
            "the same with chunk skipping, events/s",
            "",
            against(
                rate(skipping, events as f64),
                rate(peer_filtered, events as f64),
            ),
        ),
        Row::new(
            "all of them as text, lines/s",
            "≥ 10 × sysdig",
            against(lines(print, printed[0]), lines(peer_print, printed[1])),
        ),
    ])
}

/// Of so many things in that time.
pub fn rate(time: Median, things: f64) -> Median {
    Median {
        value: things / time.value,
        low: things / time.high,
        high: things / time.low,
    }
}
