//! Promises of the control socket: a mark stands in the trace at the time that was answered, and only
//! the recorder's user and root get an answer.

mod support;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use recorder::{
    capture::Progress,
    control::{About, Request, Server, ask},
};
use support::{Recording, read, rec};
use trace_format::{Context, Mark};

fn ctl(socket: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let output = rec()
        .arg("ctl")
        .args(args)
        .arg("--control")
        .arg(socket)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn a_mark_stands_in_the_trace_at_the_time_that_was_answered() {
    needs_kernel!();
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("control.sock");
    let option = format!("--control={}", socket.display());
    let recording = Recording::start(&dir.path().join("trace.zst"), &[&option]);
    let path = recording.trace.clone();

    let (code, boot_ns, stderr) = ctl(&socket, &["mark", "version 7", "--label", "deploy"]);
    assert_eq!(code, Some(0), "{stderr}");
    let (code, json, stderr) = ctl(&socket, &["mark", "again", "--json"]);
    assert_eq!(code, Some(0), "{stderr}");
    let again: serde_json::Value = serde_json::from_str(&json).unwrap();
    let (code, _, stderr) = ctl(&socket, &["mark", &"x".repeat(5000)]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("at most 4096 bytes"), "{stderr}");
    let (code, status, stderr) = ctl(&socket, &["status", "--json"]);
    assert_eq!(code, Some(0), "{stderr}");
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["recording"], true);
    assert_eq!(status["marks"], 2);
    recording.stop();
    assert!(!socket.exists());
    let (code, _, stderr) = ctl(&socket, &["status"]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("no capture answers"), "{stderr}");

    let trace = read(&path);
    let marks: Vec<(String, &Mark)> = trace
        .context
        .iter()
        .filter_map(|record| match &record.body {
            Context::Mark(mark) => Some((record.boot_ns.to_string(), mark)),
            _ => None,
        })
        .collect();
    let mark = |label: &str, text: &str| Mark {
        label: label.into(),
        text: text.into(),
    };
    assert_eq!(
        marks,
        [
            (boot_ns, &mark("deploy", "version 7")),
            (again["boot_ns"].to_string(), &mark("note", "again"))
        ]
    );
}

#[test]
fn without_being_asked_there_is_no_socket() {
    needs_kernel!();
    let dir = tempfile::tempdir().unwrap();
    let recording = Recording::start(&dir.path().join("trace.zst"), &[]);
    let sockets = fs::read_to_string("/proc/net/unix").unwrap();
    let fds = fs::read_dir(format!("/proc/{}/fd", recording.pid())).unwrap();
    let listening: Vec<String> = fds
        .filter_map(|fd| fs::read_link(fd.unwrap().path()).ok())
        .filter_map(|link| {
            let inode = link.to_string_lossy().strip_prefix("socket:[")?.to_owned();
            let inode = inode.trim_end_matches(']').to_owned();
            // proc_pid_net(5): "Num RefCount Protocol Flags Type St Inode Path"; flag 0x10000 listens.
            let line = sockets
                .lines()
                .find(|line| line.split_whitespace().nth(6) == Some(&*inode))?;
            (line.split_whitespace().nth(3) == Some("00010000")).then(|| line.to_owned())
        })
        .collect();
    recording.stop();
    assert_eq!(listening, [""; 0]);
}

/// The socket's mode already keeps others out; here it lets them in, and the kernel's word about who
/// connects still does not.
#[test]
fn another_user_is_refused_whatever_the_sockets_mode() {
    if !nix::unistd::geteuid().is_root() {
        return support::skip("needs root, to be another user");
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let socket = dir.path().join("control.sock");
    let progress = Arc::new(Progress::default());
    progress.recording.store(true, Ordering::Release);
    let about = About {
        trace_uuid: [1; 16],
        profile: "standard".into(),
        progress,
        triggers: None,
    };
    let (asked_for, marks) = recorder::control::marks();
    let _server = Server::start(&socket, about, asked_for).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(ask(&socket, &Request::Status).is_ok());
    let asked = std::thread::spawn(move || {
        // SAFETY: the raw call changes this thread alone, which ends after it; nothing is shared by user.
        let changed = unsafe { libc::syscall(libc::SYS_setresuid, -1, 65_534, -1) };
        assert_eq!(changed, 0);
        let mark = Request::Mark {
            label: "note".into(),
            text: "from outside".into(),
        };
        ask(&socket, &mark).unwrap_err().to_string()
    });
    let error = asked.join().unwrap();
    assert!(error.contains("user 65534 is not"), "{error}");
    assert!(marks.try_recv().is_err());
}
