//! `replay import` as a program: exit codes, what it leaves on disk, and the commands after it.

#![cfg(all(feature = "import", feature = "cli"))]

mod captures;

use captures::{captures, read_content};
use std::{fs, path::Path, process::Command};

/// Exit code, standard output, standard error.
fn replay(directory: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_replay"))
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn lists(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[test]
fn exit_codes_tell_whole_damaged_wrong_and_misused() {
    let all = captures();
    let Some(small) = all.iter().find(|one| one.name.ends_with("cat_write.scap")) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::copy(&small.path, folder.join("whole.scap")).unwrap();
    let content = read_content(&small.path);
    fs::write(folder.join("cut.scap"), &content[..content.len() - 2]).unwrap();
    fs::write(folder.join("not.scap"), b"not a capture at all").unwrap();

    let (code, out, _) = replay(folder, &["import", "whole.scap"]);
    assert_eq!(code, 0);
    assert!(out.contains("345 event blocks"), "{out}");
    let (code, out, err) = replay(folder, &["--json", "import", "cut.scap"]);
    assert_eq!(code, 3);
    assert!(
        out.contains("\"events\":344") && err.contains("cut short"),
        "{out}{err}"
    );
    let (code, _, err) = replay(folder, &["import", "not.scap"]);
    assert_eq!(code, 1);
    assert!(err.contains("not a scap capture"), "{err}");
    let (code, _, err) = replay(folder, &["import", "whole.scap"]);
    assert_eq!(code, 2);
    assert!(err.contains("--force"), "{err}");
    assert_eq!(
        lists(folder),
        ["cut.scap", "cut.zst", "not.scap", "whole.scap", "whole.zst"],
        "a failed import leaves nothing"
    );

    let first = fs::read(folder.join("whole.zst")).unwrap();
    assert_eq!(replay(folder, &["import", "--force", "whole.scap"]).0, 0);
    assert!(
        first == fs::read(folder.join("whole.zst")).unwrap(),
        "the same capture, the same trace"
    );
}

#[test]
fn commands_work_on_an_import() {
    let all = captures();
    let Some(small) = all.iter().find(|one| one.name.ends_with("cat_write.scap")) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let capture = small.path.to_str().unwrap();
    assert_eq!(
        replay(folder, &["import", capture, "-o", "t.zst", "--level", "1"]).0,
        0
    );

    let (code, out, _) = replay(folder, &["info", "t.zst"]);
    assert_eq!(code, 0);
    assert!(out.contains("345 blocks, "), "{out}");
    let (code, out, _) = replay(folder, &["verify", "t.zst"]);
    assert!(code == 0 && out.contains("whole"), "{out}");
    let filter = "evt.type = open and evt.dir = < and fd.name = /dev/null and proc.name = cat";
    let (code, out, _) = replay(folder, &["cat", "--filter", filter, "t.zst"]);
    assert_eq!((code, out.lines().count()), (0, 1), "{out}");
    assert!(
        out.starts_with("2016-08-04T16:17:57.882054739Z")
            && out.contains("< open fd=3 name=/dev/null"),
        "{out}"
    );
    let (code, out, _) = replay(folder, &["--json", "cat", "t.zst"]);
    assert_eq!(code, 0);
    assert_eq!(
        out.lines()
            .filter(|line| line.contains("\"probe\":1"))
            .count(),
        345
    );
    assert_eq!(replay(folder, &["detect", "t.zst"]).0, 0);
}
