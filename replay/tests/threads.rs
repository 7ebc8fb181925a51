//! What is found and said is the same bytes for any number of threads: of one file, of several, of a damaged
//! one and of a stream.

mod program;
mod rotated;
mod support;

use ::replay::{
    pipeline::{Pipeline, Settings},
    rules::{RuleSet, SHIPPED},
};
use program::replay;
use std::{fs, path::Path, process::Output};
use support::{Item, Scenario, items, seal, seal_as};
use trace_format::{Context, Resolution, SealedChunk};

/// Everything that a command says, and how it ends.
fn told(output: &Output) -> (Option<i32>, Vec<u8>, String) {
    (
        output.status.code(),
        output.stdout.clone(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[test]
fn any_number_of_threads_finds_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let whole = support::file(&seal(&items(Scenario::ATTACKED), |_| 500));
    let quiet = support::file(&seal(&items(Scenario::QUIET), |_| 2000));
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 64].fill(0x5a);
    let (a, b, c) = (path("a.zst"), path("b.zst"), path("c.zst"));
    for (name, bytes) in [(&a, &whole), (&b, &quiet), (&c, &damaged)] {
        fs::write(name, bytes).unwrap();
    }
    for traces in [&[&a[..]][..], &[&a, &b], &[&c], &[&b, &c, &a]] {
        for more in [&["--json"][..], &["--json", "--incidents"]] {
            let run = |threads| {
                let arguments = [&["detect", "--threads", threads], more, traces].concat();
                told(&replay(&arguments, b""))
            };
            let one = run("1");
            assert!(one.1.len() > 100 || traces.len() == 1, "{one:?}");
            assert_eq!(run("2"), one);
            assert_eq!(run("8"), one);
        }
    }
    let file = replay(&["detect", "--json", "--threads", "8", &a], b"");
    let stream = replay(&["detect", "--json", "--threads", "8", "-"], &whole);
    assert_eq!(file.stdout, stream.stdout);
    assert!(!file.stdout.is_empty());
}

/// Traces of their own are folded beside each other. What comes out is what each says alone, one after the
/// other, whoever was done first; and a capture's parts stay one fold among them.
#[test]
fn traces_beside_each_other_say_what_each_says_alone() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let attacked = items(Scenario::ATTACKED);
    // The first is by far the longest: those behind it are done before.
    let long = write(
        "long.zst",
        &support::file(&seal_as([1; 16], &attacked, |_| 300)),
    );
    let quiet = support::file(&seal_as([2; 16], &items(Scenario::QUIET), |_| 2000));
    let quiet = write("quiet.zst", &quiet);
    let mut damaged = support::file(&seal_as([3; 16], &attacked[..attacked.len() / 3], |_| 500));
    let middle = damaged.len() / 2;
    damaged[middle..middle + 64].fill(0x5a);
    let damaged = write("damaged.zst", &damaged);
    let chunks = seal_as([4; 16], &attacked[..attacked.len() / 2], |_| 400);
    let mut cut = support::file(&chunks);
    cut.truncate(cut.len() * 2 / 3);
    let cut = write("cut.zst", &cut);
    // One trace in two files: the second has no first chunk, and belongs to the first.
    let split = seal_as([5; 16], &attacked, |_| 900);
    let half = split.len() / 2;
    let [front, rest] = [("front.zst", &split[..half]), ("rest.zst", &split[half..])]
        .map(|(name, chunks)| write(name, &support::file(chunks)));
    let groups = [
        &[&long[..]][..],
        &[&quiet],
        &[&damaged],
        &[&cut],
        &[&front, &rest],
    ];
    let run = |traces: &[&str], more: &[&str], threads: &str| {
        let switches = ["detect", "--json", "--threads", threads];
        told(&replay(&[&switches[..], more, traces].concat(), b""))
    };
    for more in [
        &[][..],
        &["--incidents"],
        &["--to", "4s"],
        &["--container", "web"],
    ] {
        let alone: Vec<u8> = groups
            .iter()
            .flat_map(|group| run(group, more, "1").1)
            .collect();
        let all = groups.concat();
        let one = run(&all, more, "1");
        assert_eq!(one.1, alone, "{more:?}");
        assert_eq!(one.0, Some(3), "one is damaged, one is cut");
        for threads in ["2", "3", "8"] {
            assert_eq!(run(&all, more, threads), one, "{more:?} {threads}");
        }
        let mut turned = all.clone();
        turned.rotate_left(1);
        assert_eq!(run(&turned, more, "2"), run(&turned, more, "1"), "{more:?}");
    }
    // A trace that cannot be read ends the command where it stands, whatever came of others.
    fs::write(directory.path().join("text.zst"), b"no trace").unwrap();
    let text = directory.path().join("text.zst");
    let wrong =
        [&quiet, text.to_str().unwrap(), &long].map(|path| Path::new(path).to_str().unwrap());
    assert_eq!(run(&wrong, &[], "8"), run(&wrong, &[], "1"));
}

