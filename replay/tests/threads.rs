//! What is found and said is the same bytes for any number of threads: of one file, of several, of a damaged
//! one and of a stream.

mod program;
mod support;

use program::replay;
use std::{fs, process::Output};
use support::{Scenario, items, seal};

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
    let told = |output: &Output| {
        (
            output.status.code(),
            output.stdout.clone(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
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
