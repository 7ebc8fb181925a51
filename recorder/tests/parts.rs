//! Rotated, signed and piped captures, through the real `rec`: nothing is lost between parts, and what
//! is written can be verified.

mod support;

use std::{
    fs,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::Duration,
};

use support::{Recording, Trace, read, rec};
use trace_format::{ChunkSource, Context, Continued, Continues, SigningKey, TraceReader, Verifier};

/// As OpenSSL wrote it, for these tests alone.
const PEM: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEIFirFzlBlk8frY2fQXHWVRkUbTJB+CKX4DBAVpTRv4xW\n\
    -----END PRIVATE KEY-----\n";

fn key_file(directory: &Path, mode: u32) -> PathBuf {
    let path = directory.join("key.pem");
    fs::write(&path, PEM).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

fn verified(path: &Path) -> bool {
    let key = SigningKey::from_pem(PEM).unwrap().public_key();
    let mut reader = TraceReader::open(path).unwrap();
    let mut verifier = Verifier::new(Some(key));
    let mut chunks = 0;
    while let Some(chunk) = reader.next_chunk().unwrap() {
        let len = chunk.bytes.len() as u64;
        verifier.chunk(&chunk.header, reader.offset() - len, len);
        chunks += 1;
    }
    let whole = reader.issues().is_empty();
    let summary = reader.summary().cloned();
    let result = verifier.finish(summary.as_ref(), whole);
    whole && result.signed_to_end && result.vouched_chunks == chunks && !result.forged()
}

fn continues(trace: &Trace) -> Option<Continues> {
    trace.context.iter().find_map(|record| match &record.body {
        Context::Continues(body) => Some(*body),
        _ => None,
    })
}

fn continued(trace: &Trace) -> Option<Continued> {
    trace.context.iter().find_map(|record| match &record.body {
        Context::Continued(body) => Some(*body),
        _ => None,
    })
}

/// Each part is a whole, signed trace with a checkpoint; together they hold every sequence number.
#[test]
fn a_rotated_capture_loses_nothing_between_its_parts() {
    needs_kernel!();
    let directory = tempfile::tempdir().unwrap();
    let key = key_file(directory.path(), 0o600);
    let base = directory.path().join("trace.zst");
    let args = ["--rotate", "1s", "--profile", "full", "--sign"];
    let recording = Recording::start(&base, &[&args[..], &[key.to_str().unwrap()]].concat());
    thread::sleep(Duration::from_millis(4_500));
    let (status, _) = recording.stop();
    assert!(matches!(status.code(), Some(0 | 3)), "{status}");
    let paths: Vec<PathBuf> = (0..100)
        .map(|part| directory.path().join(format!("trace.{part:04}.zst")))
        .take_while(|path| path.exists())
        .collect();
    assert!(paths.len() >= 3, "{paths:?}");
    let parts: Vec<Trace> = paths.iter().map(|path| read(path)).collect();
    for (path, part) in paths.iter().zip(&parts) {
        assert!(part.complete && part.issues.is_empty(), "{:?}", part.issues);
        assert_eq!(part.late_rows, 0);
        assert!(verified(path), "{}", path.display());
        let kinds: Vec<&str> = part
            .context
            .iter()
            .map(|record| record.body.name())
            .collect();
        assert!(kinds.contains(&"checkpoint_end") && kinds.contains(&"process"));
        let mode = fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    for (number, pair) in parts.windows(2).enumerate() {
        let link = continues(&pair[1]).expect("a later part continues");
        assert_eq!(link.part as usize, number + 1);
        assert_eq!(link.previous_chunks, pair[0].chunks);
        assert!(continued(&pair[0]).is_some());
    }
    assert!(continues(&parts[0]).is_none());
    assert!(continued(parts.last().unwrap()).is_none());
    let mut counted = std::collections::BTreeMap::new();
    for (pair, count) in parts.iter().flat_map(Trace::counted) {
        *counted.entry(pair).or_insert(0u64) += count;
    }
    for (pair, (seen, dropped)) in parts.last().unwrap().counters() {
        let there = counted.get(&pair).copied().unwrap_or(0);
        assert_eq!(there + dropped, seen, "(cpu, probe) {pair:?}");
    }
}

#[test]
fn a_trace_goes_through_a_pipe_and_a_closed_one_is_no_failure() {
    needs_kernel!();
    let output = rec()
        .args(["capture", "-o", "-", "--duration", "1s"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(matches!(output.status.code(), Some(0 | 3)), "{said}");
    let mut reader = TraceReader::from_read(std::io::Cursor::new(output.stdout));
    let mut events = 0;
    while let Some(chunk) = reader.next_chunk().unwrap() {
        events += u64::from(chunk.header.rows);
    }
    assert!(events > 0);
    assert_eq!(reader.issues(), []);

    let mut child = rec()
        .args(["capture", "-o", "-", "--duration", "20s"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 8];
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut first).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(matches!(output.status.code(), Some(0 | 3)), "{said}");
    assert!(!said.contains("cannot write"), "{said}");
}

#[test]
fn what_cannot_work_is_refused_with_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let open = key_file(directory.path(), 0o644);
    let base = directory.path().join("trace.zst");
    let base = base.to_str().unwrap();
    for (args, code, words) in [
        (
            vec!["-o", "-", "--rotate", "10s"],
            2,
            "--rotate needs files",
        ),
        (
            vec!["-o", base, "--rotate", "10"],
            2,
            "neither a size nor a time",
        ),
        (
            vec!["-o", base, "--sign", open.to_str().unwrap()],
            1,
            "chmod 600",
        ),
        (
            vec!["-o", base, "--sign", "/no/such/key"],
            1,
            "/no/such/key",
        ),
    ] {
        let output = rec().arg("capture").args(&args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains(words), "{args:?}: {said}");
    }
    // A part of an earlier capture is not overwritten.
    let part = directory.path().join("trace.0001.zst");
    fs::write(&part, b"precious").unwrap();
    let output = rec()
        .args(["capture", "-o", base, "--rotate", "10s"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("trace.0001.zst"), "{said}");
    assert_eq!(fs::read(&part).unwrap(), b"precious");
    // Nor with --force, when recording cannot begin.
    let output = rec()
        .args(["capture", "--force", "--btf", "/no/such/btf", "-o", base])
        .args(["--rotate", "10s"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(fs::read(&part).unwrap(), b"precious");
}

/// Promise: a full disk ends a part, which is complete; the next one begins when there is room again, and
/// what was lost between them is counted like any other drop: handed-out numbers = events + drops.
#[test]
fn a_rotated_capture_goes_on_when_the_disk_has_room_again() {
    needs_kernel!();
    let directory = tempfile::tempdir().unwrap();
    let mount = directory.path().join("small");
    fs::create_dir(&mount).unwrap();
    nix::mount::mount(
        Some("none"),
        &mount,
        Some("tmpfs"),
        nix::mount::MsFlags::empty(),
        Some("size=20m"),
    )
    .unwrap();
    let result = std::panic::catch_unwind(|| full_and_empty_again(&mount));
    nix::mount::umount2(&mount, nix::mount::MntFlags::MNT_DETACH).unwrap();
    result.unwrap();
}

fn full_and_empty_again(mount: &Path) {
    // What takes the room away for a while.
    let other = mount.join("other");
    fs::write(&other, vec![1; 19 << 20]).unwrap();
    let args = ["--profile", "full", "--rotate", "1GiB"];
    let mut recording = Recording::start(&mount.join("trace.zst"), &args);
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let load = thread::spawn(move || {
        // Random numbers in the arguments: columns that do not compress fill the disk soon.
        let mut seed = 1_u64;
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // SAFETY: descriptor -1 is refused before the address is looked at.
            unsafe { libc::syscall(libc::SYS_read, -1, seed, seed >> 7) };
        }
    });
    recording.hear("it goes on in another part when there is room again");
    drop(stop);
    load.join().unwrap();
    let first = read(&mount.join("trace.0000.zst"));
    assert!(first.complete && first.issues.is_empty());
    assert!(!mount.join("trace.0001.zst").exists());
    fs::remove_file(&other).unwrap();
    recording.hear("there is room again");
    thread::sleep(Duration::from_millis(1_500));
    let (status, _) = recording.stop();
    assert_eq!(status.code(), Some(3), "it ends with loss");
    let second = read(&mount.join("trace.0001.zst"));
    assert!(second.complete && second.issues.is_empty());
    assert!(!mount.join("trace.0002.zst").exists());
    let link = continues(&second).expect("it continues");
    assert_eq!(link.part, 1);
    assert!(
        link.previous_chunks > first.chunks,
        "what is missing shows: {} of {}",
        first.chunks,
        link.previous_chunks
    );
    let (of_first, of_second) = (first.counted(), second.counted());
    let mut dropped_in_all = 0;
    for (pair, (seen, dropped)) in second.counters() {
        let there =
            |counted: &std::collections::BTreeMap<_, u64>| counted.get(&pair).copied().unwrap_or(0);
        let events = there(&of_first) + there(&of_second);
        assert_eq!(events + dropped, seen, "(cpu, probe) {pair:?}");
        dropped_in_all += dropped;
    }
    assert!(
        dropped_in_all > 0,
        "nothing was lost: the test shows nothing"
    );
}
