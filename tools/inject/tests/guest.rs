//! Acts in a container of somebody else's: only where it is confined, and without a trace in its files.

mod support;

use std::process::{Command, Stdio};

use support::{finish, no_docker, skip};

/// Of this run of the tests alone: another may go on at the same engine.
fn image() -> String {
    format!("trailcam-guest-test:{}", std::process::id())
}

/// `docker` as the tests use it; its output, if it succeeded.
fn docker(args: &[&str]) -> Option<String> {
    let output = Command::new("docker")
        .args(args)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A container that sleeps, removed when dropped.
struct Sleeper(String);

impl Sleeper {
    fn start(options: &[&str]) -> Option<Sleeper> {
        let image = image();
        let command = [&*image, "/bin/busybox", "sleep", "600"];
        let args = [
            &["run", "-d", "--rm", "--network", "none"],
            options,
            &command,
        ]
        .concat();
        docker(&args).map(Sleeper)
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        docker(&["rm", "-f", &self.0]);
    }
}

/// An image of busybox alone; false without docker's client or a static busybox.
fn import() -> bool {
    let directory = tempfile::tempdir().unwrap();
    let bin = directory.path().join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    std::fs::create_dir(directory.path().join("tmp")).unwrap();
    if std::fs::copy("/usr/bin/busybox", bin.join("busybox")).is_err() {
        return false;
    }
    let archive = directory.path().join("image.tar");
    let packed = Command::new("tar")
        .arg("-C")
        .arg(directory.path())
        .arg("-cf")
        .arg(&archive)
        .args(["bin", "tmp"])
        .status();
    packed.is_ok_and(|status| status.success())
        && docker(&["import", &archive.to_string_lossy(), &image()]).is_some()
}

#[test]
fn acts_run_in_a_confined_container_and_leave_no_file() {
    if let Some(reason) = no_docker() {
        return skip(&reason);
    }
    if !import() {
        return skip("no docker client or no /usr/bin/busybox");
    }
    let limits = ["--memory", "64m", "--cpus", "0.5", "--pids-limit", "50"];
    let act = |sleeper: &Sleeper| {
        let quick = [
            "--one-container",
            "--duration",
            "300ms",
            "--warmup",
            "0s",
            "--gap",
            "0s",
            "--json",
        ];
        finish(
            &[
                &["run", "port_scan,drop_exec", "--container", &sleeper.0][..],
                &quick,
            ]
            .concat(),
        )
    };
    let unlimited = Sleeper::start(&[]).unwrap();
    let refused = act(&unlimited);
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("no memory limit"),
        "{}",
        refused.stderr
    );

    let confined = Sleeper::start(&limits).unwrap();
    let before = docker(&["diff", &confined.0]);
    let done = act(&confined);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let json = done.json();
    assert_eq!(json["containers"][0]["id"], confined.0.as_str());
    assert!(
        json["acts"]
            .as_array()
            .unwrap()
            .iter()
            .all(|act| act["outcome"] == "done"),
        "{json}"
    );
    let files = docker(&[
        "exec",
        &confined.0,
        "/bin/busybox",
        "find",
        "/",
        "-xdev",
        "-type",
        "f",
    ])
    .unwrap();
    let left: Vec<&str> = files
        .lines()
        .filter(|file| !file.starts_with("/etc/") && *file != "/.dockerenv")
        .collect();
    assert_eq!(left, ["/bin/busybox"], "before: {before:?}");
    assert_eq!(
        docker(&["inspect", "-f", "{{.State.Running}}", &confined.0]).as_deref(),
        Some("true")
    );
    drop((unlimited, confined));
    docker(&["rmi", &image()]);
}