/// The items as another host has them, whose containers get their names `late_ns` after they begin.
fn of_host(name: &str, late_ns: u64) -> Vec<Item> {
    let mut all = items(Scenario::ATTACKED);
    for item in &mut all {
        let Item::Context(record) = item else {
            continue;
        };
        match &mut record.body {
            Context::Host(host) => host.hostname = name.into(),
            Context::Container(container) if container.resolution == Resolution::Resolved => {
                container.name = format!("{}-{name}", container.name);
                record.boot_ns += late_ns;
            }
            _ => {}
        }
    }
    all.sort_by_key(Item::boot_ns);
    all
}

/// What a recorder finds while it records, with the same rules and statistics.
fn in_process(chunks: &[SealedChunk]) -> Vec<u8> {
    let mut pipeline = Pipeline::new(Settings {
        rules: Some(RuleSet::load(&[SHIPPED]).unwrap().0),
        statistics: true,
        ..Settings::default()
    });
    let mut lines = Vec::new();
    for chunk in chunks {
        pipeline.push(chunk).unwrap();
        lines.extend(pipeline.findings());
    }
    pipeline.finish();
    lines.extend(pipeline.findings());
    let lines = lines.iter().map(|finding| finding.to_json() + "\n");
    lines.collect::<String>().into_bytes()
}

/// Names that come after the finding they belong to, several hosts, and a rotated capture among them: file,
/// stream, in process, and any number of threads.
#[test]
fn late_names_several_hosts_and_parts_are_told_alike() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    // The port scan begins in second 12, the file is read in second 15: names come in between, and just after
    // the latter, which waits for them.
    let late = [
        ("one", 12_100_000_000),
        ("two", 15_600_000_000 - 200_000_000),
    ];
    let mut traces = Vec::new();
    let mut alone = Vec::new();
    for (number, (host, late_ns)) in (20..).zip(late) {
        let chunks = seal_as([number; 16], &of_host(host, late_ns), |_| 350);
        let bytes = support::file(&chunks);
        let path = write(&format!("{host}.zst"), &bytes);
        let live = in_process(&chunks);
        let run = |threads: &str, trace: &str, input: &[u8]| {
            replay(&["detect", "--json", "--threads", threads, trace], input).stdout
        };
        for threads in ["1", "8"] {
            assert!(run(threads, &path, b"") == live, "{host} {threads}");
            assert!(run(threads, "-", &bytes) == live, "{host} {threads}");
        }
        let text = String::from_utf8(live.clone()).unwrap();
        let shadow = text
            .lines()
            .find(|line| line.contains("/etc/shadow"))
            .unwrap();
        assert!(shadow.contains(&format!("web-{host}")), "{shadow}");
        alone.push(live);
        traces.push(path);
    }
    let rotated = items(Scenario::ATTACKED);
    let parts = rotated::capture(&rotated, &[rotated.len() / 3, rotated.len() / 2], None);
    for (part, bytes) in parts.iter().enumerate() {
        traces.push(write(&format!("part.{part:04}.zst"), bytes));
    }
    let run = |traces: &[&str], threads: &str| {
        let arguments = [&["detect", "--json", "--threads", threads][..], traces].concat();
        told(&replay(&arguments, b""))
    };
    let traces: Vec<&str> = traces.iter().map(String::as_str).collect();
    let of_parts = run(&traces[2..], "1").1;
    assert!(of_parts.len() > 100);
    alone.push(of_parts);
    let one = run(&traces, "1");
    assert!(one.1 == alone.concat(), "each says what it says alone");
    for threads in ["2", "8"] {
        assert_eq!(run(&traces, threads), one, "{threads}");
    }
}

/// Many small traces, each with another story to find.
#[test]
fn a_directory_of_traces_is_told_alike_by_any_number_of_threads() {
    let directory = tempfile::tempdir().unwrap();
    for situation in fixtures::SITUATIONS {
        let path = directory.path().join(format!("{}.zst", situation.name));
        (situation.build)().build().write_file(path).unwrap();
    }
    let run = |threads| {
        let traces = directory.path().to_str().unwrap();
        told(&replay(
            &["detect", "--json", "--threads", threads, traces],
            b"",
        ))
    };
    let one = run("1");
    assert!(one.1.split(|byte| *byte == b'\n').count() > fixtures::SITUATIONS.len() / 2);
    for threads in ["2", "8"] {
        assert_eq!(run(threads), one);
    }
}
