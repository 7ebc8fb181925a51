//! What is found and said is the same bytes for any number of threads: of one file, of several, of a damaged
//! one and of a stream.

mod program;
mod support;

use program::replay;
use std::{fs, path::Path, process::Output};
use support::{Scenario, items, seal, seal_as};

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
